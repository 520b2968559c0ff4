//! Where plugins are fetched from.

mod auth;
mod oci;
mod reference;

pub use auth::{Credentials, docker_config};
pub use oci::{Artifact, Error, Oci, Pushed};
pub use reference::{Reference, Version};
