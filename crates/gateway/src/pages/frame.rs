//! What surrounds every page: who is looking, in which time zone, and what was just done.

use std::borrow::Borrow;

use isthmus_domain::clock::Millis;

use super::times::{TimeTag, Zone};

/// The surroundings of a page.
#[derive(Clone, Debug)]
pub struct Frame {
    /// The whole document, or the part that is swapped in while it stays open.
    pub part: Part,
    /// Value of the hidden `csrf` field of every form.
    pub csrf: String,
    /// The zone that times are shown in: the tenant's.
    pub zone: Zone,
    /// The present instant.
    pub now: Millis,
    /// Who is looking.
    pub who: Who,
    /// What the last form led to.
    pub notice: Option<Notice>,
}

/// How much of the document is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// A document of its own.
    Whole,
    /// Asked with `X-Fragment: 1`: header and main part only.
    Fragment,
}

/// Who is looking at the page.
#[derive(Clone, Debug)]
pub enum Who {
    /// A member who is signed in.
    Member {
        /// Display name.
        name: String,
        /// Their email address.
        email: String,
        /// Display name of the tenant.
        tenant: String,
        /// Conversations with something unread.
        unread: u32,
    },
    /// Somebody who uses the built-in web chat.
    Chatter {
        /// Display name.
        name: String,
        /// The IM address, `web:bob@acme.test`.
        address: String,
    },
    /// Somebody not signed in.
    Visitor,
}

/// One line above the page that says what was just done or went wrong.
#[derive(Clone, Debug)]
pub enum Notice {
    /// It worked.
    Done(String),
    /// It did not: what happened, what was kept, what to do next.
    Failed(String),
}

impl Frame {
    /// Whether the document's own frame is asked for as well.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.part == Part::Whole
    }

    /// Time of day today, day and time otherwise.
    #[must_use]
    pub fn time(&self, at: impl Borrow<Millis>) -> TimeTag {
        let at = *at.borrow();
        TimeTag::new(&self.zone, at, self.zone.short(at, self.now))
    }

    /// Time of day alone where `at` lies on the same day as `near`, which the reader sees already.
    #[must_use]
    pub fn time_near(&self, at: impl Borrow<Millis>, near: impl Borrow<Millis>) -> TimeTag {
        let (at, near) = (*at.borrow(), *near.borrow());
        let words = if self.zone.day(at) == self.zone.day(near) {
            self.zone.clock(at)
        } else {
            self.zone.short(at, self.now)
        };
        TimeTag::new(&self.zone, at, words)
    }

    /// As short as a list wants it: time today, else the day.
    #[must_use]
    pub fn time_row(&self, at: impl Borrow<Millis>) -> TimeTag {
        let at = *at.borrow();
        TimeTag::new(&self.zone, at, self.zone.row(at, self.now))
    }

    /// The heading of a day in a timeline.
    #[must_use]
    pub fn day(&self, at: Millis) -> String {
        self.zone.day_heading(at, self.now)
    }
}

impl Who {
    /// The address of the event stream that keeps this reader's pages fresh.
    #[must_use]
    pub fn stream(&self) -> Option<&'static str> {
        match self {
            Self::Member { .. } => Some("/events/stream"),
            Self::Chatter { .. } => Some("/chat/stream"),
            Self::Visitor => None,
        }
    }
}
