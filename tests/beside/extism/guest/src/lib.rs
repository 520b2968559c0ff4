//! The bundled Prometheus parser, as it is, behind Extism's bytes interface: a webhook's body in, alerts out.
//!
//! Nothing is slower here than it has to be: the plugin's own allocator serves, the plugin is configured once an instance, and
//! the alerts leave in `wire`'s format, moved, not copied.

use std::cell::Cell;

use extism_pdk::{input_bytes, plugin_fn, FnResult};
use plugin_prometheus::Prometheus;
use watchkeeper_sdk::__private::Configured;
use watchkeeper_sdk::{Parser, Payload};

mod wire;

thread_local! {
    static PLUGIN: Configured<Prometheus> = const { Configured::none() };
    static CONFIGURED: Cell<bool> = const { Cell::new(false) };
}

/// Takes the input itself: as a parameter, it would be copied once more.
#[plugin_fn]
pub fn parse() -> FnResult<Vec<u8>> {
    let alerts = PLUGIN.with(|plugin| {
        if !CONFIGURED.replace(true) {
            plugin.configure("{}")?;
        }
        let payload = Payload { body: input_bytes(), content_type: None, attributes: Vec::new() };
        plugin.call(|prometheus| prometheus.parse(payload))
    })?;
    Ok(wire::encode(alerts.into_iter().map(wire::Alert::from).collect())?)
}

impl From<watchkeeper_sdk::Alert> for wire::Alert {
    fn from(alert: watchkeeper_sdk::Alert) -> Self {
        Self {
            id: alert.id,
            severity: alert.severity as u8,
            resolved: alert.status == watchkeeper_sdk::Status::Resolved,
            title: alert.title,
            description: alert.description,
            labels: alert.labels,
            annotations: alert.annotations,
            starts_at: alert.starts_at,
            ends_at: alert.ends_at,
        }
    }
}
