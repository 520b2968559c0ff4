//! Recorded hosts: a folder a case, with the alert, what the host's tools print, and what the report has to say.
//!
//! - `alert.json`: `{"title": …, "labels": {…}, "starts_at": ms, "now": ms}`, all optional but the title.
//! - `host.txt`: a transcript. `$ ps -eo …` begins a command's output, `$ read_file /proc/stat` a file's,
//!   `$ list_files /var/log` a directory's. Where the next line is `! exit 1`, `! failed` or `! timed out`, it ended so.
//!   A call that occurs several times gets its outputs in turn, and the last one from then on. What isn't there fails, as
//!   on a host without it.
//! - `expected.json`: `{"root_cause": […] or null, "summary": […], "findings": […], "recommendations": […],
//!   "calls": […], "never_calls": […], "confidence": [least, most]}`: words that must be found in each; `null` means
//!   there must be no root cause. All but the confidence are optional.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use crate::{Briefing, Call, Playbook, PromptBuilder, Report};

use super::{Answer, Investigation, alert, briefing, investigate, investigate_from};

/// Runs every case in `folder`, once from the prompt's first steps and once without; both must come to the same report.
///
/// # Panics
/// If a report isn't as expected, naming all that aren't, or if there is no case.
pub fn scenarios<P: PromptBuilder + Playbook>(folder: impl AsRef<Path>) {
    let mut cases: Vec<_> = fs::read_dir(&folder)
        .expect("a folder of scenarios")
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect();
    cases.sort();
    assert!(!cases.is_empty(), "no scenarios");
    let wrong: Vec<String> = cases.iter().flat_map(|case| run::<P>(case)).collect();
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

fn run<P: PromptBuilder + Playbook>(case: &Path) -> Vec<String> {
    let name = case.file_name().unwrap_or_default().to_string_lossy();
    let briefing = read_briefing(&text(case, "alert.json"));
    let host = text(case, "host.txt");
    let expected: Expected = serde_json::from_str(&text(case, "expected.json"))
        .unwrap_or_else(|error| panic!("{name}: expected.json: {error}"));

    let alone = investigate::<P>(&briefing, Transcript::read(&host).tool())
        .unwrap_or_else(|error| panic!("{name}: {error}"));
    let first_steps = P::build(&briefing).unwrap_or_else(|error| panic!("{name}: {error}")).first_steps;
    let prompted = investigate_from::<P>(&briefing, first_steps, Transcript::read(&host).tool())
        .unwrap_or_else(|error| panic!("{name}: {error}"));

    let mut wrong = expected.check(&alone);
    if alone.report != prompted.report {
        wrong.push(format!("with first steps it reports otherwise: {:#?}", prompted.report));
    }
    if !wrong.is_empty() {
        wrong.push(format!("{:#?}\n  calls: {:#?}", alone.report, inputs(&alone)));
    }
    wrong.into_iter().map(|what| format!("{name}: {what}")).collect()
}

fn text(case: &Path, file: &str) -> String {
    fs::read_to_string(case.join(file))
        .unwrap_or_else(|error| panic!("{}: {error}", case.join(file).display()))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Facts {
    title: String,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    starts_at: Option<u64>,
    now: Option<u64>,
}

fn read_briefing(json: &str) -> Briefing {
    let facts: Facts = serde_json::from_str(json).unwrap_or_else(|error| panic!("alert.json: {error}"));
    let mut alert = alert(&facts.title);
    alert.labels = facts.labels.into_iter().collect();
    alert.starts_at = facts.starts_at;
    let mut briefing = briefing(alert);
    briefing.now = facts.now.unwrap_or(briefing.now);
    briefing
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Expected {
    #[serde(default, deserialize_with = "present")]
    root_cause: Option<Option<Vec<String>>>,
    #[serde(default)]
    summary: Vec<String>,
    #[serde(default)]
    findings: Vec<String>,
    #[serde(default)]
    recommendations: Vec<String>,
    #[serde(default)]
    calls: Vec<String>,
    #[serde(default)]
    never_calls: Vec<String>,
    confidence: [f64; 2],
}

/// Tells `null` from nothing.
fn present<'de, D: serde::Deserializer<'de>>(value: D) -> Result<Option<Option<Vec<String>>>, D::Error> {
    Deserialize::deserialize(value).map(Some)
}

impl Expected {
    fn check(&self, went: &Investigation) -> Vec<String> {
        let Report { summary, root_cause, findings, recommendations, confidence } = &went.report;
        let statements = findings
            .iter()
            .map(|finding| {
                let excerpts = finding.evidence.iter().map(|evidence| evidence.excerpt.as_str());
                format!("{} [{}]", finding.statement, excerpts.collect::<Vec<_>>().join(" | "))
            })
            .collect::<Vec<_>>()
            .join("\n");
        let calls = inputs(went).join("\n");
        let mut wrong = Vec::new();
        let mut must_say = |what: &str, text: &str, words: &[String]| {
            let missing = words.iter().filter(|word| !text.contains(word.as_str()));
            wrong.extend(missing.map(|word| format!("{what} doesn't say {word:?}")));
        };
        must_say("the summary", summary, &self.summary);
        must_say("no finding", &statements, &self.findings);
        must_say("no recommendation", &recommendations.join("\n"), &self.recommendations);
        must_say("no call", &calls, &self.calls);
        if let Some(Some(words)) = &self.root_cause {
            must_say("the root cause", root_cause.as_deref().unwrap_or_default(), words);
        }
        if matches!(self.root_cause, Some(None)) && root_cause.is_some() {
            wrong.push(format!("there is a root cause: {root_cause:?}"));
        }
        wrong.extend(
            self.never_calls
                .iter()
                .filter(|word| calls.contains(word.as_str()))
                .map(|word| format!("it calls {word:?}")),
        );
        let [least, most] = self.confidence;
        if !(least..=most).contains(confidence) {
            wrong.push(format!("confidence is {confidence}, not {least} to {most}"));
        }
        wrong
    }
}

fn inputs(went: &Investigation) -> Vec<String> {
    went.outcomes.iter().map(|outcome| key(&outcome.call)).collect()
}

/// How a transcript writes a call.
fn key(call: &Call) -> String {
    let input: Value = serde_json::from_str(&call.input).unwrap_or_default();
    let argument = if call.tool == "bash" { &input["command"] } else { &input["path"] };
    let argument = argument.as_str().unwrap_or_default();
    if call.tool == "bash" { argument.to_owned() } else { format!("{} {argument}", call.tool) }
}

struct Transcript(BTreeMap<String, Vec<Answer>>);

impl Transcript {
    fn read(text: &str) -> Self {
        let mut answers: BTreeMap<String, Vec<Answer>> = BTreeMap::new();
        for section in format!("\n{text}").split("\n$ ").skip(1) {
            let (call, output) = section.split_once('\n').unwrap_or((section, ""));
            answers.entry(call.trim().to_owned()).or_default().push(answer(output));
        }
        Transcript(answers)
    }

    /// The host's tools.
    fn tool(mut self) -> impl FnMut(&Call) -> Answer {
        move |call| {
            let missing = || Answer::failed(format!("no such file or program: {}", key(call)));
            let Some(answers) = self.0.get_mut(&key(call)) else {
                return missing();
            };
            if answers.len() > 1 {
                answers.remove(0)
            } else {
                answers.first().cloned().unwrap_or_else(missing)
            }
        }
    }
}

fn answer(output: &str) -> Answer {
    let (first, rest) = output.split_once('\n').unwrap_or((output, ""));
    match first.strip_prefix("! ") {
        Some("failed") => Answer::failed(rest),
        Some("timed out") => Answer::timed_out(rest),
        Some(other) => {
            let code = other.strip_prefix("exit ").and_then(|code| code.parse().ok());
            Answer::exited(
                code.unwrap_or_else(|| panic!("`! {other}` is none of exit N, failed, timed out")),
                rest,
            )
        }
        None => Answer::ran(format!("{}\n", output.trim_end_matches('\n'))),
    }
}
