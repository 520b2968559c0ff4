//! A real MQTT broker, and a client that publishes.

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::process::{Process, free_address};
use crate::require;
use crate::wait::{PATIENCE, wait};

pub struct Mosquitto {
    process: Option<Process>,
    folder: TempDir,
    address: SocketAddr,
    program: PathBuf,
    publisher: PathBuf,
}

impl Mosquitto {
    /// A broker that keeps what clients haven't acknowledged, also while it is down. None where it isn't installed.
    /// `users` is in the form of its password file; empty: everybody is welcome.
    pub fn start(users: &str) -> Option<Self> {
        let program = require("mosquitto", "mosquitto")?;
        let publisher = require("mosquitto_pub", "mosquitto-clients")?;
        let folder = tempfile::Builder::new().prefix("mosquitto-test-").tempdir().unwrap();
        let mut this = Self { process: None, folder, address: free_address(), program, publisher };
        this.configure(users);
        this.resume();
        Some(this)
    }

    fn configure(&self, users: &str) {
        let folder = self.folder.path().display();
        let access = match users {
            "" => "allow_anonymous true".to_owned(),
            _ => {
                let file = self.folder.path().join("users");
                std::fs::write(&file, users).unwrap();
                format!("allow_anonymous false\npassword_file {}", file.display())
            }
        };
        let Self { address, .. } = self;
        let text = format!(
            "listener {} {}\n{access}\npersistence true\npersistence_location {folder}/\nautosave_interval 1\n\
             max_queued_messages 0\nuser root\n",
            address.port(),
            address.ip()
        );
        std::fs::write(self.folder.path().join("mosquitto.conf"), text).unwrap();
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends it as an operator does.
    pub fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.terminate();
            process.wait("mosquitto ends", PATIENCE);
        }
    }

    /// Starts it again, on what it kept.
    pub fn resume(&mut self) {
        let mut command = Command::new(&self.program);
        command.arg("-c").arg(self.folder.path().join("mosquitto.conf"));
        self.process = Some(Process::start(&mut command, &self.folder.path().join("mosquitto.log")));
        let address = self.address;
        wait("mosquitto listens", PATIENCE, || std::net::TcpStream::connect(address).ok());
    }

    /// One message a line, at least once each. Returns when the broker has them all.
    pub fn publish(&self, topic: &str, messages: &[String]) {
        let mut command = Command::new(&self.publisher);
        let (host, port) = (self.address.ip().to_string(), self.address.port().to_string());
        command.args(["-h", &host, "-p", &port, "-q", "1", "-t", topic, "-l"]);
        let mut child = command.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut input = child.stdin.take().unwrap();
        messages.iter().for_each(|message| writeln!(input, "{message}").unwrap());
        drop(input);
        let ended = child.wait_with_output().unwrap();
        assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    }
}
