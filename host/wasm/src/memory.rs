//! What the instances of all plugins hold together: linear memories, tables, and what the host has of each.
//!
//! Invariant: all of them hold no more than their bound, and those of one plugin no more than half of it; those that wait for their
//! next call hold no more than a bound of their own, and make way for those that are called. What was used longest ago goes
//! first.
//!
//! A new instance waits for as much room as its plugin took last. One that grows doesn't wait: it gets what there is.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use tokio::sync::{Mutex as Queue, Notify};

/// What an instance takes besides, of the host's own memory.
const EACH: usize = 64 << 10;

/// Instances that wait: each takes some of the mappings that the kernel lets a process have, 65,530 in all.
const MOST_IDLE: usize = 4096;

/// How long an instance waits for its next call. A source that is called at all is, each minute, for its health.
const LONGEST_IDLE: Duration = Duration::from_secs(300);

/// How long an instance that is made while nobody else may go on waits for room: for a source that is bound, a version that is tried.
const SHORT: Duration = Duration::from_secs(2);

/// How much more than needed is let go of at once: one in so many parts of the bound, so that it isn't done for each call.
const AT_ONCE: usize = 8;

/// Where the machine doesn't say how much it has; and what is granted on the smallest.
const UNKNOWN: usize = 2 << 30;
const LEAST: usize = 128 << 20;

/// In bytes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MemoryBounds {
    /// Of all instances.
    pub all: usize,
    /// Of those that wait for their next call.
    pub idle: usize,
}

impl Default for MemoryBounds {
    /// By what the machine, or this process's part of it, has: half of it, and an eighth.
    fn default() -> Self {
        let machine = of_machine().unwrap_or(UNKNOWN);
        Self { all: (machine / 2).max(LEAST), idle: (machine / 8).max(LEAST / 2) }
    }
}

/// The least of what the machine has and what the groups that this process is in may take.
fn of_machine() -> Option<usize> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let kib = text.lines().find_map(|line| line.strip_prefix("MemTotal:")?.trim().strip_suffix("kB"))?;
    let machine = kib.trim().parse::<usize>().ok()?.saturating_mul(1024);
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let group = groups.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or_default();
    let most = Path::new(group).ancestors().filter_map(|group| {
        let file = Path::new("/sys/fs/cgroup").join(group).join("memory.max");
        // Where there is no bound, it says `max`.
        fs::read_to_string(file).ok()?.trim().parse::<usize>().ok()
    });
    most.chain([machine]).min()
}

/// A pool's instances that wait for their next call.
pub(crate) trait Idle: Send + Sync {
    fn room(&self) -> &Room;
    /// Since when each has waited, and what it holds.
    fn waiting(&self, list: &mut Vec<(Instant, usize)>);
    /// Ends those that have waited at least since then. How many.
    fn let_go(&self, since: Instant) -> usize;
}

pub(crate) struct Memory {
    bounds: MemoryBounds,
    held: AtomicUsize,
    idle: AtomicUsize,
    idle_instances: AtomicUsize,
    pools: Mutex<Vec<Weak<dyn Idle>>>,
    freed: Notify,
}

/// Without a bound: for what is no host.
impl Default for Memory {
    fn default() -> Self {
        Self::new(MemoryBounds { all: usize::MAX, idle: usize::MAX })
    }
}

impl Memory {
    pub(crate) fn new(bounds: MemoryBounds) -> Self {
        Self {
            bounds,
            held: AtomicUsize::new(0),
            idle: AtomicUsize::new(0),
            idle_instances: AtomicUsize::new(0),
            pools: Mutex::default(),
            freed: Notify::new(),
        }
    }

    /// From here on its instances make way for others.
    pub(crate) fn knows(&self, pool: Weak<dyn Idle>) {
        let mut pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        if pools.len() == pools.capacity() {
            pools.retain(|pool| pool.strong_count() > 0);
        }
        pools.push(pool);
    }

    /// An instance that holds so much waits, for as long as this is kept.
    pub(crate) fn waits(self: &Arc<Self>, bytes: usize) -> Waiting {
        self.idle.fetch_add(bytes, Ordering::Relaxed);
        self.idle_instances.fetch_add(1, Ordering::Relaxed);
        Waiting { memory: self.clone(), bytes }
    }

