//! Investigations and their events.

use serde_json::json;
use watchkeeper_domain::gate::{Effect, Verdict};
use watchkeeper_domain::investigation::*;
use watchkeeper_domain::prompt::Nonce;
use watchkeeper_domain::store::*;
use watchkeeper_domain::{IncidentId, InvestigationId};

use super::*;

pub async fn events_are_kept_as_they_were_written(store: AnyStore) {
    let (incident, id) = investigated(&store, "a").await;
    let events = every_event(incident);
    append(&store, id, events.clone()).await;
    let transcript = store.transcript(id, 0).await.unwrap();
    assert_eq!(transcript.iter().map(|entry| entry.seq).collect::<Vec<_>>(), (0..=8).collect::<Vec<_>>());
    assert_eq!(transcript.iter().skip(1).map(|entry| entry.event.clone()).collect::<Vec<_>>(), events);
    assert_eq!(store.transcript(id, 7).await.unwrap(), transcript[7..]);
    assert_eq!(store.transcript(id, 9).await.unwrap(), []);
}

fn every_event(incident: IncidentId) -> Vec<Event> {
    let call =
        Call { tool: "bash".into(), input: json!({"command": "df -h 'ü'"}).into(), purpose: "look".into() };
    let briefing = Briefing {
        incident,
        source: "prom".into(),
        alert: critical("a"),
        related: vec![firing("b")],
        history: Vec::new(),
        tools: Vec::new(),
        now: at(1),
    };
    let prompt = Prompt {
        instructions: "be brief".into(),
        task: "find the cause".into(),
        first_steps: vec![call.clone()],
    };
    let outcome = Outcome {
        status: OutcomeStatus::Ran,
        output: "100 %\n\u{0}\u{1b}[1m".into(),
        truncated: true,
        exit_code: Some(-1),
        duration: Duration::from_millis(12),
    };
    let (brain, prompt_by) = ("playbook disk".to_owned(), "disk".to_owned());
    vec![
        Event::Running,
        Event::Briefed {
            briefing: Box::new(briefing),
            brain,
            prompt_by,
            prompt,
            nonce: Some(Nonce::of([7; 16])),
        },
        Event::Proposed { calls: vec![call] },
        Event::Judged { call: 0, verdict: Verdict::Allow, reason: "reads".into(), rule: Some("df".into()) },
        Event::Acting { call: 0, effect: Effect::Read },
        Event::Acted { call: 0, outcome },
        Event::BrainFailed { error: "no answer".into() },
        Event::Concluded { report: report("full") },
    ]
}

pub async fn an_entry_that_is_there_already_is_a_conflict(store: AnyStore) {
    let (_, id) = investigated(&store, "a").await;
    append(&store, id, [Event::Running]).await;
    let before = (store.transcript(id, 0).await.unwrap(), store.investigation(id).await.unwrap());
    for seq in [0, 1, 3, u32::MAX] {
        let refused = store.append(id, seq, escalated("late")).await;
        assert!(matches!(refused, Err(StoreError::Conflict(of)) if of == id), "seq {seq}: {refused:?}");
    }
    let after = (store.transcript(id, 0).await.unwrap(), store.investigation(id).await.unwrap());
    assert_eq!(after, before);
    assert_eq!(outgoing(&store).await, []);
}

pub async fn of_two_workers_one_appends(store: AnyStore) {
    let (_, id) = investigated(&store, "a").await;
    let tasks: Vec<_> = (0..16)
        .map(|n| {
            let store = store.clone();
            let error = format!("worker {n}").into();
            tokio::spawn(async move { store.append(id, 1, Event::BrainFailed { error }).await })
        })
        .collect();
    let mut appended = Vec::new();
    for task in tasks {
        match task.await.unwrap() {
            Ok(entry) => appended.push(entry),
            Err(error) => assert!(matches!(error, StoreError::Conflict(_)), "{error}"),
        }
    }
    assert_eq!(appended.len(), 1);
    assert_eq!(store.transcript(id, 1).await.unwrap(), appended);
}

pub async fn an_unknown_investigation_is_invalid(store: AnyStore) {
    let unknown = InvestigationId(4711);
    assert!(invalid(store.append(unknown, 0, Event::Running).await).contains("inv-4711"));
    assert_eq!(store.transcript(unknown, 0).await.unwrap(), []);
    invalid(store.append(unknown, 0, escalated("why")).await);
    assert_eq!(outgoing(&store).await, []);
}

