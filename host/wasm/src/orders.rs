//! How a version goes: with its file, by an operator's order, or because it failed; and what else an operator orders.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use crate::kept::PluginState;
use crate::loader::{Candidate, Plugin, Refusal};
use crate::record::{Attempt, Happening, Outcome, Steps};
use crate::registry::{Registry, is_of, rejected};
use crate::service::{Bound, Generation, Slot, Terms};

/// Why a version was rolled back that nobody but the operator had anything against.
pub(crate) const BY_HAND: &str = "by hand";

impl Registry {
    /// A file is gone. What sources use serves on, unless it is to go with its file.
    pub(crate) fn file_deleted(&self, path: &Path) {
        self.set_refused(path, None);
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let Some(slot) = self.slot(&name) else { return self.changed() };
        let used: Vec<String> = slot.served().keys().cloned().collect();
        if used.is_empty() || self.options.prune {
            return self.unload(&slot, "its file was deleted");
        }
        let reason = format!(
            "its file was deleted, and {} use it: it serves until a restart, or `watchkeeper plugin prune {name}`",
            used.join(", ")
        );
        tracing::warn!(plugin = %name, "{reason}");
        self.set_refused(path, Some(Refusal { path: path.to_owned(), reason: reason.clone() }));
        let version = slot.live().map(|live| live.plugin.version.clone());
        self.note(
            &name,
            Attempt::new("deleted", version, Outcome::FileDeleted, Steps::begin()).because(reason),
        );
        self.changed();
    }

    fn unload(&self, slot: &Slot, reason: &str) {
        let _order = self.in_order();
        let name = &slot.name;
        let version = slot.live().map(|live| live.plugin.version.clone());
        slot.unload();
        self.remove(name);
        let attempt = Attempt::new("deleted", version, Outcome::Unloaded, Steps::begin()).because(reason);
        // What comes under this name later is another plugin, and asks for no more than this one without being granted it.
        self.note_with(name, attempt, PluginState::forget_versions);
        self.changed();
    }

    /// Unloads plugins whose file is gone; all of them without a name. Their names.
    pub fn prune(&self, name: Option<&str>) -> Result<Vec<String>, String> {
        if let Some(name) = name
            && self.slot(name).is_none()
        {
            return Err(self.unknown(name));
        }
        // What can't be looked at isn't gone.
        let gone = |slot: &Arc<Slot>| {
            slot.live().is_some_and(|live| live.plugin.path.try_exists().is_ok_and(|exists| !exists))
        };
        let wanted = |slot: &Arc<Slot>| name.is_none_or(|name| name == slot.name);
        let pruned: Vec<_> = self.slots().into_iter().filter(|slot| wanted(slot) && gone(slot)).collect();
        for slot in &pruned {
            if let Some(live) = slot.live() {
                self.set_refused(&live.plugin.path, None);
            }
            self.unload(slot, "pruned: its file was deleted");
        }
        Ok(pruned.iter().map(|slot| slot.name.clone()).collect())
    }

    /// Brings the good version before the one in service back, and keeps this one from returning. What is in service then.
    pub fn rollback(&self, name: &str) -> Result<String, String> {
        let slot = self.slot(name).ok_or_else(|| self.unknown(name))?;
        let live = slot.live().ok_or_else(|| self.unknown(name))?;
        let mut steps = Steps::begin();
        let order = self.in_order();
        if let Some(before) = slot.bring_back(&live) {
            steps.took("swap");
            self.rolled_back(name, &live.plugin.version, &before.plugin.version, BY_HAND, steps);
            return Ok(before.plugin.version.clone());
        }
        drop(order);
        self.back_to_kept(&slot, &live, steps)
    }

    /// To a version that is on disk alone.
    fn back_to_kept(&self, slot: &Slot, live: &Arc<Generation>, mut steps: Steps) -> Result<String, String> {
        let (name, from) = (&slot.name, &live.plugin.version);
        let state = self.kept().of(name);
        let good = state.good.iter().rev().find(|good| *good != from).ok_or_else(|| {
            format!("no version of {name} before {from} is kept, so there is none to go back to")
        })?;
        let copy = self.kept().copy(good, &live.plugin.path).map_err(|refusal| refusal.to_string())?;
        let plugin = Plugin::of(&self.runtime, &copy, &mut steps).map_err(|refusal| refusal.to_string())?;
        let served = slot.served();
        let plugin = Arc::new(plugin);
        let mut sources = HashMap::new();
        for (source, served) in &*served {
            let bound = Bound::make(&plugin, &served.spec, &slot.failures)
                .map_err(|error| format!("{good} can't serve source {source}: {error}"))?;
            self.check_feed(slot, source, &bound.feed, &sources)
                .map_err(|error| format!("{good}: {error}"))?;
            sources.insert(source.as_str().into(), bound);
        }
        let _order = self.in_order();
        if !slot.is_live(live) {
            return Err(format!(
                "another version of {name} came into service meanwhile: see `watchkeeper plugin list`, and try again"
            ));
        }
        slot.swap(Generation::new(plugin, sources, &slot.failures), &Terms { calls: 0, allowed_failures: 0 });
        steps.took("swap");
        self.rolled_back(name, from, good, BY_HAND, steps);
        Ok(good.clone())
    }

