//! The outbox: one notice an incident and reason, on its way to each channel until that took it.

use watchkeeper_domain::Severity;
use watchkeeper_domain::escalation::{DeliveryState, NoticeKind};
use watchkeeper_domain::investigation::{Entry, Event};
use watchkeeper_domain::store::*;

use super::*;

/// Escalates the investigation, and gives the entry that says so.
async fn escalate(store: &AnyStore, id: InvestigationId, reason: &str) -> Entry {
    append(store, id, [escalated(reason)]).await;
    store.transcript(id, 0).await.unwrap().pop().unwrap()
}

async fn address(store: &AnyStore, channels: &[&str]) {
    let channels: Vec<String> = channels.iter().map(|name| (*name).to_owned()).collect();
    store.address_notices(&channels).await.unwrap();
}

async fn due(store: &AnyStore, channel: &str, now: Timestamp) -> Vec<Outgoing> {
    store.due_notices(channel, now, 100).await.unwrap()
}

fn reasons(found: &[Outgoing]) -> Vec<&str> {
    found.iter().map(|out| out.notice.reason.expose_untrusted().as_str()).collect()
}

fn of(found: &[Outgoing]) -> Vec<IncidentId> {
    found.iter().map(|out| out.notice.incident).collect()
}

pub async fn an_escalation_puts_its_notice_with_it(store: AnyStore) {
    let (incident, id) = investigated(&store, "a").await;
    append(&store, id, [Event::Concluded { report: report("unsure") }]).await;
    assert!(!store.has_unaddressed_notices().await.unwrap());
    let entry = escalate(&store, id, "confidence").await;
    assert!(store.has_unaddressed_notices().await.unwrap());
    address(&store, &[CHANNEL]).await;
    assert!(!store.has_unaddressed_notices().await.unwrap());
    let found = due(&store, CHANNEL, entry.at).await;
    assert_eq!(found.len(), 1, "due at once");
    let (notice, attempts) = (&found[0].notice, found[0].attempts);
    assert_eq!((notice.incident, notice.investigation, attempts), (incident, id, 0));
    assert_eq!((notice.title.line().as_str(), notice.severity), ("a is high", Severity::Critical));
    assert_eq!((notice.reason.line().as_str(), notice.escalated_at), ("confidence", entry.at));
    assert_eq!((notice.kind, found[0].created_at), (NoticeKind::Escalated, entry.at));
    assert_eq!(notice.report, Some(report("unsure")));
    assert!(notice.key.starts_with("wk-") && notice.key.ends_with("-inc-1"), "{}", notice.key);
}

pub async fn an_incident_and_reason_is_one_notice(store: AnyStore) {
    let (incident, first) = investigated(&store, "a").await;
    escalate(&store, first, "confidence 0.61 is below 0.70").await;
    for reason in ["confidence 0.58 is below 0.70", "its time is spent", "its time is spent"] {
        let again = store.request_investigation(incident).await.unwrap();
        escalate(&store, again, reason).await;
    }
    let found = outgoing(&store).await;
    assert_eq!(reasons(&found), ["confidence 0.61 is below 0.70"], "one after another");
    store.notice_delivered(found[0].id).await.unwrap();
    let found = outgoing(&store).await;
    assert_eq!(reasons(&found), ["its time is spent"]);
    store.notice_delivered(found[0].id).await.unwrap();
    // Nor once they have been delivered.
    let again = store.request_investigation(incident).await.unwrap();
    escalate(&store, again, "its time is spent").await;
    assert_eq!(outgoing(&store).await, []);
}

pub async fn an_incident_calls_for_so_many_reasons_and_no_more(store: AnyStore) {
    let (incident, _) = investigated(&store, "a").await;
    for n in 0..40_u8 {
        let id = store.request_investigation(incident).await.unwrap();
        escalate(&store, id, &format!("reason {}", char::from(b'A' + n))).await;
    }
    let mut told = 0;
    while let [out] = &outgoing(&store).await[..] {
        store.notice_delivered(out.id).await.unwrap();
        told += 1;
    }
    assert_eq!(told, 20);
}

pub async fn due_notices_come_in_their_order(store: AnyStore) {
    let mut incidents = Vec::new();
    for name in ["a", "b", "c"] {
        let (incident, id) = investigated(&store, name).await;
        incidents.push(incident);
        escalate(&store, id, "why").await;
    }
    assert_eq!(of(&outgoing(&store).await), incidents);
    assert_eq!(of(&store.due_notices(CHANNEL, far_future(), 2).await.unwrap()), incidents[..2]);
    assert_eq!(of(&due(&store, CHANNEL, at(0)).await), [], "they were escalated after that");
    assert_eq!(store.pending_notices().await.unwrap(), [(CHANNEL.to_owned(), 3)]);
}

