//! Mails that were made to break something, each beside its legitimate twin.

use std::time::Duration;

use tokio::time::Instant;

use super::*;

/// Unoptimised code on a busy machine is that much slower than what is shipped.
const SLOW: u32 = if cfg!(debug_assertions) { 20 } else { 1 };

fn mail(header: &str, body: &str) -> Vec<u8> {
    format!("From: Bob <bob@acme.test>\r\nTo: alice@acme.test\r\nSubject: Hi\r\nMessage-ID: <1@acme.test>\r\n{header}\r\n{body}")
        .into_bytes()
}

/// Runs something on a mail and asserts that it does not take a second.
fn quick<T>(what: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let out = what();
    assert!(start.elapsed() < Duration::from_secs(1) * SLOW, "{:?}", start.elapsed());
    out
}

/// A mail with `depth` multiparts inside one another and a text in the innermost.
fn nested(depth: usize) -> Vec<u8> {
    let mut body = String::new();
    for i in 1..depth {
        body.push_str(&format!(
            "--b{}\r\nContent-Type: multipart/mixed; boundary=b{i}\r\n\r\n",
            i - 1
        ));
    }
    body.push_str(&format!("--b{}\r\n\r\ninnermost\r\n", depth - 1));
    for i in (0..depth).rev() {
        body.push_str(&format!("--b{i}--\r\n"));
    }
    mail("Content-Type: multipart/mixed; boundary=b0\r\n", &body)
}

#[test]
fn abuse_mime_13_nesting_and_part_count_are_capped() {
    let deep = nested(20_000);
    assert!(matches!(quick(|| check(&deep)), Err(Refusal::Complexity(_))));
    assert!(matches!(quick(|| parse(&deep)), Err(Refusal::Complexity(_))));
    let many =
        mail("Content-Type: multipart/mixed; boundary=b\r\n", &"--b\r\n\r\n\r\n".repeat(1_000_000));
    assert!(matches!(quick(|| check(&many)), Err(Refusal::Complexity(_))));
    let lines = mail("Content-Type: multipart/mixed; boundary=b\r\n", &"--x\r\n".repeat(1_000_000));
    assert!(quick(|| parse(&lines)).is_ok());
    // The legitimate twin: forwards of forwards with many files.
    assert_eq!(quick(|| parse(&nested(20))).expect("taken").text, "innermost");
    let files = "--b\r\nContent-Disposition: attachment; filename=a.txt\r\n\r\nx\r\n".repeat(500);
    let files = mail("Content-Type: multipart/mixed; boundary=b\r\n", &format!("{files}--b--\r\n"));
    assert_eq!(quick(|| parse(&files)).expect("taken").attachments.len(), 500);
}

#[test]
fn abuse_mime_14_malformed_nested_mails_terminate() {
    let inner = "Content-Type: message/rfc822\r\n\r\n".repeat(50_000);
    for body in [
        inner.clone(),
        format!("--b\r\n{inner}"),
        "--b\r\nContent-Type: message/rfc822\r\n\r\n".to_owned(),
        "--b\r\nContent-Type: message/rfc822\r\nContent-Transfer-Encoding: base64\r\n\r\n!!!!\r\n--b".to_owned(),
        "--b\r\nContent-Type: message/rfc822\r\n\r\n--b--\r\n--b\r\n--b--".to_owned(),
        format!("--b\r\nContent-Type: message/rfc822\r\n\r\n{}", "\r\n".repeat(100_000)),
    ] {
        let raw = mail("Content-Type: multipart/mixed; boundary=b\r\n", &body);
        let parsed = quick(|| parse(&raw)).expect("malformed parts are files");
        assert!(parsed.attached_messages.is_empty());
    }
    // Mails in mails in mails end after a few levels; the rest is a file.
    let mut raw = mail("", "innermost\r\n");
    for i in 0..40 {
        let inner = String::from_utf8(raw).expect("ascii");
        raw = mail(
            &format!("Content-Type: multipart/mixed; boundary=n{i}\r\n"),
            &format!("--n{i}\r\nContent-Type: message/rfc822\r\n\r\n{inner}\r\n--n{i}--\r\n"),
        );
    }
    let mut levels = 0;
    let mut at = &quick(|| parse(&raw)).expect("taken");
    while let Some(inner) = at.attached_messages.first() {
        levels += 1;
        at = &inner.message;
    }
    assert_eq!(levels, 3);
    // The legitimate twin: an attached mail is read.
    let twin = mail(
        "Content-Type: multipart/mixed; boundary=b\r\n",
        "--b\r\n\r\nsee below\r\n--b\r\nContent-Type: message/rfc822\r\n\r\nFrom: Carol <carol@x.test>\r\nSubject: Old\r\n\r\nhello\r\n--b--\r\n",
    );
    let parsed = parse(&twin).expect("taken");
    assert_eq!(parsed.attached_messages[0].message.subject, "Old");
    assert_eq!(parsed.attachments[0].name, "Old.eml");
}

