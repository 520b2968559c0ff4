//! Bad input: each with its status and a message that says what and where. Nothing of it is stored, and the next sender
//! doesn't notice.

#![allow(clippy::unwrap_used, reason = "a test that can't go on fails with what stood in its way")]

use std::io::Write;
use std::net::TcpStream;

use serde_json::{Value, json};
use watchkeeper_tests::payload::{firing, webhook};
use watchkeeper_tests::{Answer, Complaints, PATH, PATIENCE, Setup, TOKEN, Watchkeeper, raw, wait};

const LIMIT: usize = 10 << 20;

fn good(id: &str) -> Value {
    webhook([firing(id, &[("alertname", "Fine"), ("instance", id)])])
}

fn assert_nothing_stored(host: &Watchkeeper, after: &str) {
    assert_eq!(host.alerts(), Vec::<Value>::new(), "something is stored after: {after}");
    let letters = host.site.run(&["replay", "--list", "--json"]).well().json();
    assert_eq!(letters["items"], json!([]), "something is kept after: {after}");
}

fn assert_refused(what: &str, answer: &Answer, status: u16, words: &[&str]) {
    assert_eq!(answer.status, status, "{what}: {answer:?}");
    let error = answer.error();
    for word in words {
        assert!(error.contains(word), "{what}: the message should name `{word}`: {error}");
    }
}

#[test]
fn a_payload_that_is_wrong_is_answered_400_with_what_and_where() {
    let host = Setup::new().start();
    let one = |alert: Value| json!({ "alerts": [alert] }).to_string().into_bytes();
    let nested =
        |open: &str, close: &str| format!("{}{}", open.repeat(100_000), close.repeat(100_000)).into_bytes();
    let mut bad_utf8 = good("a").to_string().into_bytes();
    let at = bad_utf8.windows(4).position(|bytes| bytes == b"Fine").unwrap();
    bad_utf8[at] = 0xff;
    let at = format!("byte {at}");
    let labels = json!({ "alertname": "A" });
    let table: [(&str, Vec<u8>, &[&str]); 20] = [
        ("an empty body", b"".to_vec(), &["empty"]),
        ("blanks", b" \n\t ".to_vec(), &["empty"]),
        ("not JSON", b"alertname=HighCPU".to_vec(), &["not JSON", "line 1"]),
        ("half of it", b"{\"alerts\": [{\"status\": \"fir".to_vec(), &["not JSON", "line 1"]),
        ("two of them", b"{\"alerts\":[]} {\"alerts\":[]}".to_vec(), &["not JSON", "trailing"]),
        ("invalid UTF-8", bad_utf8, &["UTF-8", &at]),
        ("a list", b"[]".to_vec(), &["object"]),
        ("a number", b"7".to_vec(), &["7", "object"]),
        ("no alerts", b"{}".to_vec(), &["alerts", "missing"]),
        ("alerts that are no list", b"{\"alerts\": {}}".to_vec(), &["alerts", "sequence"]),
        ("an alert that is none", one(json!(7)), &["alerts[0]"]),
        ("no status", one(json!({ "labels": labels })), &["alerts[0].status", "missing"]),
        (
            "an unknown status",
            one(json!({ "status": "odd", "labels": labels })),
            &["alerts[0].status", "odd"],
        ),
        ("no labels", one(json!({ "status": "firing" })), &["alerts[0].labels", "missing"]),
        (
            "no alertname",
            one(json!({ "status": "firing", "labels": { "a": "b" } })),
            &["alerts[0].labels", "alertname"],
        ),
        (
            "a label that is no text",
            one(json!({ "status": "firing", "labels": { "alertname": "A", "n": 7 } })),
            &["alerts[0].labels"],
        ),
        (
            "a time that is none",
            one(json!({ "status": "firing", "labels": labels, "startsAt": "noon" })),
            &["alerts[0].startsAt", "noon"],
        ),
        (
            "a duplicated key",
            br#"{"alerts":[{"status":"firing","status":"resolved","labels":{"alertname":"A"}}]}"#.to_vec(),
            &["alerts[0]", "duplicate", "status"],
        ),
        (
            "a duplicated label",
            br#"{"alerts":[{"status":"firing","labels":{"alertname":"A","a":"1","a":"2"}}]}"#.to_vec(),
            &["alerts[0].labels", "duplicate", "\"a\""],
        ),
        (
            "the second of two alerts",
            {
                let wrong = json!({ "status": "firing", "labels": { "a": "b" } });
                json!({ "alerts": [{ "status": "firing", "labels": labels }, wrong] })
                    .to_string()
                    .into_bytes()
            },
            &["alerts[1].labels"],
        ),
    ];
    let mut complaints = Complaints::default();
    for (what, body, words) in table {
        let answer = host.post_to(PATH, body);
        complaints.unless(answer.status == 400, || format!("{what}: {answer:?}"));
        complaints.unless_named(what, &answer.error(), words);
        // Names of ours are of no use to a sender.
        complaints.unless(!answer.error().contains("struct "), || format!("{what}: {}", answer.error()));
        assert_nothing_stored(&host, what);
    }
    for (what, open, close) in [("deep lists", "[", "]"), ("deep objects", "{\"a\":", "}")] {
        assert_refused(what, &host.post_to(PATH, nested(open, close)), 400, &[]);
    }
    let under = |key: &str| [format!("{{\"{key}\":").into_bytes(), nested("[", "]"), b"}".to_vec()].concat();
    assert_refused("deep lists for alerts", &host.post_to(PATH, under("alerts")), 400, &["alerts"]);
    let ignored = [b"{\"alerts\":[],\"more\":".to_vec(), nested("[", "]"), b"}".to_vec()].concat();
    let answer = host.post_to(PATH, ignored);
    assert!(matches!(answer.status, 200 | 400), "under a key that nobody reads: {answer:?}");
    assert_nothing_stored(&host, "deep nesting");

    let refused = host.metrics().sum("agent_alert_source_errors_total", &[("error_type", "invalid_payload")]);
    let expected = if answer.status == 200 { 23.0 } else { 24.0 };
    assert_eq!(refused, expected, "each is counted");
    host.store(&good("after"));
    assert_eq!(host.alerts().len(), 1);
}

