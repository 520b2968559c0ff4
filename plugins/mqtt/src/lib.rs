//! Alerts from an MQTT 3.1.1 broker. The example of a source that holds a subscription of its own, which is experimental.
//!
//! In `config/alert-sources/`:
//! ```yaml
//! name: plant-floor
//! type: mqtt
//! server: 10.0.0.7
//! port: 1883                    # the default
//! topics: [alerts/#]
//! client_id: watchkeeper        # the default; the broker keeps this client's messages while it is away
//! username: watchkeeper         # optional, with password; a password goes over the connection itself, so the operator
//! password: ${MQTT_PASSWORD}    # reveals it
//! reveal_secrets: true
//! allow_hosts: ["tcp://10.0.0.7:1883"]
//! ```
//! and in `plugins/mqtt.yaml`, since only the operator knows the broker: `asks: { tcp: ["tcp://10.0.0.7:1883"] }`.
//!
//! A message is acknowledged once its alerts are durably stored, so nothing is lost; the connection is not encrypted.

mod packet;
mod wire;

use std::time::Duration;

use serde::Deserialize;
use watchkeeper_sdk::live::{
    Alerts, Ended, LiveSource, Subscription, TcpReader, TcpStream, TcpWriter, sleep, spawn,
};
use watchkeeper_sdk::{Error, Feed, Source, log};

use crate::packet::{Connect, Packet};

/// Seconds of silence after which the broker gives us up, and we it.
const KEEP_ALIVE: u16 = 30;

const PING_EVERY: Duration = Duration::from_secs(KEEP_ALIVE as u64 / 2);

/// Messages that are stored in one go: as many as the host takes at once.
const TOGETHER: usize = 100;

/// The one SUBSCRIBE of a connection.
const SUBSCRIBE_ID: u16 = 1;

/// The source file's keys.
#[derive(Clone, Debug, Deserialize)]
pub struct Config {
    server: String,
    #[serde(default = "default_port")]
    port: u16,
    topics: Vec<String>,
    #[serde(default = "default_client_id")]
    client_id: String,
    username: Option<String>,
    password: Option<String>,
}

fn default_port() -> u16 {
    1883
}

fn default_client_id() -> String {
    "watchkeeper".to_owned()
}

/// The source.
#[derive(Clone, Debug)]
pub struct Mqtt(Config);

impl Source for Mqtt {
    type Config = Config;

    fn configure(config: Config) -> Result<(Self, Feed), Error> {
        if config.topics.is_empty() || config.topics.iter().any(String::is_empty) {
            return Err(Error::invalid_config("topics", "must name at least one filter, such as alerts/#"));
        }
        if config.password.is_some() && config.username.is_none() {
            return Err(Error::invalid_config("password", "needs a username beside it"));
        }
        if config.client_id.is_empty() {
            return Err(Error::invalid_config(
                "client_id",
                "must not be empty: the broker knows the session by it",
            ));
        }
        Ok((Mqtt(config), Feed::live()))
    }
}

impl LiveSource for Mqtt {
    async fn subscribe(self) -> Result<Subscription, Error> {
        let Config { server, port, topics, client_id, username, password } = self.0;
        let (reader, writer) = TcpStream::connect(&server, port).await?;
        let mut broker = Broker { reader, writer, buffer: Vec::new() };
        let (username, password) = (username.as_deref(), password.as_deref());
        broker
            .send(packet::connect(&Connect {
                client_id: &client_id,
                username,
                password,
                keep_alive: KEEP_ALIVE,
            }))
            .await?;
        match broker.next().await? {
            Packet::ConnAck { code: 0 } => {}
            // 3.2.2.3: bad credentials; not authorised.
            Packet::ConnAck { code: 4 | 5 } => {
                return Err(Error::Unauthorized("the broker refuses the username or password".to_owned()));
            }
            Packet::ConnAck { code } => {
                return Err(down(format!("the broker refuses the connection with code {code}")));
            }
            other => return Err(down(format!("the broker answers CONNECT with {other:?}"))),
        }
        broker.send(packet::subscribe(SUBSCRIBE_ID, &topics)).await?;
        log::info!("connected to {server}:{port}");
        Ok(Subscription::fed_by(async move |alerts| {
            let pings = broker.writer.downgrade();
            spawn(async move {
                loop {
                    sleep(PING_EVERY).await;
                    let Some(writer) = pings.upgrade() else { return };
                    if writer.write_all(packet::ping()).await.is_err() {
                        return;
                    }
                }
            });
            if let Err(error) = broker.pass_on(alerts).await {
                log::warn!("{error}");
            }
        }))
    }
}

fn down(reason: impl Into<String>) -> Error {
    Error::unavailable(reason, None)
}

struct Broker {
    reader: TcpReader,
    writer: TcpWriter,
    /// Of packets that aren't whole yet.
    buffer: Vec<u8>,
}

impl Broker {
    async fn send(&self, packet: Vec<u8>) -> Result<(), Error> {
        self.writer.write_all(packet).await.map_err(|Ended| down("the broker closed the connection"))
    }

    /// The next packet of what has arrived already.
    fn arrived(&mut self) -> Result<Option<Packet>, Error> {
        let read =
            packet::read(&self.buffer).map_err(|error| down(format!("the broker is none: {}", error.0)))?;
        Ok(read.map(|(packet, length)| {
            self.buffer.drain(..length);
            packet
        }))
    }

    async fn next(&mut self) -> Result<Packet, Error> {
        loop {
            if let Some(packet) = self.arrived()? {
                return Ok(packet);
            }
            let bytes = self.reader.read_within(Duration::from_secs(u64::from(KEEP_ALIVE) * 3 / 2)).await;
            self.buffer.extend(bytes.ok_or_else(|| down("the broker closed the connection, or is silent"))?);
        }
    }

    /// Until the connection ends, or the host reads no more.
    async fn pass_on(&mut self, mut alerts: Alerts) -> Result<(), Error> {
        loop {
            // What came together is stored together, which takes no longer than one of them would.
            let (mut read, mut acknowledgements) = (Vec::new(), Vec::new());
            let mut next = Some(self.next().await?);
            while let Some(packet) = next {
                match packet {
                    Packet::Publish { topic, payload, acknowledge } => {
                        read.extend(wire::alerts(&topic, &payload));
                        acknowledgements.extend(acknowledge.map(packet::pub_ack).into_iter().flatten());
                    }
                    Packet::SubAck { codes } if codes.contains(&0x80) => {
                        return Err(down(
                            "the broker refuses a topic; see `topics` and its own access rules",
                        ));
                    }
                    Packet::SubAck { .. } | Packet::PingResp => {}
                    other => log::debug!("passed over: {other:?}"),
                }
                next = if read.len() < TOGETHER { self.arrived()? } else { None };
            }
            let Ok(()) = alerts.send(read).await else { return Ok(()) };
            if !acknowledgements.is_empty() {
                self.send(acknowledgements).await?;
            }
        }
    }
}

watchkeeper_sdk::register! { source: Mqtt, live_source: Mqtt }
