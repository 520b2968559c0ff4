//! Golden samples: what comes in, by the kind of its file, and what becomes of it.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use watchkeeper_domain::Untrusted;
use watchkeeper_domain::alert::RawAlert;
use watchkeeper_domain::plugin::{Batch, Feed, ReadError, Reading};
use watchkeeper_domain::untrusted::visible;

use super::difference::difference;
use super::mock::Mock;
use super::{Tested, incident};
use crate::cli::{Ended, print_json};

const EXPECTED: &str = ".expected.json";
const MOCK: &str = ".mock.yaml";
const INCIDENT: &str = ".incident.yaml";

/// Ends that are meant for one of those.
const NEARLY: [&str; 4] = [".mock.yml", ".mock.json", ".incident.yml", ".incident.json"];

/// Calls that the timing line is of; fewer, where the first says that they would take longer than this.
const CALLS: usize = 20;
const TIMED: Duration = Duration::from_secs(1);

/// The files of one sample, by what they are.
#[derive(Default)]
struct Sample {
    /// What a sender sends.
    payloads: Vec<String>,
    mock: bool,
    incident: bool,
    expected: bool,
}

/// What became of a sample.
struct Became {
    json: Value,
    /// What is wrong about it besides, whatever is expected.
    wrong: Vec<String>,
}

/// A sample, and what came of it.
struct Sampled {
    name: String,
    /// Where it isn't what is expected.
    difference: Option<String>,
}

