//! `watchkeeper check`: everything that `serve` would refuse or leave out, and why. By the same loader.

use std::sync::Arc;

use anyhow::{Context, Result};
use clap::Args;
use serde_json::json;
use watchkeeper_adapters::store::SqliteStore;
use watchkeeper_wasm::Entry;

use super::{ConfigDir, DataDir, Ended, Listen, Locked, Output, PluginsDir, print_json};
use crate::config::{Config, Environment};
use crate::render::Table;
use crate::sources::{SourceStatus, Sources};
use crate::wiring;

#[derive(Args)]
pub(super) struct Options {
    #[command(flatten)]
    config: ConfigDir,
    #[command(flatten)]
    plugins: PluginsDir,
    #[command(flatten)]
    locked: Locked,
    #[command(flatten)]
    data: DataDir,
    #[command(flatten)]
    listen: Listen,
    #[command(flatten)]
    output: Output,
}

pub(super) fn run(options: &Options) -> Result<Ended> {
    let mut problems = Vec::new();
    let mut config = match options.config.load(&Environment::of_process()) {
        Err(error) if options.output.json => {
            print_json(&json!({ "ok": false, "problems": [format!("{error:#}")] }))?;
            return Ok(Ended::Badly);
        }
        config => config?,
    };
    let open = !options.listen.listen.ip().is_loopback();
    if open && config.host.server.api_token.is_none() && !SqliteStore::has_tokens(&options.data.data) {
        let listen = options.listen.listen;
        problems.push(format!(
            "{listen} is beyond loopback, and the API has no credentials: neither is server.api_token set, nor did \
             `watchkeeper token create` make a token in {}",
            options.data.data.display()
        ));
    }
    sandbox(&mut config, &mut problems)?;
    let trust = config.trust(options.locked.locked);
    let runtime = wiring::passing_runtime()?.with_trust(trust);
    let folder = &options.plugins.plugins;
    let registry = Arc::new(wiring::plugins_to_begin_with(&runtime, folder, &options.data.data)?);
    let mut sources = Sources::new(registry.clone(), open, None);
    sources.reconcile(&config.sources);
    registry.scan(folder);
    sources.refresh_all();
    problems.extend(registry.entries().iter().filter_map(|entry| match entry {
        Entry::Refused(refusal) => Some(refusal.to_string()),
        Entry::Loaded(_) => None,
    }));
    let sources = sources.statuses();
    problems.extend(sources.iter().filter_map(|status| Some(status.outcome.as_ref().err()?.to_string())));
    if options.output.json {
        print_json(&as_json(&config.notes, &sources, &problems))?;
    } else {
        print(&config.notes, &sources, &problems);
    }
    Ok(if problems.is_empty() { Ended::Well } else { Ended::Badly })
}

/// Tries it. What is missing is a problem, or a note if the operator accepts less.
fn sandbox(config: &mut Config, problems: &mut Vec<String>) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("no runtime")?;
    let sandbox = wiring::sandbox(config)?;
    let features = runtime.block_on(sandbox.features()).context("the sandbox can't be tried")?;
    let missing = features.missing.iter();
    match config.host.sandbox.accept_weaker {
        true => config.notes.extend(missing.map(|what| format!("commands run in a weaker sandbox, without {what}"))),
        false => problems.extend(missing.map(|what| {
            format!("commands are refused, since the sandbox can't be had: {what} (sandbox.accept_weaker runs them all the same)")
        })),
    }
    let (_, notes) = config.host.sandbox.options()?;
    config.notes.extend(notes);
    config.notes.extend(features.without);
    Ok(())
}

fn as_json(notes: &[String], sources: &[SourceStatus], problems: &[String]) -> serde_json::Value {
    let sources = sources.iter().map(|status| {
        json!({
            "name": status.name,
            "type": status.kind,
            "file": status.file,
            "webhook_path": status.webhook_path(),
            "fed": status.fed(),
            "problem": status.outcome.as_ref().err().map(ToString::to_string),
        })
    });
    json!({ "ok": problems.is_empty(), "sources": sources.collect::<Vec<_>>(), "problems": problems, "notes": notes })
}

fn print(notes: &[String], sources: &[SourceStatus], problems: &[String]) {
    let mut table = Table::new(["SOURCE", "TYPE", "FED"]);
    for status in sources {
        let fed = status.fed().unwrap_or_else(|| "disabled".into());
        table.row([status.name.clone(), status.kind.clone(), fed]);
    }
    table.print(None);
    for note in notes {
        println!("note: {}", watchkeeper_domain::untrusted::visible(note));
    }
    for problem in problems {
        println!("problem: {}", watchkeeper_domain::untrusted::visible(problem));
    }
    if problems.is_empty() {
        println!("fine: nothing is wrong");
    }
}
