//! API tokens, and the audit log that knows of them.

#![allow(clippy::unwrap_used, reason = "a test that can't go on fails with what stood in its way")]

use serde_json::Value;
use watchkeeper_tests::{Answer, Setup, Site, Watchkeeper};

fn create(site: &Site, name: &str, role: &str) -> String {
    let ran = site.run(&["token", "create", name, "--role", role]).well();
    let token = ran.stdout.trim().to_owned();
    assert!(token.starts_with("wk_") && token.len() == 67, "{}", ran.said());
    token
}

fn get(host: &Watchkeeper, path: &str, token: &str) -> Answer {
    host.client().get(host.url(path)).bearer_auth(token).send().unwrap().into()
}

#[test]
fn a_token_is_good_until_it_is_revoked_and_may_what_its_role_may() {
    let host = Setup::new().start();
    // Nobody needs one while there is none, on this machine, to read.
    assert_eq!(host.get("/api/v1/alerts").status, 200);
    let needs = host.get("/api/v1/audit");
    assert!(needs.status == 401 && needs.error().contains("token create NAME --role admin"), "{needs:?}");

    let (viewer, admin) = (create(&host.site, "eye", "viewer"), create(&host.site, "boss", "admin"));
    let without = host.get("/api/v1/alerts");
    assert_eq!(without.status, 401);
    assert!(without.error().contains("missing") && without.error().contains("token create"), "{without:?}");
    assert_eq!(get(&host, "/api/v1/alerts", &viewer).status, 200);
    let whoami = get(&host, "/api/v1/whoami", &viewer).json();
    assert_eq!(
        (&whoami["name"], &whoami["role"], &whoami["token_id"]),
        (&"eye".into(), &"viewer".into(), &"tok-1".into())
    );
    let forbidden = get(&host, "/api/v1/audit", &viewer);
    assert_eq!(forbidden.status, 403, "{forbidden:?}");
    for word in ["eye", "viewer", "--role admin"] {
        assert!(forbidden.error().contains(word), "{forbidden:?}");
    }
    let wrong = get(&host, "/api/v1/alerts", &format!("{}0", &viewer[..66]));
    assert!(wrong.status == 401 && wrong.error().contains("wrong"), "{wrong:?}");
    // Whatever else is open stays open.
    assert_eq!([host.get("/healthz").status, host.get("/metrics").status], [200, 200]);

    let entries = get(&host, "/api/v1/audit", &admin).json()["items"].as_array().unwrap().clone();
    let told: Vec<String> =
        entries.iter().map(|one| format!("{} {}", one["action"], one["subject"])).collect();
    for expected in
        ["\"config.loaded\" \"configuration\"", "\"token.created\" \"tok-1\"", "\"token.created\" \"tok-2\""]
    {
        assert!(told.iter().any(|one| one == expected), "{told:?}");
    }
    let listed = host.site.run(&["token", "list", "--json"]).well();
    assert!(!listed.stdout.contains(&viewer[3..]), "{}", listed.said());
    assert!(listed.json()["items"][0]["last_used_at"].is_string(), "{}", listed.said());

    host.site.run(&["token", "revoke", "eye"]).well();
    let revoked = get(&host, "/api/v1/alerts", &viewer);
    assert!(revoked.status == 401 && revoked.error().contains("revoked"), "at once: {revoked:?}");
    assert_eq!(get(&host, "/api/v1/alerts", &admin).status, 200);
    host.site.run(&["token", "revoke", "boss"]).well();
    assert_eq!(
        host.get("/api/v1/alerts").status,
        401,
        "what was closed is not open again with the last token"
    );
}

#[test]
fn tokens_open_a_host_beyond_loopback() {
    let site = Setup::new().prepare();
    let token = create(&site, "first", "viewer");
    let checked = site.run(&["check", "--listen", "0.0.0.0:0"]);
    assert!(!checked.stdout.contains("credentials"), "{}", checked.said());
    let host = site.start();
    assert_eq!(get(&host, "/api/v1/alerts", &token).status, 200);
}

#[test]
fn tokens_expire() {
    let host = Setup::new().start();
    let ran =
        host.site.run(&["token", "create", "brief", "--role", "viewer", "--expires", "1s", "--json"]).well();
    let token = ran.json()["token"].as_str().unwrap().to_owned();
    std::thread::sleep(std::time::Duration::from_millis(1200));
    let expired = get(&host, "/api/v1/alerts", &token);
    assert!(expired.status == 401 && expired.error().contains("expired"), "{expired:?}");
    for wrong in ["yesterday", "2001-01-01T00:00:00Z", "3 days"] {
        let ran = host.site.run(&["token", "create", "x", "--role", "viewer", "--expires", wrong]);
        assert!(ran.code == Some(2) && ran.stderr.contains("--expires"), "{wrong}: {}", ran.said());
    }
    let ran = host.site.run(&["token", "create", "x y", "--role", "viewer"]);
    assert!(ran.code == Some(2) && ran.stderr.contains("letters"), "{}", ran.said());
    let ran = host.site.run(&["token", "create", "x", "--role", "king"]);
    assert!(ran.stderr.contains("viewer, responder or admin"), "{}", ran.said());
}

