//! Live sources: plugins that hold a subscription of their own. What is acknowledged is stored, whoever goes down; what a guest
//! does with its connection, its time and its memory stays within what it was granted.

#![allow(clippy::unwrap_used, reason = "a test that can't go on fails with what stood in its way")]

use std::collections::BTreeSet;
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use watchkeeper_tests::payload::{firing, webhook};
use watchkeeper_tests::{Mosquitto, PATIENCE, Setup, Watchkeeper, guest_file, plugin_file, wait};

fn alert(id: &str) -> String {
    serde_json::json!({"id": id, "severity": "warning", "title": "pump is hot", "labels": {"host": "plc-7"}})
        .to_string()
}

fn numbered(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|number| alert(&format!("n-{number}"))).collect()
}

/// A host that may subscribe at this broker.
fn subscriber(broker: SocketAddr, more: &str) -> Setup {
    let source = format!(
        "name: floor\ntype: mqtt\nserver: {}\nport: {}\ntopics: [alerts/#]\nallow_hosts: ['tcp://{broker}']\n{more}",
        broker.ip(),
        broker.port()
    );
    Setup::without_sources()
        .plugin("mqtt")
        .plugin_bytes("mqtt.yaml", format!("asks: {{ tcp: ['tcp://{broker}'] }}"))
        .source("floor.yaml", &source)
}

/// Once the source's subscription stands.
fn subscribed(host: &Watchkeeper) {
    wait("the host subscribes", PATIENCE, || host.log().contains("connected to").then_some(()));
}

fn ids(host: &Watchkeeper) -> Vec<String> {
    host.alerts().iter().map(|alert| alert["id"].as_str().unwrap().to_owned()).collect()
}

/// Each alert of the range is there, once.
fn has_each_once(host: &Watchkeeper, count: usize) {
    wait(&format!("{count} alerts are stored"), 2 * PATIENCE, || {
        (host.alerts().len() >= count).then_some(())
    });
    let ids = ids(host);
    let distinct: BTreeSet<&String> = ids.iter().collect();
    assert_eq!((ids.len(), distinct.len()), (count, count));
    for number in 0..count {
        assert!(distinct.contains(&format!("n-{number}")), "n-{number} is lost");
    }
}

#[test]
fn messages_of_a_real_broker_become_alerts() {
    let Some(broker) = Mosquitto::start("") else { return };
    let host = subscriber(broker.address(), "").start();
    subscribed(&host);
    broker.publish("alerts/pumps", &[alert("p-1")]);
    broker.publish("other/pumps", &[alert("not ours")]);
    broker.publish("alerts/pumps", &["this is no alert".into()]);
    let alerts = host.alerts_once_there_are(2);
    let pump = alerts.iter().find(|alert| alert["id"] == "p-1").unwrap();
    assert_eq!(pump["title"], "pump is hot");
    assert_eq!(pump["labels"]["topic"], "alerts/pumps");
    assert_eq!(host.metrics().sum("agent_alert_source_healthy", &[("source", "floor")]), 1.0);
    let listed = host.site.run(&["check"]).well();
    assert!(listed.said().contains("by a subscription of its own"), "{}", listed.said());
}

#[test]
fn what_was_acknowledged_outlives_kill_9_and_the_rest_comes_again() {
    let Some(broker) = Mosquitto::start("") else { return };
    let mut host = subscriber(broker.address(), "").start();
    subscribed(&host);
    const ROUNDS: usize = 5;
    const EACH: usize = 200;
    for round in 0..ROUNDS {
        std::thread::scope(|scope| {
            scope.spawn(|| broker.publish("alerts/x", &numbered(round * EACH..(round + 1) * EACH)));
            wait("some are stored", PATIENCE, || (host.alerts().len() > round * EACH / 2).then_some(()));
            host.kill9();
        });
        host.restart();
    }
    has_each_once(&host, ROUNDS * EACH);
}

#[test]
fn a_broker_that_comes_back_is_subscribed_at_again() {
    let Some(mut broker) = Mosquitto::start("") else { return };
    let host = subscriber(broker.address(), "").start();
    subscribed(&host);
    broker.publish("alerts/x", &numbered(0..50));
    has_each_once(&host, 50);
    broker.stop();
    wait("the host notices", PATIENCE, || {
        (host.metrics().sum("agent_alert_source_healthy", &[("source", "floor")]) == 0.0).then_some(())
    });
    broker.resume();
    broker.publish("alerts/x", &numbered(50..100));
    has_each_once(&host, 100);
}

