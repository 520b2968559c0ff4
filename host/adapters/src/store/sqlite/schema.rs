//! The file's tables, version by version.
//!
//! Invariant: what is in a released version's text never changes; a new need is a new text at the end. So a new file and
//! one of any version before come to the same tables.

use rusqlite::{Connection, Error, TransactionBehavior};

const VERSIONS: [&str; 6] = [
    include_str!("schema/1.sql"),
    include_str!("schema/2.sql"),
    include_str!("schema/3.sql"),
    include_str!("schema/4.sql"),
    include_str!("schema/5.sql"),
    include_str!("schema/6.sql"),
];

/// Whose tables have the audit log, which begins with them.
const WITH_AUDIT: u32 = 3;

/// Brings the file to the last version, in one commit.
pub(super) fn migrate(connection: &mut Connection) -> Result<(), Error> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let version: u32 = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let last = VERSIONS.len();
    let missing = VERSIONS.get(version as usize..).ok_or_else(|| {
        let newer = format!("its version {version} is of a newer Watchkeeper; this one knows up to {last}");
        Error::ToSqlConversionFailure(newer.into())
    })?;
    for text in missing {
        transaction.execute_batch(text)?;
    }
    if version < WITH_AUDIT {
        super::audit::open_log(&transaction)?;
    }
    if !missing.is_empty() {
        transaction.pragma_update(None, "user_version", last as i64)?;
    }
    transaction.commit()
}
