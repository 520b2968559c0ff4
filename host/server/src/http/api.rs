//! `/api/v1`: what is stored, a page at a time.

use std::str::FromStr;
use std::sync::Arc;

use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware;
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Serialize;
use serde_json::Value;
use watchkeeper_domain::access::Role;
use watchkeeper_domain::escalation::Delivery;
use watchkeeper_domain::incident::Incident;
use watchkeeper_domain::investigation::{Entry, Investigation};
use watchkeeper_domain::store::{Page, StoredAlert};
use watchkeeper_domain::{IncidentId, InvestigationId};

use super::access::{self, Authenticated};
use super::{Doors, Failure, approvals};
use crate::page::{POLICY, page};
use crate::query::Filters;
use crate::secrets::{self, redactor};

type Answer<T> = Result<Json<T>, Failure>;

pub(super) fn router(doors: Arc<Doors>) -> Router<Arc<Doors>> {
    Router::new()
        .route("/alerts", get(alerts))
        .route("/incidents", get(incidents))
        .route("/incidents/{id}", get(incident))
        .route("/investigations", get(investigations))
        .route("/investigations/{id}", get(investigation))
        .route("/approvals", get(approvals::list))
        .route("/approvals/{id}/approve", post(approvals::approve))
        .route("/approvals/{id}/deny", post(approvals::deny))
        .route("/escalations", get(escalations))
        .route("/audit", get(audit))
        .route("/whoami", get(whoami))
        .route("/plugins", get(plugins))
        .route("/plugins/{name}", get(plugin))
        .fallback(not_found)
        .method_not_allowed_fallback(super::method_not_allowed)
        .layer(middleware::from_fn_with_state(doors, access::authorize))
}

async fn not_found() -> Failure {
    Failure::new(
        StatusCode::NOT_FOUND,
        "the API has /api/v1/alerts, /api/v1/incidents, /api/v1/incidents/ID, /api/v1/investigations, \
         /api/v1/investigations/ID, /api/v1/approvals, /api/v1/escalations, /api/v1/audit, /api/v1/whoami, /api/v1/plugins and \
         /api/v1/plugins/NAME",
    )
}

fn filters(query: Option<String>) -> Result<Filters, Failure> {
    Filters::from_query(query.as_deref().unwrap_or_default())
        .map_err(|reason| Failure::new(StatusCode::BAD_REQUEST, reason))
}

fn bad(reason: String) -> Failure {
    Failure::new(StatusCode::BAD_REQUEST, reason)
}

async fn alerts(State(doors): State<Arc<Doors>>, RawQuery(query): RawQuery) -> Answer<Page<StoredAlert>> {
    Ok(Json(doors.store.alerts(filters(query)?.alerts().map_err(bad)?).await?))
}

async fn incidents(State(doors): State<Arc<Doors>>, RawQuery(query): RawQuery) -> Answer<Page<Incident>> {
    Ok(Json(doors.store.incidents(filters(query)?.incidents().map_err(bad)?).await?))
}

async fn investigations(State(doors): State<Arc<Doors>>, RawQuery(query): RawQuery) -> Answer<Value> {
    redacted(&doors.store.investigations(filters(query)?.investigations().map_err(bad)?).await?)
}

async fn escalations(State(doors): State<Arc<Doors>>, RawQuery(query): RawQuery) -> Answer<Page<Delivery>> {
    let Page { items, next } = doors.store.deliveries(filters(query)?.deliveries().map_err(bad)?).await?;
    Ok(Json(Page { items: items.iter().map(|item| redactor().delivery(item)).collect(), next }))
}

/// As it would be sent.
fn redacted(thing: &impl Serialize) -> Answer<Value> {
    let shown = secrets::shown(thing);
    shown.map(Json).map_err(|error| Failure::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))
}

