//! Outgoing HTTP, and the edge where secrets are put in.
//!
//! Invariant: a request leaves only where the plugin asked for the place and the source's file grants it; to an address
//! that was resolved once, checked, and is the one that is connected to; not to loopback, link-local or private ranges,
//! unless the operator granted that very address. Redirects aren't followed: a guest that follows one is checked again.
//! Invariant: a secret's value is in the request's headers and nowhere else: neither in the guest's memory, nor, should a
//! server send it back, in the response that the guest reads.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use aho_corasick::{AhoCorasick, MatchKind};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, header};
use http_body_util::{BodyExt, Full};
use reqwest::Client;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::sync::Semaphore;
use wasmtime::component::{Linker, LinkerInstance, Resource};
use wasmtime_wasi_http::p2::HeaderResult;
use wasmtime_wasi_http::p2::bindings::http::types::{
    Fields, HeaderError, HostFields, HostOutgoingRequest, Method, OutgoingRequest,
};
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpHooks, WasiHttpView};
use watchkeeper_domain::redact;

use crate::addresses::is_public;
use crate::asks::{HostRule, Scheme, Target};
use crate::guest::{FIELDS, Guest};
use crate::loader::Turns;
use crate::memory::{self, Room, Share};

/// The largest body of a request or a response.
const MAX_BODY: usize = 16 << 20;

/// Bodies of all requests and responses together that one instance makes the host hold.
const MAX_HELD: usize = 64 << 20;

/// Requests under way in one instance, and in one call.
const MAX_AT_ONCE: usize = 16;
const MAX_A_CALL: usize = 256;

/// What is held of a request's body until it is sent, in each of two pieces; nobody sends it before the guest says so.
const CHUNK: usize = 16 << 10;

/// The longest method, authority and path of a request: it is held for as long as the guest likes.
const MAX_METHOD: usize = 64;
const MAX_AUTHORITY: usize = 1 << 10;
const MAX_PATH: usize = 16 << 10;

/// Names of one source that are resolved at once. There is no stopping it, and each takes a thread until its name server answers.
pub(crate) const RESOLVING: usize = 4;

/// What is told of one refused request.
const MAX_TOLD: usize = 1 << 10;

/// A larger body is looked through on a thread that may compute.
const SMALL: usize = 64 << 10;

/// How long a connection waits for the next request, and how many of one host do.
const KEPT: Duration = Duration::from_secs(30);
const KEPT_OF_A_HOST: usize = 2;

const CONNECT: Duration = Duration::from_secs(10);

/// What the host sets itself, or what belongs to one connection. A guest that sets these could make two parties read
/// one request as two.
const OURS: [HeaderName; 5] =
    [header::CONTENT_LENGTH, header::HOST, header::TE, header::TRAILER, header::EXPECT];

/// Placeholders, and the values that stand for them at the edge.
#[derive(Clone, Default)]
pub struct Secrets(BTreeMap<String, String>);

impl Secrets {
    pub fn new(values: impl IntoIterator<Item = (String, String)>) -> Self {
        Self(values.into_iter().filter(|(_, value)| !value.is_empty()).collect())
    }

    /// `text` with its placeholders replaced.
    pub fn put_into(&self, text: &str) -> String {
        self.reveal(text, &mut Vec::new()).unwrap_or_else(|| text.to_owned())
    }

    /// `text` with its placeholders replaced; which ones were, is added to `used`.
    fn reveal<'a>(&'a self, text: &str, used: &mut Vec<(&'a str, &'a str)>) -> Option<String> {
        let mut revealed = None;
        for (placeholder, value) in &self.0 {
            let text = revealed.as_deref().unwrap_or(text);
            if text.contains(placeholder) {
                revealed = Some(text.replace(placeholder, value));
                used.push((placeholder, value));
            }
        }
        revealed
    }
}

/// Names alone: values are never printed.
impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// What one plugin may send for one source.
#[derive(Debug, Default)]
pub(crate) struct Outgoing {
    /// `source x`, for messages.
    pub(crate) source: String,
    pub(crate) asked: Vec<HostRule>,
    pub(crate) granted: Vec<HostRule>,
    pub(crate) secrets: Secrets,
    pub(crate) mock: Option<Arc<dyn HttpMock>>,
    /// Connections of one source are never another's: what it may reach differs.
    client: OnceLock<Client>,
    /// What no answer may have in it, once there was one.
    hidden: OnceLock<Option<Hidden>>,
    pub(crate) names: Names,
}

/// Resolves names, a few at once: of one source, of its plugin, and of all.
#[derive(Clone, Debug)]
pub(crate) struct Names {
    source: Arc<Semaphore>,
    others: Turns,
}

