//! Strikes, quarantine, release: what keeps a plugin that fails again and again from eating its host's time.
//!
//! Each failed call is a strike, each good one forgives them all. At [`STRIKES`] in a row the plugin is quarantined for that
//! source: its payloads are kept as dead letters without asking it. Once the quarantine is over, one call is let through;
//! if that fails, too, the next quarantine lasts twice as long.
//!
//! Forgiven isn't trusted: what a failed call took, the plugin owes ten times over, in time in which it gives way to its
//! neighbours. So one that fails on every other call takes no more of them than one that fails on each.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Failures in a row.
pub(crate) const STRIKES: u32 = 10;

const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(300);

/// How much longer than a failed call took it is suspect afterwards, and how long at most.
const OWED: u32 = 10;
const MOST_OWED: Duration = Duration::from_secs(60);

/// One plugin in one source. Calls that go well cost one look at a counter.
#[derive(Debug, Default)]
pub(crate) struct Supervisor {
    strikes: AtomicU32,
    quarantine: Mutex<Option<Quarantine>>,
    owes: AtomicBool,
    owes_until: Mutex<Option<Instant>>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Quarantine {
    pub(crate) until: Instant,
    pub(crate) lasts: Duration,
    /// Of the failure that led to it.
    pub(crate) reason: String,
    /// A call is under way that decides whether it ends.
    probing: bool,
}

/// What a call is for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Call {
    Ordinary,
    /// Also for whether the plugin is well again.
    Probe,
}

/// What a failure led to.
#[derive(Debug, PartialEq)]
pub(crate) enum Verdict {
    Strike(u32),
    /// For so long.
    Quarantined(Duration),
}

impl Supervisor {
    /// Whether a call may be made now, and whether it's one that decides over a quarantine. The one that stands against it, if one
    /// does.
    pub(crate) fn admit(&self, now: Instant) -> Result<Call, Quarantine> {
        if self.strikes.load(Ordering::Relaxed) < STRIKES {
            return Ok(Call::Ordinary);
        }
        let mut quarantine = self.lock();
        match quarantine.as_mut() {
            None => Ok(Call::Ordinary),
            Some(standing) if now >= standing.until && !standing.probing => {
                standing.probing = true;
                Ok(Call::Probe)
            }
            Some(standing) => Err(standing.clone()),
        }
    }

    /// Whether the last call failed, or others did lately: so the next may well, too.
    pub(crate) fn is_suspect(&self, now: Instant) -> bool {
        self.strikes.load(Ordering::Relaxed) > 0 || self.owes(now)
    }

    fn owes(&self, now: Instant) -> bool {
        if !self.owes.load(Ordering::Relaxed) {
            return false;
        }
        let until = self.owes_until.lock().unwrap_or_else(PoisonError::into_inner);
        let owes = until.is_some_and(|until| now < until);
        self.owes.store(owes, Ordering::Relaxed);
        owes
    }

    /// What a call took is owed, in time in which the plugin gives way.
    pub(crate) fn owe(&self, now: Instant, took: Duration) {
        let mut until = self.owes_until.lock().unwrap_or_else(PoisonError::into_inner);
        let owed = until.map_or(now, |until| until.max(now)) + took.saturating_mul(OWED);
        *until = Some(owed.min(now + MOST_OWED));
        self.owes.store(true, Ordering::Relaxed);
    }

    /// Whether this ended a quarantine.
    pub(crate) fn succeeded(&self) -> bool {
        if self.strikes.load(Ordering::Relaxed) == 0 {
            return false;
        }
        self.strikes.store(0, Ordering::Relaxed);
        self.lock().take().is_some()
    }

    /// A call came to nothing, and not for anything that the plugin did: if it was let through to decide, the next one is.
    pub(crate) fn undecided(&self) {
        if self.strikes.load(Ordering::Relaxed) < STRIKES {
            return;
        }
        if let Some(standing) = self.lock().as_mut() {
            standing.probing = false;
        }
    }

    /// A call failed that `took` so long.
    pub(crate) fn failed(&self, now: Instant, took: Duration, reason: &str) -> Verdict {
        self.owe(now, took);
        let strikes = self.strikes.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        if strikes < STRIKES {
            return Verdict::Strike(strikes);
        }
        self.strikes.store(STRIKES, Ordering::Relaxed);
        let mut quarantine = self.lock();
        let lasts = match &*quarantine {
            // Calls that were under way when it began are not the probe that failed.
            Some(standing) if !standing.probing => return Verdict::Strike(strikes),
            Some(standing) => (standing.lasts * 2).min(LONGEST),
            None => FIRST,
        };
        *quarantine =
            Some(Quarantine { until: now + lasts, lasts, reason: reason.to_owned(), probing: false });
        Verdict::Quarantined(lasts)
    }

