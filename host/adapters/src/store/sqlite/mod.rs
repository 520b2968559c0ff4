//! The embedded store: SQLite in WAL mode with full sync.
//!
//! One thread writes; whatever waits for it when it comes round is one commit (`writer`). Queries run beside it on
//! read-only connections (`query`). Several processes may have the same store open: SQLite's own locks order them.

mod ingest;
mod investigate;
mod query;
mod rows;
mod schema;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use rusqlite::{Connection, OpenFlags};
use watchkeeper_domain::escalation::Notice;
use watchkeeper_domain::incident::Incident;
use watchkeeper_domain::investigation::{Entry, Event, Investigation, PastReport};
use watchkeeper_domain::plugin::Payload;
use watchkeeper_domain::store::*;
use watchkeeper_domain::{IncidentId, InvestigationId, Timestamp};

use writer::Writer;

const FILE: &str = "watchkeeper.db";

/// How long one process waits for another's write.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Read-only connections that are kept for the next query.
const IDLE_READERS: usize = 4;

pub struct SqliteStore {
    writer: Writer,
    readers: Arc<Readers>,
}

impl SqliteStore {
    /// Opens, or creates, the store in the folder `data`.
    pub fn open(data: &Path) -> Result<Self, StoreError> {
        let path = data.join(FILE);
        std::fs::create_dir_all(data).map_err(|error| unavailable(format!("{}: {error}", data.display())))?;
        let connection =
            open_writer(&path).map_err(|error| unavailable(format!("{}: {error}", path.display())))?;
        Ok(Self {
            writer: Writer::start(connection)?,
            readers: Arc::new(Readers { path, idle: Mutex::new(Vec::new()) }),
        })
    }

    /// Whether the folder has a store already.
    pub fn exists(data: &Path) -> bool {
        data.join(FILE).is_file()
    }

    async fn read<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let readers = self.readers.clone();
        let run = move || {
            let connection = readers.take()?;
            let result = query(&connection);
            readers.give_back(connection);
            result
        };
        tokio::task::spawn_blocking(run).await.map_err(|error| unavailable(error.to_string()))?
    }
}

fn open_writer(path: &Path) -> Result<Connection, rusqlite::Error> {
    let mut connection = Connection::open(path)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.pragma_update(None, "journal_mode", "wal")?;
    connection.pragma_update(None, "synchronous", "full")?;
    // Checkpoints copy whole pages; fewer of them copy fewer. 16 MiB of log is read back in well under a second.
    connection.pragma_update(None, "wal_autocheckpoint", 4096)?;
    connection.pragma_update(None, "cache_size", -32 * 1024)?;
    connection.set_prepared_statement_cache_capacity(64);
    schema::migrate(&mut connection)?;
    Ok(connection)
}

struct Readers {
    path: PathBuf,
    idle: Mutex<Vec<Connection>>,
}

impl Readers {
    fn take(&self) -> Result<Connection, StoreError> {
        let idle = self.idle.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).pop();
        idle.map_or_else(|| self.open().map_err(sql), Ok)
    }

    fn open(&self) -> Result<Connection, rusqlite::Error> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&self.path, flags)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        connection.pragma_update(None, "query_only", true)?;
        Ok(connection)
    }

    fn give_back(&self, connection: Connection) {
        let mut idle = self.idle.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if idle.len() < IDLE_READERS {
            idle.push(connection);
        }
    }
}

fn unavailable(error: String) -> StoreError {
    StoreError::Unavailable(error)
}

fn sql(error: rusqlite::Error) -> StoreError {
    unavailable(error.to_string())
}

#[async_trait]
impl Store for SqliteStore {
    async fn ingest(&self, delivery: Delivery) -> Result<Receipt, StoreError> {
        self.writer.write(move |batch| ingest::ingest(batch, delivery)).await
    }

    async fn cursor(&self, source: &str) -> Result<Option<String>, StoreError> {
        let source = source.to_owned();
        self.read(move |connection| query::cursor(connection, &source).map_err(sql)).await
    }

    async fn move_cursor(&self, source: &str, step: CursorMove) -> Result<(), StoreError> {
        let source = source.to_owned();
        self.writer.write(move |batch| ingest::move_cursor(batch.connection, &source, &step)).await
    }

