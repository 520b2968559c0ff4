//! The one thread that writes, and its group commit.
//!
//! Invariant: nobody hears of a write before the commit that holds it is on the disk; when that commit fails, everyone in
//! it hears so. A write that refuses (`Conflict`, `Invalid`) does so before it has changed a row.

use std::sync::mpsc::{self, Receiver, SyncSender, TrySendError};

use rusqlite::Connection;
use tokio::sync::oneshot;
use watchkeeper_domain::store::StoreError;

use super::ingest::OpenIncidents;
use super::sql;

/// Writes that may wait. Each holds its payload, so this bounds memory, too.
const QUEUE: usize = 4096;

/// Writes in one commit at most: enough that the sync is a small part of each, and still a few milliseconds of work.
const MAX_BATCH: usize = 512;

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

pub(super) struct Writer {
    queue: SyncSender<Box<dyn Job>>,
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
        let (answer, answered) = oneshot::channel();
        let job = Box::new(Write { write: Some(write), result: None, answer });
        self.queue.try_send(job).map_err(|error| match error {
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
fn run(connection: &Connection, jobs: &Receiver<Box<dyn Job>>) {
    let mut batch = Vec::with_capacity(MAX_BATCH);
    while let Ok(first) = jobs.recv() {
        batch.push(first);
        while batch.len() < MAX_BATCH {
            let Ok(next) = jobs.try_recv() else { break };
            batch.push(next);
        }
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
