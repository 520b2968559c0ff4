//! Whatever comes in, the gate decides within a second and in little memory.

mod common;

use std::time::{Duration, Instant};

use common::{gate, judge};

const MOST_TIME: Duration = Duration::from_secs(1);
/// Of the whole process, the policy included.
const MOST_MEMORY_KIB: u64 = 64 * 1024;

fn hostile() -> Vec<(&'static str, String)> {
    let many = |text: &str, bytes: usize| text.repeat(bytes / text.len());
    let mut inputs = vec![
        ("empty", String::new()),
        ("16 MiB of one letter", many("a", 16 << 20)),
        ("quotes", many("'", 8192)),
        ("double quotes", many("\"", 8192)),
        ("both quotes", many("'\"", 8192)),
        ("backslashes", many("\\", 8192)),
        ("escaped new lines", many("\\\n", 8192)),
        ("new lines", many("\n", 8192)),
        ("empty words", format!("ls {}", many("'' ", 8100))),
        ("words", format!("ls {}", many("a ", 8100))),
        ("commands", many("ls;", 8190)),
        ("pipes", many("ls|", 8190)),
        ("a pipe without end", format!("{}|", vec!["ls"; 64].join("|"))),
        ("parentheses", many("(", 8192)),
        ("substitutions", many("$(", 8192)),
        ("backticks", many("`", 8192)),
        ("braces", many("{", 8192)),
        ("arithmetic", many("$((", 8192)),
        ("here-documents", many("<<a ", 8192)),
        ("nested tests", many("[[ ", 8192)),
        ("wide characters", many("\u{10ffff}", 8192)),
        ("bidirectional marks", format!("ls '{}'", many("\u{202e}", 8100))),
        ("NULs", many("\0", 8192)),
        ("a deep path", format!("cat /proc{}", many("/a", 8100))),
        ("a deep denied path", format!("cat /proc{}/environ", many("/fd", 8100))),
        ("a long name", format!("cat /var/log/{}", many("a", 8100))),
        ("a name near many patterns", format!("cat /var/log/{}", many("secre", 8100))),
        ("dots", format!("cat /var/log{}", many("/..", 8100))),
        ("an awk program of brackets", format!("awk '{}'", many("(", 8100))),
        ("an awk program of braces", format!("awk '{}{}'", many("{", 4000), many("}", 4000))),
        ("an awk program of patterns", format!("awk '{}'", many("/[[:a:]]/;", 8100))),
        ("an awk pattern that never closes", format!("awk '/{}'", many("[", 8100))),
        ("an awk string of escapes", format!("awk '\"{}'", many("\\\\", 8100))),
        ("a sed script of blocks", format!("sed '{}'", many("{", 8100))),
        ("a sed script of substitutions", format!("sed '{}'", many("s/a/b/;", 8100))),
        ("a sed pattern of brackets", format!("sed 's/{}/x/'", many("[^]]", 8000))),
        ("a jq filter in strings", format!("jq '{}'", many("\"\\(", 8100))),
        ("a jq filter of brackets", format!("jq '{}'", many("[", 8100))),
        ("a jq filter of objects", format!("jq '{}'", many("{a:", 8100))),
        ("a template of ranges", format!("docker inspect -f '{}' x", many("{{range .State}}", 8000))),
        ("a template that never closes", format!("docker inspect -f '{}' x", many("{{", 8000))),
        (
            "a jsonpath of ranges",
            format!("kubectl get po -o 'jsonpath={}'", many("{range .status.x[*]}", 8000)),
        ),
        ("a jsonpath of quotes", format!("kubectl get po -o 'jsonpath={}'", many("{\"", 8000))),
        ("columns", format!("kubectl get po -o custom-columns={}", many("A:.status.a,", 8000))),
        ("names to look for", format!("find / -name '{}'", many("a/", 8000))),
        ("a name of stars", format!("find / -name '{}'", many("*a", 8000))),
        ("a socket filter", format!("ss '{}'", many("( ", 8000))),
        ("bundled flags", format!("grep -{} x", many("i", 8000))),
        ("flags", format!("grep {} x", many("-i ", 700))),
        ("lists", format!("ps -o {}", many("pid,", 8000))),
        ("subcommands", format!("kubectl {}", many("get ", 800))),
        ("a URL", format!("curl http://localhost/{}", many("health/", 8000))),
    ];
    let (deep, wide) = (many("a", 8192 - 5), many("\u{e9}", 8180));
    inputs.push(("exactly as long as may be", format!("echo {deep}")));
    inputs.push(("as long as may be, in characters of two bytes", format!("echo '{wide}'")));
    inputs
}

#[test]
fn a_hostile_command_is_decided_in_time_and_memory() {
    let gate = gate();
    for (name, command) in hostile() {
        let begun = Instant::now();
        let judged = judge(&gate, &command);
        let took = begun.elapsed();
        assert!(took < MOST_TIME, "{name}: took {took:?}");
        assert!(judged.reason.len() < 64 * 1024, "{name}: a reason of {} bytes", judged.reason.len());
    }
    let peak = peak_memory_kib();
    println!("peak memory of the process: {peak} KiB");
    assert!(peak < MOST_MEMORY_KIB, "{peak} KiB");
}

fn peak_memory_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a peak");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}
