//! One question for all that waits, one answer, and one mail; what was decided at the same moment
//! by two, and addresses that were taken back while something waited for them.

use std::time::Duration;

use isthmus_tests::XmppKind;
use serde_json::json;

use super::{
    poison::sql,
    world::{
        A_WHILE, ALICE_CONTACT, CAROL, CAROL_CONTACT, Mail, SOON, World, body, links, press,
        settle, setup,
    },
};

const ALICE: &str = "alice@acme.test";
const QUESTION: &str = "Carol is away. What shall we do with your message?";

/// Asks for an IM to Carol by API; returns the delivery's id.
async fn message(api: &isthmus_tests::Api, text: &str) -> String {
    let ask = json!({"to": "carol@customer.test", "via": "im", "text": text});
    let answer = api.post("/v1/messages", &ask).await.expect(202);
    answer["delivery_id"].as_str().expect("a delivery").to_owned()
}

/// Nobody knows whether Carol is there; three messages go out before it is known that no receipt
/// comes. They are one question, asked again only once when it was not answered, and one mail.
#[tokio::test]
async fn server_messages_under_way_together_are_one_question_and_one_mail() {
    let setup =
        setup().set("DELIVERY__RECEIPT_TIMEOUT", "2s").set("DELIVERY__DECISION_DEADLINE", "4s");
    let world = World::with(XmppKind::Prosody, setup).await;
    world.mail(&Mail::new(CAROL, "Pump", "First.")).await;
    for (subject, text) in [("Re: Pump", "Second."), ("Re: Re: Pump", "Third.")] {
        world.mail(&Mail::new(CAROL, subject, text).answers("Pump@client.test")).await;
    }
    let question = world.sent(ALICE, QUESTION).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(world.count(ALICE, QUESTION), 1, "one question for three messages");
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(world.count(ALICE, QUESTION), 2, "and one reminder");
    let email = links(&question.text, "/d/").into_iter().nth(1).expect("three links");
    press(&email, "email").await;
    let mail = world.sent("carol@customer.test", "Pump").await;
    for text in ["First.", "Second.", "Third."] {
        assert!(mail.text.contains(text), "{}", mail.text);
    }
    tokio::time::sleep(A_WHILE).await;
    assert_eq!(world.count("carol@customer.test", "Pump"), 1, "three mails instead of one");
}

/// A plain answer to the question is the member's next message in the conversation, under the
/// conversation's own subject.
#[tokio::test]
async fn server_a_plain_answer_to_the_question_is_written_to_the_other_side() {
    let world = World::start().await;
    let mut carol = world.away("carol").await;
    world.mail(&Mail::new(CAROL, "Pump", "First.")).await;
    let question = world.sent(ALICE, QUESTION).await;
    let token = question.address("Reply-To").to_owned();
    assert!(token.starts_with("r-"), "{token}");
    let answer = Mail::new(&token, &format!("Re: {QUESTION}"), "Then tell me tomorrow.");
    world.mail(&answer.answers(question.header("Message-ID"))).await;
    let email = links(&question.text, "/d/").into_iter().nth(1).expect("three links");
    settle().await;
    press(&email, "email").await;
    let mail = world.sent("carol@customer.test", "Pump").await;
    assert!(mail.text.contains("First.") && mail.text.contains("Then tell me"), "{}", mail.text);
    assert!(!mail.text.contains("is away"), "{}", mail.text);
    // What became an email showed nothing in chat: the next message there explains itself.
    carol.go_online().await;
    settle().await;
    world.mail(&Mail::new(CAROL, "Re: Pump", "And the hose.").answers("Pump@client.test")).await;
    let im = carol.expect_message(SOON).await;
    assert!(body(&im).contains("!help") && body(&im).contains("through Acme"), "{im}");
}

/// Two answers at the same moment: one counts, and one mail goes out.
#[tokio::test]
async fn server_two_answers_at_once_are_one() {
    let world = World::start().await;
    let mut carol = world.away("carol").await;
    let api = world.alice().await;
    let delivery = message(&api, "Approved, go ahead.").await;
    api.expect_delivery(&delivery, "awaiting_decision", SOON).await;
    let path = format!("/v1/deliveries/{delivery}/decision");
    let email = json!({"action": "email"});
    let _ = tokio::join!(api.post(&path, &email), api.post(&path, &email));
    api.expect_delivery(&delivery, "became_email", SOON).await;
    tokio::time::sleep(A_WHILE).await;
    assert_eq!(world.count("carol@customer.test", ""), 1);
    carol.go_online().await;
    carol.expect_silence(A_WHILE).await;
}

/// Carol came back before Alice chose to keep trying: nothing is left to wait for.
#[tokio::test]
async fn server_keep_trying_sends_at_once_to_somebody_who_is_back() {
    let world = World::start().await;
    let mut carol = world.away("carol").await;
    let api = world.alice().await;
    let delivery = message(&api, "Approved, go ahead.").await;
    api.expect_delivery(&delivery, "awaiting_decision", SOON).await;
    carol.go_online().await;
    carol.expect_silence(A_WHILE).await;
    let path = format!("/v1/deliveries/{delivery}/decision");
    api.post(&path, &json!({"action": "retry"})).await.expect(202);
    let im = carol.expect_message(Duration::from_secs(5)).await;
    assert!(body(&im).starts_with("Approved, go ahead."), "{im}");
}

