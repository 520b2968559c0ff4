//! API tokens' rows.

use rusqlite::types::Type;
use rusqlite::{Connection, Error, OptionalExtension, Row};
use serde_json::json;
use watchkeeper_domain::Timestamp;
use watchkeeper_domain::access::{MAX_TOKENS, Token, TokenId};
use watchkeeper_domain::audit::{Digest, Record};
use watchkeeper_domain::store::{NewToken, StoreError};

use super::rows::{self, millis};
use super::{audit, sql};

pub(super) fn create(connection: &Connection, new: NewToken) -> Result<Token, StoreError> {
    let now = Timestamp::now();
    let all = all(connection).map_err(sql)?;
    if all.iter().any(|token| token.name == new.name && token.revoked_at.is_none()) {
        let reason =
            format!("there is a token {} already: revoke it first, or choose another name", new.name);
        return Err(StoreError::Invalid(reason));
    }
    if all.iter().filter(|token| token.is_good(now)).count() >= MAX_TOKENS {
        let reason = format!("there are {MAX_TOKENS} tokens, the most that may be: revoke some");
        return Err(StoreError::Invalid(reason));
    }
    insert(connection, &new, now).map_err(sql)
}

fn insert(connection: &Connection, new: &NewToken, now: Timestamp) -> Result<Token, Error> {
    let text = "INSERT INTO tokens (name, role, hash, created_at, expires_at) VALUES (?1, ?2, ?3, ?4, ?5)
                RETURNING *";
    let values = (&new.name, new.role.as_str(), &new.hash.0[..], millis(now), new.expires_at.map(millis));
    let token = connection.prepare_cached(text)?.query_row(values, token)?;
    let detail = json!({ "name": token.name, "role": token.role, "expires_at": token.expires_at });
    let record = Record::new(&new.by, "token.created", token.id.to_string(), detail);
    audit::append(connection, now, record)?;
    Ok(token)
}

pub(super) fn all(connection: &Connection) -> Result<Vec<Token>, Error> {
    connection.prepare_cached("SELECT * FROM tokens ORDER BY id")?.query_map([], token)?.collect()
}

pub(super) fn revoke(connection: &Connection, name: &str, by: &str) -> Result<Token, StoreError> {
    let now = Timestamp::now();
    let text = "UPDATE tokens SET revoked_at = ?2 WHERE name = ?1 AND revoked_at IS NULL RETURNING *";
    let revoked = connection
        .prepare_cached(text)
        .and_then(|mut query| query.query_row((name, millis(now)), token).optional())
        .map_err(sql)?;
    let missing =
        || StoreError::Invalid(format!("there is no token {name}; `watchkeeper token list` shows them"));
    let token = revoked.ok_or_else(missing)?;
    let record = Record::new(by, "token.revoked", token.id.to_string(), json!({ "name": name }));
    audit::append(connection, now, record).map_err(sql)?;
    Ok(token)
}

pub(super) fn used(connection: &Connection, id: TokenId, at: Timestamp) -> Result<(), Error> {
    let text = "UPDATE tokens SET last_used_at = max(coalesce(last_used_at, 0), ?2) WHERE id = ?1";
    connection.prepare_cached(text)?.execute((id.0, millis(at))).map(drop)
}

fn token(row: &Row<'_>) -> Result<Token, Error> {
    let unreadable = |what: String| Error::FromSqlConversionFailure(0, Type::Text, what.into());
    let role: String = row.get("role")?;
    let hash = Digest::from_slice(row.get_ref("hash")?.as_blob()?);
    Ok(Token {
        id: TokenId(row.get("id")?),
        name: row.get("name")?,
        role: role.parse().map_err(unreadable)?,
        hash: hash.ok_or_else(|| unreadable("a token's hash has another length".into()))?,
        created_at: rows::time(row, "created_at")?,
        expires_at: rows::opt_time(row, "expires_at")?,
        revoked_at: rows::opt_time(row, "revoked_at")?,
        last_used_at: rows::opt_time(row, "last_used_at")?,
    })
}
