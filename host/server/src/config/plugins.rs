//! `plugins:` of `watchkeeper.yaml`, and `plugins.lock` beside it.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use serde::{Deserialize, Deserializer, de};
use serde_yaml::{Mapping, Value};
use watchkeeper_wasm::{CanaryPolicy, Key, MemoryBounds, Options, Pins, Terms, Trust};

use super::text::{self, Problem};

const LOCK_FILE: &str = "plugins.lock";

/// With less, a plugin with the limits that it has unless told otherwise couldn't use them.
const LEAST_MEMORY_MIB: u32 = 128;

/// Room for tens of thousands of plugins.
const MAX_LOCK: u64 = 4 << 20;

const HEADER: &str = "\
# The plugins that `serve --locked` loads, each by the digest of its file, and no other.
# `watchkeeper plugin lock` writes this file anew; commit it beside the configuration.
";

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Plugins {
    locked: bool,
    #[serde(deserialize_with = "keys")]
    keys: Vec<Key>,
    canary: CanaryPolicy,
    canary_payloads: usize,
    trial: Trial,
    #[serde(deserialize_with = "super::host::duration")]
    debounce: Duration,
    memory_mib: Option<u32>,
    idle_memory_mib: Option<u32>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Trial {
    calls: u32,
    allowed_failures: u32,
}

impl Default for Plugins {
    fn default() -> Self {
        let Options { canary, canary_payloads, terms, debounce, .. } = Options::default();
        let Terms { calls, allowed_failures } = terms;
        let trial = Trial { calls, allowed_failures };
        Self {
            locked: false,
            keys: Vec::new(),
            canary,
            canary_payloads,
            trial,
            debounce,
            memory_mib: None,
            idle_memory_mib: None,
        }
    }
}

impl Plugins {
    /// The key that makes no sense, and why.
    pub(super) fn check(&self) -> Result<(), (&'static str, String)> {
        if self.canary_payloads > 10_000 {
            return Err(("plugins.canary_payloads", "must be at most 10000".into()));
        }
        if !(10..=60_000).contains(&self.debounce.as_millis()) {
            return Err(("plugins.debounce", "must be within 10ms and 1m".into()));
        }
        if self.memory_mib.is_some_and(|mib| mib < LEAST_MEMORY_MIB) {
            let reason = format!(
                "must be at least {LEAST_MEMORY_MIB}: a plugin may have half of it, and 64 by its own limit"
            );
            return Err(("plugins.memory_mib", reason));
        }
        let MemoryBounds { all, idle } = self.memory();
        if idle > all {
            let reason = format!("must be at most plugins.memory_mib, which is {}", all >> 20);
            return Err(("plugins.idle_memory_mib", reason));
        }
        Ok(())
    }

    /// How versions come and go.
    pub fn options(&self) -> Options {
        Options {
            canary: self.canary,
            canary_payloads: self.canary_payloads,
            terms: Terms { calls: self.trial.calls, allowed_failures: self.trial.allowed_failures },
            debounce: self.debounce,
            ..Options::default()
        }
    }

    /// What their instances may hold together.
    pub fn memory(&self) -> MemoryBounds {
        let MemoryBounds { all, idle } = MemoryBounds::default();
        let bytes = |mib: u32| (mib as usize) << 20;
        let all = self.memory_mib.map_or(all, bytes);
        // What is left to the machine never contradicts what is written.
        MemoryBounds { all, idle: self.idle_memory_mib.map_or(idle.min(all), bytes) }
    }

    /// `lock` is the lock file, `locked` whether the command line wants it kept, whatever the file says.
    pub(super) fn trust(&self, lock: PathBuf, locked: bool) -> Trust {
        Trust::default().keys(self.keys.clone()).lock(lock, read_pins, locked || self.locked)
    }
}

fn keys<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Key>, D::Error> {
    /// One at a time, so that an error says which.
    struct One(Key);
    impl<'de> Deserialize<'de> for One {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            Key::parse(&String::deserialize(deserializer)?).map(One).map_err(de::Error::custom)
        }
    }
    let keys: Vec<One> = Vec::deserialize(deserializer)?;
    Ok(keys.into_iter().map(|One(key)| key).collect())
}

