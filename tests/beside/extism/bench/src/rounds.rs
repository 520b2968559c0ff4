//! Several ways of doing one thing, measured in turns, so that what else the machine does meets all of them alike.

use std::time::{Duration, Instant};

/// Does it this often, and says how long that took.
pub type Way<'a> = Box<dyn FnMut(usize) -> Duration + 'a>;

const ROUNDS: usize = 101;

/// How long a way is measured in a round.
const TURN: Duration = Duration::from_millis(4);

const WARM_UP: Duration = Duration::from_millis(100);

/// What the calls return is dropped outside of the measurement.
pub fn timed<T>(times: usize, mut call: impl FnMut() -> T) -> Duration {
    let mut returned = Vec::with_capacity(times);
    let started = Instant::now();
    for _ in 0..times {
        returned.push(call());
    }
    started.elapsed()
}

/// Seconds a call: of each way, of each round.
pub fn measure(ways: &mut [Way<'_>]) -> Vec<Vec<f64>> {
    let times: Vec<usize> = ways.iter_mut().map(times_a_turn).collect();
    let mut measured = vec![Vec::with_capacity(ROUNDS); ways.len()];
    for round in 0..ROUNDS {
        for turn in 0..ways.len() {
            let at = (round + turn) % ways.len();
            measured[at].push(ways[at](times[at]).as_secs_f64() / times[at] as f64);
        }
    }
    measured
}

/// Warms it up, too.
fn times_a_turn(way: &mut Way<'_>) -> usize {
    let (mut calls, mut took) = (0, Duration::ZERO);
    while took < WARM_UP {
        took += way(10);
        calls += 10;
    }
    let one = took.as_secs_f64() / f64::from(calls);
    ((TURN.as_secs_f64() / one) as usize).max(1)
}

pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

/// Of each round's own ratio.
pub fn median_ratio(values: &[f64], over: &[f64]) -> f64 {
    median(&values.iter().zip(over).map(|(value, over)| value / over).collect::<Vec<_>>())
}
