//! Calling a human: every channel against a server that holds each request to what its vendor documents, or a real one; and
//! nothing lost or blocked, whatever is down.

#![allow(clippy::unwrap_used, reason = "a test that can't go on fails with what stood in its way")]

use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use serde_json::{Value, json};
use watchkeeper_tests::payload::{firing, resolved, webhook};
use watchkeeper_tests::{
    Authority, EchoingMail, MailServer, Mailing, PATIENCE, Received, Receiver, Reply, Setup, Watchkeeper,
    guest_file, require, wait,
};

const SECRET: &str = "a secret between two, and long enough";

/// So that each critical alert is escalated at once.
const ESCALATES: &str = "investigation:\n  max_queued: 0\n";

fn config(channels: &[String]) -> String {
    let channels: String = channels.iter().map(|channel| format!("    - {channel}\n")).collect();
    format!("{ESCALATES}escalation:\n  channels:\n{channels}")
}

fn setup(channels: &[String]) -> Setup {
    Setup::new().config("watchkeeper.yaml", &config(channels)).env("CHANNEL_SECRET", SECRET)
}

fn hook(name: &str, url: &str) -> String {
    format!("{{ name: {name}, type: webhook, url: '{url}', secret: '${{CHANNEL_SECRET}}' }}")
}

fn critical(id: &str, title: &str) -> Value {
    let mut alert = firing(id, &[("alertname", id), ("severity", "critical")]);
    alert["annotations"]["summary"] = json!(title);
    alert
}

fn escalate(host: &Watchkeeper, id: &str, title: &str) {
    host.store(&webhook([critical(id, title)]));
}

fn close(host: &Watchkeeper, id: &str, title: &str) {
    host.store(&webhook([resolved(critical(id, title), "2026-01-02T04:04:05Z")]));
}

fn fine(_: &Received) -> Reply {
    (200, "", "ok".into())
}

/// The outbox's rows, once this holds of them.
fn deliveries(host: &Watchkeeper, what: &str, holds: impl Fn(&[Value]) -> bool) -> Vec<Value> {
    wait(what, 2 * PATIENCE, || Some(host.all("escalations", "")).filter(|all| holds(all)))
}

/// A title that a vendor's limits and markup are tried with, and a secret in it.
fn hard_title() -> String {
    format!("<!channel> \"quoted\" \\ & \u{202e}desrever password=hunter2x {}", "very long ".repeat(60))
}

// -- webhook

/// As a receiver does it, by another implementation of HMAC.
fn assert_signed(request: &Received, scratch: &std::path::Path) {
    let header = request.header("watchkeeper-signature");
    let (t, v1) = header.strip_prefix("t=").unwrap().split_once(",v1=").unwrap();
    let age = jiff::Timestamp::now().as_second() - t.parse::<i64>().unwrap();
    assert!((0..300).contains(&age), "{header} is {age} s old");
    let signed = scratch.join("signed");
    std::fs::write(&signed, format!("{t}.{}", request.body)).unwrap();
    let ran =
        Command::new("openssl").args(["dgst", "-sha256", "-hmac", SECRET]).arg(&signed).output().unwrap();
    let said = String::from_utf8_lossy(&ran.stdout).into_owned();
    assert_eq!(said.split_whitespace().last(), Some(v1), "{request:?}");
}

#[test]
fn a_webhook_is_signed_and_told_beginning_and_end() {
    let Some(_) = require("openssl", "openssl") else { return };
    let receiver = Receiver::start(fine);
    let host = setup(&[hook("ops", &receiver.url("/in?x=1"))]).start();
    escalate(&host, "a", &hard_title());
    let first = receiver.once_there_are(1).remove(0);
    assert_eq!((first.method.as_str(), first.path.as_str()), ("POST", "/in?x=1"));
    assert_eq!(first.header("content-type"), "application/json");
    assert_signed(&first, host.site.folder());
    let told = first.json();
    assert_eq!(
        (&told["event"], &told["incident"], &told["severity"]),
        (&json!("incident.escalated"), &json!("inc-1"), &json!("critical"))
    );
    assert!(told["reason"].as_str().unwrap().contains("max_queued"), "{told}");
    assert!(
        !first.body.contains("hunter2x") && first.body.contains("[redacted: password]"),
        "{}",
        first.body
    );
    close(&host, "a", &hard_title());
    let second = receiver.once_there_are(2).remove(1).json();
    assert_eq!((&second["event"], &second["key"]), (&json!("incident.closed"), &told["key"]));
    assert!(host.metrics().sum("agent_redactions_total", &[("to", "channel"), ("kind", "password")]) >= 1.0);
}

