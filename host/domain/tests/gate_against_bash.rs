//! Literal commands, as the gate reads them and as bash does: the same words, to the same programs, in the same order, with
//! the same standard error. 100,000 cases in one bash, in a folder of its own; the programs are functions that write down
//! what they were given.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::process::Command;

use watchkeeper_domain::gate::{Joint, Plan, Stderr};

const CASES: usize = 100_000;
const PROGRAMS: &[&str] = &["ls", "grep", "x.y", "a_b", "echo", "printf", "kill", "test", "z-9", "p+"];

/// Pieces that words are made of, most of them at an edge of the grammar.
const PIECES: &[&str] = &[
    "a",
    "b",
    "xyz",
    "-l",
    "--long=x",
    "0",
    "2",
    "2x",
    "=",
    "a=b",
    "/var/log",
    "./x",
    "..",
    ",",
    ":",
    "@",
    "%",
    "^",
    "+",
    "]",
    "a#b",
    "#",
    "!",
    "!=",
    "! ",
    "''",
    "\"\"",
    "'a b'",
    "\"a b\"",
    "' '",
    "'$x'",
    "'`x`'",
    "'*'",
    "'\\'",
    "\"\\\\\"",
    "\"\\\"\"",
    "\"\\$x\"",
    "\"\\`x\\`\"",
    "\"\\a\"",
    "\"'\"",
    "'\"'",
    "'#'",
    "'~'",
    "'{a,b}'",
    "'!'",
    "\"*?[\"",
    "'2>&1'",
    "\\ ",
    "\\'",
    "\\\"",
    "\\\\",
    "\\$",
    "\\*",
    "\\a",
    "\\#",
    "\\~",
    "\\;",
    "\\|",
    "\\&",
    "\\>",
    "\\{",
    "\\!",
    "\\2",
    "\\\n",
    "'\u{e9}'",
    "\"\u{2192}\"",
    "'\u{1f600}'",
    "%s",
    "%n",
    "\\-",
    "-",
    "--",
    "'-'",
    "'%d'",
    "\\n",
    "'\\n'",
    "~",
    "a~",
    "=~",
    "{}",
    "{",
    "}",
    "(",
    ")",
    "$",
    "$x",
    "`",
    "*",
    "?",
    "[",
    "<",
    ">",
    "2>",
    "&>",
    ">&",
    "1",
    "\u{e9}",
    "'",
    "\"",
    "\\",
];
const BETWEEN: &[&str] = &[
    " ",
    " ",
    " ",
    " ",
    "  ",
    "\t",
    " \\\n",
    "\\\n ",
    " 2>&1 ",
    " 2>/dev/null ",
    " 2> /dev/null ",
    " 2>\t/dev/null;",
    " 2> &1 ",
    " 2>&1",
    " 2>/dev/null",
    " '' ",
    " | ",
    "|",
    " && ",
    "&&",
    " || ",
    "||",
    "; ",
    ";",
    "\n",
    "\n\n",
    " ;",
    " |\n",
    " &&\n ",
    " 2>&1|",
    " 2>/dev/null;",
    " & ",
    "&",
    " |& ",
    " # ",
    " #",
    ";;",
];

struct Random(u64);

impl Random {
    fn below(&mut self, most: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % most
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len())]
    }

    fn program(&mut self) -> String {
        let name = self.pick(PROGRAMS);
        match self.below(8) {
            0 => format!("'{name}'"),
            1 => format!("\"{name}\""),
            2 => format!("\\{name}"),
            3 => format!("{}''{}", &name[..1], &name[1..]),
            4 => format!("{}\\\n{}", &name[..1], &name[1..]),
            _ => name.to_owned(),
        }
    }

    /// Mostly programs with words; now and then anything at all.
    fn text(&mut self) -> String {
        let mut text = self.program();
        for _ in 0..self.below(6) {
            // Three in four between two words are blanks.
            let between = if self.below(4) > 0 { self.pick(&BETWEEN[..8]) } else { self.pick(BETWEEN) };
            text.push_str(between);
            let joined = between.contains(['|', '&', ';']) || between.trim_matches(' ').starts_with('\n');
            if joined && self.below(16) > 0 {
                text.push_str(&self.program());
                continue;
            }
            for _ in 0..1 + self.below(3) {
                text.push_str(self.pick(PIECES));
            }
        }
        text
    }
}

