//! Samples of the inbox, of conversations and of their transcript.

use isthmus_domain::ids::{AttachmentId, ConversationId, DeliveryId, MessageId};
use isthmus_im::Presence;

use super::{MINUTE, NOW, Typed, ago, frame, member, party, xmpp};
use crate::pages::{
    Notice, Who, conversation::*, inbox::*, message::*, open::TranscriptView, start::StartView,
    words::*,
};

fn cnv(seed: &str) -> ConversationId {
    ConversationId::derived(NOW, &[seed.as_bytes()])
}

#[expect(clippy::too_many_arguments, reason = "one row as one line of a table")]
fn row(
    t: Typed<'_>,
    title: &str,
    subject: &str,
    excerpt: &str,
    medium: &str,
    minutes: i64,
    unread: u32,
    presence: Option<Presence>,
    waits: Waits,
) -> Row {
    Row {
        id: cnv(title),
        title: t(title),
        subject: (!subject.is_empty()).then(|| t(subject)),
        excerpt: t(excerpt),
        medium: if medium == "email" { Medium::Email } else { Medium::Im(medium.to_owned()) },
        at: ago(minutes),
        unread,
        presence,
        waits,
    }
}

pub(crate) fn list(t: Typed<'_>) -> ConversationList {
    use Presence::{Available, Unavailable, Unknown};
    ConversationList {
        rows: vec![
            row(
                t,
                "Bob Builder",
                "Budget 2027",
                "Thanks! And the second pump?",
                "xmpp",
                3,
                2,
                Some(Available),
                Waits::No,
            ),
            row(
                t,
                "Erika Mustermann, Max Power",
                "Site visit on Thursday, hotel and train",
                "I have booked the hotel for both of us, the confirmation is attached.",
                "email",
                47,
                1,
                None,
                Waits::No,
            ),
            row(
                t,
                "Carol Customer",
                "Broken pump",
                "You: The replacement leaves our warehouse today",
                "xmpp",
                95,
                0,
                Some(Unavailable),
                Waits::Question,
            ),
            row(t, "Dora Delgado", "", "👍", "web", 26 * 60, 0, Some(Available), Waits::No),
            row(
                t,
                "purchasing@a-customer-with-a-very-long-domain.example",
                "Re: Re: Fwd: Invoice 2026-0117 and the reminder of last week",
                "You: Please find the corrected invoice attached.",
                "email",
                30 * 60,
                0,
                None,
                Waits::Failed,
            ),
            row(
                t,
                "Frank Fischer",
                "Spare parts list",
                "Perfect, thank you.",
                "email",
                9 * 24 * 60,
                0,
                Some(Unknown),
                Waits::No,
            ),
            row(
                t,
                "Grace Hopper",
                "Manual for the controller",
                "You: Here it is.",
                "email",
                150 * 24 * 60,
                0,
                None,
                Waits::No,
            ),
        ],
        query: t(""),
        next: Some(t("c2Vjb25k")),
        open: None,
        forward_address: t("im@bridge.acme.test"),
    }
}

pub(crate) fn inbox(t: Typed<'_>) -> InboxView {
    InboxView { frame: member(t), list: list(t) }
}

pub(crate) fn inbox_empty(t: Typed<'_>) -> InboxView {
    let mut view = inbox(t);
    view.list.rows.clear();
    view.list.next = None;
    view
}

fn message(
    t: Typed<'_>,
    seed: &str,
    minutes: i64,
    medium: Medium,
    author: Author,
    text: &str,
) -> Message {
    let (me, bob) =
        (party(t, "Alice Adler", "alice@acme.test"), party(t, "Bob Builder", "bob@customer.test"));
    let (from, to) = if author == Author::Me { (me, bob) } else { (bob, me) };
    Message {
        id: MessageId::derived(ago(minutes), &[seed.as_bytes()]),
        at: ago(minutes),
        medium,
        author,
        from,
        to: vec![to],
        cc: vec![],
        subject: None,
        text: t(text),
        quoted: None,
        signature: None,
        html: Html::None,
        files: vec![],
        warning: None,
        deliveries: vec![],
    }
}

fn file(t: Typed<'_>, name: &str, media_type: &str, size: u64, preview: Preview) -> File {
    File {
        id: AttachmentId::derived(NOW, &[name.as_bytes()]),
        name: t(name),
        media_type: t(media_type),
        size,
        preview,
    }
}

