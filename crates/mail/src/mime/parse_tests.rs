//! Ordinary mails of many makes.

use super::*;

fn parsed(raw: &str) -> Parsed {
    parse(raw.replace('\n', "\r\n").as_bytes()).expect("a well-formed mail")
}

#[test]
fn header_values_are_decoded() {
    let mail = parsed(
        "From: =?utf-8?q?Bj=C3=B6rn_Borg?= <bjorn@acme.test>\nSender: office@acme.test\nReply-To: \"Borg, B.\" <b@acme.test>\n\
         To: Alice <alice@acme.test>, team: carol@x.test, dave@x.test;\nCc: =?iso-8859-1?Q?Ren=E9?= <rene@x.test>\n\
         Subject: =?utf-8?B?R3LDvMOfZQ==?=\n =?utf-8?B?IGF1cyBLw7Zsbg==?=\nDate: Mon, 5 Jan 2026 10:00:00 +0100\n\
         Message-ID: <m3@acme.test>\nIn-Reply-To: <m2@x.test> <other@x.test>\n\
         References: <m0@x.test>\n <m1@x.test>\n\t<m2@x.test>\nList-Id: The team <team.acme.test>\n\nHi\n",
    );
    assert_eq!(mail.from.name.as_deref(), Some("Björn Borg"));
    assert_eq!(mail.subject, "Grüße aus Köln");
    assert_eq!(mail.reply_to[0].name.as_deref(), Some("Borg, B."));
    assert_eq!(
        mail.to.iter().map(|m| m.email.as_str()).collect::<Vec<_>>(),
        ["alice@acme.test", "carol@x.test", "dave@x.test"]
    );
    assert_eq!(mail.cc[0].name.as_deref(), Some("René"));
    assert_eq!(mail.date.map(|d| d.rfc3339()).as_deref(), Some("2026-01-05T09:00:00.000Z"));
    assert_eq!(mail.message_id.as_deref(), Some("m3@acme.test"));
    assert_eq!(mail.references, ["m0@x.test", "m1@x.test", "m2@x.test"]);
    assert_eq!(thread_keys(&mail), ["m2@x.test", "other@x.test", "m1@x.test", "m0@x.test"]);
    assert_eq!(mail.list_id.as_deref(), Some("team.acme.test"));
    assert!(mail.auto, "a list is never answered by a program");
    assert_eq!(mail.sender.expect("given").email.as_str(), "office@acme.test");
}

#[test]
fn a_display_name_cannot_turn_around() {
    let mail = parsed("From: \"evil\u{202e}tset.emca@ecila\" <eve@evil.test>\nSubject: a\n\nHi\n");
    assert_eq!(mail.from.name.as_deref(), Some("eviltset.emca@ecila"));
}

#[test]
fn long_threads_keep_both_ends() {
    let ids: String = (0..300).map(|i| format!(" <m{i}@x.test>\n")).collect();
    let mail = parsed(&format!("From: a@b.test\nReferences:{ids}\nHi\n"));
    assert_eq!(mail.references.len(), 200);
    assert_eq!(mail.references[0], "m0@x.test");
    assert_eq!(mail.references[199], "m299@x.test");
}

const GMAIL_WITH_IMAGE: &str = "From: Bob <bob@acme.test>\nSubject: Photo\nMIME-Version: 1.0\n\
Content-Type: multipart/mixed; boundary=\"m\"\n\n--m\nContent-Type: multipart/related; boundary=\"r\"\n\n\
--r\nContent-Type: multipart/alternative; boundary=\"a\"\n\n\
--a\nContent-Type: text/plain; charset=\"UTF-8\"\nContent-Transfer-Encoding: quoted-printable\n\n\
Look at the p=C3=BCmp:\n[image: pump.png]\n\n\
--a\nContent-Type: text/html; charset=\"UTF-8\"\n\n<div>Look at the <b>p&uuml;mp</b>:<img src=\"cid:ii_1\" alt=\"pump.png\"></div>\n\n--a--\n\
--r\nContent-Type: image/png; name=\"pump.png\"\nContent-Disposition: inline; filename=\"pump.png\"\nContent-Transfer-Encoding: base64\nContent-ID: <ii_1>\n\niVBORw0KGgo=\n--r--\n\
--m\nContent-Type: application/pdf; name=\"offer.pdf\"\nContent-Disposition: attachment; filename=\"offer.pdf\"\nContent-Transfer-Encoding: base64\n\nJVBERi0xLjQ=\n--m--\n";

