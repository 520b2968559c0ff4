//! Instances of one plugin, set up for one use, and the calls into them.
//!
//! Invariant: one call at a time in an instance; after a call that didn't return, the instance is gone.

use std::cell::Cell;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use wasmtime::{Result, Store, Trap, UpdateDeadline};
use watchkeeper_domain::plugin::{Feed, Sink};
use watchkeeper_domain::untrusted::visible;

use crate::bindings::v0_1::{Functions, PluginError};
use crate::calls::HostStops;
use crate::engine::{TICK, give_way, stand_back, waiting};
use crate::guest::{Guest, Surroundings, Suspicion};
use crate::limits::{Limits, bound_live};
use crate::loader::{Interface, Plugin};
use crate::memory::{Full, Idle, Memory, Room, Share, Waiting};
use crate::outgoing::Outgoing;
use crate::places::words;
use crate::reader::TooManyAlerts;
use crate::record::Failures;
use crate::source::SourceSpec;
use crate::supervisor::{Call, Quarantine, Supervisor, Verdict};
use crate::waits::WaitedTooLong;

/// Calls after which an instance makes way for a new one, so that a slow leak in a guest stays small.
const MAX_CALLS: u32 = 10_000;

/// How many calls of one pool may wait for an instance; past it senders are asked to come again.
const MAX_WAITING: usize = 1024;

/// And for how long; as long again for room.
const MAX_WAIT: Duration = Duration::from_secs(10);

/// Nor is an instance kept that has more of what it sent and was sent, or may have: nothing makes it let go of that.
const KEPT_BODIES: usize = 1 << 20;

/// Of a plugin that failed lately, a call stands back at the first tick that it meets, and one that computes for longer than this, in
/// ticks, is slowed down to a quarter of a core: it may well run into its deadline again, and its neighbours shall not
/// notice. One whose good calls take longer has twice as long as they do, for what is well must be able to show it.
const SUSPECT_AFTER: u32 = 4;
const SUSPECT_PAUSE: Duration = TICK.saturating_mul(3);

/// What a guest's end takes, its memory given back. It is part of the call's time, so that all is over within a tick of the
/// deadline.
const END: Duration = Duration::from_millis(1);

/// What a call into a plugin can end in, besides its answer.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub(crate) enum CallError {
    /// The plugin broke a limit, trapped or exited.
    #[error("plugin {plugin}: {reason}")]
    Failed { plugin: String, reason: String, over: Duration },
    /// It was ended, or not begun, and not for anything that the plugin did.
    #[error("plugin {plugin}: the host is stopping")]
    HostStops { plugin: String },
    /// The plugin's own word.
    #[error("plugin {plugin}: {error}", error = described(error))]
    Plugin { plugin: String, error: PluginError },
    /// It wasn't asked, or to no end, for want of what all plugins share.
    #[error("plugin {plugin}: {reason}")]
    Busy { plugin: String, reason: String },
    /// It failed too often in a row, and isn't called for a while.
    #[error("plugin {plugin}: quarantined for {} ms more, after failures in a row, the last: {reason}", left.as_millis())]
    Quarantined { plugin: String, left: Duration, reason: String },
}

/// How long a call may take.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Time {
    /// It computes.
    Call,
    /// It waits for others.
    Fetch,
}

fn described(error: &PluginError) -> String {
    match error {
        PluginError::InvalidConfig { key: Some(key), reason } => format!("{}: {}", key.line(), reason.line()),
        PluginError::InvalidConfig { key: None, reason } => reason.line(),
        PluginError::Read(error) => error.to_string(),
    }
}

/// An instance that waits for its next call.
pub(crate) struct Instance {
    pub(crate) store: Store<Guest>,
    pub(crate) functions: Functions,
    /// In one result.
    pub(crate) most_alerts: usize,
    calls: u32,
}

/// One that is kept for its next call.
struct Kept {
    instance: Instance,
    /// When its last call began.
    since: Instant,
    waiting: Waiting,
}

/// A call that may be made.
#[derive(Clone, Copy)]
struct Admitted {
    at: Instant,
    suspicion: Option<Suspicion>,
}

/// Cheap to clone.
#[derive(Clone)]
pub(crate) struct Pool(Arc<Inner>);