#[test]
fn a_channel_that_is_down_is_seen_and_holds_up_nobody() {
    let receiver = Receiver::start(fine);
    let nobody = format!("http://{}/", Receiver::free_address());
    let refuses = Receiver::start(|_| (500, "", "out of order, token: abcdef0123456789".into()));
    let channels =
        [hook("up", &receiver.url("/")), hook("gone", &nobody), hook("refuses", &refuses.url("/"))];
    let host = setup(&channels).start();
    escalate(&host, "a", "disk full");
    receiver.once_there_are(1);
    let tried = |all: &[Value]| {
        let of = |name: &str| all.iter().find(|one| one["channel"] == name).cloned().unwrap_or_default();
        of("gone")["attempts"].as_u64() >= Some(2)
            && of("refuses")["attempts"].as_u64() >= Some(2)
            && of("up")["status"] == "delivered"
    };
    let all = deliveries(&host, "each channel was tried", tried);
    let of = |name: &str| all.iter().find(|one| one["channel"] == name).unwrap();
    assert!(of("gone")["last_error"].as_str().unwrap().contains("refused"), "{all:#?}");
    let said = of("refuses")["last_error"].as_str().unwrap();
    assert!(
        said.contains("500") && said.contains("out of order") && said.contains("[redacted: secret]"),
        "{said}"
    );
    assert!(of("refuses")["next_at"].is_string());
    let metrics = host.metrics();
    assert_eq!(metrics.sum("agent_escalations_delivered_total", &[("channel", "up")]), 1.0);
    assert!(metrics.sum("agent_escalations_failed_total", &[("channel", "gone")]) >= 2.0);
    assert_eq!(metrics.sum("agent_escalations_pending", &[("channel", "gone")]), 1.0);
    // Others go on, meanwhile: other incidents too.
    escalate(&host, "b", "cpu high");
    assert_eq!(receiver.once_there_are(2)[1].json()["incident"], "inc-2");

    let listed = host.site.run(&["escalate", "list", "--channel", "gone", "--json"]).well().json();
    assert_eq!(listed["items"].as_array().unwrap().len(), 2);
    let table = host.site.run(&["escalate", "list", "--status", "pending"]).well().stdout;
    assert!(table.contains("gone") && table.contains("refuses") && !table.contains("delivered"), "{table}");
}

#[test]
fn a_notice_survives_kill_9_and_comes_once_its_channel_is_back() {
    let address = Receiver::free_address();
    let mut host = setup(&[hook("ops", &format!("http://{address}/"))]).start();
    for n in 0..5 {
        escalate(&host, &format!("a{n}"), "down");
    }
    deliveries(&host, "it was tried", |all| all.iter().any(|one| one["attempts"].as_u64() > Some(0)));
    host.kill9();
    let receiver = Receiver::start_at(address, fine);
    host.restart();
    receiver.once_there_are(5);
    deliveries(&host, "all are delivered", |all| all.iter().all(|one| one["status"] == "delivered"));
    // Killed once more, with nothing left to say.
    host.kill9();
    host.restart();
    std::thread::sleep(Duration::from_secs(2));
    let mut incidents: Vec<String> =
        receiver.received().iter().map(|one| one.json()["incident"].to_string()).collect();
    incidents.sort();
    assert_eq!(incidents, (1..=5).map(|n| format!("\"inc-{n}\"")).collect::<Vec<_>>(), "each once");
    host.site.run(&["audit", "verify"]).well();
}

/// Killed while a channel has taken the request, and not answered: the notice comes again, and is known by its key.
#[test]
fn a_kill_while_a_channel_is_told_repeats_the_notice_with_its_key() {
    let receiver = Receiver::start(|_| {
        std::thread::sleep(Duration::from_secs(4));
        (200, "", String::new())
    });
    let mut host = setup(&[hook("slow", &receiver.url("/"))]).start();
    escalate(&host, "a", "down");
    // The request is read before it is answered and kept; so wait until it is under way.
    wait("the notice is on its way", PATIENCE, || (host.all("escalations", "").len() == 1).then_some(()));
    std::thread::sleep(Duration::from_secs(1));
    host.kill9();
    host.restart();
    let received = receiver.once_there_are(2);
    assert_eq!(received[0].json()["key"], received[1].json()["key"]);
    deliveries(&host, "it is delivered", |all| all[0]["status"] == "delivered");
}

#[test]
fn what_a_server_asks_for_by_retry_after_is_kept_to() {
    let first = Mutex::new(true);
    let receiver = Receiver::start(move |_| match std::mem::take(&mut *first.lock().unwrap()) {
        true => (429, "Retry-After: 4", "slow down".into()),
        false => (200, "", String::new()),
    });
    let host = setup(&[hook("ops", &receiver.url("/"))]).start();
    let began = std::time::Instant::now();
    escalate(&host, "a", "down");
    receiver.once_there_are(2);
    assert!(began.elapsed() >= Duration::from_secs(4), "{:?}", began.elapsed());
}

/// A webhook to a receiver over TLS, whose authority is in `ca.pem`.
fn secured(name: &str, url: &str) -> String {
    format!("{{ name: {name}, type: webhook, url: '{url}', secret: '${{CHANNEL_SECRET}}', ca_file: ca.pem }}")
}

#[test]
fn a_webhook_over_tls_of_the_operators_own_authority_is_signed() {
    let Some(openssl) = require("openssl", "openssl") else { return };
    let authority = Authority::new(&openssl);
    let address = Receiver::free_address();
    let issued = authority.issue("ops", &format!("IP:{}", address.ip()));
    let receiver = Receiver::start_tls(address, &issued, fine);
    let ca = std::fs::read_to_string(authority.file()).unwrap();
    let host = setup(&[secured("ops", &receiver.url("/in"))]).config("ca.pem", &ca).start();
    escalate(&host, "a", "disk full");
    let first = receiver.once_there_are(1).remove(0);
    assert_signed(&first, host.site.folder());
    assert_eq!(first.json()["incident"], "inc-1");
    deliveries(&host, "it was taken", |all| all[0]["status"] == "delivered");

    // So do the vendors' own, where a proxy of the operator's stands before them.
    let gateway = Receiver::free_address();
    let issued = authority.issue("gateway", &format!("IP:{}", gateway.ip()));
    let gateway = Receiver::start_tls(gateway, &issued, |request| match request.path.as_str() {
        "/v2/enqueue" => pagerduty(request),
        _ => slack_api(request),
    });
    let channels = [pager(&gateway), slack_bot(&gateway, "#ops")];
    let channels = channels.map(|channel| channel.replace(" }", ", ca_file: ca.pem }"));
    let site = setup(&channels).config("ca.pem", &ca).prepare();
    for name in ["pager", "chat"] {
        site.run(&["escalate", "test", name]).well();
    }
}

