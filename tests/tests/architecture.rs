//! The arrows of the design, and what `host/ARCHITECTURE.md` says of the code, hold.

#![allow(clippy::unwrap_used, reason = "a test that can't go on fails with what stood in its way")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Each crate of the workspace, with the crates of the workspace that it is built with. What its own tests and benches use
/// is no arrow.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["metadata", "--no-deps", "--offline", "--format-version", "1"]).current_dir(workspace());
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let name = |value: &Value| value["name"].as_str().unwrap().to_owned();
    let known: BTreeSet<String> = packages.iter().map(name).collect();
    let of = |package: &Value| {
        let all = package["dependencies"].as_array().unwrap().iter();
        all.filter(|one| one["kind"] != "dev").map(name).filter(|one| known.contains(one)).collect()
    };
    packages.iter().map(|package| (name(package), of(package))).collect()
}

#[test]
fn crates_depend_on_each_other_along_the_arrows_alone() {
    let allowed: BTreeMap<&str, &[&str]> = BTreeMap::from([
        ("watchkeeper-domain", &[][..]),
        ("watchkeeper-flow", &["watchkeeper-domain"]),
        ("watchkeeper-wasm", &["watchkeeper-domain"]),
        ("watchkeeper-adapters", &["watchkeeper-domain"]),
        ("watchkeeper-authoring", &[]),
        (
            "watchkeeper",
            &[
                "watchkeeper-adapters",
                "watchkeeper-authoring",
                "watchkeeper-domain",
                "watchkeeper-flow",
                "watchkeeper-wasm",
            ],
        ),
        ("watchkeeper-sdk", &[]),
        ("watchkeeper-tests", &[]),
        ("xtask", &[]),
    ]);
    for (name, dependencies) in dependencies() {
        let allowed = match allowed.get(name.as_str()) {
            Some(allowed) => allowed,
            None if name.starts_with("plugin-") || name.starts_with("guest-") => &["watchkeeper-sdk"][..],
            None => panic!("{name}: a new crate: say here what it may depend on"),
        };
        let forbidden: Vec<_> = dependencies.iter().filter(|d| !allowed.contains(&d.as_str())).collect();
        assert!(forbidden.is_empty(), "{name} depends on {forbidden:?}; it may on {allowed:?} alone");
    }
}

#[test]
fn every_path_that_the_architecture_page_names_is_there() {
    let page = workspace().join("host/ARCHITECTURE.md");
    let text = std::fs::read_to_string(&page).unwrap_or_else(|error| panic!("{}: {error}", page.display()));
    let paths: BTreeSet<&str> = code_spans(&text).filter(|span| is_path(span)).collect();
    assert!(paths.len() > 5, "the page names hardly any path: {paths:?}");
    let missing: Vec<_> = paths.into_iter().filter(|path| !exists(path)).collect();
    assert!(missing.is_empty(), "host/ARCHITECTURE.md names what isn't there: {missing:?}");
}

/// What stands between single backticks, code blocks left out.
fn code_spans(text: &str) -> impl Iterator<Item = &str> {
    let outside_blocks = text.split("```").step_by(2);
    outside_blocks.flat_map(|part| part.split('`').skip(1).step_by(2))
}

/// With a slash or a file's extension, and nothing that paths of ours don't have: URLs, routes, globs and types are none.
fn is_path(span: &str) -> bool {
    let extension = Path::new(span).extension().and_then(|extension| extension.to_str());
    let file =
        extension.is_some_and(|extension| ["rs", "md", "toml", "yaml", "wit", "sql"].contains(&extension));
    let plain = span.chars().all(|c| c.is_ascii_alphanumeric() || "-_./".contains(c));
    // `watchkeeper.yaml` and `gate.yaml` are said without their folder; `wasi:…` and `/api/v1` are no files.
    plain && !span.starts_with('/') && (file || span.contains('/'))
}

/// From the workspace's folder; a configuration file may be said without its own.
fn exists(path: &str) -> bool {
    let root = workspace();
    root.join(path).exists() || root.join("config").join(path).exists()
}

#[test]
fn unsafe_code_is_in_the_one_named_module_of_the_host() {
    let root = workspace();
    let allowed = ["host/wasm/src/compiled.rs", "sdk/rust/src/arena.rs"].map(|path| root.join(path));
    let mut files: Vec<PathBuf> = ["host", "sdk", "plugins", "xtask"]
        .iter()
        .flat_map(|folder| files_below(&root.join(folder)))
        .collect();
    files.retain(|file| {
        file.extension().is_some_and(|extension| extension == "rs") && !allowed.contains(file)
    });
    assert!(files.len() > 50, "only {} files were looked at", files.len());
    let offending: Vec<_> =
        files.iter().filter(|file| has_unsafe(&std::fs::read_to_string(file).unwrap())).collect();
    assert!(offending.is_empty(), "`unsafe` has its own module; it is also in {offending:?}");
}

/// The keyword in the code of a line; `unsafe_code` is the lint, and comments may speak of it.
fn has_unsafe(text: &str) -> bool {
    let code = text.lines().map(|line| line.split("//").next().unwrap_or_default());
    let words = code.flat_map(|line| line.split(|c: char| !c.is_alphanumeric() && c != '_'));
    words.into_iter().any(|word| word == "unsafe")
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let below = |path: PathBuf| match path.is_dir() {
        true if path.ends_with("target") => Vec::new(),
        true => files_below(&path),
        false => vec![path],
    };
    entries.flat_map(|entry| below(entry.unwrap().path())).collect()
}
