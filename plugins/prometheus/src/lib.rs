//! Alerts from Prometheus, as its Alertmanager's webhook receiver sends them (payload version 4).
//!
//! In `config/alert-sources/`:
//! ```yaml
//! name: prometheus-prod
//! type: prometheus
//! webhook_path: /alerts/prometheus   # the default
//! default_severity: warning          # the default; for alerts whose label `severity` is none that we know
//! ```
//!
//! | alert | is |
//! | --- | --- |
//! | id | `fingerprint`; computed from the labels, as Prometheus does it, where the sender leaves it out |
//! | severity | the label `severity` (see [`severity_of`]) |
//! | title | `alertname: summary`, or `alertname on instance` without a summary |
//! | description | the annotation `description`, else `message`, else `summary` |
//! | labels, annotations | as sent; `generatorURL` and `externalURL` become the annotations `generator_url` and `alertmanager_url` |
//! | times | `startsAt`; `endsAt` only once it is resolved |

mod convert;
mod wire;

use serde::Deserialize;
use watchkeeper_sdk::{Alert, Error, Feed, Parser, Payload, Severity, Source, log};

pub use convert::severity_of;

/// The source file's keys.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where Alertmanager POSTs to.
    #[serde(default = "default_webhook_path")]
    webhook_path: String,
    /// For alerts without a label `severity`, or with one that we don't know.
    #[serde(default)]
    default_severity: DefaultSeverity,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum DefaultSeverity {
    Info,
    #[default]
    Warning,
    Critical,
}

fn default_webhook_path() -> String {
    "/alerts/prometheus".to_owned()
}

/// The source and its parser.
#[derive(Debug)]
pub struct Prometheus {
    default_severity: Severity,
}

impl Source for Prometheus {
    type Config = Config;

    fn configure(config: Config) -> Result<(Self, Feed), Error> {
        if !config.webhook_path.starts_with('/') {
            return Err(Error::invalid_config(
                "webhook_path",
                "must begin with `/`, as in `/alerts/prometheus`",
            ));
        }
        let default_severity = match config.default_severity {
            DefaultSeverity::Info => Severity::Info,
            DefaultSeverity::Warning => Severity::Warning,
            DefaultSeverity::Critical => Severity::Critical,
        };
        Ok((Prometheus { default_severity }, Feed::webhook(config.webhook_path)))
    }
}

impl Parser for Prometheus {
    fn parse(&self, payload: Payload) -> Result<Vec<Alert>, Error> {
        let webhook = wire::read(payload.text()?)?;
        if webhook.truncated_alerts > 0 {
            log::warn!(
                "Alertmanager left out {} alerts of this group; raise its receiver's `max_alerts`",
                webhook.truncated_alerts
            );
        }
        convert::alerts(webhook, self.default_severity)
    }
}

watchkeeper_sdk::register! { source: Prometheus, parser: Prometheus }
