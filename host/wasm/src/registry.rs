//! All plugins of a folder: what serves, what was refused and why, and the way from the one to the other.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, RwLock};
use std::time::Duration;

use tokio::sync::watch;
use watchkeeper_domain::Timestamp;
use watchkeeper_domain::plugin::{Batch, Feed, Payload, ReadError, Reader, Reading};

use crate::bindings::v0_1::PluginError;
use crate::canary::{self, Comparison, Policy};
use crate::engine::{Runtime, in_background};
use crate::folder::{self, Look, Seen};
use crate::kept::Kept;
use crate::loader::{Candidate, Interface, Plugin, Refusal};
use crate::pool::{CallError, Pool};
use crate::reader::PluginReader;
use crate::record::{Attempt, Canary, Happening, Journal, Outcome, Steps};
use crate::service::{Bound, Event, Generation, Slot, Terms};
use crate::source::SourceSpec;

/// Events that wait for the record.
const EVENTS: usize = 1024;

/// What became of a file.
#[derive(Clone, Debug)]
pub enum Entry {
    Loaded(Arc<Plugin>),
    Refused(Refusal),
}

/// Why a source can't be had. The source is disabled; others don't notice.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum BindError {
    /// The operator mends the file: this key, if the plugin says which.
    #[error("{reason}")]
    InvalidConfig { key: Option<String>, reason: String },
    #[error("{0}")]
    Failed(String),
}

impl From<CallError> for BindError {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Plugin { error: PluginError::InvalidConfig { key, reason }, .. } => {
                BindError::InvalidConfig { key: key.map(|key| key.line()), reason: reason.line() }
            }
            error => BindError::Failed(error.to_string()),
        }
    }
}

/// How versions come and go.
#[derive(Clone, Debug)]
pub struct Options {
    pub canary: Policy,
    /// Payloads a source that a candidate reads.
    pub canary_payloads: usize,
    pub terms: Terms,
    /// How long a file must be left alone before it is read.
    pub debounce: Duration,
    /// Whether a plugin goes with its file, though sources use it.
    pub prune: bool,
    /// What the host wants of a feed, besides that no two sources have one path.
    pub check_feed: fn(&Feed) -> Result<(), String>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            canary: Policy::default(),
            canary_payloads: 100,
            terms: Terms::default(),
            debounce: Duration::from_millis(100),
            prune: false,
            check_feed: |_| Ok(()),
        }
    }
}

pub struct Registry {
    runtime: Runtime,
    pub(crate) options: Options,
    slots: RwLock<BTreeMap<String, Arc<Slot>>>,
    /// Files whose content, as it is now, doesn't serve.
    refused: RwLock<BTreeMap<PathBuf, Refusal>>,
    kept: Kept,
    /// Held while the folder is looked at.
    seen: Mutex<BTreeMap<PathBuf, Seen>>,
    /// What the lock file looked like.
    pub(crate) pins: Mutex<Option<Look>>,
    /// Counts changes that others should look at: plugins that came or went, feeds that moved.
    revision: watch::Sender<u64>,
    events: SyncSender<Event>,
    pub(crate) happened: Mutex<Receiver<Event>>,
    journal: Arc<Journal>,
}

/// A source bound to its plugin.
#[derive(Clone)]
pub struct Binding {
    reader: Arc<PluginReader>,
}

impl Binding {
    pub fn reader(&self) -> Arc<dyn Reader> {
        self.reader.clone()
    }

    /// How the version in service wants to be fed; none if it can't serve the source any more.
    pub fn feed(&self) -> Option<Feed> {
        Some(self.reader.slot.live()?.bound(&self.reader.source)?.feed.clone())
    }

    /// Which version is in service.
    pub fn version(&self) -> Option<String> {
        Some(self.reader.slot.live()?.plugin.version.clone())
    }

    /// Reads on this thread: for tests of a plugin, and for benches.
    pub fn read_here(&self, payload: &Payload) -> Result<Reading, ReadError> {
        self.reader.read_here(payload)
    }

    /// Fetches on this thread.
    pub fn fetch_here(&self, cursor: Option<&str>) -> Result<Batch, ReadError> {
        self.reader.fetch_here(cursor)
    }

