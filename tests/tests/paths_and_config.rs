//! Mistakes in the configuration: the message names file, line, key and remedy; a source's mistake disables it alone.

#![allow(clippy::unwrap_used, reason = "a test that can't go on fails with what stood in its way")]

use serde_json::Value;
use watchkeeper_tests::payload::{firing, webhook};
use watchkeeper_tests::{Complaints, PATH, Setup, Site};

/// What `check --json` says of the source's file.
fn problem_of(checked: &Value, file: &str) -> String {
    let sources = checked["sources"].as_array().unwrap();
    let source = sources.iter().find(|source| source["file"].as_str().unwrap().ends_with(file));
    let source = source.unwrap_or_else(|| panic!("no {file} in {checked:#}"));
    source["problem"]
        .as_str()
        .unwrap_or_else(|| panic!("nothing is wrong with {file}: {checked:#}"))
        .to_owned()
}

/// `check`s a good source beside others that are each wrong: what is said of each, and that the good one is fine.
fn check_sources(site: &Site, wrong: &[(String, Vec<String>)]) {
    let checked = site.run(&["check", "--json"]);
    assert_eq!(checked.code, Some(1), "{}", checked.said());
    let said = checked.json();
    assert_eq!(said["ok"], false);
    let mut complaints = Complaints::default();
    for (file, words) in wrong {
        let problem = problem_of(&said, file);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        complaints.unless_named(file, &problem, &[&[&*format!("{file}:")], &*words].concat());
        assert!(said["problems"].as_array().unwrap().iter().any(|one| *one == problem), "{said:#}");
    }
    assert_eq!(said["problems"].as_array().unwrap().len(), wrong.len(), "nothing else is wrong: {said:#}");
    let sources = said["sources"].as_array().unwrap();
    assert!(sources.iter().any(|source| source["webhook_path"] == PATH), "the good one is fine: {said:#}");
}

#[test]
fn paths_that_climb_hide_or_clash_are_refused_at_load_and_other_sources_work() {
    let paths = [
        ("/alerts/../metrics", "dots"),
        ("/..", "dots"),
        ("/alerts/./x", "dots"),
        ("/%2e%2e/metrics", "characters"),
        ("/alerts/%2E%2E", "characters"),
        ("/alerts/%2fx", "characters"),
        ("/alerts\\\\x", "characters"),
        ("/alerts//x", "empty segment"),
        ("//alerts", "empty segment"),
        ("/alerts/", "empty segment"),
        ("/", "empty segment"),
        ("/alerts?x=y", "characters"),
        ("/alerts#x", "characters"),
        ("/alerts/x y", "characters"),
        ("/alerts/ü", "characters"),
        ("/alerts/{x}", "characters"),
        ("/alerts/*", "characters"),
        ("alerts", "/alerts/prometheus"),
        ("", "/alerts/prometheus"),
        ("/api", "Watchkeeper's own"),
        ("/api/v1/alerts", "Watchkeeper's own"),
        ("/API/v1/x", "Watchkeeper's own"),
        ("/metrics", "Watchkeeper's own"),
        ("/healthz", "Watchkeeper's own"),
        ("/readyz", "Watchkeeper's own"),
        ("/dashboard", "Watchkeeper's own"),
        (PATH, "source prometheus"),
    ];
    let mut setup = Setup::new();
    let mut wrong = Vec::new();
    for (number, (path, word)) in paths.into_iter().enumerate() {
        let file = format!("wrong-{number}.yaml");
        let text = format!(
            "name: wrong-{number}\ntype: prometheus\n# Where it listens:\nwebhook_path: \"{path}\"\n"
        );
        setup = setup.source(&file, &text);
        wrong.push((file.clone(), vec![format!("{file}:4: webhook_path: "), word.to_owned()]));
    }
    let site = setup.prepare();
    check_sources(&site, &wrong);

    let host = site.start();
    host.store(&webhook([firing("a", &[("alertname", "A")])]));
    for path in ["/", "/alerts", "/alerts/x", "/metrics/x"] {
        let answer = host.post_to(path, webhook([]).to_string());
        assert!(matches!(answer.status, 404 | 405), "{path}: {answer:?}");
    }
    let log = host.log();
    for (file, _) in wrong {
        assert!(log.contains(&format!("{file}:4: webhook_path: ")), "{file} is not in the log:\n{log}");
    }
}

