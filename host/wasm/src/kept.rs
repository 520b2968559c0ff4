//! What outlives a restart: the good versions of each plugin, the versions that were rolled back, and the record.
//!
//! Lies in the host's data folder, written by the host alone: `state.json`, and a copy of each good version beside it.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};

use serde::{Deserialize, Serialize};

use crate::asks::Asks;
use crate::file;
use crate::loader::{Candidate, Refusal};
use crate::record::{Attempt, MAX_ATTEMPTS};
use crate::trust;

/// Good versions that are kept of one plugin: the one in service and those it can be rolled back to.
const GOOD: usize = 3;

/// Versions that are remembered as bad, of one plugin.
const REJECTED: usize = 20;

const STATE: &str = "state.json";

/// Names of files that were refused and never served, whose record is kept.
const NAMES: usize = 256;

#[derive(Default, Serialize, Deserialize)]
struct State {
    plugins: BTreeMap<String, PluginState>,
}

#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct PluginState {
    /// Versions, the last the latest.
    pub(crate) good: Vec<String>,
    /// Versions, with why.
    pub(crate) rejected: Vec<(String, String)>,
    /// Versions that may ask for more than the one before them.
    pub(crate) granted: Vec<String>,
    /// What the version that served last asks for. It outlives its file: who comes next under this name asks for no more unasked.
    pub(crate) asked: Option<Asks>,
    /// Versions that may turn out to be good: one on trial, one that is looked at.
    pub(crate) trying: Vec<String>,
    pub(crate) attempts: Vec<Attempt>,
}

impl PluginState {
    pub(crate) fn rejected(&self, version: &str) -> Option<&str> {
        self.rejected.iter().find(|(rejected, _)| rejected == version).map(|(_, why)| why.as_str())
    }

    /// It isn't needed any more, or is known to be good.
    pub(crate) fn end_trial(&mut self, version: &str) {
        self.trying.retain(|trying| trying != version);
    }

    pub(crate) fn reject(&mut self, version: &str, why: &str) {
        self.end_trial(version);
        self.good.retain(|good| good != version);
        self.rejected.retain(|(rejected, _)| rejected != version);
        self.rejected.push((version.to_owned(), why.to_owned()));
        let over = self.rejected.len().saturating_sub(REJECTED);
        self.rejected.drain(..over);
    }

    /// Unless somebody rejected it meanwhile.
    pub(crate) fn prove(&mut self, version: &str) {
        self.end_trial(version);
        if self.rejected(version).is_some() {
            return;
        }
        self.good.retain(|good| good != version);
        self.good.push(version.to_owned());
        let over = self.good.len().saturating_sub(GOOD);
        self.good.drain(..over);
    }

    pub(crate) fn note(&mut self, attempt: Attempt) {
        self.attempts.push(attempt);
        let over = self.attempts.len().saturating_sub(MAX_ATTEMPTS);
        self.attempts.drain(..over);
    }

    /// It serves no more: there is nothing to go back to.
    pub(crate) fn forget_versions(&mut self) {
        self.good.clear();
        self.trying.clear();
    }

    fn is_record_alone(&self) -> bool {
        self.good.is_empty()
            && self.rejected.is_empty()
            && self.granted.is_empty()
            && self.asked.is_none()
            && self.trying.is_empty()
    }
}

impl State {
    /// Forgets those that were refused longest ago: who makes files of ever new names fills no disk.
    fn forget_names(&mut self) {
        let idle = self.plugins.iter().filter(|(_, plugin)| plugin.is_record_alone());
        let mut idle: Vec<_> =
            idle.map(|(name, plugin)| (plugin.attempts.last().map(|last| last.at), name.clone())).collect();
        idle.sort();
        for (_, name) in &idle[..idle.len().saturating_sub(NAMES)] {
            self.plugins.remove(name);
        }
    }

