//! Plugins from an OCI registry: a real one, and, for what no real one does, a server that means harm.

#![allow(clippy::unwrap_used, reason = "a test that can't go on fails with what stood in its way")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use watchkeeper_tests::guest::from_text;
use watchkeeper_tests::payload::{firing, webhook};
use watchkeeper_tests::{Complaints, Layout, Registry, Security, Setup, Site, digest, plugin_file, require};

fn registry(security: &Security<'_>) -> Option<Registry> {
    Some(Registry::start(&require("docker-registry", "docker-registry")?, security))
}

fn plugin(name: &str) -> Vec<u8> {
    std::fs::read(plugin_file(name)).unwrap()
}

fn in_folder(site: &Site) -> Vec<String> {
    let entries = std::fs::read_dir(site.plugins_dir()).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn what_is_pushed_by_the_specification_is_pulled_checked_and_served() {
    let Some(registry) = registry(&Security::Open) else { return };
    let bytes = plugin("prometheus");
    let manifest = registry.push("acme/prometheus", "1.0", &Layout::wasm(bytes.clone()));
    registry.push("acme/prometheus", "latest", &Layout::wasm(plugin("high-cpu")));
    let source = "name: prometheus\ntype: prometheus\nwebhook_path: /alerts/prometheus\n";
    let site = Setup::without_sources().source("prometheus.yaml", source).prepare();

    let pull = |rest: &str, more: &[&str]| {
        let reference = registry.reference(rest);
        site.run(&[&["plugin", "pull", &reference, "--json"], more].concat()).well().json()
    };
    let pulled = pull("acme/prometheus:1.0", &[]);
    let expected = json!({
        "name": "prometheus",
        "file": site.plugins_dir().join("prometheus.wasm"),
        "state": "added",
        "reference": registry.reference("acme/prometheus:1.0"),
        "manifest_digest": manifest,
        "digest": digest(&bytes),
        "size": bytes.len(),
        "note": null,
    });
    assert_eq!(pulled, expected);
    assert_eq!(in_folder(&site), ["prometheus.wasm"]);
    assert_eq!(std::fs::read(site.plugins_dir().join("prometheus.wasm")).unwrap(), bytes);
    assert_eq!(pull("acme/prometheus:1.0", &[])["state"], "kept");
    assert_eq!(pull(&format!("acme/prometheus@{manifest}"), &["--name", "other"])["name"], "other");
    assert_eq!(pull("acme/prometheus", &["--name", "other"])["state"], "replaced", "the tag is latest");
    assert_eq!(std::fs::read(site.plugins_dir().join("other.wasm")).unwrap(), plugin("high-cpu"));

    let text = site.run(&["plugin", "pull", &registry.reference("acme/prometheus:1.0")]).well().stdout;
    let mut complaints = Complaints::default();
    complaints.unless_named("text", &text, &["prometheus", "kept", &digest(&bytes), &manifest, "bytes"]);
    let listed = site.run(&["plugin", "list", "--json"]).well().json();
    assert_eq!(listed["plugins"].as_array().unwrap().len(), 2, "{listed:#}");
    let host = site.start();
    host.store(&webhook([firing("a", &[("alertname", "A")])]));
}

#[test]
fn what_push_makes_is_the_layout_and_comes_back() {
    let Some(registry) = registry(&Security::Open) else { return };
    let site = Setup::new().prepare();
    let file = plugin_file("prometheus");
    let reference = registry.reference("tools/prom:v2");
    let push = ["plugin", "push", file.to_str().unwrap(), &reference, "--json"];
    let pushed = site.run(&push).well().json();
    assert_eq!(pushed["digest"], digest(&plugin("prometheus")));
    assert_eq!(site.run(&push).well().json(), pushed, "again is the same");

    let manifest = std::fs::read(registry.blob_file(pushed["manifest_digest"].as_str().unwrap())).unwrap();
    let manifest: Value = serde_json::from_slice(&manifest).unwrap();
    assert_eq!(manifest["mediaType"], "application/vnd.oci.image.manifest.v1+json");
    assert_eq!(manifest["config"]["mediaType"], "application/vnd.wasm.config.v0+json");
    assert_eq!(manifest["layers"].as_array().unwrap().len(), 1);
    assert_eq!(manifest["layers"][0]["mediaType"], "application/wasm");
    let config = std::fs::read(registry.blob_file(manifest["config"]["digest"].as_str().unwrap())).unwrap();
    let config: Value = serde_json::from_slice(&config).unwrap();
    assert_eq!([&config["architecture"], &config["os"]], [&json!("wasm"), &json!("wasip2")]);
    assert_eq!(config["layerDigests"], json!([pushed["digest"]]));
    let exports = json!(["watchkeeper:plugin/source@0.1.0", "watchkeeper:plugin/parser@0.1.0"]);
    assert_eq!(config["component"]["exports"], exports);
    assert!(!config["component"]["imports"].as_array().unwrap().is_empty());

    let pulled = site.run(&["plugin", "pull", &reference, "--json"]).well().json();
    assert_eq!([&pulled["name"], &pulled["digest"]], [&json!("prom"), &pushed["digest"]]);

    let core = site.write("core.wasm", from_text("(module)"));
    let refused = site.run(&["plugin", "push", core.to_str().unwrap(), &reference]);
    assert_eq!(refused.code, Some(2), "{}", refused.said());
    assert!(refused.stderr.contains("core module"), "{}", refused.said());
}

#[test]
fn what_cant_be_pulled_is_said_and_nothing_is_left_behind() {
    let Some(registry) = registry(&Security::Open) else { return };
    let good = || Layout::wasm(plugin("prometheus"));
    registry.push("good", "1", &good());
    registry.push("image", "1", &Layout { config: "application/vnd.oci.image.config.v1+json", ..good() });
    registry.push("tar", "1", &Layout { layer: "application/vnd.oci.image.layer.v1.tar+gzip", ..good() });
    registry.push("two", "1", &Layout { layers: vec![plugin("prometheus"), plugin("memory")], ..good() });
    registry.push("none", "1", &Layout { layers: vec![], ..good() });
    registry.push("core", "1", &Layout::wasm(from_text("(module)")));
    registry.push("small", "1", &Layout { size: Some(100), ..good() });
    registry.push("huge", "1", &Layout { size: Some((256 << 20) + 1), ..good() });
    const DOCKER: &str = "application/vnd.docker.distribution.manifest.v2+json";
    let docker =
        Layout { manifest: DOCKER, config: "application/vnd.docker.container.image.v1+json", ..good() };
    registry.push("docker", "1", &docker);
    const INDEX: &str = "application/vnd.oci.image.index.v1+json";
    let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [] });
    registry.push_manifest("good", "index", INDEX, &index);
    let harmed = plugin("memory");
    registry.push("harmed", "1", &Layout::wasm(harmed.clone()));
    let mut other = harmed.clone();
    *other.last_mut().unwrap() ^= 1;
    std::fs::write(registry.blob_file(&digest(&harmed)), other).unwrap();
    let cut = plugin("oom-kill");
    registry.push("cut", "1", &Layout::wasm(cut.clone()));
    std::fs::write(registry.blob_file(&digest(&cut)), &cut[..cut.len() / 2]).unwrap();

    let old = b"what was there before";
    let site = Setup::without_sources().plugin_bytes("core.wasm", old).prepare();
    let absent = format!("good@{}", digest(b"nothing"));
    let (harmed, cut) = (digest(&harmed), digest(&cut));
    let table: [(&str, i32, &[&str]); 14] = [
        ("good:2", 2, &["good:2", "no such artifact", "manifest unknown"]),
        ("absent", 2, &["absent:latest", "no such artifact"]),
        (&absent, 2, &[&absent, "no such artifact"]),
        (
            "image:1",
            2,
            &["no plugin", "vnd.oci.image.config.v1+json", "vnd.wasm.config.v0+json", "plugin push"],
        ),
        ("docker:1", 2, &["no plugin", "docker.distribution.manifest"]),
        ("good:index", 2, &["no plugin", "image.index"]),
        ("tar:1", 2, &["no plugin", "tar+gzip", "application/wasm"]),
        ("two:1", 2, &["no plugin", "2 layers"]),
        ("none:1", 2, &["no plugin", "0 layers"]),
        ("core:1", 1, &["refused, and nothing is changed", "core:1", "core module", "wasm-tools"]),
        ("small:1", 2, &["more than 100 bytes"]),
        ("huge:1", 2, &["more than 268435456 bytes"]),
        ("harmed:1", 2, &[&harmed, "isn't what its digest says", "changed"]),
        ("cut:1", 2, &[&cut, "isn't what its digest says", "cut off"]),
    ];
    let mut complaints = Complaints::default();
    for (rest, code, words) in table {
        let ran = site.run(&["plugin", "pull", &registry.reference(rest)]);
        complaints.unless(ran.code == Some(code), || format!("{rest}: {}", ran.said()));
        complaints.unless_named(rest, &format!("{}{}", ran.stdout, ran.stderr), words);
        let left = in_folder(&site);
        complaints.unless(left == ["core.wasm"], || format!("{rest} left {left:?}"));
    }
    assert_eq!(std::fs::read(site.plugins_dir().join("core.wasm")).unwrap(), old);
    let json = site.run(&["plugin", "pull", &registry.reference("core:1"), "--json"]).json();
    complaints.unless(json["state"] == "refused", || format!("{json:#}"));
}

