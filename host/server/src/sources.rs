//! The sources in service: files of `alert-sources`, each bound to its plugin; kept true to the files and to the plugins while
//! the host runs.
//!
//! Invariant: a source that didn't change, of a plugin that still feeds it the same way, is left alone.

use std::collections::{BTreeMap, HashMap};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::watch;
use tokio_util::task::TaskTracker;
use watchkeeper_domain::plugin::Feed;
use watchkeeper_flow::ingest::{Ingest, Source};
use watchkeeper_flow::investigate::Handle;
use watchkeeper_flow::{live, poll};
use watchkeeper_wasm::{BindError, Binding, Registry, SourceSpec};

use crate::config::{Auth, Problem, SourceFile};
use crate::http::RESERVED;

/// A webhook path's source.
pub struct Route {
    pub source: Arc<Source>,
    pub auth: Option<Auth>,
}

/// A source's file, and what came of it.
#[derive(Clone)]
pub struct SourceStatus {
    pub name: String,
    pub kind: String,
    pub file: PathBuf,
    /// How it is fed, or why it isn't.
    pub outcome: Result<Feed, Problem>,
}

impl SourceStatus {
    /// `POST /alerts/x`, `polled every 60000 ms`.
    pub fn fed(&self) -> Option<String> {
        self.outcome.as_ref().ok().map(ToString::to_string)
    }

    pub fn webhook_path(&self) -> Option<&str> {
        match &self.outcome {
            Ok(Feed::Webhook { path }) => Some(path),
            _ => None,
        }
    }
}

/// What the doors see, exchanged as a whole.
#[derive(Default)]
pub struct InService {
    pub routes: HashMap<String, Arc<Route>>,
    pub sources: Vec<Arc<Source>>,
}

/// What sources need that fetch or subscribe.
pub struct Polling {
    pub runtime: tokio::runtime::Handle,
    /// Waited for when the host stops.
    pub tasks: TaskTracker,
    pub ingest: Ingest,
    pub investigations: Handle,
}

/// One file's source.
struct Entry {
    file: SourceFile,
    bound: Result<Bound, Problem>,
}

struct Bound {
    binding: Binding,
    feed: Feed,
    source: Arc<Source>,
    feeder: Option<Feeder>,
}

/// What polls or subscribes.
struct Feeder {
    task: tokio::task::JoinHandle<()>,
    /// Of the plugin, when it began.
    version: Option<String>,
    /// Ends it when dropped.
    _stop: watch::Sender<bool>,
}

pub struct Sources {
    registry: Arc<Registry>,
    /// The host listens beyond loopback, where a source needs credentials.
    open: bool,
    /// None where nothing is to be fetched: `check`.
    polling: Option<Polling>,
    entries: BTreeMap<PathBuf, Entry>,
    /// Files that are no source's.
    broken: BTreeMap<PathBuf, Problem>,
    in_service: Arc<ArcSwap<InService>>,
}

impl Sources {
    pub fn new(registry: Arc<Registry>, open: bool, polling: Option<Polling>) -> Self {
        Self {
            registry,
            open,
            polling,
            entries: BTreeMap::new(),
            broken: BTreeMap::new(),
            in_service: Arc::default(),
        }
    }

    pub fn in_service(&self) -> Arc<ArcSwap<InService>> {
        self.in_service.clone()
    }

    /// Makes what is in service what the files say now: binds what is new or was changed, unbinds what is gone, and tries
    /// again what could not be bound before. Each source that can't be had is disabled, alone. Whether anything changed by that.
    pub fn reconcile(&mut self, files: &[Result<SourceFile, Problem>]) -> bool {
        let read: Vec<&SourceFile> = files.iter().filter_map(|file| file.as_ref().ok()).collect();
        let (mut left, before) = (Vec::new(), self.entries.len());
        self.entries.retain(|path, entry| {
            let stays = read.iter().any(|file| file.file == *path && file.text == entry.file.text);
            let serves =
                |file: &&SourceFile| (&file.kind, &file.name) == (&entry.file.kind, &entry.file.name);
            // One that was changed is bound anew in the old one's place, so that it is never without.
            if !stays && !read.iter().any(serves) {
                left.push((entry.file.kind.clone(), entry.file.name.clone()));
            }
            stays
        });
        self.broken = files
            .iter()
            .filter_map(|file| file.as_ref().err())
            .map(|p| (p.file.clone(), p.clone()))
            .collect();
        let went = before - self.entries.len();
        let moved = self.refresh_each(&read);
        self.publish();
        for (kind, name) in left {
            self.registry.unbind(&kind, &name);
        }
        went + moved > 0
    }

