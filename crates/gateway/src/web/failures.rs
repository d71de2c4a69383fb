//! Wrong passwords, counted by key and minute. What succeeds is given back, so that nobody is kept
//! out by signing in often.

use std::{collections::HashMap, sync::Mutex};

use isthmus_domain::clock::Millis;

use crate::webchat::lock;

const WINDOW_MS: i64 = 60_000;
/// Keys of one minute; beyond them a new one is refused.
const KEYS: usize = 100_000;

/// Attempts that failed, or are under way, in the current minute.
#[derive(Default)]
pub(crate) struct Failures(Mutex<(i64, HashMap<String, u32>)>);

impl Failures {
    /// Counts an attempt under every key, unless one of them has had `most` already.
    pub(crate) fn begin(&self, keys: &[(String, u32)], now: Millis) -> bool {
        let mut minute = lock(&self.0);
        if minute.0 != now.0 / WINDOW_MS {
            *minute = (now.0 / WINDOW_MS, HashMap::new());
        }
        let counts = &mut minute.1;
        let full = keys.iter().any(|(key, most)| match counts.get(key) {
            Some(count) => count >= most,
            None => counts.len() >= KEYS,
        });
        if !full {
            for (key, _) in keys {
                *counts.entry(key.clone()).or_default() += 1;
            }
        }
        !full
    }

    /// It was the right password.
    pub(crate) fn give_back(&self, keys: &[(String, u32)]) {
        let mut minute = lock(&self.0);
        for (key, _) in keys {
            if let Some(count) = minute.1.get_mut(key) {
                *count = count.saturating_sub(1);
            }
        }
    }
}
