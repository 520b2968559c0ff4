//! `/api/v1/approvals`: what waits for a person, and the person's answer.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use watchkeeper_domain::access::Role;
use watchkeeper_domain::approval::{Answer, ApprovalId, Pending, Person};
use watchkeeper_flow::approvals::{self, Refused};

use super::access::Authenticated;
use super::{Doors, Failure};
use crate::secrets::redactor;

/// What is answered, and that it is what was seen.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Given {
    hash: String,
    #[serde(default)]
    reason: String,
}

/// The longest reason, in bytes.
const REASON: usize = 2000;

impl From<Refused> for Failure {
    fn from(refused: Refused) -> Self {
        let status = match &refused {
            Refused::Unknown(_) => StatusCode::NOT_FOUND,
            Refused::Answered { .. } | Refused::Other { .. } => StatusCode::CONFLICT,
            Refused::Expired(_) => StatusCode::GONE,
            Refused::Store(_) => StatusCode::SERVICE_UNAVAILABLE,
        };
        match refused {
            Refused::Store(error) => error.into(),
            // It may say what would run.
            other => Failure::new(status, redactor().redact(&other.to_string()).text),
        }
    }
}

pub(super) async fn list(State(doors): State<Arc<Doors>>) -> Result<Json<Value>, Failure> {
    let pending = approvals::pending(&*doors.store).await?;
    let items: Vec<Pending> = pending.iter().map(|pending| redactor().pending(pending)).collect();
    Ok(Json(json!({ "items": items })))
}

pub(super) async fn approve(
    State(doors): State<Arc<Doors>>,
    who: Authenticated,
    Path(id): Path<String>,
    Json(given): Json<Given>,
) -> Result<Json<Value>, Failure> {
    let by = person(&who)?;
    answer(&doors, &id, &given.hash, Answer::Approved { by }).await
}

pub(super) async fn deny(
    State(doors): State<Arc<Doors>>,
    who: Authenticated,
    Path(id): Path<String>,
    Json(given): Json<Given>,
) -> Result<Json<Value>, Failure> {
    let by = person(&who)?;
    if given.reason.len() > REASON {
        return Err(Failure::new(StatusCode::BAD_REQUEST, format!("reason: is longer than {REASON} bytes")));
    }
    answer(&doors, &id, &given.hash, Answer::Denied { by, reason: given.reason.into() }).await
}

fn person(who: &Authenticated) -> Result<Person, Failure> {
    who.require(Role::Responder)?;
    let credential = who.token_id.map_or("no token".into(), |token| format!("token {token}"));
    Ok(Person { name: who.name.as_str().into(), credential })
}

async fn answer(doors: &Doors, id: &str, hash: &str, answer: Answer) -> Result<Json<Value>, Failure> {
    let id: ApprovalId =
        id.parse().map_err(|reason: String| Failure::new(StatusCode::BAD_REQUEST, reason))?;
    approvals::answer(&*doors.store, id, hash, answer.clone()).await?;
    doors.investigations.wake();
    Ok(Json(json!({ "id": id, "answer": answer })))
}
