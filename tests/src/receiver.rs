//! An HTTP server that a test is told things by: it keeps what comes, and answers as the test says.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::Value;

use crate::authority::Issued;
use crate::process::free_address;
use crate::wait::{PATIENCE, wait};

#[derive(Clone, Debug)]
pub struct Received {
    pub method: String,
    pub path: String,
    /// Names in lower case.
    pub headers: BTreeMap<String, String>,
    pub body: String,
}

impl Received {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("no JSON ({error}): {}", self.body))
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).unwrap_or_else(|| panic!("no header {name}: {self:?}"))
    }
}

/// Status, further headers (`Retry-After: 1`), body.
pub type Reply = (u16, &'static str, String);

type Answer = dyn Fn(&Received) -> Reply + Send + Sync;

pub struct Receiver {
    address: SocketAddr,
    scheme: &'static str,
    received: Arc<Mutex<Vec<Received>>>,
    stop: Arc<AtomicBool>,
    task: Option<JoinHandle<()>>,
}

impl Receiver {
    pub fn start(answer: impl Fn(&Received) -> Reply + Send + Sync + 'static) -> Self {
        Self::start_at(free_address(), answer)
    }

    /// On an address that nothing listened on until now.
    pub fn start_at(
        address: SocketAddr,
        answer: impl Fn(&Received) -> Reply + Send + Sync + 'static,
    ) -> Self {
        Self::listen(address, None, answer)
    }

    /// Over TLS, with this certificate.
    pub fn start_tls(
        address: SocketAddr,
        issued: &Issued,
        answer: impl Fn(&Received) -> Reply + Send + Sync + 'static,
    ) -> Self {
        Self::listen(address, Some(tls(issued)), answer)
    }

    fn listen(
        address: SocketAddr,
        tls: Option<Arc<ServerConfig>>,
        answer: impl Fn(&Received) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let (received, stop) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let (kept, stopped, answer) = (received.clone(), stop.clone(), Arc::new(answer) as Arc<Answer>);
        let task = std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if stopped.load(Ordering::Relaxed) {
                    return;
                }
                let (kept, answer, tls) = (kept.clone(), answer.clone(), tls.clone());
                std::thread::spawn(move || {
                    let _ = stream.set_read_timeout(Some(Duration::from_secs(10)));
                    let _ = match tls.map(ServerConnection::new) {
                        None => serve(stream, &kept, &*answer),
                        Some(connection) => {
                            serve(StreamOwned::new(connection.unwrap(), stream), &kept, &*answer)
                        }
                    };
                });
            }
        });
        Self { address, scheme, received, stop, task: Some(task) }
    }

    /// For somebody who will listen there later, or never.
    pub fn free_address() -> SocketAddr {
        free_address()
    }

    pub fn url(&self, path: &str) -> String {
        format!("{}://{}{path}", self.scheme, self.address)
    }

    pub fn received(&self) -> Vec<Received> {
        self.received.lock().unwrap().clone()
    }

    /// What has come, once there are as many as this.
    pub fn once_there_are(&self, count: usize) -> Vec<Received> {
        wait(&format!("{count} requests have come"), 2 * PATIENCE, || {
            let received = self.received();
            (received.len() >= count).then_some(received)
        })
    }
}

/// A server's side of TLS.
pub(crate) fn tls(issued: &Issued) -> Arc<ServerConfig> {
    let chain = CertificateDer::pem_file_iter(&issued.certificate).unwrap();
    let key = PrivateKeyDer::from_pem_file(&issued.key).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.unwrap().with_no_client_auth();
    Arc::new(config.with_single_cert(chain.map(Result::unwrap).collect(), key).unwrap())
}

/// One request a connection.
fn serve(stream: impl Read + Write, kept: &Mutex<Vec<Received>>, answer: &Answer) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut words = line.split_whitespace().map(str::to_owned);
    let (Some(method), Some(path)) = (words.next(), words.next()) else { return Ok(()) };
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let length = headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let received = Received { method, path, headers, body: String::from_utf8_lossy(&body).into_owned() };
    let (status, further, text) = answer(&received);
    // Kept before it is answered, so that whoever got the answer finds it.
    kept.lock().unwrap().push(received);
    let further = if further.is_empty() { String::new() } else { format!("{further}\r\n") };
    let length = text.len();
    let mut stream = reader.into_inner();
    write!(
        stream,
        "HTTP/1.1 {status} x\r\nContent-Length: {length}\r\nConnection: close\r\n{further}\r\n{text}"
    )?;
    stream.flush()
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(self.address);
        if let Some(task) = self.task.take() {
            let _ = task.join();
        }
    }
}