#[test]
fn abuse_mime_15_parameters_are_capped() {
    let many: String = (0..200_000).map(|i| format!("; x*{i}=a")).collect();
    let folded = many.replace("; x*1000", ";\r\n x*1000");
    for header in [
        format!("Content-Type: text/plain{many}\r\n"),
        format!("Content-Disposition: attachment{folded}\r\n"),
    ] {
        assert!(quick(|| check(&mail(&header, "x"))).is_err());
    }
    let hundred: String = (0..101).map(|i| format!(";x*{i}=a")).collect();
    let in_part = mail(
        "Content-Type: multipart/mixed; boundary=b\r\n",
        &format!("--b\r\nContent-Type: text/plain{hundred}\r\n\r\nx\r\n--b--\r\n"),
    );
    assert!(matches!(check(&in_part), Err(Refusal::Complexity(_))));
    // The legitimate twin: a long file name in three sections (RFC 2231 section 3).
    let twin = mail(
        "Content-Type: application/pdf\r\nContent-Disposition: attachment;\r\n filename*0*=UTF-8''Jahres%C3%A4;\r\n filename*1*=bschlu%C3%9F%20;\r\n filename*2=2026.pdf\r\n",
        "x",
    );
    assert_eq!(parse(&twin).expect("taken").attachments[0].name, "Jahresäbschluß 2026.pdf");
}

#[test]
fn abuse_mime_17_contradictions_are_refused_with_the_reason() {
    let multipart = "Content-Type: multipart/mixed; boundary=b\r\n";
    let nested_same =
        "--b\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nx\r\n--b--\r\n";
    for (header, body, reason) in [
        ("From: eve@evil.test\r\n", "x", "From appears more than once"),
        ("from : eve@evil.test\r\n", "x", "From appears more than once"),
        ("Subject: other\r\n", "x", "Subject appears more than once"),
        ("Message-ID: <2@x>\r\n", "x", "Message-ID appears more than once"),
        (
            "Content-Type: text/plain\r\nContent-Type: text/html\r\n",
            "x",
            "Content-Type appears more than once",
        ),
        (
            "Content-Transfer-Encoding: 7bit\r\nContent-Transfer-Encoding: base64\r\n",
            "x",
            "Content-Transfer-Encoding appears more than once",
        ),
        (multipart, nested_same, "two nested multiparts have the same boundary"),
        (
            "Content-Type: multipart/mixed; boundary=a; boundary=b\r\n",
            "--a\r\n\r\nx",
            "two boundaries",
        ),
        (
            "Content-Type: multipart/mixed; boundary=b\r\nContent-Transfer-Encoding: base64\r\n",
            "--b\r\n\r\nx",
            "a multipart has a transfer encoding of its own",
        ),
    ] {
        let refusal = check(&mail(header, body)).expect_err(reason);
        assert!(refusal.to_string().contains(reason), "{refusal} is not about {reason}");
        assert!(refusal.enhanced().starts_with("5.6."), "{refusal}");
    }
    assert_eq!(check(b"To: a@b.test\r\n\r\nx").expect_err("no author"), Refusal::From);
    // The legitimate twin: several authors in one From, different boundaries, repeated trace fields.
    let raw = b"Received: a\r\nReceived: b\r\nFrom: Bob <bob@acme.test>, carol@x.test\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n\
        --b\r\nContent-Type: multipart/alternative; boundary=b2\r\n\r\n--b2\r\n\r\nx\r\n--b2--\r\n--b--\r\n";
    let peek = check(raw).expect("taken");
    assert_eq!((peek.from, peek.from_addresses, peek.hops, peek.parts), (None, 2, 2, 3));
}

#[test]
fn abuse_mime_19_archives_are_never_unpacked() {
    // The start of a zip whose entry claims 4 GiB; nobody here looks.
    let zip = b"PK\x03\x04\x14\0\0\0\x08\0\0\0!\0\xde\xad\xbe\xef\x10\0\0\0\xff\xff\xff\xff\x05\0\0\0a.txt";
    use base64::Engine;
    let body = base64::engine::general_purpose::STANDARD.encode(zip);
    let raw = mail(
        "Content-Type: application/zip; name=bomb.zip\r\nContent-Transfer-Encoding: base64\r\nContent-Disposition: attachment\r\n",
        &body,
    );
    let parsed = quick(|| parse(&raw)).expect("a file is a file");
    assert_eq!(parsed.attachments.len(), 1);
    assert_eq!(parsed.attachments[0].data.as_ref(), zip);
    assert_eq!(parsed.attachments[0].name, "bomb.zip");
    assert_eq!(parsed.text, "");
}

