//! How soon compiled plugins are ready: all of a folder, and a large one. `cargo xtask bench plugins` makes both, and says
//! where they lie: `load FOLDER FILE`.
//!
//! Compiled code is on disk, as it is at every start but the first.

use std::path::Path;
use std::time::{Duration, Instant};

use watchkeeper_wasm::{Entry, Plugin, Registry, Runtime};

const TIMES: usize = 21;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    let [folder, file] = &words[..] else {
        println!("usage: load FOLDER FILE; `cargo xtask bench plugins` calls it");
        return;
    };
    let cache = std::env::temp_dir().join(format!("watchkeeper-bench-load-{}", std::process::id()));
    let runtime = || Runtime::new(Some(cache.clone())).expect("an engine");
    of_folder(runtime, Path::new(folder));
    of_file(&runtime(), &cache, Path::new(file));
    std::fs::remove_dir_all(&cache).expect("the cache is this process's own");
}

/// Until [`Registry::load`] returns, the making of the engine included.
fn of_folder(runtime: impl Fn() -> Runtime, folder: &Path) {
    let load = || {
        let started = Instant::now();
        let registry = Registry::load(&runtime(), folder).expect("the folder is there");
        let took = started.elapsed();
        let entries = registry.entries();
        for entry in &entries {
            assert!(matches!(entry, Entry::Loaded(_)), "{entry:?}");
        }
        (took, entries.len())
    };
    let (cold, plugins) = load();
    println!("{plugins} plugins, compiled first: {cold:.1?}");
    say(&format!("{plugins} compiled plugins"), (0..TIMES).map(|_| load().0).collect());
}

fn of_file(runtime: &Runtime, cache: &Path, file: &Path) {
    let before = size_of(cache);
    let load = || {
        let started = Instant::now();
        let plugin = Plugin::load(runtime, file).expect("a plugin");
        (started.elapsed(), plugin.from_cache)
    };
    let (cold, _) = load();
    let mb = |bytes: u64| bytes as f64 / 1e6;
    let (size, code) = (std::fs::metadata(file).expect("a file").len(), size_of(cache) - before);
    println!("one plugin of {:.1} MB, compiled first to {:.1} MB of code: {cold:.1?}", mb(size), mb(code));
    let load = || {
        let (took, from_cache) = load();
        assert!(from_cache);
        took
    };
    say("one compiled plugin", (0..TIMES).map(|_| load()).collect());
}

fn size_of(folder: &Path) -> u64 {
    let files = std::fs::read_dir(folder).expect("the cache is there");
    files.map(|file| file.and_then(|file| file.metadata()).expect("a file").len()).sum()
}

fn say(what: &str, mut times: Vec<Duration>) {
    times.sort();
    let last = times.len() - 1;
    println!(
        "{what}, {TIMES} times: {:.1?} / {:.1?} / {:.1?} (least / middle / most)",
        times[0],
        times[last / 2],
        times[last]
    );
}
