//! Where polled sources stand.

use watchkeeper_domain::store::*;

use super::*;

pub fn step(from: Option<&str>, to: Option<&str>) -> CursorMove {
    CursorMove { from: from.map(str::to_owned), to: to.map(str::to_owned) }
}

/// A batch of the source `prom`.
pub fn batch(step: CursorMove, alerts: impl IntoIterator<Item = Alert>) -> Delivery {
    Delivery { cursor: Some(step), ..delivery(0, alerts) }
}

async fn cursor(store: &AnyStore, source: &str) -> Option<String> {
    store.cursor(source).await.unwrap()
}

pub async fn a_cursor_moves_with_its_batch(store: AnyStore) {
    assert_eq!(cursor(&store, "prom").await, None);
    let receipt = store.ingest(batch(step(None, Some("1")), [firing("a")])).await.unwrap();
    assert_eq!(told(&receipt), "1 new");
    assert_eq!(cursor(&store, "prom").await.as_deref(), Some("1"));
    store.ingest(batch(step(Some("1"), Some("2")), [firing("b")])).await.unwrap();
    assert_eq!(cursor(&store, "prom").await.as_deref(), Some("2"));
    say(&store, 1, [firing("c")]).await;
    assert_eq!(cursor(&store, "prom").await.as_deref(), Some("2"), "other deliveries leave it");
}

pub async fn a_cursor_moves_without_alerts(store: AnyStore) {
    store.move_cursor("prom", step(None, Some("1"))).await.unwrap();
    store.move_cursor("prom", step(Some("1"), Some("2"))).await.unwrap();
    assert_eq!(cursor(&store, "prom").await.as_deref(), Some("2"));
    assert_eq!(alerts(&store).await, []);
    assert_eq!(store.recent_payloads(&["prom".into()], 9, 9999).await.unwrap(), []);
}

pub async fn each_source_has_its_own_cursor(store: AnyStore) {
    store.move_cursor("prom", step(None, Some("p"))).await.unwrap();
    store.move_cursor("datadog", step(None, Some("d"))).await.unwrap();
    assert_eq!(cursor(&store, "prom").await.as_deref(), Some("p"));
    assert_eq!(cursor(&store, "datadog").await.as_deref(), Some("d"));
    assert_eq!(cursor(&store, "pro").await, None);
}

pub async fn a_cursor_is_any_text_and_may_be_given_up(store: AnyStore) {
    let mut from = None;
    for to in [Some(""), Some("ü\0\n'"), None, Some("again"), Some("again")] {
        store.ingest(batch(step(from, to), [firing("a")])).await.unwrap();
        assert_eq!(cursor(&store, "prom").await.as_deref(), to);
        from = to;
    }
}

pub async fn a_move_from_elsewhere_is_invalid_and_keeps_nothing(store: AnyStore) {
    store.move_cursor("prom", step(None, Some("2"))).await.unwrap();
    for from in [None, Some("1"), Some("")] {
        let message = invalid(store.ingest(batch(step(from, Some("1")), [firing("a")])).await);
        assert!(message.contains("prom"), "it names the source: {message}");
        invalid(store.move_cursor("prom", step(from, Some("1"))).await);
    }
    assert_eq!(cursor(&store, "prom").await.as_deref(), Some("2"));
    assert_eq!(alerts(&store).await, []);
    assert_eq!(store.recent_payloads(&["prom".into()], 9, 9999).await.unwrap(), []);
}

pub async fn of_many_that_fetched_the_same_batch_one_moves(store: AnyStore) {
    let tasks: Vec<_> = (0..16)
        .map(|n| {
            let store = store.clone();
            let (to, id) = (n.to_string(), format!("a{n}"));
            tokio::spawn(async move {
                store.ingest(batch(step(None, Some(&to)), [firing(&id)])).await.map(|_| (to, id))
            })
        })
        .collect();
    let mut moved = Vec::new();
    for task in tasks {
        match task.await.unwrap() {
            Ok(one) => moved.push(one),
            Err(error) => assert!(matches!(error, StoreError::Invalid(_)), "{error}"),
        }
    }
    assert_eq!(moved.len(), 1, "{moved:?}");
    assert_eq!(cursor(&store, "prom").await.as_ref(), Some(&moved[0].0));
    assert_eq!(the_alert(&store).await.id, moved[0].1);
}