#[test]
fn a_receiver_that_cannot_show_who_it_is_is_told_nothing() {
    let Some(openssl) = require("openssl", "openssl") else { return };
    let (authority, other) = (Authority::new(&openssl), Authority::new(&openssl));
    let serve = |authority: &Authority, known_by: fn(std::net::IpAddr) -> String| {
        let address = Receiver::free_address();
        Receiver::start_tls(address, &authority.issue("r", &known_by(address.ip())), fine)
    };
    let misnamed = serve(&authority, |_| "DNS:elsewhere.test".into());
    let unknown = serve(&other, |ip| format!("IP:{ip}"));
    let system = serve(&authority, |ip| format!("IP:{ip}"));
    let channels = [
        secured("misnamed", &misnamed.url("/")),
        secured("unknown", &unknown.url("/")),
        // By the system's store, which doesn't have it.
        hook("system", &system.url("/")),
    ];
    let ca = std::fs::read_to_string(authority.file()).unwrap();
    let host = setup(&channels).config("ca.pem", &ca).start();
    escalate(&host, "a", "disk full");
    deliveries(&host, "each was tried", |all| {
        all.len() == 3 && all.iter().all(|one| one["attempts"].as_u64() >= Some(1))
    });
    let listed = host.site.run(&["escalate", "list", "--json"]).well().json();
    for (name, words) in [("misnamed", "not valid for name"), ("unknown", "ca_file"), ("system", "ca_file")] {
        let one = listed["items"].as_array().unwrap().iter().find(|one| one["channel"] == name).unwrap();
        let error = one["last_error"].as_str().unwrap();
        assert!(one["status"] == "pending" && error.contains("certificate"), "{name}: {error}");
        assert!(error.contains(words), "{name}: {error}");
    }
    let told: Vec<Received> = [misnamed, unknown, system].iter().flat_map(Receiver::received).collect();
    assert!(told.is_empty(), "{told:?}");
}

#[test]
fn a_redirect_to_plain_http_is_not_followed() {
    let Some(openssl) = require("openssl", "openssl") else { return };
    let authority = Authority::new(&openssl);
    let plain = Receiver::start(fine);
    let location: &'static str = Box::leak(format!("Location: {}", plain.url("/caught")).into_boxed_str());
    let address = Receiver::free_address();
    let issued = authority.issue("ops", &format!("IP:{}", address.ip()));
    let redirects = Receiver::start_tls(address, &issued, move |request| match request.path.as_str() {
        "/moved" => (302, location, String::new()),
        // Which keeps method and body.
        _ => (307, location, String::new()),
    });
    let channels = [secured("moved", &redirects.url("/moved")), secured("kept", &redirects.url("/kept"))];
    let ca = std::fs::read_to_string(authority.file()).unwrap();
    let host = setup(&channels).config("ca.pem", &ca).start();
    escalate(&host, "a", "disk full");
    let all = deliveries(&host, "each was tried", |all| {
        all.len() == 2 && all.iter().all(|one| one["attempts"].as_u64() >= Some(1))
    });
    for one in all {
        let error = one["last_error"].as_str().unwrap();
        assert!(error.contains("no redirect is followed") && !error.contains("caught"), "{error}");
    }
    assert!(plain.received().is_empty(), "{:?}", plain.received());
}

// -- Slack: https://docs.slack.dev/reference/block-kit/blocks, https://docs.slack.dev/reference/methods/chat.postMessage

/// What is wrong with a message by Slack's reference; Slack's own word for it.
fn slack_objects(message: &Value) -> Result<(), &'static str> {
    let blocks = message["blocks"].as_array().ok_or("invalid_blocks")?;
    if blocks.is_empty() || blocks.len() > 50 || message["text"].as_str().is_none_or(str::is_empty) {
        return Err("invalid_blocks");
    }
    let text = |text: &Value, most: usize| {
        let length = text["text"].as_str().map_or(0, |text| text.chars().count());
        let kind = matches!(text["type"].as_str(), Some("plain_text" | "mrkdwn"));
        if kind && (1..=most).contains(&length) { Ok(()) } else { Err("invalid_blocks") }
    };
    for block in blocks {
        match block["type"].as_str() {
            Some("header") if block["text"]["type"] == "plain_text" => text(&block["text"], 150)?,
            Some("section") => {
                let fields = block["fields"].as_array().cloned().unwrap_or_default();
                if fields.len() > 10 || (fields.is_empty() && block["text"].is_null()) {
                    return Err("invalid_blocks");
                }
                fields.iter().try_for_each(|field| text(field, 2000))?;
                if !block["text"].is_null() {
                    text(&block["text"], 3000)?;
                }
            }
            Some("divider") => {}
            _ => return Err("invalid_blocks"),
        }
    }
    Ok(())
}