    /// On record, while the order is held.
    pub(crate) fn rolled_back(&self, name: &str, from: &str, to: &str, reason: &str, steps: Steps) {
        let attempt = Attempt::new("rollback", Some(from.to_owned()), Outcome::RolledBack, steps)
            .because(format!("{reason}; {to} is back"));
        let live = self.slot(name).and_then(|slot| slot.live());
        self.note_with(name, attempt, |state| {
            state.reject(from, reason);
            state.prove(to);
            if let Some(live) = &live {
                state.asked = Some(live.plugin.asks.clone());
            }
        });
        self.warn_of_a_restart(name, to);
        // Another version may have come meanwhile, or been refused.
        if let Some(live) = live.filter(|live| live.plugin.version == to)
            && self.refusal(&live.plugin.path).is_none()
        {
            let refusal = Refusal { path: live.plugin.path.clone(), reason: rejected(name, reason) };
            self.set_refused(&refusal.path.clone(), Some(refusal));
        }
        self.changed();
    }

    /// What serves by pins or signatures that it has no more doesn't come in again.
    fn warn_of_a_restart(&self, name: &str, version: &str) {
        let Some(live) = self.slot(name).and_then(|slot| slot.live()) else { return };
        let copy = self.kept().copy(version, &live.plugin.path);
        let vouched = copy.map(|copy| copy.vouched(&self.runtime.trust));
        if let Ok(Err(reason)) = vouched {
            tracing::warn!(
                plugin = name, %version,
                "the version that is back {reason}; it serves until a restart: put its file into the plugins' folder again before that"
            );
        }
    }

    /// Ends quarantines, and forgets what was rolled back: the file's version is looked at again.
    pub fn release(&self, name: &str) -> Result<String, String> {
        let slot = self.slot(name);
        let refused = self.refusals().into_iter().find(|refusal| is_of(&refusal.path, name));
        if slot.is_none() && refused.is_none() {
            return Err(self.unknown(name));
        }
        let pools = slot.and_then(|slot| slot.live()).map(|live| live.pools()).unwrap_or_default();
        let released = pools.iter().filter(|(_, pool)| pool.release()).count();
        let forgotten = self.kept().of(name).rejected.len();
        self.kept().change(name, |state| state.rejected.clear());
        self.look_again(name);
        let what = format!("{released} quarantines ended, {forgotten} rolled-back versions forgotten");
        self.journal.put(Happening { reason: Some(what.clone()), ..Happening::new(name, "released") });
        Ok(what)
    }

    /// Lets the version in the file ask for more than the one before it.
    pub fn grant(&self, name: &str) -> Result<String, String> {
        let serves = self.slot(name).and_then(|slot| Some(slot.live()?.plugin.path.clone()));
        let refused =
            || self.refusals().into_iter().map(|refusal| refusal.path).find(|path| is_of(path, name));
        let path = serves.or_else(refused).ok_or_else(|| self.unknown(name))?;
        let candidate = Candidate::read(&path).map_err(|refusal| refusal.to_string())?;
        let asks = candidate.asks().map_err(|reason| format!("{}: {reason}", path.display()))?;
        let asks: Vec<String> = asks.hosts().map(ToString::to_string).collect();
        let asks = if asks.is_empty() { "nothing".into() } else { asks.join(", ") };
        self.kept().change(name, |state| {
            state.granted.retain(|version| *version != candidate.version);
            state.granted.push(candidate.version.clone());
            let over = state.granted.len().saturating_sub(8);
            state.granted.drain(..over);
        });
        let (version, reason) = (Some(candidate.version.clone()), Some(format!("to ask for {asks}")));
        self.journal.put(Happening { version, reason, ..Happening::new(name, "granted") });
        self.look_again(name);
        Ok(format!("{} may ask for {asks}", candidate.version))
    }

    fn look_again(&self, name: &str) {
        for (path, seen) in &mut *self.looking() {
            if is_of(path, name) {
                seen.forget();
            }
        }
        let _ = self.waker().try_send(());
        self.changed();
    }

    fn unknown(&self, name: &str) -> String {
        let names: Vec<String> = self.slots().iter().map(|slot| slot.name.clone()).collect();
        format!(
            "there is no plugin `{name}`; loaded: {}",
            if names.is_empty() { "none".into() } else { names.join(", ") }
        )
    }
}
