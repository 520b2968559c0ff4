//! Sources that hold a subscription of their own, over a protocol that the host has no transport for.
//!
//! Experimental: `watchkeeper:experimental/live-source` (`wit/experimental`) may still change, and plugins that use it may have to be
//! built again. Needs the feature `live`, and a host with WASI 0.3.
//!
//! [`Source::configure`](crate::Source::configure) answers [`Feed::live`](crate::Feed::live); [`LiveSource::subscribe`] connects
//! ([`TcpStream::connect`]) to a host that `asks.tcp` in `plugin.yaml` and `allow_hosts` in the source's file both name, and
//! answers with a [`Subscription`], whose other end it feeds in the background.

use std::future::Future;
use std::pin::pin;
use std::rc::{Rc, Weak};
use std::time::Duration;

use futures_util::future::{Either, select};
use futures_util::lock::Mutex;
use wit_bindgen::{StreamReader, StreamResult, StreamWriter};

use crate::bindings::subscriber::wasi::clocks::monotonic_clock;
use crate::bindings::subscriber::wasi::sockets::ip_name_lookup;
use crate::bindings::subscriber::wasi::sockets::types::{
    IpAddress, IpAddressFamily, IpSocketAddress, Ipv4SocketAddress, Ipv6SocketAddress, TcpSocket,
};
use crate::bindings::{live, subscriber};
use crate::{Alert, Error};

/// How much of what arrives is read at once, in bytes.
const READ: usize = 16 * 1024;

/// A source that subscribes by itself. It is cloned for its subscription.
pub trait LiveSource: Clone + 'static {
    /// Connects and subscribes, within the limit of a fetch (30 s).
    ///
    /// # Errors
    /// [`Error::unavailable`] where the other side is down for now; [`Error::Unauthorized`] where it refuses the credentials:
    /// the host then waits until the source's file or its plugin changes.
    fn subscribe(self) -> impl Future<Output = Result<Subscription, Error>>;
}

/// What the host reads from.
pub struct Subscription(StreamReader<Alert>);

impl Subscription {
    /// `feed` runs in the background, and the subscription ends with it.
    pub fn fed_by<F: Future<Output = ()> + 'static>(feed: impl FnOnce(Alerts) -> F) -> Self {
        let (writer, reader) = live::wit_stream::new::<Alert>();
        wit_bindgen::spawn_local(feed(Alerts(writer)));
        Self(reader)
    }

    #[doc(hidden)]
    pub fn into_stream(self) -> StreamReader<Alert> {
        self.0
    }
}

/// The end of a [`Subscription`] that is fed.
pub struct Alerts(StreamWriter<Alert>);

/// The host reads no more: it stops, it changed the source, or it could not store.
#[derive(Debug)]
pub struct Ended;

impl Alerts {
    /// Returns once all of them are durably stored: acknowledge them upstream now, and no earlier.
    ///
    /// # Errors
    /// [`Ended`], with nothing known of how many were stored: end the subscription.
    pub async fn send(&mut self, alerts: Vec<Alert>) -> Result<(), Ended> {
        match self.0.write_all(alerts).await.as_slice() {
            [] => Ok(()),
            _ => Err(Ended),
        }
    }
}

/// Runs `task` in the background for as long as the instance lives.
pub fn spawn(task: impl Future<Output = ()> + 'static) {
    wit_bindgen::spawn_local(task);
}

/// Waits without computing.
pub async fn sleep(time: Duration) {
    monotonic_clock::wait_for(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)).await;
}

/// What arrives of a TCP connection.
pub struct TcpReader {
    received: StreamReader<u8>,
    _socket: Rc<TcpSocket>,
}

/// What leaves on a TCP connection; cheap to clone.
#[derive(Clone)]
pub struct TcpWriter(Rc<Mutex<StreamWriter<u8>>>);

/// A [`TcpWriter`] that doesn't keep its connection open.
#[derive(Clone)]
pub struct WeakTcpWriter(Weak<Mutex<StreamWriter<u8>>>);

/// Opens TCP connections.
pub struct TcpStream;

impl TcpStream {
    /// Tries a host's addresses one after the other.
    ///
    /// # Errors
    /// [`Error::Unavailable`] with what the last attempt ended in.
    pub async fn connect(host: &str, port: u16) -> Result<(TcpReader, TcpWriter), Error> {
        let place = || format!("{host}:{port}");
        let found = ip_name_lookup::resolve_addresses(host.to_owned()).await;
        let found = found.map_err(|error| Error::unavailable(format!("{}: {error:?}", place()), None))?;
        let mut last = format!("{}: no address", place());
        for address in found {
            let (family, remote) = socket_address(address, port);
            let attempt = async {
                let socket = TcpSocket::create(family)?;
                socket.connect(remote).await?;
                Ok::<_, subscriber::wasi::sockets::types::ErrorCode>(socket)
            };
            match attempt.await {
                Ok(socket) => return Ok(halves(socket)),
                Err(error) => last = format!("{}: {error:?}", place()),
            }
        }
        Err(Error::unavailable(last, None))
    }
}

fn halves(socket: TcpSocket) -> (TcpReader, TcpWriter) {
    let (writer, to_send) = subscriber::wit_stream::new::<u8>();
    // How sending and receiving ended shows where they are tried again.
    let _ = socket.send(to_send);
    let (received, _) = socket.receive();
    (TcpReader { received, _socket: Rc::new(socket) }, TcpWriter(Rc::new(Mutex::new(writer))))
}

fn socket_address(address: IpAddress, port: u16) -> (IpAddressFamily, IpSocketAddress) {
    match address {
        IpAddress::Ipv4(address) => {
            (IpAddressFamily::Ipv4, IpSocketAddress::Ipv4(Ipv4SocketAddress { port, address }))
        }
        IpAddress::Ipv6(address) => {
            let address = Ipv6SocketAddress { port, flow_info: 0, address, scope_id: 0 };
            (IpAddressFamily::Ipv6, IpSocketAddress::Ipv6(address))
        }
    }
}

impl TcpReader {
    /// The next bytes, at least one; none once the other side has closed the connection, or it broke.
    pub async fn read(&mut self) -> Option<Vec<u8>> {
        loop {
            let (result, bytes) = self.received.read(Vec::with_capacity(READ)).await;
            match result {
                _ if !bytes.is_empty() => return Some(bytes),
                StreamResult::Dropped => return None,
                StreamResult::Complete(_) | StreamResult::Cancelled => {}
            }
        }
    }
}

impl TcpReader {
    /// As [`TcpReader::read`]; none, too, where nothing comes in this time. The connection is of no use then.
    pub async fn read_within(&mut self, time: Duration) -> Option<Vec<u8>> {
        let (read, late) = (pin!(self.read()), pin!(sleep(time)));
        match select(read, late).await {
            Either::Left((bytes, _)) => bytes,
            Either::Right(_) => None,
        }
    }
}

impl TcpWriter {
    /// # Errors
    /// [`Ended`] where the connection is over.
    pub async fn write_all(&self, bytes: Vec<u8>) -> Result<(), Ended> {
        match self.0.lock().await.write_all(bytes).await.as_slice() {
            [] => Ok(()),
            _ => Err(Ended),
        }
    }

    /// For a task in the background that isn't to outlast the connection.
    pub fn downgrade(&self) -> WeakTcpWriter {
        WeakTcpWriter(Rc::downgrade(&self.0))
    }
}

impl WeakTcpWriter {
    /// None once the connection was let go of.
    pub fn upgrade(&self) -> Option<TcpWriter> {
        self.0.upgrade().map(TcpWriter)
    }
}