#[test]
fn text_html_inline_image_and_file_are_told_apart() {
    let mail = parsed(GMAIL_WITH_IMAGE);
    assert_eq!(mail.text, "Look at the pümp:\n[image: pump.png]");
    assert_eq!(mail.markdown.as_deref(), Some("Look at the **pümp**:[pump.png]"));
    assert!(mail.html.expect("has HTML").contains("cid:ii_1"));
    let files: Vec<_> =
        mail.attachments.iter().map(|a| (a.name.as_str(), a.inline, a.data.len())).collect();
    assert_eq!(files, [("pump.png", true, 8), ("offer.pdf", false, 8)]);
    assert_eq!(mail.attachments[0].content_id.as_deref(), Some("ii_1"));
}

#[test]
fn html_only_mail_has_text() {
    let mail = parsed(
        "From: a@b.test\nContent-Type: text/html; charset=iso-8859-1\nContent-Transfer-Encoding: quoted-printable\n\n\
         <p>Caf=E9 <a href=3D\"https://x.test/m\">menu</a></p>\n",
    );
    assert_eq!(mail.text, "Café menu <https://x.test/m>");
    assert_eq!(mail.markdown.as_deref(), Some("Café [menu](https://x.test/m)"));
}

#[test]
fn apple_mail_text_around_a_file_stays_one_text() {
    let mail = parsed(
        "From: a@b.test\nContent-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: text/plain\n\nBefore\n\
         --b\nContent-Type: image/jpeg; name=p.jpg\nContent-Disposition: inline; filename=p.jpg\n\nx\n\
         --b\nContent-Type: text/plain\n\nAfter\n--b--\n",
    );
    assert_eq!(mail.text, "Before\n\nAfter");
    assert_eq!(mail.attachments.len(), 1);
    assert_eq!(mail.attachments[0].data.as_ref(), b"x");
}

#[test]
fn a_mail_without_text_parts_or_boundaries_is_still_read() {
    let only = parsed(
        "From: a@b.test\nContent-Type: application/pdf\nContent-Disposition: attachment\n\nx\n",
    );
    assert_eq!((only.text.as_str(), only.attachments[0].name.as_str()), ("", "attachment.pdf"));
    let broken = parsed(
        "From: a@b.test\nContent-Type: multipart/mixed; boundary=nowhere\n\nplain after all\n",
    );
    assert_eq!(broken.text, "plain after all");
    let cut = parsed(
        "From: a@b.test\nContent-Type: multipart/mixed; boundary=b\n\n--b\n\nfirst\n--b\n\nsecond",
    );
    assert_eq!(cut.text, "first\n\nsecond");
    assert_eq!(parsed("From: a@b.test\n").text, "");
}

const BOUNCE: &str = "Return-Path: <>\nFrom: MAILER-DAEMON (Mail Delivery System)\nTo: b-0abc@bridge.acme.test\nSubject: Undelivered Mail\n\
Auto-Submitted: auto-replied\nContent-Type: multipart/report; report-type=delivery-status;\n boundary=\"b\"\n\n\
--b\nContent-Type: text/plain\n\nI am sorry.\n\n\
--b\nContent-Type: message/delivery-status\n\n\
Reporting-MTA: dns; mx.x.test\nOriginal-Envelope-Id: dlv+2B0abc\nX-Postfix-Queue-ID: 4Q\n\n\
Final-Recipient: rfc822; bob@x.test\nOriginal-Recipient: rfc822;Bob@x.test\nAction: failed\nStatus: 5.1.1\n\
Diagnostic-Code: smtp; 550 5.1.1 <bob@x.test>: no such\n    user here\n\n\
Final-Recipient: rfc822; carol@x.test\nAction: delayed\nStatus: 4.4.1 (busy)\n\n\
--b\nContent-Type: message/rfc822-headers\n\nnot this\n\
--b\nContent-Type: text/rfc822-headers\n\nReceived: x\nMessage-Id:\n <out-1@bridge.acme.test>\nSubject: Hi\n--b--\n";

