//! How soon compiled plugins are ready: many, and one large one. What is measured begins with a new engine, as a start does,
//! and ends with plugins that were instantiated once.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use extism::Plugin as TheirPlugin;
use tempfile::TempDir;
use watchkeeper_wasm::{Entry, Plugin, Registry, Runtime};

use crate::payload;
use crate::rounds::{median, median_ratio};
use crate::theirs::{self, Limits};

const TIMES: usize = 11;

/// Each host's compiled code, on disk.
struct Caches {
    folder: TempDir,
}

impl Caches {
    fn new() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let theirs = folder.path().join("theirs");
        fs::write(folder.path().join("cache.toml"), format!("[cache]\ndirectory = {theirs:?}\n"))?;
        Ok(Self { folder })
    }

    fn ours(&self) -> Result<Runtime> {
        Runtime::new(Some(self.folder.path().join("ours"))).map_err(|error| anyhow!(error))
    }

    fn theirs(&self) -> PathBuf {
        self.folder.path().join("cache.toml")
    }
}

pub fn folders(guests: &Path, plugins: &Path) -> Result<()> {
    let (caches, body) = (Caches::new()?, payload::body(1));
    let files: Vec<PathBuf> = fs::read_dir(guests)?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    let ours = || -> Result<Duration> {
        let started = Instant::now();
        let registry = Registry::load(&caches.ours()?, plugins)?;
        let took = started.elapsed();
        let loaded = registry.entries().iter().filter(|entry| matches!(entry, Entry::Loaded(_))).count();
        ensure!(loaded == files.len(), "{loaded} plugins were loaded of {}", files.len());
        Ok(took)
    };
    let theirs = || -> Result<Duration> {
        let started = Instant::now();
        let plugins = load_all(&files, &caches.theirs(), &body)?;
        let took = started.elapsed();
        ensure!(plugins.len() == files.len(), "{} plugins were loaded", plugins.len());
        Ok(took)
    };
    compare(&format!("{} compiled plugins", files.len()), ours, theirs)
}

pub fn files(guest: &Path, plugin: &Path) -> Result<()> {
    let (caches, body) = (Caches::new()?, payload::body(1));
    // Of one file, an engine isn't part.
    let runtime = caches.ours()?;
    let ours = || -> Result<Duration> {
        let started = Instant::now();
        let loaded = Plugin::load(&runtime, plugin)?;
        let took = started.elapsed();
        drop(loaded);
        Ok(took)
    };
    let theirs = || -> Result<Duration> {
        let started = Instant::now();
        let loaded = load(guest, &caches.theirs(), &body)?;
        let took = started.elapsed();
        drop(loaded);
        Ok(took)
    };
    let size = |file: &Path| fs::metadata(file).map(|meta| meta.len() as f64 / 1e6);
    compare(&format!("one of {:.1} MB (Extism's: {:.1} MB)", size(plugin)?, size(guest)?), ours, theirs)
}

fn load(file: &Path, cache: &Path, body: &[u8]) -> Result<TheirPlugin> {
    let mut plugin = TheirPlugin::new_from_compiled(&theirs::compile(file, Limits::Ours, Some(cache))?)?;
    // It is instantiated by its first call.
    theirs::parse(&mut plugin, body)?;
    Ok(plugin)
}

/// On as many threads as our host uses.
fn load_all(files: &[PathBuf], cache: &Path, body: &[u8]) -> Result<Vec<TheirPlugin>> {
    let next = AtomicUsize::new(0);
    let work = || -> Result<Vec<TheirPlugin>> {
        let mut loaded = Vec::new();
        while let Some(file) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
            loaded.push(load(file, cache, body)?);
        }
        Ok(loaded)
    };
    std::thread::scope(|scope| {
        let threads = std::thread::available_parallelism().map_or(2, usize::from);
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let mut loaded = Vec::new();
        for worker in workers {
            loaded.extend(worker.join().map_err(|_| anyhow!("a thread panicked"))??);
        }
        Ok(loaded)
    })
}

fn compare(
    what: &str,
    mut ours: impl FnMut() -> Result<Duration>,
    mut theirs: impl FnMut() -> Result<Duration>,
) -> Result<()> {
    ours().context("Watchkeeper, cold")?;
    theirs().context("Extism, cold")?;
    // wasmtime's cache writes in the background.
    std::thread::sleep(Duration::from_secs(3));
    let (mut of_ours, mut of_theirs) = (Vec::new(), Vec::new());
    for _ in 0..TIMES {
        of_ours.push(ours()?.as_secs_f64());
        of_theirs.push(theirs()?.as_secs_f64());
    }
    println!(
        "{what}: Watchkeeper {:.1} ms, Extism {:.1} ms, ratio {:.2} (medians of {TIMES}, in turns)",
        median(&of_ours) * 1e3,
        median(&of_theirs) * 1e3,
        median_ratio(&of_theirs, &of_ours),
    );
    Ok(())
}
