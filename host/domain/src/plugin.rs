//! What a source's plugin does for the pipeline. Implemented by the plugin registry in `host/wasm`.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;

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
    Webhook { path: String },
    Poll { interval_ms: u64 },
    Subscription { transport: String, settings: BTreeMap<String, String> },
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

/// Sorted by who can act.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ReadError {
    /// The sender mends what it sends.
    #[error("{0}")]
    InvalidPayload(String),
    /// The sender mends its credentials.
    #[error("{0}")]
    Unauthorized(String),
    /// The sender tries again.
    #[error("{reason}")]
    Unavailable { reason: String, retry_after_ms: Option<u64> },
    /// Whoever keeps the plugin mends it: trap, deadline, memory, or its own word. The payload becomes a dead letter.
    #[error("{0}")]
    Failed(String),
}

/// Turns one source's payloads into alerts.
///
/// Contract: ends within the source's deadline, whatever the plugin does; a failure leaves the next call unharmed.
#[async_trait]
pub trait Reader: Send + Sync {
    /// The payload is shared, so that a runtime can keep the latest ones without a copy.
    async fn read(&self, payload: &Arc<Payload>) -> Result<Reading, ReadError>;

    /// Whether the source can do its work: credentials accepted, upstream reachable. Fine where its plugin can't tell.
    async fn check(&self) -> Result<(), ReadError>;
}
