//! Rust: cargo does it all; what a component exports is what the code registers.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::build::BuildError;
use crate::project::Project;
use crate::tools::{self, Tool};

const CARGO: Tool = Tool {
    program: "cargo",
    purpose: "builds Rust",
    install: "rustup (https://rustup.rs), then `rustup target add wasm32-wasip2`",
};

const TARGET: &str = "wasm32-wasip2";

/// Where the SDK's versions are written down.
const WORKSPACE: &str = include_str!("../../../Cargo.toml");

/// Makes the project's component at `out`, and answers the warnings.
pub(crate) fn build(project: &Project, out: &Path) -> Result<String, BuildError> {
    let mut cargo = CARGO.on_path()?;
    cargo
        .args([
            "build",
            "--lib",
            "--release",
            // Warnings come all the same.
            "--quiet",
            "--target",
            TARGET,
            "--message-format",
            "json-render-diagnostics",
        ])
        .current_dir(&project.dir);
    let said = tools::run(&mut cargo).map_err(without_target)?;
    let built = component(&project.dir, &said.output).ok_or_else(|| {
        BuildError::Component(format!(
            "{}: cargo built no component; Cargo.toml needs `[lib] crate-type = [\"cdylib\", \"rlib\"]`",
            project.dir.display()
        ))
    })?;
    std::fs::copy(&built, out).map_err(BuildError::io(format!("{}: can't be copied", built.display())))?;
    Ok(said.warnings)
}

/// cargo speaks of a missing `core`; what is missing is a target of rustup.
fn without_target(error: BuildError) -> BuildError {
    match error {
        BuildError::Failed { said, .. } if said.contains(TARGET) && said.contains("E0463") => {
            BuildError::Missing {
                program: TARGET,
                purpose: "is the standard library of plugins in Rust",
                install: "rustup target add wasm32-wasip2",
            }
        }
        BuildError::Failed { program, status, said } => {
            BuildError::Failed { program, status, said: without_messages(&said) }
        }
        other => other,
    }
}

/// What cargo tells programs is on its standard output, among it every crate that was built; nobody reads that.
fn without_messages(said: &str) -> String {
    said.lines().filter(|line| !line.starts_with("{\"reason\":")).collect::<Vec<_>>().join("\n")
}

/// The package's own `.wasm`, from cargo's messages.
fn component(dir: &Path, messages: &[u8]) -> Option<PathBuf> {
    let manifest = dir.join("Cargo.toml");
    let lines = messages.split(|byte| *byte == b'\n');
    let artifacts = lines.filter_map(|line| serde_json::from_slice::<Value>(line).ok()).filter(|message| {
        message["reason"] == "compiler-artifact"
            && message["manifest_path"].as_str().is_some_and(|path| Path::new(path) == manifest)
    });
    let files = artifacts.flat_map(|message| message["filenames"].as_array().cloned().unwrap_or_default());
    let mut paths = files.filter_map(|file| file.as_str().map(PathBuf::from));
    paths.rfind(|path| path.extension().is_some_and(|extension| extension == "wasm"))
}

/// A file of the SDK as it is in a project: outside of the workspace, with the contract beside it.
pub(crate) fn vendored(path: &str, bytes: Cow<'static, [u8]>) -> Cow<'static, [u8]> {
    let text = String::from_utf8_lossy(&bytes);
    match path {
        "Cargo.toml" => manifest(&text).into_bytes().into(),
        "src/bindings.rs" => {
            let text = text
                .replace("../../wit/v0.1.0", "../wit")
                .replace("../../wit/experimental", "../wit/experimental");
            text.replace("../../wit/wasi-subscriber.wit", "../wit/wasi").into_bytes().into()
        }
        _ => bytes,
    }
}

/// Each `KEY.workspace = true` becomes what the workspace says of KEY.
fn manifest(text: &str) -> String {
    let text = text.replace("[lints]\nworkspace = true\n\n", "");
    let line = |line: &str| {
        let inherited = line.strip_suffix(".workspace = true").and_then(|key| {
            let begins = format!("{key} = ");
            WORKSPACE.lines().find(|line| line.starts_with(&begins))
        });
        inherited.unwrap_or(line).to_owned() + "\n"
    };
    text.lines().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_what_cargo_says_people_see_what_is_for_people() {
        let said = "error: mismatched closing delimiter\n --> src/lib.rs:34:34\n{\"reason\":\"compiler-artifact\"}\n\
                    {\"reason\":\"build-finished\",\"success\":false}";
        assert_eq!(without_messages(said), "error: mismatched closing delimiter\n --> src/lib.rs:34:34");
    }

    #[test]
    fn the_sdk_inherits_nothing_in_a_project() {
        let text = manifest(include_str!("../../../sdk/rust/Cargo.toml"));
        assert!(!text.contains("workspace"), "{text}");
        assert!(text.contains("wit-bindgen = { version"), "{text}");
        let bindings = vendored("src/bindings.rs", Cow::Borrowed(b"path: \"../../wit/v0.1.0\","));
        assert_eq!(bindings.as_ref(), b"path: \"../wit\",");
    }
}
