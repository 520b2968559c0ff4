//! `kill -9` at random moments under load: what was acknowledged is there, once, and every investigation goes on to an end.

#![allow(clippy::unwrap_used, reason = "a test that can't go on fails with what stood in its way")]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::Value;
use watchkeeper_tests::payload::{firing, webhook};
use watchkeeper_tests::{PATH, Random, Setup, TOKEN, Watchkeeper};

const ROUNDS: u32 = 20;
const CLIENTS: u32 = 4;
const ALERTS_A_BATCH: u32 = 3;

/// A bound on what one client sends in a round, so that looking at it all stays quick.
const BATCHES: u32 = 100;

/// The moment of the kill, in milliseconds since the load began.
const KILL: std::ops::Range<u64> = 20..350;

/// What was sent, by batch: the ids of its alerts, and whether Watchkeeper answered for them.
type Sent = BTreeMap<String, (Vec<String>, bool)>;

#[test]
fn twenty_kills_lose_nothing_that_was_acknowledged_and_end_every_investigation() {
    let mut random = Random::seeded();
    let mut host = Setup::new().playbooks().start();
    let mut all = Sent::new();
    for round in 0..ROUNDS {
        let kill_after = Duration::from_millis(random.within(KILL.start, KILL.end));
        let sent = load_until_killed(&mut host, round, kill_after);
        host.restart();
        assert_kept(&sent, &host.all("alerts", &format!("?label=round:{round}")));
        all.extend(sent);
    }
    let acknowledged = all.values().filter(|(_, acknowledged)| *acknowledged).count();
    println!("{acknowledged} of {} batches were acknowledged", all.len());
    assert!(acknowledged > ROUNDS as usize, "the load was no load: {acknowledged} of {}", all.len());
    assert_kept(&all, &host.alerts());
    assert_investigations_end(&host);
}

/// Sends from several clients at once, kills the host `kill_after` that, and says what was sent.
fn load_until_killed(host: &mut Watchkeeper, round: u32, kill_after: Duration) -> Sent {
    let url = host.url(PATH);
    let clients: Vec<_> = (0..CLIENTS)
        .map(|number| {
            let (url, client) = (url.clone(), host.client().clone());
            std::thread::spawn(move || send_until_it_fails(&client, &url, round, number))
        })
        .collect();
    // The kill's moment is what this test is about; nothing is waited for.
    std::thread::sleep(kill_after);
    host.kill9();
    clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
}

fn send_until_it_fails(client: &reqwest::blocking::Client, url: &str, round: u32, number: u32) -> Sent {
    let mut sent = Sent::new();
    for batch in 0..BATCHES {
        let name = format!("{round}-{number}-{batch}");
        let ids: Vec<String> = (0..ALERTS_A_BATCH).map(|alert| format!("{name}-{alert}")).collect();
        // One critical incident a round.
        let critical = number == 0 && batch == 0;
        let alerts = ids.iter().map(|id| alert(id, round, &name, critical));
        let request = client.post(url).bearer_auth(TOKEN).body(webhook(alerts).to_string());
        let answer = request.send().map(|answer| answer.status().as_u16());
        if let Ok(status) = answer {
            assert_eq!(status, 200, "batch {name}");
        }
        sent.insert(name, (ids, answer.is_ok()));
        if answer.is_err() {
            break;
        }
    }
    sent
}

fn alert(id: &str, round: u32, batch: &str, critical: bool) -> Value {
    let (round, name) = (round.to_string(), format!("Load{round}"));
    let common = [("round", &*round), ("batch", batch), ("instance", id), ("cluster", &*round)];
    let own = if critical {
        [("alertname", "HighCPU"), ("severity", "critical")]
    } else {
        [("alertname", &*name), ("severity", "warning")]
    };
    firing(id, &[&common[..], &own[..]].concat())
}

/// Acknowledged batches are there as a whole, others as a whole or not at all, and no alert is there twice.
fn assert_kept(sent: &Sent, stored: &[Value]) {
    let ids: BTreeSet<&str> = stored.iter().map(|alert| alert["id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), stored.len(), "an alert is stored twice");
    for (batch, (expected, acknowledged)) in sent {
        let kept = expected.iter().filter(|id| ids.contains(id.as_str())).count();
        assert!(
            kept == expected.len() || (kept == 0 && !acknowledged),
            "batch {batch} (acknowledged: {acknowledged}) \
             has {kept} of its {} alerts",
            expected.len()
        );
    }
}

fn assert_investigations_end(host: &Watchkeeper) {
    let critical: BTreeSet<String> =
        host.all("alerts", "?severity=critical").iter().map(|alert| alert["incident"].to_string()).collect();
    assert!(!critical.is_empty(), "no critical alert got through");
    let investigations = host.investigations_once_over(critical.len());
    let investigated: BTreeSet<String> =
        investigations.iter().map(|one| one["incident"].to_string()).collect();
    assert_eq!(investigated, critical, "each critical incident, and no other, is investigated");
    assert_eq!(investigations.len(), critical.len(), "and once");
    for investigation in investigations {
        assert_transcript(&host.investigation(investigation["id"].as_str().unwrap()));
    }
}

fn assert_transcript(investigation: &Value) {
    let transcript = investigation["transcript"].as_array().unwrap();
    let seqs: Vec<u64> = transcript.iter().map(|entry| entry["seq"].as_u64().unwrap()).collect();
    assert_eq!(seqs, (0..transcript.len() as u64).collect::<Vec<_>>(), "{investigation:#}");
    let ends = |entry: &Value| matches!(entry["event"].as_str(), Some("completed" | "failed" | "escalated"));
    let ended: Vec<usize> =
        transcript.iter().enumerate().filter(|(_, e)| ends(e)).map(|(at, _)| at).collect();
    assert_eq!(ended, [transcript.len() - 1], "it ends once, and last: {investigation:#}");
}
