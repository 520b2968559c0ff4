//! Outgoing HTTP, for pollers and health checks: to hosts that the plugin asks for (`asks` in `plugin.yaml`) and the operator
//! grants (`allow_hosts` in the source's file).
//!
//! A configuration value that the operator wrote as `${NAME}` is a placeholder here; put it into a *header*, and the host
//! puts in the secret as the request leaves. Redirects aren't followed.

use std::time::Duration;

use crate::Error;

/// A request. [`Request::get`] and [`Request::post`] begin one.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// In upper case.
    pub method: String,
    /// Absolute, `http` or `https`.
    pub url: String,
    /// Put behind the URL, encoded.
    pub query: Vec<(String, String)>,
    /// `host`, `content-length` and the connection's own are the host's to set.
    pub headers: Vec<(String, String)>,
    /// Up to 16 MiB.
    pub body: Vec<u8>,
    /// How long to wait for the answer. The call's own deadline holds besides.
    pub timeout: Duration,
}

/// A whole response, whatever its status.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Response {
    /// As HTTP means it.
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, Vec<u8>)>,
    /// Up to 16 MiB.
    pub body: Vec<u8>,
}

impl Request {
    /// A GET without headers, that waits for 20 seconds.
    pub fn get(url: impl Into<String>) -> Self {
        Self {
            method: "GET".to_owned(),
            url: url.into(),
            query: Vec::new(),
            headers: Vec::new(),
            body: Vec::new(),
            timeout: Duration::from_secs(20),
        }
    }

    /// A POST of this body.
    pub fn post(url: impl Into<String>, body: impl Into<Vec<u8>>) -> Self {
        Self { method: "POST".to_owned(), body: body.into(), ..Self::get(url) }
    }

    /// With one more pair of the query.
    #[must_use]
    pub fn query(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.query.push((name.into(), value.into()));
        self
    }

    /// With one more header.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Sends it, and waits for the whole response.
    ///
    /// # Errors
    /// [`Error::Unavailable`] where there was no response, with what is known of why; [`Error::Failed`] where the host isn't
    /// granted, or the request is none. A status that means failure is a response.
    pub fn send(&self) -> Result<Response, Error> {
        imp::send(self, &self.target()?)
    }

    fn target(&self) -> Result<Target<'_>, Error> {
        let none = || Error::failed(format!("{}: no http:// or https:// URL", self.url));
        let (scheme, rest) = self.url.split_once("://").ok_or_else(none)?;
        let rest = rest.split('#').next().unwrap_or_default();
        let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        if !matches!(scheme, "http" | "https") || authority.is_empty() || rest.contains(char::is_whitespace) {
            return Err(none());
        }
        let mut path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        for (name, value) in &self.query {
            let separator = if path.contains('?') { '&' } else { '?' };
            path = format!("{path}{separator}{}={}", encode(name), encode(value));
        }
        Ok(Target { tls: scheme == "https", authority, path })
    }
}

/// Where a request goes, as `wasi:http` wants it.
#[derive(Debug, PartialEq)]
struct Target<'a> {
    tls: bool,
    authority: &'a str,
    path: String,
}

/// What RFC 3986 calls unreserved as it is, each other byte as `%XX`.
fn encode(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let one = |byte: u8| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    text.bytes().map(one).collect()
}

impl Response {
    /// The body where the status means success; else the error that the status means: [`Error::Unauthorized`] for 401 and 403,
    /// [`Error::Unavailable`] (with `retry-after`, if there is one) for whatever else.
    ///
    /// # Errors
    /// As above.
    pub fn success(self) -> Result<Vec<u8>, Error> {
        match self.status {
            200..=299 => Ok(self.body),
            401 | 403 => Err(Error::Unauthorized(format!("the other side answered {}", self.status))),
            status => {
                let seconds = self.header("retry-after").and_then(|value| value.parse::<u64>().ok());
                let reason = format!("the other side answered {status}");
                Err(Error::unavailable(reason, seconds.map(|seconds| seconds.saturating_mul(1000))))
            }
        }
    }

