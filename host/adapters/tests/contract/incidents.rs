//! Which alerts belong together, and what an incident causes.

use std::sync::Arc;

use watchkeeper_domain::Severity;
use watchkeeper_domain::alert::Alert;
use watchkeeper_domain::incident::{Correlation, IncidentStatus};
use watchkeeper_domain::investigation::{Event, State, Trigger};
use watchkeeper_domain::store::*;

use super::*;

pub async fn alerts_of_one_key_share_an_incident(store: AnyStore) {
    say(&store, 0, [of_service("db", firing("a")), of_service("web", firing("b"))]).await;
    let other_source =
        Delivery { source: "datadog".into(), ..delivery(1, [of_service("db", critical("c"))]) };
    store.ingest(other_source).await.unwrap();
    let found = incidents(&store).await;
    assert_eq!(found.len(), 2);
    let db = &found[1];
    assert_eq!((db.alerts, db.firing, db.severity), (2, 2, Severity::Critical));
    assert_eq!(
        (db.title.line().as_str(), db.source.as_str()),
        ("a is high", "prom"),
        "of the alert that opened it"
    );
}

pub async fn an_incident_closes_with_its_last_alert(store: AnyStore) {
    let db = |alert| of_service("db", alert);
    say(&store, 0, [db(firing("a")), db(firing("b"))]).await;
    say(&store, 10, [db(resolved("a"))]).await;
    let incident = the_incident(&store).await;
    assert_eq!((incident.status, incident.alerts, incident.firing), (IncidentStatus::Open, 2, 1));
    say(&store, 20, [db(resolved("b"))]).await;
    let incident = the_incident(&store).await;
    assert_eq!((incident.status, incident.closed_at), (IncidentStatus::Closed, Some(at(20))));
    assert_eq!((incident.alerts, incident.firing), (2, 0));
}

pub async fn once_closed_its_key_opens_another(store: AnyStore) {
    let db = |alert| of_service("db", alert);
    // In one delivery, too: what it closes is closed for the alerts after it.
    say(&store, 0, [db(firing("a")), db(resolved("a")), db(firing("b"))]).await;
    let found = incidents(&store).await;
    let states: Vec<_> = found.iter().map(|incident| incident.status).collect();
    assert_eq!(states, [IncidentStatus::Open, IncidentStatus::Closed]);
}

pub async fn a_reopened_alert_joins_the_open_incident_of_its_key(store: AnyStore) {
    let db = |alert| of_service("db", alert);
    say(&store, 0, [db(firing("a"))]).await;
    say(&store, 10, [db(resolved("a"))]).await;
    say(&store, 20, [db(firing("b"))]).await;
    say(&store, 30, [db(firing("a"))]).await;
    assert_eq!(incident_of(&store, "a").await, incident_of(&store, "b").await);
    let found = incidents(&store).await;
    let states: Vec<_> = found.iter().map(|incident| (incident.status, incident.alerts)).collect();
    assert_eq!(states, [(IncidentStatus::Open, 2), (IncidentStatus::Closed, 0)]);
}

pub async fn a_new_alert_may_raise_the_severity_and_start_the_investigation(store: AnyStore) {
    let first = say(&store, 0, [of_service("db", firing("a"))]).await;
    assert_eq!(first.investigations, []);
    let second = say(&store, 1, [of_service("db", critical("b"))]).await;
    assert_eq!(second.investigations.len(), 1);
    let incident = the_incident(&store).await;
    assert_eq!(incident.severity, Severity::Critical);
    assert_eq!(incident.investigation, Some(second.investigations[0]));
}

pub async fn a_known_alert_may_raise_the_severity_and_start_the_investigation(store: AnyStore) {
    say(&store, 0, [firing("a")]).await;
    let raised = say(&store, 1, [critical("a")]).await;
    assert_eq!((told(&raised).as_str(), raised.investigations.len()), ("1 heard", 1));
    assert_eq!(the_alert(&store).await.severity, Severity::Critical);
    assert_eq!(the_incident(&store).await.severity, Severity::Critical);
    // It may fall again: the alert's does, the incident's is the highest that it had.
    say(&store, 2, [firing("a")]).await;
    assert_eq!(the_alert(&store).await.severity, Severity::Warning);
    assert_eq!(the_incident(&store).await.severity, Severity::Critical);
}

pub async fn an_incident_is_investigated_by_itself_once(store: AnyStore) {
    let db = |alert| of_service("db", alert);
    let receipts = [
        say(&store, 0, [db(critical("a")), db(critical("b"))]).await,
        say(&store, 1, [db(critical("c"))]).await,
        say(&store, 2, [db(resolved("a")), db(resolved("b")), db(resolved("c"))]).await,
        say(&store, 3, [db(critical("a"))]).await,
    ];
    let started: Vec<_> = receipts.iter().map(|receipt| receipt.investigations.len()).collect();
    assert_eq!(started, [1, 0, 0, 0]);
    assert_eq!(the_incident(&store).await.status, IncidentStatus::Open);
}

