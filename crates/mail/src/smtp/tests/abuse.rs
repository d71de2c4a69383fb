//! The SMTP lines of the abuse catalogue, as far as a session is concerned.

use std::time::Duration;

use super::*;

#[tokio::test]
async fn abuse_smtp_01_only_one_ending_ends_a_mail() {
    let inner = "MAIL FROM:<evil@x.test>\r\nRCPT TO:<bob@acme.test>\r\nDATA\r\nsmuggled";
    for ending in ["\n.\n", "\n.\r\n", "\r.\r", "\r.\r\n", "\r\n.\n", "\r\n.\r", "\r\n.\r\r\n"] {
        let rig = Rig::new();
        let mut peer = rig.hello().await;
        peer.mail(&format!("hello{ending}{inner}\r\n.\r\n"), "554 5.6.0").await;
        assert_eq!(rig.host.mails(), [""; 0], "{ending:?}");
        // Exactly one answer, and the session goes on: the twin with proper line ends is taken.
        peer.mail("hello\r\n..\r\nfriend\r\n.\r\n", "250").await;
        assert_eq!(rig.host.mails(), ["hello\r\n.\r\nfriend\r\n"]);
    }
}

#[tokio::test]
async fn abuse_smtp_01_lone_line_ends_in_commands_close() {
    for line in ["NOOP\nNOOP\r\n", "NOOP\rNOOP\r\n", "\n"] {
        let rig = Rig::new();
        let mut peer = rig.hello().await;
        peer.ask(line, "500 5.5.2").await;
        peer.expect_closed().await;
        rig.hello().await.ask("NOOP\r\n", "250").await;
    }
}

#[tokio::test]
async fn abuse_smtp_02_commands_sent_before_their_turn_are_refused() {
    let attempts = [
        "EHLO a.test\r\nMAIL FROM:<a@x.test>\r\n",
        "HELO a.test\r\nMAIL FROM:<a@x.test>\r\n",
        "NOOP\r\nEHLO a.test\r\n",
    ];
    for attempt in attempts {
        let mut peer = Rig::new().dial();
        peer.expect("220").await;
        peer.ask(attempt, "503 5.5.1").await;
        peer.expect_closed().await;
    }
    // The content before the 354: taken at its word, it would be a mail nobody was asked about.
    let rig = Rig::new();
    let mut peer = rig.hello().await;
    peer.send("MAIL FROM:<a@x.test>\r\nRCPT TO:<bob@acme.test>\r\nDATA\r\nx\r\n.\r\n").await;
    peer.expect("250").await;
    peer.expect("250").await;
    peer.expect("503 5.5.1").await;
    peer.expect_closed().await;
    assert_eq!(rig.host.mails().len(), 0);
    rig.hello().await.mail("x\r\n.\r\n", "250").await;
}

#[tokio::test(start_paused = true)]
async fn abuse_smtp_02_speaking_before_the_banner_is_refused() {
    let limits = Limits { banner_delay: Duration::from_secs(1), ..Limits::default() };
    let rig = Rig::with(limits, TlsMode::None);
    let mut eager = rig.dial();
    eager.ask("EHLO a.test\r\n", "554 5.5.1").await;
    eager.expect_closed().await;
    rig.hello().await.mail("x\r\n.\r\n", "250").await;
}

#[tokio::test]
async fn abuse_smtp_03_foreign_and_roundabout_recipients_are_refused() {
    let rig = Rig::new();
    let mut peer = rig.hello().await;
    peer.ask("MAIL FROM:<a@x.test>\r\n", "250").await;
    for (path, start) in [
        ("bob@elsewhere.test", "550 5.7.1"),
        ("@acme.test:bob@elsewhere.test", "550 5.7.1"),
        ("bob%elsewhere.test@acme.test", "550 5.7.1"),
        ("\"bob@elsewhere.test\"@acme.test", "550 5.1.3"),
        ("bob@elsewhere.test@acme.test", "550 5.1.3"),
    ] {
        peer.ask(&format!("RCPT TO:<{path}>\r\n"), start).await;
    }
    peer.ask("RCPT TO:<bob@acme.test>\r\n", "250").await;
}