impl Default for Names {
    fn default() -> Self {
        Self { source: Arc::new(Semaphore::new(RESOLVING)), others: Turns::default() }
    }
}

impl Names {
    pub(crate) async fn resolve(&self, name: &str) -> io::Result<Vec<SocketAddr>> {
        let of_source = self.source.clone().acquire_owned().await.map_err(io::Error::other)?;
        let turn = (of_source, self.others.clone().acquire_owned().await.map_err(io::Error::other)?);
        let name = name.to_owned();
        let resolving = tokio::task::spawn_blocking(move || {
            // Held until it is over, also where nobody waits for it any more.
            let _turn = turn;
            (name.as_str(), 0).to_socket_addrs().map(Iterator::collect)
        });
        resolving.await.map_err(io::Error::other)?
    }
}

/// Why a request did not leave.
#[derive(Debug, PartialEq)]
pub(crate) struct Denied(pub(crate) String);

impl Outgoing {
    pub(crate) fn new(
        source: String,
        asked: Vec<HostRule>,
        granted: Vec<HostRule>,
        secrets: Secrets,
        mock: Option<Arc<dyn HttpMock>>,
    ) -> Self {
        let (client, hidden, names) = (OnceLock::new(), OnceLock::new(), Names::default());
        Self { source, asked, granted, secrets, mock, client, hidden, names }
    }

    /// Whose turns it takes where it resolves names.
    pub(crate) fn resolving(mut self, others: Turns) -> Self {
        self.names.others = others;
        self
    }

    pub(crate) fn check(&self, target: &Target<'_>) -> Result<(), Denied> {
        let Target { scheme, host, port, method } = target;
        let place = format!("{method} {}://{host}:{port}", scheme.as_str());
        let place = place.trim_start();
        let allowed = |rules: &[HostRule]| rules.iter().any(|rule| rule.allows(target));
        if !allowed(&self.asked) {
            let list = if *scheme == Scheme::Tcp { "tcp" } else { "http" };
            return Err(Denied(format!(
                "{place} is not asked for by the plugin: declare it under `asks: {{ {list}: [...] }}` in its .yaml"
            )));
        }
        if !allowed(&self.granted) {
            return Err(Denied(format!(
                "{place} is not granted: add the host to `allow_hosts` of {}",
                self.source
            )));
        }
        match host.parse() {
            Ok(address) => self.check_address(address).map_err(|reason| Denied(format!("{place}: {reason}"))),
            Err(_) => Ok(()),
        }
    }

    pub(crate) fn check_address(&self, address: IpAddr) -> Result<(), String> {
        let granted = || self.granted.iter().any(|rule| rule.address() == Some(address));
        if is_public(address) || granted() {
            return Ok(());
        }
        Err(format!(
            "{address} is loopback, private or otherwise not public: grant that address itself in `allow_hosts` of {}",
            self.source
        ))
    }

    /// Connections that wait: none where one rule stands for any number of hosts.
    fn kept_of_a_host(&self) -> usize {
        if self.granted.iter().any(HostRule::is_of_many) { 0 } else { KEPT_OF_A_HOST }
    }

    fn client(self: &Arc<Self>) -> Result<Client, Error> {
        if let Some(client) = self.client.get() {
            return Ok(client.clone());
        }
        let client = Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .connect_timeout(CONNECT)
            .pool_max_idle_per_host(self.kept_of_a_host())
            .pool_idle_timeout(KEPT)
            .dns_resolver(Pinned {
                source: self.source.clone(),
                granted: self.granted.clone(),
                names: self.names.clone(),
            })
            .build()
            .map_err(|error| Error::InternalError(Some(error.to_string())))?;
        Ok(self.client.get_or_init(|| client).clone())
    }
}

/// Resolves once, and hands on only addresses that may be connected to; what it hands on is what is connected to.
struct Pinned {
    source: String,
    granted: Vec<HostRule>,
    names: Names,
}

impl Resolve for Pinned {
    fn resolve(&self, name: Name) -> Resolving {
        let (granted, source, names) = (self.granted.clone(), self.source.clone(), self.names.clone());
        Box::pin(async move {
            let found = names.resolve(name.as_str()).await?;
            let allowed = permitted(&found, &granted);
            if allowed.is_empty() {
                let reason = format!(
                    "{} resolves to no address that is public: grant the address itself in `allow_hosts` of {source}",
                    name.as_str()
                );
                return Err(reason.into());
            }
            Ok(Box::new(allowed.into_iter()) as Addrs)
        })
    }
}

