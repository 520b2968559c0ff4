//! Plugins that mean harm, as a toolchain makes them: each ends within its time, reaches nothing, and is on record; neighbours
//! don't notice, and the host's memory stays what it was.
//!
//! `WATCHKEEPER_SOAK_HARMS` says how often each harm is done; by how much each outran its deadline, as the host measured it, is
//! printed, and judged where it was asked for.

#![allow(clippy::unwrap_used, reason = "a test that can't go on fails with what stood in its way")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;
use watchkeeper_tests::payload::{firing, webhook};
use watchkeeper_tests::{Answer, Complaints, PATIENCE, Setup, Watchkeeper, guest_file, wait};

const PATH: &str = "/alerts/hostile";

fn hostile() -> Vec<u8> {
    std::fs::read(guest_file("hostile")).unwrap()
}

/// A host with a good neighbour, and a hostile plugin that has 200 ms a call, and 16 MiB.
fn setup(more: &str) -> Setup {
    let source = format!(
        "name: hostile\ntype: hostile\nlimits: {{ call_ms: 200, fetch_ms: 400, memory_mib: 16 }}\n{more}"
    );
    Setup::new().plugin_bytes("hostile.wasm", hostile()).source("hostile.yaml", &source)
}

fn error_of(answer: &Answer) -> String {
    match answer.status {
        202 => answer.json()["error"].as_str().unwrap().to_owned(),
        _ => answer.body.clone(),
    }
}

/// By how many milliseconds the last failed call outran its deadline, as the host measured it.
fn last_overrun(host: &Watchkeeper) -> f64 {
    failures(host).last().unwrap()["over_ms"].as_f64().unwrap()
}

/// What the plugin made its alert's description of.
fn said(host: &Watchkeeper, does: &str) -> String {
    let answer = host.post_to(PATH, does.to_owned());
    assert_eq!(answer.status, 200, "{does}: {answer:?}");
    let alert = host.alerts().into_iter().find(|alert| alert["id"] == does).unwrap();
    alert["description"].as_str().unwrap().to_owned()
}

fn failures(host: &Watchkeeper) -> Vec<Value> {
    host.get("/api/v1/plugins/hostile").json()["failures"].as_array().unwrap().clone()
}

#[test]
fn each_harm_ends_within_its_time_with_the_limit_and_the_guests_words_on_record() {
    let host = setup("").start();
    host.store(&webhook([firing("warm", &[("alertname", "Warm")])]));
    // While it is trusted: after a harm it would give way to whatever else runs here.
    assert_eq!(said(&host, "flood"), "flooded");
    let before = host.resident_kib();
    // What it does, and what the answer and the record say.
    let table: [(&str, &[&str]); 16] = [
        ("loop", &["200 ms", "limits.call_ms"]),
        ("sleep", &["200 ms", "limits.call_ms"]),
        ("fill", &["200 ms", "limits.call_ms"]),
        ("stuck", &["200 ms", "limits.call_ms"]),
        ("polls", &["200 ms", "limits.call_ms"]),
        ("random", &["200 ms", "limits.call_ms"]),
        ("draw", &["exceeds limit"]),
        ("crowd", &["50000", "4096"]),
        ("memory", &["16 MiB", "limits.memory_mib"]),
        ("deep", &["trapped"]),
        ("huge", &["limits."]),
        ("many", &["10001", "10000", "limits.alerts"]),
        ("print", &["printed enough"]),
        ("panic", &["so it goes"]),
        ("exit", &["exited with code"]),
        ("loop again", &["limits.call_ms"]),
    ];
    let mut complaints = Complaints::default();
    for (number, (does, words)) in table.iter().enumerate() {
        let error = error_of(&host.post_to(PATH, *does));
        // A tick of 10 ms; the rest is room for a machine that is busy with other tests.
        let over = last_overrun(&host);
        complaints.unless(over < 10.0 + 500.0, || format!("{does} outran its deadline by {over} ms"));
        complaints.unless_named(does, &error, &[&["plugin hostile/hostile"], *words].concat());
        complaints.unless_named(does, failures(&host)[number % 20]["reason"].as_str().unwrap(), words);
        host.store(&webhook([firing(does, &[("alertname", "Neighbour")])]));
        // In between it behaves, so that it isn't quarantined here.
        complaints
            .unless(host.post_to(PATH, format!("fine {number}")).status == 200, || format!("after {does}"));
    }
    let flooded = host.log().lines().filter(|line| line.contains("flood flood")).count();
    complaints.unless(flooded <= 300, || format!("{flooded} lines of a flood reached the log"));
    let after = host.resident_kib();
    complaints.unless(after < before + 64 * 1024, || format!("memory rose from {before} to {after} KiB"));
}