#[tokio::test]
async fn abuse_smtp_04_recipients_are_capped() {
    let rig = Rig::new();
    let mut peer = rig.hello().await;
    peer.ask("MAIL FROM:<a@x.test>\r\n", "250").await;
    let mut codes = std::collections::BTreeMap::new();
    let mut last = String::new();
    for i in 0..100_000 {
        peer.send(&format!("RCPT TO:<p{i}@acme.test>\r\n")).await;
        last = peer.reply().await.unwrap();
        *codes.entry(last[..9].to_owned()).or_insert(0) += 1;
        if last.starts_with("421") {
            break;
        }
    }
    assert_eq!((codes["250 2.1.5"], codes["452 4.5.3"]), (100, 900), "{last}");
    // A list of 120 gets its first hundred through.
    let mut peer = rig.hello().await;
    peer.ask("MAIL FROM:<a@x.test>\r\n", "250").await;
    for i in 0..120 {
        peer.ask(
            &format!("RCPT TO:<p{i}@acme.test>\r\n"),
            if i < 100 { "250" } else { "452 4.5.3" },
        )
        .await;
    }
    peer.ask("DATA\r\n", "354").await;
    peer.ask("x\r\n.\r\n", "250").await;
    assert_eq!(rig.host.got.lock().unwrap()[0].to.len(), 100);
}

#[tokio::test]
async fn abuse_smtp_04_guessing_recipients_ends_the_session() {
    let rig = Rig::with(Limits { max_rcpt_refused: 5, ..Limits::default() }, TlsMode::None);
    let mut peer = rig.hello().await;
    peer.ask("MAIL FROM:<a@x.test>\r\n", "250").await;
    for _ in 0..6 {
        peer.ask("RCPT TO:<nobody@acme.test>\r\n", "550").await;
    }
    peer.expect("421 4.7.0").await;
    peer.expect_closed().await;
}

#[tokio::test]
async fn abuse_smtp_05_size_is_what_is_counted_not_what_is_said() {
    let limits = Limits { max_size: 100_000, memory_body: 10_000, ..Limits::default() };
    let rig = Rig::with(limits, TlsMode::None);
    let mut peer = rig.hello().await;
    peer.ask("MAIL FROM:<a@x.test> SIZE=100001\r\n", "552 5.3.4").await;
    peer.ask("MAIL FROM:<a@x.test> SIZE=10\r\n", "250").await;
    peer.ask("RCPT TO:<bob@acme.test>\r\n", "250").await;
    peer.ask("DATA\r\n", "354").await;
    peer.ask(&format!("{}\r\n.\r\n", "x".repeat(100_000)), "552 5.3.4").await;
    assert_eq!(std::fs::read_dir(rig.dir.path()).unwrap().count(), 0, "the spooled part is gone");
    // Exactly the limit is fine.
    peer.mail(&format!("{}\r\n.\r\n", "x".repeat(99_998)), "250").await;
    // And what never ends is cut off.
    peer.begin_mail().await;
    let chunk = "y".repeat(50_000);
    for _ in 0..26 {
        if peer.stream.write_all(chunk.as_bytes()).await.is_err() {
            break;
        }
    }
    peer.expect("552 5.3.4").await;
    assert_eq!(rig.host.mails().len(), 1);
}

#[tokio::test]
async fn abuse_smtp_05_a_command_line_without_end_is_cut_off() {
    let rig = Rig::new();
    let mut peer = rig.hello().await;
    peer.ask(&format!("NOOP {}", "x".repeat(5_000)), "500 5.5.6").await;
    peer.expect_closed().await;
    rig.hello().await.ask(&format!("NOOP {}\r\n", "x".repeat(1_500)), "250").await;
}

