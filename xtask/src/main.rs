//! `cargo xtask`: everything that is done with this repository.

#![forbid(unsafe_code)]

mod bench;
mod bench_extism;
mod bench_plugins;
mod copies;
mod load;
mod needs;
mod run;
mod servers;
mod test;
mod toolchains;

use anyhow::{Result, bail};

const USAGE: &str = "\
usage: cargo xtask COMMAND

  build [--all-languages]
                  build the plugins into plugins/, and the host; with the option, the plugins in other languages than Rust, too
  demo [--once]   build, then show the whole path from an alert to a report, and go on serving
  test            everything that CI runs: format, lints, builds, tests
  bench [ROW…]    measure; rows: parse, plugins, start, ingest (all of them without a name); extism, which builds
                  another wasmtime";

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let (command, rest) = words.split_first().map_or(("", &[][..]), |(first, rest)| (first.as_str(), rest));
    match command {
        "build" => run::build(rest),
        "demo" => run::demo(rest),
        "test" => test::run(),
        "bench" => bench::run(rest),
        _ => bail!("{USAGE}"),
    }
}
