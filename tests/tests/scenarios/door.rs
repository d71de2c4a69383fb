//! The SMTP door as strangers rattle at it: each trick beside its legitimate twin.

use std::{
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use isthmus_tests::{Api, Isthmus, SmtpClient, SmtpReply, SmtpSink};
use serde_json::json;
use tokio::time::Instant;

use super::{
    letters::{ALICE, CAROL_MAIL, Letter, acme, expect_once, found},
    world::{BRIDGE, CAROL, SOON, setup, takes},
};

/// Nothing speaks for this address; loopback's own is trusted.
const STRANGER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 66));
const TRUSTED: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Unoptimised code on a busy machine may take this long for what ships in under a second.
const QUICK: Duration = Duration::from_secs(10);

/// A session that has said EHLO.
async fn session(isthmus: &Isthmus, from: IpAddr) -> SmtpClient {
    let mut client = SmtpClient::connect_from(from, isthmus.smtp()).await;
    let _ = client.line("EHLO door.test").await.expect(250);
    client
}

/// A session that has said MAIL.
async fn mail_from(isthmus: &Isthmus, peer: IpAddr, from: &str) -> SmtpClient {
    let mut client = session(isthmus, peer).await;
    let _ = client.line(&format!("MAIL FROM:<{from}>")).await.expect(250);
    client
}

/// Sends exactly these octets as the content of a mail to Alice, in a session that goes on.
async fn content(client: &mut SmtpClient, raw: &str) -> SmtpReply {
    for (command, code) in [
        (format!("MAIL FROM:<{CAROL_MAIL}>"), 250),
        (format!("RCPT TO:<{ALICE}>"), 250),
        ("DATA".into(), 354),
    ] {
        let _ = client.line(&command).await.expect(code);
    }
    client.bytes(raw.as_bytes()).await;
    client.bytes(b"\r\n.\r\n").await;
    client.reply().await
}

/// A mail from Carol with these fields, each ending in CRLF, and this body.
fn raw(fields: &str, body: &str) -> String {
    format!("From: {CAROL_MAIL}\r\nTo: {ALICE}\r\n{fields}\r\n{body}")
}

/// The twin: an ordinary letter, taken in the same session, reaches Alice.
async fn twin(alice: &Api, client: &mut SmtpClient, subject: &str) {
    let letter = Letter::new(subject, 0);
    let _ = client.mail(CAROL_MAIL, &[ALICE], &letter.mail().raw()).await.expect(250);
    expect_once(alice, &[letter], SOON).await;
}

#[tokio::test]
async fn abuse_smtp_03_nobody_is_relayed_by_any_way_of_writing_it() {
    let isthmus = acme(setup()).await;
    let table = [
        ("anybody@elsewhere.test".to_owned(), "5.7.1"),
        (format!("anybody%elsewhere.test@{BRIDGE}"), "5.7.1"),
        ("anybody%elsewhere.test@acme.test".into(), "5.7.1"),
        (format!("@{BRIDGE}:anybody@elsewhere.test"), "5.7.1"),
        (format!("@{BRIDGE},@acme.test:{ALICE}"), "5.7.1"),
        (format!("\"anybody@elsewhere.test\"@{BRIDGE}"), "5.1.3"),
        ("\"alice\"@acme.test".into(), "5.1.3"),
        (format!("anybody@elsewhere.test@{BRIDGE}"), "5.1.3"),
        (format!("elsewhere.test!anybody@{BRIDGE}"), "5.1.1"),
        ("elsewhere.test!anybody@acme.test".into(), "5.1.1"),
    ];
    for peer in [STRANGER, TRUSTED] {
        let mut client = mail_from(&isthmus, peer, CAROL_MAIL).await;
        for (to, code) in &table {
            let reply = client.line(&format!("RCPT TO:<{to}>")).await;
            assert_eq!(reply.code, 550, "{to}: {}", reply.text());
            assert!(reply.text().starts_with(code), "{to}: {}", reply.text());
        }
        for own in [ALICE, CAROL, "ALICE@Acme.Test"] {
            let _ = client.line(&format!("RCPT TO:<{own}>")).await.expect(250);
        }
    }
}

