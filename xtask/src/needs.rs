//! What a fresh machine lacks, by each thing's ordinary client.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::run::execute;

const WASM: &str = "wasm32-wasip2";

/// The runner of tests; known to build with this toolchain.
const NEXTEST: &str = "cargo-nextest@0.9.143";

/// Servers that tests talk to, and programs that they use: the program, and Debian's package that has it.
const SERVERS: [(&str, &str); 16] = [
    ("aiosmtpd", "python3-aiosmtpd"),
    ("busybox", "busybox-static"),
    ("chromium", "chromium"),
    ("dbus-daemon", "dbus"),
    ("docker", "docker.io"),
    ("dockerd", "docker.io"),
    ("docker-registry", "docker-registry"),
    ("faketime", "faketime"),
    ("minisign", "minisign"),
    ("mosquitto", "mosquitto"),
    ("mosquitto_pub", "mosquitto-clients"),
    ("openssl", "openssl"),
    ("pkcheck", "polkitd"),
    ("prometheus-alertmanager", "prometheus-alertmanager"),
    ("setfattr", "attr"),
    ("systemctl", "systemd"),
];

pub(crate) fn wasm_target() -> Result<()> {
    target(WASM)
}

/// One that the toolchain can compile for.
pub(crate) fn target(name: &str) -> Result<()> {
    let installed = Command::new("rustup").args(["target", "list", "--installed"]).output();
    let installed = installed.context("rustup is needed: https://rustup.rs")?;
    if String::from_utf8_lossy(&installed.stdout).lines().any(|target| target == name) {
        return Ok(());
    }
    execute("rustup", &["target", "add", name])
}

pub(crate) fn nextest() -> Result<()> {
    if works("cargo", &["nextest", "--version"]) {
        return Ok(());
    }
    execute("cargo", &["install", "--locked", NEXTEST])
}

/// Installs the servers that are missing. One that can't be had is an error in CI; elsewhere its tests say that they
/// did not run.
pub(crate) fn servers() -> Result<()> {
    let missing: Vec<&str> =
        SERVERS.into_iter().filter(|(program, _)| !on_path(program)).map(|(_, package)| package).collect();
    if missing.is_empty() {
        return Ok(());
    }
    if let Err(error) = install(&missing) {
        if in_ci() {
            bail!("{} can't be had, and CI needs it: {error}", missing.join(", "));
        }
        eprintln!("{} can't be had ({error}); the tests that need it will not run", missing.join(", "));
    }
    Ok(())
}

pub(crate) fn in_ci() -> bool {
    std::env::var_os("CI").is_some_and(|value| !value.is_empty())
}

fn install(packages: &[&str]) -> Result<()> {
    if !on_path("apt-get") {
        bail!("this system has no apt-get; install {} yourself", packages.join(", "));
    }
    apt_get(&["update"])?;
    apt_get(&[&["install", "--yes", "--no-install-recommends"], packages].concat())
}

fn apt_get(arguments: &[&str]) -> Result<()> {
    let root = Command::new("id").arg("-u").output().is_ok_and(|id| id.stdout.trim_ascii() == b"0");
    let quiet = ["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "--quiet"];
    let words = if root { quiet.to_vec() } else { [&["sudo"], &quiet[..]].concat() };
    let words = [&words[..], arguments].concat();
    execute(words[0], &words[1..])
}

pub(crate) fn on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

fn works(program: &str, arguments: &[&str]) -> bool {
    let mut command = Command::new(program);
    command
        .args(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}
