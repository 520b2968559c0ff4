//! The servers that are measured, each on a free port in a temporary folder, ended by its id.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use crate::run::{Profile, binary, root};

/// How long a server may take until it answers: hundreds of plugins are compiled at a first start.
const START: Duration = Duration::from_secs(600);

pub(crate) const TOKEN: &str = "bench-token";

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    /// From the process's start to its first good answer.
    pub(crate) ready_after: Duration,
    child: Child,
    /// None where the folder outlives the server.
    _folder: Option<TempDir>,
}

impl Server {
    pub(crate) fn alertmanager() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let config = folder.path().join("alertmanager.yml");
        // Routed to nobody: it is to take alerts, not to send them.
        std::fs::write(&config, "route: { receiver: none }\nreceivers: [{ name: none }]\n")?;
        let address = free()?;
        let mut command = Command::new("prometheus-alertmanager");
        command
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.path={}", folder.path().join("data").display()))
            .arg(format!("--web.listen-address={address}"))
            .arg("--cluster.listen-address=")
            .arg("--log.level=error");
        Self::start(command, address, "/-/ready", Some(folder))
    }

    /// As it comes: the built-in policy, the default limits, full sync.
    pub(crate) fn watchkeeper() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let data = folder.path().join("data");
        Self::watchkeeper_on(&data, Some(folder))
    }

    pub(crate) fn watchkeeper_on(data: &Path, folder: Option<TempDir>) -> Result<Self> {
        Self::watchkeeper_of(&root().join("config"), &root().join("plugins"), data, folder)
    }

    pub(crate) fn watchkeeper_of(
        config: &Path,
        plugins: &Path,
        data: &Path,
        folder: Option<TempDir>,
    ) -> Result<Self> {
        let address = free()?;
        let mut command = Command::new(binary(Profile::Release));
        command
            .arg("serve")
            .arg("--config")
            .arg(config)
            .arg("--plugins")
            .arg(plugins)
            .arg("--data")
            .arg(data)
            .arg("--listen")
            .arg(address.to_string())
            .env("PROMETHEUS_WEBHOOK_TOKEN", TOKEN)
            .env("WATCHKEEPER_LOG", "warn");
        Self::start(command, address, "/readyz", folder)
    }

    fn start(
        mut command: Command,
        address: SocketAddr,
        ready: &str,
        folder: Option<TempDir>,
    ) -> Result<Self> {
        let log =
            File::create(std::env::temp_dir().join(format!("watchkeeper-bench-{}.log", address.port())))?;
        let started = Instant::now();
        let child = command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn();
        let child = child.with_context(|| format!("{:?} can't be started", command.get_program()))?;
        let mut server = Self { address, ready_after: Duration::ZERO, child, _folder: folder };
        while !answers(address, ready) {
            if started.elapsed() > START || server.child.try_wait()?.is_some() {
                bail!("{:?} did not become ready within {START:?}", command.get_program());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        server.ready_after = started.elapsed();
        Ok(server)
    }

    /// Resident memory in kB, as the kernel counts it.
    pub(crate) fn resident_kb(&self) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
        Ok(line.trim().trim_end_matches(" kB").parse()?)
    }

    /// SIGTERM, and SIGKILL if that isn't enough.
    pub(crate) fn stop(&mut self) {
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let asked = Instant::now();
        while asked.elapsed() < Duration::from_secs(30) {
            if matches!(self.child.try_wait(), Ok(Some(_))) {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

fn free() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

fn answers(address: SocketAddr, path: &str) -> bool {
    get(address, path).is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"))
}

/// One whole answer, head and body.
pub(crate) fn get(address: SocketAddr, path: &str) -> Result<String> {
    exchange(address, &format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"))
}

/// Alerts to one of Watchkeeper's sources; anything but 200 is an error.
pub(crate) fn post(address: SocketAddr, path: &str, body: &str) -> Result<()> {
    let answer = exchange(
        address,
        &format!(
            "POST {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Type: application/json\r\n\
             Authorization: Bearer {TOKEN}\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ),
    )?;
    if !answer.starts_with("HTTP/1.1 200") {
        bail!("{path} was answered {answer}");
    }
    Ok(())
}

fn exchange(address: SocketAddr, request: &str) -> Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(1))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}