#[tokio::test]
async fn abuse_smtp_09_control_characters_reach_no_header() {
    let isthmus = acme(setup()).await;
    let alice = isthmus.member("acme", ALICE).await;
    // A line end within a command would be a second command, so the session is over.
    let commands: [(&[u8], u16); 7] = [
        (b"MAIL FROM:<car\0ol@customer.test>\r\n", 501),
        (b"MAIL FROM:<carol@customer.test\rX>\r\n", 500),
        (b"MAIL FROM:<carol@customer.test\nX>\r\n", 500),
        (b"MAIL FROM:<carol@customer.test> ENVID=x+0D+0ABcc:+20z@x.test\r\n", 501),
        (b"EHLO a\0b\r\n", 501),
        (b"EHLO a\nRSET\r\n", 500),
        (b"MAIL FROM:<\"a\r\nb\"@customer.test>\r\n", 553),
    ];
    for (command, code) in commands {
        let mut client = session(&isthmus, STRANGER).await;
        client.bytes(command).await;
        let reply = client.reply().await;
        let shown = String::from_utf8_lossy(command);
        assert_eq!(reply.code, code, "{shown:?}: {}", reply.text());
    }
    let mut client = session(&isthmus, TRUSTED).await;
    for field in ["Subject: a\0b", "Subject: a\rBcc: eve@x.test", "X-A: b\nBcc: eve@x.test"] {
        let reply = content(&mut client, &raw(&format!("{field}\r\n"), "x")).await;
        assert_eq!(reply.code, 554, "{field:?}: {}", reply.text());
    }
    // Hidden in an encoded word they are taken, and are no line end any more.
    let hidden = "Subject: =?utf-8?q?hidden=0D=0ABcc:_eve@x.test=00?=\r\n";
    assert_eq!(content(&mut client, &raw(hidden, "x")).await.code, 250);
    twin(&alice, &mut client, "folded and plain").await;
    let there = found(&alice).await;
    let hidden = there.keys().find(|s| s.contains("hidden")).expect("the mail is there");
    assert!(!hidden.contains(char::is_control), "{hidden:?}");
}

/// Mails whose structure is a trap, and whether they are taken.
fn traps() -> Vec<(&'static str, String, &'static [u16])> {
    let mut deep = String::new();
    for i in 1..20_000 {
        deep += &format!("--b{}\r\nContent-Type: multipart/mixed; boundary=b{i}\r\n\r\n", i - 1);
    }
    let multipart = |name: &str| format!("Content-Type: multipart/mixed; boundary={name}\r\n");
    let rfc822 = "Content-Type: message/rfc822\r\n\r\n";
    let parameters: String = (0..200_000).map(|i| format!(";\r\n x*{i}=a")).collect();
    let some: String = (0..2_000).map(|i| format!(";\r\n x*{i}=a")).collect();
    vec![
        ("13 deep", raw(&multipart("b0"), &deep), &[554]),
        ("13 many", raw(&multipart("b"), &"--b\r\n\r\n\r\n".repeat(1_000_000)), &[554]),
        ("14 endless", raw(&multipart("b"), &format!("--b\r\n{}", rfc822.repeat(50_000))), &[250]),
        (
            "14 empty",
            raw(&multipart("b"), &format!("--b\r\n{rfc822}--b--\r\n--b\r\n--b--")),
            &[250],
        ),
        (
            "14 encoded",
            raw(
                &multipart("b"),
                "--b\r\nContent-Type: message/rfc822\r\nContent-Transfer-Encoding: base64\r\n\r\n!!!!\r\n--b",
            ),
            &[250],
        ),
        ("14 top", raw(rfc822, &rfc822.repeat(10_000)), &[250]),
        ("15 header", raw(&format!("Content-Type: text/plain{parameters}\r\n"), "x"), &[554]),
        (
            "15 part",
            raw(
                &multipart("b"),
                &format!("--b\r\nContent-Disposition: attachment{some}\r\n\r\nx\r\n--b--"),
            ),
            &[554],
        ),
    ]
}

#[tokio::test]
async fn abuse_mime_13_14_15_traps_in_the_structure_are_answered_quickly() {
    let isthmus = acme(setup()).await;
    let alice = isthmus.member("acme", ALICE).await;
    let mut client = session(&isthmus, TRUSTED).await;
    for (n, (name, mail, codes)) in traps().into_iter().enumerate() {
        let begun = Instant::now();
        let reply = content(&mut client, &mail).await;
        let took = begun.elapsed();
        eprintln!("{name}: {} after {took:?}", reply.code);
        assert!(codes.contains(&reply.code), "{name}: {} {}", reply.code, reply.text());
        assert!(took < QUICK, "{name} was answered after {took:?}");
        // The next one is fine, also behind a trap that was taken and has to be read.
        twin(&alice, &mut client, &format!("trap {n}")).await;
    }
    assert!(!isthmus.log().contains("panicked"), "a trap made something panic");
}

