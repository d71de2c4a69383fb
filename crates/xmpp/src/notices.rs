//! Remembers who was told something lately, so that they are not told with every line.

use std::{collections::HashMap, sync::Mutex};

use isthmus_domain::{address::ImAddress, clock::Millis};

use crate::lock;

/// How long a notice holds.
const HOLDS_MS: i64 = 10 * 60 * 1_000;
/// People remembered; when there are more, all are forgotten and may be told again.
const PEOPLE_MAX: usize = 10_000;

/// Who was told, and when.
#[derive(Default)]
pub(crate) struct Notices(Mutex<HashMap<(String, ImAddress), Millis>>);

impl Notices {
    /// Whether `who` is to be told now; they count as told then.
    pub(crate) fn is_due(&self, bridge_domain: &str, who: &ImAddress, now: Millis) -> bool {
        let mut told = lock(&self.0);
        let key = (bridge_domain.to_owned(), who.clone());
        if told.get(&key).is_some_and(|at| now.since_ms(*at) < HOLDS_MS) {
            return false;
        }
        if told.len() >= PEOPLE_MAX {
            told.retain(|_, at| now.since_ms(*at) < HOLDS_MS);
            if told.len() >= PEOPLE_MAX {
                told.clear();
            }
        }
        told.insert(key, now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_told_once_in_ten_minutes_and_memory_is_bounded() {
        let notices = Notices::default();
        let who = |n: usize| ImAddress::parse(&format!("xmpp:u{n}@chat.test")).expect("valid");
        assert!(notices.is_due("a", &who(0), Millis(0)));
        assert!(!notices.is_due("a", &who(0), Millis(HOLDS_MS - 1)));
        assert!(notices.is_due("b", &who(0), Millis(1)));
        assert!(notices.is_due("a", &who(0), Millis(HOLDS_MS)));
        for n in 0..=PEOPLE_MAX {
            notices.is_due("a", &who(n), Millis(HOLDS_MS));
        }
        assert!(lock(&notices.0).len() <= PEOPLE_MAX);
    }
}
