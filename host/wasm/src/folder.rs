//! The plugins' folder, watched: what is in it, what has changed, and what has been left alone long enough to be read.
//!
//! The kernel's notices only say when to look; what counts is what lies there. So every way of putting a file is the same:
//! renamed over, copied into, linked, or the whole folder exchanged as Kubernetes does it.

use std::collections::BTreeSet;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use notify::event::{AccessKind, AccessMode};
use notify::{EventKind, RecursiveMode, Watcher};
use rustix::io::Errno;

use crate::asks;
use crate::record::Steps;
use crate::registry::Registry;
use crate::service::Event;
use crate::trust;

/// Looked at this often without a notice, too: some file systems give none.
const ROUND: Duration = Duration::from_secs(1);

/// However many notices come, from one look to the next it is at least so long, and so many times what the last one took: what they say
/// is what the next look finds.
const BREATH: Duration = Duration::from_millis(20);
const BREATH_OF_A_LOOK: u32 = 4;

/// A file whose versions were refused one after the other so often is read no more than once in that time.
const REFUSED_OFTEN: u32 = 20;
const PATIENCE: Duration = Duration::from_secs(5);

/// How often compiled code that nothing needs is looked for; also at the start, and when a version comes in.
const TIDY: Duration = Duration::from_secs(60 * 60);

/// How often instances that nobody calls are looked for.
const AGES: Duration = Duration::from_secs(60);

/// How long what happened may wait for a host that stops to ask for the rest.
const LOOK: Duration = Duration::from_millis(100);

/// Every `*.wasm` of a folder, by name. All of them or an error: what isn't listed counts as deleted.
pub(crate) fn files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let entries: io::Result<Vec<PathBuf>> =
        std::fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect();
    let mut files = entries?;
    files.retain(|path| path.extension().is_some_and(|extension| extension == "wasm"));
    files.sort();
    Ok(files)
}

/// What tells two states of a file apart without reading it: which it is, its size, and when it and its rights changed.
pub(crate) type Look = Option<(u64, u64, u64, i64, i64, i64, i64)>;

