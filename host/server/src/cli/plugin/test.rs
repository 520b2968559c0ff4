//! `watchkeeper plugin test`: payloads read by the very loader, limits and pool that `serve` uses; golden samples, and mocked
//! HTTP, clock and secrets.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;
use serde::Deserialize;
use serde_json::{Value, json};
use watchkeeper_domain::alert::RawAlert;
use watchkeeper_domain::plugin::{Batch, Feed, Payload, ReadError, Reading};
use watchkeeper_domain::{Alert, Timestamp};
use watchkeeper_wasm::{Binding, HttpMock, Registry, Runtime};

use crate::cli::{Ended, Output, print_json};
use crate::config::{Environment, SourceFile};
use crate::render::Table;
use watchkeeper_domain::Untrusted;
use watchkeeper_domain::untrusted::visible;

/// Calls that the timing line is of.
const CALLS: usize = 20;

#[derive(Args)]
pub(in crate::cli) struct Options {
    /// A component that is a source
    file: PathBuf,
    /// What a sender sends; without it, every sample of the samples' folder is read, or fetched, and compared
    #[arg(long, value_name = "FILE")]
    payload: Option<PathBuf>,
    /// Golden samples: NAME.json with NAME.expected.json, or NAME.mock.yaml for what is fetched
    #[arg(long, value_name = "DIR", default_value = "samples")]
    samples: PathBuf,
    /// Write what comes out as what is expected; then read the difference
    #[arg(long)]
    update: bool,
    /// A source's file; without one source.yaml beside the samples, or else the plugin's own defaults
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The payload's content type
    #[arg(long, default_value = "application/json")]
    content_type: String,
    /// An HTTP header or a message's metadata that comes with the payload, as name=value
    #[arg(long = "attribute", value_name = "NAME=VALUE")]
    attributes: Vec<String>,
    #[command(flatten)]
    output: Output,
}

/// What stands behind a plugin instead of the world.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Mock {
    http: HttpMock,
    /// When it is.
    now: Option<Timestamp>,
    /// What `${NAME}` stands for.
    secrets: BTreeMap<String, String>,
    cursor: Option<String>,
}

pub(super) fn run(runtime: &Runtime, options: &Options) -> Result<Ended> {
    let began = Instant::now();
    let registry = Registry::of_file(runtime, &options.file)?;
    match &options.payload {
        Some(payload) => one(&registry, options, payload),
        None => samples(&registry, options, began.elapsed()),
    }
}

fn bind(registry: &Registry, options: &Options, mock: Option<Mock>) -> Result<Binding> {
    let kind = options.file.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    let mut environment = Environment::of_process();
    for (name, value) in mock.iter().flat_map(|mock| &mock.secrets) {
        environment.set(name, value);
    }
    let file = source(kind, options, &environment)?;
    let mut spec = file.spec();
    if let Some(mock) = mock {
        spec.mock = Some(mock.http);
        spec.now = mock.now.map(|now| Duration::from_millis(now.as_millis()));
    }
    crate::sources::bind_as(&file, spec, registry).map_err(Into::into)
}

/// A source's file, whose `type` may be any: the plugin is the one that was named.
fn source(kind: &str, options: &Options, environment: &Environment) -> Result<SourceFile> {
    let beside = options.samples.with_file_name("source.yaml");
    let file =
        options.config.clone().or_else(|| (options.payload.is_none() && beside.is_file()).then_some(beside));
    let mut source = match file {
        Some(file) => {
            let text = std::fs::read_to_string(&file)
                .with_context(|| format!("{}: can't be read", file.display()))?;
            SourceFile::parse(&file, &text, environment)?
        }
        None => {
            let text = format!("name: test\ntype: {kind}\n");
            SourceFile::parse(Path::new("<no source's file>"), &text, environment)?
        }
    };
    source.kind = kind.to_owned();
    Ok(source)
}

