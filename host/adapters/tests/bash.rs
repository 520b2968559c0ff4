//! `bash` runs a plan as the shell of that name would, and leaves nothing behind.

// A test that can't go on says so by panicking.
#![allow(clippy::unwrap_used)]

mod running;

use std::time::Duration;

use running::{Ground, gone, is_running, run};
use serde_json::json;
use watchkeeper_adapters::tool::{Bash, Limits, Spills};
use watchkeeper_domain::gate::{Gate, READ_FILE};
use watchkeeper_domain::investigation::{Call, Outcome, OutcomeStatus};
use watchkeeper_domain::tool::Tool;

async fn run_within(limits: Limits, command: &str) -> Outcome {
    Ground { limits, ..Ground::default() }.run(command).await
}

#[tokio::test]
async fn plans_run_as_bash_would() {
    for (command, output, code) in [
        ("echo a b", "a b\n", 0),
        ("false", "", 1),
        ("false && echo x || echo y", "y\n", 0),
        ("true || echo x && echo y", "y\n", 0),
        ("false || false; echo z", "z\n", 0),
        ("true && false", "", 1),
        ("false | true", "", 0),
        ("echo a | cat | wc -l", "1\n", 0),
        ("echo '$HOME *' \"a'b\"", "$HOME * a'b\n", 0),
        ("pwd", "/\n", 0),
        ("cat", "", 0),
        ("sh -c 'exit 7'", "", 7),
        ("sh -c 'kill -9 $$'", "", 137),
        ("sh -c 'echo e >&2; echo o'", "e\no\n", 0),
        ("sh -c 'echo e >&2; echo o' 2>/dev/null", "o\n", 0),
        ("sh -c 'echo e >&2' | wc -l", "e\n0\n", 0),
        ("sh -c 'echo e >&2' 2>&1 | wc -l", "1\n", 0),
        ("no-such-program 2>/dev/null || echo fallback", "", 0),
    ] {
        let outcome = run(command).await;
        assert_eq!(
            (outcome.status, outcome.exit_code),
            (OutcomeStatus::Ran, Some(code)),
            "{command}: {outcome:?}"
        );
        if !command.starts_with("no-such") {
            assert_eq!(outcome.output, output, "{command}");
        }
        assert!(!outcome.truncated);
    }
}

#[tokio::test]
async fn the_environment_is_ours_alone() {
    let mut lines: Vec<String> =
        run("env").await.output.expose_untrusted().lines().map(str::to_owned).collect();
    lines.sort();
    let expected = [
        "LC_ALL=C.UTF-8",
        "PAGER=cat",
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "SYSTEMD_COLORS=0",
        "SYSTEMD_PAGER=cat",
        "TERM=dumb",
    ];
    assert_eq!(lines, expected);
}

#[tokio::test]
async fn a_writer_without_a_reader_ends_as_in_a_shell() {
    let outcome = run("yes | head -n 2").await;
    assert_eq!((outcome.output.expose_untrusted().as_str(), outcome.exit_code), ("y\ny\n", Some(0)));
    assert!(outcome.duration < Duration::from_secs(10));
    assert_eq!(run("yes | true").await.exit_code, Some(0));
}

#[tokio::test]
async fn what_is_not_there_is_named_with_a_remedy() {
    let outcome = run("no-such-program").await;
    assert_eq!((outcome.status, outcome.exit_code), (OutcomeStatus::Failed, None));
    assert!(outcome.output.starts_with("no-such-program: not found in /usr/local/sbin"), "{outcome:?}");
    let outcome = run("echo before; no-such-program | cat").await;
    assert_eq!(outcome.status, OutcomeStatus::Failed);
    assert!(outcome.output.starts_with("before\nno-such-program: not found"), "{outcome:?}");
}

#[tokio::test]
async fn much_output_loses_its_middle_and_is_drained() {
    let limits = Limits { output_bytes: 1000, ..Limits::default() };
    let outcome = run_within(limits, "seq 1 300000").await;
    assert_eq!((outcome.status, outcome.exit_code), (OutcomeStatus::Ran, Some(0)));
    assert!(outcome.truncated && outcome.output.len() < 1100);
    assert!(outcome.output.starts_with("1\n2\n") && outcome.output.ends_with("\n299999\n300000\n"));
    assert!(outcome.output.contains(" bytes left out …"));
}

#[tokio::test]
async fn output_that_is_no_text_is_replaced() {
    assert_eq!(run(r"sh -c 'printf a\\377b'").await.output, "a\u{fffd}b");
}

