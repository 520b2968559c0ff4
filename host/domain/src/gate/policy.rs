//! The policy: what `config/gate.yaml` says, checked.
//!
//! Invariant: a [`Policy`] exists only if nothing is wrong with it, its examples included. Every problem is reported at
//! once, each with the rule it is in and what to write instead.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;

use serde::Deserialize;
use serde_json::json;

use super::files::Files;
use super::orders::{Confirm, StandingOrders, Texts, squeeze};
use super::plan::{Command, Plan};
use super::profile::{Profile, Sandbox, SandboxText};
use super::usage::{FlagStyle, Match, PositionalText, Usage, UsageText};
use super::value::KindText;
use super::{Effect, Verdict, judge};
use crate::investigation::Call;

/// What the gate judges by. Read one with serde, or build one with [`Policy::new`].
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "PolicyFile")]
pub struct Policy {
    files: Files,
    blocked_commands: Vec<String>,
    rules: Vec<Rule>,
    index: Index,
    orders: StandingOrders,
    source: PolicyFile,
}

/// `config/gate.yaml` as it is written, unchecked.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyFile {
    allowed_directories: Vec<String>,
    #[serde(default)]
    denied_files: Vec<String>,
    #[serde(default)]
    blocked_commands: Vec<String>,
    #[serde(default)]
    rules: Vec<RuleText>,
    #[serde(default)]
    examples: Examples,
}

/// What a site adds to a policy, in a file of its own: as written, unchecked.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PolicyAddition {
    allowed_directories: Vec<String>,
    denied_files: Vec<String>,
    blocked_commands: Vec<String>,
    rules: Vec<RuleText>,
    examples: Examples,
}

/// Commands, and what the policy as a whole must say of them.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Examples {
    #[serde(default)]
    allow: Vec<String>,
    #[serde(default)]
    ask: Vec<String>,
    #[serde(default)]
    block: Vec<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleText {
    name: String,
    programs: Vec<String>,
    verdict: Verdict,
    effect: Option<Effect>,
    justification: String,
    /// An ask rule with this is in force until the site takes the matter upon itself, an allow rule from then on.
    #[serde(default)]
    confirm: Option<Confirm>,
    /// What the program may reach while it runs.
    #[serde(default)]
    sandbox: SandboxText,
    // For allow: all that the program may be given.
    #[serde(default)]
    flag_style: Option<FlagStyle>,
    #[serde(default)]
    flags: BTreeMap<String, KindText>,
    #[serde(default)]
    positionals: Vec<PositionalText>,
    #[serde(default)]
    subcommands: BTreeMap<String, UsageText>,
    #[serde(default)]
    bare: bool,
    #[serde(default)]
    needs: Vec<String>,
    #[serde(default)]
    flags_first: bool,
    // For ask and block: what narrows it down.
    #[serde(default)]
    with_flags: Vec<String>,
    #[serde(default)]
    with_words: Vec<String>,
    #[serde(default)]
    with_objects: Vec<String>,
    #[serde(default, rename = "match")]
    matching: Vec<String>,
    #[serde(default)]
    not_match: Vec<String>,
}

/// Every problem that a policy has, in the file's order; at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyError {
    pub problems: Vec<String>,
}

impl std::error::Error for PolicyError {}

impl fmt::Display for PolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the policy is refused: {}", self.problems.join("; "))
    }
}

impl TryFrom<PolicyFile> for Policy {
    type Error = PolicyError;

    fn try_from(file: PolicyFile) -> Result<Self, PolicyError> {
        Policy::new(file)
    }
}

impl Policy {
    pub fn new(file: PolicyFile) -> Result<Self, PolicyError> {
        let mut problems = Vec::new();
        let policy = Self::build(file, StandingOrders::default(), &mut problems);
        // An example says nothing as long as the rules themselves are wrong.
        if problems.is_empty() {
            policy
                .source
                .rules
                .iter()
                .enumerate()
                .for_each(|(at, text)| policy.rule_examples_hold(at, text, &mut problems));
            policy.examples_hold(&policy.source.examples, Verdict::eq, &mut problems);
        }
        if problems.is_empty() { Ok(policy) } else { Err(PolicyError { problems }) }
    }

