//! What a call may use, and the words for what it used too much of.

use std::time::Duration;

use wasmtime::{ResourceLimiter, Result, Store};

use crate::guest::Guest;
use crate::memory::{Full, Share};

/// Bounds of one plugin in one source. Every one of them is named in the error of a call that breaks it.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// Bytes of linear memory an instance may have.
    pub memory: usize,
    /// Time a call may take, waiting included.
    pub call: Duration,
    /// Time a fetch or a health check may take: these wait for others.
    pub fetch: Duration,
    /// Alerts in one result.
    pub alerts: usize,
    /// Bytes of one result.
    pub result: usize,
}

impl Default for Limits {
    /// The defaults of DESIGN §4.
    fn default() -> Self {
        Self {
            memory: 64 << 20,
            call: Duration::from_secs(1),
            fetch: Duration::from_secs(30),
            alerts: 10_000,
            result: 16 << 20,
        }
    }
}

/// Elements of all tables together, which linear memory doesn't count. Toolchains need a few thousand.
const TABLE_ELEMENTS: usize = 100_000;

/// Bytes of each.
const ELEMENT: usize = size_of::<usize>();

/// Core instances, tables and memories of one component, each of which takes the host's own memory or address space before it has
/// anything in it. Toolchains make some ten instances, few tables and one memory; a Python with many libraries some hundred.
const INSTANCES: usize = 256;
const TABLES: usize = 256;
const MEMORIES: usize = 8;

/// Streams, futures and tasks of a guest that holds a subscription: the host has something of each, and a stream may be a socket.
const LIVE_HANDLES: usize = 512;
const LIVE_TASKS: usize = 4096;

/// What the engine itself has of such a guest.
pub(crate) fn bound_live(store: &mut Store<Guest>) {
    if let Some(table) = store.concurrent_resource_table() {
        table.set_max_capacity(LIVE_TASKS);
        store.set_max_component_handles(LIVE_HANDLES);
    }
}

/// Holds an instance to its memory, and remembers that it had to: the guest's own trap doesn't tell.
#[derive(Default)]
pub(crate) struct Limiter {
    memory: usize,
    /// Of all memories together, by what each was granted last.
    used: usize,
    /// Of all tables together, in the same way.
    elements: usize,
    /// Of what all instances may have together.
    share: Share,
    pub(crate) denied: Option<String>,
    /// It had no limit of its own against it; and what it wanted to hold.
    pub(crate) full: Option<(Full, usize)>,
}

impl Limiter {
    pub(crate) fn new(memory: usize, share: Share) -> Self {
        Self { memory, used: 0, elements: 0, share, denied: None, full: None }
    }

    /// A call begins, which was denied nothing yet.
    pub(crate) fn begin(&mut self) {
        (self.denied, self.full) = (None, None);
    }

    pub(crate) fn used(&self) -> usize {
        self.used
    }

    /// What is counted for it by now, which is what it has.
    pub(crate) fn settle(&mut self) -> usize {
        self.share.settle(Self::own(self.used, self.elements));
        self.share.bytes()
    }

    fn own(memories: usize, elements: usize) -> usize {
        memories.saturating_add(elements.saturating_mul(ELEMENT))
    }

    fn has_room(&mut self, memories: usize, elements: usize) -> bool {
        let wanted = Self::own(memories, elements);
        match self.share.has(wanted) {
            Ok(()) => true,
            Err(full) => {
                self.full = Some((full, wanted));
                false
            }
        }
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> Result<bool> {
        let used = self.used.saturating_sub(current).saturating_add(desired);
        if used <= self.memory {
            let has_room = self.has_room(used, self.elements);
            if has_room {
                self.used = used;
            }
            return Ok(has_room);
        }
        self.denied = Some(format!("memory limit of {} MiB (limits.memory_mib)", self.memory >> 20));
        Ok(false)
    }

    fn table_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> Result<bool> {
        let elements = self.elements.saturating_sub(current).saturating_add(desired);
        if elements <= TABLE_ELEMENTS {
            let has_room = self.has_room(self.used, elements);
            if has_room {
                self.elements = elements;
            }
            return Ok(has_room);
        }
        self.denied = Some(format!("limit of {TABLE_ELEMENTS} table elements"));
        Ok(false)
    }

    fn instances(&self) -> usize {
        INSTANCES
    }

    fn tables(&self) -> usize {
        TABLES
    }

    fn memories(&self) -> usize {
        MEMORIES
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn memories_count_together() {
        let mut limiter = Limiter::new(1 << 20, Share::default());
        assert!(limiter.memory_growing(0, 600 << 10, None).unwrap());
        assert!(limiter.memory_growing(600 << 10, 700 << 10, None).unwrap());
        assert!(!limiter.memory_growing(0, 400 << 10, None).unwrap());
        assert!(limiter.denied.as_deref().unwrap().contains("1 MiB"));
        assert!(!limiter.memory_growing(0, usize::MAX, None).unwrap());
    }

    #[test]
    fn tables_count_together() {
        let mut limiter = Limiter::new(1 << 20, Share::default());
        for _ in 0..10 {
            assert!(limiter.table_growing(0, 5_000, None).unwrap());
            assert!(limiter.table_growing(5_000, 10_000, None).unwrap());
        }
        assert_eq!(limiter.denied, None);
        assert!(!limiter.table_growing(0, 1, None).unwrap());
        assert!(limiter.denied.as_deref().unwrap().contains("100000 table elements"));
    }
}