    /// The value of a header, if it is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.and_then(|(_, value)| std::str::from_utf8(value).ok())
    }
}

#[cfg(not(target_family = "wasm"))]
mod imp {
    use super::{Request, Response, Target};
    use crate::Error;

    /// Natively there is no host; `watchkeeper plugin test` has mocked answers.
    pub(super) fn send(request: &Request, _: &Target<'_>) -> Result<Response, Error> {
        Err(Error::unavailable(format!("{}: only a host sends requests", request.url), None))
    }
}

#[cfg(target_family = "wasm")]
mod imp {
    use wasip2::http::outgoing_handler::handle;
    use wasip2::http::types::{
        ErrorCode, Fields, IncomingBody, IncomingResponse, Method, OutgoingBody, OutgoingRequest,
        RequestOptions, Scheme,
    };
    use wasip2::io::streams::StreamError;

    use super::{Request, Response, Target};
    use crate::Error;

    /// As much as one write takes (`wasi:io/streams`).
    const CHUNK: usize = 4096;

    /// The host lets no larger answer through.
    const LARGEST: usize = 16 << 20;

    pub(super) fn send(request: &Request, target: &Target<'_>) -> Result<Response, Error> {
        let scheme = if target.tls { "https" } else { "http" };
        let what = format!("{} {scheme}://{}", request.method, target.authority);
        let (outgoing, body) = outgoing(request, target, &what)?;
        let options = options(request);
        let response = handle(outgoing, Some(options)).map_err(|error| refused(&what, &error))?;
        if let Some(body) = body {
            write(body, &request.body)
                .map_err(|reason| Error::unavailable(format!("{what}: {reason}"), None))?;
        }
        response.subscribe().block();
        let answer = response.get().and_then(Result::ok);
        let answer = answer.ok_or_else(|| Error::failed("a response that was waited for is not there"))?;
        read(&answer.map_err(|error| refused(&what, &error))?, &what)
    }

    fn refused(what: &str, error: &ErrorCode) -> Error {
        match error {
            ErrorCode::HttpRequestDenied => Error::failed(format!("{what}: not granted")),
            _ => Error::unavailable(format!("{what}: {}", name(error)), None),
        }
    }

    /// As the contract of WASI spells it, in lower case: `connection-refused`.
    fn name(error: &ErrorCode) -> String {
        let debug = format!("{error:?}");
        let name = debug.trim_start_matches("ErrorCode::");
        let mut kebab = String::new();
        for c in name.chars().take_while(char::is_ascii_alphanumeric) {
            if c.is_ascii_uppercase() && !kebab.is_empty() {
                kebab.push('-');
            }
            kebab.push(c.to_ascii_lowercase());
        }
        kebab
    }

    fn options(request: &Request) -> RequestOptions {
        let options = RequestOptions::new();
        let nanoseconds = Some(u64::try_from(request.timeout.as_nanos()).unwrap_or(u64::MAX));
        // Where the host has no such timeout, the call's deadline is what bounds it.
        let _ = options.set_connect_timeout(nanoseconds);
        let _ = options.set_first_byte_timeout(nanoseconds);
        let _ = options.set_between_bytes_timeout(nanoseconds);
        options
    }

    fn outgoing(
        request: &Request,
        target: &Target<'_>,
        what: &str,
    ) -> Result<(OutgoingRequest, Option<OutgoingBody>), Error> {
        let wrong = |why: &str| Error::failed(format!("{what}: {why}"));
        let headers: Vec<(String, Vec<u8>)> =
            request.headers.iter().map(|(name, value)| (name.clone(), value.clone().into_bytes())).collect();
        let headers =
            Fields::from_list(&headers).map_err(|_| wrong("has headers that no request can have"))?;
        let outgoing = OutgoingRequest::new(headers);
        let scheme = if target.tls { Scheme::Https } else { Scheme::Http };
        let set = outgoing
            .set_method(&method(&request.method))
            .and_then(|()| outgoing.set_scheme(Some(&scheme)))
            .and_then(|()| outgoing.set_authority(Some(target.authority)))
            .and_then(|()| outgoing.set_path_with_query(Some(&target.path)));
        set.map_err(|()| wrong("is no request that can be sent"))?;
        let body = match request.body.is_empty() {
            true => None,
            false => Some(outgoing.body().map_err(|()| wrong("has no body to write"))?),
        };
        Ok((outgoing, body))
    }