    /// With what a site adds. It may tighten what it likes, and allow what no rule speaks of; what the policy's own examples
    /// say has to be asked or blocked stays so.
    pub fn with(self, addition: PolicyAddition) -> Result<Self, PolicyError> {
        let (mut file, known) = (self.source, self.rules.len());
        let examples = std::mem::take(&mut file.examples);
        file.allowed_directories.extend(addition.allowed_directories);
        file.denied_files.extend(addition.denied_files);
        file.blocked_commands.extend(addition.blocked_commands);
        file.rules.extend(addition.rules);
        let mut problems = Vec::new();
        let mut policy = Self::build(file, self.orders, &mut problems);
        if problems.is_empty() {
            let added = policy.source.rules.iter().enumerate().skip(known);
            added.for_each(|(at, text)| policy.rule_examples_hold(at, text, &mut problems));
            policy.examples_hold(&examples, Verdict::ge, &mut problems);
            policy.examples_hold(&addition.examples, Verdict::eq, &mut problems);
        }
        policy.source.examples = examples;
        if problems.is_empty() { Ok(policy) } else { Err(PolicyError { problems }) }
    }

    /// Under these orders.
    pub fn under(self, orders: StandingOrders) -> Result<Self, PolicyError> {
        let mut problems = Vec::new();
        let policy = Self::build(self.source, orders, &mut problems);
        if problems.is_empty() { Ok(policy) } else { Err(PolicyError { problems }) }
    }

    fn build(file: PolicyFile, orders: StandingOrders, problems: &mut Vec<String>) -> Self {
        let allowed = orders.allowed_directories.as_ref().unwrap_or(&file.allowed_directories).clone();
        let files = Files::new(allowed, &file.denied_files, problems);
        let rules: Vec<Rule> = file.rules.iter().map(|text| Rule::new(text, problems)).collect();
        let (index, mut blocked_commands) = (Index::new(&rules), file.blocked_commands.clone());
        squeeze(&mut blocked_commands);
        let policy = Self { files, blocked_commands, rules, index, orders: orders.squeezed(), source: file };
        policy.names_are_unique(problems);
        policy
    }

    /// The files that a call may look at, for the tools that open them.
    pub fn files(&self) -> &Files {
        &self.files
    }

    pub(super) fn orders(&self) -> &StandingOrders {
        &self.orders
    }

    /// Whether a command's text matters beside its plan.
    pub(super) fn looks_for_texts(&self) -> bool {
        !self.blocked_commands.is_empty() || self.orders != StandingOrders::default()
    }

    pub(super) fn at_least(&self, texts: &Texts) -> Option<(Verdict, &'static str, String)> {
        match texts.mention(&self.blocked_commands) {
            Some(found) => {
                Some((Verdict::Block, "blocked_commands", format!("`{found}` is among the blocked commands")))
            }
            None => self.orders.at_least(texts),
        }
    }

    pub(super) fn rules_for<'a>(&'a self, command: &'a Command) -> impl Iterator<Item = &'a Rule> {
        self.index
            .rules_for(command.program())
            .map(|at| &self.rules[at])
            .filter(|rule| rule.is_in_force(&self.orders))
    }

    fn names_are_unique(&self, problems: &mut Vec<String>) {
        let mut known = BTreeSet::new();
        for rule in &self.rules {
            if !known.insert(&rule.name) {
                problems.push(format!("rule `{}`: another has this name: give each its own", rule.name));
            }
        }
    }

    fn rule_examples_hold(&self, at: usize, text: &RuleText, problems: &mut Vec<String>) {
        let Some(rule) = self.rules.get(at) else { return };
        // An allow rule that waits for the site to say so is tried as if it had.
        let unasked = (rule.verdict == Verdict::Allow && rule.confirm.is_some()).then(|| self.unasked());
        let policy = unasked.as_ref().unwrap_or(self);
        for example in &text.matching {
            let judged = policy.verdict_on(example);
            match Plan::parse(example) {
                Err(error) => problems.push(rule.problem(format!("match `{example}` is no plan, {error}"))),
                Ok(plan) if !rule.matches_any(&plan, &self.files) => {
                    problems.push(
                        rule.problem(format!("match `{example}` does not match: {}", judged.reason.line())),
                    );
                }
                Ok(_) if judged.verdict != rule.verdict => problems.push(rule.problem(format!(
                    "match `{example}` is {} all the same: {}",
                    judged.verdict,
                    judged.reason.line()
                ))),
                Ok(_) => {}
            }
        }
        for example in &text.not_match {
            if Plan::parse(example).is_ok_and(|plan| rule.matches_any(&plan, &self.files)) {
                problems.push(rule.problem(format!("not_match `{example}` matches: narrow the rule")));
            }
        }
    }

