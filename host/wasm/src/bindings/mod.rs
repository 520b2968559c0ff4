//! WIT made Rust, one module for each released version of the interface.

pub(crate) mod live;
pub(crate) mod v0_1;
