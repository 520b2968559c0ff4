//! `cargo xtask bench plugins`: how soon plugins are ready, what many of them take, and how soon a changed one is live.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use tempfile::TempDir;

use crate::bench::mib;
use crate::copies;
use crate::load::webhook_body;
use crate::run::{execute, root};
use crate::servers::{Server, TOKEN, get, post};

const STARTS: usize = 5;

const EDITS: usize = 20;

/// How long a changed plugin may take to be live.
const LIVE: Duration = Duration::from_secs(60);

pub(crate) fn run() -> Result<()> {
    loads()?;
    println!("\nstart of the host, compiled code on disk: least / middle / most of {STARTS}");
    println!("  plugins  sources |  first start | start to /readyz            | resident, idle");
    for (plugins, sources) in [(1, 1), (100, 1), (10, 1000), (200, 200)] {
        starts(plugins, sources)?;
    }
    edits()
}

/// The bundled Prometheus plugin, in bytes.
fn plugin() -> Result<Vec<u8>> {
    Ok(fs::read(root().join("plugins/prometheus.wasm"))?)
}

/// In one process, without a host around it.
fn loads() -> Result<()> {
    const LARGE: usize = 2_000_000;
    let folder = tempfile::tempdir()?;
    let (many, large) = (folder.path().join("many"), folder.path().join("large.wasm"));
    copies::write_numbered(&many, &plugin()?, 100)?;
    fs::write(&large, copies::enlarged(&plugin()?, LARGE))?;
    let (many, large) = (many.to_string_lossy(), large.to_string_lossy());
    execute("cargo", &["bench", "--locked", "--workspace", "--bench", "load", "--", &many, &large])
}

/// A folder with plugins, and sources that use them in turn.
struct Site {
    folder: TempDir,
}

impl Site {
    fn new(plugins: usize, sources: usize) -> Result<Self> {
        let site = Self { folder: tempfile::tempdir()? };
        copies::write_numbered(&site.plugins(), &plugin()?, plugins)?;
        let files = site.config().join("alert-sources");
        fs::create_dir_all(&files)?;
        for number in 0..sources {
            let (path, kind) = (path(number), copies::name(number % plugins));
            let text = format!(
                "name: s{number}\ntype: {kind}\nwebhook_path: {path}\nauth: {{ type: bearer, token: {TOKEN} }}\n"
            );
            fs::write(files.join(format!("s{number:04}.yaml")), text)?;
        }
        Ok(site)
    }

    fn config(&self) -> PathBuf {
        self.folder.path().join("config")
    }

    fn plugins(&self) -> PathBuf {
        self.folder.path().join("plugins")
    }

    fn start(&self) -> Result<Server> {
        Server::watchkeeper_of(&self.config(), &self.plugins(), &self.folder.path().join("data"), None)
    }
}

/// Where the source with this number listens.
fn path(source: usize) -> String {
    format!("/alerts/s{source}")
}

fn starts(plugins: usize, sources: usize) -> Result<()> {
    let site = Site::new(plugins, sources)?;
    let cold = site.start()?.ready_after;
    let (mut ready, mut resident) = (Vec::new(), Vec::new());
    for start in 0..STARTS {
        let server = site.start()?;
        ready.push(server.ready_after);
        std::thread::sleep(Duration::from_millis(500));
        resident.push(server.resident_kb()?);
        // What is ready takes alerts on its first source and its last.
        for source in [0, sources - 1] {
            post(server.address, &path(source), &webhook_body((start * sources + source) as u64, 1))?;
        }
    }
    ready.sort();
    resident.sort();
    println!(
        "  {plugins:>7}  {sources:>7} | {cold:>12.1?} | {:>8.1?} {:>8.1?} {:>8.1?}  | {} / {} / {}",
        ready[0],
        ready[STARTS / 2],
        ready[STARTS - 1],
        mib(resident[0]),
        mib(resident[STARTS / 2]),
        mib(resident[STARTS - 1]),
    );
    Ok(())
}

/// A changed plugin is renamed into the folder of a host that runs: until an alert that it has read is acknowledged.
fn edits() -> Result<()> {
    let site = Site::new(1, 1)?;
    let server = site.start()?;
    let mut alerts = 0;
    let mut live = Vec::new();
    for version in 0..EDITS {
        let file = site.plugins().join(copies::name(0)).with_extension("wasm");
        fs::write(file.with_extension("part"), copies::versioned(&plugin()?, version)?)?;
        let landed = Instant::now();
        fs::rename(file.with_extension("part"), &file)?;
        live.push(until_live(&server, version, &mut alerts, landed)?);
        // The next edit finds a host at rest.
        std::thread::sleep(Duration::from_secs(1));
    }
    live.sort();
    println!("\nedit to live, {EDITS} times: least / middle / most");
    println!(
        "  renamed into the folder → first alert by it is acknowledged    {:.0?} / {:.0?} / {:.0?}; {alerts} alerts meanwhile, each acknowledged",
        live[0],
        live[EDITS / 2],
        live[EDITS - 1]
    );
    Ok(())
}

/// Sends alerts one by one, and looks each up.
fn until_live(server: &Server, version: usize, alerts: &mut u64, landed: Instant) -> Result<Duration> {
    let annotation = copies::annotation(version);
    while landed.elapsed() < LIVE {
        post(server.address, &path(0), &webhook_body(*alerts, 1))?;
        let acknowledged = landed.elapsed();
        let kept = get(server.address, &format!("/api/v1/alerts?label=pod:api-{alerts}"))?;
        *alerts += 1;
        if kept.contains(&annotation) {
            return Ok(acknowledged);
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    bail!("version {version} was not live within {LIVE:?}")
}
