//! How alerts cross Extism's bytes interface: postcard, of the formats that serde writes about the cheapest (no names, numbers
//! and lengths in as few bytes as they need). It carries all that an alert of the contract has.

use serde::{Deserialize, Serialize};

#[derive(Deserialize, Serialize)]
pub struct Alert {
    pub id: String,
    /// In the contract's order.
    pub severity: u8,
    pub resolved: bool,
    pub title: String,
    pub description: String,
    pub labels: Vec<(String, String)>,
    pub annotations: Vec<(String, String)>,
    pub starts_at: Option<u64>,
    pub ends_at: Option<u64>,
}

#[cfg(target_family = "wasm")]
pub fn encode(alerts: Vec<Alert>) -> postcard::Result<Vec<u8>> {
    postcard::to_allocvec(&alerts)
}

#[cfg(not(target_family = "wasm"))]
pub fn decode(bytes: &[u8]) -> postcard::Result<Vec<Alert>> {
    postcard::from_bytes(bytes)
}
