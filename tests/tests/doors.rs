//! The doors that people and programs come through: the command line, the API, metrics, and the way out.

#![allow(clippy::unwrap_used, reason = "a test that can't go on fails with what stood in its way")]

use std::collections::BTreeSet;
use std::io::Write;
use std::net::TcpStream;

use serde_json::{Value, json};
use watchkeeper_tests::payload::{firing, resolved, webhook};
use watchkeeper_tests::{PATH, PATIENCE, Setup, TOKEN, Watchkeeper, plugin_file, wait};

const ALERTS_KEYS: [&str; 12] = [
    "annotations",
    "description",
    "ends_at",
    "id",
    "incident",
    "labels",
    "received_at",
    "severity",
    "source",
    "starts_at",
    "status",
    "title",
];

fn keys(value: &Value) -> BTreeSet<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

fn high_cpu(cluster: &str) -> Value {
    let labels =
        [("alertname", "HighCPU"), ("severity", "critical"), ("cluster", cluster), ("instance", "localhost")];
    firing(&format!("cpu-{cluster}"), &labels)
}

/// Three alerts of different kinds; the last is resolved.
fn three(host: &Watchkeeper) {
    let warning =
        firing("w", &[("alertname", "Slow"), ("severity", "warning"), ("team", "web"), ("zone", "a:b")]);
    let info = firing("i", &[("alertname", "Started"), ("severity", "info"), ("team", "web")]);
    let over = firing("o", &[("alertname", "Over"), ("severity", "warning"), ("team", "db")]);
    host.store(&webhook([warning, info, over.clone()]));
    host.store(&webhook([resolved(over, "2026-01-02T04:00:00Z")]));
}

fn ids(items: &[Value]) -> Vec<&str> {
    items.iter().map(|item| item["id"].as_str().unwrap()).collect()
}

#[test]
fn an_alert_in_the_api_has_its_twelve_keys() {
    let host = Setup::new().start();
    three(&host);
    let page = host.get("/api/v1/alerts").json();
    assert_eq!(keys(&page), ["items", "next"].into());
    assert_eq!(page["next"], Value::Null);
    for alert in page["items"].as_array().unwrap() {
        assert_eq!(keys(alert), ALERTS_KEYS.into());
    }
    let over = page["items"].as_array().unwrap().iter().find(|alert| alert["id"] == "o").unwrap();
    assert_eq!(over["source"], "prometheus");
    assert_eq!(over["status"], "resolved");
    assert_eq!(over["starts_at"], "2026-01-02T03:04:05.000Z");
    assert_eq!(over["ends_at"], "2026-01-02T04:00:00.000Z");
    assert_eq!(over["title"], "Over: it is high");
    assert_eq!(over["labels"], json!({ "alertname": "Over", "severity": "warning", "team": "db" }));
    assert_eq!(over["annotations"]["summary"], "it is high");
    assert!(over["received_at"].as_str().unwrap().ends_with('Z'));
    assert!(over["incident"].as_str().unwrap().starts_with("inc-"));
}