fn line(t: Typed<'_>, seed: &str, via: Medium, state: DeliveryState) -> DeliveryLine {
    DeliveryLine {
        id: DeliveryId::derived(NOW, &[seed.as_bytes()]),
        to: party(t, "Bob Builder", "bob@customer.test"),
        via,
        state,
    }
}

pub(crate) fn messages(t: Typed<'_>) -> Vec<Message> {
    let mut first = message(
        t,
        "1",
        26 * 60,
        Medium::Email,
        Author::Other,
        "Hello Alice,\n\ncan you approve 12,400 EUR for the pump? The offer is attached, and a photo of the old one.\n\nDetails: https://customer.test/pump?id=7&lang=en.",
    );
    first.subject = Some(t("Budget 2027"));
    first.to.push(party(t, "", "office@acme.test"));
    first.cc = vec![
        party(t, "Erika Mustermann", "erika@customer.test"),
        party(t, "", "purchasing@customer.test"),
    ];
    first.signature = Some(t("-- \nBob Builder\nCustomer Ltd. · +49 30 1234567"));
    first.html = Html::Available;
    first.files = vec![
        file(t, "offer.pdf", "application/pdf", 48_211, Preview::Document),
        file(t, "old pump.jpg", "image/jpeg", 1_834_000, Preview::Image),
        file(t, "parts.xlsx", "application/vnd.ms-excel", 12_900, Preview::None),
    ];
    let mut answer = message(t, "2", 25 * 60, xmpp(), Author::Me, "Approved, go ahead.");
    answer.deliveries = vec![line(
        t,
        "a",
        xmpp(),
        DeliveryState::Delivered { at: ago(25 * 60), evidence: Evidence::Receipt },
    )];
    let thanks = message(
        t,
        "3",
        25 * 60 - 4,
        xmpp(),
        Author::Other,
        "Great, I’ll order it today. Do you want to see the delivery note as well?",
    );
    let mut mail = message(
        t,
        "4",
        70,
        Medium::Email,
        Author::Me,
        "Yes please. And send me the serial number of the old one.",
    );
    mail.subject = Some(t("Re: Budget 2027"));
    mail.quoted =
        Some(t("On Monday Bob Builder wrote:\n> Do you want to see the delivery note as well?"));
    mail.deliveries = vec![line(
        t,
        "b",
        Medium::Email,
        DeliveryState::Delivered { at: ago(69), evidence: Evidence::Receipt },
    )];
    let mut odd =
        message(t, "5", 40, Medium::Email, Author::Other, "Please pay to the new account below.");
    odd.subject = Some(t("Account change"));
    odd.warning = Some(t(
        "The sender check of this mail failed (DMARC). It was not passed on to chat; be careful with what it asks for.",
    ));
    let mut waiting = message(
        t,
        "6",
        12,
        xmpp(),
        Author::Me,
        "The truck leaves at five. Is somebody at the gate?",
    );
    waiting.deliveries =
        vec![line(t, "c", xmpp(), DeliveryState::Retrying { next: NOW.plus_ms(7 * MINUTE) })];
    let mut asked = message(t, "7", 5, xmpp(), Author::Me, "Otherwise we come tomorrow at eight.");
    asked.files = vec![file(t, "route.png", "image/png", 210_000, Preview::Image)];
    asked.deliveries = vec![line(t, "d", xmpp(), DeliveryState::AwaitingDecision)];
    vec![first, answer, thanks, mail, odd, waiting, asked]
}

/// Each state that a delivery can have, on one message of its own.
pub(crate) fn all_states(t: Typed<'_>) -> Vec<Item> {
    use DeliveryState::*;
    let states = [
        Accepted,
        Checking,
        Sending,
        Delivered { at: ago(2), evidence: Evidence::Server },
        AwaitingDecision,
        Retrying { next: NOW.plus_ms(90 * MINUTE) },
        Aborted { at: ago(1) },
        BecameEmail { at: ago(1) },
        Failed {
            reason: t(
                "customer.test does not know this address (550 5.1.1). Your text is kept here; check the address and send it again.",
            ),
        },
    ];
    states
        .into_iter()
        .enumerate()
        .map(|(i, state)| {
            let mut m =
                message(t, &format!("s{i}"), 30 - i as i64, xmpp(), Author::Me, "On its way");
            m.deliveries = vec![line(t, &format!("l{i}"), xmpp(), state)];
            Item::Message(m)
        })
        .collect()
}

