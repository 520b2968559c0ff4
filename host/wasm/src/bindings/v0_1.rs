//! `watchkeeper:plugin@0.1`: the generated types, and each of them as the domain's and back.
//!
//! Invariant: the only module that names them.

use std::time::Duration;

use serde_json::Value;
use wasmtime::component::{HasSelf, Instance, InstancePre, Linker};
use wasmtime::{Result, Store};
use watchkeeper_domain::alert::{Alert, RawAlert, Severity, Status};
use watchkeeper_domain::investigation as domain;
use watchkeeper_domain::plugin::{Batch, Feed, Payload, ReadError, Reply};
use watchkeeper_domain::{Labels, Timestamp, Untrusted};

use super::live::Live;
use crate::guest::Guest;

mod generated {
    wasmtime::component::bindgen!({
        path: "../../wit/v0.1.0",
        world: "everything",
        imports: { default: trappable },
    });
}

use generated::exports::watchkeeper::plugin as exports;
use generated::watchkeeper::plugin::{investigation as wit_investigation, logging, types};

/// The WIT package, without its version.
pub(crate) const PACKAGE: &str = "watchkeeper:plugin";
/// Components built against any 0.1 are understood.
pub(crate) const MAJOR_MINOR: &str = "0.1.";

/// The longest text of an error that is passed on: it is logged, stored and sent.
const MAX_REASON: usize = 8 * 1024;

/// The longest path or transport that is looked at.
const MAX_NAME: usize = 1024;

/// The bytes of a prompt, and of a report: each is stored with its investigation, and shown as a whole.
const MAX_TEXT: usize = 1 << 20;

/// The bytes of the inputs of calls that are proposed at once: JSON takes many times as much once it is read.
const MAX_INPUTS: usize = 256 * 1024;

/// What a plugin may import of the package.
pub(crate) fn link(linker: &mut Linker<Guest>) -> Result<()> {
    logging::add_to_linker::<Guest, HasSelf<Guest>>(linker, |guest| guest)
}

impl logging::Host for Guest {
    fn log(&mut self, level: logging::Level, message: String) -> Result<()> {
        let level = match level {
            logging::Level::Trace => tracing::Level::TRACE,
            logging::Level::Debug => tracing::Level::DEBUG,
            logging::Level::Info => tracing::Level::INFO,
            logging::Level::Warn => tracing::Level::WARN,
            logging::Level::Error => tracing::Level::ERROR,
        };
        self.in_time()?.log.write(level, &message);
        Ok(())
    }
}

/// What a component exports of the package.
#[derive(Clone, Default)]
pub(crate) struct Exports {
    source: Option<exports::source::GuestIndices>,
    parser: Option<exports::parser::GuestIndices>,
    responder: Option<exports::responder::GuestIndices>,
    poller: Option<exports::poller::GuestIndices>,
    health: Option<exports::health::GuestIndices>,
    prompt_builder: Option<exports::prompt_builder::GuestIndices>,
    playbook: Option<exports::playbook::GuestIndices>,
    pub(crate) live: bool,
}

