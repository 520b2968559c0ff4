//! How many requests one client may send.

use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use axum::http::HeaderMap;
use governor::clock::{Clock, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};

use crate::config::RateLimit;

/// Clients that are remembered at most. Past it those without a debt are forgotten, and if that doesn't help, all are.
const MAX_CLIENTS: usize = 65_536;

/// Requests between two looks at how many clients are remembered.
const SWEEP_EVERY: u32 = 4096;

pub struct ClientLimit {
    limiter: DefaultKeyedRateLimiter<IpAddr>,
    clock: DefaultClock,
    requests: AtomicU32,
    trusted_proxies: Vec<IpAddr>,
}

impl ClientLimit {
    pub fn new(limit: &RateLimit, trusted_proxies: Vec<IpAddr>) -> Self {
        let per_second = NonZeroU32::new(limit.per_second).unwrap_or(NonZeroU32::MIN);
        let burst = NonZeroU32::new(limit.burst).unwrap_or(NonZeroU32::MIN);
        Self {
            limiter: RateLimiter::keyed(Quota::per_second(per_second).allow_burst(burst)),
            clock: DefaultClock::default(),
            requests: AtomicU32::new(0),
            trusted_proxies,
        }
    }

    /// Counts one request of the client behind `peer`. Err: how long it should wait.
    pub fn admit(&self, peer: IpAddr, headers: &HeaderMap) -> Result<(), Duration> {
        if self.requests.fetch_add(1, Ordering::Relaxed).is_multiple_of(SWEEP_EVERY) {
            self.sweep();
        }
        let client = bucket(self.client(peer, headers));
        self.limiter.check_key(&client).map_err(|until| until.wait_time_from(self.clock.now()))
    }

    fn sweep(&self) {
        if self.limiter.len() > MAX_CLIENTS {
            self.limiter.retain_recent();
            self.limiter.shrink_to_fit();
        }
    }

    /// The address that the nearest untrusted hop came from: the last of X-Forwarded-For that is no proxy of ours.
    fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        if !self.trusted_proxies.contains(&peer) {
            return peer;
        }
        let forwarded = headers.get_all("x-forwarded-for").iter().filter_map(|value| value.to_str().ok());
        let hops: Vec<IpAddr> =
            forwarded.flat_map(|value| value.split(',')).filter_map(|hop| hop.trim().parse().ok()).collect();
        hops.into_iter().rev().find(|hop| !self.trusted_proxies.contains(hop)).unwrap_or(peer)
    }
}

/// One customer of IPv6 has a /64 to send from.
fn bucket(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        v4 => v4,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn limit(per_second: u32, proxies: &[&str]) -> ClientLimit {
        let proxies = proxies.iter().map(|proxy| proxy.parse().unwrap()).collect();
        ClientLimit::new(&RateLimit { per_second, burst: per_second }, proxies)
    }

    fn forwarded(hops: &str) -> HeaderMap {
        [(axum::http::HeaderName::from_static("x-forwarded-for"), hops.parse().unwrap())]
            .into_iter()
            .collect()
    }

    #[test]
    fn one_client_does_not_use_up_anothers() {
        let limit = limit(2, &[]);
        let (a, b) = ("10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap());
        let none = HeaderMap::new();
        assert_eq!([a, a, a, b].map(|client| limit.admit(client, &none).is_ok()), [true, true, false, true]);
    }

    #[test]
    fn forwarded_addresses_count_from_trusted_proxies_alone() {
        let limit = limit(2, &["10.0.0.9"]);
        let (peer, proxy) = ("10.0.0.1".parse().unwrap(), "10.0.0.9".parse().unwrap());
        assert_eq!(limit.client(peer, &forwarded("1.2.3.4")), peer);
        let expected: IpAddr = "5.6.7.8".parse().unwrap();
        assert_eq!(limit.client(proxy, &forwarded("1.2.3.4, 5.6.7.8, 10.0.0.9")), expected);
        assert_eq!(limit.client(proxy, &forwarded("nonsense")), proxy);
    }

    #[test]
    fn an_ipv6_client_is_its_prefix() {
        let bucket = |text: &str| super::bucket(text.parse().unwrap());
        assert_eq!(bucket("2001:db8:1:2:3::1"), bucket("2001:db8:1:2:ffff::9"));
        assert_ne!(bucket("2001:db8:1:2::1"), bucket("2001:db8:1:3::1"));
        assert_eq!(bucket("::ffff:10.0.0.1"), bucket("10.0.0.1"));
    }
}
