//! Checks that are up or down. The same plugin is beside this one in every language that has an SDK
//! (`tests/conformance/uptime.json` holds them to each other).
//!
//! In `config/alert-sources/`:
//! ```yaml
//! name: uptime
//! type: uptime-rust
//! webhook_path: /alerts/uptime   # the default
//! ignore: [canary]               # names of checks to leave out; the default is none
//! critical_after: 3              # the default; a check that failed as often is critical
//! ```

mod json;
mod wire;

use std::num::NonZeroU64;

use serde::Deserialize;
use serde_json::Value;
use watchkeeper_sdk::{
    Alert, Error, Feed, Health, Parser, Payload, Reply, Responder, Severity, Source, Status, log,
};

use crate::wire::{Check, State};

/// The source file's keys.
#[derive(Debug, Deserialize)]
pub struct Config {
    #[serde(default = "default_webhook_path")]
    webhook_path: String,
    #[serde(default)]
    ignore: Vec<String>,
    #[serde(default = "default_critical_after")]
    critical_after: NonZeroU64,
}

fn default_webhook_path() -> String {
    "/alerts/uptime".to_owned()
}

const fn default_critical_after() -> NonZeroU64 {
    NonZeroU64::new(3).expect("3 isn't 0")
}

/// The source and all that belongs to it.
#[derive(Debug)]
pub struct Uptime {
    ignore: Vec<String>,
    critical_after: u64,
}

impl Source for Uptime {
    type Config = Config;

    fn configure(config: Config) -> Result<(Self, Feed), Error> {
        if !config.webhook_path.starts_with('/') {
            return Err(Error::invalid_config("webhook_path", "must begin with `/`"));
        }
        let uptime = Uptime { ignore: config.ignore, critical_after: config.critical_after.get() };
        Ok((uptime, Feed::webhook(config.webhook_path)))
    }
}

impl Parser for Uptime {
    fn parse(&self, payload: Payload) -> Result<Vec<Alert>, Error> {
        let checks = wire::checks(&payload.body)?;
        log::info!("{} checks", checks.len());
        let watched = checks.into_iter().filter(|check| !self.ignore.contains(&check.name));
        Ok(watched.map(|check| self.alert(check)).collect())
    }
}

impl Uptime {
    fn alert(&self, check: Check) -> Alert {
        let (status, severity) = match check.state {
            State::Up => (Status::Resolved, Severity::Info),
            State::Down if check.failures >= self.critical_after => (Status::Firing, Severity::Critical),
            State::Down => (Status::Firing, Severity::Warning),
        };
        let title = format!("{} is {}", check.name, check.state);
        let mut alert = Alert::new(check.id, severity, status, title);
        alert.description = check.message;
        alert.labels.push(("check".to_owned(), check.name));
        alert.labels.extend(check.tags);
        alert.annotations.push(("failures".to_owned(), check.failures.to_string()));
        alert.starts_at = check.since.map(|seconds| seconds * 1000);
        alert
    }
}

impl Responder for Uptime {
    /// A monitor that is set up sends a challenge, and wants it back.
    fn respond(&self, payload: Payload) -> Result<Option<Reply>, Error> {
        let value: Option<Value> = serde_json::from_slice(&payload.body).ok();
        let challenge = value.as_ref().and_then(|value| value.get("challenge")?.as_str());
        Ok(challenge.map(|challenge| Reply {
            status: 200,
            headers: vec![("content-type".to_owned(), "text/plain".to_owned())],
            body: challenge.as_bytes().to_vec(),
        }))
    }
}

impl Health for Uptime {
    fn check(&self) -> Result<(), Error> {
        if self.ignore.iter().any(|name| name == "*") {
            return Err(Error::failed("ignore: * leaves nothing to watch"));
        }
        Ok(())
    }
}

watchkeeper_sdk::register! { source: Uptime, parser: Uptime, responder: Uptime, health: Uptime }
