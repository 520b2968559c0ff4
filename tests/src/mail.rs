//! A real mail server, aiosmtpd, with the TLS and the logins that a test wants.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

use rustls::{ServerConnection, StreamOwned};
use serde_json::json;
use tempfile::TempDir;

use crate::authority::Issued;
use crate::process::{Process, free_address};
use crate::receiver::tls;
use crate::wait::{PATIENCE, wait};

/// aiosmtpd's own command line knows no logins.
const SCRIPT: &str = include_str!("mail_server.py");

/// What a server offers and wants.
#[derive(Clone, Copy, Default)]
pub struct Mailing<'a> {
    /// `starttls` or `implicit`, and the certificate.
    pub tls: Option<(&'a str, &'a Issued)>,
    /// Who may send: nobody else, then.
    pub login: Option<[&'a str; 2]>,
    /// Ways to log in that it doesn't know: `PLAIN`, `LOGIN`.
    pub without: &'a [&'a str],
}

pub struct MailServer {
    process: Process,
    pub address: SocketAddr,
    _folder: TempDir,
}

impl MailServer {
    /// `program` is what [`crate::require`] found.
    pub fn start(program: &Path, mailing: Mailing<'_>) -> Self {
        Self::start_at(program, free_address(), mailing)
    }

    /// On an address that a certificate was issued for.
    pub fn start_at(program: &Path, address: SocketAddr, mailing: Mailing<'_>) -> Self {
        let folder = tempfile::Builder::new().prefix("mail-test-").tempdir().unwrap();
        let script = folder.path().join("server.py");
        std::fs::write(&script, SCRIPT).unwrap();
        let wish = json!({
            "host": address.ip(),
            "port": address.port(),
            "tls": mailing.tls.map(|(tls, _)| tls),
            "certificate": mailing.tls.map(|(_, issued)| &issued.certificate),
            "key": mailing.tls.map(|(_, issued)| &issued.key),
            "login": mailing.login,
            "without": mailing.without,
        });
        let mut command = interpreter(program);
        command.arg(&script).arg(wish.to_string()).env("PYTHONUNBUFFERED", "1");
        let mut process = Process::start(&mut command, &folder.path().join("mail.log"));
        wait("the mail server listens", PATIENCE, || {
            assert!(process.ended().is_none(), "the mail server ended:\n{}", process.log());
            TcpStream::connect(address).ok()
        });
        Self { process, address, _folder: folder }
    }

    /// What came, and what it made of it.
    pub fn said(&self) -> String {
        self.process.log()
    }

    /// How many messages came.
    pub fn messages(&self) -> usize {
        self.said().matches("END MESSAGE").count()
    }
}

/// The Python that aiosmtpd is installed for: the one that its command begins with.
fn interpreter(program: &Path) -> Command {
    let script = std::fs::read_to_string(program).unwrap();
    let first = script.lines().next().and_then(|line| line.strip_prefix("#!"));
    let mut words = first.unwrap_or_else(|| panic!("{}: no script", program.display())).split_whitespace();
    let mut command = Command::new(PathBuf::from(words.next().unwrap()));
    command.args(words);
    command
}

/// One that refuses every login, and says back what it was told. Speaks TLS from the first byte, with one client.
pub struct EchoingMail(Arc<Mutex<String>>);

impl EchoingMail {
    pub fn start(address: SocketAddr, issued: &Issued) -> Self {
        let (listener, config) = (TcpListener::bind(address).unwrap(), tls(issued));
        let heard = Arc::<Mutex<String>>::default();
        let keeps = heard.clone();
        std::thread::spawn(move || {
            let (stream, _) = listener.accept()?;
            stream.set_read_timeout(Some(PATIENCE))?;
            let connection = ServerConnection::new(config).map_err(std::io::Error::other)?;
            refuse(StreamOwned::new(connection, stream), &keeps)
        });
        Self(heard)
    }

    pub fn heard(&self) -> String {
        self.0.lock().unwrap().clone()
    }
}

fn refuse(stream: impl Read + Write, heard: &Mutex<String>) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut answer = "220 mail.test\r\n".to_owned();
    loop {
        stream.get_mut().write_all(answer.as_bytes())?;
        stream.get_mut().flush()?;
        let mut line = String::new();
        if stream.read_line(&mut line)? == 0 {
            return Ok(());
        }
        heard.lock().unwrap().push_str(&line);
        answer = match line.split_whitespace().next() {
            Some("EHLO") => "250-mail.test\r\n250 AUTH PLAIN\r\n".into(),
            Some("AUTH") => format!("535 5.7.8 no such login: {}\r\n", line.trim()),
            _ => "221 bye\r\n".into(),
        };
    }
}
