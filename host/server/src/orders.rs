//! What the command line asks of a host that runs: a file in the data folder, and its answer beside it. It needs no port and
//! no token, only the right to write where the host does.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use watchkeeper_wasm::Registry;

use crate::secrets;

const FOLDER: &str = "orders";

/// How long a host may take; a look at a folder, and a version loaded and configured.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "order", rename_all = "snake_case")]
pub enum Order {
    /// What is to be seen of all plugins, as JSON.
    Status,
    /// Back to the good version before.
    Rollback { plugin: String },
    /// Out of quarantine; what was rolled back may come again.
    Release { plugin: String },
    /// The version in the file may ask for more than the one before it.
    Grant { plugin: String },
    /// Unload what has no file any more.
    Prune { plugin: Option<String> },
    /// The audit log goes on by a new key.
    RotateAuditKey,
}

impl Order {
    /// In words, what came of it. `rotate` lets the audit log's key make way for another.
    pub fn carry_out(
        &self,
        registry: &Registry,
        rotate: impl FnOnce() -> Result<String, String>,
    ) -> Result<String, String> {
        match self {
            Order::RotateAuditKey => rotate(),
            Order::Status => {
                let shown = secrets::shown(&registry.statuses());
                shown.map(|shown| shown.to_string()).map_err(|error| error.to_string())
            }
            Order::Rollback { plugin } => {
                registry.rollback(plugin).map(|version| format!("{plugin} is back at {version}"))
            }
            Order::Release { plugin } => registry.release(plugin).map(|what| format!("{plugin}: {what}")),
            Order::Grant { plugin } => registry.grant(plugin).map(|what| format!("{plugin}: {what}")),
            Order::Prune { plugin } => {
                let pruned = registry.prune(plugin.as_deref())?;
                Ok(match plugin {
                    _ if !pruned.is_empty() => format!("unloaded: {}", pruned.join(", ")),
                    Some(plugin) => format!("nothing to prune: {plugin} has its file"),
                    None => "nothing to prune: every loaded plugin has its file".into(),
                })
            }
        }
    }
}

#[derive(Serialize, Deserialize)]
struct Answer {
    result: Result<String, String>,
}

/// Leaves the order for the host that works on the folder, and waits for its answer.
pub fn give(plugins: &Path, order: &Order) -> Result<Result<String, String>> {
    let folder = plugins.join(FOLDER);
    std::fs::create_dir_all(&folder).with_context(|| format!("{}: can't be created", folder.display()))?;
    let mut file = tempfile::Builder::new().prefix(".order-").tempfile_in(&folder)?;
    serde_json::to_writer(&mut file, order)?;
    let name =
        file.path().file_name().unwrap_or_default().to_string_lossy().trim_start_matches('.').to_owned();
    let path = folder.join(format!("{name}.json"));
    file.persist(&path)?;
    let answer = path.with_extension("answer");
    let given = Instant::now();
    while given.elapsed() < PATIENCE {
        if let Ok(text) = std::fs::read(&answer) {
            std::fs::remove_file(&answer)?;
            let answer: Answer = serde_json::from_slice(&text).context("the host's answer")?;
            return Ok(answer.result);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let _ = std::fs::remove_file(&path);
    bail!("the host that works on {} did not answer within {PATIENCE:?}", plugins.display())
}

/// Carries out what lies there.
pub fn obey(plugins: &Path, registry: &Registry, rotate: impl Fn() -> Result<String, String>) {
    let Ok(entries) = std::fs::read_dir(plugins.join(FOLDER)) else { return };
    let orders = entries.flatten().map(|entry| entry.path());
    for path in orders.filter(|path| path.extension().is_some_and(|extension| extension == "json")) {
        let order = std::fs::read(&path)
            .and_then(|text| serde_json::from_slice::<Order>(&text).map_err(io::Error::other));
        // Gone before it is carried out, so that one that ends the host isn't carried out again.
        if let Err(error) = std::fs::remove_file(&path) {
            tracing::error!(file = %path.display(), %error, "an order can't be removed, so it is not carried out");
            continue;
        }
        let result = order.map_err(|error| format!("no order: {error}")).and_then(|order| {
            match order {
                // It is asked for again and again, and changes nothing.
                Order::Status => tracing::debug!("the command line asks for the plugins' status"),
                _ => tracing::info!(?order, "an order from the command line"),
            }
            order.carry_out(registry, &rotate)
        });
        if let Err(error) = answer(&path.with_extension("answer"), result) {
            tracing::error!(file = %path.display(), %error, "an order's answer can't be written");
        }
    }
}

fn answer(path: &PathBuf, result: Result<String, String>) -> io::Result<()> {
    let beside = path.with_extension("part");
    std::fs::write(&beside, serde_json::to_vec(&Answer { result }).map_err(io::Error::other)?)?;
    std::fs::rename(beside, path)
}