fn payload(options: &Options, file: &Path) -> Result<Payload> {
    let body = std::fs::read(file).with_context(|| format!("{}: can't be read", file.display()))?;
    let attribute = |text: &String| {
        let pair = text.split_once('=').map(|(name, value)| (name.to_lowercase(), value.to_owned()));
        pair.with_context(|| format!("--attribute {text}: write it as name=value"))
    };
    let attributes = options.attributes.iter().map(attribute).collect::<Result<_>>()?;
    Ok(Payload { body: body.into(), content_type: Some(options.content_type.clone()), attributes })
}

fn one(registry: &Registry, options: &Options, file: &Path) -> Result<Ended> {
    let binding = bind(registry, options, None)?;
    let payload = payload(options, file)?;
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

/// One golden sample, and what came of it.
struct Sampled {
    name: String,
    /// Where it isn't what is expected.
    difference: Option<String>,
}

/// `load` is what loading the plugin took.
fn samples(registry: &Registry, options: &Options, load: Duration) -> Result<Ended> {
    let folder = &options.samples;
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .with_context(|| {
            format!(
                "{}: can't be read; name the samples' folder with --samples, or a --payload",
                folder.display()
            )
        })?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| !name.contains(".expected.") && !name.starts_with('.'))
        .collect();
    names.sort();
    if names.is_empty() {
        bail!("{}: has no samples", folder.display());
    }
    let mut sampled = Vec::new();
    for name in &names {
        sampled.push(sample(registry, options, name)?);
    }
    let failed = sampled.iter().filter(|sample| sample.difference.is_some()).count();
    if options.output.json {
        let items: Vec<Value> = sampled
            .iter()
            .map(|sample| json!({ "sample": sample.name, "ok": sample.difference.is_none(), "difference": sample.difference }))
            .collect();
        print_json(&json!({ "samples": items }))?;
    } else {
        for sample in &sampled {
            match &sample.difference {
                None => println!("ok    {}", visible(&sample.name)),
                Some(difference) => println!("WRONG {}\n{}", visible(&sample.name), visible(difference)),
            }
        }
    }
    eprintln!("{} samples, {failed} wrong", sampled.len());
    if let Some(first) = names.iter().find(|name| !name.ends_with(".mock.yaml")) {
        eprintln!("{}", timing(registry, options, first, load)?);
    }
    Ok(if failed == 0 { Ended::Well } else { Ended::Badly })
}

fn sample(registry: &Registry, options: &Options, name: &str) -> Result<Sampled> {
    let folder = &options.samples;
    let stem = name
        .strip_suffix(".mock.yaml")
        .or_else(|| name.rsplit_once('.').map(|(stem, _)| stem))
        .unwrap_or(name);
    let got = if name.ends_with(".mock.yaml") {
        fetched(registry, options, name)?
    } else {
        read(registry, options, name)?
    };
    let path = folder.join(format!("{stem}.expected.json"));
    if options.update {
        let text = serde_json::to_string_pretty(&got)? + "\n";
        std::fs::write(&path, text).with_context(|| format!("{}: can't be written", path.display()))?;
    }
    let expected: Value = match std::fs::read(&path) {
        Ok(text) => {
            serde_json::from_slice(&text).with_context(|| format!("{}: is no JSON", path.display()))?
        }
        Err(error) => bail!("{}: can't be read ({error}); --update writes it", path.display()),
    };
    let difference = (got != expected).then(|| format!("  got      {got}\n  expected {expected}"));
    Ok(Sampled { name: name.to_owned(), difference })
}

fn read(registry: &Registry, options: &Options, name: &str) -> Result<Value> {
    let binding = bind(registry, options, None)?;
    Ok(match binding.read_here(&payload(options, &options.samples.join(name))?) {
        Ok(Reading::Alerts(alerts)) => alerts.iter().map(alert_json).collect(),
        Ok(Reading::Reply(reply)) => {
            json!({ "status": reply.status, "headers": reply.headers, "body": String::from_utf8_lossy(&reply.body) })
        }
        Err(error) => error_json(&error),
    })
}