#[test]
fn filters_choose_in_the_api_and_on_the_command_line() {
    let second = "name: second\ntype: prometheus\nwebhook_path: /alerts/second\n";
    let host = Setup::new().source("second.yaml", second).start();
    three(&host);
    let received = host.alerts()[0]["received_at"].as_str().unwrap().to_owned();
    wait("another millisecond", PATIENCE, || {
        host.post_to("/alerts/second", webhook([firing("s", &[("alertname", "Slow")])]).to_string());
        (host.all("alerts", "?source=second&severity=warning").len() == 1).then_some(())
    });
    let later = host.all("alerts", "?source=second")[0]["received_at"].as_str().unwrap().to_owned();
    let table: [(&str, &str, &[&str]); 13] = [
        ("alerts", "", &["s", "o", "i", "w"]),
        ("alerts", "source=second", &["s"]),
        ("alerts", "source=none", &[]),
        ("alerts", "severity=info", &["i"]),
        ("alerts", "status=resolved", &["o"]),
        ("alerts", "status=firing&severity=warning", &["s", "w"]),
        ("alerts", "label=team:web", &["i", "w"]),
        ("alerts", "label=team:web&label=alertname:Slow", &["w"]),
        ("alerts", "label=zone:a:b", &["w"]),
        ("alerts", "label=team:nobody", &[]),
        ("alerts", &format!("since={later}"), &["s"]),
        ("alerts", &format!("until={received}"), &[]),
        ("alerts", "limit=2", &["s", "o"]),
    ];
    for (listing, query, expected) in table {
        let page = host.get(&format!("/api/v1/{listing}?{query}"));
        assert_eq!(page.status, 200, "{query}: {page:?}");
        assert_eq!(ids(page.json()["items"].as_array().unwrap()), expected, "{query}");
        let mut arguments = vec![listing.to_owned(), "--json".to_owned()];
        for (name, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
            arguments.extend([format!("--{name}"), value.to_owned()]);
        }
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let ran = host.site.run(&arguments).well().json();
        assert_eq!(ran, page.json(), "the command line says what the API says: {query}");
    }
    assert_eq!(host.all("incidents", "?status=closed").len(), 1);
    assert_eq!(host.all("incidents", "?label=team:db").len(), 1);
    let slow = host.all("incidents", "?label=alertname:Slow");
    assert_eq!(slow.len(), 1, "the same values of the group_by labels are one incident: {slow:#?}");
    assert_eq!([&slow[0]["alerts"], &slow[0]["firing"]], [&json!(2), &json!(2)]);
    let id = slow[0]["id"].as_str().unwrap();
    assert_eq!(host.get(&format!("/api/v1/incidents/{id}")).json(), slow[0]);
    assert_eq!(host.all("alerts", &format!("?incident={id}")).len(), 2);
}

#[test]
fn a_wrong_filter_is_400_and_names_the_choices() {
    let host = Setup::new().start();
    let table: [(&str, &[&str]); 14] = [
        ("alerts?colour=red", &["colour", "severity", "label"]),
        ("alerts?severity=urgent", &["severity", "urgent", "info, warning, critical"]),
        ("alerts?status=open", &["status", "firing or resolved"]),
        ("alerts?since=yesterday", &["since", "yesterday", "RFC 3339"]),
        ("alerts?until=1", &["until", "RFC 3339"]),
        ("alerts?limit=0", &["limit", "1000"]),
        ("alerts?limit=1001", &["limit", "1000"]),
        ("alerts?limit=many", &["limit", "many"]),
        ("alerts?label=team", &["label", "name:value"]),
        ("alerts?cursor=xyz", &["cursor", "xyz"]),
        ("alerts?source=a&source=b", &["source", "twice"]),
        ("incidents?status=firing", &["status", "open or closed"]),
        ("investigations?status=open", &["status", "completed"]),
        ("investigations/inc-1", &["inc-1", "inv-7"]),
    ];
    for (path, words) in table {
        let answer = host.get(&format!("/api/v1/{path}"));
        assert_eq!(answer.status, 400, "{path}: {answer:?}");
        for word in words {
            assert!(answer.error().contains(word), "{path}: should name `{word}`: {answer:?}");
        }
    }
    for path in ["incidents/inc-99", "investigations/inv-99"] {
        let answer = host.get(&format!("/api/v1/{path}"));
        assert_eq!(answer.status, 404, "{path}: {answer:?}");
        assert!(answer.error().contains("-99"), "{answer:?}");
    }
}

#[test]
fn pages_have_every_alert_once_while_more_arrive() {
    const COUNT: usize = 2500;
    let host = Setup::new().start();
    let alert = |n: usize| firing(&format!("n-{n}"), &[("alertname", "N"), ("n", &n.to_string())]);
    for from in (0..COUNT).step_by(500) {
        host.store(&webhook((from..from + 500).map(alert)));
    }
    let mut seen: Vec<String> = Vec::new();
    let mut cursor = String::new();
    for page in 0.. {
        let answer = host.get(&format!("/api/v1/alerts?limit=300{cursor}")).json();
        seen.extend(ids(answer["items"].as_array().unwrap()).into_iter().map(str::to_owned));
        let Some(next) = answer["next"].as_str() else { break };
        cursor = format!("&cursor={next}");
        host.store(&webhook([alert(COUNT + page)]));
    }
    let expected: Vec<String> = (0..COUNT).rev().map(|n| format!("n-{n}")).collect();
    assert_eq!(seen, expected, "newest first, without gaps or repeats");
    assert_eq!(host.alerts().len(), COUNT + 8);
}

