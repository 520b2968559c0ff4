//! All plugins of a folder: what serves, what was refused and why, and the way from the one to the other.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, RwLock};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use watchkeeper_domain::plugin::{Batch, Feed, Payload, ReadError, Reader, Reading};
use watchkeeper_domain::untrusted::line;

use crate::bindings::v0_1::PluginError;
use crate::canary::{self, Comparison, Policy};
use crate::engine::{Runtime, in_background};
use crate::folder::{self, Look, Seen};
use crate::kept::{Kept, PluginState};
use crate::loader::{Candidate, Interface, Plugin, Refusal};
use crate::orders::BY_HAND;
use crate::pool::{CallError, Pool};
use crate::reader::PluginReader;
use crate::record::{Attempt, Canary, Happening, Journal, Outcome, Steps};
use crate::service::{Bound, Event, Generation, Remembered, Served, Slot, Terms};
use crate::source::SourceSpec;

/// Events that wait for the record.
const EVENTS: usize = 1024;

/// What configuring a version for all its sources may take, and for each of them besides: other files wait meanwhile.
const CONFIGURE: Duration = Duration::from_secs(10);
const CONFIGURE_EACH: Duration = Duration::from_millis(50);

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
    #[error("{}{reason}", key.as_ref().map(|key| format!("`{key}`: ")).unwrap_or_default())]
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
    pub(crate) runtime: Runtime,
    pub(crate) options: Options,
    slots: RwLock<BTreeMap<String, Arc<Slot>>>,
    /// Those that are bound.
    sources: Arc<AtomicUsize>,
    /// Files whose content, as it is now, doesn't serve.
    refused: RwLock<BTreeMap<PathBuf, Refusal>>,
    /// Those of them that would be let in by other sources than there are.
    for_sources: Mutex<BTreeSet<PathBuf>>,
    kept: Kept,
    /// Held while a version comes into service or makes way, and its record is made.
    order: Mutex<()>,
    /// Held while the folder is looked at.
    seen: Mutex<BTreeMap<PathBuf, Seen>>,
    /// The folder can't be read, which has been said.
    pub(crate) lost: AtomicBool,
    /// What the lock file looked like.
    pub(crate) pins: Mutex<Option<Look>>,
    /// Counts changes that others should look at: plugins that came or went, feeds that moved.
    revision: watch::Sender<u64>,
    wake: SyncSender<()>,
    pub(crate) woken: Mutex<Receiver<()>>,
    events: SyncSender<Event>,
    pub(crate) happened: Mutex<Receiver<Event>>,
    pub(crate) journal: Arc<Journal>,
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
        self.reader.version()
    }

    /// Reads on this thread: for tests of a plugin, and for benches.
    pub fn read_here(&self, payload: &Payload) -> Result<Reading, ReadError> {
        self.reader.read_here(payload)
    }

    /// Fetches on this thread.
    pub fn fetch_here(&self, cursor: Option<&str>) -> Result<Batch, ReadError> {
        self.reader.fetch_here(cursor)
    }

    /// Whether nobody has given it yet what was read before it was bound. It is asked once.
    pub fn is_to_be_reminded(&self) -> bool {
        self.reader.recent.is_to_be_reminded()
    }

    /// A payload that was read before this source was bound, for the next version to be tried on.
    pub fn remember(&self, payload: &Arc<Payload>) {
        self.reader.recent.push(payload, &self.reader.remembered);
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
        Self::open_with(runtime, folder, options, Kept::open(kept))
    }

    /// What [`Registry::open`] and a scan would bring into service, with nothing written of it.
    pub fn look(runtime: &Runtime, folder: &Path, options: Options, kept: &Path) -> std::io::Result<Self> {
        Self::open_with(runtime, folder, options, Kept::look(kept))
    }

    fn open_with(runtime: &Runtime, folder: &Path, options: Options, kept: Kept) -> std::io::Result<Self> {
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
        let registry = Self::empty(runtime, Options::default(), Kept::open(None));
        registry.insert(plugin);
        Ok(registry)
    }

    fn empty(runtime: &Runtime, options: Options, kept: Kept) -> Self {
        let (events, happened) = sync_channel(EVENTS);
        // To be woken once is enough.
        let (wake, woken) = sync_channel(1);
        Self {
            runtime: runtime.clone(),
            options,
            slots: RwLock::default(),
            sources: Arc::default(),
            refused: RwLock::default(),
            for_sources: Mutex::default(),
            kept,
            order: Mutex::default(),
            seen: Mutex::default(),
            lost: AtomicBool::new(false),
            pins: Mutex::default(),
            revision: watch::Sender::new(0),
            wake,
            woken: Mutex::new(woken),
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
        self.count_sources();
        let remembered = Remembered { most: self.options.canary_payloads, sources: self.sources.clone() };
        Ok(Binding { reader: Arc::new(PluginReader { slot, source, recent, remembered }) })
    }

    /// The source is no more.
    pub fn unbind(&self, kind: &str, source: &str) {
        if let Some(slot) = self.slot(kind) {
            slot.unbind(source);
        }
        self.count_sources();
    }

    fn count_sources(&self) {
        let sources = self.slots().iter().map(|slot| slot.sources()).sum();
        self.sources.store(sources, Ordering::Relaxed);
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
    pub(crate) fn waker(&self) -> SyncSender<()> {
        self.wake.clone()
    }

    /// What was refused for a source's sake is looked at again: sources came, went or were changed.
    pub fn sources_changed(&self) {
        let paths = std::mem::take(&mut *self.for_sources());
        let mut seen = self.looking();
        for path in &paths {
            if let Some(seen) = seen.get_mut(path) {
                seen.forget();
            }
        }
        if !paths.is_empty() {
            let _ = self.wake.try_send(());
        }
    }

    fn for_sources(&self) -> MutexGuard<'_, BTreeSet<PathBuf>> {
        self.for_sources.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    pub(crate) fn in_order(&self) -> MutexGuard<'_, ()> {
        self.order.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    pub(crate) fn set_refused(&self, path: &Path, refusal: Option<Refusal>) {
        self.for_sources().remove(path);
        let mut refused = self.refused.write().unwrap_or_else(|poisoned| poisoned.into_inner());
        match refusal {
            Some(refusal) => refused.insert(path.to_owned(), refusal),
            None => refused.remove(path),
        };
    }

    pub(crate) fn remove(&self, name: &str) {
        self.slots.write().unwrap_or_else(|poisoned| poisoned.into_inner()).remove(name);
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
            let plugin = Plugin::of(&self.runtime, &own, &mut steps)?;
            asks_too_much(&plugin, &state)?;
            Ok((plugin, own))
        });
        let (loaded, instead) = match loaded {
            Err(refusal) => self.instead(path, &state, refusal, &mut steps),
            loaded => (loaded, None),
        };
        First { seen, loaded, steps, instead }
    }

    /// What serves where the file's own version doesn't: the last good one. Where pins let in none but the file's, that one after
    /// all, though it was rolled back for its failures: what a plugin fails on is kept, and what comes to no plugin is not.
    fn instead(
        &self,
        path: &Path,
        state: &PluginState,
        refusal: Refusal,
        steps: &mut Steps,
    ) -> (Result<(Plugin, Candidate), Refusal>, Option<Refusal>) {
        let good = state.good.last().and_then(|good| self.kept.copy(good, path).ok());
        if let Some(copy) = good
            && let Ok(plugin) = Plugin::of(&self.runtime, &copy, steps)
        {
            return (Ok((plugin, copy)), Some(refusal));
        }
        let failed = |own: &Candidate| state.rejected(&own.version).is_some_and(|why| why != BY_HAND);
        if self.runtime.trust.is_locked()
            && let Some(own) = Candidate::read(path).ok().filter(failed)
            && let Ok(plugin) = Plugin::of(&self.runtime, &own, steps)
            && asks_too_much(&plugin, state).is_ok()
        {
            let reason = format!("{}. It serves all the same, for no other is pinned", refusal.reason);
            return (Ok((plugin, own)), Some(Refusal { reason, ..refusal }));
        }
        (Err(refusal), None)
    }

    fn begin(&self, path: &Path, first: First) {
        let First { seen, loaded, mut steps, instead } = first;
        self.looking().insert(path.to_owned(), seen);
        match loaded {
            Ok((plugin, candidate)) => {
                self.set_refused(path, instead.clone());
                let (name, version, asks) =
                    (plugin.name.clone(), plugin.version.clone(), plugin.asks.clone());
                let state = self.kept.of(&name);
                self.insert(plugin);
                // Of what is known and unchanged, there is nothing to tell.
                if state.good.last() != Some(&version) {
                    self.kept.save(&candidate);
                    let attempt = Attempt::new("start", Some(version), Outcome::Live, steps);
                    let attempt = match instead {
                        Some(refusal) => attempt.because(refusal.reason),
                        None => attempt,
                    };
                    self.note_with(&name, attempt, |state| {
                        state.prove(&candidate.version);
                        state.asked = Some(asks);
                    });
                } else if !self.kept.has_copy(&version) {
                    self.kept.save(&candidate);
                }
            }
            Err(refusal) => {
                let name = path.file_stem().unwrap_or_default().to_string_lossy();
                steps.failed();
                let attempt = Attempt::new("start", None, Outcome::Refused, steps).because(&refusal.reason);
                self.note(&name, attempt);
                self.set_refused(path, Some(refusal));
            }
        }
    }
}

