//! What is to be seen of plugins: which version serves whom, what it may do, and what happened to it.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::asks::Asks;
use crate::record::{Attempt, Failure};
use crate::registry::Registry;
use crate::service::Slot;

/// One plugin. Its shape in JSON is the API's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    pub name: String,
    pub file: PathBuf,
    pub state: State,
    /// What serves; none where nothing does.
    pub version: Option<String>,
    /// What it would be rolled back to.
    pub before: Option<String>,
    /// Why the file, as it is now, doesn't serve.
    pub refused: Option<String>,
    pub interfaces: Vec<String>,
    pub imports: Vec<String>,
    pub asks: Asks,
    /// Bytes.
    pub size: u64,
    pub load_ms: u64,
    pub sources: Vec<SourceStatus>,
    /// Oldest first.
    pub attempts: Vec<Attempt>,
    /// Of calls, oldest first.
    pub failures: Vec<Failure>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    Live,
    /// It serves, and the version before is kept beside it.
    OnTrial,
    /// Nothing serves.
    Refused,
    Quarantined,
}

impl State {
    pub fn as_str(self) -> &'static str {
        match self {
            State::Live => "live",
            State::OnTrial => "on_trial",
            State::Refused => "refused",
            State::Quarantined => "quarantined",
        }
    }
}

/// What one source has of its plugin.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SourceStatus {
    pub name: String,
    pub feed: String,
    /// Its `allow_hosts`.
    pub granted: Vec<String>,
    /// The plugin sees secrets in plain text.
    pub reveals_secrets: bool,
    pub quarantined: Option<Quarantined>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Quarantined {
    /// Until a call is let through.
    pub left_ms: u64,
    pub reason: String,
}

impl Registry {
    /// Every plugin, by name; files that never served among them.
    pub fn statuses(&self) -> Vec<Status> {
        let mut statuses: Vec<Status> = self.slots().iter().filter_map(|slot| self.of_slot(slot)).collect();
        let mut known: BTreeSet<String> = statuses.iter().map(|status| status.name.clone()).collect();
        for refusal in self.refusals() {
            let name = refusal.path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            if !known.insert(name.clone()) {
                continue;
            }
            statuses.push(Status {
                attempts: self.kept().of(&name).attempts,
                name,
                file: refusal.path,
                state: State::Refused,
                version: None,
                before: None,
                refused: Some(refusal.reason),
                interfaces: Vec::new(),
                imports: Vec::new(),
                asks: Asks::default(),
                size: 0,
                load_ms: 0,
                sources: Vec::new(),
                failures: Vec::new(),
            });
        }
        statuses.sort_by(|a, b| a.name.cmp(&b.name));
        statuses
    }

    /// One plugin by name.
    pub fn status(&self, name: &str) -> Option<Status> {
        self.statuses().into_iter().find(|status| status.name == name)
    }

    fn of_slot(&self, slot: &Slot) -> Option<Status> {
        let live = slot.live()?;
        let kept = self.kept().of(&slot.name);
        let plugin = &live.plugin;
        let specs = slot.specs();
        let quarantines = live.pools();
        let quarantined = |source: &str| {
            let (_, pool) = quarantines.iter().find(|(name, _)| name == source)?;
            let standing = pool.quarantine()?;
            let left = standing.until.saturating_duration_since(Instant::now());
            Some(Quarantined { left_ms: left.as_millis() as u64, reason: standing.reason })
        };
        let mut sources: Vec<SourceStatus> = live
            .all_bound()
            .iter()
            .map(|(name, bound)| {
                let spec = specs.iter().find(|spec| *spec.name == **name);
                SourceStatus {
                    name: name.to_string(),
                    feed: bound.feed.to_string(),
                    granted: spec
                        .iter()
                        .flat_map(|spec| &spec.allow_hosts)
                        .map(ToString::to_string)
                        .collect(),
                    reveals_secrets: spec.is_some_and(|spec| spec.reveals_secrets),
                    quarantined: quarantined(name),
                }
            })
            .collect();
        sources.sort_by(|a, b| a.name.cmp(&b.name));
        let state = if sources.iter().any(|source| source.quarantined.is_some()) {
            State::Quarantined
        } else if live.on_trial() {
            State::OnTrial
        } else {
            State::Live
        };
        let before = slot.before().map(|before| before.plugin.version.clone());
        let good = || kept.good.iter().rev().find(|good| **good != plugin.version).cloned();
        Some(Status {
            name: slot.name.clone(),
            file: plugin.path.clone(),
            state,
            version: Some(plugin.version.clone()),
            before: before.or_else(good),
            refused: self.refusal(&plugin.path).map(|refusal| refusal.reason),
            interfaces: plugin
                .interfaces
                .iter()
                .map(|(interface, version)| format!("{interface}@{version}"))
                .collect(),
            imports: plugin.imports.clone(),
            asks: plugin.asks.clone(),
            size: plugin.size,
            load_ms: plugin.load_time.as_millis() as u64,
            sources,
            attempts: kept.attempts,
            failures: slot.failures.last(),
        })
    }
}