#[test]
fn a_critical_alert_is_investigated_and_its_transcript_can_be_read() {
    let host = Setup::new().playbooks().start();
    host.store(&webhook([high_cpu("c")]));
    let listed = host.investigations_once_over(1).remove(0);
    assert_eq!(
        keys(&listed),
        ["ended_at", "id", "incident", "reason", "report", "started_at", "state", "title", "trigger"].into()
    );
    let one = host.investigation(listed["id"].as_str().unwrap());
    let transcript = one["transcript"].as_array().unwrap();
    assert_eq!(transcript[0]["event"], "started");
    for (seq, entry) in transcript.iter().enumerate() {
        assert_eq!(entry["seq"], seq);
        assert!(entry["at"].is_string(), "{entry}");
    }
    let events: BTreeSet<&str> = transcript.iter().map(|entry| entry["event"].as_str().unwrap()).collect();
    for event in ["running", "briefed", "proposed", "judged", "acting", "acted", "concluded"] {
        assert!(events.contains(event), "no {event} in {events:?}");
    }
    let report = &one["report"];
    assert!((0.0..=1.0).contains(&report["confidence"].as_f64().unwrap()), "{report:#}");
    assert!(!report["findings"][0]["evidence"].as_array().unwrap().is_empty(), "{report:#}");

    let id = listed["id"].as_str().unwrap();
    assert_eq!(host.site.run(&["investigations", id, "--json"]).well().json(), one);
    let listing = host.site.run(&["investigations", "--json"]).well().json();
    assert_eq!(listing["items"][0], listed);
    let shown = host.site.run(&["investigations", id]).well().stdout;
    assert!(shown.contains("HighCPU") && shown.contains("briefed"), "{shown}");
    let metrics = host.metrics();
    assert_eq!(metrics.sum("agent_investigations_started_total", &[]), 1.0);
    assert!(metrics.sum("agent_gate_verdicts_total", &[]) > 0.0);
    let incident = &host.all("incidents", "")[0];
    assert_eq!(incident["investigation"], listed["id"]);
}

#[test]
fn an_incident_is_investigated_on_request_with_and_without_a_host() {
    let mut host = Setup::new().playbooks().start();
    let labels = [("alertname", "HighCPU"), ("severity", "warning"), ("instance", "localhost")];
    host.store(&webhook([firing("a", &labels)]));
    let incident = host.all("incidents", "")[0]["id"].as_str().unwrap().to_owned();
    assert_eq!(host.all("investigations", "").len(), 0, "a warning is not investigated by itself");

    let by_the_host = host.site.run(&["investigate", &incident, "--json"]);
    assert_transcript_lines(&by_the_host.json_lines());
    let first = host.investigations_once_over(1).remove(0);
    assert_eq!(by_the_host.code == Some(0), first["state"] == "completed", "{}", by_the_host.said());
    assert_eq!(first["trigger"], "requested");

    assert_eq!(host.terminate().code, Some(0));
    let by_itself = host.site.run(&["investigate", &incident, "--json"]);
    assert_transcript_lines(&by_itself.json_lines());
    let listed = host.site.run(&["investigations", "--json"]).well().json();
    assert_eq!(listed["items"].as_array().unwrap().len(), 2, "{listed:#}");
    assert_ne!(listed["items"][0]["ended_at"], Value::Null, "{listed:#}");

    let unknown = host.site.run(&["investigate", "inc-99"]);
    assert!(unknown.code != Some(0) && unknown.stderr.contains("inc-99"), "{}", unknown.said());
}

fn assert_transcript_lines(lines: &[Value]) {
    let seqs: Vec<u64> = lines.iter().map(|line| line["seq"].as_u64().unwrap()).collect();
    assert_eq!(seqs, (0..lines.len() as u64).collect::<Vec<_>>());
    let last = lines.last().unwrap()["event"].as_str().unwrap();
    assert!(["completed", "escalated", "failed"].contains(&last), "{last}");
}

