//! What parsing in the sandbox costs over the very same parser native: Alertmanager's webhook, 1, 10 and 100 alerts.
//!
//! `native` calls the plugin's Rust code in this process; `reused` goes through the host's instance pool as a webhook does;
//! `fresh` also makes and configures the instance. What is returned is dropped outside of the measurement, on every side.

mod payload;

use std::path::Path;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use plugin_prometheus::Prometheus;
use serde_json::json;
use watchkeeper_domain::plugin::{Payload, Reading};
use watchkeeper_sdk::{Parser, Source};
use watchkeeper_wasm::{Binding, Registry, Runtime, SourceSpec};

const SIZES: [usize; 3] = [1, 10, 100];

fn bind(registry: &Registry) -> Binding {
    let spec = SourceSpec { name: "bench".into(), config: "{}".into(), ..SourceSpec::default() };
    registry.bind("prometheus", spec).expect("the plugin takes its defaults")
}

fn count(reading: Reading) -> usize {
    match reading {
        Reading::Alerts(alerts) => alerts.len(),
        Reading::Reply(_) => 0,
    }
}

fn parse(criterion: &mut Criterion) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../plugins/prometheus.wasm");
    let runtime = Runtime::new(None).expect("an engine");
    let registry = Registry::of_file(&runtime, &file).expect("`cargo xtask build` builds the plugin");
    let binding = bind(&registry);
    let config = serde_json::from_value(json!({})).expect("every key has a default");
    let (native, _) = Prometheus::configure(config).expect("the defaults are valid");

    let mut group = criterion.benchmark_group("parse");
    for alerts in SIZES {
        let body = payload::body(alerts);
        let payload = Payload {
            body: body.as_slice().into(),
            content_type: Some("application/json".into()),
            attributes: vec![("user-agent".into(), "Alertmanager/0.25.0".into())],
        };
        let sdk_payload = || watchkeeper_sdk::Payload {
            body: body.clone(),
            content_type: payload.content_type.clone(),
            attributes: payload.attributes.clone(),
        };
        assert_eq!(count(binding.read_here(&payload).expect("it parses")), alerts);
        group.throughput(Throughput::Elements(alerts as u64));
        group.bench_function(BenchmarkId::new("native", alerts), |bencher| {
            bencher.iter_batched(sdk_payload, |payload| native.parse(payload), BatchSize::SmallInput);
        });
        group.bench_function(BenchmarkId::new("reused", alerts), |bencher| {
            bencher.iter_batched(|| (), |()| binding.read_here(&payload), BatchSize::SmallInput);
        });
        group.bench_function(BenchmarkId::new("fresh", alerts), |bencher| {
            bencher.iter_batched(|| (), |()| bind(&registry).read_here(&payload), BatchSize::SmallInput);
        });
    }
    group.finish();
}

criterion_group!(benches, parse);
criterion_main!(benches);
