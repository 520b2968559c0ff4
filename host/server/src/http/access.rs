//! Who asks: a token, or somebody on this machine where there are none.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use serde::Serialize;
use subtle::ConstantTimeEq;
use watchkeeper_domain::Timestamp;
use watchkeeper_domain::access::{self, Role, Token, TokenId};

use super::{Doors, Failure, shows_token};

/// How exact a token's last use is: a write a minute, not one a request.
const USE: Duration = Duration::from_secs(60);

/// Whoever passed [`authorize`]; a handler takes it as an argument, and asks it for the role that it needs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Authenticated {
    pub(crate) name: String,
    pub(crate) role: Role,
    /// None of `server.api_token`, and of this machine's users where nobody needs a token.
    pub(crate) token_id: Option<TokenId>,
}

impl Authenticated {
    pub(crate) fn require(&self, role: Role) -> Result<(), Failure> {
        if self.role >= role {
            return Ok(());
        }
        let remedy = format!("`watchkeeper token create NAME --role {role}` makes one that may");
        Err(match self.token_id {
            Some(_) => Failure::new(
                StatusCode::FORBIDDEN,
                format!("the token {} is a {}'s, and this needs a {role}'s: {remedy}", self.name, self.role),
            ),
            None => Failure::new(
                StatusCode::UNAUTHORIZED,
                format!("this needs a {role}'s token, shown as `Authorization: Bearer wk_…`: {remedy}"),
            ),
        })
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Authenticated {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        let who = parts.extensions.get::<Self>().cloned();
        who.ok_or_else(|| {
            Failure::new(StatusCode::UNAUTHORIZED, "this path wants a token, and asked nobody for it")
        })
    }
}

/// Lets those in who may read, and says who they are.
pub(super) async fn authorize(
    State(doors): State<Arc<Doors>>,
    mut request: Request,
    next: Next,
) -> Result<Response, Failure> {
    let who = authenticate(&doors, request.headers()).await?;
    request.extensions_mut().insert(who);
    Ok(next.run(request).await)
}

async fn authenticate(doors: &Doors, headers: &HeaderMap) -> Result<Authenticated, Failure> {
    if doors.api_token.as_ref().is_some_and(|token| shows_token(headers, token)) {
        // It may what it always might: read.
        return Ok(Authenticated { name: "server.api_token".into(), role: Role::Viewer, token_id: None });
    }
    let tokens = doors.store.tokens().await?;
    if let Some(token) = shown(headers).and_then(|shown| find(&tokens, shown)) {
        return admit(doors, token).await;
    }
    if !doors.open && doors.api_token.is_none() && tokens.is_empty() {
        return Ok(Authenticated { name: "this machine".into(), role: Role::Viewer, token_id: None });
    }
    let what = if headers.contains_key(header::AUTHORIZATION) { "wrong" } else { "missing" };
    let message = format!(
        "the API's bearer token is {what}: send `Authorization: Bearer …` with a token that `watchkeeper token create NAME \
         --role viewer` made, or with server.api_token"
    );
    Err(Failure::new(StatusCode::UNAUTHORIZED, message))
}

fn shown(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

/// Each is compared, and each in constant time, so the time tells nothing of any.
fn find<'a>(tokens: &'a [Token], shown: &str) -> Option<&'a Token> {
    let hash = access::hash(shown);
    tokens.iter().fold(None, |found, token| match bool::from(token.hash.0.ct_eq(&hash.0)) {
        true => Some(token),
        false => found,
    })
}

async fn admit(doors: &Doors, token: &Token) -> Result<Authenticated, Failure> {
    let now = Timestamp::now();
    if !token.is_good(now) {
        let (name, role, status) = (&token.name, token.role, token.status(now));
        let message = format!(
            "the token {name} is {status}: `watchkeeper token create {name} --role {role}` makes another"
        );
        return Err(Failure::new(StatusCode::UNAUTHORIZED, message));
    }
    if token.last_used_at.is_none_or(|last| now.since(last) >= USE)
        && let Err(error) = doors.store.token_used(token.id, now).await
    {
        // Reading goes on while the disk is full.
        tracing::warn!(token = token.name, %error, "a token's use can't be noted");
    }
    Ok(Authenticated { name: token.name.clone(), role: token.role, token_id: Some(token.id) })
}
