//! What holds of every command, tried on thousands that are made up.

mod common;

use std::sync::LazyLock;

use common::{corpus, gate, verdict};
use proptest::prelude::*;
use proptest::sample::{Index, select};
use watchkeeper_domain::gate::{Command, Gate, Joint, Pipeline, Plan, Stderr, Step, Verdict};

static GATE: LazyLock<Gate> = LazyLock::new(gate);
/// Every command of the corpus that is a plan of one.
static COMMANDS: LazyLock<Vec<Command>> = LazyLock::new(|| {
    let all = ["benign", "never_allow"].into_iter().flat_map(corpus).flat_map(|(_, commands)| commands);
    let plans = all.filter_map(|text| Plan::parse(&text).ok());
    plans.flat_map(|plan| plan.commands().cloned().collect::<Vec<_>>()).collect()
});

fn command() -> impl Strategy<Value = Command> {
    any::<Index>().prop_map(|index| index.get(&COMMANDS).clone())
}

/// What a person could see in a plan.
fn word() -> impl Strategy<Value = String> {
    prop_oneof!["[ -~]{0,12}", "[-a-z0-9./=:,]{0,8}", "[ -~\u{e4}-\u{f6}\u{2190}-\u{2193}\u{1f600}]{0,6}",]
}

fn any_command() -> impl Strategy<Value = Command> {
    let stderr = select(vec![Stderr::Shown, Stderr::Dropped, Stderr::Merged]);
    ("(ls|grep|x[.]y|/bin/cat|a[+_-]b)", prop::collection::vec(word(), 0..6), stderr).prop_map(
        |(program, words, stderr)| Command { argv: std::iter::once(program).chain(words).collect(), stderr },
    )
}

fn plan(commands: impl Strategy<Value = Command>) -> impl Strategy<Value = Plan> {
    let pipeline = prop::collection::vec(commands, 1..4).prop_map(|commands| Pipeline { commands });
    let joint = select(vec![Joint::Then, Joint::And, Joint::Or]);
    prop::collection::vec((joint, pipeline), 1..4).prop_map(|steps| {
        let mut steps: Vec<Step> =
            steps.into_iter().map(|(joint, pipeline)| Step { joint, pipeline }).collect();
        steps[0].joint = Joint::Then;
        Plan { steps }
    })
}

/// A word, quoted in one of the ways that bash knows, character by character.
fn quoted(word: &str, ways: &[u8]) -> String {
    let mut text = String::new();
    for (at, next) in word.chars().enumerate() {
        let plain = next.is_ascii_alphanumeric() || "_-./:,+@%=".contains(next);
        match ways[at % ways.len()] % 4 {
            0 if plain => text.push(next),
            1 if next == ' ' || next.is_ascii_graphic() => text.extend(['\\', next]),
            2 if !"$`\"\\!".contains(next) => text.extend(['"', next, '"']),
            _ if next == '\'' => text.push_str("\\'"),
            _ => text.extend(['\'', next, '\'']),
        }
    }
    if text.is_empty() { "''".to_owned() } else { text }
}

/// The flags, each with the words behind it, in another order; what stands before the first stays.
fn reordered(command: &Command, order: &[Index]) -> Command {
    let (mut argv, mut units): (Vec<String>, Vec<Vec<String>>) = Default::default();
    for word in &command.argv {
        match units.last_mut() {
            _ if word.starts_with('-') => units.push(vec![word.clone()]),
            Some(unit) => unit.push(word.clone()),
            None => argv.push(word.clone()),
        }
    }
    for index in order {
        if !units.is_empty() {
            let unit = units.remove(index.index(units.len()));
            units.push(unit);
        }
    }
    argv.extend(units.into_iter().flatten());
    Command { argv, stderr: command.stderr }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 5_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_allowed_composition_has_only_allowed_parts(plan in plan(command())) {
        let whole = verdict(&GATE, &plan.to_string());
        let parts: Vec<Verdict> = plan.commands().map(|command| verdict(&GATE, &command.to_string())).collect();
        let strictest = parts.iter().max().copied().expect("a plan has a command");
        prop_assert!(whole >= strictest, "{} is {}, of {:?}", plan, whole, parts);
        prop_assert_eq!(whole == Verdict::Allow, strictest == Verdict::Allow, "{}", plan);
    }

    #[test]
    fn quoting_changes_no_verdict(command in command(), ways in prop::collection::vec(any::<u8>(), 1..9)) {
        let words: Vec<String> = command.argv.iter().map(|word| quoted(word, &ways)).collect();
        let text = words.join(" ");
        let plan = Plan::parse(&text).map_err(|error| TestCaseError::fail(format!("{text}: {error}")))?;
        prop_assert_eq!(&plan.steps[0].pipeline.commands[0].argv, &command.argv);
        let plain = Command { stderr: Stderr::Shown, ..command };
        prop_assert_eq!(verdict(&GATE, &text), verdict(&GATE, &plain.to_string()), "{}", text);
    }

    #[test]
    fn reordering_flags_never_turns_ask_into_allow(command in command(), order in prop::collection::vec(any::<Index>(), 1..9)) {
        let other = reordered(&command, &order);
        if verdict(&GATE, &command.to_string()) != Verdict::Allow {
            prop_assert!(verdict(&GATE, &other.to_string()) != Verdict::Allow, "{} became {}", command, other);
        }
    }

    #[test]
    fn the_display_of_a_plan_is_that_plan(plan in plan(any_command())) {
        prop_assert_eq!(Plan::parse(&plan.to_string()), Ok(plan));
    }

    #[test]
    fn any_text_gets_a_judgement(text in any::<String>()) {
        let judged = common::judge(&GATE, &text);
        let approved = judged.clone().into_approved().is_some();
        prop_assert_eq!(approved, judged.verdict == Verdict::Allow);
    }
}
