//! Live sources: how a guest that waits for others by itself is run, on a thread of its own.
//!
//! Invariant: between two waits it computes for no longer than a call may.

use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::Instant;

use async_trait::async_trait;
use wasmparser::Payload;
use watchkeeper_domain::alert::RawAlert;
use watchkeeper_domain::plugin::Sink;

use crate::asks::outermost;
use crate::bindings::live::PACKAGE;
use crate::service::{Generation, Slot};

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
    wasmtime_wasi::runtime::with_ambient_tokio_runtime(|| {
        let mut future = pin!(future);
        let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
        let mut context = Context::from_waker(&waker);
        loop {
            woken.now();
            if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
                return output;
            }
            std::thread::park();
        }
    })
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
