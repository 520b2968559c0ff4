//! JavaScript and TypeScript: esbuild makes one module of the plugin, the SDK and what they import; componentize-qjs puts it
//! into QuickJS, as it is after its top level has run.

use std::io::{self, Write};
use std::path::{Component, Path, PathBuf};
use std::process::Command;

use serde_json::{Map, Value};

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

/// Makes the project's component at `out`, and answers the warnings.
pub(crate) fn build(project: &Project, out: &Path) -> Result<String, BuildError> {
    let esbuild = ESBUILD.in_node_modules(&project.dir)?;
    let mut componentize = COMPONENTIZE.in_node_modules(&project.dir)?;
    let wit = write_world(project)?;
    let world = wasi_http::add_world(project, &wit, STAND_IN)?;
    let Bundle { module, lines, warnings } = bundle(project, esbuild)?;
    componentize
        .arg("--wit")
        .arg(&wit)
        .arg("--js")
        .arg(&module)
        .args(["--world", world, "--sync", "--output"]);
    tools::run(componentize.arg(out).current_dir(project.scratch()))
        .map_err(|error| of_the_plugin(error, &lines))?;
    if !wasi_http::is_wanted(project) {
        return Ok(warnings);
    }
    let component =
        std::fs::read(out).map_err(BuildError::io(format!("{}: can't be read", out.display())))?;
    std::fs::write(out, with_wasi(component))
        .map_err(BuildError::io(format!("{}: can't be written", out.display())))?;
    Ok(warnings)
}

/// One module, without imports but the host's.
struct Bundle {
    module: PathBuf,
    /// By a line of the module, which one of the project's it is.
    lines: Map<String, Value>,
    warnings: String,
}

fn bundle(project: &Project, mut esbuild: Command) -> Result<Bundle, BuildError> {
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
            "--sourcemap=external",
        ])
        .args(["--external:watchkeeper:*", &format!("--external:{STAND_IN}:*"), "--log-level=warning"])
        .arg(format!("--alias:watchkeeper-sdk={}", sdk.join("index.js").display()))
        .arg(format!("--outfile={}", module.display()))
        .current_dir(&project.dir);
    let said = tools::run(&mut esbuild).map_err(without_node)?;
    let lines = with_lines(project, &module)
        .map_err(BuildError::io(format!("{}: can't be completed", module.display())))?;
    Ok(Bundle { module, lines, warnings: said.warnings })
}

/// componentize-qjs runs the module's top level, and tells what it throws among words of its own, by lines of the bundle.
fn of_the_plugin(error: BuildError, lines: &Map<String, Value>) -> BuildError {
    match error {
        BuildError::Failed { program, status, said } => {
            BuildError::Failed { program, status, said: mendable(&said, lines) }
        }
        other => other,
    }
}

fn mendable(said: &str, lines: &Map<String, Value>) -> String {
    const EVALUATION: &str = "JavaScript module evaluation: ";
    let Some((_, thrown)) = said.split_once(EVALUATION) else { return said.to_owned() };
    let thrown = thrown.split("\n\n").next().unwrap_or_default();
    let told = thrown.lines().filter_map(|line| match line.split_once("(/module.js:") {
        None => Some(line.to_owned()),
        Some((who, place)) => {
            let place = lines.get(place.split([':', ')']).next()?)?.as_str()?;
            Some(format!("{who}({place})"))
        }
    });
    told.collect::<Vec<_>>().join("\n")
}

/// esbuild advises to bundle for Node, which isn't there when the plugin runs.
fn without_node(error: BuildError) -> BuildError {
    match error {
        BuildError::Failed { program, status, mut said } if said.contains("--platform=node") => {
            said.push_str("\nA plugin runs in QuickJS, where nothing of Node's is: do without, or take another package.");
            BuildError::Failed { program, status, said }
        }
        other => other,
    }
}

/// Tells the module which line of the project each of its own is of, so that the SDK can say where an error was thrown.
fn with_lines(project: &Project, module: &Path) -> io::Result<Map<String, Value>> {
    let map = std::fs::read(module.with_extension("js.map"))?;
    let lines = lines(project, &serde_json::from_slice(&map)?);
    let mut file = std::fs::OpenOptions::new().append(true).open(module)?;
    // Behind all else, where it moves no line.
    writeln!(file, "globalThis.watchkeeperLines = {};", Value::from(lines.clone()))?;
    Ok(lines)
}

