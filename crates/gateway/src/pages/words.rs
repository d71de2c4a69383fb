//! The words and small choices that several pages share.

use std::borrow::Borrow;

use isthmus_domain::clock::Millis;
use isthmus_im::Presence;

/// The medium of a message or an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Medium {
    /// Email.
    Email,
    /// Instant messaging; the network's name as in front of the colon, `xmpp` or `web`.
    Im(String),
}

impl Medium {
    /// What people call it.
    #[must_use]
    pub fn label(&self) -> &str {
        match self {
            Self::Email => "email",
            Self::Im(network) => match network.as_str() {
                "xmpp" => "XMPP",
                "web" => "web chat",
                other => other,
            },
        }
    }

    /// Whether this is email.
    #[must_use]
    pub fn is_email(&self) -> bool {
        matches!(self, Self::Email)
    }
}

/// Somebody by name and address; the name may be empty.
#[derive(Clone, Debug)]
pub struct Party {
    /// Display name.
    pub name: String,
    /// Email or IM address.
    pub address: String,
}

impl Party {
    /// The name, or the address of somebody without one.
    #[must_use]
    pub fn called(&self) -> &str {
        if self.name.trim().is_empty() { &self.address } else { &self.name }
    }
}

/// What was or can be decided about a message that could not be delivered by chat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Keep trying until they are back.
    Retry,
    /// Send it as an email.
    Email,
    /// Do not send it.
    Abort,
}

impl Action {
    /// All three, in the order in which they are offered.
    pub const ALL: [Self; 3] = [Self::Retry, Self::Email, Self::Abort];

    /// Value of the form field `action`.
    #[must_use]
    pub fn value(self) -> &'static str {
        match self {
            Self::Retry => "retry",
            Self::Email => "email",
            Self::Abort => "abort",
        }
    }

    /// The label of its button.
    #[must_use]
    pub fn button(self) -> &'static str {
        match self {
            Self::Retry => "Keep trying",
            Self::Email => "Send as email",
            Self::Abort => "Don’t send",
        }
    }

    /// What was decided, to follow a name: "Alice chose …".
    #[must_use]
    pub fn chosen(self) -> &'static str {
        match self {
            Self::Retry => "to keep trying",
            Self::Email => "to send it as an email",
            Self::Abort => "not to send it",
        }
    }

    /// What will be done, to follow "we".
    #[must_use]
    pub fn promise(self) -> &'static str {
        match self {
            Self::Retry => "keep trying",
            Self::Email => "send it as an email",
            Self::Abort => "drop it",
        }
    }
}

/// What happens to a message to somebody who is away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// Ask, and ask again.
    Ask,
    /// Ask; without an answer in time act as if that had been it.
    Act(Action),
    /// Do that without asking.
    AtOnce(Action),
}

impl Policy {
    /// All policies with the value of the form field `policy` and their description.
    pub const ALL: [(Self, &'static str, &'static str); 7] = [
        (Self::Ask, "ask", "Ask me, and ask again if I don’t answer"),
        (Self::Act(Action::Email), "ask-email", "Ask me; without an answer send it as an email"),
        (Self::Act(Action::Retry), "ask-retry", "Ask me; without an answer keep trying"),
        (Self::Act(Action::Abort), "ask-abort", "Ask me; without an answer don’t send it"),
        (Self::AtOnce(Action::Email), "email", "Don’t ask: send it as an email"),
        (Self::AtOnce(Action::Retry), "retry", "Don’t ask: keep trying until they are back"),
        (Self::AtOnce(Action::Abort), "abort", "Don’t ask: don’t send it"),
    ];

    /// What happens, to follow "we".
    #[must_use]
    pub fn promise(self) -> &'static str {
        match self {
            Self::Ask => "ask again",
            Self::Act(action) | Self::AtOnce(action) => action.promise(),
        }
    }
}

/// Presence in words. Never how long: that is nobody's business.
#[must_use]
pub fn presence_words(presence: impl Borrow<Presence>) -> &'static str {
    match presence.borrow() {
        Presence::Available => "available",
        Presence::Unavailable => "not right now",
        Presence::Unknown => "cannot tell",
    }
}

/// The CSS class that goes with [`presence_words`].
#[must_use]
pub fn presence_class(presence: impl Borrow<Presence>) -> &'static str {
    match presence.borrow() {
        Presence::Available => "here",
        Presence::Unavailable => "away",
        Presence::Unknown => "unknown",
    }
}

/// `48 kB`, in decimal units as people know them from their files.
#[must_use]
pub fn size_words(octets: u64) -> String {
    const UNITS: [&str; 5] = ["kB", "MB", "GB", "TB", "PB"];
    if octets < 1_000 {
        return format!("{octets} bytes");
    }
    let mut unit = 0;
    let mut tenths = octets / 100;
    while tenths >= 10_000 && unit + 1 < UNITS.len() {
        tenths /= 1_000;
        unit += 1;
    }
    if tenths < 100 && !tenths.is_multiple_of(10) {
        format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit])
    } else {
        format!("{} {}", tenths / 10, UNITS[unit])
    }
}

/// `1 file`, `3 files`: the plural of English nouns that take an s.
#[must_use]
pub fn count(number: impl std::fmt::Display, noun: &str) -> String {
    let number = number.to_string();
    if number == "1" { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

/// Up to two letters that stand for somebody in a circle.
#[must_use]
pub fn initials(name: &str) -> String {
    let mut letters = name
        .split(|c: char| !c.is_alphanumeric())
        .filter_map(|word| word.chars().next())
        .flat_map(char::to_uppercase);
    let first = letters.next().map(String::from).unwrap_or_else(|| "?".to_owned());
    letters.next().map_or(first.clone(), |second| format!("{first}{second}"))
}

/// How an IM address came to be trusted, or how far that has got.
#[derive(Clone, Debug)]
pub enum Verification {
    /// An email address of a contact: it needs none.
    NotNeeded,
    /// Entered; no challenge was sent yet.
    Claimed,
    /// A challenge is under way.
    Challenged {
        /// Until when the code counts.
        expires: Millis,
        /// How often it may still be entered wrongly.
        attempts_left: u32,
    },
    /// Trusted.
    Verified {
        /// Since when.
        at: Millis,
        /// On what grounds.
        how: Grounds,
    },
    /// Not trusted any more.
    Revoked {
        /// Since when.
        at: Millis,
    },
}

/// On what grounds an address is trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grounds {
    /// They answered the challenge in that very medium.
    Challenge,
    /// Whoever runs the service declared it.
    Operator,
    /// It is where the invitation was read.
    Invitation,
}

impl Grounds {
    /// In words, to follow "verified".
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Challenge => "by answering our question there",
            Self::Operator => "by your administrator",
            Self::Invitation => "by the invitation mail",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_as_people_say_them() {
        let cases = [
            (0, "0 bytes"),
            (999, "999 bytes"),
            (1_000, "1 kB"),
            (1_500, "1.5 kB"),
            (48_300, "48 kB"),
            (999_999, "999 kB"),
            (2_340_000, "2.3 MB"),
            (25_000_000, "25 MB"),
            (u64::MAX, "18446 PB"),
        ];
        for (octets, words) in cases {
            assert_eq!(size_words(octets), words, "{octets}");
        }
    }

    #[test]
    fn initials_stand_in_for_any_name() {
        assert_eq!(initials("Bob Builder"), "BB");
        assert_eq!(initials("ärla"), "Ä");
        assert_eq!(initials("bob@acme.test"), "BA");
        assert_eq!(initials("<>"), "?");
    }
}
