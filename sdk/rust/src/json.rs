//! JSON from outside, with errors that name the place.

use serde::de::DeserializeOwned;

use crate::Error;

/// A text as JSON: a `serde_json::Value`, or a type of your own.
///
/// # Errors
/// [`Error::InvalidPayload`]: `not JSON: …`, or the place of what isn't of the type, `alerts[3].labels: …`.
pub fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let path = error.path().to_string();
        let error = error.into_inner();
        match error.classify() {
            serde_json::error::Category::Data if path == "." => Error::invalid_payload(error.to_string()),
            serde_json::error::Category::Data => Error::invalid_payload(format!("{path}: {error}")),
            _ => not_json(&error),
        }
    })?;
    reader.end().map_err(|error| not_json(&error))?;
    Ok(value)
}

fn not_json(error: &serde_json::Error) -> Error {
    Error::invalid_payload(format!("not JSON: {error}"))
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[derive(Debug, PartialEq, serde::Deserialize)]
    struct Page {
        alerts: Vec<String>,
    }

    fn refused(text: &str) -> String {
        read::<Page>(text.as_bytes()).map_or_else(|error| error.to_string(), |page| format!("{page:?}"))
    }

    #[test]
    fn a_mistake_is_named_by_its_place() {
        assert_eq!(read::<Page>(br#"{"alerts": ["a"]}"#), Ok(Page { alerts: vec!["a".to_owned()] }));
        assert!(refused(r#"{"alerts": ["a", 7]}"#).starts_with("alerts[1]: invalid type: integer `7`"));
        assert!(refused("{}").starts_with("missing field `alerts`"));
        for text in ["", "{", "{\"alerts\": []} {}", "{\"alerts\": [],}", "\u{feff}{}"] {
            assert!(refused(text).starts_with("not JSON: "), "{text}: {}", refused(text));
        }
        assert!(read::<Value>(&b"[".repeat(200)).is_err());
    }
}