    /// A payload that was read before this process began, for the next version to be tried on.
    pub fn remember(&self, payload: &Arc<Payload>) {
        self.reader.recent.push(payload, self.reader.remembered);
    }
}

impl Registry {
    /// Every `*.wasm` of the folder as it is now, with no memory of earlier versions.
    pub fn load(runtime: &Runtime, folder: &Path) -> std::io::Result<Self> {
        Self::open(runtime, folder, Options::default(), None)
    }

    /// As [`Registry::load`], with what the folder `kept` remembers: a version that was rolled back doesn't return, and
    /// where a file has changed meanwhile or is refused, the last good version serves until the next [`Registry::scan`].
    pub fn open(
        runtime: &Runtime,
        folder: &Path,
        options: Options,
        kept: Option<&Path>,
    ) -> std::io::Result<Self> {
        let files = folder::files(folder)?;
        let registry = Self::empty(runtime, options, kept);
        let loaded = load_all(&files, |path| registry.first(path));
        for (path, first) in loaded {
            registry.begin(&path, first);
        }
        Ok(registry)
    }

    /// Of one file alone, for `plugin test` and `plugin inspect`.
    pub fn of_file(runtime: &Runtime, file: &Path) -> Result<Self, Refusal> {
        let plugin = Plugin::load(runtime, file)?;
        let registry = Self::empty(runtime, Options::default(), None);
        registry.insert(plugin);
        Ok(registry)
    }

    fn empty(runtime: &Runtime, options: Options, kept: Option<&Path>) -> Self {
        let (events, happened) = sync_channel(EVENTS);
        Self {
            runtime: runtime.clone(),
            options,
            slots: RwLock::default(),
            refused: RwLock::default(),
            kept: Kept::open(kept),
            seen: Mutex::default(),
            pins: Mutex::default(),
            revision: watch::Sender::new(0),
            events,
            happened: Mutex::new(happened),
            journal: Arc::default(),
        }
    }

    /// By file name.
    pub fn entries(&self) -> Vec<Entry> {
        let live = self.slots().into_iter().filter_map(|slot| Some(slot.live()?.plugin.clone()));
        let mut entries: Vec<(PathBuf, Entry)> =
            live.map(|plugin| (plugin.path.clone(), Entry::Loaded(plugin))).collect();
        let refused = self.refused.read().unwrap_or_else(|poisoned| poisoned.into_inner());
        entries.extend(refused.iter().map(|(path, refusal)| (path.clone(), Entry::Refused(refusal.clone()))));
        entries.sort_by(|(a, _), (b, _)| a.cmp(b));
        entries.into_iter().map(|(_, entry)| entry).collect()
    }

    /// What happened to plugins since this was asked last, for the audit log.
    pub fn take_happenings(&self) -> Vec<Happening> {
        self.journal.take()
    }

    /// Until there may be more of it.
    pub async fn more_happenings(&self) {
        self.journal.more().await;
    }

