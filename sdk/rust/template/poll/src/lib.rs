//! Alerts that are fetched. This one only counts how often it was asked.

use serde::Deserialize;
use watchkeeper_sdk::{Alert, Batch, Error, Feed, Health, Poller, Severity, Source, Status};

/// The keys of a source's file. A key that isn't here is refused by name.
#[derive(Deserialize)]
pub struct Config {
    /// In seconds.
    #[serde(default = "default_interval")]
    poll_interval: u32,
}

fn default_interval() -> u32 {
    60
}

pub struct @Type@;

impl Source for @Type@ {
    type Config = Config;

    fn configure(config: Config) -> Result<(Self, Feed), Error> {
        if config.poll_interval == 0 {
            return Err(Error::invalid_config("poll_interval", "must be 1 or more"));
        }
        Ok((@Type@, Feed::poll(u64::from(config.poll_interval) * 1000)))
    }
}

impl Poller for @Type@ {
    /// Fetch here what is new since `cursor`. It is that of the last batch that is safely stored, so whatever it stands for
    /// may be acknowledged to the other side now. The hosts to fetch from go into `asks` of `plugin.yaml`.
    fn fetch(&self, cursor: Option<String>) -> Result<Batch, Error> {
        let times = cursor.and_then(|cursor| cursor.parse().ok()).unwrap_or(0_u64) + 1;
        let title = format!("@name@ was polled {times} times");
        let alert = Alert::new("heartbeat", Severity::Info, Status::Firing, title);
        Ok(Batch { alerts: vec![alert], cursor: Some(times.to_string()), more: false })
    }
}

impl Health for @Type@ {
    /// Say here whether the other side can be reached and takes the credentials.
    fn check(&self) -> Result<(), Error> {
        Ok(())
    }
}

watchkeeper_sdk::register! { source: @Type@, poller: @Type@, health: @Type@ }
