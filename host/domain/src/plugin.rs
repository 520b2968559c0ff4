//! What a source's plugin does for the pipeline. Implemented by the plugin registry in `host/wasm`.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::Untrusted;
use crate::alert::RawAlert;

/// What arrived, as it arrived.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Payload {
    /// Shared, since it is parsed and stored.
    pub body: Arc<[u8]>,
    pub content_type: Option<String>,
    /// HTTP headers or a message's metadata, names in lower case.
    pub attributes: Vec<(String, String)>,
}

/// How a source wants to be fed.
#[derive(Clone, Debug, PartialEq)]
pub enum Feed {
    Webhook {
        path: String,
    },
    Poll {
        interval_ms: u64,
    },
    Subscription {
        transport: String,
        settings: BTreeMap<String, String>,
    },
    /// The plugin holds a subscription of its own.
    Live,
}

impl Feed {
    /// What a plugin names as its transport to be [`Feed::Live`].
    pub const LIVE: &str = "live";
}

/// `POST /alerts/x`, `polled every 60000 ms`.
impl std::fmt::Display for Feed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Feed::Webhook { path } => write!(f, "POST {path}"),
            Feed::Poll { interval_ms } => write!(f, "polled every {interval_ms} ms"),
            Feed::Subscription { transport, .. } => write!(f, "subscribed over {transport}"),
            Feed::Live => f.write_str("by a subscription of its own"),
        }
    }
}

/// A plugin's direct answer to a sender.
#[derive(Clone, Debug, PartialEq)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

/// What a plugin made of a payload.
#[derive(Clone, Debug, PartialEq)]
pub enum Reading {
    Alerts(Vec<RawAlert>),
    Reply(Reply),
}

/// What one fetch of a polled source brought.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Batch {
    pub alerts: Vec<RawAlert>,
    /// Handed to the next fetch once this batch is kept.
    pub cursor: Option<String>,
    /// There is more to fetch now.
    pub more: bool,
}

impl Batch {
    /// Of the payload that a batch is kept as.
    pub const CONTENT_TYPE: &str = "application/vnd.watchkeeper.batch+json";

    /// The longest cursor, in bytes (`wit/`).
    pub const MAX_CURSOR: usize = 64 * 1024;

    /// What is kept of a batch, since no sender's own bytes reach the host: all that the plugin gave, as JSON.
    pub fn to_payload(&self) -> Payload {
        let body =
            serde_json::to_vec(self).unwrap_or_else(|error| format!("\"unwritable: {error}\"").into_bytes());
        Payload { body: body.into(), content_type: Some(Self::CONTENT_TYPE.into()), attributes: Vec::new() }
    }

    /// What was made by [`Batch::to_payload`]; none of any other payload. Who sends a payload chooses what it says it is, so this
    /// is to be asked only where the plugin hands on alerts by itself.
    pub fn of_payload(payload: &Payload) -> Option<Self> {
        let ours = payload.content_type.as_deref() == Some(Self::CONTENT_TYPE);
        ours.then(|| serde_json::from_slice(&payload.body).ok()).flatten()
    }
}

/// Sorted by who can act.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ReadError {
    /// The sender mends what it sends.
    #[error("{}", .0.line())]
    InvalidPayload(Untrusted),
    /// The sender mends its credentials.
    #[error("{}", .0.line())]
    Unauthorized(Untrusted),
    /// The sender tries again.
    #[error("{}", reason.line())]
    Unavailable { reason: Untrusted, retry_after_ms: Option<u64> },
    /// Whoever keeps the plugin mends it: trap, deadline, memory, or its own word. The payload becomes a dead letter.
    #[error("{}", .0.line())]
    Failed(Untrusted),
    /// As [`ReadError::Failed`], but the plugin wasn't asked: it failed too often before, and is asked again in a while.
    #[error("{}", .0.line())]
    NotAsked(Untrusted),
}

impl ReadError {
    /// As the metrics call it.
    pub fn kind(&self) -> &'static str {
        match self {
            ReadError::InvalidPayload(_) => "invalid_payload",
            ReadError::Unauthorized(_) => "unauthorized",
            ReadError::Unavailable { .. } => "unavailable",
            ReadError::Failed(_) | ReadError::NotAsked(_) => "plugin_failed",
        }
    }
}

/// Takes what a live source hands on.
#[async_trait]
pub trait Sink: Send + Sync {
    /// Returns once the alerts are durably kept. An error, in words, ends the subscription: what the upstream wasn't told to be
    /// kept, it sends again.
    async fn keep(&self, alerts: Vec<RawAlert>) -> Result<(), String>;
}

/// Turns one source's payloads into alerts.
///
/// Contract: ends within the source's deadline, whatever the plugin does; a failure leaves the next call unharmed.
#[async_trait]
pub trait Reader: Send + Sync {
    /// The payload is shared, so that a runtime can keep the latest ones without a copy.
    async fn read(&self, payload: &Arc<Payload>) -> Result<Reading, ReadError>;

    /// What comes after the batch that `cursor` is of: the last that is kept. None before the first.
    async fn fetch(&self, cursor: Option<&str>) -> Result<Batch, ReadError>;

    /// Subscribes, and hands on what comes, for as long as the subscription lasts. Ok: it ended, and can be begun again.
    /// Dropping the future ends it.
    async fn subscribe(&self, _: Arc<dyn Sink>) -> Result<(), ReadError> {
        Err(ReadError::Failed("it holds no subscription".into()))
    }

    /// What reads now: another may read what this one failed on. None where nothing does.
    fn version(&self) -> Option<String>;

    /// Whether the source can do its work: credentials accepted, upstream reachable. Fine where its plugin can't tell.
    async fn check(&self) -> Result<(), ReadError>;
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::{Severity, Status, Timestamp};

    #[test]
    fn a_batch_is_kept_with_all_that_the_plugin_gave() {
        let alert = RawAlert {
            id: "a1".into(),
            severity: Severity::Warning,
            status: Status::Resolved,
            title: "HighCPU".into(),
            description: "ü".into(),
            labels: vec![("b".into(), "2".into()), ("a".into(), "1".into())],
            annotations: Vec::new(),
            starts_at: Some(Timestamp::from_millis(1_795_445_045_007)),
            ends_at: None,
        };
        let batch = Batch { alerts: vec![alert], cursor: Some("page 2".into()), more: true };
        let payload = batch.to_payload();
        assert_eq!(Batch::of_payload(&payload), Some(batch));
        assert_eq!(payload.content_type.as_deref(), Some("application/vnd.watchkeeper.batch+json"));
        assert_eq!(
            std::str::from_utf8(&payload.body).unwrap(),
            concat!(
                r#"{"alerts":[{"id":"a1","severity":"warning","status":"resolved","title":"HighCPU","#,
                r#""description":"ü","labels":[["b","2"],["a","1"]],"annotations":[],"#,
                r#""starts_at":"2026-11-23T14:44:05.007Z","ends_at":null}],"cursor":"page 2","more":true}"#
            )
        );
    }
}