struct Inner {
    plugin: Arc<Plugin>,
    limits: Limits,
    /// The source's keys; none for a plugin that serves no source.
    config: Option<String>,
    around: Surroundings,
    /// The one that was used last is the last.
    idle: Mutex<Vec<Kept>>,
    /// What the last instance held after its call.
    usual: AtomicUsize,
    /// Calls at once. More than there are cores only wait for each other.
    running: Arc<Semaphore>,
    waiting: Semaphore,
    supervisor: Supervisor,
    /// What the longest of its lately good calls computed, in ticks.
    longest: AtomicU32,
    failures: Arc<Failures>,
}

impl Pool {
    /// For what no source configures: scoring, building, playbooks.
    pub(crate) fn new(plugin: Arc<Plugin>, limits: Limits, failures: Arc<Failures>) -> Self {
        let who = plugin.name.as_str().into();
        let calls = plugin.calls.clone();
        let around = Surroundings {
            who,
            memory: limits.memory,
            calls,
            log_of_plugin: plugin.log.clone(),
            ..Surroundings::default()
        };
        Self::with(plugin, limits, None, around, failures)
    }

    fn with(
        plugin: Arc<Plugin>,
        limits: Limits,
        config: Option<String>,
        around: Surroundings,
        failures: Arc<Failures>,
    ) -> Self {
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        let inner = Arc::new(Inner {
            plugin,
            limits,
            config,
            around,
            idle: Mutex::new(Vec::new()),
            usual: AtomicUsize::new(0),
            running: Arc::new(Semaphore::new(cores)),
            waiting: Semaphore::new(MAX_WAITING),
            supervisor: Supervisor::default(),
            longest: AtomicU32::new(0),
            failures,
        });
        let known: Weak<Inner> = Arc::downgrade(&inner);
        inner.memory().knows(known);
        Self(inner)
    }

    /// For a source: the first instance is made and configured here, and says how the source wants to be fed, unless a transport of
    /// the host's own feeds it. Then a parser that exports no source does, too, and is configured by nothing.
    pub(crate) fn configured(
        spec: &SourceSpec,
        plugin: Arc<Plugin>,
        failures: Arc<Failures>,
    ) -> Result<(Self, Feed), CallError> {
        let outgoing = Outgoing::new(
            format!("source {}", spec.name),
            plugin.asks.hosts().cloned().collect(),
            spec.allow_hosts.clone(),
            spec.secrets.clone(),
            spec.mock.clone(),
        )
        .resolving(plugin.names.clone());
        let around = Surroundings {
            who: format!("{}/{}", plugin.name, spec.name).into(),
            memory: spec.limits.memory,
            outgoing: Arc::new(outgoing),
            now: spec.now,
            live: plugin.is_live().then_some(spec.limits.call),
            calls: plugin.calls.clone(),
            log: Arc::default(),
            log_of_plugin: plugin.log.clone(),
        };
        let config = plugin.has(Interface::Source).then(|| spec.config.clone());
        let pool = Self::with(plugin, spec.limits.clone(), config, around, failures);
        let (instance, feed) = waiting(|| {
            let share = pool.0.room_here()?;
            pool.0.make(None, share)
        })?;
        let feed = spec.feed.clone().or(feed).ok_or_else(|| pool.0.failed("it exports no source".into()))?;
        pool.0.give_back(instance);
        Ok((pool, feed))
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.0.limits
    }

    pub(crate) fn quarantine(&self) -> Option<Quarantine> {
        self.0.supervisor.quarantine()
    }

    /// Whether there was a quarantine.
    pub(crate) fn release(&self) -> bool {
        self.0.supervisor.release()
    }

