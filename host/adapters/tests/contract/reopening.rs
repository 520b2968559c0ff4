//! What was acknowledged is there after the store was dropped and opened again.

use watchkeeper_domain::incident::Incident;
use watchkeeper_domain::investigation::{Entry, Event, Investigation};
use watchkeeper_domain::store::*;

use super::*;

/// All that a store can be asked for.
#[derive(Debug, PartialEq)]
struct Everything {
    alerts: Vec<StoredAlert>,
    incidents: Vec<Incident>,
    investigations: Vec<Investigation>,
    transcripts: Vec<Vec<Entry>>,
    open: Vec<InvestigationId>,
    notices: Vec<Outgoing>,
    dead_letters: Vec<DeadLetter>,
    cursor: Option<String>,
    recent_payloads: Vec<(String, Payload)>,
}

impl Everything {
    async fn of(store: &AnyStore) -> Self {
        let investigations = store.investigations(InvestigationQuery::default()).await.unwrap().items;
        let mut transcripts = Vec::new();
        for investigation in &investigations {
            transcripts.push(store.transcript(investigation.id, 0).await.unwrap());
        }
        Self {
            alerts: alerts(store).await,
            incidents: incidents(store).await,
            investigations,
            transcripts,
            open: store.open_investigations(100).await.unwrap(),
            notices: outgoing(store).await,
            dead_letters: store.dead_letters(None, None, 100).await.unwrap(),
            cursor: store.cursor("prom").await.unwrap(),
            recent_payloads: store.recent_payloads(&["prom".into()], 100, 10_000).await.unwrap(),
        }
    }
}

async fn some_of_everything(store: &AnyStore) {
    say(store, 0, ["a", "b", "c"].map(critical)).await;
    say(store, 1, [resolved("c"), of_service("db", firing("d"))]).await;
    store.move_cursor("prom", super::cursors::step(None, Some("page 2"))).await.unwrap();
    let open = store.open_investigations(9).await.unwrap();
    append(store, open[0], [Event::Running, escalated("unsure")]).await;
    append(store, open[1], [Event::Running, Event::BrainFailed { error: "no answer".into() }]).await;
    store.bury("prom", at(2), Arc::new(payload("[]")), &"trap".into(), true).await.unwrap();
    let notice = outgoing(store).await.remove(0);
    store.notice_failed(notice.id, "no route", Some(at(3))).await.unwrap();
}

pub async fn everything_is_there_after_reopening(place: &impl Place) {
    let store = place.open().await;
    some_of_everything(&store).await;
    let before = Everything::of(&store).await;
    drop(store);
    for _ in 0..2 {
        assert_eq!(Everything::of(&place.open().await).await, before);
    }
}

pub async fn a_reopened_store_goes_on_where_it_was(place: &impl Place) {
    let store = place.open().await;
    some_of_everything(&store).await;
    drop(store);
    let store = place.open().await;
    assert_eq!(told(&say(&store, 5, [critical("a"), firing("new")]).await), "1 new, 1 heard");
    let running = store.open_investigations(9).await.unwrap()[0];
    assert!(matches!(store.append(running, 1, Event::Running).await, Err(StoreError::Conflict(_))));
    append(&store, running, [escalated("late")]).await;
    assert_eq!(outgoing(&store).await.len(), 2);
}