    async fn bury(
        &self,
        source: &str,
        received_at: Timestamp,
        payload: Arc<Payload>,
        error: &str,
    ) -> Result<PayloadId, StoreError> {
        let (source, error) = (source.to_owned(), error.to_owned());
        let bury = move |batch: &mut writer::Batch<'_>| {
            ingest::keep_payload(batch.connection, &source, received_at, &payload, Some(&error)).map_err(sql)
        };
        self.writer.write(bury).await
    }

    async fn dead_letters(
        &self,
        source: Option<&str>,
        after: Option<PayloadId>,
        limit: u32,
    ) -> Result<Vec<DeadLetter>, StoreError> {
        let source = source.map(str::to_owned);
        self.read(move |connection| query::dead_letters(connection, source, after, limit)).await
    }

    async fn recent_payloads(
        &self,
        limit: u32,
        max_bytes: u64,
    ) -> Result<Vec<(String, Payload)>, StoreError> {
        self.read(move |connection| query::recent_payloads(connection, limit, max_bytes).map_err(sql)).await
    }

    async fn alerts(&self, query: AlertQuery) -> Result<Page<StoredAlert>, StoreError> {
        self.read(move |connection| query::alerts(connection, &query)).await
    }

    async fn incidents(&self, query: IncidentQuery) -> Result<Page<Incident>, StoreError> {
        self.read(move |connection| query::incidents(connection, &query)).await
    }

    async fn incident(&self, id: IncidentId) -> Result<Option<Incident>, StoreError> {
        self.read(move |connection| query::incident(connection, id).map_err(sql)).await
    }

    async fn leading_alert(&self, incident: IncidentId) -> Result<Option<StoredAlert>, StoreError> {
        self.read(move |connection| query::leading_alert(connection, incident).map_err(sql)).await
    }

    async fn past_reports(&self, incident: IncidentId, limit: u32) -> Result<Vec<PastReport>, StoreError> {
        self.read(move |connection| query::past_reports(connection, incident, limit).map_err(sql)).await
    }

    async fn investigations(&self, query: InvestigationQuery) -> Result<Page<Investigation>, StoreError> {
        self.read(move |connection| query::investigations(connection, &query)).await
    }

    async fn investigation(&self, id: InvestigationId) -> Result<Option<Investigation>, StoreError> {
        self.read(move |connection| query::investigation(connection, id).map_err(sql)).await
    }

    async fn transcript(&self, id: InvestigationId, from: u32) -> Result<Vec<Entry>, StoreError> {
        self.read(move |connection| query::transcript(connection, id, from).map_err(sql)).await
    }

    async fn request_investigation(&self, incident: IncidentId) -> Result<InvestigationId, StoreError> {
        self.writer.write(move |batch| investigate::request(batch.connection, incident)).await
    }

    async fn open_investigations(&self, limit: u32) -> Result<Vec<InvestigationId>, StoreError> {
        self.read(move |connection| query::open_investigations(connection, limit).map_err(sql)).await
    }

    async fn append(&self, id: InvestigationId, seq: u32, event: Event) -> Result<Entry, StoreError> {
        self.writer.write(move |batch| investigate::append(batch.connection, id, seq, event)).await
    }

    async fn due_notices(&self, now: Timestamp, limit: u32) -> Result<Vec<Outgoing>, StoreError> {
        self.read(move |connection| query::due_notices(connection, now, limit).map_err(sql)).await
    }

    async fn notice_delivered(&self, id: i64) -> Result<(), StoreError> {
        let write = move |batch: &mut writer::Batch<'_>| {
            let text = "UPDATE notices SET delivered_at = ?2, error = NULL WHERE id = ?1";
            batch.connection.prepare_cached(text)?.execute((id, rows::millis(Timestamp::now())))
        };
        self.writer.write(move |batch| write(batch).map(drop).map_err(sql)).await
    }

    async fn notice_failed(&self, id: i64, error: &str, next_at: Timestamp) -> Result<(), StoreError> {
        let error = error.to_owned();
        let write = move |batch: &mut writer::Batch<'_>| {
            let text = "UPDATE notices SET attempts = attempts + 1, error = ?2, next_at = ?3 WHERE id = ?1";
            batch.connection.prepare_cached(text)?.execute((id, error, rows::millis(next_at)))
        };
        self.writer.write(move |batch| write(batch).map(drop).map_err(sql)).await
    }

    async fn probe(&self) -> Result<(), StoreError> {
        // A real write, and durable: what a full disk would refuse.
        let write = |batch: &mut writer::Batch<'_>| {
            let text = "INSERT OR REPLACE INTO probe (id, at) VALUES (1, ?1)";
            batch.connection.prepare_cached(text)?.execute([rows::millis(Timestamp::now())])
        };
        self.writer.write(move |batch| write(batch).map(drop).map_err(sql)).await
    }
}

/// The notice of an escalation, once an incident.
fn put_notice(connection: &Connection, notice: &Notice) -> Result<(), rusqlite::Error> {
    let text = "INSERT OR IGNORE INTO notices (incident, notice, next_at) VALUES (?1, ?2, ?3)";
    let values = (notice.incident.0, rows::json(notice), rows::millis(notice.escalated_at));
    connection.prepare_cached(text)?.execute(values).map(drop)
}