    /// Lets go of what waits beyond its bound; one look at two counters where there is none.
    pub(crate) fn keep_idle_within_bounds(&self) {
        let over = self.idle.load(Ordering::Relaxed).saturating_sub(self.bounds.idle);
        let too_many = self.idle_instances.load(Ordering::Relaxed).saturating_sub(MOST_IDLE);
        if over > 0 || too_many > 0 {
            let count = if too_many > 0 { too_many + MOST_IDLE / AT_ONCE } else { 0 };
            let bytes = if over > 0 { over + self.bounds.idle / AT_ONCE } else { 0 };
            self.let_go_of(bytes, count, |_| true);
        }
    }

    /// Those that have waited for too long already.
    pub(crate) fn let_go_of_old(&self, now: Instant) {
        if let Some(since) = now.checked_sub(LONGEST_IDLE) {
            self.let_go(since, "age", |_| true);
        }
    }

    /// For the metrics.
    pub(crate) fn tell(&self) {
        let gauge = |state, bytes: &AtomicUsize| {
            metrics::gauge!("agent_plugin_memory_bytes", "state" => state)
                .set(bytes.load(Ordering::Relaxed) as f64);
        };
        gauge("held", &self.held);
        gauge("idle", &self.idle);
        metrics::gauge!("agent_plugin_idle_instances")
            .set(self.idle_instances.load(Ordering::Relaxed) as f64);
    }

    /// At least so much, and so many, of what has waited longest in these pools.
    fn let_go_of(&self, bytes: usize, count: usize, which: impl Fn(&Room) -> bool + Copy) {
        let mut waiting = Vec::new();
        for pool in self.pools().iter().filter(|pool| which(pool.room())) {
            pool.waiting(&mut waiting);
        }
        waiting.sort_unstable();
        let (mut freed, mut went) = (0, 0);
        let last = waiting.iter().find(|(_, holds)| {
            freed += holds;
            went += 1;
            freed >= bytes && went >= count
        });
        if let Some((since, _)) = last.or(waiting.last()) {
            self.let_go(*since, "room", which);
        }
    }

    fn let_go(&self, since: Instant, why: &'static str, which: impl Fn(&Room) -> bool) {
        let pools = self.pools();
        let went: usize = pools.iter().filter(|pool| which(pool.room())).map(|pool| pool.let_go(since)).sum();
        if went > 0 {
            metrics::counter!("agent_plugin_instances_let_go_total", "why" => why).increment(went as u64);
        }
    }

    fn pools(&self) -> Vec<Arc<dyn Idle>> {
        let pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        pools.iter().filter_map(Weak::upgrade).collect()
    }
}

/// Kept beside an instance that waits.
pub(crate) struct Waiting {
    memory: Arc<Memory>,
    pub(crate) bytes: usize,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.memory.idle.fetch_sub(self.bytes, Ordering::Relaxed);
        self.memory.idle_instances.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Of which one plugin's instances have theirs. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Room {
    pub(crate) memory: Arc<Memory>,
    of_plugin: Arc<AtomicUsize>,
    /// What an instance takes before it has any memory of its own.
    each: usize,
    /// Who waits longest is first; another plugin's wait for themselves.
    queue: Arc<Queue<()>>,
}

impl Room {
    /// `weight` is what the host has of an instance for its globals and functions.
    pub(crate) fn new(memory: Arc<Memory>, weight: usize) -> Self {
        let each = EACH.saturating_add(weight);
        Self { memory, of_plugin: Arc::default(), each, queue: Arc::default() }
    }

    /// For an instance that will hold about so much, once there is that much, but by `until` at the latest.
    pub(crate) async fn wait_for(&self, bytes: usize, until: Instant) -> Result<Share, Full> {
        let first = async {
            let _first = self.queue.lock().await;
            loop {
                let freed = self.memory.freed.notified();
                match self.share(bytes) {
                    Ok(share) => return share,
                    Err(_) => freed.await,
                }
            }
        };
        match tokio::time::timeout_at(until.into(), first).await {
            Ok(share) => Ok(share),
            Err(_) => self.share(bytes),
        }
    }

