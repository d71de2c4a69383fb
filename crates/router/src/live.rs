//! Instant messages that went out and wait for evidence, in memory: receipts find them without
//! a look-up, and the timer knows when silence has lasted long enough. All of it is in the
//! database too, from where it is read again at start.

use std::collections::{BTreeSet, HashMap};

use isthmus_store::rows;

/// One message that waits for evidence.
struct Waiting {
    row: rows::Delivery,
    /// The network has it; only from then on does silence mean anything.
    written: bool,
}

#[derive(Default)]
pub(crate) struct Live {
    by_wire: HashMap<String, Waiting>,
    due: BTreeSet<(i64, String)>,
}

impl Live {
    /// Takes note of a delivery's newest row: kept while it is sending, dropped otherwise.
    pub(crate) fn note(&mut self, row: &rows::Delivery) {
        if row.medium != "im" {
            return;
        }
        let written = match self.by_wire.remove(&row.wire_id) {
            Some(old) => {
                if let Some(due) = old.row.due_at {
                    self.due.remove(&(due, row.wire_id.clone()));
                }
                old.written && old.row.state == row.state
            }
            None => false,
        };
        if row.state == "sending" {
            if let (true, Some(due)) = (written, row.due_at) {
                self.due.insert((due, row.wire_id.clone()));
            }
            self.by_wire.insert(row.wire_id.clone(), Waiting { row: row.clone(), written });
        }
    }

    /// The network took it: from `due` on, silence counts.
    pub(crate) fn written(&mut self, wire_id: &str, waited_ms: i64) {
        if let Some(waiting) = self.by_wire.get_mut(wire_id)
            && !waiting.written
        {
            waiting.written = true;
            if let Some(due) = &mut waiting.row.due_at {
                *due += waited_ms;
                self.due.insert((*due, wire_id.to_owned()));
            }
        }
    }

    pub(crate) fn get(&self, wire_id: &str) -> Option<&rows::Delivery> {
        self.by_wire.get(wire_id).map(|w| &w.row)
    }

    /// Messages whose time has come, at most `limit`.
    pub(crate) fn due(&self, now: i64, limit: usize) -> Vec<rows::Delivery> {
        self.due
            .iter()
            .take_while(|(due, _)| *due <= now)
            .take(limit)
            .filter_map(|(_, wire)| self.get(wire).cloned())
            .collect()
    }

    /// Messages that a connection lost, or never had, in order.
    pub(crate) fn unwritten(&self) -> Vec<rows::Delivery> {
        let mut rows: Vec<_> =
            self.by_wire.values().filter(|w| !w.written).map(|w| w.row.clone()).collect();
        rows.sort_by_key(|r| r.seq);
        rows
    }

    /// The connection broke while it was written: nobody knows, so it goes again under the same id.
    pub(crate) fn unclear(&mut self, wire_id: &str) {
        if let Some(waiting) = self.by_wire.get_mut(wire_id) {
            waiting.written = false;
            if let Some(due) = waiting.row.due_at {
                self.due.remove(&(due, wire_id.to_owned()));
            }
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.by_wire.len()
    }
}