    /// Forgets everything. Whether there was a quarantine.
    pub(crate) fn release(&self) -> bool {
        self.strikes.store(0, Ordering::Relaxed);
        self.owes.store(false, Ordering::Relaxed);
        *self.owes_until.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.lock().take().is_some()
    }

    pub(crate) fn quarantine(&self) -> Option<Quarantine> {
        self.lock().clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Quarantine>> {
        self.quarantine.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const TOOK: Duration = Duration::from_millis(200);

    fn struck_out(supervisor: &Supervisor, now: Instant) {
        for strike in 1..STRIKES {
            assert_eq!(supervisor.failed(now, TOOK, "trap"), Verdict::Strike(strike));
            assert_eq!(supervisor.admit(now), Ok(Call::Ordinary));
        }
        assert_eq!(supervisor.failed(now, TOOK, "the last"), Verdict::Quarantined(FIRST));
    }

    #[test]
    fn strikes_in_a_row_lead_to_quarantine_and_one_good_call_forgives_them() {
        let (supervisor, now) = (Supervisor::default(), Instant::now());
        for _ in 0..5 * STRIKES {
            supervisor.failed(now, TOOK, "trap");
            supervisor.succeeded();
        }
        struck_out(&supervisor, now);
        assert_eq!(supervisor.admit(now).unwrap_err().reason, "the last");
    }

    #[test]
    fn one_call_probes_and_each_failed_probe_doubles_the_time() {
        let (supervisor, mut now) = (Supervisor::default(), Instant::now());
        struck_out(&supervisor, now);
        let mut lasts = FIRST;
        for _ in 0..12 {
            assert!(supervisor.admit(now + lasts - Duration::from_millis(1)).is_err());
            now += lasts;
            assert_eq!(supervisor.admit(now), Ok(Call::Probe));
            assert!(supervisor.admit(now).is_err(), "one probe at a time");
            lasts = (lasts * 2).min(LONGEST);
            assert_eq!(supervisor.failed(now, TOOK, "again"), Verdict::Quarantined(lasts));
        }
        assert_eq!(lasts, LONGEST);
        now += lasts;
        assert_eq!(supervisor.admit(now), Ok(Call::Probe));
        assert!(supervisor.succeeded());
        assert_eq!(supervisor.admit(now), Ok(Call::Ordinary));
        assert_eq!(supervisor.failed(now, TOOK, "trap"), Verdict::Strike(1));
    }

    #[test]
    fn a_probe_that_decides_nothing_is_followed_by_another() {
        let (supervisor, now) = (Supervisor::default(), Instant::now());
        struck_out(&supervisor, now);
        assert_eq!(supervisor.admit(now + FIRST), Ok(Call::Probe));
        assert!(supervisor.admit(now + FIRST).is_err());
        supervisor.undecided();
        assert_eq!(supervisor.admit(now + FIRST), Ok(Call::Probe));
        assert!(supervisor.succeeded());
    }

    #[test]
    fn calls_that_were_under_way_do_not_prolong_it() {
        let (supervisor, now) = (Supervisor::default(), Instant::now());
        struck_out(&supervisor, now);
        assert_eq!(supervisor.failed(now, TOOK, "late"), Verdict::Strike(STRIKES + 1));
        assert_eq!(supervisor.quarantine().unwrap().lasts, FIRST);
        assert!(supervisor.release());
        assert_eq!(supervisor.admit(now), Ok(Call::Ordinary));
    }

    #[test]
    fn what_is_forgiven_is_owed_for_a_while() {
        let (supervisor, now) = (Supervisor::default(), Instant::now());
        assert!(!supervisor.is_suspect(now));
        supervisor.failed(now, TOOK, "a loop");
        supervisor.succeeded();
        assert!(supervisor.is_suspect(now + 9 * TOOK));
        assert!(!supervisor.is_suspect(now + 10 * TOOK));
        // Failures add up, to a bound.
        for _ in 0..1000 {
            supervisor.failed(now, TOOK, "a loop");
            supervisor.succeeded();
        }
        assert!(supervisor.is_suspect(now + MOST_OWED - TOOK));
        assert!(!supervisor.is_suspect(now + MOST_OWED));
        supervisor.failed(now, TOOK, "a loop");
        supervisor.release();
        assert!(!supervisor.is_suspect(now), "who releases it trusts it");
    }
}