#[test]
fn nothing_is_hoarded_in_the_hosts_own_memory() {
    let source = "name: hostile\ntype: hostile\nlimits: { call_ms: 1000, memory_mib: 16 }\n";
    let host = Setup::new().plugin_bytes("hostile.wasm", hostile()).source("hostile.yaml", source).start();
    assert_eq!(host.post_to(PATH, "fine").status, 200);
    let mut complaints = Complaints::default();
    for what in ["methods", "authorities", "bodies", "fields", "waits"] {
        let before = host.resident_kib();
        let over = AtomicBool::new(false);
        let (error, most) = std::thread::scope(|scope| {
            let watching = scope.spawn(|| {
                let mut most = before;
                while !over.load(Ordering::Relaxed) {
                    most = most.max(host.resident_kib());
                    std::thread::sleep(Duration::from_millis(2));
                }
                most
            });
            let error = error_of(&host.post_to(PATH, format!("hoard {what}")));
            over.store(true, Ordering::Relaxed);
            (error, watching.join().unwrap())
        });
        let rose = most - before;
        eprintln!("{what}: the host's memory rose by {rose} KiB: {error}");
        let named = error.contains("resource table has no free keys") || error.contains("limits.call_ms");
        complaints.unless(named, || format!("{what}: {error}"));
        // 16 MiB are the guest's own.
        complaints.unless(rose < 96 * 1024, || format!("{what}: the host's memory rose by {rose} KiB"));
        complaints.unless(host.post_to(PATH, "fine").status == 200, || format!("after {what}"));
    }
}

#[test]
fn a_plugins_words_for_what_is_wrong_are_cut() {
    let host = setup("").start();
    let answer = host.post_to(PATH, "rant");
    let error = error_of(&answer);
    assert!(
        error.len() < 10_000 && error.contains("rant rant") && error.contains("(cut)"),
        "{}",
        error.len()
    );
    assert!(host.log().lines().all(|line| line.len() < 20_000));
}

/// What a busy machine does to a client isn't in it: each figure is the host's own.
#[test]
fn each_harm_outruns_its_deadline_by_a_tick_at_most() {
    let asked = std::env::var("WATCHKEEPER_SOAK_HARMS").ok().map(|times| times.parse::<usize>().unwrap());
    let times = asked.unwrap_or(2);
    let host = setup("").start();
    let mut complaints = Complaints::default();
    for does in
        ["loop", "sleep", "fill", "stuck", "polls", "random", "memory", "deep", "huge", "many", "panic"]
    {
        let mut overruns: Vec<f64> = (0..times)
            .map(|_| {
                assert_ne!(host.post_to(PATH, does).status, 200, "{does}");
                let over = last_overrun(&host);
                // In between it behaves, so that it isn't quarantined.
                assert_eq!(host.post_to(PATH, "fine").status, 200, "after {does}");
                over
            })
            .collect();
        overruns.sort_by(f64::total_cmp);
        let (median, p99) = (overruns[times / 2], overruns[(times * 99 / 100).min(times - 1)]);
        let worst = overruns[times - 1];
        eprintln!(
            "{does}, {times} times: over its deadline by {median} ms (median), {p99} ms (p99), {worst} ms (worst)"
        );
        complaints.unless(asked.is_none() || p99 <= 10.0, || format!("{does}: {overruns:?}"));
    }
    let measured = host.metrics().sum("agent_plugin_overrun_seconds_count", &[("plugin", "hostile")]);
    assert!(measured as usize >= 6 * times, "{measured} overruns are in the metrics");
}