#[test]
fn a_version_that_comes_in_takes_the_subscription_over() {
    let Some(broker) = Mosquitto::start("") else { return };
    let host = subscriber(broker.address(), "").start();
    subscribed(&host);
    let plugin = std::fs::read(plugin_file("mqtt")).unwrap();
    // The same code, told apart by a custom section of its own.
    let version = |number: u8| [plugin.as_slice(), &[0, 3, 1, b'v', number]].concat();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for part in 0..40 {
                broker.publish("alerts/x", &numbered(part * 10..(part + 1) * 10));
            }
        });
        for number in 1..=3 {
            let beside = host.site.write("next", version(number));
            std::fs::rename(beside, host.site.plugins_dir().join("mqtt.wasm")).unwrap();
            wait("the version is live", PATIENCE, || {
                let attempts =
                    host.get("/api/v1/plugins/mqtt").json()["attempts"].as_array().unwrap().clone();
                let live = attempts.iter().filter(|attempt| attempt["outcome"] == "live").count();
                (live > usize::from(number)).then_some(())
            });
        }
    });
    has_each_once(&host, 400);
    wait("each of the four versions has subscribed", PATIENCE, || {
        (host.log().matches("connected to").count() == 4).then_some(())
    });
}

#[test]
fn refused_credentials_are_said_and_not_tried_again() {
    // The hash is of a password that nobody here knows.
    let Some(broker) = Mosquitto::start(
        "someone:$7$101$AAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA==\n",
    ) else {
        return;
    };
    let host = subscriber(broker.address(), "username: watchkeeper\npassword: wrong\n").start();
    wait("the refusal is said", PATIENCE, || {
        host.log().contains("the broker refuses the username or password").then_some(())
    });
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(host.log().matches("its credentials are refused").count(), 1, "{}", host.log());
}

/// A host with a guest that does this, and a good neighbour.
fn guest(does: &str, more: &str) -> Setup {
    let source = format!(
        "name: guest\ntype: live\ndoes: {does}\nlimits: {{ call_ms: 200, fetch_ms: 500, memory_mib: 16 }}\n{more}"
    );
    Setup::new()
        .plugin_bytes("live.wasm", std::fs::read(guest_file("live")).unwrap())
        .source("guest.yaml", &source)
}

fn failures(host: &Watchkeeper) -> String {
    host.get("/api/v1/plugins/live").json()["failures"].to_string()
}

#[test]
fn what_a_guest_does_wrong_ends_with_the_limit_on_record_and_its_alerts_kept() {
    for (does, words, alerts) in [
        ("loop", "computed for longer than its limit of 200 ms without waiting (limits.call_ms)", 1),
        ("spin", "computed for longer than its limit of 200 ms without waiting (limits.call_ms)", 1),
        ("panic", "so it goes", 1),
        ("memory", "limits.memory_mib", 0),
        ("hang", "500 ms a call (limits.fetch_ms)", 0),
    ] {
        let host = guest(does, "").start();
        wait(&format!("{does} is on record"), PATIENCE, || failures(&host).contains(words).then_some(()));
        assert_eq!(host.alerts().len(), alerts, "{does}");
        let began = Instant::now();
        host.store(&webhook([firing("neighbour", &[("alertname", "N")])]));
        assert!(began.elapsed() < Duration::from_secs(2), "{does}: {:?}", began.elapsed());
    }
}

#[test]
fn an_alert_that_breaks_a_rule_is_set_aside_and_the_rest_is_stored() {
    let host = guest("break", "").start();
    host.alerts_once_there_are(2);
    assert_eq!(ids(&host).into_iter().collect::<BTreeSet<_>>(), ["first".to_owned(), "last".into()].into());
    let letters = host.site.run(&["replay", "--list"]).well().stdout;
    assert!(letters.matches("guest").count() == 1 && letters.contains("id"), "{letters}");
    assert!(
        letters.contains("reads no payload again: mend the plugin, and have the upstream send it again"),
        "{letters}"
    );
    // No plugin is asked, and so none fails.
    let again = host.site.run(&["replay"]);
    assert!(again.code == Some(1) && again.stdout.contains("stays: alerts[0].id"), "{}", again.said());
    assert_eq!(failures(&host), "[]");
}

/// What the host's threads have computed so far.
fn computed(host: &Watchkeeper) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", host.id())).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    // utime and stime, in hundredths of a second.
    Duration::from_millis(10 * (11..13).map(|field| fields[field].parse::<u64>().unwrap()).sum::<u64>())
}

#[test]
fn a_guest_that_is_awake_all_the_time_gets_half_of_a_core() {
    let host = guest("busy", "").start();
    wait("it is slowed down", PATIENCE, || {
        host.log().contains("slowed down to half of a core").then_some(())
    });
    let (began, before) = (Instant::now(), computed(&host));
    std::thread::sleep(Duration::from_secs(4));
    let share = (computed(&host) - before).as_secs_f64() / began.elapsed().as_secs_f64();
    assert!(share < 0.65, "it took {share:.2} of a core");
    assert_eq!(host.metrics().sum("agent_plugin_slowed_total", &[("plugin", "live")]), 1.0);
    assert_eq!(host.alerts().len(), 1);
    host.store(&webhook([firing("neighbour", &[("alertname", "N")])]));
}

