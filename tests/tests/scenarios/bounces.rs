//! Mail that comes back: the sender is told, and nothing more goes to an address that is gone.

use super::world::{A_WHILE, CAROL_CONTACT, SOON, World, body};
use isthmus_tests::{SinkAnswer, SinkMail, SmtpClient, XmppClient};

const CAROL: &str = "carol@customer.test";

/// Bob writes an email from chat; returns it as it left.
async fn sent(world: &World, bob: &mut XmppClient, subject: &str) -> SinkMail {
    bob.send(CAROL_CONTACT, &format!("!email {subject}\nHello."), subject).await;
    world.sink.expect_mail(CAROL, SOON, |m| super::world::subject_of(m).contains(subject)).await
}

#[tokio::test]
async fn server_a_refused_mail_is_told_and_its_address_is_suppressed() {
    let world = World::start().await;
    let mut bob = world.online("bob").await;
    world.sink.answer_for("carol@", SinkAnswer::Refuse(550, "5.1.1 no such user".into()));
    bob.send(CAROL_CONTACT, "!email Offer\nHello.", "b-1").await;
    let told = bob.expect("that it failed", SOON, |e| body(e).contains("was not delivered")).await;
    assert!(body(&told).contains("Carol"), "{told}");

    world.sink.answer_for("carol@", SinkAnswer::Accept);
    bob.send(CAROL_CONTACT, "!email Again\nHello.", "b-2").await;
    bob.expect("that it failed again", SOON, |e| body(e).contains("was not delivered")).await;
    tokio::time::sleep(A_WHILE).await;
    assert!(world.sink.mails().iter().all(|m| m.to != [CAROL]));
    // Somebody else is not suppressed.
    bob.send(r"dave\40other.test@bridge.acme.test", "!email Hello\nHello Dave.", "b-3").await;
    world.sent("dave@other.test", "Hello").await;
}

/// The quota counts the last 24 hours, and says so.
#[tokio::test]
async fn server_a_mail_beyond_the_quota_fails_with_the_reason() {
    let world = World::start().await;
    let mut bob = world.online("bob").await;
    let small = "slug = \"acme\"\noutbound_per_day = 1";
    world.isthmus.apply(&super::world::ACME.replace("slug = \"acme\"", small)).await;
    super::world::settle().await;
    sent(&world, &mut bob, "Offer").await;
    bob.send(CAROL_CONTACT, "!email Again\nHello.", "b-2").await;
    bob.expect("that it failed", SOON, |e| body(e).contains("was not delivered")).await;
    let api = world.isthmus.member("acme", "bob@acme.test").await;
    let ask = serde_json::json!({"to": CAROL, "via": "email", "subject": "More", "text": "Hello."});
    let answer = api.post("/v1/messages", &ask).await.expect(202);
    let delivery = answer["delivery_id"].as_str().expect("a delivery");
    let failed = api.expect_delivery(delivery, "failed", SOON).await;
    let why = failed["history"].to_string();
    assert!(why.contains("quota of outbound mail for 24 hours is used up"), "{why}");
}

#[tokio::test]
async fn server_a_bounce_from_further_away_turns_delivered_into_failed() {
    let world = World::start().await;
    let mut bob = world.online("bob").await;
    let mail = sent(&world, &mut bob, "Offer").await;
    assert!(mail.from.ends_with("@bridge.acme.test"), "{}", mail.from);
    bob.expect("that it went out", SOON, |e| body(e).contains("went out by email")).await;

    let report = format!(
        "From: MAILER-DAEMON@relay.test\nTo: {to}\nSubject: Undelivered Mail Returned to Sender\n\
         Message-ID: <dsn-1@relay.test>\nAuto-Submitted: auto-replied\nMIME-Version: 1.0\n\
         Content-Type: multipart/report; report-type=delivery-status; boundary=b\n\n\
         --b\nContent-Type: text/plain\n\nIt could not be delivered.\n\
         --b\nContent-Type: message/delivery-status\n\nReporting-MTA: dns; relay.test\n\n\
         Final-Recipient: rfc822; {CAROL}\nAction: failed\nStatus: 5.1.1\n\
         Diagnostic-Code: smtp; 550 5.1.1 no such user\n\n\
         --b\nContent-Type: text/rfc822-headers\n\nMessage-ID: {id}\n\n--b--\n",
        to = mail.from,
        id = mail.header("Message-ID").expect("every mail has one"),
    );
    let mut client = SmtpClient::connect(world.isthmus.smtp()).await;
    let _ = client.line("EHLO relay.test").await.expect(250);
    // RFC 5321 section 6.1: a bounce has no sender, and is never answered.
    let _ = client.mail("", &[&mail.from], &report).await.expect(250);
    let told = bob.expect("that it failed", SOON, |e| body(e).contains("was not delivered")).await;
    assert!(body(&told).contains("Carol"), "{told}");
    assert!(!world.sink.mails().iter().any(|m| m.to == ["MAILER-DAEMON@relay.test"]));
}

/// A relay that is away for a while loses nothing.
#[tokio::test]
async fn server_a_deferred_mail_is_tried_again() {
    let world = World::start().await;
    let mut bob = world.online("bob").await;
    world.sink.answer(SinkAnswer::RefuseData(451, "4.3.0 come back later".into()));
    bob.send(CAROL_CONTACT, "!email Offer\nHello.", "b-1").await;
    bob.expect_receipt("b-1", SOON).await;
    tokio::time::sleep(A_WHILE).await;
    world.sink.answer(SinkAnswer::Accept);
    let mail = world.sent(CAROL, "Offer").await;
    assert!(mail.text.starts_with("Hello.\n"), "{}", mail.text);
    tokio::time::sleep(A_WHILE).await;
    assert_eq!(world.count(CAROL, "Offer"), 1);
}
