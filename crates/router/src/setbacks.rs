//! Deliveries whose next step could not be taken: they are tried again, less and less often, so that
//! one of them neither fills the log nor keeps the loop busy.

use std::collections::HashMap;

use isthmus_domain::clock::Millis;
use isthmus_store::rows;

/// After the first failure; it doubles with each.
const FIRST_MS: i64 = 1_000;
/// The longest pause.
const LONGEST_MS: i64 = 3_600_000;
/// Deliveries that are remembered; beyond that all are tried at every look.
const MOST: usize = 10_000;

#[derive(Default)]
pub(crate) struct Setbacks(HashMap<String, (u32, Millis)>);

impl Setbacks {
    /// Takes those out whose pause is not over.
    pub(crate) fn hold_back(&self, due: &mut Vec<rows::Delivery>, now: Millis) {
        if !self.0.is_empty() {
            due.retain(|row| self.0.get(&row.id).is_none_or(|(_, until)| *until <= now));
        }
    }

    pub(crate) fn failed(&mut self, id: String, now: Millis) {
        if self.0.len() >= MOST {
            self.0.clear();
        }
        let (times, until) = self.0.entry(id).or_insert((0, now));
        *until = now.plus_ms((FIRST_MS << (*times).min(20)).min(LONGEST_MS));
        *times += 1;
    }

    pub(crate) fn moved(&mut self, id: &str) {
        self.0.remove(id);
    }
}
