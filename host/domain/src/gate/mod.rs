//! The gate: the pure function that turns a proposed call into allow, ask or block.
//!
//! Invariant: what is classified is what runs. A command is parsed to a [`Plan`] of literal argv's; the policy judges that
//! plan, the strictest verdict wins, and the [`ApprovedCall`] that a tool is given holds that very plan: no shell ever sees
//! the string. Only this module can make an [`ApprovedCall`].

mod files;
mod languages;
mod orders;
mod plan;
mod policy;
mod profile;
mod question;
mod usage;
mod value;

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::Untrusted;
use crate::investigation::Call;

pub use files::{Access, Files};
pub use orders::{Approval, StandingOrders};
pub use plan::{Command, Joint, NotAPlan, Pipeline, Plan, Stderr, Step};
pub use policy::{Policy, PolicyAddition, PolicyError, PolicyFile};
pub use profile::{Profile, Reach, Widen};

use orders::Texts;
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
    pub reason: Untrusted,
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

    fn unless_allowed(verdict: Verdict, reason: impl Into<Untrusted>, rule: Option<String>) -> Self {
        Self { verdict, reason: reason.into(), rule, approved: None }
    }

    /// Never milder than the standing orders are with such a text.
    fn at_least(self, policy: &Policy, texts: &Texts) -> Self {
        match policy.at_least(texts) {
            Some((verdict, rule, reason)) if verdict > self.verdict => {
                Self::unless_allowed(verdict, reason, Some(rule.to_owned()))
            }
            _ => self,
        }
    }

    fn ask(reason: impl Into<Untrusted>) -> Self {
        Self::unless_allowed(Verdict::Ask, reason, None)
    }

    fn allow(action: Action, effect: Effect, profiles: Vec<Profile>, reason: String, rule: String) -> Self {
        let approved = Some(ApprovedCall { action, effect, profiles, by_person: false });
        Self { verdict: Verdict::Allow, reason: reason.into(), rule: Some(rule), approved }
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
    profiles: Vec<Profile>,
    by_person: bool,
}

impl ApprovedCall {
    /// A person agreed to it: a path may be outside of the allowed directories, and is no other than the one that was shown.
    pub fn by_person(&self) -> bool {
        self.by_person
    }

    pub fn action(&self) -> &Action {
        &self.action
    }

    pub fn effect(&self) -> Effect {
        self.effect
    }

    /// What each command of the plan may reach, in reading order.
    pub fn profiles(&self) -> &[Profile] {
        &self.profiles
    }
}

/// A judgement with what it was made of, for people.
#[derive(Clone, Debug, PartialEq)]
pub struct Explanation {
    pub judgement: Judgement,
    /// What would run; none if the call is no command, or one that isn't literal.
    pub plan: Option<Plan>,
    /// What the policy says of each command of the plan, in its order.
    pub parts: Vec<Part>,
}

/// What the policy says of one command of a plan.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    pub command: Command,
    pub verdict: Verdict,
    pub effect: Effect,
    pub reason: Untrusted,
    pub rule: Option<String>,
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

    /// As [`Gate::judge`], with what the judgement was made of.
    pub fn explain(&self, call: &Call) -> Explanation {
        let command = call.tool == *BASH;
        let text = only_field(call.input.expose_untrusted(), "command").ok().filter(|_| command);
        let plan = text.and_then(|text| Plan::parse(text).ok());
        let commands = plan.iter().flat_map(Plan::commands);
        let parts = commands.map(|command| {
            let Opinion { verdict, effect, reason, rule, .. } = Opinion::of(&self.policy, command);
            Part { command: command.clone(), verdict, effect, reason: reason.into(), rule }
        });
        let parts = parts.collect();
        Explanation { judgement: self.judge(call), plan, parts }
    }

    /// What each command of a plan may reach if it runs, whether by itself or because a person agreed; in reading order.
    pub fn profiles(&self, plan: &Plan) -> Vec<Profile> {
        plan.commands().map(|command| Opinion::of(&self.policy, command).profile).collect()
    }

    /// Which files may be read, for the tools that hold that against links.
    pub fn files(&self) -> &Files {
        self.policy.files()
    }
}

