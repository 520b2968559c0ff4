//! The outbox: one notice an incident, until it is delivered.

use watchkeeper_domain::Severity;
use watchkeeper_domain::investigation::{Entry, Event};
use watchkeeper_domain::store::*;

use super::*;

/// Escalates the investigation, and gives the entry that says so.
async fn escalate(store: &AnyStore, id: InvestigationId, reason: &str) -> Entry {
    append(store, id, [escalated(reason)]).await;
    store.transcript(id, 0).await.unwrap().pop().unwrap()
}

async fn due(store: &AnyStore, now: Timestamp) -> Vec<Outgoing> {
    store.due_notices(now, 100).await.unwrap()
}

pub async fn an_escalation_puts_its_notice_with_it(store: AnyStore) {
    let (incident, id) = investigated(&store, "a").await;
    append(&store, id, [Event::Concluded { report: report("unsure") }]).await;
    assert_eq!(due(&store, far_future()).await, []);
    let entry = escalate(&store, id, "confidence").await;
    let found = due(&store, entry.at).await;
    assert_eq!(found.len(), 1, "due at once");
    let (notice, attempts) = (&found[0].notice, found[0].attempts);
    assert_eq!((notice.incident, notice.investigation, attempts), (incident, id, 0));
    assert_eq!((notice.title.as_str(), notice.severity), ("a is high", Severity::Critical));
    assert_eq!((notice.reason.as_str(), notice.escalated_at), ("confidence", entry.at));
    assert_eq!(notice.report, Some(report("unsure")));
}

pub async fn two_escalations_of_an_incident_are_one_notice(store: AnyStore) {
    let (incident, first) = investigated(&store, "a").await;
    escalate(&store, first, "first").await;
    let second = store.request_investigation(incident).await.unwrap();
    escalate(&store, second, "second").await;
    let found = due(&store, far_future()).await;
    assert_eq!(found.iter().map(|out| out.notice.reason.as_str()).collect::<Vec<_>>(), ["first"]);
    // Nor once the first has been delivered.
    store.notice_delivered(found[0].id).await.unwrap();
    let third = store.request_investigation(incident).await.unwrap();
    escalate(&store, third, "third").await;
    assert_eq!(due(&store, far_future()).await, []);
}

pub async fn due_notices_come_in_their_order(store: AnyStore) {
    let mut incidents = Vec::new();
    for name in ["a", "b", "c"] {
        let (incident, id) = investigated(&store, name).await;
        incidents.push(incident);
        escalate(&store, id, "why").await;
    }
    let of = |found: Vec<Outgoing>| found.into_iter().map(|out| out.notice.incident).collect::<Vec<_>>();
    assert_eq!(of(due(&store, far_future()).await), incidents);
    assert_eq!(of(store.due_notices(far_future(), 2).await.unwrap()), incidents[..2]);
    assert_eq!(of(due(&store, at(0)).await), [], "they were escalated after that");
}

pub async fn a_failed_notice_waits_for_its_time(store: AnyStore) {
    let (first, id) = investigated(&store, "a").await;
    let now = escalate(&store, id, "why").await.at;
    let (second, id) = investigated(&store, "b").await;
    escalate(&store, id, "why").await;
    let later = now.plus(Duration::from_secs(60));
    let failing = due(&store, now).await[0].id;
    store.notice_failed(failing, "no route", later).await.unwrap();

    let just_before = later.minus(Duration::from_millis(1));
    let waiting: Vec<_> = due(&store, just_before).await.iter().map(|out| out.notice.incident).collect();
    assert_eq!(waiting, [second]);
    let again = due(&store, later).await;
    let order: Vec<_> = again.iter().map(|out| (out.notice.incident, out.attempts)).collect();
    assert_eq!(order, [(second, 0), (first, 1)], "by when they are due");
}

pub async fn a_delivered_notice_is_gone(store: AnyStore) {
    let (_, id) = investigated(&store, "a").await;
    escalate(&store, id, "why").await;
    let out = due(&store, far_future()).await.remove(0);
    store.notice_failed(out.id, "no route", at(0)).await.unwrap();
    store.notice_delivered(out.id).await.unwrap();
    assert_eq!(due(&store, far_future()).await, []);
}
