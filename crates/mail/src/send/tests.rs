//! Hand-over to our own server, and to servers that misbehave, over loopback.

use std::sync::Arc;
use std::time::Duration;

use isthmus_domain::address::Email;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::*;
use crate::smtp::tests::TestHost;
use crate::smtp::{Limits, Notify, TlsMode, serve};

struct Server {
    host: Arc<TestHost>,
    port: u16,
    dir: tempfile::TempDir,
    _stop: DropGuard,
}

async fn server(tls: TlsMode, limits: Limits) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (host, stop) = (Arc::new(TestHost::default()), CancellationToken::new());
    let dir = tempfile::tempdir().unwrap();
    let spool = dir.path().join("spool");
    tokio::spawn(serve(listener, tls, host.clone(), limits, spool, stop.clone()));
    Server { host, port, dir, _stop: stop.drop_guard() }
}

fn email(text: &str) -> Email {
    Email::parse(text).unwrap()
}

fn bob() -> Email {
    email("bob@acme.test")
}

fn relay(port: u16) -> Relay {
    Relay::from_url(&format!("smtp://127.0.0.1:{port}")).unwrap().with_hello("out.acme.test")
}

async fn send(relay: &Relay, to: &str, raw: &[u8]) -> Handover {
    relay.send(Some(&email("r-token@bridge.test")), &email(to), Some("dlv_1"), raw).await
}

/// A server that answers every line by the first rule whose start fits, and `!` hangs up.
async fn scripted(rules: &'static [(&'static str, &'static str)]) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut stream = BufReader::new(stream);
                let mut line = "CONNECT".to_owned();
                loop {
                    let answer = rules.iter().find(|(start, _)| line.starts_with(start));
                    match answer.map_or("250 ok", |(_, answer)| answer) {
                        "!" => return,
                        "" => {}
                        text => {
                            let text = format!("{text}\r\n");
                            stream.get_mut().write_all(text.as_bytes()).await.unwrap();
                        }
                    }
                    line.clear();
                    if stream.read_line(&mut line).await.unwrap_or(0) == 0 {
                        return;
                    }
                }
            });
        }
    });
    port
}

#[tokio::test]
async fn a_mail_is_handed_over_with_dsn_and_arrives_octet_by_octet() {
    let server = server(TlsMode::None, Limits::default()).await;
    let raw = "Subject: x\r\n\r\n.dot\r\n..two\r\ncaf\u{e9}\r\n".as_bytes();
    let Handover::Accepted { reply, dsn } = send(&relay(server.port), "b+x=y@acme.test", raw).await
    else {
        panic!("not accepted")
    };
    assert_eq!((reply.as_str(), dsn), ("250 2.0.0 Taken", true));
    let got = server.host.got.lock().unwrap();
    assert_eq!(got[0].mail, raw);
    assert_eq!(got[0].envid.as_deref(), Some("dlv_1"));
    assert_eq!(got[0].to[0].notify, Notify::On { success: true, failure: true, delay: true });
    assert_eq!(got[0].to[0].orcpt.as_deref(), Some("b+x=y@acme.test"));
    assert_eq!(got[0].session.helo.as_deref(), Some("out.acme.test"));
}

#[tokio::test]
async fn long_mails_and_null_senders_go_out_too() {
    let server = server(TlsMode::None, Limits { max_size: 3_000_000, ..Limits::default() }).await;
    let relay = relay(server.port);
    let raw = ".x\r\n".repeat(500_000);
    assert!(matches!(
        relay.send(None, &bob(), None, raw.as_bytes()).await,
        Handover::Accepted { .. }
    ));
    assert_eq!(server.host.got.lock().unwrap()[0].mail, raw.as_bytes());
    assert_eq!(server.host.got.lock().unwrap()[0].from, None);
    assert_eq!(server.host.got.lock().unwrap()[0].to[0].notify, Notify::Never);
    let too_long = send(&relay, "bob@acme.test", &vec![b'x'; 3_000_001]).await;
    assert!(matches!(too_long, Handover::Refused { code: 552, .. }), "{too_long:?}");
}

#[tokio::test]
async fn abuse_smtp_01_stray_line_ends_are_never_sent_on() {
    let server = server(TlsMode::None, Limits::default()).await;
    let relay = relay(server.port);
    let raw = b"a\n.\nMAIL FROM:<e@x.test>\r.\r\nb\r\n.\r\r\nc";
    assert!(matches!(send(&relay, "bob@acme.test", raw).await, Handover::Accepted { .. }));
    assert!(matches!(
        send(&relay, "bob@acme.test", b"a\r\n.\r\nb\r\n").await,
        Handover::Accepted { .. }
    ));
    assert_eq!(
        server.host.mails(),
        ["a\r\n.\r\nMAIL FROM:<e@x.test>\r\n.\r\nb\r\n.\r\n\r\nc\r\n", "a\r\n.\r\nb\r\n",]
    );
}

