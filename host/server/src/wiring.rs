//! The composition root: every part of the host, put together in data order.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use arc_swap::ArcSwap;
use futures_util::future::join_all;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::task::TaskTracker;
use watchkeeper_adapters::sandbox::Sandbox;
use watchkeeper_adapters::store::SqliteStore;
use watchkeeper_adapters::tool;
use watchkeeper_domain::audit::Record;
use watchkeeper_domain::store::Store;
use watchkeeper_domain::tool::Tool;
use watchkeeper_flow::escalate::Outbox;
use watchkeeper_flow::ingest::Ingest;
use watchkeeper_flow::investigate::{Handle, Investigator, Options};
use watchkeeper_flow::retention;
use watchkeeper_flow::second_chance::SecondChance;
use watchkeeper_wasm::{Entry, Happening, Options as PluginOptions, Registry, Runtime, Trust};

use crate::config::{Config, Environment};
use crate::http::{self, ClientLimit, Doors, Readiness};
use crate::orders;
use crate::secrets::redactor;
use crate::sources::{self, InService, Polling, Sources};

/// How often sources are asked whether they are well (`wit/`).
const HEALTH: Duration = Duration::from_secs(60);

/// Files that a host opens at once; more are no use to it.
const OPEN_FILES: u64 = 65_536;

/// How often metrics are summed up.
const UPKEEP: Duration = Duration::from_secs(5);

/// Where compiled plugins lie in the data folder.
const CODE: &str = "compiled-plugins";

/// And what is remembered of them.
pub const PLUGINS: &str = "plugins";

/// And what tools said that is too long for a transcript.
const OUTPUTS: &str = "outputs";

/// How often it is looked whether the command line wants something, and how many such looks later at the source files.
const LOOK: Duration = Duration::from_millis(250);
const FILES: u32 = 2;

/// What a plugin's call may take to end once the host stops. They are looked at every few milliseconds.
const END_CALLS: Duration = Duration::from_secs(5);

/// How long until what couldn't be entered into the audit log is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// Bytes of payloads that are read back at the start, of all sources together, for the first new version of a plugin to be tried
/// on.
const PRIMED_BYTES: u64 = 16 << 20;

const LOCK: &str = "serve.lock";