/// What went while no host ran.
impl Registry {
    /// A plugin whose file was deleted serves until a restart, which is this one: what is kept of it is no version to go back to any
    /// more.
    pub fn forget_deleted(&self) {
        for (name, state) in self.kept.all() {
            let is_gone = self.slot(&name).is_none() && !self.looking().keys().any(|path| is_of(path, &name));
            if state.good.is_empty() || !is_gone {
                continue;
            }
            let version = state.good.last().cloned();
            let attempt = Attempt::new("start", version, Outcome::Unloaded, Steps::begin())
                .because("its file was deleted before this start");
            self.note_with(&name, attempt, PluginState::forget_versions);
        }
    }
}

/// Where nothing serves that it could be compared with: a name's grants are not for whoever comes next under it.
fn asks_too_much(plugin: &Plugin, state: &PluginState) -> Result<(), Refusal> {
    let accepted = state.good.contains(&plugin.version) || state.granted.contains(&plugin.version);
    let beyond =
        state.asked.as_ref().filter(|_| !accepted).and_then(|asked| plugin.asks.beyond(asked).next());
    beyond.map_or(Ok(()), |rule| {
        let name = &plugin.name;
        let reason = format!(
            "it asks for {rule}, which the version that served last under this name did not: allow that with \
             `watchkeeper plugin grant {name}`"
        );
        Err(Refusal { path: plugin.path.clone(), reason })
    })
}