#[test]
fn what_is_asked_for_wrongly_is_said_before_anybody_is_asked() {
    let site = Setup::without_sources().prepare();
    let nobody = site.address.to_string();
    let nowhere = site.folder().join("nowhere").display().to_string();
    let table: [(&[&str], &[&str]); 7] = [
        (&["prometheus"], &["names no registry", "registry.example.org/"]),
        (&["acme/prometheus"], &["registry's host"]),
        (&["http://127.0.0.1/x"], &["scheme"]),
        (&["registry.example.org/x@sha256:12"], &["64 hex digits"]),
        (&["127.0.0.1:1/x", "--name", "../x"], &["`../x`", "--name"]),
        (&["127.0.0.1:1/x", "--plugins", &nowhere], &["no such folder", "--plugins"]),
        (&["127.0.0.1:1/x", "--username", "u"], &["WATCHKEEPER_REGISTRY_PASSWORD"]),
    ];
    let mut complaints = Complaints::default();
    for (arguments, words) in table {
        let ran = site.run(&[&["plugin", "pull"], arguments].concat());
        complaints.unless(ran.code == Some(2), || format!("{arguments:?}: {}", ran.said()));
        complaints.unless_named(&arguments.join(" "), &ran.stderr, words);
    }
    let ran = site.run(&["plugin", "pull", &format!("{nobody}/x")]);
    complaints.unless_named(
        "nobody there",
        &ran.stderr,
        &[&nobody, "can't be reached", "refused", "speak http"],
    );
}

