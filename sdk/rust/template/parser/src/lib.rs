//! Alerts that come as `{"alerts": [{"id": "…", "title": "…"}]}`, over whatever transport a source names.

mod wire;

use watchkeeper_sdk::{Alert, Error, Parser, Payload, log};

#[derive(Default)]
pub struct @Type@;

impl Parser for @Type@ {
    fn parse(&self, payload: Payload) -> Result<Vec<Alert>, Error> {
        let alerts = wire::alerts(&payload)?;
        log::info!("{} alerts", alerts.len());
        Ok(alerts)
    }
}

watchkeeper_sdk::register! { parser: @Type@ }

#[cfg(test)]
mod tests {
    use watchkeeper_sdk::testing;

    use super::*;

    /// `UPDATE_EXPECT=1 cargo test` writes what comes out; read the difference.
    #[test]
    fn every_sample_becomes_what_is_expected() {
        testing::samples(&testing::parser::<@Type@>(), concat!(env!("CARGO_MANIFEST_DIR"), "/samples"));
    }
}