pub async fn resolved_starts_no_investigation(store: AnyStore) {
    say(&store, 0, [firing("a")]).await;
    let critical = |id| Alert { severity: Severity::Critical, ..resolved(id) };
    let receipt = say(&store, 1, [critical("a"), critical("never-fired")]).await;
    assert_eq!(receipt.investigations, []);
    assert_eq!(store.investigations(InvestigationQuery::default()).await.unwrap().items, []);
}

pub async fn severities_that_are_not_named_start_none(store: AnyStore) {
    let named = Correlation { investigate: vec![Severity::Info], ..correlation() };
    let said = [critical("a"), firing("b"), Alert { severity: Severity::Info, ..firing("c") }];
    let receipt = store.ingest(Delivery { correlation: Arc::new(named), ..delivery(0, said) }).await.unwrap();
    assert_eq!(receipt.investigations.len(), 1);
    let investigation = store.investigation(receipt.investigations[0]).await.unwrap().unwrap();
    assert_eq!(investigation.incident, incident_of(&store, "c").await);
}

pub async fn the_one_too_many_is_escalated_at_once(store: AnyStore) {
    let rule = Arc::new(Correlation { max_queued: 2, ..correlation() });
    let said = ["a", "b", "c"].map(critical);
    let receipt = store.ingest(Delivery { correlation: rule, ..delivery(0, said) }).await.unwrap();
    let mut states = Vec::new();
    for id in &receipt.investigations {
        states.push(store.investigation(*id).await.unwrap().unwrap().state);
    }
    assert_eq!(states, [State::Started, State::Started, State::Escalated]);
    assert_eq!(store.open_investigations(9).await.unwrap(), receipt.investigations[..2]);

    let too_many = store.investigation(receipt.investigations[2]).await.unwrap().unwrap();
    assert!(too_many.ended_at.is_some() && too_many.reason.unwrap().contains("max_queued"));
    let events = store.transcript(too_many.id, 0).await.unwrap();
    assert_eq!(events[0].event, Event::Started { trigger: Trigger::Automatic });
    assert!(matches!(events[1].event, Event::Escalated { .. }) && events.len() == 2);
    let notices = outgoing(&store).await;
    let told: Vec<_> = notices.iter().map(|out| out.notice.incident).collect();
    assert_eq!(told, [incident_of(&store, "c").await]);
}

pub async fn concurrent_deliveries_of_one_key_give_one_incident(store: AnyStore) {
    let tasks: Vec<_> = (0..64)
        .map(|n| {
            let store = store.clone();
            let alert = of_service("db", critical(&format!("a{n}")));
            tokio::spawn(async move { say(&store, 0, [alert]).await })
        })
        .collect();
    let mut started = 0;
    for task in tasks {
        started += task.await.unwrap().investigations.len();
    }
    assert_eq!(started, 1);
    let incident = the_incident(&store).await;
    assert_eq!((incident.alerts, incident.firing), (64, 64));
    assert_eq!(store.open_investigations(9).await.unwrap().len(), 1);
}

/// What the rules group by may change, and so may an alert's labels: the reopened alert's old incident has a key that
/// another open incident has by now.
pub async fn reopening_under_other_labels_is_kept(store: AnyStore) {
    say(&store, 0, [of_service("db", firing("a"))]).await;
    say(&store, 10, [of_service("db", resolved("a"))]).await;
    say(&store, 20, [of_service("db", firing("b"))]).await;
    let again = store.ingest(delivery(30, [of_service("web", firing("a"))])).await;
    assert_eq!(told(&again.unwrap()), "1 reopened");
    let open = incidents(&store).await.into_iter().filter(|i| i.status == IncidentStatus::Open);
    assert_eq!(open.map(|incident| incident.firing).sum::<u32>(), 2);
}

pub async fn an_incident_whose_alerts_all_moved_on_is_closed(store: AnyStore) {
    say(&store, 0, [of_service("db", firing("a")), of_service("web", firing("b"))]).await;
    say(&store, 10, [of_service("web", critical("a"))]).await;
    for second in [20, 21] {
        say(&store, second, [of_service("web", resolved("a")), of_service("web", resolved("b"))]).await;
    }
    let open: Vec<_> =
        incidents(&store).await.into_iter().filter(|i| i.status == IncidentStatus::Open).collect();
    assert_eq!(open, [], "nothing fires any more");
}

pub async fn the_leading_alert_is_firing_then_severe_then_old(store: AnyStore) {
    let db = |alert| of_service("db", alert);
    let began = |second, alert| Alert { starts_at: Some(at(second)), ..db(alert) };
    say(&store, 0, [began(0, critical("done")), began(1, firing("mild"))]).await;
    say(&store, 1, [began(2, critical("first")), began(3, critical("second"))]).await;
    say(&store, 2, [began(0, resolved("done"))]).await;
    let incident = the_incident(&store).await.id;
    let mut led = Vec::new();
    for next in [began(2, resolved("first")), began(3, resolved("second")), began(1, resolved("mild"))] {
        led.push(store.leading_alert(incident).await.unwrap().unwrap().id);
        say(&store, 3, [next]).await;
    }
    assert_eq!(led, ["first", "second", "mild"]);
    // Of those that are over there is a leading one, too: a request may still be made.
    let over = store.leading_alert(incident).await.unwrap().unwrap();
    assert_ne!(over.id, "mild");
}