impl Exports {
    /// Finds the interface `name` in the component. An error names what it lacks.
    pub(crate) fn add(&mut self, name: &str, pre: &InstancePre<Guest>) -> Result<bool> {
        match name {
            "source" => self.source = Some(exports::source::GuestIndices::new(pre)?),
            "parser" => self.parser = Some(exports::parser::GuestIndices::new(pre)?),
            "responder" => self.responder = Some(exports::responder::GuestIndices::new(pre)?),
            "poller" => self.poller = Some(exports::poller::GuestIndices::new(pre)?),
            "health" => self.health = Some(exports::health::GuestIndices::new(pre)?),
            "prompt-builder" => self.prompt_builder = Some(exports::prompt_builder::GuestIndices::new(pre)?),
            "playbook" => self.playbook = Some(exports::playbook::GuestIndices::new(pre)?),
            "live-source" => self.live = true,
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// The functions of an instance. Fails where their types aren't the interface's.
    pub(crate) fn functions(&self, store: &mut Store<Guest>, instance: &Instance) -> Result<Functions> {
        macro_rules! load {
            ($($field:ident $name:literal),*) => {
                Functions { $($field: match &self.$field {
                    Some(indices) => {
                        let loaded = indices.load(&mut *store, instance);
                        Some(loaded.map_err(|error| error.context(format!("{PACKAGE}/{}", $name)))?)
                    }
                    None => None,
                }),*, live: None }
            };
        }
        let functions = load!(
            source "source", parser "parser", responder "responder", poller "poller", health "health",
            prompt_builder "prompt-builder", playbook "playbook"
        );
        let live = self.live.then(|| Live::load(store, instance)).transpose()?;
        Ok(Functions { live, ..functions })
    }
}

/// The exported functions of one instance. A call that traps, or that the component doesn't have, is the outer error.
pub(crate) struct Functions {
    source: Option<exports::source::Guest>,
    parser: Option<exports::parser::Guest>,
    responder: Option<exports::responder::Guest>,
    poller: Option<exports::poller::Guest>,
    health: Option<exports::health::Guest>,
    prompt_builder: Option<exports::prompt_builder::Guest>,
    playbook: Option<exports::playbook::Guest>,
    pub(crate) live: Option<Live>,
}

/// A plugin's own error, with the key that a configuration error is about.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum PluginError {
    InvalidConfig { key: Option<Untrusted>, reason: Untrusted },
    Read(ReadError),
}

impl PluginError {
    /// With what the host refused the plugin in that call: the plugin itself doesn't know.
    pub(crate) fn with_notes(mut self, notes: &[String]) -> Self {
        if notes.is_empty() {
            return self;
        }
        let reason = match &mut self {
            Self::InvalidConfig { reason, .. } => reason,
            Self::Read(
                ReadError::InvalidPayload(reason)
                | ReadError::Unauthorized(reason)
                | ReadError::Failed(reason)
                | ReadError::NotAsked(reason)
                | ReadError::Unavailable { reason, .. },
            ) => reason,
        };
        reason.push_str("; the host: ");
        reason.push_str(&notes.join("; "));
        self
    }
}

pub(crate) type Answer<T> = Result<Result<T, PluginError>>;

fn missing(what: &str) -> wasmtime::Error {
    wasmtime::format_err!("the component doesn't export {PACKAGE}/{what}")
}

impl Functions {
    pub(crate) fn configure(&self, store: &mut Store<Guest>, config: &str) -> Answer<Feed> {
        if let Some(live) = &self.live {
            return live.configure(store, config);
        }
        let source = self.source.as_ref().ok_or_else(|| missing("source"))?;
        Ok(source.call_configure(store, config)?.map(feed).map_err(PluginError::from))
    }

    pub(crate) fn parse(
        &self,
        store: &mut Store<Guest>,
        payload: &types::Payload,
    ) -> Answer<Vec<types::Alert>> {
        let parser = self.parser.as_ref().ok_or_else(|| missing("parser"))?;
        Ok(parser.call_parse(store, payload)?.map_err(PluginError::from))
    }

    /// None also if the component doesn't answer senders.
    pub(crate) fn respond(
        &self,
        store: &mut Store<Guest>,
        payload: &types::Payload,
    ) -> Answer<Option<Reply>> {
        let Some(responder) = &self.responder else { return Ok(Ok(None)) };
        let reply = responder.call_respond(store, payload)?.map_err(PluginError::from);
        Ok(reply.map(|reply| {
            reply.map(|reply| Reply { status: reply.status, headers: reply.headers, body: reply.body })
        }))
    }

    pub(crate) fn fetch(&self, store: &mut Store<Guest>, cursor: Option<&str>) -> Answer<Batch> {
        let poller = self.poller.as_ref().ok_or_else(|| missing("poller"))?;
        let batch = poller.call_fetch(store, cursor)?.map_err(PluginError::from);
        Ok(batch.map(|batch| Batch {
            alerts: raw_alerts(batch.alerts),
            cursor: batch.cursor,
            more: batch.more,
        }))
    }

    /// Fine if the component doesn't say.
    pub(crate) fn check(&self, store: &mut Store<Guest>) -> Answer<()> {
        let Some(health) = &self.health else { return Ok(Ok(())) };
        Ok(health.call_check(store)?.map_err(PluginError::from))
    }

    pub(crate) fn score(&self, store: &mut Store<Guest>, alert: &Alert) -> Result<u32> {
        let builder = self.prompt_builder.as_ref().ok_or_else(|| missing("prompt-builder"))?;
        builder.call_score(store, &types::Alert::from(alert))
    }

