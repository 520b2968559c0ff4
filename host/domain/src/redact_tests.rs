//! What is a secret, and what only looks like one. The secrets are made up here: prefix and shape, and no account behind.

use super::*;

fn redact(text: &str) -> Redacted {
    Redactor::default().redact(text)
}

/// Of its letters, as many as wanted, in a mixed order.
fn random(letters: &str, count: usize) -> String {
    let letters: Vec<char> = letters.chars().collect();
    let mut state = 0x2545_f491_u64;
    let next = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        letters[(state >> 33) as usize % letters.len()]
    };
    (0..count).map(next).collect()
}

fn alnum(count: usize) -> String {
    random("ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz23456789", count)
}

fn hex(count: usize) -> String {
    random("0123456789abcdef", count)
}

/// The kind, the text, and the secret in it, which must be gone.
fn positives() -> Vec<(&'static str, String, String)> {
    let mut all = Vec::new();
    let mut alone = |kind, secret: String| all.push((kind, format!("it says {secret} here"), secret));
    alone("aws-access-key-id", format!("AKIA{}", random("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", 16)));
    alone("aws-access-key-id", format!("ASIA{}", random("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", 16)));
    alone("gcp-api-key", format!("AIza{}", alnum(35)));
    alone("gcp-oauth-token", format!("ya29.{}", alnum(60)));
    alone("gcp-client-secret", format!("GOCSPX-{}", alnum(28)));
    alone("github-token", format!("ghp_{}", alnum(36)));
    alone("github-token", format!("ghs_{}", alnum(36)));
    alone("github-token", format!("github_pat_{}_{}", alnum(22), alnum(59)));
    alone("gitlab-token", format!("glpat-{}", alnum(20)));
    alone("slack-token", format!("xoxb-{}-{}", random("123456789", 12), alnum(24)));
    alone("slack-token", format!("xapp-1-{}-{}", alnum(11), alnum(24)));
    alone(
        "slack-webhook",
        format!("https://hooks.slack.com/services/T0{}/B0{}/{}", alnum(8), alnum(8), alnum(24)),
    );
    alone("stripe-key", format!("sk_live_{}", alnum(24)));
    alone("stripe-key", format!("rk_test_{}", alnum(24)));
    alone("npm-token", format!("npm_{}", alnum(36)));
    alone("pypi-token", format!("pypi-AgEIcHlwaS5vcmc{}", alnum(60)));
    alone("sendgrid-key", format!("SG.{}.{}", alnum(22), alnum(43)));
    alone("twilio-key", format!("SK{}", hex(32)));
    alone("mailgun-key", format!("key-{}", hex(32)));
    alone("azure-client-secret", format!("{}8Q~{}", alnum(3), alnum(34)));
    alone("anthropic-key", format!("sk-ant-api03-{}", alnum(90)));
    alone("openai-key", format!("sk-{}", alnum(48)));
    alone("vault-token", format!("hvs.{}", alnum(24)));
    alone("digitalocean-token", format!("dop_v1_{}", hex(64)));
    alone("docker-token", format!("dckr_pat_{}", alnum(27)));
    alone("hugging-face-token", format!("hf_{}", random("abcdefghijKLMNOPQRST", 34)));
    alone("shopify-token", format!("shpat_{}", hex(32)));
    alone("grafana-token", format!("glsa_{}_{}", alnum(32), hex(8)));
    alone("new-relic-key", format!("NRAK-{}", random("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789", 27)));
    alone("databricks-token", format!("dapi{}", hex(32)));
    alone("telegram-token", format!("{}:AA{}", random("123456789", 9), alnum(33)));
    alone("pagerduty-key", format!("pdus+{}", alnum(20)));
    alone("watchkeeper-token", format!("wk_{}", hex(64)));
    alone("jwt", format!("eyJ{}.eyJ{}.{}", alnum(33), alnum(60), alnum(43)));
    let pem = format!(
        "-----BEGIN RSA PRIVATE KEY-----\n{}\n{}\n-----END RSA PRIVATE KEY-----",
        alnum(64),
        alnum(64)
    );
    alone("private-key", pem);
    alone("private-key", format!("-----BEGIN OPENSSH PRIVATE KEY-----\n{}\n", alnum(64)));

    alone(
        "private-key",
        format!("-----BEGIN EC PRIVATE KEY-----\\n{}\\n-----END EC PRIVATE KEY-----", alnum(64)),
    );

    let mut within = |kind, before: &str, secret: String, after: &str| {
        all.push((kind, format!("{before}{secret}{after}"), secret));
    };
    within("authorization", "Authorization: Bearer ", alnum(32), "\r\nHost: x");
    within("authorization", "> authorization: Basic ", "dXNlcjpwYXNzd29yZA==".into(), "");
    within("authorization", "{\"Authorization\": \"Token token=", alnum(20), "\"}");
    within("authorization", "curl -H 'Authorization: ApiKey ", alnum(40), "' https://x");
    within("bearer-token", "sent bearer ", format!("{}.{}", alnum(20), alnum(20)), " twice");
    within("cookie", "Set-Cookie: session=", alnum(32), "; Path=/");
    within("url-password", "postgres://app:", "hunter2!".into(), "@db.internal:5432/app?sslmode=require");
    within("url-password", "amqp://guest:", "guest-pass".into(), "@rabbit/%2f");
    within("url-password", "redis://:", "s3cr".into(), "@cache:6379/0");
    within("url-password", "git clone https://oauth2:", alnum(20), "@git.example.com/a/b.git");
    within(
        "azure-key",
        "DefaultEndpointsProtocol=https;AccountName=a;AccountKey=",
        format!("{}==", alnum(86)),
        ";x=y",
    );
    within("azure-signature", "https://a.blob.core.windows.net/c?sv=2024-01-01&sig=", alnum(43), "%3D&se=1");
    within("url-signature", "https://b.s3.amazonaws.com/k?X-Amz-Signature=", hex(64), "&x=1");
    within("command-password", "curl -u admin:", "tops3cret".into(), " https://x");
    within("command-password", "mysqldump --password ", "tops3cret".into(), " db");
    within("sql-password", "CREATE USER a IDENTIFIED BY '", "pass word".into(), "'");
    within("password", "password=", "correct-horse".into(), " user=a");
    within("password", "DB_PASSWORD: \"", "battery staple".into(), "\"");
    within("password", "{\"password\":\"", "abcd1234".into(), "\",\"x\":1}");
    within("password", "{\\\"db.password\\\": \\\"", "abcd1234".into(), "\\\"}");
    within("password", "Server=x;User Id=sa;Pwd=", "P@ssw0rd".into(), ";");
    within("password", "spring.datasource.password = ", "zaq12wsx".into(), "\n");
    within("secret", "api_key: ", hex(32), "");
    within("secret", "DD_API_KEY=", hex(32), " dd-agent");
    within("secret", "DD-APPLICATION-KEY: ", hex(40), "");
    within("secret", "aws_secret_access_key = ", alnum(40), "");
    within("secret", "\"client_secret\": \"", alnum(30), "\"");
    within("secret", "routing_key=", hex(32), "");
    within("secret", "https://x/cb?access_token=", alnum(30), "&state=1");
    within("secret", "X-Auth-Token: ", hex(20), "");
    within("secret", "--set session_id=", hex(32), "");
    all
}

