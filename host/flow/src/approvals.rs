//! Questions to people: what waits, and the first answer to it.
//!
//! Invariant: an answer is an event of its investigation, appended where its transcript ends. So of two that come at once the
//! store takes one, and the other is told whose that was.

use std::collections::HashMap;

use watchkeeper_domain::approval::{Answer, ApprovalId, Pending};
use watchkeeper_domain::investigation::{Asked, Event, Investigation, Progress, State};
use watchkeeper_domain::store::{InvestigationQuery, Store, StoreError, Window};
use watchkeeper_domain::{InvestigationId, Timestamp, Untrusted};

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
    #[error("{id} is about another call than the one with this hash; look again: {}", what.line())]
    Other { id: ApprovalId, what: Untrusted },
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// All that wait, oldest first.
pub async fn pending(store: &dyn Store) -> Result<Vec<Pending>, StoreError> {
    let mut found = Vec::new();
    for investigation in waiting(store).await? {
        found.extend(question(store, investigation).await?);
    }
    found.sort_by_key(|pending| pending.asked_at);
    Ok(found)
}

async fn waiting(store: &dyn Store) -> Result<Vec<Investigation>, StoreError> {
    let window = Window { limit: Window::MAX_LIMIT, ..Window::default() };
    let waiting =
        InvestigationQuery { status: Some(State::Waiting), window, ..InvestigationQuery::default() };
    Ok(store.investigations(waiting).await?.items)
}

async fn question(store: &dyn Store, of: Investigation) -> Result<Option<Pending>, StoreError> {
    let progress = Progress::of(&store.transcript(of.id, 0).await?);
    Ok(progress.pending().map(|(call, asked)| Pending {
        id: ApprovalId { investigation: of.id, call },
        incident: of.incident,
        title: of.title,
        purpose: progress.calls[call as usize].call.purpose.clone(),
        question: asked.question.clone(),
        asked_at: asked.at,
        expires_at: asked.expires_at,
    }))
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

/// Finds questions whose time is over. Remembers until when each investigation waits, so that a look costs one query.
#[derive(Default)]
pub(crate) struct Expiry(HashMap<InvestigationId, Timestamp>);

impl Expiry {
    /// Investigations that wait no longer: a run of each says so in its transcript.
    pub(crate) async fn due(&mut self, store: &dyn Store) -> Result<Vec<InvestigationId>, StoreError> {
        let waiting = waiting(store).await?;
        self.0.retain(|id, _| waiting.iter().any(|investigation| investigation.id == *id));
        let mut due = Vec::new();
        for investigation in waiting {
            let id = investigation.id;
            if self.0.get(&id).is_some_and(|until| Timestamp::now() < *until) {
                continue;
            }
            // It may wait for another question by now.
            let Some(pending) = question(store, investigation).await? else { continue };
            self.0.insert(id, pending.expires_at);
            if Timestamp::now() >= pending.expires_at {
                due.push(id);
            }
        }
        Ok(due)
    }
}
