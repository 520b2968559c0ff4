//! `cargo xtask bench extism`: the same parser in our host and in Extism, in one process. Builds a workspace of its own.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::copies;
use crate::needs;
use crate::run::{build_plugins, execute, execute_elsewhere, root, target};

const GUEST_TARGET: &str = "wasm32-unknown-unknown";

pub(crate) fn run() -> Result<()> {
    build_plugins()?;
    let guest = guest()?;
    let plugin = root().join("plugins/prometheus.wasm");
    let bench = bench()?;
    execute(&text(&bench), &["calls", &text(&guest), &text(&plugin)])?;

    let folder = tempfile::tempdir()?;
    let at = |name: &str| folder.path().join(name);
    copies::write_numbered(&at("guests"), &fs::read(&guest)?, 100)?;
    copies::write_numbered(&at("plugins"), &fs::read(&plugin)?, 100)?;
    const LARGE: usize = 2_000_000;
    fs::write(at("guest.wasm"), copies::padded(&fs::read(&guest)?, LARGE))?;
    fs::write(at("plugin.wasm"), copies::padded(&fs::read(&plugin)?, LARGE))?;
    let places = ["guests", "plugins", "guest.wasm", "plugin.wasm"].map(|name| text(&at(name)));
    execute(&text(&bench), &["loads", &places[0], &places[1], &places[2], &places[3]])
}

fn workspace() -> PathBuf {
    root().join("tests/beside/extism")
}

/// Apart from the host's, which is built by another toolchain.
fn build_folder() -> PathBuf {
    target().join("beside")
}

/// By the toolchain that builds the plugins, and as they are built.
fn guest() -> Result<PathBuf> {
    needs::target(GUEST_TARGET)?;
    let (manifest, folder) = (workspace().join("guest/Cargo.toml"), build_folder());
    execute(
        "cargo",
        &[
            "build",
            "--locked",
            "--profile=plugin",
            "--target",
            GUEST_TARGET,
            "--manifest-path",
            &text(&manifest),
            "--target-dir",
            &text(&folder),
        ],
    )?;
    Ok(folder.join(GUEST_TARGET).join("plugin/extism_guest.wasm"))
}

/// By the toolchain that its own folder names.
fn bench() -> Result<PathBuf> {
    let folder = build_folder();
    let build = ["build", "--locked", "--release", "--package", "beside-extism", "--target-dir"];
    execute_elsewhere(&workspace(), "cargo", &[&build[..], &[&text(&folder)]].concat())?;
    Ok(folder.join("release/beside-extism"))
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
