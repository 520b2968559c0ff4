//! Calling a human: once an incident, reason and channel, through a durable outbox.

use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::investigation::Report;
use crate::{IncidentId, InvestigationId, Severity, Timestamp, Untrusted};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NoticeKind {
    /// A human is needed.
    #[default]
    Escalated,
    /// A person must answer before an investigation goes on.
    Asked,
    /// The incident for which one was called is over.
    Closed,
}

impl NoticeKind {
    pub fn as_str(self) -> &'static str {
        match self {
            NoticeKind::Escalated => "escalated",
            NoticeKind::Asked => "asked",
            NoticeKind::Closed => "closed",
        }
    }
}

/// What a human is told. It is redacted before a channel gets it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Notice {
    #[serde(default)]
    pub kind: NoticeKind,
    /// The incident's, and no other's of any host: what a pager deduplicates by.
    #[serde(default)]
    pub key: String,
    pub incident: IncidentId,
    pub investigation: InvestigationId,
    pub title: Untrusted,
    pub severity: Severity,
    /// Why a human is needed.
    pub reason: Untrusted,
    pub report: Option<Report>,
    /// What is asked, if something is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<Approval>,
    /// Of a closed incident: when it closed.
    pub escalated_at: Timestamp,
}

/// A question of a notice, with what names it in an answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Approval {
    /// `inv-7.2`.
    pub id: String,
    pub hash: String,
    /// What would run.
    pub what: Untrusted,
    pub expires_at: Timestamp,
}

/// Contract: `deliver` returns Ok only once the notice is in somebody's hands; it may be called again for the same notice
/// after a crash, so it carries the incident's key where the other side can tell a repetition by it.
#[async_trait]
pub trait Channel: Send + Sync {
    /// As the configuration calls it.
    fn name(&self) -> &str;

    async fn deliver(&self, notice: &Notice) -> Result<(), ChannelError>;
}

/// The channel could not take it; it is tried again with backoff.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct ChannelError {
    pub message: String,
    pub retry: Retry,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Retry {
    /// By our own backoff.
    Backoff,
    /// Not before this, says the other side.
    After(Duration),
    /// It will be refused again unless somebody mends something: seldom, then.
    Seldom,
}

impl ChannelError {
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), retry: Retry::Backoff }
    }

    pub fn refused(message: impl Into<String>) -> Self {
        Self { message: message.into(), retry: Retry::Seldom }
    }

    pub fn after(message: impl Into<String>, wait: Duration) -> Self {
        Self { message: message.into(), retry: Retry::After(wait) }
    }
}

/// How far one notice came on one channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryState {
    Pending,
    Delivered,
    /// It was tried for as long as is tried, or its channel is no longer configured.
    GivenUp,
}

impl DeliveryState {
    pub fn as_str(self) -> &'static str {
        match self {
            DeliveryState::Pending => "pending",
            DeliveryState::Delivered => "delivered",
            DeliveryState::GivenUp => "given_up",
        }
    }
}

impl std::str::FromStr for DeliveryState {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        [Self::Pending, Self::Delivered, Self::GivenUp]
            .into_iter()
            .find(|state| state.as_str() == text)
            .ok_or_else(|| format!("`{text}` is no delivery's status: pending, delivered or given_up"))
    }
}

/// A row of the outbox, as listed. Its shape in JSON is the API's.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Delivery {
    pub id: i64,
    pub channel: String,
    pub status: DeliveryState,
    pub kind: NoticeKind,
    pub incident: IncidentId,
    pub severity: Severity,
    pub title: Untrusted,
    pub reason: Untrusted,
    pub created_at: Timestamp,
    pub attempts: u32,
    pub last_error: Option<String>,
    /// When it is tried (again); none once it is over.
    pub next_at: Option<Timestamp>,
    pub ended_at: Option<Timestamp>,
}
