//! Instances of one plugin, set up for one use, and the calls into them.
//!
//! Invariant: one call at a time in an instance; after a call that didn't return, the instance is gone.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use wasmtime::{Result, Store, Trap};
use watchkeeper_domain::plugin::{Feed, ReadError};

use crate::bindings::v0_1::{Functions, PluginError};
use crate::engine::ticks;
use crate::guest::{Guest, WaitedTooLong};
use crate::limits::Limits;
use crate::loader::Plugin;

/// Calls after which an instance makes way for a new one, so that a slow leak in a guest stays small.
const MAX_CALLS: u32 = 10_000;

/// How many calls of one pool may wait for an instance; past it senders are asked to come again.
const MAX_WAITING: usize = 1024;

/// And for how long.
const MAX_WAIT: Duration = Duration::from_secs(10);

/// What a call into a plugin can end in, besides its answer.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub(crate) enum CallError {
    /// The plugin broke a limit, trapped or exited.
    #[error("plugin {plugin}: {reason}")]
    Failed { plugin: String, reason: String },
    /// The plugin's own word.
    #[error("plugin {plugin}: {error}", error = described(error))]
    Plugin { plugin: String, error: PluginError },
    /// Too many calls wait already.
    #[error("plugin {plugin}: too many calls wait for it already")]
    Busy { plugin: String },
}

fn described(error: &PluginError) -> String {
    match error {
        PluginError::InvalidConfig { key: Some(key), reason } => format!("{key}: {reason}"),
        PluginError::InvalidConfig { key: None, reason } => reason.clone(),
        PluginError::Read(error) => error.to_string(),
    }
}

impl From<CallError> for ReadError {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Plugin { error: PluginError::Read(error), .. } => error,
            CallError::Busy { .. } => {
                ReadError::Unavailable { reason: error.to_string(), retry_after_ms: Some(1000) }
            }
            CallError::Failed { .. } | CallError::Plugin { .. } => ReadError::Failed(error.to_string()),
        }
    }
}

/// An instance that waits for its next call.
pub(crate) struct Instance {
    pub(crate) store: Store<Guest>,
    pub(crate) functions: Functions,
    calls: u32,
}

/// Cheap to clone.
#[derive(Clone)]
pub(crate) struct Pool(Arc<Inner>);

struct Inner {
    plugin: Arc<Plugin>,
    limits: Limits,
    /// The source's keys; none for a plugin that serves no source.
    config: Option<String>,
    who: Arc<str>,
    idle: Mutex<Vec<Instance>>,
    /// Calls at once. More than there are cores only wait for each other.
    running: Arc<Semaphore>,
    waiting: Semaphore,
}

impl Pool {
    /// For what no source configures: scoring, building, playbooks.
    pub(crate) fn new(plugin: Arc<Plugin>, limits: Limits) -> Self {
        Self::with(plugin.name.as_str().into(), plugin, limits, None)
    }

    fn with(who: Arc<str>, plugin: Arc<Plugin>, limits: Limits, config: Option<String>) -> Self {
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        Self(Arc::new(Inner {
            plugin,
            limits,
            config,
            who,
            idle: Mutex::new(Vec::new()),
            running: Arc::new(Semaphore::new(cores)),
            waiting: Semaphore::new(MAX_WAITING),
        }))
    }

    /// For a source: the first instance is made and configured here, and says how the source wants to be fed.
    pub(crate) fn configured(
        source: &str,
        plugin: Arc<Plugin>,
        limits: Limits,
        config: String,
    ) -> Result<(Self, Feed), CallError> {
        let who = format!("{}/{source}", plugin.name);
        let pool = Self::with(who.into(), plugin, limits, Some(config));
        let (instance, feed) = pool.0.make()?;
        let feed = feed.ok_or_else(|| pool.0.failed("it exports no source".into()))?;
        pool.0.give_back(instance);
        Ok((pool, feed))
    }

    pub(crate) fn plugin(&self) -> &Arc<Plugin> {
        &self.0.plugin
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.0.limits
    }

    pub(crate) fn failed(&self, reason: String) -> CallError {
        self.0.failed(reason)
    }

