//! OCI registries, by the distribution specification: a plugin is an artifact of the Wasm layout, which has one manifest,
//! one config and one layer, the component (https://tag-runtime.cncf.io/wgs/wasm/deliverables/wasm-oci-artifact/).
//!
//! A registry is nobody's friend: whatever it sends is bounded, and is what its digest says, or is refused. Credentials go
//! out over TLS alone, except to this machine or where the caller takes the blame.

use std::cell::RefCell;
use std::io::Read;
use std::time::{Duration, Instant};

use reqwest::blocking::{Client, RequestBuilder, Response};
use reqwest::{Method, StatusCode, Url, redirect};
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::auth::{Challenge, Credentials};
use super::reference::{Reference, Version, is_digest, is_loopback};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.wasm.config.v0+json";
const LAYER: &str = "application/wasm";

/// Asked for, too, so that what isn't ours is named, rather than not found.
const OTHERS: &str = "application/vnd.oci.image.index.v1+json, application/vnd.docker.distribution.manifest.v2+json, \
                      application/vnd.docker.distribution.manifest.list.v2+json";

/// As the plugins' loader has it.
const MAX_PLUGIN: u64 = 256 << 20;

/// What the distribution specification has registries take at least.
const MAX_MANIFEST: u64 = 4 << 20;

/// Of tokens and of errors.
const MAX_ANSWER: u64 = 64 << 10;

const MAX_REDIRECTS: usize = 5;

/// For one answer's beginning, or a read of its body.
const PATIENCE: Duration = Duration::from_secs(30);

/// For everything.
const DEADLINE: Duration = Duration::from_secs(600);

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "{url}: can't be reached: {reason}; is the registry's address right, and does it speak {scheme}?"
    )]
    Unreachable { url: String, reason: String, scheme: String },
    #[error(
        "{registry}: {reason}; `docker login {registry}`, or give --username and WATCHKEEPER_REGISTRY_PASSWORD"
    )]
    Unauthorized { registry: String, reason: String },
    #[error("{reference}: there is no such artifact: the registry says: {reason}")]
    NotFound { reference: String, reason: String },
    #[error("{reference}: is no plugin: {reason}; `watchkeeper plugin push` and `wkg oci push` make one")]
    NotWasm { reference: String, reason: String },
    #[error(
        "{what}: isn't what its digest says: it has {found}, and should have {wanted}; it was changed or cut off"
    )]
    Digest { what: String, wanted: String, found: String },
    #[error("{what}: has more than {limit} bytes, which is the most that is taken")]
    TooLarge { what: String, limit: u64 },
    #[error("{url}: plain HTTP, which is spoken to this machine alone; --insecure-http allows it")]
    Plain { url: String },
    #[error("{url}: {reason}")]
    Protocol { url: String, reason: String },
}

type Result<T> = std::result::Result<T, Error>;

/// A plugin, as it was fetched.
pub struct Artifact {
    pub manifest_digest: String,
    /// `sha256:…` of the bytes.
    pub digest: String,
    pub bytes: Vec<u8>,
}

