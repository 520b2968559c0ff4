//! Who answers for a peer that a program may not meet itself: Docker's socket, of which reads alone pass, and a TCP endpoint.
//!
//! Invariant: of a request to Docker nothing is passed on but a path that was judged; the broker writes its own.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::Receiver;
use std::time::Duration;

use serde_json::{Value, json};

/// Connections at once; one more is closed.
const MAX_CONNECTIONS: usize = 32;
const MAX_HEAD: usize = 16 * 1024;
const MAX_RESPONSE: u64 = 64 << 20;
/// Of an answer that is read as a whole.
const MAX_READ: u64 = 8 << 20;
const PATIENCE: Duration = Duration::from_secs(30);
/// How long, and how far, the body of what was refused is read.
const LINGERING: Duration = Duration::from_secs(1);
const MAX_LINGERING: u64 = 1 << 20;

/// A listener in a program's view, and who really answers.
pub(super) enum Service {
    Docker { listener: UnixListener, daemon: PathBuf },
    Tcp { listener: TcpListener, endpoint: SocketAddr },
}

/// Serves each that comes, on threads of their own, until the process ends.
pub(super) fn serve(services: &Receiver<Service>) {
    while let Ok(service) = services.recv() {
        std::thread::spawn(move || match service {
            Service::Docker { listener, daemon } => {
                accept(listener.incoming(), move |client| docker(client, &daemon));
            }
            Service::Tcp { listener, endpoint } => {
                accept(listener.incoming(), move |client| forward(client, endpoint));
            }
        });
    }
}

fn accept<C: Send + 'static>(
    incoming: impl Iterator<Item = io::Result<C>>,
    answer: impl Fn(C) -> io::Result<()> + Send + Sync + 'static,
) {
    let (answer, open) = (Arc::new(answer), Arc::new(AtomicUsize::new(0)));
    for client in incoming.flatten() {
        if open.fetch_add(1, Ordering::Relaxed) >= MAX_CONNECTIONS {
            open.fetch_sub(1, Ordering::Relaxed);
            continue;
        }
        let (answer, open) = (answer.clone(), open.clone());
        std::thread::spawn(move || {
            // The program sees a closed connection; there is nobody else to tell.
            let _ = answer(client);
            open.fetch_sub(1, Ordering::Relaxed);
        });
    }
}

fn forward(client: TcpStream, endpoint: SocketAddr) -> io::Result<()> {
    let server = TcpStream::connect_timeout(&endpoint, PATIENCE)?;
    let (mut from_client, mut to_server) = (client.try_clone()?, server.try_clone()?);
    let (mut from_server, mut to_client) = (server, client);
    std::thread::spawn(move || {
        let _ = io::copy(&mut from_client, &mut to_server);
        let _ = to_server.shutdown(Shutdown::Write);
    });
    let copied = io::copy(&mut from_server, &mut to_client);
    let _ = to_client.shutdown(Shutdown::Write);
    copied.map(drop)
}

/// One request, one answer, and the end of the connection.
fn docker(mut client: UnixStream, daemon: &Path) -> io::Result<()> {
    client.set_read_timeout(Some(PATIENCE))?;
    client.set_write_timeout(Some(PATIENCE))?;
    let request = match judge(&head(&mut client)?) {
        Ok(request) => request,
        Err(why) => {
            refuse(&mut client, "403 Forbidden", &why)?;
            return linger(&client);
        }
    };
    let mut server = match UnixStream::connect(daemon) {
        Ok(server) => server,
        Err(error) => {
            let why = format!("{}: nobody answers there: {error}", daemon.display());
            return refuse(&mut client, "502 Bad Gateway", &why);
        }
    };
    server.set_read_timeout(Some(PATIENCE))?;
    // As of 1.0: so the answer ends with the connection, in one piece.
    write!(server, "{} {} HTTP/1.0\r\nHost: docker\r\n\r\n", request.method, request.target)?;
    if request.redacted {
        return redact(&mut client, server);
    }
    io::copy(&mut server.take(MAX_RESPONSE), &mut client).map(drop)
}

/// A client that still writes its body would see a broken pipe rather than the answer.
fn linger(client: &UnixStream) -> io::Result<()> {
    client.shutdown(Shutdown::Write)?;
    client.set_read_timeout(Some(LINGERING))?;
    io::copy(&mut client.take(MAX_LINGERING), &mut io::sink()).map(drop)
}

fn head(client: &mut UnixStream) -> io::Result<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if head.len() >= MAX_HEAD || client.read(&mut byte)? == 0 {
            return Err(io::ErrorKind::InvalidData.into());
        }
        head.push(byte[0]);
    }
    String::from_utf8(head).map_err(|_| io::ErrorKind::InvalidData.into())
}