#[test]
fn an_unknown_severity_is_kept_as_a_label_on_an_alert_of_the_default_severity() {
    let host = Setup::new().start();
    let answer = host.store(&webhook([firing("a", &[("alertname", "A"), ("severity", "purple")])]));
    assert_eq!(answer.json()["alerts"]["new"], 1);
    let alerts = host.alerts();
    assert_eq!(alerts[0]["severity"], "warning");
    assert_eq!(alerts[0]["labels"]["severity"], "purple");
}

#[test]
fn a_body_of_the_limit_is_read_and_one_byte_more_is_413() {
    let host = Setup::new().start();
    let of_size = |size: usize| {
        let text = good("big").to_string();
        let mut body = text.into_bytes();
        body.resize(size, b' ');
        body
    };
    assert_eq!(host.post_to(PATH, of_size(LIMIT)).status, 200, "a body of the very limit");
    for (what, body) in [
        ("with its length announced", reqwest::blocking::Body::from(of_size(LIMIT + 1))),
        ("in chunks", reqwest::blocking::Body::new(std::io::Cursor::new(of_size(LIMIT + 1)))),
    ] {
        let words = ["10485760", "server.body_limit_mib"];
        assert_refused(what, &host.post_to(PATH, body), 413, &words);
    }
    host.store(&good("after"));
    assert_eq!(host.alerts().len(), 2);
}

#[test]
fn a_wrong_or_missing_token_is_401_with_a_challenge() {
    let host = Setup::new().start();
    let wrong: [(&str, Option<String>, &str); 6] = [
        ("none", None, "missing"),
        ("another", Some("Bearer another-token".into()), "wrong"),
        ("a part of it", Some(format!("Bearer {}", &TOKEN[..TOKEN.len() - 1])), "wrong"),
        ("more than it", Some(format!("Bearer {TOKEN}x")), "wrong"),
        ("an empty one", Some("Bearer ".into()), "wrong"),
        ("another scheme", Some(format!("Basic {TOKEN}")), "wrong"),
    ];
    for (what, shown, words) in wrong {
        let mut request = host.client().post(host.url(PATH)).body(good("a").to_string());
        if let Some(shown) = shown {
            request = request.header("authorization", shown);
        }
        let answer = Answer::from(request.send().unwrap());
        assert_refused(what, &answer, 401, &[words, "Authorization"]);
        assert_eq!(answer.header("www-authenticate"), Some("Bearer"), "{what}");
        assert!(!answer.body.contains(TOKEN), "{what}: the answer tells the token");
    }
    assert_nothing_stored(&host, "wrong tokens");
    host.store(&good("after"));
    assert!(!host.log().contains(TOKEN), "the log tells the token");
}