    /// Turns over whenever plugins came or went, or want to be fed otherwise.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.revision.subscribe()
    }

    /// Configures the plugin named `kind` for a source, and each of its versions to come. An error lists the plugins that
    /// there are.
    pub fn bind(&self, kind: &str, spec: SourceSpec) -> Result<Binding, BindError> {
        let slot = self.slot(kind).ok_or_else(|| no_such_plugin(&self.entries(), kind))?;
        let source = spec.name.clone();
        let (_, recent) = slot.bind(spec)?;
        let remembered = self.options.canary_payloads;
        Ok(Binding { reader: Arc::new(PluginReader { slot, source, recent, remembered }) })
    }

    /// The source is no more.
    pub fn unbind(&self, kind: &str, source: &str) {
        if let Some(slot) = self.slot(kind) {
            slot.unbind(source);
        }
    }

    pub(crate) fn slot(&self, name: &str) -> Option<Arc<Slot>> {
        self.slots.read().unwrap_or_else(|poisoned| poisoned.into_inner()).get(name).cloned()
    }

    pub(crate) fn slots(&self) -> Vec<Arc<Slot>> {
        self.slots.read().unwrap_or_else(|poisoned| poisoned.into_inner()).values().cloned().collect()
    }

    /// Those that write prompts, by name.
    pub(crate) fn prompt_builders(&self) -> Vec<Arc<Slot>> {
        let writes = |slot: &Arc<Slot>| slot.live().is_some_and(|live| live.prompts().is_some());
        self.slots().into_iter().filter(writes).collect()
    }

    pub(crate) fn lock_file(&self) -> Option<&Path> {
        self.runtime.trust.lock_file()
    }

    pub(crate) fn kept(&self) -> &Kept {
        &self.kept
    }

    pub(crate) fn refusal(&self, path: &Path) -> Option<Refusal> {
        self.refused.read().unwrap_or_else(|poisoned| poisoned.into_inner()).get(path).cloned()
    }

    pub(crate) fn refusals(&self) -> Vec<Refusal> {
        self.refused.read().unwrap_or_else(|poisoned| poisoned.into_inner()).values().cloned().collect()
    }

    pub(crate) fn looking(&self) -> MutexGuard<'_, BTreeMap<PathBuf, Seen>> {
        self.seen.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    pub(crate) fn changed(&self) {
        self.revision.send_modify(|revision| *revision += 1);
    }

    /// To wake the thread that watches.
    pub(crate) fn waker(&self) -> SyncSender<Event> {
        self.events.clone()
    }

    fn set_refused(&self, path: &Path, refusal: Option<Refusal>) {
        let mut refused = self.refused.write().unwrap_or_else(|poisoned| poisoned.into_inner());
        match refusal {
            Some(refusal) => refused.insert(path.to_owned(), refusal),
            None => refused.remove(path),
        };
    }

    fn insert(&self, plugin: Plugin) -> Arc<Slot> {
        let slot = Slot::new(Arc::new(plugin), self.events.clone(), self.journal.clone());
        let mut slots = self.slots.write().unwrap_or_else(|poisoned| poisoned.into_inner());
        slots.insert(slot.name.clone(), slot.clone());
        slot
    }
}

/// What a file gave at the start.
struct First {
    seen: Seen,
    loaded: Result<(Plugin, Candidate), Refusal>,
    steps: Steps,
    /// It isn't the file's own version, or that was refused.
    instead: Option<Refusal>,
}

/// The start.
impl Registry {
    fn first(&self, path: &Path) -> First {
        let mut steps = Steps::begin();
        let mut seen = Seen::now(path);
        let own = Candidate::read(path);
        steps.took("read");
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        let state = self.kept.of(&name);
        let good = state.good.last();
        // A version that isn't known to be good comes in through the canary, beside the one that is.
        if let (Ok(own), Some(good)) = (&own, good)
            && own.version != *good
            && let Ok(copy) = self.kept.copy(good, path)
            && let Ok(plugin) = Plugin::of(&self.runtime, &copy, &mut steps)
        {
            seen.forget();
            return First { seen, loaded: Ok((plugin, copy)), steps, instead: None };
        }
        let loaded = own.and_then(|own| {
            if let Some(why) = state.rejected(&own.version) {
                return Err(Refusal { path: path.to_owned(), reason: rejected(&name, why) });
            }
            Plugin::of(&self.runtime, &own, &mut steps).map(|plugin| (plugin, own))
        });
        let (loaded, instead) = match loaded {
            Err(refusal) => match good.and_then(|good| self.kept.copy(good, path).ok()) {
                Some(copy) => match Plugin::of(&self.runtime, &copy, &mut steps) {
                    Ok(plugin) => (Ok((plugin, copy)), Some(refusal)),
                    Err(_) => (Err(refusal), None),
                },
                None => (Err(refusal), None),
            },
            loaded => (loaded, None),
        };
        First { seen, loaded, steps, instead }
    }

