//! Compiled code on disk: mapped at the next start instead of compiled again.
//!
//! The only module of the host with unsafe code. Loading machine code is as unsafe as running it: whoever can write these
//! files can run code as this process. So they lie in the host's own data folder, created for its user alone; each is
//! named by the digest of the component it came from and of the engine that made it; and each is mapped only while its
//! own digest is what was noted when it was written, which finds what disks and copies do to files.

#![allow(unsafe_code)]

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use wasmtime::Engine;
use wasmtime::component::Component;

use crate::kept;

pub(crate) fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The code of the component with this digest, if it is kept and unharmed.
pub(crate) fn load(engine: &Engine, cache: &Path, component: &str) -> Option<Component> {
    let path = file(engine, cache, component);
    let noted = fs::read_to_string(noted(&path)).ok()?;
    let code = fs::read(&path).ok()?;
    if digest(&code) != noted {
        tracing::warn!(file = %path.display(), "compiled code is damaged; compiling again");
        return None;
    }
    // SAFETY: the file was written by `keep`, from an engine with the same compatibility hash (it is in the name), into
    // a folder that only this user can write, and it is what was written (the digest was checked just now).
    let component = unsafe { Component::deserialize_file(engine, &path) };
    component
        .inspect_err(|error| tracing::warn!(file = %path.display(), %error, "compiled code is not used"))
        .ok()
}

/// Keeps the code for the next start. Failing to is no more than a slower start.
pub(crate) fn keep(engine: &Engine, cache: &Path, component: &str, compiled: &Component) {
    let path = file(engine, cache, component);
    // Written beside and renamed, so that nobody ever maps half a file, nor has one changed under the map.
    let kept = compiled.serialize().map_err(std::io::Error::other).and_then(|code| {
        kept::write(&path, &code)?;
        kept::write(&noted(&path), digest(&code).as_bytes())
    });
    if let Err(error) = kept {
        tracing::warn!(file = %path.display(), %error, "compiled code can't be kept; the next start compiles again");
    }
}

fn file(engine: &Engine, cache: &Path, component: &str) -> PathBuf {
    let mut hasher = DefaultHasher::new();
    engine.precompile_compatibility_hash().hash(&mut hasher);
    cache.join(format!("{component}-{:016x}.cwasm", hasher.finish()))
}

fn noted(path: &Path) -> PathBuf {
    path.with_extension("sha256")
}
