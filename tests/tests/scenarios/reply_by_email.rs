//! What is written in chat reaches people by mail, in their thread, and their answer comes back.

use super::world::{
    A_WHILE, ALICE_CONTACT, BRIDGE, CAROL, CAROL_CONTACT, Mail, SOON, World, body, links, press,
};
use isthmus_tests::{ReadMail, XmppClient};

/// Alice wrote to Carol, who answered in chat: the answer as Alice has it by mail.
async fn answered(world: &World) -> (XmppClient, ReadMail) {
    let mut carol = world.online("carol").await;
    world.mail(&Mail::new(CAROL, "Broken pump", "Is it fixed?")).await;
    carol.expect_message(SOON).await;
    carol.send(ALICE_CONTACT, "Which pump?", "c-1").await;
    carol.expect_receipt("c-1", SOON).await;
    let mail = world.sent("alice@acme.test", "Re: Broken pump").await;
    (carol, mail)
}

#[tokio::test]
async fn server_an_answer_in_chat_is_a_threaded_mail() {
    let world = World::start().await;
    let (_carol, mail) = answered(&world).await;
    assert_eq!(mail.header("Subject"), "Re: Broken pump");
    assert!(mail.address("From").starts_with("r-") && mail.address("From").ends_with(BRIDGE));
    assert!(mail.header("From").contains("Carol (via Acme)"), "{}", mail.header("From"));
    assert_eq!(mail.address("Reply-To"), mail.address("From"));
    assert_eq!(mail.header("In-Reply-To"), "<Brokenpump@client.test>");
    assert!(mail.header("References").contains("<Brokenpump@client.test>"));
    assert!(mail.text.starts_with("Which pump?\n"), "{}", mail.text);
    assert!(mail.text.contains("> Is it fixed?"), "{}", mail.text);
    assert!(mail.html.contains("Which pump?"), "{}", mail.html);
    assert_eq!(mail.header("Auto-Submitted"), "");
}

#[tokio::test]
async fn server_the_answer_to_that_mail_goes_back_to_chat() {
    let world = World::start().await;
    let (mut carol, mail) = answered(&world).await;
    let quote = "The big one.\n\nOn 22 Nov 2026 at 13:00, Carol (via Acme) wrote:\n> Which pump?";
    let answer = Mail::new(mail.address("Reply-To"), "Re: Broken pump 2", quote);
    world.mail(&answer.answers(mail.header("Message-ID"))).await;
    let im = carol.expect_message(SOON).await;
    assert_eq!(body(&im), "The big one.");
    // The next line from chat goes on in the same thread.
    carol.send(ALICE_CONTACT, "Ah, that one.", "c-2").await;
    carol.expect_receipt("c-2", SOON).await;
    let raw =
        world.sink.expect_mail("alice@acme.test", SOON, |m| m.text().contains("Ah, that one."));
    let next = ReadMail::read(&raw.await.raw).await;
    assert!(next.header("References").contains("<Brokenpump@client.test>"));
    assert_eq!(next.header("In-Reply-To"), "<ReBrokenpump2@client.test>");
    assert_eq!(next.header("Subject"), "Re: Broken pump");
}

/// What was said before goes along whole: who wrote to whom, and the files, each once.
#[tokio::test]
async fn server_a_mail_carries_addresses_transcript_and_files_once() {
    use base64::Engine;
    let world = World::start().await;
    let (mut carol, _) = answered(&world).await;
    let api = world.alice().await;
    let files = serde_json::json!([{
        "name": "pump.txt", "type": "text/plain",
        "data": base64::engine::general_purpose::STANDARD.encode("the big one"),
    }]);
    let ask = |text: &str, files: &serde_json::Value| serde_json::json!({"to": "carol@customer.test", "via": "email", "text": text, "subject": "Offer", "attachments": files});
    let sent = api.post("/v1/messages", &ask("Here it is.", &files)).await.expect(202);
    let first = world.sent("carol@customer.test", "Offer").await;
    assert!(first.text.contains("Written by Alice <alice@acme.test>"), "{}", first.text);
    let files: Vec<&str> = first.files.iter().map(|f| f.name.as_str()).collect();
    assert_eq!(files, ["pump.txt"]);
    let delivery = sent["delivery_id"].as_str().expect("a delivery");
    let delivery = api.expect_delivery(delivery, "delivered", SOON).await;
    let again = serde_json::json!({
        "to_message": delivery["message_id"], "via": "email", "text": "Did you get it?",
    });
    api.post("/v1/replies", &again).await.expect(202);
    let second = world.sent("carol@customer.test", "Re: Offer").await;
    assert_eq!(second.header("In-Reply-To"), first.header("Message-ID"));
    assert!(second.text.contains("> Alice <alice@acme.test>, "), "{}", second.text);
    assert!(second.text.contains(", by mail:\n> Here it is."), "{}", second.text);
    let files: Vec<&str> = second.files.iter().map(|f| f.name.as_str()).collect();
    assert_eq!(files, ["conversation.txt"], "what went along once does not go again");
    carol.expect_silence(A_WHILE).await;
}

