//! The plugins' folder, watched: what is in it, what has changed, and what has been left alone long enough to be read.
//!
//! The kernel's notices only say when to look; what counts is what lies there. So every way of putting a file is the same:
//! renamed over, copied into, linked, or the whole folder exchanged as Kubernetes does it.

use std::collections::BTreeSet;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use notify::event::{AccessKind, AccessMode};
use notify::{EventKind, RecursiveMode, Watcher};

use crate::asks;
use crate::record::Steps;
use crate::registry::Registry;
use crate::service::Event;
use crate::trust;

/// Looked at this often without a notice, too: some file systems give none.
const ROUND: Duration = Duration::from_secs(1);

/// How often compiled code that nothing needs is looked for; also at the start, and when a version comes in.
const TIDY: Duration = Duration::from_secs(60 * 60);

/// Every `*.wasm` of a folder, by name.
pub(crate) fn files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "wasm"))
        .collect();
    files.sort();
    Ok(files)
}

/// What tells two states of a file apart without reading it.
pub(crate) type Look = Option<(u64, u64, u64, i64, i64)>;

fn look(path: &Path) -> Look {
    let meta = std::fs::metadata(path).ok()?;
    Some((meta.dev(), meta.ino(), meta.size(), meta.mtime(), meta.mtime_nsec()))
}

/// What is known of a file.
pub(crate) struct Seen {
    /// Of the file, and of what stands beside it: its `.yaml`, its signature.
    looks: [Look; 3],
    since: Instant,
    /// It was read in this state.
    handled: bool,
}

impl Seen {
    pub(crate) fn now(path: &Path) -> Self {
        Self { looks: looks(path), since: Instant::now(), handled: true }
    }

    /// It will be read again.
    pub(crate) fn forget(&mut self) {
        self.handled = false;
        self.looks = [None, None, None];
    }
}

fn looks(path: &Path) -> [Look; 3] {
    [look(path), look(&asks::sidecar(path)), look(&trust::signature_file(path))]
}

impl Registry {
    /// Looks at the folder now, and brings in what has changed. With `patience`, files that changed just now are left for
    /// the next look, which is due when this says.
    fn look_at(&self, folder: &Path, patience: Duration) -> Option<Instant> {
        // Unmounted, or just being exchanged: nothing was deleted by that.
        if !folder.is_dir() {
            return None;
        }
        self.look_at_pins();
        let (ready, gone, next) = self.due(folder, patience);
        for path in gone {
            self.file_deleted(&path);
        }
        for path in ready {
            self.consider(&path);
        }
        next
    }

    /// What was refused for want of a pin is looked at again once there are other pins.
    fn look_at_pins(&self) {
        let Some(now) = self.lock_file().map(look) else { return };
        let mut pins = self.pins.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if pins.replace(now).is_some_and(|before| before != now) {
            let mut seen = self.looking();
            for refusal in self.refusals() {
                if let Some(seen) = seen.get_mut(&refusal.path) {
                    seen.forget();
                }
            }
        }
    }

    /// Looks once, and doesn't wait for files to be left alone.
    pub fn scan(&self, folder: &Path) {
        self.look_at(folder, Duration::ZERO);
    }

    fn due(&self, folder: &Path, patience: Duration) -> (Vec<PathBuf>, Vec<PathBuf>, Option<Instant>) {
        let listed: BTreeSet<PathBuf> = files(folder).unwrap_or_default().into_iter().collect();
        let mut seen = self.looking();
        for path in &listed {
            seen.entry(path.clone()).or_insert_with(|| Seen {
                looks: [None, None, None],
                since: Instant::now(),
                handled: false,
            });
        }
        let (mut ready, mut gone, mut next) = (Vec::new(), Vec::new(), None::<Instant>);
        for (path, seen) in &mut *seen {
            let looks = looks(path);
            if seen.looks != looks {
                *seen = Seen { looks, since: Instant::now(), handled: false };
            }
            if seen.handled {
                continue;
            }
            let due = seen.since + patience;
            if Instant::now() < due {
                next = Some(next.map_or(due, |next| next.min(due)));
                continue;
            }
            seen.handled = true;
            // A link that leads nowhere is listed, and is no file.
            if listed.contains(path) && looks[0].is_some() {
                ready.push(path.clone())
            } else {
                gone.push(path.clone())
            }
        }
        for path in &gone {
            seen.remove(path);
        }
        (ready, gone, next)
    }

    /// Watches the folder on a thread of its own, until `stop`. Also puts on record what happens to versions in service.
    pub fn watch(
        self: &Arc<Self>,
        folder: &Path,
        stop: Arc<AtomicBool>,
    ) -> io::Result<std::thread::JoinHandle<()>> {
        let (this, folder) = (self.clone(), folder.to_owned());
        std::thread::Builder::new().name("plugins".into()).spawn(move || this.run(&folder, &stop))
    }

    fn run(&self, folder: &Path, stop: &AtomicBool) {
        let happened = self.happened.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let mut notices = Notices::of(self, folder);
        let mut next = None::<Instant>;
        let mut tidied = None::<Instant>;
        while !stop.load(Ordering::Relaxed) {
            let wait = next.map_or(ROUND, |next| next.saturating_duration_since(Instant::now()).min(ROUND));
            match happened.recv_timeout(wait) {
                Ok(Event::Notice) => {
                    // One look for a burst of them.
                    while let Ok(event) = happened.try_recv() {
                        self.record(event);
                    }
                }
                Ok(event) => {
                    self.record(event);
                    continue;
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            notices.renew(self, folder);
            next = self.look_at(folder, self.options.debounce);
            for slot in self.slots() {
                slot.end_old_trial();
            }
            if tidied.is_none_or(|tidied| tidied.elapsed() > TIDY) {
                self.prune_code();
                tidied = Some(Instant::now());
            }
        }
    }

    fn record(&self, event: Event) {
        match event {
            Event::Notice => {}
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
    folder: Look,
}

impl Notices {
    fn of(registry: &Registry, folder: &Path) -> Self {
        let waker = registry.waker();
        let noticed = move |event: notify::Result<notify::Event>| {
            // To look is to open, and must not lead to the next look.
            if !event.is_ok_and(|event| only_looked(event.kind)) {
                // A full queue wakes the watcher as well.
                let _ = waker.try_send(Event::Notice);
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

fn inode(folder: &Path) -> Look {
    let (dev, ino, ..) = look(folder)?;
    Some((dev, ino, 0, 0, 0))
}
