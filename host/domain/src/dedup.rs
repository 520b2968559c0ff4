//! Whether an alert that arrived is new, or another word of one that is known.
//!
//! An occurrence is known by its source, id and starts-at. Where a sender gives no starts-at, the same id is a new
//! occurrence once the last one was resolved or not heard of for the source's `dedup_window`.

use std::time::Duration;

use crate::Timestamp;
use crate::alert::{Alert, Severity, Status};

/// What is stored of an occurrence that may be the same.
#[derive(Clone, Debug, PartialEq)]
pub struct Known {
    pub status: Status,
    pub severity: Severity,
    pub starts_at: Timestamp,
    pub ends_at: Option<Timestamp>,
    pub last_heard_at: Timestamp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Store it as an occurrence of its own.
    New,
    /// Heard again, nothing changed but when.
    Heard,
    /// It was firing and has ended.
    Close,
    /// It was resolved and fires again, under the same start.
    Reopen,
    /// Said before what is stored was said: count it, change nothing.
    Stale,
}

/// Which stored occurrence to compare with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Candidate {
    /// The one with this very start.
    StartedAt(Timestamp),
    /// The latest with this id.
    Latest,
}

pub fn candidate(alert: &Alert) -> Candidate {
    alert.starts_at.map_or(Candidate::Latest, Candidate::StartedAt)
}

/// `said_at` is when the payload was received (of a replay: then, not now).
pub fn decide(known: Option<&Known>, alert: &Alert, said_at: Timestamp, window: Duration) -> Decision {
    let Some(known) = known else { return Decision::New };
    if alert.starts_at.is_none() && is_another(known, alert, said_at, window) {
        return Decision::New;
    }
    if said_at < known.last_heard_at && known.status != alert.status {
        return Decision::Stale;
    }
    match (known.status, alert.status) {
        (Status::Firing, Status::Resolved) => Decision::Close,
        (Status::Resolved, Status::Firing) => Decision::Reopen,
        _ => Decision::Heard,
    }
}

/// Of an alert whose sender doesn't say when it began: not the stored occurrence, but the next.
fn is_another(known: &Known, alert: &Alert, said_at: Timestamp, window: Duration) -> bool {
    let forgotten = said_at.since(known.last_heard_at) > window;
    match (known.status, alert.status) {
        (Status::Firing, Status::Firing) => forgotten,
        (Status::Resolved, Status::Firing) => said_at >= known.last_heard_at,
        (_, Status::Resolved) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Duration = Duration::from_secs(300);

    fn at(second: u64) -> Timestamp {
        Timestamp::from_millis(1_000_000 + second * 1000)
    }

    fn alert(status: Status, starts_at: Option<u64>) -> Alert {
        Alert {
            id: "x".into(),
            severity: Severity::Warning,
            status,
            title: "t".into(),
            description: "".into(),
            labels: Default::default(),
            annotations: Default::default(),
            starts_at: starts_at.map(at),
            ends_at: None,
        }
    }

    fn known(status: Status, last_heard: u64) -> Known {
        Known {
            status,
            severity: Severity::Warning,
            starts_at: at(0),
            ends_at: None,
            last_heard_at: at(last_heard),
        }
    }

    #[test]
    fn the_rules_as_a_table() {
        use Decision::*;
        use Status::*;
        // (stored, last heard), (status, starts at), said at → decision
        let table = [
            ((Firing, 10), (Firing, Some(0)), 20, Heard),
            ((Firing, 10), (Firing, Some(0)), 100_000, Heard),
            ((Firing, 10), (Resolved, Some(0)), 20, Close),
            ((Resolved, 10), (Resolved, Some(0)), 20, Heard),
            ((Resolved, 10), (Firing, Some(0)), 20, Reopen),
            ((Resolved, 10), (Firing, Some(0)), 5, Stale),
            ((Firing, 10), (Resolved, Some(0)), 5, Stale),
            ((Firing, 10), (Firing, None), 310, Heard),
            ((Firing, 10), (Firing, None), 311, New),
            ((Firing, 10), (Resolved, None), 100_000, Close),
            ((Resolved, 10), (Firing, None), 11, New),
            ((Resolved, 10), (Firing, None), 5, Stale),
            ((Resolved, 10), (Resolved, None), 11, Heard),
        ];
        for ((stored, last_heard), (status, starts_at), said_at, expected) in table {
            let decision =
                decide(Some(&known(stored, last_heard)), &alert(status, starts_at), at(said_at), WINDOW);
            assert_eq!(decision, expected, "stored {stored} heard {last_heard}; {status} at {said_at}");
        }
        assert_eq!(decide(None, &alert(Resolved, None), at(0), WINDOW), New);
    }
}