    pub(crate) fn build(
        &self,
        store: &mut Store<Guest>,
        briefing: &domain::Briefing,
    ) -> Answer<domain::Prompt> {
        let builder = self.prompt_builder.as_ref().ok_or_else(|| missing("prompt-builder"))?;
        let prompt = builder.call_build(store, &briefing.into())?.map_err(PluginError::from);
        Ok(prompt.and_then(|prompt| {
            bounded("its prompt", prompt.instructions.len() + prompt.task.len(), MAX_TEXT)?;
            let first_steps = calls(prompt.first_steps)?;
            Ok(domain::Prompt {
                instructions: prompt.instructions.into(),
                task: prompt.task.into(),
                first_steps,
            })
        }))
    }

    pub(crate) fn next(
        &self,
        store: &mut Store<Guest>,
        briefing: &domain::Briefing,
        done: &[(domain::Call, domain::Outcome)],
    ) -> Answer<domain::Step> {
        let playbook = self.playbook.as_ref().ok_or_else(|| missing("playbook"))?;
        let outcomes: Vec<_> = done.iter().map(outcome).collect();
        let step = playbook.call_next(store, &briefing.into(), &outcomes)?.map_err(PluginError::from);
        Ok(step.and_then(|step| match step {
            exports::playbook::Step::Calls(proposed) => calls(proposed).map(domain::Step::Calls),
            exports::playbook::Step::Conclude(report) => {
                bounded("its report", size(&report), MAX_TEXT)?;
                Ok(domain::Step::Conclude(report.into()))
            }
        }))
    }
}

pub(crate) use exports::source::Feed as WitFeed;
pub(crate) use types::{Alert as WitAlert, Error as WitError, Payload as WitPayload};

/// The guest's copy.
pub(crate) fn payload(payload: &Payload) -> WitPayload {
    WitPayload {
        body: payload.body.to_vec(),
        content_type: payload.content_type.clone(),
        attributes: payload.attributes.clone(),
    }
}

pub(crate) fn raw_alerts(alerts: Vec<types::Alert>) -> Vec<RawAlert> {
    alerts.into_iter().map(RawAlert::from).collect()
}

fn untrusted(pairs: Vec<(String, String)>) -> Vec<(Untrusted, Untrusted)> {
    pairs.into_iter().map(|(name, value)| (name.into(), value.into())).collect()
}

/// The guest's copy.
fn given(labels: &Labels) -> Vec<(String, String)> {
    let copy = |text: &Untrusted| text.expose_untrusted().clone();
    labels.iter().map(|(name, value)| (copy(name), copy(value))).collect()
}

impl From<types::Alert> for RawAlert {
    fn from(alert: types::Alert) -> Self {
        Self {
            id: alert.id.into(),
            severity: match alert.severity {
                types::Severity::Info => Severity::Info,
                types::Severity::Warning => Severity::Warning,
                types::Severity::Critical => Severity::Critical,
            },
            status: match alert.status {
                types::Status::Firing => Status::Firing,
                types::Status::Resolved => Status::Resolved,
            },
            title: alert.title.into(),
            description: alert.description.into(),
            labels: untrusted(alert.labels),
            annotations: untrusted(alert.annotations),
            starts_at: alert.starts_at.map(Timestamp::from_millis),
            ends_at: alert.ends_at.map(Timestamp::from_millis),
        }
    }
}

impl From<&Alert> for types::Alert {
    fn from(alert: &Alert) -> Self {
        Self {
            id: alert.id.expose_untrusted().clone(),
            severity: match alert.severity {
                Severity::Info => types::Severity::Info,
                Severity::Warning => types::Severity::Warning,
                Severity::Critical => types::Severity::Critical,
            },
            status: match alert.status {
                Status::Firing => types::Status::Firing,
                Status::Resolved => types::Status::Resolved,
            },
            title: alert.title.expose_untrusted().clone(),
            description: alert.description.expose_untrusted().clone(),
            labels: given(&alert.labels),
            annotations: given(&alert.annotations),
            starts_at: alert.starts_at.map(Timestamp::as_millis),
            ends_at: alert.ends_at.map(Timestamp::as_millis),
        }
    }
}

impl From<types::Error> for PluginError {
    fn from(error: types::Error) -> Self {
        Self::Read(match error {
            types::Error::InvalidConfig(error) => {
                return Self::InvalidConfig { key: error.key.map(cut), reason: cut(error.reason) };
            }
            types::Error::InvalidPayload(reason) => ReadError::InvalidPayload(cut(reason)),
            types::Error::Unauthorized(reason) => ReadError::Unauthorized(cut(reason)),
            types::Error::Unavailable(error) => {
                ReadError::Unavailable { reason: cut(error.reason), retry_after_ms: error.retry_after }
            }
            types::Error::Failed(reason) => ReadError::Failed(cut(reason)),
        })
    }
}

pub(crate) fn feed(feed: exports::source::Feed) -> Feed {
    // A longer path is refused in any case, by a message that has it in it.
    let shown = |text: String| text[..text.floor_char_boundary(MAX_NAME)].to_owned();
    match feed {
        exports::source::Feed::Webhook(feed) => Feed::Webhook { path: shown(feed.path) },
        exports::source::Feed::Poll(feed) => Feed::Poll { interval_ms: feed.interval_ms },
        exports::source::Feed::Subscription(feed) if feed.transport == Feed::LIVE => Feed::Live,
        exports::source::Feed::Subscription(feed) => Feed::Subscription {
            transport: shown(feed.transport),
            settings: feed.settings.into_iter().collect(),
        },
    }
}

/// A plugin's own words for what is wrong, as far as they are passed on.
fn cut(mut text: String) -> Untrusted {
    const MARK: &str = "… (cut)";
    if text.len() > MAX_REASON {
        text.truncate(text.floor_char_boundary(MAX_REASON - MARK.len()));
        text.push_str(MARK);
        text.shrink_to_fit();
    }
    text.into()
}

fn failed(reason: String) -> PluginError {
    PluginError::Read(ReadError::Failed(cut(reason)))
}

fn bounded(what: &str, bytes: usize, most: usize) -> Result<(), PluginError> {
    if bytes > most { Err(failed(format!("{what} has {bytes} bytes; the most is {most}"))) } else { Ok(()) }
}

/// Bytes of a report, with what its parts take besides.
fn size(report: &wit_investigation::Report) -> usize {
    const PART: usize = 64;
    let finding = |finding: &wit_investigation::Finding| {
        let evidence = finding.evidence.iter().map(|evidence| PART + evidence.excerpt.len());
        PART + finding.statement.len() + evidence.sum::<usize>()
    };
    let findings: usize = report.findings.iter().map(finding).sum();
    let recommendations: usize = report.recommendations.iter().map(|text| PART + text.len()).sum();
    report.summary.len() + report.root_cause.as_ref().map_or(0, String::len) + findings + recommendations
}

fn calls(proposed: Vec<wit_investigation::Call>) -> Result<Vec<domain::Call>, PluginError> {
    let bytes = |call: &wit_investigation::Call| call.tool.len() + call.input.len() + call.purpose.len();
    bounded("what it proposes to call", proposed.iter().map(bytes).sum(), MAX_INPUTS)?;
    proposed.into_iter().map(call).collect()
}

fn call(call: wit_investigation::Call) -> Result<domain::Call, PluginError> {
    let input: Value = serde_json::from_str(&call.input).map_err(|error| {
        failed(format!("it proposes a call of `{}` whose input is no JSON: {error}", call.tool))
    })?;
    Ok(domain::Call { tool: call.tool.into(), input: input.into(), purpose: call.purpose.into() })
}

fn outcome((call, outcome): &(domain::Call, domain::Outcome)) -> wit_investigation::Outcome {
    use wit_investigation::OutcomeStatus;
    wit_investigation::Outcome {
        call: wit_investigation::Call {
            tool: call.tool.expose_untrusted().clone(),
            input: call.input.expose_untrusted().to_string(),
            purpose: call.purpose.expose_untrusted().clone(),
        },
        status: match outcome.status {
            domain::OutcomeStatus::Ran => OutcomeStatus::Ran,
            domain::OutcomeStatus::Failed => OutcomeStatus::Failed,
            domain::OutcomeStatus::TimedOut => OutcomeStatus::TimedOut,
            domain::OutcomeStatus::Refused => OutcomeStatus::Refused,
            domain::OutcomeStatus::Interrupted => OutcomeStatus::Interrupted,
        },
        output: outcome.output.expose_untrusted().clone(),
        truncated: outcome.truncated,
        exit_code: outcome.exit_code,
        duration_ms: Duration::as_millis(&outcome.duration) as u64,
    }
}

impl From<&domain::Briefing> for wit_investigation::Briefing {
    fn from(briefing: &domain::Briefing) -> Self {
        Self {
            incident: briefing.incident.to_string(),
            source: briefing.source.clone(),
            alert: (&briefing.alert).into(),
            related: briefing.related.iter().map(Into::into).collect(),
            history: briefing.history.iter().map(past_report).collect(),
            tools: briefing.tools.iter().map(tool).collect(),
            now: briefing.now.as_millis(),
        }
    }
}

fn past_report(past: &domain::PastReport) -> wit_investigation::PastReport {
    wit_investigation::PastReport {
        incident: past.incident.to_string(),
        title: past.title.expose_untrusted().clone(),
        ended_at: past.ended_at.as_millis(),
        report: (&past.report).into(),
    }
}

fn tool(tool: &domain::ToolDescription) -> wit_investigation::Tool {
    wit_investigation::Tool {
        name: tool.name.clone(),
        description: tool.description.clone(),
        input_schema: tool.input_schema.to_string(),
    }
}

impl From<&domain::Report> for wit_investigation::Report {
    fn from(report: &domain::Report) -> Self {
        let evidence = |evidence: &domain::Evidence| wit_investigation::Evidence {
            outcome: evidence.call,
            excerpt: evidence.excerpt.expose_untrusted().clone(),
        };
        let finding = |finding: &domain::Finding| wit_investigation::Finding {
            statement: finding.statement.expose_untrusted().clone(),
            evidence: finding.evidence.iter().map(evidence).collect(),
        };
        Self {
            summary: report.summary.expose_untrusted().clone(),
            root_cause: report.root_cause.as_ref().map(|cause| cause.expose_untrusted().clone()),
            findings: report.findings.iter().map(finding).collect(),
            recommendations: report
                .recommendations
                .iter()
                .map(|text| text.expose_untrusted().clone())
                .collect(),
            confidence: report.confidence,
        }
    }
}

impl From<wit_investigation::Report> for domain::Report {
    fn from(report: wit_investigation::Report) -> Self {
        let evidence = |evidence: wit_investigation::Evidence| domain::Evidence {
            call: evidence.outcome,
            excerpt: evidence.excerpt.into(),
        };
        let finding = |finding: wit_investigation::Finding| domain::Finding {
            statement: finding.statement.into(),
            evidence: finding.evidence.into_iter().map(evidence).collect(),
        };
        Self {
            summary: report.summary.into(),
            root_cause: report.root_cause.map(Untrusted::from),
            findings: report.findings.into_iter().map(finding).collect(),
            recommendations: report.recommendations.into_iter().map(Untrusted::from).collect(),
            confidence: report.confidence,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn proposed(input: &str) -> wit_investigation::Call {
        wit_investigation::Call { tool: "bash".into(), input: input.into(), purpose: String::new() }
    }

    #[test]
    fn a_plugins_words_are_cut_where_a_character_ends() {
        let cut = cut("ü".repeat(MAX_REASON));
        let text = cut.expose_untrusted();
        assert!(text.len() <= MAX_REASON && text.ends_with("ü… (cut)"), "{}", text.len());
        assert_eq!(super::cut("short".into()).expose_untrusted(), "short");
        let long = exports::source::WebhookFeed { path: "/".repeat(1 << 20) };
        let Feed::Webhook { path } = feed(exports::source::Feed::Webhook(long)) else { panic!() };
        assert_eq!(path.len(), MAX_NAME);
    }

    #[test]
    fn proposals_and_reports_have_bounds() {
        assert_eq!(calls(vec![proposed("{}"); 3]).unwrap().len(), 3);
        let large = proposed(&format!("[{}0]", "0,".repeat(MAX_INPUTS / 6)));
        assert_eq!(calls(vec![large.clone(); 2]).unwrap().len(), 2);
        let error = format!("{:?}", calls(vec![large; 3]).unwrap_err());
        assert!(error.contains("proposes to call") && error.contains("262144"), "{error}");
        let error = format!("{:?}", calls(vec![proposed("{"); 1]).unwrap_err());
        assert!(error.contains("no JSON"), "{error}");
        let evidence = wit_investigation::Evidence { outcome: 0, excerpt: String::new() };
        let finding =
            wit_investigation::Finding { statement: String::new(), evidence: vec![evidence; 100_000] };
        let report = wit_investigation::Report {
            summary: String::new(),
            root_cause: None,
            findings: vec![finding],
            recommendations: Vec::new(),
            confidence: 0.5,
        };
        assert!(bounded("its report", size(&report), MAX_TEXT).is_err(), "empty parts count, too");
    }
}