#[tokio::test]
async fn no_means_later_or_never_and_the_connection_goes_on() {
    let server = server(TlsMode::None, Limits::default()).await;
    let relay = relay(server.port);
    let refused = |code: u16, reply: &str| Handover::Refused { code, reply: reply.to_owned() };
    let deferred = |reply: &str| Handover::Deferred { reply: reply.to_owned() };
    assert_eq!(
        send(&relay, "nobody@acme.test", b"x").await,
        refused(550, "550 5.1.1 No such person")
    );
    assert_eq!(send(&relay, "later@acme.test", b"x").await, deferred("451 4.2.1 Not now"));
    assert_eq!(
        send(&relay, "bob@acme.test", b"X-Answer: 554\r\n").await,
        refused(554, "554 5.0.0 As asked")
    );
    assert_eq!(
        send(&relay, "bob@acme.test", b"X-Answer: 452\r\n").await,
        deferred("452 4.0.0 As asked")
    );
    for _ in 0..3 {
        assert!(matches!(send(&relay, "bob@acme.test", b"x\r\n").await, Handover::Accepted { .. }));
    }
    let got = server.host.got.lock().unwrap();
    assert!(got.windows(2).all(|w| w[0].session.id == w[1].session.id), "one session carried all");
}

#[tokio::test]
async fn a_connection_that_went_stale_is_replaced() {
    let limits = Limits { command_timeout: Duration::from_millis(600), ..Limits::default() };
    let server = server(TlsMode::None, limits).await;
    let relay = relay(server.port);
    for _ in 0..2 {
        assert!(matches!(send(&relay, "bob@acme.test", b"x\r\n").await, Handover::Accepted { .. }));
        tokio::time::sleep(Duration::from_millis(1100)).await;
    }
    let got = server.host.got.lock().unwrap();
    assert_ne!(got[0].session.id, got[1].session.id);
}

#[tokio::test]
async fn many_mails_share_few_connections() {
    let server = server(TlsMode::None, Limits { max_sessions: 10, ..Limits::default() }).await;
    let relay = relay(server.port);
    let sends = (0..200).map(|_| send(&relay, "bob@acme.test", b"x\r\n"));
    let all = futures::future::join_all(sends).await;
    assert!(all.iter().all(|h| matches!(h, Handover::Accepted { .. })));
    assert_eq!(server.host.mails().len(), 200);
    relay.close().await;
}

#[tokio::test]
async fn servers_that_misbehave_mean_later() {
    let cases: &[(&'static [(&str, &str)], &str)] = &[
        (&[("CONNECT", "554 5.7.1 blocked")], "554 5.7.1 blocked"),
        (&[("CONNECT", "!")], "incomplete response"),
        (&[("CONNECT", "220 x"), ("MAIL", "!")], "incomplete response"),
        (
            &[("CONNECT", "220 x"), ("DATA", "354 go"), ("x", ""), (".", "!")],
            "broke before the relay answered",
        ),
        (&[("CONNECT", "220 x"), ("DATA", "354 go"), ("x", ""), (".", "354 what")], "354 what"),
        (&[("CONNECT", "220 x"), ("RCPT", "421 4.3.2 going down")], "421 4.3.2 going down"),
        (&[("CONNECT", "220 x"), ("EHLO", "")], "did not answer within"),
        (&[("CONNECT", "nonsense")], "response error"),
    ];
    for (rules, reason) in cases {
        let port = scripted(rules).await;
        let quick = Timeouts { command: Duration::from_secs(1), ..Timeouts::default() };
        let relay =
            Relay::from_url(&format!("smtp://127.0.0.1:{port}")).unwrap().with_timeouts(quick);
        let Handover::Deferred { reply } = send(&relay, "bob@acme.test", b"x\r\n").await else {
            panic!("not deferred: {rules:?}")
        };
        assert!(reply.contains(reason), "{reply}: {rules:?}");
    }
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let nobody = send(&relay(free), "bob@acme.test", b"x\r\n").await;
    assert!(
        matches!(nobody, Handover::Deferred { ref reply } if reply.contains("cannot be reached"))
    );
}

#[tokio::test]
async fn a_relay_without_dsn_gets_no_dsn_parameters() {
    let port = scripted(&[
        ("CONNECT", "220 x"),
        ("EHLO", "250-x\r\n250 8BITMIME"),
        ("MAIL FROM:<r-token@bridge.test>\r\n", "250 ok"),
        ("MAIL", "555 parameters"),
        ("RCPT TO:<bob@acme.test>\r\n", "250 ok"),
        ("RCPT", "555 parameters"),
        ("DATA", "354 go"),
        ("x", ""),
        (".", "250 2.0.0 mine"),
    ])
    .await;
    let handover = send(&relay(port), "bob@acme.test", b"x\r\n").await;
    assert_eq!(handover, Handover::Accepted { reply: "250 2.0.0 mine".into(), dsn: false });
}

#[tokio::test]
async fn a_relay_that_never_ends_its_line_is_left() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        while stream.write_all(&[b'x'; 65_536]).await.is_ok() {}
    });
    let handover = send(&relay(port), "bob@acme.test", b"x\r\n").await;
    assert!(
        matches!(handover, Handover::Deferred { ref reply } if reply.contains("does not end")),
        "{handover:?}"
    );
}

