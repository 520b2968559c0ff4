//! Shorthands on the contract's types, so that a plugin's code says what it means.

use std::fmt;

use crate::{
    Alert, ConfigError, Feed, Payload, PollFeed, Severity, Status, SubscriptionFeed, UnavailableError,
    WebhookFeed,
};

/// The contract's `error`: sorted by who can act on it.
#[derive(Clone, Debug, PartialEq)]
pub enum Error {
    /// The operator mends the source's file. The source is disabled until then.
    InvalidConfig(ConfigError),
    /// The sender mends what it sends: answered 400 with this text. Say where (`alerts[3].labels`) and what.
    InvalidPayload(String),
    /// Somebody's credentials are wrong: answered 401 to a sender; a poll stops until its source's file changes.
    Unauthorized(String),
    /// Something else is down for now: the sender is asked to repeat (503), a poll waits.
    Unavailable(UnavailableError),
    /// The plugin itself can't go on: the payload is kept as a dead letter, and can be replayed.
    Failed(String),
}

impl Alert {
    /// An alert with what every alert must have; set the other fields as they are known.
    ///
    /// `id` is the sender's own stable identity of *what* alerts, 1 to 512 bytes; `title` is one line, 1 byte to 1 KiB.
    pub fn new(id: impl Into<String>, severity: Severity, status: Status, title: impl Into<String>) -> Self {
        Alert {
            id: id.into(),
            severity,
            status,
            title: title.into(),
            description: String::new(),
            labels: Vec::new(),
            annotations: Vec::new(),
            starts_at: None,
            ends_at: None,
        }
    }

    /// The value of the label `name`.
    pub fn label(&self, name: &str) -> Option<&str> {
        value_of(&self.labels, name)
    }

    /// The value of the annotation `name`.
    pub fn annotation(&self, name: &str) -> Option<&str> {
        value_of(&self.annotations, name)
    }
}

impl Payload {
    /// The body as text.
    ///
    /// # Errors
    /// [`Error::InvalidPayload`] naming the first byte that is not UTF-8.
    pub fn text(&self) -> Result<&str, Error> {
        std::str::from_utf8(&self.body).map_err(|error| {
            Error::invalid_payload(format!("body is not UTF-8: byte {}", error.valid_up_to()))
        })
    }

    /// The body as JSON: a `serde_json::Value`, or a type of your own.
    ///
    /// # Errors
    /// [`Error::InvalidPayload`] that begins with `not JSON`, or with the place of what isn't of the type.
    pub fn json<T: serde::de::DeserializeOwned>(&self) -> Result<T, Error> {
        crate::json::read(&self.body)
    }

    /// The value of an attribute: an HTTP header (names are in lower case) or a message's metadata.
    pub fn attribute(&self, name: &str) -> Option<&str> {
        value_of(&self.attributes, name)
    }
}

fn value_of<'a>(pairs: &'a [(String, String)], name: &str) -> Option<&'a str> {
    pairs.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
}

impl Feed {
    /// Fed by POSTs to `path`: absolute, of segments of `A–Z a–z 0–9 - _ . ~`.
    pub fn webhook(path: impl Into<String>) -> Self {
        Feed::Webhook(WebhookFeed { path: path.into() })
    }

    /// Fed by a subscription that the plugin holds itself (`live::LiveSource`); experimental.
    pub fn live() -> Self {
        Feed::Subscription(SubscriptionFeed { transport: "live".to_owned(), settings: Vec::new() })
    }

    /// Fed by [`crate::Poller::fetch`] every `interval_ms` milliseconds, at least 1000.
    pub fn poll(interval_ms: u64) -> Self {
        Feed::Poll(PollFeed { interval_ms })
    }

    /// Fed by one of the host's own transports, such as `nats`, with that transport's settings.
    pub fn subscription(transport: impl Into<String>, settings: Vec<(String, String)>) -> Self {
        Feed::Subscription(SubscriptionFeed { transport: transport.into(), settings })
    }
}

impl Error {
    /// The operator mends `key` (dotted where nested) of the source's file; `reason` says what to write instead.
    pub fn invalid_config(key: impl Into<String>, reason: impl Into<String>) -> Self {
        Error::InvalidConfig(ConfigError { key: Some(key.into()), reason: reason.into() })
    }

    /// The sender mends what it sends. Say where and what: `alerts[2].labels: alertname is missing`.
    pub fn invalid_payload(reason: impl Into<String>) -> Self {
        Error::InvalidPayload(reason.into())
    }

    /// Somebody's credentials are wrong: answered 401 to a sender; a poll stops until its source's file changes.
    pub fn unauthorized(reason: impl Into<String>) -> Self {
        Error::Unauthorized(reason.into())
    }

    /// Something else is down for now; `retry_after` is in milliseconds.
    pub fn unavailable(reason: impl Into<String>, retry_after: Option<u64>) -> Self {
        Error::Unavailable(UnavailableError { reason: reason.into(), retry_after })
    }

    /// The plugin itself can't go on: the payload is kept as a dead letter and can be replayed.
    pub fn failed(reason: impl Into<String>) -> Self {
        Error::Failed(reason.into())
    }
}

/// The reason, after the key where a key of the configuration is to blame.
impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::InvalidConfig(ConfigError { key: Some(key), reason }) => write!(f, "{key}: {reason}"),
            Error::InvalidConfig(ConfigError { key: None, reason })
            | Error::InvalidPayload(reason)
            | Error::Unauthorized(reason)
            | Error::Unavailable(UnavailableError { reason, .. })
            | Error::Failed(reason) => f.write_str(reason),
        }
    }
}

impl std::error::Error for Error {}
