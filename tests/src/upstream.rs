//! What a plugin polls: a real server with pages of alerts, which holds each request to what it must have.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

/// The largest head of a request.
const MAX_HEAD: usize = 16 * 1024;

/// A page is large enough for a guest that collects garbage to do so while it comes in.
const PADDING: usize = 1 << 20;

/// Listens on an address of its own until the test ends.
pub struct Upstream {
    pub address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Upstream {
    /// The secret that requests must have in their `authorization`, as the operator's environment has it.
    pub const TOKEN: &str = "a-token-of-the-upstream";

    /// The last page's cursor. Requests have it in their query, where none of these characters may stand as it is.
    pub const LAST: &str = "the end+1/ü&c=#";

    /// [`Upstream::LAST`], and what a request that has it asks for.
    pub const AFTER_LAST: &str = "/alerts?after=the%20end%2B1%2F%C3%BC%26c%3D%23";

    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let this = Self { address: listener.local_addr().unwrap(), asked: Arc::default() };
        let asked = this.asked.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let asked = asked.clone();
                std::thread::spawn(move || answer_all(stream, &asked));
            }
        });
        this
    }

    /// `http://ADDRESS`, as rules write it.
    pub fn origin(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What was asked for, in order: the path and query of a request that has all it must have, or else what is wrong with it.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

/// One connection, which may be kept for several requests.
fn answer_all(mut stream: TcpStream, asked: &Mutex<Vec<String>>) -> Option<()> {
    stream.set_read_timeout(Some(Duration::from_secs(30))).ok()?;
    loop {
        let head = read_head(&mut stream)?;
        let (asked_for, status, body) = match judge(&head) {
            Ok((asked_for, page)) => (asked_for, "200 OK", page.to_string()),
            Err(wrong) => (format!("{wrong}, in\n{head}"), "400 Bad Request", String::new()),
        };
        asked.lock().unwrap().push(asked_for);
        let length = body.len();
        write!(
            stream,
            "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
        )
        .ok()?;
    }
}

fn read_head(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
        if head.len() > MAX_HEAD {
            return None;
        }
    }
    String::from_utf8(head).ok()
}

/// What it asks for, and the page that it gets.
fn judge(head: &str) -> Result<(String, Value), String> {
    let mut lines = head.lines();
    let line = lines.next().unwrap_or_default();
    let target = line.strip_prefix("GET ").and_then(|rest| rest.strip_suffix(" HTTP/1.1"));
    let target = target.ok_or("no GET")?;
    for (name, value) in
        [("accept", "application/json".to_owned()), ("authorization", format!("Bearer {}", Upstream::TOKEN))]
    {
        let shown: Vec<&str> = lines
            .clone()
            .filter_map(|line| line.split_once(": "))
            .filter(|(shown, _)| shown.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
            .collect();
        if shown != [value.as_str()] {
            return Err(format!("{name} is {shown:?}, not {value}"));
        }
    }
    let page = match target {
        "/alerts" => json!({
            "alerts": [{ "id": "disk-db-1", "severity": "critical", "title": "/var is füll", "host": "db-1" }],
            "next": "page 2",
            "more": true,
            "ignored": "x".repeat(PADDING),
        }),
        "/alerts?after=page%202" => json!({
            "alerts": [{ "id": "disk-db-2", "title": "/tmp was full", "host": "db-2", "resolved": true }],
            "next": Upstream::LAST,
        }),
        Upstream::AFTER_LAST => json!({ "alerts": [] }),
        other => return Err(format!("nothing is at {other}")),
    };
    Ok((target.to_owned(), page))
}
