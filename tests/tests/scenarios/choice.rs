//! The recipient is away: the sender is asked, and decides once.

use std::time::Duration;

use super::world::{
    A_WHILE, CAROL, CAROL_CONTACT, Mail, SOON, World, body, links, press, settle, setup,
};
use isthmus_tests::{ReadMail, XmppClient, XmppKind};

const ALICE: &str = "alice@acme.test";
const QUESTION: &str = "Carol is away. What shall we do with your message?";

/// Alice wrote while Carol was away: the question as Alice has it by mail.
async fn asked(world: &World) -> (XmppClient, ReadMail) {
    let mut carol = world.away("carol").await;
    world.mail(&Mail::new(CAROL, "Pump", "Approved, go ahead.")).await;
    let question = world.sent(ALICE, QUESTION).await;
    carol.expect_silence(Duration::from_millis(300)).await;
    (carol, question)
}

/// The address that answers the question with `action`.
fn answer_address(question: &ReadMail, action: &str) -> String {
    let end = format!("+{action}@bridge.acme.test");
    let found = question.text.split_whitespace().find(|w| w.contains(&end));
    let found = found.unwrap_or_else(|| panic!("no address for {action}: {}", question.text));
    found.trim_start_matches("mailto:").trim_matches(['<', '>']).to_owned()
}

#[tokio::test]
async fn server_the_question_has_three_links_and_three_addresses() {
    let world = World::start().await;
    let (_carol, question) = asked(&world).await;
    assert_eq!(links(&question.text, "/d/").len(), 3, "{}", question.text);
    for action in ["retry", "email", "abort"] {
        assert!(answer_address(&question, action).starts_with("d-"));
    }
    assert!(question.text.contains("> Approved, go ahead."), "{}", question.text);
    assert!(question.text.contains("If you do nothing, we ask again"), "{}", question.text);
    assert_eq!(question.header("Auto-Submitted"), "auto-replied");
}

#[tokio::test]
async fn server_retry_waits_for_presence_across_a_restart() {
    let mut world = World::start().await;
    let (mut carol, question) = asked(&world).await;
    world.mail(&Mail::new(&answer_address(&question, "retry"), "Retry", "")).await;
    settle().await;
    world.isthmus.kill9_and_start_again().await;
    carol.expect_silence(A_WHILE).await;
    carol.go_online().await;
    let im = carol.expect_message(SOON).await;
    assert!(body(&im).starts_with("Approved, go ahead."), "{im}");
    world.sent(ALICE, "Carol has it").await;
    carol.expect_silence(A_WHILE).await;
}

#[tokio::test]
async fn server_abort_sends_nothing() {
    let world = World::start().await;
    let (mut carol, question) = asked(&world).await;
    let link = links(&question.text, "/d/").pop().expect("three links");
    // Scanners follow links: looking changes nothing.
    for _ in 0..3 {
        let page = reqwest::get(&link).await.expect("the page is there");
        assert_eq!(page.status().as_u16(), 200);
    }
    press(&link, "abort").await;
    carol.go_online().await;
    carol.expect_silence(A_WHILE).await;
    assert!(!world.sink.mails().iter().any(|m| m.to == ["carol@customer.test"]));
}

#[tokio::test]
async fn server_email_instead_carries_text_and_history() {
    let world = World::start().await;
    // There is a past: Carol's own mail, and Alice's answer to it.
    let past = Mail::new(ALICE, "Pump", "Can you approve it?").from("Carol <carol@customer.test>");
    world.mail(&past).await;
    settle().await;
    let mut carol = world.away("carol").await;
    let answer = Mail::new(CAROL, "Re: Pump", "Approved, go ahead.").answers("Pump@client.test");
    world.mail(&answer).await;
    let question = world.sent(ALICE, QUESTION).await;
    world.mail(&Mail::new(&answer_address(&question, "email"), "Email", "")).await;
    let mail = world.sent("carol@customer.test", "Re: Pump").await;
    assert!(mail.text.starts_with("Approved, go ahead.\n"), "{}", mail.text);
    assert!(mail.text.contains("> Can you approve it?"), "{}", mail.text);
    assert_eq!(mail.header("In-Reply-To"), "<Pump@client.test>");
    assert_eq!(mail.address("To"), "carol@customer.test");
    assert!(mail.header("From").contains("Alice (via Acme)"), "{}", mail.header("From"));
    carol.go_online().await;
    carol.expect_silence(A_WHILE).await;
}

#[tokio::test]
async fn server_later_messages_join_the_open_question() {
    let world = World::start().await;
    let (mut carol, question) = asked(&world).await;
    for (i, text) in ["And the hose.", "And the valve."].into_iter().enumerate() {
        let mail = Mail::new(CAROL, &format!("Re: Pump {i}"), text).answers("Pump@client.test");
        world.mail(&mail).await;
    }
    tokio::time::sleep(A_WHILE).await;
    assert_eq!(world.count(ALICE, QUESTION), 1);
    world.mail(&Mail::new(&answer_address(&question, "retry"), "Retry", "")).await;
    settle().await;
    carol.go_online().await;
    for start in ["Approved, go ahead.", "And the hose.", "And the valve."] {
        let im = carol.expect_message(SOON).await;
        assert!(body(&im).starts_with(start), "out of order: {im}");
    }
}