#[tokio::test]
async fn abuse_mime_17_contradictions_are_refused_with_the_reason() {
    let isthmus = acme(setup()).await;
    let alice = isthmus.member("acme", ALICE).await;
    let mut client = session(&isthmus, TRUSTED).await;
    let multipart = "Content-Type: multipart/mixed; boundary=b\r\n";
    let table = [
        ("From: eve@evil.test\r\n".to_owned(), "x", "From appears more than once"),
        ("from : eve@evil.test\r\n".into(), "x", "From appears more than once"),
        ("Subject: a\r\nSubject: b\r\n".into(), "x", "Subject appears more than once"),
        (
            multipart.into(),
            "--b\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nx\r\n--b--",
            "same boundary",
        ),
        (
            "Content-Type: multipart/mixed; boundary=a; boundary=b\r\n".into(),
            "--a\r\n\r\nx",
            "two boundaries",
        ),
        (
            "Content-Transfer-Encoding: 7bit\r\nContent-Transfer-Encoding: base64\r\n".into(),
            "x",
            "Content-Transfer-Encoding appears more than once",
        ),
        (
            format!("{multipart}Content-Transfer-Encoding: base64\r\n"),
            "--b\r\n\r\nx",
            "transfer encoding of its own",
        ),
    ];
    for (fields, body, reason) in &table {
        let reply = content(&mut client, &raw(fields, body)).await;
        assert_eq!(reply.code, 554, "{fields:?}: {}", reply.text());
        assert!(reply.text().contains(reason), "{fields:?}: {}", reply.text());
    }
    // Two boundaries, two encodings and two of a trace field, each where it belongs.
    let honest = raw(
        &format!("Received: a\r\nReceived: b\r\nSubject: honest\r\n{multipart}"),
        "--b\r\nContent-Type: multipart/alternative; boundary=b2\r\n\r\n--b2\r\n\
         Content-Transfer-Encoding: quoted-printable\r\n\r\nH=C3=B6flich\r\n--b2\r\n\
         Content-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\nSMO2ZmxpY2g=\r\n--b2--\r\n--b--",
    );
    assert_eq!(content(&mut client, &honest).await.code, 250);
    twin(&alice, &mut client, "plain").await;
}

/// Alice writes to Dave, so that there is an address under which he answers.
async fn reply_address(isthmus: &Isthmus, relay: &SmtpSink) -> String {
    let alice = isthmus.member("acme", ALICE).await;
    let body =
        json!({"to": "dave@other.test", "via": "email", "subject": "Offer", "text": "Hello."});
    alice.post("/v1/messages", &body).await.expect(202);
    let mail = relay.expect_mail("dave@other.test", SOON, |_| true).await;
    let text = mail.text();
    let words = text.split(|c: char| c.is_whitespace() || "<>,;:\"".contains(c));
    let is_reply = |w: &&str| w.starts_with("r-") && w.ends_with(&format!("@{BRIDGE}"));
    words
        .into_iter()
        .find(is_reply)
        .unwrap_or_else(|| panic!("no reply address: {text}"))
        .to_owned()
}

#[tokio::test]
async fn abuse_smtp_11_who_guesses_reply_addresses_learns_nothing() {
    let relay = SmtpSink::start().await;
    let isthmus = acme(setup().relay(&relay.url())).await;
    let right = reply_address(&isthmus, &relay).await;
    let token = &right[2..right.len() - BRIDGE.len() - 1];
    let wrong = |n: usize| {
        let rest = &token[3..];
        // Of the same length and alphabet as a right one.
        let first = char::from(b'a' + (n % 26) as u8);
        let second = char::from(b'a' + (n / 26) as u8);
        format!("RCPT TO:<r-{first}{second}2{rest}@{BRIDGE}>")
    };
    let right = format!("RCPT TO:<{right}>");
    let mut client = mail_from(&isthmus, STRANGER, "dave@other.test").await;
    let _ = client.line(&right).await.expect(250);
    for n in 0..60 {
        let reply = client.line(&wrong(n)).await;
        assert_eq!(reply.code, 550, "guess {n}: {}", reply.text());
    }
    // What was taken at RCPT is not looked up again: who guesses loses no mail by it.
    let _ = client.line("DATA").await.expect(354);
    client.bytes(b"From: dave@other.test\r\nSubject: Re: Offer\r\n\r\nThank you.\r\n.\r\n").await;
    let _ = client.reply().await.expect(250);
    let mut client = mail_from(&isthmus, STRANGER, "dave@other.test").await;
    let (guessed, known) = (client.line(&wrong(61)).await, client.line(&right).await);
    assert_eq!(guessed, known, "a guess is told apart from what is right");
    assert_eq!(known.code / 100, 4, "who knows it may come again: {}", known.text());
    // Other addresses are not concerned, nor is whom we trust.
    let _ = client.line(&format!("RCPT TO:<{ALICE}>")).await.expect(250);
    let mut trusted = mail_from(&isthmus, TRUSTED, "dave@other.test").await;
    let _ = trusted.line(&right).await.expect(250);
    for n in 0..70 {
        assert_eq!(trusted.line(&wrong(n)).await.code, 550);
    }
    let _ = trusted.line("RSET").await.expect(250);
    let _ = trusted.line("MAIL FROM:<dave@other.test>").await.expect(250);
    let _ = trusted.line(&right).await.expect(250);
}

