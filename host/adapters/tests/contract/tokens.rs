//! API tokens.

use watchkeeper_domain::access::{self, Role, Token};

use super::*;

fn new(name: &str, role: Role) -> NewToken {
    NewToken { name: name.into(), role, hash: access::hash(name), expires_at: None, by: "cli".into() }
}

pub async fn tokens_are_kept_with_what_they_may(store: AnyStore) {
    assert_eq!(store.tokens().await.unwrap(), []);
    let ci = NewToken { expires_at: Some(at(60)), ..new("ci", Role::Viewer) };
    let ci = store.create_token(ci).await.unwrap();
    let ann = store.create_token(new("ann", Role::Admin)).await.unwrap();
    assert_eq!((ci.role, ci.expires_at, ci.hash), (Role::Viewer, Some(at(60)), access::hash("ci")));
    assert_eq!((ann.role, ann.expires_at, ann.last_used_at, ann.revoked_at), (Role::Admin, None, None, None));
    assert_eq!(store.tokens().await.unwrap(), [ci, ann]);
}

pub async fn a_name_is_one_good_token(store: AnyStore) {
    store.create_token(new("ann", Role::Viewer)).await.unwrap();
    let message =
        invalid(store.create_token(NewToken { hash: access::hash("x"), ..new("ann", Role::Admin) }).await);
    assert!(message.contains("ann") && message.contains("revoke"), "{message}");
    assert_eq!(store.tokens().await.unwrap().len(), 1);
    store.revoke_token("ann", "cli").await.unwrap();
    store.create_token(NewToken { hash: access::hash("x"), ..new("ann", Role::Admin) }).await.unwrap();
    assert_eq!(store.tokens().await.unwrap().len(), 2, "a revoked one stays in the list");
}

pub async fn a_revoked_token_is_good_no_more(store: AnyStore) {
    let token = store.create_token(new("ann", Role::Viewer)).await.unwrap();
    assert!(token.is_good(Timestamp::now()));
    let revoked = store.revoke_token("ann", "cli").await.unwrap();
    assert!(!revoked.is_good(Timestamp::now()));
    assert_eq!(store.tokens().await.unwrap(), [revoked]);
    let message = invalid(store.revoke_token("bob", "cli").await);
    assert!(message.contains("bob") && message.contains("token list"), "{message}");
}

pub async fn the_last_use_is_remembered(store: AnyStore) {
    let Token { id, .. } = store.create_token(new("ann", Role::Viewer)).await.unwrap();
    store.token_used(id, at(20)).await.unwrap();
    store.token_used(id, at(10)).await.unwrap();
    assert_eq!(store.tokens().await.unwrap()[0].last_used_at, Some(at(20)));
}
