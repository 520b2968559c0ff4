//! All plugins of a folder: what is loaded, what was refused and why.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;
use watchkeeper_domain::plugin::{Feed, Payload, ReadError, Reader, Reading};

use crate::engine::Runtime;
use crate::limits::Limits;
use crate::loader::{Interface, Plugin, Refusal};
use crate::pool::Pool;
use crate::reader::{self, BindError, PluginReader, SourceSpec};

/// What became of a file.
#[derive(Clone, Debug)]
pub enum Entry {
    Loaded(Arc<Plugin>),
    Refused(Refusal),
}

/// One pointer holds everything that is loaded, so that a reader sees one state of the folder.
struct State {
    entries: Vec<Entry>,
    /// Those that write prompts, by name, with their instances.
    prompt_builders: BTreeMap<String, Pool>,
}

pub struct Registry {
    state: ArcSwap<State>,
}

/// A source bound to its plugin.
#[derive(Clone)]
pub struct Binding {
    pub feed: Feed,
    reader: Arc<PluginReader>,
}

impl Binding {
    pub fn reader(&self) -> Arc<dyn Reader> {
        self.reader.clone()
    }

    /// Reads on this thread: for tests of a plugin, and for benches.
    pub fn read_here(&self, payload: &Payload) -> Result<Reading, ReadError> {
        self.reader.read_here(payload)
    }
}

impl Registry {
    /// Loads every `*.wasm` of the folder, as many at once as there are cores. A file that is refused stops no other.
    pub fn load(runtime: &Runtime, folder: &Path) -> std::io::Result<Self> {
        let mut files: Vec<PathBuf> = std::fs::read_dir(folder)?
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.extension().is_some_and(|extension| extension == "wasm"))
            .collect();
        files.sort();
        Ok(Self::of(load_all(runtime, &files)))
    }

    /// Of one file alone, for `plugin test` and `plugin inspect`.
    pub fn of_file(runtime: &Runtime, file: &Path) -> Result<Self, Refusal> {
        let plugin = Plugin::load(runtime, file)?;
        Ok(Self::of(vec![Entry::Loaded(Arc::new(plugin))]))
    }

    fn of(entries: Vec<Entry>) -> Self {
        let pool = |plugin: &Arc<Plugin>| (plugin.name.clone(), Pool::new(plugin.clone(), Limits::default()));
        let prompt_builders =
            loaded(&entries).filter(|plugin| plugin.has(Interface::PromptBuilder)).map(pool).collect();
        Self { state: ArcSwap::from_pointee(State { entries, prompt_builders }) }
    }

    /// By file name.
    pub fn entries(&self) -> Vec<Entry> {
        self.state.load().entries.clone()
    }

    /// Configures the plugin named `kind` for a source. An error lists the plugins that there are.
    pub fn bind(&self, kind: &str, spec: SourceSpec) -> Result<Binding, BindError> {
        let state = self.state.load();
        let plugin = loaded(&state.entries).find(|plugin| plugin.name == kind).cloned();
        let plugin = plugin.ok_or_else(|| no_such_plugin(&state.entries, kind))?;
        let (feed, reader) = reader::bind(plugin, spec)?;
        Ok(Binding { feed, reader })
    }

    pub(crate) fn prompt_builders(&self) -> Vec<Pool> {
        self.state.load().prompt_builders.values().cloned().collect()
    }

    pub(crate) fn prompt_builder(&self, name: &str) -> Option<Pool> {
        self.state.load().prompt_builders.get(name).cloned()
    }
}

fn loaded(entries: &[Entry]) -> impl Iterator<Item = &Arc<Plugin>> {
    entries.iter().filter_map(|entry| match entry {
        Entry::Loaded(plugin) => Some(plugin),
        Entry::Refused(_) => None,
    })
}

fn no_such_plugin(entries: &[Entry], kind: &str) -> BindError {
    let refused = entries.iter().find_map(|entry| match entry {
        Entry::Refused(refusal) if refusal.path.file_stem().is_some_and(|stem| stem == kind) => Some(refusal),
        _ => None,
    });
    let reason = match refused {
        Some(refusal) => format!("its plugin was refused: {refusal}"),
        None => {
            let sources = loaded(entries).filter(|plugin| plugin.has(Interface::Source));
            let names: Vec<_> = sources.map(|plugin| plugin.name.as_str()).collect();
            let names = if names.is_empty() { "none".into() } else { names.join(", ") };
            format!("there is no plugin `{kind}`; sources that are loaded: {names}")
        }
    };
    BindError::InvalidConfig { key: Some("type".into()), reason }
}

/// In the order of `files`.
fn load_all(runtime: &Runtime, files: &[PathBuf]) -> Vec<Entry> {
    let next = AtomicUsize::new(0);
    let loaded = Mutex::new(Vec::with_capacity(files.len()));
    let work = || {
        while let Some(file) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
            let entry = match Plugin::load(runtime, file) {
                Ok(plugin) => Entry::Loaded(Arc::new(plugin)),
                Err(refusal) => Entry::Refused(refusal),
            };
            loaded.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push((file, entry));
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
    loaded.sort_by_key(|(file, _)| *file);
    loaded.into_iter().map(|(_, entry)| entry).collect()
}
