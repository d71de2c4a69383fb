//! Which outbound mail goes next: to each recipient one after the other in the order of writing,
//! to different ones side by side, tenants in turn. What is here is in the database too.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    sync::Arc,
};

use isthmus_store::UnsentMail;

/// Recipients of one tenant who are served at once: a slow server of theirs leaves room for
/// everybody else.
const PER_TENANT: usize = 8;
/// Mails that go to one recipient before the next one has their turn.
const IN_A_ROW: usize = 32;

/// Mails that must not overtake each other.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Line {
    pub(crate) tenant: Arc<str>,
    pub(crate) rcpt: String,
    /// `message`, `notice` or `forward`: a notice does not wait for a message.
    pub(crate) kind: String,
}

/// Position of a mail: by time of writing.
pub(crate) type Place = (i64, String);

#[derive(Default)]
struct Waiting {
    /// Each with the time before which it does not go.
    mails: BTreeMap<Place, i64>,
    busy: bool,
}

/// The queue.
#[derive(Default)]
pub(crate) struct OutboundQueue {
    lines: HashMap<Line, Waiting>,
    /// Lines whose first mail may go, by tenant.
    ready: HashMap<Arc<str>, VecDeque<Line>>,
    /// Tenants with something ready, in the order in which they are served.
    turn: VecDeque<Arc<str>>,
    /// Lines whose first mail has to wait, by time.
    later: BTreeSet<(i64, Line)>,
    /// Lines of each tenant that are being served.
    serving: HashMap<Arc<str>, usize>,
}

impl OutboundQueue {
    /// Takes up a mail, unless it is known.
    pub(crate) fn add(&mut self, mail: UnsentMail) {
        let line = Line { tenant: mail.tenant_id.into(), rcpt: mail.rcpt, kind: mail.kind };
        let waiting = self.lines.entry(line.clone()).or_default();
        let before = waiting.mails.first_key_value().map(|(_, at)| *at);
        waiting.mails.entry((mail.seq, mail.id)).or_insert(mail.next_at);
        if waiting.busy {
            return;
        }
        let first = waiting.mails.first_key_value().map(|(_, at)| *at);
        match (before, first) {
            (None, Some(at)) => {
                self.later.insert((at, line));
            }
            (Some(before), Some(first))
                if before != first && self.later.remove(&(before, line.clone())) =>
            {
                self.later.insert((first, line));
            }
            _ => {}
        }
    }

    /// The next line to serve, with its first mails. Tell [`Self::served`] what became of them.
    pub(crate) fn next(&mut self, now: i64) -> Option<(Line, Vec<Place>)> {
        while self.later.first().is_some_and(|(at, _)| *at <= now) {
            let Some((_, line)) = self.later.pop_first() else { break };
            self.make_ready(line);
        }
        for _ in 0..self.turn.len() {
            let tenant = self.turn.pop_front()?;
            if self.serving.get(&tenant).is_some_and(|n| *n >= PER_TENANT) {
                self.turn.push_back(tenant);
                continue;
            }
            let Some(lines) = self.ready.get_mut(&tenant) else { continue };
            let line = lines.pop_front();
            if lines.is_empty() {
                self.ready.remove(&tenant);
            } else {
                self.turn.push_back(Arc::clone(&tenant));
            }
            let Some(line) = line else { continue };
            let Some(waiting) = self.lines.get_mut(&line) else { continue };
            waiting.busy = true;
            *self.serving.entry(tenant).or_default() += 1;
            let due = waiting.mails.iter().take_while(|(_, at)| **at <= now).take(IN_A_ROW);
            let places = due.map(|(place, _)| place.clone()).collect();
            return Some((line, places));
        }
        None
    }

