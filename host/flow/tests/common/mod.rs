//! What the tests of the flow are told with: a real store, a small policy, and fakes that check what they receive.

pub mod faulty;

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::json;
use tempfile::TempDir;
use tokio::sync::watch;
use watchkeeper_adapters::store::SqliteStore;
use watchkeeper_domain::alert::{Alert, RawAlert, Severity, Status};
use watchkeeper_domain::brain::{Brain, BrainError, Brains, Opening};
use watchkeeper_domain::gate::{Action, ApprovedCall, Gate};
use watchkeeper_domain::incident::Correlation;
use watchkeeper_domain::investigation::*;
use watchkeeper_domain::store::{Delivery, Outgoing, Store};
use watchkeeper_domain::tool::Tool;
use watchkeeper_domain::{InvestigationId, Timestamp};
use watchkeeper_flow::investigate::{Investigator, Options};

pub const BRAIN: &str = "playbook fake";

/// A store of its own, for as long as this is kept.
pub struct Fixture {
    pub store: Arc<dyn Store>,
    _data: TempDir,
}

impl Fixture {
    pub fn new() -> Self {
        let data = tempfile::tempdir().unwrap();
        Self { store: Arc::new(SqliteStore::open(data.path()).unwrap()), _data: data }
    }

    /// A critical alert's investigation, queued.
    pub async fn queued(&self, alert: &str) -> InvestigationId {
        self.received(raw(alert), Timestamp::now()).await
    }

    pub async fn received(&self, alert: RawAlert, received_at: Timestamp) -> InvestigationId {
        let delivery = Delivery {
            source: "prom".into(),
            received_at,
            payload: Arc::default(),
            alerts: vec![alert.validate(0).unwrap()],
            dedup_window: Duration::from_secs(300),
            correlation: Arc::new(correlation()),
            replay_of: None,
            cursor: None,
        };
        self.store.ingest(delivery).await.unwrap().investigations[0]
    }

    pub fn investigator(&self, brains: FakeBrains, tool: FakeTool) -> Investigator {
        Investigator {
            store: self.store.clone(),
            brains: Arc::new(brains),
            gate: Arc::new(gate()),
            tools: BTreeMap::from([("bash".to_owned(), Arc::new(tool) as Arc<dyn Tool>)]),
            options: Options { budget: Budget::default(), max_concurrent: 5 },
        }
    }

    pub async fn now(&self, id: InvestigationId) -> Investigation {
        self.store.investigation(id).await.unwrap().unwrap()
    }

    pub async fn events(&self, id: InvestigationId) -> Vec<Event> {
        self.store.transcript(id, 0).await.unwrap().into_iter().map(|entry| entry.event).collect()
    }

    pub async fn outcomes(&self, id: InvestigationId) -> Vec<Outcome> {
        let outcome = |event| match event {
            Event::Acted { outcome, .. } => Some(outcome),
            _ => None,
        };
        self.events(id).await.into_iter().filter_map(outcome).collect()
    }

    /// What is in the outbox for a channel that nobody serves.
    pub async fn outgoing(&self) -> Vec<Outgoing> {
        self.store.address_notices(&["test".into()]).await.unwrap();
        self.store.due_notices("test", Timestamp::from_millis(u64::MAX), 100).await.unwrap()
    }

    /// The reasons of the notices in the outbox.
    pub async fn notices(&self) -> Vec<String> {
        self.outgoing().await.into_iter().map(|out| out.notice.reason.into_exposed()).collect()
    }

