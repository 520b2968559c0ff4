//! A source's file: the host's keys, and the plugin's.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use serde_yaml::{Mapping, Value};
use watchkeeper_domain::plugin::Feed;
use watchkeeper_wasm::{HostRule, Limits, Secrets, SourceSpec};

use super::text::{self, Environment, Problem};

/// The keys that the host reads itself; every other is the plugin's.
const HOST_KEYS: [&str; 8] =
    ["name", "type", "parser", "auth", "dedup_window", "limits", "allow_hosts", "reveal_secrets"];

/// The host's own transport of what is posted, and its key. `parser` names the plugin that reads it.
const WEBHOOK: &str = "webhook";
const WEBHOOK_PATH: &str = "webhook_path";

/// As the original design's TTL.
const DEDUP_WINDOW: Duration = Duration::from_secs(300);

#[derive(Clone, Debug)]
pub struct SourceFile {
    pub file: PathBuf,
    /// For the line of a key that the plugin complains of.
    pub text: String,
    pub name: String,
    /// The plugin's name.
    pub kind: String,
    /// How a transport of the host feeds it; none: as the plugin says.
    pub feed: Option<Feed>,
    pub auth: Option<Auth>,
    pub dedup_window: Duration,
    pub limits: Limits,
    /// The plugin's own keys, as a JSON object.
    pub config: String,
    /// Where the plugin may send requests to, if it asks for it, too.
    pub allow_hosts: Vec<HostRule>,
    pub reveal_secrets: bool,
    secrets: Secrets,
}

/// What a sender must show.
#[derive(Clone, PartialEq)]
pub enum Auth {
    Bearer { token: String },
}