pub async fn a_failed_notice_waits_for_its_time(store: AnyStore) {
    let (first, id) = investigated(&store, "a").await;
    let now = escalate(&store, id, "why").await.at;
    let (second, id) = investigated(&store, "b").await;
    escalate(&store, id, "why").await;
    let later = now.plus(Duration::from_secs(60));
    let failing = outgoing(&store).await[0].id;
    store.notice_failed(failing, "no route", Some(later)).await.unwrap();

    let just_before = later.minus(Duration::from_millis(1));
    assert_eq!(of(&due(&store, CHANNEL, just_before).await), [second]);
    let again = due(&store, CHANNEL, later).await;
    let order: Vec<_> = again.iter().map(|out| (out.notice.incident, out.attempts)).collect();
    assert_eq!(order, [(second, 0), (first, 1)], "by when they are due");
    let listed =
        store.deliveries(DeliveryQuery { incident: Some(first), ..Default::default() }).await.unwrap();
    let one = &listed.items[0];
    assert_eq!((one.attempts, one.last_error.as_deref(), one.next_at), (1, Some("no route"), Some(later)));
    assert_eq!((one.status, one.ended_at, one.channel.as_str()), (DeliveryState::Pending, None, CHANNEL));
}

pub async fn each_channel_has_its_own_way(store: AnyStore) {
    let (_, id) = investigated(&store, "a").await;
    escalate(&store, id, "why").await;
    address(&store, &["one", "two"]).await;
    let one = due(&store, "one", far_future()).await.remove(0);
    store.notice_failed(one.id, "no route", Some(at(0))).await.unwrap();
    store.notice_delivered(one.id).await.unwrap();
    assert_eq!(due(&store, "one", far_future()).await, []);
    assert_eq!(due(&store, "two", far_future()).await[0].attempts, 0);
    // One that comes later has no part in what was before; one that is gone holds nothing up.
    address(&store, &["one", "three"]).await;
    assert_eq!(due(&store, "three", far_future()).await, []);
    assert_eq!(due(&store, "two", far_future()).await, []);
    assert_eq!(store.pending_notices().await.unwrap(), []);
    let two = DeliveryQuery { channel: Some("two".into()), ..Default::default() };
    let two = store.deliveries(two).await.unwrap().items.remove(0);
    assert_eq!(two.status, DeliveryState::GivenUp);
    assert!(two.last_error.unwrap().contains("no longer configured"));
}

pub async fn what_is_given_up_is_tried_no_more(store: AnyStore) {
    let (_, id) = investigated(&store, "a").await;
    escalate(&store, id, "why").await;
    let out = outgoing(&store).await.remove(0);
    store.notice_failed(out.id, &"no route ".repeat(1000), None).await.unwrap();
    assert_eq!(outgoing(&store).await, []);
    // Nor is it delivered any more.
    store.notice_delivered(out.id).await.unwrap();
    let given_up = DeliveryQuery { status: Some(DeliveryState::GivenUp), ..Default::default() };
    let listed = store.deliveries(given_up).await.unwrap().items;
    assert_eq!((listed.len(), listed[0].attempts, listed[0].next_at), (1, 1, None));
    assert_eq!(listed[0].last_error.as_ref().unwrap().len(), 1000, "an error is kept up to a length");
}

pub async fn a_closed_incident_is_told_to_whom_was_called(store: AnyStore) {
    let (incident, id) = investigated(&store, "a").await;
    let (_, silent) = investigated(&store, "b").await;
    append(&store, silent, [Event::Concluded { report: report("sure") }, Event::Completed]).await;
    escalate(&store, id, "why").await;
    say(&store, 1, [resolved("a"), resolved("b")]).await;
    let found = outgoing(&store).await;
    assert_eq!(found.len(), 1, "first that it is needed, and nothing of the other: {found:#?}");
    store.notice_delivered(found[0].id).await.unwrap();
    let closed = outgoing(&store).await.remove(0);
    assert_eq!((closed.notice.incident, closed.notice.kind), (incident, NoticeKind::Closed));
    assert_eq!((&closed.notice.key, closed.notice.escalated_at), (&found[0].notice.key, at(1)));
    store.notice_delivered(closed.id).await.unwrap();

    // The same alert again, and the same reason: whoever was told that it is over must hear of it.
    say(&store, 2, [critical("a")]).await;
    let again = store.request_investigation(incident).await.unwrap();
    escalate(&store, again, "why").await;
    assert_eq!(reasons(&outgoing(&store).await), ["why"]);
}
