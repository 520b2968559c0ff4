//! `watchkeeper serve`: until SIGTERM or SIGINT. SIGHUP ends it in a terminal alone.

use std::io::IsTerminal;

use anyhow::{Context, Result};
use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

use super::{ConfigDir, DataDir, Ended, Listen, Locked, PluginsDir};
use crate::config::Environment;
use crate::wiring::{Host, Place};

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
    /// Unload a plugin once its file is deleted, though sources use it
    #[arg(long)]
    prune: bool,
    /// Accepted for uniformity; the log is JSON with WATCHKEEPER_LOG_FORMAT=json
    #[arg(long, hide = true)]
    json: bool,
}

pub(super) async fn run(options: Options) -> Result<Ended> {
    let _ = options.json;
    let environment = Environment::of_process();
    let config = options.config.load(&environment)?;
    let trust = config.trust(options.locked.locked);
    let place = Place {
        plugins: &options.plugins.plugins,
        data: &options.data.data,
        audit_key: &options.data.audit_key(),
        listen: options.listen.listen,
        prune: options.prune,
    };
    let host = Host::start(config, environment, trust, place).await?;
    // A terminal that is closed ends what was started in it.
    told_to_stop(std::io::stdin().is_terminal()).await?;
    host.stop().await;
    Ok(Ended::Well)
}

pub(super) async fn told_to_stop(hangup_ends: bool) -> Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM can't be waited for")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT can't be waited for")?;
    let mut hangup = signal(SignalKind::hangup()).context("SIGHUP can't be waited for")?;
    loop {
        tokio::select! {
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
            _ = hangup.recv() => {
                if hangup_ends {
                    return Ok(());
                }
                tracing::info!(
                    "SIGHUP: plugins and sources are read again whenever they change, without being told; watchkeeper.yaml and \
                     gate.yaml want a restart"
                );
            }
        }
    }
}
