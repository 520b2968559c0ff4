//! `build`: a project in, a component out.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::project::{Lang, Project, ProjectError};
use crate::{c, component, go, js, python, rust};

/// A component that was built.
#[derive(Debug)]
pub struct Built {
    pub file: PathBuf,
    /// In bytes.
    pub size: u64,
    pub took: Duration,
    /// Of the language's tools, as they say them; empty where there are none.
    pub warnings: String,
}

#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    #[error(transparent)]
    Project(#[from] ProjectError),
    #[error("{program} is missing: it {purpose}. Install it with: {install}")]
    Missing { program: &'static str, purpose: &'static str, install: &'static str },
    #[error("{program} failed ({status}):\n{said}")]
    Failed { program: String, status: String, said: String },
    #[error("{doing}: {error}")]
    Io { doing: String, error: io::Error },
    /// Written there, it would be a file that no host looks at.
    #[error("--out {}: is no folder that is there, and ends in no `.wasm`; with a `/` behind it, the folder is made", .0.display())]
    Out(PathBuf),
    /// The tools are content, and what they made is still no plugin.
    #[error("{0}")]
    Component(String),
}

impl BuildError {
    /// `map_err(BuildError::io("DIR: can't be made"))`
    pub(crate) fn io(doing: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let doing = doing.into();
        move |error| BuildError::Io { doing, error }
    }
}

/// Builds the project in `dir`. `out` is the component's file, or a folder (one that exists, or that is said with a `/` at the
/// end) that gets `NAME.wasm`; without one that is the project's own folder.
///
/// The file appears all at once, under its name: a host that watches the folder never sees half of it.
///
/// # Errors
/// Where the project is wrong, a tool is missing, or a tool fails.
pub fn build(dir: &Path, out: Option<&Path>) -> Result<Built, BuildError> {
    let began = Instant::now();
    let project = Project::read(dir)?;
    let file = target(&project, out)?;
    let scratch = project.scratch();
    std::fs::create_dir_all(&scratch)
        .map_err(BuildError::io(format!("{}: can't be made", scratch.display())))?;
    let _turn = turn(&scratch)?;
    let made = scratch.join(format!("{}.wasm", project.name));
    let warnings = match project.lang {
        Lang::Rust => rust::build(&project, &made)?,
        Lang::Python => python::build(&project, &made)?,
        Lang::Js | Lang::Ts => js::build(&project, &made)?,
        Lang::Go => go::build(&project, &made)?,
        Lang::C => c::build(&project, &made)?,
    };
    let bytes = std::fs::read(&made).map_err(BuildError::io(format!("{}: can't be read", made.display())))?;
    let bytes = component::with_asks(bytes, project.asks.as_ref());
    put(&bytes, &file)?;
    Ok(Built { file, size: bytes.len() as u64, took: began.elapsed(), warnings })
}

/// Builds of one project wait for each other, such as one by hand for that of `plugin dev`: what they make on the way lies in the
/// same place. Held until it is let go of.
fn turn(scratch: &Path) -> Result<std::fs::File, BuildError> {
    let path = scratch.join("lock");
    let failed = |error| BuildError::io(format!("{}: can't be locked", path.display()))(error);
    let file = std::fs::File::create(&path).map_err(failed)?;
    file.lock().map_err(failed)?;
    Ok(file)
}

fn target(project: &Project, out: Option<&Path>) -> Result<PathBuf, BuildError> {
    let name = format!("{}.wasm", project.name);
    match out {
        None => Ok(project.dir.join(name)),
        Some(out) if out.is_dir() || out.to_string_lossy().ends_with('/') => Ok(out.join(name)),
        Some(out) if out.extension().is_some_and(|extension| extension == "wasm") => Ok(out.to_owned()),
        Some(out) => Err(BuildError::Out(out.to_owned())),
    }
}

fn put(bytes: &[u8], file: &Path) -> Result<(), BuildError> {
    let failed = |error| BuildError::io(format!("{}: can't be written", file.display()))(error);
    let folder = file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder).map_err(failed)?;
    // In the same folder, for a rename doesn't cross file systems; no `.wasm`, for that is what hosts look for.
    let mut part =
        tempfile::Builder::new().prefix(".").suffix(".part").tempfile_in(folder).map_err(failed)?;
    io::Write::write_all(&mut part, bytes).map_err(failed)?;
    let part = part.persist(file).map_err(|error| failed(error.error))?;
    readable(&part).map_err(failed)
}

/// A temporary file is its owner's alone; a plugin may be built by one user and loaded by another.
fn readable(file: &std::fs::File) -> io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        file.set_permissions(std::fs::Permissions::from_mode(0o644))?;
    }
    Ok(())
}