#[tokio::test]
async fn the_deadline_leaves_the_output_so_far_and_no_process() {
    let limits = Limits { deadline: Duration::from_secs(2), ..Limits::default() };
    let command = "echo before; sh -c 'sleep 7301 & echo started; sleep 7302' | cat | cat";
    let outcome = run_within(limits, command).await;
    assert_eq!((outcome.status, outcome.exit_code), (OutcomeStatus::TimedOut, None));
    assert!(outcome.output.starts_with("before\nstarted\n\n(killed at its deadline of 2 s"), "{outcome:?}");
    assert!(outcome.duration < Duration::from_secs(5));
    assert!(gone("7301").await && gone("7302").await);
}

#[tokio::test]
async fn endless_output_meets_the_deadline_too() {
    let limits = Limits { deadline: Duration::from_millis(300), output_bytes: 100 };
    let outcome = run_within(limits, "yes 7303").await;
    assert_eq!(outcome.status, OutcomeStatus::TimedOut);
    assert!(outcome.truncated && outcome.duration < Duration::from_secs(5));
    assert!(gone("7303").await);
}

#[tokio::test]
async fn what_stays_behind_in_the_group_is_killed_at_the_end() {
    let outcome = run("sh -c 'sleep 7304 & echo done'").await;
    assert_eq!((outcome.output.expose_untrusted().as_str(), outcome.exit_code), ("done\n", Some(0)));
    assert!(outcome.duration < Duration::from_secs(5));
    assert!(gone("7304").await);
}

/// A daemon forks twice and starts a session of its own, so that it is nobody's child and in nobody's group.
#[tokio::test]
async fn a_daemon_is_no_way_out() {
    let outcome = run("sh -c 'setsid sleep 7311'").await;
    assert!(outcome.exit_code != Some(0) && outcome.output.contains("not permitted"), "{outcome:?}");
    // As daemon(3) does, going on whatever setsid says; the middle one ends at once.
    let daemon =
        "perl -e 'use POSIX; fork and exit; POSIX::setsid(); fork and exit; exec \"sleep\", \"7312\"'";
    let outcome = run(&format!("{daemon}; echo done")).await;
    assert!(outcome.output.ends_with("done\n") && outcome.duration < Duration::from_secs(5), "{outcome:?}");
    assert!(!is_running("7311") && !is_running("7312"));
}

#[tokio::test]
async fn a_dropped_run_leaves_no_process() {
    let run = tokio::spawn(run("sleep 7305 | sleep 7306"));
    while !(is_running("7305") && is_running("7306")) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    run.abort();
    assert!(gone("7305").await && gone("7306").await);
}

#[tokio::test]
async fn what_is_too_long_is_kept_whole_and_the_outcome_says_where() {
    let (ground, folder) = (Ground::default(), tempfile::tempdir().unwrap());
    let limits = Limits { output_bytes: 1000, ..Limits::default() };
    let policy = || running::allowing("seq 1 5000", &json!({}), &ground.allowed, &ground.denied);
    let launcher = std::path::Path::new(running::LAUNCHER);
    let options = ground.options.clone();
    let sandbox =
        watchkeeper_adapters::sandbox::Sandbox::with_launcher(launcher, policy().files().clone(), options);
    let bash = Bash::new(limits, sandbox.unwrap().into()).with_spills(Spills::open(folder.path()).unwrap());
    let outcome = bash.run(running::approved(policy(), "seq 1 5000")).await;
    let path = folder.path().join("1.txt");
    assert!(outcome.truncated && outcome.output.contains(path.to_str().unwrap()), "{outcome:?}");
    let kept = std::fs::read_to_string(path).unwrap();
    assert!(kept.starts_with("1\n2\n") && kept.ends_with("\n5000\n"));
}

#[tokio::test]
async fn a_call_for_another_tool_is_refused() {
    let policy = running::allowing("true", &json!({}), &["/proc".to_owned()], &[]);
    let sandbox = watchkeeper_adapters::sandbox::Sandbox::with_launcher(
        std::path::Path::new(running::LAUNCHER),
        policy.files().clone(),
        Default::default(),
    );
    let call =
        Call { tool: READ_FILE.into(), input: json!({"path": "/proc/uptime"}).into(), purpose: "".into() };
    let call = Gate::new(policy).judge(&call).into_approved().unwrap();
    let outcome = Bash::new(Limits::default(), sandbox.unwrap().into()).run(call).await;
    assert_eq!(outcome.status, OutcomeStatus::Failed);
}