#[test]
fn abuse_mime_20_what_no_person_wrote_is_not_an_answer() {
    let calendar = mail(
        "Content-Type: multipart/alternative; boundary=b\r\n",
        "--b\r\n\r\nWhen: Monday\r\n--b\r\nContent-Type: text/calendar; method=request; charset=utf-8\r\n\r\nBEGIN:VCALENDAR\r\n--b--\r\n",
    );
    let parsed = parse(&calendar).expect("taken");
    assert_eq!(parsed.kind, Kind::Calendar("REQUEST".into()));
    assert_eq!(parsed.attachments[0].name, "attachment.ics");
    for header in [
        "Auto-Submitted: auto-replied (vacation)\r\n",
        "Precedence: bulk\r\n",
        "Precedence: auto_reply\r\n",
        "X-Autoreply: yes\r\n",
        "X-Autorespond: Away\r\n",
        "Content-Type: multipart/report; report-type=disposition-notification; boundary=b\r\n",
    ] {
        let parsed = parse(&mail(header, "I am away.\r\n")).expect("taken");
        assert!(matches!(parsed.kind, Kind::Automatic(_)) && parsed.auto, "{header}");
    }
    let notice = b"From: bob@acme.test\r\nSubject: Automatic reply: Budget\r\n\r\nI am away.\r\n";
    assert!(matches!(parse(notice).expect("taken").kind, Kind::Automatic(_)));
    // The legitimate twins: a person's answer, one with an invitation as a file, one to a notice.
    assert_eq!(
        parse(&mail("Auto-Submitted: no\r\n", "Yes.\r\n")).expect("taken").kind,
        Kind::Ordinary
    );
    let file = mail(
        "Content-Type: multipart/mixed; boundary=b\r\n",
        "--b\r\n\r\nhere is the date\r\n--b\r\nContent-Type: text/calendar; method=REQUEST\r\nContent-Disposition: attachment; filename=date.ics\r\n\r\nBEGIN:VCALENDAR\r\n--b--\r\n",
    );
    let parsed = parse(&file).expect("taken");
    assert_eq!((parsed.kind, parsed.auto), (Kind::Ordinary, false));
    let answer =
        b"From: bob@acme.test\r\nSubject: Re: Automatic reply: Budget\r\n\r\nThen on Monday.\r\n";
    assert_eq!(parse(answer).expect("taken").kind, Kind::Ordinary);
}

#[test]
fn abuse_smtp_08_hops_and_own_loop_marks_are_seen() {
    let hops = |n: usize| {
        mail(&"Received: from a by b; Mon, 5 Jan 2026 10:00:00 +0000\r\n".repeat(n), "x")
    };
    let refusal = check(&hops(51)).expect_err("too many");
    assert_eq!(refusal, Refusal::Hops(51));
    assert_eq!((refusal.code(), refusal.enhanced()), (554, "5.4.6"));
    assert_eq!(check(&hops(50)).expect("a long way, but no circle").hops, 50);
    let marked = mail("X-Isthmus-Loop: inst-1\r\nx-isthmus-loop: inst-2\r\n", "x");
    assert_eq!(check(&marked).expect("taken").loop_marks, ["inst-1", "inst-2"]);
    assert!(check(&mail("", "x")).expect("taken").loop_marks.is_empty());
}

#[test]
fn abuse_smtp_09_control_characters_in_a_header_are_refused() {
    for bad in [
        "X-A: a\0b\r\n",
        "X-A: a\rBcc: c@x.test\r\n",
        "X-A: a\nBcc: c@x.test\r\n",
        "no field\r\n",
        "\u{e9}: x\r\n",
    ] {
        assert!(matches!(check(&mail(bad, "x")), Err(Refusal::Header(_))), "{bad:?}");
    }
    assert!(matches!(check(b" folded: first\r\n\r\n"), Err(Refusal::Header(_))));
    assert!(matches!(check(b""), Err(Refusal::Header(_))));
    assert!(matches!(check(b"\r\nbody"), Err(Refusal::Header(_))));
    let large = mail(&format!("X-A: {}\r\n", "a".repeat(70_000)), "x");
    assert!(matches!(check(&large), Err(Refusal::HeaderSize(_))));
    let many = mail(&"X-A: a\r\n".repeat(1_001), "x");
    assert!(matches!(check(&many), Err(Refusal::HeaderSize(_))));
    let endless = vec![b'a'; 10_000_000];
    assert!(matches!(quick(|| check(&endless)), Err(Refusal::HeaderSize(_))));
    // The legitimate twin: folded lines, 8-bit text, a subject of several encoded words.
    let twin = mail("X-A: a\r\n\tb\r\n  c\r\nX-B: gr\u{fc}n\r\n", "x\r\n");
    assert_eq!(check(&twin).expect("taken").subject, "Hi");
}