    /// As [`Room::wait_for`], on this thread, and not for long.
    pub(crate) fn wait_here_for(&self, bytes: usize) -> Result<Share, Full> {
        const LOOK: Duration = Duration::from_millis(5);
        let until = Instant::now() + SHORT;
        loop {
            match self.share(bytes) {
                Err(full) if Instant::now() >= until => return Err(full),
                Err(_) => std::thread::sleep(LOOK),
                share => return share,
            }
        }
    }

    /// For what the host has of an instance besides, from nothing on.
    pub(crate) fn beside(&self) -> Share {
        Share { room: Self { each: 0, ..self.clone() }, bytes: 0 }
    }

    /// What there is, at once.
    pub(crate) fn share(&self, bytes: usize) -> Result<Share, Full> {
        let mut share = Share { room: self.clone(), bytes: 0 };
        share.grow_to(bytes.max(self.each))?;
        Ok(share)
    }

    fn take(&self, bytes: usize) -> Result<(), Full> {
        let all = self.memory.bounds.all;
        if !add(&self.of_plugin, bytes, all / 2) {
            // Its own that wait are what may be in its way.
            self.memory.let_go_of(bytes, 0, |room| Arc::ptr_eq(&room.of_plugin, &self.of_plugin));
            if !add(&self.of_plugin, bytes, all / 2) {
                return Err(Full { bytes: all / 2, of_plugin: true });
            }
        }
        if !add(&self.memory.held, bytes, all) {
            self.memory.let_go_of(bytes, 0, |_| true);
            if !add(&self.memory.held, bytes, all) {
                self.of_plugin.fetch_sub(bytes, Ordering::Relaxed);
                return Err(Full { bytes: all, of_plugin: false });
            }
        }
        Ok(())
    }
}

fn add(counter: &AtomicUsize, bytes: usize, most: usize) -> bool {
    let added = |held: usize| held.checked_add(bytes).filter(|held| *held <= most);
    counter.fetch_update(Ordering::Relaxed, Ordering::Relaxed, added).is_ok()
}

/// There is no room, and that is nobody's fault who is told so.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error(
    "there is no room for it now: instances of {} hold {} MiB already (plugins.memory_mib)",
    if *of_plugin { "this plugin" } else { "all plugins" }, bytes >> 20
)]
pub(crate) struct Full {
    bytes: usize,
    of_plugin: bool,
}

/// What is counted for one instance, until it is dropped.
#[derive(Default)]
pub(crate) struct Share {
    room: Room,
    bytes: usize,
}

impl Share {
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn room(&self) -> &Room {
        &self.room
    }

    /// That it holds so much of its own.
    pub(crate) fn has(&mut self, own: usize) -> Result<(), Full> {
        self.grow_to(own.saturating_add(self.room.each))
    }

    fn grow_to(&mut self, bytes: usize) -> Result<(), Full> {
        if bytes > self.bytes {
            self.room.take(bytes - self.bytes)?;
            self.bytes = bytes;
        }
        Ok(())
    }

    /// Gives back what was counted beyond what it holds.
    pub(crate) fn settle(&mut self, own: usize) {
        let bytes = own.saturating_add(self.room.each);
        if bytes < self.bytes {
            self.give_back(self.bytes - bytes);
            self.bytes = bytes;
        }
    }

