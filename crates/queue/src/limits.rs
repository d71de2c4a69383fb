//! Rate limits by key, in memory.

use std::{num::NonZeroU32, sync::Arc};

use governor::{DefaultKeyedRateLimiter, Quota};

/// Counts what each key does and says when it is too much.
#[derive(Clone)]
pub struct RateLimits(Arc<DefaultKeyedRateLimiter<String>>);

impl std::fmt::Debug for RateLimits {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RateLimits")
    }
}

impl RateLimits {
    /// So many a second for each key, with bursts of as many.
    #[must_use]
    pub fn per_second(n: NonZeroU32) -> Self {
        Self(Arc::new(DefaultKeyedRateLimiter::keyed(Quota::per_second(n))))
    }

    /// So many a minute for each key, with bursts of as many.
    #[must_use]
    pub fn per_minute(n: NonZeroU32) -> Self {
        Self(Arc::new(DefaultKeyedRateLimiter::keyed(Quota::per_minute(n))))
    }

    /// Whether this key may go on; the number of keys is kept in bounds.
    #[must_use]
    pub fn allows(&self, key: &str) -> bool {
        if self.0.len() > 100_000 {
            self.0.retain_recent();
        }
        self.0.check_key(&key.to_owned()).is_ok()
    }
}
