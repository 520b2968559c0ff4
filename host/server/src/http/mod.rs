//! The HTTP doors: webhooks, the API, and what operators' tools ask.

mod access;
mod api;
mod approvals;
mod limit;
mod listen;
mod slack;
mod status;
mod webhook;

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::Json;
use axum::Router;
use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use metrics_exporter_prometheus::PrometheusHandle;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::watch;
use watchkeeper_domain::store::{Store, StoreError};
use watchkeeper_wasm::Registry;

use crate::sources::InService;
pub(crate) use api::Transcribed;
pub use limit::ClientLimit;
pub use slack::SlackApp;

/// First segments of paths that no source can have.
pub const RESERVED: [&str; 6] = ["api", "metrics", "healthz", "readyz", "dashboard", "slack"];

/// What handlers share.
pub struct Doors {
    pub in_service: Arc<ArcSwap<InService>>,
    pub registry: Arc<Registry>,
    pub store: Arc<dyn Store>,
    pub ingest: watchkeeper_flow::ingest::Ingest,
    pub investigations: watchkeeper_flow::investigate::Handle,
    pub limit: ClientLimit,
    pub body_limit: usize,
    pub api_token: Option<String>,
    /// Whose buttons count.
    pub slack: Vec<SlackApp>,
    /// It listens beyond loopback.
    pub open: bool,
    pub metrics: PrometheusHandle,
    pub readiness: status::Readiness,
    pub stopping: watch::Receiver<bool>,
}

pub use status::Readiness;

/// Serves until `stopping` turns true and what was under way is answered.
pub async fn serve(listener: TcpListener, doors: Arc<Doors>) {
    let stopping = doors.stopping.clone();
    listen::serve(listener, router(doors), stopping).await;
}

fn router(doors: Arc<Doors>) -> Router {
    let api = api::router(doors.clone());
    Router::new()
        .nest("/api/v1", api)
        .route("/slack/interactions", post(slack::interactions))
        .route("/metrics", get(status::metrics))
        .route("/healthz", get(status::healthz))
        .route("/readyz", get(status::readyz))
        .fallback(webhook::receive)
        .method_not_allowed_fallback(method_not_allowed)
        .with_state(doors)
}

/// Each path answers one method.
async fn method_not_allowed(asked: Method) -> Failure {
    let answers = if matches!(asked, Method::GET | Method::HEAD) { "POST" } else { "GET" };
    Failure::new(StatusCode::METHOD_NOT_ALLOWED, format!("this path answers {answers} alone"))
}

/// Any answer that isn't a success: `{"error": "…"}`.
#[derive(Debug)]
pub(crate) struct Failure {
    status: StatusCode,
    message: String,
    retry_after: Option<Duration>,
}

impl Failure {
    fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), retry_after: None }
    }

    fn retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Invalid(message) => Self::new(StatusCode::BAD_REQUEST, message),
            StoreError::Conflict(_) => Self::new(StatusCode::CONFLICT, error.to_string()),
            StoreError::Busy(_) => Self::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string())
                .retry_after(Duration::from_secs(1)),
            StoreError::Unavailable(_) => Self::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string())
                .retry_after(Duration::from_secs(5)),
        }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(json!({ "error": self.message }))).into_response();
        if let Some(wait) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, wait.as_secs().max(1).into());
        }
        if self.status == StatusCode::UNAUTHORIZED {
            let challenge = header::HeaderValue::from_static("Bearer");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        }
        response
    }
}

/// Whether `headers` show this bearer token; compared in constant time.
fn shows_token(headers: &axum::http::HeaderMap, token: &str) -> bool {
    use subtle::ConstantTimeEq;
    let shown = headers.get(header::AUTHORIZATION).map(|value| value.as_bytes()).unwrap_or_default();
    let (scheme, shown) = shown.split_at(shown.len().min("Bearer ".len()));
    scheme.eq_ignore_ascii_case(b"Bearer ") && bool::from(shown.ct_eq(token.as_bytes()))
}
