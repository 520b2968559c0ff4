//! A real Alertmanager delivers: every instance is its own alert, none is lost, none is doubled, resolved ones close.

#![allow(clippy::unwrap_used, reason = "a test that can't go on fails with what stood in its way")]

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use watchkeeper_tests::{
    Alertmanager, PATH, PATIENCE, Random, Routing, Setup, TOKEN, Watchkeeper, client, require, wait,
};

/// Everything fires at this very second.
const STARTS_AT: &str = "2026-01-02T03:04:05Z";
const ENDS_AT: &str = "2026-01-02T03:05:00Z";

const GROUPS: [&str; 4] = ["DiskLatency", "NodeDown", "QueueFull", "SlowQueries"];
const INSTANCES: u32 = 5;

fn alert(group: &str, instance: u32, ends_at: &str) -> Value {
    json!({
        "labels": { "alertname": group, "instance": format!("node-{instance}"), "severity": "warning" },
        "annotations": { "summary": "it is high" },
        "startsAt": STARTS_AT,
        "endsAt": ends_at,
    })
}

fn firing(group: &str, instance: u32) -> Value {
    alert(group, instance, "2099-01-01T00:00:00Z")
}

fn resolved(group: &str, instance: u32) -> Value {
    alert(group, instance, ENDS_AT)
}

fn of_all_groups(make: fn(&str, u32) -> Value, instances: impl Iterator<Item = u32> + Clone) -> Vec<Value> {
    GROUPS.iter().flat_map(|group| instances.clone().map(move |instance| make(group, instance))).collect()
}

fn heard(host: &Watchkeeper) -> f64 {
    host.metrics().sum("agent_alert_outcomes_total", &[("source", "prometheus"), ("outcome", "heard")])
}

fn wait_for_repeats(host: &Watchkeeper) {
    let before = heard(host);
    wait("Alertmanager repeats, and repeats are counted as heard", PATIENCE, || {
        (heard(host) >= before + f64::from(INSTANCES)).then_some(())
    });
}

fn with_status<'a>(alerts: &'a [Value], status: &str) -> BTreeSet<(&'a str, &'a str)> {
    let wanted = alerts.iter().filter(|alert| alert["status"] == status);
    wanted
        .map(|alert| {
            let label = |name| alert["labels"][name].as_str().unwrap();
            (label("alertname"), label("instance"))
        })
        .collect()
}

/// Unique by what makes an alert unique, and by what Alertmanager was told.
fn assert_each_once(alerts: &[Value]) {
    let keys: BTreeSet<String> = alerts
        .iter()
        .map(|alert| format!("{} {} {}", alert["source"], alert["id"], alert["starts_at"]))
        .collect();
    assert_eq!(keys.len(), alerts.len(), "an alert is stored twice: {alerts:#?}");
    let told: BTreeSet<String> = alerts.iter().map(|alert| alert["labels"].to_string()).collect();
    assert_eq!(told.len(), alerts.len(), "an instance is stored twice: {alerts:#?}");
}

fn assert_all_closed(host: &Watchkeeper, incidents: usize) {
    for alert in host.alerts() {
        assert_eq!(alert["status"], "resolved", "{alert}");
        assert_eq!(alert["ends_at"], "2026-01-02T03:05:00.000Z", "{alert}");
    }
    let all = host.all("incidents", "");
    assert_eq!(all.len(), incidents, "one incident a group: {all:#?}");
    for incident in all {
        assert_eq!(incident["status"], "closed", "{incident}");
        assert_eq!(incident["firing"], 0, "{incident}");
        assert!(incident["closed_at"].is_string(), "{incident}");
    }
}

fn wait_until_resolved(host: &Watchkeeper, count: usize) {
    wait(&format!("{count} alerts are resolved"), PATIENCE, || {
        (with_status(&host.alerts(), "resolved").len() == count).then_some(())
    });
}

#[test]
fn groups_of_instances_that_fire_at_the_same_second_arrive_once_each_and_close() {
    let Some(program) = require("prometheus-alertmanager", "prometheus-alertmanager") else { return };
    let host = Setup::new().start();
    let alertmanager = Alertmanager::start(&program, &host.url(PATH), &Routing::default());

    alertmanager.post(&of_all_groups(firing, 0..INSTANCES));
    let alerts = host.alerts_once_there_are(GROUPS.len() * INSTANCES as usize);
    assert_each_once(&alerts);
    assert!(alerts.iter().all(|alert| alert["starts_at"] == "2026-01-02T03:04:05.000Z"), "{alerts:#?}");
    wait_for_repeats(&host);

    alertmanager.post(&of_all_groups(resolved, 0..2));
    wait_until_resolved(&host, GROUPS.len() * 2);
    assert!(
        host.all("incidents", "?status=open").len() == GROUPS.len(),
        "an incident is open while an alert fires"
    );
    wait_for_repeats(&host);

    alertmanager.post(&of_all_groups(resolved, 2..INSTANCES));
    wait_until_resolved(&host, GROUPS.len() * INSTANCES as usize);
    assert_each_once(&host.alerts_once_there_are(GROUPS.len() * INSTANCES as usize));
    assert_all_closed(&host, GROUPS.len());
}