/// Carol said `!stop` while a message waited for her: it does not come, and Alice is told.
#[tokio::test]
async fn server_what_waited_for_an_address_that_was_taken_back_is_not_sent() {
    let setup = setup().set("DELIVERY__RETRY_INTERVAL", "1s");
    let world = World::with(XmppKind::Prosody, setup).await;
    let mut carol = world.away("carol").await;
    let api = world.alice().await;
    let delivery = message(&api, "Approved, go ahead.").await;
    api.expect_delivery(&delivery, "awaiting_decision", SOON).await;
    let path = format!("/v1/deliveries/{delivery}/decision");
    api.post(&path, &json!({"action": "retry"})).await.expect(202);
    // Her client is not shown as there, and still can write.
    carol.send(ALICE_CONTACT, "!stop", "c-1").await;
    carol.expect("that it is over", SOON, |e| e["type"] == "unsubscribe").await;
    carol.go_online().await;
    let end = api.expect_delivery(&delivery, "failed|delivered", SOON).await;
    assert_eq!(end["state"], "failed", "{end}");
    carol.expect("the bridge's answer", SOON, |e| body(e).contains("no more messages")).await;
    carol.expect_silence(A_WHILE).await;
}

/// Bob deletes the contact for whom a message of Alice's waits: it is not sent, and she is told.
#[tokio::test]
async fn server_what_waited_for_a_deleted_contact_is_not_sent_and_told() {
    let world = World::start().await;
    let mut carol = world.away("carol").await;
    let api = world.alice().await;
    world.mail(&Mail::new(CAROL, "Pump", "Approved, go ahead.")).await;
    world.sent(ALICE, QUESTION).await;
    let contact = api.get("/v1/contacts?q=carol").await.expect(200)["items"][0].clone();
    let id = contact["id"].as_str().expect("an id");
    let bob = world.isthmus.member("acme", "bob@acme.test").await;
    assert_eq!(bob.delete(&format!("/v1/contacts/{id}")).await.status, 204);
    let told = world.sent(ALICE, "Your message to Carol was not delivered").await;
    assert!(told.text.contains("the contact was deleted"), "{}", told.text);
    carol.go_online().await;
    carol.expect_silence(A_WHILE).await;
    // What was said stays, and nothing new goes there.
    let talks = api.get("/v1/conversations").await.expect(200);
    let talk = talks["items"][0]["id"].as_str().expect("a conversation");
    let said = api.get(&format!("/v1/conversations/{talk}/messages")).await.expect(200);
    assert_eq!(said["items"][0]["text"], "Approved, go ahead.");
    let again = json!({"to": "carol@customer.test", "via": "im", "text": "Hello?"});
    assert_eq!(api.post("/v1/messages", &again).await.status, 422);
}

/// While a message is merely tried again, a number is a text like any other.
#[tokio::test]
async fn server_a_number_is_an_answer_only_to_an_open_question() {
    let world = World::start().await;
    let mut carol = world.away("carol").await;
    let mut bob = world.online("bob").await;
    bob.send(CAROL_CONTACT, "How many pumps?", "b-1").await;
    bob.expect("the question", SOON, |e| body(e).contains("What shall we do")).await;
    bob.send("bridge.acme.test", "1", "b-2").await;
    bob.expect("what was decided", SOON, |e| body(e).contains("We keep trying")).await;
    bob.send(CAROL_CONTACT, "2", "b-3").await;
    settle().await;
    assert!(!world.sink.mails().iter().any(|m| m.to == ["carol@customer.test"]));
    carol.go_online().await;
    for start in ["How many pumps?", "2"] {
        let im = carol.expect_message(SOON).await;
        assert!(body(&im).starts_with(start), "{im}");
    }
}

/// A mail that waits for an answer, as early versions left some, has no chat to be tried in.
#[tokio::test]
async fn server_keep_trying_an_old_mail_row_is_taken() {
    let world = World::start().await;
    let _carol = world.away("carol").await;
    let api = world.alice().await;
    let waits = message(&api, "Approved, go ahead.").await;
    api.expect_delivery(&waits, "awaiting_decision", SOON).await;
    let ask = json!({"to": "dave@other.test", "via": "email", "subject": "Old", "text": "Hello."});
    let mail = api.post("/v1/messages", &ask).await.expect(202);
    let mail = mail["delivery_id"].as_str().expect("a delivery");
    api.expect_delivery(mail, "delivered", SOON).await;
    let old = format!(
        "UPDATE deliveries SET (state, data, due_at) = (SELECT state, data, due_at FROM deliveries \
         WHERE id = '{waits}'), version = version + 1 WHERE id = '{mail}'"
    );
    sql(&world.isthmus, &old).await;
    let path = format!("/v1/deliveries/{mail}/decision");
    api.post(&path, &json!({"action": "retry"})).await.expect(202);
    api.expect_delivery(mail, "retrying", SOON).await;
}

/// Bob has two chat addresses: he is asked at the one he wrote from.
#[tokio::test]
async fn server_a_member_is_asked_where_they_wrote_from() {
    let world = World::start().await;
    let both = r#"im = ["xmpp:bob@chat.test", "xmpp:eve@chat.test"]"#;
    world.isthmus.apply(&super::world::ACME.replace(r#"im = ["xmpp:bob@chat.test"]"#, both)).await;
    let _carol = world.away("carol").await;
    let (mut one, mut other) = (world.online("bob").await, world.online("eve").await);
    one.send(CAROL_CONTACT, "First.", "b-1").await;
    one.expect("the question", SOON, |e| body(e).contains("Carol is not reachable")).await;
    other.expect_silence(Duration::from_millis(300)).await;
    one.send(CAROL_CONTACT, "3", "b-2").await;
    one.expect("that it is not sent", SOON, |e| body(e).contains("not sent")).await;
    other.send(CAROL_CONTACT, "Second.", "e-1").await;
    other.expect("the question", SOON, |e| body(e).contains("Carol is not reachable")).await;
    one.expect_silence(Duration::from_millis(300)).await;
}
