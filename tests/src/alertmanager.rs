//! A real Alertmanager that notifies a host.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use reqwest::blocking::Client;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::TOKEN;
use crate::http::client;
use crate::metrics::Metrics;
use crate::process::{Process, free_address};
use crate::wait::{PATIENCE, wait};

/// When it notifies. Durations as Alertmanager writes them.
pub struct Routing<'a> {
    pub group_by: &'a str,
    pub group_wait: &'a str,
    pub group_interval: &'a str,
    pub repeat_interval: &'a str,
}

impl Default for Routing<'_> {
    /// As impatient as it can be, so that a test sees repeats within seconds.
    fn default() -> Self {
        Self { group_by: "alertname", group_wait: "100ms", group_interval: "300ms", repeat_interval: "1s" }
    }
}

pub struct Alertmanager {
    _process: Process,
    _folder: TempDir,
    address: SocketAddr,
    client: Client,
}

impl Alertmanager {
    /// `program` is what [`crate::require`] found, `webhook` where it notifies.
    pub fn start(program: &Path, webhook: &str, routing: &Routing<'_>) -> Self {
        let folder = tempfile::Builder::new().prefix("alertmanager-test-").tempdir().unwrap();
        let file = folder.path().join("alertmanager.yml");
        std::fs::write(&file, configuration(webhook, routing)).unwrap();
        let address = free_address();
        let mut command = Command::new(program);
        command
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.path={}", folder.path().join("data").display()))
            .arg(format!("--web.listen-address={address}"))
            // No gossip with others.
            .arg("--cluster.listen-address=");
        let process = Process::start(&mut command, &folder.path().join("alertmanager.log"));
        let this = Self { _process: process, _folder: folder, address, client: client() };
        wait("Alertmanager is ready", PATIENCE, || {
            this.client.get(this.url("/-/ready")).send().ok().filter(|answer| answer.status() == 200)
        });
        this
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Alerts as its API v2 takes them.
    pub fn post(&self, alerts: &[Value]) {
        let answer = self.client.post(self.url("/api/v2/alerts")).json(&json!(alerts)).send().unwrap();
        assert_eq!(answer.status(), 200, "{}", answer.text().unwrap());
    }

    pub fn metrics(&self) -> Metrics {
        Metrics::new(self.client.get(self.url("/metrics")).send().unwrap().text().unwrap())
    }
}

fn configuration(webhook: &str, routing: &Routing<'_>) -> String {
    let Routing { group_by, group_wait, group_interval, repeat_interval } = routing;
    format!(
        "route:
  receiver: watchkeeper
  group_by: [{group_by}]
  group_wait: {group_wait}
  group_interval: {group_interval}
  repeat_interval: {repeat_interval}
receivers:
  - name: watchkeeper
    webhook_configs:
      - url: {webhook}
        send_resolved: true
        http_config: {{ authorization: {{ credentials: {TOKEN} }} }}
"
    )
}
