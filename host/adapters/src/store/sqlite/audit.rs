//! The audit log's rows.
//!
//! Invariant: an entry is appended in the transaction of what it records. The key stands behind an SQL function of the
//! writer's connection, so no other connection can append.
//!
//! Which key signs, the log itself says: the last one that was introduced. Each process looks at each entry, in the
//! transaction, so that none goes on by a key that another process let make way.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::functions::FunctionFlags;
use rusqlite::{Connection, Error, OpenFlags, OptionalExtension, Row};
use serde_json::json;
use watchkeeper_domain::Timestamp;
use watchkeeper_domain::audit::{Digest, Entry, Fault, Head, OPENED, Record, Verifier, rotation};

use super::rows::{self, millis};
use crate::store::{AuditKey, PublicKey};

/// Faults that are told; a log that has more is told enough.
const FAULTS: usize = 100;

/// The key of a file, and those that take its place.
pub(super) struct Signer {
    file: PathBuf,
    /// What signs as long as the log introduces no other.
    first: PublicKey,
    held: Mutex<AuditKey>,
}

impl Signer {
    pub(super) fn new(file: &Path, key: AuditKey) -> Self {
        Self { file: file.to_owned(), first: key.public(), held: Mutex::new(key) }
    }

    fn sign(&self, current: Option<&str>, bytes: &[u8]) -> Result<Vec<u8>, String> {
        let wanted = current.map_or_else(|| self.first.to_string(), str::to_owned);
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if held.public().to_string() != wanted {
            *held = self.find(&wanted)?;
        }
        Ok(held.sign(bytes))
    }

    /// The key of this public half: in its place, or about to take it.
    fn find(&self, public: &str) -> Result<AuditKey, String> {
        let files = [self.file.clone(), AuditKey::next_file(&self.file)];
        let mut keys = files.iter().filter_map(|file| AuditKey::read(file).ok());
        keys.find(|key| key.public().to_string() == public).ok_or_else(|| {
            format!(
                "{}: is not the key that the audit log goes on by, {public}: put that one back, or name it with --audit-key",
                self.file.display()
            )
        })
    }

    /// A successor, which signs once the log introduces it.
    pub(super) fn prepare(&self) -> Result<PublicKey, String> {
        AuditKey::prepare(&self.file).map(|key| key.public())
    }

    /// The key that the log goes on by is in its place from now on, and listed.
    pub(super) fn settle(&self, current: Option<&str>) -> Result<(), String> {
        let Some(current) = current else { return Ok(()) };
        let current = self.find(current)?.public();
        AuditKey::take_over(&self.file, self.first, current)
    }
}

/// From now on this connection can append.
pub(super) fn let_sign(connection: &Connection, signer: Arc<Signer>) -> Result<(), Error> {
    connection.create_scalar_function("audit_signature", 2, FunctionFlags::SQLITE_UTF8, move |context| {
        let bytes = context.get_raw(0).as_blob().map_err(|error| Error::UserFunctionError(error.into()))?;
        let current: Option<String> = context.get(1)?;
        signer.sign(current.as_deref(), bytes).map_err(|error| Error::UserFunctionError(error.into()))
    })
}

/// The public key that was introduced last; none where the first still signs.
pub(super) fn current_key(connection: &Connection) -> Result<Option<String>, Error> {
    // The text of the index's condition, by which it is found.
    let text = "SELECT * FROM audit WHERE action = 'log.key_rotated' ORDER BY seq DESC LIMIT 1";
    let last = connection.prepare_cached(text)?.query_row([], entry).optional()?;
    Ok(last.and_then(|entry| entry.introduces()))
}

/// The last entry of the key that signs now.
pub(super) fn rotate(
    connection: &Connection,
    signer: &Signer,
    to: PublicKey,
    by: &str,
) -> Result<Entry, Error> {
    let from = current_key(connection)?.unwrap_or_else(|| signer.first.to_string());
    append(connection, Timestamp::now(), rotation(by, &from, &to.to_string()))
}

/// The first entry, with the tables: of what is older there are none.
pub(super) fn open_log(connection: &Connection) -> Result<(), Error> {
    let text = "SELECT coalesce(max(id), 0) FROM investigations";
    let before: i64 = connection.query_row(text, [], |row| row.get(0))?;
    let detail = json!({ "investigations_before": before });
    append(connection, Timestamp::now(), Record::new("host", OPENED, "audit log", detail)).map(drop)
}

