//! The load generator: one thread, many connections, each sends a request and waits for its answer. Bounded in time.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// What is sent where. `{N}` in the body's alert becomes a number that no other alert has.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    pub(crate) path: &'static str,
    pub(crate) token: Option<&'static str>,
    pub(crate) body: fn(first: u64, alerts: usize) -> String,
}

pub(crate) struct Figures {
    pub(crate) alerts_per_second: f64,
    pub(crate) p50: Duration,
    pub(crate) p99: Duration,
    pub(crate) alerts: u64,
}

/// Keeps `connections` busy for `time`. Any answer but 200 fails the run.
pub(crate) fn run(target: &Target, connections: usize, alerts: usize, time: Duration) -> Result<Figures> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let numbers = Arc::new(AtomicU64::new(0));
        let started = Instant::now();
        let until = started + time;
        let runs: Vec<_> = (0..connections)
            .map(|_| tokio::spawn(connection(target.clone(), numbers.clone(), alerts, until)))
            .collect();
        let mut latencies = Vec::new();
        for run in runs {
            latencies.extend(run.await??);
        }
        let took = started.elapsed();
        latencies.sort_unstable();
        let at = |share: f64| latencies[((latencies.len() - 1) as f64 * share) as usize];
        let sent = latencies.len() as u64 * alerts as u64;
        Ok(Figures {
            alerts_per_second: sent as f64 / took.as_secs_f64(),
            p50: at(0.5),
            p99: at(0.99),
            alerts: sent,
        })
    })
}

async fn connection(
    target: Target,
    numbers: Arc<AtomicU64>,
    alerts: usize,
    until: Instant,
) -> Result<Vec<Duration>> {
    let mut stream = TcpStream::connect(target.address).await?;
    stream.set_nodelay(true)?;
    let mut latencies = Vec::new();
    let mut answer = Vec::with_capacity(4096);
    while Instant::now() < until {
        let request = request(&target, numbers.fetch_add(alerts as u64, Ordering::Relaxed), alerts);
        let sent = Instant::now();
        stream.write_all(request.as_bytes()).await?;
        read_answer(&mut stream, &mut answer).await?;
        latencies.push(sent.elapsed());
    }
    Ok(latencies)
}

fn request(target: &Target, first: u64, alerts: usize) -> String {
    let body = (target.body)(first, alerts);
    let token = target.token.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
    format!(
        "POST {} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n{token}\r\n{body}",
        target.path,
        target.address,
        body.len()
    )
}

async fn read_answer(stream: &mut TcpStream, answer: &mut Vec<u8>) -> Result<()> {
    answer.clear();
    loop {
        if stream.read_buf(answer).await? == 0 {
            bail!("the server hung up after {} bytes", answer.len());
        }
        let Some(head) = answer.windows(4).position(|window| window == b"\r\n\r\n") else { continue };
        let text = String::from_utf8_lossy(&answer[..head]).to_ascii_lowercase();
        if !text.starts_with("http/1.1 200") {
            bail!("the server answered {}", String::from_utf8_lossy(answer));
        }
        let length = text.lines().find_map(|line| line.strip_prefix("content-length:"));
        let length: usize = length.context("an answer without a length")?.trim().parse()?;
        if answer.len() >= head + 4 + length {
            return Ok(());
        }
    }
}

/// Labels and annotations as a real rule gives them; the same for both servers.
fn alert(number: u64) -> (String, String) {
    let labels = format!(
        r#"{{"alertname":"HighRequestLatency","cluster":"eu-1","namespace":"shop","job":"api","severity":"warning","instance":"10.{}.{}.{}:9100","pod":"api-{number}"}}"#,
        number >> 16 & 255,
        number >> 8 & 255,
        number & 255
    );
    let annotations = r#"{"summary":"Request latency is high","description":"99th percentile latency of the api job is above 1.5 s for 10 minutes.","runbook_url":"https://runbooks.example.org/HighRequestLatency"}"#;
    (labels, annotations.to_owned())
}

const URL: &str = "http://prometheus.example.org/graph?g0.expr=job%3Arequest_latency_seconds";
const STARTS_AT: &str = "2026-11-23T08:00:00.000Z";

/// Alertmanager's API v2: https://github.com/prometheus/alertmanager/blob/main/api/v2/openapi.yaml
pub(crate) fn api_body(first: u64, alerts: usize) -> String {
    let alerts = (0..alerts as u64).map(|offset| {
        let (labels, annotations) = alert(first + offset);
        format!(r#"{{"labels":{labels},"annotations":{annotations},"startsAt":"{STARTS_AT}","generatorURL":"{URL}"}}"#)
    });
    format!("[{}]", alerts.collect::<Vec<_>>().join(","))
}

/// Alertmanager's webhook: https://prometheus.io/docs/alerting/latest/configuration/#webhook_config
pub(crate) fn webhook_body(first: u64, alerts: usize) -> String {
    let alerts = (0..alerts as u64).map(|offset| {
        let number = first + offset;
        let (labels, annotations) = alert(number);
        format!(
            r#"{{"status":"firing","labels":{labels},"annotations":{annotations},"startsAt":"{STARTS_AT}","endsAt":"0001-01-01T00:00:00Z","generatorURL":"{URL}","fingerprint":"{number:016x}"}}"#
        )
    });
    format!(
        r#"{{"receiver":"watchkeeper","status":"firing","alerts":[{}],"groupLabels":{{"alertname":"HighRequestLatency"}},"commonLabels":{{"alertname":"HighRequestLatency"}},"commonAnnotations":{{}},"externalURL":"http://alertmanager.example.org","version":"4","groupKey":"{{}}:{{alertname=\"HighRequestLatency\"}}","truncatedAlerts":0}}"#,
        alerts.collect::<Vec<_>>().join(",")
    )
}
