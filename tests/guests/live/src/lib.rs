//! A live source that needs no upstream: its file's `does` says what it does with its subscription.

use std::time::{Duration, Instant};

use serde::Deserialize;
use watchkeeper_sdk::live::{Alerts, LiveSource, Subscription, TcpStream, sleep};
use watchkeeper_sdk::{Alert, Error, Feed, Severity, Source, Status};

#[derive(Clone, Deserialize)]
pub struct Config {
    does: Does,
    /// For `dial`.
    #[serde(default)]
    host: String,
    #[serde(default)]
    port: u16,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Does {
    /// An alert each 20 ms.
    Count,
    /// One good alert, one that breaks a rule, one good one.
    Break,
    /// One alert, then the end.
    End,
    /// One alert, then computing for ever.
    Loop,
    /// One alert, then waits that are none, for ever.
    Spin,
    /// One alert, then computing for 50 ms at a time, with hardly a wait between.
    Busy,
    /// One alert, then a panic.
    Panic,
    /// Alerts as fast as they are taken.
    Flood,
    /// Takes memory until it gets no more.
    Memory,
    /// Never answers.
    Hang,
    /// Connects, and says how that went.
    Dial,
    /// One alert, then connection after connection, all of them kept.
    Hoard,
    /// Refused credentials.
    Unauthorized,
}

#[derive(Clone)]
pub struct Live(Config);

impl Source for Live {
    type Config = Config;

    fn configure(config: Config) -> Result<(Self, Feed), Error> {
        Ok((Live(config), Feed::live()))
    }
}

fn alert(id: impl Into<String>) -> Alert {
    Alert::new(id, Severity::Info, Status::Firing, "a guest's alert")
}

impl LiveSource for Live {
    async fn subscribe(self) -> Result<Subscription, Error> {
        let Config { does, host, port } = self.0;
        match does {
            Does::Hang => sleep(Duration::from_secs(3600)).await,
            Does::Unauthorized => {
                return Err(Error::Unauthorized("the other side knows no such user".to_owned()));
            }
            Does::Dial => {
                TcpStream::connect(&host, port).await?;
            }
            _ => {}
        }
        Ok(Subscription::fed_by(async move |alerts| feed(does, (host, port), alerts).await))
    }
}

async fn feed(does: Does, (host, port): (String, u16), mut alerts: Alerts) {
    match does {
        Does::Hoard => {
            let _ = alerts.send(vec![alert("one")]).await;
            let mut kept = Vec::new();
            while let Ok(connection) = TcpStream::connect(&host, port).await {
                kept.push(connection);
            }
            sleep(Duration::from_secs(3600)).await;
        }
        Does::Count => {
            for number in 0_u64.. {
                if alerts.send(vec![alert(format!("count-{number}"))]).await.is_err() {
                    return;
                }
                sleep(Duration::from_millis(20)).await;
            }
        }
        Does::Flood => {
            for number in 0_u64.. {
                let batch = (0..1000).map(|part| alert(format!("flood-{number}-{part}"))).collect();
                if alerts.send(batch).await.is_err() {
                    return;
                }
            }
        }
        Does::Break => {
            let bad = Alert::new("", Severity::Info, Status::Firing, "it has no id");
            let _ = alerts.send(vec![alert("first"), bad, alert("last")]).await;
            sleep(Duration::from_secs(3600)).await;
        }
        Does::Memory => {
            let mut taken: Vec<Vec<u8>> = Vec::new();
            loop {
                taken.push(vec![1; 1 << 20]);
                std::hint::black_box(&taken);
            }
        }
        Does::Dial => {
            let _ = alerts.send(vec![alert("connected")]).await;
            sleep(Duration::from_secs(3600)).await;
        }
        Does::End | Does::Loop | Does::Spin | Does::Busy | Does::Panic | Does::Hang | Does::Unauthorized => {
            let _ = alerts.send(vec![alert("one")]).await;
            match does {
                Does::Loop => loop {
                    std::hint::black_box(());
                },
                Does::Spin => loop {
                    sleep(Duration::ZERO).await;
                },
                Does::Busy => loop {
                    let began = Instant::now();
                    while began.elapsed() < Duration::from_millis(50) {
                        std::hint::black_box(());
                    }
                    sleep(Duration::from_millis(1)).await;
                },
                Does::Panic => panic!("so it goes"),
                _ => {}
            }
        }
    }
}

watchkeeper_sdk::register! { source: Live, live_source: Live }