#[test]
fn a_plugin_that_prints_while_it_is_configured_serves() {
    let host = setup("says: hello\n").start();
    assert_eq!(host.post_to(PATH, "fine").status, 200);
    assert_eq!(host.post_to(PATH, "third 1").status, 200);
}

#[test]
fn a_host_that_stops_ends_what_plugins_still_do() {
    let echo = Echo::start();
    let url = format!("http://{}", echo.address);
    for does in ["get", "sleep", "loop", "stuck"] {
        let source = format!(
            "name: hostile\ntype: hostile\npoll: {does}\nurl: {url}/drip\nallow_hosts: ['{url}']\nlimits: {{ fetch_ms: 60000 }}\n"
        );
        let mut host = Setup::without_sources()
            .plugin_bytes("hostile.wasm", hostile())
            .plugin_bytes("hostile.yaml", format!("asks: {{ http: ['{url}'] }}\n"))
            .source("hostile.yaml", &source)
            .start();
        wait("it is under way", PATIENCE, || host.log().contains(&format!("fetches: {does}")).then_some(()));
        if does == "get" {
            wait("it is asked for", PATIENCE, || {
                echo.seen.lock().unwrap().iter().any(|head| head.starts_with("GET /drip")).then_some(())
            });
        }
        let stopped = host.terminate();
        let log = host.log();
        assert_eq!(stopped.code, Some(0), "{does}: {log}");
        assert!(stopped.took < Duration::from_secs(10), "{does}: {:?}", stopped.took);
        assert!(!log.contains("panicked") && !log.contains("ERROR"), "{does}: {log}");
        assert!(log.trim_end().ends_with("stopped"), "{does}: it is the last that is said: {log}");
        assert!(!log.contains("a poll failed"), "{does}: nobody is to blame: {log}");
    }
}

#[test]
fn a_trap_on_the_third_call_costs_that_call_alone() {
    let host = setup("").start();
    let statuses: Vec<u16> = (0..9).map(|n| host.post_to(PATH, format!("third {n}")).status).collect();
    assert_eq!(statuses, [200, 200, 202, 200, 200, 202, 200, 200, 202]);
}

#[test]
fn a_slow_configuration_disables_its_source_alone() {
    let host = setup("slow_ms: 60000\n").start();
    assert_eq!(host.post_to(PATH, "x").status, 404);
    let check = host.site.run(&["check", "--json"]).json();
    let problem = check["problems"][0].as_str().unwrap();
    assert!(problem.contains("limits.call_ms") && problem.contains("hostile.yaml"), "{problem}");
    host.store(&webhook([firing("n", &[("alertname", "Neighbour")])]));
}