    fn begin(&self, path: &Path, first: First) {
        let First { seen, loaded, steps, instead } = first;
        self.looking().insert(path.to_owned(), seen);
        match loaded {
            Ok((plugin, candidate)) => {
                self.set_refused(path, instead.clone());
                let (name, version) = (plugin.name.clone(), plugin.version.clone());
                let state = self.kept.of(&name);
                self.insert(plugin);
                // Of what is known and unchanged, there is nothing to tell.
                if state.good.last() != Some(&version) {
                    self.kept.save(&candidate);
                    self.kept.change(&name, |state| state.prove(&version));
                    self.note(&name, "start", Some(version), Outcome::Live, None, steps, None);
                }
            }
            Err(refusal) => {
                let name = path.file_stem().unwrap_or_default().to_string_lossy();
                self.note(&name, "start", None, Outcome::Refused, Some(refusal.reason.clone()), steps, None);
                self.set_refused(path, Some(refusal));
            }
        }
    }
}

fn rejected(name: &str, why: &str) -> String {
    format!(
        "this version was rolled back: {why}; put another version there, or allow it with `watchkeeper plugin release {name}`"
    )
}

/// The way of a new version.
impl Registry {
    /// A file that is new, or has changed and been left alone since: brings it into service, or says why not.
    pub(crate) fn consider(&self, path: &Path) {
        let mut steps = Steps::begin();
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let candidate = match Candidate::read(path) {
            Ok(candidate) => candidate,
            Err(refusal) => return self.refuse(&name, None, refusal, steps, None),
        };
        steps.took("read");
        let live = self.slot(&name).and_then(|slot| Some((slot.live()?, slot)));
        if live.as_ref().is_some_and(|(live, _)| live.plugin.version == candidate.version) {
            // Back to what serves anyway.
            self.set_refused(path, None);
            return self.changed();
        }
        let version = Some(candidate.version.clone());
        let state = self.kept.of(&name);
        if let Some(why) = state.rejected(&candidate.version) {
            let refusal = Refusal { path: path.to_owned(), reason: rejected(&name, why) };
            return self.refuse(&name, version, refusal, steps, None);
        }
        let loaded = in_background(|| Plugin::of(&self.runtime, &candidate, &mut steps));
        let plugin = match loaded {
            Ok(plugin) => plugin,
            Err(refusal) => return self.refuse(&name, version, refusal, steps, None),
        };
        let (trigger, canary) = match live {
            None => {
                self.insert(plugin);
                self.kept.save(&candidate);
                ("added", None)
            }
            Some((_, slot)) => {
                // Before it serves, so that a restart right after finds it.
                self.kept.save(&candidate);
                let replaced = in_background(|| self.replace(&slot, plugin, &mut steps));
                match replaced {
                    Ok(canary) => ("replaced", canary),
                    Err((reason, canary)) => {
                        let refusal = Refusal { path: path.to_owned(), reason };
                        return self.refuse(&name, version, refusal, steps, canary);
                    }
                }
            }
        };
        self.set_refused(path, None);
        if self.slot(&name).and_then(|slot| slot.live()).is_some_and(|live| !live.on_trial()) {
            self.kept.change(&name, |state| state.prove(&candidate.version));
        }
        self.note(&name, trigger, version, Outcome::Live, None, steps, canary);
        self.prune_code();
        self.changed();
    }

    /// Configure, compare, swap. An error leaves everything as it was.
    fn replace(
        &self,
        slot: &Slot,
        plugin: Plugin,
        steps: &mut Steps,
    ) -> Result<Option<Canary>, (String, Option<Canary>)> {
        let served = slot.served();
        let plain = |reason| (reason, None);
        let plugin = Arc::new(plugin);
        let live = slot.live().ok_or_else(|| plain("it was unloaded meanwhile".to_owned()))?;
        let granted = self.kept.of(&slot.name).granted.contains(&plugin.version);
        let mut sources = HashMap::new();
        for (name, source) in &*served {
            if let Some(rule) = plugin.asks.widened(&live.plugin.asks, &source.spec.allow_hosts).next()
                && !granted
            {
                return Err(plain(format!(
                    "it asks for {rule}, which the version before did not, and source {name} would grant it: allow that \
                     with `watchkeeper plugin grant {}`, or narrow `allow_hosts`",
                    slot.name
                )));
            }
            let bound = Bound::make(&plugin, &source.spec, &slot.failures)
                .map_err(|error| plain(format!("source {name}: {error}")))?;
            self.check_feed(slot, name, &bound.feed).map_err(plain)?;
            sources.insert(name.as_str().into(), bound);
        }
        steps.noted("configure", Some(format!("{} sources", sources.len())));
        let next = Generation::new(plugin, sources, &slot.failures);
        let canary = self.compare(slot, &served, &live, &next);
        if let Some(canary) = &canary {
            let note = format!(
                "{} compared, {} different, {} failed",
                canary.compared, canary.different, canary.failed
            );
            steps.noted("canary", Some(note));
            if let Some(reason) = canary::verdict(canary, self.options.canary) {
                return Err((reason, Some(canary.clone())));
            }
        }
        slot.swap(next, &self.options.terms);
        steps.took("swap");
        Ok(canary)
    }

