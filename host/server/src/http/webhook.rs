//! The sources' webhook paths: who may send, how much, and what the sender is answered.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, Method, Request, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
use serde_json::json;
use watchkeeper_domain::Untrusted;
use watchkeeper_domain::plugin::{Payload, Reply};
use watchkeeper_flow::ingest::{Accepted, Refused};

use super::listen::Peer;
use super::{Doors, Failure, shows_token};
use crate::config::Auth;
use crate::secrets::{self, redactor};
use crate::sources::Route;

/// How long a sender may take for its body.
const BODY_DEADLINE: Duration = Duration::from_secs(30);

/// How much of a body that is too large is still read, so that its sender gets to read the answer.
const DRAIN: usize = 64 << 20;

/// Headers that are the connection's or a secret, and no plugin's concern.
const WITHHELD: [HeaderName; 12] = [
    header::AUTHORIZATION,
    header::PROXY_AUTHORIZATION,
    header::COOKIE,
    header::HOST,
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::CONTENT_TYPE,
    header::TRANSFER_ENCODING,
    header::ACCEPT,
    header::ACCEPT_ENCODING,
    header::TE,
    header::UPGRADE,
];

pub(super) async fn receive(
    State(doors): State<Arc<Doors>>,
    Extension(Peer(peer)): Extension<Peer>,
    request: Request<Body>,
) -> Response {
    match take(&doors, peer, request).await {
        Ok(response) => response,
        Err(failure) => failure.into_response(),
    }
}

async fn take(doors: &Doors, peer: SocketAddr, request: Request<Body>) -> Result<Response, Failure> {
    let (head, body) = request.into_parts();
    doors.limit.admit(peer.ip(), &head.headers).map_err(|wait| {
        Failure::new(StatusCode::TOO_MANY_REQUESTS, "too many requests from this address").retry_after(wait)
    })?;
    let path = head.uri.path();
    let route = doors.in_service.load().routes.get(path).cloned().ok_or_else(|| {
        Failure::new(
            StatusCode::NOT_FOUND,
            format!("no source listens at `{path}`; `watchkeeper check` lists them"),
        )
    })?;
    if head.method != Method::POST {
        let mut response =
            Failure::new(StatusCode::METHOD_NOT_ALLOWED, "a source's path takes POST alone").into_response();
        response.headers_mut().insert(header::ALLOW, header::HeaderValue::from_static("POST"));
        return Ok(response);
    }
    authenticate(&route, &head.headers)?;
    let body = read_body(body, doors.body_limit).await?;
    let payload = payload(&head.headers, &body);
    let accepted = doors.ingest.deliver(&route.source, payload).await.map_err(refused)?;
    if let Accepted::Stored(receipt) = &accepted
        && !receipt.investigations.is_empty()
    {
        doors.investigations.wake();
    }
    Ok(answer(accepted))
}

fn authenticate(route: &Route, headers: &HeaderMap) -> Result<(), Failure> {
    match &route.auth {
        None => Ok(()),
        Some(Auth::Bearer { token }) if shows_token(headers, token) => Ok(()),
        Some(Auth::Bearer { .. }) => {
            let what = if headers.contains_key(header::AUTHORIZATION) { "wrong" } else { "missing" };
            let message =
                format!("the bearer token is {what}; send `Authorization: Bearer …` with the source's token");
            Err(Failure::new(StatusCode::UNAUTHORIZED, message))
        }
    }
}

async fn read_body(body: Body, limit: usize) -> Result<Bytes, Failure> {
    let late = || {
        let message = format!("the body did not arrive within {} s", BODY_DEADLINE.as_secs());
        Failure::new(StatusCode::REQUEST_TIMEOUT, message)
    };
    tokio::time::timeout(BODY_DEADLINE, read_up_to(body, limit)).await.unwrap_or_else(|_| Err(late()))
}

async fn read_up_to(body: Body, limit: usize) -> Result<Bytes, Failure> {
    let mut stream = body.into_data_stream();
    let mut kept: Vec<u8> = Vec::new();
    let mut seen = 0;
    let mut first: Option<Bytes> = None;
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(|error| {
            Failure::new(StatusCode::BAD_REQUEST, format!("the body broke off after {seen} bytes: {error}"))
        })?;
        seen += chunk.len();
        if seen > limit {
            kept = Vec::new();
            if seen > DRAIN {
                break;
            }
        } else if seen == chunk.len() {
            // Most bodies are one chunk, which needn't be copied.
            first = Some(chunk);
        } else {
            if let Some(first) = first.take() {
                kept.extend_from_slice(&first);
            }
            kept.extend_from_slice(&chunk);
        }
    }
    if seen > limit {
        let message =
            format!("the body is larger than the {limit} bytes that are taken (server.body_limit_mib)");
        return Err(Failure::new(StatusCode::PAYLOAD_TOO_LARGE, message));
    }
    Ok(first.unwrap_or_else(|| kept.into()))
}

