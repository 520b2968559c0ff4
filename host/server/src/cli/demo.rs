//! `watchkeeper demo`: the whole path, once, on the built-in configuration.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use serde_json::{Value, json};
use watchkeeper_adapters::store::AuditKey;
use watchkeeper_domain::store::{InvestigationQuery, Store};
use watchkeeper_domain::{InvestigationId, Timestamp};

use super::{ConfigDir, Ended, Listen, Locked, Output, PluginsDir, follow, serve};
use crate::config::{Config, Environment};
use crate::wiring::{Host, Place};

/// Alertmanager's webhook about a busy CPU.
const PAYLOAD: &str = include_str!("../../../../plugins/prometheus/samples/alertmanager-webhook.json");

const TOKEN: &str = "PROMETHEUS_WEBHOOK_TOKEN";
const PATH: &str = "/alerts/prometheus";

/// How long the alert may take to become an investigation.
const BEGIN: Duration = Duration::from_secs(10);

#[derive(Args)]
pub(super) struct Options {
    #[command(flatten)]
    config: ConfigDir,
    #[command(flatten)]
    plugins: PluginsDir,
    #[command(flatten)]
    locked: Locked,
    /// The folder of everything that is kept [default: a temporary one]
    #[arg(long, env = "WATCHKEEPER_DATA", value_name = "DIR")]
    data: Option<PathBuf>,
    #[command(flatten)]
    listen: Listen,
    /// Stop after the report
    #[arg(long)]
    once: bool,
    #[command(flatten)]
    output: Output,
}

pub(super) async fn run(options: Options) -> Result<Ended> {
    let mut environment = Environment::of_process();
    environment.set_default(TOKEN, || format!("demo-{:x}", Timestamp::now().as_millis()));
    let config = match &options.config.config {
        Some(folder) => Config::load(folder, &environment)?,
        None => Config::embedded(&environment)?,
    };
    let temporary = tempfile::Builder::new().prefix("watchkeeper-demo-").tempdir()?;
    let data = options.data.clone().unwrap_or_else(|| temporary.path().to_owned());
    let token = environment.get(TOKEN).unwrap_or_default().to_owned();
    let token = token.as_str();
    let host = start(config, environment, &options, &data).await?;

    let report = investigate_sample(&host, token, &options.output).await;
    if options.once || report.is_err() {
        host.stop().await;
        return report.map(|()| Ended::Well);
    }
    let address = host.address;
    eprintln!("\nServing at http://{address} until Ctrl-C. Send it more:");
    eprintln!("  curl -H 'Authorization: Bearer {token}' -d @payload.json http://{address}{PATH}");
    eprintln!("  curl http://{address}/api/v1/investigations");
    eprintln!("  watchkeeper incidents --data {}", data.display());
    serve::told_to_stop(true).await?;
    host.stop().await;
    Ok(Ended::Well)
}

/// On the asked address; on a free port where that is taken, for a demo should run beside whatever else does.
async fn start(
    config: Config,
    environment: Environment,
    options: &Options,
    data: &std::path::Path,
) -> Result<Host> {
    let mut listen = options.listen.listen;
    if std::net::TcpListener::bind(listen).is_err() {
        eprintln!("{listen} is taken; the demo listens on a free port.");
        listen.set_port(0);
    }
    let trust = config.trust(options.locked.locked);
    let audit_key = &AuditKey::file_in(data);
    let place = Place { plugins: &options.plugins.plugins, data, audit_key, listen, prune: false };
    Host::start(config, environment, trust, place).await
}

async fn investigate_sample(host: &Host, token: &str, output: &Output) -> Result<()> {
    let _load = Load::start();
    let url = format!("http://{}{PATH}", host.address);
    if !output.json {
        println!("→ POST {url}: a critical HighCPU alert, as Alertmanager sends it");
    }
    // To itself alone, so no proxy is asked, and no authority.
    let client = reqwest::Client::builder().no_proxy().tls_certs_only([]).build()?;
    let response = client.post(&url).bearer_auth(token).json(&payload()?).send().await?;
    let (status, answer) = (response.status(), response.text().await?);
    if !output.json {
        println!("← {status} {}\n", watchkeeper_domain::untrusted::visible(&answer));
    }
    if !status.is_success() {
        bail!(
            "the sample alert was refused: {status} {answer}; are the plugins built? `cargo xtask build` builds them"
        );
    }
    let id = begun(&*host.store).await?;
    let investigation = follow::follow(&*host.store, id, output).await?;
    match investigation.report {
        Some(_) => Ok(()),
        None => bail!("{id} ended without a report: {}", investigation.reason.unwrap_or_default().visible()),
    }
}

/// The sample, as if it had fired just now on this host.
fn payload() -> Result<Value> {
    let mut payload: Value = serde_json::from_str(PAYLOAD).context("the sample payload")?;
    let now = json!(Timestamp::now());
    for alert in payload["alerts"].as_array_mut().into_iter().flatten() {
        alert["startsAt"] = now.clone();
    }
    Ok(payload)
}

async fn begun(store: &dyn Store) -> Result<InvestigationId> {
    let asked = tokio::time::Instant::now();
    loop {
        let page = store.investigations(InvestigationQuery::default()).await?;
        if let Some(newest) = page.items.first() {
            return Ok(newest.id);
        }
        if asked.elapsed() > BEGIN {
            bail!("the alert was stored, but no investigation began within {BEGIN:?}");
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A busy process for each core, so that there is something to find. They end with the demo's investigation.
struct Load(Vec<Child>);

impl Load {
    fn start() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let busy =
            |_| Command::new("yes").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        Self((0..cores).map(busy).filter_map(Result::ok).collect())
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
