//! Servers that tests talk to, where they are installed.

use std::io::Write;
use std::path::PathBuf;

/// The program's path. Where it isn't installed: CI fails, and elsewhere the test is listed as not run (None).
pub fn require(program: &str, package: &str) -> Option<PathBuf> {
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let found =
        std::env::split_paths(&folders).map(|folder| folder.join(program)).find(|path| path.is_file());
    if found.is_none() {
        not_run(&format!("{program} is not installed; the package {package} has it"));
    }
    found
}

/// Says that the test that calls this is not run, and why. In CI that is a failure.
pub fn not_run(reason: &str) {
    let thread = std::thread::current();
    let test = std::env::var("NEXTEST_TEST_NAME").ok();
    let test = test.as_deref().or(thread.name()).unwrap_or("a test");
    assert!(std::env::var_os("CI").is_none(), "{test} can't run: {reason}");
    println!("not run: {test}: {reason}");
    if let Some(list) = std::env::var_os("WATCHKEEPER_NOT_RUN") {
        let mut list = std::fs::File::options().create(true).append(true).open(list).unwrap();
        writeln!(list, "{test}: {reason}").unwrap();
    }
}
