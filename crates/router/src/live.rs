//! Instant messages that went out and wait for evidence, in memory: receipts find them without
//! a look-up, and the timer knows when silence has lasted long enough. All of it is in the
//! database too, from where it is read again at start.

use std::collections::{BTreeSet, HashMap};

use isthmus_store::rows;

/// One message that waits for evidence.
struct Waiting {
    row: rows::Delivery,
    /// It lies with its sender.
    handed: bool,
    /// The network has it; only from then on does silence mean anything.
    written: bool,
}

#[derive(Default)]
pub(crate) struct Live {
    by_wire: HashMap<String, Waiting>,
    due: BTreeSet<(i64, String)>,
    /// What no sender has, by lane and position: nothing newer of the lane may go before it.
    unhanded: BTreeSet<(Lane, i64, String)>,
}

/// One session's messages: a tenant (who has one bridge domain) and a network.
type Lane = (String, String);

fn lane(row: &rows::Delivery) -> Lane {
    (row.tenant_id.clone(), row.address.split(':').next().unwrap_or_default().to_owned())
}

fn place(row: &rows::Delivery) -> (Lane, i64, String) {
    (lane(row), row.seq, row.wire_id.clone())
}

impl Live {
    /// Takes note of a delivery's newest row: kept while it is sending, dropped otherwise.
    pub(crate) fn note(&mut self, row: &rows::Delivery) {
        if row.medium != "im" {
            return;
        }
        self.unhanded.remove(&place(row));
        let (handed, written) = match self.by_wire.remove(&row.wire_id) {
            Some(old) => {
                if let Some(due) = old.row.due_at {
                    self.due.remove(&(due, row.wire_id.clone()));
                }
                // A row that is sent again is a new attempt.
                let same = old.row.data == row.data;
                (old.handed && same, old.written && same)
            }
            None => (false, false),
        };
        if row.state == "sending" {
            if let (true, Some(due)) = (written, row.due_at) {
                self.due.insert((due, row.wire_id.clone()));
            }
            if !handed && !written {
                self.unhanded.insert(place(row));
            }
            self.by_wire.insert(row.wire_id.clone(), Waiting { row: row.clone(), handed, written });
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

    /// It lies with its sender now.
    pub(crate) fn handed(&mut self, wire_id: &str) {
        if let Some(waiting) = self.by_wire.get_mut(wire_id) {
            waiting.handed = true;
            self.unhanded.remove(&place(&waiting.row));
        }
    }

    /// Whether something older of the same lane waits to be handed over first.
    pub(crate) fn has_older(&self, row: &rows::Delivery) -> bool {
        let from = (lane(row), i64::MIN, String::new());
        self.unhanded.range(from..place(row)).next().is_some()
    }

    /// Messages that no sender has: never handed over, or given back. In order, at most `limit`.
    pub(crate) fn unhanded(&self, limit: usize) -> Vec<rows::Delivery> {
        self.unhanded
            .iter()
            .take(limit)
            .filter_map(|(_, _, wire)| self.get(wire).cloned())
            .collect()
    }

    /// Not connected, or the connection broke while it was written and nobody knows: it goes again
    /// under the same id.
    pub(crate) fn given_back(&mut self, wire_id: &str) {
        if let Some(waiting) = self.by_wire.get_mut(wire_id) {
            (waiting.handed, waiting.written) = (false, false);
            self.unhanded.insert(place(&waiting.row));
            if let Some(due) = waiting.row.due_at {
                self.due.remove(&(due, wire_id.to_owned()));
            }
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.by_wire.len()
    }
}
