//! Which addresses a server may have that others than the operator name: those of the public internet.
//!
//! A page, a redirect or a model must not lead a program into the network it stands in. Names are looked up here and
//! every answer is judged before anyone connects, so a name cannot be judged by one address and reached by another.

use std::{
    future::Future,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    vec,
};

use hyper_util::client::legacy::connect::dns::{GaiResolver, Name};
use tower::Service;

use crate::network::Network;

/// Whether the address is one of the public internet, by IANA's special-purpose registries (RFC 6890 and its updates).
/// One that carries another inside (IPv4-mapped, NAT64) is judged by that; 6to4 and Teredo never pass.
#[must_use]
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => is_public_v4(v4),
        IpAddr::V6(v6) => is_public_v6(v6),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    !matches!(
        (a, b, c),
        (0 | 10 | 127 | 224..=255, _, _) // this network, private, loopback, multicast and reserved
            | (100, 64..=127, _) // carrier-grade NAT
            | (169, 254, _) // link-local, the metadata services of clouds
            | (172, 16..=31, _)
            | (192, 0, 0 | 2) // protocol assignments, documentation
            | (192, 88, 99) // 6to4 relays
            | (192, 168, _)
            | (198, 18 | 19, _) // benchmarks
            | (198, 51, 100)
            | (203, 0, 113)
    )
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let [a, b, c, d, e, f, g, h] = address.segments();
    let inside = || {
        let [[p, q], [r, s]] = [g.to_be_bytes(), h.to_be_bytes()];
        Ipv4Addr::new(p, q, r, s)
    };
    match [a, b, c, d, e, f] {
        [0, 0, 0, 0, 0, 0xffff] | [0x64, 0xff9b, 0, 0, 0, 0] => is_public_v4(inside()),
        // Protocol assignments with Teredo, documentation, 6to4; outside 2000::/3 nothing is global unicast.
        [0x2001, 0..=0x1ff | 0xdb8, ..] | [0x2002, ..] | [0x3fff, 0..=0xfff, ..] => false,
        _ => (0x2000..=0x3fff).contains(&a),
    }
}

/// The host of a URI as an address; None where it is a name.
pub(crate) fn literal(host: &str) -> Option<IpAddr> {
    host.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

/// Which addresses a client connects to.
#[derive(Clone)]
pub(crate) enum Admits {
    All,
    /// Those of the public internet, and these.
    Public(Arc<[Network]>),
}

impl Admits {
    pub(crate) fn admits(&self, address: IpAddr) -> bool {
        match self {
            Self::All => true,
            Self::Public(also) => is_public(address) || also.iter().any(|network| network.holds(address)),
        }
    }
}

/// Addresses by name, for tests.
#[cfg(test)]
pub(crate) type Table = Arc<dyn Fn(&str) -> Vec<SocketAddr> + Send + Sync>;

/// Looks names up as the system does.
#[derive(Clone)]
pub(crate) struct Resolver {
    system: GaiResolver,
    /// Others are left out.
    admits: Admits,
    #[cfg(test)]
    table: Option<Table>,
}

impl Resolver {
    #[cfg(test)]
    pub(crate) fn with(self, table: Option<Table>) -> Self {
        Self { table, ..self }
    }

    pub(crate) fn new(admits: Admits) -> Self {
        Self {
            system: GaiResolver::new(),
            admits,
            #[cfg(test)]
            table: None,
        }
    }

    fn admitted(found: Vec<SocketAddr>, admits: &Admits) -> io::Result<vec::IntoIter<SocketAddr>> {
        let admitted: Vec<SocketAddr> = found.into_iter().filter(|address| admits.admits(address.ip())).collect();
        if admitted.is_empty() && matches!(admits, Admits::Public(_)) {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, NOT_PUBLIC));
        }
        Ok(admitted.into_iter())
    }
}

impl Service<Name> for Resolver {
    type Response = vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(ready!(self.system.poll_ready(cx)))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let admits = self.admits.clone();
        #[cfg(test)]
        if let Some(table) = &self.table {
            let found = table(name.as_str());
            return Box::pin(async move { Self::admitted(found, &admits) });
        }
        let looked_up = self.system.call(name);
        Box::pin(async move { Self::admitted(looked_up.await?.collect(), &admits) })
    }
}

/// Why a server is not asked; completes "cannot connect to X: …".
pub(crate) const NOT_PUBLIC: &str = "its address is not one of the public internet";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_inside_are_told_from_those_outside() {
        let inside = [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "127.0.0.1",
            "127.255.0.9",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.8",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.51.100.7",
            "203.0.113.9",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b:1::1",
            "fc00::1",
            "fd12::1",
            "fe80::1",
            "ff02::1",
            "2001:db8::1",
            "2001::1",
            "2002:7f00:1::",
            "3fff::1",
            "fec0::1",
        ];
        let outside = [
            "1.1.1.1",
            "8.8.8.8",
            "100.63.255.255",
            "100.128.0.1",
            "172.15.0.1",
            "172.32.0.1",
            "192.0.1.1",
            "198.20.0.1",
            "223.255.255.255",
            "::ffff:8.8.8.8",
            "64:ff9b::808:808",
            "2606:4700::1111",
            "2a00:1450::1",
            "2001:200::1",
        ];
        for address in inside {
            assert!(!is_public(address.parse().expect(address)), "{address}");
        }
        for address in outside {
            assert!(is_public(address.parse().expect(address)), "{address}");
        }
    }

    #[tokio::test]
    async fn a_name_that_leads_inside_is_not_resolved() {
        let localhost = || "localhost".parse::<Name>().expect("a name");
        let refused = Resolver::new(Admits::Public(Arc::default())).call(localhost()).await.expect_err("it leads here");
        assert_eq!(refused.kind(), io::ErrorKind::PermissionDenied);
        assert!(
            Resolver::new(Admits::All).call(localhost()).await.expect("it leads here").all(|a| a.ip().is_loopback())
        );
    }
}
