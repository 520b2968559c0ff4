//! `POST /slack/interactions`: the buttons of a message in Slack, pressed.
//!
//! Slack signs each request (https://docs.slack.dev/authentication/verifying-requests-from-slack): `v0=` and the hex of
//! HMAC-SHA256, by the app's signing secret, of `v0:TIMESTAMP:BODY`. The body is a form with the field `payload`
//! (https://docs.slack.dev/reference/interaction-payloads/block_actions-payload). Who may answer is the operator's list of
//! members: that somebody can see a channel gives them no say.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use ring::hmac;
use serde::Deserialize;
use watchkeeper_domain::Timestamp;
use watchkeeper_domain::approval::{Answer, ApprovalId, Person};
use watchkeeper_domain::audit::Digest;
use watchkeeper_flow::approvals;

use super::{Doors, Failure};
use crate::secrets::redactor;

/// How far a request's time may be from ours, in seconds.
const SKEW: u64 = 300;

/// An app that may send interactions, as a channel of `escalation:` has it.
#[derive(Clone)]
pub struct SlackApp {
    pub signing_secret: String,
    /// Members that may answer: `U024BE7LH`.
    pub approvers: Vec<String>,
}

#[derive(Deserialize)]
struct Payload {
    #[serde(rename = "type")]
    kind: String,
    user: User,
    #[serde(default)]
    team: Option<Team>,
    #[serde(default)]
    actions: Vec<Pressed>,
}

#[derive(Deserialize)]
struct User {
    id: String,
    #[serde(default)]
    username: Option<String>,
    #[serde(default)]
    name: Option<String>,
}

#[derive(Deserialize)]
struct Team {
    id: String,
}

#[derive(Deserialize)]
struct Pressed {
    action_id: String,
    /// The approval's id, a blank, and the hash of what was shown.
    #[serde(default)]
    value: String,
}

/// Slack wants 200 within three seconds; what went wrong is said to the person who pressed.
pub(super) async fn interactions(
    State(doors): State<Arc<Doors>>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Failure> {
    let app =
        doors.slack.iter().find(|app| is_signed(&app.signing_secret, &headers, &body, Timestamp::now()));
    let Some(app) = app else {
        return Err(Failure::new(
            StatusCode::UNAUTHORIZED,
            "the request is not signed by a Slack app that `signing_secret` in `escalation.channels` names, or is older \
             than five minutes",
        ));
    };
    let payload = payload(&body).map_err(|reason| Failure::new(StatusCode::BAD_REQUEST, reason))?;
    let said = match act(&doors, app, payload).await {
        Ok(said) | Err(said) => said,
    };
    Ok(Reply(said).into_response())
}

/// Shown to the person alone.
struct Reply(String);

impl IntoResponse for Reply {
    fn into_response(self) -> Response {
        let body =
            serde_json::json!({ "response_type": "ephemeral", "replace_original": false, "text": self.0 });
        axum::Json(body).into_response()
    }
}

async fn act(doors: &Doors, app: &SlackApp, payload: Payload) -> Result<String, String> {
    let [pressed] = payload.actions.as_slice() else { return Ok(String::new()) };
    if payload.kind != "block_actions" {
        return Ok(String::new());
    }
    let User { id: user, username, name } = payload.user;
    if !app.approvers.contains(&user) {
        return Err(format!("{user} may not answer: the operator names who may under `approvers`."));
    }
    let by = Person {
        name: username.or(name).unwrap_or_else(|| user.clone()).into(),
        credential: format!("Slack member {user} of {}", payload.team.map_or("-".into(), |team| team.id)),
    };
    let answer = match pressed.action_id.as_str() {
        "watchkeeper_approve" => Answer::Approved { by },
        "watchkeeper_deny" => Answer::Denied { by, reason: "denied in Slack".into() },
        _ => return Ok(String::new()),
    };
    let (id, hash) = pressed.value.split_once(' ').ok_or("This button names no approval.")?;
    let id: ApprovalId = id.parse()?;
    let taken = approvals::answer(&*doors.store, id, hash, answer.clone()).await;
    taken.map_err(|refused| redactor().redact(&refused.to_string()).text)?;
    doors.investigations.wake();
    Ok(format!("{id}: {answer}."))
}

/// Compared in constant time, by the library.
fn is_signed(secret: &str, headers: &HeaderMap, body: &[u8], now: Timestamp) -> bool {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let (Some(at), Some(signature)) = (text("x-slack-request-timestamp"), text("x-slack-signature")) else {
        return false;
    };
    let recent = at.parse::<u64>().is_ok_and(|at| at.abs_diff(now.as_millis() / 1000) <= SKEW);
    let shown = signature.strip_prefix("v0=").and_then(|hex| hex.parse::<Digest>().ok());
    let Some(shown) = shown else { return false };
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let signed = [b"v0:", at.as_bytes(), b":", body].concat();
    recent && hmac::verify(&key, &signed, &shown.0).is_ok()
}

fn payload(body: &[u8]) -> Result<Payload, String> {
    let mut fields = url::form_urlencoded::parse(body);
    let (_, payload) = fields
        .find(|(name, _)| name == "payload")
        .ok_or("the form has no field `payload`, as Slack sends it")?;
    serde_json::from_str(&payload)
        .map_err(|error| format!("payload: is none of Slack's interactions: {error}"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// The vector of Slack's own documentation.
    const SECRET: &str = "8f742231b10e8888abcd99yyyzzz85a5";
    const BODY: &str = "token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c";
    const AT: u64 = 1_531_420_618;
    const SIGNATURE: &str = "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503";

    fn headers(at: &str, signature: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert("x-slack-request-timestamp", at.parse().unwrap());
        headers.insert("x-slack-signature", signature.parse().unwrap());
        headers
    }

    #[test]
    fn slacks_documented_vector_is_verified_and_nothing_else() {
        let now = Timestamp::from_millis((AT + 10) * 1000);
        let check = |secret: &str, headers: &HeaderMap, body: &str, now| {
            is_signed(secret, headers, body.as_bytes(), now)
        };
        let good = headers(&AT.to_string(), SIGNATURE);
        assert!(check(SECRET, &good, BODY, now));
        assert!(!check(SECRET, &good, &format!("{BODY}x"), now));
        assert!(!check("another", &good, BODY, now));
        assert!(!check(SECRET, &good, BODY, Timestamp::from_millis((AT + 301) * 1000)), "replayed later");
        assert!(!check(SECRET, &good, BODY, Timestamp::from_millis((AT - 301) * 1000)), "from the future");
        assert!(!check(SECRET, &headers(&(AT + 1).to_string(), SIGNATURE), BODY, now));
        for signature in ["", "v0=", "v1=a2114d", &SIGNATURE[..SIGNATURE.len() - 1], "v0=zz", &SIGNATURE[3..]]
        {
            assert!(!check(SECRET, &headers(&AT.to_string(), signature), BODY, now), "{signature}");
        }
        assert!(!check(SECRET, &HeaderMap::new(), BODY, now));
    }
}
