//! `watchkeeper plugin list`: of the host that works on the data folder, if one does; else what `serve` would load.

use std::path::Path;

use anyhow::{Context, Result};
use clap::Args;
use serde_json::{Value, json};
use watchkeeper_wasm::{Entry, Runtime, Status};

use super::{as_json, interfaces, lock, sources, used_by};
use crate::cli::{ConfigDir, DataDir, Ended, Locked, Output, PluginsDir, print_json};
use crate::config::SourceFile;
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
    let registry = wiring::plugins_in_service(&runtime, &options.plugins.plugins, &options.data.data)?;
    let entries = registry.entries();
    let sources = sources(&options.config);
    if options.output.json {
        let used_by = |entry: &Entry| match entry {
            Entry::Loaded(plugin) => used_by(&plugin.name, &sources),
            Entry::Refused(_) => Vec::new(),
        };
        let plugins: Vec<Value> = entries.iter().map(|entry| as_json(entry, &used_by(entry))).collect();
        print_json(&json!({ "plugins": plugins }))?;
    } else {
        let mut table =
            Table::new(["PLUGIN", "STATE", "INTERFACES", "SIZE", "DIGEST", "SOURCES", "GRANTS", "TRUST"]);
        for entry in &entries {
            table.row(match entry {
                Entry::Loaded(plugin) => {
                    let used_by = used_by(&plugin.name, &sources);
                    let names: Vec<&str> = used_by.iter().map(|source| source.name.as_str()).collect();
                    [
                        plugin.name.clone(),
                        "loaded".into(),
                        interfaces(plugin).join(", "),
                        plugin.size.to_string(),
                        plugin.digest[..12].into(),
                        names.join(", "),
                        to_be_granted(&used_by),
                        lock::trust(&plugin.vouched),
                    ]
                }
                Entry::Refused(refusal) => {
                    let name = refusal.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                    let none = || "-".to_owned();
                    let reason = refusal.reason.clone();
                    [name, "refused".into(), reason, none(), none(), none(), none(), none()]
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
    let hosts = status.sources.iter().flat_map(|source| source.granted.iter().cloned());
    granted(hosts.collect(), status.sources.iter().any(|source| source.reveals_secrets))
}

/// As [`grants`], by what the files say.
fn to_be_granted(used_by: &[&SourceFile]) -> String {
    let hosts = used_by.iter().flat_map(|source| source.allow_hosts.iter().map(ToString::to_string));
    granted(hosts.collect(), used_by.iter().any(|source| source.reveal_secrets))
}

fn granted(mut grants: Vec<String>, reveals_secrets: bool) -> String {
    grants.extend(reveals_secrets.then(|| "reveal_secrets".to_owned()));
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