#[test]
fn a_mistake_in_a_sources_file_disables_that_source_alone() {
    let files: [(&str, &str, &[&str]); 17] = [
        ("no-yaml", "name: [\n", &[":2"]),
        ("no-mapping", "- a\n- b\n", &["mapping"]),
        ("empty", "", &["mapping"]),
        ("twice", "name: a\ntype: prometheus\nname: b\n", &["duplicate", "name"]),
        ("no-name", "type: prometheus\n", &[":1: name: ", "missing"]),
        ("odd-name", "name: a/b\ntype: prometheus\n", &[":1: name: ", "letters"]),
        ("no-type", "name: no-type\n", &[":1: type: ", "missing"]),
        (
            "unknown-type",
            "name: u\ntype: prometeus\n",
            &[":2: type: ", "`prometeus`", "are loaded: prometheus"],
        ),
        (
            "same-name",
            "type: prometheus\nname: prometheus\nwebhook_path: /b\n",
            &[":2: name: ", "prometheus.yaml"],
        ),
        (
            "unknown-key",
            "name: k\ntype: prometheus\nwebhok_path: /k\n",
            &[":3: webhok_path: ", "unknown", "webhook_path"],
        ),
        (
            "wrong-value",
            "name: v\ntype: prometheus\nwebhook_path: /v\ndefault_severity: purple\n",
            &[":4: default_severity: ", "purple", "critical"],
        ),
        (
            "unset",
            "name: s\ntype: prometheus\nauth: { type: bearer, token: \"${WK_TEST_NOT_SET}\" }\n",
            &[":3: auth.token: ", "set WK_TEST_NOT_SET"],
        ),
        (
            "unset-of-plugin",
            "name: p\ntype: prometheus\nwebhook_path: ${WK_TEST_NOT_SET}\n",
            &[":3: webhook_path: ", "set WK_TEST_NOT_SET"],
        ),
        ("auth-type", "name: t\ntype: prometheus\nauth: { type: basic }\n", &[":3: auth: ", "bearer"]),
        (
            "auth-empty",
            "name: e\ntype: prometheus\nauth:\n  type: bearer\n  token: \"\"\n",
            &[":5: auth.token: ", "empty"],
        ),
        ("limits", "name: l\ntype: prometheus\nlimits:\n  call_ms: 0\n", &[":4: limits.call_ms: ", "within"]),
        ("window", "name: w\ntype: prometheus\ndedup_window: soon\n", &[":3: dedup_window: ", "5m"]),
    ];
    let mut setup = Setup::new();
    for (name, text, _) in files {
        setup = setup.source(&format!("wrong-{name}.yaml"), text);
    }
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    let wrong: Vec<_> = files.iter().map(|(name, _, w)| (format!("wrong-{name}.yaml"), words(w))).collect();
    let site = setup.prepare();
    check_sources(&site, &wrong);

    let host = site.start();
    host.store(&webhook([firing("a", &[("alertname", "A")])]));
    let log = host.log();
    assert!(wrong.iter().all(|(file, _)| log.contains(file.as_str())), "each is in the log:\n{log}");
    assert_eq!(host.get("/readyz").status, 200);
}

#[test]
fn an_unset_variable_disables_its_source_until_it_is_set() {
    let source = "name: second\ntype: prometheus\nwebhook_path: /alerts/second\n\
                  auth: { type: bearer, token: \"${SECOND_TOKEN}\" }\n";
    let setup = Setup::new().source("second.yaml", source);
    let payload = webhook([firing("a", &[("alertname", "A")])]);

    let without = setup.clone().start();
    without.store(&payload);
    assert_eq!(without.post_to("/alerts/second", payload.to_string()).status, 404);
    drop(without);

    let with = setup.env("SECOND_TOKEN", watchkeeper_tests::TOKEN).start();
    with.store(&payload);
    assert_eq!(with.post_to("/alerts/second", payload.to_string()).status, 200);
    assert_eq!(with.alerts().len(), 2, "the same id in two sources is two alerts");
}