#[tokio::test]
async fn strangers_write_to_people_and_not_to_the_bridge() {
    let isthmus = acme(setup()).await;
    let mail = |from: &str, to: &str, subject: &str| {
        Letter::new(subject, 0)
            .mail()
            .from(from)
            .raw()
            .replace(&format!("To: {ALICE}"), &format!("To: {to}"))
    };
    for to in [format!("im@{BRIDGE}"), CAROL.to_owned(), format!("dave=other.test@{BRIDGE}")] {
        let mut client = session(&isthmus, STRANGER).await;
        let from = "eve@nowhere.test";
        for (command, code) in [
            (format!("MAIL FROM:<{from}>"), 250),
            (format!("RCPT TO:<{to}>"), 250),
            ("DATA".into(), 354),
        ] {
            let _ = client.line(&command).await.expect(code);
        }
        let text = mail(from, &to, "stranger").replace('\n', "\r\n");
        client.bytes(format!("{text}.\r\n").as_bytes()).await;
        let reply = client.reply().await;
        assert_eq!(reply.code, 550, "{to}: {}", reply.text());
        // The twin is a member.
        let mut client = session(&isthmus, TRUSTED).await;
        let member = mail(ALICE, &to, "member");
        let _ = client.mail(ALICE, &[&to], &member).await.expect(250);
    }
    // RFC 5321 section 4.5.1: the postmaster is there for everybody.
    let mut client = session(&isthmus, STRANGER).await;
    let postmaster = format!("postmaster@{BRIDGE}");
    let asked = mail("eve@nowhere.test", &postmaster, "to the postmaster");
    let _ = client.mail("eve@nowhere.test", &[&postmaster], &asked).await.expect(250);
    let alice = isthmus.member("acme", ALICE).await;
    expect_once(&alice, &[Letter::new("to the postmaster", 0)], SOON).await;
    server_postmaster(&isthmus, &alice).await;
    let there = found(&alice).await;
    assert!(!there.contains_key("stranger"), "{there:?}");
}

/// The postmaster of the server itself needs no domain; it is whoever was there first.
async fn server_postmaster(isthmus: &Isthmus, alice: &Api) {
    let two = "[[tenant]]\nslug = \"two\"\nname = \"Two\"\nbridge_domain = \"bridge.two.test\"\n\
               [[tenant.member]]\nemail = \"zoe@two.test\"\nname = \"Zoe\"\nrole = \"owner\"\n";
    isthmus.apply(two).await;
    takes(isthmus, "postmaster@bridge.two.test").await;
    for (n, to) in ["postmaster", "PostMaster", "postmaster@mx.isthmus.test"].iter().enumerate() {
        let mut client = session(isthmus, STRANGER).await;
        let letter = Letter::new(&format!("to postmaster {n}"), 0);
        let _ = client.mail("eve@nowhere.test", &[to], &letter.mail().raw()).await.expect(250);
        expect_once(alice, &[letter], SOON).await;
    }
    let mut client = mail_from(isthmus, STRANGER, "eve@nowhere.test").await;
    for other in ["postmaster@elsewhere.test", "hostmaster@mx.isthmus.test", "hostmaster"] {
        let _ = client.line(&format!("RCPT TO:<{other}>")).await.expect(550);
    }
}

#[tokio::test]
async fn a_session_that_only_chats_is_ended() {
    let isthmus = acme(setup()).await;
    let alice = isthmus.member("acme", ALICE).await;
    let mut client = session(&isthmus, TRUSTED).await;
    for _ in 0..60 {
        let _ = client.line("NOOP").await.expect(250);
    }
    // The twin brings a mail, and may take its time again.
    twin(&alice, &mut client, "between").await;
    for _ in 0..100 {
        let _ = client.line("NOOP").await.expect(250);
    }
    let _ = client.line("NOOP").await.expect(421);
    assert_eq!(client.line("NOOP").await.code, 0, "the connection is closed");
}