#[test]
fn a_bounce_is_read_per_recipient() {
    let mail = parsed(BOUNCE);
    let Kind::Bounce(report) = mail.kind else { panic!("{:?}", mail.kind) };
    assert_eq!(report.envelope_id.as_deref(), Some("dlv+0abc"));
    assert_eq!(report.reporting_mta.as_deref(), Some("mx.x.test"));
    assert_eq!(report.original_message_id.as_deref(), Some("out-1@bridge.acme.test"));
    let bob = &report.recipients[0];
    assert_eq!((bob.action, bob.status.as_str()), (Action::Failed, "5.1.1"));
    assert_eq!(bob.recipient.as_ref().map(|e| e.as_str()), Some("bob@x.test"));
    assert_eq!(bob.diagnostic.as_deref(), Some("550 5.1.1 <bob@x.test>: no such    user here"));
    assert_eq!(
        (report.recipients[1].action, report.recipients[1].status.as_str()),
        (Action::Delayed, "4.4.1")
    );
    assert!(mail.auto);
    assert_eq!(mail.from.email.as_str(), "MAILER-DAEMON@unqualified.invalid");
}

#[test]
fn upstream_verdicts_are_believed_when_bad() {
    let verdict = |field: &str| parsed(&format!("From: a@b.test\n{field}\n\nx\n")).upstream_verdict;
    assert!(verdict("X-Spam-Flag: YES").is_some());
    assert!(verdict("X-Spam-Status: Yes, score=9.1").is_some());
    assert!(
        verdict(
            "Authentication-Results: mx.test; spf=pass; dmarc=fail (p=reject) header.from=b.test"
        )
        .is_some()
    );
    assert!(verdict("Authentication-Results: mx.test; dmarc=fail (p=none)").is_none());
    assert!(verdict("Authentication-Results: mx.test; dmarc=pass").is_none());
    assert!(verdict("X-Spam-Flag: NO").is_none());
}

#[test]
fn no_text_holds_what_xml_cannot_carry() {
    for (kind, body) in [("plain", "a\u{1}b\u{fffe}c\u{7f}"), ("html", "a&#1;b&#xFFFE;c&#x7f;")] {
        let mail = parsed(&format!(
            "From: a@b.test\nContent-Type: text/{kind}; charset=utf-8\n\n{body}\n"
        ));
        assert_eq!(mail.text, "abc", "{kind}");
    }
}

#[test]
fn line_ends_can_be_put_right() {
    assert_eq!(with_crlf(b"a\r\nb\r\n").as_ref(), b"a\r\nb\r\n");
    assert!(matches!(with_crlf(b"a\r\nb\r\n"), std::borrow::Cow::Borrowed(_)));
    assert_eq!(with_crlf(b"\na\n\nb\rc\r\n").as_ref(), b"\r\na\r\n\r\nb\r\nc\r\n");
}

proptest::proptest! {
    #[test]
    fn nothing_panics(raw in proptest::collection::vec(proptest::num::u8::ANY, 0..600)) {
        let _ = parse(&raw);
        let mut mail = b"From: a@b.test\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n".to_vec();
        mail.extend_from_slice(&raw);
        let _ = parse(&mail);
    }

    #[test]
    fn html_never_panics(html in "[<>a-z/!&;#\"'= \n\u{e9}-]{0,300}") {
        let _ = html_to_markdown(&html);
        let _ = sanitise(&html);
    }
}
