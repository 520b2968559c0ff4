//! `watchkeeper investigate INCIDENT`: by the host that serves this data folder, else by this process.

use std::sync::Arc;

use anyhow::Result;
use clap::Args;
use tokio::sync::watch;
use watchkeeper_domain::IncidentId;
use watchkeeper_domain::investigation::State;

use super::{ConfigDir, DataDir, Ended, Locked, Output, PluginsDir, follow};
use crate::config::Environment;
use crate::wiring::{self, DataLock};

#[derive(Args)]
pub(super) struct Options {
    /// The incident's id, such as inc-7
    incident: IncidentId,
    #[command(flatten)]
    config: ConfigDir,
    #[command(flatten)]
    plugins: PluginsDir,
    #[command(flatten)]
    locked: Locked,
    #[command(flatten)]
    data: DataDir,
    #[command(flatten)]
    output: Output,
}

pub(super) async fn run(options: &Options) -> Result<Ended> {
    let store = options.data.store()?;
    let lock = DataLock::take(&options.data.data)?;
    let id = store.request_investigation(options.incident).await?;
    let (_stop, stopping) = watch::channel(false);
    if lock.is_some() {
        let config = options.config.load(&Environment::of_process())?;
        let runtime = wiring::runtime(&options.data.data, config.trust(options.locked.locked))?;
        let registry =
            Arc::new(wiring::plugins_in_service(&runtime, &options.plugins.plugins, &options.data.data)?);
        wiring::announce_refused(&registry);
        let investigator = wiring::investigator(&config, store.clone(), registry, &options.data.data).await?;
        tokio::spawn(async move {
            // Until this process ends: a run stops where it waits for a person, whose answer may come any time.
            loop {
                if let Err(error) = investigator.run(id, stopping.clone()).await {
                    tracing::error!(%error, "the investigation was interrupted; `serve` goes on with it");
                    std::process::exit(2);
                }
                tokio::time::sleep(follow::LOOK).await;
            }
        });
    }
    let investigation = follow::follow(&*store, id, &options.output).await?;
    Ok(if investigation.state == State::Completed { Ended::Well } else { Ended::Badly })
}