    /// One call, on a thread that may block: a guest computes for as long as its limit lets it, and nobody else waits.
    pub(crate) async fn call<T: Send + 'static>(
        &self,
        call: impl FnOnce(&mut Instance) -> Result<Result<T, PluginError>> + Send + 'static,
    ) -> Result<T, CallError> {
        let running = self.turn().await.ok_or_else(|| CallError::Busy { plugin: self.0.who.to_string() })?;
        let inner = self.0.clone();
        let called = tokio::task::spawn_blocking(move || {
            // Held until the call is over, also where nobody waits for it any more.
            let _running = running;
            inner.call(call)
        });
        called.await.unwrap_or_else(|error| Err(self.failed(format!("the host failed in its call: {error}"))))
    }

    /// The right to one call; none where too many wait, or waited too long.
    async fn turn(&self) -> Option<OwnedSemaphorePermit> {
        if let Ok(running) = self.0.running.clone().try_acquire_owned() {
            return Some(running);
        }
        let _waiting = self.0.waiting.try_acquire().ok()?;
        let turn = tokio::time::timeout(MAX_WAIT, self.0.running.clone().acquire_owned()).await;
        turn.ok()?.ok()
    }

    /// As [`Pool::call`], on this thread: for what has no runtime, and benches.
    pub(crate) fn call_here<T>(
        &self,
        call: impl FnOnce(&mut Instance) -> Result<Result<T, PluginError>>,
    ) -> Result<T, CallError> {
        self.0.call(call)
    }
}

impl Inner {
    fn call<T>(
        &self,
        call: impl FnOnce(&mut Instance) -> Result<Result<T, PluginError>>,
    ) -> Result<T, CallError> {
        let mut instance = match self.take() {
            Some(instance) => instance,
            None => self.make()?.0,
        };
        self.begin(&mut instance.store);
        instance.calls += 1;
        match call(&mut instance) {
            Ok(answer) => {
                self.give_back(instance);
                answer.map_err(|error| self.refused(error))
            }
            Err(error) => Err(self.broken(&instance.store, &error)),
        }
    }

    /// Instantiates and, for a source, configures. Both are held to the limits of one call.
    fn make(&self) -> Result<(Instance, Option<Feed>), CallError> {
        let guest = Guest::new(self.who.clone(), self.limits.memory);
        let mut store = Store::new(self.plugin.pre.engine(), guest);
        store.limiter(|guest| &mut guest.limiter);
        store.epoch_deadline_trap();
        store.set_hostcall_fuel(self.limits.result);
        self.begin(&mut store);
        let made = self
            .plugin
            .pre
            .instantiate(&mut store)
            .and_then(|instance| self.plugin.exports.functions(&mut store, &instance));
        let functions = made.map_err(|error| self.broken(&store, &error))?;
        let feed = match &self.config {
            Some(config) => {
                let configured = functions.configure(&mut store, config);
                let answer = configured.map_err(|error| self.broken(&store, &error))?;
                Some(answer.map_err(|error| self.refused(error))?)
            }
            None => None,
        };
        Ok((Instance { store, functions, calls: 0 }, feed))
    }

    /// The call's time begins. A deadline that stands for longer than a call never comes, so it is set for each.
    fn begin(&self, store: &mut Store<Guest>) {
        store.set_epoch_deadline(ticks(self.limits.call));
        store.data_mut().deadline = Instant::now() + self.limits.call;
    }

    /// The words for why a call didn't return: which limit, else what the guest printed.
    fn broken(&self, store: &Store<Guest>, error: &wasmtime::Error) -> CallError {
        let guest = store.data();
        let printed = guest.output.take();
        let printed = if printed.is_empty() { printed } else { format!("; it printed: {printed}") };
        let over_time =
            matches!(error.downcast_ref::<Trap>(), Some(Trap::Interrupt)) || error.is::<WaitedTooLong>();
        let reason = if let Some(limit) = &guest.limiter.denied {
            format!("it broke its {limit}")
        } else if over_time {
            format!("it broke its limit of {} ms a call (limits.call_ms)", self.limits.call.as_millis())
        } else {
            explained(error, &self.limits)
        };
        self.failed(format!("{reason}{printed}"))
    }

    fn refused(&self, error: PluginError) -> CallError {
        CallError::Plugin { plugin: self.who.to_string(), error }
    }

    fn failed(&self, reason: String) -> CallError {
        CallError::Failed { plugin: self.who.to_string(), reason }
    }

    fn take(&self) -> Option<Instance> {
        self.idle.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).pop()
    }

    fn give_back(&self, instance: Instance) {
        let grown = instance.store.data().limiter.used() > self.limits.memory / 2;
        if instance.calls < MAX_CALLS && !grown {
            self.idle.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push(instance);
        }
    }
}

fn explained(error: &wasmtime::Error, limits: &Limits) -> String {
    if let Some(exit) = error.downcast_ref::<wasmtime_wasi::I32Exit>() {
        return format!("it exited with code {}; a plugin returns", exit.0);
    }
    let text = format!("{error:#}");
    if text.contains("fuel allocated for hostcalls") {
        return format!("its result broke its limit of {} MiB (limits.result_mib)", limits.result >> 20);
    }
    match error.downcast_ref::<Trap>() {
        Some(trap) => format!("it trapped: {trap}"),
        None => format!("its call failed: {text}"),
    }
}
