//! Alerts that come over a TCP connection of the plugin's own, one a line: `{"id": "…", "title": "…"}`. Each line is answered,
//! `ok` once its alert is durably stored, or what is wrong with it.
//!
//! Experimental: the interface may still change, and the plugin may have to be built again.

mod wire;

use serde::Deserialize;
use watchkeeper_sdk::live::{Alerts, Ended, LiveSource, Subscription, TcpReader, TcpStream, TcpWriter};
use watchkeeper_sdk::{Error, Feed, Source, log};

/// The longest line, in bytes.
const MAX_LINE: usize = 64 * 1024;

/// The keys of a source's file. A key that isn't here is refused by name.
#[derive(Clone, Deserialize)]
pub struct Config {
    /// It goes into `asks` of plugin.yaml with its port, for the operator to grant.
    server: String,
    port: u16,
}

/// It is cloned for its subscription.
#[derive(Clone)]
pub struct @Type@ {
    server: String,
    port: u16,
}

impl Source for @Type@ {
    type Config = Config;

    fn configure(config: Config) -> Result<(Self, Feed), Error> {
        let Config { server, port } = config;
        if server.is_empty() {
            return Err(Error::invalid_config("server", "must name a host"));
        }
        Ok((@Type@ { server, port }, Feed::live()))
    }
}

impl LiveSource for @Type@ {
    /// Where this fails, or the subscription ends, the host begins it again, with growing pauses.
    async fn subscribe(self) -> Result<Subscription, Error> {
        let (reader, writer) = TcpStream::connect(&self.server, self.port).await?;
        log::info!("connected to {}:{}", self.server, self.port);
        Ok(Subscription::fed_by(async move |alerts| {
            if let Err(error) = pass_on(reader, writer, alerts).await {
                log::warn!("{error}");
            }
        }))
    }
}

/// Until the connection ends, or the host reads no more.
async fn pass_on(mut reader: TcpReader, writer: TcpWriter, mut alerts: Alerts) -> Result<(), Error> {
    let closed = || Error::unavailable("the other side closed the connection", None);
    let mut arrived = Vec::new();
    loop {
        while let Some(line) = wire::next_line(&mut arrived) {
            let answer = match wire::alert(&line) {
                Ok(alert) => match alerts.send(vec![alert]).await {
                    // It is stored: what the other side hears now, it may forget.
                    Ok(()) => "ok\n".to_owned(),
                    Err(Ended) => return Ok(()),
                },
                Err(error) => format!("{error}\n"),
            };
            writer.write_all(answer.into_bytes()).await.map_err(|Ended| closed())?;
        }
        if arrived.len() > MAX_LINE {
            return Err(Error::failed(format!("a line has more than {MAX_LINE} bytes")));
        }
        arrived.extend(reader.read().await.ok_or_else(closed)?);
    }
}

watchkeeper_sdk::register! { source: @Type@, live_source: @Type@ }
