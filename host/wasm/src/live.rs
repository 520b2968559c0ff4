//! Live sources: how a guest that waits for others by itself is run, on a thread of its own.
//!
//! Invariant: between two waits it computes for no longer than a call may, and over time for no more than half of a core.

use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use rustix::time::{ClockId, clock_gettime};
use wasmparser::Payload;
use watchkeeper_domain::alert::RawAlert;
use watchkeeper_domain::plugin::Sink;

use crate::asks::outermost;
use crate::bindings::live::PACKAGE;
use crate::engine::give_way;
use crate::service::{Generation, Slot};

/// One in so many parts of its time a guest may compute, and for how long it may run ahead of that.
const SHARE: u32 = 2;
const AHEAD: Duration = Duration::from_millis(250);

/// How long one that is ahead is left waiting at once: worth a change of threads, and no longer than its end may wait.
const SHORTEST: Duration = Duration::from_millis(10);
const LONGEST: Duration = Duration::from_millis(50);

/// When the guest was given its thread last.
#[derive(Debug)]
pub(crate) struct Woken(Mutex<Instant>);

impl Woken {
    pub(crate) fn at(&self) -> Instant {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }
}

impl Default for Woken {
    fn default() -> Self {
        Self(Mutex::new(Instant::now()))
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Runs the future on this thread, which sleeps while it waits. Not on tokio's own: what WASI does synchronously enters
/// tokio itself, which can't be done twice on one thread.
pub(crate) fn drive<T>(woken: &Woken, future: impl Future<Output = T>) -> T {
    drive_slowly(woken, future, |_| {})
}

/// As [`drive`], on a thread that is the guest's alone: one that is awake all the time is slowed down to its share, gives way to
/// everybody else, and is said so by `slowed`, once.
pub(crate) fn drive_within_share<T>(
    woken: &Woken,
    future: impl Future<Output = T>,
    slowed: impl FnOnce(),
) -> T {
    let mut share = Share { ahead: Duration::ZERO, since: Instant::now() };
    let (mut computed, mut slowed) = (thread_time(), Some(slowed));
    drive_slowly(woken, future, |now| {
        let before = std::mem::replace(&mut computed, thread_time());
        let Some(pause) = share.spend(computed.saturating_sub(before), now) else { return };
        if let Some(slowed) = slowed.take() {
            give_way();
            slowed();
        }
        std::thread::sleep(pause);
    })
}

fn drive_slowly<T>(
    woken: &Woken,
    future: impl Future<Output = T>,
    mut after_each_turn: impl FnMut(Instant),
) -> T {
    wasmtime_wasi::runtime::with_ambient_tokio_runtime(|| {
        let mut future = pin!(future);
        let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
        let mut context = Context::from_waker(&waker);
        loop {
            woken.now();
            if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
                return output;
            }
            after_each_turn(Instant::now());
            std::thread::park();
        }
    })
}

/// What this thread has computed so far.
fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
}

/// How far a guest has run ahead of its share.
struct Share {
    ahead: Duration,
    since: Instant,
}

impl Share {
    /// It computed for so long since the last time. How long it has to wait before the next, if at all.
    fn spend(&mut self, computed: Duration, now: Instant) -> Option<Duration> {
        let passed = now.saturating_duration_since(self.since);
        self.since = now;
        self.ahead = (self.ahead + computed).saturating_sub(passed / SHARE);
        let over = self.ahead.checked_sub(AHEAD).filter(|over| !over.is_zero())?;
        Some((over * SHARE).clamp(SHORTEST, LONGEST))
    }
}

/// Whether a component exports a live source: it needs another engine than the others.
pub(crate) fn is_exported_by(component: &[u8]) -> bool {
    let ours = |name: &str| name.strip_prefix(PACKAGE).is_some_and(|rest| rest.starts_with('/'));
    outermost(component).any(|payload| match payload {
        Payload::ComponentExportSection(exports) => {
            exports.into_iter().flatten().any(|export| ours(export.name.name))
        }
        _ => false,
    })
}

/// Counts what a version on trial brings.
pub(crate) struct Counted {
    pub(crate) sink: Arc<dyn Sink>,
    pub(crate) slot: Arc<Slot>,
    pub(crate) live: Arc<Generation>,
}

#[async_trait]
impl Sink for Counted {
    async fn keep(&self, alerts: Vec<RawAlert>) -> Result<(), String> {
        let kept = self.sink.keep(alerts).await;
        if kept.is_ok() {
            self.slot.count_success(&self.live);
        }
        kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_that_is_always_awake_gets_its_share_and_one_that_waits_all_it_wants() {
        let begun = Instant::now();
        let slice = Duration::from_millis(1);
        let mut always = Share { ahead: Duration::ZERO, since: begun };
        let (mut now, mut computed) = (begun, Duration::ZERO);
        while now < begun + Duration::from_secs(10) {
            now += slice;
            computed += slice;
            now += always.spend(slice, now).unwrap_or_default();
        }
        let share = Duration::from_secs(10) / SHARE + AHEAD;
        assert!(computed <= share + LONGEST && computed >= share - LONGEST, "{computed:?}");
        let mut waits = Share { ahead: Duration::ZERO, since: begun };
        let mut now = begun;
        for _ in 0..1000 {
            now += 4 * slice;
            assert_eq!(waits.spend(slice, now), None);
        }
    }
}
