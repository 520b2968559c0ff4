//! Compiled code on disk: mapped at the next start instead of compiled again.
//!
//! The only module of the host with unsafe code. Loading machine code is as unsafe as running it: whoever can write these
//! files can run code as this process. So they lie in the host's own data folder, created for its user alone; each is
//! named by the digest of the component it came from and of the engine that made it; and each is mapped only while its
//! own digest is what was noted when it was written, which finds what disks and copies do to files.
//!
//! What serves, or may be rolled back to, stays; of the rest, what was used last.

#![allow(unsafe_code)]

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use sha2::{Digest, Sha256};
use wasmtime::Engine;
use wasmtime::component::Component;

use crate::kept;

/// How long, and of how many components, code is kept that nothing needs: a plugin that comes back is there at once.
const UNUSED: Duration = Duration::from_secs(30 * 24 * 60 * 60);
const MOST_UNUSED: usize = 64;
const MOST_UNUSED_BYTES: u64 = 512 << 20;

/// For how long a component isn't compiled again that took more than it may: another machine, or a lighter load, may be quicker.
const REFUSED: Duration = Duration::from_secs(24 * 60 * 60);

/// Bytes of the sentence that says so.
const MAX_REASON: u64 = 1024;

/// How exactly it is known when code was used last: to a day, so that a start hardly ever writes.
const EXACT: Duration = Duration::from_secs(24 * 60 * 60);

/// How code is made of a component besides; what was made otherwise isn't used.
const MADE: &str = "without names";

pub(crate) fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The code of the component with this digest, if it is kept and unharmed; and what an instance of it weighs.
pub(crate) fn load(engine: &Engine, cache: &Path, component: &str) -> Option<(Component, usize)> {
    let path = file(engine, cache, component);
    let noted = fs::read_to_string(noted(&path)).ok()?;
    let (noted, weight) = noted.split_once(' ')?;
    let weight = weight.parse().ok()?;
    let code = fs::read(&path).ok()?;
    if digest(&code) != noted {
        tracing::warn!(file = %path.display(), "compiled code is damaged; compiling again");
        return None;
    }
    // SAFETY: the file was written by `keep`, from an engine with the same compatibility hash (it is in the name), into
    // a folder that only this user can write, and it is what was written (the digest was checked just now).
    let component = unsafe { Component::deserialize_file(engine, &path) };
    component
        .inspect(|_| mark_as_used(&path))
        .inspect_err(|error| tracing::warn!(file = %path.display(), %error, "compiled code is not used"))
        .ok()
        .map(|component| (component, weight))
}

/// Removes what isn't one of the `needed` and was used too long ago, or before too many others.
pub(crate) fn prune(cache: &Path, needed: &BTreeSet<PathBuf>) {
    let Ok(entries) = fs::read_dir(cache) else { return };
    let now = SystemTime::now();
    let mut unused: Vec<(Duration, PathBuf)> = entries
        .flatten()
        .map(|entry| entry.path())
        // The code, why there is none, or what a process left that was killed while it wrote.
        .filter(|path| path.extension().is_some_and(|extension| extension != "sha256"))
        .filter(|path| !needed.contains(path))
        .filter_map(|path| Some((now.duration_since(used(&path)?).unwrap_or_default(), path)))
        .collect();
    unused.sort();
    let mut bytes = 0;
    let gone = unused.iter().enumerate().filter(|(rank, (age, path))| {
        bytes += fs::metadata(path).map_or(0, |meta| meta.len());
        *rank >= MOST_UNUSED || *age > UNUSED || bytes > MOST_UNUSED_BYTES
    });
    let mut removed = 0;
    for (_, (_, path)) in gone {
        // One that is mapped somewhere stays there; what can't be removed is tried again.
        removed += u32::from(fs::remove_file(path).is_ok());
        let _ = fs::remove_file(noted(path));
    }
    if removed > 0 {
        tracing::info!(folder = %cache.display(), removed, "compiled code that nothing needs is removed");
    }
}

fn used(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).and_then(|meta| meta.modified()).ok()
}