#[derive(Debug, PartialEq, Eq)]
struct Request {
    method: &'static str,
    target: String,
    /// What containers and images are made with holds secrets.
    redacted: bool,
}

fn judge(head: &str) -> Result<Request, String> {
    let mut lines = head.split("\r\n");
    let parts: Vec<&str> = lines.next().unwrap_or_default().split(' ').collect();
    let [method, target, "HTTP/1.1" | "HTTP/1.0"] = parts[..] else {
        return Err("this is no request".to_owned());
    };
    let method = match method {
        "GET" => "GET",
        "HEAD" => "HEAD",
        other => return Err(format!("{} changes something: only reads pass", other.escape_debug())),
    };
    for line in lines.filter(|line| !line.is_empty()) {
        let name = line.split(':').next().unwrap_or_default().trim().to_ascii_lowercase();
        let body = name == "content-length" && line.trim_end().rsplit(':').next().map(str::trim) != Some("0");
        if body || ["transfer-encoding", "upgrade"].contains(&name.as_str()) {
            return Err(format!("a read has no {name}"));
        }
    }
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-:@".contains(&byte);
    let refused = || format!("{} is none of the paths that may be read", path.escape_debug());
    if !path.bytes().all(plain) || !query.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(refused());
    }
    let mut names: Vec<&str> = path.strip_prefix('/').ok_or_else(refused)?.split('/').collect();
    if names.first().is_some_and(|name| is_version(name)) {
        names.remove(0);
    }
    let asks = |name: &str| query.split('&').any(|pair| pair.split('=').next() == Some(name));
    let redacted = match names[..] {
        ["_ping" | "version" | "info" | "networks"] | ["containers" | "images", "json"] => false,
        // A volume's options may be a share's user and password.
        ["volumes"] | ["system", "df"] => true,
        ["containers", id, "json"] if is_name(id) => true,
        ["containers", id, "changes"] | ["networks", id] if is_name(id) => false,
        // An image's name may have slashes.
        ["images", ref name @ .., "json" | "history"] if name.iter().all(|part| is_name(part)) => true,
        ["events"] => match asks("until") {
            true => false,
            false => return Err("events without an end never end".to_owned()),
        },
        ["containers", id, "logs"] if is_name(id) => match query
            .split('&')
            .any(|pair| pair.strip_prefix("follow=").is_some_and(|value| value != "0" && value != "false"))
        {
            true => return Err("logs that are followed never end".to_owned()),
            false => false,
        },
        ["containers", id, "stats"] if is_name(id) => false,
        // The daemon would run ps with these words, as root.
        ["containers", id, "top"] if is_name(id) => match asks("ps_args") {
            true => return Err("ps takes no words of others".to_owned()),
            false => false,
        },
        _ => return Err(refused()),
    };
    Ok(Request { method, target: target.to_owned(), redacted })
}

fn is_version(name: &str) -> bool {
    name.strip_prefix('v').is_some_and(|rest| {
        !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
    })
}

fn is_name(id: &str) -> bool {
    !id.is_empty() && !id.starts_with('.')
}

/// An answer without environments, and without what else holds secrets.
fn redact(client: &mut UnixStream, server: UnixStream) -> io::Result<()> {
    let mut answer = Vec::new();
    server.take(MAX_READ).read_to_end(&mut answer)?;
    let Some(at) = answer.windows(4).position(|four| four == b"\r\n\r\n") else {
        return refuse(client, "502 Bad Gateway", "the daemon's answer has no head");
    };
    let status = String::from_utf8_lossy(&answer[..at]);
    let status =
        status.lines().next().and_then(|line| line.split_once(' ')).map_or("502", |(_, status)| status);
    let Ok(mut answer) = serde_json::from_slice::<Value>(&answer[at + 4..]) else {
        return refuse(client, "502 Bad Gateway", "the daemon's answer is no JSON, or more than 8 MiB");
    };
    without_secrets(&mut answer);
    respond(client, status, &answer)
}

fn without_secrets(value: &mut Value) {
    match value {
        Value::Array(values) => values.iter_mut().for_each(without_secrets),
        Value::Object(fields) => {
            for (name, value) in fields {
                match (name.as_str(), &value) {
                    // Of a container or an image.
                    ("Env", _) => *value = json!([]),
                    // Of a volume; of another thing's options it isn't known what they hold either.
                    ("Options", Value::Object(_)) => *value = json!({}),
                    // A line of a Dockerfile that sets variables, or runs with some: `|1 TOKEN=x /bin/sh -c …`.
                    ("CreatedBy", Value::String(line)) if sets_variables(line) => {
                        *value = json!("(left out: it sets variables)");
                    }
                    _ => without_secrets(value),
                }
            }
        }
        _ => {}
    }
}