/// What runs if every program ends well: `stderr` and the words of each.
fn expected(plan: &Plan) -> Vec<Vec<String>> {
    let ran = plan.steps.iter().filter(|step| step.joint != Joint::Or);
    let commands = ran.flat_map(|step| &step.pipeline.commands);
    let mut records: Vec<Vec<String>> = commands
        .map(|command| {
            let stderr = match command.stderr {
                Stderr::Shown => "shown",
                Stderr::Dropped => "dropped",
                Stderr::Merged => "merged",
            };
            std::iter::once(stderr.to_owned()).chain(command.argv.iter().cloned()).collect()
        })
        .collect();
    // Those of a pipeline write in any order.
    records.sort();
    records
}

fn script() -> String {
    let mut script = String::from(
        r#"
        record() {
            local stderr=shown
            if [[ /dev/fd/2 -ef /dev/null ]]; then stderr=dropped
            elif [[ /dev/fd/2 -ef /dev/fd/1 ]]; then stderr=merged; fi
            builtin printf '%s\0' "$case" "$#" "$stderr" "$@" >&9
        }
        "#,
    );
    for program in PROGRAMS {
        let _ = writeln!(script, "function {program} {{ record {program} \"$@\"; }}");
    }
    script
        .push_str("case=0\nwhile IFS= read -r -d '' text <&8; do eval \"$text\"; case=$((case + 1)); done\n");
    script
}

/// What bash ran, by the number of the case.
fn ran(cases: &[(String, Plan)]) -> BTreeMap<usize, Vec<Vec<String>>> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    let texts: String = cases.iter().flat_map(|(text, _)| [text.as_str(), "\0"]).collect();
    fs::write(path("cases"), texts).expect("the cases");
    fs::write(path("script"), script()).expect("the script");
    let begin = "exec 8<cases 9>>records; . ./script";
    let output = Command::new("/bin/bash")
        .args(["--norc", "--noprofile", "-c", begin])
        .current_dir(folder.path())
        .env_clear()
        .env("PATH", "/nonexistent")
        .env("LC_ALL", "C.UTF-8")
        .output()
        .expect("bash");
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(complaints.is_empty(), "bash complains: {}", &complaints[..complaints.len().min(2000)]);
    let records = fs::read_to_string(path("records")).expect("records");
    let mut fields = records.split_terminator('\0');
    let mut by_case: BTreeMap<usize, Vec<Vec<String>>> = BTreeMap::new();
    while let Some(case) = fields.next() {
        let number = |text: Option<&str>| text.and_then(|text| text.parse::<usize>().ok()).expect("a number");
        let words = number(fields.next());
        let record = fields.by_ref().take(words + 1).map(str::to_owned).collect();
        by_case.entry(number(Some(case))).or_default().push(record);
    }
    by_case.values_mut().for_each(|records| records.sort());
    by_case
}

#[test]
fn bash_reads_every_plan_as_the_gate_does() {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let (mut cases, mut tried) = (Vec::with_capacity(CASES), 0_usize);
    while cases.len() < CASES {
        tried += 1;
        let text = random.text();
        let Ok(plan) = Plan::parse(&text) else { continue };
        if plan.commands().all(|command| PROGRAMS.contains(&command.program())) {
            cases.push((text, plan));
        }
    }
    let ran = ran(&cases);
    let none = Vec::new();
    let mut mismatches = 0;
    for (number, (text, plan)) in cases.iter().enumerate() {
        let (ours, theirs) = (expected(plan), ran.get(&number).unwrap_or(&none));
        if ours != *theirs {
            mismatches += 1;
            println!("{text:?}\n  gate {ours:?}\n  bash {theirs:?}");
        }
    }
    println!("{} cases out of {tried} texts, {mismatches} mismatches", cases.len());
    assert_eq!(mismatches, 0);
}