#[test]
fn a_registry_that_wants_a_password_gets_it_from_wherever_it_is() {
    let Some(registry) = registry(&Security::Password) else { return };
    let docker = tempfile::tempdir().unwrap();
    let address = registry.address.to_string();
    let setup = || Setup::without_sources().env("DOCKER_CONFIG", docker.path().to_str().unwrap());
    let site = setup().prepare();
    let reference = registry.reference("acme/prometheus:1");
    let file = plugin_file("prometheus");
    let mut complaints = Complaints::default();

    let ran = site.run(&["plugin", "push", file.to_str().unwrap(), &reference]);
    complaints.unless(ran.code == Some(2), || ran.said());
    let advice = format!("docker login {address}");
    complaints.unless_named("nobody", &ran.stderr, &["wants credentials", &advice, "--username"]);

    let by_variable = |password: &str| setup().env("WATCHKEEPER_REGISTRY_PASSWORD", password).prepare();
    let ran = by_variable("wrong").run(&["plugin", "pull", &reference, "--username", "user"]);
    complaints.unless(ran.code == Some(2), || ran.said());
    complaints.unless_named("wrong", &ran.stderr, &["refuses the credentials", &advice]);
    complaints.unless(!ran.said().contains("wrong"), || format!("says the password: {}", ran.said()));
    let push = ["plugin", "push", file.to_str().unwrap(), &reference, "--username", "user"];
    by_variable("let-me-in").run(&push).well();

    let pull = ["plugin", "pull", &reference, "--username", "user", "--password-stdin"];
    site.run_with(&pull, b"let-me-in\n").well();

    // `user:let-me-in` in base64.
    let login = json!({ "auths": { address.clone(): { "auth": "dXNlcjpsZXQtbWUtaW4=" } } });
    let config = docker.path().join("config.json");
    std::fs::write(&config, login.to_string()).unwrap();
    site.run(&["plugin", "pull", &reference, "--name", "by-docker"]).well();

    std::fs::write(&config, json!({ "auths": { address: {} }, "credsStore": "pass" }).to_string()).unwrap();
    let ran = site.run(&["plugin", "pull", &reference]);
    complaints.unless_named("helper", &ran.stderr, &["wants credentials", "`pass`", "isn't asked"]);
    std::fs::write(&config, "{").unwrap();
    let ran = site.run(&["plugin", "pull", &reference]);
    complaints.unless_named("broken", &ran.stderr, &["config.json", "no configuration of Docker"]);
    assert_eq!(in_folder(&site), ["by-docker.wasm", "prometheus.wasm"]);
}