/// What was pushed.
pub struct Pushed {
    pub manifest_digest: String,
    pub digest: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Manifest {
    media_type: Option<String>,
    config: Option<Descriptor>,
    #[serde(default)]
    layers: Vec<Descriptor>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    media_type: String,
    digest: String,
    size: u64,
}

/// One repository of a registry.
pub struct Oci {
    client: Client,
    reference: Reference,
    /// Ends with `/v2/REPOSITORY/`.
    base: Url,
    insecure: bool,
    credentials: Option<Credentials>,
    authorization: RefCell<Authorization>,
    until: Instant,
}

/// Adds headers and a body.
type Complete<'a> = dyn Fn(RequestBuilder) -> RequestBuilder + 'a;

fn plainly(request: RequestBuilder) -> RequestBuilder {
    request
}

/// What requests show, once the registry has said what it wants.
enum Authorization {
    None,
    Basic,
    Bearer(String),
}

impl Oci {
    /// `insecure` allows plain HTTP, and is what is spoken then.
    pub fn new(reference: &Reference, credentials: Option<Credentials>, insecure: bool) -> Result<Self> {
        let loopback = reference.is_loopback();
        let scheme = if !reference.wants_tls() && (loopback || insecure) { "http" } else { "https" };
        let url = format!("{scheme}://{}/v2/{}/", reference.host(), reference.repository);
        let wrong = |reason: String| Error::Protocol { url: url.clone(), reason };
        let base = Url::parse(&url).map_err(|error| wrong(error.to_string()))?;
        let mut builder = Client::builder()
            .user_agent(concat!("watchkeeper/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(PATIENCE)
            .timeout(PATIENCE)
            .redirect(redirect::Policy::custom(move |attempt| follow(attempt, insecure)));
        if loopback {
            builder = builder.no_proxy();
        }
        if scheme == "http" {
            // Nobody's certificate is asked for, so a machine without any does.
            builder = builder.tls_certs_only([]);
        }
        let client = builder.build().map_err(|error| wrong(chain(&error)))?;
        Ok(Self {
            client,
            reference: reference.clone(),
            base,
            insecure,
            credentials,
            authorization: RefCell::new(Authorization::None),
            until: Instant::now() + DEADLINE,
        })
    }

    pub fn pull(&self) -> Result<Artifact> {
        let (manifest, manifest_digest) = self.manifest()?;
        let layer = self.layer(manifest)?;
        let what = format!("{}, layer {}", self.reference, layer.digest);
        if layer.size > MAX_PLUGIN {
            return Err(Error::TooLarge { what, limit: MAX_PLUGIN });
        }
        let url = self.url(&format!("blobs/{}", layer.digest))?;
        let response = self.good(self.send(Method::GET, &url, &plainly)?)?;
        // The manifest's size holds, so that a registry can't send more than was announced.
        let bytes = self.read(response, layer.size, &what)?;
        let found = digest(&bytes);
        if found != layer.digest {
            return Err(Error::Digest { what, wanted: layer.digest, found });
        }
        Ok(Artifact { manifest_digest, digest: found, bytes })
    }

    fn manifest(&self) -> Result<(Manifest, String)> {
        let url = self.url(&format!("manifests/{}", self.reference.version))?;
        let accept = format!("{MANIFEST}, {OTHERS}");
        let request = |request: RequestBuilder| request.header("accept", &accept);
        let response = self.good(self.send(Method::GET, &url, &request)?)?;
        let announced = header(&response, "docker-content-digest");
        let what = format!("{}, manifest", self.reference);
        let bytes = self.read(response, MAX_MANIFEST, &what)?;
        let found = digest(&bytes);
        let wanted = match &self.reference.version {
            Version::Digest(wanted) => Some(wanted.clone()),
            Version::Tag(_) => announced.filter(|announced| announced.starts_with("sha256:")),
        };
        if let Some(wanted) = wanted.filter(|wanted| *wanted != found) {
            return Err(Error::Digest { what, wanted, found });
        }
        let manifest = serde_json::from_slice(&bytes)
            .map_err(|error| self.not_wasm(format!("its manifest can't be read: {error}")))?;
        Ok((manifest, found))
    }

    /// The one layer of an artifact of the Wasm layout.
    fn layer(&self, mut manifest: Manifest) -> Result<Descriptor> {
        let kind = manifest.media_type.as_deref().unwrap_or(MANIFEST);
        if kind != MANIFEST {
            return Err(self.not_wasm(format!("it is `{kind}`, not `{MANIFEST}`")));
        }
        let config = manifest.config.as_ref().map_or("none", |config| &config.media_type);
        if config != CONFIG {
            return Err(self.not_wasm(format!("its config is `{config}`, not `{CONFIG}`")));
        }
        let count = manifest.layers.len();
        let layer = manifest.layers.pop().filter(|_| count == 1);
        let layer = layer.ok_or_else(|| self.not_wasm(format!("it has {count} layers, not one")))?;
        if layer.media_type != LAYER {
            return Err(self.not_wasm(format!("its layer is `{}`, not `{LAYER}`", layer.media_type)));
        }
        if !is_digest(&layer.digest) {
            return Err(self.not_wasm(format!("its layer's digest is `{}`, not of SHA-256", layer.digest)));
        }
        Ok(layer)
    }

    fn not_wasm(&self, reason: String) -> Error {
        Error::NotWasm { reference: self.reference.to_string(), reason }
    }

    /// A component, with the names of what it exports and imports.
    pub fn push(&self, bytes: &[u8], exports: &[String], imports: &[String]) -> Result<Pushed> {
        let Version::Tag(tag) = &self.reference.version else {
            let reason = "a digest can't be chosen: name a tag to push to".into();
            return Err(Error::Protocol { url: self.reference.to_string(), reason });
        };
        let layer = digest(bytes);
        let component = json!({ "exports": exports, "imports": imports });
        let config = json!({ "architecture": "wasm", "os": "wasip2", "layerDigests": [layer], "component": component });
        let config = config.to_string().into_bytes();
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": descriptor(CONFIG, &config),
            "layers": [descriptor(LAYER, bytes)],
        });
        self.push_blob(bytes)?;
        self.push_blob(&config)?;
        let manifest = manifest.to_string().into_bytes();
        let url = self.url(&format!("manifests/{tag}"))?;
        let request =
            |request: RequestBuilder| request.header("content-type", MANIFEST).body(manifest.clone());
        self.good(self.send(Method::PUT, &url, &request)?)?;
        Ok(Pushed { manifest_digest: digest(&manifest), digest: layer })
    }

