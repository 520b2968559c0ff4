//! A plugin named `v` whose versions come and go: how they are put there, and which of them serves.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use serde_json::Value;

use crate::guest::{Fault, versioned};
use crate::host::Watchkeeper;
use crate::setup::Setup;
use crate::wait::{PATIENCE, wait};

/// Where it listens.
pub const PATH: &str = "/alerts/v";

/// Settles quickly, so that tests do.
const QUICK: &str = "plugins: { debounce: 20ms }\n";

/// `v00001`, and a source of it.
pub fn setup() -> Setup {
    Setup::without_sources()
        .config("watchkeeper.yaml", QUICK)
        .source("v.yaml", "name: v\ntype: v\n")
        .plugin_bytes("v.wasm", versioned(PATH, "v00001", Fault::None))
}

/// The file that versions are put into.
pub fn file(host: &Watchkeeper) -> PathBuf {
    host.site.plugins_dir().join("v.wasm")
}

/// Beside and renamed, as a careful operator does it.
pub fn put(path: &Path, bytes: &[u8]) {
    let beside = path.with_extension("part");
    fs::write(&beside, bytes).unwrap();
    fs::rename(beside, path).unwrap();
}

/// Which version reads now: by an alert with an id that is new.
pub fn serving(host: &Watchkeeper) -> String {
    let id = format!("probe-{:?}", Instant::now()).replace(['{', '}', ' ', '\n'], "");
    let answer = host.post_to(PATH, id.clone());
    assert_eq!(answer.status, 200, "{answer:?}");
    let alert = host.alerts().into_iter().find(|alert| alert["id"] == id).unwrap();
    assert_eq!(alert["title"], alert["description"], "of one version, whole: {alert}");
    alert["title"].as_str().unwrap().to_owned()
}

/// Waits until this version serves.
pub fn serves(host: &Watchkeeper, version: &str) {
    wait(&format!("{version} serves"), PATIENCE, || (serving(host) == version).then_some(()));
}

/// What the API says of it.
pub fn plugin(host: &Watchkeeper) -> Value {
    host.get("/api/v1/plugins/v").json()
}

/// The last line of the record.
pub fn last(host: &Watchkeeper) -> Value {
    plugin(host)["attempts"].as_array().unwrap().last().unwrap().clone()
}

/// The refusal with these words, once it is the last line of the record.
pub fn refused(host: &Watchkeeper, words: &str) -> Value {
    wait(&format!("a refusal with `{words}`"), PATIENCE, || {
        let last = plugin(host)["attempts"].as_array()?.last()?.clone();
        let says = last["reason"].as_str().is_some_and(|reason| reason.contains(words));
        (last["outcome"] == "refused" && says).then_some(last)
    })
}