#[test]
fn over_tls_the_systems_authorities_decide() {
    let Some(openssl) = require("openssl", "openssl") else { return };
    let Some(registry) = registry(&Security::Tls { openssl: &openssl }) else { return };
    let trusting = Setup::new().env("SSL_CERT_FILE", registry.certificate().to_str().unwrap()).prepare();
    let reference = format!("https://{}", registry.reference("acme/prometheus:1"));
    let file = plugin_file("memory");
    trusting.run(&["plugin", "push", file.to_str().unwrap(), &reference]).well();
    trusting.run(&["plugin", "pull", &reference, "--name", "memory"]).well();
    assert_eq!(in_folder(&trusting), ["memory.wasm", "prometheus.wasm"]);

    let ran = Setup::new().prepare().run(&["plugin", "pull", &reference, "--insecure-http"]);
    assert_eq!(ran.code, Some(2), "{}", ran.said());
    let mut complaints = Complaints::default();
    complaints.unless_named("not trusted", &ran.stderr, &["can't be reached", "certificate"]);
}

/// A registry that does as the test says: path and head in; status, headers and body out.
struct Fake {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
}

type Answering = dyn Fn(&str, &str) -> (u16, String, Vec<u8>) + Send + Sync;

impl Fake {
    /// Listens until the test's process ends.
    fn start(make: impl FnOnce(SocketAddr) -> Box<Answering>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (answer, asked) = (make(address), Arc::new(Mutex::new(Vec::new())));
        let heads = asked.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                serve(stream.unwrap(), &*answer, &heads);
            }
        });
        Self { address, asked }
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

fn serve(mut stream: TcpStream, answer: &Answering, heads: &Mutex<Vec<String>>) {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|read| read == 1) {
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).to_ascii_lowercase();
    let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
    heads.lock().unwrap().push(head.clone());
    let (status, headers, body) = answer(&path, &head);
    let _ = write!(stream, "HTTP/1.1 {status} X\r\nconnection: close\r\n{headers}\r\n");
    // Whoever has had enough hangs up.
    let _ = stream.write_all(&body);
}

fn manifest_of(layer: &[u8]) -> Vec<u8> {
    let config =
        json!({ "mediaType": "application/vnd.wasm.config.v0+json", "digest": digest(b"{}"), "size": 2 });
    let layer = json!({ "mediaType": "application/wasm", "digest": digest(layer), "size": layer.len() });
    json!({ "schemaVersion": 2, "config": config, "layers": [layer] }).to_string().into_bytes()
}

