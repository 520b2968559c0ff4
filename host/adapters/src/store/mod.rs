//! Stores. Each passes the suite `host/adapters/tests/store_contract.rs`.

mod key;
mod sqlite;

pub use key::{AuditKey, PublicKey};
pub use sqlite::{AuditFile, SqliteStore, Verified};
