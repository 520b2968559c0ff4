//! Swap after swap under load: nothing fails, nothing is lost or doubled, and every payload is read by one version, whole.
//!
//! `WATCHKEEPER_SOAK_SWAPS` says how many, 0 a minute of the same load without any; the figures (p99 with and without swaps, memory before and after) are printed. They
//! are judged where they were asked for, since a machine that builds beside it gives other ones. `WATCHKEEPER_SOAK_NEIGHBOURS`
//! likewise says how many pairs of short slices, one with a hostile plugin beside and one without.

#![allow(clippy::unwrap_used, reason = "a test that can't go on fails with what stood in its way")]

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use watchkeeper_tests::guest::{Fault, versioned};
use watchkeeper_tests::{PATIENCE, Setup, TOKEN, Watchkeeper, client, guest_file, wait};

const PATH: &str = "/alerts/v";

/// Together 1,000 alerts a second.
const SENDERS: u64 = 4;
const ALERTS: u64 = 5;
const PACE: Duration = Duration::from_millis(20);

/// Swaps where nobody asks for more: enough for each kind of candidate.
const SWAPS: usize = 40;

/// Sends until told to stop. Each request's time; and every answer must be 200.
fn send(url: String, sender: u64, stop: &AtomicBool, sent: &AtomicU64) -> Vec<Duration> {
    let client = client();
    let mut took = Vec::new();
    let mut next = Instant::now();
    for number in 0_u64.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let ids: Vec<String> = (0..ALERTS).map(|alert| format!("s{sender}-{number}-{alert}")).collect();
        let began = Instant::now();
        let answer = client.post(&url).bearer_auth(TOKEN).body(ids.join("\n")).send().unwrap();
        took.push(began.elapsed());
        assert_eq!(answer.status(), 200, "{}", answer.text().unwrap());
        sent.fetch_add(ALERTS, Ordering::Relaxed);
        next += PACE;
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    took
}

/// Loads the host while `meanwhile` runs; how long each request took, and how many alerts were sent.
fn under_load(
    host: &Watchkeeper,
    senders: std::ops::Range<u64>,
    meanwhile: impl FnOnce(),
) -> (Vec<Duration>, u64) {
    let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let url = host.url(PATH);
    let running: Vec<_> = senders
        .map(|sender| {
            let (url, stop, sent) = (url.clone(), stop.clone(), sent.clone());
            std::thread::spawn(move || send(url, sender, &stop, &sent))
        })
        .collect();
    meanwhile();
    stop.store(true, Ordering::Relaxed);
    let took = running.into_iter().flat_map(|sender| sender.join().unwrap()).collect();
    (took, sent.load(Ordering::Relaxed))
}

/// Of 100 in order, the one at this place.
fn percentile(times: &[Duration], place: usize) -> Duration {
    let mut times = times.to_vec();
    times.sort();
    times[(times.len() * place / 100).min(times.len() - 1)]
}

fn p99(times: &[Duration]) -> Duration {
    percentile(times, 99)
}

/// Every tenth is no good, in one way or another.
fn candidate(number: usize) -> (String, Vec<u8>, bool) {
    let version = format!("v{number:05}");
    let fault = match number % 40 {
        10 => Fault::Traps,
        20 => Fault::RefusesItsConfiguration,
        30 => Fault::TrapsAfter(3),
        _ => Fault::None,
    };
    let mut bytes = versioned(PATH, &version, fault);
    if number.is_multiple_of(40) {
        bytes.truncate(bytes.len() / 2);
    }
    (version, bytes, !number.is_multiple_of(10))
}

/// Puts each candidate, and waits until it serves or is refused.
fn swap(host: &Watchkeeper, numbers: std::ops::RangeInclusive<usize>) -> (usize, usize) {
    let folder = host.site.plugins_dir();
    let (mut swapped, mut refused) = (0, 0);
    for number in numbers {
        let (version, bytes, good) = candidate(number);
        std::fs::write(folder.join("v.part"), bytes).unwrap();
        std::fs::rename(folder.join("v.part"), folder.join("v.wasm")).unwrap();
        let outcome = |name: &str| host.metrics().sum("agent_plugin_changes_total", &[("outcome", name)]);
        wait(&format!("{version} is judged"), PATIENCE, || {
            let judged = outcome("live") + outcome("refused");
            (judged as usize > swapped + refused + 1).then_some(())
        });
        if good {
            swapped += 1
        } else {
            refused += 1
        }
        assert_eq!(outcome("refused") as usize, refused, "{version}");
    }
    (swapped, refused)
}

