//! How long to wait before something is tried again.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use tokio::sync::watch;
use watchkeeper_domain::plugin::ReadError;

/// The shortest pause that a source may ask for (`wit/`), and that anything is tried again after.
pub(crate) const SHORTEST: Duration = Duration::from_secs(1);

/// The longest pause after a failure, unless the source's own interval is longer.
const LAST_BACKOFF: Duration = Duration::from_secs(300);

/// The longest pause that an upstream may ask for, or a sender is asked for.
pub(crate) const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(3600);

/// How long a source is left alone after this: what its upstream asked for, within bounds, else from `first` on. None where
/// waiting doesn't help.
pub(crate) fn pause_after(error: &ReadError, first: Duration, failures: u32) -> Option<Duration> {
    Some(match error {
        ReadError::Unauthorized(_) => return None,
        ReadError::Unavailable { retry_after_ms: Some(millis), .. } => {
            Duration::from_millis(*millis).clamp(SHORTEST, LONGEST_RETRY_AFTER)
        }
        _ => backoff(first, failures),
    })
}

pub(crate) async fn stopped(stop: &mut watch::Receiver<bool>) {
    // An error: who could stop it is gone.
    let _ = stop.wait_for(|stop| *stop).await;
}

/// Between `first` and twice that after the first failure, and twice as long after each further one: somewhere between, at
/// random, so that sources that failed together don't come back together.
pub(crate) fn backoff(first: Duration, failures: u32) -> Duration {
    spread(first, failures, random())
}

/// `random` from 0 to 1.
fn spread(first: Duration, failures: u32, random: f64) -> Duration {
    let last = LAST_BACKOFF.max(first);
    let longest = first.saturating_mul(2 << failures.min(16)).min(last);
    let shortest = first.max(longest / 2);
    shortest + (longest - shortest).mul_f64(random)
}

/// From 0 to 1. The standard library's hashers are seeded at random, which is random enough here.
fn random() -> f64 {
    f64::from(RandomState::new().hash_one(()) as u32) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backoff_begins_with_the_interval_and_ends_at_five_minutes() {
        let seconds =
            |first, failures, random| spread(Duration::from_secs(first), failures, random).as_secs_f64();
        assert_eq!([0, 1, 2, 3, 4, 99].map(|n| seconds(10, n, 0.0)), [10.0, 20.0, 40.0, 80.0, 150.0, 150.0]);
        assert_eq!([0, 1, 2, 3, 4, 99].map(|n| seconds(10, n, 1.0)), [20.0, 40.0, 80.0, 160.0, 300.0, 300.0]);
        assert_eq!(seconds(10, 1, 0.5), 30.0);
        // An interval that is longer than that is kept.
        assert_eq!([seconds(200, 0, 0.0), seconds(200, 0, 1.0)], [200.0, 300.0]);
        assert_eq!([seconds(900, 0, 1.0), seconds(900, 99, 1.0)], [900.0, 900.0]);
    }

    #[test]
    fn random_is_within_its_bounds_and_differs() {
        let drawn: Vec<f64> = (0..100).map(|_| random()).collect();
        assert!(drawn.iter().all(|random| (0.0..=1.0).contains(random)), "{drawn:?}");
        assert!(drawn.iter().any(|random| *random < 0.5) && drawn.iter().any(|random| *random > 0.5));
    }
}
