//! Programs of the languages: found on `PATH`, as a module of `python3`, or in the project's `node_modules`; never downloaded.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::build::BuildError;

/// A program that a build needs, and how one comes by it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tool {
    /// Its name, as one types it.
    pub(crate) program: &'static str,
    /// What it is needed for: `compiles C to WebAssembly`.
    pub(crate) purpose: &'static str,
    /// The ordinary command that installs it.
    pub(crate) install: &'static str,
}

impl Tool {
    pub(crate) fn missing(self) -> BuildError {
        BuildError::Missing { program: self.program, purpose: self.purpose, install: self.install }
    }

    /// On `PATH`.
    pub(crate) fn on_path(self) -> Result<Command, BuildError> {
        on_path(self.program).map(Command::new).ok_or_else(|| self.missing())
    }

    /// `python3 -m module`, where a program of that name isn't on `PATH`.
    pub(crate) fn on_path_or_python(self, module: &str) -> Result<Command, BuildError> {
        if let Some(program) = on_path(self.program) {
            return Ok(Command::new(program));
        }
        let python = on_path("python3").ok_or_else(|| self.missing())?;
        let has_module = Command::new(&python)
            .args([
                "-c",
                "import importlib.util, sys; sys.exit(importlib.util.find_spec(sys.argv[1]) is None)",
            ])
            .arg(module)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success());
        if !has_module {
            return Err(self.missing());
        }
        let mut command = Command::new(python);
        command.args(["-m", module]);
        Ok(command)
    }

    /// In `node_modules/.bin` of the project or of a folder above it, else on `PATH`.
    pub(crate) fn in_node_modules(self, project: &Path) -> Result<Command, BuildError> {
        let near = project.ancestors().map(|dir| dir.join("node_modules/.bin").join(self.program));
        let found = near.into_iter().find(|path| path.is_file()).or_else(|| on_path(self.program));
        found.map(Command::new).ok_or_else(|| self.missing())
    }
}

/// The program's path, where `PATH` has it.
pub(crate) fn on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).map(|dir| dir.join(program)).find(|path| path.is_file())
}

/// What a program said that ended well.
pub(crate) struct Said {
    pub(crate) output: Vec<u8>,
    /// On its standard error: warnings, where it says nothing else there.
    pub(crate) warnings: String,
}

/// Runs to the end; where the program fails, what it said is the error.
pub(crate) fn run(command: &mut Command) -> Result<Said, BuildError> {
    let name = name_of(command);
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|error| BuildError::Io { doing: format!("{name}: can't be started"), error })?;
    if output.status.success() {
        let warnings = String::from_utf8_lossy(&output.stderr).trim_end().to_owned();
        return Ok(Said { output: output.stdout, warnings });
    }
    let said = [output.stderr, output.stdout].concat();
    Err(BuildError::Failed {
        program: name,
        status: output.status.to_string(),
        said: String::from_utf8_lossy(&said).trim_end().to_owned(),
    })
}

/// The program's; of a module of Python, the module's.
fn name_of(command: &Command) -> String {
    let mut arguments = command.get_args();
    let module = if arguments.next() == Some(OsStr::new("-m")) { arguments.next() } else { None };
    let program = Path::new(command.get_program()).file_name().unwrap_or_default();
    module.unwrap_or(program).to_string_lossy().into_owned()
}
