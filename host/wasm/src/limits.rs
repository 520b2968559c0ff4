//! What a call may use, and the words for what it used too much of.

use std::time::Duration;

use wasmtime::{ResourceLimiter, Result};

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

/// Elements of all tables, which linear memory doesn't count. Toolchains need a few thousand.
const TABLE_ELEMENTS: usize = 100_000;

/// Holds an instance to its memory, and remembers that it had to: the guest's own trap doesn't tell.
#[derive(Default)]
pub(crate) struct Limiter {
    memory: usize,
    /// Of all memories together, by what each was granted last.
    used: usize,
    pub(crate) denied: Option<String>,
}

impl Limiter {
    pub(crate) fn new(memory: usize) -> Self {
        Self { memory, used: 0, denied: None }
    }

    pub(crate) fn used(&self) -> usize {
        self.used
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> Result<bool> {
        let used = self.used - current.min(self.used) + desired;
        if used <= self.memory {
            self.used = used;
            return Ok(true);
        }
        self.denied = Some(format!("memory limit of {} MiB (limits.memory_mib)", self.memory >> 20));
        Ok(false)
    }

    fn table_growing(&mut self, _: usize, desired: usize, _: Option<usize>) -> Result<bool> {
        if desired > TABLE_ELEMENTS {
            self.denied = Some(format!("limit of {TABLE_ELEMENTS} table elements"));
        }
        Ok(desired <= TABLE_ELEMENTS)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn memories_count_together() {
        let mut limiter = Limiter::new(1 << 20);
        assert!(limiter.memory_growing(0, 600 << 10, None).unwrap());
        assert!(limiter.memory_growing(600 << 10, 700 << 10, None).unwrap());
        assert!(!limiter.memory_growing(0, 400 << 10, None).unwrap());
        assert!(limiter.denied.as_deref().unwrap().contains("1 MiB"));
    }
}