pub(super) fn append(connection: &Connection, at: Timestamp, record: Record) -> Result<Entry, Error> {
    let text = "SELECT seq, hash FROM audit ORDER BY seq DESC LIMIT 1";
    let last = connection.prepare_cached(text)?.query_row([], |row| {
        let seq: i64 = row.get(0)?;
        Ok((seq as u64, digest(row, 1)?))
    });
    let mut entry = Entry::after(last.optional()?, at, record);
    let key = current_key(connection)?;
    let text =
        "INSERT INTO audit (seq, at, actor, action, subject, detail, digest, previous, hash, signature)
                VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, audit_signature(?10, ?11)) RETURNING signature";
    entry.signature = connection.prepare_cached(text)?.query_row(
        (
            entry.seq as i64,
            millis(entry.at),
            &entry.actor,
            &entry.action,
            &entry.subject,
            &entry.detail,
            &entry.digest.0[..],
            &entry.previous.0[..],
            &entry.hash.0[..],
            entry.signed(),
            key,
        ),
        |row| row.get(0),
    )?;
    Ok(entry)
}

pub(super) fn entries(connection: &Connection, after: u64, limit: u32) -> Result<Vec<Entry>, Error> {
    let text = "SELECT * FROM audit WHERE seq > ?1 ORDER BY seq LIMIT ?2";
    let after = i64::try_from(after).unwrap_or(i64::MAX);
    connection.prepare_cached(text)?.query_map((after, limit), entry)?.collect()
}

fn entry(row: &Row<'_>) -> Result<Entry, Error> {
    Ok(Entry {
        seq: row.get::<_, i64>("seq")? as u64,
        at: rows::time(row, "at")?,
        actor: row.get("actor")?,
        action: row.get("action")?,
        subject: row.get("subject")?,
        detail: row.get("detail")?,
        digest: digest(row, "digest")?,
        previous: digest(row, "previous")?,
        hash: digest(row, "hash")?,
        signature: row.get("signature")?,
    })
}

/// One of another length is nobody's digest, and so no error but a fault.
fn digest(row: &Row<'_>, column: impl rusqlite::RowIndex) -> Result<Digest, Error> {
    Ok(Digest::from_slice(row.get_ref(column)?.as_bytes()?).unwrap_or(Digest::ZERO))
}

/// The log of a store, to be looked at alone: it needs no key, and changes nothing.
pub struct AuditFile(Connection);

impl AuditFile {
    pub fn open(data: &Path) -> Result<Self, String> {
        let path = data.join(super::FILE);
        let open = || {
            // WAL needs a file beside it, which a reader may have to make.
            let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
            let connection = Connection::open_with_flags(&path, flags)?;
            connection.busy_timeout(super::BUSY_TIMEOUT)?;
            connection.pragma_update(None, "query_only", true)?;
            let text = "SELECT count(*) FROM sqlite_schema WHERE name = 'audit'";
            Ok(connection.query_row(text, [], |row| row.get::<_, i64>(0))?.eq(&1).then_some(connection))
        };
        let place = path.display();
        match open() {
            Ok(Some(connection)) => Ok(Self(connection)),
            Ok(None) => {
                Err(format!("{place}: has no audit log yet; start this version's `serve` on it once"))
            }
            Err(error) => Err(wrong(&path, error)),
        }
    }

    pub fn entries(&self, after: u64, limit: u32) -> Result<Vec<Entry>, String> {
        entries(&self.0, after, limit).map_err(|error| error.to_string())
    }

    /// The last entry, with the key that signs by then; none of a log that was emptied. `first` is the first key.
    pub fn head(&self, first: &PublicKey) -> Result<Option<Head>, String> {
        self.last(first).map_err(|error| error.to_string())
    }

    fn last(&self, first: &PublicKey) -> Result<Option<Head>, Error> {
        let view = self.0.unchecked_transaction()?;
        let key = current_key(&view)?.unwrap_or_else(|| first.to_string());
        let last = view.query_row("SELECT * FROM audit ORDER BY seq DESC LIMIT 1", [], entry).optional()?;
        Ok(last.map(|last| Head { seq: last.seq, at: last.at, hash: last.hash, key }))
    }

