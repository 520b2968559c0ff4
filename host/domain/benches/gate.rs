//! How long a decision takes, over every benign command of the corpus: the median has to be at most 20 µs, and 99 of 100 at
//! most 1 ms.

#[path = "../tests/common/mod.rs"]
mod common;

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use serde_json::json;
use watchkeeper_domain::gate::{BASH, Gate};
use watchkeeper_domain::investigation::Call;

const MEDIAN: Duration = Duration::from_micros(20);
const P99: Duration = Duration::from_millis(1);
const ROUNDS: usize = 50;

fn calls() -> Vec<Call> {
    let commands = common::corpus("benign").into_iter().flat_map(|(_, commands)| commands);
    let call = |command: String| Call {
        tool: BASH.into(),
        input: json!({ "command": command }).into(),
        purpose: "".into(),
    };
    commands.map(call).collect()
}

/// Of the times of all commands, each several times.
fn percentiles(gate: &Gate, calls: &[Call]) -> (Duration, Duration) {
    let mut times = Vec::with_capacity(calls.len() * ROUNDS);
    for call in (0..ROUNDS).flat_map(|_| calls) {
        let begun = Instant::now();
        black_box(gate.judge(black_box(call)));
        times.push(begun.elapsed());
    }
    times.sort();
    (times[times.len() / 2], times[times.len() * 99 / 100])
}

fn decisions(criterion: &mut Criterion) {
    let (gate, calls) = (common::gate(), calls());
    let (median, p99) = percentiles(&gate, &calls);
    println!("{} commands: median {median:?}, p99 {p99:?}", calls.len());
    assert!(median <= MEDIAN && p99 <= P99, "slower than a median of {MEDIAN:?} and a p99 of {P99:?}");
    let mut group = criterion.benchmark_group("gate");
    let pipeline = "ps aux --sort=-%mem | awk '{print $2, $4, $11}' | head -n 15";
    for command in
        ["uptime", "journalctl -u nginx -n 100 --no-pager", pipeline, "cat /etc/nginx/nginx.conf", "rm -rf /"]
    {
        let call =
            Call { tool: BASH.into(), input: json!({ "command": command }).into(), purpose: "".into() };
        group.bench_function(command, |bencher| bencher.iter(|| gate.judge(black_box(&call))));
    }
    group.finish();
}

criterion_group!(benches, decisions);
criterion_main!(benches);
