//! `watchkeeper serve`: until SIGTERM or SIGINT.

use anyhow::{Context, Result};
use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

use super::{ConfigDir, DataDir, Ended, Listen, Locked, PluginsDir};
use crate::config::Environment;
use crate::wiring::Host;

#[derive(Args)]
pub(super) struct Options {
    #[command(flatten)]
    config: ConfigDir,
    #[command(flatten)]
    plugins: PluginsDir,
    #[command(flatten)]
    locked: Locked,
    #[command(flatten)]
    data: DataDir,
    #[command(flatten)]
    listen: Listen,
    /// Accepted for uniformity; the log is JSON with WATCHKEEPER_LOG_FORMAT=json
    #[arg(long, hide = true)]
    json: bool,
}

pub(super) async fn run(options: Options) -> Result<Ended> {
    let _ = options.json;
    let config = options.config.load(&Environment::of_process())?;
    let trust = config.trust(options.locked.locked);
    let host =
        Host::start(config, trust, &options.plugins.plugins, &options.data.data, options.listen.listen)
            .await?;
    told_to_stop().await?;
    host.stop().await;
    Ok(Ended::Well)
}

pub(super) async fn told_to_stop() -> Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM can't be waited for")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT can't be waited for")?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}