    fn push_blob(&self, bytes: &[u8]) -> Result<()> {
        let digest = digest(bytes);
        let there = self.send(Method::HEAD, &self.url(&format!("blobs/{digest}"))?, &plainly)?;
        if there.status().is_success() {
            return Ok(());
        }
        let begun = self.good(self.send(Method::POST, &self.url("blobs/uploads/")?, &plainly)?)?;
        let location = header(&begun, "location").and_then(|location| begun.url().join(&location).ok());
        let mut location = location.ok_or_else(|| Error::Protocol {
            url: begun.url().to_string(),
            reason: "the registry doesn't say where to upload to".into(),
        })?;
        location.query_pairs_mut().append_pair("digest", &digest);
        let request = |request: RequestBuilder| {
            let request = request.timeout(DEADLINE).header("content-type", "application/octet-stream");
            request.body(bytes.to_vec())
        };
        self.good(self.send(Method::PUT, &location, &request)?).map(drop)
    }

    fn url(&self, path: &str) -> Result<Url> {
        let wrong =
            |error| Error::Protocol { url: self.base.to_string(), reason: format!("{path}: {error}") };
        // A relative path with a colon in its first part would be read as a scheme.
        self.base.join(&format!("./{path}")).map_err(wrong)
    }

    /// Once as it is; once more as the registry wants it, if it asks who is there.
    fn send(&self, method: Method, url: &Url, complete: &Complete<'_>) -> Result<Response> {
        let response = self.send_once(method.clone(), url, complete)?;
        // Another server, where a redirect or an upload may lead, is told nothing, and asked for no token.
        if response.status() != StatusCode::UNAUTHORIZED || !self.is_ours(response.url()) {
            return Ok(response);
        }
        let challenge = header(&response, "www-authenticate").as_deref().and_then(Challenge::parse);
        let authorization = match challenge {
            Some(Challenge::Basic) if self.has_credentials() => Authorization::Basic,
            Some(Challenge::Bearer { realm, query }) => Authorization::Bearer(self.token(&realm, &query)?),
            Some(Challenge::Basic) | None => return Err(self.unauthorized("wants credentials")),
        };
        *self.authorization.borrow_mut() = authorization;
        let response = self.send_once(method, url, complete)?;
        if matches!(response.status(), StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
            let reason = if self.has_credentials() { "refuses the credentials" } else { "wants credentials" };
            return Err(self.unauthorized(reason));
        }
        Ok(response)
    }

    fn send_once(&self, method: Method, url: &Url, complete: &Complete<'_>) -> Result<Response> {
        self.check_plain(url)?;
        let request = complete(self.client.request(method, url.clone()));
        let request = match &*self.authorization.borrow() {
            _ if !self.is_ours(url) => request,
            Authorization::None => request,
            Authorization::Bearer(token) => request.bearer_auth(token),
            Authorization::Basic => self.with_credentials(request),
        };
        request.send().map_err(|error| {
            let url = error.url().unwrap_or(url).clone();
            let scheme = url.scheme().to_owned();
            Error::Unreachable { url: url.to_string(), reason: chain(&error.without_url()), scheme }
        })
    }

    fn is_ours(&self, url: &Url) -> bool {
        url.origin() == self.base.origin()
    }

    fn check_plain(&self, url: &Url) -> Result<()> {
        match may_ask(url, self.insecure) {
            true => Ok(()),
            false => Err(Error::Plain { url: url.to_string() }),
        }
    }

    fn has_credentials(&self) -> bool {
        matches!(self.credentials, Some(Credentials::Password { .. } | Credentials::Encoded(_)))
    }

    fn with_credentials(&self, request: RequestBuilder) -> RequestBuilder {
        match &self.credentials {
            Some(credentials) => credentials.add_to(request),
            None => request,
        }
    }