/// The file of a folder's lock, held as long as this lives. One process works on a data folder.
pub struct DataLock(#[expect(dead_code, reason = "held, not read")] File);

impl DataLock {
    /// Whether a host works on the folder. One that was never worked on isn't created.
    pub fn is_held(data: &Path) -> Result<bool> {
        Ok(data.join(LOCK).exists() && Self::take(data)?.is_none())
    }

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
    Ok(runtime_with(Some(data.join(CODE)))?.with_trust(trust))
}

/// One that keeps no compiled code.
pub fn passing_runtime() -> Result<Runtime> {
    runtime_with(None)
}

fn runtime_with(cache: Option<PathBuf>) -> Result<Runtime> {
    let runtime = Runtime::new(cache).map_err(anyhow::Error::msg)?;
    // Whichever binary lies at its path by then: what compiles is the one that runs.
    Ok(runtime.with_compiler(Path::new("/proc/self/exe")))
}

/// The plugins as they lie in the folder, whatever became of them where they served.
pub fn plugins(runtime: &Runtime, folder: &Path) -> Result<Registry> {
    Registry::load(runtime, folder).with_context(|| unreadable(folder))
}

/// What `serve` would bring into service, nothing of which is written.
pub fn plugins_in_service(runtime: &Runtime, folder: &Path, data: &Path) -> Result<Registry> {
    let registry = plugins_to_begin_with(runtime, folder, data)?;
    registry.scan(folder);
    Ok(registry)
}

/// As [`plugins_in_service`], before [`Registry::scan`], which tries what is new on the sources that are bound by then.
pub fn plugins_to_begin_with(runtime: &Runtime, folder: &Path, data: &Path) -> Result<Registry> {
    let options = PluginOptions { check_feed: sources::check_feed, ..PluginOptions::default() };
    let registry = Registry::look(runtime, folder, options, &data.join(PLUGINS));
    registry.with_context(|| unreadable(folder))
}

fn unreadable(folder: &Path) -> String {
    format!("{}: can't be read; name the plugins' folder with --plugins", folder.display())
}

/// Says what was loaded and what wasn't: nothing is left out in silence.
fn announce(registry: &Registry) {
    announce_refused(registry);
    for entry in registry.entries() {
        if let Entry::Loaded(plugin) = entry {
            tracing::info!(
                plugin = %plugin.name,
                interfaces = %plugin.interfaces.iter().map(|(i, _)| i.as_str()).collect::<Vec<_>>().join(","),
                cached = plugin.from_cache,
                "plugin loaded in {} ms", plugin.load_time.as_millis()
            );
        }
    }
}

/// What isn't what lies in the folder: a version before serves, or none.
pub fn announce_refused(registry: &Registry) {
    for entry in registry.entries() {
        if let Entry::Refused(refusal) = entry {
            tracing::error!("plugin refused: {refusal}");
        }
    }
}

/// What every program runs in.
pub fn sandbox(config: &Config) -> Result<Sandbox> {
    let (options, _) = config.host.sandbox.options()?;
    Sandbox::new(config.gate.files().clone(), options)
        .context("/proc/self/exe: can't be opened, to start programs with")
}

/// Says what of the sandbox is missing here, as a refusal or as a warning, as the operator decided. Alerts are taken in any
/// case.
async fn announce_sandbox(config: &Config, sandbox: &Sandbox) {
    let features = match sandbox.features().await {
        Ok(features) => features,
        Err(error) => {
            tracing::error!(%error, "commands will fail, since the sandbox can't even be tried");
            return;
        }
    };
    for missing in &features.missing {
        match config.host.sandbox.accept_weaker {
            true => {
                tracing::warn!("commands run in a weaker sandbox, as sandbox.accept_weaker says: {missing}")
            }
            false => tracing::error!("commands are refused, since the sandbox can't be had here: {missing}"),
        }
    }
    for without in &features.without {
        tracing::warn!("{without}");
    }
}

/// What an investigation acts with.
pub fn tools(config: &Config, sandbox: Sandbox, data: &Path) -> Result<BTreeMap<String, Arc<dyn Tool>>> {
    let (files, limits) = (config.gate.files(), tool::Limits::default());
    let spills = data.join(OUTPUTS);
    let spills =
        tool::Spills::open(&spills).with_context(|| format!("{}: can't be used", spills.display()))?;
    let tools: [Arc<dyn Tool>; 3] = [
        Arc::new(tool::Bash::new(limits, Arc::new(sandbox)).with_spills(spills)),
        Arc::new(tool::ReadFile::new(files.clone(), limits)),
        Arc::new(tool::ListFiles::new(files.clone(), limits)),
    ];
    Ok(tools.into_iter().map(|tool| (tool.describe().name, tool)).collect())
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
    /// For threads.
    stopped: Arc<AtomicBool>,
    tasks: TaskTracker,
    plugins: Runtime,
    registry: Arc<Registry>,
    _lock: DataLock,
}

/// What is asked of a host besides its configuration.
pub struct Place<'a> {
    pub plugins: &'a Path,
    pub data: &'a Path,
    /// What the audit log is signed with.
    pub audit_key: &'a Path,
    pub listen: SocketAddr,
    /// A plugin goes with its file, though sources use it.
    pub prune: bool,
}