fn permitted(found: &[SocketAddr], granted: &[HostRule]) -> Vec<SocketAddr> {
    let by_grant = |address: IpAddr| granted.iter().any(|rule| rule.address() == Some(address));
    found.iter().copied().filter(|address| is_public(address.ip()) || by_grant(address.ip())).collect()
}

/// `wasi:http`, through [`Hooks`]; a request is no place to keep things in.
pub(crate) fn link(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    wasmtime_wasi_http::p2::add_only_http_to_linker_sync(linker)?;
    linker.allow_shadowing(true);
    let mut types = linker.instance("wasi:http/types@0.2.12")?;
    type Request = Resource<OutgoingRequest>;
    types.func_wrap(
        "[method]outgoing-request.set-method",
        |mut guest, (request, method): (Request, Method)| {
            let fits = |name: &String| name.len() <= MAX_METHOD;
            Ok((match &method {
                Method::Other(name) if !fits(name) => Err(()),
                _ => guest.data_mut().in_time()?.http().set_method(request, method)?,
            },))
        },
    )?;
    types.func_wrap(
        "[method]outgoing-request.set-authority",
        |mut guest, (request, authority): (Request, Option<String>)| {
            Ok((match authority.as_ref().is_some_and(|name| name.len() > MAX_AUTHORITY) {
                true => Err(()),
                false => {
                    let bytes = authority.as_ref().map_or(0, String::len);
                    guest.data_mut().takes(bytes)?.http().set_authority(request, authority)?
                }
            },))
        },
    )?;
    types.func_wrap(
        "[method]outgoing-request.set-path-with-query",
        |mut guest, (request, path): (Request, Option<String>)| {
            Ok((match path.as_ref().is_some_and(|path| path.len() > MAX_PATH) {
                true => Err(()),
                false => {
                    let bytes = path.as_ref().map_or(0, String::len);
                    guest.data_mut().takes(bytes)?.http().set_path_with_query(request, path)?
                }
            },))
        },
    )?;
    types.func_wrap("[method]outgoing-request.body", |mut guest, (request,): (Request,)| {
        Ok((guest.data_mut().takes(2 * CHUNK)?.http().body(request)?,))
    })?;
    link_fields(&mut types)?;
    linker.allow_shadowing(false);
    Ok(())
}

/// As they are, but that whoever calls them past its deadline is ended: what a guest hands over is copied, as long as it is, and no
/// epoch ends a row of such calls.
fn link_fields(types: &mut LinkerInstance<'_, Guest>) -> wasmtime::Result<()> {
    type Pairs = Vec<(String, Vec<u8>)>;
    types.func_wrap("[static]fields.from-list", |mut guest, (pairs,): (Pairs,)| {
        let bytes = pairs.iter().map(|(name, value)| name.len() + value.len()).sum();
        Ok((told(guest.data_mut().takes(bytes)?.http().from_list(pairs))?,))
    })?;
    types.func_wrap("[method]fields.get", |mut guest, (fields, name): (Resource<Fields>, String)| {
        Ok((guest.data_mut().in_time()?.http().get(fields, name)?,))
    })?;
    types.func_wrap("[method]fields.has", |mut guest, (fields, name): (Resource<Fields>, String)| {
        Ok((guest.data_mut().in_time()?.http().has(fields, name)?,))
    })?;
    types.func_wrap(
        "[method]fields.set",
        |mut guest, (fields, name, values): (Resource<Fields>, String, Vec<Vec<u8>>)| {
            let bytes = name.len() + values.iter().map(Vec::len).sum::<usize>();
            Ok((told(guest.data_mut().takes(bytes)?.http().set(fields, name, values))?,))
        },
    )?;
    types.func_wrap("[method]fields.clone", |mut guest, (fields,): (Resource<Fields>,)| {
        let all = guest.data_mut().in_time()?.http().entries(Resource::new_borrow(fields.rep()))?;
        let bytes = all.iter().map(|(name, value)| name.len() + value.len()).sum();
        Ok((HostFields::clone(&mut guest.data_mut().takes(bytes)?.http(), fields)?,))
    })?;
    types.func_wrap("[method]fields.delete", |mut guest, (fields, name): (Resource<Fields>, String)| {
        Ok((told(guest.data_mut().in_time()?.http().delete(fields, name))?,))
    })?;
    types.func_wrap(
        "[method]fields.append",
        |mut guest, (fields, name, value): (Resource<Fields>, String, Vec<u8>)| {
            let bytes = name.len() + value.len();
            Ok((told(guest.data_mut().takes(bytes)?.http().append(fields, name, value))?,))
        },
    )
}

