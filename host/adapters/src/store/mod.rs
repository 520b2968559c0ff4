//! Stores. Each passes `contract`, the suite in `host/adapters/tests`.

mod sqlite;

pub use sqlite::SqliteStore;
