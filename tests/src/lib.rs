//! The harness of the black-box tests: the real binary and its real peers, each test with its own.
//!
//! A test describes what it wants in a [`Setup`] and starts it. Every process listens on an address of its own, works in
//! a folder of its own, and ends with the value that started it. Nothing waits without a deadline ([`wait`]), and a test
//! that fails shows the logs of its processes.

#![allow(clippy::unwrap_used, reason = "a test that can't go on fails with what stood in its way")]

mod alertmanager;
mod authority;
mod browser;
mod complaints;
pub mod guest;
mod host;
mod http;
mod mail;
mod metrics;
mod mosquitto;
pub mod payload;
mod peers;
mod process;
mod random;
mod receiver;
mod registry;
mod setup;
mod upstream;
pub mod versions;
mod wait;

pub use alertmanager::{Alertmanager, Routing};
pub use authority::{Authority, Issued};
pub use browser::dom;
pub use complaints::Complaints;
pub use host::{Stopped, Watchkeeper};
pub use http::{Answer, client, raw};
pub use mail::{EchoingMail, MailServer, Mailing};
pub use metrics::Metrics;
pub use mosquitto::Mosquitto;
pub use peers::{not_run, require};
pub use process::Ran;
pub use random::Random;
pub use receiver::{Received, Receiver, Reply};
pub use registry::{Layout, Registry, Security, digest};
pub use setup::{Setup, Site, guest_file, plugin_file};
pub use upstream::Upstream;
pub use wait::{PATIENCE, wait};

/// What the sources of [`Setup::new`] want to be shown.
pub const TOKEN: &str = "a-token-for-tests";

/// Where the source of [`Setup::new`] listens.
pub const PATH: &str = "/alerts/prometheus";
