//! The launcher alone: what this crate's tests start, since there is no host here. The host is its own launcher.

#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    watchkeeper_adapters::sandbox::launched().unwrap_or_else(|| {
        eprintln!("this is started by tests alone");
        ExitCode::FAILURE
    })
}