    fn compare(
        &self,
        slot: &Slot,
        served: &BTreeMap<String, crate::service::Served>,
        live: &Generation,
        next: &Generation,
    ) -> Option<Canary> {
        if self.options.canary == Policy::Off {
            return None;
        }
        let mut comparison = Comparison::of(live, next);
        for (name, source) in served {
            comparison.payloads(name, &source.recent);
        }
        comparison.briefings(&slot.briefings());
        Some(comparison.found)
    }

    fn check_feed(&self, slot: &Slot, source: &str, feed: &Feed) -> Result<(), String> {
        (self.options.check_feed)(feed).map_err(|reason| format!("source {source}: {reason}"))?;
        let Feed::Webhook { path } = feed else { return Ok(()) };
        let others = self.slots().into_iter().filter(|other| other.name != slot.name);
        for (other, bound) in others.filter_map(|other| other.live()).flat_map(|live| live.all_bound()) {
            if matches!(&bound.feed, Feed::Webhook { path: taken } if taken == path) {
                return Err(format!(
                    "source {source} would listen at `{path}`, which is the path of source {other} already: set its `webhook_path`"
                ));
            }
        }
        Ok(())
    }

    fn refuse(
        &self,
        name: &str,
        version: Option<String>,
        refusal: Refusal,
        steps: Steps,
        canary: Option<Canary>,
    ) {
        let serves = self.slot(name).and_then(|slot| slot.live()).is_some();
        let rest = if serves { "; the version before serves on" } else { "" };
        tracing::error!(plugin = %name, "plugin refused: {refusal}{rest}");
        self.note(name, "changed", version, Outcome::Refused, Some(refusal.reason.clone()), steps, canary);
        self.set_refused(&refusal.path.clone(), Some(refusal));
        self.changed();
    }

    #[expect(clippy::too_many_arguments, reason = "one line of the record")]
    fn note(
        &self,
        name: &str,
        trigger: &str,
        version: Option<String>,
        outcome: Outcome,
        reason: Option<String>,
        steps: Steps,
        canary: Option<Canary>,
    ) {
        metrics::counter!("agent_plugin_changes_total", "plugin" => name.to_owned(), "outcome" => outcome.as_str())
            .increment(1);
        if outcome != Outcome::Refused && trigger != "start" {
            let took = steps.total();
            tracing::info!(plugin = %name, %trigger, version = version.as_deref().unwrap_or("-"), outcome = outcome.as_str(), "plugin changed in {took:?}");
        }
        let at = Timestamp::now();
        let attempt =
            Attempt { at, trigger: trigger.into(), version, outcome, reason, steps: steps.taken, canary };
        self.journal.put(Happening::of(name, &attempt));
        self.kept.note(name, attempt);
    }
}

/// What happens besides.
impl Registry {
    /// A file is gone. What sources use serves on, unless it is to go with its file.
    pub(crate) fn file_deleted(&self, path: &Path) {
        self.set_refused(path, None);
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let Some(slot) = self.slot(&name) else { return self.changed() };
        let used: Vec<String> = slot.served().keys().cloned().collect();
        if used.is_empty() || self.options.prune {
            return self.unload(&slot, "its file was deleted");
        }
        let reason = format!(
            "its file was deleted, and {} use it: it serves until a restart, or `watchkeeper plugin prune {name}`",
            used.join(", ")
        );
        tracing::warn!(plugin = %name, "{reason}");
        self.set_refused(path, Some(Refusal { path: path.to_owned(), reason: reason.clone() }));
        let version = slot.live().map(|live| live.plugin.version.clone());
        self.note(&name, "deleted", version, Outcome::FileDeleted, Some(reason), Steps::begin(), None);
        self.changed();
    }

