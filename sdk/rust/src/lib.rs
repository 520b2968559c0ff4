//! Write a Watchkeeper plugin in Rust.
//!
//! A plugin is a WebAssembly component. It implements one or more of the traits here ([`Source`], [`Parser`],
//! [`Responder`], [`Poller`], [`Health`], [`PromptBuilder`], [`Playbook`]) and names them once with [`register!`];
//! the component then exports exactly those.
//!
//! ```
//! use watchkeeper_sdk::{Alert, Error, Feed, Parser, Payload, Severity, Source, Status};
//!
//! /// The keys that an operator writes into the source's file.
//! #[derive(serde::Deserialize)]
//! pub struct Config {
//!     webhook_path: String,
//! }
//!
//! pub struct Beeper;
//!
//! impl Source for Beeper {
//!     type Config = Config;
//!
//!     fn configure(config: Config) -> Result<(Self, Feed), Error> {
//!         Ok((Beeper, Feed::webhook(config.webhook_path)))
//!     }
//! }
//!
//! impl Parser for Beeper {
//!     fn parse(&self, payload: Payload) -> Result<Vec<Alert>, Error> {
//!         let text = payload.text()?;
//!         let (id, title) = text.split_once(' ').ok_or_else(|| Error::invalid_payload("no space after the id"))?;
//!         Ok(vec![Alert::new(id, Severity::Warning, Status::Firing, title)])
//!     }
//! }
//!
//! watchkeeper_sdk::register! { source: Beeper, parser: Beeper }
//!
//! // The harness calls a plugin natively, the way the host does, and holds what it answers to the contract's rules.
//! let beeper = watchkeeper_sdk::testing::source::<Beeper>(serde_json::json!({ "webhook_path": "/alerts/beeper" }))?;
//! assert_eq!(beeper.parse("db-7 disk is full")?[0].title, "disk is full");
//!
//! let mistyped = watchkeeper_sdk::testing::source::<Beeper>(serde_json::json!({ "webhok_path": "/" }));
//! assert_eq!(mistyped.unwrap_err().to_string(), "webhok_path: unknown key; known keys: webhook_path");
//! # Ok::<(), watchkeeper_sdk::Error>(())
//! ```
//!
//! Build it with `cargo build --release --target wasm32-wasip2` (`crate-type = ["cdylib", "rlib"]`) and put the file into
//! the host's `plugins/`. The types below are the contract's own, `wit/v0.1.0/watchkeeper.wit`; what each may hold is
//! written there and at each field. Times are Unix milliseconds.

#![warn(missing_docs)]

extern crate self as watchkeeper_sdk;

#[cfg(any(test, target_family = "wasm"))]
mod arena;
mod bindings;
mod config;
pub mod diagnosis;
pub mod http;
pub mod json;
#[cfg(feature = "live")]
pub mod live;
pub mod log;
mod plugin;
mod register;
#[cfg(not(target_family = "wasm"))]
pub mod testing;
pub mod time;
mod types;

pub use bindings::nouns::watchkeeper::plugin::investigation::{
    Briefing, Call, Evidence, Finding, Outcome, OutcomeStatus, PastReport, Report, Tool,
};
pub use bindings::nouns::watchkeeper::plugin::types::{
    Alert, ConfigError, Payload, Severity, Status, UnavailableError,
};
pub use bindings::playbook::exports::watchkeeper::plugin::playbook::Step;
pub use bindings::poller::exports::watchkeeper::plugin::poller::Batch;
pub use bindings::prompt_builder::exports::watchkeeper::plugin::prompt_builder::Prompt;
pub use bindings::responder::exports::watchkeeper::plugin::responder::Reply;
pub use bindings::source::exports::watchkeeper::plugin::source::{
    Feed, PollFeed, SubscriptionFeed, WebhookFeed,
};
pub use plugin::{Health, Parser, Playbook, Poller, PromptBuilder, Responder, Source};
pub use types::Error;

/// What `register!` expands to names; no part of the SDK's promise.
#[doc(hidden)]
pub mod __private {
    pub use crate::bindings::*;
    pub use crate::config::configure;
    pub use crate::register::*;
    pub use wit_bindgen;
}

/// Keeps the README's example true.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct ReadmeExamples;