fn slack_api(request: &Received) -> Reply {
    let refuse = |error: &str| (200, "", json!({ "ok": false, "error": error }).to_string());
    if request.path != "/api/chat.postMessage" || request.method != "POST" {
        return refuse("unknown_method");
    }
    if request.headers.get("authorization").is_none_or(|shown| shown != "Bearer xoxb-made-up-for-tests") {
        return refuse("invalid_auth");
    }
    if !request.header("content-type").starts_with("application/json") {
        return refuse("invalid_post_type");
    }
    let message = request.json();
    match slack_objects(&message) {
        Err(error) => refuse(error),
        Ok(()) if message["channel"] != "#ops" => refuse("channel_not_found"),
        Ok(()) => (200, "", json!({ "ok": true, "channel": "C1", "ts": "1.2", "message": {} }).to_string()),
    }
}

fn slack_bot(receiver: &Receiver, channel: &str) -> String {
    let api = receiver.url("/api/");
    format!(
        "{{ name: chat, type: slack, token: xoxb-made-up-for-tests, channel: '{channel}', api_url: '{api}' }}"
    )
}

#[test]
fn slack_takes_the_message_of_a_bot() {
    let slack = Receiver::start(slack_api);
    let host = setup(&[slack_bot(&slack, "#ops")]).start();
    escalate(&host, "a", &hard_title());
    deliveries(&host, "Slack took it", |all| all.len() == 1 && all[0]["status"] == "delivered");
    let sent = slack.received().remove(0);
    assert!(!sent.body.contains("hunter2x"), "{}", sent.body);
    let message = sent.json();
    assert!(
        !message["text"].as_str().unwrap().contains("<!channel>"),
        "no alert calls a whole channel: {message:#}"
    );
    let blocks = message["blocks"].to_string();
    assert!(!blocks.contains("mrkdwn") && !blocks.contains('\u{202e}'), "{blocks}");
    assert!(blocks.contains("<!channel>"), "it is shown as it is, in text that has no markup");
}

#[test]
fn what_slack_refuses_is_told_and_seldom_repeated() {
    let slack = Receiver::start(slack_api);
    let host = setup(&[slack_bot(&slack, "#nowhere")]).start();
    escalate(&host, "a", "down");
    let all =
        deliveries(&host, "Slack refused it", |all| all.first().is_some_and(|one| one["attempts"] == 1));
    assert_eq!((&all[0]["last_error"], &all[0]["status"]), (&json!("channel_not_found"), &json!("pending")));
    let next: jiff::Timestamp = all[0]["next_at"].as_str().unwrap().parse().unwrap();
    assert!(next.as_second() - jiff::Timestamp::now().as_second() > 200, "{all:#?}");
}

/// https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks: 200 and `ok`, or 4xx with a word.
#[test]
fn slack_takes_the_message_at_an_incoming_webhook() {
    let slack = Receiver::start(|request| match slack_objects(&request.json()) {
        Ok(()) if request.json()["channel"].is_null() => (200, "", "ok".into()),
        _ => (400, "", "invalid_payload".into()),
    });
    let url = slack.url("/services/T0/B0/secret-of-the-webhook");
    let host = setup(&[format!("{{ name: chat, type: slack, webhook_url: '{url}' }}")]).start();
    escalate(&host, "a", &hard_title());
    close(&host, "a", &hard_title());
    deliveries(&host, "Slack took both", |all| {
        all.len() == 2 && all.iter().all(|one| one["status"] == "delivered")
    });
    assert!(!host.log().contains("secret-of-the-webhook"));
}

// -- PagerDuty: https://developer.pagerduty.com/docs/events-api-v2/trigger-events/ and its OpenAPI document

const ROUTING_KEY: &str = "0123456789abcdef0123456789abcdef";

fn pagerduty(request: &Received) -> Reply {
    let errors = pagerduty_objects(request);
    if errors.is_empty() {
        let key = request.json()["dedup_key"].clone();
        let said = json!({ "status": "success", "message": "Event processed", "dedup_key": key });
        return (202, "", said.to_string());
    }
    let said = json!({ "status": "invalid event", "message": "Event object is invalid", "errors": errors });
    (400, "", said.to_string())
}

fn pagerduty_objects(request: &Received) -> Vec<String> {
    let event = request.json();
    let mut errors = Vec::new();
    let mut must = |holds: bool, what: &str| {
        if !holds {
            errors.push(what.to_owned());
        }
    };
    let has = |value: &Value, most: usize| {
        value.as_str().is_some_and(|text| !text.is_empty() && text.chars().count() <= most)
    };
    must(request.method == "POST" && request.path == "/v2/enqueue", "not the address");
    must(request.header("content-type").starts_with("application/json"), "not JSON");
    must(request.body.len() <= 512 * 1024, "larger than 512 KB");
    must(
        event["routing_key"] == ROUTING_KEY,
        "Length of 'routing_key' is incorrect (should be 32 characters)",
    );
    must(has(&event["dedup_key"], 255), "dedup_key");
    match event["event_action"].as_str() {
        Some("resolve") => {}
        Some("trigger") => {
            let payload = &event["payload"];
            must(has(&payload["summary"], 1024), "'payload.summary' is missing or too long");
            must(has(&payload["source"], 1024), "'payload.source' is missing or blank");
            must(
                matches!(payload["severity"].as_str(), Some("critical" | "error" | "warning" | "info")),
                "'payload.severity' is invalid (must be one of: 'critical', 'warning', 'error' or 'info')",
            );
            let time = payload["timestamp"].as_str().and_then(|time| time.parse::<jiff::Timestamp>().ok());
            must(time.is_some(), "'payload.timestamp'");
            must(payload["custom_details"].is_object(), "'payload.custom_details'");
        }
        _ => must(false, "event_action"),
    }
    errors
}

