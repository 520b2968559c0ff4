//! The gate: the pure function that turns a proposed call into allow, ask or block.
//!
//! Invariant: what is classified is what runs. A command is parsed to a [`Plan`] of literal argv's; the policy judges that
//! plan, the strictest verdict wins, and the [`ApprovedCall`] that a tool is given holds that very plan: no shell ever sees
//! the string. Only this module can make an [`ApprovedCall`].

mod files;
mod plan;
mod policy;
mod question;
mod usage;
mod value;

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::investigation::Call;

pub use files::{Access, Files};
pub use plan::{Command, Joint, NotAPlan, Pipeline, Plan, Stderr, Step};
pub use policy::{Policy, PolicyError, PolicyFile};

use usage::Match;

/// The tools' names, as a call gives them.
pub const BASH: &str = "bash";
pub const READ_FILE: &str = "read_file";
pub const LIST_FILES: &str = "list_files";

/// From mildest to strictest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    Allow,
    Ask,
    Block,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Verdict::Allow => "allow",
            Verdict::Ask => "ask",
            Verdict::Block => "block",
        })
    }
}

/// Whether a call may change something. What only reads can be run again after a crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    Read,
    Change,
}

/// A verdict, why, and which rule gave it.
#[derive(Clone, Debug, PartialEq)]
pub struct Judgement {
    pub verdict: Verdict,
    pub reason: String,
    /// The rule's name in `config/gate.yaml`, several if several allow a plan's parts, or the list that a path was found
    /// in; none where no rule speaks of the call.
    pub rule: Option<String>,
    approved: Option<ApprovedCall>,
}

impl Judgement {
    /// The call, ready to run; none unless the verdict is allow.
    pub fn into_approved(self) -> Option<ApprovedCall> {
        self.approved
    }

    fn unless_allowed(verdict: Verdict, reason: impl Into<String>, rule: Option<String>) -> Self {
        Self { verdict, reason: reason.into(), rule, approved: None }
    }

    fn ask(reason: impl Into<String>) -> Self {
        Self::unless_allowed(Verdict::Ask, reason, None)
    }

    fn allow(action: Action, effect: Effect, reason: String, rule: String) -> Self {
        let approved = Some(ApprovedCall { action, effect });
        Self { verdict: Verdict::Allow, reason, rule: Some(rule), approved }
    }
}

/// What a tool is to do, with nothing left to interpret.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    Run(Plan),
    /// An absolute, normalised path inside the allowed directories, by its text; the tool holds that against symlinks.
    ReadFile {
        path: String,
    },
    ListFiles {
        path: String,
    },
}

/// A call that the gate let through. Its fields are private to the gate, so holding one is the proof.
#[derive(Clone, Debug, PartialEq)]
pub struct ApprovedCall {
    action: Action,
    effect: Effect,
}

impl ApprovedCall {
    pub fn action(&self) -> &Action {
        &self.action
    }

    pub fn effect(&self) -> Effect {
        self.effect
    }
}

/// The gate with its policy.
pub struct Gate {
    policy: Policy,
}

impl Gate {
    pub fn new(policy: Policy) -> Self {
        Self { policy }
    }

    /// Total: whatever comes in, a judgement comes out; what isn't understood is never allow.
    pub fn judge(&self, call: &Call) -> Judgement {
        judge(&self.policy, call)
    }

    /// Which files may be read, for the tools that hold that against links.
    pub fn files(&self) -> &Files {
        self.policy.files()
    }
}

fn judge(policy: &Policy, call: &Call) -> Judgement {
    match call.tool.as_str() {
        BASH => match only_field(&call.input, "command") {
            Ok(command) => judge_command(policy, command),
            Err(reason) => Judgement::ask(reason),
        },
        READ_FILE | LIST_FILES => match only_field(&call.input, "path") {
            Ok(path) => judge_path(policy, call.tool == READ_FILE, path),
            Err(reason) => Judgement::ask(reason),
        },
        other => {
            let other = other.escape_debug();
            Judgement::ask(format!(
                "there is no tool `{other}`: there are {BASH}, {READ_FILE} and {LIST_FILES}"
            ))
        }
    }
}

/// A tool's input is exactly one text; anything beside it would be something nobody has judged.
fn only_field<'a>(input: &'a Value, name: &str) -> Result<&'a str, String> {
    let fields = input.as_object();
    match fields.map(|fields| (fields.len(), fields.get(name).and_then(Value::as_str))) {
        Some((1, Some(text))) => Ok(text),
        _ => Err(format!("the input is not of the form {{\"{name}\": \"…\"}}")),
    }
}

fn judge_path(policy: &Policy, read: bool, path: &str) -> Judgement {
    let access = policy.files().access(path);
    let reason = format!("`{}` is {access}", path.escape_debug());
    let path = path.to_owned();
    let action = if read { Action::ReadFile { path } } else { Action::ListFiles { path } };
    match access {
        Access::Allowed => Judgement::allow(
            action,
            Effect::Read,
            "it is inside of the allowed directories".to_owned(),
            "allowed_directories".to_owned(),
        ),
        Access::Denied { .. } => {
            Judgement::unless_allowed(Verdict::Block, reason, Some("denied_files".to_owned()))
        }
        Access::Outside => {
            let directories = policy.files().allowed_directories().join(" ");
            Judgement::ask(format!("{reason}: {directories}"))
        }
        Access::NotNormal => Judgement::ask(reason),
    }
}