impl Host {
    /// Opens everything, and serves from here on.
    pub async fn start(
        config: Config,
        environment: Environment,
        trust: Trust,
        place: Place<'_>,
    ) -> Result<Self> {
        let Place { plugins: plugin_folder, data, audit_key, listen, prune } = place;
        let lock = DataLock::take(data)?.with_context(|| {
            format!(
                "{}: another Watchkeeper works on this data folder; stop it, or use another --data",
                data.display()
            )
        })?;
        let open = !listen.ip().is_loopback();
        if open && config.host.server.api_token.is_none() && !SqliteStore::has_tokens(data) {
            bail!(
                "{listen} is beyond loopback, and the API has no credentials: make some with `watchkeeper token create`, set \
                 server.api_token, or listen on 127.0.0.1"
            );
        }
        open_more_files();
        let metrics = recorder()?;
        let upkeep = metrics.clone();
        let listener =
            TcpListener::bind(listen).await.with_context(|| format!("can't listen on {listen}"))?;
        let address = listener.local_addr()?;
        for note in &config.notes {
            tracing::info!("{note}");
        }

        let store: Arc<dyn Store> = Arc::new(SqliteStore::open_with_key(data, audit_key)?);
        store.record(started(&config)).await?;
        let runtime = runtime(data, trust)?.with_memory(config.host.plugins.memory());
        let options =
            PluginOptions { prune, check_feed: sources::check_feed, ..config.host.plugins.options() };
        let registry = Registry::open(&runtime, plugin_folder, options, Some(&data.join(PLUGINS)));
        let registry = Arc::new(registry.with_context(|| unreadable(plugin_folder))?);
        registry.forget_deleted();
        announce(&registry);

        let (stop, stopping) = watch::channel(false);
        let stopped = Arc::new(AtomicBool::new(false));
        let tasks = TaskTracker::new();
        let investigations = Handle::default();
        // Before anything of a plugin is under way, so that what is wrong here ends no call of one.
        let investigator = Arc::new(investigator(&config, store.clone(), registry.clone(), data).await?);
        let channels = config.host.escalation.channels()?;
        let ingest = Ingest::new(store.clone(), config.host.correlation());
        let polling = Polling {
            runtime: tokio::runtime::Handle::current(),
            tasks: tasks.clone(),
            ingest: ingest.clone(),
            investigations: investigations.clone(),
        };
        let mut sources = Sources::new(registry.clone(), open, Some(polling));
        sources.reconcile(&config.sources);
        let canary_payloads = config.host.plugins.options().canary_payloads;
        remind(&sources, &*store, canary_payloads).await;
        // Versions that came while no host ran.
        let (looking, folder) = (registry.clone(), plugin_folder.to_owned());
        tokio::task::spawn_blocking(move || looking.scan(&folder)).await?;
        sources.refresh_all();
        sources.announce(&[]);
        let in_service = sources.in_service();
        registry.watch(plugin_folder, stopped.clone()).context("no thread to watch the plugins' folder")?;
        let keeper = Keeper {
            sources,
            registry: registry.clone(),
            store: store.clone(),
            config: config.folder.clone(),
            environment,
            data: data.to_owned(),
            canary_payloads,
            // Not known, so they are read once more: they may have changed since.
            files: sources::Look::new(),
        };
        tasks.spawn(keeper.run(stopping.clone()));
        tasks.spawn(enter_happenings(registry.clone(), store.clone(), stopping.clone()));

        tasks.spawn(investigator.serve(investigations.clone(), stopping.clone()));
        let outbox = Outbox {
            store: store.clone(),
            channels,
            redactor: redactor().clone(),
            give_up_after: config.host.escalation.give_up_after,
        };
        tasks.spawn(outbox.run(stopping.clone()));
        if let Some(keep) = config.host.store.keep_payloads {
            tasks.spawn(retention::run(store.clone(), keep, stopping.clone()));
        }
        tasks.spawn(watch_health(in_service.clone(), stopping.clone()));
        tasks.spawn(keep_up(upkeep, stopping.clone()));
        let read_again = in_service.clone();
        let second_chance = SecondChance::new(
            store.clone(),
            ingest.clone(),
            investigations.clone(),
            Box::new(move || read_again.load().sources.clone()),
        );
        tasks.spawn(second_chance.run(stopping.clone()));

        let doors = Doors {
            in_service,
            registry: registry.clone(),
            store: store.clone(),
            ingest,
            investigations,
            limit: ClientLimit::new(
                &config.host.server.rate_limit,
                config.host.server.trusted_proxies.clone(),
            ),
            body_limit: (config.host.server.body_limit_mib as usize) << 20,
            api_token: config.host.server.api_token.clone(),
            slack: config.host.escalation.slack_apps(),
            open,
            metrics,
            readiness: Readiness::default(),
            stopping,
        };
        tasks.spawn(http::serve(listener, Arc::new(doors)));
        tasks.close();
        tracing::info!("watchkeeper {} serves at http://{address}", env!("CARGO_PKG_VERSION"));
        Ok(Self { address, store, stop, stopped, tasks, plugins: runtime, registry, _lock: lock })
    }

