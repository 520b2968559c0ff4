//! What happened to plugins: every attempt to bring a version in, step by step, and the last failures of calls.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use watchkeeper_domain::Timestamp;

/// Attempts that are kept of one plugin.
pub(crate) const MAX_ATTEMPTS: usize = 20;

/// Failures that are kept of one plugin, and how much of each.
const MAX_FAILURES: usize = 20;
const MAX_REASON: usize = 8 * 1024;

/// Happenings that wait for the audit log, and characters of a reason that it has.
const MAX_HAPPENINGS: usize = 4096;
const MAX_TOLD: usize = 500;

/// Refused versions that the audit log has of one minute; the log, and each plugin's record, have them all.
const MAX_REFUSALS: usize = 60;
const MINUTE: Duration = Duration::from_secs(60);

/// Plugins that have metrics of their own; files of ever new names would make ever more.
const MAX_NAMES: usize = 1000;
const OTHERS: &str = "(others)";

/// One version's way from its file into service, or out of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Attempt {
    pub at: Timestamp,
    /// What led to it: `start`, `added`, `replaced`, `rollback`, …
    pub trigger: String,
    /// Of the version, `sha256:…`; none where the file couldn't be read.
    pub version: Option<String>,
    pub outcome: Outcome,
    /// Why, where it isn't what the operator wanted.
    pub reason: Option<String>,
    pub steps: Vec<Step>,
    /// What the candidate read otherwise than the version in service.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub canary: Option<Canary>,
}

impl Attempt {
    pub(crate) fn new(trigger: &str, version: Option<String>, outcome: Outcome, steps: Steps) -> Self {
        let (at, trigger) = (Timestamp::now(), trigger.into());
        Self { at, trigger, version, outcome, reason: None, steps: steps.taken, canary: None }
    }

    pub(crate) fn because(self, reason: impl Into<String>) -> Self {
        Self { reason: Some(reason.into()), ..self }
    }

    /// Counts it, and enters it into log and journal; to keep it is its caller's.
    pub(crate) fn tell(&self, plugin: &str, journal: &Journal, only_looks: bool) {
        let outcome = self.outcome.as_str();
        let named = journal.named(plugin);
        metrics::counter!("agent_plugin_changes_total", "plugin" => named, "outcome" => outcome).increment(1);
        // What is refused is said in its own words.
        if self.outcome != Outcome::Refused && self.trigger != "start" && !only_looks {
            let (trigger, version) = (&self.trigger, self.version.as_deref().unwrap_or("-"));
            tracing::info!(%plugin, %trigger, version, outcome, "plugin changed in {:?}", total(&self.steps));
        }
        journal.put(Happening::of(plugin, self));
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It serves.
    Live,
    /// The version before serves on, or none.
    Refused,
    /// It served, and made way for the one before.
    RolledBack,
    /// Its file is gone; it serves on.
    FileDeleted,
    /// It serves no more.
    Unloaded,
}

impl Outcome {
    pub fn as_str(self) -> &'static str {
        match self {
            Outcome::Live => "live",
            Outcome::Refused => "refused",
            Outcome::RolledBack => "rolled_back",
            Outcome::FileDeleted => "file_deleted",
            Outcome::Unloaded => "unloaded",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    pub name: String,
    pub ms: f64,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub note: Option<String>,
}

/// What was replayed, and what came out differently.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Canary {
    /// Payloads and briefings that both versions read.
    pub compared: usize,
    /// Those that came out differently.
    pub different: usize,
    /// Those that the candidate alone failed on.
    pub failed: usize,
    /// Those that weren't read: the time was over, or the candidate had failed often enough.
    #[serde(default)]
    pub left_out: usize,
    /// The first of the differences, field by field.
    pub differences: Vec<Difference>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Difference {
    /// The source, or `prompt-builder`.
    pub of: String,
    /// The alert's id, or what else it is about.
    pub item: String,
    pub field: String,
    pub before: String,
    pub after: String,
}

/// In the order in which they are taken.
const STEPS: [&str; 9] =
    ["debounce", "read", "check", "compile", "link", "instantiate", "configure", "canary", "swap"];

/// Steps as they are taken.
#[derive(Debug)]
pub(crate) struct Steps {
    pub(crate) taken: Vec<Step>,
    since: Instant,
}

impl Steps {
    pub(crate) fn begin() -> Self {
        Self { taken: Vec::new(), since: Instant::now() }
    }

