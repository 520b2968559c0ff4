//! Commands of others, and the builds.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::{needs, toolchains};

/// The plugins in Rust.
pub(crate) const PLUGINS: [&str; 7] =
    ["prometheus", "high-cpu", "disk-space", "oom-kill", "memory", "uptime-rust", "mqtt"];

/// Plugins that only tests load.
const GUESTS: [&str; 3] = ["hostile", "live", "obedient"];

#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Profile {
    Dev,
    Release,
}

/// The workspace's folder.
pub(crate) fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_owned()
}

pub(crate) fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// The host's binary.
pub(crate) fn binary(profile: Profile) -> PathBuf {
    let folder = if profile == Profile::Dev { "debug" } else { "release" };
    target().join(folder).join("watchkeeper")
}

/// Runs it in the workspace's folder, says what it runs, and fails if it does.
pub(crate) fn execute(program: &str, arguments: &[&str]) -> Result<()> {
    execute_with(program, arguments, &[])
}

pub(crate) fn execute_with(program: &str, arguments: &[&str], environment: &[(&str, &OsStr)]) -> Result<()> {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(root()).envs(environment.iter().copied());
    run(command, program, arguments)
}

/// In a folder with a toolchain of its own, which the one of this process doesn't override.
pub(crate) fn execute_elsewhere(folder: &Path, program: &str, arguments: &[&str]) -> Result<()> {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(folder).env_remove("RUSTUP_TOOLCHAIN");
    run(command, program, arguments)
}

fn run(mut command: Command, program: &str, arguments: &[&str]) -> Result<()> {
    eprintln!("$ {program} {}", arguments.join(" "));
    let status = command.status().with_context(|| format!("{program} can't be started"))?;
    if !status.success() {
        bail!("`{program} {}` failed: {status}", arguments.join(" "));
    }
    Ok(())
}

/// The plugins into `plugins/`, and the host alone: what a demo needs. With `--all-languages`, the plugins that aren't in Rust,
/// too.
pub(crate) fn build(options: &[String]) -> Result<()> {
    let all_languages = match options {
        [] => false,
        [option] if option == "--all-languages" => true,
        _ => bail!("`build` has one option, --all-languages"),
    };
    build_plugins()?;
    execute("cargo", &["build", "--locked", "--package", "watchkeeper"])?;
    if all_languages { build_other_languages(Profile::Dev) } else { Ok(()) }
}

/// The plugins in other languages into `plugins/`, by the host's own `plugin build`.
pub(crate) fn build_other_languages(profile: Profile) -> Result<()> {
    let plugins = toolchains::install()?;
    let (binary, path) = (binary(profile), toolchains::path()?);
    for name in plugins {
        let project = format!("plugins/{name}");
        let arguments = ["plugin", "build", &project, "--out", "plugins/"];
        execute_with(&binary.to_string_lossy(), &arguments, &[("PATH", path.as_os_str())])?;
    }
    Ok(())
}

/// Everything, in one selection of packages: with another, cargo unites other features, and builds wasmtime once more.
pub(crate) fn build_all(profile: Profile) -> Result<()> {
    build_plugins()?;
    let build = ["build", "--locked", "--workspace", "--bins"];
    match profile {
        Profile::Dev => execute("cargo", &[&build[..], &["--tests", "--benches"]].concat()),
        Profile::Release => execute("cargo", &[&build[..], &["--benches", "--release"]].concat()),
    }
}

pub(crate) fn build_plugins() -> Result<()> {
    needs::wasm_target()?;
    let packages: Vec<String> = PLUGINS.iter().map(|name| format!("--package=plugin-{name}")).collect();
    let mut arguments = vec!["build", "--locked", "--profile=plugin", "--target=wasm32-wasip2"];
    arguments.extend(packages.iter().map(String::as_str));
    execute("cargo", &arguments)?;
    for name in PLUGINS {
        let built =
            target().join("wasm32-wasip2/plugin").join(format!("plugin_{}.wasm", name.replace('-', "_")));
        put(&built, &root().join("plugins").join(format!("{name}.wasm")))?;
    }
    build_guests()
}

/// Into `target/guests`.
fn build_guests() -> Result<()> {
    let packages: Vec<String> = GUESTS.iter().map(|name| format!("--package=guest-{name}")).collect();
    let mut arguments = vec!["build", "--locked", "--profile=plugin", "--target=wasm32-wasip2"];
    arguments.extend(packages.iter().map(String::as_str));
    execute("cargo", &arguments)?;
    let folder = guests();
    std::fs::create_dir_all(&folder).with_context(|| format!("{}: can't be created", folder.display()))?;
    for name in GUESTS {
        let built = target().join(format!("wasm32-wasip2/plugin/guest_{name}.wasm"));
        put(&built, &folder.join(format!("{name}.wasm")))?;
    }
    Ok(())
}

pub(crate) fn guests() -> PathBuf {
    target().join("guests")
}

/// Beside and renamed: a host that runs never sees half a file.
fn put(from: &Path, to: &Path) -> Result<()> {
    let beside = to.with_extension("part");
    std::fs::copy(from, &beside).with_context(|| format!("{} can't be copied", from.display()))?;
    std::fs::rename(&beside, to).with_context(|| format!("{} can't be written", to.display()))
}

pub(crate) fn demo(options: &[String]) -> Result<()> {
    build(&[])?;
    let binary = binary(Profile::Dev);
    let mut arguments = vec!["demo"];
    arguments.extend(options.iter().map(String::as_str));
    execute(&binary.to_string_lossy(), &arguments)
}
