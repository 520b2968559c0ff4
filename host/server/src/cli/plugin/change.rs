//! `watchkeeper plugin rollback|release|grant|prune`: told to the host that works on the data folder, or done on the folder
//! itself where none does.

use anyhow::{Context, Result};
use clap::Args;
use serde_json::json;
use watchkeeper_wasm::{Options as RegistryOptions, Registry};

use crate::cli::{ConfigDir, DataDir, Ended, Locked, Output, PluginsDir, print_json};
use crate::orders::{self, Order};
use crate::render::safe;
use crate::wiring::{self, DataLock, PLUGINS};

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
    let result = match DataLock::take(data)? {
        None => orders::give(&data.join(PLUGINS), order)?,
        Some(_lock) => {
            let runtime = wiring::runtime(data, place.config.trust(place.locked.locked)?)?;
            let (folder, kept) = (&place.plugins.plugins, data.join(PLUGINS));
            let registry = Registry::open(&runtime, folder, RegistryOptions::default(), Some(&kept));
            let registry = registry.with_context(|| format!("{}: can't be read", folder.display()))?;
            registry.scan(folder);
            order.carry_out(&registry)
        }
    };
    if place.output.json {
        print_json(
            &json!({ "ok": result.is_ok(), "result": result.as_ref().unwrap_or_else(|error| error) }),
        )?;
    } else {
        println!("{}", safe(result.as_ref().unwrap_or_else(|error| error)));
    }
    Ok(if result.is_ok() { Ended::Well } else { Ended::Badly })
}
