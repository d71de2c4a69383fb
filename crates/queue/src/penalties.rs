//! Who went wrong too often lately, by key, in memory. Unlike a rate limit it costs nothing to be
//! right.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
};

use isthmus_domain::clock::Millis;

/// How long failures count.
const WINDOW_MS: i64 = 60_000;
/// Keys that are remembered.
const KEYS: usize = 100_000;

#[derive(Debug, Default)]
struct Seen {
    /// When the first failure of a key was, and how many followed within the window.
    keys: HashMap<String, (Millis, u32)>,
    /// When the keys were last looked through for old ones.
    swept: Option<Millis>,
}

/// Counts failures.
#[derive(Clone, Debug)]
pub struct Penalties {
    most: u32,
    seen: Arc<Mutex<Seen>>,
}

impl Penalties {
    /// So many failures a minute are borne.
    #[must_use]
    pub fn after(most: u32) -> Self {
        Self { most, seen: Arc::default() }
    }

    /// Whether this key has to wait.
    #[must_use]
    pub fn holds(&self, key: &str, now: Millis) -> bool {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let counts =
            |(since, n): &(Millis, u32)| now.since_ms(*since) < WINDOW_MS && *n >= self.most;
        seen.keys.get(key).is_some_and(counts)
    }

    /// Counts a failure.
    pub fn failed(&self, key: &str, now: Millis) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.keys.len() >= KEYS && !seen.keys.contains_key(key) {
            // At most once a second: whoever brings ever new keys shall not cost us more than that.
            if seen.swept.is_none_or(|at| now.since_ms(at) >= 1_000) {
                seen.swept = Some(now);
                seen.keys.retain(|_, (since, _)| now.since_ms(*since) < WINDOW_MS);
            }
            if seen.keys.len() >= KEYS {
                return;
            }
        }
        let entry = seen.keys.entry(key.to_owned()).or_insert((now, 0));
        if now.since_ms(entry.0) >= WINDOW_MS {
            *entry = (now, 0);
        }
        entry.1 = entry.1.saturating_add(1);
    }
}

/// The key of a peer: its address, or for IPv6 the network of 64 bits that one customer has.
#[must_use]
pub fn peer_key(peer: IpAddr) -> String {
    match peer.to_canonical() {
        IpAddr::V4(v4) => v4.to_string(),
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            format!("{a:x}:{b:x}:{c:x}:{d:x}::/64")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_failures_count_and_only_for_a_minute() {
        let penalties = Penalties::after(2);
        let at = |s: i64| Millis(s * 1_000);
        assert!(!penalties.holds("a", at(0)));
        penalties.failed("a", at(0));
        assert!(!penalties.holds("a", at(1)));
        penalties.failed("a", at(1));
        assert!(penalties.holds("a", at(2)) && !penalties.holds("b", at(2)));
        assert!(!penalties.holds("a", at(60)));
    }

    #[test]
    fn ever_new_keys_take_no_more_memory() {
        let penalties = Penalties::after(1);
        for n in 0..KEYS + 10 {
            penalties.failed(&n.to_string(), Millis(0));
        }
        assert!(penalties.holds("7", Millis(1)));
        penalties.failed("later", Millis(90_000));
        assert!(penalties.holds("later", Millis(90_001)) && !penalties.holds("7", Millis(90_001)));
    }

    #[test]
    fn one_customers_network_is_one_peer() {
        let key = |text: &str| peer_key(text.parse().expect("an address"));
        assert_eq!(key("2001:db8:1:2::1"), key("2001:db8:1:2:ffff::9"));
        assert_ne!(key("2001:db8:1:2::1"), key("2001:db8:1:3::1"));
        assert_eq!(key("::ffff:192.0.2.1"), key("192.0.2.1"));
    }
}