fn payload(headers: &HeaderMap, body: &Bytes) -> Payload {
    let text = |value: &header::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let passed = headers.iter().filter(|(name, _)| !WITHHELD.contains(name));
    Payload {
        body: body[..].into(),
        content_type: headers.get(header::CONTENT_TYPE).map(text),
        attributes: passed.map(|(name, value)| (name.as_str().to_owned(), text(value))).collect(),
    }
}

/// A plugin's own words go to the sender without the secrets that it may have been let see.
fn refused(refused: Refused) -> Failure {
    let told = |reason: Untrusted| redactor().shown(&reason);
    match refused {
        Refused::InvalidPayload(reason) => Failure::new(StatusCode::BAD_REQUEST, told(reason)),
        Refused::Unauthorized(reason) => Failure::new(StatusCode::UNAUTHORIZED, told(reason)),
        Refused::Unavailable { reason, retry_after } => {
            Failure::new(StatusCode::SERVICE_UNAVAILABLE, told(reason))
                .retry_after(retry_after.unwrap_or(Duration::from_secs(1)))
        }
        Refused::Store(error) => error.into(),
    }
}

fn answer(accepted: Accepted) -> Response {
    match accepted {
        Accepted::Stored(receipt) => Json(json!({ "status": "stored", "alerts": receipt })).into_response(),
        Accepted::DeadLetter { id, error } => {
            let error = secrets::shown(&error).unwrap_or_default();
            let body = json!({ "status": "dead_letter", "payload": id, "error": error });
            (StatusCode::ACCEPTED, Json(body)).into_response()
        }
        Accepted::Replied(reply) => replied(reply),
    }
}

/// What frames an answer, or belongs to the connection or to the browser's dealings with this whole host: a plugin that sets
/// these could make one answer two, or speak for the host's own pages.
const OURS: [HeaderName; 9] = [
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::TRANSFER_ENCODING,
    header::TE,
    header::TRAILER,
    header::UPGRADE,
    header::SET_COOKIE,
    header::CONTENT_SECURITY_POLICY,
    header::STRICT_TRANSPORT_SECURITY,
];

/// A plugin's own answer; one that isn't HTTP is the plugin's fault.
fn replied(reply: Reply) -> Response {
    let no_http = |why: String| {
        let message = format!("the plugin's reply is no HTTP: {why}");
        Failure::new(StatusCode::BAD_GATEWAY, message).into_response()
    };
    if !(200..600).contains(&reply.status) {
        return no_http(format!("its status is {}, not within 200 and 599", reply.status));
    }
    let mut response = Response::builder().status(reply.status);
    for (name, value) in &reply.headers {
        response = response.header(name, value);
    }
    let mut response = match response.body(Body::from(reply.body)) {
        Ok(response) => response,
        Err(error) => return no_http(error.to_string()),
    };
    for name in OURS {
        response.headers_mut().remove(name);
    }
    // Whatever it is, a browser runs nothing of it in the name of this host.
    let sandboxed = header::HeaderValue::from_static("sandbox; default-src 'none'");
    response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, sandboxed);
    let as_typed = header::HeaderValue::from_static("nosniff");
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, as_typed);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(status: u16, headers: &[(&str, &str)]) -> Response {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        replied(Reply { status, headers, body: b"hello".to_vec() })
    }

    #[test]
    fn a_reply_is_one_answer_and_runs_nothing_in_a_browser() {
        let good = reply(200, &[("content-type", "text/html"), ("x-mine", "1"), ("x-mine", "2")]);
        assert_eq!(good.status(), 200);
        assert_eq!(good.headers()["content-type"], "text/html");
        assert_eq!(good.headers().get_all("x-mine").iter().count(), 2);
        assert!(good.headers()["content-security-policy"].to_str().is_ok_and(|csp| csp.contains("sandbox")));
        let framed = reply(
            200,
            &[
                ("Content-Length", "1"),
                ("Transfer-Encoding", "chunked"),
                ("Set-Cookie", "a=b"),
                ("Connection", "close"),
                ("Content-Security-Policy", "default-src *"),
            ],
        );
        for name in ["content-length", "transfer-encoding", "set-cookie", "connection"] {
            assert!(!framed.headers().contains_key(name), "{name}");
        }
        assert_eq!(framed.headers().get_all("content-security-policy").iter().count(), 1);
        for status in [0, 100, 101, 199, 600, 999, u16::MAX] {
            assert_eq!(reply(status, &[]).status(), StatusCode::BAD_GATEWAY, "{status}");
        }
        for (name, value) in [("x-a", "1\r\nx-b: 2"), ("x a", "1"), ("", "1")] {
            assert_eq!(reply(200, &[(name, value)]).status(), StatusCode::BAD_GATEWAY, "{name:?}");
        }
    }
}