#[test]
fn secrets_are_taken_out_and_named() {
    for (kind, text, secret) in positives() {
        let redacted = redact(&text);
        assert!(!redacted.text.contains(&secret), "{kind}: {} of {text}", redacted.text);
        assert!(redacted.counts.contains_key(kind), "{kind}: {:?} of {text}", redacted.counts);
        assert!(redacted.text.contains(&format!("[redacted: {kind}]")), "{}", redacted.text);
    }
}

/// An escape or a colour is no letter of a word.
#[test]
fn what_only_looks_like_a_letter_hides_no_secret() {
    let secret = format!("ghp_{}", alnum(36));
    let edges =
        ["", "\\n", "\\t", "\\u003d", "%3D", "token%3d", "\u{1b}[31m", "\u{1b}[0;32m", "=", "'", "ä", "x-"];
    for edge in edges {
        let redacted = redact(&format!("{edge}{secret}"));
        assert_eq!(redacted.text, format!("{edge}[redacted: github-token]"), "{edge:?}");
    }
    // One that ends another word is none.
    assert_eq!(redact(&format!("xghp_{}", alnum(36))).counts, Counts::new());
}

#[test]
fn each_text_of_json_is_redacted_by_its_name_too() {
    let redactor = Redactor::default();
    let secret = format!("ghp_{}", alnum(36));
    let mut value = serde_json::json!({
        "a": [format!("line\n{secret}"), 1, null],
        "db": { "password": "correct horse", "user": "app", "credential": "the account with uid 0, by the command line" },
        "hash": hex(64),
    });
    let hash = value["hash"].clone();
    redactor.json(&mut value);
    assert_eq!(value["a"][0], "line\n[redacted: github-token]");
    assert_eq!(value["db"]["password"], "[redacted: password]");
    assert_eq!(value["db"]["user"], "app");
    assert_eq!(value["db"]["credential"], "the account with uid 0, by the command line");
    assert_eq!((&value["a"][1], &value["hash"]), (&1.into(), &hash));
}

