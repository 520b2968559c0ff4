//! One plugin in service: the version that is called, the sources that it serves, and how one version makes way for another.
//!
//! Invariant: one pointer says which version is called, for all exports and sources of the plugin together. A call keeps
//! the version it began with; a version ends when its last call does.
//!
//! A version that has just come in is on trial: the one before is kept beside it, answers what the new one fails on, and
//! comes back by itself when that is too often. What the one before fails on, too, isn't counted.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, MutexGuard, RwLock};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use watchkeeper_domain::Alert;
use watchkeeper_domain::investigation::Briefing;
use watchkeeper_domain::plugin::{Feed, Payload};

use crate::bindings::v0_1::PluginError;
use crate::limits::Limits;
use crate::loader::{Interface, Plugin};
use crate::pool::{CallError, Instance, Pool, Time};
use crate::record::{Failures, Journal};
use crate::registry::BindError;
use crate::source::SourceSpec;

/// Briefings that are kept for the next version to be tried on.
const BRIEFINGS: usize = 20;

/// Bytes of payloads that are kept of one source, of all sources together, and of each of very many.
const RECENT_BYTES: usize = 4 << 20;
const ALL_RECENT_BYTES: usize = 128 << 20;
const FEW_RECENT_BYTES: usize = 64 << 10;

/// How often a subscription looks whether its version is still the one in service.
const LOOK: Duration = Duration::from_millis(100);

/// When a version that came in counts as good, and when as bad.
#[derive(Clone, Debug, PartialEq)]
pub struct Terms {
    /// Calls that the trial lasts.
    pub calls: u32,
    /// Failed ones among them that are forgiven.
    pub allowed_failures: u32,
}

impl Default for Terms {
    fn default() -> Self {
        Self { calls: 100, allowed_failures: 2 }
    }
}

/// A version that is called rarely is not on trial for ever.
const TRIAL: Duration = Duration::from_secs(600);

/// What happened to a version in service.
#[derive(Debug)]
pub(crate) enum Event {
    RolledBack {
        plugin: String,
        version: String,
        to: String,
        reason: String,
    },
    /// Its trial went well.
    Proven {
        plugin: String,
        version: String,
    },
}

/// One version, bound to the sources that it serves.
pub(crate) struct Generation {
    pub(crate) plugin: Arc<Plugin>,
    sources: RwLock<HashMap<Arc<str>, Arc<Bound>>>,
    prompts: Option<Pool>,
    trial: ArcSwapOption<Trial>,
}

/// One source's instances, and how it wants to be fed.
pub(crate) struct Bound {
    pub(crate) pool: Pool,
    pub(crate) feed: Feed,
}

struct Trial {
    before: Arc<Generation>,
    since: Instant,
    calls: AtomicU32,
    failures: AtomicU32,
    terms: Terms,
}

impl Bound {
    /// Whether it exports what such a source takes.
    fn check(plugin: &Plugin, spec: &SourceSpec) -> Result<(), BindError> {
        let name = &plugin.name;
        let ways = [Interface::Parser, Interface::Poller, Interface::LiveSource];
        let has_way = ways.iter().any(|way| plugin.has(*way));
        if plugin.has(Interface::Source) && has_way {
            return Ok(());
        }
        if !plugin.has(Interface::Parser) {
            let has: Vec<_> = plugin.interfaces.iter().map(|(interface, _)| interface.as_str()).collect();
            let reason = format!("plugin {name} exports no source with a parser, only {}", has.join(", "));
            return Err(BindError::Failed(reason));
        }
        if spec.feed.is_none() {
            let reason = format!(
                "plugin {name} exports a parser and no source: write `type: webhook`, `webhook_path: /alerts/{name}` and \
                 `parser: {name}` to have it read what is posted there"
            );
            return Err(BindError::InvalidConfig { key: Some("type".into()), reason });
        }
        let keys = serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(&spec.config);
        match keys.unwrap_or_default().keys().next() {
            Some(key) => {
                let reason = format!("plugin {name} exports no source, and so has no keys; take it away");
                Err(BindError::InvalidConfig { key: Some(key.clone()), reason })
            }
            None => Ok(()),
        }
    }