    /// Answers what is under way, lets investigations reach their next event, ends what plugins still do, and returns.
    pub async fn stop(self) {
        tracing::info!("stopping: no new requests, what is under way is finished");
        self.stop.send_replace(true);
        self.stopped.store(true, Ordering::Relaxed);
        self.tasks.wait().await;
        // A fetch that nobody waits for any more, say.
        let left = self.plugins.end_calls(END_CALLS).await;
        if left > 0 {
            tracing::error!(
                calls = left,
                "calls of plugins didn't end within {END_CALLS:?}; they end with the process"
            );
        }
        // What became of versions meanwhile outlives the process.
        let registry = self.registry;
        if let Err(error) = tokio::task::spawn_blocking(move || registry.record_rest()).await {
            tracing::error!(%error, "what happened to plugins last is not on their record");
        }
        tracing::info!("stopped");
    }
}

/// As many open files as the system lets this process have, up to a bound. Each connection of a sender, of a polled source and of one
/// that subscribes is a file, and of the thousand that are usual none may be left for the store.
fn open_more_files() {
    let limit = getrlimit(Resource::Nofile);
    let most = limit.maximum.unwrap_or(OPEN_FILES).min(OPEN_FILES);
    if limit.current.is_some_and(|current| current < most) {
        let raised = setrlimit(Resource::Nofile, Rlimit { current: Some(most), ..limit });
        if let Err(error) = raised {
            tracing::warn!(%error, "no more files can be opened than {:?}", limit.current);
        }
    }
}

/// The audit log's entry of a start: by which configuration.
fn started(config: &Config) -> Record {
    let folder = config.folder.as_ref().map(|folder| folder.display().to_string());
    let detail = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "folder": folder,
        "digest": config.digest,
    });
    Record::new("host", "config.loaded", "configuration", detail)
}

/// What runs investigations, in `serve` and in `investigate`.
pub async fn investigator(
    config: &Config,
    store: Arc<dyn Store>,
    registry: Arc<Registry>,
    data: &Path,
) -> Result<Investigator> {
    let sandbox = sandbox(config)?;
    announce_sandbox(config, &sandbox).await;
    Ok(Investigator {
        store,
        brains: registry,
        tools: tools(config, sandbox, data)?,
        gate: config.gate.clone(),
        options: Options {
            budget: config.host.budget(),
            max_concurrent: config.host.investigation.max_concurrent,
        },
    })
}

/// What was read of a source before it was bound, by this process or another, is what a new version of its plugin is tried on.
async fn remind(sources: &Sources, store: &dyn Store, of_each: usize) {
    let names = sources.to_be_reminded();
    if names.is_empty() {
        return;
    }
    let of_each = u32::try_from(of_each).unwrap_or(u32::MAX);
    match store.recent_payloads(&names, of_each, PRIMED_BYTES).await {
        // The newest of a source come first, and are to be remembered last.
        Ok(payloads) => {
            for (source, payload) in payloads.into_iter().rev() {
                if let Some(binding) = sources.binding(&source) {
                    binding.remember(&Arc::new(payload));
                }
            }
        }
        Err(error) => {
            tracing::warn!(%error, "earlier payloads can't be read, so a new plugin is not tried on them")
        }
    }
}

/// Keeps the sources true to their files and to the plugins, and does what the command line asks for.
struct Keeper {
    sources: Sources,
    registry: Arc<Registry>,
    store: Arc<dyn Store>,
    config: Option<PathBuf>,
    environment: Environment,
    data: PathBuf,
    canary_payloads: usize,
    /// What their folder looked like when they were read.
    files: sources::Look,
}

impl Keeper {
    async fn run(self, mut stop: watch::Receiver<bool>) {
        let mut changes = self.registry.changes();
        let mut this = self;
        for look in 1_u32.. {
            let plugins_changed = tokio::select! {
                changed = changes.changed() => changed.is_ok(),
                _ = tokio::time::sleep(LOOK) => false,
                _ = stop.changed() => return,
            };
            let looked = tokio::task::spawn_blocking(move || {
                let rotate = || {
                    let rotated =
                        tokio::runtime::Handle::current().block_on(this.store.rotate_audit_key("cli"));
                    rotated.map_err(|error| error.to_string())
                };
                orders::obey(&this.data.join(PLUGINS), &this.registry, rotate);
                let read = this.look(plugins_changed, look.is_multiple_of(FILES));
                (this, read)
            });
            match looked.await {
                Ok((keeper, read)) => {
                    this = keeper;
                    if plugins_changed || read.is_some() {
                        remind(&this.sources, &*this.store, this.canary_payloads).await;
                    }
                    this.enter(read).await;
                }
                Err(error) => {
                    tracing::error!(%error, "sources are no longer kept true to their files; restart the host");
                    return;
                }
            }
        }
    }

