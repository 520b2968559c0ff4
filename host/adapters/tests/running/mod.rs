//! How these tests run commands: through the gate, with a policy that says allow to that very command, and so through the
//! sandbox alone.
#![allow(dead_code, reason = "each test uses its part")]

/// Programs of others that a test needs, as the tests of the whole host say it.
#[path = "../../../../tests/src/peers.rs"]
pub mod peers;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};
use watchkeeper_adapters::sandbox::{Limits as ProgramLimits, Options, Sandbox};
use watchkeeper_adapters::tool::{Bash, Limits};
use watchkeeper_domain::gate::{ApprovedCall, BASH, Gate, Plan, Policy};
use watchkeeper_domain::investigation::{Call, Outcome};
use watchkeeper_domain::tool::Tool;

pub const LAUNCHER: &str = env!("CARGO_BIN_EXE_watchkeeper-launcher");

/// A policy that allows this command, whatever it is, with what `sandbox` says of every program in it. It goes through the
/// same door as any other.
pub fn allowing(command: &str, sandbox: &Value, allowed_directories: &[String], denied: &[&str]) -> Policy {
    let plan = Plan::parse(command).unwrap_or_else(|error| panic!("{command}: {error}"));
    let mut flags: BTreeMap<&str, BTreeMap<String, &str>> = BTreeMap::new();
    for part in plan.commands() {
        let known = flags.entry(part.program()).or_default();
        for word in part.argv[1..].iter().filter(|word| word.len() > 1 && word.starts_with('-')) {
            match word.split_once('=') {
                Some((name, _)) => known.insert(name.to_owned(), "text"),
                None => known.insert(word.clone(), "none"),
            };
        }
        known.remove("--");
    }
    let rules: Vec<Value> = flags
        .iter()
        .map(|(program, flags)| {
            json!({"name": program, "programs": [program], "verdict": "allow", "effect": "change", "justification": "a test",
                "flag_style": "whole", "flags": flags, "positionals": [{"kind": "text", "max": 99}],
                "sandbox": sandbox, "match": [program]})
        })
        .collect();
    let policy = json!({"allowed_directories": allowed_directories, "denied_files": denied, "rules": rules});
    serde_json::from_value(policy).unwrap_or_else(|error| panic!("{command}: {error}"))
}

/// As a person lets it through, who was shown it.
pub fn agreed(command: &str, sandbox: &Value, allowed_directories: &[String]) -> (Policy, ApprovedCall) {
    let policy = || -> Policy {
        let programs: Vec<String> =
            Plan::parse(command).unwrap().commands().map(|part| part.program().to_owned()).collect();
        let rules = json!([{"name": "asks", "programs": programs, "verdict": "ask", "justification": "a test",
            "sandbox": sandbox, "match": [command]}]);
        let policy = json!({"allowed_directories": allowed_directories, "denied_files": [], "rules": rules});
        serde_json::from_value(policy).unwrap_or_else(|error| panic!("{command}: {error}"))
    };
    let call = Call { tool: BASH.into(), input: json!({ "command": command }).into(), purpose: "".into() };
    let gate = Gate::new(policy());
    let question = gate.question(&call).unwrap();
    (policy(), gate.by_approval(&call, &question.hash).unwrap())
}

pub fn approved(policy: Policy, command: &str) -> ApprovedCall {
    let call = Call { tool: BASH.into(), input: json!({ "command": command }).into(), purpose: "".into() };
    let judged = Gate::new(policy).judge(&call);
    let reason = judged.reason.clone();
    judged.into_approved().unwrap_or_else(|| panic!("{command}: {reason:?}"))
}

/// What a test changes of the defaults.
pub struct Ground {
    pub allowed: Vec<String>,
    pub denied: Vec<&'static str>,
    pub options: Options,
    pub limits: Limits,
}

impl Default for Ground {
    fn default() -> Self {
        Self {
            allowed: ["/etc", "/proc", "/sys", "/var/log"].map(str::to_owned).to_vec(),
            denied: vec![
                "/etc/shadow*",
                "/etc/gshadow*",
                "*.pem",
                "*.key",
                ".ssh",
                "/sys/kernel/debug",
                "/sys/kernel/tracing",
            ],
            options: Options { limits: ProgramLimits::default(), ..Options::default() },
            limits: Limits::default(),
        }
    }
}

impl Ground {
    /// Runs a command whose programs have this `sandbox:`.
    pub async fn run_with(&self, command: &str, sandbox: Value) -> Outcome {
        let policy = || allowing(command, &sandbox, &self.allowed, &self.denied);
        self.run_call(&policy(), approved(policy(), command)).await
    }

    /// Runs a command that a person agreed to, with this `sandbox:`.
    pub async fn run_agreed(&self, command: &str, sandbox: Value) -> Outcome {
        let (policy, call) = agreed(command, &sandbox, &self.allowed);
        self.run_call(&policy, call).await
    }

    async fn run_call(&self, policy: &Policy, call: ApprovedCall) -> Outcome {
        let launcher = std::path::Path::new(LAUNCHER);
        let held = Sandbox::with_launcher(launcher, policy.files().clone(), self.options.clone());
        Bash::new(self.limits, Arc::new(held.expect("the launcher is there"))).run(call).await
    }

    pub async fn run(&self, command: &str) -> Outcome {
        self.run_with(command, json!({})).await
    }
}

pub async fn run(command: &str) -> Outcome {
    Ground::default().run(command).await
}

/// Removes the control groups of this name, in each hierarchy that there is, once their last process is gone.
pub fn remove_groups(name: &str) {
    let top = std::path::Path::new("/sys/fs/cgroup");
    let below = std::fs::read_dir(top).into_iter().flatten().flatten().map(|entry| entry.path());
    for group in below.chain([top.to_owned()]).map(|hierarchy| hierarchy.join(name)) {
        for _ in 0..100 {
            if !group.exists() {
                break;
            }
            // The deepest first.
            let mut find = std::process::Command::new("find");
            find.arg(&group).args(["-depth", "-type", "d", "-exec", "rmdir", "{}", ";"]);
            let _ = find.stderr(std::process::Stdio::null()).status();
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }
}

/// Whether a process that isn't dead has this word on its command line.
pub fn is_running(marker: &str) -> bool {
    std::fs::read_dir("/proc").unwrap().flatten().any(|entry| {
        let command = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let state = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let dead = state.rsplit(')').next().is_some_and(|rest| rest.starts_with(" Z"));
        !dead && command.split(|byte| *byte == 0).any(|word| word == marker.as_bytes())
    })
}

pub async fn gone(marker: &str) -> bool {
    for _ in 0..200 {
        if !is_running(marker) {
            return true;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    false
}
