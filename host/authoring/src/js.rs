//! JavaScript and TypeScript: esbuild makes one module of the plugin, the SDK and what they import; componentize-qjs puts it
//! into QuickJS, as it is after its top level has run.

use std::path::Path;

use crate::build::BuildError;
use crate::component::write_world;
use crate::project::{Export, Lang, Project};
use crate::tools::{self, Tool};
use crate::wasi_http;

const ESBUILD: Tool = Tool {
    program: "esbuild",
    purpose: "makes one module of a plugin and what it imports",
    install: "npm install --save-dev esbuild@0.28.2",
};

const COMPONENTIZE: Tool = Tool {
    program: "componentize-qjs",
    purpose: "makes a component of JavaScript",
    install: "npm install --save-dev componentize-qjs@0.4.5",
};

/// What `wasi` is called until the component is made. componentize-qjs runs the module's top level with its own implementation
/// of WASI, which has no HTTP; with wasi:http among the imports, its resources and that implementation's don't agree, and it
/// gives up. Imports that it has never heard of it lets be. The name is as long as `wasi`, so that it can be put back in place.
const STAND_IN: &str = "late";

/// What is put back.
const STANDS_FOR: [&str; 3] = ["http/", "io/", "clocks/"];

/// Makes the project's component at `out`.
pub(crate) fn build(project: &Project, out: &Path) -> Result<(), BuildError> {
    let esbuild = ESBUILD.in_node_modules(&project.dir)?;
    let mut componentize = COMPONENTIZE.in_node_modules(&project.dir)?;
    let wit = write_world(project)?;
    let world = wasi_http::add_world(project, &wit, STAND_IN)?;
    let module = bundle(project, esbuild)?;
    componentize
        .arg("--wit")
        .arg(&wit)
        .arg("--js")
        .arg(&module)
        .args(["--world", world, "--sync", "--output"]);
    tools::run(componentize.arg(out).current_dir(project.scratch()))?;
    if !wasi_http::is_wanted(project) {
        return Ok(());
    }
    let component =
        std::fs::read(out).map_err(BuildError::io(format!("{}: can't be read", out.display())))?;
    std::fs::write(out, with_wasi(component))
        .map_err(BuildError::io(format!("{}: can't be written", out.display())))
}

/// One module, without imports but the host's.
fn bundle(project: &Project, mut esbuild: std::process::Command) -> Result<std::path::PathBuf, BuildError> {
    let sdk = &project.sdk;
    let plugin = project.dir.join(if project.lang == Lang::Ts { "plugin.ts" } else { "plugin.js" });
    if !plugin.is_file() {
        return Err(BuildError::Component(format!(
            "{}: not there; the plugin's code goes there",
            plugin.display()
        )));
    }
    let entry = project.scratch().join("entry.js");
    std::fs::write(&entry, entry_module(project, &plugin, sdk))
        .map_err(BuildError::io(format!("{}: can't be written", entry.display())))?;
    let module = project.scratch().join("module.js");
    esbuild
        .arg(&entry)
        .args([
            "--bundle",
            "--format=esm",
            "--target=es2023",
            "--platform=neutral",
            "--main-fields=module,main",
        ])
        .args(["--external:watchkeeper:*", &format!("--external:{STAND_IN}:*"), "--log-level=warning"])
        .arg(format!("--alias:watchkeeper-sdk={}", sdk.join("index.js").display()))
        .arg(format!("--outfile={}", module.display()))
        .current_dir(&project.dir);
    tools::run(&mut esbuild)?;
    Ok(module)
}

/// The module that the component is: the plugin registers itself, and the SDK makes the exports.
fn entry_module(project: &Project, plugin: &Path, sdk: &Path) -> String {
    let quoted = |path: &Path| serde_json::Value::from(path.to_string_lossy()).to_string();
    let names: Vec<&str> = project.exports.iter().map(|export| export.as_str()).collect();
    let (http_imports, http) = if wasi_http::is_wanted(project) {
        let imports = format!(
            "import types from \"{STAND_IN}:http/types@0.2.0\";\nimport handler from \"{STAND_IN}:http/outgoing-handler@0.2.0\";\n"
        );
        (imports, ", http: { types, handler }")
    } else {
        (String::new(), "")
    };
    let exports: String = project
        .exports
        .iter()
        .map(|export| camel(*export))
        .map(|name| format!("export const {name} = made.{name};\n"))
        .collect();
    format!(
        "import logging from \"watchkeeper:plugin/logging@0.1.0\";\n{http_imports}import {plugin};\nimport {{ component }} from {sdk};\n\n\
         const made = component({names}, {{ log: logging.log{http} }});\n{exports}",
        plugin = quoted(plugin),
        sdk = quoted(&sdk.join("component.js")),
        names = serde_json::Value::from(names),
    )
}

/// As the module exports it.
fn camel(export: Export) -> &'static str {
    match export {
        Export::PromptBuilder => "promptBuilder",
        other => other.as_str(),
    }
}

/// The component with its imports under their own name.
fn with_wasi(mut component: Vec<u8>) -> Vec<u8> {
    for package in STANDS_FOR {
        let (from, to) = (format!("{STAND_IN}:{package}"), format!("wasi:{package}"));
        let mut at = 0;
        while let Some(found) = find(&component[at..], from.as_bytes()) {
            at += found;
            component[at..at + to.len()].copy_from_slice(to.as_bytes());
        }
    }
    component
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wasi_is_put_back_where_it_stood_and_nothing_moves() {
        let before = b"\x15late:http/types@0.2.0 late:io/poll@0.2.0, too late: late:httpd".to_vec();
        let after = with_wasi(before.clone());
        assert_eq!(after, b"\x15wasi:http/types@0.2.0 wasi:io/poll@0.2.0, too late: late:httpd");
        assert_eq!(after.len(), before.len());
    }
}