#[test]
fn failure_after_failure_is_quarantined_and_released() {
    let host = setup("").start();
    for n in 0..10 {
        assert_eq!(host.post_to(PATH, format!("panic {n}")).status, 202);
    }
    let began = Instant::now();
    let error = error_of(&host.post_to(PATH, "fine"));
    assert!(error.contains("quarantined") && error.contains("so it goes"), "{error}");
    assert!(began.elapsed() < Duration::from_millis(900), "nobody is asked, so it is quick");
    let status = host.get("/api/v1/plugins/hostile").json();
    assert_eq!(status["state"], "quarantined", "{status:#}");
    let listed = host.site.run(&["plugin", "list"]);
    assert!(listed.stdout.contains("quarantined"), "{}", listed.said());
    // After a second, one call is let through, and it behaves.
    wait("it is let out", PATIENCE, || (host.post_to(PATH, "fine").status == 200).then_some(()));
    assert_eq!(host.get("/api/v1/plugins/hostile").json()["state"], "live");
    wait("what came meanwhile is read", PATIENCE, || {
        let letters = host.site.run(&["replay", "--list", "--json"]).well().json();
        (letters["items"].as_array()?.len() == 10).then_some(())
    });
    for n in 0..10 {
        host.post_to(PATH, format!("panic again {n}"));
    }
    assert_eq!(host.post_to(PATH, "fine 2").status, 202);
    host.site.run(&["plugin", "release", "hostile"]).well();
    assert_eq!(host.post_to(PATH, "fine 3").status, 200, "released by hand");
    // All of it is in the audit log.
    let shown = host.site.run(&["audit", "show", "--json"]).well().json();
    let of_plugin: Vec<&str> = shown
        .as_array()
        .unwrap()
        .iter()
        .filter(|entry| entry["actor"] == "host" && entry["subject"] == "plugin hostile")
        .map(|entry| entry["action"].as_str().unwrap())
        .collect();
    let expected = ["accepted", "quarantined", "quarantine_over", "quarantined", "released"];
    assert_eq!(of_plugin, expected.map(|what| format!("plugin.{what}")), "{shown:#}");
    let quarantined = shown.as_array().unwrap().iter().find(|entry| entry["action"] == "plugin.quarantined");
    let detail = &quarantined.unwrap()["detail"];
    assert!(
        detail["source"] == "hostile" && detail["reason"].as_str().unwrap().contains("so it goes"),
        "{detail}"
    );
    // What was kept meanwhile isn't lost.
    host.site.run(&["replay", "--json"]);
    assert!(host.alerts().iter().any(|alert| alert["id"] == "fine 2"));
}

/// What a plugin that fails is slowed down by is no more than its good calls bear.
#[test]
fn one_that_works_hard_is_well_again_after_a_mishap() {
    let source = "name: hostile\ntype: hostile\nlimits: { call_ms: 3000 }\n";
    let host = Setup::new().plugin_bytes("hostile.wasm", hostile()).source("hostile.yaml", source).start();
    // As much work as takes a good part of the limit, if nothing holds it up.
    let takes = |rounds: u64| {
        let began = Instant::now();
        assert_eq!(host.post_to(PATH, format!("work {rounds} {began:?}")).status, 200);
        began.elapsed()
    };
    let mut rounds = 1 << 20;
    while takes(rounds) < Duration::from_millis(900) {
        rounds = rounds * 5 / 4;
    }
    for mishap in ["panic", "loop"] {
        assert_eq!(host.post_to(PATH, mishap).status, 202);
        eprintln!("after a {mishap}: {:?}", takes(rounds));
        eprintln!("and again: {:?}", takes(rounds));
    }
    for n in 0..10 {
        assert_eq!(host.post_to(PATH, format!("panic {n}")).status, 202);
    }
    let work = format!("work {rounds}");
    wait("it is let out", PATIENCE, || (host.post_to(PATH, work.clone()).status == 200).then_some(()));
    takes(rounds);
}

#[test]
fn it_finds_nothing_of_what_a_process_has() {
    let host = setup("").env("SECRET_OF_THE_HOST", "x").start();
    assert_eq!(said(&host, "capabilities"), "found: {}");
}

/// A server that answers with what it was sent, head and body. Bounded: it ends with the test's process.
struct Echo {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Echo {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::<Mutex<Vec<String>>>::default();
        let kept = seen.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let kept = kept.clone();
                std::thread::spawn(move || Self::answer(stream, &kept));
            }
        });
        Self { address, seen }
    }

    fn answer(mut stream: TcpStream, kept: &Mutex<Vec<String>>) -> Option<()> {
        stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
        let mut read = Vec::new();
        let mut chunk = [0; 4096];
        let head = loop {
            let count = stream.read(&mut chunk).ok().filter(|count| *count > 0)?;
            read.extend_from_slice(&chunk[..count]);
            if let Some(at) = read.windows(4).position(|window| window == b"\r\n\r\n") {
                break String::from_utf8_lossy(&read[..at]).into_owned();
            }
        };
        kept.lock().unwrap().push(head.clone());
        if head.starts_with("GET /drip") {
            write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n").ok()?;
            for _ in 0..200 {
                stream.write_all(b".").ok()?;
                std::thread::sleep(Duration::from_millis(50));
            }
            return None;
        }
        if head.starts_with("GET /heads") {
            let heads: String =
                (0..80).map(|number| format!("x-{number}: {}\r\n", "x".repeat(1000))).collect();
            write!(stream, "HTTP/1.1 200 OK\r\n{heads}content-length: 0\r\n\r\n").ok()?;
            return None;
        }
        if head.starts_with("GET /away") {
            write!(
                stream,
                "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n"
            )
            .ok()?;
            return None;
        }
        let body = head.to_lowercase();
        write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len())
            .ok()
    }
}

