//! `cargo xtask bench`: figures, and how they compare in one and the same run.

use std::time::Duration;

use anyhow::{Result, bail};

use crate::bench_extism;
use crate::bench_plugins;
use crate::load::{self, Figures, Target};
use crate::needs;
use crate::run::{self, Profile, execute};
use crate::servers::{Server, TOKEN, get};

/// Each cell of the ingest table is measured this often, the two servers in turn; the middle one counts.
const ROUNDS: usize = 3;

/// How long each measurement loads a server.
const TIME: Duration = Duration::from_secs(3);

pub(crate) fn run(rows: &[String]) -> Result<()> {
    let known = ["gate", "parse", "plugins", "start", "ingest", "extism"];
    if let Some(unknown) = rows.iter().find(|row| !known.contains(&row.as_str())) {
        bail!("`{unknown}` is no row: there are {}", known.join(", "));
    }
    let named = |row: &str| rows.iter().any(|named| named == row);
    let wanted = |row: &str| rows.is_empty() || named(row);
    if rows == ["extism"] {
        return bench_extism::run();
    }
    run::build_all(Profile::Release)?;
    if wanted("gate") {
        execute("cargo", &["bench", "--locked", "--workspace", "--bench", "gate"])?;
    }
    if wanted("parse") {
        execute("cargo", &["bench", "--locked", "--workspace", "--bench", "parse"])?;
    }
    if wanted("plugins") {
        bench_plugins::run()?;
    }
    if wanted("start") {
        start()?;
    }
    if wanted("ingest") {
        needs::servers()?;
        ingest()?;
    }
    if named("extism") {
        bench_extism::run()?;
    }
    Ok(())
}

/// From the process's start to `/readyz`, its compiled plugins on disk; and what it holds when idle.
fn start() -> Result<()> {
    const STARTS: usize = 11;
    let folder = tempfile::tempdir()?;
    let cold = Server::watchkeeper_on(folder.path(), None)?.ready_after;
    let mut warm = Vec::new();
    let mut resident = Vec::new();
    for _ in 0..STARTS {
        let server = Server::watchkeeper_on(folder.path(), None)?;
        warm.push(server.ready_after);
        std::thread::sleep(Duration::from_millis(500));
        resident.push(server.resident_kb()?);
    }
    warm.sort();
    resident.sort();
    println!("\nstart, {} bundled plugins, {STARTS} times: least / middle / most", run::PLUGINS.len());
    println!("  cold cache to /readyz    {cold:?}");
    println!("  warm cache to /readyz    {:?} / {:?} / {:?}", warm[0], warm[STARTS / 2], warm[STARTS - 1]);
    println!(
        "  resident memory, idle    {} / {} / {}",
        mib(resident[0]),
        mib(resident[STARTS / 2]),
        mib(resident[STARTS - 1])
    );
    Ok(())
}

pub(crate) fn mib(kb: u64) -> String {
    format!("{:.1} MiB", kb as f64 / 1024.0)
}

fn ingest() -> Result<()> {
    println!(
        "\ningest over HTTP, {} s a cell, middle of {ROUNDS} rounds; generator on the same machine",
        TIME.as_secs()
    );
    println!(
        "  Alertmanager keeps alerts in memory; Watchkeeper has them on disk (full sync) before it answers."
    );
    println!(
        "  alerts  connections |   Alertmanager alerts/s   p50      p99 |    Watchkeeper alerts/s   p50      p99 | ratio"
    );
    for alerts in [1, 10, 100] {
        for connections in [16, 128] {
            cell(alerts, connections)?;
        }
    }
    Ok(())
}

fn cell(alerts: usize, connections: usize) -> Result<()> {
    let mut pairs = Vec::new();
    for _ in 0..ROUNDS {
        pairs.push((of_alertmanager(alerts, connections)?, of_watchkeeper(alerts, connections)?));
    }
    let ratio = |(theirs, ours): &(Figures, Figures)| ours.alerts_per_second / theirs.alerts_per_second;
    pairs.sort_by(|a, b| ratio(a).total_cmp(&ratio(b)));
    let middle = &pairs[ROUNDS / 2];
    let columns = |figures: &Figures| {
        let ms = |time: Duration| time.as_secs_f64() * 1000.0;
        format!("{:>22.0} {:>5.1} ms {:>6.1} ms", figures.alerts_per_second, ms(figures.p50), ms(figures.p99))
    };
    println!(
        "  {alerts:>6}  {connections:>11} | {} | {} | {:.2}",
        columns(&middle.0),
        columns(&middle.1),
        ratio(middle)
    );
    Ok(())
}

fn of_alertmanager(alerts: usize, connections: usize) -> Result<Figures> {
    let server = Server::alertmanager()?;
    let target =
        Target { address: server.address, path: "/api/v2/alerts", token: None, body: load::api_body };
    load::run(&target, connections, alerts, TIME)
}

/// And every alert that was acknowledged is counted in the store afterwards.
fn of_watchkeeper(alerts: usize, connections: usize) -> Result<Figures> {
    let server = Server::watchkeeper()?;
    let target = Target {
        address: server.address,
        path: "/alerts/prometheus",
        token: Some(TOKEN),
        body: load::webhook_body,
    };
    let figures = load::run(&target, connections, alerts, TIME)?;
    let incidents = get(server.address, "/api/v1/incidents")?;
    let body = incidents.split("\r\n\r\n").nth(1).unwrap_or_default();
    let incidents: serde_json::Value = serde_json::from_str(body)?;
    let stored: u64 =
        incidents["items"].as_array().into_iter().flatten().filter_map(|i| i["alerts"].as_u64()).sum();
    if stored != figures.alerts {
        bail!("{} alerts were acknowledged, and {stored} are stored", figures.alerts);
    }
    Ok(figures)
}
