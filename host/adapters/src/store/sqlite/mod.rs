//! The embedded store: SQLite in WAL mode with full sync.
//!
//! One thread writes; whatever waits for it when it comes round is one commit (`writer`). Queries run beside it on
//! read-only connections (`query`). Several processes may have the same store open: SQLite's own locks order them.

mod audit;
mod ingest;
mod investigate;
mod outbox;
mod prune;
mod query;
mod rows;
mod schema;
mod tokens;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use rusqlite::{Connection, OpenFlags};
use watchkeeper_domain::access::{Token, TokenId};
use watchkeeper_domain::audit::{Entry as AuditEntry, Record};
use watchkeeper_domain::escalation;
use watchkeeper_domain::incident::Incident;
use watchkeeper_domain::investigation::{Entry, Event, Investigation, PastReport};
use watchkeeper_domain::plugin::Payload;
use watchkeeper_domain::store::*;
use watchkeeper_domain::{IncidentId, InvestigationId, Timestamp, Untrusted};

use audit::Signer;
pub use audit::{AuditFile, Verified};
use writer::Writer;

use super::AuditKey;

const FILE: &str = "watchkeeper.db";

/// How long one process waits for another's write.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Read-only connections that are kept for the next query.
const IDLE_READERS: usize = 4;

pub struct SqliteStore {
    writer: Writer,
    signer: Arc<Signer>,
    readers: Arc<Readers>,
}

impl SqliteStore {
    /// Opens, or creates, the store in the folder `data`, with the audit log's key in it.
    pub fn open(data: &Path) -> Result<Self, StoreError> {
        Self::open_with_key(data, &AuditKey::file_in(data))
    }

    /// As [`SqliteStore::open`], with the key elsewhere.
    pub fn open_with_key(data: &Path, key: &Path) -> Result<Self, StoreError> {
        let path = data.join(FILE);
        std::fs::create_dir_all(data).map_err(|error| unavailable(format!("{}: {error}", data.display())))?;
        let signer = Arc::new(Signer::new(key, audit_key(&path, key)?));
        let wrong = |error: rusqlite::Error| unavailable(format!("{}: {error}", path.display()));
        let connection = open_writer(&path, signer.clone()).map_err(wrong)?;
        // A crash may have come between a new key's introduction and its place.
        let current = audit::current_key(&connection).map_err(wrong)?;
        signer.settle(current.as_deref()).map_err(unavailable)?;
        Ok(Self {
            writer: Writer::start(connection)?,
            signer,
            readers: Arc::new(Readers { path, idle: Mutex::new(Vec::new()) }),
        })
    }

    /// Whether the folder has a store already.
    pub fn exists(data: &Path) -> bool {
        data.join(FILE).is_file()
    }

    /// Whether the folder's store ever had an API token. Changes nothing, whatever version it is of.
    pub fn has_tokens(data: &Path) -> bool {
        let readers = Readers { path: data.join(FILE), idle: Mutex::new(Vec::new()) };
        let some = |connection: Connection| {
            connection.query_row("SELECT EXISTS (SELECT 1 FROM tokens)", [], |row| row.get(0))
        };
        Self::exists(data) && readers.open().and_then(some).unwrap_or(false)
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

/// The key in `file`. One is made for a store that has no log yet, and never beside one: what it signs would not be believed.
fn audit_key(store: &Path, file: &Path) -> Result<AuditKey, StoreError> {
    if file.exists() {
        return AuditKey::read(file).map_err(unavailable);
    }
    let log =
        store.is_file().then(|| Readers { path: store.to_owned(), idle: Mutex::new(Vec::new()) }.open());
    let has_log = log.is_some_and(|connection| {
        let count = |connection: Connection| {
            connection.query_row("SELECT count(*) FROM audit", [], |row| row.get::<_, i64>(0))
        };
        connection.and_then(count).is_ok_and(|count| count > 0)
    });
    if has_log {
        return Err(unavailable(format!(
            "{}: the key of the audit log in {} is not there: put it back, or name it with --audit-key",
            file.display(),
            store.display()
        )));
    }
    AuditKey::create(file).map_err(unavailable)
}

fn open_writer(path: &Path, signer: Arc<Signer>) -> Result<Connection, rusqlite::Error> {
    let mut connection = Connection::open(path)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.pragma_update(None, "journal_mode", "wal")?;
    connection.pragma_update(None, "synchronous", "full")?;
    // Checkpoints copy whole pages; fewer of them copy fewer. 16 MiB of log is read back in well under a second.
    connection.pragma_update(None, "wal_autocheckpoint", 4096)?;
    connection.pragma_update(None, "cache_size", -32 * 1024)?;
    connection.set_prepared_statement_cache_capacity(64);
    audit::let_sign(&connection, signer)?;
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
        error: &Untrusted,
        asked: bool,
    ) -> Result<PayloadId, StoreError> {
        let (source, error) = (source.to_owned(), error.expose_untrusted().clone());
        let bury = move |batch: &mut writer::Batch<'_>| {
            let unread = Some(ingest::Unread { error: &error, asked });
            ingest::keep_payload(batch.connection, &source, received_at, &payload, unread).map_err(sql)
        };
        self.writer.write_in_no_hurry(bury).await
    }

