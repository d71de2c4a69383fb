//! Whose clients send receipts. Only where none ever came does a short silence mean that a message
//! has arrived; from the others the receipt is waited for, which a slow client sends late.

use std::{
    collections::HashSet,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// Addresses that are remembered. They are learned anew from the next receipt.
const MOST: usize = 100_000;

/// IM addresses from which receipts come, as far as this process has seen.
#[derive(Debug, Default)]
pub struct Receipts(Mutex<HashSet<String>>);

impl Receipts {
    fn lock(&self) -> MutexGuard<'_, HashSet<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One came.
    pub(crate) fn came_from(&self, address: &str) {
        let mut known = self.lock();
        if known.contains(address) {
            return;
        }
        if known.len() >= MOST {
            known.clear();
        }
        known.insert(address.to_owned());
    }

    /// One was waited for in vain: another client, maybe.
    pub(crate) fn missed_from(&self, address: &str) {
        self.lock().remove(address);
    }

    /// Whether receipts come from there.
    pub(crate) fn come_from(&self, address: &str) -> bool {
        self.lock().contains(address)
    }
}