#[test]
fn a_configured_value_is_found_within_base64_of_more() {
    let redactor = Redactor::default();
    redactor.learn("kestrel-9");
    for before in ["", "a", "ab", "user:", "\0user\0"] {
        let encoded = STANDARD.encode(format!("{before}kestrel-9 and more"));
        let redacted = redactor.redact(&format!("AUTH PLAIN {encoded}")).text;
        assert!(redacted.contains("[redacted: configured-secret]"), "{before:?}: {redacted}");
    }
}

#[test]
fn what_stands_around_a_secret_stays() {
    let text = format!("at 12:00 user=a password=hunter22 host=db-1 token {}", "expired");
    assert_eq!(redact(&text).text, "at 12:00 user=a password=[redacted: password] host=db-1 token expired");
}

#[test]
fn json_stays_json() {
    for (_, text, secret) in positives() {
        let line = serde_json::json!({ "message": text, "password": secret, "level": "info" }).to_string();
        let redacted = redact(&line).text;
        let read: Result<serde_json::Value, _> = serde_json::from_str(&redacted);
        assert_eq!(read.unwrap_or_else(|error| panic!("{error}: {redacted}"))["level"], "info");
    }
    // Cut off in the middle, as a long output is.
    let line = serde_json::json!({ "message": format!("-----BEGIN PRIVATE KEY-----\n{}", alnum(64)), "level": "info" });
    let redacted: serde_json::Value = serde_json::from_str(&redact(&line.to_string()).text).unwrap();
    assert_eq!(
        (&redacted["message"], &redacted["level"]),
        (&"[redacted: private-key]".into(), &"info".into())
    );
}

