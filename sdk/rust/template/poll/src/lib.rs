//! Alerts that are fetched: `GET url?after=cursor` answers `{"alerts": [{"id": "…", "title": "…"}], "next": "…", "more": false}`,
//! and `next` is the cursor from then on.

mod wire;

use serde::Deserialize;
use watchkeeper_sdk::http::Request;
use watchkeeper_sdk::{Batch, Error, Feed, Health, Poller, Source};

/// The keys of a source's file. A key that isn't here is refused by name.
#[derive(Deserialize)]
pub struct Config {
    /// In seconds.
    #[serde(default = "default_interval")]
    poll_interval: u32,
    /// Its host goes into `asks` of plugin.yaml, for the operator to grant.
    url: String,
    /// `${NAME}` in the file is a placeholder here, which the host replaces in the request's header.
    #[serde(default)]
    token: String,
}

fn default_interval() -> u32 {
    60
}

pub struct @Type@ {
    url: String,
    token: String,
}

impl Source for @Type@ {
    type Config = Config;

    fn configure(config: Config) -> Result<(Self, Feed), Error> {
        let Config { poll_interval, url, token } = config;
        if poll_interval == 0 {
            return Err(Error::invalid_config("poll_interval", "must be 1 or more"));
        }
        if !url.starts_with("http://") && !url.starts_with("https://") {
            return Err(Error::invalid_config("url", "must begin with http:// or https://"));
        }
        Ok((@Type@ { url, token }, Feed::poll(u64::from(poll_interval) * 1000)))
    }
}

impl Poller for @Type@ {
    /// What is new since `cursor`. It is that of the last batch that is safely stored, so whatever it stands for may be
    /// acknowledged to the other side now.
    fn fetch(&self, cursor: Option<String>) -> Result<Batch, Error> {
        let body = self.ask(cursor.as_deref())?;
        wire::batch(&body, cursor)
    }
}

impl Health for @Type@ {
    /// Whether the other side can be reached and takes the credentials.
    fn check(&self) -> Result<(), Error> {
        self.ask(None).map(drop)
    }
}

impl @Type@ {
    fn ask(&self, cursor: Option<&str>) -> Result<Vec<u8>, Error> {
        let mut request = Request::get(&self.url).header("accept", "application/json");
        if !self.token.is_empty() {
            request = request.header("authorization", format!("Bearer {}", self.token));
        }
        if let Some(cursor) = cursor {
            request = request.query("after", cursor);
        }
        request.send()?.success()
    }
}

watchkeeper_sdk::register! { source: @Type@, poller: @Type@, health: @Type@ }