fn mark_as_used(path: &Path) {
    let now = SystemTime::now();
    let known = used(path).is_some_and(|used| now.duration_since(used).is_ok_and(|age| age < EXACT));
    if !known {
        // Where this fails, it is compiled once more some day.
        let _ = File::options().append(true).open(path).and_then(|file| file.set_modified(now));
    }
}

/// What was compiled just now, by this process or the compiler's.
pub(crate) fn made(engine: &Engine, code: &[u8]) -> Result<Component, String> {
    // SAFETY: it was made by this very program, from an engine of the same configuration, and went through nothing but a pipe.
    let component = unsafe { Component::deserialize(engine, code) };
    component.map_err(|error| format!("can't be loaded: {error:#}"))
}

/// Keeps the code for the next start. Failing to is no more than a slower start.
pub(crate) fn keep(engine: &Engine, cache: &Path, component: &str, code: &[u8], weight: usize) {
    let path = file(engine, cache, component);
    let note = format!("{} {weight}", digest(code));
    // Written beside and renamed, so that nobody ever maps half a file, nor has one changed under the map.
    let kept = kept::write(&path, code).and_then(|()| kept::write(&noted(&path), note.as_bytes()));
    if let Err(error) = kept {
        tracing::warn!(file = %path.display(), %error, "compiled code can't be kept; the next start compiles again");
    }
}

/// Why the component with this digest took too much to compile, if that was lately.
pub(crate) fn refused(engine: &Engine, cache: &Path, component: &str) -> Option<String> {
    let path = refusal(&file(engine, cache, component));
    let age = SystemTime::now().duration_since(used(&path)?).ok()?;
    let why = crate::file::read_text(&path, MAX_REASON).ok().filter(|_| age < REFUSED)?;
    let minutes = age.as_secs() / 60;
    Some(format!("{why} (found {minutes} minutes ago; tried again a day after that)"))
}

/// Others' plugins wait while one is compiled: so that it isn't, at each start, for nothing.
pub(crate) fn refuse(engine: &Engine, cache: &Path, component: &str, why: &str) {
    let path = refusal(&file(engine, cache, component));
    if let Err(error) = kept::write(&path, why.as_bytes()) {
        tracing::warn!(file = %path.display(), %error, "what can't be compiled can't be noted; the next start tries again");
    }
}

/// Where the code of the component with this digest is.
pub(crate) fn file(engine: &Engine, cache: &Path, component: &str) -> PathBuf {
    let mut hasher = DefaultHasher::new();
    engine.precompile_compatibility_hash().hash(&mut hasher);
    MADE.hash(&mut hasher);
    cache.join(format!("{component}-{:016x}.cwasm", hasher.finish()))
}

fn noted(path: &Path) -> PathBuf {
    path.with_extension("sha256")
}

fn refusal(path: &Path) -> PathBuf {
    path.with_extension("refused")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_nothing_needs_goes_by_number_by_age_and_by_size_whatever_the_clock_says() {
        let hours = |hours: u64| Duration::from_secs(hours * 60 * 60);
        let folder = tempfile::tempdir().unwrap();
        let code = |name: &str| folder.path().join(format!("{name}.cwasm"));
        let write = |name: &str, bytes: u64, changed: SystemTime| {
            fs::write(noted(&code(name)), "").unwrap();
            let file = File::create(code(name)).unwrap();
            // Without taking room.
            file.set_len(bytes).unwrap();
            file.set_modified(changed).unwrap();
        };
        let now = SystemTime::now();
        // As after the clock was set back by a day, and as from before it was set forward by forty.
        write("future", 1, now + hours(24));
        write("needed", 1, now - hours(40 * 24));
        write("old", 1, now - hours(40 * 24));
        write("recent", 300 << 20, now - hours(1));
        write("large", 300 << 20, now - hours(2));
        prune(folder.path(), &BTreeSet::from([code("needed")]));
        let left = |name: &str| (code(name).exists(), noted(&code(name)).exists());
        for (name, stays) in
            [("future", true), ("needed", true), ("old", false), ("recent", true), ("large", false)]
        {
            assert_eq!(left(name), (stays, stays), "{name}");
        }
        for number in 0..100 {
            write(&format!("n{number}"), 1, now - hours(3));
        }
        prune(folder.path(), &BTreeSet::from([code("needed")]));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2 * (MOST_UNUSED + 1));
    }
}