pub(crate) fn conversation(t: Typed<'_>) -> ConversationView {
    let id = cnv("Bob Builder");
    let bob = || party(t, "Bob Builder", "bob@customer.test");
    let mut items: Vec<Item> = messages(t).into_iter().map(Item::Message).collect();
    items.insert(
        3,
        Item::Decided(Decided {
            delivery: DeliveryId::derived(NOW, &[b"old"]),
            at: ago(71),
            about: bob(),
            action: Action::Email,
            by: Decider::You(t("by mail")),
        }),
    );
    items.insert(
        6,
        Item::Held(Held {
            message: MessageId::derived(NOW, &[b"held"]),
            conversation: id.clone(),
            at: ago(30),
            from: party(t, "Zoe Zander", "zoe@elsewhere.test"),
            reason: t("They answered a mail of this conversation that somebody forwarded to them."),
            excerpt: t("Hi, Bob asked me to look into this. The serial number is 4711."),
        }),
    );
    items.push(Item::Question(Question {
        delivery: DeliveryId::derived(NOW, &[b"d"]),
        conversation: id.clone(),
        at: ago(5),
        about: bob(),
        excerpt: t("Otherwise we come tomorrow at eight."),
        waiting: 2,
        deadline: NOW.plus_ms(230 * MINUTE),
        then: Policy::Act(Action::Email),
        options: Action::ALL.to_vec(),
        retry_for: t("3 days"),
    }));
    let mut list = list(t);
    list.open = Some(id.clone());
    ConversationView {
        frame: member(t),
        list,
        id,
        title: t("Bob Builder"),
        subject: Some(t("Budget 2027")),
        people: vec![Person { party: bob(), presence: Some(Presence::Unavailable) }],
        earlier: Some(t("ZWFybGllcg")),
        items,
        composer: Composer {
            to: t("Bob"),
            via: Via::Chat,
            chat: ChatReach::Away(Policy::Act(Action::Email)),
            email: Some(t("bob@customer.test")),
            subject: t("Re: Budget 2027"),
            text: t(""),
            error: None,
            once: "once-1".to_owned(),
            file_limit: 25_000_000,
        },
    }
}

pub(crate) fn conversation_by_email(t: Typed<'_>) -> ConversationView {
    let mut view = conversation(t);
    view.items = all_states(t);
    view.earlier = None;
    view.title = t("Erika Mustermann, Max Power");
    view.people = vec![
        Person { party: party(t, "Erika Mustermann", "erika@customer.test"), presence: None },
        Person {
            party: party(t, "Max Power", "max@power.test"),
            presence: Some(Presence::Available),
        },
    ];
    view.composer.via = Via::Email;
    view.composer.chat = ChatReach::NoAddress;
    view.composer.error = Some(t(
        "The files are larger than 25 MB together. Your text is kept; choose smaller files.",
    ));
    view.composer.text = t("Here are the drawings.");
    view.frame.notice = Some(Notice::Failed(t("Not sent.")));
    view
}

pub(crate) fn conversation_empty(t: Typed<'_>) -> ConversationView {
    let mut view = conversation(t);
    view.items.clear();
    view.earlier = None;
    view.composer.chat = ChatReach::Online;
    view
}

pub(crate) fn start(t: Typed<'_>) -> StartView {
    StartView {
        frame: member(t),
        to: t("bob@customer.test"),
        suggestions: vec![(t("bob@customer.test"), t("Bob Builder"))],
        via: Via::Email,
        subject: t("Site visit"),
        text: t("Dear Bob,"),
        error: Some(t("Nobody is behind this address yet.")),
        once: "once-2".to_owned(),
        file_limit: 25_000_000,
    }
}

pub(crate) fn transcript(t: Typed<'_>) -> TranscriptView {
    let mut messages = messages(t);
    for message in &mut messages {
        message.deliveries.clear();
    }
    TranscriptView {
        frame: frame(Who::Visitor),
        token: t("0tok"),
        title: t("Budget 2027"),
        tenant: t("Acme GmbH"),
        people: vec![
            party(t, "Alice Adler", "alice@acme.test"),
            party(t, "Bob Builder", "bob@customer.test"),
        ],
        expires: NOW.plus_ms(7 * 24 * 60 * MINUTE),
        messages,
    }
}
