//! Which alerts are new, and what another word of a known one does.

use std::collections::BTreeSet;

use watchkeeper_domain::alert::{Alert, Status};
use watchkeeper_domain::incident::IncidentStatus;
use watchkeeper_domain::investigation::{Event, State, Trigger};
use watchkeeper_domain::store::*;
use watchkeeper_domain::{Severity, Timestamp};

use super::*;

pub async fn a_delivery_is_kept_whole(store: AnyStore) {
    let alert = Alert {
        description: "über 90 %".into(),
        annotations: [("runbook".to_owned(), "https://wiki/disk".to_owned())].into_iter().collect(),
        ..of_service("db", critical("disk"))
    };
    let receipt = say(&store, 7, [alert.clone()]).await;
    assert_eq!(told(&receipt), "1 new");

    let stored = the_alert(&store).await;
    assert_eq!(stored.to_alert(), alert);
    assert_eq!((stored.source.as_str(), stored.received_at), ("prom", at(7)));

    let incident = the_incident(&store).await;
    assert_eq!(stored.incident, Some(incident.id));
    assert_eq!((incident.status, incident.severity), (IncidentStatus::Open, Severity::Critical));
    assert_eq!((incident.title.line().as_str(), incident.source.as_str()), ("disk is high", "prom"));
    assert_eq!((incident.opened_at, incident.closed_at), (at(7), None));
    assert_eq!((incident.alerts, incident.firing), (1, 1));

    let [id] = receipt.investigations[..] else { panic!("{receipt:?}") };
    assert_eq!(incident.investigation, Some(id));
    let investigation = store.investigation(id).await.unwrap().unwrap();
    assert_eq!((investigation.incident, investigation.state), (incident.id, State::Started));
    assert_eq!(investigation.trigger, Trigger::Automatic);
    let transcript = store.transcript(id, 0).await.unwrap();
    assert_eq!(transcript.len(), 1);
    assert_eq!(transcript[0].event, Event::Started { trigger: Trigger::Automatic });
}

pub async fn an_identical_delivery_adds_nothing(store: AnyStore) {
    let instances = || [critical("a"), critical("b"), firing("c")];
    assert_eq!(told(&say(&store, 0, instances()).await), "3 new");
    let before = (alerts(&store).await, incidents(&store).await);
    let again = say(&store, 1, instances()).await;
    assert_eq!(told(&again), "3 heard");
    assert_eq!(again.investigations, []);
    assert_eq!((alerts(&store).await, incidents(&store).await), before);
}

pub async fn the_same_alert_twice_in_a_delivery_is_one(store: AnyStore) {
    assert_eq!(told(&say(&store, 0, [critical("a"), critical("a")]).await), "1 new, 1 heard");
    assert_eq!(the_incident(&store).await.alerts, 1);
}

pub async fn instances_with_one_start_are_alerts_of_their_own(store: AnyStore) {
    let instances = (0..20).map(|n| Alert { title: "HighCPU".into(), ..firing(&format!("fingerprint-{n}")) });
    assert_eq!(told(&say(&store, 0, instances).await), "20 new");
    assert_eq!(alerts(&store).await.len(), 20);
}

pub async fn one_id_of_two_sources_is_two_alerts(store: AnyStore) {
    let from = |source: &str| Delivery { source: source.into(), ..delivery(0, [firing("a")]) };
    for source in ["prom", "datadog"] {
        assert_eq!(told(&store.ingest(from(source)).await.unwrap()), "1 new");
    }
    assert_eq!(alerts(&store).await.len(), 2);
    let resolve = Delivery { source: "datadog".into(), ..delivery(1, [resolved("a")]) };
    store.ingest(resolve).await.unwrap();
    let still: Vec<_> = alerts(&store).await.into_iter().filter(|a| a.status == Status::Firing).collect();
    assert_eq!(still.iter().map(|alert| alert.source.as_str()).collect::<Vec<_>>(), ["prom"]);
}

pub async fn another_start_is_another_occurrence(store: AnyStore) {
    let starting = |second| Alert { starts_at: Some(at(second)), ..firing("a") };
    assert_eq!(told(&say(&store, 0, [starting(0)]).await), "1 new");
    assert_eq!(told(&say(&store, 1, [starting(1)]).await), "1 new");
    assert_eq!(told(&say(&store, 2, [starting(0), starting(1)]).await), "2 heard");
}

pub async fn a_resolve_closes_the_alert_and_says_when(store: AnyStore) {
    say(&store, 0, [firing("a"), firing("b")]).await;
    let with_end = Alert { ends_at: Some(at(50)), ..resolved("a") };
    assert_eq!(told(&say(&store, 60, [with_end, resolved("b")]).await), "2 resolved");
    let ends: Vec<_> = alerts(&store).await.into_iter().map(|alert| (alert.id, alert.ends_at)).collect();
    assert_eq!(ends, [("b".into(), Some(at(60))), ("a".into(), Some(at(50)))]);
    assert_eq!(told(&say(&store, 70, [resolved("a")]).await), "1 heard");
}

