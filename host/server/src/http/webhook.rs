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
use watchkeeper_domain::plugin::{Payload, Reply};
use watchkeeper_flow::ingest::{Accepted, Refused};

use super::listen::Peer;
use super::{Doors, Failure, shows_token};
use crate::config::Auth;
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

fn refused(refused: Refused) -> Failure {
    match refused {
        Refused::InvalidPayload(reason) => Failure::new(StatusCode::BAD_REQUEST, reason.visible()),
        Refused::Unauthorized(reason) => Failure::new(StatusCode::UNAUTHORIZED, reason.visible()),
        Refused::Unavailable { reason, retry_after } => {
            Failure::new(StatusCode::SERVICE_UNAVAILABLE, reason.visible())
                .retry_after(retry_after.unwrap_or(Duration::from_secs(1)))
        }
        Refused::Store(error) => error.into(),
    }
}

fn answer(accepted: Accepted) -> Response {
    match accepted {
        Accepted::Stored(receipt) => Json(json!({ "status": "stored", "alerts": receipt })).into_response(),
        Accepted::DeadLetter { id, error } => {
            let body = json!({ "status": "dead_letter", "payload": id, "error": error });
            (StatusCode::ACCEPTED, Json(body)).into_response()
        }
        Accepted::Replied(reply) => replied(reply),
    }
}

/// A plugin's own answer; one that isn't HTTP is the plugin's fault.
fn replied(reply: Reply) -> Response {
    let mut response = Response::builder().status(reply.status);
    for (name, value) in &reply.headers {
        response = response.header(name, value);
    }
    response.body(Body::from(reply.body)).unwrap_or_else(|error| {
        Failure::new(StatusCode::BAD_GATEWAY, format!("the plugin's reply is no HTTP: {error}"))
            .into_response()
    })
}