#[test]
fn a_host_that_stops_ends_every_subscription() {
    for does in ["hang", "count", "busy", "flood"] {
        let mut host = guest(does, "").start();
        std::thread::sleep(Duration::from_millis(300));
        let stopped = host.terminate();
        let log = host.log();
        assert!(stopped.code == Some(0) && stopped.took < Duration::from_secs(10), "{does}: {log}");
        assert!(!log.contains("panicked") && log.trim_end().ends_with("stopped"), "{does}: {log}");
    }
}

#[test]
fn a_subscription_that_ends_is_begun_again_with_growing_pauses() {
    let host = guest("end", "").start();
    wait("it is begun again", PATIENCE, || {
        let ended = [("source", "guest"), ("outcome", "ended")];
        (host.metrics().sum("agent_source_subscriptions_total", &ended) >= 2.0).then_some(())
    });
    assert_eq!(host.alerts().len(), 1);
    assert!(host.log().contains("a subscription ended; it is begun again in"), "{}", host.log());
}

#[test]
fn a_flood_is_slowed_down_to_what_is_stored() {
    let host = guest("flood", "").start();
    wait("some of the flood is stored", PATIENCE, || {
        let stored = [("source", "guest"), ("severity", "info"), ("status", "stored")];
        (host.metrics().sum("agent_alerts_processed_total", &stored) >= 5_000.0).then_some(())
    });
    host.store(&webhook([firing("neighbour", &[("alertname", "N")])]));
    let resident = host.resident_kib();
    assert!(resident < 300 * 1024, "{resident} KiB");
}

#[test]
fn connections_go_where_they_are_asked_for_and_granted_and_nowhere_else() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let place = listener.local_addr().unwrap();
    let dial = |asks: &str, grants: &str| {
        let more = format!("host: 127.0.0.1\nport: {}\nallow_hosts: [{grants}]\n", place.port());
        guest("dial", &more).plugin_bytes("live.yaml", format!("asks: {{ tcp: [{asks}] }}")).start()
    };
    let there = format!("'tcp://{place}'");
    let elsewhere = "'tcp://127.0.0.1:1'";
    for (asks, grants, words) in [
        (there.as_str(), "", "is not granted: add the host to `allow_hosts` of source guest"),
        ("", there.as_str(), "is not asked for by the plugin"),
        (there.as_str(), elsewhere, "is not granted"),
        (elsewhere, there.as_str(), "is not asked for by the plugin"),
    ] {
        let host = dial(asks, grants);
        wait(&format!("asked [{asks}], granted [{grants}]: it says {words}"), PATIENCE, || {
            host.log().contains(words).then_some(())
        });
        assert_eq!(host.alerts().len(), 0);
    }
    listener.set_nonblocking(true).unwrap();
    assert!(listener.accept().is_err(), "somebody connected");
    let host = dial(&there, &there);
    host.alerts_once_there_are(1);
}

#[test]
fn connections_have_a_number() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let place = listener.local_addr().unwrap();
    let there = format!("'tcp://{place}'");
    let (accepted, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
    listener.set_nonblocking(true).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut kept = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                match listener.accept() {
                    Ok(connection) => kept.push(connection),
                    Err(_) => std::thread::sleep(Duration::from_millis(1)),
                }
                accepted.fetch_max(kept.len(), Ordering::Relaxed);
            }
        });
        let more = format!("host: 127.0.0.1\nport: {}\nallow_hosts: [{there}]\n", place.port());
        let host =
            guest("hoard", &more).plugin_bytes("live.yaml", format!("asks: {{ tcp: [{there}] }}")).start();
        host.alerts_once_there_are(1);
        let open = || std::fs::read_dir(format!("/proc/{}/fd", host.id())).unwrap().count();
        let mut before = 0;
        wait("it gets no more", PATIENCE, || {
            let now = accepted.load(Ordering::Relaxed);
            std::thread::sleep(Duration::from_millis(500));
            (now > 0 && std::mem::replace(&mut before, now) == now).then_some(())
        });
        let connections = accepted.load(Ordering::Relaxed);
        eprintln!("{connections} connections, {} open files: {}", open(), failures(&host));
        assert!(connections <= 260 && open() < 512, "{connections} connections, {} open files", open());
        host.store(&webhook([firing("neighbour", &[("alertname", "N")])]));
        stop.store(true, Ordering::Relaxed);
    });
}