#[tokio::test]
async fn server_the_second_answer_is_told_that_it_was_decided() {
    let world = World::start().await;
    let (_carol, question) = asked(&world).await;
    world.mail(&Mail::new(&answer_address(&question, "abort"), "Abort", "")).await;
    settle().await;
    world.mail(&Mail::new(&answer_address(&question, "email"), "Email", "")).await;
    let late = world.sent(ALICE, "That was decided already").await;
    assert_eq!(late.header("In-Reply-To"), "<Email@client.test>");
    tokio::time::sleep(A_WHILE).await;
    assert!(!world.sink.mails().iter().any(|m| m.to == ["carol@customer.test"]));
    // A plain answer to that is what Alice writes next.
    let answer = Mail::new(late.address("Reply-To"), "Re: decided", "Then call me.");
    world.mail(&answer.answers(late.header("Message-ID"))).await;
    let mail = world.sent("carol@customer.test", "Pump").await;
    assert!(mail.text.starts_with("Then call me."), "{}", mail.text);
}

/// Nobody else may answer for Alice, even with the address.
#[tokio::test]
async fn server_a_strangers_answer_does_not_count() {
    let world = World::start().await;
    let (mut carol, question) = asked(&world).await;
    let forged = Mail::new(&answer_address(&question, "email"), "Email", "");
    let _ = world.mail_from_a_stranger(&forged).await;
    tokio::time::sleep(A_WHILE).await;
    assert!(!world.sink.mails().iter().any(|m| m.to == ["carol@customer.test"]));
    world.mail(&Mail::new(&answer_address(&question, "retry"), "Retry", "")).await;
    settle().await;
    carol.go_online().await;
    carol.expect_message(SOON).await;
}

#[tokio::test]
async fn server_a_member_in_chat_is_asked_in_chat() {
    let world = World::start().await;
    let mut carol = world.away("carol").await;
    let mut bob = world.online("bob").await;
    bob.send(CAROL_CONTACT, "Are you there?", "b-1").await;
    let question = bob.expect("the question", SOON, |e| body(e).contains("What shall we do")).await;
    for line in ["1  Keep trying", "2  Send it as an email", "3  Don't send it"] {
        assert!(body(&question).contains(line), "{question}");
    }
    bob.send(CAROL_CONTACT, "1", "b-2").await;
    bob.expect("what was decided", SOON, |e| body(e).contains("We keep trying")).await;
    carol.go_online().await;
    let im = carol.expect_message(SOON).await;
    assert!(body(&im).starts_with("Are you there?"), "{im}");
    bob.expect("that Carol has it", SOON, |e| body(e).contains("Carol has it")).await;
}

#[tokio::test]
async fn server_a_standing_policy_answers_for_the_tenant() {
    let world = World::start().await;
    let policy = super::world::ACME.replace("time_zone", "policy = \"email\"\ntime_zone");
    world.isthmus.apply(&policy).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let _carol = world.away("carol").await;
    world.mail(&Mail::new(CAROL, "Pump", "Approved, go ahead.")).await;
    let mail = world.sent("carol@customer.test", "Pump").await;
    assert!(mail.text.starts_with("Approved, go ahead.\n"), "{}", mail.text);
    assert_eq!(world.count(ALICE, QUESTION), 0);
}

/// Nobody can tell whether Carol is there, and no receipt comes: she is asked about, and the
/// second try is recognisable as the same message.
#[tokio::test]
async fn server_a_retry_goes_out_under_the_same_id() {
    let setup =
        setup().set("DELIVERY__RECEIPT_TIMEOUT", "2s").set("DELIVERY__RETRY_INTERVAL", "1s");
    let world = World::with(XmppKind::Prosody, setup).await;
    let mut carol = world.chat.client("carol").await;
    carol.command(serde_json::json!({"do": "receipts", "on": false})).await;
    carol.command(serde_json::json!({"do": "accept_all", "on": false})).await;
    carol.command(serde_json::json!({"do": "deny", "to": "bridge.acme.test"})).await;
    settle().await;
    world.mail(&Mail::new(CAROL, "Pump", "Approved, go ahead.")).await;
    let first = carol.expect_message(SOON).await;
    let question = world.sent(ALICE, QUESTION).await;
    world.mail(&Mail::new(&answer_address(&question, "retry"), "Retry", "")).await;
    let again = carol.expect_message(SOON).await;
    assert_eq!((&again["id"], &again["body"]), (&first["id"], &first["body"]));
    carol.command(serde_json::json!({"do": "receipts", "on": true})).await;
    world.sent(ALICE, "Carol has it").await;
}
