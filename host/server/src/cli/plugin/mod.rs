//! `watchkeeper plugin`: `list`, `inspect` and `test` with the very loader that `serve` uses; `new` and `build` for authors.

mod build;
mod new;

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use watchkeeper_domain::Alert;
use watchkeeper_domain::plugin::{Payload, Reading};
use watchkeeper_wasm::{Entry, Plugin, Registry, Runtime};

use super::{Ended, Output, PluginsDir, print_json};
use crate::config::{Environment, SourceFile};
use crate::render::{Table, safe};
use crate::wiring;

#[derive(Subcommand)]
pub(super) enum Command {
    /// Begin a plugin: a project in any of the languages
    New(new::Options),
    /// Make a component of a project
    Build(build::Options),
    /// What is in the folder, and what is refused and why
    List(ListOptions),
    /// What one file is: interfaces, imports, size, digest
    Inspect(InspectOptions),
    /// Read a payload with a plugin, and print the alerts
    Test(TestOptions),
}

#[derive(Args)]
pub(super) struct ListOptions {
    #[command(flatten)]
    plugins: PluginsDir,
    #[command(flatten)]
    output: Output,
}

#[derive(Args)]
pub(super) struct InspectOptions {
    /// A component
    file: PathBuf,
    #[command(flatten)]
    output: Output,
}

#[derive(Args)]
pub(super) struct TestOptions {
    /// A component that is a source and a parser
    file: PathBuf,
    /// What a sender sends
    #[arg(long, value_name = "FILE")]
    payload: PathBuf,
    /// A source's file; without one the plugin's own defaults hold
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The payload's content type
    #[arg(long, default_value = "application/json")]
    content_type: String,
    #[command(flatten)]
    output: Output,
}

pub(super) fn run(command: &Command) -> Result<Ended> {
    let runtime = || Runtime::new(None).map_err(anyhow::Error::msg);
    match command {
        Command::New(options) => new::run(options),
        Command::Build(options) => build::run(options),
        Command::List(options) => list(&runtime()?, options),
        Command::Inspect(options) => inspect(&runtime()?, options),
        Command::Test(options) => test(&runtime()?, options),
    }
}

fn list(runtime: &Runtime, options: &ListOptions) -> Result<Ended> {
    let entries = wiring::plugins(runtime, &options.plugins.plugins)?.entries();
    if options.output.json {
        let plugins: Vec<Value> = entries.iter().map(as_json).collect();
        print_json(&json!({ "plugins": plugins }))?;
    } else {
        let mut table = Table::new(["PLUGIN", "STATE", "INTERFACES", "SIZE", "DIGEST"]);
        for entry in &entries {
            table.row(match entry {
                Entry::Loaded(plugin) => [
                    plugin.name.clone(),
                    "loaded".into(),
                    interfaces(plugin).join(", "),
                    plugin.size.to_string(),
                    plugin.digest[..12].into(),
                ],
                Entry::Refused(refusal) => {
                    let name = refusal.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                    [name, "refused".into(), refusal.reason.clone(), "-".into(), "-".into()]
                }
            });
        }
        table.print(None);
    }
    let refused = entries.iter().any(|entry| matches!(entry, Entry::Refused(_)));
    Ok(if refused { Ended::Badly } else { Ended::Well })
}

fn interfaces(plugin: &Plugin) -> Vec<String> {
    plugin.interfaces.iter().map(|(interface, version)| format!("{interface}@{version}")).collect()
}

fn as_json(entry: &Entry) -> Value {
    match entry {
        Entry::Loaded(plugin) => json!({
            "name": plugin.name,
            "file": plugin.path,
            "state": "loaded",
            "interfaces": interfaces(plugin),
            "imports": plugin.imports,
            "size": plugin.size,
            "digest": format!("sha256:{}", plugin.digest),
            "load_ms": plugin.load_time.as_millis() as u64,
        }),
        Entry::Refused(refusal) => json!({
            "file": refusal.path,
            "state": "refused",
            "reason": refusal.reason,
        }),
    }
}

fn inspect(runtime: &Runtime, options: &InspectOptions) -> Result<Ended> {
    let plugin = match Plugin::load(runtime, &options.file) {
        Ok(plugin) => plugin,
        Err(refusal) if options.output.json => {
            print_json(&as_json(&Entry::Refused(refusal)))?;
            return Ok(Ended::Badly);
        }
        Err(refusal) => {
            println!("refused: {}", safe(&refusal.to_string()));
            return Ok(Ended::Badly);
        }
    };
    if options.output.json {
        print_json(&as_json(&Entry::Loaded(plugin.into())))?;
        return Ok(Ended::Well);
    }
    println!("name        {}", plugin.name);
    println!("interfaces  {}", interfaces(&plugin).join("\n            "));
    println!("imports     {}", plugin.imports.join("\n            "));
    println!("size        {} bytes", plugin.size);
    println!("digest      sha256:{}", plugin.digest);
    println!("load        {} ms", plugin.load_time.as_millis());
    Ok(Ended::Well)
}

fn test(runtime: &Runtime, options: &TestOptions) -> Result<Ended> {
    let registry = Registry::of_file(runtime, &options.file)?;
    let kind = options.file.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    let source = source(kind, options.config.as_deref())?;
    let binding = wiring::bind(&source, &registry)?;
    let body = std::fs::read(&options.payload)
        .with_context(|| format!("{}: can't be read", options.payload.display()))?;
    let payload = Payload {
        body: body.into(),
        content_type: Some(options.content_type.clone()),
        attributes: Vec::new(),
    };
    let started = Instant::now();
    let reading = binding.read_here(&payload);
    let took = started.elapsed();
    let alerts = match reading {
        Ok(Reading::Alerts(alerts)) => alerts,
        Ok(Reading::Reply(reply)) => {
            bail!("the plugin answered the sender itself, with status {}", reply.status)
        }
        Err(error) => bail!("the plugin refused the payload: {error}"),
    };
    let alerts: Vec<Alert> = alerts
        .into_iter()
        .enumerate()
        .map(|(index, alert)| alert.validate(index))
        .collect::<Result<_, _>>()?;
    print_alerts(&alerts, &options.output)?;
    eprintln!("{} alerts in {} µs", alerts.len(), took.as_micros());
    Ok(Ended::Well)
}

/// A source's file, whose `type` may be any: the plugin is the one that was named.
fn source(kind: &str, file: Option<&Path>) -> Result<SourceFile> {
    let mut source = match file {
        Some(file) => {
            let text = std::fs::read_to_string(file)
                .with_context(|| format!("{}: can't be read", file.display()))?;
            SourceFile::parse(file, &text, &Environment::of_process())?
        }
        None => {
            let text = format!("name: test\ntype: {kind}\n");
            SourceFile::parse(Path::new("<no source's file>"), &text, &Environment::default())?
        }
    };
    source.kind = kind.to_owned();
    Ok(source)
}

fn print_alerts(alerts: &[Alert], output: &Output) -> Result<()> {
    if output.json {
        return print_json(&alerts);
    }
    let mut table = Table::new(["ID", "SEVERITY", "STATUS", "STARTS AT", "TITLE", "LABELS"]);
    for alert in alerts {
        let labels: Vec<String> =
            alert.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
        table.row([
            alert.id.clone(),
            alert.severity.to_string(),
            alert.status.to_string(),
            alert.starts_at.map_or("-".into(), |time| time.to_string()),
            alert.title.clone(),
            labels.join(" "),
        ]);
    }
    table.print(None);
    Ok(())
}