/// A hostile source that may send requests to the echo.
fn with_http(echo: &Echo, path: &str) -> Setup {
    let url = format!("http://{}{path}", echo.address);
    let host = format!("http://{}", echo.address);
    setup(&format!("allow_hosts: ['{host}']\nsecret: ${{HOSTILE_SECRET}}\nurl: {url}\n"))
        .env("HOSTILE_SECRET", "the-plain-secret")
        .env("NEIGHBOURS_SECRET", "not-for-you")
        .plugin_bytes("hostile.yaml", format!("asks: {{ http: ['{host}'] }}\n"))
}

#[test]
fn secrets_are_put_in_at_the_edge_and_never_seen() {
    let echo = Echo::start();
    let host = with_http(&echo, "/").start();
    let said = said(&host, "secrets");
    let sent = echo.seen.lock().unwrap().join("\n").to_lowercase();
    assert!(sent.contains("x-own: the-plain-secret"), "the server gets it: {sent}");
    assert!(said.starts_with("${HOSTILE_SECRET} "), "the guest has the placeholder: {said}");
    assert!(!said.contains("the-plain-secret"), "not even where the server sends it back: {said}");
    assert!(said.contains("x-own: ${HOSTILE_SECRET}"), "{said}");
    assert!(sent.contains("x-other: ${neighbours_secret}"), "another's stays a word: {sent}");
    let log = host.log();
    assert!(!log.contains("the-plain-secret") && !log.contains("not-for-you"));
}

#[test]
fn a_secret_that_a_plugin_was_let_see_is_told_to_no_sender_and_on_no_record() {
    let secret = "hunter2-but-longer";
    let host =
        setup("secret: ${HOSTILE_SECRET}\nreveal_secrets: true\n").env("HOSTILE_SECRET", secret).start();
    let mut complaints = Complaints::default();
    for (does, status, words) in [("tell", 202, "the secret is"), ("refuse", 400, "not with")] {
        let answer = host.post_to(PATH, does);
        complaints.unless(answer.status == status && answer.body.contains(words), || format!("{answer:?}"));
        complaints.unless(!answer.body.contains(secret), || format!("the sender reads {}", answer.body));
    }
    let api = [host.get("/api/v1/plugins").body, host.get("/api/v1/plugins/hostile").body];
    let listed = host.site.run(&["plugin", "list", "--json"]).stdout;
    let letters = host.site.run(&["replay", "--list"]).stdout;
    complaints.unless(letters.contains("the secret is"), || letters.clone());
    for shown in api.into_iter().chain([listed, letters, host.log()]) {
        complaints.unless(!shown.contains(secret), || shown.clone());
    }
    assert!(failures(&host)[0]["reason"].as_str().unwrap().contains("the secret is"));
}

#[test]
fn what_was_not_asked_for_or_granted_is_not_sent_and_the_error_says_what_to_write() {
    let echo = Echo::start();
    let granted = format!("http://{}", echo.address);
    let url = format!("url: {granted}/\n");
    let asks = format!("asks: {{ http: ['{granted}'] }}\n");
    let run = |source: &str, asks: &str| {
        let host = setup(&format!("{url}{source}")).plugin_bytes("hostile.yaml", asks).start();
        said(&host, "get")
    };
    assert!(run(&format!("allow_hosts: ['{granted}']\n"), &asks).starts_with("200"));
    assert!(run("", &asks).contains("not granted"));
    assert!(run(&format!("allow_hosts: ['{granted}']\n"), "asks: {}\n").contains("not granted"));
    // A name that leads to loopback, where the name alone is granted.
    let port = echo.address.port();
    let name = format!("http://localhost:{port}");
    let by_name = |more: &str| {
        let source = format!("name: hostile\ntype: hostile\nurl: {name}/\nallow_hosts: ['{name}'{more}]\n");
        let host = Setup::without_sources()
            .plugin_bytes("hostile.wasm", hostile())
            .plugin_bytes("hostile.yaml", format!("asks: {{ http: ['{name}'] }}\n"))
            .source("hostile.yaml", &source)
            .start();
        said(&host, "get")
    };
    assert!(by_name("").contains("connection-refused"), "{}", by_name(""));
    assert!(by_name(", 127.0.0.1, '::1'").starts_with("200"));
}

