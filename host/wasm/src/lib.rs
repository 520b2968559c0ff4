//! The plugin runtime: files of a folder in, sandboxed readers and brains out.
//!
//! In data order: `folder` sees a file, `loader` turns it into a [`Plugin`] or a [`Refusal`], `compiler` makes machine code of
//! it in a process of its own, `compiled` keeps that, `canary` compares it with the version in service, `service` swaps the two; `pool` holds its instances and runs one
//! call at a time in each, within `limits` and what `memory` has room for, under a `supervisor`, until `calls` ends them all; `asks`, `outgoing` and `sockets` say what it may reach; `live`
//! runs guests that hold a subscription; `record` and
//! `kept` remember what happened. `registry` is what the host sees of it all.
//!
//! Invariant: a guest reaches nothing but clocks, random numbers, its log, and what its source's file grants. Invariant:
//! nothing outside `bindings` names a type that was made from WIT.

#![deny(unsafe_code)]

mod addresses;
mod asks;
mod bindings;
mod brain;
mod calls;
mod canary;
mod compiled;
mod compiler;
mod engine;
mod file;
mod folder;
mod guest;
mod kept;
mod limits;
mod live;
mod loader;
mod memory;
mod orders;
mod outgoing;
mod places;
mod pool;
mod reader;
mod record;
mod registry;
mod service;
mod shapes;
mod sockets;
mod source;
mod status;
mod supervisor;
mod trust;
mod waits;
mod weight;

pub use asks::{Asks, HostRule};
pub use canary::Policy as CanaryPolicy;
pub use compiler::compiled;
pub use engine::Runtime;
pub use folder::only_looked;
pub use limits::Limits;
pub use loader::{Interface, Plugin, Refusal, version_of};
pub use memory::MemoryBounds;
pub use outgoing::{HttpMock, Secrets};
pub use record::{Attempt, Canary, Difference, Failure, Happening, Outcome, Step};
pub use registry::{BindError, Binding, Entry, Options, Registry};
pub use service::Terms;
pub use source::SourceSpec;
pub use status::{SourceStatus, Status};
pub use trust::{Key, Pin, Pins, Trust, Vouched};
