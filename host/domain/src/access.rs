//! Who may: API tokens and their roles.
//!
//! A token is 256 random bits, so a plain SHA-256 of it is what is kept: there is no dictionary to try, which is what slow
//! password hashes are for. It begins with `wk_`, by which scanners of source code find one that leaked.

use serde::{Deserialize, Serialize};

use crate::Timestamp;
use crate::audit::Digest;

/// Each may what those before it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Reads.
    Viewer,
    /// Approves and denies.
    Responder,
    /// Everything.
    Admin,
}

impl Role {
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Viewer => "viewer",
            Role::Responder => "responder",
            Role::Admin => "admin",
        }
    }
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

impl std::str::FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        [Role::Viewer, Role::Responder, Role::Admin]
            .into_iter()
            .find(|role| role.as_str() == text)
            .ok_or_else(|| format!("`{text}` is no role: viewer, responder or admin"))
    }
}

/// Written `tok-7`; read with or without the prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TokenId(pub i64);

crate::incident::id_as_text!(TokenId, "tok-", "a token's id");

/// What is kept of a token: never the token.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Token {
    pub id: TokenId,
    pub name: String,
    pub role: Role,
    #[serde(skip)]
    pub hash: Digest,
    pub created_at: Timestamp,
    pub expires_at: Option<Timestamp>,
    pub revoked_at: Option<Timestamp>,
    /// To the minute.
    pub last_used_at: Option<Timestamp>,
}

/// Begins every token.
pub const PREFIX: &str = "wk_";

/// Tokens that may be good at once, so that all of them can be compared with each request.
pub const MAX_TOKENS: usize = 1000;

impl Token {
    pub fn is_good(&self, now: Timestamp) -> bool {
        self.revoked_at.is_none() && self.expires_at.is_none_or(|end| now < end)
    }

    /// In a word, for people.
    pub fn status(&self, now: Timestamp) -> &'static str {
        match self {
            _ if self.revoked_at.is_some() => "revoked",
            _ if !self.is_good(now) => "expired",
            _ => "good",
        }
    }
}

/// The token of these random bits.
pub fn text(random: &[u8; 32]) -> String {
    let hex: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{PREFIX}{hex}")
}

/// What is kept of it.
pub fn hash(token: &str) -> Digest {
    Digest::of(token.as_bytes())
}

/// A name tells tokens apart, in the audit log, too.
pub fn check_name(name: &str) -> Result<(), String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.@".contains(c);
    if (1..=64).contains(&name.len()) && name.chars().all(plain) {
        return Ok(());
    }
    Err(format!("`{name}` is no token's name: 1 to 64 letters, digits, and - _ . @"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_are_ordered_by_what_they_may() {
        assert!(Role::Viewer < Role::Responder && Role::Responder < Role::Admin);
    }

    #[test]
    fn a_token_is_its_prefix_and_256_bits() {
        let token = text(&[0xab; 32]);
        assert_eq!((token.len(), &token[..5]), (67, "wk_ab"));
        assert_ne!(hash(&token), hash(&text(&[0xac; 32])));
    }

    #[test]
    fn a_token_is_good_until_it_expires_or_is_revoked() {
        let at = Timestamp::from_millis;
        let token = Token {
            id: TokenId(1),
            name: "a".into(),
            role: Role::Viewer,
            hash: hash("a"),
            created_at: at(0),
            expires_at: Some(at(10)),
            revoked_at: None,
            last_used_at: None,
        };
        assert!(token.is_good(at(9)) && !token.is_good(at(10)));
        assert!(!Token { revoked_at: Some(at(5)), expires_at: None, ..token }.is_good(at(9)));
    }
}