pub async fn events_move_the_investigation(store: AnyStore) {
    let ends = [
        (vec![Event::Concluded { report: report("r") }, Event::Completed], State::Completed, None),
        (vec![Event::Failed { reason: "lost".into() }], State::Failed, Some("lost")),
        (vec![escalated("unsure")], State::Escalated, Some("unsure")),
    ];
    for (n, (events, state, reason)) in ends.into_iter().enumerate() {
        let (_, id) = investigated(&store, &format!("a{n}")).await;
        let now = async || store.investigation(id).await.unwrap().unwrap();
        append(&store, id, [Event::Running]).await;
        assert_eq!((now().await.state, now().await.ended_at), (State::Running, None));
        append(&store, id, events).await;
        let ended = now().await;
        assert_eq!((ended.state, ended.reason), (state, reason.map(Into::into)));
        assert_eq!(ended.report.is_some(), state == State::Completed);
        let last = store.transcript(id, 0).await.unwrap().pop().unwrap();
        assert_eq!(ended.ended_at, Some(last.at));
    }
}

pub async fn a_request_gives_the_ongoing_one_or_starts_one(store: AnyStore) {
    let (incident, automatic) = investigated(&store, "a").await;
    assert_eq!(store.request_investigation(incident).await.unwrap(), automatic);
    append(&store, automatic, [Event::Running]).await;
    assert_eq!(store.request_investigation(incident).await.unwrap(), automatic);
    append(&store, automatic, [escalated("unsure")]).await;

    let requested = store.request_investigation(incident).await.unwrap();
    assert_ne!(requested, automatic);
    assert_eq!(store.request_investigation(incident).await.unwrap(), requested);
    assert_eq!(store.incident(incident).await.unwrap().unwrap().investigation, Some(requested));
    let investigation = store.investigation(requested).await.unwrap().unwrap();
    assert_eq!((investigation.trigger, investigation.state), (Trigger::Requested, State::Started));
    let transcript = store.transcript(requested, 0).await.unwrap();
    assert_eq!(transcript[0].event, Event::Started { trigger: Trigger::Requested });
}

pub async fn a_request_for_an_unknown_incident_is_invalid(store: AnyStore) {
    let message = invalid(store.request_investigation(IncidentId(4711)).await);
    assert!(message.contains("inc-4711"), "{message}");
    assert_eq!(store.open_investigations(9).await.unwrap(), []);
}

pub async fn open_ones_are_the_running_then_the_oldest(store: AnyStore) {
    let mut ids = Vec::new();
    for name in ["a", "b", "c", "d"] {
        ids.push(investigated(&store, name).await.1);
    }
    append(&store, ids[0], [Event::Running, escalated("done")]).await;
    append(&store, ids[2], [Event::Running]).await;
    assert_eq!(store.open_investigations(9).await.unwrap(), [ids[2], ids[1], ids[3]]);
    assert_eq!(store.open_investigations(2).await.unwrap(), [ids[2], ids[1]]);
}

/// An incident of `service` and `title`, investigated to a report of that summary.
async fn past(store: &AnyStore, service: &str, title: &str, summary: &str) -> IncidentId {
    let alert = |alert| of_service(service, Alert { title: title.into(), ..alert });
    let id = say(store, 0, [alert(critical(summary))]).await.investigations[0];
    let events = [Event::Running, Event::Concluded { report: report(summary) }, Event::Completed];
    append(store, id, events).await;
    let incident = incident_of(store, summary).await;
    say(store, 1, [alert(resolved(summary))]).await;
    incident
}

async fn summaries(store: &AnyStore, incident: IncidentId, limit: u32) -> Vec<String> {
    let reports = store.past_reports(incident, limit).await.unwrap();
    reports.into_iter().map(|past| past.report.summary.into_exposed()).collect()
}

pub async fn past_reports_are_of_the_key_before_the_title(store: AnyStore) {
    let first = past(&store, "db", "disk full", "same key, first").await;
    past(&store, "db", "cpu high", "same key, second").await;
    past(&store, "web", "disk full", "same title").await;
    past(&store, "web", "cpu high", "neither").await;
    let this = past(&store, "db", "disk full", "its own").await;
    assert_eq!(summaries(&store, this, 9).await, ["same key, second", "same key, first", "same title"]);
    assert_eq!(summaries(&store, this, 1).await, ["same key, second"]);
    let oldest = store.past_reports(this, 9).await.unwrap().swap_remove(1);
    assert_eq!((oldest.incident, oldest.title.visible().as_str()), (first, "disk full"));
    assert_eq!(oldest.report, report("same key, first"));
    assert_eq!(summaries(&store, IncidentId(4711), 9).await, [""; 0]);
}

pub async fn past_reports_are_of_ended_investigations(store: AnyStore) {
    let ends = [
        ("completed", Some(Event::Completed)),
        ("escalated", Some(escalated("unsure"))),
        ("still going on", None),
    ];
    for (summary, end) in ends {
        let id = say(&store, 0, [of_service("db", critical(summary))]).await.investigations[0];
        append(&store, id, [Event::Concluded { report: report(summary) }].into_iter().chain(end)).await;
        say(&store, 1, [of_service("db", resolved(summary))]).await;
    }
    say(&store, 2, [of_service("db", firing("now"))]).await;
    let this = incident_of(&store, "now").await;
    assert_eq!(summaries(&store, this, 9).await, ["escalated", "completed"]);
}
