//! Samples of the pages for people who are not signed in, and of the web chat.

use isthmus_domain::ids::OutboundId;

use super::{MINUTE, NOW, Typed, ago, frame, member, party};
use crate::pages::{
    Who, chat::*, confirm::*, decide::*, dev_mail::*, error::*, message::*, open::*, words::*,
};

pub(crate) fn opens(t: Typed<'_>) -> Vec<OpenView> {
    let hidden = || t("b…@customer.test");
    [
        OpenStage::Ask { hidden: hidden() },
        OpenStage::Enter {
            hidden: hidden(),
            expires: NOW.plus_ms(10 * MINUTE),
            error: Some(t("That is not the code that we sent. 3 attempts are left.")),
        },
        OpenStage::Locked { until: NOW.plus_ms(60 * MINUTE) },
        OpenStage::Gone,
    ]
    .into_iter()
    .map(|stage| OpenView { frame: frame(Who::Visitor), token: t("0tok"), stage })
    .collect()
}

pub(crate) fn decides(t: Typed<'_>) -> Vec<DecideView> {
    let bob = || party(t, "Bob Builder", "bob@customer.test");
    [
        DecideState::Open {
            about: bob(),
            excerpt: t("The truck leaves at five. Is somebody at the gate?"),
            written: ago(20),
            deadline: NOW.plus_ms(220 * MINUTE),
            then: Policy::Ask,
            chosen: Action::Email,
            others: vec![Action::Retry, Action::Abort],
        },
        DecideState::Done { about: bob(), action: Action::Retry },
        DecideState::Already {
            about: bob(),
            action: Action::Abort,
            by: Decider::Person(t("Ben Berg"), t("in chat")),
            at: ago(4),
        },
        DecideState::Expired { at: ago(30), then: Policy::Act(Action::Email) },
        DecideState::Unknown,
        DecideState::Trying {
            about: bob(),
            excerpt: t("The truck leaves at five. Is somebody at the gate?"),
            written: ago(20),
            until: NOW.plus_ms(4_000 * MINUTE),
            others: vec![Action::Email, Action::Abort],
        },
        DecideState::Arrived { about: bob(), at: ago(2) },
    ]
    .into_iter()
    .map(|state| DecideView { frame: frame(Who::Visitor), token: t("0tok"), state })
    .collect()
}

pub(crate) fn chat_open(t: Typed<'_>) -> ChatOpenView {
    ChatOpenView { frame: frame(Who::Visitor), token: t("0tok"), name: t("Bob Builder") }
}

pub(crate) fn confirms(t: Typed<'_>) -> Vec<ConfirmView> {
    [
        ConfirmState::Open {
            kind: ConfirmKind::Forward,
            from: party(t, "Bob Builder", "bob@customer.test"),
            subject: t("Offer for the pump"),
            excerpt: t("Please go ahead."),
            expires: NOW.plus_ms(220 * MINUTE),
        },
        ConfirmState::Done,
        ConfirmState::Over,
    ]
    .into_iter()
    .map(|state| ConfirmView { frame: frame(Who::Visitor), token: t("0tok"), state })
    .collect()
}

pub(crate) fn error(t: Typed<'_>) -> ErrorView {
    ErrorView {
        frame: member(t),
        status: 404,
        title: t("There is nothing at this address"),
        detail: t(
            "The conversation may have been deleted, or the link was cut short. Nothing was changed.",
        ),
        way_out: WayOut::Inbox,
    }
}

pub(crate) fn dev_mails(t: Typed<'_>) -> DevMailsView {
    let mail = |seed: &str, to: &str, subject: &str, minutes| DevMailRow {
        id: OutboundId::derived(NOW, &[seed.as_bytes()]),
        to: t(to),
        subject: t(subject),
        at: ago(minutes),
    };
    DevMailsView {
        frame: frame(Who::Visitor),
        rows: vec![
            mail("1", "alice@acme.test", "Bob is away. What shall we do with your message?", 5),
            mail("2", "bob@customer.test", "Re: Budget 2027", 70),
        ],
        next: Some(t("bmV4dA")),
    }
}

pub(crate) fn dev_mail(t: Typed<'_>) -> DevMailView {
    DevMailView {
        frame: frame(Who::Visitor),
        id: OutboundId::derived(NOW, &[b"1"]),
        at: ago(5),
        subject: t("Bob is away. What shall we do with your message?"),
        headers: vec![
            ("From".to_owned(), t("Isthmus <r-0token@bridge.acme.test>")),
            ("To".to_owned(), t("Alice Adler <alice@acme.test>")),
            ("Message-ID".to_owned(), t("<out_0123456789@bridge.acme.test>")),
        ],
        text: t(
            "Bob is not reachable by chat right now.\n\n  → Keep trying until he is back (for 3 days)\n    http://127.0.0.1:8080/d/0abc\n  → Send it as an email instead\n    http://127.0.0.1:8080/d/0abd\n\nIf you do nothing, we ask again.",
        ),
        html: Html::Available,
        files: vec![DevFile { name: t("history.txt"), size: 4_211 }],
    }
}

pub(crate) fn chat_sign_in(t: Typed<'_>) -> ChatSignInView {
    ChatSignInView {
        frame: frame(Who::Visitor),
        people: vec![
            ChatPerson { name: t("Bob Builder"), address: t("web:bob@customer.test"), unread: 1 },
            ChatPerson {
                name: t("Carol Customer"),
                address: t("web:carol@customer.test"),
                unread: 0,
            },
        ],
    }
}

pub(crate) fn chat(t: Typed<'_>) -> ChatView {
    let contact = |key: &str, name: &str, excerpt: &str, minutes, unread| ChatContact {
        key: t(key),
        name: t(name),
        excerpt: t(excerpt),
        at: Some(ago(minutes)),
        unread,
    };
    let said = |id: &str, author, text: &str, minutes| ChatMessage {
        id: id.to_owned(),
        author,
        text: t(text),
        files: vec![],
        at: ago(minutes),
    };
    let mut offer = said(
        "3",
        Author::Other,
        "Approved, go ahead.\n\n↩ Re: Budget 2027 (your mail, today 14:02)\n> Can you approve 12,400 EUR for the pump?\n📎 offer.pdf · 48 kB · http://127.0.0.1:8080/f/0abc\n3 earlier messages: http://127.0.0.1:8080/c/0abc · !email answers by mail · !help",
        4,
    );
    offer.files = vec![ChatFile { name: t("offer.pdf"), size: 48_211, path: t("/f/0abc") }];
    ChatView {
        frame: frame(Who::Chatter { name: t("Bob Builder"), address: t("web:bob@customer.test") }),
        showing: Showing::Online,
        contacts: vec![
            contact("alice@acme.test", "Alice (acme.test)", "Approved, go ahead.", 4, 1),
            contact("bridge", "Isthmus (acme.test)", "Is this you? Answer 1.", 90, 0),
        ],
        thread: Some(ChatThread {
            key: t("alice@acme.test"),
            name: t("Alice (acme.test)"),
            earlier: Some(t("ZWFybGllcg")),
            messages: vec![
                said(
                    "1",
                    Author::Other,
                    "This is Alice Adler from Acme, over a bridge between mail and chat. Answer as you like.",
                    5,
                ),
                offer,
                said("4", Author::Me, "Great, I’ll order it today.", 2),
            ],
            text: t(""),
            error: None,
            once: "once-3".to_owned(),
        }),
    }
}

pub(crate) fn chat_empty(t: Typed<'_>) -> ChatView {
    let mut view = chat(t);
    view.contacts.clear();
    view.thread = None;
    view.showing = Showing::Away;
    view
}
