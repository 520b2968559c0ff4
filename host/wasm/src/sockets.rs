//! What a live source's sockets reach: TCP, to hosts that its plugin asks for and its operator grants.
//!
//! Invariant: an address is connected to only where it was resolved here from a name that is granted with that port, or is
//! granted itself; one that isn't public only by grant of the address.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use wasmtime::Result;
use wasmtime::component::{Accessor, HasData, Linker};
use wasmtime_wasi::p3::bindings::sockets::ip_name_lookup::{self, ErrorCode, Host, HostWithStore};
use wasmtime_wasi::p3::bindings::sockets::types::IpAddress;
use wasmtime_wasi::sockets::SocketAddrUse;

use crate::asks::{HostRule, Scheme, Target};
use crate::guest::Guest;
use crate::outgoing::{Denied, Outgoing};

/// Addresses that are remembered, more than any broker has; and names of each.
const MAX_KNOWN: usize = 256;
const MAX_NAMES: usize = 16;

/// One instance's connections.
#[derive(Default)]
pub(crate) struct Dialing {
    outgoing: Arc<Outgoing>,
    /// Which names stand for an address, as they were resolved.
    known: Mutex<BTreeMap<IpAddr, BTreeSet<String>>>,
    /// What was refused, in words for the operator: the guest itself only hears that it was.
    denied: Mutex<Vec<String>>,
}

impl Dialing {
    pub(crate) fn new(outgoing: Arc<Outgoing>) -> Self {
        Self { outgoing, ..Self::default() }
    }

