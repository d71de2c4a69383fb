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

/// RFC 5321 section 4.5.3.1.1: 64 octets of local part. Where `NAME=DOMAIN` has more, a short
/// alias leads to the same person, and stays.
#[tokio::test]
async fn server_an_address_too_long_for_its_octets_has_an_alias() {
    let world = World::start().await;
    let email = format!("{}@customer.test", "f".repeat(60));
    let more = format!(
        "[[tenant.contact]]\nname = \"Frida\"\nemail = \"{email}\"\nim = [\"xmpp:eve@chat.test\"]\n\
         verified = true\n"
    );
    world.isthmus.apply(&format!("{}\n{more}", super::world::ACME)).await;
    let api = world.alice().await;
    let alias = isthmus_tests::eventually("Frida is a contact", SOON, || async {
        let contacts = api.get("/v1/contacts?q=frida").await.expect(200);
        contacts["items"][0]["bridge_address"].as_str().map(str::to_owned)
    })
    .await;
    assert!(alias.starts_with("a-") && alias.ends_with("@bridge.acme.test"), "{alias}");
    super::world::takes(&world.isthmus, &alias).await;
    let mut frida = world.online("eve").await;
    world.mail(&Mail::new(&alias, "Pump", "Approved, go ahead.")).await;
    assert!(body(&frida.expect_message(SOON).await).starts_with("Approved, go ahead."));
    // In chat the alias is a contact like any other.
    let mut bob = world.online("bob").await;
    bob.send(&alias, "Hello Frida.", "b-1").await;
    bob.expect_receipt("b-1", SOON).await;
    assert!(body(&frida.expect_message(SOON).await).starts_with("Hello Frida."));
    bob.command(serde_json::json!({"do": "subscribe", "to": alias})).await;
    bob.expect("Frida as a contact", SOON, |e| {
        e["ev"] == "presence" && e["nick"] == "Frida (customer.test)"
    })
    .await;
    bob.send("a-0123456789@bridge.acme.test", "Hello?", "b-2").await;
    bob.expect("that there is nobody", SOON, |e| e["ev"] == "error").await;
    // What is too long is refused, and so is an alias of nobody.
    let long = format!("{}@bridge.acme.test", email.replace('@', "="));
    let reply = world.mail_to(&Mail::new(CAROL, "x", "x"), &long).await;
    assert_eq!(reply.code / 100, 5, "{}", reply.text());
    let nobody = super::world::recipient(&world.isthmus, "a-0123456789@bridge.acme.test").await;
    assert_eq!(nobody / 100, 5);
}

/// A member who wrote to somebody who cannot be reached finds no empty conversation afterwards.
#[tokio::test]
async fn server_what_was_not_sent_leaves_no_conversation() {
    let world = World::start().await;
    world.mail(&Mail::new("dave=other.test@bridge.acme.test", "Pump", "Hello Dave.")).await;
    world.sent("alice@acme.test", "No chat address is known for Dave").await;
    let api = world.alice().await;
    let all = api.get("/v1/conversations").await.expect(200);
    assert_eq!(all["items"].as_array().map(Vec::len), Some(0), "{all}");
    // The legitimate twin: by email he can be reached.
    let ask = serde_json::json!({"to": "dave@other.test", "via": "email", "text": "Hello."});
    api.post("/v1/messages", &ask).await.expect(202);
    world.sent("dave@other.test", "Message from Alice").await;
    let all = api.get("/v1/conversations").await.expect(200);
    assert_eq!(all["items"].as_array().map(Vec::len), Some(1), "{all}");
}