/// What the guest is answered; the outer error ends it.
fn told<T>(result: HeaderResult<T>) -> wasmtime::Result<Result<T, HeaderError>> {
    match result {
        Ok(answer) => Ok(Ok(answer)),
        Err(error) => Ok(Err(error.downcast()?)),
    }
}

/// What an instance's `wasi:http` goes through.
pub(crate) struct Hooks {
    outgoing: Arc<Outgoing>,
    /// When the call that is under way must be over.
    pub(crate) deadline: Instant,
    sent: usize,
    under_way: Arc<()>,
    held: Held,
    heads: Share,
    denied: Arc<Mutex<Vec<String>>>,
}

impl Hooks {
    pub(crate) fn new(outgoing: Arc<Outgoing>, room: Room) -> Self {
        Self {
            outgoing,
            deadline: Instant::now(),
            sent: 0,
            under_way: Arc::default(),
            heads: room.beside(),
            held: Held { room, ..Held::default() },
            denied: Arc::default(),
        }
    }

    /// A call begins.
    pub(crate) fn begin(&mut self, deadline: Instant) {
        (self.deadline, self.sent) = (deadline, 0);
        if let Ok(mut denied) = self.denied.lock() {
            denied.clear();
        }
    }

    /// What the call that ended was refused, in words for the operator: the guest itself only hears that it was.
    pub(crate) fn denied(&self) -> Vec<String> {
        self.denied.lock().map(|denied| denied.clone()).unwrap_or_default()
    }

    /// Bytes of bodies and headers that the host may have of it.
    pub(crate) fn holds(&self) -> usize {
        self.held.bytes.load(Ordering::Relaxed) + self.held.heads.load(Ordering::Relaxed)
    }

    /// So many bytes of headers more.
    pub(crate) fn take(&mut self, bytes: usize) -> Result<(), memory::Full> {
        let heads = self.held.heads.fetch_add(bytes, Ordering::Relaxed) + bytes;
        self.heads.has(heads)
    }

    fn admit(&mut self, request: &Request<WasiBody>) -> Result<(), Denied> {
        self.sent += 1;
        if self.sent > MAX_A_CALL || Arc::strong_count(&self.under_way) > MAX_AT_ONCE {
            return Err(Denied(format!(
                "more than {MAX_AT_ONCE} requests at once, or {MAX_A_CALL} in one call"
            )));
        }
        let uri = request.uri();
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_ascii_lowercase();
        if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
            return Err(Denied(format!(
                "a request to {host} has credentials in its URL: send them in a header"
            )));
        }
        let (scheme, usual) = match uri.scheme() == Some(&http::uri::Scheme::HTTP) {
            true => (Scheme::Http, 80),
            false => (Scheme::Https, 443),
        };
        let port = uri.port_u16().unwrap_or(usual);
        self.outgoing.check(&Target { scheme, host: &host, port, method: request.method().as_str() })
    }
}

type Sent = Result<(Response<WasiBody>, Box<dyn Future<Output = Result<(), Error>> + Send>), Error>;

impl WasiHttpHooks for Hooks {
    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        CHUNK
    }

    fn send_request(
        &mut self,
        request: Request<WasiBody>,
        options: Option<RequestOptions>,
        _: Box<dyn Future<Output = Result<(), Error>> + Send>,
    ) -> Box<dyn Future<Output = Sent> + Send> {
        let note = self.denied.clone();
        let deny = move |mut reason: String| {
            if let Ok(mut denied) = note.lock()
                && denied.len() < 8
            {
                reason.truncate(reason.floor_char_boundary(MAX_TOLD));
                denied.push(reason);
            }
        };
        if let Err(Denied(reason)) = self.admit(&request) {
            deny(reason);
            return Box::new(async { Err(Error::HttpRequestDenied) });
        }
        let (outgoing, deadline, turn) = (self.outgoing.clone(), self.deadline, self.under_way.clone());
        let held = self.held.clone();
        Box::new(async move {
            let _turn = turn;
            let wanted = options.and_then(|options| options.first_byte_timeout).unwrap_or(Duration::MAX);
            let left = deadline.saturating_duration_since(Instant::now()).min(wanted);
            let sent = tokio::time::timeout(left, exchange(&outgoing, request, &held)).await;
            let response =
                sent.unwrap_or_else(|_| Err(Failed { error: Error::HttpResponseTimeout, why: None }));
            let response = response.map_err(|failed| {
                if let Some(why) = failed.why {
                    deny(why);
                }
                failed.error
            })?;
            let body = response.map(|body| Full::new(body).map_err(|never| match never {}).boxed_unsync());
            Ok((body, Box::new(async { Ok(()) }) as Box<_>))
        })
    }
}

