//! Forwarded mails as mail programs write them.

use super::*;

fn mail(subject: &str, kind: &str, body: &str) -> Parsed {
    let raw = format!(
        "From: Alice <alice@acme.test>\nTo: im@bridge.acme.test\nSubject: {subject}\nIn-Reply-To: <orig@x.test>\n\
         Content-Type: text/{kind}; charset=utf-8\n\n{body}"
    );
    parse(raw.replace('\n', "\r\n").as_bytes()).expect("well-formed")
}

const TEXT: [(&str, &str, &str); 8] = [
    (
        "Thunderbird",
        "Fwd: Budget 2027",
        "Approved, go ahead.\n\n\n-------- Forwarded Message --------\nSubject: \tBudget 2027\nDate: \tMon, 5 Jan 2026 10:00:00 +0100\nFrom: \tBob Miller <bob@acme.test>\nTo: \tAlice <alice@acme.test>, \n\tCarol <carol@x.test>\nCC: \tDave <dave@x.test>\n\n\n\nCan you approve 12,400 EUR?\n\nBob\n",
    ),
    (
        "Thunderbird, German",
        "Fwd: Budget 2027",
        "Approved, go ahead.\n\n-------- Weitergeleitete Nachricht --------\nBetreff: \tBudget 2027\nDatum: \tMon, 5 Jan 2026 10:00:00 +0100\nVon: \tBob Miller <bob@acme.test>\nAn: \tAlice <alice@acme.test>, Carol <carol@x.test>\nKopie (CC): \tDave <dave@x.test>\n\nCan you approve 12,400 EUR?\n\nBob\n",
    ),
    (
        "Gmail",
        "Fwd: Budget 2027",
        "Approved, go ahead.\n\n---------- Forwarded message ---------\nFrom: Bob Miller <bob@acme.test>\nDate: Mon, 5 Jan 2026 at 10:00\nSubject: Budget 2027\nTo: Alice <alice@acme.test>, <carol@x.test>\nCc: Dave <dave@x.test>\n\n\nCan you approve 12,400 EUR?\n\nBob\n",
    ),
    (
        "Gmail, German",
        "Fwd: Budget 2027",
        "Approved, go ahead.\n\n---------- Forwarded message ---------\nVon: Bob Miller <bob@acme.test>\nDate: Mo., 5. Jan. 2026 um 10:00 Uhr\nSubject: Budget 2027\nTo: Alice <alice@acme.test>, <carol@x.test>\nCc: <dave@x.test>\n\nCan you approve 12,400 EUR?\n\nBob\n",
    ),
    (
        "Outlook",
        "FW: Budget 2027",
        "Approved, go ahead.\n\nFrom: Bob Miller <bob@acme.test>\nSent: Monday, January 5, 2026 10:00 AM\nTo: Alice <alice@acme.test>; carol@x.test\nCc: Dave <dave@x.test>\nSubject: Budget 2027\nImportance: High\n\nCan you approve 12,400 EUR?\n\nBob\n",
    ),
    (
        "Outlook, German",
        "WG: Budget 2027",
        "Approved, go ahead.\n\n________________________________\nVon: Bob Miller <bob@acme.test<mailto:bob@acme.test>>\nGesendet: Montag, 5. Januar 2026 10:00\nAn: Alice <alice@acme.test>; carol@x.test\nCc: dave@x.test\nBetreff: Budget 2027\n\nCan you approve 12,400 EUR?\n\nBob\n",
    ),
    (
        "Apple Mail",
        "Fwd: Budget 2027",
        "Approved, go ahead.\n\nBegin forwarded message:\n\n> From: Bob Miller <bob@acme.test>\n> Subject: Budget 2027\n> Date: 5. January 2026 at 10:00:00 CET\n> To: Alice <alice@acme.test>, carol@x.test\n> Cc: dave@x.test\n> \n> Can you approve 12,400 EUR?\n> \n> Bob\n",
    ),
    (
        "Apple Mail, signed",
        "Fwd: Budget 2027",
        "Approved, go ahead.\n\n-- \nAlice\nAcme\n\nAnfang der weitergeleiteten Nachricht:\n\nVon: Bob Miller <bob@acme.test>\nBetreff: Budget 2027\nDatum: 5. Januar 2026 um 10:00:00 MEZ\nAn: Alice <alice@acme.test>, carol@x.test\nKopie: dave@x.test\n\nCan you approve 12,400 EUR?\n\nBob\n",
    ),
];

