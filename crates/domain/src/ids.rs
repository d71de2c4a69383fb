//! Typed identifiers: a prefix that names the kind, then 26 characters that sort by time and, within
//! one process, in the order of making.

use serde::{Deserialize, Serialize};

use crate::clock::{Chance, Millis};

/// Crockford-like lower-case base32 without padding; used for tokens and ids.
pub(crate) fn base32(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
    let mut out = String::with_capacity(bytes.len().div_ceil(5) * 8);
    let (mut acc, mut bits) = (0_u32, 0_u32);
    for &b in bytes {
        acc = (acc << 8) | u32::from(b);
        bits += 8;
        while bits >= 5 {
            bits -= 5;
            out.push(ALPHABET[(acc >> bits) as usize & 31] as char);
        }
        acc &= (1 << bits) - 1;
    }
    if bits > 0 {
        out.push(ALPHABET[(acc << (5 - bits)) as usize & 31] as char);
    }
    out
}

/// The 26 characters after the prefix: 48 bits of time, 80 bits of `entropy`.
fn body(at: Millis, entropy: [u8; 10]) -> String {
    let ms = u64::try_from(at.0).unwrap_or(0);
    let mut raw = [0_u8; 16];
    raw[..6].copy_from_slice(&ms.to_be_bytes()[2..]);
    raw[6..].copy_from_slice(&entropy);
    base32(&raw)
}

/// What is wrong with a text that should be an id.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("not a {kind}: it must be {prefix}_ and 26 characters")]
pub struct BadId {
    kind: &'static str,
    prefix: &'static str,
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident = $prefix:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(std::sync::Arc<str>);

        impl $name {
            /// The prefix in front of the underscore.
            pub const PREFIX: &'static str = $prefix;

            /// A new id for something that came to be at `at`.
            #[must_use]
            pub fn new(at: Millis, chance: &Chance) -> Self {
                Self(format!("{}_{}", $prefix, body(at, chance.entropy())).into())
            }

            /// The same id for the same `seed` and time: a retry finds what the first try made.
            #[must_use]
            pub fn derived(at: Millis, seed: &[&[u8]]) -> Self {
                use sha2::Digest;
                let mut hash = sha2::Sha256::new();
                for part in seed {
                    hash.update((part.len() as u64).to_be_bytes());
                    hash.update(part);
                }
                let digest = hash.finalize();
                let mut entropy = [0_u8; 10];
                entropy.copy_from_slice(&digest[..10]);
                Self(format!("{}_{}", $prefix, body(at, entropy)).into())
            }

            /// The text that no id of this time or later comes before.
            #[must_use]
            pub fn first_at(at: Millis) -> String {
                format!("{}_{}", $prefix, body(at, [0; 10]))
            }

            /// The id as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl std::str::FromStr for $name {
            type Err = BadId;
            fn from_str(text: &str) -> Result<Self, BadId> {
                let bad = BadId { kind: stringify!($name), prefix: $prefix };
                let rest = text.strip_prefix(concat!($prefix, "_")).ok_or(bad)?;
                if rest.len() == 26 && rest.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()) {
                    Ok(Self(text.into()))
                } else {
                    Err(BadId { kind: stringify!($name), prefix: $prefix })
                }
            }
        }

        impl TryFrom<String> for $name {
            type Error = BadId;
            fn try_from(text: String) -> Result<Self, BadId> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0.as_ref().to_owned()
            }
        }
    )*};
}

ids! {
    /// A customer of the installation.
    TenantId = "ten";
    /// A person at a tenant who can sign in.
    MemberId = "mem";
    /// A person whom a tenant writes to.
    ContactId = "con";
    /// One email address joined to one IM address.
    MappingId = "map";
    /// One pair of parties, one thread.
    ConversationId = "cnv";
    /// One mail or one instant message.
    MessageId = "msg";
    /// A file that came with a message.
    AttachmentId = "att";
    /// One request with a customer, a service and parameters.
    TransactionId = "txn";
    /// One message on its way to one person over one medium.
    DeliveryId = "dlv";
    /// One mail in the outbound queue.
    OutboundId = "out";
    /// One line of the event stream.
    EventId = "evt";
    /// One line of the audit log.
    AuditId = "aud";
    /// One API key.
    KeyId = "key";
    /// One signed-in browser.
    SessionId = "ses";
    /// One link to a conversation that travels with a message.
    LinkId = "lnk";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_sort_by_time_and_survive_text() {
        let chance = Chance::seeded([7; 32]);
        let early = MessageId::new(Millis(1_000), &chance);
        let late = MessageId::new(Millis(2_000), &chance);
        assert!(early < late);
        assert_eq!(early.as_str().parse::<MessageId>(), Ok(early));
        assert!("msg_short".parse::<MessageId>().is_err());
        assert!(late.as_str().parse::<DeliveryId>().is_err());
    }

    #[test]
    fn ids_of_one_millisecond_sort_in_the_order_of_making() {
        let chance = Chance::seeded([7; 32]);
        let made: Vec<_> =
            (0..300).map(|_| TransactionId::new(Millis(1_700_000_000_000), &chance)).collect();
        assert!(made.is_sorted());
    }

    #[test]
    fn derived_ids_repeat_and_do_not_run_together() {
        let at = Millis(5);
        assert_eq!(MessageId::derived(at, &[b"ab", b"c"]), MessageId::derived(at, &[b"ab", b"c"]));
        assert_ne!(MessageId::derived(at, &[b"ab", b"c"]), MessageId::derived(at, &[b"a", b"bc"]));
    }
}