    /// Waits, not for long, until `holds` does.
    pub async fn until(&self, what: &str, holds: impl AsyncFn() -> bool) {
        for _ in 0..1000 {
            if holds().await {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("it never came about that {what}");
    }
}

pub fn correlation() -> Correlation {
    Correlation { group_by: Vec::new(), investigate: vec![Severity::Critical], max_queued: 1000 }
}

pub fn raw(id: &str) -> RawAlert {
    RawAlert {
        id: id.into(),
        severity: Severity::Critical,
        status: Status::Firing,
        title: format!("{id} is high").into(),
        description: "".into(),
        labels: Vec::new(),
        annotations: Vec::new(),
        starts_at: Some(Timestamp::from_millis(1_790_000_000_000)),
        ends_at: None,
    }
}

/// Of each verdict and effect one program: `uptime` and `true` read, `sync` changes, `kill` is asked for, `rm` is blocked.
pub fn gate() -> Gate {
    let allow = |name: &str, programs: &[&str], effect: &str| {
        json!({"name": name, "programs": programs, "verdict": "allow", "effect": effect,
            "justification": "a test's", "match": [programs[0]]})
    };
    let refuse = |verdict: &str, program: &str| {
        json!({"name": program, "programs": [program], "verdict": verdict,
            "justification": "a person decides", "match": [program]})
    };
    let policy = json!({
        "allowed_directories": ["/var/log"],
        "rules": [
            allow("looks", &["uptime", "true"], "read"),
            allow("writes", &["sync"], "change"),
            refuse("ask", "kill"),
            refuse("block", "rm"),
        ],
    });
    Gate::new(serde_json::from_value(policy).unwrap())
}

pub fn bash(command: &str) -> Call {
    Call { tool: "bash".into(), input: json!({ "command": command }).into(), purpose: "a test's".into() }
}

pub fn calls(commands: &[&str]) -> Step {
    Step::Calls(commands.iter().map(|command| bash(command)).collect())
}

pub fn report(confidence: f64) -> Report {
    Report {
        summary: "the disk is full".into(),
        root_cause: None,
        findings: Vec::new(),
        recommendations: Vec::new(),
        confidence,
    }
}

pub fn conclude(confidence: f64) -> Step {
    Step::Conclude(report(confidence))
}

type Answer = dyn Fn(&Briefing, &[(Call, Outcome)]) -> Result<Step, BrainError> + Send + Sync;

/// Opens every investigation with the same brain and prompt. The brain answers by what it is given, and by nothing else.
#[derive(Clone)]
pub struct FakeBrains {
    answer: Arc<Answer>,
    first_steps: Vec<Call>,
    unknown: Option<String>,
}

impl FakeBrains {
    pub fn new(
        answer: impl Fn(&Briefing, &[(Call, Outcome)]) -> Result<Step, BrainError> + Send + Sync + 'static,
    ) -> Self {
        Self { answer: Arc::new(answer), first_steps: Vec::new(), unknown: None }
    }

    /// Proposes these commands one after the other, then concludes.
    pub fn script(commands: &'static [&'static str], confidence: f64) -> Self {
        Self::new(move |_, done| match commands.get(done.len()) {
            Some(command) => Ok(calls(&[command])),
            None => Ok(conclude(confidence)),
        })
    }

    /// Always the same answer.
    pub fn saying(step: Step) -> Self {
        Self::new(move |_, _| Ok(step.clone()))
    }

    pub fn failing(error: &'static str) -> Self {
        Self::new(move |_, _| Err(BrainError(error.into())))
    }

    pub fn nobody(reason: &str) -> Self {
        Self { unknown: Some(reason.into()), ..Self::failing("nobody was asked") }
    }

    pub fn with_first_steps(self, commands: &[&str]) -> Self {
        Self { first_steps: commands.iter().map(|command| bash(command)).collect(), ..self }
    }

    fn prompt(&self) -> Prompt {
        Prompt {
            instructions: "be brief".into(),
            task: "find the cause".into(),
            first_steps: self.first_steps.clone(),
        }
    }
}

#[async_trait]
impl Brains for FakeBrains {
    async fn open(&self, alert: &Alert, briefing: &Briefing) -> Result<Opening, BrainError> {
        assert_eq!(alert, &briefing.alert);
        match &self.unknown {
            Some(reason) => Err(BrainError::new(reason.as_str())),
            None => {
                Ok(Opening { prompt_by: "fake".into(), prompt: self.prompt(), brain: Arc::new(self.clone()) })
            }
        }
    }

    async fn resume(&self, name: &str) -> Result<Arc<dyn Brain>, BrainError> {
        assert_eq!(name, BRAIN, "a run goes on with the brain that it began with");
        Ok(Arc::new(self.clone()))
    }
}

#[async_trait]
impl Brain for FakeBrains {
    fn name(&self) -> &str {
        BRAIN
    }

    async fn next(
        &self,
        briefing: &Briefing,
        prompt: &Prompt,
        done: &[(Call, Outcome)],
    ) -> Result<Step, BrainError> {
        assert_eq!(prompt, &self.prompt(), "the prompt of the opening, after a restart, too");
        assert_eq!(briefing.tools.iter().map(|tool| tool.name.as_str()).collect::<Vec<_>>(), ["bash"]);
        (self.answer)(briefing, done)
    }
}

type Doing = Pin<Box<dyn Future<Output = Outcome> + Send>>;

/// Runs nothing; keeps what it was told to run, and gives the outcome that the test has for it.
#[derive(Clone)]
pub struct FakeTool {
    ran: Arc<Mutex<Vec<String>>>,
    run: Arc<dyn Fn(String) -> Doing + Send + Sync>,
}

impl FakeTool {
    pub fn new<F: Future<Output = Outcome> + Send + 'static>(
        run: impl Fn(String) -> F + Send + Sync + 'static,
    ) -> Self {
        Self { ran: Arc::default(), run: Arc::new(move |command| Box::pin(run(command))) }
    }

    pub fn fine() -> Self {
        Self::new(|command| async move { ran(&command) })
    }

    pub fn failing() -> Self {
        Self::new(|_| async { Outcome::without_run(OutcomeStatus::Failed, "no such program") })
    }

    pub fn never_ending() -> Self {
        Self::new(|_| std::future::pending())
    }

    /// Keeps what it is told to run where `other` does.
    pub fn noting_in(self, other: &FakeTool) -> Self {
        Self { ran: other.ran.clone(), ..self }
    }

    pub fn ran(&self) -> Vec<String> {
        self.ran.lock().unwrap().clone()
    }
}

pub fn ran(command: &str) -> Outcome {
    Outcome {
        status: OutcomeStatus::Ran,
        output: format!("output of {command}").into(),
        truncated: false,
        exit_code: Some(0),
        duration: Duration::ZERO,
    }
}

#[async_trait]
impl Tool for FakeTool {
    fn describe(&self) -> ToolDescription {
        ToolDescription { name: "bash".into(), description: String::new(), input_schema: json!({}) }
    }

    async fn run(&self, call: ApprovedCall) -> Outcome {
        let Action::Run(plan) = call.action() else { panic!("{call:?}") };
        let programs: Vec<&str> = plan.commands().map(|command| command.program()).collect();
        let command = programs.join(" ");
        self.ran.lock().unwrap().push(command.clone());
        (self.run)(command).await
    }
}

/// Nobody stops it.
pub fn never() -> watch::Receiver<bool> {
    watch::channel(false).1
}