    fn unasked(&self) -> Self {
        let mut policy = self.clone();
        policy.orders.confirm_before_restart = false;
        policy.orders.confirm_before_delete = false;
        policy
    }

    fn examples_hold(
        &self,
        examples: &Examples,
        holds: impl Fn(&Verdict, &Verdict) -> bool,
        problems: &mut Vec<String>,
    ) {
        let lists = [
            (Verdict::Allow, &examples.allow),
            (Verdict::Ask, &examples.ask),
            (Verdict::Block, &examples.block),
        ];
        for (expected, list) in lists {
            for example in list {
                let judged = self.verdict_on(example);
                if !holds(&judged.verdict, &expected) {
                    problems.push(format!(
                        "examples: `{}` is {}, not {expected}: {}",
                        example.escape_debug(),
                        judged.verdict,
                        judged.reason.line()
                    ));
                }
            }
        }
    }

    fn verdict_on(&self, command: &str) -> super::Judgement {
        let input = json!({ "command": command });
        judge(self, &Call { tool: super::BASH.into(), input: input.into(), purpose: "".into() })
    }
}

/// Which rules speak of a program, by its name: a policy has hundreds, a program a few.
#[derive(Clone, Debug, Default)]
struct Index {
    /// Narrow rules, which speak of the bare name alone, looked up in trusted folders.
    narrow: HashMap<String, Vec<usize>>,
    /// Broad ones, which speak of every path to it.
    broad: HashMap<String, Vec<usize>>,
    /// Beginnings of names.
    starts: Vec<(String, usize)>,
}

impl Index {
    fn new(rules: &[Rule]) -> Self {
        let mut index = Self::default();
        for (at, rule) in rules.iter().enumerate() {
            for program in &rule.programs {
                match (&rule.what, program.strip_suffix('*')) {
                    (What::Uses { .. }, _) => index.narrow.entry(program.clone()).or_default().push(at),
                    (What::Signs { .. }, None) => index.broad.entry(program.clone()).or_default().push(at),
                    (What::Signs { .. }, Some(start)) => index.starts.push((start.to_owned(), at)),
                }
            }
        }
        index
    }

    fn rules_for(&self, program: &str) -> impl Iterator<Item = usize> {
        let name = program.rsplit('/').next().unwrap_or(program);
        let narrow = self.narrow.get(program).into_iter().flatten();
        let broad = self.broad.get(name).into_iter().flatten();
        let starts = self.starts.iter().filter(move |(start, _)| name.starts_with(start)).map(|(_, at)| at);
        narrow.chain(broad).chain(starts).copied()
    }
}

/// One rule, checked.
#[derive(Clone, Debug)]
pub(super) struct Rule {
    pub(super) name: String,
    pub(super) verdict: Verdict,
    pub(super) effect: Effect,
    pub(super) justification: String,
    sandbox: Sandbox,
    programs: Vec<String>,
    confirm: Option<Confirm>,
    what: What,
}

#[derive(Clone, Debug)]
enum What {
    /// Narrow: these uses and no other.
    Uses { usage: Usage, style: FlagStyle },
    /// Broad: the program with any of these flags, any of these words and any of these objects, in whatever place and spelling.
    Signs { flags: Vec<String>, words: Vec<String>, objects: Vec<String> },
}

impl Rule {
    fn new(text: &RuleText, problems: &mut Vec<String>) -> Self {
        let mut found = Vec::new();
        let allow = text.verdict == Verdict::Allow;
        let what = if allow { Self::uses(text, &mut found) } else { Self::signs(text, &mut found) };
        if allow && text.effect.is_none() {
            found.push("`effect` is missing: write `effect: read`, or `effect: change`".to_owned());
        }
        if text.justification.trim().is_empty() {
            found.push("`justification` is empty: say in a line why".to_owned());
        }
        if text.matching.is_empty() {
            found.push("no example: write at least one command under `match`".to_owned());
        }
        if text.confirm.is_some() && text.verdict == Verdict::Block {
            found.push("`confirm` is for ask and allow: what is blocked stays so".to_owned());
        }
        check_programs(text, &mut found);
        let name =
            if text.name.trim().is_empty() { "(without a name)".to_owned() } else { text.name.clone() };
        if text.name.trim().is_empty() {
            found.push("`name` is empty: the audit log needs one".to_owned());
        }
        let agreed = text.verdict != Verdict::Allow || text.confirm.is_some();
        let rule = Self {
            name,
            verdict: text.verdict,
            effect: text.effect.unwrap_or(Effect::Change),
            justification: text.justification.trim().to_owned(),
            sandbox: Sandbox::new(&text.sandbox, agreed, &mut found),
            programs: text.programs.clone(),
            confirm: text.confirm,
            what,
        };
        problems.extend(found.into_iter().map(|problem| rule.problem(problem)));
        rule
    }

