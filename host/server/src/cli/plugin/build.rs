//! `watchkeeper plugin build`: a project becomes a component.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;
use serde_json::json;
use watchkeeper_authoring as authoring;
use watchkeeper_domain::untrusted::visible;
use watchkeeper_wasm::Asks;

use super::super::{Ended, Output, print_json};

#[derive(Args)]
pub(in crate::cli) struct Options {
    /// The project's folder
    #[arg(default_value = ".")]
    dir: PathBuf,
    /// The component's file, or a folder for it [default: NAME.wasm in the project]
    #[arg(long, value_name = "FILE|DIR")]
    out: Option<PathBuf>,
    #[command(flatten)]
    output: Output,
}

pub(super) fn run(options: &Options) -> Result<Ended> {
    match build(&options.dir, options.out.as_deref()) {
        Ok(built) if options.output.json => {
            let took = built.took.as_millis() as u64;
            print_json(&json!({
                "ok": true, "file": built.file, "size": built.size, "took_ms": took, "warnings": built.warnings
            }))?;
            Ok(Ended::Well)
        }
        Ok(built) => {
            let took = built.took.as_secs_f64();
            println!("{}: {} bytes, built in {took:.1} s", built.file.display(), built.size);
            Ok(Ended::Well)
        }
        Err(error) if options.output.json => {
            print_json(&json!({ "ok": false, "problem": format!("{error:#}") }))?;
            Ok(Ended::Badly)
        }
        Err(error) => Err(error),
    }
}

/// Builds a project whose `asks` are some that a host can read; says what the tools warn of.
pub(super) fn build(dir: &Path, out: Option<&Path>) -> Result<authoring::Built> {
    let project = authoring::Project::read(dir)?;
    if let Some(asks) = project.asks {
        let read = serde_json::from_value::<Asks>(asks);
        read.with_context(|| format!("{}: asks", dir.join("plugin.yaml").display()))?;
    }
    let built = authoring::build(dir, out)?;
    if !built.warnings.is_empty() {
        eprintln!("{}", visible(&built.warnings));
    }
    Ok(built)
}