fn judge_command(policy: &Policy, text: &str) -> Judgement {
    let plan = match Plan::parse(text) {
        Ok(plan) => plan,
        Err(error) => return Judgement::ask(format!("this is no plan of literal commands: {error}")),
    };
    let parts: Vec<Part> = plan.commands().map(|command| Part::judge(policy, command)).collect();
    let Some(strictest) = parts.iter().rev().max_by_key(|part| part.verdict) else {
        return Judgement::ask("there is no command");
    };
    if strictest.verdict != Verdict::Allow {
        return Judgement::unless_allowed(
            strictest.verdict,
            strictest.reason.clone(),
            strictest.rule.clone(),
        );
    }
    let effect = parts.iter().map(|part| part.effect).max().unwrap_or(Effect::Change);
    let reason = joined(parts.iter().map(|part| Some(part.reason.as_str())), "; ");
    let rule = joined(parts.iter().map(|part| part.rule.as_deref()), ", ");
    Judgement::allow(Action::Run(plan), effect, reason, rule)
}

/// Each text once, in the order of its first mention.
fn joined<'a>(texts: impl Iterator<Item = Option<&'a str>>, separator: &str) -> String {
    let mut distinct: Vec<&str> = Vec::new();
    for text in texts.flatten() {
        if !distinct.contains(&text) {
            distinct.push(text);
        }
    }
    distinct.join(separator)
}

/// What the policy says of one command of a plan.
struct Part {
    verdict: Verdict,
    effect: Effect,
    reason: String,
    rule: Option<String>,
}

impl Part {
    /// The strictest of the rules that match; where none does, ask, or block if only `denied_files` stands against it.
    fn judge(policy: &Policy, command: &Command) -> Self {
        let mut matched: Option<&policy::Rule> = None;
        let (mut denied, mut misfit) = (None, None);
        for rule in policy.rules_for(command) {
            match rule.matches(command, policy.files()) {
                Match::Yes if matched.is_none_or(|known| known.verdict < rule.verdict) => {
                    matched = Some(rule)
                }
                Match::Yes => {}
                Match::Denied(why) => denied = denied.or(Some(why)),
                Match::No(why) if why.is_empty() => {}
                Match::No(why) => misfit = misfit.or(Some(why)),
            }
        }
        match (matched, denied) {
            (Some(rule), _) => Self {
                verdict: rule.verdict,
                effect: rule.effect,
                reason: match rule.verdict {
                    Verdict::Allow => rule.justification.clone(),
                    _ => format!("`{command}`: {}", rule.justification),
                },
                rule: Some(rule.name.clone()),
            },
            (None, Some(why)) => Self {
                verdict: Verdict::Block,
                effect: Effect::Change,
                reason: format!("`{command}`: {why}"),
                rule: Some("denied_files".to_owned()),
            },
            (None, None) => Self::unknown(command, misfit),
        }
    }

