//! The one thread that writes, and its group commit.
//!
//! Invariant: nobody hears of a write before the commit that holds it is on the disk; when that commit fails, everyone in
//! it hears so. A write that refuses (`Conflict`, `Invalid`) does so before it has changed a row.
//!
//! A write in no hurry waits for one that is, for a moment, and is in its commit: so what a plugin fails on costs its neighbours
//! no sync.

use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender, TrySendError};
use std::time::{Duration, Instant};

use rusqlite::Connection;
use tokio::sync::oneshot;
use watchkeeper_domain::store::StoreError;

use super::ingest::OpenIncidents;
use super::sql;

/// Writes that may wait. Each holds its payload, so this bounds memory, too.
const QUEUE: usize = 4096;

/// Writes in one commit at most: enough that the sync is a small part of each, and still a few milliseconds of work.
const MAX_BATCH: usize = 512;

/// How long a write in no hurry waits for company.
const PATIENCE: Duration = Duration::from_millis(50);

/// What the writes of one commit share.
pub(super) struct Batch<'a> {
    pub(super) connection: &'a Connection,
    pub(super) open_incidents: OpenIncidents,
}

/// One write that somebody waits for.
trait Job: Send {
    /// In the transaction. Err: the whole commit fails.
    fn run(&mut self, batch: &mut Batch<'_>) -> Result<(), StoreError>;

    /// After the commit, or instead of it.
    fn settle(self: Box<Self>, committed: &Result<(), StoreError>);
}

struct Write<F, T> {
    write: Option<F>,
    result: Option<Result<T, StoreError>>,
    answer: oneshot::Sender<Result<T, StoreError>>,
}

impl<F, T> Job for Write<F, T>
where
    F: FnOnce(&mut Batch<'_>) -> Result<T, StoreError> + Send,
    T: Send,
{
    fn run(&mut self, batch: &mut Batch<'_>) -> Result<(), StoreError> {
        let Some(write) = self.write.take() else { return Ok(()) };
        match write(batch) {
            Err(error @ StoreError::Unavailable(_)) => Err(error),
            result => {
                self.result = Some(result);
                Ok(())
            }
        }
    }

    fn settle(self: Box<Self>, committed: &Result<(), StoreError>) {
        let result = match committed {
            Ok(()) => self.result.unwrap_or_else(|| Err(stopped())),
            Err(error) => Err(error.clone()),
        };
        let _ = self.answer.send(result);
    }
}

/// A write in the queue.
struct Queued {
    job: Box<dyn Job>,
    in_a_hurry: bool,
}

pub(super) struct Writer {
    queue: SyncSender<Queued>,
}

impl Writer {
    pub(super) fn start(connection: Connection) -> Result<Self, StoreError> {
        let (queue, jobs) = mpsc::sync_channel(QUEUE);
        std::thread::Builder::new()
            .name("store-writer".into())
            .spawn(move || run(&connection, &jobs))
            .map_err(|error| StoreError::Unavailable(format!("no thread for the writer: {error}")))?;
        Ok(Self { queue })
    }

    /// Runs `write` in the next commit, and returns once that is on the disk.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        write: impl FnOnce(&mut Batch<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.queue(write, true).await
    }

    /// As [`Writer::write`], where nobody minds to wait a little.
    pub(super) async fn write_in_no_hurry<T: Send + 'static>(
        &self,
        write: impl FnOnce(&mut Batch<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.queue(write, false).await
    }

    async fn queue<T: Send + 'static>(
        &self,
        write: impl FnOnce(&mut Batch<'_>) -> Result<T, StoreError> + Send + 'static,
        in_a_hurry: bool,
    ) -> Result<T, StoreError> {
        let (answer, answered) = oneshot::channel();
        let job = Box::new(Write { write: Some(write), result: None, answer });
        self.queue.try_send(Queued { job, in_a_hurry }).map_err(|error| match error {
            TrySendError::Full(_) => StoreError::Busy(QUEUE),
            TrySendError::Disconnected(_) => stopped(),
        })?;
        answered.await.unwrap_or_else(|_| Err(stopped()))
    }
}

fn stopped() -> StoreError {
    StoreError::Unavailable("its writer has stopped; see the log".into())
}

/// Until every sender is gone; what was queued by then is still written.
fn run(connection: &Connection, queue: &Receiver<Queued>) {
    let mut batch = Vec::with_capacity(MAX_BATCH);
    while collect(queue, &mut batch) {
        metrics::histogram!("agent_store_commit_writes").record(batch.len() as f64);
        let committed = commit(connection, &mut batch);
        if let Err(error) = &committed {
            tracing::error!(%error, writes = batch.len(), "a commit failed; nothing of it was kept");
        }
        for job in batch.drain(..) {
            job.settle(&committed);
        }
    }
}

/// The next commit's writes: whatever waits once one is in a hurry, or the first has waited long enough. False: there are none,
/// and none will come.
fn collect(queue: &Receiver<Queued>, batch: &mut Vec<Box<dyn Job>>) -> bool {
    let Ok(first) = queue.recv() else { return false };
    let mut in_a_hurry = first.in_a_hurry;
    batch.push(first.job);
    let until = Instant::now() + PATIENCE;
    while batch.len() < MAX_BATCH {
        let left = if in_a_hurry { Duration::ZERO } else { until.saturating_duration_since(Instant::now()) };
        match queue.recv_timeout(left) {
            Ok(next) => {
                in_a_hurry |= next.in_a_hurry;
                batch.push(next.job);
            }
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
        }
    }
    true
}

fn commit(connection: &Connection, jobs: &mut [Box<dyn Job>]) -> Result<(), StoreError> {
    let execute =
        |text| connection.prepare_cached(text).and_then(|mut statement| statement.execute([])).map_err(sql);
    execute("BEGIN IMMEDIATE")?;
    let mut batch = Batch { connection, open_incidents: OpenIncidents::default() };
    let ran = jobs.iter_mut().try_for_each(|job| job.run(&mut batch));
    let committed = ran.and_then(|()| execute("COMMIT").map(drop));
    if committed.is_err()
        && !connection.is_autocommit()
        && let Err(error) = connection.execute_batch("ROLLBACK")
    {
        tracing::error!(%error, "a failed commit could not be rolled back");
    }
    committed
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    struct Nothing;

    impl Job for Nothing {
        fn run(&mut self, _: &mut Batch<'_>) -> Result<(), StoreError> {
            Ok(())
        }

        fn settle(self: Box<Self>, _: &Result<(), StoreError>) {}
    }

    fn collected(queue: &Receiver<Queued>) -> usize {
        let mut batch = Vec::new();
        assert!(collect(queue, &mut batch));
        batch.len()
    }

    #[test]
    fn a_write_in_no_hurry_goes_with_the_next_that_is_or_by_itself_after_a_while() {
        let (queue, jobs) = mpsc::sync_channel(8);
        let put = |in_a_hurry| queue.send(Queued { job: Box::new(Nothing), in_a_hurry }).unwrap();
        put(true);
        put(false);
        assert_eq!(collected(&jobs), 2);
        let began = Instant::now();
        put(false);
        assert_eq!(collected(&jobs), 1);
        assert!(began.elapsed() >= PATIENCE);
        // One that comes while it waits is in its commit; on a busy machine it may come too late, but not every time.
        let together = (0..20).any(|_| {
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    put(false);
                    std::thread::sleep(PATIENCE / 10);
                    put(true);
                });
                let together = collected(&jobs) == 2;
                if !together {
                    collected(&jobs);
                }
                together
            })
        });
        assert!(together);
        drop(queue);
        assert!(!collect(&jobs, &mut Vec::new()));
    }
}