fn judge(policy: &Policy, call: &Call) -> Judgement {
    let (tool, input) = (call.tool.expose_untrusted().as_str(), call.input.expose_untrusted());
    if policy.orders().tool_is_barred(tool) {
        let reason = format!("the tool `{}` is none of the allowed tools", tool.escape_debug());
        return Judgement::unless_allowed(Verdict::Block, reason, Some("allowed_tools".to_owned()));
    }
    match tool {
        BASH => match only_field(input, "command") {
            Ok(command) => judge_command(policy, command),
            Err(reason) => Judgement::ask(reason),
        },
        READ_FILE | LIST_FILES => match only_field(input, "path") {
            Ok(path) => judge_path(policy, tool == READ_FILE, path).at_least(policy, &Texts::new([])),
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
            Vec::new(),
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
    // What is too long for the parser isn't looked through for other texts either.
    let plan = match Plan::parse(text) {
        Ok(plan) => plan,
        Err(error) => {
            let texts = if error.is_too_long() { Texts::new([]) } else { Texts::new([text]) };
            let judged = Judgement::ask(format!("this is no plan of literal commands: {error}"));
            return judged.at_least(policy, &texts);
        }
    };
    let unquoted: Vec<String> = match policy.looks_for_texts() {
        true => plan.commands().map(|command| command.argv.join(" ")).collect(),
        false => Vec::new(),
    };
    let texts =
        Texts::new(unquoted.iter().map(String::as_str).chain(policy.looks_for_texts().then_some(text)));
    judge_plan(policy, plan).at_least(policy, &texts)
}

fn judge_plan(policy: &Policy, plan: Plan) -> Judgement {
    let parts: Vec<Opinion> = plan.commands().map(|command| Opinion::of(policy, command)).collect();
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
    let profiles = parts.into_iter().map(|part| part.profile).collect();
    Judgement::allow(Action::Run(plan), effect, profiles, reason, rule)
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

/// What the policy says of one command.
struct Opinion {
    verdict: Verdict,
    effect: Effect,
    reason: String,
    rule: Option<String>,
    /// Of the rule that gave the verdict; where none did, of the first that speaks of the program.
    profile: Profile,
}

impl Opinion {
    /// The strictest of the rules that match; where none does, ask, or block if only `denied_files` stands against it.
    fn of(policy: &Policy, command: &Command) -> Self {
        let mut matched: Option<&policy::Rule> = None;
        let (mut denied, mut misfit) = (None, None);
        for rule in policy.rules_for(command) {
            match rule.fits(command, policy.files()) {
                Match::Yes if matched.is_none_or(|known| known.verdict < rule.verdict) => {
                    matched = Some(rule)
                }
                Match::Yes => {}
                Match::Denied(why) => denied = denied.or(Some(why)),
                Match::No(why) if why.is_empty() => {}
                Match::No(why) => misfit = misfit.or(Some(why)),
            }
        }
        let spoken = matched.or_else(|| policy.rules_for(command).next());
        let profile = spoken.map(|rule| rule.profile(command)).unwrap_or_default();
        match (matched, denied) {
            (Some(rule), _) => Self {
                profile,
                verdict: rule.verdict,
                effect: rule.effect,
                reason: match rule.verdict {
                    Verdict::Allow => rule.justification.clone(),
                    _ => format!("`{command}`: {}", rule.justification),
                },
                rule: Some(rule.name.clone()),
            },
            (None, Some(why)) => Self {
                profile,
                verdict: Verdict::Block,
                effect: Effect::Change,
                reason: format!("`{command}`: {why}"),
                rule: Some("denied_files".to_owned()),
            },
            (None, None) => Self::unknown(command, misfit, profile),
        }
    }

    fn unknown(command: &Command, misfit: Option<String>, profile: Profile) -> Self {
        let program = command.program();
        let reason = match misfit {
            Some(what) => format!("`{command}`: no rule permits {what} for {program}"),
            None if program.contains('/') => {
                format!("`{command}`: a program is called by its bare name, never by a path")
            }
            None => format!("`{command}`: no rule speaks of the program {program}"),
        };
        Self { verdict: Verdict::Ask, effect: Effect::Change, reason, rule: None, profile }
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
        gate().judge(&Call { tool: tool.into(), input: input.into(), purpose: "".into() })
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

    /// The policy of [`gate`], with a restart that a site may take upon itself.
    fn policy() -> Policy {
        let restart = |verdict: &str, more: Value| {
            let mut rule = json!({"name": format!("restart-{verdict}"), "programs": ["systemctl"], "verdict": verdict,
                "confirm": "restart", "justification": "j", "match": ["systemctl restart x"]});
            for (key, value) in more.as_object().unwrap() {
                rule[key] = value.clone();
            }
            rule
        };
        serde_json::from_value(json!({
            "allowed_directories": ["/var/log"],
            "blocked_commands": ["of=/dev/"],
            "rules": [
                {"name": "lists", "programs": ["ls"], "verdict": "allow", "effect": "read", "justification": "j",
                    "positionals": [{"kind": "path"}], "match": ["ls"]},
                {"name": "rm-r", "programs": ["rm"], "verdict": "block", "with_flags": ["-r"], "justification": "j", "match": ["rm -r x"]},
                restart("ask", json!({"with_words": ["restart"]})),
                restart("allow", json!({"effect": "change", "subcommands": {"restart": {"positionals": [{"kind": "word"}]}}})),
            ],
            "examples": {"allow": ["ls"], "ask": ["git status"], "block": ["rm -r x"]},
        }))
        .unwrap()
    }

    fn verdict(policy: &Policy, command: &str) -> Verdict {
        let input = json!({ "command": command });
        super::judge(policy, &Call { tool: BASH.into(), input: input.into(), purpose: "".into() }).verdict
    }

    #[test]
    fn standing_orders_tighten_and_two_of_them_open_what_a_rule_says() {
        let (allow, ask, block) = (Verdict::Allow, Verdict::Ask, Verdict::Block);
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let orders = StandingOrders::default;
        for (orders, cases) in [
            (
                orders(),
                &[
                    ("ls", allow),
                    ("systemctl restart x", ask),
                    ("dd of=/dev/sda", block),
                    ("x >'of=/dev/'", block),
                ][..],
            ),
            (
                StandingOrders { blocked_commands: texts(&["ls  /var/log", "mkfs", ""]), ..orders() },
                &[
                    ("ls", allow),
                    ("'ls'  /var/lo\\g", block),
                    ("ls; mkfs", block),
                    ("mkfs $x", block),
                    ("id", ask),
                ],
            ),
            (
                StandingOrders { require_human_approval: Approval::Always, ..orders() },
                &[("ls", ask), ("rm -r x", block)],
            ),
            (
                StandingOrders {
                    require_human_approval: Approval::Commands(texts(&["ls /var"])),
                    ..orders()
                },
                &[("ls", allow), ("ls /var/log", ask), ("rm -r /var", block)],
            ),
            (
                StandingOrders { allowed_tools: Some(texts(&[READ_FILE])), ..orders() },
                &[("ls", block), ("id", block)],
            ),
            (
                StandingOrders { confirm_before_restart: false, ..orders() },
                &[("systemctl restart x", allow), ("systemctl restart x y", ask), ("rm -r x", block)],
            ),
            (StandingOrders { confirm_before_delete: false, ..orders() }, &[("systemctl restart x", ask)]),
            (
                StandingOrders { allowed_directories: Some(texts(&["/srv/log"])), ..orders() },
                &[("ls /srv/log", allow), ("ls /var/log", ask)],
            ),
        ] {
            let policy = policy().under(orders.clone()).unwrap();
            for (command, expected) in cases {
                assert_eq!(verdict(&policy, command), *expected, "{command} under {orders:?}");
            }
        }
        let relative = StandingOrders { allowed_directories: Some(texts(&["log"])), ..orders() };
        assert!(policy().under(relative).is_err());
    }

    #[test]
    fn a_site_adds_and_never_loosens() {
        let rule = |name: &str, program: &str, verdict: &str, example: &str| {
            let mut rule = json!({"name": name, "programs": [program], "verdict": verdict, "justification": "j", "match": [example]});
            if verdict == "allow" {
                rule["effect"] = json!("read");
                rule["flags"] = json!({"-r": "none"});
                rule["positionals"] = json!([{"kind": "word"}]);
            }
            rule
        };
        let with = |addition: Value| policy().with(serde_json::from_value(addition).unwrap());
        let own = rule("own", "appctl", "allow", "appctl status");
        let added =
            with(json!({"rules": [own], "allowed_directories": ["/srv/app"], "denied_files": ["*.log"]}))
                .unwrap();
        for (command, expected) in [
            ("appctl status", Verdict::Allow),
            ("ls /srv/app", Verdict::Allow),
            ("ls /var/log/x.log", Verdict::Block),
            ("rm -r x", Verdict::Block),
        ] {
            assert_eq!(verdict(&added, command), expected, "{command}");
        }
        // Stricter than the policy's own examples is a site's right; milder is not.
        assert_eq!(
            verdict(&with(json!({"rules": [rule("no", "ls", "block", "ls")]})).unwrap(), "ls"),
            Verdict::Block
        );
        for (addition, problem) in [
            (json!({"rules": [rule("git", "git", "allow", "git status")]}), "`git status` is allow, not ask"),
            (json!({"rules": [rule("rm", "rm", "allow", "rm -r x")]}), "is block all the same"),
            (json!({"rules": [rule("lists", "id", "ask", "id")]}), "another has this name"),
            (json!({"examples": {"allow": ["id"]}}), "`id` is ask, not allow"),
            (json!({"allowed_directories": ["srv"]}), "no absolute path"),
        ] {
            let problems = with(addition.clone()).unwrap_err().problems;
            assert!(problems.iter().any(|found| found.contains(problem)), "{addition}: {problems:?}");
        }
    }

    #[test]
    fn an_explanation_has_each_part_with_its_rule() {
        let explain = |tool: &str, input: Value| {
            gate().explain(&Call { tool: tool.into(), input: input.into(), purpose: "".into() })
        };
        let explained = explain(BASH, json!({"command": "ls | cat && 'kill' 1; id"}));
        assert_eq!(explained.judgement.verdict, Verdict::Ask);
        assert_eq!(explained.plan.unwrap().to_string(), "ls | cat && kill 1; id");
        let parts: Vec<_> = explained
            .parts
            .iter()
            .map(|part| (part.command.program(), part.verdict, part.rule.as_deref()))
            .collect();
        let (allow, ask) = (Verdict::Allow, Verdict::Ask);
        let expected = [
            ("ls", allow, Some("lists")),
            ("cat", allow, Some("cats")),
            ("kill", ask, Some("kills")),
            ("id", ask, None),
        ];
        assert_eq!(parts, expected);
        for explained in
            [explain(BASH, json!({"command": "ls $x"})), explain(READ_FILE, json!({"path": "/var/log/x"}))]
        {
            assert!(explained.plan.is_none() && explained.parts.is_empty());
        }
    }
}