pub async fn the_same_start_reopens_the_alert_and_its_incident(store: AnyStore) {
    say(&store, 0, [firing("a")]).await;
    let opened = the_incident(&store).await;
    say(&store, 10, [resolved("a")]).await;
    assert_eq!(the_incident(&store).await.status, IncidentStatus::Closed);
    assert_eq!(told(&say(&store, 20, [firing("a")]).await), "1 reopened");
    let alert = the_alert(&store).await;
    assert_eq!((alert.status, alert.ends_at), (Status::Firing, None));
    assert_eq!(the_incident(&store).await, opened);
}

pub async fn an_older_firing_does_not_reopen(store: AnyStore) {
    say(&store, 0, [firing("a")]).await;
    say(&store, 10, [resolved("a")]).await;
    assert_eq!(told(&say(&store, 5, [critical("a")]).await), "1 stale");
    let (alert, incident) = (the_alert(&store).await, the_incident(&store).await);
    assert_eq!((alert.status, alert.severity), (Status::Resolved, Severity::Warning));
    assert_eq!((incident.status, incident.investigation), (IncidentStatus::Closed, None));
}

pub async fn an_older_resolve_does_not_close(store: AnyStore) {
    say(&store, 10, [firing("a")]).await;
    assert_eq!(told(&say(&store, 5, [resolved("a")]).await), "1 stale");
    assert_eq!(the_alert(&store).await.status, Status::Firing);
    assert_eq!(the_incident(&store).await.status, IncidentStatus::Open);
}

pub async fn without_a_start_the_window_tells_occurrences_apart(store: AnyStore) {
    let a = || [undated(firing("a"))];
    assert_eq!(told(&say(&store, 0, a()).await), "1 new");
    assert_eq!(told(&say(&store, 300, a()).await), "1 heard");
    // Heard of at 300, so the window goes on to 600.
    assert_eq!(told(&say(&store, 600, a()).await), "1 heard");
    assert_eq!(told(&say(&store, 901, a()).await), "1 new");
    let starts: Vec<_> = alerts(&store).await.iter().map(|alert| alert.starts_at).collect();
    assert_eq!(starts, [at(901), at(0)]);
}

pub async fn without_a_start_a_firing_after_the_resolve_is_the_next(store: AnyStore) {
    let said = [
        (0, undated(firing("a")), "1 new"),
        (10, undated(resolved("a")), "1 resolved"),
        (20, undated(firing("a")), "1 new"),
        (30, undated(resolved("a")), "1 resolved"),
        (30, undated(firing("a")), "1 new"),
    ];
    for (second, alert, expected) in said {
        assert_eq!(told(&say(&store, second, [alert]).await), expected, "at {second}");
    }
    let firing: Vec<_> = alerts(&store).await.iter().map(|a| a.status == Status::Firing).collect();
    assert_eq!(firing, [true, false, false]);
}

pub async fn without_a_start_an_older_firing_is_stale(store: AnyStore) {
    say(&store, 10, [undated(firing("a"))]).await;
    say(&store, 20, [undated(resolved("a"))]).await;
    assert_eq!(told(&say(&store, 15, [undated(firing("a"))]).await), "1 stale");
    assert_eq!(the_alert(&store).await.status, Status::Resolved);
}

/// A sender's start may be the last moment that can be written; no start comes after that one.
pub async fn without_a_start_the_last_moment_of_all_is_no_dead_end(store: AnyStore) {
    let last = Some(Timestamp::from_millis(u64::MAX));
    say(&store, 0, [Alert { starts_at: last, ..firing("a") }]).await;
    say(&store, 1, [Alert { starts_at: last, ..resolved("a") }]).await;
    store.ingest(delivery(2, [undated(firing("a"))])).await.unwrap();
    assert_eq!(incidents(&store).await[0].status, IncidentStatus::Open);
}

pub async fn first_heard_of_resolved_opens_nothing(store: AnyStore) {
    let alert = Alert { severity: Severity::Critical, ..resolved("a") };
    let receipt = say(&store, 5, [alert]).await;
    assert_eq!((told(&receipt).as_str(), &receipt.investigations[..]), ("1 new", &[][..]));
    let stored = the_alert(&store).await;
    assert_eq!((stored.status, stored.ends_at, stored.incident), (Status::Resolved, Some(at(5)), None));
    assert_eq!(incidents(&store).await, []);
}

pub async fn concurrent_ingests_never_double(store: AnyStore) {
    let said = || (0..10).map(|n| critical(&format!("a{n}"))).chain([undated(critical("undated"))]);
    let tasks: Vec<_> = (0..64)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move { say(&store, 0, said()).await })
        })
        .collect();
    let (mut new, mut heard, mut investigations) = (0, 0, Vec::new());
    for task in tasks {
        let receipt = task.await.unwrap();
        new += receipt.new;
        heard += receipt.heard;
        investigations.extend(receipt.investigations);
    }
    assert_eq!((new, heard), (11, 63 * 11));
    assert_eq!(alerts(&store).await.len(), 11);
    assert_eq!(incidents(&store).await.len(), 11);
    assert_eq!(investigations.iter().collect::<BTreeSet<_>>().len(), 11);
    assert_eq!(investigations.len(), 11);
}