fn sets_variables(line: &str) -> bool {
    let numbered = |word: &str| word.strip_prefix('|').is_some_and(|rest| rest.parse::<u32>().is_ok());
    line.split_whitespace().any(|word| matches!(word, "ENV" | "ARG") || numbered(word))
}

fn refuse(client: &mut UnixStream, status: &str, why: &str) -> io::Result<()> {
    respond(client, status, &json!({ "message": format!("Watchkeeper's broker: {why}") }))
}

fn respond(client: &mut UnixStream, status: &str, body: &Value) -> io::Result<()> {
    let body = body.to_string();
    let length = body.len();
    write!(
        client,
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(line: &str) -> Result<Request, String> {
        judge(&format!("{line} HTTP/1.1\r\nHost: docker\r\nUser-Agent: Docker-Client\r\n\r\n"))
    }

    #[test]
    fn reads_pass() {
        for line in [
            "HEAD /_ping",
            "GET /_ping",
            "GET /v1.45/containers/json?all=1",
            "GET /v1.45/containers/json?filters=%7B%22status%22%3A%7B%22exited%22%3Atrue%7D%7D",
            "GET /containers/web/logs?stdout=1&tail=100&follow=0",
            "GET /v1.24/containers/web.1/stats?stream=0",
            "GET /v1.45/containers/web/top",
            "GET /images/json",
            "GET /info",
            "GET /v1.41/containers/web/changes",
            "GET /v1.41/networks",
            "GET /v1.41/networks/none",
            "GET /v1.41/events?since=1&until=2",
        ] {
            assert!(judged(line).is_ok_and(|request| !request.redacted), "{line}");
        }
        for line in [
            "GET /v1.45/containers/web/json",
            "GET /v1.41/images/registry.example:5000/team/app:1.0/json",
            "GET /v1.41/images/tiny:1/history",
            "GET /v1.41/volumes",
            "GET /system/df",
        ] {
            assert!(judged(line).is_ok_and(|request| request.redacted), "{line}");
        }
    }

    #[test]
    fn what_holds_secrets_is_left_out() {
        let mut answer = json!({
            "Config": {"Env": ["A=secret"], "Image": "x"},
            "Volumes": [{"Name": "share", "Options": {"o": "username=u,password=secret"}}],
            "History": [{"CreatedBy": "/bin/sh -c #(nop)  ENV A=secret"}, {"CreatedBy": "RUN |1 A=secret /bin/sh -c make"},
                {"CreatedBy": "ARG A=secret"}, {"CreatedBy": "CMD [\"nginx\"]"}],
        });
        without_secrets(&mut answer);
        let text = answer.to_string();
        assert!(!text.contains("secret"), "{text}");
        assert!(
            text.contains("share") && text.contains("nginx") && answer["Config"]["Env"] == json!([]),
            "{text}"
        );
    }

    #[test]
    fn nothing_else_passes() {
        for line in [
            "POST /v1.45/containers/create",
            "DELETE /v1.45/containers/web",
            "PUT /containers/web/archive",
            "get /info",
            "GET /v1.45/containers/web/archive?path=/etc/shadow",
            "GET /v1.45/containers/web/export",
            "GET /v1.45/containers/web/attach/ws",
            "GET /images/get?names=x",
            "GET /secrets",
            "GET /configs",
            "GET /v1.45/containers/web/top?ps_args=auxe",
            "GET /v1.45/containers/web/logs?follow=1",
            "GET /v1.45/containers/web/logs?follow=true&stdout=1",
            "GET /containers/../info",
            "GET /containers/%2e%2e/json",
            "GET /containers//json",
            "GET //info",
            "GET /v1.45/v1.45/info",
            "GET /v1.41/events?since=1",
            "GET /v1.41/images//json",
            "GET /v1.41/images/../json",
            "GET /v1.41/images/x/get",
            "GET /v1.41/networks/a/b",
            "GET /v1.41/plugins",
            "GET /v1.41/exec/x/json",
            "POST /v1.41/networks/prune",
            "GET info",
            "GET http://x/info",
            "GET /info x",
            "GET",
            "",
        ] {
            assert!(judged(line).is_err(), "{line}");
        }
        for header in
            ["Content-Length: 5", "Transfer-Encoding: chunked", "Upgrade: tcp", "content-length : 0:5"]
        {
            assert!(judge(&format!("GET /info HTTP/1.1\r\n{header}\r\n\r\n")).is_err(), "{header}");
        }
        assert!(judge("GET /info HTTP/1.1\r\nContent-Length: 0\r\n\r\n").is_ok());
    }
}
