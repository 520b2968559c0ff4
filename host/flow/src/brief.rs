//! The briefing: what is known of an incident when its investigation begins.

use watchkeeper_domain::investigation::{Briefing, ToolDescription};
use watchkeeper_domain::prompt::Nonce;
use watchkeeper_domain::store::{AlertQuery, Store, StoreError, Window};
use watchkeeper_domain::{IncidentId, Timestamp};

/// The bounds that `wit/` documents.
const RELATED: u32 = 50;
const HISTORY: u32 = 5;

/// Of an investigation's prompt. Without random bits there is none, and no prompt.
pub(crate) fn nonce() -> Option<Nonce> {
    let mut bits = [0; 16];
    getrandom::fill(&mut bits).ok().map(|()| Nonce::of(bits))
}

/// None if the incident has no alert, which a later retention may bring about.
pub(crate) async fn brief(
    store: &dyn Store,
    incident: IncidentId,
    tools: Vec<ToolDescription>,
) -> Result<Option<Briefing>, StoreError> {
    let Some(leading) = store.leading_alert(incident).await? else { return Ok(None) };
    let query = AlertQuery {
        incident: Some(incident),
        window: Window { limit: RELATED + 1, ..Window::default() },
        ..AlertQuery::default()
    };
    let page = store.alerts(query).await?;
    let related = page.items.iter().filter(|alert| alert.seq != leading.seq).take(RELATED as usize);
    Ok(Some(Briefing {
        incident,
        source: leading.source.clone(),
        alert: leading.to_alert(),
        related: related.map(|alert| alert.to_alert()).collect(),
        history: store.past_reports(incident, HISTORY).await?,
        tools,
        now: Timestamp::now(),
    }))
}