    fn uses(text: &RuleText, problems: &mut Vec<String>) -> What {
        if !text.with_flags.is_empty() || !text.with_words.is_empty() || !text.with_objects.is_empty() {
            problems.push(
                "`with_flags`, `with_words` and `with_objects` are for ask and block: an allow rule lists `flags` and `positionals`"
                    .to_owned(),
            );
        }
        let style = text.flag_style.unwrap_or_default();
        let usage = UsageText {
            flags: text.flags.clone(),
            positionals: text.positionals.clone(),
            subcommands: text.subcommands.clone(),
            bare: text.bare,
            needs: text.needs.clone(),
            flags_first: text.flags_first,
        };
        What::Uses { usage: Usage::new(&usage, style, problems), style }
    }

    fn signs(text: &RuleText, problems: &mut Vec<String>) -> What {
        let narrow = !text.flags.is_empty() || !text.positionals.is_empty() || !text.subcommands.is_empty();
        if narrow || text.bare || text.flag_style.is_some() || !text.needs.is_empty() || text.flags_first {
            problems.push(
                "`flags`, `positionals`, `subcommands`, `bare`, `needs`, `flags_first` and `flag_style` are for allow: an ask or block rule \
                 matches broadly, by `with_flags` and `with_words`"
                    .to_owned(),
            );
        }
        let flags: Vec<String> =
            text.with_flags.iter().flat_map(|flags| flags.split_whitespace()).map(str::to_owned).collect();
        for flag in
            flags.iter().filter(|flag| flag.trim_start_matches('-').is_empty() || !flag.starts_with('-'))
        {
            problems.push(format!("with_flags: `{flag}` is no flag: write it with its `-` or `--`"));
        }
        What::Signs { flags, words: text.with_words.clone(), objects: text.with_objects.clone() }
    }

    fn problem(&self, what: impl fmt::Display) -> String {
        format!("rule `{}`: {what}", self.name)
    }

    /// What a site is asked before, until it says that it needn't be.
    fn is_in_force(&self, orders: &StandingOrders) -> bool {
        match (self.confirm, self.verdict) {
            (None, _) => true,
            (Some(what), Verdict::Allow) => !orders.confirms(what),
            (Some(what), _) => orders.confirms(what),
        }
    }

    pub(super) fn profile(&self, command: &Command) -> Profile {
        self.sandbox.profile(command)
    }

    fn matches_any(&self, plan: &Plan, files: &Files) -> bool {
        let own = Index::new(std::slice::from_ref(self));
        plan.commands().any(|command| {
            own.rules_for(command.program()).next().is_some() && self.fits(command, files) == Match::Yes
        })
    }

    /// How a command of one of its programs fits.
    pub(super) fn fits(&self, command: &Command, files: &Files) -> Match {
        let Some((_, words)) = command.argv.split_first() else {
            return Match::No(String::new());
        };
        match &self.what {
            What::Uses { usage, style } => usage.matches(words, *style, files),
            What::Signs { flags, words: signs, objects } => {
                let flagged =
                    flags.is_empty() || words.iter().any(|word| flags.iter().any(|flag| may_be(word, flag)));
                let named =
                    |signs: &[String]| signs.is_empty() || words.iter().any(|word| signs.contains(word));
                if flagged && named(signs) && named(objects) { Match::Yes } else { Match::No(String::new()) }
            }
        }
    }
}

fn check_programs(text: &RuleText, problems: &mut Vec<String>) {
    if text.programs.is_empty() {
        problems.push("`programs` is empty: name at least one".to_owned());
    }
    for program in &text.programs {
        let name = match text.verdict {
            Verdict::Allow => program.as_str(),
            _ => program.strip_suffix('*').unwrap_or(program),
        };
        if name.is_empty()
            || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._+-".contains(&byte))
        {
            problems.push(format!(
                "program `{program}`: write a program's bare name, without its folder (an ask or block rule may end it in `*`)"
            ));
        }
    }
}

