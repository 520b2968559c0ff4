//! The composition root: every part of the host, put together in data order.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use metrics::gauge;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::task::TaskTracker;
use watchkeeper_adapters::escalation::LogChannel;
use watchkeeper_adapters::store::SqliteStore;
use watchkeeper_adapters::tool;
use watchkeeper_domain::plugin::{Feed, Reader};
use watchkeeper_domain::store::Store;
use watchkeeper_domain::tool::Tool;
use watchkeeper_flow::escalate;
use watchkeeper_flow::ingest::{Ingest, Source};
use watchkeeper_flow::investigate::{Handle, Investigator, Options};
use watchkeeper_wasm::{BindError, Binding, Entry, Registry, Runtime, Trust};

use crate::config::{Auth, Config, Problem, SourceFile};
use crate::http::{self, ClientLimit, Doors, RESERVED, Readiness};

/// How often sources are asked whether they are well (`wit/`).
const HEALTH: Duration = Duration::from_secs(60);

/// Where compiled plugins lie in the data folder.
const CODE: &str = "compiled-plugins";

const LOCK: &str = "serve.lock";

/// The file of a folder's lock, held as long as this lives. One process works on a data folder.
pub struct DataLock(#[expect(dead_code, reason = "held, not read")] File);

impl DataLock {
    /// None if another process holds it.
    pub fn take(data: &Path) -> Result<Option<Self>> {
        std::fs::create_dir_all(data).with_context(|| format!("{}: can't be created", data.display()))?;
        let path = data.join(LOCK);
        let file = File::options().create(true).append(true).open(&path);
        let file = file.with_context(|| format!("{}: can't be opened", path.display()))?;
        match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Self(file))),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(error).with_context(|| format!("{}: can't be locked", path.display())),
        }
    }
}

/// A plugin runtime whose compiled code lies in the data folder.
pub fn runtime(data: &Path, trust: Trust) -> Result<Runtime> {
    let runtime = Runtime::new(Some(data.join(CODE))).map_err(anyhow::Error::msg)?;
    Ok(runtime.with_trust(trust))
}

pub fn plugins(runtime: &Runtime, folder: &Path) -> Result<Registry> {
    Registry::load(runtime, folder).with_context(|| {
        format!("{}: can't be read; name the plugins' folder with --plugins", folder.display())
    })
}

/// A webhook path's source.
pub struct Route {
    pub source: Source,
    pub auth: Option<Auth>,
}

pub type Routes = HashMap<String, Route>;

/// A source's file, and what came of it.
pub struct SourceStatus {
    pub name: String,
    pub kind: String,
    pub file: PathBuf,
    /// Where it listens, or why it doesn't.
    pub outcome: Result<String, Problem>,
}

/// Every source bound to its plugin; those that can't be are disabled, each alone.
pub struct Sources {
    pub routes: Routes,
    pub statuses: Vec<SourceStatus>,
}

impl Sources {
    /// `open` says that the host listens beyond loopback, where a source needs credentials.
    pub fn bind(files: &[Result<SourceFile, Problem>], registry: &Registry, open: bool) -> Self {
        let mut sources = Self { routes: HashMap::new(), statuses: Vec::new() };
        for file in files {
            match file {
                Ok(file) => sources.add(file, registry, open),
                // Its name may be what is wrong, so the file's stands for it.
                Err(problem) => sources.statuses.push(SourceStatus {
                    name: problem.file.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
                    kind: "-".into(),
                    file: problem.file.clone(),
                    outcome: Err(problem.clone()),
                }),
            }
        }
        sources
    }

    fn add(&mut self, file: &SourceFile, registry: &Registry, open: bool) {
        let outcome = self.webhook(file, registry, open).map(|(path, binding)| {
            let source = Source::new(&file.name, binding.reader(), file.dedup_window);
            self.routes.insert(path.clone(), Route { source, auth: file.auth.clone() });
            path
        });
        self.statuses.push(SourceStatus {
            name: file.name.clone(),
            kind: file.kind.clone(),
            file: file.file.clone(),
            outcome,
        });
    }

    fn webhook(
        &self,
        file: &SourceFile,
        registry: &Registry,
        open: bool,
    ) -> Result<(String, Binding), Problem> {
        if open && file.auth.is_none() {
            let reason =
                "is missing, and the host listens beyond loopback: add auth: { type: bearer, token: ${…} }";
            return Err(file.problem(Some("auth"), reason));
        }
        let binding = bind(file, registry)?;
        let path = match &binding.feed {
            Feed::Webhook { path } => path.clone(),
            Feed::Poll { .. } => {
                return Err(
                    file.problem(Some("type"), "wants to be polled, which this version doesn't do yet")
                );
            }
            Feed::Subscription { transport, .. } => {
                let reason = format!("wants the transport `{transport}`, which this version doesn't have");
                return Err(file.problem(Some("type"), reason));
            }
        };
        check_path(&path).map_err(|reason| file.problem(Some("webhook_path"), reason))?;
        match self.statuses.iter().find(|other| other.outcome.as_ref() == Ok(&path)) {
            Some(other) => {
                let reason = format!("`{path}` is the path of source {} already: choose another", other.name);
                Err(file.problem(Some("webhook_path"), reason))
            }
            None => Ok((path, binding)),
        }
    }
}

