//! An investigation from its queue to its end, and on from wherever it was cut off.
//!
//! The store is a real one; brains and tools are fakes that check what they receive.

// A test that can't go on says so by panicking.
#![allow(clippy::unwrap_used)]

// Of the fixture, each test file uses a part.
#[allow(dead_code)]
mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use common::*;
use serde_json::{Value, json};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use watchkeeper_domain::alert::RawAlert;
use watchkeeper_domain::gate::{Effect, Gate, Verdict};
use watchkeeper_domain::investigation::*;
use watchkeeper_domain::store::StoreError;
use watchkeeper_domain::{InvestigationId, Timestamp};
use watchkeeper_flow::investigate::{Handle, Investigator};

/// What became of one investigation.
struct Ended {
    fixture: Fixture,
    id: InvestigationId,
    investigation: Investigation,
    tool: FakeTool,
}

impl Ended {
    /// By this brain and tool, run from its queue to its end.
    async fn of(brains: FakeBrains, tool: FakeTool) -> Self {
        Self::within(brains, tool, Budget::default()).await
    }

    async fn within(brains: FakeBrains, tool: FakeTool, budget: Budget) -> Self {
        let fixture = Fixture::new();
        let id = fixture.queued("disk").await;
        let mut investigator = fixture.investigator(brains, tool.clone());
        investigator.options.budget = budget;
        investigator.run(id, never()).await.unwrap();
        let investigation = fixture.now(id).await;
        Self { fixture, id, investigation, tool }
    }

    fn state(&self) -> State {
        self.investigation.state
    }

    fn reason(&self) -> &str {
        self.investigation.reason.as_ref().map_or("", |reason| reason.expose_untrusted())
    }

    async fn events(&self) -> Vec<Event> {
        self.fixture.events(self.id).await
    }

    /// That it escalated for this reason, and that a human is told so, once.
    #[track_caller]
    fn assert_escalated(&self, reason: &str) {
        assert_eq!(self.state(), State::Escalated);
        assert!(self.reason().contains(reason), "{}", self.reason());
    }

    async fn assert_one_notice(&self) {
        assert_eq!(self.fixture.notices().await, [self.reason()]);
    }
}

fn names(events: &[Event]) -> Vec<String> {
    let name = |event| serde_json::to_value(event).unwrap()["event"].as_str().unwrap().to_owned();
    events.iter().map(name).collect()
}

#[tokio::test]
async fn a_sure_report_completes() {
    let ended = Ended::of(FakeBrains::script(&["uptime"], 0.7), FakeTool::fine()).await;
    assert_eq!(ended.state(), State::Completed, "0.7 is enough");
    assert_eq!(ended.investigation.report, Some(report(0.7)));
    assert_eq!(ended.tool.ran(), ["uptime"]);
    assert_eq!(ended.fixture.notices().await, [""; 0]);
    let expected =
        ["started", "running", "briefed", "proposed", "judged", "acting", "acted", "concluded", "completed"];
    assert_eq!(names(&ended.events().await), expected);
}

#[tokio::test]
async fn an_unsure_report_escalates_and_is_kept() {
    let ended = Ended::of(FakeBrains::script(&["uptime"], 0.69), FakeTool::fine()).await;
    ended.assert_escalated("0.69 is below 0.70");
    ended.assert_one_notice().await;
    assert_eq!(ended.investigation.report, Some(report(0.69)));
    let due = ended.fixture.outgoing().await;
    assert_eq!(due[0].notice.report, Some(report(0.69)));
}

#[tokio::test]
async fn the_first_steps_are_run_before_the_brain_is_asked() {
    let brains = FakeBrains::new(|_, done| {
        let outputs: Vec<_> = done.iter().map(|(_, outcome)| outcome.output.visible()).collect();
        assert_eq!(outputs, ["output of uptime", "output of true"]);
        assert_eq!(done[1].0, bash("true"));
        Ok(conclude(0.9))
    });
    let ended = Ended::of(brains.with_first_steps(&["uptime", "true"]), FakeTool::fine()).await;
    assert_eq!((ended.state(), ended.tool.ran().len()), (State::Completed, 2));
}