    /// One call, on a thread that may block: a guest computes for as long as its limit lets it, and nobody else waits. A plugin
    /// that failed lately gets a thread that gives way to everybody else's.
    pub(crate) async fn call<T: Send + 'static>(
        &self,
        time: Time,
        call: impl FnOnce(&mut Instance) -> Result<Result<T, PluginError>> + Send + 'static,
    ) -> Result<T, CallError> {
        let busy = || self.0.busy("too many calls wait for it already".into());
        let running = turn(&self.0.running, &self.0.waiting).await.ok_or_else(busy)?;
        let fetching = match time {
            Time::Call => None,
            Time::Fetch => self.0.plugin.fetches.clone().acquire_owned().await.ok(),
        };
        let of_plugin = turn(&self.0.plugin.called, &self.0.waiting).await.ok_or_else(busy)?;
        let share = if self.0.has_idle() { None } else { Some(self.room().await?) };
        let inner = self.0.clone();
        let under_way = self.0.plugin.calls.begin();
        let admitted = self.0.admit()?;
        let work = move || {
            // Held until the call is over, also where nobody waits for it any more.
            let _held = (running, fetching, of_plugin, under_way);
            inner.call(admitted, time, share, call)
        };
        let called = match admitted.suspicion.is_some() {
            true => own_thread(work, true).await,
            false => tokio::task::spawn_blocking(work).await.map_err(|error| error.to_string()),
        };
        called.unwrap_or_else(|error| self.0.host_failed(admitted, &error))
    }

    /// Room for one more instance.
    async fn room(&self) -> Result<Share, CallError> {
        let inner = &self.0;
        let share = inner.plugin.room.wait_for(inner.usual(), Instant::now() + MAX_WAIT).await;
        share.map_err(|full| inner.full(&full))
    }

    /// Holds a subscription in an instance of its own, on a thread of its own, until it ends or nobody waits here any more.
    pub(crate) async fn subscribe(&self, sink: Arc<dyn Sink>) -> Result<(), CallError> {
        let (_held, until) = oneshot::channel();
        let share = self.room().await?;
        let inner = self.0.clone();
        let under_way = self.0.plugin.calls.begin();
        let admitted = self.0.admit()?;
        let work = move || {
            let _held = under_way;
            inner.supervised(admitted, inner.subscribe(admitted, share, sink, until))
        };
        let subscribed = own_thread(work, false).await;
        subscribed.unwrap_or_else(|error| self.0.host_failed(admitted, &error))
    }

    /// As [`Pool::call`], on this thread: for what has no runtime, and benches.
    pub(crate) fn call_here<T>(
        &self,
        time: Time,
        call: impl FnOnce(&mut Instance) -> Result<Result<T, PluginError>>,
    ) -> Result<T, CallError> {
        let _under_way = self.0.plugin.calls.begin();
        let share = if self.0.has_idle() { None } else { Some(waiting(|| self.0.room_here())?) };
        let admitted = self.0.admit()?;
        waiting(|| self.0.call(admitted, time, share, call))
    }
}

/// The right to one call; none where too many wait, or waited too long.
async fn turn(calls: &Arc<Semaphore>, waiting: &Semaphore) -> Option<OwnedSemaphorePermit> {
    if let Ok(turn) = calls.clone().try_acquire_owned() {
        return Some(turn);
    }
    let _waiting = waiting.try_acquire().ok()?;
    tokio::time::timeout(MAX_WAIT, calls.clone().acquire_owned()).await.ok()?.ok()
}

thread_local! {
    /// Whether this thread is a suspect's, and hasn't stood back yet.
    static GIVES_WAY: Cell<bool> = const { Cell::new(false) };
}

/// Does `work` on a thread of its own, within the host's runtime.
async fn own_thread<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
    gives_way: bool,
) -> Result<T, String> {
    let (answer, answered) = oneshot::channel();
    let runtime = Handle::current();
    let thread = std::thread::Builder::new().name("guest".into()).spawn(move || {
        let _within = runtime.enter();
        if gives_way {
            give_way();
            GIVES_WAY.set(true);
        }
        // Nobody may wait for it any more.
        let _ = answer.send(work());
    });
    thread.map_err(|error| format!("no thread for it: {error}"))?;
    answered.await.map_err(|_| "its thread panicked".into())
}

impl Idle for Inner {
    fn room(&self) -> &Room {
        &self.plugin.room
    }

    fn waiting(&self, list: &mut Vec<(Instant, usize)>) {
        list.extend(self.idle().iter().map(|kept| (kept.since, kept.waiting.bytes)));
    }

    fn let_go(&self, since: Instant) -> usize {
        // Ended once nobody is kept from calling meanwhile.
        let went: Vec<Kept> = self.idle().extract_if(.., |kept| kept.since <= since).collect();
        went.len()
    }
}

impl Inner {
    fn who(&self) -> String {
        self.around.who.to_string()
    }

