//! Calling a human: one notice an incident, through a durable outbox.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::investigation::Report;
use crate::{IncidentId, InvestigationId, Severity, Timestamp};

/// What a human is told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Notice {
    pub incident: IncidentId,
    pub investigation: InvestigationId,
    pub title: String,
    pub severity: Severity,
    /// Why a human is needed.
    pub reason: String,
    pub report: Option<Report>,
    pub escalated_at: Timestamp,
}

/// Contract: `deliver` returns Ok only once the notice is in somebody's hands; it may be called again for the same notice
/// after a crash, so it should carry the incident's id as a key.
#[async_trait]
pub trait Channel: Send + Sync {
    fn name(&self) -> &str;

    async fn deliver(&self, notice: &Notice) -> Result<(), ChannelError>;
}

/// The channel could not take it; it is tried again with backoff.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ChannelError(pub String);