    pub(crate) fn total(&self) -> Duration {
        total(&self.taken)
    }

    /// Of a file that was left alone for so long.
    pub(crate) fn after(alone: Duration) -> Self {
        let debounce = Step { name: "debounce".into(), ms: millis(alone), note: None };
        Self { taken: vec![debounce], since: Instant::now() }
    }

    /// The step after the last one is where it ended; the canary's own step says so itself.
    pub(crate) fn failed(&mut self) {
        let last = self.taken.last().and_then(|last| STEPS.iter().position(|step| *step == last.name));
        let step = STEPS[last.map_or(1, |last| last + 1).min(STEPS.len() - 1)];
        if step != "swap" {
            self.noted(step, Some("failed".into()));
        }
    }

    /// What was done since the last step.
    pub(crate) fn took(&mut self, name: &str) {
        self.noted(name, None);
    }

    pub(crate) fn noted(&mut self, name: &str, note: Option<String>) {
        let ms = millis(self.since.elapsed());
        self.taken.push(Step { name: name.into(), ms, note });
        self.since = Instant::now();
    }
}

fn total(steps: &[Step]) -> Duration {
    Duration::from_secs_f64(steps.iter().map(|step| step.ms).sum::<f64>() / 1000.0)
}

/// With two decimals.
fn millis(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e5).round() / 100.0
}

/// Something that the host did to a plugin, for the audit log.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Happening {
    #[serde(skip)]
    pub plugin: String,
    /// `accepted`, `refused`, `rolled_back`, `quarantined`, …
    #[serde(skip)]
    pub what: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// What led to it, of a version's way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trigger: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl Happening {
    pub(crate) fn new(plugin: &str, what: &'static str) -> Self {
        let plugin = plugin.to_owned();
        Self { plugin, what, version: None, trigger: None, source: None, reason: None }
    }

    pub(crate) fn of(plugin: &str, attempt: &Attempt) -> Self {
        let what = match attempt.outcome {
            Outcome::Live => "accepted",
            other => other.as_str(),
        };
        Self {
            version: attempt.version.clone(),
            trigger: Some(attempt.trigger.clone()),
            reason: attempt.reason.as_deref().map(told),
            ..Self::new(plugin, what)
        }
    }
}

/// Of a reason, what is told: the whole of it is on the plugin's own record.
fn told(reason: &str) -> String {
    reason.chars().take(MAX_TOLD).collect()
}

/// What happened, until it is entered into the audit log.
#[derive(Debug, Default)]
pub(crate) struct Journal {
    waiting: Mutex<VecDeque<Happening>>,
    more: Notify,
    refusals: Mutex<Refusals>,
    /// Plugins that are counted by name.
    names: Mutex<BTreeSet<String>>,
}

/// Refused versions that were entered within a minute. Whoever may put files can have any number refused.
#[derive(Debug, Default)]
struct Refusals {
    since: Option<Instant>,
    entered: usize,
    left_out: usize,
}

impl Refusals {
    /// Whether one more is entered, and how many weren't in the minute that is over.
    fn admit(&mut self, now: Instant) -> (bool, usize) {
        let mut left_out = 0;
        if self.since.is_none_or(|since| now.saturating_duration_since(since) >= MINUTE) {
            left_out = self.left_out;
            *self = Self { since: Some(now), ..Self::default() };
        }
        let admitted = self.entered < MAX_REFUSALS;
        let count = if admitted { &mut self.entered } else { &mut self.left_out };
        *count += 1;
        (admitted, left_out)
    }
}

impl Journal {
    /// As metrics name the plugin.
    fn named(&self, plugin: &str) -> String {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        if names.contains(plugin) || names.len() < MAX_NAMES && names.insert(plugin.to_owned()) {
            return plugin.to_owned();
        }
        OTHERS.to_owned()
    }