#[tokio::test]
async fn what_the_gate_blocks_never_runs_and_escalates() {
    for call in [bash("rm"), bash("rm -r -f /"), bash("uptime; rm")] {
        let proposed = Step::Calls(vec![call.clone(), bash("uptime")]);
        let ended = Ended::of(FakeBrains::saying(proposed), FakeTool::fine()).await;
        ended.assert_escalated("call 0 must not run");
        ended.assert_one_notice().await;
        assert_eq!(ended.tool.ran(), [""; 0], "{call:?}");
        assert!(!names(&ended.events().await).contains(&"acting".to_owned()), "{call:?}");
    }
}

#[tokio::test]
async fn what_the_gate_asks_about_waits_for_a_person_and_does_not_run() {
    let tool = |tool: &str, input: Value| Call { tool: tool.into(), input: input.into(), purpose: "".into() };
    for call in [bash("kill"), bash("nobody-knows-this"), tool("read_file", json!({"path": "/home/x"}))] {
        let proposed = Step::Calls(vec![call.clone(), bash("uptime")]);
        let ended = Ended::of(FakeBrains::saying(proposed), FakeTool::fine()).await;
        assert_eq!(ended.state(), State::Waiting, "{call:?}");
        assert_eq!(ended.tool.ran(), [""; 0], "{call:?}");
        assert_eq!(names(&ended.events().await).last().unwrap(), "asked", "{call:?}");
        assert_eq!(ended.fixture.notices().await.len(), 1, "a person hears of it");
    }
}

#[tokio::test]
async fn what_nobody_could_run_as_it_stands_is_refused_to_the_brain() {
    let tool = |tool: &str, input: Value| Call { tool: tool.into(), input: input.into(), purpose: "".into() };
    for call in [
        bash("$(rm)"),
        bash("uptime > /etc/passwd"),
        tool("bash", json!({"command": "uptime", "cwd": "/"})),
        tool("teleport", json!({})),
    ] {
        let ended = Ended::of(FakeBrains::saying(Step::Calls(vec![call.clone()])), FakeTool::fine()).await;
        // This brain says it again and again.
        ended.assert_escalated("3 errors, the last: It was not run, and nobody can approve it as it stands");
        assert_eq!(ended.tool.ran(), [""; 0], "{call:?}");
    }
}

#[tokio::test]
async fn the_verdict_and_its_rule_are_in_the_transcript() {
    for (command, verdict, rule) in [("kill", Verdict::Ask, "kill"), ("rm", Verdict::Block, "rm")] {
        let ended = Ended::of(FakeBrains::saying(calls(&[command])), FakeTool::fine()).await;
        let judged = Event::Judged {
            call: 0,
            verdict,
            reason: format!("`{command}`: a person decides").into(),
            rule: Some(rule.into()),
        };
        assert!(ended.events().await.contains(&judged));
    }
}

#[tokio::test]
async fn three_errors_of_the_tool_escalate() {
    let ended = Ended::of(FakeBrains::saying(calls(&["uptime"])), FakeTool::failing()).await;
    ended.assert_escalated("3 errors, the last: no such program");
    ended.assert_one_notice().await;
    assert_eq!(ended.tool.ran().len(), 3);
}

#[tokio::test]
async fn three_errors_of_the_brain_escalate() {
    let ended = Ended::of(FakeBrains::failing("no answer"), FakeTool::fine()).await;
    ended.assert_escalated("3 errors, the last: no answer");
    ended.assert_one_notice().await;
    assert_eq!(
        names(&ended.events().await)[3..],
        ["brain_failed", "brain_failed", "brain_failed", "escalated"]
    );
}

#[tokio::test]
async fn errors_of_brain_and_tool_are_counted_together() {
    let asked = AtomicUsize::new(0);
    let brains = FakeBrains::new(move |_, done| match (done.len(), asked.fetch_add(1, Ordering::SeqCst)) {
        (0, 0) => Err(watchkeeper_domain::brain::BrainError("once".into())),
        _ => Ok(calls(&["uptime"])),
    });
    let ended = Ended::of(brains, FakeTool::failing()).await;
    ended.assert_escalated("3 errors");
    assert_eq!(ended.tool.ran().len(), 2);
}

#[tokio::test]
async fn a_command_that_exits_with_an_error_is_no_error() {
    let tool = FakeTool::new(|command| async move { Outcome { exit_code: Some(1), ..ran(&command) } });
    let ended = Ended::of(FakeBrains::script(&["uptime", "uptime", "uptime", "uptime"], 0.9), tool).await;
    assert_eq!(ended.state(), State::Completed);
}

