//! What a call costs: native, and in each host with an instance reused and with one made for the call.

use std::path::Path;

use anyhow::{Result, anyhow, ensure};
use extism::{CompiledPlugin, Plugin};
use plugin_prometheus::Prometheus;
use watchkeeper_domain::alert::RawAlert;
use watchkeeper_domain::plugin::{Payload, Reading};
use watchkeeper_sdk::{Parser, Source};
use watchkeeper_wasm::{Binding, Registry, Runtime, SourceSpec};

use crate::rounds::{self, Way, timed};
use crate::theirs::{self, Limits};

const SIZES: [usize; 3] = [1, 10, 100];

/// In the order of `ways`.
const NAMES: [&str; 7] = [
    "native Rust",
    "Watchkeeper, instance reused",
    "Extism, instance reused",
    "Extism, reused, same limits",
    "Watchkeeper, instance fresh",
    "Extism, instance fresh",
    "Extism, fresh, same limits",
];
const OURS_REUSED: usize = 1;
const OURS_FRESH: usize = 4;

pub fn run(guest: &Path, plugin: &Path) -> Result<()> {
    let runtime = Runtime::new(None).map_err(|error| anyhow!(error))?;
    let registry = Registry::of_file(&runtime, plugin)?;
    println!(
        "calls: Alertmanager's webhook to the host's alerts; medians of rounds in turns, ratios of each round's own"
    );
    println!("alerts  {:<30} {:>10} {:>8} {:>12}", "", "µs a call", "native=1", "Watchkeeper=1");
    for alerts in SIZES {
        table(guest, &registry, alerts)?;
    }
    Ok(())
}

fn table(guest: &Path, registry: &Registry, alerts: usize) -> Result<()> {
    let payload = payload(alerts);
    let config = serde_json::from_str("{}")?;
    let (native, _) = Prometheus::configure(config)?;
    let binding = bind(registry)?;
    let free = theirs::compile(guest, Limits::None, None)?;
    let limited = theirs::compile(guest, Limits::Ours, None)?;
    let (mut free_reused, mut limited_reused) =
        (Plugin::new_from_compiled(&free)?, Plugin::new_from_compiled(&limited)?);

    let ours = ours(&binding, &payload)?;
    ensure!(ours.len() == alerts, "{} alerts were read of {alerts}", ours.len());
    for reused in [&mut free_reused, &mut limited_reused] {
        ensure!(theirs::parse(reused, &payload.body)? == ours, "the two hosts read different alerts");
    }

    let fresh =
        |compiled: &CompiledPlugin| theirs::parse(&mut Plugin::new_from_compiled(compiled)?, &payload.body);
    let mut ways: [Way<'_>; NAMES.len()] = [
        Box::new(|times| {
            let mut payloads = vec![of_sdk(&payload); times].into_iter();
            timed(times, || payloads.next().map(|payload| native.parse(payload)))
        }),
        Box::new(|times| timed(times, || binding.read_here(&payload))),
        Box::new(|times| timed(times, || theirs::parse(&mut free_reused, &payload.body))),
        Box::new(|times| timed(times, || theirs::parse(&mut limited_reused, &payload.body))),
        Box::new(|times| timed(times, || bind(registry).map(|fresh| fresh.read_here(&payload)))),
        Box::new(|times| timed(times, || fresh(&free))),
        Box::new(|times| timed(times, || fresh(&limited))),
    ];
    let measured = rounds::measure(&mut ways);
    for (at, name) in NAMES.into_iter().enumerate() {
        let ours = &measured[if at < OURS_FRESH { OURS_REUSED } else { OURS_FRESH }];
        println!(
            "{alerts:>6}  {name:<30} {:>10.1} {:>8.2} {:>12.2}",
            rounds::median(&measured[at]) * 1e6,
            rounds::median_ratio(&measured[at], &measured[0]),
            rounds::median_ratio(&measured[at], ours),
        );
    }
    Ok(())
}

fn payload(alerts: usize) -> Payload {
    Payload {
        body: crate::payload::body(alerts).into(),
        content_type: Some("application/json".into()),
        attributes: vec![("user-agent".into(), "Alertmanager/0.25.0".into())],
    }
}

fn of_sdk(payload: &Payload) -> watchkeeper_sdk::Payload {
    watchkeeper_sdk::Payload {
        body: payload.body.to_vec(),
        content_type: payload.content_type.clone(),
        attributes: payload.attributes.clone(),
    }
}

fn bind(registry: &Registry) -> Result<Binding> {
    let spec = SourceSpec { name: "bench".into(), config: "{}".into(), ..SourceSpec::default() };
    Ok(registry.bind("prometheus", spec)?)
}

fn ours(binding: &Binding, payload: &Payload) -> Result<Vec<RawAlert>> {
    match binding.read_here(payload)? {
        Reading::Alerts(alerts) => Ok(alerts),
        Reading::Reply(_) => Err(anyhow!("a reply instead of alerts")),
    }
}
