//! Plugin projects: [`create`] writes one, [`build`] makes a component of it with its language's own tools.
//!
//! What a language needs is in its own file (`rust.rs`, `c.rs`, `go.rs`, `python.rs`, `js.rs`); what all have in common is
//! around them. Invariant: this crate knows the contract's text and nothing of the host: no wasmtime, no configuration.

mod build;
mod c;
mod component;
mod embedded;
mod go;
mod js;
mod new;
mod paused;
mod places;
mod project;
mod python;
mod rust;
mod tools;
mod wasi_http;

pub use build::{BuildError, Built, build};
pub use new::{CreateError, Created, Request, create};
pub use project::{Kind, Lang, Project, ProjectError};