    fn unauthorized(&self, reason: &str) -> Error {
        let helper = match &self.credentials {
            Some(Credentials::Helper(helper)) => {
                format!(" (Docker keeps them with `{helper}`, which isn't asked)")
            }
            _ => String::new(),
        };
        Error::Unauthorized {
            registry: self.reference.registry.clone(),
            reason: format!("the registry {reason} for {}{helper}", self.reference.repository),
        }
    }

    /// Of the server that the registry names; for everybody, where there are no credentials.
    fn token(&self, realm: &str, query: &[(String, String)]) -> Result<String> {
        let wrong = |reason: String| Error::Protocol { url: realm.to_owned(), reason };
        let mut url =
            Url::parse(realm).map_err(|error| wrong(format!("the registry's token server: {error}")))?;
        self.check_plain(&url)?;
        url.query_pairs_mut().extend_pairs(query);
        let sent = self.with_credentials(self.client.get(url)).send();
        let response =
            sent.map_err(|error| wrong(format!("the token server: {}", chain(&error.without_url()))))?;
        match response.status() {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                return Err(self.unauthorized("(its token server) refuses the credentials"));
            }
            status if !status.is_success() => {
                return Err(wrong(format!("the token server answers {status}")));
            }
            _ => {}
        }
        let bytes = self.read(response, MAX_ANSWER, realm)?;
        let answer: Value = serde_json::from_slice(&bytes).unwrap_or_default();
        let token = answer["token"].as_str().or(answer["access_token"].as_str());
        token.map(str::to_owned).ok_or_else(|| wrong("the token server answers without a token".into()))
    }

    /// A success, or what the registry says instead.
    fn good(&self, response: Response) -> Result<Response> {
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let url = response.url().to_string();
        let said = said(&self.read(response, MAX_ANSWER, "the registry's error").unwrap_or_default());
        let reason = said.unwrap_or_else(|| status.to_string());
        Err(match status {
            StatusCode::NOT_FOUND => Error::NotFound { reference: self.reference.to_string(), reason },
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => self.unauthorized("refuses what is asked"),
            _ => Error::Protocol { url, reason: format!("the registry answers {status}: {reason}") },
        })
    }

    fn read(&self, mut response: Response, limit: u64, what: &str) -> Result<Vec<u8>> {
        let url = response.url().to_string();
        let cut = |reason: String| Error::Protocol { url: url.clone(), reason };
        let mut bytes = Vec::new();
        let mut part = vec![0; 64 << 10];
        loop {
            let read =
                response.read(&mut part).map_err(|error| cut(format!("broke off: {}", chain(&error))))?;
            if read == 0 {
                return Ok(bytes);
            }
            bytes.extend_from_slice(&part[..read]);
            if bytes.len() as u64 > limit {
                return Err(Error::TooLarge { what: what.to_owned(), limit });
            }
            if Instant::now() > self.until {
                return Err(cut(format!("is not done after {} s", DEADLINE.as_secs())));
            }
        }
    }
}

/// Registries send what they keep elsewhere by a redirect; the client takes credentials off it then.
fn follow(attempt: redirect::Attempt<'_>, insecure: bool) -> redirect::Action {
    if attempt.previous().len() > MAX_REDIRECTS {
        return attempt.error("too many redirects");
    }
    match may_ask(attempt.url(), insecure) {
        true => attempt.follow(),
        false => attempt.error("redirects to plain HTTP, which isn't allowed"),
    }
}

fn may_ask(url: &Url, insecure: bool) -> bool {
    url.scheme() == "https"
        || (url.scheme() == "http" && (insecure || url.host_str().is_some_and(is_loopback)))
}

fn digest(bytes: &[u8]) -> String {
    let hex: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

fn descriptor(kind: &str, bytes: &[u8]) -> Value {
    json!({ "mediaType": kind, "digest": digest(bytes), "size": bytes.len() })
}

fn header(response: &Response, name: &str) -> Option<String> {
    response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
}

/// The messages of the specification's error body.
fn said(body: &[u8]) -> Option<String> {
    let body: Value = serde_json::from_slice(body).ok()?;
    let messages: Vec<&str> =
        body["errors"].as_array()?.iter().filter_map(|error| error["message"].as_str()).collect();
    (!messages.is_empty()).then(|| messages.join(", "))
}

/// An error with its causes: the client's own first line says next to nothing.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}