    pub(crate) fn put(&self, happening: Happening) {
        if happening.what == Outcome::Refused.as_str() {
            let mut refusals = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
            let (admitted, left_out) = refusals.admit(Instant::now());
            drop(refusals);
            if left_out > 0 {
                let why = format!("{left_out} more were refused in a minute; the log has them");
                self.enter(Happening {
                    reason: Some(why),
                    ..Happening::new(&happening.plugin, happening.what)
                });
            }
            if !admitted {
                return;
            }
        }
        self.enter(happening);
    }

    fn enter(&self, happening: Happening) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() == MAX_HAPPENINGS {
            // It is in the log, and nobody enters anything any more.
            tracing::error!(
                ?happening,
                "too much happened to plugins that is not in the audit log; this never will be"
            );
            return;
        }
        waiting.push_back(happening);
        drop(waiting);
        self.more.notify_one();
    }

    pub(crate) fn take(&self) -> Vec<Happening> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).drain(..).collect()
    }

    /// Until there may be more to take.
    pub(crate) async fn more(&self) {
        self.more.notified().await;
    }
}

/// A call that failed, with what the guest printed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Failure {
    pub at: Timestamp,
    /// Plugin and source.
    pub who: String,
    pub reason: String,
    /// By how much it outran its deadline, as the host measured it: until its guest's memory was given back. 0 of one that ended
    /// before.
    #[serde(default)]
    pub over_ms: f64,
}

/// The last of them, and where it is entered what they lead to.
#[derive(Debug, Default)]
pub(crate) struct Failures {
    last: Mutex<VecDeque<Failure>>,
    journal: Arc<Journal>,
}

impl Failures {
    pub(crate) fn new(journal: Arc<Journal>) -> Self {
        Self { last: Mutex::default(), journal }
    }

    /// `who` is `PLUGIN/SOURCE`, or the plugin alone.
    pub(crate) fn supervised(&self, plugin: &str, who: &str, what: &'static str, reason: Option<String>) {
        let source = who.strip_prefix(plugin).and_then(|rest| rest.strip_prefix('/')).map(str::to_owned);
        let reason = reason.as_deref().map(told);
        self.journal.put(Happening { source, reason, ..Happening::new(plugin, what) });
    }

    pub(crate) fn note(&self, who: &str, reason: &str, over: Duration) {
        let mut kept = self.last.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if kept.len() == MAX_FAILURES {
            kept.pop_front();
        }
        let reason = reason[..reason.floor_char_boundary(MAX_REASON)].to_owned();
        kept.push_back(Failure { at: Timestamp::now(), who: who.to_owned(), reason, over_ms: millis(over) });
    }

    pub(crate) fn last(&self) -> Vec<Failure> {
        self.last.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).iter().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_entered_up_to_a_number_a_minute_and_the_rest_is_counted() {
        let (mut refusals, now) = (Refusals::default(), Instant::now());
        let admitted = (0..500).filter(|_| refusals.admit(now).0).count();
        assert_eq!(admitted, MAX_REFUSALS);
        assert_eq!(refusals.admit(now + MINUTE), (true, 500 - MAX_REFUSALS));
        assert_eq!(refusals.admit(now + MINUTE), (true, 0));
    }

    #[test]
    fn a_flood_of_refusals_keeps_nothing_else_out() {
        let journal = Journal::default();
        for number in 0..2 * MAX_HAPPENINGS {
            journal.put(Happening::new(&format!("n{number}"), Outcome::Refused.as_str()));
        }
        journal.put(Happening::new("v", "accepted"));
        let entered = journal.take();
        assert_eq!(
            (entered.len(), entered.last().map(|last| last.what)),
            (MAX_REFUSALS + 1, Some("accepted"))
        );
        for number in 0..2 * MAX_NAMES {
            journal.named(&format!("n{number}"));
        }
        assert_eq!((journal.named("n0"), journal.named("another")), ("n0".into(), OTHERS.into()));
    }
}