#[derive(Debug)]
struct Failed {
    error: Error,
    why: Option<String>,
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self { error, why: None }
    }
}

/// One request and its whole response: so the deadline bounds the body, too, however slowly it drips, and no secret slips
/// through between two pieces of it.
async fn exchange(
    outgoing: &Arc<Outgoing>,
    request: Request<WasiBody>,
    held: &Held,
) -> Result<Response<Bytes>, Failed> {
    let (mut head, body) = request.into_parts();
    let body = whole(body, held).await?;
    for name in OURS {
        head.headers.remove(name);
    }
    let made = outgoing.mock.as_ref().map(|mock| (mock, head.clone()));
    let mut used = Vec::new();
    put_in(&outgoing.secrets, &mut head.headers, &mut used)?;
    let used: Vec<(String, String)> =
        used.into_iter().map(|(placeholder, value)| (placeholder.to_owned(), value.to_owned())).collect();
    let mut response = match made {
        Some((mock, made)) => mocked(&**mock, &Request::from_parts(made, &body[..]), &outgoing.secrets)?,
        None => send(outgoing, head, body, held).await?,
    };
    let (small, outgoing, held) = (response.body().len() <= SMALL, outgoing.clone(), held.clone());
    let hide = move || outgoing.take_out(&used, &mut response, &held).map(|()| response);
    match small {
        true => hide(),
        false => tokio::task::spawn_blocking(hide).await.map_err(|_| Error::InternalError(None))?,
    }
}

fn put_in<'a>(
    secrets: &'a Secrets,
    headers: &mut HeaderMap,
    used: &mut Vec<(&'a str, &'a str)>,
) -> Result<(), Failed> {
    for (name, value) in headers.iter_mut() {
        let Some(revealed) = value.to_str().ok().and_then(|text| secrets.reveal(text, used)) else {
            continue;
        };
        let mut revealed = HeaderValue::from_str(&revealed).map_err(|_| Failed {
            error: Error::HttpRequestDenied,
            why: Some(format!("the secret for the header {name} has characters that no header can have")),
        })?;
        revealed.set_sensitive(true);
        *value = revealed;
    }
    Ok(())
}

impl Outgoing {
    /// All secrets of the source, whichever were in this request: a server may have kept one of another. Short ones, which are words
    /// elsewhere, only where they were in it.
    fn take_out(
        &self,
        used: &[(String, String)],
        response: &mut Response<Bytes>,
        held: &Held,
    ) -> Result<(), Failed> {
        let all = self.secrets.0.iter().filter(|(_, value)| !redact::is_word(value));
        if let Some(hidden) = self.hidden.get_or_init(|| Hidden::of(all)) {
            hidden.hide(response, held)?;
        }
        let words = used.iter().filter(|(_, value)| redact::is_word(value));
        if let Some(hidden) = Hidden::of(words.map(|(placeholder, value)| (placeholder, value))) {
            hidden.hide(response, held)?;
        }
        // Of the body as it is now: a guest may make room for it.
        let length = response.body().len();
        response.headers_mut().insert(header::CONTENT_LENGTH, length.into());
        Ok(())
    }
}

/// Secrets as a server may send them back, and what stands in their place then.
#[derive(Debug)]
struct Hidden {
    forms: AhoCorasick,
    /// Of each form.
    placeholders: Vec<String>,
}

impl Hidden {
    /// Placeholders and values; none where there are none.
    fn of<'a>(secrets: impl Iterator<Item = (&'a String, &'a String)>) -> Option<Self> {
        let (mut forms, mut placeholders) = (Vec::new(), Vec::new());
        for (placeholder, value) in secrets {
            for form in redact::forms(value).chain(redact::forms(value.trim())) {
                forms.push(form);
                placeholders.push(placeholder.clone());
            }
        }
        // Of two that begin alike the longer is taken out whole. Too many to be searched for are more than a file can have.
        let found = AhoCorasick::builder().match_kind(MatchKind::LeftmostLongest).build(&forms);
        found.ok().filter(|_| !forms.is_empty()).map(|forms| Self { forms, placeholders })
    }

    fn hide(&self, response: &mut Response<Bytes>, held: &Held) -> Result<(), Failed> {
        for header in response.headers_mut().values_mut() {
            if let Some(clean) = self.replaced(header.as_bytes()) {
                *header = HeaderValue::from_bytes(&clean).unwrap_or(HeaderValue::from_static(""));
            }
        }
        if let Some(clean) = self.replaced(response.body()) {
            let mut body = Body::of(held);
            body.push(&clean).map_err(|why| Failed {
                error: Error::HttpResponseBodySize(Some(MAX_BODY as u64)),
                why: Some(format!("a response, with the secrets in it taken out, {why}")),
            })?;
            *response.body_mut() = body.into();
        }
        Ok(())
    }

    /// None where there is nothing to be replaced. What would be too long by that isn't made.
    fn replaced(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        let (mut clean, mut from) = (Vec::new(), 0);
        for found in self.forms.find_iter(bytes) {
            clean.extend_from_slice(&bytes[from..found.start()]);
            clean.extend_from_slice(self.placeholders[found.pattern().as_usize()].as_bytes());
            from = found.end();
            if clean.len() > MAX_BODY {
                return Some(clean);
            }
        }
        (from > 0).then(|| {
            clean.extend_from_slice(&bytes[from..]);
            clean
        })
    }
}

