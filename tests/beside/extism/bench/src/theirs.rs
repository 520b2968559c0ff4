//! The parser in Extism, from a file to the very structs that our host gives.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use extism::{CompiledPlugin, Function, Manifest, Plugin, PluginBuilder, UserData, ValType, Wasm};
use watchkeeper_domain::alert::RawAlert;
use watchkeeper_domain::{Severity, Status, Timestamp, Untrusted};

use crate::wire;

/// As Extism comes, or held to the time and memory that our host holds every plugin to.
#[derive(Clone, Copy, PartialEq)]
pub enum Limits {
    None,
    Ours,
}

const PAGES: u32 = (64 << 20) / (64 << 10);

/// `cache` is a configuration file of wasmtime's cache; none compiles every time.
pub fn compile(file: &Path, limits: Limits, cache: Option<&Path>) -> Result<CompiledPlugin> {
    // The file is named, since its bytes would be copied for each instance.
    let manifest = Manifest::new([Wasm::file(file)]);
    let manifest = match limits {
        Limits::None => manifest,
        Limits::Ours => manifest.with_timeout(Duration::from_secs(1)).with_memory_max(PAGES),
    };
    let builder = PluginBuilder::new(manifest).with_functions([log()]);
    let builder = match cache {
        Some(cache) => builder.with_cache_config(cache),
        None => builder.with_cache_disabled(),
    };
    builder.compile().with_context(|| format!("Extism can't load {}", file.display()))
}

/// The plugin's code imports our contract's log; nothing is logged here.
fn log() -> Function {
    let parameters = [ValType::I32, ValType::I32, ValType::I32];
    Function::new("log", parameters, [], UserData::new(()), |_, _, _, _| Ok(()))
        .with_namespace("watchkeeper:plugin/logging@0.1.0")
}

pub fn parse(plugin: &mut Plugin, body: &[u8]) -> Result<Vec<RawAlert>> {
    let answer: &[u8] = plugin.call("parse", body)?;
    Ok(wire::decode(answer)?.into_iter().map(RawAlert::from).collect())
}

impl From<wire::Alert> for RawAlert {
    fn from(alert: wire::Alert) -> Self {
        Self {
            id: alert.id.into(),
            severity: match alert.severity {
                0 => Severity::Info,
                1 => Severity::Warning,
                _ => Severity::Critical,
            },
            status: if alert.resolved { Status::Resolved } else { Status::Firing },
            title: alert.title.into(),
            description: alert.description.into(),
            labels: untrusted(alert.labels),
            annotations: untrusted(alert.annotations),
            starts_at: alert.starts_at.map(Timestamp::from_millis),
            ends_at: alert.ends_at.map(Timestamp::from_millis),
        }
    }
}

/// As our own bindings do it.
fn untrusted(pairs: Vec<(String, String)>) -> Vec<(Untrusted, Untrusted)> {
    pairs.into_iter().map(|(name, value)| (name.into(), value.into())).collect()
}