#[test]
fn the_gate_answers_a_line_for_a_line() {
    let bash = |command: &str| json!({ "tool": "bash", "input": { "command": command } }).to_string();
    let file = |tool: &str, path: &str| json!({ "tool": tool, "input": { "path": path } }).to_string();
    let table = [
        (bash("uptime"), "allow"),
        (bash("ps aux --sort=-%cpu | head -20"), "allow"),
        (bash("df -h && free -m"), "allow"),
        (bash("find /var/log -name '*.log' -mtime -1"), "allow"),
        (file("read_file", "/var/log/syslog"), "allow"),
        (file("list_files", "/var/log"), "allow"),
        (bash("some-program --that nobody knows"), "ask"),
        (bash("uptime; $(reboot)"), "ask"),
        (bash("echo `id`"), "ask"),
        (bash("ps auxe"), "ask"),
        (bash("rm -r -f /"), "block"),
        (bash("find / -delete"), "block"),
        (bash("cat /etc/shadow"), "block"),
        (bash("uptime && shutdown now"), "block"),
        (file("read_file", "/etc/shadow"), "block"),
        (json!({ "tool": "launch", "input": {} }).to_string(), "ask"),
        ("this is no call".to_owned(), "block"),
        (json!({ "tool": "bash" }).to_string(), "block"),
        (json!({ "tool": "bash", "input": { "command": 7 } }).to_string(), "ask"),
    ];
    let input: String = table.iter().map(|(line, _)| format!("{line}\n")).collect();
    let site = Setup::new().prepare();
    let answered = site.run_with(&["gate", "--json"], input.as_bytes()).well().json_lines();
    assert_eq!(answered.len(), table.len(), "a line for a line");
    for ((line, verdict), answer) in table.iter().zip(&answered) {
        assert_eq!(keys(answer), ["reason", "rule", "verdict"].into(), "{line}");
        let refuses = *verdict != "allow" && answer["verdict"] != "allow";
        assert!(answer["verdict"] == *verdict || (*verdict == "ask" && refuses), "{line}: {answer}");
        assert!(!answer["reason"].as_str().unwrap().is_empty(), "{line}: {answer}");
        assert!(*verdict != "allow" || answer["rule"].is_string(), "{line}: {answer}");
    }
}

#[test]
fn a_command_is_explained_part_by_part() {
    let site = Setup::new().prepare();
    let command = "ps aux | awk '{print $2}' && systemctl restart nginx; rm -rf /x";
    let explained = site.run(&["gate", "explain", command, "--json"]).well().json();
    assert_eq!((&explained["verdict"], &explained["rule"]), (&json!("block"), &json!("removes-trees")));
    assert_eq!(explained["plan"], json!(command));
    let part = |at: usize| [&explained["parts"][at]["verdict"], &explained["parts"][at]["rule"]];
    assert_eq!(part(0), [&json!("allow"), &json!("ps")]);
    assert_eq!(part(1), [&json!("allow"), &json!("awk")]);
    assert_eq!(part(2), [&json!("ask"), &json!("restarts")]);
    assert_eq!(part(3), [&json!("block"), &json!("removes-trees")]);
    let shown = site.run(&["gate", "explain", command]).well().stdout;
    for line in [
        "block [removes-trees]: ",
        "   | awk '{print $2}'",
        "  && systemctl restart nginx",
        "ask [restarts]: ",
    ] {
        assert!(shown.contains(line), "should say `{line}`: {shown}");
    }
    let shown = site.run(&["gate", "explain", "ls $(id)"]).well().stdout;
    assert!(shown.starts_with("ask: ") && shown.contains("an expansion `$`"), "{shown}");
}

#[test]
fn a_sites_own_file_and_standing_orders_are_in_force() {
    let rule = "rules:\n  - name: appctl\n    programs: [appctl]\n    verdict: allow\n    effect: read\n    \
                justification: says how the app is\n    subcommands: { status: {} }\n    match: [appctl status]\n";
    let orders = "investigation:\n  blocked_commands: [\"journalctl -k\"]\n  require_human_approval: [\"df -h\"]\n  \
                  confirm_before_restart: false\n";
    let setup = Setup::new().config("gate.site.yaml", rule).config("watchkeeper.yaml", orders);
    let site = setup.prepare();
    for (command, verdict, rule) in [
        ("appctl status", "allow", "appctl"),
        ("appctl stop", "ask", ""),
        ("uptime", "allow", "uptime"),
        ("journalctl  '-k'", "block", "blocked_commands"),
        ("df -h", "ask", "require_human_approval"),
        ("systemctl restart nginx", "allow", "restarts-unasked"),
        ("systemctl stop nginx", "ask", "changes-services"),
        ("systemctl stop auditd", "block", "disables-security-services"),
    ] {
        let explained = site.run(&["gate", "explain", command, "--json"]).well().json();
        assert_eq!(explained["verdict"], verdict, "{command}: {explained:#}");
        assert_eq!(explained["rule"].as_str().unwrap_or_default(), rule, "{command}: {explained:#}");
    }
}