fn assert_forward(make: &str, parsed: &Parsed) {
    let forwarded =
        parsed.forwarded.as_ref().unwrap_or_else(|| panic!("{make}: {}", parsed.full_text));
    assert_eq!(forwarded.how, ForwardHow::Inline, "{make}");
    assert!(!forwarded.certain, "{make}: only quoted text names the sender");
    assert_eq!(forwarded.comment, "Approved, go ahead.", "{make}");
    let from = forwarded.from.as_ref().expect(make);
    assert_eq!(
        (from.name.as_deref(), from.email.as_str()),
        (Some("Bob Miller"), "bob@acme.test"),
        "{make}"
    );
    assert_eq!(forwarded.subject.as_deref(), Some("Budget 2027"), "{make}");
    let to: Vec<_> = forwarded.to.iter().map(|m| m.email.as_str()).collect();
    assert_eq!(to, ["alice@acme.test", "carol@x.test"], "{make}");
    assert_eq!(
        forwarded.cc.iter().map(|m| m.email.as_str()).collect::<Vec<_>>(),
        ["dave@x.test"],
        "{make}"
    );
    assert_eq!(forwarded.text, "Can you approve 12,400 EUR?\n\nBob", "{make}");
    assert_eq!(forwarded.message_id.as_deref(), Some("orig@x.test"), "{make}");
    assert!(
        forwarded.date_text.as_ref().is_some_and(|d| d.contains("10:00")),
        "{make}: {:?}",
        forwarded.date_text
    );
}

#[test]
fn inline_forwards_are_read_in_every_make() {
    for (make, subject, body) in TEXT {
        let parsed = mail(subject, "plain", body);
        assert_forward(make, &parsed);
        assert_eq!(parsed.text, "Approved, go ahead.", "{make}");
    }
    let thunderbird = mail(TEXT[0].1, "plain", TEXT[0].2).forwarded.expect("found");
    assert_eq!(thunderbird.date.map(|d| d.rfc3339()).as_deref(), Some("2026-01-05T09:00:00.000Z"));
}

#[test]
fn inline_forwards_in_html_are_read() {
    let thunderbird = "<p>Approved, go ahead.</p><div class=\"moz-forward-container\"><br><br>-------- Forwarded Message --------\
        <table class=\"moz-email-headers-table\"><tbody>\
        <tr><th align=\"RIGHT\">Subject: </th><td>Budget 2027</td></tr><tr><th>Date: </th><td>Mon, 5 Jan 2026 10:00:00 +0100</td></tr>\
        <tr><th>From: </th><td>Bob Miller <a class=\"moz-txt-link-rfc2396E\" href=\"mailto:bob@acme.test\">&lt;bob@acme.test&gt;</a></td></tr>\
        <tr><th>To: </th><td>Alice <a href=\"mailto:alice@acme.test\">&lt;alice@acme.test&gt;</a>, carol@x.test</td></tr>\
        <tr><th>CC: </th><td>dave@x.test</td></tr></tbody></table><br><br><p>Can you approve 12,400 EUR?</p><p>Bob</p></div>";
    let gmail = "<div dir=\"ltr\">Approved, go ahead.</div><br><div class=\"gmail_quote\"><div dir=\"ltr\" class=\"gmail_attr\">---------- Forwarded message ---------<br>\
        From: <strong class=\"gmail_sendername\">Bob Miller</strong> <span dir=\"auto\">&lt;<a href=\"mailto:bob@acme.test\">bob@acme.test</a>&gt;</span><br>Date: Mon, 5 Jan 2026 at 10:00<br>Subject: Budget 2027<br>\
        To: Alice &lt;<a href=\"mailto:alice@acme.test\">alice@acme.test</a>&gt;, &lt;<a href=\"mailto:carol@x.test\">carol@x.test</a>&gt;<br>Cc: &lt;dave@x.test&gt;<br></div><br><br><div>Can you approve 12,400 EUR?<br><br>Bob</div></div>";
    let outlook = "<p class=MsoNormal>Approved, go ahead.</p><p class=MsoNormal>&nbsp;</p><div style='border:none;border-top:solid #E1E1E1 1.0pt'>\
        <p class=MsoNormal><b>From:</b> Bob Miller &lt;bob@acme.test&gt; <br><b>Sent:</b> Monday, January 5, 2026 10:00 AM<br><b>To:</b> Alice &lt;alice@acme.test&gt;; carol@x.test<br><b>Cc:</b> dave@x.test<br><b>Subject:</b> Budget 2027</p></div>\
        <p class=MsoNormal>&nbsp;</p><p class=MsoNormal>Can you approve 12,400 EUR?</p><p class=MsoNormal>&nbsp;</p><p class=MsoNormal>Bob</p>";
    let apple = "Approved, go ahead.<br><div><br><blockquote type=\"cite\"><div>Begin forwarded message:</div><br>\
        <div><b>From: </b><span>Bob Miller &lt;<a href=\"mailto:bob@acme.test\">bob@acme.test</a>&gt;<br></span></div><div><b>Subject: </b>Budget 2027<br></div>\
        <div><b>Date: </b>5. January 2026 at 10:00:00 CET<br></div><div><b>To: </b>Alice &lt;alice@acme.test&gt;, carol@x.test<br></div><div><b>Cc: </b>dave@x.test<br></div><br>\
        <div>Can you approve 12,400 EUR?<br><br>Bob</div></blockquote></div>";
    for (make, subject, body) in [
        ("Thunderbird", "Fwd: Budget 2027", thunderbird),
        ("Gmail", "Fwd: Budget 2027", gmail),
        ("Outlook", "FW: Budget 2027", outlook),
        ("Apple Mail", "Fwd: Budget 2027", apple),
    ] {
        assert_forward(make, &mail(subject, "html", body));
    }
}

