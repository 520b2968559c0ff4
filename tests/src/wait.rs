//! Waiting for something, never for a time.

use std::time::{Duration, Instant};

/// What anything may take on a machine that is busy with other tests.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// How often is looked.
const LOOK: Duration = Duration::from_millis(10);

/// Looks until there is an answer. Panics, saying what was waited for, once `within` is over.
pub fn wait<T>(what: &str, within: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(began.elapsed() < within, "waited {within:?} in vain: {what}");
        std::thread::sleep(LOOK);
    }
}
