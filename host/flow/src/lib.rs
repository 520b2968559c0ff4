//! Watchkeeper's verbs, in data order: poll or subscribe, ingest, brief, investigate, escalate.
//!
//! Invariant: `flow` sees the domain's ports alone; it never names wasmtime, SQL or HTTP.

#![forbid(unsafe_code)]

pub mod approvals;
mod backoff;
mod brief;
pub mod escalate;
pub mod ingest;
pub mod investigate;
pub mod live;
pub mod poll;
pub mod retention;
pub mod second_chance;