fn fetched(registry: &Registry, options: &Options, name: &str) -> Result<Value> {
    let path = options.samples.join(name);
    let text =
        std::fs::read_to_string(&path).with_context(|| format!("{}: can't be read", path.display()))?;
    let mock: Mock =
        serde_yaml::from_str(&text).with_context(|| format!("{}: is no mock", path.display()))?;
    let cursor = mock.cursor.clone();
    let binding = bind(registry, options, Some(mock))?;
    if !matches!(binding.feed(), Some(Feed::Poll { .. })) {
        bail!("{}: mocks are for plugins that poll, and this one doesn't", path.display());
    }
    Ok(match binding.fetch_here(cursor.as_deref()) {
        Ok(Batch { alerts, cursor, more }) => {
            let alerts: Value = alerts.iter().map(alert_json).collect();
            json!({ "alerts": alerts, "cursor": cursor, "more": more })
        }
        Err(error) => error_json(&error),
    })
}

fn error_json(error: &ReadError) -> Value {
    let kind = match error {
        ReadError::InvalidPayload(_) => "invalid-payload",
        ReadError::Unauthorized(_) => "unauthorized",
        ReadError::Unavailable { .. } => "unavailable",
        ReadError::Failed(_) => "failed",
    };
    let mut json = json!({ "error": kind, "reason": error.to_string() });
    if let ReadError::Unavailable { retry_after_ms: Some(millis), .. } = error {
        json["retry_after_ms"] = (*millis).into();
    }
    json
}

/// As the SDKs' golden samples have it: labels and annotations are objects, absent times are left out.
fn alert_json(alert: &RawAlert) -> Value {
    let object = |pairs: &[(Untrusted, Untrusted)]| -> Value {
        pairs.iter().map(|(name, value)| (name.expose_untrusted().clone(), json!(value))).collect()
    };
    let mut json = json!({
        "id": alert.id,
        "severity": alert.severity,
        "status": alert.status,
        "title": alert.title,
        "description": alert.description,
        "labels": object(&alert.labels),
        "annotations": object(&alert.annotations),
    });
    for (key, time) in [("starts_at", alert.starts_at), ("ends_at", alert.ends_at)] {
        if let Some(time) = time {
            json[key] = time.as_millis().into();
        }
    }
    json
}

fn timing(registry: &Registry, options: &Options, name: &str, load: Duration) -> Result<String> {
    let payload = payload(options, &options.samples.join(name))?;
    let began = Instant::now();
    let binding = bind(registry, options, None)?;
    let load = load + began.elapsed();
    let mut calls: Vec<Duration> = (0..CALLS)
        .map(|_| {
            let began = Instant::now();
            let _ = binding.read_here(&payload);
            began.elapsed()
        })
        .collect();
    calls.sort();
    Ok(format!(
        "{name}: loaded and configured in {} ms; a call takes {} µs (middle of {CALLS})",
        load.as_millis(),
        calls[CALLS / 2].as_micros()
    ))
}

fn print_alerts(alerts: &[Alert], output: &Output) -> Result<()> {
    if output.json {
        return print_json(&alerts);
    }
    let mut table = Table::new(["ID", "SEVERITY", "STATUS", "STARTS AT", "TITLE", "LABELS"]);
    for alert in alerts {
        let labels: Vec<String> =
            alert.labels.iter().map(|(name, value)| format!("{}={}", name.line(), value.line())).collect();
        table.row([
            alert.id.line(),
            alert.severity.to_string(),
            alert.status.to_string(),
            alert.starts_at.map_or("-".into(), |time| time.to_string()),
            alert.title.line(),
            labels.join(" "),
        ]);
    }
    table.print(None);
    Ok(())
}