#[tokio::test]
async fn the_budget_of_actions_is_kept() {
    let budget = Budget { max_actions: 3, ..Budget::default() };
    let brains = FakeBrains::saying(calls(&["uptime", "true"]));
    let ended = Ended::within(brains, FakeTool::fine(), budget).await;
    ended.assert_escalated("its 3 actions are spent");
    ended.assert_one_notice().await;
    assert_eq!(ended.tool.ran(), ["uptime", "true", "uptime"]);
}

#[tokio::test]
async fn the_last_action_of_the_budget_may_still_be_concluded_from() {
    let budget = Budget { max_actions: 2, ..Budget::default() };
    let ended = Ended::within(FakeBrains::script(&["uptime", "true"], 0.9), FakeTool::fine(), budget).await;
    assert_eq!(ended.state(), State::Completed);
}

#[tokio::test]
async fn a_tool_is_cut_off_when_the_time_is_spent() {
    let budget = Budget { max_duration: Duration::from_millis(300), ..Budget::default() };
    let started = Instant::now();
    let ended = Ended::within(FakeBrains::saying(calls(&["uptime"])), FakeTool::never_ending(), budget).await;
    ended.assert_escalated("its time is spent");
    ended.assert_one_notice().await;
    assert_eq!(ended.fixture.outcomes(ended.id).await[0].status, OutcomeStatus::TimedOut);
    assert!(started.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn without_any_time_nothing_is_done() {
    let budget = Budget { max_duration: Duration::ZERO, ..Budget::default() };
    let ended = Ended::within(FakeBrains::failing("nobody asks"), FakeTool::fine(), budget).await;
    ended.assert_escalated("its time is spent");
    assert_eq!(names(&ended.events().await), ["started", "running", "escalated"]);
}

/// The time is the run's: a dead letter may be replayed hours later.
#[tokio::test]
async fn the_time_begins_with_the_run_and_not_with_the_alert() {
    let fixture = Fixture::new();
    let an_hour_ago = Timestamp::now().minus(Duration::from_secs(3600));
    let id = fixture.received(raw("disk"), an_hour_ago).await;
    let investigator = fixture.investigator(FakeBrains::script(&["uptime"], 0.9), FakeTool::fine());
    investigator.run(id, never()).await.unwrap();
    let ended = fixture.now(id).await;
    assert_eq!((ended.state, ended.reason), (State::Completed, None));
}

#[tokio::test]
async fn answers_that_break_the_contract_are_errors() {
    let citing = |call| {
        let evidence = vec![Evidence { call, excerpt: "full".into() }];
        let findings = vec![Finding { statement: "the disk is full".into(), evidence }];
        Step::Conclude(Report { findings, ..report(0.9) })
    };
    let wrong = [
        (calls(&[]), "no calls"),
        (calls(&["uptime"; 9]), "9 calls at once"),
        (conclude(f64::NAN), "its confidence is NaN"),
        (conclude(2.0), "its confidence is 2"),
        (conclude(-0.1), "its confidence is -0.1"),
        (conclude(f64::INFINITY), "its confidence is inf"),
        (citing(1), "it cites outcome 1 of 1"),
        (citing(u32::MAX), "of 1"),
    ];
    for (step, message) in wrong {
        let brains = FakeBrains::saying(step.clone()).with_first_steps(&["uptime"]);
        let ended = Ended::of(brains, FakeTool::fine()).await;
        ended.assert_escalated(message);
        assert_eq!(ended.tool.ran(), ["uptime"], "nothing of a wrong answer runs: {step:?}");
        assert_eq!(ended.investigation.report, None);
    }
    for right in [citing(0), conclude(1.0)] {
        let brains = FakeBrains::saying(right).with_first_steps(&["uptime"]);
        assert_eq!(Ended::of(brains, FakeTool::fine()).await.state(), State::Completed);
    }
}

#[tokio::test]
async fn eight_calls_at_once_run_in_their_order() {
    let brains = FakeBrains::new(|_, done| match done.len() {
        0 => Ok(calls(&["uptime", "true", "sync", "uptime", "true", "sync", "uptime", "true"])),
        _ => Ok(conclude(0.9)),
    });
    let ended = Ended::of(brains, FakeTool::fine()).await;
    let expected = ["uptime", "true", "sync", "uptime", "true", "sync", "uptime", "true"];
    assert_eq!((ended.state(), ended.tool.ran()), (State::Completed, expected.map(str::to_owned).to_vec()));
}

#[tokio::test]
async fn an_alert_that_nobody_knows_escalates() {
    let ended = Ended::of(FakeBrains::nobody("no plugin knows `disk`"), FakeTool::fine()).await;
    ended.assert_escalated("no plugin knows `disk`");
    ended.assert_one_notice().await;
}

#[tokio::test]
async fn the_briefing_holds_the_leading_alert_and_past_reports() {
    let fixture = Fixture::new();
    let titled = |id: &str| RawAlert { title: "disk full".into(), ..raw(id) };
    for (id, history) in [("first", 0), ("second", 1), ("third", 2)] {
        let brains = FakeBrains::new(move |briefing, _| {
            assert_eq!((briefing.alert.id.line().as_str(), briefing.source.as_str()), (id, "prom"));
            assert_eq!(briefing.history.len(), history);
            assert!(briefing.history.iter().all(|past| past.report == report(0.9)));
            Ok(conclude(0.9))
        });
        let investigation = fixture.received(titled(id), Timestamp::now()).await;
        fixture.investigator(brains, FakeTool::fine()).run(investigation, never()).await.unwrap();
        assert_eq!(fixture.now(investigation).await.state, State::Completed);
    }
}

#[tokio::test]
async fn a_call_is_in_the_store_before_its_tool_runs() {
    let fixture = Fixture::new();
    let id = fixture.queued("disk").await;
    let store = fixture.store.clone();
    let tool = FakeTool::new(move |command| {
        let store = store.clone();
        async move {
            let last = store.transcript(id, 0).await.unwrap().pop().unwrap().event;
            let effect = if command == "sync" { Effect::Change } else { Effect::Read };
            assert!(matches!(last, Event::Acting { effect: said, .. } if said == effect), "{last:?}");
            ran(&command)
        }
    });
    let brains = FakeBrains::script(&["uptime", "sync", "true"], 0.9);
    fixture.investigator(brains, tool.clone()).run(id, never()).await.unwrap();
    assert_eq!((fixture.now(id).await.state, tool.ran().len()), (State::Completed, 3));
}

/// What can't be written doesn't happen: here, since another worker has moved the investigation on.
#[tokio::test]
async fn a_worker_that_was_overtaken_runs_nothing_more() {
    let fixture = Fixture::new();
    let id = fixture.queued("disk").await;
    let store = fixture.store.clone();
    let tool = FakeTool::new(move |command| {
        let store = store.clone();
        async move {
            let seq = store.transcript(id, 0).await.unwrap().len() as u32;
            store.append(id, seq, Event::Running).await.unwrap();
            ran(&command)
        }
    });
    let brains = FakeBrains::saying(calls(&["uptime", "sync"]));
    let error = fixture.investigator(brains, tool.clone()).run(id, never()).await.unwrap_err();
    assert!(matches!(error, StoreError::Conflict(of) if of == id), "{error}");
    assert_eq!(tool.ran(), ["uptime"]);
}

/// The run that the cuts below are of: reads, reads, changes, reads, concludes.
fn recorded_brains() -> FakeBrains {
    FakeBrains::script(&["uptime", "true", "sync", "uptime"], 0.9).with_first_steps(&["uptime"])
}

/// An investigation whose transcript was cut off after these entries.
async fn cut_off(entries: &[Entry]) -> (Fixture, InvestigationId) {
    let fixture = Fixture::new();
    let id = fixture.queued("disk").await;
    for entry in &entries[1..] {
        fixture.store.append(id, entry.seq, entry.event.clone()).await.unwrap();
    }
    (fixture, id)
}

/// What is left to be run after these entries: what has no outcome, but never a change that had begun.
fn left_to_run(entries: &[Entry]) -> Vec<&'static str> {
    let all = ["uptime", "true", "sync", "uptime"];
    let acted = entries.iter().filter(|entry| matches!(entry.event, Event::Acted { .. })).count();
    let change_begun = matches!(entries.last().unwrap().event, Event::Acting { effect: Effect::Change, .. });
    all.into_iter().skip(acted + usize::from(change_begun)).collect()
}

#[tokio::test]
async fn a_run_that_was_cut_off_anywhere_comes_to_the_same_end() {
    let whole = Ended::of(recorded_brains(), FakeTool::fine()).await;
    assert_eq!(whole.state(), State::Completed);
    assert_eq!(whole.tool.ran(), ["uptime", "true", "sync", "uptime"]);
    let recorded = whole.fixture.store.transcript(whole.id, 0).await.unwrap();
    let outcomes = whole.fixture.outcomes(whole.id).await;

    for cut in 1..=recorded.len() {
        let (fixture, id) = cut_off(&recorded[..cut]).await;
        let tool = FakeTool::fine();
        fixture.investigator(recorded_brains(), tool.clone()).run(id, never()).await.unwrap();
        let last = &recorded[cut - 1].event;
        let ended = fixture.now(id).await;
        assert_eq!((ended.state, &ended.report), (State::Completed, &whole.investigation.report), "{last:?}");
        assert_eq!(tool.ran(), left_to_run(&recorded[..cut]), "after {last:?}");

        let mut expected = outcomes.clone();
        let got = fixture.outcomes(id).await;
        if matches!(last, Event::Acting { effect: Effect::Change, .. }) {
            assert_eq!(got[2].status, OutcomeStatus::Interrupted);
            expected[2] = got[2].clone();
        }
        assert_eq!(got, expected, "after {last:?}");
        let taken_up_again = usize::from(cut < recorded.len());
        let again = usize::from(matches!(last, Event::Acting { effect: Effect::Read, .. }));
        let running = usize::from(cut == 1);
        let events = fixture.events(id).await.len();
        assert_eq!(events, recorded.len() + taken_up_again + again - running, "after {last:?}");
    }
}

/// Cut off a second time, while it goes on from the first.
#[tokio::test]
async fn a_run_may_be_cut_off_again_and_again() {
    let fixture = Fixture::new();
    let id = fixture.queued("disk").await;
    let (mut hosts, all) = (0, FakeTool::fine());
    while !fixture.now(id).await.state.is_over() {
        // Each host stops while it asks the brain or runs a tool for the first time.
        let (stop, stopped) = watch::channel(false);
        let stop = Arc::new(stop);
        let (by_tool, by_brain) = (stop.clone(), stop.clone());
        let tool = FakeTool::new(move |command| {
            by_tool.send_replace(true);
            async move { ran(&command) }
        });
        let tool = tool.noting_in(&all);
        let commands = ["uptime", "true", "sync", "uptime"];
        let brains = FakeBrains::new(move |_, done| {
            by_brain.send_replace(true);
            Ok(commands.get(done.len()).map_or(conclude(0.9), |command| calls(&[command])))
        });
        fixture.investigator(brains, tool).run(id, stopped).await.unwrap();
        hosts += 1;
        assert!(hosts < 50, "it goes on");
    }
    assert_eq!(fixture.now(id).await.state, State::Completed);
    assert!(hosts >= 9, "four calls and five answers: {hosts}");
    assert_eq!(all.ran(), ["uptime", "true", "sync", "uptime"]);
}

#[tokio::test]
async fn interrupted_calls_are_read_by_the_brain_and_are_no_errors() {
    let (fixture, id) = cut_off_while("sync").await;
    let brains = FakeBrains::new(|_, done| {
        assert_eq!(done[0].1.status, OutcomeStatus::Interrupted);
        Ok(conclude(0.9))
    });
    let tool = FakeTool::fine();
    fixture.investigator(brains, tool.clone()).run(id, never()).await.unwrap();
    assert_eq!((fixture.now(id).await.state, tool.ran().len()), (State::Completed, 0));
}

/// An investigation whose host stopped while this command ran.
async fn cut_off_while(command: &str) -> (Fixture, InvestigationId) {
    let fixture = Fixture::new();
    let id = fixture.queued("disk").await;
    let brains = FakeBrains::saying(calls(&[command]));
    let investigator = fixture.investigator(brains, FakeTool::never_ending());
    let run = tokio::spawn(async move { investigator.run(id, never()).await });
    fixture.until("the tool runs", async || acting(&fixture, id).await).await;
    run.abort();
    (fixture, id)
}

async fn acting(fixture: &Fixture, id: InvestigationId) -> bool {
    fixture.events(id).await.iter().any(|event| matches!(event, Event::Acting { .. }))
}

/// A run that goes on is judged by the policy of today.
#[tokio::test]
async fn a_call_that_was_allowed_and_no_longer_is_does_not_run() {
    for cut_after in ["judged", "acting"] {
        let whole = Ended::of(FakeBrains::script(&["uptime"], 0.9), FakeTool::fine()).await;
        let recorded = whole.fixture.store.transcript(whole.id, 0).await.unwrap();
        let events: Vec<_> = recorded.iter().map(|entry| entry.event.clone()).collect();
        let cut = names(&events).iter().position(|name| name == cut_after).unwrap();
        let (fixture, id) = cut_off(&recorded[..=cut]).await;
        let tool = FakeTool::fine();
        let mut investigator = fixture.investigator(FakeBrains::script(&["uptime"], 0.9), tool.clone());
        let strict = json!({"allowed_directories": ["/var/log"]});
        investigator.gate = Arc::new(Gate::new(serde_json::from_value(strict).unwrap()));
        investigator.run(id, never()).await.unwrap();
        let waits = fixture.now(id).await.state == State::Waiting;
        assert_eq!(waits, cut_after == "judged", "what was running is not asked about again");
        assert_eq!(tool.ran(), [""; 0]);
    }
}

#[tokio::test]
async fn what_is_over_is_left_alone() {
    let ended = Ended::of(FakeBrains::script(&["uptime"], 0.9), FakeTool::fine()).await;
    let before = ended.events().await;
    let tool = FakeTool::fine();
    let again = ended.fixture.investigator(FakeBrains::failing("nobody asks"), tool.clone());
    again.run(ended.id, never()).await.unwrap();
    again.run(InvestigationId(4711), never()).await.unwrap();
    assert_eq!((ended.events().await, tool.ran().len()), (before, 0));
}

/// The service at work, until it is stopped.
struct Service {
    handle: Handle,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Service {
    fn start(investigator: Investigator) -> Self {
        let (stop, stopped) = watch::channel(false);
        let handle = Handle::default();
        let task = tokio::spawn(Arc::new(investigator).serve(handle.clone(), stopped));
        Self { handle, stop, task }
    }

    async fn stop(self) {
        self.stop.send(true).unwrap();
        tokio::time::timeout(Duration::from_secs(7), self.task).await.expect("it stops").unwrap();
    }
}

async fn all_over(fixture: &Fixture, ids: &[InvestigationId]) {
    let over = async || {
        for id in ids {
            if !fixture.now(*id).await.state.is_over() {
                return false;
            }
        }
        true
    };
    fixture.until("all are over", over).await;
}

#[tokio::test]
async fn the_service_takes_up_what_is_queued_before_and_after_it_starts() {
    let fixture = Fixture::new();
    let before = fixture.queued("before").await;
    let service =
        Service::start(fixture.investigator(FakeBrains::script(&["uptime"], 0.9), FakeTool::fine()));
    all_over(&fixture, &[before]).await;
    let woken = Instant::now();
    for n in 0..8 {
        let after = fixture.queued(&format!("after-{n}")).await;
        service.handle.wake();
        all_over(&fixture, &[after]).await;
    }
    assert!(woken.elapsed() < Duration::from_secs(2), "they need not wait for the next look each");
    let unannounced = fixture.queued("unannounced").await;
    all_over(&fixture, &[unannounced]).await;
    service.stop().await;
}

#[tokio::test]
async fn no_more_run_at_once_than_may() {
    let fixture = Fixture::new();
    let mut ids = Vec::new();
    for n in 0..7 {
        ids.push(fixture.queued(&format!("a{n}")).await);
    }
    let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (count, max) = (running.clone(), most.clone());
    let tool = FakeTool::new(move |command| {
        let (running, most) = (count.clone(), max.clone());
        async move {
            most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(60)).await;
            running.fetch_sub(1, Ordering::SeqCst);
            ran(&command)
        }
    });
    let mut investigator = fixture.investigator(FakeBrains::script(&["uptime", "true"], 0.9), tool.clone());
    investigator.options.max_concurrent = 2;
    let service = Service::start(investigator);
    all_over(&fixture, &ids).await;
    service.stop().await;
    assert_eq!((most.load(Ordering::SeqCst), tool.ran().len()), (2, 14));
    for id in ids {
        assert_eq!(times_taken_up(&fixture, id).await, 1);
    }
}

async fn times_taken_up(fixture: &Fixture, id: InvestigationId) -> usize {
    fixture.events(id).await.iter().filter(|event| **event == Event::Running).count()
}

#[tokio::test]
async fn a_stop_lets_a_run_reach_its_next_event_and_the_next_service_ends_it() {
    let fixture = Fixture::new();
    let id = fixture.queued("disk").await;
    let go = Arc::new(Notify::new());
    let gone = go.clone();
    let tool = FakeTool::new(move |command| {
        let gone = gone.clone();
        async move {
            gone.notified().await;
            ran(&command)
        }
    });
    let service = Service::start(fixture.investigator(FakeBrains::script(&["sync", "uptime"], 0.9), tool));
    fixture.until("the tool runs", async || acting(&fixture, id).await).await;
    let stopping = tokio::spawn(service.stop());
    tokio::time::sleep(Duration::from_millis(50)).await;
    go.notify_one();
    stopping.await.unwrap();
    assert!(matches!(fixture.events(id).await.last(), Some(Event::Acted { .. })));
    assert_eq!(fixture.now(id).await.state, State::Running);

    let tool = FakeTool::fine();
    let next =
        Service::start(fixture.investigator(FakeBrains::script(&["sync", "uptime"], 0.9), tool.clone()));
    all_over(&fixture, &[id]).await;
    next.stop().await;
    assert_eq!((fixture.now(id).await.state, tool.ran()), (State::Completed, vec!["uptime".to_owned()]));
}

#[tokio::test]
async fn a_stop_does_not_wait_for_a_tool_that_hangs() {
    let fixture = Fixture::new();
    let id = fixture.queued("disk").await;
    let brains = || FakeBrains::script(&["sync"], 0.9);
    let service = Service::start(fixture.investigator(brains(), FakeTool::never_ending()));
    fixture.until("the tool runs", async || acting(&fixture, id).await).await;
    service.stop().await;

    let tool = FakeTool::fine();
    let next = Service::start(fixture.investigator(brains(), tool.clone()));
    all_over(&fixture, &[id]).await;
    next.stop().await;
    assert_eq!(fixture.outcomes(id).await[0].status, OutcomeStatus::Interrupted);
    assert_eq!((fixture.now(id).await.state, tool.ran().len()), (State::Completed, 0));
}

/// Concludes, or panics where the alert is `bad`.
fn brains_that_panic_on_bad() -> FakeBrains {
    FakeBrains::new(|briefing, done| {
        assert_ne!(briefing.alert.id, "bad", "this panic is the test's");
        Ok(if done.is_empty() { calls(&["uptime"]) } else { conclude(0.9) })
    })
}

#[tokio::test]
async fn a_panic_in_one_run_leaves_the_others_alone() {
    let fixture = Fixture::new();
    let good = fixture.queued("good").await;
    let tool = FakeTool::new(|command| async move {
        tokio::time::sleep(Duration::from_millis(700)).await;
        ran(&command)
    });
    let service = Service::start(fixture.investigator(brains_that_panic_on_bad(), tool.clone()));
    fixture.until("the tool runs", async || acting(&fixture, good).await).await;
    fixture.queued("bad").await;
    service.handle.wake();
    all_over(&fixture, &[good]).await;
    service.stop().await;
    assert_eq!((tool.ran().len(), times_taken_up(&fixture, good).await), (1, 1));
}

/// No alert may wait unseen: a run that panics whenever it is taken up ends, and a human is told.
#[tokio::test]
async fn a_run_that_panics_again_and_again_escalates() {
    let fixture = Fixture::new();
    let bad = fixture.queued("bad").await;
    let service = Service::start(fixture.investigator(brains_that_panic_on_bad(), FakeTool::fine()));
    all_over(&fixture, &[bad]).await;
    service.stop().await;
    assert_eq!(fixture.now(bad).await.state, State::Escalated);
    assert_eq!(fixture.notices().await.len(), 1);
}
