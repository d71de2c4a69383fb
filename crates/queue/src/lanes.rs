//! Hints that transactions wait, in one lane a tenant, served in turn.

use std::{
    any::Any,
    collections::{HashMap, HashSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;

/// Hints kept for one tenant. What does not fit is found in the database later, and what comes
/// after it too: nothing overtakes it.
const LANE: usize = 20_000;

/// Octets that all hints together may carry along.
const CARRIED: usize = 32 * 1024 * 1024;

/// A transaction waits to be run.
#[derive(Clone)]
pub struct Hint {
    /// Whose lane.
    pub tenant: Arc<str>,
    /// Which transaction.
    pub transaction: String,
    /// What the sender has in memory anyway and saves a look-up; a broker drops it.
    pub carried: Option<Arc<dyn Any + Send + Sync>>,
    /// About how much that is.
    pub octets: usize,
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
    /// Tenants who are not served for now.
    held: HashSet<Arc<str>>,
    /// Octets that the hints carry along.
    octets: usize,
    /// Waiting or being worked on: a second hint for the same transaction is dropped.
    known: HashSet<String>,
    /// Tenants of whom hints were dropped because their lane was full, with how many: until a
    /// sweep has found all of them only the sweep adds to their lanes.
    dropped: HashMap<Arc<str>, u64>,
}

impl Lanes {
    fn add(&mut self, mut hint: Hint) -> bool {
        let lane = self.lanes.entry(Arc::clone(&hint.tenant)).or_default();
        if lane.len() >= LANE {
            return false;
        }
        if lane.is_empty() && !self.held.contains(&hint.tenant) {
            self.turn.push_back(Arc::clone(&hint.tenant));
        }
        self.known.insert(hint.transaction.clone());
        // Whoever takes it looks up what it does not carry.
        if self.octets + hint.octets > CARRIED {
            (hint.carried, hint.octets) = (None, 0);
        }
        self.octets += hint.octets;
        lane.push_back(hint);
        true
    }
}

/// A look through the database for what no hint tells of.
#[derive(Debug)]
pub struct Sweep {
    dropped: HashMap<Arc<str>, u64>,
}

impl Sweep {
    /// Whether hints of this tenant were dropped: then even the newest transaction has none.
    #[must_use]
    pub fn is_behind(&self, tenant: &str) -> bool {
        self.dropped.contains_key(tenant)
    }
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
            if lanes.known.contains(&hint.transaction) {
                return;
            }
            if let Some(dropped) = lanes.dropped.get_mut(&hint.tenant) {
                *dropped += 1;
                return;
            }
            let tenant = Arc::clone(&hint.tenant);
            if !lanes.add(hint) {
                lanes.dropped.insert(tenant, 1);
                return;
            }
        }
        self.filled.notify_one();
    }

    /// Begins a sweep. Push with [`Self::push_found`] what it finds, in order, and end it.
    #[must_use]
    pub fn sweep(&self) -> Sweep {
        Sweep { dropped: self.lock().dropped.clone() }
    }

    /// Adds what a sweep found, unless it is known or there is no room.
    pub fn push_found(&self, hint: Hint) {
        {
            let mut lanes = self.lock();
            if lanes.known.contains(&hint.transaction) {
                return;
            }
            let tenant = Arc::clone(&hint.tenant);
            if !lanes.add(hint) {
                *lanes.dropped.entry(tenant).or_default() += 1;
                return;
            }
        }
        self.filled.notify_one();
    }

    /// Ends a sweep that has seen everything: whose hints were all found may be pushed again.
    pub fn swept(&self, sweep: &Sweep) {
        let mut lanes = self.lock();
        lanes.dropped.retain(|tenant, now| sweep.dropped.get(tenant) != Some(now));
    }

    /// Takes back, in front of everything, what was taken too early; in the order of taking.
    pub fn give_back(&self, hints: Vec<Hint>) {
        let mut lanes = self.lock();
        for hint in hints.into_iter().rev() {
            let tenant = Arc::clone(&hint.tenant);
            lanes.octets += hint.octets;
            lanes.lanes.entry(Arc::clone(&tenant)).or_default().push_front(hint);
            if !lanes.held.contains(&tenant) && !lanes.turn.contains(&tenant) {
                lanes.turn.push_back(tenant);
            }
        }
    }

    /// Serves nothing of a tenant until [`Self::release`].
    pub fn hold(&self, tenant: &Arc<str>) {
        let mut lanes = self.lock();
        lanes.held.insert(Arc::clone(tenant));
        lanes.turn.retain(|t| t != tenant);
    }

    /// Serves a tenant again.
    pub fn release(&self, tenant: &Arc<str>) {
        {
            let mut lanes = self.lock();
            lanes.held.remove(tenant);
            if !lanes.lanes.contains_key(tenant) || lanes.turn.contains(tenant) {
                return;
            }
            lanes.turn.push_back(Arc::clone(tenant));
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
        let Lanes { lanes: by_tenant, turn, octets, .. } = &mut *lanes;
        let mut batch = Vec::new();
        while batch.len() < max {
            let Some(tenant) = turn.pop_front() else { break };
            let Some(lane) = by_tenant.get_mut(&tenant) else { continue };
            if let Some(hint) = lane.pop_front() {
                *octets = octets.saturating_sub(hint.octets);
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
        Hint { tenant: tenant.into(), transaction: id.into(), carried: None, octets: 0 }
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

    #[test]
    fn a_tenant_that_is_held_waits_and_keeps_its_order() {
        let queue = Queue::default();
        for id in ["a", "b", "c"] {
            queue.push(hint("t", id));
        }
        let mut taken = queue.take(2);
        queue.hold(&"t".into());
        queue.give_back(taken.split_off(0));
        queue.push(hint("t", "d"));
        queue.push(hint("other", "x"));
        let names = |all: Vec<Hint>| all.into_iter().map(|h| h.transaction).collect::<Vec<_>>();
        assert_eq!(names(queue.take(9)), ["x"]);
        queue.release(&"t".into());
        assert_eq!(names(queue.take(9)), ["a", "b", "c", "d"]);
    }

    #[test]
    fn hints_carry_only_so_much_and_none_is_lost_for_that() {
        let queue = Queue::default();
        let heavy = |id: &str| Hint {
            carried: Some(Arc::new(())),
            octets: CARRIED / 2 + 1,
            ..hint("t", id)
        };
        queue.push(heavy("a"));
        queue.push(heavy("b"));
        let taken = queue.take(1);
        queue.push(heavy("c"));
        let rest = queue.take(9);
        let carry: Vec<_> = taken.iter().chain(&rest).map(|h| h.carried.is_some()).collect();
        assert_eq!(carry, [true, false, true]);
    }

    /// What did not fit comes before what was pushed later, once there is room for both.
    #[test]
    fn nothing_overtakes_what_was_dropped() {
        let queue = Queue::default();
        for i in 0..=LANE {
            queue.push(hint("t", &format!("{i:06}")));
        }
        assert_eq!(queue.len(), LANE);
        let first = queue.take(10);
        queue.push(hint("t", "new"));
        queue.push(hint("other", "fits"));
        assert_eq!(queue.len(), LANE - 10 + 1, "the new one waits for the sweep");
        // The sweep finds it all in the database, in order.
        let sweep = queue.sweep();
        assert!(sweep.is_behind("t") && !sweep.is_behind("other"));
        for i in 10..=LANE {
            queue.push_found(hint("t", &format!("{i:06}")));
        }
        queue.push_found(hint("t", "new"));
        queue.swept(&sweep);
        queue.push(hint("t", "newer"));
        let rest: Vec<_> = queue.take(LANE * 2).into_iter().map(|h| h.transaction).collect();
        let mine: Vec<_> = rest.iter().filter(|t| *t != "fits").collect();
        assert_eq!(first.len() + mine.len(), LANE + 3);
        assert_eq!(mine[mine.len() - 3..], [&format!("{LANE:06}"), "new", "newer"]);
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
