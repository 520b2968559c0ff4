//! A plugin that means harm: what it does is the payload's first word. What no toolchain would make is in `tests/src/guest.rs`.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde::Deserialize;
use watchkeeper_sdk::http::Request;
use watchkeeper_sdk::{Alert, Batch, Error, Feed, Parser, Payload, Poller, Severity, Source, Status, log};

#[derive(Deserialize)]
pub struct Config {
    #[serde(default = "default_path")]
    webhook_path: String,
    /// Polled instead, with this as what it does.
    poll: Option<String>,
    /// How long `configure` takes.
    #[serde(default)]
    slow_ms: u64,
    /// What `configure` prints.
    #[serde(default)]
    says: String,
    /// A secret, or what stands for it.
    #[serde(default)]
    secret: String,
    /// Whom to send requests to.
    #[serde(default)]
    url: String,
}

fn default_path() -> String {
    "/alerts/hostile".to_owned()
}

pub struct Hostile {
    does: String,
    secret: String,
    url: String,
}

/// Calls of this instance.
static CALLS: AtomicU32 = AtomicU32::new(0);

static HELD: Mutex<Vec<u8>> = Mutex::new(Vec::new());

impl Source for Hostile {
    type Config = Config;

    fn configure(config: Config) -> Result<(Self, Feed), Error> {
        spin(Duration::from_millis(config.slow_ms));
        if !config.says.is_empty() {
            eprintln!("{}", config.says);
        }
        let feed = match &config.poll {
            Some(_) => Feed::poll(1000),
            None => Feed::webhook(config.webhook_path),
        };
        let does = config.poll.unwrap_or_default();
        Ok((Self { does, secret: config.secret, url: config.url }, feed))
    }
}

impl Parser for Hostile {
    fn parse(&self, payload: Payload) -> Result<Vec<Alert>, Error> {
        self.act(payload.text()?)
    }
}

impl Poller for Hostile {
    fn fetch(&self, _: Option<String>) -> Result<Batch, Error> {
        log::info!("fetches: {}", self.does);
        Ok(Batch { alerts: self.act(&self.does)?, cursor: None, more: false })
    }
}

fn alert(id: &str, description: String) -> Alert {
    Alert { description, ..Alert::new(id, Severity::Warning, Status::Firing, id) }
}

fn spin(time: Duration) {
    let began = Instant::now();
    while began.elapsed() < time {
        std::hint::black_box(0);
    }
}

#[allow(unconditional_recursion, reason = "that is the point")]
fn deeper(depth: u64) -> u64 {
    let here = std::hint::black_box([depth; 64]);
    deeper(depth + 1) + here[(depth % 64) as usize]
}

