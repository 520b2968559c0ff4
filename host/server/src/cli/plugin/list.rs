//! `watchkeeper plugin list`: of the host that works on the data folder, if one does; else what `serve` would load.

use std::path::Path;

use anyhow::{Context, Result};
use clap::Args;
use serde_json::{Value, json};
use watchkeeper_wasm::{Entry, Runtime, Status};

use super::{as_json, interfaces, lock};
use crate::cli::{ConfigDir, DataDir, Ended, Locked, Output, PluginsDir, print_json};
use crate::orders::{self, Order};
use crate::render::Table;
use crate::wiring::{self, DataLock, PLUGINS};

#[derive(Args)]
pub(in crate::cli) struct Options {
    #[command(flatten)]
    plugins: PluginsDir,
    #[command(flatten)]
    config: ConfigDir,
    #[command(flatten)]
    locked: Locked,
    #[command(flatten)]
    data: DataDir,
    #[command(flatten)]
    output: Output,
}

pub(super) fn run(runtime: Runtime, options: &Options) -> Result<Ended> {
    if DataLock::is_held(&options.data.data)? {
        return of_host(options);
    }
    let runtime = runtime.with_trust(options.config.trust(options.locked.locked)?);
    let entries = wiring::plugins(&runtime, &options.plugins.plugins)?.entries();
    if options.output.json {
        let plugins: Vec<Value> = entries.iter().map(as_json).collect();
        print_json(&json!({ "plugins": plugins }))?;
    } else {
        let mut table = Table::new(["PLUGIN", "STATE", "INTERFACES", "SIZE", "DIGEST", "TRUST"]);
        for entry in &entries {
            table.row(match entry {
                Entry::Loaded(plugin) => [
                    plugin.name.clone(),
                    "loaded".into(),
                    interfaces(plugin).join(", "),
                    plugin.size.to_string(),
                    plugin.digest[..12].into(),
                    lock::trust(&plugin.vouched),
                ],
                Entry::Refused(refusal) => {
                    let name = refusal.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                    [name, "refused".into(), refusal.reason.clone(), "-".into(), "-".into(), "-".into()]
                }
            });
        }
        table.print(None);
    }
    let refused = entries.iter().any(|entry| matches!(entry, Entry::Refused(_)));
    Ok(if refused { Ended::Badly } else { Ended::Well })
}

fn of_host(options: &Options) -> Result<Ended> {
    let answer = orders::give(&options.data.data.join(PLUGINS), &Order::Status)?;
    let answer = answer.map_err(anyhow::Error::msg)?;
    let statuses: Vec<Status> = serde_json::from_str(&answer).context("the host's answer")?;
    if options.output.json {
        print_json(&json!({ "plugins": statuses }))?;
    } else {
        let mut table = Table::new(["PLUGIN", "STATE", "INTERFACES", "VERSION", "SOURCES", "GRANTS", "NOTE"]);
        for status in &statuses {
            table.row([
                status.name.clone(),
                status.state.as_str().into(),
                status.interfaces.join(", "),
                status.version.as_deref().map_or("-".into(), short),
                status.sources.iter().map(|source| source.name.as_str()).collect::<Vec<_>>().join(", "),
                grants(status),
                note(status),
            ]);
        }
        table.print(None);
    }
    let well = statuses
        .iter()
        .all(|status| status.refused.is_none() && status.sources.iter().all(|s| s.quarantined.is_none()));
    Ok(if well { Ended::Well } else { Ended::Badly })
}

/// `sha256:` and twelve digits tell versions apart.
fn short(version: &str) -> String {
    version.chars().take("sha256:".len() + 12).collect()
}

fn grants(status: &Status) -> String {
    let hosts = status.sources.iter().flat_map(|source| source.granted.iter().map(String::as_str));
    let revealed = status.sources.iter().any(|source| source.reveals_secrets).then_some("reveal_secrets");
    let mut grants: Vec<&str> = hosts.chain(revealed).collect();
    grants.sort_unstable();
    grants.dedup();
    if grants.is_empty() { "-".into() } else { grants.join(", ") }
}

fn note(status: &Status) -> String {
    let quarantined = status.sources.iter().find_map(|source| {
        let standing = source.quarantined.as_ref()?;
        Some(format!("{} quarantined for {} ms more: {}", source.name, standing.left_ms, standing.reason))
    });
    status.refused.clone().or(quarantined).unwrap_or_default()
}

/// Of one plugin, where a host works on the folder.
pub(super) fn status(data: &Path, name: &str) -> Result<Option<Status>> {
    if !DataLock::is_held(data)? {
        return Ok(None);
    }
    let answer = orders::give(&data.join(PLUGINS), &Order::Status)?.map_err(anyhow::Error::msg)?;
    let statuses: Vec<Status> = serde_json::from_str(&answer).context("the host's answer")?;
    Ok(statuses.into_iter().find(|status| status.name == name))
}
