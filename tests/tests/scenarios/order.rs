//! Order within a conversation holds, whatever takes longer.

use std::time::Duration;

use isthmus_tests::{XmppKind, eventually};

use super::{
    ledger::{Ledger, check, lane_mail, seen_by_mail, seen_in_chat},
    world::{ACME, CAROL, Mail, SOON, World, body, setup},
};

/// A large mail is read beside the others; what was written after it still comes after it.
#[tokio::test]
async fn server_abuse_queue_39_a_large_mail_is_not_overtaken() {
    let world = World::start().await;
    let mut carol = world.online("carol").await;
    let file = "QUFBQUFBQUFB\n".repeat(60_000);
    let large = Mail::new(
        CAROL,
        "Pump",
        &format!(
            "--b\nContent-Type: text/plain\n\nnumber 0\n--b\nContent-Type: application/octet-stream\n\
             Content-Disposition: attachment; filename=\"a.bin\"\nContent-Transfer-Encoding: base64\n\n{file}--b--"
        ),
    );
    world.mail(&large.header("Content-Type", "multipart/mixed; boundary=b")).await;
    for n in 1..6 {
        let mail = Mail::new(CAROL, &format!("Re: Pump {n}"), &format!("number {n}"));
        world.mail(&mail.answers("Pump@client.test")).await;
    }
    // The twin is another conversation, and need not wait.
    world.mail(&Mail::new(CAROL, "Hose", "something else")).await;
    let mut seen = Vec::new();
    while seen.len() < 6 {
        let im = carol.expect_message(SOON).await;
        let first = body(&im).lines().next().unwrap_or_default().to_owned();
        if first.starts_with("number") {
            seen.push(first);
        }
    }
    let expected: Vec<_> = (0..6).map(|n| format!("number {n}")).collect();
    assert_eq!(seen, expected);
}

/// Many at once over one connection: the order in which they got their `250`.
#[tokio::test]
async fn server_abuse_queue_39_a_burst_keeps_its_order() {
    let world = World::start().await;
    let mut carol = world.online("carol").await;
    let mut client = isthmus_tests::SmtpClient::connect(world.isthmus.smtp()).await;
    let _ = client.line("EHLO client.test").await.expect(250);
    for n in 0..100 {
        let mut mail = Mail::new(CAROL, &format!("Burst {n}"), &format!("number {n}"));
        if n > 0 {
            mail = mail.answers("Burst0@client.test");
        }
        let _ = client.mail(&mail.from, &[CAROL], &mail.raw()).await.expect(250);
    }
    for n in 0..100 {
        let im = carol.expect_message(SOON).await;
        assert_eq!(body(&im).lines().next(), Some(format!("number {n}").as_str()));
    }
}

/// Lines written in a row leave by mail in that order, however many are handed over at once.
#[tokio::test]
async fn server_abuse_queue_39_chat_lines_leave_by_mail_in_order() {
    let world = World::start().await;
    let mut bob = world.online("bob").await;
    for n in 0..40 {
        let dave = r"dave\40other.test@bridge.acme.test";
        bob.send(dave, &format!("tok dave {n}"), &format!("b-{n}")).await;
    }
    let seen = eventually("all lines are there", SOON, || async {
        let seen = seen_by_mail(&world.sink.mails());
        (seen.len() >= 40).then_some(seen)
    })
    .await;
    check(&seen);
}

/// What was written while the chat server was away comes before what is written after.
#[tokio::test]
async fn server_abuse_queue_39_what_waited_for_the_chat_server_comes_first() {
    let mut world =
        World::with(XmppKind::Prosody, setup().set("DELIVERY__RETRY_INTERVAL", "1s")).await;
    world.isthmus.apply(&ACME.replace("time_zone", "policy = \"retry\"\ntime_zone")).await;
    let carol = world.online("carol").await;
    let ledger = Ledger::default();
    let mut n = 0;
    let mut send = async |world: &World, count: usize| {
        for _ in 0..count {
            let (mail, token) = lane_mail(CAROL, "one", n);
            ledger.mail(world.isthmus.smtp(), &mail, token).await;
            n += 1;
        }
    };
    send(&world, 5).await;
    world.chat.kill9();
    send(&world, 10).await;
    world.chat.start_again().await;
    let again = world.chat.client("carol").await;
    send(&world, 40).await;
    let seen = eventually("Carol has everything", SOON, || async {
        let mut heard = carol.heard();
        heard.extend(again.heard());
        let seen = seen_in_chat(&heard);
        ledger.missing(&seen).is_empty().then_some(seen)
    })
    .await;
    check(&seen);
}

/// Carol's client confirms, but takes its time. What it has not confirmed has not arrived, however
/// quiet her server was about it, and goes again when that one dies.
#[tokio::test]
async fn server_a_slow_client_is_waited_for_and_loses_nothing_with_its_server() {
    let mut world = World::start().await;
    let mut carol = world.online("carol").await;
    world.mail(&Mail::new(CAROL, "Pump", "number 1")).await;
    carol.expect_message(SOON).await;
    world.sent("alice@acme.test", "Carol has it").await;
    carol.command(serde_json::json!({"do": "receipts", "on": false})).await;
    world.mail(&Mail::new(CAROL, "Valve", "number 2")).await;
    let first = carol.expect_message(SOON).await;
    carol.expect_silence(Duration::from_secs(11)).await;
    assert_eq!(world.count("alice@acme.test", "Carol has it"), 1);
    world.chat.kill9();
    world.chat.start_again().await;
    let mut again = world.chat.client("carol").await;
    let second = again.expect_message(SOON).await;
    assert_eq!((&second["id"], &second["body"]), (&first["id"], &first["body"]));
    eventually("Alice hears of it", SOON, || async {
        (world.count("alice@acme.test", "Carol has it") == 2).then_some(())
    })
    .await;
}