#[test]
fn what_fires_and_resolves_while_watchkeeper_is_down_arrives_once_it_is_back() {
    let Some(program) = require("prometheus-alertmanager", "prometheus-alertmanager") else { return };
    let mut host = Setup::new().start();
    let alertmanager = Alertmanager::start(&program, &host.url(PATH), &Routing::default());
    alertmanager.post(&of_all_groups(firing, 0..INSTANCES));
    host.alerts_once_there_are(GROUPS.len() * INSTANCES as usize);

    host.kill9();
    alertmanager.post(&of_all_groups(resolved, 0..2));
    alertmanager.post(&[firing("BornInTheDark", 0), firing("BornInTheDark", 1)]);
    wait("Alertmanager fails to deliver, and tries again", PATIENCE, || {
        let failed = alertmanager
            .metrics()
            .sum("alertmanager_notification_requests_failed_total", &[("integration", "webhook")]);
        (failed >= 3.0).then_some(())
    });
    host.restart();

    let alerts = host.alerts_once_there_are(GROUPS.len() * INSTANCES as usize + 2);
    assert_each_once(&alerts);
    wait_until_resolved(&host, GROUPS.len() * 2);
    wait_for_repeats(&host);

    alertmanager.post(&of_all_groups(resolved, 2..INSTANCES));
    alertmanager.post(&[resolved("BornInTheDark", 0), resolved("BornInTheDark", 1)]);
    wait_until_resolved(&host, GROUPS.len() * INSTANCES as usize + 2);
    assert_each_once(&host.alerts());
    assert_all_closed(&host, GROUPS.len() + 1);
}

#[test]
fn retries_after_a_lost_answer_or_a_503_double_nothing_and_lose_nothing() {
    let Some(program) = require("prometheus-alertmanager", "prometheus-alertmanager") else { return };
    let host = Setup::new().start();
    let line = BadLine::to(host.url(PATH));
    let webhook = format!("http://{}/", line.address);
    let alertmanager = Alertmanager::start(&program, &webhook, &Routing::default());

    alertmanager.post(&of_all_groups(firing, 0..INSTANCES));
    assert_each_once(&host.alerts_once_there_are(GROUPS.len() * INSTANCES as usize));
    // Alertmanager doesn't tell the end of what it never could tell the beginning of.
    wait("each group got through once, and there was trouble enough", PATIENCE, || {
        (line.good_for() == GROUPS.len() && line.requests() >= 12).then_some(())
    });

    alertmanager.post(&of_all_groups(resolved, 0..INSTANCES));
    wait_until_resolved(&host, GROUPS.len() * INSTANCES as usize);
    assert_each_once(&host.alerts_once_there_are(GROUPS.len() * INSTANCES as usize));
    assert_all_closed(&host, GROUPS.len());
    assert!(heard(&host) > 0.0, "a retry of what is stored is heard, not stored");
}

/// Stands between the two, and is trouble: of five requests, by chance, one is answered 503 and not passed on; one is
/// passed on, and its answer is lost; one is passed on and answered 503 all the same; two go well.
struct BadLine {
    address: SocketAddr,
    seen: Arc<Mutex<Seen>>,
}

#[derive(Default)]
struct Seen {
    requests: u32,
    /// The groups that were told, and answered so.
    good_for: BTreeSet<String>,
}

impl BadLine {
    /// Its thread ends with the test's process.
    fn to(target: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Seen::default()));
        let noted = seen.clone();
        // Not in turn: groups that are notified in step would each meet the same trouble for ever.
        let mut random = Random::seeded();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // Alertmanager gives up on a connection as it likes.
                let _ = mistreat(stream, random.within(0, 5), &target, &noted);
            }
        });
        Self { address, seen }
    }

    fn requests(&self) -> u32 {
        self.seen.lock().unwrap().requests
    }

    fn good_for(&self) -> usize {
        self.seen.lock().unwrap().good_for.len()
    }
}

fn mistreat(mut stream: TcpStream, trouble: u64, target: &str, seen: &Mutex<Seen>) -> std::io::Result<()> {
    let body = read_request(&stream)?;
    seen.lock().unwrap().requests += 1;
    let pass_on =
        || client().post(target).bearer_auth(TOKEN).body(body.clone()).send().unwrap().status().as_u16();
    let status = match trouble {
        0 => 503,
        1 => {
            pass_on();
            return Ok(());
        }
        2 => {
            pass_on();
            503
        }
        _ => pass_on(),
    };
    write!(stream, "HTTP/1.1 {status} Whatever\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")?;
    if status == 200 {
        let payload: Value = serde_json::from_slice(&body).unwrap();
        let group = payload["groupLabels"]["alertname"].as_str().unwrap().to_owned();
        seen.lock().unwrap().good_for.insert(group);
    }
    Ok(())
}

fn read_request(stream: &TcpStream) -> std::io::Result<Vec<u8>> {
    let mut reader = BufReader::new(stream);
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        if line.trim_end().is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok(body)
}