    /// As [`Sources::reconcile`], where only plugins may have changed.
    pub fn refresh_all(&mut self) {
        let files: Vec<SourceFile> = self.entries.values().map(|entry| entry.file.clone()).collect();
        self.refresh_each(&files.iter().collect::<Vec<_>>());
        self.publish();
    }

    /// How many were bound anew.
    fn refresh_each(&mut self, files: &[&SourceFile]) -> usize {
        let moved = files.iter().filter(|file| self.refresh(file)).count();
        // Two that exchanged their paths: the first could not have the second's before that had moved.
        if moved > 0 {
            for file in files {
                self.refresh(file);
            }
        }
        moved
    }

    /// Whether it is bound anew.
    fn refresh(&mut self, file: &SourceFile) -> bool {
        if let Some(Entry { bound: Ok(bound), .. }) = self.entries.get(&file.file)
            && bound.binding.feed().as_ref() == Some(&bound.feed)
            // One that was refused its credentials has ended; another version may know better.
            && !bound.feeder.as_ref().is_some_and(|feeder| {
                feeder.task.is_finished() && feeder.version != bound.binding.version()
            })
        {
            return false;
        }
        self.entries.remove(&file.file);
        let bound = self.bind(file);
        let is_bound = bound.is_ok();
        self.entries.insert(file.file.clone(), Entry { file: file.clone(), bound });
        is_bound
    }

    fn bind(&self, file: &SourceFile) -> Result<Bound, Problem> {
        if self.open && file.auth.is_none() {
            let reason =
                "is missing, and the host listens beyond loopback: add auth: { type: bearer, token: ${…} }";
            return Err(file.problem(Some("auth"), reason));
        }
        // Under its new configuration or none: what it was before isn't what its file says.
        let binding =
            bind(file, &self.registry).inspect_err(|_| self.registry.unbind(&file.kind, &file.name))?;
        let feed = binding.feed().ok_or_else(|| file.problem(None, "its plugin was unloaded just now"))?;
        self.check(file, &feed).inspect_err(|_| self.registry.unbind(&file.kind, &file.name))?;
        let source = Arc::new(Source::new(&file.name, binding.reader(), file.dedup_window));
        let feeder = match &feed {
            Feed::Poll { .. } | Feed::Live => self.feed(source.clone(), &feed, binding.version()),
            Feed::Webhook { .. } | Feed::Subscription { .. } => None,
        };
        Ok(Bound { binding, feed, source, feeder })
    }

    fn check(&self, file: &SourceFile, feed: &Feed) -> Result<(), Problem> {
        let key = if matches!(feed, Feed::Webhook { .. }) { "webhook_path" } else { "type" };
        check_feed(feed).map_err(|reason| file.problem(Some(key), reason))?;
        let Feed::Webhook { path } = feed else { return Ok(()) };
        let taken = self.entries.values().find(|other| {
            matches!(&other.bound, Ok(Bound { feed: Feed::Webhook { path: other }, .. }) if other == path)
        });
        match taken {
            Some(other) => {
                let reason =
                    format!("`{path}` is the path of source {} already: choose another", other.file.name);
                Err(file.problem(Some(key), reason))
            }
            None => Ok(()),
        }
    }

    fn feed(&self, source: Arc<Source>, feed: &Feed, version: Option<String>) -> Option<Feeder> {
        let polling = self.polling.as_ref()?;
        let (stop, stopped) = watch::channel(false);
        let (ingest, investigations) = (polling.ingest.clone(), polling.investigations.clone());
        let spawn = |task| polling.tasks.spawn_on(task, &polling.runtime);
        let task: Pin<Box<dyn Future<Output = ()> + Send>> = match feed {
            Feed::Poll { interval_ms } => {
                let interval = Duration::from_millis(*interval_ms);
                Box::pin(poll::run(source, interval, ingest, investigations, stopped))
            }
            _ => Box::pin(live::run(source, ingest, investigations, stopped)),
        };
        Some(Feeder { task: spawn(task), version, _stop: stop })
    }

