//! Rate limits by key, in memory.

use std::{
    collections::HashMap,
    num::NonZeroU32,
    sync::{Arc, Mutex, PoisonError},
};

use isthmus_domain::clock::Millis;

/// Keys that are remembered at once.
const KEYS: usize = 100_000;

#[derive(Debug, Default)]
struct Seen {
    /// Until when, in microseconds, what a key did has used up its share.
    used_until_us: HashMap<String, i64>,
    /// When the keys were last looked through for those that have all of their share again.
    swept: Option<Millis>,
}

/// Counts what each key does and says when it is too much.
#[derive(Clone, Debug)]
pub struct RateLimits {
    /// What a key may use at once.
    share_us: i64,
    /// How much of it one use takes; time gives it back.
    use_us: i64,
    seen: Arc<Mutex<Seen>>,
}

impl RateLimits {
    /// So many a second for each key, with bursts of as many.
    #[must_use]
    pub fn per_second(n: NonZeroU32) -> Self {
        Self::within(1_000_000, n)
    }

    /// So many a minute for each key, with bursts of as many.
    #[must_use]
    pub fn per_minute(n: NonZeroU32) -> Self {
        Self::within(60_000_000, n)
    }

    fn within(share_us: i64, n: NonZeroU32) -> Self {
        Self { share_us, use_us: share_us / i64::from(n.get()), seen: Arc::default() }
    }

    /// Whether this key may go on. Only so many keys are remembered; a new one has to wait while
    /// all of them are in use.
    #[must_use]
    pub fn allows(&self, key: &str, now: Millis) -> bool {
        let now_us = now.0.saturating_mul(1_000);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(until) = seen.used_until_us.get_mut(key) {
            // Nobody waits for longer than it takes to get all back, also if the clock is set back.
            *until = (*until).clamp(now_us, now_us + self.share_us);
            let allowed = *until + self.use_us <= now_us + self.share_us;
            if allowed {
                *until += self.use_us;
            }
            return allowed;
        }
        if seen.used_until_us.len() >= KEYS {
            // At most once a second: whoever brings ever new keys shall not cost us more than that.
            if seen.swept.is_none_or(|at| now.since_ms(at).abs() >= 1_000) {
                seen.swept = Some(now);
                seen.used_until_us.retain(|_, until| *until > now_us);
            }
            if seen.used_until_us.len() >= KEYS {
                return false;
            }
        }
        seen.used_until_us.insert(key.to_owned(), now_us + self.use_us);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn per_second(n: u32) -> RateLimits {
        RateLimits::per_second(NonZeroU32::new(n).expect("not zero"))
    }

    #[test]
    fn a_key_has_its_share_and_gets_it_back_with_time() {
        let limits = per_second(4);
        let allowed = |key, at| (0..10).filter(|_| limits.allows(key, Millis(at))).count();
        assert_eq!(allowed("a", 5_000), 4);
        assert_eq!(allowed("b", 5_000), 4, "another key has its own");
        assert_eq!((allowed("a", 5_249), allowed("a", 5_250)), (0, 1));
        assert_eq!(allowed("a", 5_750), 2);
        assert_eq!(allowed("a", 60_000), 4, "no more than its share is saved up");
        assert_eq!(allowed("a", 1_000), 0, "the clock was set back");
        assert_eq!(allowed("a", 2_000), 4, "and a second later all is well again");
    }

    #[test]
    fn ever_new_keys_take_no_more_memory_and_are_not_looked_through_each_time() {
        let limits = per_second(1);
        let keys = |limits: &RateLimits| limits.seen.lock().expect("no panic").used_until_us.len();
        assert!((0..KEYS).all(|n| limits.allows(&n.to_string(), Millis(0))));
        // All of them are in use: looking through them frees nothing, and would take hours here.
        assert!((KEYS..3 * KEYS).all(|n| !limits.allows(&n.to_string(), Millis(999))));
        assert_eq!(keys(&limits), KEYS);
        assert!(!limits.allows("7", Millis(999)), "a known key is still counted");
        assert!(!limits.allows("new", Millis(1_998)), "not a second has passed");
        assert!(limits.allows("new", Millis(1_999)), "the others are forgotten");
        assert_eq!(keys(&limits), 1);
    }
}
