//! Samples of contacts, settings and signing in.

use isthmus_domain::ids::{ContactId, MappingId, SessionId};
use isthmus_im::Presence;

use super::{MINUTE, NOW, Typed, ago, frame, member, xmpp};
use crate::pages::{Notice, Who, contacts::*, settings::*, sign_in::*, words::*};

fn contact_row(
    t: Typed<'_>,
    name: &str,
    email: &str,
    verified: u32,
    unverified: u32,
    presence: Option<Presence>,
    last: Option<Medium>,
) -> ContactRow {
    ContactRow {
        id: ContactId::derived(NOW, &[email.as_bytes()]),
        name: t(name),
        email: t(email),
        verified,
        unverified,
        presence,
        last_medium: last,
    }
}

pub(crate) fn contacts(t: Typed<'_>) -> ContactsView {
    ContactsView {
        frame: member(t),
        query: t(""),
        rows: vec![
            contact_row(
                t,
                "Bob Builder",
                "bob@customer.test",
                1,
                0,
                Some(Presence::Unavailable),
                Some(xmpp()),
            ),
            contact_row(
                t,
                "Carol Customer",
                "carol@customer.test",
                2,
                0,
                Some(Presence::Available),
                Some(Medium::Email),
            ),
            contact_row(t, "Dora Delgado", "dora@elsewhere.test", 0, 1, None, None),
            contact_row(
                t,
                "Frank Fischer",
                "frank@a-customer-with-a-very-long-domain.example",
                0,
                0,
                None,
                Some(Medium::Email),
            ),
        ],
        next: Some(t("bmV4dA")),
        form: ContactForm::default(),
        report: None,
    }
}

pub(crate) fn contacts_empty(t: Typed<'_>) -> ContactsView {
    let mut view = contacts(t);
    view.rows.clear();
    view.next = None;
    view
}

pub(crate) fn contacts_imported(t: Typed<'_>) -> ContactsView {
    let mut view = contacts(t);
    view.frame.notice = Some(Notice::Done(t("1 contact was added.")));
    view.form = ContactForm {
        name: t("Bob"),
        email: t("bob at customer"),
        im: t("xmpp:bob@chat.test"),
        error: Some(t("An email address looks like name@example.org.")),
    };
    let import_line = |number, what: &str, outcome| ImportLine { number, what: t(what), outcome };
    view.report = Some(ImportReport {
        file: t("customers.csv"),
        lines: vec![
            import_line(2, "Gina Grau <gina@customer.test>", ImportOutcome::Added),
            import_line(3, "Bob Builder <bob@customer.test>", ImportOutcome::Unchanged),
            import_line(
                4,
                "Hans",
                ImportOutcome::Refused(t("there is no email address in the second column")),
            ),
        ],
    });
    view
}

fn addresses(t: Typed<'_>, email: &str) -> Vec<AddressRow> {
    let mapping = |seed: &str| Some(MappingId::derived(NOW, &[seed.as_bytes()]));
    let verified = |how| Verification::Verified { at: ago(30 * 24 * 60), how };
    vec![
        AddressRow {
            mapping: None,
            medium: Medium::Email,
            address: t(email),
            state: Verification::NotNeeded,
        },
        AddressRow {
            mapping: mapping("v"),
            medium: xmpp(),
            address: t("bob@chat.test"),
            state: verified(Grounds::Challenge),
        },
        AddressRow {
            mapping: mapping("h"),
            medium: xmpp(),
            address: t("bob@work.test"),
            state: Verification::Challenged { expires: NOW.plus_ms(20 * MINUTE), attempts_left: 3 },
        },
        AddressRow {
            mapping: mapping("c"),
            medium: xmpp(),
            address: t("bob@new.test"),
            state: Verification::Claimed,
        },
        AddressRow {
            mapping: mapping("r"),
            medium: Medium::Im("web".into()),
            address: t("bob@customer.test"),
            state: Verification::Revoked { at: ago(50) },
        },
    ]
}

pub(crate) fn contact(t: Typed<'_>) -> ContactView {
    ContactView {
        frame: member(t),
        id: ContactId::derived(NOW, &[b"bob"]),
        name: t("Bob Builder"),
        email: t("bob@customer.test"),
        bridge_address: "bob=customer.test@bridge.acme.test".to_owned(),
        deletable: true,
        presence: Some(Presence::Available),
        addresses: addresses(t, "bob@customer.test"),
        refused: Some((
            t("bob@chat"),
            t("An IM address looks like xmpp:name@example.org or web:name@example.org."),
        )),
        sending: Sending::Ask,
        policy: Some(Policy::Ask),
    }
}

pub(crate) fn settings(t: Typed<'_>) -> SettingsView {
    let session = |seed: &str, device: &str, used, whose| SessionRow {
        id: SessionId::derived(NOW, &[seed.as_bytes()]),
        device: t(device),
        since: ago(4 * 24 * 60),
        used,
        whose,
    };
    let mut own = addresses(t, "alice@acme.test");
    own.truncate(3);
    own[0].state = Verification::Verified { at: ago(90 * 24 * 60), how: Grounds::Invitation };
    SettingsView {
        frame: member(t),
        name: t("Alice Adler"),
        addresses: own,
        refused: Some((t("alice"), t("An IM address looks like xmpp:name@example.org."))),
        bridge_im: t("bridge.acme.test"),
        policy: Policy::Act(Action::Email),
        deadline: t("4 hours"),
        notices: Notices::On,
        sessions: vec![
            session("a", "Firefox on Linux", NOW, Whose::This),
            session("b", "Safari on iPhone", ago(25 * 60), Whose::Other),
        ],
    }
}

pub(crate) fn sign_in(t: Typed<'_>) -> SignInView {
    let login = |name: &str, tenant: &str, email: &str| DemoLogin {
        name: t(name),
        tenant: t(tenant),
        email: t(email),
        password: t("alpine-copper-lantern"),
    };
    SignInView {
        frame: frame(Who::Visitor),
        email: t("alice@acme.test"),
        error: Some(t(
            "That address and password do not go together. Nothing was changed; try again.",
        )),
        next: t("/contacts"),
        demo: Some(DemoHint {
            logins: vec![
                login("Alice Adler", "Acme GmbH", "alice@acme.test"),
                login("Ben Berg", "Acme GmbH", "ben@acme.test"),
                login("Nora Nord", "Nordwind AG", "nora@nordwind.test"),
            ],
        }),
    }
}