    pub(crate) fn make(
        plugin: &Arc<Plugin>,
        spec: &SourceSpec,
        failures: &Arc<Failures>,
    ) -> Result<Arc<Self>, BindError> {
        Self::check(plugin, spec)?;
        let (pool, feed) = Pool::configured(spec, plugin.clone(), failures.clone())?;
        let lacking = match &feed {
            Feed::Poll { .. } if !plugin.has(Interface::Poller) => Some("poller"),
            Feed::Webhook { .. } | Feed::Subscription { .. } if !plugin.has(Interface::Parser) => {
                Some("parser")
            }
            Feed::Live if !plugin.is_live() => Some("live-source"),
            _ => None,
        };
        match lacking {
            Some(lacking) => {
                let name = &plugin.name;
                Err(BindError::Failed(format!(
                    "plugin {name} wants to be fed so, but exports no {lacking}: {feed:?}"
                )))
            }
            None => Ok(Arc::new(Self { pool, feed })),
        }
    }
}

impl Generation {
    pub(crate) fn new(
        plugin: Arc<Plugin>,
        sources: HashMap<Arc<str>, Arc<Bound>>,
        failures: &Arc<Failures>,
    ) -> Self {
        let prompts = plugin
            .has(Interface::PromptBuilder)
            .then(|| Pool::new(plugin.clone(), Limits::default(), failures.clone()));
        Self { plugin, sources: RwLock::new(sources), prompts, trial: ArcSwapOption::empty() }
    }

    pub(crate) fn bound(&self, source: &str) -> Option<Arc<Bound>> {
        self.sources.read().unwrap_or_else(|poisoned| poisoned.into_inner()).get(source).cloned()
    }

    pub(crate) fn all_bound(&self) -> Vec<(Arc<str>, Arc<Bound>)> {
        let sources = self.sources.read().unwrap_or_else(|poisoned| poisoned.into_inner());
        sources.iter().map(|(name, bound)| (name.clone(), bound.clone())).collect()
    }

    pub(crate) fn prompts(&self) -> Option<Pool> {
        self.prompts.clone()
    }

    pub(crate) fn on_trial(&self) -> bool {
        self.trial.load().is_some()
    }

    /// Every pool, for supervision.
    pub(crate) fn pools(&self) -> Vec<(String, Pool)> {
        let sources =
            self.all_bound().into_iter().map(|(name, bound)| (name.to_string(), bound.pool.clone()));
        let prompts = self.prompts().map(|pool| ("prompt-builder".to_owned(), pool));
        sources.chain(prompts).collect()
    }

    fn set(&self, source: &str, bound: Option<Arc<Bound>>) {
        let mut sources = self.sources.write().unwrap_or_else(|poisoned| poisoned.into_inner());
        match bound {
            Some(bound) => sources.insert(source.into(), bound),
            None => sources.remove(source),
        };
    }
}

/// What may be remembered of one source. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Remembered {
    /// Payloads.
    pub(crate) most: usize,
    /// Sources that there are, which share [`ALL_RECENT_BYTES`].
    pub(crate) sources: Arc<AtomicUsize>,
}

impl Remembered {
    fn bytes(&self) -> usize {
        let sources = self.sources.load(Ordering::Relaxed).max(1);
        (ALL_RECENT_BYTES / sources).clamp(FEW_RECENT_BYTES, RECENT_BYTES)
    }
}

/// The last payloads that a source's plugin read well.
#[derive(Default)]
pub(crate) struct Recent {
    /// With their bytes.
    kept: Mutex<(VecDeque<Arc<Payload>>, usize)>,
    reminded: AtomicBool,
}

impl Recent {
    pub(crate) fn push(&self, payload: &Arc<Payload>, remembered: &Remembered) {
        let most_bytes = remembered.bytes();
        // One that is too large by itself drives out no others.
        if size(payload) > most_bytes {
            return;
        }
        let mut kept = self.kept.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let (payloads, bytes) = &mut *kept;
        *bytes += size(payload);
        payloads.push_back(payload.clone());
        while payloads.len() > remembered.most || *bytes > most_bytes {
            let Some(oldest) = payloads.pop_front() else { break };
            *bytes -= size(&oldest);
        }
    }

