//! The plugin `uptime` in every language, through a real host, held to the same data: `tests/conformance/uptime.json`. What was
//! compiled for a released contract is held to it, too.
//!
//! A case is a configuration, and a payload with what becomes of it. `repeat` in a payload stands for so many copies of the one
//! check in its list, with their number for `#`; `nested` for a list in a list, so deep.

#![allow(clippy::unwrap_used, reason = "a test that can't go on fails with what stood in its way")]

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value, json};
use watchkeeper_tests::{Complaints, PATIENCE, Setup, Watchkeeper, not_run, wait};

#[test]
fn rust() {
    built("rust");
}

#[test]
fn python() {
    built("python");
}

#[test]
fn js() {
    built("js");
}

#[test]
fn go() {
    built("go");
}

#[test]
fn c() {
    built("c");
}

/// Components of version 0.1.0 of the contract, as they were compiled then. They never change.
#[test]
fn frozen_0_1_0() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("frozen/v0.1.0");
    let mut languages: Vec<PathBuf> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    languages.sort();
    assert!(!languages.is_empty());
    for language in languages {
        hold(&std::fs::read(language.join("uptime.wasm")).unwrap());
    }
}

fn built(language: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugins");
    let folder = std::env::var_os("WATCHKEEPER_TEST_PLUGINS").map_or(folder, PathBuf::from);
    let file = folder.join(format!("uptime-{language}.wasm"));
    match std::fs::read(&file) {
        Ok(component) => hold(&component),
        Err(_) => {
            not_run(&format!("{} isn't built; `cargo xtask build --all-languages` does it", file.display()))
        }
    }
}

/// One source a case, each with its own path, in one host.
fn hold(component: &[u8]) {
    let cases = cases();
    let setup = Setup::without_sources().plugin_bytes("uptime.wasm", component);
    let setup =
        cases.iter().fold(setup, |setup, case| setup.source(&format!("{}.yaml", case.source), &case.yaml()));
    let began = SystemTime::now();
    let host = setup.start();
    let mut complaints = Complaints::default();
    for case in &cases {
        let differs = case.run(&host, began);
        complaints.unless(differs.is_none(), || format!("{}: {}", case.name, differs.unwrap_or_default()));
    }
}

fn cases() -> Vec<Case> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("conformance/uptime.json");
    let cases: Vec<Value> = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    assert!(cases.len() >= 25);
    cases.iter().enumerate().map(|(number, case)| Case::read(number, case)).collect()
}

struct Case {
    name: String,
    /// The name of its source.
    source: String,
    config: Map<String, Value>,
    payload: Value,
    expected: Value,
}

impl Case {
    fn read(number: usize, case: &Value) -> Self {
        Self {
            name: case["name"].as_str().unwrap().to_owned(),
            source: format!("case-{number}"),
            config: case["config"].as_object().unwrap().clone(),
            payload: case["payload"].clone(),
            expected: case["expected"].clone(),
        }
    }

    /// Where its source listens: at a path of its own, unless the path is what the case is about.
    fn path(&self) -> String {
        let asked = self.expected["feed"]["webhook"].as_str();
        asked.map_or_else(|| format!("/{}", self.source), str::to_owned)
    }

    fn yaml(&self) -> String {
        let mut keys = self.config.clone();
        keys.insert("name".to_owned(), self.source.clone().into());
        keys.insert("type".to_owned(), "uptime".into());
        if self.expected["feed"].is_null() {
            keys.entry("webhook_path").or_insert_with(|| self.path().into());
        }
        Value::Object(keys).to_string() // JSON is YAML
    }

    fn body(&self) -> String {
        if let Some(depth) = self.payload["nested"].as_u64() {
            let depth = depth as usize;
            return "[".repeat(depth) + &"]".repeat(depth);
        }
        let body = self.payload["body"].as_str().unwrap();
        let Some(copies) = self.payload["repeat"].as_u64() else { return body.to_owned() };
        let check = body.strip_prefix("{\"checks\":[").and_then(|rest| rest.strip_suffix("]}")).unwrap();
        let checks: Vec<String> = (0..copies).map(|n| check.replace('#', &n.to_string())).collect();
        format!("{{\"checks\":[{}]}}", checks.join(","))
    }

    /// What isn't as expected.
    fn run(&self, host: &Watchkeeper, began: SystemTime) -> Option<String> {
        match self.expected["error"].as_str() {
            Some("invalid-config") => self.disabled(host),
            Some("failed") => self.not_well(host),
            Some("invalid-payload") => self.refused(host),
            Some(other) => Some(format!("no such error: {other}")),
            None if !self.expected["feed"].is_null() => self.listens(host),
            None if !self.expected["reply"].is_null() => self.replied(host),
            None => self.stored(host, began),
        }
    }

