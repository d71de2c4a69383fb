//! Instant messages that went out and wait for evidence, in memory: receipts find them without
//! a look-up, and the timer knows when silence has lasted long enough. All of it is in the
//! database too, from where it is read again at start.

use std::collections::{BTreeSet, HashMap};

use isthmus_domain::clock::Millis;
use isthmus_store::rows;

use crate::receipts::Receipts;

/// A message that a server took so shortly before its session ended, and for which nothing came
/// back, may have died with the server.
const DOUBTFUL_MS: i64 = 10_000;

/// One message that waits for evidence.
struct Waiting {
    row: rows::Delivery,
    /// It lies with its sender.
    handed: bool,
    /// When the network had it; only from then on does silence mean anything.
    written_at: Option<Millis>,
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
        let (handed, written_at) = match self.by_wire.remove(&row.wire_id) {
            Some(old) => {
                if let Some(due) = old.row.due_at {
                    self.due.remove(&(due, row.wire_id.clone()));
                }
                // A row that is sent again is a new attempt.
                let same = old.row.data == row.data;
                (old.handed && same, old.written_at.filter(|_| same))
            }
            None => (false, None),
        };
        if row.state == "sending" {
            if let (Some(_), Some(due)) = (written_at, row.due_at) {
                self.due.insert((due, row.wire_id.clone()));
            }
            if !handed && written_at.is_none() {
                self.unhanded.insert(place(row));
            }
            let waiting = Waiting { row: row.clone(), handed, written_at };
            self.by_wire.insert(row.wire_id.clone(), waiting);
        }
    }

    /// The network took it: from `due` on, silence counts.
    pub(crate) fn written(&mut self, wire_id: &str, waited_ms: i64, now: Millis) {
        if let Some(waiting) = self.by_wire.get_mut(wire_id)
            && waiting.written_at.is_none()
        {
            waiting.written_at = Some(now);
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

    /// Messages that no sender has: never handed over, or given back. In order, at most `limit`
    /// of each lane, so that one without a session leaves room for the others.
    pub(crate) fn unhanded(&self, limit: usize) -> Vec<rows::Delivery> {
        let mut found = Vec::new();
        let mut next = self.unhanded.first();
        while let Some((lane, _, _)) = next {
            let from = (lane.clone(), i64::MIN, String::new());
            let of_lane = self.unhanded.range(from..).take_while(|(l, _, _)| l == lane);
            found.extend(of_lane.take(limit).filter_map(|(_, _, wire)| self.get(wire).cloned()));
            next = self.unhanded.range((lane.clone(), i64::MAX, String::new())..).next();
        }
        found
    }

    /// Not connected, or the connection broke while it was written and nobody knows: it goes again
    /// under the same id.
    pub(crate) fn given_back(&mut self, wire_id: &str) {
        if let Some(waiting) = self.by_wire.get_mut(wire_id) {
            (waiting.handed, waiting.written_at) = (false, None);
            self.unhanded.insert(place(&waiting.row));
            if let Some(due) = waiting.row.due_at {
                self.due.remove(&(due, wire_id.to_owned()));
            }
        }
    }

    /// The session of a tenant on a network ended: what its server took last goes again, before
    /// anything newer, since nobody knows whether the server could still pass it on. So does, of
    /// whatever age, what a recipient has not confirmed whose client does so.
    pub(crate) fn session_ended(
        &mut self,
        tenant: &str,
        network: &str,
        now: Millis,
        receipts: &Receipts,
    ) {
        let doubtful = |waiting: &Waiting| {
            waiting.written_at.is_some_and(|at| {
                now.since_ms(at) <= DOUBTFUL_MS || receipts.come_from(&waiting.row.address)
            }) && lane(&waiting.row) == (tenant.to_owned(), network.to_owned())
        };
        let again: Vec<String> = self
            .by_wire
            .iter()
            .filter(|(_, waiting)| doubtful(waiting))
            .map(|(wire, _)| wire.clone())
            .collect();
        for wire in again {
            self.given_back(&wire);
        }
    }

    /// Drops messages of tenants that are gone: deleting them has closed their rows.
    pub(crate) fn forget(&mut self, is_gone: impl Fn(&str) -> bool) {
        let gone: Vec<rows::Delivery> = self
            .by_wire
            .values()
            .filter(|waiting| is_gone(&waiting.row.tenant_id))
            .map(|waiting| rows::Delivery { state: "failed".into(), ..waiting.row.clone() })
            .collect();
        gone.iter().for_each(|row| self.note(row));
    }

    pub(crate) fn len(&self) -> usize {
        self.by_wire.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sending(seq: i64) -> rows::Delivery {
        rows::Delivery {
            id: format!("d{seq}"),
            tenant_id: "t".into(),
            transaction_id: String::new(),
            conversation_id: "c".into(),
            message_id: String::new(),
            seq,
            medium: "im".into(),
            person: String::new(),
            address: "xmpp:carol@chat.test".into(),
            member_id: None,
            source: "smtp".into(),
            wire_id: format!("d{seq}"),
            body: String::new(),
            state: "sending".into(),
            data: String::new(),
            history: "[]".into(),
            question: None,
            due_at: Some(5_000),
            version: 1,
            created_at: 0,
        }
    }

    fn order(live: &Live) -> Vec<i64> {
        live.unhanded(10).iter().map(|row| row.seq).collect()
    }

    /// What the server had last goes again before what is new; what it had long ago does not.
    #[test]
    fn what_a_dying_server_had_last_goes_again_first() {
        let mut live = Live::default();
        for (seq, at) in [(1, 0), (2, 15_000), (3, 15_500)] {
            live.note(&sending(seq));
            live.handed(&format!("d{seq}"));
            live.written(&format!("d{seq}"), 0, Millis(at));
        }
        // One has arrived meanwhile, and one that nobody has handed over yet is newer.
        live.note(&rows::Delivery { state: "delivered".into(), ..sending(3) });
        live.note(&sending(4));
        let receipts = Receipts::default();
        live.session_ended("t", "web", Millis(16_000), &receipts);
        live.session_ended("other", "xmpp", Millis(16_000), &receipts);
        assert_eq!(order(&live), [4], "another session's end changes nothing");
        live.session_ended("t", "xmpp", Millis(16_000), &receipts);
        assert_eq!(order(&live), [2, 4]);
        assert!(live.has_older(&sending(4)) && !live.has_older(&sending(2)));
        // What a client that confirms has not confirmed lay in the server for all that time.
        receipts.came_from("xmpp:carol@chat.test");
        live.session_ended("t", "xmpp", Millis(16_000), &receipts);
        assert_eq!(order(&live), [1, 2, 4]);
    }
}