    async fn bury_again(&self, id: PayloadId, error: &Untrusted) -> Result<(), StoreError> {
        let error = error.expose_untrusted().clone();
        let bury = move |batch: &mut writer::Batch<'_>| {
            ingest::bury_again(batch.connection, id, &error).map_err(sql)
        };
        self.writer.write_in_no_hurry(bury).await
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

    async fn unasked_letters(
        &self,
        source: &str,
        after: Option<PayloadId>,
        limit: u32,
    ) -> Result<Vec<DeadLetter>, StoreError> {
        let source = source.to_owned();
        self.read(move |connection| query::unasked_letters(connection, source, after, limit)).await
    }

    async fn unasked_sources(&self) -> Result<Vec<String>, StoreError> {
        self.read(query::unasked_sources).await
    }

    async fn recent_payloads(
        &self,
        sources: &[String],
        limit: u32,
        max_bytes: u64,
    ) -> Result<Vec<(String, Payload)>, StoreError> {
        let sources = sources.to_vec();
        self.read(move |connection| {
            query::recent_payloads(connection, sources, limit, max_bytes).map_err(sql)
        })
        .await
    }

    async fn prune_payloads(
        &self,
        before: Timestamp,
        after: Option<PayloadId>,
        limit: u32,
    ) -> Result<Pruned, StoreError> {
        let prune = move |batch: &mut writer::Batch<'_>| {
            prune::payloads(batch.connection, before, after, limit).map_err(sql)
        };
        self.writer.write_in_no_hurry(prune).await
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

    async fn address_notices(&self, channels: &[String]) -> Result<(), StoreError> {
        let channels = channels.to_vec();
        let address = move |batch: &mut writer::Batch<'_>| {
            outbox::address(batch.connection, &channels, Timestamp::now()).map_err(sql)
        };
        self.writer.write(address).await
    }

    async fn has_unaddressed_notices(&self) -> Result<bool, StoreError> {
        self.read(move |connection| outbox::is_unaddressed(connection).map_err(sql)).await
    }

    async fn due_notices(
        &self,
        channel: &str,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<Outgoing>, StoreError> {
        let channel = channel.to_owned();
        self.read(move |connection| outbox::due(connection, &channel, now, limit).map_err(sql)).await
    }

    async fn notice_delivered(&self, id: i64) -> Result<(), StoreError> {
        self.writer
            .write(move |batch| outbox::delivered(batch.connection, id, Timestamp::now()).map_err(sql))
            .await
    }

    async fn notice_failed(
        &self,
        id: i64,
        error: &str,
        next_at: Option<Timestamp>,
    ) -> Result<(), StoreError> {
        let error = error.to_owned();
        let fail = move |batch: &mut writer::Batch<'_>| {
            outbox::failed(batch.connection, id, &error, next_at, Timestamp::now()).map_err(sql)
        };
        self.writer.write(fail).await
    }

    async fn pending_notices(&self) -> Result<Vec<(String, u64)>, StoreError> {
        self.read(move |connection| outbox::pending(connection).map_err(sql)).await
    }

    async fn deliveries(&self, query: DeliveryQuery) -> Result<Page<escalation::Delivery>, StoreError> {
        self.read(move |connection| query::deliveries(connection, &query)).await
    }

    async fn record(&self, record: Record) -> Result<AuditEntry, StoreError> {
        let now = Timestamp::now();
        self.writer.write(move |batch| audit::append(batch.connection, now, record).map_err(sql)).await
    }

    async fn audit(&self, after: u64, limit: u32) -> Result<Vec<AuditEntry>, StoreError> {
        self.read(move |connection| audit::entries(connection, after, limit).map_err(sql)).await
    }

    async fn rotate_audit_key(&self, by: &str) -> Result<String, StoreError> {
        let (signer, by) = (self.signer.clone(), by.to_owned());
        let next = signer.prepare().map_err(unavailable)?;
        let signed = signer.clone();
        let rotate = move |batch: &mut writer::Batch<'_>| {
            audit::rotate(batch.connection, &signed, next, &by).map_err(sql)
        };
        self.writer.write(rotate).await?;
        signer.settle(Some(&next.to_string())).map_err(unavailable)?;
        Ok(next.to_string())
    }

    async fn create_token(&self, new: NewToken) -> Result<Token, StoreError> {
        self.writer.write(move |batch| tokens::create(batch.connection, new)).await
    }

    async fn tokens(&self) -> Result<Vec<Token>, StoreError> {
        self.read(move |connection| tokens::all(connection).map_err(sql)).await
    }

    async fn revoke_token(&self, name: &str, by: &str) -> Result<Token, StoreError> {
        let (name, by) = (name.to_owned(), by.to_owned());
        self.writer.write(move |batch| tokens::revoke(batch.connection, &name, &by)).await
    }

    async fn token_used(&self, id: TokenId, at: Timestamp) -> Result<(), StoreError> {
        self.writer.write(move |batch| tokens::used(batch.connection, id, at).map_err(sql)).await
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
