//! Channels that call a human, a file each. What they get is redacted already (`flow::escalate`).

mod authorities;
#[cfg(any(feature = "pagerduty", feature = "slack", feature = "webhook"))]
mod http;
mod log;
#[cfg(feature = "pagerduty")]
mod pagerduty;
#[cfg(feature = "slack")]
mod slack;
#[cfg(feature = "smtp")]
mod smtp;
mod text;
#[cfg(feature = "webhook")]
mod webhook;

pub use authorities::Authorities;
pub use log::LogChannel;
#[cfg(feature = "pagerduty")]
pub use pagerduty::PagerDuty;
#[cfg(feature = "slack")]
pub use slack::{Slack, Way as SlackWay};
#[cfg(feature = "smtp")]
pub use smtp::{Mail, Smtp, Tls as SmtpTls};
#[cfg(feature = "webhook")]
pub use webhook::Webhook;