    /// What became of a line's first mails: some are done with; one may have to wait.
    pub(crate) fn served(&mut self, line: Line, done: &[Place], again: Option<(Place, i64)>) {
        if let Some(serving) = self.serving.get_mut(&line.tenant) {
            *serving -= 1;
            if *serving == 0 {
                self.serving.remove(&line.tenant);
            }
        }
        let Some(waiting) = self.lines.get_mut(&line) else { return };
        waiting.busy = false;
        for place in done {
            waiting.mails.remove(place);
        }
        if let Some((place, at)) = again
            && let Some(next) = waiting.mails.get_mut(&place)
        {
            *next = at;
        }
        match waiting.mails.first_key_value().map(|(_, at)| *at) {
            None => {
                self.lines.remove(&line);
            }
            Some(at) => {
                self.later.insert((at, line));
            }
        }
    }

    /// When the next one that has to wait may go, in milliseconds.
    pub(crate) fn next_time(&self) -> Option<i64> {
        self.later.first().map(|(at, _)| *at)
    }

    fn make_ready(&mut self, line: Line) {
        let lines = self.ready.entry(Arc::clone(&line.tenant)).or_default();
        if lines.is_empty() {
            self.turn.push_back(Arc::clone(&line.tenant));
        }
        lines.push_back(line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mail(tenant: &str, rcpt: &str, seq: i64, next_at: i64) -> UnsentMail {
        UnsentMail {
            id: format!("out_{seq}"),
            tenant_id: tenant.into(),
            rcpt: rcpt.into(),
            kind: "message".into(),
            seq,
            next_at,
        }
    }

    fn next(queue: &mut OutboundQueue, now: i64) -> Option<(Line, Vec<i64>)> {
        queue.next(now).map(|(line, places)| (line, places.into_iter().map(|(s, _)| s).collect()))
    }

    fn place(seq: i64) -> Place {
        (seq, format!("out_{seq}"))
    }

    #[test]
    fn a_recipient_is_served_by_one_at_a_time_and_in_order() {
        let mut queue = OutboundQueue::default();
        queue.add(mail("t", "a@x.test", 2, 0));
        queue.add(mail("t", "a@x.test", 1, 0));
        let (line, seqs) = next(&mut queue, 0).expect("a line");
        assert_eq!(seqs, [1, 2]);
        queue.add(mail("t", "a@x.test", 3, 0));
        assert!(next(&mut queue, 0).is_none(), "the line is being served");
        queue.served(line, &[place(1), place(2)], None);
        assert_eq!(next(&mut queue, 0).expect("the third").1, [3]);
    }

    #[test]
    fn what_was_put_off_holds_back_only_what_is_behind_it() {
        let mut queue = OutboundQueue::default();
        queue.add(mail("t", "a@x.test", 1, 0));
        queue.add(mail("t", "a@x.test", 2, 0));
        let (line, _) = next(&mut queue, 0).expect("a line");
        queue.served(line, &[], Some((place(1), 50)));
        queue.add(mail("t", "a@x.test", 3, 10));
        queue.add(mail("t", "b@x.test", 4, 10));
        assert_eq!(next(&mut queue, 10).expect("the other recipient").1, [4]);
        assert!(next(&mut queue, 49).is_none());
        assert_eq!(queue.next_time(), Some(50));
        assert_eq!(next(&mut queue, 50).expect("all of the first").1, [1, 2, 3]);
    }

    #[test]
    fn tenants_take_turns_and_none_takes_everything() {
        let mut queue = OutboundQueue::default();
        for i in 0..20 {
            queue.add(mail("loud", &format!("{i}@x.test"), i, 0));
        }
        queue.add(mail("quiet", "a@x.test", 100, 0));
        let served: Vec<_> = std::iter::from_fn(|| queue.next(0)).map(|(l, _)| l.tenant).collect();
        assert_eq!(served.iter().filter(|t| &***t == "loud").count(), PER_TENANT);
        assert_eq!(&*served[1], "quiet");
    }

    #[test]
    fn a_mail_that_is_told_of_twice_goes_once() {
        let mut queue = OutboundQueue::default();
        queue.add(mail("t", "a@x.test", 1, 0));
        queue.add(mail("t", "a@x.test", 1, 0));
        let (line, seqs) = next(&mut queue, 0).expect("a line");
        assert_eq!(seqs, [1]);
        queue.served(line, &[place(1)], None);
        assert!(next(&mut queue, 0).is_none());
        assert!(queue.lines.is_empty() && queue.serving.is_empty());
    }
}
