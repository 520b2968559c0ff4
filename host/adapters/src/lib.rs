//! The technologies behind the domain's ports: `<port>/<technology>.rs`.
//!
//! Invariant: adapters know the domain and nothing else of the host; none of them knows another.

#![forbid(unsafe_code)]

pub mod escalation;
#[cfg(feature = "oci")]
pub mod registry;
pub mod sandbox;
pub mod store;
pub mod tool;