impl std::fmt::Debug for Auth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Bearer(…)")
    }
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
enum AuthKeys {
    Bearer { token: String },
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct LimitKeys {
    memory_mib: Option<u32>,
    call_ms: Option<u64>,
    fetch_ms: Option<u64>,
    alerts: Option<u32>,
    result_mib: Option<u32>,
}

#[derive(Deserialize)]
struct DurationValue(#[serde(deserialize_with = "super::host::duration")] Duration);

impl SourceFile {
    pub fn parse(file: &Path, text: &str, environment: &Environment) -> Result<Self, Problem> {
        let mapping: Value = text::parse(file, text)?;
        let Value::Mapping(mapping) = mapping else {
            return Err(Problem::of_file(
                file,
                "must be a mapping of keys: name, type, and the plugin's own",
            ));
        };
        Keys { file, text, mapping, environment }.read()
    }

    pub fn spec(&self) -> SourceSpec {
        SourceSpec {
            name: self.name.clone(),
            config: self.config.clone(),
            feed: self.feed.clone(),
            limits: self.limits.clone(),
            allow_hosts: self.allow_hosts.clone(),
            secrets: self.secrets.clone(),
            reveals_secrets: self.reveal_secrets,
            ..SourceSpec::default()
        }
    }

    pub fn problem(&self, key: Option<&str>, reason: impl Into<String>) -> Problem {
        match key {
            Some(key) => Problem::of_key(&self.file, &self.text, key, reason),
            None => Problem::of_file(&self.file, reason),
        }
    }
}

struct Keys<'a> {
    file: &'a Path,
    text: &'a str,
    mapping: Mapping,
    environment: &'a Environment,
}

impl Keys<'_> {
    fn read(self) -> Result<SourceFile, Problem> {
        let name: String =
            self.required("name", "give the source a name of its own, such as prometheus-prod")?;
        if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b)) {
            return Err(self.problem("name", "may have letters, digits, `-`, `_` and `.` only"));
        }
        let (kind, feed) = self.plugin()?;
        let auth = self.auth()?;
        let window: Option<DurationValue> = self.optional("dedup_window")?;
        let limits = self.limits()?;
        let reveal = self.optional("reveal_secrets")?.unwrap_or(false);
        let allow_hosts: Vec<HostRule> = self.optional("allow_hosts")?.unwrap_or_default();
        let (config, secrets) = self.plugin_keys(feed.is_some(), reveal)?;
        Ok(SourceFile {
            file: self.file.to_owned(),
            text: self.text.to_owned(),
            name,
            kind,
            feed,
            auth,
            dedup_window: window.map_or(DEDUP_WINDOW, |window| window.0),
            limits,
            config,
            allow_hosts,
            reveal_secrets: reveal,
            secrets,
        })
    }

    fn problem(&self, key: &str, reason: impl Into<String>) -> Problem {
        Problem::of_key(self.file, self.text, key, reason)
    }

    /// A host's key, with `${NAME}` replaced.
    fn optional<T: serde::de::DeserializeOwned>(&self, key: &str) -> Result<Option<T>, Problem> {
        let Some(value) = self.mapping.get(key) else { return Ok(None) };
        let mut value = value.clone();
        text::resolve(&mut value, key, self.environment, true)
            .map_err(|(key, reason)| self.problem(&key, reason))?;
        text::value(self.file, self.text, key, value).map(Some)
    }

    fn required<T: serde::de::DeserializeOwned>(&self, key: &str, remedy: &str) -> Result<T, Problem> {
        let missing = || {
            let reason = format!("is missing: {remedy}");
            Problem { file: self.file.to_owned(), line: Some(1), key: Some(key.to_owned()), reason }
        };
        self.optional(key)?.ok_or_else(missing)
    }

    /// Which plugin reads the source, and how it is fed if a transport of the host does.
    fn plugin(&self) -> Result<(String, Option<Feed>), Problem> {
        let named: String =
            self.required("type", "name the plugin that reads this source, such as prometheus")?;
        if named == WEBHOOK {
            let plugin = self.required("parser", "name the plugin that reads what is posted")?;
            let path = self.required(WEBHOOK_PATH, "say where senders post to, such as /alerts/beeper")?;
            return Ok((plugin, Some(Feed::Webhook { path })));
        }
        match self.mapping.contains_key("parser") {
            true => Err(self.problem(
                "type",
                format!(
                    "`{named}` is no transport that this version has, and `parser` wants one: there is `{WEBHOOK}`"
                ),
            )),
            false => Ok((named, None)),
        }
    }

    fn auth(&self) -> Result<Option<Auth>, Problem> {
        let Some(AuthKeys::Bearer { token }) = self.optional("auth")? else { return Ok(None) };
        if token.is_empty() {
            return Err(self.problem("auth.token", "is empty: give senders a secret to show"));
        }
        Ok(Some(Auth::Bearer { token }))
    }

    fn limits(&self) -> Result<Limits, Problem> {
        let keys: LimitKeys = self.optional("limits")?.unwrap_or_default();
        let defaults = Limits::default();
        let mib = |mib: Option<u32>, default| mib.map_or(default, |mib| (mib as usize) << 20);
        let limits = Limits {
            memory: mib(keys.memory_mib, defaults.memory),
            call: keys.call_ms.map_or(defaults.call, Duration::from_millis),
            fetch: keys.fetch_ms.map_or(defaults.fetch, Duration::from_millis),
            alerts: keys.alerts.map_or(defaults.alerts, |alerts| alerts as usize),
            result: mib(keys.result_mib, defaults.result),
        };
        // What wasm32 can have, and what a sender waits for.
        if !(1 << 20..4 << 30).contains(&limits.memory) {
            return Err(self.problem("limits.memory_mib", "must be within 1 and 4095"));
        }
        if !(1..=60_000).contains(&limits.call.as_millis()) {
            return Err(self.problem("limits.call_ms", "must be within 1 and 60000"));
        }
        if !(1..=600_000).contains(&limits.fetch.as_millis()) {
            return Err(self.problem("limits.fetch_ms", "must be within 1 and 600000"));
        }
        Ok(limits)
    }

    /// Secrets stay `${NAME}`, a placeholder, unless the operator reveals them; what they stand for is the second.
    fn plugin_keys(&self, by_transport: bool, reveal: bool) -> Result<(String, Secrets), Problem> {
        let mut secrets = Vec::new();
        let ours = |name: &str| HOST_KEYS.contains(&name) || by_transport && name == WEBHOOK_PATH;
        let own = |name: &Value| name.as_str().is_none_or(|name| !ours(name));
        let mut keys: Mapping = Mapping::new();
        for (name, value) in self.mapping.iter().filter(|(name, _)| own(name)) {
            let key = name.as_str().ok_or_else(|| Problem::of_file(self.file, "keys must be texts"))?;
            let mut value = value.clone();
            text::resolve(&mut value, key, self.environment, reveal)
                .map_err(|(key, reason)| self.problem(&key, reason))?;
            text::placeholders(&value, self.environment, &mut secrets);
            keys.insert(name.clone(), value);
        }
        serde_json::to_string(&keys)
            .map(|config| (config, Secrets::new(secrets)))
            .map_err(|error| Problem::of_file(self.file, format!("isn't writable as JSON: {error}")))
    }
}