pub fn lock_file(config: &Path) -> PathBuf {
    config.join(LOCK_FILE)
}

/// None if there is no such file.
pub fn read_pins(file: &Path) -> Result<Option<Pins>, String> {
    let mut text = String::new();
    let read = std::fs::File::open(file).and_then(|file| file.take(MAX_LOCK).read_to_string(&mut text));
    match read {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(format!("{}: {error}", file.display())),
        Ok(_) => parse(file, &text).map(Some).map_err(|problem| problem.to_string()),
    }
}

fn parse(file: &Path, text: &str) -> Result<Pins, Problem> {
    // A mapping has each key once, where a map of YAML would take the last of two.
    let mapping: Option<Mapping> = text::parse(file, text)?;
    let pin = |(name, digest): (Value, Value)| match (name, digest) {
        (Value::String(name), Value::String(digest)) if is_digest(&digest) => Ok((name, digest)),
        (name, _) => {
            let key = name.as_str().unwrap_or("?");
            let reason = "must be a plugin's name and `sha256:` with 64 hex digits; `watchkeeper plugin lock` writes it anew";
            Err(Problem::of_key(file, text, key, reason))
        }
    };
    mapping.unwrap_or_default().into_iter().map(pin).collect()
}

fn is_digest(text: &str) -> bool {
    let hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    text.strip_prefix("sha256:").is_some_and(|digest| digest.len() == 64 && digest.bytes().all(hex))
}

/// In place of the file at once, so that a host that reads it meanwhile reads one or the other.
pub fn write_pins(file: &Path, pins: &Pins) -> Result<()> {
    let text =
        format!("{HEADER}{}", if pins.is_empty() { "{}\n".into() } else { serde_yaml::to_string(pins)? });
    let folder = file.parent().unwrap_or(Path::new("."));
    let context = || format!("{}: can't be written", file.display());
    let mut new =
        tempfile::Builder::new().prefix(".plugins.lock-").tempfile_in(folder).with_context(context)?;
    new.write_all(text.as_bytes()).with_context(context)?;
    new.as_file().sync_all().with_context(context)?;
    // Who may read the configuration may read this.
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    new.as_file().set_permissions(mode).with_context(context)?;
    new.persist(file).with_context(context)?;
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    #[test]
    fn what_is_written_is_read_again_whatever_the_names() {
        let folder = tempfile::tempdir().unwrap();
        let file = lock_file(folder.path());
        assert_eq!(read_pins(&file), Ok(None));
        for names in [&[][..], &["b", "a", "1", "1.0", "true", "null", "-x", "a.b", "0x1", "1e3", "no"]] {
            let pins: Pins = names.iter().map(|name| ((*name).to_owned(), DIGEST.to_owned())).collect();
            write_pins(&file, &pins).unwrap();
            assert_eq!(read_pins(&file), Ok(Some(pins)));
        }
        let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
        assert_eq!(left.len(), 1, "nothing but the file is left: {left:?}");
    }

    #[test]
    fn what_is_no_pin_is_placed() {
        let cases = [
            ("# a comment\na: sha256:12\n".to_owned(), "l:2: a: must be"),
            (format!("a: {}\n", DIGEST.to_uppercase()), "l:1: a: must be"),
            (format!("a: {DIGEST}\nb: [{DIGEST}]\n"), "l:2: b: must be"),
            (format!("1: {DIGEST}\n"), "l: ?: must be"),
            (format!("a: {DIGEST}\na: {DIGEST}\n"), "l:"),
            (format!("- {DIGEST}\n"), "l:"),
            (format!("<<<<<<< HEAD\na: {DIGEST}\n"), "l:"),
        ];
        for (text, words) in cases {
            let error = parse(Path::new("l"), &text).unwrap_err().to_string();
            assert!(error.starts_with(words), "{text:?} gave: {error}");
        }
    }
}
