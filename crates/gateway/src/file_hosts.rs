//! Whom we call for the files of instant messages: the address is resolved once and checked, and
//! the connection goes to the address that was checked.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use url::{Host, Url};

/// On whose word a host is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Whose {
    /// The sender's own server: only where everybody can reach it.
    Sender,
    /// The operator named it, host and port, wherever it lies.
    Named,
}

/// Whether the operator named this host and port: `HOST:PORT`, or `HOST` for the scheme's own port.
pub(crate) fn is_named(named: &[String], url: &Url) -> bool {
    let (Some(host), Some(port)) = (url.host_str(), url.port_or_known_default()) else {
        return false;
    };
    let full = format!("{host}:{port}");
    named.iter().any(|n| n.eq_ignore_ascii_case(&full) || (n == host && url.port().is_none()))
}

/// A client that reaches this address's host and nobody else, follows no redirection and uses no
/// proxy.
///
/// # Errors
/// Why it must not be called, or cannot be found.
pub(crate) async fn client(url: &Url, whose: Whose) -> Result<reqwest::Client, String> {
    let found = addresses(url, whose).await?;
    let mut builder =
        reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).no_proxy();
    if let Some(Host::Domain(name)) = url.host() {
        builder = builder.resolve_to_addrs(name, &found);
    }
    builder.build().map_err(|e| e.to_string())
}

/// Where the host lies, if all of it may be called: one bad address among good ones is a name that
/// is about to be rebound.
async fn addresses(url: &Url, whose: Whose) -> Result<Vec<SocketAddr>, String> {
    let port = url.port_or_known_default().unwrap_or(80);
    let found: Vec<SocketAddr> = match url.host() {
        Some(Host::Ipv4(ip)) => vec![(ip, port).into()],
        Some(Host::Ipv6(ip)) => vec![(ip, port).into()],
        Some(Host::Domain(name)) => {
            tokio::net::lookup_host((name, port)).await.map_err(|e| e.to_string())?.collect()
        }
        None => vec![],
    };
    let may = |a: &SocketAddr| whose == Whose::Named || is_public(a.ip());
    if found.is_empty() || !found.iter().all(may) {
        return Err("it lies at an address of a private network".to_owned());
    }
    Ok(found)
}

/// Whether an address is one of the public internet: not loopback, private, link-local, unique
/// local, shared, reserved or multicast (RFC 6890), in whatever form it is written.
fn is_public(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => is_public_v4(ip),
        IpAddr::V6(ip) => is_public_v6(ip),
    }
}

fn is_public_v4(ip: Ipv4Addr) -> bool {
    let [a, b, c, _] = ip.octets();
    let special = ip.is_private()
        || ip.is_loopback()
        || ip.is_link_local()
        || ip.is_documentation()
        || matches!(
            (a, b, c),
            (0 | 224.., _, _) | (100, 64..=127, _) | (192, 0, 0) | (192, 88, 99)
        )
        || matches!((a, b), (198, 18 | 19));
    !special
}

fn is_public_v6(ip: Ipv6Addr) -> bool {
    let parts = ip.segments();
    let embedded = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        is_public_v4(Ipv4Addr::new(a, b, c, d))
    };
    match parts {
        // NAT64 (RFC 6052) leads to the IPv4 address that it holds.
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => embedded(high, low),
        // 6to4 (RFC 3056) and Teredo (RFC 4380) are tunnels to anywhere; documentation is nowhere.
        [0x2002, ..] | [0x2001, 0 | 0xdb8, ..] => false,
        // Global unicast (RFC 4291 section 2.4, as far as it is given out).
        [first, ..] => first & 0xe000 == 0x2000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).expect("an address")
    }

    #[test]
    fn abuse_outgoing_49_private_addresses_are_known_in_every_form() {
        for private in [
            "127.0.0.1",
            "127.9.9.9",
            "0.0.0.0",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.0.1",
            "169.254.169.254",
            "100.64.0.1",
            "192.0.0.1",
            "198.18.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::127.0.0.1",
            "fe80::1",
            "fec0::1",
            "fd00::1",
            "ff02::1",
            "64:ff9b::7f00:1",
            "2002:7f00:1::",
            "2001:0:1::",
            "2001:db8::1",
        ] {
            assert!(!is_public(private.parse().expect("an address")), "{private}");
        }
        for public in ["9.9.9.9", "172.32.0.1", "100.128.0.1", "2620:fe::fe", "64:ff9b::909:909"] {
            assert!(is_public(public.parse().expect("an address")), "{public}");
        }
    }

    #[tokio::test]
    async fn abuse_outgoing_49_a_private_address_is_not_called_unless_it_is_named() {
        for private in [
            "http://127.0.0.1/x",
            "http://2130706433/x",
            "http://0x7f.1/x",
            "http://[::1]/x",
            "http://[::ffff:127.0.0.1]/x",
            "http://localhost/x",
            "http://169.254.169.254/x",
        ] {
            let refused = addresses(&url(private), Whose::Sender).await;
            assert!(refused.is_err(), "{private}");
            assert!(addresses(&url(private), Whose::Named).await.is_ok(), "{private}");
        }
        assert!(addresses(&url("http://9.9.9.9/x"), Whose::Sender).await.is_ok());
    }

    #[test]
    fn abuse_outgoing_49_the_operator_names_host_and_port() {
        let named = vec!["127.0.0.1:5280".to_owned(), "files.test".to_owned()];
        for good in ["http://127.0.0.1:5280/a", "https://files.test/a", "http://files.test/a"] {
            assert!(is_named(&named, &url(good)), "{good}");
        }
        for bad in ["http://127.0.0.1:5281/a", "http://127.0.0.1/a", "https://files.test:8443/a"] {
            assert!(!is_named(&named, &url(bad)), "{bad}");
        }
    }
}