/// What an on-call engineer reads all day.
#[test]
fn what_is_no_secret_stays() {
    let benign = [
        "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "image: registry.example.com/team/app@sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "commit 3b18e512dba79e4c8300dd08aeb37f8e728b8dad",
        "Merge 3b18e51 into 9f86d08",
        "request 123e4567-e89b-12d3-a456-426614174000 failed",
        "pod/checkout-7d9f8b6c5-x2k4p restarted 14 times",
        "ReplicaSet checkout-7d9f8b6c5",
        "/var/lib/docker/overlay2/3b18e512dba79e4c8300dd08aeb37f8e728b8dad3b18e512dba79e4c8300dd08/merged",
        "/home/app/.config/password-store is 4 kB",
        "password file=/etc/app/password.txt",
        "password_file: /run/secrets/db",
        "PWD=/root/app",
        "password: ********",
        "password: ${DB_PASSWORD}",
        "password: <none>",
        "password=null",
        "authentication failed: password incorrect for user root",
        "Failed password for root from 10.0.0.7 port 51234 ssh2",
        "token: expired",
        "token bucket is empty",
        "tokens: 15423",
        "max_tokens: 4096",
        "secretName: tls-cert",
        "secret: kubernetes-tls",
        "the bearer token is missing or wrong (server.api_token)",
        "Authorization: required",
        "api_key: missing",
        "key=value other=thing",
        "primary_key: id",
        "monkey=banana1234",
        "http://localhost:8080/path@v2",
        "https://example.com/a:b/c@d",
        "git@github.com:acme/app.git",
        "ops@example.com wrote: sk-foo is not a key",
        "2026-11-25T15:59:02.123Z level=info ts=1790000000 msg=\"started\"",
        "MAC 00:1A:2B:3C:4D:5E, IPv6 2001:db8::ff00:42:8329",
        "cpu 93.4 %, load 4.60 2.43 2.29, mem 1.2Gi/2Gi",
        "etag: \"33a64df551425fcc55e4d42a148795d9f25f89d4\"",
        "arn:aws:secretsmanager:eu-central-1:123456789012:secret:prod/db-a1B2c3",
        "password = os.environ[\"DB_PASSWORD\"]",
        "password: !vault |",
        "token = await getToken()",
        "bypass=true compass=north passed=42",
        "passwd: files systemd",
        "AKIA is how such a key begins",
        "systemd[1]: nginx.service: Main process exited, code=exited, status=1/FAILURE",
        "dial tcp 10.2.3.4:5432: connect: connection refused",
        "cookie jar is full",
        "vault:secret/data/app is sealed",
        "token: vault:secret/data/app#key1",
        "[watchkeeper] inv-17#3 judged ask",
        "base64 aGVsbG8gd29ybGQ= decodes",
        "arn:aws:iam::123456789012:role/app",
        "npm_config_cache=/tmp/x",
        "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----",
    ];
    for text in benign {
        let redacted = redact(text);
        assert_eq!(redacted.text, text);
        assert_eq!(redacted.counts, Counts::new(), "{text}");
    }
}

#[test]
fn configured_values_are_taken_out_in_each_form() {
    let redactor = Redactor::default();
    let secret = "pa ss/wörd\"+1";
    redactor.learn(secret);
    redactor.learn("short");
    let forms = [
        secret.to_owned(),
        serde_json::to_string(secret).unwrap().trim_matches('"').to_owned(),
        url_encoded(secret),
        STANDARD.encode(secret),
        STANDARD_NO_PAD.encode(secret),
        URL_SAFE_NO_PAD.encode(secret),
    ];
    for form in forms {
        let redacted = redactor.redact(&format!("a {form} b"));
        // What is left of a padding is no secret.
        let text = redacted.text.replace('=', "");
        assert_eq!(text, "a [redacted: configured-secret] b", "{form}");
        assert_eq!(redacted.counts, Counts::from([("configured-secret", 1)]));
    }
    assert_eq!(redactor.redact("short and sweet").text, "short and sweet");
}

#[test]
fn a_configured_value_that_is_a_part_of_the_marks_changes_none() {
    let redactor = Redactor::default();
    redactor.learn("redacted");
    redactor.learn("configured-secret-of-ours");
    let once = redactor.redact("configured-secret-of-ours").text;
    assert_eq!(once, "[redacted: configured-secret]");
    assert_eq!(redactor.redact(&once).text, once);
}

#[test]
fn a_text_that_was_redacted_is_redacted_no_further() {
    let all = positives();
    let redactor = Redactor::default();
    // Alone, and each with each of the others right behind it.
    for (at, (_, text, _)) in all.iter().enumerate() {
        for (_, other, _) in all.iter().skip(at % 5).step_by(5) {
            for joint in ["", " ", "=", ": ", "\"", "\n"] {
                let once = redactor.redact(&format!("{text}{joint}{other}")).text;
                let again = redactor.redact(&once);
                assert_eq!(again.text, once, "of {text}{joint}{other}");
                assert_eq!(again.counts, Counts::new());
            }
        }
    }
}

#[test]
fn every_expression_compiles() {
    let Rules { whole, formats, contexts } = &*RULES;
    for (group, count) in [(whole, WHOLE.len()), (formats, FORMATS.len()), (contexts, CONTEXTS.len())] {
        assert_eq!((group.all.len(), group.set.len()), (count, count));
    }
    assert!(
        FORMATS.iter().all(|(_, text)| !text.contains(r"\s") && !text.contains("[^")),
        "none spans lines"
    );
}