/// `plugin.js:7` by the line of the bundle, of the project's own files.
fn lines(project: &Project, map: &Value) -> Map<String, Value> {
    let sources = map["sources"].as_array().into_iter().flatten();
    let sources: Vec<Option<String>> =
        sources.map(|source| own_file(project, source.as_str().unwrap_or_default())).collect();
    let mut lines = Map::new();
    // Each number is the difference to the one before, over the whole of it.
    let (mut source, mut line) = (0, 0);
    for (at, segments) in map["mappings"].as_str().unwrap_or_default().split(';').enumerate() {
        let mut first = true;
        for segment in segments.split(',').map(numbers).filter(|numbers| numbers.len() >= 4) {
            (source, line) = (source + segment[1], line + segment[2]);
            let file = usize::try_from(source).ok().and_then(|source| sources.get(source)?.as_ref());
            if let Some(file) = file.filter(|_| first) {
                lines.insert((at + 1).to_string(), format!("{file}:{}", line + 1).into());
            }
            first = false;
        }
    }
    lines
}

/// From the project's folder; none of what others wrote.
fn own_file(project: &Project, source: &str) -> Option<String> {
    let mut path = PathBuf::new();
    for part in project.scratch().join(source).components() {
        match part {
            Component::ParentDir => {
                path.pop();
            }
            part => path.push(part),
        }
    }
    let others = [project.sdk.clone(), project.dir.join("target"), project.dir.join("node_modules")];
    let own =
        path.strip_prefix(&project.dir).ok().filter(|_| !others.iter().any(|other| path.starts_with(other)));
    own.map(|own| own.display().to_string())
}

/// Of a source map's segment: base 64, five bits a digit, the least first, the sign the very least.
fn numbers(segment: &str) -> Vec<i64> {
    const DIGITS: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let (mut numbers, mut value, mut shift) = (Vec::new(), 0_i64, 0);
    for digit in segment.chars().map_while(|digit| DIGITS.find(digit)) {
        value |= (digit as i64 & 31) << shift;
        if digit & 32 == 0 {
            numbers.push(if value & 1 == 1 { -(value >> 1) } else { value >> 1 });
            (value, shift) = (0, 0);
        } else {
            shift = (shift + 5).min(55);
        }
    }
    numbers
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
    fn what_the_author_can_mend_is_left() {
        let said = "Error: : Failed to evaluate user JavaScript module: Failed to finish JavaScript module evaluation: Error: no\n    \
                    at component (/module.js:501:93)\n    at <anonymous> (/module.js:488:11)\n\ncomponentize-qjs\n  WIT:    /x/wit\n";
        let lines = Map::from_iter([("488".to_owned(), Value::from("plugin.js:48"))]);
        assert_eq!(mendable(said, &lines), "Error: no\n    at <anonymous> (plugin.js:48)");
        assert_eq!(mendable("no such option", &lines), "no such option");
    }

    #[test]
    fn lines_of_the_bundle_are_those_of_the_projects_files() {
        let project = Project {
            dir: "/p".into(),
            name: "mine".into(),
            lang: Lang::Js,
            exports: Vec::new(),
            sdk: "/p/sdk".into(),
            wit: "/p/wit".into(),
            asks: None,
        };
        // Two lines of the SDK's, an empty one, then lines 3 and 20 of the plugin.
        let map = serde_json::json!({
            "sources": ["../../sdk/log.js", "../../plugin.js", "../../node_modules/x/index.js"],
            "mappings": "AAAA;AACA;;ACCA,SAAS;AAiBT;ACAA"
        });
        let lines = Value::from(lines(&project, &map));
        assert_eq!(lines, serde_json::json!({ "4": "plugin.js:3", "5": "plugin.js:20" }));
        assert_eq!(numbers("iBD2H"), [17, -1, 123]);
    }

    #[test]
    fn wasi_is_put_back_where_it_stood_and_nothing_moves() {
        let before = b"\x15late:http/types@0.2.0 late:io/poll@0.2.0, too late: late:httpd".to_vec();
        let after = with_wasi(before.clone());
        assert_eq!(after, b"\x15wasi:http/types@0.2.0 wasi:io/poll@0.2.0, too late: late:httpd");
        assert_eq!(after.len(), before.len());
    }
}