/// None where there is none, or a link that leads nowhere. An error says nothing of the file, as one of a disk or of a
/// folder's rights.
fn look(path: &Path) -> io::Result<Look> {
    match std::fs::metadata(path) {
        Ok(meta) => {
            let changed = (meta.mtime(), meta.mtime_nsec(), meta.ctime(), meta.ctime_nsec());
            let (mtime, mtime_nsec, ctime, ctime_nsec) = changed;
            Ok(Some((meta.dev(), meta.ino(), meta.size(), mtime, mtime_nsec, ctime, ctime_nsec)))
        }
        Err(error) => match Errno::from_io_error(&error) {
            Some(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
            _ => Err(error),
        },
    }
}

/// What is known of a file.
pub(crate) struct Seen {
    known: Option<Known>,
    since: Instant,
    /// It was read in this state.
    handled: bool,
    /// How often it was refused, since it was accepted last.
    refusals: u32,
}

#[derive(PartialEq)]
struct Known {
    listed: bool,
    /// Of the file, and of what stands beside it: its `.yaml`, its signature.
    looks: [Look; 3],
}

impl Seen {
    pub(crate) fn now(path: &Path) -> Self {
        let known = looks(path).ok().map(|looks| Known { listed: true, looks });
        Self { known, since: Instant::now(), handled: true, refusals: 0 }
    }

    /// It will be read again.
    pub(crate) fn forget(&mut self) {
        self.handled = false;
        self.known = None;
    }

    pub(crate) fn judged(&mut self, refused: bool) {
        self.refusals = if refused { self.refusals.saturating_add(1) } else { 0 };
    }
}

fn looks(path: &Path) -> io::Result<[Look; 3]> {
    Ok([look(path)?, look(&asks::sidecar(path))?, look(&trust::signature_file(path))?])
}

/// What is to be done after a look.
#[derive(Default)]
struct Due {
    /// With how long each was left alone.
    ready: Vec<(PathBuf, Duration)>,
    gone: Vec<PathBuf>,
    /// When the next look is.
    next: Option<Instant>,
}

impl Registry {
    /// Looks at the folder now, and brings in what has changed. With `patience`, files that changed just now are left for
    /// the next look, which is due when this says; and how long it took to look.
    fn look_at(&self, folder: &Path, patience: Duration) -> (Option<Instant>, Duration) {
        let began = Instant::now();
        // Unmounted, or just being exchanged: nothing was deleted by that.
        let listed = match files(folder) {
            Ok(listed) => listed.into_iter().collect(),
            Err(error) => {
                if !self.lost.swap(true, Ordering::Relaxed) {
                    tracing::error!(folder = %folder.display(), %error, "the plugins' folder can't be read; what is loaded serves on, and nothing new comes in until it is back");
                }
                return (None, began.elapsed());
            }
        };
        if self.lost.swap(false, Ordering::Relaxed) {
            tracing::info!(folder = %folder.display(), "the plugins' folder is back");
        }
        self.look_at_pins();
        let Due { ready, gone, next } = self.due(&listed, patience);
        let took = began.elapsed();
        for path in gone {
            self.file_deleted(&path);
        }
        for (path, alone) in ready {
            // A bug of ours, or of the compiler, is this file's trouble and not that of all others.
            if catch_unwind(AssertUnwindSafe(|| self.consider(&path, alone))).is_err() {
                self.panicked(&path);
            }
        }
        (next, took)
    }

    /// What was refused for want of a pin, and what was let in by one, is looked at again once there are other pins.
    fn look_at_pins(&self) {
        let Some(Ok(now)) = self.lock_file().map(look) else { return };
        let mut pins = self.pins.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if pins.replace(now).is_some_and(|before| before != now) {
            self.looking().values_mut().for_each(Seen::forget);
        }
    }

    /// Looks once, and doesn't wait for files to be left alone.
    pub fn scan(&self, folder: &Path) {
        self.look_at(folder, Duration::ZERO);
    }

    fn due(&self, listed: &BTreeSet<PathBuf>, patience: Duration) -> Due {
        let mut seen = self.looking();
        for path in listed {
            let new = || Seen { known: None, since: Instant::now(), handled: false, refusals: 0 };
            seen.entry(path.clone()).or_insert_with(new);
        }
        let mut found = Due::default();
        for (path, seen) in &mut *seen {
            let Ok(looks) = looks(path) else { continue };
            let known = Some(Known { listed: listed.contains(path), looks });
            if seen.known != known {
                *seen = Seen { known, since: Instant::now(), handled: false, refusals: seen.refusals };
            }
            if seen.handled {
                continue;
            }
            let often = seen.refusals >= REFUSED_OFTEN && !patience.is_zero();
            let due = seen.since + if often { patience.max(PATIENCE) } else { patience };
            if Instant::now() < due {
                found.next = Some(found.next.map_or(due, |next| next.min(due)));
                continue;
            }
            seen.handled = true;
            if listed.contains(path) {
                found.ready.push((path.clone(), seen.since.elapsed()));
            } else {
                found.gone.push(path.clone());
            }
        }
        for path in &found.gone {
            seen.remove(path);
        }
        found
    }

    /// Watches the folder on a thread of its own, until `stop`, and puts on record what happens to versions in service on
    /// another, which waits for no compiler.
    pub fn watch(self: &Arc<Self>, folder: &Path, stop: Arc<AtomicBool>) -> io::Result<()> {
        let (this, folder, stops) = (self.clone(), folder.to_owned(), stop.clone());
        std::thread::Builder::new().name("plugins".into()).spawn(move || this.run(&folder, &stops))?;
        let this = self.clone();
        std::thread::Builder::new().name("plugins-record".into()).spawn(move || this.keep_record(&stop))?;
        Ok(())
    }

    fn run(&self, folder: &Path, stop: &AtomicBool) {
        let woken = self.woken.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let mut notices = Notices::of(self, folder);
        let mut next = None::<Instant>;
        let mut tidied = None::<Instant>;
        let mut aged = Instant::now();
        let mut breath = Duration::ZERO;
        while !stop.load(Ordering::Relaxed) {
            std::thread::sleep(breath);
            let wait = next.map_or(ROUND, |next| next.saturating_duration_since(Instant::now()).min(ROUND));
            if woken.recv_timeout(wait) == Err(RecvTimeoutError::Disconnected) {
                return;
            }
            notices.renew(self, folder);
            let took;
            (next, took) = self.look_at(folder, self.options.debounce);
            breath = BREATH.max((took * BREATH_OF_A_LOOK).min(ROUND));
            for slot in self.slots() {
                slot.end_old_trial();
            }
            self.runtime.memory.tell();
            if aged.elapsed() > AGES {
                self.runtime.memory.let_go_of_old(Instant::now());
                aged = Instant::now();
            }
            if tidied.is_none_or(|tidied| tidied.elapsed() > TIDY) {
                self.prune_code();
                tidied = Some(Instant::now());
            }
        }
    }

    fn keep_record(&self, stop: &AtomicBool) {
        while !stop.load(Ordering::Relaxed) {
            let happened = self.happened.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            if let Ok(event) = happened.recv_timeout(LOOK) {
                self.record(event);
            }
        }
    }

    /// What happened and isn't on record yet, for a host that stops.
    pub fn record_rest(&self) {
        let happened = self.happened.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        while let Ok(event) = happened.try_recv() {
            self.record(event);
        }
    }

    fn record(&self, event: Event) {
        let _order = self.in_order();
        match event {
            Event::RolledBack { plugin, version, to, reason } => {
                self.rolled_back(&plugin, &version, &to, &reason, Steps::begin());
            }
            Event::Proven { plugin, version } => {
                self.kept().change(&plugin, |state| state.prove(&version));
                self.changed();
            }
        }
    }
}

/// Whether a notice says that something was opened or read, and no more.
pub fn only_looked(kind: EventKind) -> bool {
    match kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => false,
        EventKind::Access(_) => true,
        _ => false,
    }
}

/// The kernel's notices of one folder; of another once that folder isn't the one at this path any more.
struct Notices {
    watcher: Option<notify::RecommendedWatcher>,
    folder: Option<(u64, u64)>,
}

impl Notices {
    fn of(registry: &Registry, folder: &Path) -> Self {
        let waker = registry.waker();
        let noticed = move |event: notify::Result<notify::Event>| {
            // To look is to open, and must not lead to the next look.
            if !event.is_ok_and(|event| only_looked(event.kind)) {
                // One look for a burst of them: a full queue wakes the watcher as well.
                let _ = waker.try_send(());
            }
        };
        let watcher = notify::recommended_watcher(noticed).and_then(|mut watcher| {
            watcher.watch(folder, RecursiveMode::NonRecursive)?;
            Ok(watcher)
        });
        let watcher = watcher
            .inspect_err(|error| {
                tracing::debug!(folder = %folder.display(), %error, "no notices; the folder is looked at every second");
            })
            .ok();
        Self { watcher, folder: inode(folder) }
    }

    fn renew(&mut self, registry: &Registry, folder: &Path) {
        let now = inode(folder);
        if now != self.folder || self.watcher.is_none() && now.is_some() {
            *self = Self::of(registry, folder);
        }
    }
}

fn inode(folder: &Path) -> Option<(u64, u64)> {
    let meta = std::fs::metadata(folder).ok()?;
    Some((meta.dev(), meta.ino()))
}
