//! Time and chance as parameters: nothing below the binary reads the ambient ones.

use std::sync::{
    Mutex,
    atomic::{AtomicU32, Ordering},
};

use rand::{RngCore, SeedableRng, rngs::StdRng};
use serde::{Deserialize, Serialize};

/// A point in time in milliseconds since the Unix epoch, UTC.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Millis(pub i64);

impl Millis {
    /// This instant moved by `ms` milliseconds, saturating at the ends of time.
    #[must_use]
    pub fn plus_ms(self, ms: i64) -> Self {
        Self(self.0.saturating_add(ms))
    }

    /// Milliseconds from `earlier` until this instant; negative if it lies before.
    #[must_use]
    pub fn since_ms(self, earlier: Self) -> i64 {
        self.0.saturating_sub(earlier.0)
    }

    /// RFC 3339 in UTC with milliseconds, as the API shows every instant.
    #[must_use]
    pub fn rfc3339(self) -> String {
        self.timestamp().strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
    }

    /// The same instant as a `jiff` timestamp, clamped to the range that jiff can show.
    #[must_use]
    pub fn timestamp(self) -> jiff::Timestamp {
        jiff::Timestamp::from_millisecond(self.0).unwrap_or(if self.0 < 0 {
            jiff::Timestamp::MIN
        } else {
            jiff::Timestamp::MAX
        })
    }
}

/// Where "now" comes from.
pub trait Clock: Send + Sync {
    /// The present instant.
    fn now(&self) -> Millis;
}

/// A clock that tests move by hand.
#[derive(Debug, Default)]
pub struct ManualClock(std::sync::atomic::AtomicI64);

impl ManualClock {
    /// A clock that stands at `at`.
    #[must_use]
    pub fn at(at: Millis) -> Self {
        Self(at.0.into())
    }

    /// Moves the clock forward by `ms` milliseconds.
    pub fn advance_ms(&self, ms: i64) {
        self.0.fetch_add(ms, std::sync::atomic::Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Millis {
        Millis(self.0.load(std::sync::atomic::Ordering::SeqCst))
    }
}

/// A seeded source of randomness that can be shared between threads.
#[derive(Debug)]
pub struct Chance {
    rng: Mutex<StdRng>,
    made: AtomicU32,
}

impl Chance {
    /// A source that repeats itself for the same seed.
    #[must_use]
    pub fn seeded(seed: [u8; 32]) -> Self {
        Self { rng: Mutex::new(StdRng::from_seed(seed)), made: AtomicU32::new(0) }
    }

    /// Fills `bytes` with random octets.
    pub fn fill(&self, bytes: &mut [u8]) {
        // A poisoned lock only means that another thread panicked between two draws:
        // the generator's state is still a valid one.
        let mut rng = self.rng.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        rng.fill_bytes(bytes);
    }

    /// Random octets behind three that count up, so that ids made within one millisecond sort in
    /// the order of making.
    pub(crate) fn entropy(&self) -> [u8; 10] {
        let mut entropy = [0_u8; 10];
        let made = self.made.fetch_add(1, Ordering::Relaxed);
        entropy[..3].copy_from_slice(&made.to_be_bytes()[1..]);
        self.fill(&mut entropy[3..]);
        entropy
    }

    /// A random token of 160 bits in lower-case base32, safe in a mail address and in a URL.
    #[must_use]
    pub fn token(&self) -> String {
        let mut raw = [0_u8; 20];
        self.fill(&mut raw);
        crate::ids::base32(&raw)
    }

    /// One with 48 bits of time in front of 152 random ones, so that tokens made one after the
    /// other lie side by side in an index. As hard to guess, but it tells when it was made.
    #[must_use]
    pub fn token_at(&self, now: Millis) -> String {
        let ms = u64::try_from(now.0).unwrap_or(0);
        let mut raw = [0_u8; 25];
        raw[..6].copy_from_slice(&ms.to_be_bytes()[2..]);
        self.fill(&mut raw[6..]);
        crate::ids::base32(&raw)
    }

    /// A decimal one-time code of `digits` digits (at most 9).
    #[must_use]
    pub fn code(&self, digits: u32) -> String {
        let mut raw = [0_u8; 8];
        self.fill(&mut raw);
        let digits = digits.min(9);
        let code = u64::from_le_bytes(raw) % 10_u64.pow(digits);
        format!("{code:0width$}", width = digits as usize)
    }
}
