#![doc = include_str!("../README.md")]

pub mod accept;
pub mod api;
mod contact_end;
mod file_hosts;
mod held;
pub mod im;
mod im_files;
mod im_lanes;
#[cfg(test)]
mod im_tests;
pub mod pages;
pub mod sign_in;
pub mod smtp;
mod smtp_room;
mod vcard;
pub mod web;
pub mod webchat;

use std::{collections::HashMap, path::PathBuf, sync::Arc};

use isthmus_domain::{
    clock::{Chance, Clock},
    signed::SignedLinks,
};
use isthmus_im::ImNetwork;
use isthmus_queue::{Bus, Queue, Signals};
use isthmus_store::Store;

/// What every door works with; built by the binary.
pub struct Gateway {
    /// The truth.
    pub store: Store,
    /// Where accepted transactions are hinted at.
    pub queue: Queue,
    /// Where changes are heard of.
    pub bus: Bus,
    /// Where the router hears what the networks noticed.
    pub signals: Signals,
    /// Instant-messaging networks by name.
    pub networks: HashMap<&'static str, Arc<dyn ImNetwork>>,
    /// Makes and reads signed links.
    pub links: SignedLinks,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Chance.
    pub chance: Arc<Chance>,
    /// Names and limits.
    pub config: GatewayConfig,
}

/// Names and limits of the doors.
#[derive(Clone, Debug)]
pub struct GatewayConfig {
    /// Where the pages are reached from outside, without a slash at the end.
    pub public_url: String,
    /// Name in the SMTP greeting.
    pub hostname: String,
    /// The name of this installation in its loop header.
    pub installation: String,
    /// Networks whose mail is believed without proof, as `address/bits`.
    pub trusted_networks: Vec<(std::net::IpAddr, u8)>,
    /// Folder for what is on its way in.
    pub spool: PathBuf,
    /// Outbound mail is kept and shown at `/dev/mail`.
    pub keeps_mail: bool,
    /// Hosts whose files are fetched for instant messages, beside the sender's own public server:
    /// `HOST:PORT`, or `HOST` for the scheme's own port.
    pub file_hosts: Vec<String>,
    /// The sample logins of the demo, shown on the sign-in page.
    pub demo_logins: Vec<(String, String)>,
}

impl GatewayConfig {
    /// Whether mail from this peer is believed as it is.
    #[must_use]
    pub fn trusts(&self, peer: std::net::IpAddr) -> bool {
        let peer = peer.to_canonical();
        self.trusted_networks.iter().any(|(network, bits)| contains(*network, *bits, peer))
    }
}

fn contains(network: std::net::IpAddr, bits: u8, peer: std::net::IpAddr) -> bool {
    use std::net::IpAddr::{V4, V6};
    match (network, peer) {
        (V4(n), V4(p)) => {
            let shift = 32 - u32::from(bits.min(32));
            u32::from(n).checked_shr(shift).unwrap_or(0)
                == u32::from(p).checked_shr(shift).unwrap_or(0)
        }
        (V6(n), V6(p)) => {
            let shift = 128 - u32::from(bits.min(128));
            u128::from(n).checked_shr(shift).unwrap_or(0)
                == u128::from(p).checked_shr(shift).unwrap_or(0)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::contains;

    #[test]
    fn a_network_contains_its_own_addresses_only() {
        let net = "127.0.0.0".parse().expect("an address");
        assert!(contains(net, 8, "127.9.9.9".parse().expect("an address")));
        assert!(!contains(net, 8, "128.0.0.1".parse().expect("an address")));
        assert!(contains(net, 0, "9.9.9.9".parse().expect("an address")));
        assert!(!contains(net, 8, "::1".parse().expect("an address")));
    }
}