#[test]
fn swaps_under_load_lose_nothing_double_nothing_and_fail_nothing() {
    let asked = std::env::var("WATCHKEEPER_SOAK_SWAPS").ok().map(|swaps| swaps.parse::<usize>().unwrap());
    let swaps = asked.unwrap_or(SWAPS);
    let host = Setup::without_sources()
        .config("watchkeeper.yaml", "plugins: { debounce: 10ms }\n")
        .source("v.yaml", "name: v\ntype: v\n")
        .plugin_bytes("v.wasm", versioned(PATH, "v00000", Fault::None))
        .start();
    let (calm, sent_before) = under_load(&host, 0..SENDERS, || std::thread::sleep(Duration::from_secs(5)));
    let warm = host.resident_kib();
    let mut judged = (0, 0);
    let (busy, sent) = under_load(&host, SENDERS..2 * SENDERS, || match swaps {
        // The store's caches fill with the load alone; this is how much.
        0 => std::thread::sleep(Duration::from_secs(60)),
        swaps => judged = swap(&host, 1..=swaps),
    });
    let after = host.resident_kib();
    let (calm, busy) = (p99(&calm), p99(&busy));
    eprintln!(
        "{} swaps and {} refusals while {sent} alerts came; p99 {calm:?} without, {busy:?} with; memory {warm} KiB, then {after} KiB",
        judged.0, judged.1
    );

    let alerts = host.alerts();
    assert_eq!(alerts.len() as u64, sent_before + sent, "none is lost, none is doubled");
    let mut versions: HashMap<String, String> = HashMap::new();
    for alert in &alerts {
        let (id, title) = (alert["id"].as_str().unwrap(), alert["title"].as_str().unwrap());
        assert_eq!(alert["description"], title, "{alert}");
        let payload = id.rsplit_once('-').unwrap().0.to_owned();
        let version = versions.entry(payload).or_insert_with(|| title.to_owned());
        assert_eq!(version, title, "a payload is read by one version: {alert}");
    }
    let letters = host.site.run(&["replay", "--list", "--json"]).well().json();
    assert_eq!(letters["items"].as_array().unwrap().len(), 0, "{letters:#}");
    if asked.is_some() {
        assert!(busy <= calm + Duration::from_millis(5), "p99 {calm:?} without swaps, {busy:?} with");
    }
}

/// Asks a hostile plugin for each of its harms, again and again, for as long. It behaves just often enough that it is never
/// quarantined.
fn provoke(host: &Watchkeeper, time: Duration) {
    // The good one first: the slice before may have ended anywhere.
    const HARMS: [&str; 9] =
        ["good as gold", "loop", "memory", "deep", "huge", "many", "panic", "exit", "print"];
    let until = Instant::now() + time;
    for harm in HARMS.iter().cycle() {
        if Instant::now() >= until {
            break;
        }
        let good = host.post_to("/alerts/hostile", *harm).status == 200;
        assert_eq!(good, *harm == "good as gold", "{harm}");
        // Senders of alerts that nobody can read don't come without a pause.
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// One slice of the load.
fn slice(host: &Watchkeeper, number: u64, time: Duration, beside: bool) -> Vec<Duration> {
    let senders = number * SENDERS..(number + 1) * SENDERS;
    let meanwhile = || if beside { provoke(host, time) } else { std::thread::sleep(time) };
    under_load(host, senders, meanwhile).0
}

/// What slices of one kind came to.
#[derive(Default)]
struct Slices {
    p99: Vec<Duration>,
    all: Vec<Duration>,
}

impl Slices {
    fn add(&mut self, took: Vec<Duration>) {
        self.p99.push(p99(&took));
        self.all.extend(took);
    }

    /// The median of the slices' own, and that of all requests together.
    fn figures(&self) -> [Duration; 2] {
        [percentile(&self.p99, 50), p99(&self.all)]
    }
}

/// In pairs of short slices, one way round and then the other, so that what drifts on a machine hits both alike.
#[test]
fn a_hostile_plugin_beside_does_not_slow_its_neighbours_down() {
    let asked = std::env::var("WATCHKEEPER_SOAK_NEIGHBOURS").ok().map(|pairs| pairs.parse::<u64>().unwrap());
    let time = Duration::from_secs(if asked.is_some() { 5 } else { 2 });
    let hostile = "name: hostile\ntype: hostile\nlimits: { call_ms: 200, memory_mib: 16 }\n";
    let host = Setup::without_sources()
        .source("v.yaml", "name: v\ntype: v\n")
        .plugin_bytes("v.wasm", versioned(PATH, "v00000", Fault::None))
        .source("hostile.yaml", hostile)
        .plugin_bytes("hostile.wasm", std::fs::read(guest_file("hostile")).unwrap())
        .start();
    // The first of each is what caches and pools are filled by.
    slice(&host, 0, time / 2, false);
    slice(&host, 1, time / 2, true);
    let (mut alone, mut beside) = (Slices::default(), Slices::default());
    for pair in 1..=asked.unwrap_or(1) {
        let order = if pair.is_multiple_of(2) { [false, true] } else { [true, false] };
        for (half, hostile) in (0..).zip(order) {
            let took = slice(&host, 2 * pair + half, time, hostile);
            if hostile { beside.add(took) } else { alone.add(took) }
        }
    }
    let (alone_figures, beside_figures) = (alone.figures(), beside.figures());
    eprintln!(
        "p99, median of {} slices and of all {} requests: {alone_figures:?} alone, {beside_figures:?} beside a hostile plugin; \
         slice by slice {:?} alone, {:?} beside",
        alone.p99.len(),
        alone.all.len(),
        alone.p99,
        beside.p99
    );
    let status = host.get("/api/v1/plugins/hostile").json();
    assert_eq!(status["state"], "live", "it was never quarantined, which would have been a rest: {status:#}");
    if asked.is_some() {
        for (alone, beside) in alone_figures.into_iter().zip(beside_figures) {
            assert!(beside <= alone.mul_f64(1.1), "p99 {alone:?} alone, {beside:?} beside a hostile plugin");
        }
    }
}