#[test]
fn the_audit_log_is_verified_by_its_public_key_and_its_anchor() {
    let host = Setup::new().playbooks().start();
    create(&host.site, "a", "viewer");
    let head = host.site.run(&["audit", "head"]).well();
    let anchor = host.site.write("anchor.json", &head.stdout).display().to_string();
    create(&host.site, "b", "viewer");
    let verified = host.site.run(&["audit", "verify", "--anchor", &anchor, "--json"]).well().json();
    assert!(verified["ok"] == true && verified["entries"].as_u64() >= Some(4), "{verified}");
    let shown: Value = host.site.run(&["audit", "show", "--after", "2", "--json"]).well().json();
    let created = shown.as_array().unwrap().iter().find(|entry| entry["action"] == "token.created").unwrap();
    assert!(shown[0]["seq"] == 3 && created["detail"]["name"] == "a", "{shown:#}");

    // The public half is enough.
    let public = host.site.data_dir().join("audit.pub").display().to_string();
    host.site.run(&["audit", "verify", "--key", &public]).well();
    let other = Setup::new().start();
    let public = other.site.data_dir().join("audit.pub").display().to_string();
    let refused = host.site.run(&["audit", "verify", "--key", &public]);
    assert!(
        refused.code == Some(1) && refused.stdout.contains("entry 1: its signature"),
        "{}",
        refused.said()
    );
    let refused = other.site.run(&["audit", "verify", "--anchor", &anchor]);
    assert!(refused.code == Some(2) && refused.stderr.contains("--key"), "{}", refused.said());
}

#[test]
fn the_audit_logs_key_makes_way_for_another_with_a_host_and_without() {
    let mut host = Setup::new().start();
    let (data, scratch) = (host.site.data_dir(), host.site.folder().to_owned());
    let first = scratch.join("first.pub");
    std::fs::copy(data.join("audit.pub"), &first).unwrap();
    let head = host.site.run(&["audit", "head"]).well();
    let anchor = host.site.write("anchor.json", &head.stdout).display().to_string();
    let old = std::fs::read(data.join("audit.key")).unwrap();
    // By the host, which goes on writing.
    let rotated = host.site.run(&["audit", "rotate", "--json"]).well().json();
    let second = rotated["key"].as_str().unwrap().to_owned();
    host.site.run(&["plugin", "release", "prometheus"]).well();
    host.store(&watchkeeper_tests::payload::webhook([watchkeeper_tests::payload::firing(
        "a",
        &[("alertname", "A"), ("severity", "critical")],
    )]));
    host.investigations_once_over(1);
    assert_ne!(std::fs::read(data.join("audit.key")).unwrap(), old);
    let entries = |host: &Watchkeeper| {
        let shown = host.site.run(&["audit", "show", "--json"]).well().json();
        shown.as_array().unwrap().clone()
    };
    let of = |host: &Watchkeeper| {
        let rotations = |entry: &&Value| entry["action"] == "log.key_rotated";
        entries(host).iter().filter(rotations).map(|entry| entry["detail"]["key"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(of(&host), [second.as_str()]);
    // By the command line, where none runs; and the host goes on by that one.
    assert_eq!(host.terminate().code, Some(0));
    let said = host.site.run(&["audit", "rotate"]).well().stdout;
    assert!(said.contains("goes on by the key") && said.contains("audit.pub"), "{said}");
    host.restart();
    host.site.run(&["plugin", "release", "prometheus"]).well();
    let verified = host.site.run(&["audit", "verify", "--json"]).well().json();
    assert_eq!(verified["keys"].as_array().unwrap().len(), 3, "{verified:#}");
    assert_eq!(verified["keys"][1], second.as_str());
    // The first key is enough, and an anchor of its time still holds; so does one of now.
    let first = first.display().to_string();
    host.site.run(&["audit", "verify", "--key", &first, "--anchor", &anchor]).well();
    let head = host.site.run(&["audit", "head"]).well();
    assert_eq!(head.json()["key"], verified["keys"][2]);
    let anchor = host.site.write("anchor.json", &head.stdout).display().to_string();
    host.site.run(&["audit", "verify", "--key", &first, "--anchor", &anchor]).well();
    // A list with a key in it that none introduced.
    let other = Setup::new().prepare();
    create(&other, "x", "viewer");
    let stranger = std::fs::read_to_string(other.data_dir().join("audit.pub")).unwrap();
    let listed = std::fs::read_to_string(data.join("audit.pub")).unwrap();
    let list = host.site.write("list.pub", listed + &stranger).display().to_string();
    let refused = host.site.run(&["audit", "verify", "--key", &list]);
    assert!(
        refused.code == Some(1) && refused.stdout.contains("no earlier key introduced it"),
        "{}",
        refused.said()
    );
}

/// An order to a running host is entered by whoever gave it, before it is carried out.
#[test]
fn orders_for_plugins_are_entered() {
    let host = Setup::new().start();
    host.site.run(&["plugin", "release", "prometheus"]);
    let shown = host.site.run(&["audit", "show"]).well().stdout;
    let lines: Vec<&str> = shown.lines().filter(|line| line.contains("plugin.release ")).collect();
    assert_eq!(lines.len(), 2, "{shown}");
    assert!(lines[0].contains("ordered") && lines[0].contains("plugin prometheus"), "{shown}");
}