/// The worst texts for expressions that backtrack, at the bound's length.
#[test]
fn a_hostile_text_takes_no_long_time() {
    let texts = [
        "password",
        "a.a-a_",
        "-----BEGIN PRIVATE KEY-----",
        "eyJ",
        "http://a:",
        " ",
        "=",
        "token=",
        "ä",
        "\\n",
        "%3D",
        "mysql ",
        "sshpass -p",
        "docker -p a ",
        " -u a",
        " -U a%",
        "a:11:b:c:",
        "name: token value ",
        "set token ",
        "echo a | ",
        "<password>",
        "login a password ",
        "api key ",
        "1234567890:AA",
        "$2b$",
        "key-",
        "\u{1b}[0m",
        "a1B2c3D4",
        "ghp_ä",
        "password is ",
        "snmpwalk -A ",
    ];
    // And all of them in turn, and every secret that is known here: then all rules have something to do.
    let (all, every) =
        (texts.concat(), positives().into_iter().map(|(_, text, _)| text + "\n").collect::<String>());
    for text in texts.into_iter().chain([all.as_str(), every.as_str()]) {
        let long = text.repeat((1 << 20) / text.len());
        let began = std::time::Instant::now();
        let redacted = redact(&long);
        let took = began.elapsed();
        println!("{took:>10.1?} for 1 MiB of {:?}", text.chars().take(40).collect::<String>());
        // Measured in release: 51 ms at worst, and 1.1 s of the last one, in which nothing else than secrets is.
        let most = if cfg!(debug_assertions) || text == every { 20 } else { 1 };
        assert!(took < std::time::Duration::from_secs(most), "{text}: {took:?}");
        assert!(redacted.text.len() <= 4 * long.len());
    }
}

#[test]
fn what_is_too_long_is_cut_before_a_word() {
    let secret = format!("ghp_{}", alnum(36));
    let text = format!("{} {secret}", "x".repeat(MAX - 20));
    let redacted = redact(&text).text;
    assert!(!redacted.contains(&secret[..8]), "{}", &redacted[redacted.len() - 100..]);
    assert!(redacted.ends_with("more bytes]"));
    assert!(redacted.len() <= MAX + 40);
}

#[test]
fn every_text_of_a_notice_is_redacted() {
    let secret = format!("ghp_{}", alnum(36));
    let text = || Untrusted::from(format!("see {secret}"));
    let notice = Notice {
        kind: Default::default(),
        key: "wk-1-inc-1".into(),
        incident: crate::IncidentId(1),
        investigation: crate::InvestigationId(1),
        title: text(),
        severity: crate::Severity::Critical,
        reason: text(),
        report: Some(Report {
            summary: text(),
            root_cause: Some(text()),
            findings: vec![Finding {
                statement: text(),
                evidence: vec![Evidence { call: 0, excerpt: text() }],
            }],
            recommendations: vec![text()],
            confidence: 0.5,
        }),
        approval: Some(crate::escalation::Approval {
            id: "inv-1.0".into(),
            hash: "0".repeat(64),
            what: text(),
            expires_at: crate::Timestamp::from_millis(0),
        }),
        escalated_at: crate::Timestamp::from_millis(0),
    };
    let (redacted, counts) = Redactor::default().notice(&notice);
    assert!(!serde_json::to_string(&redacted).unwrap().contains(&secret));
    assert_eq!(counts, Counts::from([("github-token", 8)]));
}

#[test]
fn a_secret_does_not_hide_behind_what_nobody_sees() {
    let redactor = Redactor::default();
    redactor.learn("correct-horse");
    let token = format!("ghp_{}", alnum(36));
    for secret in ["correct-horse", &token] {
        for unseen in ["\u{200b}", "\u{1b}", "\u{e0041}", "\u{ad}\u{2060}", "\u{fe0f}"] {
            let (begin, end) = secret.split_at(7);
            let redacted = redactor.redact_hidden(&format!("a {begin}{unseen}{end}\n\tb"));
            assert!(
                redacted.text.starts_with("a [redacted: ") && redacted.text.ends_with("]\n\tb"),
                "{redacted:?}"
            );
        }
    }
    // What hides nothing stays as it is.
    assert_eq!(redactor.redact_hidden("a\u{200b}b").text, "a\u{200b}b");
}
