//! Watchkeeper's nouns, its rules, and the ports that the outside plugs into.
//!
//! Invariant: no I/O, no wasmtime, no SQL, no HTTP. What decides is a pure function here (`dedup`, `incident`, `gate`, `redact`,
//! `prompt`, `investigation::Progress`); what acts is behind a trait here (`store`, `plugin`, `brain`, `tool`, `escalation`) and
//! lives in `host/wasm` or `host/adapters`.

#![forbid(unsafe_code)]

pub mod access;
pub mod alert;
pub mod approval;
pub mod audit;
pub mod brain;
pub mod dedup;
pub mod escalation;
pub mod gate;
pub mod incident;
pub mod investigation;
pub mod plugin;
pub mod prompt;
pub mod redact;
pub mod store;
pub mod time;
pub mod tool;
pub mod untrusted;

pub use alert::{Alert, Labels, Severity, Status};
pub use incident::IncidentId;
pub use investigation::InvestigationId;
pub use time::Timestamp;
pub use untrusted::Untrusted;
