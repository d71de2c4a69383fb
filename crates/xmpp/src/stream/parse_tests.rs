//! The parser against input that was made to hurt.

use super::*;

const HEADER: &str = "<?xml version='1.0'?><stream:stream xmlns:stream='http://etherx.jabber.org/streams' \
                      xmlns='jabber:component:accept' from='bridge.acme.test' id='s1'>";

/// Feeds the header and then `chunks`, collecting what comes out.
fn read(chunks: &[&[u8]]) -> Result<Vec<Incoming>, BadStream> {
    let mut parser = StanzaParser::new();
    let mut out = Vec::new();
    let mut buffer = BytesMut::from(HEADER);
    parser.next(&mut buffer)?;
    for chunk in chunks {
        buffer.extend_from_slice(chunk);
        while let Some(incoming) = parser.next(&mut buffer)? {
            out.push(incoming);
        }
    }
    Ok(out)
}

fn only_stanza(read: Vec<Incoming>) -> Element {
    match read.into_iter().next_back() {
        Some(Incoming::Stanza(element)) => element,
        other => panic!("no stanza: {other:?}"),
    }
}

#[test]
fn stanzas_are_found_across_any_chunks() {
    let text = " <message id='1'><body>a &lt; b</body></message>\n<iq id='2'/></stream:stream>";
    for size in [1, 2, 7, 1000] {
        let chunks: Vec<&[u8]> = text.as_bytes().chunks(size).collect();
        let read = read(&chunks).expect("well formed");
        let [Incoming::Stanza(message), Incoming::Stanza(iq), Incoming::Footer] = &read[..] else {
            panic!("{read:?}")
        };
        assert_eq!(message.get_child("body", ns::COMPONENT).expect("a body").text(), "a < b");
        assert_eq!(iq.attr("id"), Some("2"));
    }
}

#[test]
fn abuse_xmpp_28_dtd_and_entities_end_the_stream_unexpanded() {
    for bomb in [
        "<!DOCTYPE x [<!ENTITY a 'ha'>]><message/>",
        "<message><body>&lol;</body></message>",
        "<!ENTITY a 'b'>",
        "<?php x ?>",
        "<!-- comment -->",
    ] {
        let error = read(&[bomb.as_bytes()]).expect_err(bomb);
        assert_eq!(error.condition(), "restricted-xml", "{bomb}: {error}");
    }
    let fine = read(&[b"<message><body>&amp;&#x41;<![CDATA[<x>]]></body></message>"]);
    let fine = only_stanza(fine.expect("predefined entities and CDATA are XML"));
    assert_eq!(fine.get_child("body", ns::COMPONENT).expect("a body").text(), "&A<x>");
}

#[test]
fn abuse_xmpp_29_an_endless_stanza_ends_the_stream_and_a_long_one_only_itself() {
    let mut parser = StanzaParser::new();
    let mut buffer = BytesMut::from(HEADER);
    parser.next(&mut buffer).expect("a header");
    buffer.extend_from_slice(b"<message><body>");
    let block = [b'x'; 65_536];
    let mut fed = 0;
    let error = loop {
        buffer.extend_from_slice(&block);
        fed += block.len();
        match parser.next(&mut buffer) {
            Ok(None) => assert!(fed < STANZA_MAX + 2 * block.len(), "read without end"),
            Ok(Some(other)) => panic!("{other:?}"),
            Err(error) => break error,
        }
        let kept: usize = parser.open.iter().map(|open| open.element.text().len()).sum();
        assert!(kept <= STANZA_KEPT, "{kept} octets kept");
    };
    assert_eq!(error.condition(), "policy-violation");

    let long = "y".repeat(STANZA_KEPT);
    let text = format!("<message id='long'><body>{long}</body></message><message id='next'/>");
    let read = read(&[text.as_bytes()]).expect("the stream goes on");
    let [Incoming::Refused(refused), Incoming::Stanza(next)] = &read[..] else { panic!() };
    assert_eq!((refused.attr("id"), next.attr("id")), (Some("long"), Some("next")));
    assert!(refused.children().next().is_none());

    let fitting = "z".repeat(STANZA_KEPT - 100);
    let text = format!("<message><body>{fitting}</body></message>");
    let stanza = only_stanza(self::read(&[text.as_bytes()]).expect("well formed"));
    assert_eq!(stanza.get_child("body", ns::COMPONENT).expect("a body").text(), fitting);
}

#[test]
fn deep_and_crowded_stanzas_are_dropped_by_themselves() {
    let deep =
        format!("<message id='deep'>{}{}</message>", "<a>".repeat(50_000), "</a>".repeat(50_000));
    let wide = format!("<message id='wide'>{}</message>", "<a/>".repeat(50_000));
    for text in [deep, wide] {
        let text = format!("{text}<message id='next'/>");
        let read = read(&[text.as_bytes()]).expect("the stream goes on");
        let [Incoming::Refused(_), Incoming::Stanza(next)] = &read[..] else { panic!() };
        assert_eq!(next.attr("id"), Some("next"));
    }
}

#[test]
fn a_long_attribute_does_not_end_the_stream() {
    let text = format!("<message x='{}'><body>hi</body></message>", "v".repeat(100_000));
    assert_eq!(
        only_stanza(read(&[text.as_bytes()]).expect("fine")).attr("x").map(str::len),
        Some(100_000)
    );
}

#[test]
fn whitespace_between_stanzas_never_piles_up() {
    let blank = vec![b' '; STANZA_MAX + 1];
    let stanza = read(&[&blank, b"<message id='after'/>"]).expect("keepalives are legal");
    assert_eq!(only_stanza(stanza).attr("id"), Some("after"));
    assert!(matches!(read(&[b" x <message/>"]), Err(BadStream::NotWellFormed(_))));
}

#[test]
fn namespaces_are_those_of_the_innermost_declaration() {
    let text = "<message xmlns:a='urn:a' xml:lang='de'><a:x a:k='1' k='2'><y xmlns='urn:y'><z/></y>\
                <x/></a:x></message>";
    let message = only_stanza(read(&[text.as_bytes()]).expect("well formed"));
    let x = message.get_child("x", "urn:a").expect("prefixed");
    assert_eq!((x.attr_ns("urn:a", "k"), x.attr("k")), (Some("1"), Some("2")));
    assert!(x.get_child("y", "urn:y").expect("declared").has_child("z", "urn:y"));
    assert!(x.has_child("x", ns::COMPONENT));
}

#[test]
fn what_is_not_namespace_well_formed_is_dropped_by_itself() {
    for stanza in ["<message><b:x/></message>", "<message id='1' id='2'/>", "<message b:c='d'/>"] {
        let text = format!("{stanza}<message id='next'/>");
        let read = read(&[text.as_bytes()]).expect("the stream goes on");
        let [Incoming::Refused(_), Incoming::Stanza(_)] = &read[..] else { panic!("{read:?}") };
    }
}
