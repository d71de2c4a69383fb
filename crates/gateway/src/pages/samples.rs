//! One filled view of every page, for the tests; each text that a person can type passes through
//! a function, so that a test can make all of them hostile at once.

use isthmus_domain::clock::Millis;

use super::{
    Frame, Part, Who, Zone, render,
    words::{Medium, Party},
};

mod outside;
mod people;
mod timeline;

pub(crate) use outside::*;
pub(crate) use people::*;
pub(crate) use timeline::*;

/// What typed texts are passed through.
pub(crate) type Typed<'a> = &'a dyn Fn(&str) -> String;

/// 3 March 2026, 14:10 in Berlin.
pub(crate) const NOW: Millis = Millis(1_772_543_400_000);

const MINUTE: i64 = 60_000;

pub(crate) fn ago(minutes: i64) -> Millis {
    NOW.plus_ms(-minutes * MINUTE)
}

pub(crate) fn frame(who: Who) -> Frame {
    Frame {
        part: Part::Whole,
        csrf: "csrf-token".to_owned(),
        zone: Zone::named("Europe/Berlin"),
        now: NOW,
        who,
        notice: None,
    }
}

pub(crate) fn member(t: Typed<'_>) -> Frame {
    frame(Who::Member {
        name: t("Alice Adler"),
        email: t("alice@acme.test"),
        tenant: t("Acme GmbH"),
        unread: 2,
    })
}

fn party(t: Typed<'_>, name: &str, address: &str) -> Party {
    Party { name: t(name), address: t(address) }
}

fn xmpp() -> Medium {
    Medium::Im("xmpp".to_owned())
}

/// Every page by name, as HTML.
pub(crate) fn all(t: Typed<'_>) -> Vec<(String, String)> {
    let mut pages: Vec<(String, String)> = [
        ("inbox", render(&inbox(t))),
        ("inbox-empty", render(&inbox_empty(t))),
        ("conversation", render(&conversation(t))),
        ("conversation-email", render(&conversation_by_email(t))),
        ("conversation-empty", render(&conversation_empty(t))),
        ("start", render(&start(t))),
        ("contacts", render(&contacts(t))),
        ("contacts-empty", render(&contacts_empty(t))),
        ("contacts-imported", render(&contacts_imported(t))),
        ("contact", render(&contact(t))),
        ("settings", render(&settings(t))),
        ("sign-in", render(&sign_in(t))),
        ("transcript", render(&transcript(t))),
        ("error", render(&error(t))),
        ("dev-mails", render(&dev_mails(t))),
        ("dev-mail", render(&dev_mail(t))),
        ("chat-sign-in", render(&chat_sign_in(t))),
        ("chat-open", render(&chat_open(t))),
        ("chat", render(&chat(t))),
        ("chat-empty", render(&chat_empty(t))),
    ]
    .into_iter()
    .map(|(name, html)| (name.to_owned(), html))
    .collect();
    pages.extend(opens(t).iter().enumerate().map(|(i, v)| (format!("open-{i}"), render(v))));
    pages.extend(confirms(t).iter().enumerate().map(|(i, v)| (format!("confirm-{i}"), render(v))));
    pages.extend(decides(t).iter().enumerate().map(|(i, v)| (format!("decide-{i}"), render(v))));
    pages
}
