//! `cargo xtask test`: what CI runs. Whatever did not run is listed.

use std::ffi::OsStr;

use anyhow::{Result, bail};

use crate::run::{self, Profile, execute, execute_with, root};
use crate::{needs, toolchains};

pub(crate) fn run() -> Result<()> {
    needs::wasm_target()?;
    needs::nextest()?;
    needs::servers()?;
    execute("cargo", &["fmt", "--all", "--check"])?;
    execute("cargo", &["clippy", "--locked", "--workspace", "--all-targets", "--", "--deny", "warnings"])?;
    run::build_all(Profile::Dev)?;
    run::build_other_languages(Profile::Dev)?;

    // Tests write here which of them could not run for want of a server or a toolchain.
    let folder = tempfile::tempdir()?;
    let not_run = folder.path().join("not-run");
    let (binary, plugins, guests) = (run::binary(Profile::Dev), root().join("plugins"), run::guests());
    // `plugin build` is tested with the toolchains that the plugins were built with.
    let path = toolchains::path()?;
    let environment: [(&str, &OsStr); 5] = [
        ("PATH", path.as_os_str()),
        ("WATCHKEEPER_TEST_GUESTS", guests.as_os_str()),
        ("WATCHKEEPER_NOT_RUN", not_run.as_os_str()),
        ("WATCHKEEPER_BIN", binary.as_os_str()),
        ("WATCHKEEPER_TEST_PLUGINS", plugins.as_os_str()),
    ];
    execute_with("cargo", &["nextest", "run", "--locked", "--workspace", "--no-fail-fast"], &environment)?;
    execute("cargo", &["test", "--locked", "--workspace", "--doc", "--quiet"])?;
    list(&std::fs::read_to_string(&not_run).unwrap_or_default())
}

fn list(not_run: &str) -> Result<()> {
    if not_run.is_empty() {
        eprintln!("everything ran");
        return Ok(());
    }
    eprintln!("not run:\n{not_run}");
    if needs::in_ci() {
        bail!("in CI every test must run");
    }
    Ok(())
}