    /// What was refused since the last time.
    pub(crate) fn take_denied(&self) -> Vec<String> {
        std::mem::take(&mut self.denied.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn deny(&self, reason: String) {
        let mut denied = self.denied.lock().unwrap_or_else(PoisonError::into_inner);
        if denied.len() < 8 && !denied.contains(&reason) {
            denied.push(reason);
        }
    }

    /// The addresses of a name that may be connected to.
    async fn resolve(&self, name: &str) -> Result<Vec<IpAddr>, ErrorCode> {
        // An address is its own; whether it may be connected to is asked then.
        if let Ok(address) = name.parse() {
            return Ok(vec![address]);
        }
        let name = name.to_ascii_lowercase();
        let outgoing = &self.outgoing;
        let named = |rules: &[HostRule]| rules.iter().any(|rule| rule.allows_name(Scheme::Tcp, &name));
        let lacking = match (named(&outgoing.asked), named(&outgoing.granted)) {
            (true, true) => None,
            (false, _) => Some(
                "is not asked for by the plugin: declare it under `asks: { tcp: [...] }` in its .yaml".into(),
            ),
            (true, false) => Some(format!("is not granted: add it to `allow_hosts` of {}", outgoing.source)),
        };
        if let Some(lacking) = lacking {
            self.deny(format!("tcp://{name}:… {lacking}"));
            return Err(ErrorCode::AccessDenied);
        }
        let found = self.outgoing.names.resolve(&name).await.map_err(|_| ErrorCode::NameUnresolvable)?;
        let found: BTreeSet<IpAddr> = found.into_iter().map(|found| found.ip().to_canonical()).collect();
        let allowed: Vec<IpAddr> =
            found.into_iter().filter(|address| self.outgoing.check_address(*address).is_ok()).collect();
        if allowed.is_empty() {
            self.deny(format!(
                "{name} resolves to no address that is public: grant the address itself in `allow_hosts` of {}",
                self.outgoing.source
            ));
            return Err(ErrorCode::AccessDenied);
        }
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        for address in &allowed {
            if known.len() < MAX_KNOWN || known.contains_key(address) {
                let names = known.entry(*address).or_default();
                if names.len() < MAX_NAMES {
                    names.insert(name.clone());
                }
            }
        }
        Ok(allowed)
    }

    /// Whether a socket may be used so.
    pub(crate) fn permits(&self, address: SocketAddr, usage: SocketAddrUse) -> bool {
        match usage {
            // Before it connects, a socket is bound to any address of this machine.
            SocketAddrUse::TcpBind => address.ip().is_unspecified() && address.port() == 0,
            SocketAddrUse::TcpConnect => self.may_connect(address),
            _ => false,
        }
    }

    fn may_connect(&self, address: SocketAddr) -> bool {
        let (ip, port) = (address.ip().to_canonical(), address.port());
        let check = |host: &str| self.outgoing.check(&Target { scheme: Scheme::Tcp, host, port, method: "" });
        let by_itself = check(&ip.to_string());
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let by_name = known.get(&ip).is_some_and(|names| names.iter().any(|name| check(name).is_ok()));
        match by_itself {
            _ if by_name => true,
            Ok(()) => true,
            Err(Denied(reason)) => {
                self.deny(reason);
                false
            }
        }
    }
}

/// `wasi:sockets/ip-name-lookup` as [`Dialing`] answers it.
pub(crate) fn link(linker: &mut Linker<Guest>) -> Result<()> {
    ip_name_lookup::add_to_linker::<Guest, HasNames>(linker, |guest| Names(guest.dialing()))
}

struct Names(Option<Arc<Dialing>>);

struct HasNames;

impl HasData for HasNames {
    type Data<'a> = Names;
}

impl Host for Names {}

impl<U: 'static> HostWithStore<U> for HasNames {
    async fn resolve_addresses(
        store: &Accessor<U, Self>,
        name: String,
    ) -> Result<Result<Vec<IpAddress>, ErrorCode>> {
        let Some(dialing) = store.with(|mut names| names.get().0) else {
            return Ok(Err(ErrorCode::AccessDenied));
        };
        Ok(dialing.resolve(&name).await.map(|found| found.into_iter().map(IpAddress::from).collect()))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::outgoing::Secrets;

    fn dialing(rules: &[&str]) -> Dialing {
        let rules: Vec<HostRule> = rules.iter().map(|rule| serde_yaml::from_str(rule).unwrap()).collect();
        Dialing::new(Arc::new(Outgoing::new(
            "source s".into(),
            rules.clone(),
            rules,
            Secrets::default(),
            None,
        )))
    }

    fn connects(dialing: &Dialing, address: &str) -> bool {
        dialing.permits(address.parse().unwrap(), SocketAddrUse::TcpConnect)
    }

    #[test]
    fn only_what_is_granted_is_connected_to() {
        let dialing = dialing(&["tcp://127.0.0.1:1883", "tcp://8.8.8.8:1883"]);
        assert!(connects(&dialing, "127.0.0.1:1883"));
        assert!(connects(&dialing, "8.8.8.8:1883"));
        assert!(connects(&dialing, "[::ffff:8.8.8.8]:1883"));
        for other in ["127.0.0.1:1884", "127.0.0.2:1883", "8.8.4.4:1883", "[::1]:1883"] {
            assert!(!connects(&dialing, other), "{other}");
        }
        let denied = dialing.take_denied();
        assert!(denied[0].contains("tcp://127.0.0.1:1884 is not asked for"), "{denied:?}");
    }

    #[test]
    fn sockets_neither_listen_nor_speak_udp() {
        let dialing = dialing(&["tcp://127.0.0.1:1883"]);
        let address = "127.0.0.1:1883".parse().unwrap();
        for usage in
            [SocketAddrUse::TcpBind, SocketAddrUse::TcpListen, SocketAddrUse::UdpBind, SocketAddrUse::UdpSend]
        {
            assert!(!dialing.permits(address, usage), "{usage:?}");
        }
        assert!(dialing.permits("0.0.0.0:0".parse().unwrap(), SocketAddrUse::TcpBind));
    }

    #[tokio::test]
    async fn a_name_leads_only_to_what_is_granted() {
        let by_name = dialing(&["tcp://localhost:1883"]);
        assert!(matches!(by_name.resolve("localhost").await, Err(ErrorCode::AccessDenied)));
        assert!(by_name.take_denied()[0].contains("no address that is public"));
        assert!(matches!(by_name.resolve("other.example").await, Err(ErrorCode::AccessDenied)));
        assert!(!connects(&by_name, "127.0.0.1:1883"));
        let by_address = dialing(&["tcp://localhost:1883", "tcp://127.0.0.1:9"]);
        assert!(by_address.resolve("LOCALHOST").await.unwrap().contains(&"127.0.0.1".parse().unwrap()));
        assert!(connects(&by_address, "127.0.0.1:1883"));
        assert!(!connects(&by_address, "127.0.0.1:1884"));
    }
}