    /// The copies that may be wanted.
    fn needed(&self) -> Vec<String> {
        let versions = self.plugins.values().flat_map(|plugin| plugin.good.iter().chain(&plugin.trying));
        versions.map(|version| file_name(version)).collect()
    }
}

/// In memory alone where there is no folder.
pub(crate) struct Kept {
    folder: Option<PathBuf>,
    /// Nothing is written: another process may, or nothing is to change.
    pub(crate) only_looks: bool,
    /// Held while the folder is written, which whoever wants to know the state needn't wait for.
    writing: Mutex<()>,
    state: Mutex<State>,
}

impl Kept {
    /// What the folder holds. A state that can't be read is said, put aside, and begun anew.
    pub(crate) fn open(folder: Option<&Path>) -> Self {
        let state = folder.and_then(|folder| {
            let file = folder.join(STATE);
            read(&file).unwrap_or_else(|error| {
                let aside = file.with_extension("json.damaged");
                let put_aside = fs::rename(&file, &aside).is_ok();
                tracing::error!(
                    file = %file.display(), %error, aside = %aside.display(), put_aside,
                    "the plugins' record can't be read, and begins anew: which versions were rolled back or granted isn't known any more"
                );
                None
            })
        });
        Self::with(folder, false, state)
    }

    /// As [`Kept::open`], and never writes.
    pub(crate) fn look(folder: &Path) -> Self {
        let state = read(&folder.join(STATE)).unwrap_or_else(|error| {
            tracing::error!(folder = %folder.display(), %error, "the plugins' record can't be read");
            None
        });
        Self::with(Some(folder), true, state)
    }

    fn with(folder: Option<&Path>, only_looks: bool, state: Option<State>) -> Self {
        let state = Mutex::new(state.unwrap_or_default());
        Self { folder: folder.map(Path::to_owned), only_looks, writing: Mutex::new(()), state }
    }

    pub(crate) fn of(&self, plugin: &str) -> PluginState {
        self.lock().plugins.get(plugin).cloned().unwrap_or_default()
    }

    pub(crate) fn all(&self) -> Vec<(String, PluginState)> {
        self.lock().plugins.iter().map(|(name, state)| (name.clone(), state.clone())).collect()
    }

    /// The good versions of all plugins.
    pub(crate) fn good(&self) -> Vec<String> {
        self.lock().plugins.values().flat_map(|plugin| plugin.good.iter().cloned()).collect()
    }

    /// On disk before this returns, whatever becomes of the machine's power; failing to is said, and costs no more than the memory
    /// of it at the next start.
    pub(crate) fn change(&self, plugin: &str, change: impl FnOnce(&mut PluginState)) {
        let _writing = self.writing();
        let mut state = self.lock();
        change(state.plugins.entry(plugin.to_owned()).or_default());
        state.forget_names();
        let (json, needed) = (serde_json::to_vec(&*state), state.needed());
        drop(state);
        let Some(folder) = self.written() else { return };
        let file = folder.join(STATE);
        if let Err(error) = json.map_err(io::Error::other).and_then(|json| write_durably(&file, &json)) {
            tracing::error!(file = %file.display(), %error, "the plugins' record can't be kept; the next start won't know it");
        }
        remove_unneeded(folder, &needed);
    }

    /// Keeps a copy of what may turn out to be a good version.
    pub(crate) fn save(&self, candidate: &Candidate) {
        let _writing = self.writing();
        let version = &candidate.version;
        let mut state = self.lock();
        let plugin = state.plugins.entry(candidate.name.clone()).or_default();
        plugin.end_trial(version);
        plugin.trying.push(version.clone());
        drop(state);
        let Some(folder) = self.written() else { return };
        let file = folder.join(file_name(version));
        let saved = write_durably(&file, candidate.bytes()).and_then(|()| match candidate.sidecar() {
            Some(text) => write_durably(&file.with_extension("yaml"), text.as_bytes()),
            None => Ok(()),
        });
        // A copy is let in by the same rules as the file that it is of.
        let signature = file::read(&trust::signature_file(&candidate.path), trust::MAX_SIGNATURE);
        let saved = saved.and_then(|()| match signature {
            Ok(signature) => write_durably(&trust::signature_file(&file), &signature),
            Err(_) => Ok(()),
        });
        if let Err(error) = saved {
            tracing::error!(file = %file.display(), %error, "a plugin's version can't be kept; it can't be rolled back to after a restart");
        }
    }

