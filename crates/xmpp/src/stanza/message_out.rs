//! Messages as they are written.

use isthmus_domain::{
    address::{Email, jid_local},
    clock::Millis,
};
use isthmus_im::OutMessage;

use crate::{ns, xml::Xml};

/// The address of a contact, or of the bridge itself.
pub(crate) fn contact_jid(bridge_domain: &str, contact: Option<&Email>) -> String {
    match contact {
        Some(email) => format!("{}@{bridge_domain}", jid_local(email)),
        None => bridge_domain.to_owned(),
    }
}

/// A file as it is shown to the recipient.
pub(crate) struct SharedFile {
    /// Where they can fetch it.
    pub(crate) url: String,
    /// What it is called.
    pub(crate) name: String,
}

/// `message` and one more stanza per file, in order, to be written together.
pub(crate) fn render(message: &OutMessage, files: &[SharedFile]) -> String {
    let from = contact_jid(&message.bridge_domain, message.from.as_ref());
    Xml::build(|xml| {
        write(xml, message, &from, &message.id, |xml| {
            xml.leaf("body", &[], &message.body.replace("\r\n", "\n").replace('\r', "\n"));
            // XEP-0184 section 5.3: the id is what the receipt repeats.
            xml.empty("request", &[("xmlns", ns::RECEIPTS)]);
        });
        for (number, file) in files.iter().enumerate() {
            let id = format!("{}-f{}", message.id, number + 1);
            write(xml, message, &from, &id, |xml| {
                // XEP-0066 section 3: clients show a file where the body is just its address.
                xml.leaf("body", &[], &file.url);
                xml.element("x", &[("xmlns", ns::OOB)], |xml| {
                    xml.leaf("url", &[], &file.url);
                    xml.leaf("desc", &[], &file.name);
                });
            });
        }
    })
}

fn write(xml: &mut Xml, message: &OutMessage, from: &str, id: &str, inside: impl FnOnce(&mut Xml)) {
    let to = message.to.address();
    let attributes = [("type", "chat"), ("id", id), ("from", from), ("to", to)];
    xml.element("message", &attributes, |xml| {
        inside(xml);
        if let Some(thread) = &message.thread {
            xml.leaf("thread", &[], thread);
        }
        // XEP-0359 section 3.2: survives servers that give stanzas ids of their own.
        xml.empty("origin-id", &[("xmlns", ns::STABLE_ID), ("id", id)]);
        if !message.from_name.is_empty() {
            xml.leaf("nick", &[("xmlns", ns::NICK)], &message.from_name);
        }
        if let Some(written_at) = message.written_at {
            delay(xml, &message.bridge_domain, written_at);
        }
    });
}

/// XEP-0203 section 3.
fn delay(xml: &mut Xml, from: &str, at: Millis) {
    let stamp = at.rfc3339();
    xml.empty("delay", &[("xmlns", ns::DELAY), ("from", from), ("stamp", &stamp)]);
}

/// Whether this id was made by [`render`] for a file of another message.
pub(crate) fn is_file_of_a_message(id: &str) -> bool {
    id.rsplit_once("-f").is_some_and(|(message, number)| {
        !message.is_empty() && !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit())
    })
}

/// A receipt for the message `id` (XEP-0184 section 5.3).
pub(crate) fn receipt(own_id: &str, id: &str, from: &str, to: &str) -> String {
    Xml::build(|xml| {
        let attributes = [("type", "chat"), ("id", own_id), ("from", from), ("to", to)];
        xml.element("message", &attributes, |xml| {
            xml.empty("received", &[("xmlns", ns::RECEIPTS), ("id", id)]);
        });
    })
}

/// A line that the bridge itself has to say.
pub(crate) fn line(own_id: &str, from: &str, to: &str, text: &str) -> String {
    Xml::build(|xml| {
        let attributes = [("type", "chat"), ("id", own_id), ("from", from), ("to", to)];
        xml.element("message", &attributes, |xml| xml.leaf("body", &[], text));
    })
}

#[cfg(test)]
mod tests {
    use isthmus_domain::address::ImAddress;
    use minidom::Element;

    use super::*;

    fn message() -> OutMessage {
        OutMessage {
            id: "dlv_1".into(),
            bridge_domain: "bridge.acme.test".into(),
            from: Some(Email::parse("O'Neil@acme.test").expect("valid")),
            from_name: "Ann <O'Neil>".into(),
            to: ImAddress::parse("xmpp:bob@chat.test").expect("valid"),
            body: "one\r\ntwo \u{1} & <three>".into(),
            thread: Some("t1".into()),
            written_at: Some(Millis(0)),
            files: Vec::new(),
        }
    }

    #[test]
    fn a_message_carries_its_id_name_thread_and_time() {
        let element: Element = render(&message(), &[])
            .replacen("<message ", "<message xmlns='jabber:component:accept' ", 1)
            .parse()
            .expect("well formed");
        let child = |name, ns| element.get_child(name, ns).expect(name);
        assert_eq!(element.attr("from"), Some("o\\27neil\\40acme.test@bridge.acme.test"));
        assert_eq!(child("body", ns::COMPONENT).text(), "one\ntwo  & <three>");
        assert_eq!(child("thread", ns::COMPONENT).text(), "t1");
        assert_eq!(child("origin-id", ns::STABLE_ID).attr("id"), Some("dlv_1"));
        assert_eq!(child("nick", ns::NICK).text(), "Ann <O'Neil>");
        assert_eq!(child("delay", ns::DELAY).attr("stamp"), Some("1970-01-01T00:00:00.000Z"));
        assert!(element.has_child("request", ns::RECEIPTS));
    }

    #[test]
    fn each_file_is_a_stanza_of_its_own_with_a_derived_id() {
        let file = |n: u32| SharedFile {
            url: format!("https://up.test/{n}?a&b"),
            name: format!("{n}.pdf"),
        };
        let xml = render(&message(), &[file(1), file(2)]);
        let all: Element = format!("<all xmlns='jabber:component:accept'>{xml}</all>")
            .parse()
            .expect("well formed");
        let ids: Vec<_> = all.children().filter_map(|m| m.attr("id")).collect();
        assert_eq!(ids, ["dlv_1", "dlv_1-f1", "dlv_1-f2"]);
        let last = all.children().last().expect("three stanzas");
        let oob = last.get_child("x", ns::OOB).expect("out of band");
        assert_eq!(
            oob.get_child("url", ns::OOB).expect("an address").text(),
            "https://up.test/2?a&b"
        );
        assert!(is_file_of_a_message("dlv_1-f2") && !is_file_of_a_message("dlv_1"));
    }
}
