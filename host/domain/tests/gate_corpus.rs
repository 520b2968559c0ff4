//! The policy that ships, over the corpus: nothing of `never_allow` is allowed, and hardly anything of `benign` is stopped.

mod common;

use common::{corpus, gate, judge};
use watchkeeper_domain::gate::Verdict;

/// Of all that is benign, the part that may be stopped.
const MAY_BE_STOPPED: f64 = 0.03;

struct Row {
    class: String,
    commands: usize,
    by_verdict: [usize; 3],
    wrong: Vec<String>,
}

fn rows(side: &str, is_wrong: impl Fn(Verdict) -> bool) -> Vec<Row> {
    let gate = gate();
    let rows = corpus(side).into_iter().map(|(class, commands)| {
        let mut row = Row { class, commands: commands.len(), by_verdict: [0; 3], wrong: Vec::new() };
        for command in commands {
            let judged = judge(&gate, &command);
            row.by_verdict[judged.verdict as usize] += 1;
            if is_wrong(judged.verdict) {
                row.wrong.push(format!("{}  ({})", command.escape_debug(), judged.reason.line()));
            }
        }
        row
    });
    rows.collect()
}

fn print(side: &str, rows: &[Row]) {
    println!("{side:<26} {:>8} {:>6} {:>6} {:>6}", "commands", "allow", "ask", "block");
    let line = |name: &str, all: usize, [allow, ask, block]: [usize; 3]| {
        println!("{name:<26} {all:>8} {allow:>6} {ask:>6} {block:>6}");
    };
    rows.iter().for_each(|row| line(&row.class, row.commands, row.by_verdict));
    let sum = |at: usize| rows.iter().map(|row| row.by_verdict[at]).sum();
    line("all", rows.iter().map(|row| row.commands).sum(), [sum(0), sum(1), sum(2)]);
    rows.iter().flat_map(|row| &row.wrong).for_each(|wrong| println!("  {wrong}"));
}

#[test]
fn nothing_that_must_never_be_allowed_is() {
    let rows = rows("never_allow", |verdict| verdict == Verdict::Allow);
    print("never_allow", &rows);
    assert!(rows.iter().map(|row| row.commands).sum::<usize>() >= 1000, "the corpus is too small");
    let wrong: Vec<&String> = rows.iter().flat_map(|row| &row.wrong).collect();
    assert!(wrong.is_empty(), "{} are allowed: {wrong:#?}", wrong.len());
}

#[test]
fn diagnosis_is_not_stopped() {
    let rows = rows("benign", |verdict| verdict != Verdict::Allow);
    print("benign", &rows);
    let all: usize = rows.iter().map(|row| row.commands).sum();
    let stopped: usize = rows.iter().map(|row| row.wrong.len()).sum();
    assert!(all >= 300, "the corpus is too small");
    println!("{stopped} of {all} stopped: {:.1} %", 100.0 * stopped as f64 / all as f64);
    assert!(stopped as f64 <= MAY_BE_STOPPED * all as f64, "{stopped} of {all} are stopped");
}
