//! A member's mail to a person's bridge address arrives as an instant message.

use isthmus_tests::XmppKind;

use super::world::{A_WHILE, ALICE_CONTACT, CAROL, Mail, SOON, World, body, sender, setup};

async fn mail_arrives_as_im(kind: XmppKind) {
    let world = World::with(kind, setup()).await;
    let mut carol = world.online("carol").await;

    world.mail(&Mail::new(CAROL, "Pump", "Approved, go ahead.")).await;
    let first = carol.expect_message(SOON).await;
    assert!(body(&first).starts_with("Approved, go ahead.\n\n"), "{first}");
    assert_eq!(sender(&first), ALICE_CONTACT);
    assert_eq!(first["nick"], "Alice (acme.test)");
    assert_eq!((&first["type"], &first["receipt_wanted"]), (&"chat".into(), &true.into()));
    assert!(first["id"].is_string() && first["id"] == first["origin_id"], "{first}");
    world.sent("alice@acme.test", "Carol has it").await;

    // Only the first message explains itself, and only the first is told about.
    world.mail(&Mail::new(CAROL, "Re: Pump", "And the hose.").answers("Pump@client.test")).await;
    let second = carol.expect_message(SOON).await;
    assert_eq!(body(&second), "And the hose.");
    assert_ne!(second["id"], first["id"]);
    tokio::time::sleep(A_WHILE).await;
    assert_eq!(world.count("alice@acme.test", "Carol has it"), 1);
    carol.expect_silence(A_WHILE).await;
}

#[tokio::test]
async fn server_mail_arrives_as_im_through_prosody() {
    mail_arrives_as_im(XmppKind::Prosody).await;
}

#[tokio::test]
async fn server_mail_arrives_as_im_through_ejabberd() {
    mail_arrives_as_im(XmppKind::Ejabberd).await;
}

#[tokio::test]
async fn server_the_same_mail_twice_is_one_message() {
    let world = World::start().await;
    let mut carol = world.online("carol").await;
    let mail = Mail::new(CAROL, "Pump", "Once.");
    world.mail(&mail).await;
    world.mail(&mail).await;
    carol.expect_message(SOON).await;
    carol.expect_silence(A_WHILE).await;
}

#[tokio::test]
async fn server_without_a_chat_address_the_member_is_told() {
    let world = World::start().await;
    world.mail(&Mail::new("dave=other.test@bridge.acme.test", "Pump", "Hello Dave.")).await;
    let notice = world.sent("alice@acme.test", "No chat address is known for Dave").await;
    assert!(notice.text.contains("dave@other.test"), "{}", notice.text);
    assert_eq!(notice.header("Auto-Submitted"), "auto-replied");
    assert_eq!(notice.header("In-Reply-To"), "<Pump@client.test>");
}

#[tokio::test]
async fn server_an_address_too_long_for_its_octets_has_an_alias() {
    let world = World::start().await;
    let local = "a".repeat(60);
    let reply = world
        .mail_to(&Mail::new(CAROL, "x", "x"), &format!("{local}=acme.test@bridge.acme.test"))
        .await;
    // RFC 5321 section 4.5.3.1.1: 64 octets of local part.
    assert_eq!(reply.code / 100, 5, "{}", reply.text());
}
