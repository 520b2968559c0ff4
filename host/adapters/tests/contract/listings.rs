//! Listings: newest first, filtered, in pages that are whole.

use std::collections::BTreeSet;

use watchkeeper_domain::alert::{Severity, Status};
use watchkeeper_domain::incident::IncidentStatus;
use watchkeeper_domain::investigation::{Event, State};
use watchkeeper_domain::store::*;

use super::*;

async fn ids(store: &AnyStore, query: AlertQuery) -> Vec<String> {
    store.alerts(query).await.unwrap().items.into_iter().map(|alert| alert.id.into_exposed()).collect()
}

/// An alert, an incident and an investigation each, of two sources, a minute apart; `web`'s is over.
async fn two_of_each(store: &AnyStore) -> [(IncidentId, InvestigationId); 2] {
    let db = with_labels(&[("service", "db"), ("zone", "a")], critical("disk"));
    let first = say(store, 0, [db]).await.investigations[0];
    let web = |alert| Delivery {
        source: "datadog".into(),
        ..delivery(60, [with_labels(&[("service", "web"), ("zone", "a")], alert)])
    };
    store.ingest(web(critical("cpu"))).await.unwrap();
    store.ingest(web(Alert { severity: Severity::Info, ..resolved("cpu") })).await.unwrap();
    let found = incidents(store).await;
    let second = found[0].investigation.unwrap();
    append(store, second, [Event::Running, escalated("unsure")]).await;
    [(found[1].id, first), (found[0].id, second)]
}

fn window(since: Option<u64>, until: Option<u64>) -> Window {
    Window { since: since.map(at), until: until.map(at), ..Window::default() }
}