    /// What was read before this was begun is given to it by whom is answered yes, once.
    pub(crate) fn is_to_be_reminded(&self) -> bool {
        !self.reminded.swap(true, Ordering::Relaxed)
    }

    pub(crate) fn all(&self) -> Vec<Arc<Payload>> {
        self.kept.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).0.iter().cloned().collect()
    }
}

fn size(payload: &Payload) -> usize {
    let attributes = payload.attributes.iter().map(|(name, value)| name.len() + value.len());
    payload.body.len() + attributes.sum::<usize>()
}

/// What a source brought: how to configure it, and what it read last.
#[derive(Clone)]
pub(crate) struct Served {
    pub(crate) spec: SourceSpec,
    pub(crate) recent: Arc<Recent>,
}

pub(crate) struct Slot {
    pub(crate) name: String,
    /// None once it is unloaded.
    live: ArcSwapOption<Generation>,
    /// Held while the pointer moves, and no longer.
    pointer: Mutex<()>,
    /// Held while sources or versions change, which may take a while.
    change: Mutex<BTreeMap<String, Served>>,
    /// The same sources' specs, to be looked at meanwhile.
    specs: RwLock<BTreeMap<String, SourceSpec>>,
    briefings: Mutex<VecDeque<(Alert, Briefing)>>,
    pub(crate) failures: Arc<Failures>,
    events: SyncSender<Event>,
}

impl Slot {
    pub(crate) fn new(plugin: Arc<Plugin>, events: SyncSender<Event>, journal: Arc<Journal>) -> Arc<Self> {
        let failures = Arc::new(Failures::new(journal));
        let name = plugin.name.clone();
        let generation = Generation::new(plugin, HashMap::new(), &failures);
        Arc::new(Self {
            name,
            live: ArcSwapOption::from_pointee(generation),
            pointer: Mutex::new(()),
            change: Mutex::new(BTreeMap::new()),
            specs: RwLock::default(),
            briefings: Mutex::new(VecDeque::new()),
            failures,
            events,
        })
    }

    pub(crate) fn live(&self) -> Option<Arc<Generation>> {
        self.live.load_full()
    }

    /// The sources that it serves, held so that they don't change meanwhile.
    pub(crate) fn served(&self) -> MutexGuard<'_, BTreeMap<String, Served>> {
        self.change.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    pub(crate) fn specs(&self) -> Vec<SourceSpec> {
        self.specs.read().unwrap_or_else(|poisoned| poisoned.into_inner()).values().cloned().collect()
    }

    /// How many it serves.
    pub(crate) fn sources(&self) -> usize {
        self.specs.read().unwrap_or_else(|poisoned| poisoned.into_inner()).len()
    }

    fn specs_mut(&self) -> std::sync::RwLockWriteGuard<'_, BTreeMap<String, SourceSpec>> {
        self.specs.write().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    pub(crate) fn unloaded(&self) -> CallError {
        let reason = "it was unloaded; put its file back".into();
        CallError::Failed { plugin: self.name.clone(), reason, over: Duration::ZERO }
    }

    /// Configures it for a source, and remembers to do so for each version to come.
    pub(crate) fn bind(&self, spec: SourceSpec) -> Result<(Feed, Arc<Recent>), BindError> {
        let mut served = self.served();
        let live = self.live().ok_or_else(|| BindError::Failed(self.unloaded().to_string()))?;
        let bound = Bound::make(&live.plugin, &spec, &self.failures)?;
        // A version that might come back must know the source, too; if it can't, it won't be asked.
        if let Some(trial) = &*live.trial.load()
            && let Ok(bound) = Bound::make(&trial.before.plugin, &spec, &self.failures)
        {
            trial.before.set(&spec.name, Some(bound));
        }
        live.set(&spec.name, Some(bound.clone()));
        let recent = served.get(&spec.name).map(|known| known.recent.clone()).unwrap_or_default();
        self.specs_mut().insert(spec.name.clone(), spec.clone());
        served.insert(spec.name.clone(), Served { spec, recent: recent.clone() });
        Ok((bound.feed.clone(), recent))
    }

