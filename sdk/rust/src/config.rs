//! From a source file's keys to a plugin's typed configuration, with errors that name the key and the remedy.

use serde::de::{DeserializeOwned, Deserializer, Visitor};
use serde_json::Value;

use crate::{ConfigError, Error, Feed, Source};

/// What the exported `configure` does.
pub fn configure<S: Source>(config_json: &str) -> Result<(S, Feed), Error> {
    let value: Value =
        serde_json::from_str(config_json).map_err(|error| of_whole(format!("not JSON: {error}")))?;
    S::configure(read(value)?)
}

fn read<C: DeserializeOwned>(value: Value) -> Result<C, Error> {
    let Value::Object(keys) = &value else {
        return Err(of_whole("must be an object of keys and values".to_owned()));
    };
    if let Some(known) = known_keys::<C>()
        && let Some(key) = keys.keys().find(|key| !known.contains(&key.as_str()))
    {
        return Err(unknown(key.clone(), known.iter().copied()));
    }
    serde_path_to_error::deserialize(value).map_err(|error| {
        let path = error.path().to_string();
        explain(if path == "." { None } else { Some(path) }, &error.into_inner().to_string())
    })
}

/// serde says which key is missing or unknown in words only; these are the words of its derive.
fn explain(path: Option<String>, message: &str) -> Error {
    let mut quoted = message.split('`').skip(1).step_by(2);
    if message.starts_with("missing field ")
        && let Some(field) = quoted.next()
    {
        let key = path.map_or(field.to_owned(), |parent| format!("{parent}.{field}"));
        return Error::invalid_config(key, "missing; it has no default");
    }
    if message.starts_with("unknown field ")
        && let Some(field) = quoted.next()
    {
        let parent = path.filter(|path| path != field);
        let key = match parent {
            Some(parent) if parent.ends_with(&format!(".{field}")) => parent,
            Some(parent) => format!("{parent}.{field}"),
            None => field.to_owned(),
        };
        return unknown(key, quoted);
    }
    Error::InvalidConfig(ConfigError { key: path, reason: message.to_owned() })
}

fn unknown<'a>(key: String, known: impl Iterator<Item = &'a str>) -> Error {
    let known = known.collect::<Vec<_>>().join(", ");
    let known =
        if known.is_empty() { "this plugin has none".to_owned() } else { format!("known keys: {known}") };
    Error::invalid_config(key, format!("unknown key; {known}"))
}

fn of_whole(reason: String) -> Error {
    Error::InvalidConfig(ConfigError { key: None, reason })
}

/// The keys that `C` knows, where it is a struct: asked of its `Deserialize` itself, so that a plugin whose author forgot
/// `deny_unknown_fields` still refuses a mistyped key instead of running on a default. `None` where anything goes (a map,
/// a struct with `flatten`).
fn known_keys<C: DeserializeOwned>() -> Option<&'static [&'static str]> {
    let mut known = None;
    // It always ends in an error: the probe has no values to give.
    let _ = C::deserialize(Probe(&mut known));
    known
}

struct Probe<'a>(&'a mut Option<&'static [&'static str]>);

impl<'de> Deserializer<'de> for Probe<'_> {
    type Error = serde::de::value::Error;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        *self.0 = Some(fields);
        self.deserialize_any(visitor)
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        *self.0 = Some(&[]);
        self.deserialize_any(visitor)
    }

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Self::Error> {
        Err(serde::de::Error::custom("a probe"))
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit
        newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::json;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[allow(dead_code)]
    struct Config {
        webhook_path: String,
        #[serde(default)]
        default_severity: Option<Level>,
        #[serde(default)]
        filter: Option<Filter>,
        #[serde(default, alias = "timeout")]
        timeout_ms: u64,
    }

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Level {
        Info,
        Warning,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code)]
    struct Filter {
        team: String,
    }

    fn refusal(value: Value) -> (Option<String>, String) {
        match read::<Config>(value) {
            Err(Error::InvalidConfig(ConfigError { key, reason })) => (key, reason),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_mistake_is_named_by_its_key() {
        let known = "unknown key; known keys: webhook_path, default_severity, filter, timeout, timeout_ms";
        let cases = [
            (json!({ "webhok_path": "/x" }), Some("webhok_path"), known),
            (json!({}), Some("webhook_path"), "missing; it has no default"),
            (json!([]), None, "must be an object of keys and values"),
            (
                json!({ "webhook_path": 1 }),
                Some("webhook_path"),
                "invalid type: integer `1`, expected a string",
            ),
            (
                json!({ "webhook_path": "/x", "default_severity": "loud" }),
                Some("default_severity"),
                "unknown variant `loud`, expected `info` or `warning`",
            ),
            (
                json!({ "webhook_path": "/x", "filter": { "teem": "db" } }),
                Some("filter.teem"),
                "unknown key; known keys: team",
            ),
            (
                json!({ "webhook_path": "/x", "filter": {} }),
                Some("filter.team"),
                "missing; it has no default",
            ),
        ];
        for (config, key, reason) in cases {
            assert_eq!(refusal(config.clone()), (key.map(str::to_owned), reason.to_owned()), "{config}");
        }
    }

    #[test]
    fn an_alias_and_a_map_are_accepted() {
        assert_eq!(
            read::<Config>(json!({ "webhook_path": "/x", "timeout": 5 })).expect("it is valid").timeout_ms,
            5
        );
        assert!(read::<std::collections::BTreeMap<String, u8>>(json!({ "anything": 1 })).is_ok());
    }
}