fn labels(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

pub async fn listings_are_newest_first(store: AnyStore) {
    // By arrival, not by what the senders say.
    for (second, name) in [(50, "a"), (10, "b"), (30, "c")] {
        say(&store, second, [Alert { starts_at: Some(at(second)), ..critical(name) }]).await;
    }
    assert_eq!(ids(&store, AlertQuery::default()).await, ["c", "b", "a"]);
    let titles: Vec<_> = incidents(&store).await.into_iter().map(|incident| incident.title).collect();
    assert_eq!(titles, ["c is high", "b is high", "a is high"]);
    let found = store.investigations(InvestigationQuery::default()).await.unwrap();
    assert_eq!(found.items.into_iter().map(|found| found.title).collect::<Vec<_>>(), titles);
    assert_eq!(found.next, None);
}

pub async fn alerts_are_filtered(store: AnyStore) {
    let [(db, _), (web, _)] = two_of_each(&store).await;
    let all = AlertQuery::default;
    let cases = [
        (AlertQuery { source: Some("prom".into()), ..all() }, &["disk"][..]),
        (AlertQuery { source: Some("nobody".into()), ..all() }, &[]),
        (AlertQuery { severity: Some(Severity::Critical), source: Some("prom".into()), ..all() }, &["disk"]),
        (AlertQuery { severity: Some(Severity::Warning), ..all() }, &[]),
        (AlertQuery { status: Some(Status::Firing), ..all() }, &["disk"]),
        (AlertQuery { status: Some(Status::Resolved), ..all() }, &["cpu"]),
        (AlertQuery { incident: Some(db), ..all() }, &["disk"]),
        (AlertQuery { incident: Some(web), ..all() }, &["cpu"]),
        (AlertQuery { labels: labels(&[("zone", "a")]), ..all() }, &["cpu", "disk"]),
        (AlertQuery { labels: labels(&[("zone", "a"), ("service", "db")]), ..all() }, &["disk"]),
        (AlertQuery { labels: labels(&[("zone", "b")]), ..all() }, &[]),
        (AlertQuery { labels: labels(&[("zone", "")]), ..all() }, &[]),
        (AlertQuery { window: window(Some(60), None), ..all() }, &["cpu"]),
        (AlertQuery { window: window(None, Some(60)), ..all() }, &["disk"]),
        (AlertQuery { window: window(Some(0), Some(61)), ..all() }, &["cpu", "disk"]),
        (AlertQuery { window: window(Some(61), None), ..all() }, &[]),
    ];
    for (query, expected) in cases {
        assert_eq!(ids(&store, query.clone()).await, expected, "{query:?}");
    }
}

pub async fn incidents_are_filtered(store: AnyStore) {
    let [(db, _), (web, _)] = two_of_each(&store).await;
    let all = IncidentQuery::default;
    let cases = [
        (IncidentQuery { source: Some("prom".into()), ..all() }, vec![db]),
        (IncidentQuery { severity: Some(Severity::Critical), ..all() }, vec![web, db]),
        (IncidentQuery { severity: Some(Severity::Info), ..all() }, vec![]),
        (IncidentQuery { status: Some(IncidentStatus::Open), ..all() }, vec![db]),
        (IncidentQuery { status: Some(IncidentStatus::Closed), ..all() }, vec![web]),
        (IncidentQuery { labels: labels(&[("zone", "a")]), ..all() }, vec![web, db]),
        (IncidentQuery { labels: labels(&[("zone", "a"), ("service", "web")]), ..all() }, vec![web]),
        (IncidentQuery { window: window(Some(60), None), ..all() }, vec![web]),
        (IncidentQuery { window: window(None, Some(60)), ..all() }, vec![db]),
    ];
    for (query, expected) in cases {
        let found = store.incidents(query.clone()).await.unwrap().items;
        assert_eq!(found.iter().map(|found| found.id).collect::<Vec<_>>(), expected, "{query:?}");
    }
}

pub async fn investigations_are_filtered(store: AnyStore) {
    let [(db, first), (_, second)] = two_of_each(&store).await;
    let all = InvestigationQuery::default;
    let cases = [
        (InvestigationQuery { source: Some("datadog".into()), ..all() }, vec![second]),
        (InvestigationQuery { severity: Some(Severity::Critical), ..all() }, vec![second, first]),
        (InvestigationQuery { severity: Some(Severity::Warning), ..all() }, vec![]),
        (InvestigationQuery { status: Some(State::Started), ..all() }, vec![first]),
        (InvestigationQuery { status: Some(State::Escalated), ..all() }, vec![second]),
        (InvestigationQuery { status: Some(State::Waiting), ..all() }, vec![]),
        (InvestigationQuery { incident: Some(db), ..all() }, vec![first]),
        (InvestigationQuery { labels: labels(&[("zone", "a")]), ..all() }, vec![second, first]),
        (InvestigationQuery { labels: labels(&[("service", "db")]), ..all() }, vec![first]),
        (InvestigationQuery { window: window(Some(60), None), ..all() }, vec![second]),
        (InvestigationQuery { window: window(None, Some(60)), ..all() }, vec![first]),
    ];
    for (query, expected) in cases {
        let found = store.investigations(query.clone()).await.unwrap().items;
        assert_eq!(found.iter().map(|found| found.id).collect::<Vec<_>>(), expected, "{query:?}");
    }
}

pub async fn labels_of_any_spelling_are_found(store: AnyStore) {
    let odd = [
        ("k8s.io/pod-name", "web.1"),
        ("quote\"d", "say \"no\""),
        ("single'", "' OR 1=1 --"),
        ("größe", "夜🦉"),
        ("back\\slash", "C:\\new"),
        ("$.path[0]", "%_?*"),
        ("line\nbreak", "tab\there"),
        ("space d", " edge "),
        ("number", "1.0"),
        ("true", "null"),
    ];
    for (n, pair) in odd.iter().enumerate() {
        say(&store, 0, [with_labels(&[*pair], critical(&format!("a{n}")))]).await;
    }
    for (n, pair) in odd.iter().enumerate() {
        let only = labels(&[*pair]);
        let found = ids(&store, AlertQuery { labels: only.clone(), ..AlertQuery::default() }).await;
        assert_eq!(found, [format!("a{n}")], "{pair:?}");
        let query = IncidentQuery { labels: only, ..IncidentQuery::default() };
        assert_eq!(store.incidents(query).await.unwrap().items.len(), 1, "{pair:?}");
        let stored = alerts(&store).await;
        assert!(stored.iter().any(|alert| alert.labels.get(pair.0) == Some(&pair.1.into())), "{pair:?}");
    }
}

pub async fn pages_neither_skip_nor_repeat(store: AnyStore) {
    let said = |batch: u64, count| (0..count).map(move |n| firing(&format!("{batch}-{n}")));
    for batch in 0..25 {
        say(&store, batch, said(batch, 100)).await;
    }
    let there: BTreeSet<i64> = alerts(&store).await.iter().map(|alert| alert.seq).collect();
    assert_eq!(there.len(), 2500);
    for limit in [Window::MAX_LIMIT, 137] {
        let (mut seen, mut cursor, mut batch) = (Vec::new(), None, 1000 * u64::from(limit));
        loop {
            let window = Window { limit, cursor, ..Window::default() };
            let page = store.alerts(AlertQuery { window, ..AlertQuery::default() }).await.unwrap();
            assert!(page.items.len() == limit as usize || page.next.is_none());
            seen.extend(page.items.iter().map(|alert| alert.seq));
            batch += 1;
            // Some are new, some are there already and change.
            say(&store, 9000, said(batch, 3).chain([resolved("3-7")])).await;
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
        }
        assert!(seen.windows(2).all(|pair| pair[0] > pair[1]), "newest first, nothing twice");
        assert!(there.is_subset(&seen.into_iter().collect()));
    }
}

pub async fn pages_of_incidents_and_investigations_are_whole(store: AnyStore) {
    say(&store, 0, (0..7).map(|n| critical(&format!("a{n}")))).await;
    let (mut opened, mut begun, mut cursors) = (Vec::new(), Vec::new(), [None, None]);
    for expected in [3, 3, 1] {
        let [incidents, investigations] =
            cursors.map(|cursor| Window { limit: 3, cursor, ..Window::default() });
        let incidents = IncidentQuery { window: incidents, ..IncidentQuery::default() };
        let investigations = InvestigationQuery { window: investigations, ..InvestigationQuery::default() };
        let incidents = store.incidents(incidents).await.unwrap();
        let investigations = store.investigations(investigations).await.unwrap();
        assert_eq!((incidents.items.len(), investigations.items.len()), (expected, expected));
        opened.extend(incidents.items.iter().map(|incident| incident.id));
        begun.extend(investigations.items.iter().map(|investigation| investigation.id));
        cursors = [incidents.next, investigations.next];
    }
    assert_eq!(cursors, [None, None], "the last page says that it is");
    assert_eq!(opened.into_iter().collect::<BTreeSet<_>>().len(), 7);
    assert_eq!(begun.into_iter().collect::<BTreeSet<_>>().len(), 7);
}

pub async fn what_is_no_cursor_is_invalid(store: AnyStore) {
    say(&store, 0, [critical("a")]).await;
    for cursor in ["", "abc", "1;DROP TABLE alerts", "1.5", "99999999999999999999"] {
        let window = Window { cursor: Some(cursor.into()), ..Window::default() };
        let message =
            invalid(store.alerts(AlertQuery { window: window.clone(), ..AlertQuery::default() }).await);
        assert!(message.contains("cursor") && message.contains(cursor), "{message}");
        let query = IncidentQuery { window: window.clone(), ..IncidentQuery::default() };
        invalid(store.incidents(query).await);
        invalid(store.investigations(InvestigationQuery { window, ..InvestigationQuery::default() }).await);
    }
}

pub async fn what_is_not_there_is_none(store: AnyStore) {
    say(&store, 0, [critical("a")]).await;
    assert_eq!(store.incident(IncidentId(4711)).await.unwrap(), None);
    assert_eq!(store.investigation(InvestigationId(4711)).await.unwrap(), None);
    assert_eq!(store.leading_alert(IncidentId(4711)).await.unwrap(), None);
    assert_eq!(store.transcript(InvestigationId(4711), 0).await.unwrap(), []);
}

pub async fn a_store_can_be_probed(store: AnyStore) {
    store.probe().await.unwrap();
    store.probe().await.unwrap();
    assert_eq!(alerts(&store).await, []);
}
