//! The binary `watchkeeper`.

#![forbid(unsafe_code)]

mod cli;
mod config;
mod http;
mod query;
mod render;
mod wiring;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::run()
}
