//! Stores. Each passes the suite `host/adapters/tests/store_contract.rs`.

mod sqlite;

pub use sqlite::SqliteStore;
