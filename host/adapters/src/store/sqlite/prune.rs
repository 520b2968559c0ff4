//! Payloads that are old enough to go.

use rusqlite::{Connection, Error};
use watchkeeper_domain::Timestamp;
use watchkeeper_domain::store::{PayloadId, Pruned};

use super::rows::millis;

/// Looks at the first `limit` above `after`, in the order in which they came. The last of all stays, so that no number is given
/// twice.
pub(super) fn payloads(
    connection: &Connection,
    before: Timestamp,
    after: Option<PayloadId>,
    limit: u32,
) -> Result<Pruned, Error> {
    let after = after.map_or(0, |id| id.0);
    let text = "SELECT max(id), count(*), coalesce(min(received_at) < ?3, 0) FROM
                    (SELECT id, received_at FROM payloads WHERE id > ?1 ORDER BY id LIMIT ?2)";
    let (last, looked_at, any_old): (Option<i64>, u32, bool) = connection
        .prepare_cached(text)?
        .query_row((after, limit, millis(before)), |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    let Some(last) = last.filter(|_| any_old) else { return Ok(Pruned::default()) };
    let text = "DELETE FROM payloads WHERE id > ?1 AND id <= ?2 AND received_at < ?3 AND error IS NULL
                    AND id < (SELECT max(id) FROM payloads)
                    AND id NOT IN (SELECT alerts.payload FROM incidents
                                       JOIN alerts ON alerts.incident = incidents.id WHERE incidents.open)";
    let removed = connection.prepare_cached(text)?.execute((after, last, millis(before)))? as u32;
    Ok(Pruned { removed, next: (looked_at == limit).then_some(PayloadId(last)) })
}