#[test]
fn a_source_file_as_the_original_design_writes_it_loads_unchanged() {
    let source = "name: prometheus-prod\ntype: prometheus\nwebhook_path: /alerts/prometheus\n\
                  auth: { type: bearer, token: ${PROMETHEUS_WEBHOOK_TOKEN} }\n";
    let setup = Setup::without_sources().plugin("prometheus").source("prometheus-prod.yaml", source);
    let site = setup.env("PROMETHEUS_WEBHOOK_TOKEN", watchkeeper_tests::TOKEN).prepare();
    site.run(&["check"]).well();
    site.start().store(&webhook([firing("a", &[("alertname", "A")])]));
}

/// `check` and `serve` both refuse, and say the same.
fn check_refused_whole(complaints: &mut Complaints, file: &str, text: &str, words: &[&str]) {
    let site = Setup::new().config(file, text).prepare();
    for command in ["check", "serve"] {
        let ran = site.run(&[command]);
        assert!(!matches!(ran.code, None | Some(0)), "{command}: {text:?}: {}", ran.said());
        complaints.unless_named(&format!("{command}: {text:?}"), &ran.said(), words);
    }
}

#[test]
fn a_mistake_in_watchkeeper_yaml_stops_the_start_and_is_placed() {
    let table: [(&str, &[&str]); 11] = [
        ("server: [\n", &["watchkeeper.yaml:1: server", "expected"]),
        ("sever:\n  body_limit_mib: 3\n", &["watchkeeper.yaml:1", "sever", "server"]),
        ("server:\n  body_limit: 3\n", &["watchkeeper.yaml:2", "body_limit", "body_limit_mib"]),
        ("server:\n  body_limit_mib: lots\n", &["watchkeeper.yaml:2", "body_limit_mib", "lots"]),
        (
            "# mine\nserver:\n  body_limit_mib: 0\n",
            &["watchkeeper.yaml:3: server.body_limit_mib: ", "more than 0"],
        ),
        (
            "server:\n  api_token: ${WK_TEST_NOT_SET}\n",
            &["watchkeeper.yaml:2: server.api_token: ", "set WK_TEST_NOT_SET"],
        ),
        ("server:\n  api_token: short\n", &["watchkeeper.yaml:2: server.api_token: ", "16"]),
        (
            "investigation:\n  severities: [urgent]\n",
            &["watchkeeper.yaml:2", "severities", "urgent", "critical"],
        ),
        ("investigation:\n  max_duration: 15\n", &["watchkeeper.yaml:2", "max_duration", "15m"]),
        (
            "investigation:\n  escalate_on_confidence_below: 70\n",
            &["watchkeeper.yaml:2: investigation.escalate", "within 0 and 1"],
        ),
        ("server:\n  trusted_proxies: [localhost]\n", &["watchkeeper.yaml:2", "trusted_proxies"]),
    ];
    let mut complaints = Complaints::default();
    for (text, words) in table {
        check_refused_whole(&mut complaints, "watchkeeper.yaml", text, words);
    }
}

#[test]
fn a_mistake_in_gate_yaml_stops_the_start_and_is_placed() {
    let rule = |lines: &str| {
        format!(
            "allowed_directories: [/var/log]\nrules:\n  - name: echo\n    programs: [echo]\n    verdict: allow\n    \
             effect: read\n    justification: says\n{lines}"
        )
    };
    let table: [(String, &[&str]); 5] = [
        ("rules: {\n".to_owned(), &["gate.yaml:1: rules", "expected"]),
        (rule("    positionls: []\n"), &["gate.yaml:8", "positionls", "positionals"]),
        (rule("    match: [echo hello]\n"), &["gate.yaml", "echo hello", "rule `echo`"]),
        (rule("    not_match: [echo]\n"), &["gate.yaml", "rule `echo`"]),
        ("rules: []\n".to_owned(), &["gate.yaml", "allowed_directories"]),
    ];
    let mut complaints = Complaints::default();
    for (text, words) in table {
        check_refused_whole(&mut complaints, "gate.yaml", &text, words);
    }
}