    pub(crate) fn unbind(&self, source: &str) {
        self.served().remove(source);
        self.specs_mut().remove(source);
        if let Some(live) = self.live() {
            live.set(source, None);
            if let Some(trial) = &*live.trial.load() {
                trial.before.set(source, None);
            }
        }
    }

    /// Puts a version into service; the good one before it is kept beside it while it is on trial. Whether it is.
    pub(crate) fn swap(&self, next: Generation, terms: &Terms) -> bool {
        let _moving = self.moving();
        let before = self.live.load_full().map(|live| match &*live.trial.load() {
            Some(trial) => trial.before.clone(),
            None => live.clone(),
        });
        if let Some(before) = before.filter(|_| terms.calls > 0) {
            next.trial.store(Some(Arc::new(Trial {
                before,
                since: Instant::now(),
                calls: AtomicU32::new(0),
                failures: AtomicU32::new(0),
                terms: terms.clone(),
            })));
        }
        let on_trial = next.on_trial();
        self.live.store(Some(Arc::new(next)));
        on_trial
    }

    /// Whether this is the version in service.
    pub(crate) fn is_live(&self, generation: &Arc<Generation>) -> bool {
        self.live.load().as_ref().is_some_and(|live| Arc::ptr_eq(live, generation))
    }

    /// The version before, which is in service again at once. None if there is none, or this one isn't in service any more.
    pub(crate) fn bring_back(&self, live: &Arc<Generation>) -> Option<Arc<Generation>> {
        let _moving = self.moving();
        // Of several calls that failed at once, one does it; and a newer version may be in service already.
        let before = live.trial.load().as_ref().filter(|_| self.is_live(live))?.before.clone();
        self.live.store(Some(before.clone()));
        Some(before)
    }

    pub(crate) fn unload(&self) {
        let _moving = self.moving();
        self.live.store(None);
    }

    fn moving(&self) -> MutexGuard<'_, ()> {
        self.pointer.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// The version before, if this one is on trial.
    pub(crate) fn before(&self) -> Option<Arc<Generation>> {
        Some(self.live()?.trial.load().as_ref()?.before.clone())
    }