#[tokio::test(start_paused = true)]
async fn abuse_smtp_06_an_octet_a_minute_is_cut_off() {
    let rig = Rig::new();
    let begun = tokio::time::Instant::now();
    let mut peer = rig.hello().await;
    for _ in 0..3 {
        let _ = peer.stream.write_all(b"N").await;
        tokio::time::sleep(Duration::from_secs(25)).await;
    }
    peer.expect("421 4.4.2").await;

    let mut peer = rig.hello().await;
    peer.begin_mail().await;
    for _ in 0..10 {
        let _ = peer.stream.write_all(b"x").await;
        tokio::time::sleep(Duration::from_secs(25)).await;
    }
    peer.expect("421 4.4.2 The mail comes too slowly").await;
    assert!(begun.elapsed() < Duration::from_secs(400));
    assert_eq!(rig.host.mails().len(), 0);

    // Two kilobytes a second for two minutes is slow, and fine.
    let mut peer = rig.hello().await;
    peer.begin_mail().await;
    for _ in 0..120 {
        peer.send(&format!("{}\r\n", "x".repeat(2046))).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    peer.ask(".\r\n", "250").await;
}

#[tokio::test(start_paused = true)]
async fn abuse_smtp_06_a_session_that_brings_no_mail_ends_after_its_time() {
    // Each of them often enough to be no silence, and seldom enough to be no flood.
    for command in ["NOOP\r\n", "RSET\r\n", "VRFY bob\r\n", "EHLO a.test\r\n"] {
        let begun = tokio::time::Instant::now();
        let mut peer = Rig::new().hello().await;
        let ended = loop {
            tokio::time::sleep(Duration::from_secs(59)).await;
            // The server may have hung up meanwhile, with a word.
            let _ = peer.stream.write_all(command.as_bytes()).await;
            match peer.reply().await {
                Some(reply) if reply.starts_with("421") => break reply,
                reply => assert!(reply.is_some(), "{command:?}: closed without a word"),
            }
            assert!(begun.elapsed() < Duration::from_secs(700), "{command:?} goes on");
        };
        assert!(ended.starts_with("421 4.4.2 Come back"), "{command:?}: {ended}");
        peer.expect_closed().await;
    }
    // A mail that is refused is none.
    let mut peer = Rig::new().hello().await;
    for _ in 0..10 {
        tokio::time::sleep(Duration::from_secs(59)).await;
        peer.mail("X-Answer: 451\r\n.\r\n", "451").await;
    }
    peer.expect("421 4.4.2").await;
    // The twin has one now and then, and stays for an hour; the last one may take its time.
    let rig = Rig::new();
    let mut peer = rig.hello().await;
    for _ in 0..8 {
        for _ in 0..9 {
            tokio::time::sleep(Duration::from_secs(50)).await;
            peer.ask("NOOP\r\n", "250").await;
        }
        peer.mail("x\r\n.\r\n", "250").await;
    }
    for _ in 0..11 {
        tokio::time::sleep(Duration::from_secs(50)).await;
        peer.ask("NOOP\r\n", "250").await;
    }
    peer.begin_mail().await;
    for _ in 0..120 {
        peer.send(&format!("{}\r\n", "x".repeat(2046))).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    peer.ask(".\r\n", "250").await;
    peer.ask("NOOP\r\n", "250").await;
    assert_eq!(rig.host.mails().len(), 9);
}

#[tokio::test]
async fn abuse_smtp_07_the_null_sender_is_taken_as_such() {
    let rig = Rig::new();
    let mut peer = rig.hello().await;
    peer.ask("MAIL FROM:<>\r\n", "250").await;
    peer.ask("RCPT TO:<r-token@acme.test>\r\n", "250").await;
    peer.ask("DATA\r\n", "354").await;
    peer.ask("bounce\r\n.\r\n", "250").await;
    peer.mail("ordinary\r\n.\r\n", "250").await;
    let got = rig.host.got.lock().unwrap();
    assert_eq!(got[0].from, None);
    assert_eq!(got[1].from.as_deref(), Some("a@x.test"));
}

#[tokio::test]
async fn abuse_smtp_09_addresses_with_control_characters_are_refused() {
    let rig = Rig::new();
    let mut peer = rig.hello().await;
    peer.ask("MAIL FROM:<a\0b@x.test>\r\n", "501").await;
    peer.ask("MAIL FROM:<a b@x.test>\r\n", "5").await;
    peer.ask("MAIL FROM:<a@x.test> ENVID=1+0D+0ABcc:+20c@x.test\r\n", "501").await;
    peer.ask("MAIL FROM:<\"a\\\r\n", "5").await;
    peer.mail("x\r\n.\r\n", "250").await;
    assert_eq!(rig.host.mails().len(), 1);
}

#[tokio::test]
async fn abuse_smtp_09_errors_end_the_session() {
    let mut peer = Rig::new().hello().await;
    for _ in 0..21 {
        peer.ask("XYZZY\r\n", "500 5.5.2").await;
    }
    peer.expect("421 4.7.0").await;
    peer.expect_closed().await;
}

#[cfg(unix)]
#[tokio::test]
async fn abuse_smtp_12_a_full_disk_is_a_452_and_no_250() {
    fn full(dir: &std::path::Path) -> std::io::Result<tempfile::NamedTempFile> {
        let path = dir.join("incoming-full");
        std::os::unix::fs::symlink("/dev/full", &path)?;
        let file = std::fs::OpenOptions::new().write(true).open(&path)?;
        Ok(tempfile::NamedTempFile::from_parts(file, tempfile::TempPath::try_from_path(path)?))
    }
    fn missing(dir: &std::path::Path) -> std::io::Result<tempfile::NamedTempFile> {
        open_in(&dir.join("nowhere"))
    }
    for open in [full as fn(&std::path::Path) -> _, missing] {
        let mut rig = Rig::new();
        let shared = Arc::get_mut(&mut rig.shared).unwrap();
        shared.spool.open = open;
        let mut peer = rig.hello().await;
        let long = format!("{}\r\n.\r\n", "x".repeat(300_000));
        peer.mail(&long, "452 4.3.1").await;
        assert_eq!(rig.host.mails().len(), 0);
        // What needs no room on the disk is still taken, by the same session.
        peer.mail("short\r\n.\r\n", "250").await;
    }
    Rig::new().hello().await.mail(&format!("{}\r\n.\r\n", "x".repeat(300_000)), "250").await;
}