pub(super) fn run(tested: &Tested<'_>) -> Result<Ended> {
    let samples = find(&tested.samples)?;
    let mut sampled = Vec::new();
    for (stem, sample) in &samples {
        let name = sample.name(stem);
        let difference = match sample.held(tested, stem) {
            Ok(difference) => difference,
            Err(error) => vec![format!("{error:#}")],
        };
        let difference = (!difference.is_empty()).then(|| format!("  {}", difference.join("\n  ")));
        sampled.push(Sampled { name, difference });
    }
    let failed = sampled.iter().filter(|sample| sample.difference.is_some()).count();
    if tested.options.output.json {
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
    if let Some(timing) = samples.iter().find_map(|(stem, sample)| sample.timing(tested, stem)) {
        eprintln!("{timing}");
    }
    Ok(if failed == 0 { Ended::Well } else { Ended::Badly })
}

/// By their names.
fn find(folder: &Path) -> Result<BTreeMap<String, Sample>> {
    let none = "put in NAME.json as a sender sends it (NAME.mock.yaml for what is fetched, NAME.incident.yaml for what is \
                diagnosed), and let --update write what is expected; or name a --payload";
    let entries = std::fs::read_dir(folder).with_context(|| {
        format!("{}: can't be read; name the samples' folder with --samples, or {none}", folder.display())
    })?;
    let mut samples: BTreeMap<String, Sample> = BTreeMap::new();
    for entry in entries.filter_map(Result::ok).filter(|entry| entry.path().is_file()) {
        let Ok(file) = entry.file_name().into_string() else { continue };
        if file.starts_with('.') {
            continue;
        }
        let (stem, kind) = stem_and_kind(&file);
        let sample = samples.entry(stem.to_owned()).or_default();
        match kind {
            EXPECTED => sample.expected = true,
            MOCK => sample.mock = true,
            INCIDENT => sample.incident = true,
            _ => sample.payloads.push(file.clone()),
        }
    }
    if samples.is_empty() {
        bail!("{}: has no samples; {none}", folder.display());
    }
    Ok(samples)
}

/// `disk.mock.yaml` is `disk` and `.mock.yaml`.
fn stem_and_kind(file: &str) -> (&str, &str) {
    let known = [EXPECTED, MOCK, INCIDENT].into_iter().find(|kind| file.ends_with(kind));
    let end = known.map_or_else(|| file.rfind('.').unwrap_or(file.len()), |kind| file.len() - kind.len());
    file.split_at(end)
}

impl Sample {
    /// The file that it is named by.
    fn name(&self, stem: &str) -> String {
        match self.payloads.first() {
            Some(payload) => payload.clone(),
            None if self.incident => format!("{stem}{INCIDENT}"),
            None if self.mock => format!("{stem}{MOCK}"),
            None => format!("{stem}{EXPECTED}"),
        }
    }

    /// Where what becomes of it isn't what is expected.
    fn held(&self, tested: &Tested<'_>, stem: &str) -> Result<Vec<String>> {
        let Became { json: got, wrong } = self.became(tested, stem)?;
        let path = tested.samples.join(format!("{stem}{EXPECTED}"));
        if tested.options.update {
            let text = serde_json::to_string_pretty(&got)? + "\n";
            std::fs::write(&path, text).with_context(|| format!("{}: can't be written", path.display()))?;
        } else if !self.expected {
            bail!("{}: isn't there; --update writes it", path.display());
        }
        let text = std::fs::read(&path).with_context(|| format!("{}: can't be read", path.display()))?;
        let expected = serde_json::from_slice(&text)
            .with_context(|| format!("{}: is no JSON; mend it, or let --update write it", path.display()))?;
        let mut differences = difference("alerts", &got, &expected);
        differences.extend(wrong);
        Ok(differences)
    }

    fn became(&self, tested: &Tested<'_>, stem: &str) -> Result<Became> {
        if let [one, other, ..] = &self.payloads[..] {
            bail!("{one} and {other} would have the same {stem}{EXPECTED}: rename one");
        }
        match self.payloads.first() {
            Some(payload) if NEARLY.iter().any(|end| payload.ends_with(end)) => {
                bail!(
                    "{payload} would be a payload; a mock's name ends in {MOCK}, an incident's in {INCIDENT}: rename it"
                )
            }
            Some(_) if self.incident => {
                bail!("{stem}{INCIDENT} would have the same {stem}{EXPECTED}: rename one")
            }
            Some(payload) => self.read(tested, stem, payload),
            None if self.incident && self.mock => {
                bail!(
                    "{stem}{MOCK} says nothing to {stem}{INCIDENT}, which has all in it: take one of them out"
                )
            }
            None if self.incident => {
                let path = tested.samples.join(format!("{stem}{INCIDENT}"));
                let json = incident::run(&tested.registry, &path)?;
                Ok(Became { json, wrong: Vec::new() })
            }
            None if self.mock => fetched(tested, stem),
            None => bail!("there is nothing that it is expected of, such as {stem}.json or {stem}{MOCK}"),
        }
    }

    fn read(&self, tested: &Tested<'_>, stem: &str, payload: &str) -> Result<Became> {
        let mut payload = tested.payload(&tested.samples.join(payload))?;
        let mock = if self.mock { Some(mock(tested, stem)?) } else { None };
        if let Some(mock) = &mock {
            if mock.cursor.is_some() {
                bail!("{stem}{MOCK}: cursor: is of what is fetched, and {stem} is a payload; take it out");
            }
            payload.content_type = mock.content_type.clone().or(payload.content_type);
            payload.attributes.extend(mock.attributes.clone());
        }
        let json = match tested.bind(mock.as_ref())?.read_here(&payload) {
            Ok(Reading::Alerts(alerts)) => alerts_json(&alerts)?,
            Ok(Reading::Reply(reply)) => {
                json!({ "status": reply.status, "headers": reply.headers, "body": String::from_utf8_lossy(&reply.body) })
            }
            Err(error) => error_json(&error),
        };
        Ok(Became { json, wrong: mock.map(|mock| complaints(&mock, stem)).unwrap_or_default() })
    }

    /// What its call takes; none where it isn't one that can be measured.
    fn timing(&self, tested: &Tested<'_>, stem: &str) -> Option<String> {
        let mock = if self.mock { Some(mock(tested, stem).ok()?) } else { None };
        let cursor = mock.as_ref().and_then(|mock| mock.cursor.clone());
        let payload = match self.payloads.first() {
            Some(payload) => Some(tested.payload(&tested.samples.join(payload)).ok()?),
            None if self.mock => None,
            None => return None,
        };
        let began = Instant::now();
        let binding = tested.bind(mock.as_ref()).ok()?;
        let load = tested.load + began.elapsed();
        let call = || {
            let began = Instant::now();
            match &payload {
                Some(payload) => drop(binding.read_here(payload)),
                None => drop(binding.fetch_here(cursor.as_deref())),
            }
            began.elapsed()
        };
        // What it logs was seen once.
        let silent = tracing::subscriber::NoSubscriber::default();
        let mut calls: Vec<Duration> = tracing::subscriber::with_default(silent, || {
            let first = call();
            let fits = (TIMED.as_nanos() / first.as_nanos().max(1)).min(CALLS as u128 - 1);
            std::iter::once(first).chain((0..fits).map(|_| call())).collect()
        });
        calls.sort();
        Some(format!(
            "{}: loaded and configured in {} ms; a call takes {} µs (middle of {})",
            visible(&self.name(stem)),
            load.as_millis(),
            calls[calls.len() / 2].as_micros(),
            calls.len()
        ))
    }
}

fn mock(tested: &Tested<'_>, stem: &str) -> Result<Mock> {
    Mock::read(&tested.samples.join(format!("{stem}{MOCK}")))
}

/// Of its requests, each with the file that it is about.
fn complaints(mock: &Mock, stem: &str) -> Vec<String> {
    mock.http.complaints().into_iter().map(|complaint| format!("{stem}{MOCK}: {complaint}")).collect()
}

fn fetched(tested: &Tested<'_>, stem: &str) -> Result<Became> {
    let mock = mock(tested, stem)?;
    let binding = tested.bind(Some(&mock))?;
    if !matches!(binding.feed(), Some(Feed::Poll { .. })) {
        bail!("the plugin doesn't poll: put the payload that this mock is for beside it, as {stem}.json");
    }
    if mock.content_type.is_some() || !mock.attributes.is_empty() {
        bail!(
            "{stem}{MOCK}: content_type and attributes are a payload's, and there is none beside it; take them out"
        );
    }
    let json = match binding.fetch_here(mock.cursor.as_deref()) {
        Ok(Batch { alerts, cursor, more }) => {
            json!({ "alerts": alerts_json(&alerts)?, "cursor": cursor, "more": more })
        }
        Err(error) => error_json(&error),
    };
    Ok(Became { json, wrong: complaints(&mock, stem) })
}

fn error_json(error: &ReadError) -> Value {
    let kind = match error {
        ReadError::InvalidPayload(_) => "invalid-payload",
        ReadError::Unauthorized(_) => "unauthorized",
        ReadError::Unavailable { .. } => "unavailable",
        ReadError::Failed(_) | ReadError::NotAsked(_) => "failed",
    };
    let mut json = json!({ "error": kind, "reason": error.to_string() });
    if let ReadError::Unavailable { retry_after_ms: Some(millis), .. } = error {
        json["retry_after_ms"] = (*millis).into();
    }
    json
}

/// An error where the host would refuse them, whatever is expected.
fn alerts_json(alerts: &[RawAlert]) -> Result<Value> {
    for (index, alert) in alerts.iter().enumerate() {
        alert.clone().validate(index).context("the host refuses what the plugin makes of it")?;
    }
    Ok(alerts.iter().map(alert_json).collect())
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