    /// One call into the version in service. What a version on trial fails on, the one before answers.
    pub(crate) async fn call<T: Send + 'static>(
        &self,
        pool_of: impl Fn(&Generation) -> Option<Pool>,
        time: Time,
        call: impl Fn(&mut Instance) -> wasmtime::Result<Result<T, PluginError>> + Clone + Send + 'static,
    ) -> Result<T, CallError> {
        let live = self.live().ok_or_else(|| self.unloaded())?;
        let pool = pool_of(&live).ok_or_else(|| self.unloaded())?;
        let Some(trial) = live.trial.load_full() else { return pool.call(time, call).await };
        let answer = pool.call(time, call.clone()).await;
        match answer {
            // One that was configured and then isn't any more is as broken as one that traps.
            Err(
                error @ (CallError::Failed { .. }
                | CallError::Quarantined { .. }
                | CallError::Plugin { error: PluginError::InvalidConfig { .. }, .. }),
            ) => {
                let Some(before) = pool_of(&trial.before) else {
                    self.count_failure(&live, &trial, &error);
                    return Err(error);
                };
                let answer = before.call(time, call).await;
                // What fails in both is no fault of the new one, and nothing were won by going back.
                if !matches!(answer, Err(CallError::Failed { .. } | CallError::Quarantined { .. })) {
                    self.count_failure(&live, &trial, &error);
                }
                answer
            }
            // It wasn't asked.
            Err(error @ (CallError::HostStops { .. } | CallError::Busy { .. })) => Err(error),
            answer => {
                self.count_success(&live);
                answer
            }
        }
    }

    /// Waits until another version than this is in service.
    pub(crate) async fn replaced(&self, live: &Arc<Generation>) {
        while self.is_live(live) {
            tokio::time::sleep(LOOK).await;
        }
    }

    pub(crate) fn count_success(&self, live: &Arc<Generation>) {
        if let Some(trial) = live.trial.load_full()
            && trial.calls.fetch_add(1, Ordering::Relaxed) + 1 >= trial.terms.calls
        {
            self.prove(live);
        }
    }

    /// A failure outside of [`Slot::call`]; of no account where it isn't on trial.
    pub(crate) fn failed(&self, live: &Arc<Generation>, error: &CallError) {
        if let Some(trial) = live.trial.load_full() {
            self.count_failure(live, &trial, error);
        }
    }

    fn count_failure(&self, live: &Arc<Generation>, trial: &Arc<Trial>, error: &CallError) {
        let failures = trial.failures.fetch_add(1, Ordering::Relaxed) + 1;
        if failures <= trial.terms.allowed_failures {
            return;
        }
        let calls = trial.calls.load(Ordering::Relaxed) + failures;
        if let Some(before) = self.bring_back(live) {
            self.tell(Event::RolledBack {
                plugin: self.name.clone(),
                version: live.plugin.version.clone(),
                to: before.plugin.version.clone(),
                reason: format!("{failures} of its first {calls} calls failed, the last: {error}"),
            });
        }
    }

    /// Its trial is over; the version before ends with its last call.
    pub(crate) fn prove(&self, live: &Arc<Generation>) {
        if live.trial.swap(None).is_some() {
            let (plugin, version) = (self.name.clone(), live.plugin.version.clone());
            self.tell(Event::Proven { plugin, version });
        }
    }

    /// A trial that went well for long enough is over, also where there were few calls.
    pub(crate) fn end_old_trial(&self) {
        let Some(live) = self.live() else { return };
        let old = |trial: &Trial| trial.since.elapsed() > TRIAL && trial.calls.load(Ordering::Relaxed) > 0;
        if live.trial.load().as_ref().is_some_and(|trial| old(trial)) {
            self.prove(&live);
        }
    }

    /// Nobody waits here: where the record can't keep up, it lacks a line, and the log has it.
    fn tell(&self, event: Event) {
        match &event {
            Event::RolledBack { plugin, version, to, reason } => {
                metrics::counter!("agent_plugin_rollbacks_total", "plugin" => plugin.clone()).increment(1);
                tracing::error!(%plugin, %version, %to, %reason, "a plugin's new version failed; the one before is back");
            }
            Event::Proven { plugin, version } => {
                tracing::info!(%plugin, %version, "a plugin's new version is proven")
            }
        }
        let _ = self.events.try_send(event);
    }

    pub(crate) fn remember(&self, alert: &Alert, briefing: &Briefing) {
        let mut kept = self.briefings.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if kept.len() == BRIEFINGS {
            kept.pop_front();
        }
        kept.push_back((alert.clone(), briefing.clone()));
    }

    pub(crate) fn briefings(&self) -> Vec<(Alert, Briefing)> {
        self.briefings.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).iter().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload(bytes: usize) -> Arc<Payload> {
        Arc::new(Payload { body: vec![0; bytes].into(), content_type: None, attributes: Vec::new() })
    }

    #[test]
    fn what_is_remembered_is_bounded_in_number_and_in_bytes_of_all_sources() {
        let sources = Arc::new(AtomicUsize::new(1));
        let (recent, remembered) = (Recent::default(), Remembered { most: 100, sources: sources.clone() });
        for _ in 0..150 {
            recent.push(&payload(10), &remembered);
        }
        assert_eq!(recent.all().len(), 100);
        for _ in 0..10 {
            recent.push(&payload(1 << 20), &remembered);
        }
        assert_eq!(recent.all().len(), 4);
        recent.push(&payload(RECENT_BYTES + 1), &remembered);
        assert_eq!(recent.all().len(), 4, "one that is too large drives out none");
        // Where there are a thousand, each has less.
        sources.store(1000, Ordering::Relaxed);
        recent.push(&payload(10), &remembered);
        assert_eq!(recent.all().len(), 1);
        sources.store(usize::MAX, Ordering::Relaxed);
        recent.push(&payload(FEW_RECENT_BYTES - 10), &remembered);
        assert_eq!(recent.all().len(), 2);
    }
}