fn pager(receiver: &Receiver) -> String {
    let url = receiver.url("/v2/enqueue");
    format!("{{ name: pager, type: pagerduty, routing_key: {ROUTING_KEY}, url: '{url}' }}")
}

#[test]
fn pagerduty_is_triggered_and_resolved_by_one_key() {
    let pagerduty = Receiver::start(pagerduty);
    let host = setup(&[pager(&pagerduty)]).start();
    let title = hard_title().repeat(4);
    escalate(&host, "a", &title);
    close(&host, "a", &title);
    deliveries(&host, "both were taken", |all| {
        all.len() == 2 && all.iter().all(|one| one["status"] == "delivered")
    });
    let events: Vec<Value> = pagerduty.received().iter().map(Received::json).collect();
    let actions: Vec<&Value> = events.iter().map(|event| &event["event_action"]).collect();
    assert_eq!(actions, ["trigger", "resolve"]);
    assert_eq!(events[0]["dedup_key"], events[1]["dedup_key"]);
    assert_eq!(events[0]["payload"]["severity"], "critical");
    assert!(!host.log().contains(ROUTING_KEY));
}

#[test]
fn pagerduty_is_asked_again_after_429_and_5xx_and_not_soon_after_400() {
    let answers =
        Mutex::new(vec![(400, "", "{}".to_owned()), (500, "", String::new()), (429, "", String::new())]);
    let receiver = Receiver::start(move |request| match answers.lock().unwrap().pop() {
        Some(answer) => answer,
        None => pagerduty(request),
    });
    let host = setup(&[pager(&receiver)]).start();
    escalate(&host, "a", "down");
    receiver.once_there_are(3);
    let all = deliveries(&host, "it was refused", |all| all[0]["attempts"] == 3);
    assert!(all[0]["last_error"].as_str().unwrap().starts_with("400"), "{all:#?}");
    let next: jiff::Timestamp = all[0]["next_at"].as_str().unwrap().parse().unwrap();
    assert!(next.as_second() - jiff::Timestamp::now().as_second() > 200, "{all:#?}");
}

// -- SMTP: aiosmtpd, a real server

fn mail(server: &MailServer, keys: &str) -> String {
    let (host, port) = (server.address.ip(), server.address.port());
    format!(
        "{{ name: mail, type: smtp, host: {host}, port: {port}, from: wk@example.com, to: [ops@example.com], {keys} }}"
    )
}

#[test]
fn mail_reaches_a_real_server() {
    let Some(program) = require("aiosmtpd", "python3-aiosmtpd") else { return };
    let server = MailServer::start(&program, Mailing::default());
    let channel = format!(
        "{{ name: mail, type: smtp, host: {}, port: {}, tls: none, from: 'Watchkeeper <wk@example.com>', to: [ops@example.com, 'Ann <ann@example.com>'] }}",
        server.address.ip(),
        server.address.port()
    );
    let host = setup(&[channel]).start();
    escalate(&host, "a", "Größe\r\nBcc: evil@example.com password=hunter2x");
    close(&host, "a", "Größe\r\nBcc: evil@example.com password=hunter2x");
    deliveries(&host, "both were taken", |all| {
        all.len() == 2 && all.iter().all(|one| one["status"] == "delivered")
    });
    wait("both mails are written", PATIENCE, || (server.messages() == 2).then_some(()));
    // What came, without the bytes as they came.
    let said = server.said();
    let text: String =
        said.lines().filter(|line| !line.starts_with("GOT ")).map(|line| format!("{line}\n")).collect();
    assert!(text.contains("To: ops@example.com") && text.contains("ann@example.com"), "{text}");
    assert!(text.contains("Incident: inc-1") && text.contains("max_queued"), "{text}");
    assert!(!said.contains("hunter2x") && !text.contains("\nBcc:"), "{text}");
    let ids: Vec<&str> = text.lines().filter(|line| line.starts_with("Message-ID:")).collect();
    assert_eq!(ids.len(), 2);
    assert_ne!(ids[0], ids[1]);
}

const PASSWORD: &str = "kestrel-Over-9-fields";

/// Forms of a password that no server, log or listing may show.
fn forms(password: &str) -> [String; 2] {
    let plain = format!("\0watch\0{password}");
    [password.to_owned(), base64(plain.as_bytes())]
}

