//! A host that serves, and the doors that tests go through.

use std::path::Path;
use std::time::{Duration, Instant};

use reqwest::blocking::Client;
use serde_json::Value;

use crate::http::{Answer, client};
use crate::metrics::Metrics;
use crate::process::Process;
use crate::setup::{Site, binary};
use crate::wait::{PATIENCE, wait};
use crate::{PATH, TOKEN};

/// What `serve` promises for SIGTERM.
const STOP: Duration = Duration::from_secs(30);

pub struct Watchkeeper {
    process: Process,
    /// Begins with the program's arguments; `unshare` and the like stand before them.
    wrapper: Vec<String>,
    client: Client,
    pub site: Site,
}

/// How a host ended that was told to.
pub struct Stopped {
    pub code: Option<i32>,
    pub took: Duration,
}

impl Watchkeeper {
    pub(crate) fn start(site: Site) -> Self {
        Self::start_within(site, &[])
    }

    /// Behind another program, which must become this one by `exec`: it gets the binary and its arguments.
    pub fn start_within(site: Site, wrapper: &[&str]) -> Self {
        let wrapper: Vec<String> = wrapper.iter().map(|word| (*word).to_owned()).collect();
        let process = spawn(&site, &wrapper);
        let mut this = Self { process, wrapper, client: client(), site };
        this.wait_until_ready();
        this
    }

    fn wait_until_ready(&mut self) {
        let ready = self.url("/readyz");
        // A large plugin (Python's has 18 MB) is compiled first, on a machine that may run other tests.
        wait("the host is ready", 5 * PATIENCE, || {
            if let Some(status) = self.process.ended() {
                panic!("the host ended before it was ready: {status}");
            }
            self.client.get(&ready).send().ok().filter(|answer| answer.status() == 200)
        });
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.site.address)
    }

    pub fn client(&self) -> &Client {
        &self.client
    }

    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Resident memory, in KiB, as the kernel counts it.
    pub fn resident_kib(&self) -> u64 {
        self.kib("VmRSS:")
    }

    /// The most that it was so far.
    pub fn peak_kib(&self) -> u64 {
        self.kib("VmHWM:")
    }

    fn kib(&self, field: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// What it has said so far.
    pub fn log(&self) -> String {
        self.process.log()
    }

    pub fn get(&self, path: &str) -> Answer {
        self.client.get(self.url(path)).send().unwrap().into()
    }

    /// A body to any path, with the token.
    pub fn post_to(&self, path: &str, body: impl Into<reqwest::blocking::Body>) -> Answer {
        self.client.post(self.url(path)).bearer_auth(TOKEN).body(body).send().unwrap().into()
    }

    /// A payload to the source of `Setup::new`.
    pub fn post(&self, payload: &Value) -> Answer {
        self.post_to(PATH, payload.to_string())
    }

    /// As [`Watchkeeper::post`], and it must be stored.
    pub fn store(&self, payload: &Value) -> Answer {
        let answer = self.post(payload);
        assert_eq!(answer.status, 200, "{answer:?}");
        answer
    }

    /// Everything that a listing has, page by page. `query` is empty, or begins with `?`.
    pub fn all(&self, listing: &str, query: &str) -> Vec<Value> {
        let mut items = Vec::new();
        let mut cursor = String::new();
        loop {
            let sign = if query.is_empty() { '?' } else { '&' };
            let answer = self.get(&format!("/api/v1/{listing}{query}{sign}limit=1000{cursor}"));
            assert_eq!(answer.status, 200, "{answer:?}");
            let mut page = answer.json();
            items.append(page["items"].as_array_mut().unwrap());
            match page["next"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return items,
            }
        }
    }

    pub fn alerts(&self) -> Vec<Value> {
        self.all("alerts", "")
    }

    /// Once as many alerts as this are stored; more are a failure.
    pub fn alerts_once_there_are(&self, count: usize) -> Vec<Value> {
        wait(&format!("{count} alerts are stored"), PATIENCE, || {
            let alerts = self.alerts();
            assert!(alerts.len() <= count, "{} alerts are stored, not {count}: {alerts:#?}", alerts.len());
            (alerts.len() == count).then_some(alerts)
        })
    }

    pub fn investigation(&self, id: &str) -> Value {
        let answer = self.get(&format!("/api/v1/investigations/{id}"));
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()
    }

    /// All investigations, once there are as many as this and each has ended.
    pub fn investigations_once_over(&self, count: usize) -> Vec<Value> {
        wait(&format!("{count} investigations are over"), 2 * PATIENCE, || {
            let all = self.all("investigations", "");
            let over =
                |one: &Value| matches!(one["state"].as_str(), Some("completed" | "failed" | "escalated"));
            (all.len() >= count && all.iter().all(over)).then_some(all)
        })
    }

    pub fn metrics(&self) -> Metrics {
        Metrics::new(self.get("/metrics").body)
    }

    /// SIGKILL; gone when this returns.
    pub fn kill9(&mut self) {
        self.process.kill();
    }

    /// SIGTERM, which ends it in time or fails the test.
    pub fn terminate(&mut self) -> Stopped {
        let began = Instant::now();
        self.process.terminate();
        let status = self.process.wait("SIGTERM ends the host", STOP);
        Stopped { code: status.code(), took: began.elapsed() }
    }

    /// Again, on the same data and address, once it was ended.
    pub fn restart(&mut self) {
        assert!(self.process.ended().is_some(), "end it first");
        self.process = spawn(&self.site, &self.wrapper);
        self.wait_until_ready();
    }
}

fn spawn(site: &Site, wrapper: &[String]) -> Process {
    let log = site.folder().join("watchkeeper.log");
    let Some((program, rest)) = wrapper.split_first() else {
        return Process::start(&mut site.serve(), &log);
    };
    let mut command = site.command(Path::new(program));
    command.args(rest).arg(binary()).args(site.serve_arguments());
    Process::start(&mut command, &log)
}