    fn give_back(&self, bytes: usize) {
        self.room.of_plugin.fetch_sub(bytes, Ordering::Relaxed);
        self.room.memory.held.fetch_sub(bytes, Ordering::Relaxed);
        self.room.memory.freed.notify_waiters();
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        // What had nothing makes no room: those who wait would wake each other for ever.
        if self.bytes > 0 {
            self.give_back(self.bytes);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    fn memory(all: usize, idle: usize) -> Arc<Memory> {
        Arc::new(Memory::new(MemoryBounds { all, idle }))
    }

    /// A pool whose instances wait in the order in which they came.
    struct Waits(Mutex<Vec<(Instant, Waiting, Share)>>, Room);

    impl Idle for Waits {
        fn room(&self) -> &Room {
            &self.1
        }

        fn waiting(&self, list: &mut Vec<(Instant, usize)>) {
            list.extend(self.0.lock().unwrap().iter().map(|(since, waiting, _)| (*since, waiting.bytes)));
        }

        fn let_go(&self, until: Instant) -> usize {
            let mut waiting = self.0.lock().unwrap();
            let before = waiting.len();
            waiting.retain(|(since, ..)| *since > until);
            before - waiting.len()
        }
    }

    fn pool(room: &Room) -> Arc<Waits> {
        let pool = Arc::new(Waits(Mutex::default(), room.clone()));
        let known: Weak<Waits> = Arc::downgrade(&pool);
        room.memory.knows(known);
        pool
    }

    fn wait_in(pool: &Waits, share: Share) {
        let waiting = share.room.memory.waits(share.bytes());
        pool.0.lock().unwrap().push((Instant::now(), waiting, share));
    }

    #[test]
    fn what_waited_longest_goes_first_whichever_pool_it_is_in() {
        let memory = memory(100 * MIB, 8 * MIB);
        let room = Room::new(memory.clone(), MIB - EACH);
        let (one, other) = (pool(&room), pool(&room));
        for turn in 0..8 {
            let pool = if turn % 2 == 0 { &one } else { &other };
            wait_in(pool, room.share(0).unwrap());
            memory.keep_idle_within_bounds();
        }
        assert_eq!((one.0.lock().unwrap().len(), other.0.lock().unwrap().len()), (4, 4));
        wait_in(&one, room.share(0).unwrap());
        memory.keep_idle_within_bounds();
        // One that is over, and an eighth of the bound.
        assert_eq!((one.0.lock().unwrap().len(), other.0.lock().unwrap().len()), (4, 3));
        assert_eq!(memory.idle.load(Ordering::Relaxed), 7 * MIB);
        assert_eq!(memory.held.load(Ordering::Relaxed), 7 * MIB);
        memory.let_go_of_old(Instant::now() + LONGEST_IDLE - Duration::from_secs(60));
        assert_eq!(memory.idle_instances.load(Ordering::Relaxed), 7);
        memory.let_go_of_old(Instant::now() + LONGEST_IDLE);
        assert_eq!(memory.idle_instances.load(Ordering::Relaxed), 0);
        wait_in(&one, room.share(0).unwrap());
        drop((one, other));
        assert_eq!(memory.idle.load(Ordering::Relaxed) + memory.held.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn one_plugin_has_half_and_what_waits_makes_way() {
        let memory = memory(8 * MIB, 8 * MIB);
        let (one, other) = (Room::new(memory.clone(), 0), Room::new(memory.clone(), 0));
        let mut share = one.share(0).unwrap();
        share.has(3 * MIB).unwrap();
        assert!(share.has(4 * MIB).unwrap_err().to_string().contains("of this plugin hold 4 MiB"));
        let pool = pool(&other);
        wait_in(&pool, other.share(3 * MIB).unwrap());
        let third = Room::new(memory.clone(), 0);
        let large = third.share(4 * MIB).unwrap();
        assert_eq!(pool.0.lock().unwrap().len(), 0, "it made way");
        assert!(other.share(2 * MIB).err().unwrap().to_string().contains("of all plugins hold 8 MiB"));
        drop(large);
        assert!(other.share(2 * MIB).is_ok());
        share.settle(MIB);
        assert_eq!(memory.held.load(Ordering::Relaxed), MIB + EACH);
    }

    #[tokio::test]
    async fn room_is_waited_for_and_given_once_there_is() {
        let memory = memory(8 * MIB, 0);
        let room = Room::new(memory.clone(), 0);
        let first = room.share(4 * MIB).unwrap();
        let soon = || Instant::now() + Duration::from_millis(20);
        assert!(room.wait_for(MIB, soon()).await.is_err());
        let later = Instant::now() + Duration::from_secs(60);
        let waits = tokio::spawn({
            let room = room.clone();
            async move { room.wait_for(MIB, later).await.map(|share| share.bytes()) }
        });
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(!waits.is_finished());
        drop(first);
        assert_eq!(waits.await.unwrap(), Ok(MIB));
    }

    #[test]
    fn the_machine_says_what_it_has() {
        assert!(of_machine().unwrap() > 1 << 20);
    }
}