#[test]
fn a_wrong_method_is_405_with_what_is_allowed_and_an_unknown_path_is_404() {
    let host = Setup::new().start();
    for (method, path, allowed) in [
        ("GET", PATH, "POST"),
        ("PUT", PATH, "POST"),
        ("DELETE", PATH, "POST"),
        ("POST", "/api/v1/alerts", "GET"),
        ("DELETE", "/api/v1/incidents/inc-1", "GET"),
        ("POST", "/metrics", "GET"),
        ("POST", "/readyz", "GET"),
    ] {
        let what = format!("{method} {path}");
        let method = method.parse().unwrap();
        let answer =
            Answer::from(host.client().request(method, host.url(path)).bearer_auth(TOKEN).send().unwrap());
        assert_refused(&what, &answer, 405, &[allowed]);
        let allow = answer.header("allow").unwrap_or_default();
        assert!(allow.split(',').any(|method| method.trim() == allowed), "{what}: Allow: {allow}");
    }
    for path in [
        "/alerts",
        "/alerts/prometheus/",
        "/alerts/Prometheus",
        "/alerts//prometheus",
        "/nothing",
        "/api/v2/x",
    ] {
        let answer = host.post_to(path, good("a").to_string());
        assert_refused(path, &answer, 404, &[path]);
    }
    // A client library would tidy these up before it sends them.
    for path in
        ["/alerts/x/../prometheus", "/alerts/%70rometheus", "/alerts/%2e/prometheus", "/alerts\\prometheus"]
    {
        let answer = send_raw(&host, &format!("POST {path}"), "", good("a").to_string().as_bytes());
        assert!(matches!(answer.status, 400 | 404), "{path}: {answer:?}");
    }
    for path in ["/api/v1/nothing", "/api/v1"] {
        assert_refused(path, &host.get(path), 404, &[]);
    }
    assert_nothing_stored(&host, "wrong methods and paths");
}

fn send_raw(host: &Watchkeeper, request: &str, headers: &str, body: &[u8]) -> Answer {
    let length = body.len();
    let head = format!(
        "{request} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\nConnection: close\r\n\
         Content-Length: {length}\r\n{headers}\r\n"
    );
    raw(host.site.address, &[head.as_bytes(), body].concat())
}

#[test]
fn a_hundred_thousand_alerts_at_once_are_kept_unread_with_the_limit_named() {
    let host = Setup::new().start();
    let alert = |n: u32| format!(r#"{{"status":"firing","labels":{{"alertname":"A","n":"{n}"}}}}"#);
    let alerts: Vec<String> = (0..100_000).map(alert).collect();
    let body = format!(r#"{{"alerts":[{}]}}"#, alerts.join(","));
    assert!(body.len() <= LIMIT, "it is the number that is too large, not the body");
    let answer = host.post_to(PATH, body);
    let said = answer.body.clone();
    assert!(matches!(answer.status, 202 | 400 | 413), "{answer:?}");
    assert!(said.contains("limit"), "the message should name the limit: {said}");
    println!("100,000 alerts: {} {said}", answer.status);
    assert_eq!(host.alerts().len(), 0, "all or nothing");
    host.store(&good("after"));
    assert_eq!(host.alerts().len(), 1);
}

#[test]
fn ten_thousand_alerts_at_once_are_stored() {
    let host = Setup::new().start();
    let alerts = (0..10_000).map(|n| firing(&n.to_string(), &[("alertname", "A"), ("n", &n.to_string())]));
    let answer = host.store(&webhook(alerts));
    assert_eq!(answer.json()["alerts"]["new"], 10_000, "{answer:?}");
}

#[test]
fn a_client_that_sends_too_much_is_429_with_when_to_come_again() {
    let config = "server:\n  rate_limit: { per_second: 2, burst: 5 }\n";
    let host = Setup::new().config("watchkeeper.yaml", config).start();
    let answers: Vec<Answer> = (0..12).map(|n| host.post(&good(&format!("a{n}")))).collect();
    let stored = answers.iter().filter(|answer| answer.status == 200).count();
    let refused =
        answers.iter().find(|answer| answer.status == 429).expect("none of 12 requests was refused");
    assert_refused("too many", refused, 429, &["too many"]);
    let seconds: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=5).contains(&seconds), "Retry-After: {seconds}");
    assert_eq!(host.alerts().len(), stored, "what was refused is not stored; the API isn't held up");
    wait("the client may send again", PATIENCE, || (host.post(&good("later")).status == 200).then_some(()));
}

#[test]
fn a_client_that_goes_away_in_the_middle_leaves_nothing() {
    let host = Setup::new().start();
    let body = good("half").to_string();
    let head = format!("POST {PATH} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n");
    let half = &body[..body.len() / 2];
    for rest in [
        format!("Content-Length: {}\r\n\r\n{half}", body.len()),
        format!("Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{half}\r\n", half.len()),
        "Content-Length: 10\r\n".to_owned(),
    ] {
        let mut stream = TcpStream::connect(host.site.address).unwrap();
        stream.write_all(format!("{head}{rest}").as_bytes()).unwrap();
    }
    host.store(&good("after"));
    let alerts = host.alerts();
    assert_eq!(alerts.len(), 1, "{alerts:#?}");
    assert_eq!(alerts[0]["id"], "after");
}
