//! What outlives a restart: the good versions of each plugin, the versions that were rolled back, and the record.
//!
//! Lies in the host's data folder, written by the host alone: `state.json`, and a copy of each good version beside it.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use serde::{Deserialize, Serialize};

use crate::loader::{Candidate, Refusal};
use crate::record::{Attempt, MAX_ATTEMPTS};
use crate::trust;

/// Good versions that are kept of one plugin: the one in service and those it can be rolled back to.
const GOOD: usize = 3;

/// Versions that are remembered as bad, of one plugin.
const REJECTED: usize = 20;

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
    pub(crate) attempts: Vec<Attempt>,
}

impl PluginState {
    pub(crate) fn rejected(&self, version: &str) -> Option<&str> {
        self.rejected.iter().find(|(rejected, _)| rejected == version).map(|(_, why)| why.as_str())
    }

    pub(crate) fn reject(&mut self, version: &str, why: &str) {
        self.good.retain(|good| good != version);
        self.rejected.retain(|(rejected, _)| rejected != version);
        self.rejected.push((version.to_owned(), why.to_owned()));
        let over = self.rejected.len().saturating_sub(REJECTED);
        self.rejected.drain(..over);
    }

    pub(crate) fn prove(&mut self, version: &str) {
        self.good.retain(|good| good != version);
        self.good.push(version.to_owned());
        let over = self.good.len().saturating_sub(GOOD);
        self.good.drain(..over);
    }

    fn note(&mut self, attempt: Attempt) {
        self.attempts.push(attempt);
        let over = self.attempts.len().saturating_sub(MAX_ATTEMPTS);
        self.attempts.drain(..over);
    }
}

/// In memory alone where there is no folder.
pub(crate) struct Kept {
    folder: Option<PathBuf>,
    state: Mutex<State>,
}

impl Kept {
    /// What the folder holds. A state that can't be read is said, and begun anew: it holds nothing that serving needs.
    pub(crate) fn open(folder: Option<&Path>) -> Self {
        let state = folder.map(|folder| folder.join("state.json")).and_then(|file| match fs::read(&file) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .inspect_err(|error| {
                    tracing::error!(file = %file.display(), %error, "the plugins' record can't be read; it begins anew");
                })
                .ok(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                tracing::error!(file = %file.display(), %error, "the plugins' record can't be read; it begins anew");
                None
            }
        });
        Self { folder: folder.map(Path::to_owned), state: Mutex::new(state.unwrap_or_default()) }
    }

    pub(crate) fn of(&self, plugin: &str) -> PluginState {
        self.lock().plugins.get(plugin).cloned().unwrap_or_default()
    }

    /// The good versions of all plugins.
    pub(crate) fn good(&self) -> Vec<String> {
        self.lock().plugins.values().flat_map(|plugin| plugin.good.iter().cloned()).collect()
    }

    pub(crate) fn note(&self, plugin: &str, attempt: Attempt) {
        self.change(plugin, |state| state.note(attempt));
    }

    /// Written before this returns; failing to is said, and costs no more than the memory of it at the next start.
    pub(crate) fn change(&self, plugin: &str, change: impl FnOnce(&mut PluginState)) {
        let mut state = self.lock();
        change(state.plugins.entry(plugin.to_owned()).or_default());
        let Some(folder) = &self.folder else { return };
        let file = folder.join("state.json");
        let written =
            serde_json::to_vec(&*state).map_err(io::Error::other).and_then(|json| write(&file, &json));
        if let Err(error) = written {
            tracing::error!(file = %file.display(), %error, "the plugins' record can't be kept; the next start won't know it");
        }
        let needed: Vec<String> =
            state.plugins.values().flat_map(|plugin| plugin.good.iter().map(|g| file_name(g))).collect();
        drop(state);
        self.remove_unneeded(&needed);
    }

    /// Keeps a copy of what is (or may turn out to be) a good version.
    pub(crate) fn save(&self, candidate: &Candidate) {
        let Some(folder) = &self.folder else { return };
        let file = folder.join(file_name(&candidate.version));
        let saved = write(&file, candidate.bytes()).and_then(|()| match candidate.sidecar() {
            Some(text) => write(&file.with_extension("yaml"), text.as_bytes()),
            None => Ok(()),
        });
        // A copy is let in by the same rules as the file that it is of.
        let signature = fs::read(trust::signature_file(&candidate.path));
        let saved = saved.and_then(|()| match signature {
            Ok(signature) => write(&trust::signature_file(&file), &signature),
            Err(_) => Ok(()),
        });
        if let Err(error) = saved {
            tracing::error!(file = %file.display(), %error, "a plugin's version can't be kept; it can't be rolled back to after a restart");
        }
    }

    /// The copy of a version, as if it lay at `path`.
    pub(crate) fn copy(&self, version: &str, path: &Path) -> Result<Candidate, Refusal> {
        let refuse = |reason: String| Refusal { path: path.to_owned(), reason };
        let folder = self.folder.as_ref().ok_or_else(|| refuse("no copy is kept of it".into()))?;
        let file = folder.join(file_name(version));
        let bytes = fs::read(&file).map_err(|error| refuse(format!("its copy can't be read: {error}")))?;
        let sidecar = fs::read_to_string(file.with_extension("yaml")).ok();
        let candidate = Candidate::of(path, &file, bytes, sidecar)?;
        match candidate.version == version {
            true => Ok(candidate),
            false => Err(refuse("its copy is damaged".into())),
        }
    }

    /// Copies of versions that are neither good nor on trial any more. Those on trial are younger than an hour.
    fn remove_unneeded(&self, needed: &[String]) {
        let Some(Ok(entries)) = self.folder.as_ref().map(fs::read_dir) else { return };
        for entry in entries.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let stem = name.split_once('.').map_or(name.as_str(), |(stem, _)| stem);
            let is_copy = [".wasm", ".yaml", ".minisig"].iter().any(|end| name.ends_with(end));
            let old = || {
                let age = entry.metadata().and_then(|meta| meta.modified()).ok()?.elapsed().ok()?;
                Some(age > 2 * crate::service::TRIAL)
            };
            if is_copy && !needed.contains(&format!("{stem}.wasm")) && old() == Some(true) {
                let _ = fs::remove_file(entry.path());
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

fn file_name(version: &str) -> String {
    format!("{}.wasm", version.replace(':', "-"))
}

/// Written beside and renamed, readable by this user alone.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    let beside = path.with_extension(format!("{}.part", std::process::id()));
    let mut file =
        fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
    file.write_all(bytes)?;
    fs::rename(&beside, path)
}