impl Hostile {
    fn act(&self, does: &str) -> Result<Vec<Alert>, Error> {
        let call = CALLS.fetch_add(1, Ordering::Relaxed) + 1;
        let word = does.split_whitespace().next().unwrap_or_default();
        let said = match word {
            "loop" => loop {
                std::hint::black_box(0);
            },
            "sleep" => {
                std::thread::sleep(Duration::from_secs(3600));
                String::new()
            }
            // No harm, but as much work as is asked for, by whatever clock.
            "work" => {
                let rounds = does.split_whitespace().nth(1).and_then(|n| n.parse().ok()).unwrap_or(0_u64);
                (0..rounds).fold(1_u64, |n, round| std::hint::black_box(n.rotate_left(5) ^ round)).to_string()
            }
            "memory" => {
                let mut kept = Vec::new();
                loop {
                    kept.push(vec![1_u8; 1 << 20]);
                    std::hint::black_box(&kept);
                }
            }
            // So many MiB, for as long as the instance lives; and for so many milliseconds nothing else.
            "hold" => {
                let mut numbers = does.split_whitespace().skip(1).map_while(|word| word.parse::<u64>().ok());
                let (mib, millis) = (numbers.next().unwrap_or(1), numbers.next().unwrap_or(0));
                let mut held = HELD.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
                if held.is_empty() {
                    held.resize((mib as usize) << 20, 1);
                }
                std::thread::sleep(Duration::from_millis(millis));
                "held".to_owned()
            }
            "fill" => loop {
                std::hint::black_box(vec![1_u8; 8 << 20]);
            },
            "stuck" => calls::write_to_nobody(),
            "polls" => calls::poll_again_and_again(),
            "random" => calls::draw_again_and_again(),
            "draw" => calls::draw_too_much(),
            "hoard" => calls::hoard(does.split_whitespace().nth(1).unwrap_or_default()),
            "keep" => calls::keep_headers(),
            "crowd" => calls::wait_for_a_crowd(),
            "rant" => return Err(Error::Failed("rant ".repeat(1 << 20))),
            "deep" => deeper(0).to_string(),
            "huge" => "x".repeat(40 << 20),
            "many" => return Ok((0..10_001).map(|n| alert(&n.to_string(), String::new())).collect()),
            "flood" => {
                for line in 0..2_000 {
                    log::info!("{line}: {}", "flood ".repeat(10));
                }
                "flooded".to_owned()
            }
            "print" => {
                for _ in 0..50 {
                    eprintln!("{}", "print ".repeat(100));
                }
                panic!("printed enough");
            }
            "third" if call.is_multiple_of(3) => panic!("the {call}. call is one too many"),
            "panic" => panic!("so it goes"),
            "tell" => panic!("the secret is {}", self.secret),
            "refuse" => return Err(Error::InvalidPayload(format!("not with {}", self.secret))),
            "exit" => std::process::exit(3),
            "capabilities" => capabilities(),
            "secrets" => self.secrets(),
            "smuggle" => self.smuggle(),
            "get" => self.get(),
            "must" => Request::get(&self.url).send()?.status.to_string(),
            _ => "behaves".to_owned(),
        };
        Ok(vec![alert(does, said)])
    }

    fn get(&self) -> String {
        match Request::get(&self.url).header("x-secret", &self.secret).send() {
            Ok(response) => format!("{} {}", response.status, String::from_utf8_lossy(&response.body)),
            Err(error) => error.to_string(),
        }
    }

    /// Its own configuration, and headers with what others' placeholders might be.
    fn secrets(&self) -> String {
        let request =
            Request::get(&self.url).header("x-own", &self.secret).header("x-other", "${NEIGHBOURS_SECRET}");
        let answer = request.send().map(|response| String::from_utf8_lossy(&response.body).into_owned());
        format!("{} {answer:?}", self.secret)
    }

    fn smuggle(&self) -> String {
        let attempts: [(&str, &str); 6] = [
            ("transfer-encoding", "chunked"),
            ("content-length", "5"),
            ("host", "evil.example"),
            ("x-a", "1\r\nx-b: 2"),
            ("x a", "1"),
            ("connection", "upgrade"),
        ];
        let told =
            attempts.map(|(name, value)| match Request::post(&self.url, "body").header(name, value).send() {
                Ok(response) => format!("{name}: {}", String::from_utf8_lossy(&response.body)),
                Err(error) => format!("{name}: {error}"),
            });
        told.join("\n")
    }
}

/// Everything of WASI that a process would have.
fn capabilities() -> String {
    let mut found = BTreeMap::new();
    let mut note = |what: &str, got: Option<String>| {
        if let Some(got) = got {
            found.insert(what.to_owned(), got);
        }
    };
    note("environment", std::env::vars().next().map(|(name, _)| name));
    note("arguments", std::env::args().next());
    for path in ["/", ".", "/etc/passwd", "/proc/self/environ", "/tmp"] {
        note(path, std::fs::metadata(path).ok().map(|meta| format!("{meta:?}")));
        note(&format!("{path} listed"), std::fs::read_dir(path).ok().map(|_| "yes".into()));
    }
    note(
        "written",
        std::fs::File::create("/tmp/hostile")
            .and_then(|mut file| file.write_all(b"x"))
            .ok()
            .map(|()| "yes".into()),
    );
    note("connected", std::net::TcpStream::connect("127.0.0.1:80").ok().map(|_| "yes".into()));
    note(
        "connection",
        std::net::TcpStream::connect("127.0.0.1:80")
            .err()
            .filter(|e| e.kind() == std::io::ErrorKind::ConnectionRefused)
            .map(|e| e.to_string()),
    );
    note("listened", std::net::TcpListener::bind("127.0.0.1:0").ok().map(|_| "yes".into()));
    note("sent", std::net::UdpSocket::bind("127.0.0.1:0").ok().map(|_| "yes".into()));
    use std::net::ToSocketAddrs;
    note("resolved", ("localhost", 80).to_socket_addrs().ok().map(|_| "yes".into()));
    let mut line = String::new();
    note(
        "standard input",
        std::io::stdin().read_line(&mut line).ok().filter(|read| *read > 0).map(|_| line.clone()),
    );
    format!("found: {found:?}")
}