/// Whether a word could be this flag to a program that bundles and abbreviates: broad, since it only ever forbids.
fn may_be(word: &str, flag: &str) -> bool {
    if let Some(long) = word.strip_prefix("--") {
        let name = long.split('=').next().unwrap_or(long);
        return !name.is_empty() && flag.strip_prefix("--").is_some_and(|flag| flag.starts_with(name));
    }
    match flag.strip_prefix('-') {
        Some(letter) if letter.chars().count() == 1 => word.starts_with('-') && word.contains(letter),
        _ => word == flag,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn problems(policy: Value) -> Vec<String> {
        let file: PolicyFile = serde_json::from_value(policy).unwrap();
        Policy::new(file).err().map(|error| error.problems).unwrap_or_default()
    }

    fn rule(more: Value) -> Value {
        let mut rule = json!({
            "name": "r", "programs": ["ls"], "verdict": "allow", "effect": "read", "justification": "j", "match": ["ls"],
        });
        for (key, value) in more.as_object().unwrap() {
            rule[key] = value.clone();
        }
        json!({ "allowed_directories": ["/var/log"], "denied_files": ["*.pem"], "rules": [rule] })
    }

    #[test]
    fn all_problems_at_once_each_with_its_rule() {
        let found = problems(json!({
            "allowed_directories": ["log"],
            "denied_files": ["a/b"],
            "rules": [
                {"name": "one", "programs": [], "verdict": "allow", "justification": ""},
                {"name": "one", "programs": ["/bin/ls", "l*"], "verdict": "allow", "effect": "read", "justification": "j",
                    "flags": {"x": "none"}, "with_words": ["a"], "match": ["ls"]},
                {"name": "", "programs": ["*", "a*b"], "verdict": "block", "justification": "j", "match": ["ls"],
                    "with_flags": ["r"], "flags": {"-x": "none"}, "confirm": "restart"},
            ],
        }));
        let count = |text: &str| found.iter().filter(|problem| problem.contains(text)).count();
        assert_eq!(count("rule `one`"), 4 + 4 + 1, "{found:#?}");
        assert_eq!(count("rule `(without a name)`"), 6, "{found:#?}");
        assert_eq!(found.len(), 17, "{found:#?}");
    }

    #[test]
    fn an_example_that_does_not_hold_refuses_the_policy() {
        assert_eq!(problems(rule(json!({}))), [""; 0]);
        for (more, expected) in [
            (json!({"match": ["ls -l"]}), "match `ls -l` does not match: "),
            (json!({"match": ["id"]}), "match `id` does not match: "),
            (json!({"match": ["ls $x"]}), "match `ls $x` is no plan, at byte 3"),
            (json!({"match": ["ls | id"]}), "match `ls | id` is ask all the same"),
            (json!({"not_match": ["ls"]}), "not_match `ls` matches"),
            (json!({"not_match": ["id; ls"]}), "not_match `id; ls` matches"),
        ] {
            let found = problems(rule(more));
            assert!(found.len() == 1 && found[0].contains(expected), "{found:#?}");
        }
        assert_eq!(problems(rule(json!({"not_match": ["ls -l", "ls > x", "id"]}))), [""; 0]);
        let mut policy = rule(json!({}));
        policy["examples"] = json!({"allow": ["ls", "id"], "ask": ["ls", "ls $x"], "block": ["id"]});
        assert_eq!(problems(policy).len(), 3);
    }

    #[test]
    fn serde_never_yields_an_unchecked_policy() {
        let error = serde_json::from_value::<Policy>(rule(json!({"match": ["id"]}))).unwrap_err().to_string();
        assert!(error.contains("rule `r`: match `id`"), "{error}");
        for unknown in
            [json!({"colour": 1}), json!({"flags": {"-l": "sometimes"}}), json!({"verdict": "maybe"})]
        {
            assert!(serde_json::from_value::<Policy>(rule(unknown)).is_err());
        }
        assert!(serde_json::from_value::<Policy>(json!({"rules": []})).is_err());
    }

    #[test]
    fn a_sign_is_seen_in_every_spelling() {
        for (word, flag, expected) in [
            ("-r", "-r", true),
            ("-fr", "-r", true),
            ("-rf", "-r", true),
            ("--recursive", "--recursive", true),
            ("--rec", "--recursive", true),
            ("--r=x", "--recursive", true),
            ("--recursively", "--recursive", false),
            ("--recursive", "-r", false),
            ("--", "--recursive", false),
            ("-f", "-r", false),
            ("r", "-r", false),
            ("-delete", "-delete", true),
            ("-del", "-delete", false),
        ] {
            assert_eq!(may_be(word, flag), expected, "{word} {flag}");
        }
    }
}
