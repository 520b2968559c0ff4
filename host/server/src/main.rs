//! The binary `watchkeeper`.

#![forbid(unsafe_code)]

mod cli;
mod config;
mod http;
mod orders;
mod page;
mod query;
mod render;
mod secrets;
mod sources;
mod wiring;

use std::process::ExitCode;

fn main() -> ExitCode {
    // First of all: as a launcher this process is single-threaded, and nothing else of the host.
    if let Some(code) = watchkeeper_adapters::sandbox::launched() {
        return code;
    }
    if let Some(code) = watchkeeper_wasm::compiled() {
        return code;
    }
    // An error says that there is one already, and there may be but one.
    let _ = rustls::crypto::ring::default_provider().install_default();
    cli::run()
}
