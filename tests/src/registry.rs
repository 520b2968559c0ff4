//! A real OCI registry, and artifacts pushed to it by the plain requests of the distribution specification.

use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;

use reqwest::blocking::Client;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::http::client;
use crate::process::{Process, free_address};
use crate::wait::{PATIENCE, wait};

/// As registries and lock files write it.
pub fn digest(bytes: &[u8]) -> String {
    let hex: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

/// What a registry asks of those who come.
pub enum Security<'a> {
    Open,
    /// `user` and `let-me-in`.
    Password,
    /// TLS, with a certificate that this program makes, and that nobody knows.
    Tls {
        openssl: &'a Path,
    },
}

/// bcrypt, which is the one hash that the registry takes.
const USERS: &str = "user:$2y$05$abcdefghijklmnopqrstuu3Jd./u/rH1RxB6auX5v7gLP6uWhKCgG\n";

const CERTIFICATE: &str = "certificate.pem";
const KEY: &str = "key.pem";

pub struct Registry {
    _process: Process,
    folder: TempDir,
    pub address: SocketAddr,
    client: Client,
}

/// Of an artifact: what can be wrong with it.
pub struct Layout {
    pub manifest: &'static str,
    pub config: &'static str,
    pub layer: &'static str,
    pub layers: Vec<Vec<u8>>,
    /// What the manifest says of a layer's size, if not the truth.
    pub size: Option<u64>,
}

impl Layout {
    /// The Wasm layout, as it should be.
    pub fn wasm(bytes: impl Into<Vec<u8>>) -> Self {
        Self {
            manifest: "application/vnd.oci.image.manifest.v1+json",
            config: "application/vnd.wasm.config.v0+json",
            layer: "application/wasm",
            layers: vec![bytes.into()],
            size: None,
        }
    }
}

impl Registry {
    /// `program` is what [`crate::require`] found.
    pub fn start(program: &Path, security: &Security<'_>) -> Self {
        let folder = tempfile::Builder::new().prefix("registry-test-").tempdir().unwrap();
        let address = free_address();
        let file = folder.path().join("config.yml");
        std::fs::write(&file, configuration(folder.path(), address, security)).unwrap();
        std::fs::write(folder.path().join("users"), USERS).unwrap();
        if let Security::Tls { openssl } = security {
            certify(openssl, folder.path(), address);
        }
        let mut command = Command::new(program);
        command.arg("serve").arg(&file).current_dir(folder.path());
        let process = Process::start(&mut command, &folder.path().join("registry.log"));
        wait("the registry listens", PATIENCE, || TcpStream::connect(address).ok());
        Self { _process: process, folder, address, client: client() }
    }

    /// The file of its own certificate.
    pub fn certificate(&self) -> PathBuf {
        self.folder.path().join(CERTIFICATE)
    }

    /// `HOST:PORT/REPOSITORY` and what is behind it.
    pub fn reference(&self, rest: &str) -> String {
        format!("{}/{rest}", self.address)
    }

    fn url(&self, rest: &str) -> String {
        format!("http://{}/v2/{rest}", self.address)
    }

    /// Pushes, and says the manifest's digest.
    pub fn push(&self, repository: &str, tag: &str, layout: &Layout) -> String {
        let config = json!({ "architecture": "wasm", "os": "wasip2" }).to_string().into_bytes();
        self.push_blob(repository, &config);
        let layer = |bytes: &Vec<u8>| {
            let digest = self.push_blob(repository, bytes);
            let size = layout.size.unwrap_or(bytes.len() as u64);
            json!({ "mediaType": layout.layer, "digest": digest, "size": size })
        };
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": layout.manifest,
            "config": { "mediaType": layout.config, "digest": digest(&config), "size": config.len() },
            "layers": layout.layers.iter().map(layer).collect::<Vec<_>>(),
        });
        self.push_manifest(repository, tag, layout.manifest, &manifest)
    }

    pub fn push_manifest(&self, repository: &str, tag: &str, kind: &str, manifest: &Value) -> String {
        let body = manifest.to_string();
        let request = self.client.put(self.url(&format!("{repository}/manifests/{tag}")));
        let answer = request.header("content-type", kind).body(body.clone()).send().unwrap();
        assert_eq!(answer.status(), 201, "{}", answer.text().unwrap());
        digest(body.as_bytes())
    }

    fn push_blob(&self, repository: &str, bytes: &[u8]) -> String {
        let begun = self.client.post(self.url(&format!("{repository}/blobs/uploads/"))).send().unwrap();
        assert_eq!(begun.status(), 202);
        let location = begun.headers()["location"].to_str().unwrap();
        let digest = digest(bytes);
        let sign = if location.contains('?') { '&' } else { '?' };
        let request = self.client.put(format!("{location}{sign}digest={digest}"));
        let answer = request.header("content-type", "application/octet-stream").body(bytes.to_vec());
        assert_eq!(answer.send().unwrap().status(), 201);
        digest
    }

    /// The file in which the registry keeps a blob, for tests that harm it.
    pub fn blob_file(&self, digest: &str) -> PathBuf {
        let hex = digest.strip_prefix("sha256:").unwrap();
        let blobs = self.folder.path().join("data/docker/registry/v2/blobs/sha256");
        blobs.join(&hex[..2]).join(hex).join("data")
    }
}

fn configuration(folder: &Path, address: SocketAddr, security: &Security<'_>) -> String {
    let security = match security {
        Security::Open => json!({}),
        Security::Password => {
            json!({ "auth": { "htpasswd": { "realm": "tests", "path": folder.join("users") } } })
        }
        Security::Tls { .. } => {
            let (certificate, key) = (folder.join(CERTIFICATE), folder.join(KEY));
            json!({ "http": { "tls": { "certificate": certificate, "key": key } } })
        }
    };
    // JSON is YAML.
    let mut all = json!({
        "version": "0.1",
        "log": { "level": "warn" },
        "storage": { "filesystem": { "rootdirectory": folder.join("data") } },
    });
    for (key, value) in security.as_object().unwrap() {
        all[key] = value.clone();
    }
    all["http"]["addr"] = json!(address.to_string());
    all.to_string()
}

/// A certificate for the address, signed by itself.
fn certify(openssl: &Path, folder: &Path, address: SocketAddr) {
    let mut command = Command::new(openssl);
    let output = command
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "2",
        ])
        .args(["-subj", "/CN=registry", "-addext", "basicConstraints=critical,CA:FALSE"])
        .args(["-addext", &format!("subjectAltName=IP:{}", address.ip())])
        .args(["-out", CERTIFICATE, "-keyout", KEY])
        .current_dir(folder)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