#[test]
fn a_dripping_answer_ends_with_the_call_and_a_redirect_is_not_followed() {
    let echo = Echo::start();
    let host = with_http(&echo, "/drip").start();
    let began = Instant::now();
    let answer = host.post_to(PATH, "get");
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}: {answer:?}", began.elapsed());
    let echo = Echo::start();
    let host = with_http(&echo, "/away").start();
    assert!(said(&host, "get").starts_with("302"));
}

#[test]
fn an_answer_whose_headers_fill_the_hosts_memory_is_none() {
    let echo = Echo::start();
    let host = with_http(&echo, "/heads").start();
    let answer = host.post_to(PATH, "must");
    assert!(answer.body.contains("bytes of headers; the most is 32768"), "{answer:?}");
    assert_eq!(host.post_to(PATH, "fine").status, 200);
}

#[test]
fn headers_can_not_make_one_request_two() {
    let echo = Echo::start();
    let host = with_http(&echo, "/").start();
    said(&host, "smuggle");
    for head in echo.seen.lock().unwrap().iter().map(|head| head.to_lowercase()) {
        let count = |name: &str| head.lines().filter(|line| line.starts_with(&format!("{name}:"))).count();
        assert_eq!(count("host"), 1, "{head}");
        assert!(head.contains(&format!("host: {}", echo.address)), "{head}");
        assert_eq!(count("transfer-encoding"), 0, "{head}");
        assert_eq!(count("content-length"), 1, "{head}");
        assert!(head.contains("content-length: 4"), "the body's own: {head}");
        assert_eq!(count("x-b"), 0, "{head}");
    }
}

#[test]
fn a_polled_source_fetches_and_a_version_that_asks_for_more_waits_for_the_operator() {
    let echo = Echo::start();
    let url = format!("http://{}", echo.address);
    let source = format!(
        "name: polled\ntype: hostile\npoll: get\nurl: {url}/\nallow_hosts: ['{url}', '*.example.com']\n"
    );
    let host = Setup::without_sources()
        .config("watchkeeper.yaml", "plugins: { debounce: 20ms }\n")
        .plugin_bytes("hostile.wasm", hostile())
        .plugin_bytes("hostile.yaml", format!("asks: {{ http: ['{url}'] }}\n"))
        .source("polled.yaml", &source)
        .start();
    let alerts = host.alerts_once_there_are(1);
    assert!(alerts[0]["description"].as_str().unwrap().starts_with("200 get / http/1.1"), "{alerts:#?}");
    let wider = format!("asks: {{ http: ['{url}', 'api.example.com'] }}\n");
    host.site.write("plugins/hostile.yaml", wider);
    let status = wait("it is refused", PATIENCE, || {
        let status = host.get("/api/v1/plugins/hostile").json();
        status["refused"].is_string().then_some(status)
    });
    let reason = status["refused"].as_str().unwrap();
    assert!(
        reason.contains("https://api.example.com") && reason.contains("plugin grant hostile"),
        "{reason}"
    );
    host.site.run(&["plugin", "grant", "hostile"]).well();
    wait("it serves", PATIENCE, || {
        let status = host.get("/api/v1/plugins/hostile").json();
        (status["refused"].is_null() && status["asks"]["http"].as_array().unwrap().len() == 2).then_some(())
    });
}
