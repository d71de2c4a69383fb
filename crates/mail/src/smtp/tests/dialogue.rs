//! What a well-behaved client does, and what it gets.

use proptest::prelude::*;
use sha2::{Digest, Sha256};

use super::*;

#[tokio::test]
async fn a_mail_arrives_with_its_envelope() {
    let rig = Rig::new();
    let mut peer = rig.dial();
    assert_eq!(peer.expect("220").await, "220 mx.acme.test ESMTP Isthmus");
    let offered = peer.ask("EHLO client.test\r\n", "250").await;
    for keyword in ["PIPELINING", "SIZE 36700160", "8BITMIME", "ENHANCEDSTATUSCODES", "DSN"] {
        assert!(offered.contains(keyword), "{keyword}");
    }
    assert!(!offered.contains("AUTH") && !offered.contains("STARTTLS"));
    peer.ask("MAIL FROM:<a@x.test> BODY=8BITMIME SIZE=100 RET=FULL ENVID=e1\r\n", "250 2.1.0")
        .await;
    peer.ask("RCPT TO:<bob@acme.test> NOTIFY=FAILURE ORCPT=rfc822;b@x.test\r\n", "250 2.1.5").await;
    peer.ask("RCPT TO:<nobody@acme.test>\r\n", "550 5.1.1").await;
    peer.ask("RCPT TO:<BOB@acme.test>\r\n", "250 2.1.5").await;
    peer.ask("DATA\r\n", "354").await;
    peer.ask("Subject: x\r\n\r\n..dot\r\ncaf\u{e9}\r\n.\r\n", "250 2.0.0 Taken").await;
    peer.ask("QUIT\r\n", "221 2.0.0").await;
    peer.expect_closed().await;
    let got = rig.host.got.lock().unwrap();
    let [got] = got.as_slice() else { panic!("not one mail") };
    assert_eq!(got.mail, "Subject: x\r\n\r\n.dot\r\ncaf\u{e9}\r\n".as_bytes());
    assert_eq!(got.sha256, hex::encode(Sha256::digest(&got.mail)));
    assert_eq!((got.from.as_deref(), got.envid.as_deref()), (Some("a@x.test"), Some("e1")));
    assert_eq!(got.to.len(), 1);
    assert_eq!(got.to[0].notify, Notify::On { success: false, failure: true, delay: false });
    assert_eq!(got.to[0].orcpt.as_deref(), Some("b@x.test"));
    assert_eq!(got.session.helo.as_deref(), Some("client.test"));
    assert!(!got.in_file);
}

#[tokio::test]
async fn pipelined_commands_are_answered_in_order() {
    let rig = Rig::new();
    let mut peer = rig.hello().await;
    let group =
        "MAIL FROM:<a@x.test>\r\nRCPT TO:<bob@acme.test>\r\nRCPT TO:<later@acme.test>\r\nDATA\r\n";
    peer.send(group).await;
    for start in ["250 2.1.0", "250 2.1.5", "451 4.2.1", "354"] {
        peer.expect(start).await;
    }
    // The next mail begins in the same packet in which this one ends.
    peer.send(&format!("one\r\n.\r\n{group}")).await;
    for start in ["250 2.0.0", "250 2.1.0", "250 2.1.5", "451 4.2.1", "354"] {
        peer.expect(start).await;
    }
    peer.send(".\r\nQUIT\r\n").await;
    peer.expect("250 2.0.0").await;
    peer.expect("221").await;
    assert_eq!(rig.host.mails(), ["one\r\n", ""]);
}

#[tokio::test]
async fn commands_out_of_order_are_refused_and_rset_forgets() {
    let rig = Rig::new();
    let mut peer = rig.dial();
    peer.expect("220").await;
    peer.ask("MAIL FROM:<a@x.test>\r\n", "503 5.5.1").await;
    peer.ask("HELO client.test\r\n", "250 mx.acme.test").await;
    peer.ask("RCPT TO:<bob@acme.test>\r\n", "503 5.5.1").await;
    peer.ask("DATA\r\n", "503 5.5.1").await;
    peer.ask("MAIL FROM:<banned@x.test>\r\n", "550 5.7.1").await;
    peer.ask("MAIL FROM:<a@x.test>\r\n", "250").await;
    peer.ask("MAIL FROM:<a@x.test>\r\n", "503").await;
    peer.ask("RCPT TO:<nobody@acme.test>\r\n", "550").await;
    peer.ask("DATA\r\n", "554 5.5.1").await;
    peer.ask("RSET\r\n", "250").await;
    peer.ask("RCPT TO:<bob@acme.test>\r\n", "503").await;
    peer.ask("VRFY bob\r\n", "252 2.5.2").await;
    peer.ask("NOOP\r\n", "250").await;
    peer.ask("HELP\r\n", "214").await;
    peer.ask("STARTTLS\r\n", "502").await;
    peer.ask("AUTH PLAIN AGEAYg==\r\n", "538 5.7.11").await;
    peer.mail("x\r\n.\r\n", "250").await;
}

#[tokio::test]
async fn long_mails_are_spooled_and_complete() {
    let rig = Rig::new();
    let mut peer = rig.hello().await;
    let line = format!("{}\r\n", "x".repeat(76));
    let mail = line.repeat(10_000);
    peer.mail(&format!("{mail}.\r\n"), "250").await;
    // One line that is longer than any buffer.
    let wide = "y".repeat(700_000);
    peer.mail(&format!("{wide}\r\n.\r\n"), "250").await;
    let got = rig.host.got.lock().unwrap();
    assert!(got[0].in_file && got[1].in_file);
    assert_eq!(got[0].mail, mail.as_bytes());
    assert_eq!(got[0].sha256, hex::encode(Sha256::digest(mail.as_bytes())));
    assert_eq!(got[1].mail.len(), 700_002);
}

#[tokio::test]
async fn a_session_ends_after_its_share_of_mails() {
    let rig = Rig::with(Limits { max_messages: 2, ..Limits::default() }, TlsMode::None);
    let mut peer = rig.hello().await;
    peer.mail("1\r\n.\r\n", "250").await;
    peer.mail("2\r\n.\r\n", "250").await;
    peer.ask("MAIL FROM:<a@x.test>\r\n", "421 4.7.0").await;
    peer.expect_closed().await;
    assert_eq!(rig.host.mails().len(), 2);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// However the network cuts the stream, the server takes the same mails.
    #[test]
    fn chunking_does_not_matter(
        mails in proptest::collection::vec("([.a-z]{0,4}\r\n){0,6}", 1..4),
        chunk in 1_usize..40,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let taken = runtime.block_on(async {
            let rig = Rig::new();
            let mut peer = rig.hello().await;
            for mail in &mails {
                let stuffed: String = mail.split_inclusive("\r\n")
                    .map(|l| format!("{}{l}", if l.starts_with('.') { "." } else { "" }))
                    .collect();
                for (text, replies) in [
                    ("MAIL FROM:<a@x.test>\r\nRCPT TO:<bob@acme.test>\r\nDATA\r\n".to_owned(), 3),
                    (format!("{stuffed}.\r\n"), 1),
                ] {
                    for piece in text.as_bytes().chunks(chunk) {
                        peer.stream.write_all(piece).await.unwrap();
                        tokio::task::yield_now().await;
                    }
                    for _ in 0..replies {
                        let reply = peer.reply().await.unwrap();
                        assert!(reply.starts_with(['2', '3']), "{reply}");
                    }
                }
            }
            rig.host.mails()
        });
        prop_assert_eq!(taken, mails);
    }
}