    /// Into the audit log: what the sources are by now.
    async fn enter(&self, read: Option<Value>) {
        let Some(sources) = read else { return };
        let record = Record::new("host", "config.sources_loaded", "alert-sources", sources);
        if let Err(error) = self.store.record(record).await {
            tracing::error!(%error, "that the sources were read again can't be entered into the audit log");
        }
    }

    /// The names of the sources and what is wrong with them, if their files were read again.
    fn look(&mut self, plugins_changed: bool, at_files: bool) -> Option<Value> {
        let config = self.config.as_deref().filter(|_| at_files);
        let files = config.map(|config| sources::look(&Config::sources_folder(config)));
        let files_changed = files.filter(|files| *files != self.files);
        if files_changed.is_none() && !plugins_changed {
            return None;
        }
        let before = self.sources.statuses();
        let mut read_again = false;
        match (files_changed, config) {
            (Some(files), Some(config)) => match Config::read_sources(config, &self.environment) {
                Ok(read) => {
                    if self.sources.reconcile(&read) {
                        self.registry.sources_changed();
                    }
                    self.files = files;
                    read_again = true;
                }
                Err(error) => tracing::error!("the sources stay as they are: {error:#}"),
            },
            _ => self.sources.refresh_all(),
        }
        self.sources.announce(&before);
        read_again.then(|| {
            let of = |status: &sources::SourceStatus| {
                let problem = status.outcome.as_ref().err().map(ToString::to_string);
                json!({ "name": status.name, "problem": problem })
            };
            self.sources.statuses().iter().map(of).collect()
        })
    }
}

/// The audit log's entry of what happened to a plugin.
pub fn entered(actor: &str, happening: &Happening) -> Record {
    let detail = serde_json::to_value(happening).unwrap_or_default();
    let (action, subject) = (format!("plugin.{}", happening.what), format!("plugin {}", happening.plugin));
    Record::new(actor, &action, subject, detail)
}

/// Into the audit log: what happened to plugins, in its order, as soon as it did.
async fn enter_happenings(registry: Arc<Registry>, store: Arc<dyn Store>, mut stop: watch::Receiver<bool>) {
    let (mut waiting, mut failing) = (VecDeque::new(), false);
    loop {
        waiting.extend(registry.take_happenings());
        while let Some(happening) = waiting.front() {
            match store.record(entered("host", happening)).await {
                Ok(_) => failing = false,
                Err(error) => {
                    if !std::mem::replace(&mut failing, true) {
                        tracing::error!(%error, "what happened to plugins can't be entered into the audit log; it waits");
                    }
                    break;
                }
            }
            waiting.pop_front();
        }
        if *stop.borrow() {
            return;
        }
        tokio::select! {
            _ = registry.more_happenings(), if waiting.is_empty() => {}
            _ = tokio::time::sleep(RETRY), if !waiting.is_empty() => {}
            _ = stop.changed() => {}
        }
    }
}

/// What was measured is summed up, also where nobody asks for `/metrics`: until then each single value is kept.
async fn keep_up(metrics: PrometheusHandle, mut stop: watch::Receiver<bool>) {
    while !*stop.borrow() {
        metrics.run_upkeep();
        tokio::select! {
            _ = tokio::time::sleep(UPKEEP) => {}
            _ = stop.changed() => {}
        }
    }
}

/// `agent_alert_source_healthy`, once a minute.
async fn watch_health(in_service: Arc<ArcSwap<InService>>, mut stop: watch::Receiver<bool>) {
    while !*stop.borrow() {
        // All at once, so that one that takes its time makes none of the others late; how many calls that is, their plugins bound.
        let sources = in_service.load_full();
        let checks = sources.sources.iter().map(|source| async move {
            if let Err(error) = source.check().await {
                tracing::warn!(source = %source.name, %error, "a source is not well");
            }
        });
        tokio::select! {
            _ = join_all(checks) => {}
            _ = stop.changed() => return,
        }
        tokio::select! {
            _ = tokio::time::sleep(HEALTH) => {}
            _ = stop.changed() => {}
        }
    }
}