    fn unload(&self, slot: &Slot, reason: &str) {
        let version = slot.live().map(|live| live.plugin.version.clone());
        slot.unload();
        self.slots.write().unwrap_or_else(|poisoned| poisoned.into_inner()).remove(&slot.name);
        self.note(
            &slot.name,
            "deleted",
            version,
            Outcome::Unloaded,
            Some(reason.into()),
            Steps::begin(),
            None,
        );
        // What comes under this name later is another plugin.
        self.kept.change(&slot.name, |state| state.good.clear());
        self.changed();
    }

    /// Unloads plugins whose file is gone; all of them without a name. Their names.
    pub fn prune(&self, name: Option<&str>) -> Vec<String> {
        let gone = |slot: &Arc<Slot>| slot.live().is_some_and(|live| !live.plugin.path.exists());
        let wanted = |slot: &Arc<Slot>| name.is_none_or(|name| name == slot.name);
        let pruned: Vec<_> = self.slots().into_iter().filter(|slot| wanted(slot) && gone(slot)).collect();
        for slot in &pruned {
            if let Some(live) = slot.live() {
                self.set_refused(&live.plugin.path, None);
            }
            self.unload(slot, "pruned: its file was deleted");
        }
        pruned.iter().map(|slot| slot.name.clone()).collect()
    }

    /// Brings the good version before the one in service back, and keeps this one from returning. What is in service then.
    pub fn rollback(&self, name: &str) -> Result<String, String> {
        let slot = self.slot(name).ok_or_else(|| self.unknown(name))?;
        let live = slot.live().ok_or_else(|| self.unknown(name))?;
        let from = live.plugin.version.clone();
        let mut steps = Steps::begin();
        let good = match slot.before() {
            Some(before) => before.plugin.version.clone(),
            None => {
                let state = self.kept.of(name);
                let good = state.good.iter().rev().find(|good| **good != from).cloned();
                good.ok_or_else(|| {
                    format!("no version of {name} before {from} is kept, so there is none to go back to")
                })?
            }
        };
        let path = live.plugin.path.clone();
        let candidate = self.kept.copy(&good, &path).map_err(|refusal| refusal.to_string())?;
        let plugin =
            Plugin::of(&self.runtime, &candidate, &mut steps).map_err(|refusal| refusal.to_string())?;
        let served = slot.served();
        let plugin = Arc::new(plugin);
        let mut sources = HashMap::new();
        for (source, served) in &*served {
            let bound = Bound::make(&plugin, &served.spec, &slot.failures)
                .map_err(|error| format!("{good} can't serve source {source}: {error}"))?;
            sources.insert(source.as_str().into(), bound);
        }
        drop(served);
        slot.swap(Generation::new(plugin, sources, &slot.failures), &Terms { calls: 0, allowed_failures: 0 });
        steps.took("swap");
        self.rolled_back(name, &from, &good, "by hand", steps);
        Ok(good)
    }

    pub(crate) fn rolled_back(&self, name: &str, from: &str, to: &str, reason: &str, steps: Steps) {
        self.kept.change(name, |state| {
            state.reject(from, reason);
            state.prove(to);
        });
        if let Some(live) = self.slot(name).and_then(|slot| slot.live()) {
            let refusal = Refusal { path: live.plugin.path.clone(), reason: rejected(name, reason) };
            self.set_refused(&refusal.path.clone(), Some(refusal));
        }
        let reason = Some(format!("{reason}; {to} is back"));
        self.note(name, "rollback", Some(from.to_owned()), Outcome::RolledBack, reason, steps, None);
        self.changed();
    }

    /// Ends quarantines, and forgets what was rolled back: the file's version is looked at again.
    pub fn release(&self, name: &str) -> Result<String, String> {
        let slot = self.slot(name);
        let refused = self
            .refusals()
            .into_iter()
            .find(|refusal| refusal.path.file_stem().is_some_and(|stem| stem == name));
        if slot.is_none() && refused.is_none() {
            return Err(self.unknown(name));
        }
        let pools = slot.and_then(|slot| slot.live()).map(|live| live.pools()).unwrap_or_default();
        let released = pools.iter().filter(|(_, pool)| pool.release()).count();
        let forgotten = self.kept.of(name).rejected.len();
        self.kept.change(name, |state| state.rejected.clear());
        self.look_again(name);
        let what = format!("{released} quarantines ended, {forgotten} rolled-back versions forgotten");
        self.journal.put(Happening { reason: Some(what.clone()), ..Happening::new(name, "released") });
        Ok(what)
    }

