//! The payload as it is on the wire, and what to say when it is not.
//!
//! Reading is a single pass that copies only what goes into an alert. Where it fails, the body is read once more by a
//! reader that keeps track of where it is, so only refused payloads pay for a good message.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use watchkeeper_sdk::Error;

/// <https://prometheus.io/docs/alerting/latest/configuration/#webhook_config>; what isn't used isn't read.
#[derive(Deserialize)]
pub(crate) struct Webhook<'a> {
    #[serde(borrow)]
    pub(crate) alerts: Vec<Object<WireAlert<'a>>>,
    #[serde(borrow, default, rename = "externalURL")]
    pub(crate) external_url: Option<Text<'a>>,
    #[serde(default, rename = "truncatedAlerts")]
    pub(crate) truncated_alerts: u64,
}

#[derive(Deserialize)]
pub(crate) struct WireAlert<'a> {
    pub(crate) status: WireStatus,
    pub(crate) labels: Pairs,
    #[serde(default)]
    pub(crate) annotations: Pairs,
    #[serde(borrow, default, rename = "startsAt")]
    pub(crate) starts_at: Option<Text<'a>>,
    #[serde(borrow, default, rename = "endsAt")]
    pub(crate) ends_at: Option<Text<'a>>,
    #[serde(default, rename = "generatorURL")]
    pub(crate) generator_url: Option<String>,
    #[serde(default)]
    pub(crate) fingerprint: Option<String>,
}

/// What has to be an object. serde's derive alone would take a list of the fields' values for one, too.
pub(crate) struct Object<T>(pub(crate) T);

/// Labels or annotations, in the order they were sent.
#[derive(Default)]
pub(crate) struct Pairs(pub(crate) Vec<(String, String)>);

/// A string that stays in the body unless it has escapes.
pub(crate) struct Text<'a>(pub(crate) Cow<'a, str>);

#[derive(Clone, Copy, PartialEq)]
pub(crate) enum WireStatus {
    Firing,
    Resolved,
}

/// The most labels, and the most annotations, that an alert may have.
const MAX_PAIRS: usize = 128;

pub(crate) fn read(body: &str) -> Result<Webhook<'_>, Error> {
    match serde_json::from_str(body) {
        Ok(Object(webhook)) => Ok(webhook),
        Err(error) => Err(Error::invalid_payload(explain(body, &error))),
    }
}

fn explain(body: &str, error: &serde_json::Error) -> String {
    if body.trim_ascii().is_empty() {
        return "body is empty".to_owned();
    }
    if !error.is_data() {
        return format!("not JSON: {error}");
    }
    let mut json = serde_json::Deserializer::from_str(body);
    let Err(located) = serde_path_to_error::deserialize::<_, Object<Webhook>>(&mut json) else {
        return error.to_string();
    };
    let path = located.path().to_string();
    let message = located.into_inner().to_string();
    // The path says it better than line and column.
    let message = message.rsplit_once(" at line ").map_or(message.as_str(), |(message, _)| message);
    place(if path == "." { "" } else { &path }, message)
}

/// `alerts[0]` and "missing field `labels`" → `alerts[0].labels: missing`.
fn place(path: &str, message: &str) -> String {
    let quoted = message.split('`').nth(1).unwrap_or_default();
    let dot = if path.is_empty() { "" } else { "." };
    let colon = if path.is_empty() { "" } else { ": " };
    if message.starts_with("missing field ") {
        format!("{path}{dot}{quoted}: missing")
    } else if message.starts_with("duplicate field ") {
        // The path ends with the key that came twice; the object that it is in is the place.
        let object = path.strip_suffix(quoted).map_or(path, |parent| parent.trim_end_matches('.'));
        let colon = if object.is_empty() { "" } else { ": " };
        format!("{object}{colon}duplicate key {quoted:?}")
    } else {
        format!("{path}{colon}{message}")
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ObjectVisitor<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
            type Value = Object<T>;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Object<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Object)
            }
        }

        deserializer.deserialize_map(ObjectVisitor(PhantomData))
    }
}

impl<'de> Deserialize<'de> for WireStatus {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct StatusVisitor;

        impl Visitor<'_> for StatusVisitor {
            type Value = WireStatus;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("\"firing\" or \"resolved\"")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<WireStatus, E> {
                match text {
                    "firing" => Ok(WireStatus::Firing),
                    "resolved" => Ok(WireStatus::Resolved),
                    other => {
                        let other: String = other.chars().take(40).collect();
                        Err(E::custom(format_args!("must be \"firing\" or \"resolved\", is {other:?}")))
                    }
                }
            }
        }

        deserializer.deserialize_str(StatusVisitor)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;

        impl<'de> Visitor<'de> for TextVisitor {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }

        deserializer.deserialize_str(TextVisitor)
    }
}

impl<'de> Deserialize<'de> for Pairs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct PairsVisitor;

        impl<'de> Visitor<'de> for PairsVisitor {
            type Value = Pairs;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("an object of strings")
            }

            /// A Go program's empty map.
            fn visit_unit<E>(self) -> Result<Pairs, E> {
                Ok(Pairs::default())
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs, A::Error> {
                // Most alerts have fewer, and one more comes with the conversion.
                let mut pairs: Vec<(String, String)> = Vec::with_capacity(12);
                while let Some(key) = map.next_key::<String>()? {
                    if key.is_empty() {
                        return Err(serde::de::Error::custom("a key is empty"));
                    }
                    if pairs.len() == MAX_PAIRS {
                        return Err(serde::de::Error::custom(format_args!("more than {MAX_PAIRS} keys")));
                    }
                    if pairs.iter().any(|(known, _)| *known == key) {
                        return Err(serde::de::Error::custom(format_args!("duplicate key {key:?}")));
                    }
                    pairs.push((key, map.next_value()?));
                }
                Ok(Pairs(pairs))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, _: A) -> Result<Pairs, A::Error> {
                Err(serde::de::Error::invalid_type(serde::de::Unexpected::Seq, &self))
            }
        }

        deserializer.deserialize_any(PairsVisitor)
    }
}