/// By another implementation.
fn base64(bytes: &[u8]) -> String {
    use std::io::Write;
    let mut child = Command::new("openssl")
        .args(["base64", "-A"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(bytes).unwrap();
    String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap()
}

#[test]
fn mail_is_logged_in_over_tls_of_the_operators_own_authority() {
    let (Some(program), Some(openssl)) =
        (require("aiosmtpd", "python3-aiosmtpd"), require("openssl", "openssl"))
    else {
        return;
    };
    let authority = Authority::new(&openssl);
    for (tls, without, way) in [
        ("starttls", &["LOGIN"][..], "PLAIN"),
        ("starttls", &["PLAIN"], "LOGIN"),
        ("implicit", &["LOGIN"], "PLAIN"),
        ("implicit", &["PLAIN"], "LOGIN"),
    ] {
        let what = format!("{tls} {way}");
        let address = Receiver::free_address();
        let issued = authority.issue("mail", &format!("IP:{}", address.ip()));
        let mailing = Mailing { tls: Some((tls, &issued)), login: Some(["watch", PASSWORD]), without };
        let server = MailServer::start_at(&program, address, mailing);
        let keys = format!("tls: {tls}, username: watch, password: '${{MAIL_PASSWORD}}', ca_file: ca.pem");
        let ca = std::fs::read_to_string(authority.file()).unwrap();
        let setup = setup(&[mail(&server, &keys)]).config("ca.pem", &ca);
        let host = setup.env("MAIL_PASSWORD", PASSWORD).start();
        escalate(&host, "a", "disk full");
        deliveries(&host, &what, |all| all.len() == 1 && all[0]["status"] == "delivered");
        let said = server.said();
        assert!(said.contains(&format!("LOGIN {way} right")), "{what}: {said}");
        let clear: Vec<&str> = said.lines().filter(|line| line.starts_with("GOT clear")).collect();
        assert!(clear.len() <= 2, "no more than EHLO and STARTTLS is in clear: {clear:?}");
        assert!(clear.iter().all(|line| line.contains("EHLO") || line.contains("STARTTLS")), "{clear:?}");
    }
}

#[test]
fn a_wrong_password_is_seen_seldom_tried_again_and_never_told() {
    let (Some(program), Some(openssl)) =
        (require("aiosmtpd", "python3-aiosmtpd"), require("openssl", "openssl"))
    else {
        return;
    };
    let authority = Authority::new(&openssl);
    let address = Receiver::free_address();
    let issued = authority.issue("mail", &format!("IP:{}", address.ip()));
    let mailing =
        Mailing { tls: Some(("starttls", &issued)), login: Some(["watch", "another"]), without: &[] };
    let server = MailServer::start_at(&program, address, mailing);
    let keys = "username: watch, password: '${MAIL_PASSWORD}', ca_file: ca.pem";
    let ca = std::fs::read_to_string(authority.file()).unwrap();
    let host = setup(&[mail(&server, keys)]).config("ca.pem", &ca).env("MAIL_PASSWORD", PASSWORD).start();
    escalate(&host, "a", "disk full");
    let all = deliveries(&host, "it was refused", |all| all.first().is_some_and(|one| one["attempts"] == 1));
    let error = all[0]["last_error"].as_str().unwrap();
    assert!(error.contains("535") && error.contains("credentials invalid"), "{error}");
    let next: jiff::Timestamp = all[0]["next_at"].as_str().unwrap().parse().unwrap();
    let wait = next.as_second() - jiff::Timestamp::now().as_second();
    assert!((200..=375).contains(&wait), "again in {wait} s");
    assert!(host.log().contains("535"), "{}", host.log());
    let tested = host.site.run(&["escalate", "test", "mail"]);
    assert_eq!(tested.code, Some(1), "{}", tested.said());
    let shown = [
        all[0].to_string(),
        host.log(),
        tested.said(),
        host.site.run(&["escalate", "list"]).said(),
        host.site.run(&["check"]).said(),
        host.site.run(&["audit", "show"]).said(),
    ];
    for text in shown {
        assert!(!forms(PASSWORD).iter().any(|form| text.contains(form)), "{text}");
    }
    assert_eq!(server.messages(), 0, "nobody who isn't logged in sends");
}

/// One that says back what it was told, as some do.
#[test]
fn a_mail_server_that_says_the_password_back_is_not_quoted() {
    let Some(openssl) = require("openssl", "openssl") else { return };
    let authority = Authority::new(&openssl);
    let address = Receiver::free_address();
    let issued = authority.issue("mail", &format!("IP:{}", address.ip()));
    let echo = EchoingMail::start(address, &issued);
    let (host, port) = (address.ip(), address.port());
    let channel = format!(
        "{{ name: mail, type: smtp, tls: implicit, host: {host}, port: {port}, from: wk@example.com, to: [ops@example.com], username: watch, password: '${{MAIL_PASSWORD}}', ca_file: ca.pem }}"
    );
    let ca = std::fs::read_to_string(authority.file()).unwrap();
    let site = setup(&[channel]).config("ca.pem", &ca).env("MAIL_PASSWORD", PASSWORD).prepare();
    let tested = site.run(&["escalate", "test", "mail"]);
    assert!(tested.code == Some(1) && tested.said().contains("no such login"), "{}", tested.said());
    assert!(echo.heard().contains(&forms(PASSWORD)[1]), "it was told: {}", echo.heard());
    assert!(tested.said().contains("[redacted: configured-secret]"), "{}", tested.said());
    // Neither it, nor what of its base64 hangs on nothing that stands before or after.
    let core = &forms(PASSWORD)[1][10..30];
    assert!(!tested.said().contains(PASSWORD) && !tested.said().contains(core), "{}", tested.said());
}

#[test]
fn a_mail_server_without_starttls_is_sent_nothing() {
    let Some(program) = require("aiosmtpd", "python3-aiosmtpd") else { return };
    // It would take a login in clear.
    let mailing = Mailing { tls: None, login: Some(["watch", PASSWORD]), without: &[] };
    let server = MailServer::start(&program, mailing);
    let keys = "username: watch, password: '${MAIL_PASSWORD}'";
    let host = setup(&[mail(&server, keys)]).env("MAIL_PASSWORD", PASSWORD).start();
    escalate(&host, "a", "disk full");
    let all = deliveries(&host, "it was tried", |all| {
        all.first().is_some_and(|one| one["attempts"].as_u64() >= Some(2))
    });
    let error = all[0]["last_error"].as_str().unwrap();
    assert!(error.contains("STARTTLS") && error.contains("nothing is sent without TLS"), "{error}");
    let said = server.said();
    let said: String = said.lines().filter(|line| line.starts_with("GOT ")).collect();
    assert!(said.contains("EHLO"), "it was spoken to: {said}");
    for secret in ["AUTH", "MAIL FROM", "disk full", "inc-1"] {
        assert!(!said.contains(secret), "{secret}: {said}");
    }
    // Nor is a password ever sent where the operator wants no TLS.
    let site =
        setup(&[mail(&server, &format!("tls: none, {keys}"))]).env("MAIL_PASSWORD", PASSWORD).prepare();
    let refused = site.run(&["check"]);
    assert!(refused.code != Some(0) && refused.said().contains("in clear"), "{}", refused.said());
}

#[test]
fn mail_goes_over_tls_to_whom_it_trusts_and_else_not_at_all() {
    let (Some(program), Some(openssl)) =
        (require("aiosmtpd", "python3-aiosmtpd"), require("openssl", "openssl"))
    else {
        return;
    };
    let (authority, other) = (Authority::new(&openssl), Authority::new(&openssl));
    let [ca, others] = [&authority, &other].map(|one| std::fs::read_to_string(one.file()).unwrap());
    for tls in ["starttls", "implicit"] {
        let address = Receiver::free_address();
        let issued = authority.issue("mail", &format!("IP:{}", address.ip()));
        let mailing = Mailing { tls: Some((tls, &issued)), ..Mailing::default() };
        let server = MailServer::start_at(&program, address, mailing);
        let with = |keys: &str| setup(&[mail(&server, &format!("tls: {tls}{keys}"))]);
        // By the system's store, which the environment can name; and by a file that the channel names.
        let system = with("").env("SSL_CERT_FILE", authority.file().to_str().unwrap()).prepare();
        system.run(&["escalate", "test", "mail"]).well();
        let own = with(", ca_file: ca.pem").config("ca.pem", &ca).prepare();
        own.run(&["escalate", "test", "mail"]).well();
        assert_eq!(server.messages(), 4, "{tls}: each is told the beginning and the end");
        // Nobody that is trusted vouches for it; and what a channel names counts alone.
        let distrusting = with("").prepare().run(&["escalate", "test", "mail"]);
        let alone = with(", ca_file: ca.pem").config("ca.pem", &others);
        let alone = alone.env("SSL_CERT_FILE", authority.file().to_str().unwrap()).prepare();
        for refused in [distrusting, alone.run(&["escalate", "test", "mail"])] {
            assert_eq!(refused.code, Some(1), "{tls}: {}", refused.said());
            assert!(refused.stdout.contains("ca_file"), "{tls}: {}", refused.said());
        }
        // For another name than the one it is spoken to by.
        let elsewhere = Receiver::free_address();
        let issued = authority.issue("elsewhere", "DNS:elsewhere.test");
        let mailing = Mailing { tls: Some((tls, &issued)), ..Mailing::default() };
        let misnamed = MailServer::start_at(&program, elsewhere, mailing);
        let channel = mail(&misnamed, &format!("tls: {tls}, ca_file: ca.pem"));
        let refused = setup(&[channel]).config("ca.pem", &ca).prepare().run(&["escalate", "test", "mail"]);
        assert!(refused.stdout.contains("not valid for name"), "{tls}: {}", refused.said());
        assert_eq!((server.messages(), misnamed.messages()), (4, 0), "{tls}: nothing went there");
    }
}

// -- listings

/// Nobody answers, so it is escalated with what would have run as the reason.
const EXPIRES: &str = "investigation:\n  approval_expires_after: 15s\n";

/// Made up here: a token by its form, and a password by its name. The configured secret is `SECRET`.
fn canaries() -> [String; 2] {
    [format!("ghp_{}", "a1B2".repeat(9)), "hunter2x".into()]
}

fn assert_clean(what: &str, text: &str) {
    for canary in canaries().iter().map(String::as_str).chain([SECRET, "T0TEAM/B0HOOK", "let-me-in-there"]) {
        assert!(!text.contains(canary), "{what} says {canary}: {text}");
    }
}

#[test]
fn listings_show_what_was_sent() {
    let [token, password] = canaries();
    let all = format!("{token} password={password} {SECRET}");
    // Both say what they were asked for, as some servers do.
    let slack = Receiver::start(|request| (404, "", format!("no such hook: {}", request.path)));
    let refuses = Receiver::start(|request| (500, "", format!("{} failed", request.path)));
    let channels = [
        format!(
            "{{ name: chat, type: slack, webhook_url: '{}' }}",
            slack.url("/services/T0TEAM/B0HOOK/let-me-in-there")
        ),
        hook("ops", &refuses.url("/in?token=a9F3k2Lm8Qz7Xw1Y")),
    ];
    let channels: String = channels.iter().map(|channel| format!("    - {channel}\n")).collect();
    let host = Setup::new()
        .config("watchkeeper.yaml", &format!("{EXPIRES}escalation:\n  channels:\n{channels}"))
        .env("CHANNEL_SECRET", SECRET)
        .plugin_bytes("obedient.wasm", std::fs::read(guest_file("obedient")).unwrap())
        .start();
    let mut alert = critical("a", &format!("disk full {all}"));
    alert["annotations"]["description"] =
        json!(format!("RUN: touch 'wk {SECRET}' password={password} wk-{token}"));
    host.store(&webhook([alert]));
    let waits = |host: &Watchkeeper| host.all("approvals", "").first().cloned();
    let asked = wait("a person is asked", PATIENCE, || waits(&host));
    assert!(asked["what"].as_str().unwrap().contains("[redacted: github-token]"), "{asked:#}");
    assert_eq!(asked["hash"].as_str().unwrap().len(), 64, "what is approved is named as ever");
    let id = asked["id"].as_str().unwrap();
    assert!(asked["what"].as_str().unwrap().contains("[redacted: password]"), "{asked:#}");
    assert_clean("the API's approvals", &asked.to_string());
    assert_clean("approvals", &host.site.run(&["approvals"]).well().said());
    assert_clean("approvals --json", &host.site.run(&["approvals", "--json"]).well().said());
    assert_clean("approve", &host.site.run(&["approve", id, "--hash", "0123456789ab"]).said());
    host.investigations_once_over(1);
    let told = deliveries(&host, "each was tried", |all| {
        let of = |name: &str| all.iter().filter(|one| one["channel"] == name && one["attempts"] != 0).count();
        of("chat") >= 1 && of("ops") >= 1 && all.iter().any(|one| one["kind"] == "escalated")
    });
    for (channel, words) in [("chat", "no such hook"), ("ops", "failed")] {
        let one = told.iter().find(|one| one["channel"] == channel && one["attempts"] != 0).unwrap();
        let error = one["last_error"].as_str().unwrap();
        assert!(error.contains(words) && !error.contains("a9F3k2Lm8Qz7Xw1Y"), "{error}");
    }
    let escalated = told.iter().find(|one| one["kind"] == "escalated").unwrap();
    let reason = escalated["reason"].as_str().unwrap();
    for kind in ["github-token", "password", "configured-secret"] {
        assert!(reason.contains(&format!("[redacted: {kind}]")), "{reason}");
        assert!(escalated["title"].as_str().unwrap().contains(&format!("[redacted: {kind}]")), "{escalated}");
    }
    let investigation = host.get("/api/v1/investigations/inv-1").body;
    assert!(investigation.contains("[redacted: password]"), "{investigation}");
    let api = ["escalations", "investigations", "investigations/inv-1"];
    for path in api {
        assert_clean(path, &host.get(&format!("/api/v1/{path}")).body);
    }
    let commands: [&[&str]; 8] = [
        &["escalate", "list"],
        &["escalate", "list", "--json"],
        &["escalate", "test", "chat"],
        &["investigations"],
        &["investigations", "--json"],
        &["investigations", "inv-1"],
        &["investigations", "inv-1", "--json"],
        &["audit", "show"],
    ];
    for command in commands {
        assert_clean(&command.join(" "), &host.site.run(command).said());
    }
    assert_clean("the log", &host.log());
    // What is stored stays as it came, for the log of it is of what was.
    host.site.run(&["audit", "verify"]).well();
}

// -- the command

#[test]
fn a_channel_can_be_tried() {
    let pagerduty = Receiver::start(pagerduty);
    let refuses = Receiver::start(|_| (403, "", "no such hook".into()));
    let site = setup(&[pager(&pagerduty), hook("broken", &refuses.url("/"))]).prepare();
    site.run(&["escalate", "test", "pager"]).well();
    let actions: Vec<Value> =
        pagerduty.received().iter().map(|one| one.json()["event_action"].clone()).collect();
    assert_eq!(actions, ["trigger", "resolve"], "an alert that is opened is closed again");
    let failed = site.run(&["escalate", "test", "broken"]);
    assert_eq!(failed.code, Some(1), "{}", failed.said());
    assert!(failed.stdout.contains("403") && failed.stdout.contains("no such hook"), "{}", failed.said());
    let unknown = site.run(&["escalate", "test", "fax"]);
    assert!(unknown.code == Some(2) && unknown.stderr.contains("pager, broken"), "{}", unknown.said());
}

#[test]
fn secrets_stay_out_of_the_log() {
    let host = setup(&["{ name: log, type: log }".into()]).start();
    let configured = format!("it says {SECRET} and ghp_{}", "a1B2".repeat(9));
    // Not known yet: nothing in this configuration asks for it.
    escalate(&host, "a", &configured);
    let log = wait("the log calls a human", PATIENCE, || {
        Some(host.log()).filter(|log| log.contains("a human is needed"))
    });
    assert!(log.contains("[redacted: github-token]") && !log.contains("ghp_"), "{log}");

    let receiver = Receiver::start(fine);
    let host = setup(&["{ name: log, type: log }".into(), hook("ops", &receiver.url("/"))]).start();
    escalate(&host, "a", &configured);
    let sent = receiver.once_there_are(1).remove(0);
    assert!(
        sent.body.contains("[redacted: configured-secret]") && !sent.body.contains(SECRET),
        "{}",
        sent.body
    );
    wait("the log calls a human", PATIENCE, || {
        Some(()).filter(|()| host.log().contains("a human is needed"))
    });
    assert!(!host.log().contains(SECRET), "{}", host.log());
}