    fn publish(&self) {
        let bound = || self.entries.values().filter_map(|entry| Some((entry, entry.bound.as_ref().ok()?)));
        let route = |(entry, bound): (&Entry, &Bound)| match &bound.feed {
            Feed::Webhook { path } => {
                let route = Route { source: bound.source.clone(), auth: entry.file.auth.clone() };
                Some((path.clone(), Arc::new(route)))
            }
            Feed::Poll { .. } | Feed::Subscription { .. } | Feed::Live => None,
        };
        let sources = bound().map(|(_, bound)| bound.source.clone()).collect();
        self.in_service.store(Arc::new(InService { routes: bound().filter_map(route).collect(), sources }));
    }

    /// By file.
    pub fn statuses(&self) -> Vec<SourceStatus> {
        let sources = self.entries.values().map(|entry| SourceStatus {
            name: entry.file.name.clone(),
            kind: entry.file.kind.clone(),
            file: entry.file.file.clone(),
            outcome: entry.bound.as_ref().map(|bound| bound.feed.clone()).map_err(Clone::clone),
        });
        // Its name may be what is wrong, so the file's stands for it.
        let broken = self.broken.values().map(|problem| SourceStatus {
            name: problem.file.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
            kind: "-".into(),
            file: problem.file.clone(),
            outcome: Err(problem.clone()),
        });
        let mut statuses: Vec<SourceStatus> = sources.chain(broken).collect();
        statuses.sort_by(|a, b| a.file.cmp(&b.file));
        statuses
    }

    /// The binding of a source, by name.
    pub fn binding(&self, name: &str) -> Option<Binding> {
        let entry = self.entries.values().find(|entry| entry.file.name == name)?;
        Some(entry.bound.as_ref().ok()?.binding.clone())
    }

    /// The names of those that are to be told what they read before they were bound; each once.
    pub fn to_be_reminded(&self) -> Vec<String> {
        let bound =
            |entry: &&Entry| entry.bound.as_ref().is_ok_and(|bound| bound.binding.is_to_be_reminded());
        self.entries.values().filter(bound).map(|entry| entry.file.name.clone()).collect()
    }

    /// Says what became of each source that `before` didn't say already: nothing is left out in silence.
    pub fn announce(&self, before: &[SourceStatus]) {
        let known = |status: &SourceStatus| {
            before.iter().any(|other| other.file == status.file && other.outcome == status.outcome)
        };
        let now = self.statuses();
        for status in now.iter().filter(|status| !known(status)) {
            match &status.outcome {
                Ok(feed) => {
                    tracing::info!(source = %status.name, plugin = %status.kind, "source listens: {feed}");
                }
                Err(problem) => tracing::error!("source disabled: {problem}"),
            }
        }
        let same = !before.is_empty() && now.len() == before.len() && now.iter().all(known);
        if !same && self.entries.values().all(|entry| entry.bound.is_err()) {
            tracing::warn!("no source is enabled, so no alert can arrive; see `watchkeeper check`");
        }
    }
}

/// The file's plugin, configured with its keys.
pub fn bind(file: &SourceFile, registry: &Registry) -> Result<Binding, Problem> {
    bind_as(file, file.spec(), registry)
}

/// As [`bind`], with other surroundings than the file's.
pub fn bind_as(file: &SourceFile, spec: SourceSpec, registry: &Registry) -> Result<Binding, Problem> {
    registry.bind(&file.kind, spec).map_err(|error| match error {
        BindError::InvalidConfig { key, reason } => file.problem(key.as_deref(), reason),
        BindError::Failed(reason) => file.problem(None, reason),
    })
}

/// What this host can feed.
pub fn check_feed(feed: &Feed) -> Result<(), String> {
    match feed {
        Feed::Webhook { path } => check_path(path),
        Feed::Poll { .. } | Feed::Live => Ok(()),
        Feed::Subscription { transport, .. } => {
            Err(format!("wants the transport `{transport}`, which this version doesn't have"))
        }
    }
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

/// What tells two states of the sources' folder apart without reading its files: of each, which it is, its size, and when it and
/// its rights changed.
pub type Look = Vec<(PathBuf, Option<[i64; 6]>)>;

pub fn look(folder: &Path) -> Look {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut files: Vec<_> = entries
        .flatten()
        .map(|entry| {
            // Through links, as Kubernetes lays them.
            let look = std::fs::metadata(entry.path()).ok().map(|meta| {
                let times = [meta.mtime(), meta.mtime_nsec(), meta.ctime(), meta.ctime_nsec()];
                let [mtime, mtime_nsec, ctime, ctime_nsec] = times;
                [meta.ino() as i64, meta.size() as i64, mtime, mtime_nsec, ctime, ctime_nsec]
            });
            (entry.path(), look)
        })
        .collect();
    files.sort();
    files
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
