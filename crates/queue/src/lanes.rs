//! Hints that transactions wait, in one lane a tenant, served in turn.

use std::{
    any::Any,
    collections::{HashMap, HashSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;

/// Hints kept for one tenant. What does not fit is found in the database later.
const LANE: usize = 20_000;

/// A transaction waits to be run.
#[derive(Clone)]
pub struct Hint {
    /// Whose lane.
    pub tenant: Arc<str>,
    /// Which transaction.
    pub transaction: String,
    /// What the sender has in memory anyway and saves a look-up; a broker drops it.
    pub carried: Option<Arc<dyn Any + Send + Sync>>,
}

impl std::fmt::Debug for Hint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hint").field("transaction", &self.transaction).finish_non_exhaustive()
    }
}

#[derive(Default)]
struct Lanes {
    lanes: HashMap<Arc<str>, VecDeque<Hint>>,
    /// Tenants with something in their lane, in the order in which they are served.
    turn: VecDeque<Arc<str>>,
    /// Waiting or being worked on: a second hint for the same transaction is dropped.
    known: HashSet<String>,
}

/// The embedded queue.
#[derive(Clone, Default)]
pub struct Queue {
    lanes: Arc<Mutex<Lanes>>,
    filled: Arc<Notify>,
}

impl std::fmt::Debug for Queue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Queue")
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Lanes> {
        // No code that can panic runs under this lock, so a poisoned one is still whole.
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells that a transaction waits. A transaction that is known already, or for which there
    /// is no room, is left to the sweep over the database.
    pub fn push(&self, hint: Hint) {
        {
            let mut lanes = self.lock();
            let Lanes { lanes: by_tenant, turn, known } = &mut *lanes;
            if known.contains(&hint.transaction) {
                return;
            }
            let lane = by_tenant.entry(Arc::clone(&hint.tenant)).or_default();
            if lane.len() >= LANE {
                return;
            }
            if lane.is_empty() {
                turn.push_back(Arc::clone(&hint.tenant));
            }
            known.insert(hint.transaction.clone());
            lane.push_back(hint);
        }
        self.filled.notify_one();
    }

    /// The next hints, at least one and at most `max`, one tenant after the other; in the order
    /// of pushing within a tenant. Waits while there are none.
    pub async fn next_batch(&self, max: usize) -> Vec<Hint> {
        loop {
            let batch = self.take(max);
            if !batch.is_empty() {
                return batch;
            }
            self.filled.notified().await;
        }
    }

    /// The next hints as [`Self::next_batch`] gives them, none if none wait.
    #[must_use]
    pub fn take(&self, max: usize) -> Vec<Hint> {
        let mut lanes = self.lock();
        let Lanes { lanes: by_tenant, turn, .. } = &mut *lanes;
        let mut batch = Vec::new();
        while batch.len() < max {
            let Some(tenant) = turn.pop_front() else { break };
            let Some(lane) = by_tenant.get_mut(&tenant) else { continue };
            if let Some(hint) = lane.pop_front() {
                batch.push(hint);
            }
            if lane.is_empty() {
                by_tenant.remove(&tenant);
            } else {
                turn.push_back(tenant);
            }
        }
        batch
    }

    /// A transaction was worked on, with whatever result; it may be hinted at again.
    pub fn finished(&self, transaction: &str) {
        self.lock().known.remove(transaction);
    }

    /// Hints that wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lock().lanes.values().map(VecDeque::len).sum()
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hint(tenant: &str, id: &str) -> Hint {
        Hint { tenant: tenant.into(), transaction: id.into(), carried: None }
    }

    #[tokio::test]
    async fn tenants_take_turns_and_keep_their_own_order() {
        let queue = Queue::default();
        for i in 0..100 {
            queue.push(hint("loud", &format!("l{i}")));
        }
        queue.push(hint("quiet", "q0"));
        queue.push(hint("quiet", "q1"));
        let first: Vec<_> = queue.next_batch(5).await.into_iter().map(|h| h.transaction).collect();
        assert_eq!(first, ["l0", "q0", "l1", "q1", "l2"]);
    }

    #[tokio::test]
    async fn a_transaction_is_hinted_at_once_until_it_is_finished() {
        let queue = Queue::default();
        queue.push(hint("t", "a"));
        queue.push(hint("t", "a"));
        assert_eq!(queue.next_batch(9).await.len(), 1);
        queue.push(hint("t", "a"));
        assert!(queue.is_empty());
        queue.finished("a");
        queue.push(hint("t", "a"));
        assert_eq!(queue.len(), 1);
    }
}