    fn unknown(command: &Command, misfit: Option<String>) -> Self {
        let program = command.program();
        let reason = match misfit {
            Some(what) => format!("`{command}`: no rule permits {what} for {program}"),
            None if program.contains('/') => {
                format!("`{command}`: a program is called by its bare name, never by a path")
            }
            None => format!("`{command}`: no rule speaks of the program {program}"),
        };
        Self { verdict: Verdict::Ask, effect: Effect::Change, reason, rule: None }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    fn gate() -> Gate {
        let rule = |name: &str, program: &str, verdict: &str, more: Value| {
            let mut rule = json!({"name": name, "programs": [program], "verdict": verdict, "justification": name,
                "match": [more["example"].as_str().unwrap_or(program)]});
            for (key, value) in more.as_object().unwrap().iter().filter(|(key, _)| *key != "example") {
                rule[key] = value.clone();
            }
            rule
        };
        let read = json!({"effect": "read", "positionals": [{"kind": "path", "max": 2}]});
        let policy = json!({
            "allowed_directories": ["/var/log", "/proc"],
            "denied_files": ["*.pem", "/proc/**/environ"],
            "rules": [
                rule("cats", "cat", "allow", read.clone()),
                rule("lists", "ls", "allow", read),
                rule("touches", "touch", "allow", json!({"effect": "change", "positionals": [{"kind": "path"}]})),
                rule("kills", "kill", "ask", json!({})),
                rule("rm-r", "rm", "block", json!({"with_flags": ["-r -R --recursive"], "example": "rm -r x"})),
                rule("rm-word", "rm", "ask", json!({"with_words": ["word"], "example": "rm word"})),
            ],
        });
        Gate::new(serde_json::from_value(policy).unwrap())
    }

    fn judge(tool: &str, input: Value) -> Judgement {
        gate().judge(&Call { tool: tool.to_owned(), input, purpose: String::new() })
    }

    fn bash(command: &str) -> Judgement {
        judge(BASH, json!({ "command": command }))
    }

    #[test]
    fn the_strictest_part_wins_and_is_named() {
        for (command, verdict, rule, reason) in [
            ("ls", Verdict::Allow, Some("lists"), "lists"),
            ("ls | cat; ls", Verdict::Allow, Some("lists, cats"), "lists; cats"),
            ("ls && id", Verdict::Ask, None, "`id`: no rule speaks of the program id"),
            ("kill 1 | ls", Verdict::Ask, Some("kills"), "`kill 1`: kills"),
            ("id; rm -rf /; kill 1", Verdict::Block, Some("rm-r"), "`rm -rf /`: rm-r"),
            ("rm -R word", Verdict::Block, Some("rm-r"), "`rm -R word`: rm-r"),
            ("rm word", Verdict::Ask, Some("rm-word"), "`rm word`: rm-word"),
            ("/bin/rm -r x", Verdict::Block, Some("rm-r"), "`/bin/rm -r x`: rm-r"),
            (
                "/bin/ls",
                Verdict::Ask,
                None,
                "`/bin/ls`: a program is called by its bare name, never by a path",
            ),
            ("ls -l", Verdict::Ask, None, "`ls -l`: no rule permits the flag `-l` for ls"),
            ("cat /root/x", Verdict::Ask, None, "`cat /root/x`: no rule permits the value `/root/x`"),
            ("cat /var/log/x.pem", Verdict::Block, Some("denied_files"), "`*.pem` of denied_files"),
            ("id; cat /proc/1/environ", Verdict::Block, Some("denied_files"), "`cat /proc/1/environ`"),
            (
                "ls $(id)",
                Verdict::Ask,
                None,
                "this is no plan of literal commands: at byte 3: an expansion `$`",
            ),
            ("rm -rf $HOME", Verdict::Ask, None, "this is no plan"),
            ("", Verdict::Ask, None, "no command at all"),
        ] {
            let judged = bash(command);
            assert_eq!((judged.verdict, judged.rule.as_deref()), (verdict, rule), "{command}: {judged:?}");
            assert!(judged.reason.contains(reason), "{command}: {judged:?}");
            assert_eq!(judged.into_approved().is_some(), verdict == Verdict::Allow, "{command}");
        }
    }

    #[test]
    fn what_was_judged_is_what_is_approved() {
        let approved = bash("ls '/var/log' | cat 2>&1").into_approved().unwrap();
        assert_eq!(approved.action(), &Action::Run(Plan::parse("ls /var/log | cat 2>&1").unwrap()));
        assert_eq!(approved.effect(), Effect::Read);
        assert_eq!(bash("ls; touch /var/log/x").into_approved().unwrap().effect(), Effect::Change);
    }

    #[test]
    fn paths_of_the_file_tools() {
        for (path, verdict, rule) in [
            ("/var/log/x", Verdict::Allow, Some("allowed_directories")),
            ("/var/log", Verdict::Allow, Some("allowed_directories")),
            ("/etc/passwd", Verdict::Ask, None),
            ("/var/log/../../etc/passwd", Verdict::Ask, None),
            ("var/log", Verdict::Ask, None),
            ("-", Verdict::Ask, None),
            ("/var/log/x.pem", Verdict::Block, Some("denied_files")),
            ("/etc/x.pem", Verdict::Block, Some("denied_files")),
            ("/proc/self/environ", Verdict::Block, Some("denied_files")),
        ] {
            for tool in [READ_FILE, LIST_FILES] {
                let judged = judge(tool, json!({ "path": path }));
                assert_eq!((judged.verdict, judged.rule.as_deref()), (verdict, rule), "{path}");
                assert_eq!(judged.into_approved().is_some(), verdict == Verdict::Allow, "{path}");
            }
        }
        let approved = judge(LIST_FILES, json!({"path": "/var/log"})).into_approved().unwrap();
        assert_eq!(approved.action(), &Action::ListFiles { path: "/var/log".to_owned() });
    }

    #[test]
    fn what_is_not_understood_is_asked() {
        for (tool, input) in [
            ("reboot", json!({"command": "ls"})),
            ("Bash", json!({"command": "ls"})),
            ("", Value::Null),
            (BASH, Value::Null),
            (BASH, json!("ls")),
            (BASH, json!(["ls"])),
            (BASH, json!({})),
            (BASH, json!({"command": ["ls"]})),
            (BASH, json!({"command": "ls", "cwd": "/root"})),
            (BASH, json!({"path": "/var/log"})),
            (READ_FILE, json!({"path": "/var/log/x", "follow": true})),
            (READ_FILE, json!({"path": 1})),
        ] {
            let judged = judge(tool, input.clone());
            assert!(judged.verdict == Verdict::Ask && !judged.reason.is_empty(), "{tool} {input}");
            assert!(judged.into_approved().is_none());
        }
    }
}