    fn method(method: &str) -> Method {
        match method {
            "GET" => Method::Get,
            "HEAD" => Method::Head,
            "POST" => Method::Post,
            "PUT" => Method::Put,
            "DELETE" => Method::Delete,
            "PATCH" => Method::Patch,
            "OPTIONS" => Method::Options,
            other => Method::Other(other.to_owned()),
        }
    }

    fn write(body: OutgoingBody, bytes: &[u8]) -> Result<(), String> {
        let failed = |what: &dyn std::fmt::Debug| format!("the request's body can't be sent: {what:?}");
        let stream = body.write().map_err(|()| failed(&"no stream"))?;
        for chunk in bytes.chunks(CHUNK) {
            stream.blocking_write_and_flush(chunk).map_err(|error| failed(&error))?;
        }
        drop(stream);
        OutgoingBody::finish(body, None).map_err(|error| failed(&error))
    }

    fn read(response: &IncomingResponse, what: &str) -> Result<Response, Error> {
        let broke_off = |why: &dyn std::fmt::Debug| {
            Error::unavailable(format!("{what}: the answer broke off: {why:?}"), None)
        };
        let body = response.consume().map_err(|()| broke_off(&"no body"))?;
        let stream = body.stream().map_err(|()| broke_off(&"no stream"))?;
        let headers = response.headers().entries();
        let announced = headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
        let announced =
            announced.and_then(|(_, value)| std::str::from_utf8(value).ok()?.parse::<usize>().ok());
        let mut whole = Vec::with_capacity(announced.filter(|bytes| *bytes <= LARGEST).unwrap_or_default());
        loop {
            match stream.blocking_read(1 << 20) {
                Ok(bytes) => whole.extend(bytes),
                Err(StreamError::Closed) => break,
                Err(StreamError::LastOperationFailed(error)) => {
                    return Err(broke_off(&error.to_debug_string()));
                }
            }
        }
        drop(stream);
        drop(IncomingBody::finish(body));
        Ok(Response { status: response.status(), headers, body: whole })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_and_a_query_are_where_it_goes() {
        let target =
            |url: &str| Request::get(url).query("after", "a b&c=d/é").target().map(|target| target.path);
        let encoded = "after=a%20b%26c%3Dd%2F%C3%A9";
        for (url, path) in [
            ("https://a.example", format!("/?{encoded}")),
            ("https://a.example/alerts#top", format!("/alerts?{encoded}")),
            ("http://a.example:8080?x=1", format!("/?x=1&{encoded}")),
        ] {
            assert_eq!(target(url), Ok(path), "{url}");
        }
        for url in
            ["a.example/alerts", "ftp://a.example", "https://", "https:///alerts", "https://a.example/a b"]
        {
            assert_eq!(target(url), Err(Error::failed(format!("{url}: no http:// or https:// URL"))));
        }
    }

    #[test]
    fn a_status_is_sorted_by_who_can_act() {
        let response = |status, headers: &[(&str, &str)]| Response {
            status,
            headers: headers
                .iter()
                .map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec()))
                .collect(),
            body: b"x".to_vec(),
        };
        assert_eq!(response(204, &[]).success(), Ok(b"x".to_vec()));
        assert!(matches!(response(401, &[]).success(), Err(Error::Unauthorized(_))));
        assert_eq!(
            response(429, &[("Retry-After", "2")]).success(),
            Err(Error::unavailable("the other side answered 429", Some(2000)))
        );
    }
}