/// A name tells sources apart, so the later file of two is refused.
pub(super) fn refuse_same_names(sources: &mut [Result<SourceFile, Problem>]) {
    let mut first: HashMap<String, PathBuf> = HashMap::new();
    for entry in sources {
        let Ok(source) = entry else { continue };
        match first.get(&source.name) {
            Some(other) => {
                let reason =
                    format!("`{}` is the name of {} already: give it another", source.name, other.display());
                *entry = Err(source.problem(Some("name"), reason));
            }
            None => {
                first.insert(source.name.clone(), source.file.clone());
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<SourceFile, String> {
        let mut environment = Environment::default();
        environment.set_default("TOKEN", || "s3cret".into());
        SourceFile::parse(Path::new("s.yaml"), text, &environment).map_err(|error| error.to_string())
    }

    #[test]
    fn the_plugins_keys_go_to_the_plugin_and_secrets_do_not() {
        let source = parse(
            "name: p\ntype: prometheus\nwebhook_path: /x\napi_key: ${TOKEN}\n\
             auth: { type: bearer, token: \"${TOKEN}\" }\ndedup_window: 10m\n",
        )
        .unwrap();
        assert_eq!(source.config, r#"{"webhook_path":"/x","api_key":"${TOKEN}"}"#);
        assert_eq!(source.auth, Some(Auth::Bearer { token: "s3cret".into() }));
        assert_eq!(source.dedup_window, Duration::from_secs(600));
    }

    #[test]
    fn the_hosts_own_webhook_feeds_the_plugin_that_it_names() {
        let source = parse("name: p\ntype: webhook\nwebhook_path: /x\nparser: beeper\nteam: a\n").unwrap();
        assert_eq!((&*source.kind, &*source.config), ("beeper", r#"{"team":"a"}"#));
        assert_eq!(source.feed, Some(Feed::Webhook { path: "/x".into() }));
    }

    #[test]
    fn revealed_secrets_go_to_the_plugin() {
        let source = parse("name: p\ntype: q\napi_key: ${TOKEN}\nreveal_secrets: true\n").unwrap();
        assert_eq!(source.config, r#"{"api_key":"s3cret"}"#);
    }

    #[test]
    fn mistakes_are_placed() {
        let cases = [
            ("type: prometheus\n", "s.yaml:1: name: is missing", "prometheus-prod"),
            ("name: p\n", "s.yaml:1: type: is missing", "plugin"),
            ("name: a b\ntype: x\n", "s.yaml:1: name: ", "letters"),
            (
                "name: p\ntype: x\nauth: { type: bearer, token: ${NOPE} }\n",
                "s.yaml:3: auth.token: ",
                "set NOPE",
            ),
            ("name: p\ntype: x\napi_key: ${NOPE}\n", "s.yaml:3: api_key: ", "set NOPE"),
            ("name: p\ntype: x\nauth: { type: basic }\n", "s.yaml:3: auth: ", "bearer"),
            ("name: p\ntype: x\nlimits: { memory: 5 }\n", "s.yaml:3: limits: ", "memory_mib"),
            ("name: p\ntype: x\nlimits: { memory_mib: 0 }\n", "s.yaml:3: limits.memory_mib: ", "within"),
            ("name: p\nname: q\ntype: x\n", "s.yaml", "duplicate"),
            ("- a\n", "s.yaml: ", "mapping"),
            ("name: p\ntype: webhook\nwebhook_path: /x\n", "s.yaml:1: parser: is missing", "plugin"),
            ("name: p\ntype: webhook\nparser: q\n", "s.yaml:1: webhook_path: is missing", "/alerts/"),
            ("name: p\ntype: nats\nparser: q\n", "s.yaml:2: type: `nats` is no transport", "`webhook`"),
        ];
        for (text, place, words) in cases {
            let error = parse(text).unwrap_err();
            assert!(error.starts_with(place) && error.contains(words), "{text:?} gave: {error}");
        }
    }
}
