//! The harness itself: each server it can start does its job, and leaves nothing behind.

use std::time::Duration;

use serde_json::json;

use isthmus_tests::{
    Port, Postfix, PostfixSetup, Server, ServerSpec, SinkAnswer, SmtpClient, SmtpSink, XmppKind,
    XmppServer, XmppSetup, eventually, send_mail,
};

const SOON: Duration = Duration::from_secs(20);
const MAIL: &str = "From: a@one.test\nTo: b@two.test\nSubject: Hello\n\nFirst line\n.\n.dots\n";

#[tokio::test]
async fn the_sink_keeps_what_it_takes_and_refuses_what_it_is_told() {
    let sink = SmtpSink::start().await;
    let _ = send_mail(sink.addr(), "a@one.test", &["b@two.test"], MAIL).await.expect(250);
    let mail = sink.expect_mails(1, SOON).await.remove(0);
    assert_eq!(mail.from, "a@one.test");
    assert_eq!(mail.to, ["b@two.test"]);
    assert_eq!(mail.header("subject").as_deref(), Some("Hello"));
    assert_eq!(mail.raw, MAIL.replace('\n', "\r\n").into_bytes());

    sink.answer_for("gone@", SinkAnswer::Refuse(550, "5.1.1 no such user".into()));
    sink.answer_for("later@", SinkAnswer::RefuseData(451, "4.3.0 later".into()));
    sink.answer_for("cut@", SinkAnswer::HangUp);
    for (to, code) in [("gone@two.test", 550), ("later@two.test", 451), ("cut@two.test", 0)] {
        assert_eq!(send_mail(sink.addr(), "", &[to], MAIL).await.code, code, "{to}");
    }
    // The mail was kept where only the answer was withheld.
    assert_eq!(sink.count(), 2);
}

#[tokio::test]
async fn the_client_speaks_plain_bytes() {
    let sink = SmtpSink::start().await;
    let mut client = SmtpClient::connect(sink.addr()).await;
    sink.offer("DSN");
    assert!(client.line("EHLO x").await.expect(250).text().contains("DSN"));
    client.bytes(b"MAIL FROM:<> RET=HDRS\r\nRCPT TO:<b@two.test> NOTIFY=FAILURE\r\nDATA\r\n").await;
    for code in [250, 250, 354] {
        let _ = client.reply().await.expect(code);
    }
    client.bytes(b"x\r\n.\r\n").await;
    let _ = client.reply().await.expect(250);
    let mail = sink.mails().remove(0);
    assert_eq!(
        (mail.from_params.as_str(), mail.to_params[0].as_str()),
        ("RET=HDRS", "NOTIFY=FAILURE")
    );
}

#[test]
fn ports_are_not_given_out_twice() {
    let ports: Vec<_> = (0..50).map(|_| Port::free()).collect();
    let distinct: std::collections::HashSet<_> = ports.iter().map(Port::number).collect();
    assert_eq!(distinct.len(), ports.len());
}

/// Two accounts talk, the file service answers, and a kill loses neither accounts nor ports.
async fn chat_works(kind: XmppKind) {
    let setup = XmppSetup::new(&["bridge.acme.test"], &["alice", "bob"]);
    let mut server = XmppServer::start(kind, setup).await;
    {
        let mut alice = server.client("alice").await;
        let mut bob = server.client("bob").await;
        alice.send("bob@chat.test", "Hello Bob", "id-1").await;
        let message = bob.expect_message(SOON).await;
        assert_eq!(message["body"], "Hello Bob");
        assert_eq!(message["id"], "id-1");
        alice.expect_receipt("id-1", SOON).await;

        let file = server.folder().join("note.bin");
        std::fs::write(&file, [0, 13, 10, 255]).expect("the file system works");
        let url = alice.ask(json!({"do": "upload", "path": file})).await["url"].clone();
        let got = bob.ask(json!({"do": "download", "url": url})).await;
        assert_eq!(got["size"], 4, "{got}");
    }
    server.kill9();
    server.start_again().await;
    server.client("alice").await;
}

#[tokio::test]
async fn server_prosody_starts() {
    chat_works(XmppKind::Prosody).await;
}

#[tokio::test]
async fn server_ejabberd_starts() {
    chat_works(XmppKind::Ejabberd).await;
}

#[tokio::test]
async fn server_postfix_relays() {
    let sink = SmtpSink::start().await;
    let mut postfix = Postfix::start(PostfixSetup {
        mailboxes: vec!["acme.test".into()],
        routes: vec![("bridge.acme.test".into(), sink.addr())],
        ..PostfixSetup::default()
    })
    .await;
    let both = ["alice@acme.test", "im@bridge.acme.test"];
    let _ = send_mail(postfix.addr(), "a@one.test", &both, MAIL).await.expect(250);
    let kept = postfix.expect_mails("alice@acme.test", 1, SOON).await;
    assert!(String::from_utf8_lossy(&kept[0]).ends_with("First line\n.\n.dots\n"));
    let passed = sink.expect_mails(1, SOON).await;
    assert_eq!(passed[0].to, ["im@bridge.acme.test"]);

    postfix.kill9();
    postfix.start_again().await;
    let _ = send_mail(postfix.addr(), "", &["bob@acme.test"], MAIL).await.expect(250);
    postfix.expect_mails("bob@acme.test", 1, SOON).await;
}

#[tokio::test]
async fn server_swaks_speaks_to_the_sink() {
    let sink = SmtpSink::start().await;
    let port = sink.addr().port().to_string();
    let status = tokio::process::Command::new("swaks")
        .args(["--silent", "3", "--server", "127.0.0.1", "--port", &port])
        .args(["--from", "a@one.test", "--to", "b@two.test", "--body", "from swaks"])
        .status()
        .await
        .expect("swaks is installed");
    assert!(status.success());
    assert!(sink.expect_mails(1, SOON).await[0].text().contains("from swaks"));
}

/// The kernel ends a server with the thread that started it, even where nothing is dropped.
#[tokio::test]
async fn a_server_never_outlives_its_test() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let spec = ServerSpec::new("sleeper", folder.path(), ["sleep", "1000"]);
    let started = std::thread::spawn(|| {
        let server = Server::start(spec);
        let pid = server.pid();
        // The kernel is told by setpriv, which then becomes the server.
        while !std::fs::read_to_string(format!("/proc/{pid}/comm"))
            .expect("the file system works")
            .starts_with("sleep")
        {
            std::thread::yield_now();
        }
        std::mem::forget(server);
        pid
    });
    let pid = started.join().expect("it only starts a process");
    eventually("the server is gone", SOON, || async {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // A zombie has ended; it waits for a parent that forgot it.
        (stat.is_empty() || stat.contains(") Z ")).then_some(())
    })
    .await;
}
