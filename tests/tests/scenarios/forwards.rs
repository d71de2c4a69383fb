//! A mail forwarded to `im@` with the answer on top: the answer goes to that mail's sender.

use super::world::{A_WHILE, ALICE_CONTACT, Mail, SOON, World, body, sender};

const IM: &str = "im@bridge.acme.test";
/// The mail that is forwarded, as Alice got it.
const ORIGINAL: &str = "From: Carol <carol@customer.test>\nTo: Alice <alice@acme.test>\n\
    Subject: Budget 2027\nMessage-ID: <budget@customer.test>\n\
    Date: Sun, 22 Nov 2026 10:02:00 +0000\nMIME-Version: 1.0\nContent-Type: text/plain\n\n\
    Can you approve 12,400 EUR for the pump?\n";

fn as_attachment() -> Mail {
    Mail::new(
        IM,
        "Fwd: Budget 2027",
        &format!(
            "--b\nContent-Type: text/plain\n\nApproved, go ahead.\n--b\n\
             Content-Type: message/rfc822\nContent-Disposition: attachment; filename=\"b.eml\"\n\n\
             {ORIGINAL}\n--b--"
        ),
    )
    .header("Content-Type", "multipart/mixed; boundary=b")
}

#[tokio::test]
async fn server_a_mail_forwarded_as_attachment_is_answered() {
    let world = World::start().await;
    let mut carol = world.online("carol").await;
    world.mail(&as_attachment()).await;
    let im = carol.expect_message(SOON).await;
    assert_eq!(sender(&im), ALICE_CONTACT);
    let text = body(&im);
    assert!(text.starts_with("Approved, go ahead.\n"), "{text}");
    let quote =
        text.find("> Can you approve 12,400 EUR for the pump?").expect("the mail is quoted");
    let title = text.find("Budget 2027 (your mail,").expect("the mail is named");
    assert!(title < quote && text.contains("!email") && text.contains("!help"), "{text}");
}

/// Where the original lies in the member's inbox, quoted text is no longer all there is.
#[tokio::test]
async fn server_an_inline_forward_of_a_known_mail_needs_no_question() {
    let world = World::start().await;
    let mut carol = world.online("carol").await;
    let reply = isthmus_tests::send_mail(
        world.isthmus.smtp(),
        "carol@customer.test",
        &["alice@acme.test"],
        ORIGINAL,
    );
    let _ = reply.await.expect(250);
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    world.mail(&Mail::new(IM, "Fwd: Budget 2027", THUNDERBIRD)).await;
    let im = carol.expect_message(SOON).await;
    assert!(body(&im).starts_with("Approved, go ahead.\n"), "{im}");
    assert_eq!(world.count("alice@acme.test", "Shall this go"), 0);
}

const THUNDERBIRD: &str = "Approved, go ahead.\n\n\n-------- Forwarded Message --------\n\
    Subject: \tBudget 2027\nDate: \tSun, 22 Nov 2026 10:02:00 +0000\n\
    From: \tCarol <carol@customer.test>\nTo: \tAlice <alice@acme.test>\n\n\n\
    Can you approve 12,400 EUR for the pump?\n";
const OUTLOOK: &str = "Approved, go ahead.\n\n________________________________\n\
    From: Carol <carol@customer.test>\nSent: Sunday, November 22, 2026 11:02 AM\n\
    To: Alice <alice@acme.test>\nSubject: Budget 2027\n\n\
    Can you approve 12,400 EUR for the pump?\n";
const GMAIL: &str = "Approved, go ahead.\n\n---------- Forwarded message ---------\n\
    From: Carol <carol@customer.test>\nDate: Sun, Nov 22, 2026 at 11:02 AM\n\
    Subject: Budget 2027\nTo: Alice <alice@acme.test>\n\n\n\
    Can you approve 12,400 EUR for the pump?\n";
const APPLE: &str = "Approved, go ahead.\n\n> Begin forwarded message:\n> \n\
    > From: Carol <carol@customer.test>\n> Subject: Budget 2027\n\
    > Date: 22 November 2026 at 11:02:00 CET\n> To: Alice <alice@acme.test>\n> \n\
    > Can you approve 12,400 EUR for the pump?\n";

/// Only quoted text names the sender: nothing goes out until the member has said yes, once.
#[tokio::test]
async fn server_inline_forwards_ask_once_and_then_send() {
    let world = World::start().await;
    let mut carol = world.online("carol").await;
    for (program, text) in
        [("Thunderbird", THUNDERBIRD), ("Outlook", OUTLOOK), ("Gmail", GMAIL), ("Apple", APPLE)]
    {
        world.mail(&Mail::new(IM, &format!("Fwd: Budget 2027 by {program}"), text)).await;
    }
    let to = "alice@acme.test";
    isthmus_tests::eventually("all four are asked about", SOON, || async {
        (world.count(to, "Shall this go to Carol by chat?") == 4).then_some(())
    })
    .await;
    carol.expect_silence(A_WHILE).await;
    for mail in world.sink.mails() {
        let question = isthmus_tests::ReadMail::read(&mail.raw).await;
        assert!(question.text.contains("Carol <carol@customer.test>"), "{}", question.text);
        assert!(question.text.contains("> Approved, go ahead.\n"), "{}", question.text);
        assert!(!question.text.contains("> Can you approve"), "{}", question.text);
        let link = super::world::links(&question.text, "/d/").remove(0);
        super::world::press(&link, "").await;
        let im = carol.expect_message(SOON).await;
        assert!(body(&im).starts_with("Approved, go ahead.\n"), "{im}");
    }
    assert_eq!(world.count(to, "Shall this go"), 4);
}

#[tokio::test]
async fn server_a_forward_without_a_mail_in_it_is_explained() {
    let world = World::start().await;
    world.mail(&Mail::new(IM, "Hello", "Just a text.")).await;
    let notice = world.sent("alice@acme.test", "there was no mail to answer").await;
    assert!(notice.text.contains("forward it"), "{}", notice.text);
}