#[tokio::test]
async fn tls_is_used_when_offered_and_checked_when_required() {
    let (cert, config) = crate::smtp::tests::tls::identity();
    let (_, other) = crate::smtp::tests::tls::identity();
    let start = server(TlsMode::StartTls(config.clone()), Limits::default()).await;
    let implicit = server(TlsMode::Implicit(config), Limits::default()).await;
    let stranger = server(TlsMode::StartTls(other), Limits::default()).await;
    let plain = server(TlsMode::None, Limits::default()).await;
    let ca = start.dir.path().join("ca.pem");
    std::fs::write(&ca, pem(&cert)).unwrap();
    let ca = ca.display();
    let cases = [
        (format!("smtp://localhost:{}", start.port), true),
        (format!("smtp://localhost:{}", stranger.port), true),
        (format!("smtp://localhost:{}?tls=required&ca={ca}", start.port), true),
        (format!("smtp://al:right@localhost:{}?ca={ca}", start.port), true),
        (format!("smtps://al:right@localhost:{}?ca={ca}", implicit.port), true),
        (format!("smtp://localhost:{}?tls=required&ca={ca}", stranger.port), false),
        (format!("smtp://127.0.0.1:{}?tls=required&ca={ca}", start.port), false),
        (format!("smtp://localhost:{}?tls=required", start.port), false),
        (format!("smtp://localhost:{}?tls=required&ca={ca}", plain.port), false),
        (format!("smtp://al:right@localhost:{}?ca={ca}", plain.port), false),
        (format!("smtp://al:wrong@localhost:{}?ca={ca}", start.port), false),
        (format!("smtps://localhost:{}?ca={ca}", plain.port), false),
    ];
    for (url, accepted) in cases {
        let quick = Timeouts {
            command: Duration::from_secs(15),
            connect: Duration::from_secs(15),
            ..Timeouts::default()
        };
        let relay = Relay::from_url(&url).unwrap().with_timeouts(quick);
        let handover = send(&relay, "bob@acme.test", b"x\r\n").await;
        match &handover {
            Handover::Accepted { .. } => assert!(accepted, "{url}"),
            Handover::Deferred { .. } => assert!(!accepted, "{url}: {handover:?}"),
            Handover::Refused { .. } => panic!("{url}: {handover:?}"),
        }
        assert!(!format!("{relay:?}").contains("right"), "the password is not shown");
    }
    let got = [&start, &implicit, &stranger]
        .map(|s| s.host.got.lock().unwrap().iter().all(|g| g.session.tls));
    assert_eq!(got, [true; 3]);
    assert_eq!(start.host.got.lock().unwrap()[2].session.identity.as_deref(), Some("al"));
    assert!(plain.host.mails().is_empty(), "nothing went out in the clear");
}

fn pem(der: &[u8]) -> String {
    use base64::{Engine, engine::general_purpose::STANDARD};
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", STANDARD.encode(der))
}

#[tokio::test]
async fn a_broken_handshake_does_not_stop_opportunistic_mail() {
    let port = scripted(&[
        ("CONNECT", "220 x"),
        ("EHLO", "250-x\r\n250 STARTTLS"),
        ("STARTTLS", "454 4.7.0 no certificate today"),
        ("DATA", "354 go"),
        ("x", ""),
    ])
    .await;
    let handover = send(&relay(port), "bob@acme.test", b"x\r\n").await;
    assert!(matches!(handover, Handover::Accepted { dsn: false, .. }), "{handover:?}");
}
