//! Which message is answered: the one that the member's mail names, however old it is and under
//! whichever id they have it.

use isthmus_tests::ReadMail;

use super::world::{ALICE_CONTACT, CAROL, Mail, SOON, World, body, settle};

/// What Alice has got by mail with this text in it.
async fn got(world: &World, text: &str) -> ReadMail {
    let mail = world.sink.expect_mail("alice@acme.test", SOON, |m| m.text().contains(text)).await;
    ReadMail::read(&mail.raw).await
}

#[tokio::test]
async fn server_an_answer_to_an_older_chat_line_says_which_one() {
    let world = World::start().await;
    let mut carol = world.online("carol").await;
    world.mail(&Mail::new(CAROL, "Pump", "Is it fixed?")).await;
    carol.expect_message(SOON).await;
    carol.send(ALICE_CONTACT, "Which pump?", "c-1").await;
    let first = got(&world, "Which pump?").await;
    carol.send(ALICE_CONTACT, "And who pays?", "c-2").await;
    got(&world, "And who pays?").await;
    let older = Mail::new(CAROL, "Re: Pump", "The big one.");
    world.mail(&older.answers(first.header("Message-ID"))).await;
    let im = carol.expect_message(SOON).await;
    assert!(body(&im).contains("↩") && body(&im).contains("> Which pump?"), "{im}");
}

/// A correspondent's mail has an id of its own; Alice has it as a mail of ours, under another one.
#[tokio::test]
async fn server_an_answer_to_an_older_mail_from_outside_says_which_one() {
    let world = World::start().await;
    let api = world.alice().await;
    let ask = serde_json::json!({"to": "dave@other.test", "via": "email", "subject": "Offer", "text": "Here."});
    api.post("/v1/messages", &ask).await.expect(202);
    let mail = world.sent("dave@other.test", "Offer").await;
    let token = mail.address("Reply-To");
    for (subject, text) in [("Re: Offer", "How much?"), ("Re: Re: Offer", "Until when?")] {
        let answer = Mail::new(token, subject, text).from("dave@other.test");
        world.mail(&answer.answers(mail.header("Message-ID"))).await;
        got(&world, text).await;
    }
    let first = got(&world, "How much?").await;
    assert_ne!(first.header("Message-ID"), "<ReOffer@client.test>");
    let answer = Mail::new(first.address("Reply-To"), "Re: Re: Offer 2", "12,400 EUR.");
    world.mail(&answer.header("In-Reply-To", first.header("Message-ID"))).await;
    let out =
        world.sink.expect_mail("dave@other.test", SOON, |m| m.text().contains("12,400 EUR.")).await;
    let out = ReadMail::read(&out.raw).await;
    assert_eq!(out.header("In-Reply-To"), "<ReOffer@client.test>", "his own id of the older mail");
}

#[tokio::test]
async fn server_an_older_mail_that_is_forwarded_is_the_one_that_is_answered() {
    let world = World::start().await;
    let mut carol = world.online("carol").await;
    for (subject, text) in [("Budget", "Can you approve it?"), ("Re: Budget", "And the hose?")] {
        let mail = Mail::new("alice@acme.test", subject, text).from("Carol <carol@customer.test>");
        world.mail(&mail.answers("Budget@client.test")).await;
    }
    settle().await;
    let forward = |subject: &str, answer: &str| {
        let original = "From: Carol <carol@customer.test>\nTo: alice@acme.test\nSubject: Budget\n\
                        Message-ID: <Budget@client.test>\n\nCan you approve it?";
        let body = format!(
            "--b\nContent-Type: text/plain\n\n{answer}\n--b\nContent-Type: message/rfc822\n\n\
             {original}\n--b--"
        );
        Mail::new("im@bridge.acme.test", subject, &body)
            .header("Content-Type", "multipart/mixed; boundary=b")
    };
    world.mail(&forward("Fwd: Budget", "Approved.")).await;
    let im = carol.expect_message(SOON).await;
    assert!(body(&im).contains("> Can you approve it?"), "{im}");
    assert!(!body(&im).contains("> And the hose?"), "{im}");
    // Also when the history has been shown, and newer ones lie between.
    world.mail(&forward("Fwd: Budget 2", "All of it.")).await;
    let im = carol.expect_message(SOON).await;
    assert!(body(&im).contains("> Can you approve it?"), "{im}");
}
