//! How much of `tests/corpus/redaction` is found, and what is taken for a secret that is none. What is random in a case is made
//! anew from a seed, so that no line of the corpus is a key that somebody else's scanner would stop.

#![allow(clippy::unwrap_used, reason = "a test that can't go on fails with what stood in its way")]

use std::collections::BTreeMap;
use std::path::PathBuf;

use watchkeeper_domain::redact::Redactor;

/// How often each case is made, of other letters.
const ROUNDS: u64 = 5;

/// Characters of a secret that may stay: fewer tell nothing.
const WINDOW: usize = 8;

const RECALL: f64 = 0.95;
const FALSE_POSITIVES: f64 = 0.03;

/// By file: the cases, and those that went wrong.
#[derive(Default)]
struct Score {
    cases: usize,
    wrong: Vec<String>,
}

fn lines(folder: &str) -> Vec<(String, String)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/corpus/redaction").join(folder);
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let of = |file: &PathBuf| {
        let name = file.file_stem().unwrap().to_string_lossy().into_owned();
        let text = std::fs::read_to_string(file).unwrap();
        let cases = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        cases.map(|line| (name.clone(), line.to_owned())).collect::<Vec<_>>()
    };
    files.iter().flat_map(of).collect()
}

struct Random(u64);

impl Random {
    /// Of a case, and a round.
    fn of(line: &str, round: u64) -> Self {
        let hash = line.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        Self(hash ^ round.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    fn below(&mut self, most: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) >> 11) as usize % most
    }

    fn letters(&mut self, letters: &str, count: usize) -> String {
        let letters: Vec<char> = letters.chars().collect();
        (0..count).map(|_| letters[self.below(letters.len())]).collect()
    }

    /// `alnum:36`, `uuid`.
    fn made(&mut self, what: &str) -> Option<String> {
        const DIGITS: &str = "0123456789";
        const LOWER: &str = "abcdefghijklmnopqrstuvwxyz";
        const UPPER: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";
        if what == "uuid" {
            let mut hex = |count| self.letters("0123456789abcdef", count);
            let [a, b, c, d, e] = [8, 4, 3, 3, 12].map(&mut hex);
            return Some(format!("{a}-{b}-4{c}-a{d}-{e}"));
        }
        let (class, count) = what.split_once(':')?;
        let letters = match class {
            "digits" => DIGITS.to_owned(),
            "lower" => LOWER.to_owned(),
            "upper" => UPPER.to_owned(),
            "letters" => format!("{LOWER}{UPPER}"),
            "alnum" => format!("{LOWER}{UPPER}{DIGITS}"),
            "hex" => "0123456789abcdef".to_owned(),
            "HEX" => "0123456789ABCDEF".to_owned(),
            "base32" => format!("{UPPER}234567"),
            "b64" => format!("{LOWER}{UPPER}{DIGITS}+/"),
            "b64url" => format!("{LOWER}{UPPER}{DIGITS}-_"),
            _ => return None,
        };
        Some(self.letters(&letters, count.parse().ok()?))
    }
}

/// With what is random in it.
fn made(line: &str, round: u64) -> String {
    let mut random = Random::of(line, round);
    let (mut text, mut rest) = (String::new(), line);
    while let Some(open) = rest.find('{') {
        let made =
            rest[open + 1..].split_once('}').and_then(|(what, after)| Some((random.made(what)?, after)));
        text.push_str(&rest[..open]);
        match made {
            Some((made, after)) => {
                text.push_str(&made);
                rest = after;
            }
            None => {
                text.push('{');
                rest = &rest[open + 1..];
            }
        }
    }
    text + rest
}

/// What stands between « and », and the text without those.
fn secrets(text: &str) -> (Vec<String>, String) {
    let marked = text.split('«').skip(1).map(|part| part.split_once('»').unwrap().0.to_owned());
    (marked.collect(), text.replace(['«', '»'], ""))
}

/// Whether as much of it is left as tells something.
fn is_left(secret: &str, redacted: &str) -> bool {
    let characters: Vec<char> = secret.chars().collect();
    let window = WINDOW.min(characters.len());
    characters.windows(window).any(|window| redacted.contains(&window.iter().collect::<String>()))
}

/// Says the figures, and all that went wrong.
fn report(what: &str, scores: &BTreeMap<String, Score>) -> f64 {
    let (mut cases, mut wrong) = (0, 0);
    for (file, score) in scores {
        println!("{what}: {file}: {} of {}", score.wrong.len(), score.cases);
        score.wrong.iter().for_each(|line| println!("    {line}"));
        cases += score.cases;
        wrong += score.wrong.len();
    }
    let share = wrong as f64 / cases as f64;
    println!("{what}: {wrong} of {cases}, {:.1} %", 100.0 * share);
    share
}

#[test]
fn secrets_are_found() {
    let (redactor, mut scores) = (Redactor::default(), BTreeMap::<String, Score>::new());
    let all = lines("secrets");
    assert!(all.len() >= 150, "{}", all.len());
    for (file, line) in all {
        for round in 0..ROUNDS {
            let (secrets, text) = secrets(&made(&line, round));
            assert!(!secrets.is_empty(), "{line}");
            let redacted = redactor.redact(&text).text;
            let score = scores.entry(file.clone()).or_default();
            score.cases += 1;
            if secrets.iter().any(|secret| is_left(secret, &redacted)) {
                score.wrong.push(redacted);
            }
        }
    }
    let missed = report("missed", &scores);
    assert!(1.0 - missed >= RECALL, "{:.1} % of the secrets are found", 100.0 * (1.0 - missed));
}

#[test]
fn what_is_harmless_stays() {
    let (redactor, mut scores) = (Redactor::default(), BTreeMap::<String, Score>::new());
    let all = lines("harmless");
    assert!(all.len() >= 150, "{}", all.len());
    for (file, line) in all {
        for round in 0..ROUNDS {
            let text = made(&line, round);
            let redacted = redactor.redact(&text).text;
            let score = scores.entry(file.clone()).or_default();
            score.cases += 1;
            if redacted != text {
                score.wrong.push(redacted);
            }
        }
    }
    let wrong = report("taken for secrets", &scores);
    assert!(wrong <= FALSE_POSITIVES, "{:.1} % are taken for secrets", 100.0 * wrong);
}