/// Oldest first, above `cursor`. What commands and alerts hold is in there, so it takes an admin.
async fn audit(
    State(doors): State<Arc<Doors>>,
    who: Authenticated,
    RawQuery(query): RawQuery,
) -> Answer<Page<Value>> {
    who.require(Role::Admin)?;
    let window = filters(query)?.window().map_err(bad)?;
    let after = window.cursor.as_deref().unwrap_or("0").parse();
    let after = after.map_err(|_| bad("cursor: is none that a listing gave".into()))?;
    let entries = doors.store.audit(after, window.limit).await?;
    let next = (entries.len() == window.limit as usize).then(|| entries.last()).flatten();
    let next = next.map(|entry| entry.seq.to_string());
    let shown = entries.iter().map(crate::cli::shown).collect::<Result<Vec<_>, _>>();
    let items = shown.map_err(|error| Failure::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
    Ok(Json(Page { items, next }))
}

/// Whose token was shown, and what it may.
async fn whoami(who: Authenticated) -> Json<Authenticated> {
    Json(who)
}

fn id<T: FromStr<Err = String>>(text: &str) -> Result<T, Failure> {
    text.parse().map_err(bad)
}

fn missing(what: impl std::fmt::Display) -> Failure {
    Failure::new(StatusCode::NOT_FOUND, format!("there is no {what}"))
}

async fn incident(State(doors): State<Arc<Doors>>, Path(text): Path<String>) -> Answer<Incident> {
    let id: IncidentId = id(&text)?;
    doors.store.incident(id).await?.map(Json).ok_or_else(|| missing(format!("incident {id}")))
}

/// Few enough to be one page.
async fn plugins(State(doors): State<Arc<Doors>>) -> Answer<Value> {
    redacted(&serde_json::json!({ "items": doors.registry.statuses() }))
}

/// What it says of itself may hold a secret that it was let see.
async fn plugin(State(doors): State<Arc<Doors>>, Path(name): Path<String>) -> Answer<Value> {
    redacted(&doors.registry.status(&name).ok_or_else(|| missing(format!("plugin {name}")))?)
}

/// An investigation with its transcript. Its shape is the CLI's, too.
#[derive(Serialize)]
pub(crate) struct Transcribed {
    #[serde(flatten)]
    pub(crate) investigation: Investigation,
    pub(crate) transcript: Vec<Entry>,
}

/// For browsers a page, of which every text is redacted; for everybody else JSON, redacted as well.
async fn investigation(
    State(doors): State<Arc<Doors>>,
    headers: HeaderMap,
    Path(text): Path<String>,
) -> Result<Response, Failure> {
    let id: InvestigationId = id(&text)?;
    let investigation = doors.store.investigation(id).await?;
    let investigation = investigation.ok_or_else(|| missing(format!("investigation {id}")))?;
    let transcript = doors.store.transcript(id, 0).await?;
    let html = wants_html(&headers);
    let mut response = match html {
        true => Html(page(&investigation, &transcript, redactor())).into_response(),
        false => redacted(&Transcribed { investigation, transcript })?.into_response(),
    };
    let headers = response.headers_mut();
    headers.insert(header::VARY, HeaderValue::from_static("Accept"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if html {
        let policy = format!("{}; frame-ancestors 'none'", *POLICY);
        let policy = HeaderValue::try_from(policy)
            .map_err(|error| Failure::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
        headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    }
    Ok(response)
}

/// Whether `Accept` names HTML, and likes it better than JSON (RFC 9110, 12.5.1).
fn wants_html(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let (mut html, mut json) = (0.0_f32, 0.0_f32);
    for range in accepted.flat_map(|value| value.split(',')) {
        let mut parts = range.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default();
        let quality = parts.find_map(|part| part.strip_prefix("q=")?.parse().ok()).unwrap_or(1.0);
        if name.eq_ignore_ascii_case("text/html") {
            html = quality;
        } else if name.eq_ignore_ascii_case("application/json") {
            json = quality;
        }
    }
    html > json
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_for_whoever_likes_html_better() {
        let table = [
            ("", false),
            ("*/*", false),
            ("application/json", false),
            ("text/html", true),
            ("TEXT/HTML; charset=utf-8", true),
            ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", true),
            ("application/json, text/html;q=0.5", false),
            ("application/json;q=0.1, text/html", true),
            ("text/html;q=0", false),
            ("text/htmlx", false),
        ];
        for (accept, expected) in table {
            let headers = HeaderMap::from_iter([(header::ACCEPT, HeaderValue::from_static(accept))]);
            assert_eq!(wants_html(&headers), expected, "{accept}");
        }
        assert!(!wants_html(&HeaderMap::new()));
    }
}