#[test]
fn a_payload_can_be_tried_on_a_plugin() {
    let site = Setup::new().prepare();
    let plugin = plugin_file("prometheus");
    let plugin = plugin.to_str().unwrap();
    let payload = site.write("payload.json", webhook([high_cpu("c")]).to_string());
    let payload = payload.to_str().unwrap();
    let alerts = site.run(&["plugin", "test", plugin, "--payload", payload, "--json"]).well().json();
    assert_eq!(alerts.as_array().unwrap().len(), 1, "{alerts:#}");
    assert_eq!(alerts[0]["id"], "cpu-c");
    assert_eq!(alerts[0]["severity"], "critical");
    let shown = site.run(&["plugin", "test", plugin, "--payload", payload]).well().stdout;
    assert!(shown.contains("cpu-c") && shown.contains("HighCPU"), "{shown}");

    let config = site.write("source.yaml", "name: x\ntype: prometheus\nwebhok_path: /x\n");
    let wrong =
        site.run(&["plugin", "test", plugin, "--payload", payload, "--config", config.to_str().unwrap()]);
    assert!(wrong.code != Some(0), "{}", wrong.said());
    for word in ["source.yaml:3", "webhok_path", "webhook_path"] {
        assert!(wrong.stderr.contains(word), "should name `{word}`: {}", wrong.said());
    }
    let bad = site.write("bad.json", r#"{"alerts":[{"status":"firing","labels":{}}]}"#);
    let refused = site.run(&["plugin", "test", plugin, "--payload", bad.to_str().unwrap()]);
    assert!(refused.code != Some(0) && refused.stderr.contains("alertname"), "{}", refused.said());
    let missing = site.run(&["plugin", "test", plugin, "--payload", "/nowhere.json"]);
    assert!(missing.code != Some(0) && missing.stderr.contains("/nowhere.json"), "{}", missing.said());
}

#[test]
fn what_is_there_can_be_listed_as_tables_and_checked() {
    let host = Setup::new().playbooks().start();
    three(&host);
    let plugins = host.site.run(&["plugin", "list", "--json"]).well().json();
    assert_eq!(plugins["plugins"].as_array().unwrap().len(), 5, "{plugins:#}");
    assert!(plugins["plugins"].as_array().unwrap().iter().all(|plugin| plugin["state"] == "live"));
    let checked = host.site.run(&["check", "--json"]).well().json();
    assert_eq!([&checked["ok"], &checked["problems"]], [&json!(true), &json!([])]);
    assert_eq!(checked["sources"][0]["webhook_path"], PATH);
    assert!(!checked.to_string().contains(TOKEN), "a secret is told");
    for (arguments, words) in [
        (&["check"][..], &["prometheus", PATH, "fine"][..]),
        (&["plugin", "list"], &["high-cpu", "playbook", "prometheus"]),
        (&["alerts"], &["SEVERITY", "Slow", "inc-"]),
        (&["incidents"], &["FIRING", "inc-1", "closed"]),
        (&["investigations"], &["CONFIDENCE"]),
    ] {
        let shown = host.site.run(arguments).well().stdout;
        for word in words {
            assert!(shown.contains(word), "{arguments:?} should show `{word}`: {shown}");
        }
    }
}

#[test]
fn metrics_keep_their_names() {
    let host = Setup::new().start();
    three(&host);
    host.post_to(PATH, "nonsense");
    assert_eq!(host.get("/healthz").status, 200);
    let metrics = host.metrics();
    let source = ("source", "prometheus");
    let stored = ("status", "stored");
    assert_eq!(metrics.sum("agent_alerts_received_total", &[source, ("severity", "warning")]), 3.0);
    assert_eq!(metrics.sum("agent_alerts_processed_total", &[source, ("severity", "info"), stored]), 1.0);
    assert_eq!(metrics.sum("agent_alert_processing_duration_seconds_count", &[source]), 2.0);
    assert_eq!(
        metrics.sum("agent_alert_source_errors_total", &[source, ("error_type", "invalid_payload")]),
        1.0
    );
    assert_eq!(metrics.sum("agent_alert_outcomes_total", &[source, ("outcome", "new")]), 3.0);
    assert_eq!(metrics.sum("agent_alert_outcomes_total", &[source, ("outcome", "resolved")]), 1.0);
    for name in ["started", "completed", "escalated", "failed"] {
        let name = format!("agent_investigations_{name}_total");
        assert!(metrics.text().contains(&format!("\n{name} 0\n")), "{name} is not there: {}", metrics.text());
    }
    wait("the source is said to be well", PATIENCE, || {
        (host.metrics().sum("agent_alert_source_healthy", &[source]) == 1.0).then_some(())
    });
}

#[test]
fn sigterm_ends_it_cleanly_and_what_was_acknowledged_is_there() {
    let mut host = Setup::new().playbooks().start();
    host.store(&webhook([high_cpu("c")]));
    wait("an investigation runs", PATIENCE, || {
        let all = host.all("investigations", "");
        all.first().filter(|one| one["state"] != "started").map(|_| ())
    });
    let clients: Vec<_> = (0..4)
        .map(|number| {
            let (client, url) = (host.client().clone(), host.url(PATH));
            std::thread::spawn(move || send_until_refused(&client, &url, number))
        })
        .collect();
    wait("requests are under way", PATIENCE, || (host.alerts().len() > 20).then_some(()));
    let stopped = host.terminate();
    assert_eq!(stopped.code, Some(0), "after {:?}", stopped.took);
    let acknowledged: BTreeSet<String> =
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect();

    host.restart();
    let stored = host.alerts();
    let stored: BTreeSet<&str> = ids(&stored).into_iter().collect();
    let lost: Vec<_> = acknowledged.iter().filter(|id| !stored.contains(id.as_str())).collect();
    assert!(lost.is_empty(), "acknowledged, and lost: {lost:?}");
    host.investigations_once_over(1);
}

/// The ids that were answered 200.
fn send_until_refused(client: &reqwest::blocking::Client, url: &str, number: u32) -> Vec<String> {
    let mut acknowledged = Vec::new();
    for n in 0.. {
        let id = format!("{number}-{n}");
        let payload = webhook([firing(&id, &[("alertname", "Load"), ("n", &id)])]).to_string();
        match client.post(url).bearer_auth(TOKEN).body(payload).send() {
            Ok(answer) if answer.status() == 200 => acknowledged.push(id),
            _ => break,
        }
    }
    acknowledged
}

#[test]
fn sigterm_is_not_held_up_by_senders_who_never_end() {
    let mut host = Setup::new().start();
    let idle = TcpStream::connect(host.site.address).unwrap();
    let mut endless = TcpStream::connect(host.site.address).unwrap();
    let head = format!(
        "POST {PATH} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\nContent-Length: 99\r\n\r\n{{"
    );
    endless.write_all(head.as_bytes()).unwrap();
    host.store(&webhook([firing("a", &[("alertname", "A")])]));
    let stopped = host.terminate();
    assert_eq!(stopped.code, Some(0), "after {:?}", stopped.took);
    drop((idle, endless));
    host.restart();
    assert_eq!(ids(&host.alerts()), ["a"]);
}

#[test]
fn the_demo_shows_the_whole_path_and_ends_well() {
    let site = Setup::new().playbooks().prepare();
    let (plugins, address) = (site.plugins_dir(), site.address.to_string());
    let arguments = ["demo", "--once", "--plugins", plugins.to_str().unwrap(), "--listen", &address];
    let ran = site.run_as_built_in(&arguments).well();
    for word in ["POST", "200", "HighCPU", "allow", "confidence", "progress"] {
        assert!(ran.stdout.contains(word), "should show `{word}`: {}", ran.said());
    }
}

#[test]
fn the_demo_without_plugins_says_what_to_do() {
    let site = Setup::without_sources().prepare();
    let (plugins, address) = (site.plugins_dir(), site.address.to_string());
    let arguments = ["demo", "--once", "--plugins", plugins.to_str().unwrap(), "--listen", &address];
    let ran = site.run_as_built_in(&arguments);
    assert!(ran.code != Some(0) && ran.stderr.contains("cargo xtask build"), "{}", ran.said());
}
