//! `watchkeeper plugin inspect FILE`: what it is, what it asks for, and who uses it.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use serde_json::json;
use watchkeeper_wasm::{Entry, Plugin, Runtime, Status};

use super::{as_json, interfaces, list, lock, sources, used_by};
use crate::cli::{ConfigDir, DataDir, Ended, Output, print_json};
use crate::config::SourceFile;
use watchkeeper_domain::untrusted::visible;

#[derive(Args)]
pub(in crate::cli) struct Options {
    /// A component
    file: PathBuf,
    #[command(flatten)]
    config: ConfigDir,
    #[command(flatten)]
    data: DataDir,
    #[command(flatten)]
    output: Output,
}

pub(super) fn run(runtime: Runtime, options: &Options) -> Result<Ended> {
    let runtime = runtime.with_trust(options.config.trust(false)?.lenient());
    let plugin = match Plugin::load(&runtime, &options.file) {
        Ok(plugin) => plugin,
        Err(refusal) if options.output.json => {
            print_json(&as_json(&Entry::Refused(refusal), &[]))?;
            return Ok(Ended::Badly);
        }
        Err(refusal) => {
            println!("refused: {}", visible(&refusal.to_string()));
            return Ok(Ended::Badly);
        }
    };
    let sources = sources(&options.config);
    let used_by = used_by(&plugin.name, &sources);
    let status = list::status(&options.data.data, &plugin.name)?;
    if options.output.json {
        let mut json = as_json(&Entry::Loaded(plugin.into()), &used_by);
        json["in_service"] = json!(status);
        print_json(&json)?;
    } else {
        print(&plugin, &used_by, status.as_ref());
    }
    Ok(Ended::Well)
}

fn print(plugin: &Plugin, used_by: &[&SourceFile], status: Option<&Status>) {
    let lines =
        |lines: Vec<String>| if lines.is_empty() { "-".to_owned() } else { lines.join("\n            ") };
    println!("name        {}", plugin.name);
    println!("interfaces  {}", lines(interfaces(plugin)));
    println!("imports     {}", visible(&lines(plugin.imports.clone())));
    println!("asks        {}", lines(plugin.asks.hosts().map(ToString::to_string).collect()));
    let grants = used_by.iter().map(|source| {
        let hosts: Vec<String> = source.allow_hosts.iter().map(ToString::to_string).collect();
        let hosts = if hosts.is_empty() { "no hosts".into() } else { hosts.join(", ") };
        let reveals = if source.reveal_secrets { ", reveal_secrets" } else { "" };
        visible(&format!("source {}, granted {hosts}{reveals}", source.name))
    });
    println!("used by     {}", lines(grants.collect()));
    println!("size        {} bytes", plugin.size);
    println!("digest      sha256:{}", plugin.digest);
    println!("load        {} ms", plugin.load_time.as_millis());
    println!("trust       {}", lock::trust(&plugin.vouched));
    if let Some(status) = status {
        let same =
            if status.version.as_ref() == Some(&plugin.version) { "this version" } else { "another version" };
        println!("in service  {}, {same}", status.state.as_str());
    }
}
