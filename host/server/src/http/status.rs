//! `/healthz`, `/readyz`, `/metrics`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use tokio::sync::Mutex;
use watchkeeper_domain::store::Store;

use super::{Doors, Failure};

/// How long one look at the store counts: it writes, and may be asked for often.
const LOOK: Duration = Duration::from_secs(1);

/// Whether alerts can be taken and kept, as of a moment ago.
#[derive(Default)]
pub struct Readiness(Mutex<Option<(Instant, Result<(), String>)>>);

impl Readiness {
    async fn of(&self, store: &dyn Store) -> Result<(), String> {
        let mut last = self.0.lock().await;
        match &*last {
            Some((at, result)) if at.elapsed() < LOOK => result.clone(),
            _ => {
                let result = store.probe().await.map_err(|error| error.to_string());
                *last = Some((Instant::now(), result.clone()));
                result
            }
        }
    }
}

/// The process answers.
pub(super) async fn healthz() -> &'static str {
    "ok\n"
}

/// It can take alerts and keep them.
pub(super) async fn readyz(State(doors): State<Arc<Doors>>) -> Response {
    let not_ready = |reason: String| Failure::new(StatusCode::SERVICE_UNAVAILABLE, reason).into_response();
    if *doors.stopping.borrow() {
        return not_ready("the host is stopping".into());
    }
    match doors.readiness.of(&*doors.store).await {
        Ok(()) => "ready\n".into_response(),
        Err(reason) => not_ready(reason),
    }
}

pub(super) async fn metrics(State(doors): State<Arc<Doors>>) -> Response {
    // The version of the text format: https://prometheus.io/docs/instrumenting/exposition_formats/
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], doors.metrics.render()).into_response()
}
