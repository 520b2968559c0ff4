//! Questions to people: what waits, and the first answer to it.
//!
//! Invariant: an answer is an event of its investigation, appended where its transcript ends. So of two that come at once the
//! store takes one, and the other is told whose that was.

use watchkeeper_domain::Timestamp;
use watchkeeper_domain::approval::{Answer, ApprovalId, Pending};
use watchkeeper_domain::investigation::{Asked, Event, Progress, State};
use watchkeeper_domain::store::{InvestigationQuery, Store, StoreError, Window};

/// Why an answer doesn't count.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    #[error("there is no approval {0}")]
    Unknown(ApprovalId),
    #[error("{id} was answered already: {answer}")]
    Answered { id: ApprovalId, answer: Answer },
    #[error("{0} expired; its investigation was escalated")]
    Expired(ApprovalId),
    /// What the person saw isn't what waits.
    #[error("{id} is about another call than the one with this hash; look again: {what}")]
    Other { id: ApprovalId, what: String },
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// All that wait, oldest first.
pub async fn pending(store: &dyn Store) -> Result<Vec<Pending>, StoreError> {
    let window = Window { limit: Window::MAX_LIMIT, ..Window::default() };
    let waiting =
        InvestigationQuery { status: Some(State::Waiting), window, ..InvestigationQuery::default() };
    let mut found = Vec::new();
    for investigation in store.investigations(waiting).await?.items {
        let progress = Progress::of(&store.transcript(investigation.id, 0).await?);
        let Some((call, asked)) = progress.pending() else { continue };
        found.push(Pending {
            id: ApprovalId { investigation: investigation.id, call },
            incident: investigation.incident,
            title: investigation.title,
            purpose: progress.calls[call as usize].call.purpose.clone(),
            question: asked.question.clone(),
            asked_at: asked.at,
            expires_at: asked.expires_at,
        });
    }
    found.sort_by_key(|pending| pending.asked_at);
    Ok(found)
}

/// Takes an answer, if it is the first, in time, and about what the person saw: the question with this hash.
pub async fn answer(store: &dyn Store, id: ApprovalId, hash: &str, answer: Answer) -> Result<(), Refused> {
    loop {
        let entries = store.transcript(id.investigation, 0).await?;
        let progress = Progress::of(&entries);
        let asked = progress.calls.get(id.call as usize).and_then(|call| call.asked.as_ref());
        let Some(Asked { question, expires_at, answer: earlier, .. }) = asked else {
            return Err(Refused::Unknown(id));
        };
        match earlier {
            Some(Answer::Expired) => return Err(Refused::Expired(id)),
            Some(earlier) => return Err(Refused::Answered { id, answer: earlier.clone() }),
            None if progress.state.is_some_and(State::is_over) => return Err(Refused::Expired(id)),
            None if question.hash != hash => return Err(Refused::Other { id, what: question.what.clone() }),
            None if Timestamp::now() >= *expires_at => return Err(Refused::Expired(id)),
            None => {}
        }
        let event = Event::Answered { call: id.call, answer: answer.clone() };
        match store.append(id.investigation, progress.next_seq, event).await {
            // Somebody was quicker by a moment: look again at what they did.
            Err(StoreError::Conflict(_)) => {}
            appended => return Ok(appended.map(drop)?),
        }
    }
}

/// Ends the questions whose time is over.
pub(crate) async fn expire(store: &dyn Store) -> Result<(), StoreError> {
    for pending in pending(store).await? {
        if Timestamp::now() < pending.expires_at {
            continue;
        }
        let id = pending.id.investigation;
        let next = store.transcript(id, 0).await?.last().map_or(0, |entry| entry.seq + 1);
        let expired = Event::Answered { call: pending.id.call, answer: Answer::Expired };
        match store.append(id, next, expired).await {
            Ok(_) => tracing::warn!(approval = %pending.id, "nobody answered in time"),
            Err(StoreError::Conflict(_)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