/// The token alone is not enough: whoever got the mail forwarded has it too.
#[tokio::test]
async fn server_somebody_else_with_the_reply_address_is_held() {
    let world = World::start().await;
    let (mut carol, mail) = answered(&world).await;
    let token = mail.address("Reply-To").to_owned();
    let outsider =
        Mail::new(&token, "Mallory was here", "Transfer the money.").from("mallory@evil.test");
    assert_eq!(world.mail_from_a_stranger(&outsider).await.code, 250);
    // In Alice's name, but with nothing to show for it.
    let forged = Mail::new(&token, "Forged", "Transfer the money.");
    assert_eq!(world.mail_from_a_stranger(&forged).await.code, 250);
    let asked = world.sent("alice@acme.test", "A mail from mallory@evil.test waits for you").await;
    world.sent("alice@acme.test", "A mail from alice@acme.test waits for you").await;
    carol.expect_silence(A_WHILE).await;
    // Alice knows Mallory after all and lets the mail through.
    press(&links(&asked.text, "/d/").remove(0), "").await;
    let let_through = carol.expect_message(SOON).await;
    assert!(body(&let_through).starts_with("Transfer the money."), "{let_through}");
    assert_eq!(super::world::sender(&let_through), r"mallory\40evil.test@bridge.acme.test");
    carol.expect_silence(A_WHILE).await;
    // A plain answer to what asked her is for the one she writes with, not for Mallory.
    let own = Mail::new(asked.address("Reply-To"), "Re: waits for you", "Do you know Mallory?");
    world.mail(&own.answers(asked.header("Message-ID"))).await;
    assert_eq!(body(&carol.expect_message(SOON).await), "Do you know Mallory?");
    // The legitimate twin.
    world.mail(&Mail::new(&token, "Re: Broken pump", "The big one.")).await;
    assert_eq!(body(&carol.expect_message(SOON).await), "The big one.");
}

#[tokio::test]
async fn server_email_in_chat_answers_by_mail() {
    let world = World::start().await;
    let mut bob = world.online("bob").await;
    let question = Mail::new("bob@acme.test", "Broken pump", "When will it be fixed?");
    world.mail(&question.from("Carol <carol@customer.test>")).await;
    let shown = bob.expect_message(SOON).await;
    assert!(body(&shown).contains("When will it be fixed?"), "{shown}");

    bob.send(CAROL_CONTACT, "!email\nTomorrow.\nBob", "b-1").await;
    bob.expect_receipt("b-1", SOON).await;
    let mail = world.sent("carol@customer.test", "Re: Broken pump").await;
    assert_eq!(mail.header("In-Reply-To"), "<Brokenpump@client.test>");
    assert!(mail.header("References").contains("<Brokenpump@client.test>"));
    assert!(mail.text.starts_with("Tomorrow.\nBob\n"), "{}", mail.text);
    assert!(mail.text.contains("> When will it be fixed?"), "{}", mail.text);
    assert!(mail.header("From").contains("Bob (via Acme)"), "{}", mail.header("From"));

    // Another subject is another thread; a mistyped command goes nowhere.
    bob.send(CAROL_CONTACT, "!email New offer\nHere it is.", "b-2").await;
    let other = world.sent("carol@customer.test", "New offer").await;
    assert_eq!((other.header("Subject"), other.header("In-Reply-To")), ("New offer", ""));
    bob.send(CAROL_CONTACT, "!emial Oops\nsecret", "b-3").await;
    bob.expect("a line that helps", SOON, |e| body(e).contains("!help")).await;
    tokio::time::sleep(A_WHILE).await;
    assert!(!world.sink.mails().iter().any(|m| m.text().contains("secret")));
}

