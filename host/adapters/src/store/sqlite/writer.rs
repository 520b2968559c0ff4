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

/// Runs in the transaction, and gives back who is to hear of the commit.
type Job = Box<dyn FnOnce(&mut Batch<'_>) -> Result<Settle, StoreError> + Send>;
type Settle = Box<dyn FnOnce(Result<(), StoreError>) + Send>;

pub(super) struct Writer {
    queue: SyncSender<Job>,
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
        let job: Job = Box::new(move |batch| match write(batch) {
            Ok(value) => Ok(Box::new(move |committed: Result<(), StoreError>| {
                let _ = answer.send(committed.map(|()| value));
            })),
            Err(error @ StoreError::Unavailable(_)) => {
                let _ = answer.send(Err(error.clone()));
                Err(error)
            }
            Err(refusal) => Ok(Box::new(move |_| {
                let _ = answer.send(Err(refusal));
            })),
        });
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
fn run(connection: &Connection, jobs: &Receiver<Job>) {
    let mut batch = Vec::with_capacity(MAX_BATCH);
    let mut settle = Vec::with_capacity(MAX_BATCH);
    while let Ok(first) = jobs.recv() {
        batch.push(first);
        while batch.len() < MAX_BATCH {
            let Ok(next) = jobs.try_recv() else { break };
            batch.push(next);
        }
        metrics::histogram!("agent_store_commit_writes").record(batch.len() as f64);
        let result = commit(connection, batch.drain(..), &mut settle);
        if let Err(error) = &result {
            tracing::error!(%error, writes = settle.len(), "a commit failed; nothing of it was kept");
        }
        for settle in settle.drain(..) {
            settle(result.clone());
        }
    }
}

fn commit(
    connection: &Connection,
    jobs: impl Iterator<Item = Job>,
    settle: &mut Vec<Settle>,
) -> Result<(), StoreError> {
    connection.prepare_cached("BEGIN IMMEDIATE").and_then(|mut begin| begin.execute([])).map_err(sql)?;
    let result = run_all(connection, jobs, settle)
        .and_then(|()| connection.prepare_cached("COMMIT").and_then(|mut end| end.execute([])).map_err(sql));
    if result.is_err() && !connection.is_autocommit() {
        if let Err(error) = connection.execute_batch("ROLLBACK") {
            tracing::error!(%error, "a failed commit could not be rolled back");
        }
    }
    result.map(drop)
}

fn run_all(
    connection: &Connection,
    jobs: impl Iterator<Item = Job>,
    settle: &mut Vec<Settle>,
) -> Result<(), StoreError> {
    let mut batch = Batch { connection, open_incidents: OpenIncidents::default() };
    for job in jobs {
        settle.push(job(&mut batch)?);
    }
    Ok(())
}