pub(crate) fn rejected(name: &str, why: &str) -> String {
    format!(
        "this version was rolled back: {why}; put another version there, or allow it with `watchkeeper plugin release {name}`"
    )
}

/// The way of a new version.
impl Registry {
    /// A file that is new, or has changed and been left `alone` since: brings it into service, or says why not.
    pub(crate) fn consider(&self, path: &Path, alone: Duration) {
        let mut steps = Steps::after(alone);
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let candidate = match Candidate::read(path) {
            Ok(candidate) => candidate,
            Err(refusal) => return self.refuse(&name, None, refusal, steps, None),
        };
        steps.took("read");
        let slot = self.slot(&name);
        let live = slot.as_ref().and_then(|slot| slot.live());
        if live.is_some_and(|live| live.plugin.version == candidate.version) {
            // Back to what serves anyway; what speaks for it may be another matter.
            return match candidate.vouched(&self.runtime.trust) {
                Ok(_) => {
                    self.set_refused(path, None);
                    self.changed();
                }
                Err(reason) => {
                    let reason = format!("{reason}; it was let in before, and serves on");
                    let refusal = Refusal { path: path.to_owned(), reason };
                    self.refuse(&name, Some(candidate.version), refusal, steps, None);
                }
            };
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
        match slot.filter(|slot| slot.live().is_some()) {
            None => {
                if let Err(refusal) = asks_too_much(&plugin, &state) {
                    return self.refuse(&name, version, refusal, steps, None);
                }
                self.kept.save(&candidate);
                let _order = self.in_order();
                let slot = self.insert(plugin);
                self.arrived(&slot, "added", &candidate, false, steps, None);
            }
            Some(slot) => {
                // Before it serves, so that a restart right after finds it.
                self.kept.save(&candidate);
                let replaced = in_background(|| self.replace(&slot, &candidate, plugin, &mut steps));
                if let Err((reason, canary)) = replaced {
                    let refusal = Refusal { path: path.to_owned(), reason };
                    self.refuse(&name, version, refusal, steps, canary);
                    // Other sources may let it in.
                    self.for_sources().insert(path.to_owned());
                    return;
                }
            }
        }
        self.prune_code();
        self.changed();
    }

    /// The host failed where it shouldn't have.
    pub(crate) fn panicked(&self, path: &Path) {
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let reason =
            "the host failed while it looked at it, which is a bug of the host: see its log, and report it"
                .into();
        self.refuse(&name, None, Refusal { path: path.to_owned(), reason }, Steps::begin(), None);
    }

    /// Configure, compare, swap. An error leaves everything as it was.
    fn replace(
        &self,
        slot: &Arc<Slot>,
        candidate: &Candidate,
        plugin: Plugin,
        steps: &mut Steps,
    ) -> Result<(), (String, Option<Canary>)> {
        let served = slot.served();
        let plugin = Arc::new(plugin);
        loop {
            let live = slot.live().ok_or_else(|| ("it was unloaded meanwhile".to_owned(), None))?;
            let (next, canary) = self.prepare(slot, &served, &live, &plugin, steps)?;
            let _order = self.in_order();
            // The one in service was rolled back meanwhile: what it was compared with is gone.
            if !slot.is_live(&live) {
                continue;
            }
            let on_trial = slot.swap(next, &self.options.terms);
            steps.took("swap");
            let steps = std::mem::replace(steps, Steps::begin());
            self.arrived(slot, "replaced", candidate, on_trial, steps, canary);
            return Ok(());
        }
    }

    /// All that comes before the swap.
    fn prepare(
        &self,
        slot: &Slot,
        served: &BTreeMap<String, Served>,
        live: &Generation,
        plugin: &Arc<Plugin>,
        steps: &mut Steps,
    ) -> Result<(Generation, Option<Canary>), (String, Option<Canary>)> {
        let plain = |reason| (reason, None);
        let granted = self.kept.of(&slot.name).granted.contains(&plugin.version);
        let mut sources: HashMap<Arc<str>, Arc<Bound>> = HashMap::new();
        let until = Instant::now() + CONFIGURE + CONFIGURE_EACH * served.len() as u32;
        for (name, source) in served {
            if Instant::now() > until {
                return Err(plain(format!(
                    "its {} sources take too long to be configured: {} were after {:?}",
                    served.len(),
                    sources.len(),
                    CONFIGURE + CONFIGURE_EACH * served.len() as u32
                )));
            }
            if let Some(rule) = plugin.asks.widened(&live.plugin.asks, &source.spec.allow_hosts).next()
                && !granted
            {
                return Err(plain(format!(
                    "it asks for {rule}, which the version before did not, and source {name} would grant it: allow that \
                     with `watchkeeper plugin grant {}`, or narrow `allow_hosts`",
                    slot.name
                )));
            }
            let bound = Bound::make(plugin, &source.spec, &slot.failures)
                .map_err(|error| plain(format!("source {name}: {error}")))?;
            self.check_feed(slot, name, &bound.feed, &sources).map_err(plain)?;
            sources.insert(name.as_str().into(), bound);
        }
        steps.noted("configure", Some(format!("{} sources", sources.len())));
        let next = Generation::new(plugin.clone(), sources, &slot.failures);
        let canary = self.compare(slot, served, live, &next);
        if let Some(canary) = &canary {
            let Canary { compared, different, failed, left_out, .. } = canary;
            let note =
                format!("{compared} compared, {different} different, {failed} failed, {left_out} left out");
            steps.noted("canary", Some(note));
            if let Some(reason) = canary::verdict(canary, self.options.canary) {
                return Err((reason, Some(canary.clone())));
            }
        }
        Ok((next, canary))
    }

    /// A version serves: on record, and as much as is known of it.
    fn arrived(
        &self,
        slot: &Slot,
        trigger: &str,
        candidate: &Candidate,
        on_trial: bool,
        steps: Steps,
        canary: Option<Canary>,
    ) {
        self.set_refused(&candidate.path, None);
        self.judged(&candidate.path, false);
        let version = candidate.version.clone();
        let asks = slot.live().map(|live| live.plugin.asks.clone());
        let (of, came) = (&slot.name, Some(version.clone()));
        let attempt = Attempt { canary, ..Attempt::new(trigger, came, Outcome::Live, steps) };
        self.note_with(of, attempt, |state| {
            match on_trial {
                true => state.trying.retain(|trying| *trying == version),
                false => state.prove(&version),
            }
            // Where no source was there to grant anything, as on the command line, wider asks were let in by nobody.
            let judged = slot.sources() > 0 || state.granted.contains(&version) || state.asked.is_none();
            if judged {
                state.asked = asks;
            }
        });
    }

    fn compare(
        &self,
        slot: &Slot,
        served: &BTreeMap<String, Served>,
        live: &Generation,
        next: &Generation,
    ) -> Option<Canary> {
        if self.options.canary == Policy::Off {
            return None;
        }
        let mut comparison = Comparison::of(live, next);
        for (sharing, (name, source)) in (1..=served.len() as u32).rev().zip(served) {
            comparison.payloads(name, &source.recent, sharing);
        }
        comparison.briefings(&slot.briefings());
        Some(comparison.found)
    }

    /// `beside` are the plugin's own sources that were asked already.
    pub(crate) fn check_feed(
        &self,
        slot: &Slot,
        source: &str,
        feed: &Feed,
        beside: &HashMap<Arc<str>, Arc<Bound>>,
    ) -> Result<(), String> {
        (self.options.check_feed)(feed).map_err(|reason| format!("source {source}: {reason}"))?;
        let Feed::Webhook { path } = feed else { return Ok(()) };
        let others = self.slots().into_iter().filter(|other| other.name != slot.name);
        let others = others.filter_map(|other| other.live()).flat_map(|live| live.all_bound());
        let beside = beside.iter().map(|(name, bound)| (name.clone(), bound.clone()));
        for (other, bound) in others.chain(beside) {
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
        mut steps: Steps,
        canary: Option<Canary>,
    ) {
        let serves = self.slot(name).and_then(|slot| slot.live()).map(|live| live.plugin.version.clone());
        let other = serves.is_some() && serves != version;
        let rest = if other { "; the version before serves on" } else { "" };
        if !self.kept.only_looks {
            tracing::error!(plugin = %line(name), "plugin refused: {refusal}{rest}");
        }
        steps.failed();
        let refused = version.clone();
        let attempt = Attempt::new("changed", version, Outcome::Refused, steps).because(&refusal.reason);
        let attempt = Attempt { canary, ..attempt };
        self.note_with(name, attempt, |state| {
            // What is on trial is needed, whatever is said of its file.
            if let Some(refused) = refused.filter(|_| other || serves.is_none()) {
                state.end_trial(&refused);
            }
        });
        self.judged(&refusal.path, true);
        self.set_refused(&refusal.path.clone(), Some(refusal));
        self.changed();
    }

    fn judged(&self, path: &Path, refused: bool) {
        if let Some(seen) = self.looking().get_mut(path) {
            seen.judged(refused);
        }
    }

    /// Tells of it, and keeps it.
    pub(crate) fn note(&self, name: &str, attempt: Attempt) {
        self.note_with(name, attempt, |_| {});
    }

    /// With what else it changes of what is known.
    pub(crate) fn note_with(&self, name: &str, attempt: Attempt, change: impl FnOnce(&mut PluginState)) {
        attempt.tell(name, &self.journal, self.kept.only_looks);
        self.kept.change(name, |state| {
            change(state);
            state.note(attempt);
        });
    }
}

impl Registry {
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

/// Whether this file is the plugin's.
pub(crate) fn is_of(path: &Path, name: &str) -> bool {
    path.file_stem().is_some_and(|stem| stem == name)
}

fn no_such_plugin(entries: &[Entry], kind: &str) -> BindError {
    let refused = entries.iter().find_map(|entry| match entry {
        Entry::Refused(refusal) if is_of(&refusal.path, kind) => Some(refusal),
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