/// Calls of the host that last, or are many.
#[cfg(target_family = "wasm")]
mod calls {
    use wasip2::clocks::monotonic_clock::subscribe_duration;
    use wasip2::http::types::{Fields, Method, OutgoingRequest};
    use wasip2::io::poll::poll;
    use wasip2::random::random::get_random_bytes;

    /// The body of a request that is never sent, so that nobody reads it.
    pub(super) fn write_to_nobody() -> String {
        let request = OutgoingRequest::new(Fields::new());
        let body = request.body().unwrap();
        let stream = body.write().unwrap();
        while stream.blocking_write_and_flush(&[0; 4096]).is_ok() {}
        "somebody reads it".to_owned()
    }

    /// One that is ready, again and again in long lists.
    pub(super) fn poll_again_and_again() -> String {
        let ready = subscribe_duration(0);
        let many = vec![&ready; 1000];
        loop {
            std::hint::black_box(poll(&many));
        }
    }

    pub(super) fn draw_again_and_again() -> String {
        loop {
            std::hint::black_box(get_random_bytes(256 * 1024));
        }
    }

    pub(super) fn draw_too_much() -> String {
        get_random_bytes(8 << 20).len().to_string()
    }

    /// As much as the host lets be put into its own memory, which no limit of the guest's counts.
    pub(super) fn hoard(what: &str) -> String {
        let long = "A".repeat(1 << 20);
        let request = || OutgoingRequest::new(Fields::new());
        let (mut requests, mut bodies, mut fields, mut waits) =
            (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        loop {
            match what {
                "methods" => {
                    let request = request();
                    let _ = request.set_method(&Method::Other(long.clone()));
                    requests.push(request);
                }
                "authorities" => {
                    let request = request();
                    let _ = request.set_authority(Some(&long));
                    requests.push(request);
                }
                "bodies" => {
                    let request = request();
                    let body = request.body().unwrap();
                    let stream = body.write().unwrap();
                    while let Ok(room @ 1..) = stream.check_write() {
                        stream.write(&long.as_bytes()[..long.len().min(room as usize)]).unwrap();
                    }
                    bodies.push((stream, body, request));
                }
                "fields" => {
                    let headers = Fields::new();
                    for _ in 0..6 {
                        headers.append("x", &long.as_bytes()[..4096]).unwrap();
                    }
                    fields.push(headers);
                }
                _ => waits.push(subscribe_duration(u64::MAX)),
            }
        }
    }

    /// For as long as the instance lives.
    pub(super) fn keep_headers() -> String {
        for _ in 0..500 {
            let headers = Fields::new();
            for _ in 0..6 {
                headers.append("x", &[b'A'; 4096]).unwrap();
            }
            std::mem::forget(headers);
        }
        "kept".to_owned()
    }

    pub(super) fn wait_for_a_crowd() -> String {
        let ready = subscribe_duration(0);
        let crowd = vec![&ready; 50_000];
        poll(&crowd).len().to_string()
    }
}

#[cfg(not(target_family = "wasm"))]
mod calls {
    pub(super) fn write_to_nobody() -> String {
        String::new()
    }

    pub(super) use self::write_to_nobody as poll_again_and_again;
    pub(super) use self::write_to_nobody as draw_again_and_again;
    pub(super) use self::write_to_nobody as draw_too_much;
    pub(super) use self::write_to_nobody as wait_for_a_crowd;
    pub(super) use self::write_to_nobody as keep_headers;

    pub(super) fn hoard(_: &str) -> String {
        String::new()
    }
}

watchkeeper_sdk::register! { source: Hostile, parser: Hostile, poller: Hostile }