    fn memory(&self) -> &Arc<Memory> {
        &self.plugin.room.memory
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Kept>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn has_idle(&self) -> bool {
        !self.idle().is_empty()
    }

    fn usual(&self) -> usize {
        self.usual.load(Ordering::Relaxed)
    }

    /// As [`Pool::room`], on this thread.
    fn room_here(&self) -> Result<Share, CallError> {
        let share = self.plugin.room.wait_here_for(self.usual());
        share.map_err(|full| self.full(&full))
    }

    fn call<T>(
        &self,
        admitted: Admitted,
        time: Time,
        share: Option<Share>,
        call: impl FnOnce(&mut Instance) -> Result<Result<T, PluginError>>,
    ) -> Result<T, CallError> {
        self.supervised(admitted, self.attempt(admitted.suspicion, time, share, call))
    }

    /// Whoever is admitted makes the call, and hears [`Inner::supervised`] of it: it may be the one that ends a quarantine.
    fn admit(&self) -> Result<Admitted, CallError> {
        let now = Instant::now();
        if self.plugin.calls.are_ending() {
            return Err(self.stopping());
        }
        let call = self.supervisor.admit(now).map_err(|quarantine| CallError::Quarantined {
            plugin: self.who(),
            left: quarantine.until.saturating_duration_since(now),
            reason: quarantine.reason,
        })?;
        let suspicion = self.supervisor.is_suspect(now).then(|| {
            let patience = self.longest.load(Ordering::Relaxed).saturating_mul(2);
            // A probe may take what it needs: that is the way back of what takes long.
            let slowed_after = (call == Call::Ordinary).then_some(patience.max(SUSPECT_AFTER));
            Suspicion { patience, slowed_after }
        });
        Ok(Admitted { at: now, suspicion })
    }

    /// A call went well that computed for so many ticks. What only one call ever took is forgotten in time.
    fn went_well(&self, ticks: u32) {
        if ticks > 0 {
            let longest = self.longest.load(Ordering::Relaxed);
            self.longest.store(ticks.max(longest - longest / 8), Ordering::Relaxed);
        }
    }

    /// A call ran out of time in which it computed for so many ticks: good calls of long ago excuse no more than three in a row.
    fn ran_out_of_time(&self, ticks: u32) {
        let longest = self.longest.load(Ordering::Relaxed);
        if ticks > longest {
            self.longest.store(longest - longest.div_ceil(4), Ordering::Relaxed);
        }
    }

    fn supervised<T>(&self, admitted: Admitted, called: Result<T, CallError>) -> Result<T, CallError> {
        match &called {
            Err(CallError::HostStops { .. } | CallError::Busy { .. }) => self.supervisor.undecided(),
            Err(error @ CallError::Failed { over, .. }) => self.strike(error, admitted.at, *over),
            // What the plugin says, good or bad, it says in its right mind.
            _ if self.supervisor.succeeded() => {
                tracing::info!(plugin = %self.around.who, "a plugin is well again; its quarantine is over");
                self.failures.supervised(&self.plugin.name, &self.around.who, "quarantine_over", None);
            }
            _ => {}
        }
        called
    }

    /// No thread for it, or the host's own fault.
    fn host_failed<T>(&self, admitted: Admitted, error: &str) -> Result<T, CallError> {
        self.supervised(admitted, Err(self.failed(format!("the host failed in its call: {error}"))))
    }

    /// The instance is used for nothing else, before or after.
    fn subscribe(
        &self,
        admitted: Admitted,
        share: Share,
        sink: Arc<dyn Sink>,
        until: oneshot::Receiver<()>,
    ) -> Result<(), CallError> {
        let Instance { mut store, functions, .. } = self.make(admitted.suspicion, share)?.0;
        let live = functions.live.as_ref().ok_or_else(|| self.failed("it exports no live-source".into()))?;
        let limit = self.begin(&mut store, Time::Fetch, admitted.suspicion);
        match live.subscribe(&mut store, limit, sink, until, || self.slowed()) {
            Ok(answer) => answer.map_err(|error| self.refused(error.with_notes(&store.data().denied()))),
            Err(error) => Err(self.broken(store, limit, &error)),
        }
    }

    fn slowed(&self) {
        metrics::counter!("agent_plugin_slowed_total", "plugin" => self.plugin.name.clone()).increment(1);
        tracing::warn!(
            plugin = %self.around.who,
            "a live source is awake all the time; it is slowed down to half of a core for as long as it is: let it wait for its upstream"
        );
    }

    fn strike(&self, error: &CallError, began: Instant, over: Duration) {
        let reason = error.to_string();
        self.failures.note(&self.around.who, &reason, over);
        metrics::counter!("agent_plugin_failures_total", "plugin" => self.plugin.name.clone()).increment(1);
        let now = Instant::now();
        if let Verdict::Quarantined(lasts) = self.supervisor.failed(now, now - began, &reason) {
            metrics::counter!("agent_plugin_quarantines_total", "plugin" => self.plugin.name.clone())
                .increment(1);
            let why = Some(format!("for {lasts:?}, after failures in a row, the last: {reason}"));
            self.failures.supervised(&self.plugin.name, &self.around.who, "quarantined", why);
            tracing::error!(
                plugin = %self.around.who, %reason,
                "a plugin failed again and again; it is quarantined for {lasts:?}, and what it is sent is kept for `watchkeeper replay`"
            );
        }
    }

    fn attempt<T>(
        &self,
        suspicion: Option<Suspicion>,
        time: Time,
        share: Option<Share>,
        call: impl FnOnce(&mut Instance) -> Result<Result<T, PluginError>>,
    ) -> Result<T, CallError> {
        let mut instance = match (self.take(), share) {
            (Some(instance), _) => instance,
            (None, Some(share)) => self.make(suspicion, share)?.0,
            // Another call took the one that there was.
            (None, None) => {
                let share = self.plugin.room.share(0).map_err(|full| self.full(&full))?;
                self.make(suspicion, share)?.0
            }
        };
        let limit = self.begin(&mut instance.store, time, suspicion);
        instance.calls += 1;
        match call(&mut instance) {
            Ok(answer) => {
                self.went_well(instance.store.data().ticks);
                let denied = if answer.is_err() { instance.store.data().denied() } else { Vec::new() };
                self.give_back(instance);
                answer.map_err(|error| self.refused(error.with_notes(&denied)))
            }
            Err(error) => Err(self.broken(instance.store, limit, &error)),
        }
    }

    /// Instantiates and, for a source, configures. Both are held to the limits of one call.
    fn make(
        &self,
        suspicion: Option<Suspicion>,
        share: Share,
    ) -> Result<(Instance, Option<Feed>), CallError> {
        let mut store = Store::new(self.plugin.pre.engine(), Guest::new(&self.around, share));
        store.limiter(|guest| &mut guest.limiter);
        store.set_hostcall_fuel(self.limits.result);
        bound_live(&mut store);
        store.epoch_deadline_callback(|mut guest| Ok(at_tick(guest.data_mut())));
        let limit = self.begin(&mut store, Time::Call, suspicion);
        let functions = match self.plugin.instantiate(&mut store) {
            Ok(functions) => functions,
            Err(error) => return Err(self.broken(store, limit, &error)),
        };
        let feed = match self.config.as_ref().map(|config| functions.configure(&mut store, config)) {
            Some(Ok(Ok(feed))) => Some(feed),
            Some(Ok(Err(error))) => return Err(self.refused(error.with_notes(&store.data().denied()))),
            Some(Err(error)) => return Err(self.broken(store, limit, &error)),
            None => None,
        };
        self.went_well(store.data().ticks);
        Ok((Instance { store, functions, most_alerts: self.limits.alerts, calls: 0 }, feed))
    }

    /// The call's time begins, and is answered.
    fn begin(&self, store: &mut Store<Guest>, time: Time, suspicion: Option<Suspicion>) -> Duration {
        let limit = match time {
            Time::Call => self.limits.call,
            Time::Fetch => self.limits.fetch,
        };
        store.data_mut().begin(Instant::now(), limit, suspicion);
        store.set_epoch_deadline(1);
        limit
    }

    /// What became of a call that didn't return, once all of its guest is gone.
    fn broken(&self, store: Store<Guest>, limit: Duration, error: &wasmtime::Error) -> CallError {
        let guest = store.data();
        if guest.is_to_end() || error.is::<HostStops>() {
            return self.stopping();
        }
        let (reason, over_time) = self.why(guest, limit, error);
        // One that runs into its deadline for that is told of the deadline.
        if let Some((full, wanted)) = guest.limiter.full.as_ref().filter(|_| !over_time) {
            // The next waits for as much.
            self.usual.fetch_max(*wanted, Ordering::Relaxed);
            // No strike, but no way to take neighbours' time either.
            let now = Instant::now();
            self.supervisor.owe(now, now.saturating_duration_since(guest.began()));
            return self.full(full);
        }
        let (deadline, ticks) = (guest.deadline(), guest.ticks);
        drop(store);
        let over = Instant::now().saturating_duration_since(deadline);
        if over_time {
            self.ran_out_of_time(ticks);
            metrics::histogram!("agent_plugin_overrun_seconds", "plugin" => self.plugin.name.clone())
                .record(over);
        }
        CallError::Failed { plugin: self.who(), reason, over }
    }

    /// The words for it: which limit, else what the guest printed. And whether it was the call's time.
    fn why(&self, guest: &Guest, limit: Duration, error: &wasmtime::Error) -> (String, bool) {
        let printed = guest.output.take();
        let printed = if printed.is_empty() { printed } else { format!("; it printed: {printed}") };
        let computed_too_long = matches!(error.downcast_ref::<Trap>(), Some(Trap::Interrupt));
        let over_time = computed_too_long || error.is::<WaitedTooLong>();
        let reason = if let Some(limit) = &guest.limiter.denied {
            format!("it broke its {limit}")
        } else if computed_too_long && self.around.live.is_some() {
            let millis = self.limits.call.as_millis();
            format!("it computed for longer than its limit of {millis} ms without waiting (limits.call_ms)")
        } else if over_time {
            let key = if limit == self.limits.call { "call_ms" } else { "fetch_ms" };
            format!("it broke its limit of {} ms a call (limits.{key})", limit.as_millis())
        } else {
            explained(error, &self.limits)
        };
        (format!("{reason}{}{printed}", self.plugin.places.of_error(error)), over_time)
    }

    fn refused(&self, error: PluginError) -> CallError {
        CallError::Plugin { plugin: self.who(), error }
    }

    /// In words that hold what the guest printed, and names of its own in a trap's trace.
    fn failed(&self, reason: String) -> CallError {
        CallError::Failed { plugin: self.who(), reason: visible(&reason), over: Duration::ZERO }
    }

    fn busy(&self, reason: String) -> CallError {
        CallError::Busy { plugin: self.who(), reason }
    }

    fn full(&self, full: &Full) -> CallError {
        metrics::counter!("agent_plugin_no_room_total", "plugin" => self.plugin.name.clone()).increment(1);
        self.busy(full.to_string())
    }

    fn stopping(&self) -> CallError {
        CallError::HostStops { plugin: self.who() }
    }

    fn take(&self) -> Option<Instance> {
        self.idle().pop().map(|kept| kept.instance)
    }

    fn give_back(&self, mut instance: Instance) {
        let guest = instance.store.data_mut();
        let (holds, since) = (guest.limiter.settle(), guest.began());
        let grown = guest.limiter.used() > self.limits.memory / 2 || guest.hooks.holds() > KEPT_BODIES;
        self.usual.store(holds, Ordering::Relaxed);
        if instance.calls < MAX_CALLS && !grown {
            let waiting = self.memory().waits(holds);
            self.idle().push(Kept { instance, since, waiting });
            self.memory().keep_idle_within_bounds();
        }
    }
}

/// A guest that computes meets the engine's clock at each tick. A call that is over within one, as almost all are, never does.
fn at_tick(guest: &mut Guest) -> UpdateDeadline {
    guest.ticks += 1;
    let left = guest.times().1.saturating_sub(END);
    if left.is_zero() || guest.is_to_end() {
        return UpdateDeadline::Interrupt;
    }
    let Some(Suspicion { patience, slowed_after }) = guest.suspicion else {
        return UpdateDeadline::Continue(1);
    };
    if guest.ticks > patience && GIVES_WAY.replace(false) {
        stand_back();
    }
    if slowed_after.is_some_and(|after| guest.ticks > after) {
        std::thread::sleep(SUSPECT_PAUSE.min(left));
        if left <= SUSPECT_PAUSE {
            return UpdateDeadline::Interrupt;
        }
    }
    UpdateDeadline::Continue(1)
}

fn explained(error: &wasmtime::Error, limits: &Limits) -> String {
    if let Some(exit) = error.downcast_ref::<wasmtime_wasi::I32Exit>() {
        return format!("it exited with code {}; a plugin returns", exit.0);
    }
    if let Some(too_many) = error.downcast_ref::<TooManyAlerts>() {
        return too_many.to_string();
    }
    let text = words(error);
    if text.contains("fuel allocated for hostcalls") {
        return format!("its result broke its limit of {} MiB (limits.result_mib)", limits.result >> 20);
    }
    match error.downcast_ref::<Trap>() {
        Some(trap) => format!("it trapped: {trap}"),
        None => format!("its call failed: {text}"),
    }
}
