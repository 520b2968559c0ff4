//! `watchkeeper plugin test`: payloads read by the very loader, limits and pool that `serve` uses; golden samples, and mocked
//! HTTP, clock and secrets.

mod difference;
mod incident;
mod mock;
mod samples;
mod transcript;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;
use watchkeeper_domain::Alert;
use watchkeeper_domain::plugin::{Payload, Reading};
use watchkeeper_wasm::{Binding, Entry, Interface, Registry, Runtime};

use self::mock::Mock;
use crate::cli::{Ended, Output, print_json};
use crate::config::{Environment, SourceFile};
use crate::render::Table;
use crate::sources;

#[derive(Args)]
pub(in crate::cli) struct Options {
    /// A project's folder, which is built first, or a component
    #[arg(default_value = ".", value_name = "DIR|FILE")]
    plugin: PathBuf,
    /// What a sender sends; without it, every sample of the samples' folder is read, fetched or diagnosed, and compared
    #[arg(long, value_name = "FILE")]
    payload: Option<PathBuf>,
    /// Golden samples: NAME.json, NAME.mock.yaml for what is fetched, NAME.incident.yaml for what is diagnosed; each with
    /// NAME.expected.json [default: samples in the project, or else here or beside the component]
    #[arg(long, value_name = "DIR")]
    samples: Option<PathBuf>,
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

/// The plugin under test.
struct Tested<'a> {
    registry: Registry,
    /// Its name.
    kind: String,
    samples: PathBuf,
    options: &'a Options,
    /// What loading it took.
    load: Duration,
}

pub(super) fn run(runtime: &Runtime, options: &Options) -> Result<Ended> {
    let component = component(options)?;
    let began = Instant::now();
    let registry = Registry::of_file(runtime, &component)?;
    let tested = Tested {
        registry,
        kind: component.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default().to_owned(),
        samples: samples_of(options),
        options,
        load: began.elapsed(),
    };
    match &options.payload {
        Some(payload) => tested.one(payload),
        None => samples::run(&tested),
    }
}

/// The component that was named, or that its project makes.
fn component(options: &Options) -> Result<PathBuf> {
    if !options.plugin.is_dir() {
        return Ok(options.plugin.clone());
    }
    let built = super::build::build(&options.plugin, None)?;
    eprintln!("built {} in {:.1} s", built.file.display(), built.took.as_secs_f64());
    Ok(built.file)
}

fn samples_of(options: &Options) -> PathBuf {
    const SAMPLES: &str = "samples";
    if let Some(named) = &options.samples {
        return named.clone();
    }
    if options.plugin.is_dir() {
        return options.plugin.join(SAMPLES);
    }
    let beside = options.plugin.with_file_name(SAMPLES);
    if !Path::new(SAMPLES).is_dir() && beside.is_dir() { beside } else { SAMPLES.into() }
}

impl Tested<'_> {
    fn bind(&self, mock: Option<&Mock>) -> Result<Binding> {
        let mut environment = Environment::of_process();
        for (name, value) in mock.iter().flat_map(|mock| &mock.secrets) {
            environment.set(name, value);
        }
        let file = self.source(&environment)?;
        let mut spec = file.spec();
        if let Some(mock) = mock {
            spec.mock = Some(Arc::new(mock.http.clone()));
            spec.now = mock.now.map(|now| Duration::from_millis(now.as_millis()));
        }
        let binding = sources::bind_as(&file, spec, &self.registry)?;
        // As `serve` does, which would refuse it.
        if let Some(feed) = binding.feed() {
            sources::check_feed(&feed).map_err(|reason| file.problem(None, reason))?;
        }
        Ok(binding)
    }

    fn exports(&self, interface: Interface) -> bool {
        let has = |entry: &Entry| matches!(entry, Entry::Loaded(plugin) if plugin.has(interface));
        self.registry.entries().iter().any(has)
    }

    /// A source's file, whose `type` may be any: the plugin is the one that was named.
    fn source(&self, environment: &Environment) -> Result<SourceFile> {
        let options = self.options;
        let beside = self.samples.with_file_name("source.yaml");
        let is_beside_samples = self.samples.is_dir() && beside.is_file();
        let file = options.config.clone().or_else(|| is_beside_samples.then_some(beside));
        let mut source = match file {
            Some(file) => {
                let text = std::fs::read_to_string(&file)
                    .with_context(|| format!("{}: can't be read", file.display()))?;
                SourceFile::parse(&file, &text, environment)?
            }
            None => {
                let kind = &self.kind;
                let text = match self.exports(Interface::Source) {
                    true => format!("name: test\ntype: {kind}\n"),
                    false => format!("name: test\ntype: webhook\nwebhook_path: /test\nparser: {kind}\n"),
                };
                SourceFile::parse(Path::new("<no source.yaml, no --config>"), &text, environment)?
            }
        };
        source.kind.clone_from(&self.kind);
        Ok(source)
    }

    fn payload(&self, file: &Path) -> Result<Payload> {
        let body = std::fs::read(file).with_context(|| format!("{}: can't be read", file.display()))?;
        let attribute = |text: &String| {
            let pair = text.split_once('=').map(|(name, value)| (name.to_lowercase(), value.to_owned()));
            pair.with_context(|| format!("--attribute {text}: write it as name=value"))
        };
        let attributes = self.options.attributes.iter().map(attribute).collect::<Result<_>>()?;
        Ok(Payload { body: body.into(), content_type: Some(self.options.content_type.clone()), attributes })
    }

    fn one(&self, file: &Path) -> Result<Ended> {
        let binding = self.bind(None)?;
        let payload = self.payload(file)?;
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
        print_alerts(&alerts, &self.options.output)?;
        eprintln!("{} alerts in {} µs", alerts.len(), took.as_micros());
        Ok(Ended::Well)
    }
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
