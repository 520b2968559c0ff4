//! `watchkeeper plugin rollback|release|grant|prune`: told to the host that works on the data folder, or done on the folder
//! itself where none does.

use anyhow::{Context, Result};
use clap::Args;
use serde_json::json;
use watchkeeper_domain::audit::Record;
use watchkeeper_wasm::{Options as RegistryOptions, Registry};

use crate::cli::{ConfigDir, DataDir, Ended, Locked, Output, PluginsDir, print_json};
use crate::orders::{self, Order};
use crate::wiring::{self, DataLock, PLUGINS};
use watchkeeper_domain::untrusted::visible;

#[derive(Args)]
pub(in crate::cli) struct Options {
    /// The plugin's name, which is its file's without .wasm
    name: String,
    #[command(flatten)]
    place: Place,
}

#[derive(Args)]
pub(in crate::cli) struct PruneOptions {
    /// One plugin; without it, every one whose file is gone
    name: Option<String>,
    #[command(flatten)]
    place: Place,
}

#[derive(Args)]
struct Place {
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

pub(super) fn rollback(options: &Options) -> Result<Ended> {
    run(&options.place, &Order::Rollback { plugin: options.name.clone() })
}

pub(super) fn release(options: &Options) -> Result<Ended> {
    run(&options.place, &Order::Release { plugin: options.name.clone() })
}

pub(super) fn grant(options: &Options) -> Result<Ended> {
    run(&options.place, &Order::Grant { plugin: options.name.clone() })
}

pub(super) fn prune(options: &PruneOptions) -> Result<Ended> {
    run(&options.place, &Order::Prune { plugin: options.name.clone() })
}

fn run(place: &Place, order: &Order) -> Result<Ended> {
    let data = &place.data.data;
    enter(place, order, "ordered", None)?;
    let result = match DataLock::take(data)? {
        None => orders::give(&data.join(PLUGINS), order)?,
        Some(_lock) => {
            let runtime = wiring::runtime(data, place.config.trust(place.locked.locked)?)?;
            let (folder, kept) = (&place.plugins.plugins, data.join(PLUGINS));
            let registry = Registry::open(&runtime, folder, RegistryOptions::default(), Some(&kept));
            let registry = registry.with_context(|| format!("{}: can't be read", folder.display()))?;
            registry.scan(folder);
            let done = order.carry_out(&registry, || Err("is no order for plugins".into()));
            enter_happenings(place, &registry)?;
            done
        }
    };
    let failed = result.as_ref().err().map(String::as_str);
    enter(place, order, if failed.is_none() { "done" } else { "failed" }, failed)?;
    if place.output.json {
        print_json(
            &json!({ "ok": result.is_ok(), "result": result.as_ref().unwrap_or_else(|error| error) }),
        )?;
    } else {
        println!("{}", visible(result.as_ref().unwrap_or_else(|error| error)));
    }
    Ok(if result.is_ok() { Ended::Well } else { Ended::Badly })
}

/// Into the audit log, before the order is carried out: one that can't be entered isn't.
fn enter(place: &Place, order: &Order, stage: &str, error: Option<&str>) -> Result<()> {
    let order = serde_json::to_value(order)?;
    let action = format!("plugin.{}", order["order"].as_str().unwrap_or("order"));
    let plugin = order["plugin"].as_str().unwrap_or("every one whose file is gone");
    let detail = json!({ "stage": stage, "error": error });
    put(place, [Record::new("cli", &action, format!("plugin {plugin}"), detail)])
}

/// And what came of it, where no host enters it.
fn enter_happenings(place: &Place, registry: &Registry) -> Result<()> {
    put(place, registry.take_happenings().iter().map(|happening| wiring::entered("cli", happening)))
}

fn put(place: &Place, records: impl IntoIterator<Item = Record>) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().context("no runtime")?;
    runtime.block_on(async {
        let store = place.data.open()?;
        for record in records {
            store.record(record).await?;
        }
        Ok(())
    })
}