#[tokio::test]
async fn server_the_correspondent_answers_by_mail_and_the_member_reads_chat() {
    let world = World::start().await;
    let mut bob = world.online("bob").await;
    bob.send(CAROL_CONTACT, "!email Offer\nHere it is.", "b-1").await;
    let mail = world.sent("carol@customer.test", "Offer").await;
    let answer =
        Mail::new(mail.address("Reply-To"), "Re: Offer", "Thank you!").from("carol@customer.test");
    world.mail(&answer.answers(mail.header("Message-ID"))).await;
    let im = bob.expect("Carol's answer", SOON, |e| body(e).starts_with("Thank you!")).await;
    assert_eq!(super::world::sender(&im), CAROL_CONTACT);
}

/// Lines sent within a short pause are one mail, not one for each.
#[tokio::test]
async fn server_chat_lines_in_a_row_are_one_mail() {
    let world = World::start().await;
    let mut carol = world.online("carol").await;
    world.mail(&Mail::new(CAROL, "Lunch", "Where?")).await;
    carol.expect_message(SOON).await;
    for (id, line) in [("c-1", "At Luigi's."), ("c-2", "At one."), ("c-3", "See you!")] {
        carol.send(ALICE_CONTACT, line, id).await;
    }
    let raw =
        world.sink.expect_mail("alice@acme.test", SOON, |m| m.text().contains("See you!")).await;
    let mail = ReadMail::read(&raw.raw).await;
    let top = mail.text.split("\n> ").next().unwrap_or_default();
    for line in ["At Luigi's.", "At one.", "See you!"] {
        assert!(top.contains(line), "{}", mail.text);
    }
    tokio::time::sleep(A_WHILE).await;
    assert_eq!(world.count("alice@acme.test", "Re: Lunch"), 1);
}

/// What was typed before an `!email` leaves before it, in a mail of its own.
#[tokio::test]
async fn server_lines_before_an_email_command_go_first() {
    let world = World::start().await;
    let mut carol = world.online("carol").await;
    world.mail(&Mail::new(CAROL, "Lunch", "Where?")).await;
    carol.expect_message(SOON).await;
    carol.send(ALICE_CONTACT, "A moment.", "c-1").await;
    carol.send(ALICE_CONTACT, "!email\nAt Luigi's, at one.", "c-2").await;
    let second =
        world.sink.expect_mail("alice@acme.test", SOON, |m| m.text().contains("at one.")).await;
    let top = ReadMail::read(&second.raw).await.text;
    assert!(!top.split("\n> ").next().unwrap_or_default().contains("A moment."), "{top}");
    let all: Vec<String> = world.sink.mails().iter().map(|m| m.text()).collect();
    let place = |words: &str| all.iter().position(|m| m.contains(words));
    assert!(place("A moment.") < place("at one."), "{all:?}");
}

/// Whoever is known by a chat address alone is named by it, so that the member knows who wrote.
#[tokio::test]
async fn server_the_address_a_chat_sender_wrote_from_is_shown() {
    let world = World::start().await;
    // Once Carol was asked for her presence, the bridge is connected.
    let _carol = world.online("carol").await;
    let mut eve = world.chat.client("eve").await;
    eve.send(ALICE_CONTACT, "Hello from chat.", "e-1").await;
    eve.expect_receipt("e-1", SOON).await;
    let mail =
        world.sink.expect_mail("alice@acme.test", SOON, |m| m.text().contains("Hello from chat."));
    let mail = ReadMail::read(&mail.await.raw).await;
    assert!(mail.text.contains("Written by eve <xmpp:eve@chat.test>"), "{}", mail.text);
    let api = world.alice().await;
    let talk = api.expect_item("/v1/conversations", SOON, |_| true).await;
    let path = format!("/v1/conversations/{}/messages", talk["id"].as_str().expect("an id"));
    let said = api.get(&path).await.expect(200);
    assert_eq!(said["items"][0]["from"]["address"], "xmpp:eve@chat.test");
}
