//! Messages as they are read.

use isthmus_domain::clock::Millis;
use isthmus_im::InFile;
use minidom::Element;

use super::error::{self, ReadError};
use crate::ns;

/// Files of one message that are taken.
const FILES_MAX: usize = 20;
/// Receipts in one stanza that are looked at.
const RECEIPTS_MAX: usize = 20;
/// Octets of an id or thread; longer ones are not repeated anywhere, so they count as none.
const ID_MAX: usize = 500;

/// What a message stanza is about.
#[derive(Debug, PartialEq)]
pub(crate) enum Kind {
    /// A message of ours came back.
    Bounce(ReadError),
    /// Encrypted end to end; by what, in words.
    Encrypted(&'static str),
    /// Somebody wrote something.
    Text(Text),
    /// Chat states, room invitations, carbon copies and the like.
    Nothing,
}

/// What somebody wrote.
#[derive(Debug, PartialEq)]
pub(crate) struct Text {
    pub(crate) body: String,
    pub(crate) thread: Option<String>,
    pub(crate) files: Vec<InFile>,
    pub(crate) sent_at: Option<Millis>,
    pub(crate) wants_receipt: bool,
}

/// A message stanza, read.
#[derive(Debug, PartialEq)]
pub(crate) struct Message {
    pub(crate) id: String,
    /// Ids of ours that were received or seen.
    pub(crate) receipts: Vec<String>,
    pub(crate) kind: Kind,
}

/// Reads a `<message/>`.
pub(crate) fn read(stanza: &Element) -> Message {
    let id = stanza.attr("id").filter(|id| id.len() <= ID_MAX).unwrap_or_default().to_owned();
    let kind = match stanza.attr("type") {
        Some("error") => Kind::Bounce(error::read(stanza)),
        // A room or a news feed never waits for an answer of a contact.
        Some("groupchat" | "headline") => Kind::Nothing,
        _ if is_about_other_messages(stanza) => Kind::Nothing,
        _ => encryption(stanza).unwrap_or_else(|| text(stanza, &id)),
    };
    let receipts = match kind {
        Kind::Bounce(_) => Vec::new(),
        _ => receipts(stanza),
    };
    Message { id, receipts, kind }
}

/// Copies of what was said elsewhere (XEP-0280, 0297, 0313) and invitations to rooms
/// (XEP-0045, 0249): anybody can write them, so what they hold is nobody's word.
fn is_about_other_messages(stanza: &Element) -> bool {
    stanza.children().any(|child| {
        child.has_ns(ns::CARBONS)
            || child.has_ns(ns::FORWARD)
            || child.has_ns(ns::ARCHIVE)
            || child.has_ns(ns::ROOM_INVITE)
            || (child.has_ns(ns::ROOM_USER) && child.has_child("invite", ns::ROOM_USER))
    })
}

/// Receipts (XEP-0184), and markers (XEP-0333), which mean at least as much.
fn receipts(stanza: &Element) -> Vec<String> {
    let is_receipt = |child: &&Element| match child.name() {
        "received" => child.has_ns(ns::RECEIPTS) || child.has_ns(ns::MARKERS),
        "displayed" | "acknowledged" => child.has_ns(ns::MARKERS),
        _ => false,
    };
    let ids = stanza.children().filter(is_receipt).filter_map(|child| child.attr("id"));
    ids.filter(|id| id.len() <= ID_MAX).take(RECEIPTS_MAX).map(str::to_owned).collect()
}

fn encryption(stanza: &Element) -> Option<Kind> {
    let mut hinted = None;
    for child in stanza.children() {
        let by = match child.ns().as_str() {
            ns::OMEMO_OLD | ns::OMEMO => {
                // XEP-0384 section 4.6: without payload it only carries keys, unasked for.
                let has_payload = child.children().any(|c| c.name() == "payload");
                return Some(if has_payload { Kind::Encrypted("OMEMO") } else { Kind::Nothing });
            }
            ns::OPENPGP | ns::PGP_OLD => "OpenPGP",
            ns::ENCRYPTION_HINT => {
                hinted = Some("end-to-end encryption");
                continue;
            }
            _ => continue,
        };
        return Some(Kind::Encrypted(by));
    }
    // OTR hides in the text itself.
    let body = stanza.get_child("body", ns::COMPONENT);
    if body.is_some_and(|body| body.texts().next().is_some_and(|text| text.starts_with("?OTR"))) {
        return Some(Kind::Encrypted("OTR"));
    }
    hinted.map(Kind::Encrypted)
}

fn text(stanza: &Element, id: &str) -> Kind {
    let part = |name| {
        let text = stanza.get_child(name, ns::COMPONENT).map(Element::text).unwrap_or_default();
        text.replace("\r\n", "\n").replace('\r', "\n")
    };
    let files = files(stanza);
    let (mut body, subject) = (part("body"), part("subject"));
    // The body that only repeats a file's address is for clients without XEP-0066.
    if files.iter().any(|file| file.url == body.trim()) {
        body.clear();
    }
    if !subject.trim().is_empty() {
        body = if body.is_empty() { subject } else { format!("{}\n\n{body}", subject.trim()) };
    }
    if body.trim().is_empty() && files.is_empty() {
        return Kind::Nothing;
    }
    let thread = part("thread").trim().to_owned();
    Kind::Text(Text {
        body,
        thread: Some(thread).filter(|t| !t.is_empty() && t.len() <= ID_MAX),
        files,
        sent_at: sent_at(stanza),
        // XEP-0184 section 5.3: without an id there is nothing to confirm.
        wants_receipt: !id.is_empty() && stanza.has_child("request", ns::RECEIPTS),
    })
}

/// XEP-0066 section 3, as far as the addresses can be fetched.
fn files(stanza: &Element) -> Vec<InFile> {
    let fetchable =
        |url: &str| url::Url::parse(url).is_ok_and(|url| matches!(url.scheme(), "http" | "https"));
    let file = |x: &Element| {
        let url = x.get_child("url", ns::OOB)?.text().trim().to_owned();
        let description = x.get_child("desc", ns::OOB).map(Element::text);
        let description = description.filter(|text| !text.trim().is_empty());
        (url.len() <= 2_000 && fetchable(&url)).then_some(InFile { url, description })
    };
    let shared = stanza.children().filter(|child| child.is("x", ns::OOB));
    shared.filter_map(file).take(FILES_MAX).collect()
}

/// XEP-0203: the earliest time that anybody on the way noted.
fn sent_at(stanza: &Element) -> Option<Millis> {
    let delays = stanza.children().filter(|child| child.is("delay", ns::DELAY));
    let stamps = delays.filter_map(|delay| delay.attr("stamp")?.parse::<jiff::Timestamp>().ok());
    stamps.min().map(|stamp| Millis(stamp.as_millisecond()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(attributes: &str, inside: &str) -> Message {
        let xml = format!(
            "<message xmlns='jabber:component:accept' id='m1' {attributes}>{inside}</message>"
        );
        read(&xml.parse().expect("well formed"))
    }

    fn text_of(message: Message) -> Text {
        match message.kind {
            Kind::Text(text) => text,
            other => panic!("not a text: {other:?}"),
        }
    }

    #[test]
    fn a_text_comes_with_thread_time_and_the_wish_for_a_receipt() {
        let text = text_of(parse(
            "type='chat'",
            "<body>Yes,\r\nplease</body><thread>t</thread><request xmlns='urn:xmpp:receipts'/>\
             <delay xmlns='urn:xmpp:delay' stamp='1970-01-01T00:00:01.5Z'/>",
        ));
        assert_eq!((text.body.as_str(), text.thread.as_deref()), ("Yes,\nplease", Some("t")));
        assert_eq!((text.sent_at, text.wants_receipt), (Some(Millis(1_500)), true));
    }

    #[test]
    fn a_file_replaces_the_body_that_repeats_its_address() {
        let url = "https://up.test/a.pdf";
        let oob = format!("<x xmlns='jabber:x:oob'><url>{url}</url><desc>a.pdf</desc></x>");
        let file = InFile { url: url.into(), description: Some("a.pdf".into()) };
        let text = text_of(parse("", &format!("<body>{url}</body>{oob}")));
        assert_eq!((text.body.as_str(), &text.files[..]), ("", &[file][..]));
        assert_eq!(text_of(parse("", &format!("<body>See</body>{oob}"))).body, "See");
        let script = "<body>x</body><x xmlns='jabber:x:oob'><url>file:///etc/passwd</url></x>";
        assert!(text_of(parse("", script)).files.is_empty());
    }

    #[test]
    fn encrypted_messages_are_never_read_as_their_fallback() {
        let body = "<body>I sent you an encrypted message</body>";
        for (inside, by) in [
            ("<encrypted xmlns='eu.siacs.conversations.axolotl'><payload/></encrypted>", "OMEMO"),
            ("<encrypted xmlns='urn:xmpp:omemo:2'><payload/></encrypted>", "OMEMO"),
            ("<openpgp xmlns='urn:xmpp:openpgp:0'>x</openpgp>", "OpenPGP"),
            ("<x xmlns='jabber:x:encrypted'>x</x>", "OpenPGP"),
            ("<encryption xmlns='urn:xmpp:eme:0' namespace='x'/>", "end-to-end encryption"),
            ("<body>?OTRv3?</body>", "OTR"),
        ] {
            let inside = if by == "OTR" { inside.to_owned() } else { format!("{body}{inside}") };
            assert_eq!(parse("type='chat'", &inside).kind, Kind::Encrypted(by), "{inside}");
        }
        let keys = "<encrypted xmlns='eu.siacs.conversations.axolotl'><header/></encrypted>";
        assert_eq!(parse("", keys).kind, Kind::Nothing);
    }

    #[test]
    fn what_is_not_a_message_to_us_is_nothing() {
        let body = "<body>hi</body>";
        for (attributes, inside) in [
            ("type='groupchat'", body.to_owned()),
            ("type='headline'", body.to_owned()),
            ("", "<composing xmlns='http://jabber.org/protocol/chatstates'/>".to_owned()),
            ("", "<body>  </body>".to_owned()),
            ("", format!("{body}<sent xmlns='urn:xmpp:carbons:2'/>")),
            ("", format!("{body}<x xmlns='jabber:x:conference' jid='r@x'/>")),
            ("", "<x xmlns='http://jabber.org/protocol/muc#user'><invite/></x>".to_owned()),
        ] {
            assert_eq!(parse(attributes, &inside).kind, Kind::Nothing, "{attributes} {inside}");
        }
    }

    #[test]
    fn receipts_and_markers_both_count() {
        let receipts = parse("", "<received xmlns='urn:xmpp:receipts' id='a'/>").receipts;
        assert_eq!(receipts, ["a"]);
        let seen = parse("", "<displayed xmlns='urn:xmpp:chat-markers:0' id='b'/>").receipts;
        assert_eq!(seen, ["b"]);
        let error = parse("type='error'", "<received xmlns='urn:xmpp:receipts' id='a'/>");
        assert!(error.receipts.is_empty());
    }
}
