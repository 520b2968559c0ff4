//! The plugin runtime: files of a folder in, sandboxed readers and brains out.
//!
//! In data order: `loader` turns a file into a [`Plugin`] or a [`Refusal`], once `trust` lets it in; `compiled` keeps its machine code, `pool` holds
//! its instances and runs one call at a time in each, within `limits`; `registry` is what the host sees of it all.
//!
//! Invariant: a guest reaches nothing but clocks, random numbers, its log, and what its source's file grants. Invariant:
//! nothing outside `bindings` names a type that was made from WIT.

#![deny(unsafe_code)]

mod bindings;
mod brain;
mod compiled;
mod engine;
mod guest;
mod limits;
mod loader;
mod pool;
mod reader;
mod registry;
mod trust;

pub use engine::Runtime;
pub use limits::Limits;
pub use loader::{Interface, Plugin, Refusal};
pub use reader::{BindError, SourceSpec};
pub use registry::{Binding, Entry, Registry};
pub use trust::{Key, Pin, Pins, Trust, Vouched};
