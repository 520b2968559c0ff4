//! Alerts that come as `{"alerts": [{"id": "…", "title": "…"}]}`.

mod wire;

use serde::Deserialize;
use watchkeeper_sdk::{Alert, Error, Feed, Parser, Payload, Source, log};

/// The keys of a source's file. A key that isn't here is refused by name.
#[derive(Deserialize)]
pub struct Config {
    #[serde(default = "default_path")]
    webhook_path: String,
}

fn default_path() -> String {
    "/alerts/@name@".to_owned()
}

pub struct @Type@;

impl Source for @Type@ {
    type Config = Config;

    fn configure(config: Config) -> Result<(Self, Feed), Error> {
        if !config.webhook_path.starts_with('/') {
            return Err(Error::invalid_config("webhook_path", "must begin with `/`"));
        }
        Ok((@Type@, Feed::webhook(config.webhook_path)))
    }
}

impl Parser for @Type@ {
    fn parse(&self, payload: Payload) -> Result<Vec<Alert>, Error> {
        let alerts = wire::alerts(&payload)?;
        log::info!("{} alerts", alerts.len());
        Ok(alerts)
    }
}

watchkeeper_sdk::register! { source: @Type@, parser: @Type@ }

#[cfg(test)]
mod tests {
    use watchkeeper_sdk::testing;

    use super::*;

    /// `UPDATE_EXPECT=1 cargo test` writes what comes out; read the difference.
    #[test]
    fn every_sample_becomes_what_is_expected() {
        let plugin = testing::source::<@Type@>(serde_json::json!({})).unwrap();
        testing::samples(&plugin, concat!(env!("CARGO_MANIFEST_DIR"), "/samples"));
    }

    #[test]
    fn a_mistake_is_named_by_its_place() {
        let plugin = testing::source::<@Type@>(serde_json::json!({})).unwrap();
        let error = plugin.parse(r#"{"alerts": [{"id": 7}]}"#).unwrap_err();
        assert_eq!(error.to_string(), "alerts[0].id: must be a text");
    }
}