    pub(crate) fn has_copy(&self, version: &str) -> bool {
        self.written().is_none_or(|folder| folder.join(file_name(version)).exists())
    }

    /// The copy of a version, as if it lay at `path`.
    pub(crate) fn copy(&self, version: &str, path: &Path) -> Result<Candidate, Refusal> {
        let refuse = |reason: String| {
            let remedy = "put its file into the plugins' folder";
            Refusal { path: path.to_owned(), reason: format!("version {version}: {reason}; {remedy}") }
        };
        let folder = self.folder.as_ref().ok_or_else(|| refuse("no copy is kept of it".into()))?;
        let file = folder.join(file_name(version));
        let bytes = fs::read(&file)
            .map_err(|error| refuse(format!("its copy {} can't be read: {error}", file.display())))?;
        let sidecar = fs::read_to_string(file.with_extension("yaml")).ok();
        let candidate = Candidate::of(path, &file, bytes, sidecar)?;
        match candidate.version == version {
            true => Ok(candidate),
            false => Err(refuse(format!("its copy {} is damaged", file.display()))),
        }
    }

    /// Where to write, if anywhere.
    fn written(&self) -> Option<&Path> {
        self.folder.as_deref().filter(|_| !self.only_looks)
    }

    fn writing(&self) -> MutexGuard<'_, ()> {
        self.writing.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// None if there is none yet.
fn read(file: &Path) -> io::Result<Option<State>> {
    match fs::read(file) {
        Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Copies of versions that are neither good nor on trial any more, and what was left of one by a process that was killed.
fn remove_unneeded(folder: &Path, needed: &[String]) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let stem = name.split_once('.').map_or(name.as_str(), |(stem, _)| stem);
        let is_copy = [".wasm", ".yaml", ".minisig"].iter().any(|end| name.ends_with(end));
        let unneeded = is_copy && !needed.contains(&format!("{stem}.wasm"));
        if unneeded || name.ends_with(".part") {
            let _ = fs::remove_file(entry.path());
        }
    }
}

fn file_name(version: &str) -> String {
    format!("{}.wasm", version.replace(':', "-"))
}

/// Written beside and renamed, readable by this user alone. A crash of the machine may take it back, or half of it.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    replace(path, bytes, |_| Ok(()))
}

/// As [`write`]; once this returns, no crash takes it back.
fn write_durably(path: &Path, bytes: &[u8]) -> io::Result<()> {
    replace(path, bytes, fs::File::sync_all)?;
    path.parent().map_or(Ok(()), |folder| fs::File::open(folder)?.sync_all())
}

fn replace(path: &Path, bytes: &[u8], sync: impl Fn(&fs::File) -> io::Result<()>) -> io::Result<()> {
    /// Two threads may write one file.
    static WRITTEN: AtomicU64 = AtomicU64::new(0);
    if let Some(folder) = path.parent() {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    let number = WRITTEN.fetch_add(1, Ordering::Relaxed);
    let beside = path.with_extension(format!("{}-{number}.part", std::process::id()));
    let mut options = fs::OpenOptions::new();
    let written = options.write(true).create(true).truncate(true).mode(0o600).open(&beside);
    let written = written.and_then(|mut file| {
        file.write_all(bytes)?;
        sync(&file)
    });
    // What is left on a disk that is full would keep it so.
    written.and_then(|()| fs::rename(&beside, path)).inspect_err(|_| {
        let _ = fs::remove_file(&beside);
    })
}