/// The file's plugin, configured with its keys.
pub fn bind(file: &SourceFile, registry: &Registry) -> Result<Binding, Problem> {
    registry.bind(&file.kind, file.spec()).map_err(|error| match error {
        BindError::InvalidConfig { key, reason } => file.problem(key.as_deref(), reason),
        BindError::Failed(reason) => file.problem(None, reason),
    })
}

/// Paths are compared byte by byte, so they may have one spelling only.
fn check_path(path: &str) -> Result<(), String> {
    let wrong = |what: &str| Err(format!("`{path}` {what}; write one like /alerts/prometheus"));
    let Some(rest) = path.strip_prefix('/') else { return wrong("doesn't begin with `/`") };
    if path.len() > 512 {
        return wrong("is longer than 512 bytes");
    }
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    for segment in rest.split('/') {
        match segment {
            "" => return wrong("has an empty segment"),
            "." | ".." => return wrong("has a segment of dots"),
            segment if !segment.bytes().all(plain) => {
                return wrong("has other characters than letters, digits, `-`, `_`, `.`, `~` and `/`");
            }
            _ => {}
        }
    }
    let first = rest.split('/').next().unwrap_or_default();
    match RESERVED.into_iter().find(|reserved| first.eq_ignore_ascii_case(reserved)) {
        Some(reserved) => wrong(&format!("begins with /{reserved}, which is Watchkeeper's own")),
        None => Ok(()),
    }
}

/// Says what was loaded and what wasn't: nothing is left out in silence.
fn announce(registry: &Registry, sources: &Sources) {
    for entry in registry.entries() {
        match entry {
            Entry::Loaded(plugin) => tracing::info!(
                plugin = %plugin.name,
                interfaces = %plugin.interfaces.iter().map(|(i, _)| i.as_str()).collect::<Vec<_>>().join(","),
                cached = plugin.from_cache,
                "plugin loaded in {} ms", plugin.load_time.as_millis()
            ),
            Entry::Refused(refusal) => tracing::error!("plugin refused: {refusal}"),
        }
    }
    for status in &sources.statuses {
        match &status.outcome {
            Ok(path) => {
                tracing::info!(source = %status.name, plugin = %status.kind, "source listens at POST {path}")
            }
            Err(problem) => tracing::error!("source disabled: {problem}"),
        }
    }
    if sources.routes.is_empty() {
        tracing::warn!("no source is enabled, so no alert can arrive; see `watchkeeper check`");
    }
}

/// What an investigation acts with.
pub fn tools(config: &Config) -> BTreeMap<String, Arc<dyn Tool>> {
    let (files, limits) = (config.gate.files(), tool::Limits::default());
    let tools: [Arc<dyn Tool>; 3] = [
        Arc::new(tool::Bash::new(limits)),
        Arc::new(tool::ReadFile::new(files.clone(), limits)),
        Arc::new(tool::ListFiles::new(files.clone(), limits)),
    ];
    tools.into_iter().map(|tool| (tool.describe().name, tool)).collect()
}

/// Histograms as buckets, in seconds: from a parse to a slow disk.
const SECONDS: [f64; 12] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];
const COUNTS: [f64; 10] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0];

fn recorder() -> Result<PrometheusHandle> {
    use metrics_exporter_prometheus::Matcher::{Full, Suffix};
    let handle = PrometheusBuilder::new()
        .set_buckets_for_metric(Suffix("_seconds".into()), &SECONDS)?
        .set_buckets_for_metric(Full("agent_store_commit_writes".into()), &COUNTS)?
        .install_recorder()?;
    for name in ["started", "completed", "escalated", "failed"] {
        // Zero is an answer, too.
        metrics::counter!(format!("agent_investigations_{name}_total")).increment(0);
    }
    Ok(handle)
}

/// A host that serves.
pub struct Host {
    pub address: SocketAddr,
    pub store: Arc<dyn Store>,
    stop: watch::Sender<bool>,
    tasks: TaskTracker,
    _lock: DataLock,
}