    /// The log says which file's source is disabled, for which key, and why.
    fn disabled(&self, host: &Watchkeeper) -> Option<String> {
        let key = self.expected["key"].as_str().unwrap();
        let reason = self.expected["reason"].as_str().unwrap_or_default();
        let named = |line: &&str| {
            line.contains("source disabled") && line.contains(&format!("/{}.yaml", self.source))
        };
        let log = host.log();
        match log.lines().find(named) {
            Some(line) if line.contains(&format!(": {key}: {reason}")) => None,
            Some(line) => Some(line.to_owned()),
            None => Some("its source is not disabled".to_owned()),
        }
    }

    fn not_well(&self, host: &Watchkeeper) -> Option<String> {
        let what = format!("the log says that source {} is not well", self.source);
        let line = wait(&what, PATIENCE, || {
            let named = |line: &&str| line.contains("is not well") && line.contains(&self.source);
            host.log().lines().find(named).map(str::to_owned)
        });
        (!line.contains(self.expected["reason"].as_str().unwrap())).then_some(line)
    }

    fn refused(&self, host: &Watchkeeper) -> Option<String> {
        let answer = host.post_to(&self.path(), self.body());
        if answer.status != 400 {
            return Some(format!("{answer:?}"));
        }
        let error = answer.error();
        let fits = match self.expected["reason"].as_str() {
            Some(reason) => error == reason,
            None => error.starts_with(self.expected["reason_begins"].as_str().unwrap()),
        };
        (!fits).then_some(error)
    }

    fn listens(&self, host: &Watchkeeper) -> Option<String> {
        let answer = host.post_to(&self.path(), "{\"checks\":[]}");
        (answer.status != 200).then(|| format!("{answer:?}"))
    }

    fn replied(&self, host: &Watchkeeper) -> Option<String> {
        let expected = &self.expected["reply"];
        let answer = host.post_to(&self.path(), self.body());
        let headers = expected["headers"].as_object().unwrap();
        let same = u64::from(answer.status) == expected["status"]
            && answer.body == *expected["body"].as_str().unwrap()
            && headers.iter().all(|(name, value)| answer.header(name) == value.as_str());
        (!same).then(|| format!("{answer:?}"))
    }

    fn stored(&self, host: &Watchkeeper, began: SystemTime) -> Option<String> {
        let answer = host.post_to(&self.path(), self.body());
        if answer.status != 200 {
            return Some(format!("{answer:?}"));
        }
        // The listing has the newest first.
        let mut alerts = host.all("alerts", &format!("?source={}", self.source));
        alerts.reverse();
        let expected = self.alerts();
        if alerts.len() != expected.len() {
            return Some(format!("{} alerts, not {}", alerts.len(), expected.len()));
        }
        let pairs = alerts.iter().zip(&expected);
        let mut different = pairs.filter_map(|(alert, expected)| difference(alert, expected, began));
        different.next()
    }

    fn alerts(&self) -> Vec<Value> {
        let alerts = self.expected["alerts"].as_array().unwrap();
        let Some(copies) = self.expected["repeat"].as_u64() else { return alerts.clone() };
        let text = alerts[0].to_string();
        (0..copies).map(|n| serde_json::from_str(&text.replace('#', &n.to_string())).unwrap()).collect()
    }
}

fn difference(alert: &Value, expected: &Value, began: SystemTime) -> Option<String> {
    let fields = ["id", "severity", "status", "title", "description", "labels", "annotations"];
    let same = fields.iter().all(|field| alert[*field] == expected[*field]);
    let starts = milliseconds(alert["starts_at"].as_str().unwrap());
    let in_time = match expected["starts_at"].as_i64() {
        Some(time) => starts == time,
        // The host's own clock: the plugin said nothing of a time.
        None => starts >= began.duration_since(UNIX_EPOCH).unwrap().as_millis() as i64,
    };
    let fits = same && in_time && (alert["ends_at"].is_null() || alert["status"] == "resolved");
    (!fits).then(|| format!("\n  got      {alert}\n  expected {expected}"))
}

/// Of a time as the API writes it: `2026-01-02T03:04:05.000Z`.
fn milliseconds(time: &str) -> i64 {
    let numbers: Vec<i64> = time
        .split(|c: char| !c.is_ascii_digit())
        .filter(|n| !n.is_empty())
        .map(|n| n.parse().unwrap())
        .collect();
    let [year, month, day, hour, minute, second, milli] = numbers[..] else { panic!("{time}") };
    // Years that begin in March, so that the odd day is the last.
    let (year, month) = if month < 3 { (year - 1, month + 9) } else { (year, month - 3) };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day - 719_469;
    (((days * 24 + hour) * 60 + minute) * 60 + second) * 1000 + milli
}

#[test]
fn times_are_read_as_the_api_writes_them() {
    let cases = [
        ("1970-01-01T00:00:00.000Z", 0),
        ("2000-02-29T23:59:59.999Z", 951_868_799_999),
        ("2025-11-24T16:00:00.000Z", 1_764_000_000_000),
        ("9999-12-31T23:59:59.000Z", 253_402_300_799_000),
    ];
    for (text, time) in cases {
        assert_eq!(milliseconds(text), time, "{text}");
    }
    assert!(
        difference(&json!({ "starts_at": cases[2].0 }), &json!({ "starts_at": 1 }), UNIX_EPOCH).is_some()
    );
}