    /// Lets the version in the file ask for more than the one before it.
    pub fn grant(&self, name: &str) -> Result<String, String> {
        let path = self.slot(name).and_then(|slot| Some(slot.live()?.plugin.path.clone()));
        let path = path.ok_or_else(|| self.unknown(name))?;
        let candidate = Candidate::read(&path).map_err(|refusal| refusal.to_string())?;
        self.kept.change(name, |state| {
            state.granted.retain(|version| *version != candidate.version);
            state.granted.push(candidate.version.clone());
            let over = state.granted.len().saturating_sub(8);
            state.granted.drain(..over);
        });
        let version = Some(candidate.version.clone());
        self.journal.put(Happening { version, ..Happening::new(name, "granted") });
        self.look_again(name);
        Ok(format!("{} may ask for what it asks for", candidate.version))
    }

    fn look_again(&self, name: &str) {
        for (path, seen) in &mut *self.looking() {
            if path.file_stem().is_some_and(|stem| stem == name) {
                seen.forget();
            }
        }
        self.changed();
    }

    fn unknown(&self, name: &str) -> String {
        let names: Vec<String> = self.slots().iter().map(|slot| slot.name.clone()).collect();
        format!(
            "there is no plugin `{name}`; loaded: {}",
            if names.is_empty() { "none".into() } else { names.join(", ") }
        )
    }

    /// Removes compiled code of versions that neither serve nor are kept.
    pub(crate) fn prune_code(&self) {
        let generations = self.slots().into_iter().flat_map(|slot| [slot.live(), slot.before()]);
        let serving = generations.flatten().map(|generation| generation.plugin.digest.clone());
        // `sha256:DIGEST`, with `+…` for what stands beside the file.
        let digest = |version: String| Some(version.strip_prefix("sha256:")?.split('+').next()?.to_owned());
        let kept = self.kept.good().into_iter().filter_map(digest);
        self.runtime.prune_code(&serving.chain(kept).collect::<Vec<_>>());
    }

    pub(crate) fn prompts_of(slot: &Slot) -> Option<Pool> {
        slot.live()?.prompts()
    }
}

fn no_such_plugin(entries: &[Entry], kind: &str) -> BindError {
    let refused = entries.iter().find_map(|entry| match entry {
        Entry::Refused(refusal) if refusal.path.file_stem().is_some_and(|stem| stem == kind) => Some(refusal),
        _ => None,
    });
    let reason = match refused {
        Some(refusal) => format!("its plugin was refused: {refusal}"),
        None => {
            let sources = entries.iter().filter_map(|entry| match entry {
                Entry::Loaded(plugin) if plugin.has(Interface::Source) => Some(plugin.name.as_str()),
                _ => None,
            });
            let names: Vec<_> = sources.collect();
            let names = if names.is_empty() { "none".into() } else { names.join(", ") };
            format!("there is no plugin `{kind}`; sources that are loaded: {names}")
        }
    };
    BindError::InvalidConfig { key: Some("type".into()), reason }
}

/// As many at once as there are cores, in the order of `files`.
fn load_all<T: Send>(files: &[PathBuf], load: impl Fn(&Path) -> T + Sync) -> Vec<(PathBuf, T)> {
    let next = AtomicUsize::new(0);
    let loaded = Mutex::new(Vec::with_capacity(files.len()));
    let work = || {
        while let Some(file) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
            let one = load(file);
            loaded.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push((file.clone(), one));
        }
    };
    std::thread::scope(|scope| {
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        for _ in 1..cores.min(files.len()) {
            scope.spawn(work);
        }
        work();
    });
    let mut loaded = loaded.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
    loaded.sort_by(|(a, _), (b, _)| a.cmp(b));
    loaded
}
