//! `plugins:` of `watchkeeper.yaml`.

use std::time::Duration;

use serde::Deserialize;
use watchkeeper_wasm::{CanaryPolicy, Options, Terms};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Plugins {
    canary: CanaryPolicy,
    canary_payloads: usize,
    trial: Trial,
    #[serde(deserialize_with = "super::host::duration")]
    debounce: Duration,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Trial {
    calls: u32,
    allowed_failures: u32,
}

impl Default for Plugins {
    fn default() -> Self {
        let Options { canary, canary_payloads, terms, debounce, .. } = Options::default();
        let Terms { calls, allowed_failures } = terms;
        Self { canary, canary_payloads, trial: Trial { calls, allowed_failures }, debounce }
    }
}

impl Plugins {
    /// The key that makes no sense, and why.
    pub(super) fn check(&self) -> Result<(), (&'static str, String)> {
        if self.canary_payloads > 10_000 {
            return Err(("plugins.canary_payloads", "must be at most 10000".into()));
        }
        if !(10..=60_000).contains(&self.debounce.as_millis()) {
            return Err(("plugins.debounce", "must be within 10ms and 1m".into()));
        }
        Ok(())
    }

    pub fn options(&self) -> Options {
        Options {
            canary: self.canary,
            canary_payloads: self.canary_payloads,
            terms: Terms { calls: self.trial.calls, allowed_failures: self.trial.allowed_failures },
            debounce: self.debounce,
            ..Options::default()
        }
    }
}