/// The whole of what the guest sends.
async fn whole(mut body: WasiBody, held: &Held) -> Result<Bytes, Failed> {
    let mut whole = Body::of(held);
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return Err(Error::HttpProtocolError.into()) };
        if let Ok(chunk) = frame.into_data() {
            whole.push(&chunk).map_err(|why| Failed {
                error: Error::HttpRequestBodySize(Some(MAX_BODY as u64)),
                why: Some(format!("a request {why}")),
            })?;
        }
    }
    Ok(whole.into())
}

/// How many bytes of bodies one instance makes the host hold, and where they have their room; and how many of headers there were, of
/// which nobody says when they are let go of.
#[derive(Clone, Default)]
struct Held {
    bytes: Arc<AtomicUsize>,
    heads: Arc<AtomicUsize>,
    room: Room,
}

/// A body, or what of it has come. It counts until nobody has any of it any more.
struct Body {
    bytes: Vec<u8>,
    held: Held,
    counted: usize,
    share: Share,
}

impl Body {
    fn of(held: &Held) -> Self {
        Self { bytes: Vec::new(), held: held.clone(), counted: 0, share: held.room.beside() }
    }

    /// An error reads behind "a request".
    fn push(&mut self, chunk: &[u8]) -> Result<(), String> {
        if self.bytes.len() + chunk.len() > MAX_BODY {
            return Err(format!("has more than {MAX_BODY} bytes"));
        }
        self.counted += chunk.len();
        if self.held.bytes.fetch_add(chunk.len(), Ordering::Relaxed) + chunk.len() > MAX_HELD {
            return Err(format!(
                "has no room beside those that the plugin still holds: more than {MAX_HELD} bytes of bodies"
            ));
        }
        self.share.has(self.counted).map_err(|full| format!("can't be held: {full}"))?;
        self.bytes.extend_from_slice(chunk);
        Ok(())
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        self.held.bytes.fetch_sub(self.counted, Ordering::Relaxed);
    }
}

