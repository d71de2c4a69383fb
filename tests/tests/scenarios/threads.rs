//! Which mail an answer belongs to: also an older one, also in a conversation that is very long.

use isthmus_tests::{Api, ReadMail, SmtpClient, SmtpSink, XmppClient, eventually};
use serde_json::{Value, json};

use super::{
    letters::{ALICE, CAROL_MAIL, acme, all},
    world::{ALICE_CONTACT, CAROL, Mail, SOON, World, body, setup},
};

/// A mail from Carol to Alice with this subject, in the thread that begins with `Root`.
fn letter(subject: &str) -> Mail {
    let mail = Mail::new(ALICE, subject, &format!("This is {subject}.")).from(CAROL_MAIL);
    if subject == "Root" { mail } else { mail.answers("Root@client.test") }
}

/// Waits until Alice has so many messages in her one conversation; newest first.
async fn messages(alice: &Api, count: usize) -> Vec<Value> {
    eventually(&format!("{count} messages are there"), SOON * 2, || async {
        let conversations = all(alice, "/v1/conversations").await;
        let [conversation] = conversations.as_slice() else { return None };
        let id = conversation["id"].as_str().expect("a conversation has an id");
        let messages = all(alice, &format!("/v1/conversations/{id}/messages")).await;
        (messages.len() == count).then_some(messages)
    })
    .await
}

/// Alice's answer to one of these messages, as Carol gets it.
async fn answer(
    alice: &Api,
    relay: &SmtpSink,
    messages: &[Value],
    subject: &str,
    text: &str,
) -> ReadMail {
    let answered = messages.iter().find(|m| m["subject"] == subject).expect("the message is there");
    let reply = json!({"to_message": answered["id"], "via": "email", "text": text});
    alice.post("/v1/replies", &reply).await.expect(202);
    let mail = relay.expect_mail(CAROL_MAIL, SOON, |m| m.text().contains(text)).await;
    ReadMail::read(&mail.raw).await
}

/// The ids in References.
fn references(mail: &ReadMail) -> Vec<&str> {
    mail.header("References").split_whitespace().collect()
}

#[tokio::test]
async fn an_answer_to_an_older_mail_is_filed_below_that_one() {
    let relay = SmtpSink::start().await;
    let isthmus = acme(setup().relay(&relay.url())).await;
    let alice = isthmus.member("acme", ALICE).await;
    let mut client = SmtpClient::connect(isthmus.smtp()).await;
    let _ = client.line("EHLO client.test").await.expect(250);
    for (n, subject) in ["Root", "Second", "Third"].into_iter().enumerate() {
        let _ = client.mail(CAROL_MAIL, &[ALICE], &letter(subject).raw()).await.expect(250);
        messages(&alice, n + 1).await;
    }
    let there = messages(&alice, 3).await;
    let older = answer(&alice, &relay, &there, "Second", "On the second.").await;
    assert_eq!(older.header("In-Reply-To"), "<Second@client.test>");
    assert_eq!(references(&older), ["<Root@client.test>", "<Second@client.test>"]);
    let newest = answer(&alice, &relay, &there, "Third", "On the third.").await;
    assert_eq!(newest.header("In-Reply-To"), "<Third@client.test>");
    assert_eq!(references(&newest)[..2], ["<Root@client.test>", "<Second@client.test>"]);
}

/// Waits for the mail with a line that Carol wrote in chat.
async fn line_by_mail(world: &World, carol: &mut XmppClient, id: &str, text: &str) -> ReadMail {
    carol.send(ALICE_CONTACT, text, id).await;
    carol.expect_receipt(id, SOON).await;
    let mail = world.sink.expect_mail(ALICE, SOON, |m| m.text().contains(text)).await;
    ReadMail::read(&mail.raw).await
}

#[tokio::test]
async fn server_an_answer_by_mail_to_an_older_line_says_in_chat_which_one() {
    let world = World::start().await;
    let mut carol = world.online("carol").await;
    world.mail(&Mail::new(CAROL, "Broken pump", "Is it fixed?")).await;
    carol.expect_message(SOON).await;
    let older = line_by_mail(&world, &mut carol, "c-1", "Which pump?").await;
    let newer = line_by_mail(&world, &mut carol, "c-2", "And since when?").await;
    let to = older.address("Reply-To");

    let late = Mail::new(to, "Late answer", "The big one.");
    world.mail(&late.answers(older.header("Message-ID"))).await;
    let im = carol.expect_message(SOON).await;
    assert!(body(&im).starts_with("The big one."), "{im}");
    assert!(body(&im).contains("Which pump?") && body(&im).contains('↩'), "{im}");
    assert!(!body(&im).contains("since when"), "{im}");

    // Whoever has just written again knows what the answer to that is about.
    let newest = line_by_mail(&world, &mut carol, "c-3", "Hello?").await;
    assert_eq!(newest.address("Reply-To"), newer.address("Reply-To"));
    let prompt = Mail::new(to, "Prompt answer", "Here I am.");
    world.mail(&prompt.answers(newest.header("Message-ID"))).await;
    assert_eq!(body(&carol.expect_message(SOON).await), "Here I am.");
}

/// Mail programs file by the first entry of References, however much lies between.
#[tokio::test]
async fn the_first_mail_of_a_thread_stays_its_first_beyond_two_hundred_messages() {
    let relay = SmtpSink::start().await;
    let isthmus = acme(setup().relay(&relay.url())).await;
    let alice = isthmus.member("acme", ALICE).await;
    let mut client = SmtpClient::connect(isthmus.smtp()).await;
    let _ = client.line("EHLO client.test").await.expect(250);
    let _ = client.mail(CAROL_MAIL, &[ALICE], &letter("Root").raw()).await.expect(250);
    messages(&alice, 1).await;
    for n in 1..=209 {
        let raw = letter(&format!("No {n}")).raw();
        let _ = client.mail(CAROL_MAIL, &[ALICE], &raw).await.expect(250);
    }
    let there = messages(&alice, 210).await;
    let newest = there[0]["subject"].as_str().expect("a subject");
    let mail = answer(&alice, &relay, &there, newest, "On the newest.").await;
    let references = references(&mail);
    assert_eq!(references.first(), Some(&"<Root@client.test>"), "{references:?}");
    assert_eq!(references.iter().filter(|id| **id == "<Root@client.test>").count(), 1);
    let last = format!("<{}@client.test>", newest.replace(' ', ""));
    assert_eq!(references.last(), Some(&last.as_str()), "{references:?}");
    assert_eq!(mail.header("In-Reply-To"), last);
}