/// As the public registries do: a token for everybody from elsewhere, and blobs from elsewhere again.
#[test]
fn tokens_are_fetched_and_shown_to_the_registry_alone() {
    let bytes = plugin("prometheus");
    let elsewhere = {
        let bytes = bytes.clone();
        Fake::start(move |_| Box::new(move |_, _| (200, String::new(), bytes.clone())))
    };
    let storage = elsewhere.address;
    let registry = Fake::start(move |address| {
        let challenge = format!(
            "www-authenticate: Bearer realm=\"http://{address}/token\",service=\"s\",scope=\"repository:x:pull\"\r\n"
        );
        Box::new(move |path, head| match path {
            _ if path.starts_with("/token?") => (200, String::new(), br#"{"token": "t0ken"}"#.to_vec()),
            _ if !head.contains("authorization: bearer t0ken\r\n") => (401, challenge.clone(), Vec::new()),
            "/v2/x/manifests/1" => (200, String::new(), manifest_of(&bytes)),
            _ => (307, format!("location: http://{storage}/blob\r\n"), Vec::new()),
        })
    });
    let site = Setup::without_sources().env("WATCHKEEPER_REGISTRY_PASSWORD", "p").prepare();
    let reference = format!("{}/x:1", registry.address);
    site.run(&["plugin", "pull", &reference, "--username", "u"]).well();
    let asked = registry.asked();
    let token = asked.iter().find(|head| head.contains("/token?")).unwrap();
    assert!(token.contains("service=s&scope=repository%3ax%3apull"), "{token}");
    assert!(token.contains("authorization: basic dtpw\r\n"), "u:p in base64, in lower case: {token}");
    let blob = elsewhere.asked();
    assert_eq!(blob.len(), 1, "{blob:?}");
    assert!(!blob[0].contains("authorization"), "the token went elsewhere: {}", blob[0]);
}

/// A server that the registry sends on to may not ask for the credentials.
#[test]
fn only_the_registry_itself_may_ask_who_is_there() {
    let thief = Fake::start(|address| {
        let challenge =
            format!("www-authenticate: Bearer realm=\"http://{address}/token\",service=\"s\"\r\n");
        Box::new(move |_, _| (401, challenge.clone(), Vec::new()))
    });
    let storage = thief.address;
    let registry = Fake::start(move |_| {
        Box::new(move |_, _| (307, format!("location: http://{storage}/blob\r\n"), Vec::new()))
    });
    let site = Setup::without_sources().env("WATCHKEEPER_REGISTRY_PASSWORD", "p").prepare();
    let ran = site.run(&["plugin", "pull", &format!("{}/x:1", registry.address), "--username", "u"]);
    assert_eq!(ran.code, Some(2), "{}", ran.said());
    let asked = thief.asked();
    assert_eq!(asked.len(), 1, "{asked:?}");
    assert!(!asked[0].contains("authorization"), "{asked:?}");
}

#[test]
fn a_registry_that_means_harm_gets_nothing_and_fills_nothing() {
    let bytes = plugin("prometheus");
    let endless = || vec![b' '; 8 << 20];
    let of = |answer: Box<Answering>| Fake::start(|_| answer);
    let to = |status: u16, header: &str| {
        let header = format!("{header}\r\n");
        of(Box::new(move |_, _| (status, header.clone(), Vec::new())))
    };
    let manifest = manifest_of(&bytes);
    let long_blob = of(Box::new(move |path, _| match path {
        "/v2/x/manifests/latest" => (200, String::new(), manifest.clone()),
        _ => (200, String::new(), endless()),
    }));
    let table: [(&str, Fake, &[&str]); 8] = [
        ("endless manifest", of(Box::new(move |_, _| (200, String::new(), endless()))), &["4194304 bytes"]),
        ("endless blob", long_blob, &[&format!("more than {} bytes", bytes.len())]),
        (
            "no manifest",
            of(Box::new(|_, _| (200, String::new(), b"<html>".to_vec()))),
            &["manifest can't be read"],
        ),
        (
            "other digest",
            of(Box::new(|_, _| {
                (200, format!("docker-content-digest: {}\r\n", digest(b"x")), b"{}".to_vec())
            })),
            &["isn't what its digest says"],
        ),
        (
            "token server in the clear",
            to(401, "www-authenticate: Bearer realm=\"http://192.0.2.1/token\",service=\"s\""),
            &["http://192.0.2.1/token", "plain HTTP", "--insecure-http"],
        ),
        ("sends into the clear", to(307, "location: http://192.0.2.1/x"), &["redirects to plain HTTP"]),
        ("sends in a circle", to(307, "location: /v2/x/manifests/latest"), &["too many redirects"]),
        (
            "says escapes",
            of(Box::new(|_, _| {
                (500, String::new(), br#"{"errors": [{"message": "\u001b[2Jgone"}]}"#.to_vec())
            })),
            &["500", "[2Jgone"],
        ),
    ];
    let mut complaints = Complaints::default();
    for (row, fake, words) in table {
        let site = Setup::without_sources().prepare();
        let ran = site.run(&["plugin", "pull", &format!("{}/x", fake.address)]);
        complaints.unless(ran.code == Some(2), || format!("{row}: {}", ran.said()));
        complaints.unless_named(row, &ran.stderr, words);
        complaints
            .unless(!ran.stderr.contains('\u{1b}'), || format!("{row} writes escapes: {:?}", ran.stderr));
        complaints.unless(in_folder(&site).is_empty(), || format!("{row} left {:?}", in_folder(&site)));
    }
}

#[test]
fn what_isnt_trusted_yet_is_pulled_and_said() {
    let Some(registry) = registry(&Security::Open) else { return };
    registry.push("prometheus", "1", &Layout::wasm(plugin("prometheus")));
    let site = Setup::without_sources().config("watchkeeper.yaml", "plugins: { locked: true }\n").prepare();
    let pull = ["plugin", "pull", &registry.reference("prometheus:1"), "--json"];
    let note = site.run(&pull).well().json()["note"].as_str().unwrap().to_owned();
    assert!(note.starts_with("isn't pinned") && note.contains("`watchkeeper plugin lock`"), "{note}");
    site.run(&["plugin", "lock"]).well();
    assert_eq!(site.run(&pull).well().json()["note"], Value::Null);
}
