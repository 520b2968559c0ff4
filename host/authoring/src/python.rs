//! Python: componentize-py puts the plugin, as it is after its top level has run, into CPython.

use std::path::Path;
use std::process::Command;

use crate::build::BuildError;
use crate::component::write_world;
use crate::project::Project;
use crate::tools::{self, Tool};
use crate::wasi_http;

const COMPONENTIZE: Tool = Tool {
    program: "componentize-py",
    purpose: "makes a component of Python",
    install: "pip install componentize-py==0.25.1",
};

/// The module that the component is: the plugin registers itself, and the SDK makes the exports.
const ENTRY: &str = "watchkeeper_entry";

/// Makes the project's component at `out`, and answers the warnings.
pub(crate) fn build(project: &Project, out: &Path) -> Result<String, BuildError> {
    let componentize = COMPONENTIZE.on_path_or_python("componentize_py")?;
    let plugin = project.dir.join("plugin.py");
    if !plugin.is_file() {
        return Err(BuildError::Component(format!(
            "{}: not there; the plugin's code goes there",
            plugin.display()
        )));
    }
    let wit = write_world(project)?;
    let world = wasi_http::add_world(project, &wit, "wasi")?;
    let entry = project.scratch().join(format!("{ENTRY}.py"));
    std::fs::write(&entry, entry_module(project))
        .map_err(BuildError::io(format!("{}: can't be written", entry.display())))?;
    let said = tools::run(&mut command(componentize, project, &wit, world, out)).map_err(of_the_plugin)?;
    Ok(said.warnings)
}

fn command(mut componentize: Command, project: &Project, wit: &Path, world: &str, out: &Path) -> Command {
    componentize
        .arg("--quiet")
        .arg("--wit-path")
        .arg(wit)
        // Names of modules and classes that don't depend on what else is in the world.
        .args(["--world", world, "--full-names", "componentize", ENTRY, "--output"])
        .arg(out);
    for folder in [&project.scratch(), &project.dir, &project.sdk] {
        componentize.arg("--python-path").arg(folder);
    }
    // What is installed beside componentize-py is no part of the plugin.
    componentize.env_remove("VIRTUAL_ENV").current_dir(project.scratch());
    componentize
}

fn entry_module(project: &Project) -> String {
    let names: Vec<&str> = project.exports.iter().map(|export| export.as_str()).collect();
    let with_http = if wasi_http::is_wanted(project) { "True" } else { "False" };
    format!(
        "import plugin\nfrom watchkeeper_sdk.component import component\n\n\
         globals().update(component({}, with_http={with_http}))\n",
        serde_json::Value::from(names)
    )
}

/// componentize-py shows its own stack around an error, and numbers the folders that modules come from; what a plugin's author
/// can mend is in between.
fn of_the_plugin(error: BuildError) -> BuildError {
    match error {
        BuildError::Failed { program, status, said } => {
            BuildError::Failed { program, status, said: mendable(&said) }
        }
        other => other,
    }
}

fn mendable(said: &str) -> String {
    let said = said.split("Stack backtrace:").next().unwrap_or_default();
    let said = said.split("\n\nCaused by:").next().unwrap_or_default();
    let said = said.split_once("AssertionError: ").map_or(said, |(_, said)| said);
    said.replace("\"/0/", "\"").replace("\"/1/", "\"").replace("\"/2/", "\"sdk/").trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_author_can_mend_is_left() {
        let said = "Traceback (most recent call last):\n  File \"/x/bin/componentize-py\", line 8, in <module>\n    \
                    sys.exit(script())\nAssertionError: Traceback (most recent call last):\n  File \
                    \"/1/plugin.py\", line 26\n    document = payload.json(\nSyntaxError: '(' was never closed\n\n\n\
                    Caused by:\n    SyntaxError: '(' was never closed (plugin.py, line 26)\n\nStack backtrace:\n   0: x\n";
        assert_eq!(
            mendable(said),
            "Traceback (most recent call last):\n  File \"plugin.py\", line 26\n    document = \
             payload.json(\nSyntaxError: '(' was never closed"
        );
        assert_eq!(mendable("no such option\n"), "no such option");
    }
}
