//! A real browser without a screen: what it makes of a page.

use std::process::Command;
use std::time::Duration;

use crate::process;
use crate::require;

/// A browser starts slowly on a machine that runs other tests.
const PATIENCE: Duration = Duration::from_secs(120);

/// The document as the browser has it once the page is loaded and its scripts, if there are any, have run: serialised, so
/// that what is text in it is escaped. None where no browser is installed.
pub fn dom(url: &str) -> Option<String> {
    let program = require("chromium", "chromium")?;
    let folder = tempfile::Builder::new().prefix("chromium-test-").tempdir().unwrap();
    let mut command = Command::new(program);
    command
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"])
        .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
        .args(["--disable-dev-shm-usage", "--no-proxy-server"])
        .arg(format!("--user-data-dir={}", folder.path().display()))
        // A page that loads more gets the time for it, by the browser's own clock.
        .args(["--virtual-time-budget=3000", "--dump-dom", url])
        .env("HOME", folder.path());
    let ran = process::run(&mut command, folder.path(), b"", PATIENCE);
    assert!(ran.code == Some(0) && ran.stdout.contains("<html"), "{}", ran.said());
    Some(ran.stdout)
}