#[test]
fn an_attached_mail_is_certain() {
    let raw = "From: Alice <alice@acme.test>\nTo: im@bridge.acme.test\nSubject: Fwd: Budget 2027\nContent-Type: multipart/mixed; boundary=b\n\n\
        --b\nContent-Type: text/plain\n\nApproved, go ahead.\n\n-- \nAlice\n\n--b\nContent-Type: message/rfc822; charset=UTF-8; name=\"Budget 2027.eml\"\n\
        Content-Disposition: attachment; filename=\"Budget 2027.eml\"\n\nMessage-ID: <orig@x.test>\nDate: Mon, 5 Jan 2026 10:00:00 +0100\nFrom: Bob Miller <bob@acme.test>\n\
        To: alice@acme.test\nSubject: Budget 2027\nContent-Type: multipart/mixed; boundary=i\n\n--i\nContent-Type: text/plain\n\nCan you approve?\n\
        --i\nContent-Type: application/pdf; name=offer.pdf\nContent-Transfer-Encoding: base64\n\nJVBERg==\n--i--\n--b--\n"
        .replace('\n', "\r\n");
    let parsed = parse(raw.as_bytes()).expect("well-formed");
    let forwarded = parsed.forwarded.expect("found");
    assert_eq!((forwarded.how, forwarded.certain), (ForwardHow::AsAttachment, true));
    assert_eq!(forwarded.comment, "Approved, go ahead.");
    assert_eq!(forwarded.from.map(|m| m.email.to_string()).as_deref(), Some("bob@acme.test"));
    assert_eq!(forwarded.message_id.as_deref(), Some("orig@x.test"));
    assert_eq!(forwarded.text, "Can you approve?");
    assert_eq!(forwarded.attachments[0].name, "offer.pdf");
    let start = raw.find("Message-ID: <orig").expect("there");
    let end = raw.find("\r\n--b--").expect("there");
    assert_eq!(forwarded.raw.expect("the octets").as_ref(), &raw.as_bytes()[start..end]);
    assert_eq!(parsed.attachments[0].media_type, "message/rfc822");
}

#[test]
fn an_attached_mail_is_found_by_its_extension_too() {
    let raw = "From: Alice <alice@acme.test>\nSubject: Fwd: Budget\nContent-Type: multipart/mixed; boundary=b\n\n\
        --b\nContent-Type: text/plain\n\n-- \nAlice\n--b\nContent-Type: application/octet-stream; name=\"Budget.eml\"\n\
        Content-Transfer-Encoding: base64\n\nRnJvbTogYm9iQGFjbWUudGVzdApTdWJqZWN0OiBCdWRnZXQKCkNhbiB5b3UgYXBwcm92ZT8K\n--b--\n"
        .replace('\n', "\r\n");
    let forwarded = parse(raw.as_bytes()).expect("well-formed").forwarded.expect("found");
    assert_eq!(forwarded.from.map(|m| m.email.to_string()).as_deref(), Some("bob@acme.test"));
    assert_eq!((forwarded.comment.as_str(), forwarded.text.as_str()), ("", "Can you approve?"));
}

#[test]
fn a_forward_without_comment_has_none() {
    let (_, subject, body) = TEXT[2];
    let below = body.strip_prefix("Approved, go ahead.\n\n").expect("fixture");
    let forwarded = mail(subject, "plain", below).forwarded.expect("found");
    assert_eq!(forwarded.comment, "");
    let signed = format!("\n-- \nAlice\n\n{below}");
    assert_eq!(mail(subject, "plain", &signed).forwarded.expect("found").comment, "");
}

#[test]
fn an_answer_is_told_from_a_forward() {
    let (_, _, body) = TEXT[4];
    let answer = mail("Re: Budget 2027", "plain", body).forwarded.expect("a quoted header");
    assert_eq!(answer.how, ForwardHow::Quoted);
    assert!(mail("Budget", "plain", "Hello\n\nFrom: here\n").forwarded.is_none());
}
