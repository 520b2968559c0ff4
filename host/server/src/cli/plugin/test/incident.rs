//! A sample for those who brief and diagnose: an alert, and what the host's tools would print.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde_json::{Value, json};
use watchkeeper_domain::alert::RawAlert;
use watchkeeper_domain::brain::{Brain, Brains, Opening};
use watchkeeper_domain::investigation::{Briefing, Call, Outcome, Report, Step, ToolDescription};
use watchkeeper_domain::{IncidentId, Severity, Status, Timestamp, Untrusted};
use watchkeeper_flow::investigate;
use watchkeeper_wasm::Registry;

use super::transcript::{Transcript, words};
use crate::config::parse_as_written;

/// Calls after which a playbook goes round in circles.
const MOST_CALLS: usize = 100;

/// `NAME.incident.yaml`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Incident {
    alert: Given,
    /// When the investigation begins.
    #[serde(default = "some_day")]
    now: Timestamp,
    /// See [`Transcript`].
    #[serde(default)]
    host: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Given {
    title: String,
    #[serde(default = "some_id")]
    id: String,
    #[serde(default = "critical")]
    severity: Severity,
    #[serde(default)]
    description: String,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
    starts_at: Option<Timestamp>,
}

fn some_day() -> Timestamp {
    Timestamp::from_millis(1_800_000_000_000)
}

fn some_id() -> String {
    "sample".to_owned()
}

fn critical() -> Severity {
    Severity::Critical
}

/// The prompt, the calls with what became of each, and the report; or the error, and how far it came.
pub(super) fn run(registry: &Registry, path: &Path) -> Result<Value> {
    let text = std::fs::read_to_string(path).with_context(|| format!("{}: can't be read", path.display()))?;
    let incident: Option<Incident> = parse_as_written(path, &text)?;
    let incident = incident.with_context(|| format!("{}: is empty", path.display()))?;
    diagnosed_here(registry, incident).with_context(|| path.display().to_string())
}

fn diagnosed_here(registry: &Registry, incident: Incident) -> Result<Value> {
    let host = Transcript::read(&incident.host)?;
    let briefing = incident.briefing()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("no runtime")?;
    runtime.block_on(diagnosed(registry, &briefing, host))
}

async fn diagnosed(registry: &Registry, briefing: &Briefing, host: Transcript) -> Result<Value> {
    let Opening { prompt, brain, .. } = match registry.open(&briefing.alert, briefing).await {
        Ok(opening) => opening,
        Err(error) => return Ok(json!({ "error": error.to_string() })),
    };
    let mut run = Run { host, done: Vec::new() };
    run.make(prompt.first_steps.clone());
    let ended = run.lead(&brain, briefing, &prompt).await?;
    let mut json = json!({ "prompt": prompt, "calls": run.calls() });
    match ended {
        Ok(report) => json["report"] = json!(report),
        Err(error) => json["error"] = error.into(),
    }
    Ok(json)
}

struct Run {
    host: Transcript,
    done: Vec<(Call, Outcome)>,
}

impl Run {
    fn make(&mut self, calls: Vec<Call>) {
        for call in calls {
            let outcome = self.host.answer(&call);
            self.done.push((call, outcome));
        }
    }

    /// Until it concludes; the inner error is the plugin's.
    async fn lead(
        &mut self,
        brain: &Arc<dyn Brain>,
        briefing: &Briefing,
        prompt: &watchkeeper_domain::investigation::Prompt,
    ) -> Result<Result<Report, String>> {
        loop {
            let step = brain.next(briefing, prompt, &self.done).await;
            match step.and_then(|step| investigate::check(step, self.done.len())) {
                Ok(Step::Conclude(report)) => {
                    self.shows(&report)?;
                    return Ok(Ok(report));
                }
                Ok(Step::Calls(calls)) if self.done.len() + calls.len() > MOST_CALLS => {
                    bail!("it doesn't conclude within {MOST_CALLS} calls; the last: {}", words(&calls[0]))
                }
                Ok(Step::Calls(calls)) => self.make(calls),
                Err(error) => return Ok(Err(error.to_string())),
            }
        }
    }

    /// Evidence is words that really are in the output that it names.
    fn shows(&self, report: &Report) -> Result<()> {
        for evidence in report.findings.iter().flat_map(|finding| &finding.evidence) {
            let (call, outcome) = &self.done[evidence.call as usize]; // as `check` holds
            let excerpt = evidence.excerpt.expose_untrusted();
            if excerpt.is_empty() || !outcome.output.expose_untrusted().contains(excerpt) {
                bail!("the report's evidence {excerpt:?} is not in the output of `{}`", words(call));
            }
        }
        Ok(())
    }

    fn calls(&self) -> Vec<Value> {
        self.done
            .iter()
            .map(|(call, outcome)| json!({ "call": words(call), "status": outcome.status }))
            .collect()
    }
}

impl Incident {
    fn briefing(self) -> Result<Briefing> {
        let pairs = |pairs: BTreeMap<String, String>| -> Vec<(Untrusted, Untrusted)> {
            pairs.into_iter().map(|(name, value)| (name.into(), value.into())).collect()
        };
        let given = self.alert;
        let alert = RawAlert {
            id: given.id.into(),
            severity: given.severity,
            status: Status::Firing,
            title: given.title.into(),
            description: given.description.into(),
            labels: pairs(given.labels),
            annotations: pairs(given.annotations),
            starts_at: given.starts_at,
            ends_at: None,
        };
        Ok(Briefing {
            incident: IncidentId(1),
            source: "test".to_owned(),
            alert: alert.validate(0)?,
            related: Vec::new(),
            history: Vec::new(),
            tools: [("bash", "command"), ("read_file", "path"), ("list_files", "path")].map(tool).into(),
            now: self.now,
        })
    }
}

/// Those that every host has.
fn tool((name, argument): (&str, &str)) -> ToolDescription {
    ToolDescription {
        name: name.to_owned(),
        description: String::new(),
        input_schema: json!({ "type": "object", "properties": { argument: { "type": "string" } } }),
    }
}
