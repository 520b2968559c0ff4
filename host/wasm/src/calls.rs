//! The calls that are under way, over all plugins, and the word that ends them when the host stops.
//!
//! A guest's waits and requests run on the host's own runtime. So every call has to be over before that goes.

use std::time::Duration;

use tokio::sync::watch;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

/// Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Calls {
    under_way: TaskTracker,
    ending: watch::Sender<bool>,
}

/// Why a call was ended, and none is begun.
#[derive(Debug, thiserror::Error)]
#[error("the host is stopping")]
pub(crate) struct HostStops;

impl Calls {
    /// One is under way as long as this is held.
    pub(crate) fn begin(&self) -> TaskTrackerToken {
        self.under_way.token()
    }

    pub(crate) fn are_ending(&self) -> bool {
        *self.ending.borrow()
    }

    /// Returns once they are to end.
    pub(crate) async fn ending(&self) {
        // An error: nobody is left who could say so.
        let _ = self.ending.subscribe().wait_for(|ending| *ending).await;
    }

    /// Ends those under way, and lets no other begin. How many weren't over `within` this time.
    pub(crate) async fn end(&self, within: Duration) -> usize {
        self.ending.send_replace(true);
        self.under_way.close();
        let _ = tokio::time::timeout(within, self.under_way.wait()).await;
        self.under_way.len()
    }
}
