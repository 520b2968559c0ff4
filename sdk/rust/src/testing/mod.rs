//! Plugins under test, natively: called as the host calls them, with every answer held to the contract's rules.
//!
//! - [`source`] configures a source and parses payloads; [`parser`] does without a source.
//! - [`investigate`] leads a playbook to its conclusion with scripted tool outputs.
//! - [`scenarios`] does that for a folder of recorded hosts, [`samples`] for a folder of payloads.
//!
//! A broken rule panics with the rule, as a failed assertion does; an error that the plugin returns is handed on.

mod claims;
mod investigation;
mod rules;
mod samples;
mod scenarios;

use std::ops::Deref;

use serde_json::Value;

use crate::{
    Alert, Batch, Briefing, Error, Feed, Health, Parser, Payload, Poller, Reply, Responder, Severity, Source,
    Status, Tool,
};

pub use claims::claims;
pub use investigation::{Answer, Investigation, investigate, investigate_from};
pub use rules::{broken_rule_of_alerts, broken_rule_of_report};
pub use samples::{alert_to_json, samples};
pub use scenarios::scenarios;

/// A source that is configured, or another plugin that is ready to be called.
pub struct Running<P> {
    plugin: P,
    /// How it wants to be fed; `None` if it is no source.
    pub feed: Option<Feed>,
}

impl<P> std::fmt::Debug for Running<P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Running").field("feed", &self.feed).finish_non_exhaustive()
    }
}

/// Configures a source with the keys of its file.
///
/// # Errors
/// What the SDK or the plugin's own `configure` finds wrong in them.
pub fn source<P: Source>(config: Value) -> Result<Running<P>, Error> {
    let (plugin, feed) = crate::config::configure::<P>(&config.to_string())?;
    if let Some(rule) = rules::broken_rule_of_feed(&feed) {
        panic!("the feed breaks the contract: {rule}");
    }
    Ok(Running { plugin, feed: Some(feed) })
}

/// A parser that needs no source.
pub fn parser<P: Parser + Default>() -> Running<P> {
    Running { plugin: P::default(), feed: None }
}

impl<P> Deref for Running<P> {
    type Target = P;

    fn deref(&self) -> &P {
        &self.plugin
    }
}

impl<P> Running<P> {
    /// Parses a body as it would arrive, with no content type and no attributes.
    ///
    /// # Errors
    /// What the plugin answers.
    ///
    /// # Panics
    /// If an alert breaks the contract.
    pub fn parse(&self, body: impl AsRef<[u8]>) -> Result<Vec<Alert>, Error>
    where
        P: Parser,
    {
        self.parse_payload(payload(body))
    }

    /// Parses a payload with all that arrived beside the body.
    ///
    /// # Errors
    /// What the plugin answers.
    ///
    /// # Panics
    /// If an alert breaks the contract.
    pub fn parse_payload(&self, payload: Payload) -> Result<Vec<Alert>, Error>
    where
        P: Parser,
    {
        let alerts = self.plugin.parse(payload)?;
        assert_rules(&alerts);
        Ok(alerts)
    }

    /// Asks for a handshake's answer.
    ///
    /// # Errors
    /// What the plugin answers.
    ///
    /// # Panics
    /// If the status is no HTTP status from 200 to 599.
    pub fn respond(&self, payload: Payload) -> Result<Option<Reply>, Error>
    where
        P: Responder,
    {
        let reply = self.plugin.respond(payload)?;
        if let Some(reply) = &reply {
            assert!(
                (200..=599).contains(&reply.status),
                "the reply's status is {}, not 200 to 599",
                reply.status
            );
        }
        Ok(reply)
    }

    /// Fetches one batch.
    ///
    /// # Errors
    /// What the plugin answers.
    ///
    /// # Panics
    /// If an alert breaks the contract.
    pub fn fetch(&self, cursor: Option<String>) -> Result<Batch, Error>
    where
        P: Poller,
    {
        let batch = self.plugin.fetch(cursor)?;
        assert_rules(&batch.alerts);
        Ok(batch)
    }

    /// Checks its health.
    ///
    /// # Errors
    /// What the plugin answers.
    pub fn check(&self) -> Result<(), Error>
    where
        P: Health,
    {
        self.plugin.check()
    }
}

fn assert_rules(alerts: &[Alert]) {
    if let Some(rule) = broken_rule_of_alerts(alerts) {
        panic!("the alerts break the contract: {rule}");
    }
}

/// A payload of just a body.
pub fn payload(body: impl AsRef<[u8]>) -> Payload {
    Payload { body: body.as_ref().to_vec(), content_type: None, attributes: Vec::new() }
}

/// A firing, critical alert with this title and nothing else.
pub fn alert(title: &str) -> Alert {
    Alert::new("test", Severity::Critical, Status::Firing, title)
}

/// A briefing on one alert, a minute after it began (if it says when), with the tools that every host has.
pub fn briefing(alert: Alert) -> Briefing {
    let tool = |name: &str, property: &str| Tool {
        name: name.to_owned(),
        description: String::new(),
        input_schema: format!(r#"{{"type":"object","properties":{{"{property}":{{"type":"string"}}}}}}"#),
    };
    Briefing {
        incident: "incident-1".to_owned(),
        source: "test".to_owned(),
        now: alert.starts_at.unwrap_or(1_700_000_000_000) + 60_000,
        alert,
        related: Vec::new(),
        history: Vec::new(),
        tools: vec![tool("bash", "command"), tool("read_file", "path"), tool("list_files", "path")],
    }
}