    /// The whole log, against the keys from the first on, the anchor, and the records that it speaks of.
    pub fn verify(&self, keys: &[PublicKey], anchor: Option<Head>) -> Result<Verified, String> {
        self.verified(keys, anchor).map_err(|error| error.to_string())
    }

    fn verified(&self, keys: &[PublicKey], anchor: Option<Head>) -> Result<Verified, Error> {
        // One view of it all, beside a host that goes on writing.
        let view = self.0.unchecked_transaction()?;
        let good = |key: &str, bytes: &[u8], signature: &[u8]| {
            PublicKey::parse(key).is_some_and(|key| key.verifies(bytes, signature))
        };
        let mut verifier = Verifier::new(keys.iter().map(ToString::to_string).collect(), good, anchor);
        let (mut count, mut faults) = (0, Vec::new());
        let mut query = view.prepare("SELECT * FROM audit ORDER BY seq")?;
        let mut rows = query.query([])?;
        while let Some(row) = rows.next()? {
            count += 1;
            if faults.len() < FAULTS {
                faults.extend(verifier.read(&entry(row)?));
            }
        }
        faults.extend(verifier.end());
        faults.extend(steps_without_entry(&view)?);
        faults.extend(entries_without_step(&view)?);
        faults.sort_by_key(|fault| fault.seq);
        faults.truncate(FAULTS);
        Ok(Verified { entries: count, faults, keys: verifier.keys().to_vec() })
    }
}

/// What a look at the whole log found.
pub struct Verified {
    pub entries: u64,
    pub faults: Vec<Fault>,
    /// Public keys that signed, each introduced by the one before it.
    pub keys: Vec<String>,
}

fn wrong(path: &Path, error: Error) -> String {
    format!("{}: can't be read: {error}", path.display())
}

/// Steps of investigations that the log doesn't know, or knows otherwise.
fn steps_without_entry(connection: &Connection) -> Result<Vec<Fault>, Error> {
    let text = "SELECT coalesce(json_extract(detail, '$.investigations_before'), 0) FROM audit
                WHERE seq = 1 AND json_valid(detail)";
    let before: i64 = connection.query_row(text, [], |row| row.get(0)).optional()?.unwrap_or(0);
    let mut query = connection.prepare(
        "SELECT events.investigation AS investigation, events.seq AS step, event, audit.seq AS entry, digest
         FROM events LEFT JOIN audit ON audit.subject = 'inv-' || events.investigation || '#' || events.seq
         ORDER BY events.investigation, events.seq",
    )?;
    let mut rows = query.query([])?;
    let (mut faults, mut known) = (Vec::new(), None);
    while let Some(row) = rows.next()? {
        let investigation: i64 = row.get("investigation")?;
        let subject = format!("inv-{investigation}#{}", row.get::<_, i64>("step")?);
        match row.get::<_, Option<i64>>("entry")? {
            Some(seq) => {
                known = Some(investigation);
                let stored = Digest::of(row.get_ref("event")?.as_bytes()?);
                if stored != digest(row, "digest")? {
                    let what = format!("what it records, {subject}, was changed in the store");
                    faults.push(Fault { seq: seq as u64, what });
                }
            }
            None if investigation > before || known == Some(investigation) => {
                let what = format!("{subject} is in the store, and has no entry");
                faults.push(Fault { seq: 0, what });
            }
            None => {}
        }
        if faults.len() >= FAULTS {
            break;
        }
    }
    Ok(faults)
}

fn entries_without_step(connection: &Connection) -> Result<Vec<Fault>, Error> {
    let mut query = connection.prepare(
        "SELECT seq, subject FROM audit WHERE subject GLOB 'inv-[0-9]*#[0-9]*' AND NOT EXISTS
            (SELECT 1 FROM events
             WHERE investigation = CAST(substr(subject, 5, instr(subject, '#') - 5) AS INTEGER)
               AND events.seq = CAST(substr(subject, instr(subject, '#') + 1) AS INTEGER))
         ORDER BY seq LIMIT 100",
    )?;
    let faults = query.query_map([], |row| {
        let (seq, subject): (i64, String) = (row.get(0)?, row.get(1)?);
        Ok(Fault { seq: seq as u64, what: format!("what it records, {subject}, is gone from the store") })
    })?;
    faults.collect()
}