impl Host {
    /// Opens everything, and serves from here on.
    pub async fn start(
        config: Config,
        trust: Trust,
        plugin_folder: &Path,
        data: &Path,
        listen: SocketAddr,
    ) -> Result<Self> {
        let lock = DataLock::take(data)?.with_context(|| {
            format!(
                "{}: another Watchkeeper works on this data folder; stop it, or use another --data",
                data.display()
            )
        })?;
        let open = !listen.ip().is_loopback();
        if open && config.host.server.api_token.is_none() {
            bail!(
                "{listen} is beyond loopback, and the API has no credentials: set server.api_token, or listen on 127.0.0.1"
            );
        }
        let metrics = recorder()?;
        let listener =
            TcpListener::bind(listen).await.with_context(|| format!("can't listen on {listen}"))?;
        let address = listener.local_addr()?;
        for note in &config.notes {
            tracing::info!("{note}");
        }

        let store: Arc<dyn Store> = Arc::new(SqliteStore::open(data)?);
        let runtime = runtime(data, trust)?;
        let registry = Arc::new(plugins(&runtime, plugin_folder)?);
        let sources = Sources::bind(&config.sources, &registry, open);
        announce(&registry, &sources);

        let (stop, stopping) = watch::channel(false);
        let tasks = TaskTracker::new();
        let investigations = Handle::default();
        let investigator = Arc::new(investigator(&config, store.clone(), registry));
        tasks.spawn(investigator.serve(investigations.clone(), stopping.clone()));
        tasks.spawn(escalate::run(store.clone(), vec![Arc::new(LogChannel)], stopping.clone()));
        tasks.spawn(watch_health(&sources.routes, stopping.clone()));

        let doors = Doors {
            routes: sources.routes,
            store: store.clone(),
            ingest: Ingest::new(store.clone(), config.host.correlation()),
            investigations,
            limit: ClientLimit::new(
                &config.host.server.rate_limit,
                config.host.server.trusted_proxies.clone(),
            ),
            body_limit: (config.host.server.body_limit_mib as usize) << 20,
            api_token: config.host.server.api_token.clone(),
            metrics,
            readiness: Readiness::default(),
            stopping,
        };
        tasks.spawn(http::serve(listener, Arc::new(doors)));
        tasks.close();
        tracing::info!("watchkeeper {} serves at http://{address}", env!("CARGO_PKG_VERSION"));
        Ok(Self { address, store, stop, tasks, _lock: lock })
    }

    /// Answers what is under way, lets investigations reach their next event, and returns.
    pub async fn stop(self) {
        tracing::info!("stopping: no new requests, what is under way is finished");
        self.stop.send_replace(true);
        self.tasks.wait().await;
        tracing::info!("stopped");
    }
}

/// What runs investigations, in `serve` and in `investigate`.
pub fn investigator(config: &Config, store: Arc<dyn Store>, registry: Arc<Registry>) -> Investigator {
    Investigator {
        store,
        brains: registry,
        tools: tools(config),
        gate: config.gate.clone(),
        options: Options {
            budget: config.host.budget(),
            max_concurrent: config.host.investigation.max_concurrent,
        },
    }
}

/// `agent_alert_source_healthy`, once a minute.
fn watch_health(routes: &Routes, mut stop: watch::Receiver<bool>) -> impl Future<Output = ()> + use<> {
    let sources: Vec<(Arc<str>, Arc<dyn Reader>)> =
        routes.values().map(|route| (route.source.name.clone(), route.source.reader.clone())).collect();
    async move {
        while !*stop.borrow() {
            for (name, reader) in &sources {
                let healthy = reader.check().await;
                if let Err(error) = &healthy {
                    tracing::warn!(source = %name, %error, "a source is not well");
                }
                let value = if healthy.is_ok() { 1.0 } else { 0.0 };
                gauge!("agent_alert_source_healthy", "source" => name.to_string()).set(value);
            }
            tokio::select! {
                _ = tokio::time::sleep(HEALTH) => {}
                _ = stop.changed() => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::check_path;

    #[test]
    fn paths_have_one_spelling() {
        for path in ["/alerts/prometheus", "/a", "/hooks/v1.2/x_y~z-0", "/apis/x"] {
            assert_eq!(check_path(path), Ok(()), "{path}");
        }
        let wrong = [
            "",
            "alerts",
            "/",
            "//a",
            "/a/",
            "/a//b",
            "/../etc",
            "/a/..",
            "/a/./b",
            "/%2e%2e/a",
            "/a%2fb",
            "/a\\b",
            "/a b",
            "/a?x",
            "/a#x",
            "/ä",
            "/a\n",
            "/api",
            "/api/v1/alerts",
            "/API/x",
            "/metrics",
            "/healthz",
            "/readyz",
            "/dashboard/x",
            "/a;b",
            "/{x}",
            "/*",
        ];
        for path in wrong {
            assert!(check_path(path).is_err(), "{path:?}");
        }
    }
}