impl AsRef<[u8]> for Body {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl From<Body> for Bytes {
    fn from(body: Body) -> Self {
        Bytes::from_owner(body)
    }
}

async fn send(
    outgoing: &Arc<Outgoing>,
    head: http::request::Parts,
    body: Bytes,
    held: &Held,
) -> Result<Response<Bytes>, Failed> {
    let failed = |error: reqwest::Error| {
        let why = chain(&error);
        let error = match &error {
            error if error.is_timeout() => Error::ConnectionTimeout,
            error if error.is_connect() => Error::ConnectionRefused,
            _ => Error::HttpProtocolError,
        };
        Failed { error, why: Some(why) }
    };
    let request = outgoing
        .client()?
        .request(head.method, head.uri.to_string())
        .headers(head.headers)
        .body(body)
        .build()
        .map_err(failed)?;
    let mut response = outgoing.client()?.execute(request).await.map_err(failed)?;
    let heads: usize = response.headers().iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    if heads > FIELDS {
        return Err(Failed {
            error: Error::HttpResponseHeaderSectionSize(Some(FIELDS as u32)),
            why: Some(format!("a response has {heads} bytes of headers; the most is {FIELDS}")),
        });
    }
    held.heads.fetch_add(heads, Ordering::Relaxed);
    let mut whole = Body::of(held);
    while let Some(chunk) = response.chunk().await.map_err(failed)? {
        whole.push(&chunk).map_err(|why| Failed {
            error: Error::HttpResponseBodySize(Some(MAX_BODY as u64)),
            why: Some(format!("a response {why}")),
        })?;
    }
    let mut answer = Response::new(Bytes::from(whole));
    *answer.status_mut() = response.status();
    *answer.headers_mut() = std::mem::take(response.headers_mut());
    Ok(answer)
}

/// An error with its causes. Its URL is the guest's own, in which no secret stands.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// Answers instead of the network, for `plugin test`.
pub trait HttpMock: fmt::Debug + Send + Sync {
    /// Of a request as the plugin made it, which is as it would leave, but that `secrets` aren't put into its headers yet. The error
    /// says why there is no answer.
    fn answer(&self, request: &Request<&[u8]>, secrets: &Secrets) -> Result<Response<Vec<u8>>, String>;
}

fn mocked(
    mock: &dyn HttpMock,
    request: &Request<&[u8]>,
    secrets: &Secrets,
) -> Result<Response<Bytes>, Failed> {
    let answer = mock.answer(request, secrets);
    answer
        .map(|answer| answer.map(Bytes::from))
        .map_err(|why| Failed { error: Error::DestinationNotFound, why: Some(why) })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::memory::{Memory, MemoryBounds};

    fn rules(texts: &[&str]) -> Vec<HostRule> {
        texts.iter().map(|text| serde_json::from_value((*text).into()).unwrap()).collect()
    }

    fn outgoing(asked: &[&str], granted: &[&str]) -> Outgoing {
        Outgoing::new("source s".into(), rules(asked), rules(granted), Secrets::default(), None)
    }

    fn check(outgoing: &Outgoing, host: &str) -> Result<(), String> {
        let target = Target { scheme: Scheme::Https, host, port: 443, method: "GET" };
        outgoing.check(&target).map_err(|Denied(reason)| reason)
    }

    #[test]
    fn both_must_say_yes() {
        let both = outgoing(&["a.example", "b.example"], &["a.example", "c.example"]);
        assert_eq!(check(&both, "a.example"), Ok(()));
        assert!(check(&both, "b.example").unwrap_err().contains("add the host to `allow_hosts` of source s"));
        assert!(check(&both, "c.example").unwrap_err().contains("not asked for"));
    }

    #[test]
    fn addresses_that_are_not_public_are_granted_one_by_one() {
        let named = outgoing(&["10.0.0.1", "10.0.0.2"], &["10.0.0.1"]);
        assert_eq!(check(&named, "10.0.0.1"), Ok(()));
        assert!(check(&named, "10.0.0.2").is_err());
        let found: Vec<SocketAddr> =
            ["10.0.0.1:0", "10.0.0.2:0", "1.1.1.1:0", "[::1]:0"].map(|a| a.parse().unwrap()).into();
        // What a name resolves to, when an attacker answers for it.
        assert_eq!(permitted(&found, &rules(&["a.example"])), [found[2]]);
        assert_eq!(permitted(&found, &rules(&["a.example", "10.0.0.1"])), [found[0], found[2]]);
    }

    #[test]
    fn secrets_go_into_headers_and_do_not_come_back() {
        let secrets = Secrets::new([("${KEY}".to_owned(), "s3cret".to_owned())]);
        let mut headers = HeaderMap::new();
        headers.insert("authorization", HeaderValue::from_static("Bearer ${KEY}"));
        headers.insert("x-other", HeaderValue::from_static("${OTHER}"));
        let mut used = Vec::new();
        assert!(put_in(&secrets, &mut headers, &mut used).is_ok());
        assert_eq!(headers["authorization"], "Bearer s3cret");
        assert!(headers["authorization"].is_sensitive());
        assert_eq!(headers["x-other"], "${OTHER}", "another source's is a text like any other");
        let outgoing = |secrets: &Secrets| {
            Outgoing::new("source s".into(), Vec::new(), Vec::new(), secrets.clone(), None)
        };
        let mut response = Response::new(Bytes::from_static(b"you said s3cret, s3cre, s3crets3cret"));
        response.headers_mut().insert("echo", HeaderValue::from_static("a s3cret"));
        outgoing(&secrets).take_out(&[], &mut response, &Held::default()).unwrap();
        assert_eq!(&response.body()[..], b"you said ${KEY}, s3cre, ${KEY}${KEY}");
        assert_eq!(response.headers()["echo"], "a ${KEY}");
        assert_eq!(format!("{secrets:?}"), "{\"${KEY}\"}");
    }

    #[test]
    fn secrets_do_not_come_back_in_other_spellings_or_later() {
        let value = r#"p"ss/wörd+1"#;
        let secrets = Secrets::new([
            ("${KEY}".to_owned(), value.to_owned()),
            ("${REGION}".to_owned(), "eu".to_owned()),
            ("${LONG_NAME_OF_A_LETTER}".to_owned(), "x".to_owned()),
        ]);
        let outgoing = Outgoing::new("source s".into(), Vec::new(), Vec::new(), secrets, None);
        let body = |used: &[(&str, &str)], body: &str| {
            let used: Vec<_> = used.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
            let mut response = Response::new(Bytes::from(body.to_owned()));
            outgoing
                .take_out(&used, &mut response, &Held::default())
                .map_err(|failed| failed.why.unwrap())?;
            Ok::<String, String>(String::from_utf8_lossy(response.body()).into_owned())
        };
        // In JSON, in a URL, as base64, and as `Basic` has it.
        let json = r#"{"key":"p\"ss/wörd+1"}"#;
        assert_eq!(body(&[], json).unwrap(), r#"{"key":"${KEY}"}"#);
        assert_eq!(body(&[], "?key=p%22ss%2Fw%C3%B6rd%2B1&").unwrap(), "?key=${KEY}&");
        assert_eq!(body(&[], "cCJzcy93w7ZyZCsx").unwrap(), "${KEY}");
        let basic = body(&[], "Basic dXNlcjpwInNzL3fDtnJkKzE=").unwrap();
        assert!(basic.contains("${KEY}") && !basic.contains("NzL3fDtnJk"), "{basic}");
        // A short value is a word where it wasn't sent.
        assert_eq!(body(&[], "neural").unwrap(), "neural");
        assert_eq!(body(&[("${REGION}", "eu")], "neural").unwrap(), "n${REGION}ral");
        // And makes no gigabytes of megabytes.
        let large = body(&[("${LONG_NAME_OF_A_LETTER}", "x")], &"x".repeat(MAX_BODY));
        assert!(large.unwrap_err().contains("with the secrets in it taken out, has more than"));
    }

    #[test]
    fn where_hosts_have_no_number_no_connection_is_kept() {
        assert_eq!(outgoing(&[], &["a.example", "10.0.0.1"]).kept_of_a_host(), 2);
        assert_eq!(outgoing(&[], &["a.example", "*.b.example"]).kept_of_a_host(), 0);
    }

    #[tokio::test]
    async fn names_are_resolved_a_few_at_once_over_all_sources_of_a_plugin() {
        let all = Arc::new(Semaphore::new(100));
        let of_plugin = Turns::new(6, &all);
        let source = || outgoing(&[], &[]).resolving(of_plugin.clone()).names;
        let mut held = Vec::new();
        for _ in 0..6 {
            held.push(of_plugin.clone().acquire_owned().await.unwrap());
        }
        let waits = source();
        let soon = Duration::from_millis(50);
        assert!(tokio::time::timeout(soon, waits.resolve("localhost")).await.is_err());
        drop(held);
        assert!(tokio::time::timeout(Duration::from_secs(10), waits.resolve("localhost")).await.is_ok());
    }

    #[test]
    fn bodies_count_until_they_are_let_go_of() {
        let held = Held::default();
        let chunk = vec![0; MAX_BODY];
        let body = || {
            let mut body = Body::of(&held);
            body.push(&chunk).map(|()| Bytes::from(body))
        };
        let mut bodies: Vec<Bytes> = (0..MAX_HELD / MAX_BODY).map(|_| body().unwrap()).collect();
        let piece = bodies[0].slice(..1);
        assert!(body().unwrap_err().contains("still holds"));
        bodies.remove(0);
        assert!(body().is_err(), "a piece of it is still there");
        drop(piece);
        assert!(body().is_ok());
        let mut large = Body::of(&held);
        large.push(&chunk).unwrap();
        assert!(large.push(&[0]).unwrap_err().contains("has more than"));
        drop((bodies, large));
        assert_eq!(held.bytes.load(Ordering::Relaxed), 0);
        let room = Room::new(Arc::new(Memory::new(MemoryBounds { all: MAX_BODY, idle: 0 })), 0);
        let mut none = Body::of(&Held { room, ..Held::default() });
        assert!(none.push(&chunk).unwrap_err().contains("there is no room for it now"));
    }

    #[test]
    fn a_secret_that_would_be_two_headers_is_refused() {
        let secrets = Secrets::new([("${KEY}".to_owned(), "a\r\nevil: 1".to_owned())]);
        let mut headers = HeaderMap::new();
        headers.insert("x", HeaderValue::from_static("${KEY}"));
        let refused = put_in(&secrets, &mut headers, &mut Vec::new()).unwrap_err();
        assert!(refused.why.unwrap().contains("header x"));
    }
}