#[test]
fn a_mistake_in_gate_site_yaml_stops_the_start_and_is_placed() {
    let rule = |programs: &str, example: &str| {
        format!(
            "rules:\n  - name: own\n    programs: [{programs}]\n    verdict: allow\n    effect: read\n    \
             justification: j\n    positionals: [{{ kind: text, max: 9 }}]\n    match: [{example}]\n"
        )
    };
    let table: [(String, &[&str]); 4] = [
        ("rules: {\n".to_owned(), &["gate.site.yaml:1: rules"]),
        (
            "allowed_directoris: []\n".to_owned(),
            &["gate.site.yaml:1", "allowed_directoris", "allowed_directories"],
        ),
        // It can't loosen what the policy blocks, nor what its examples say has to be asked.
        (rule("reboot", "reboot"), &["gate.site.yaml", "rule `own`", "is block all the same"]),
        (rule("git", "git clone x"), &["gate.site.yaml", "`git clone x` is allow, not ask"]),
    ];
    let mut complaints = Complaints::default();
    for (text, words) in table {
        check_refused_whole(&mut complaints, "gate.site.yaml", &text, words);
    }
}

#[test]
fn listening_beyond_loopback_needs_credentials() {
    let site =
        Setup::new().source("open.yaml", "name: open\ntype: prometheus\nwebhook_path: /open\n").prepare();
    let served = site.run(&["serve", "--listen", "0.0.0.0:0"]);
    assert!(!matches!(served.code, None | Some(0)), "{}", served.said());
    for word in ["0.0.0.0", "server.api_token", "127.0.0.1"] {
        assert!(served.stderr.contains(word), "should name `{word}`: {}", served.said());
    }
    let checked = site.run(&["check", "--listen", "0.0.0.0:0"]);
    assert_eq!(checked.code, Some(1), "{}", checked.said());
    for word in ["server.api_token", "open.yaml", "auth"] {
        assert!(checked.stdout.contains(word), "should name `{word}`: {}", checked.said());
    }
    site.run(&["check"]).well();
}

#[test]
fn an_api_token_guards_the_api_and_nothing_else() {
    let token = "a-long-enough-api-token";
    let config = "server:\n  api_token: ${API_TOKEN}\n";
    let site = Setup::new().config("watchkeeper.yaml", config).env("API_TOKEN", token).prepare();
    let host = site.start();
    for path in ["/api/v1/alerts", "/api/v1/incidents", "/api/v1/investigations", "/api/v1/nothing"] {
        let answer = host.get(path);
        assert_eq!(answer.status, 401, "{path}: {answer:?}");
        assert!(answer.error().contains("server.api_token"), "{answer:?}");
        assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
    }
    let shown = host.client().get(host.url("/api/v1/alerts")).bearer_auth(token).send().unwrap();
    assert_eq!(shown.status(), 200);
    host.store(&webhook([firing("a", &[("alertname", "A")])]));
    assert_eq!([host.get("/healthz").status, host.get("/metrics").status], [200, 200]);
}

#[test]
fn a_folder_that_is_not_there_is_named() {
    let site = Setup::new().prepare();
    for flag in ["--config", "--plugins"] {
        let ran = site.run(&["check", flag, "/nowhere/at/all"]);
        assert!(!matches!(ran.code, None | Some(0)), "{flag}: {}", ran.said());
        for word in ["/nowhere/at/all", flag] {
            assert!(ran.said().contains(word), "should name `{word}`: {}", ran.said());
        }
    }
    let ran = site.run(&["alerts", "--data", "/nowhere/at/all"]);
    assert!(ran.code != Some(0) && ran.stderr.contains("--data"), "{}", ran.said());
}

#[test]
fn one_host_works_on_a_data_folder_and_an_address() {
    let host = Setup::new().start();
    let second = host.site.run(&["serve", "--listen", "127.0.0.1:0"]);
    assert!(!matches!(second.code, None | Some(0)), "{}", second.said());
    for word in [host.site.data_dir().to_str().unwrap(), "another Watchkeeper", "--data"] {
        assert!(second.stderr.contains(word), "should name `{word}`: {}", second.said());
    }
    let other = host.site.folder().join("other-data");
    let address = host.site.address.to_string();
    let third = host.site.run(&["serve", "--data", other.to_str().unwrap(), "--listen", &address]);
    assert!(!matches!(third.code, None | Some(0)), "{}", third.said());
    assert!(third.stderr.contains(&address), "should name the address that is taken: {}", third.said());
    host.store(&webhook([firing("a", &[("alertname", "A")])]));
}
