//! Members whose domain's DKIM key is ours write under their own address.

use isthmus_tests::{ReadMail, SinkMail, signer};
use serde_json::json;

use super::world::{ALICE_CONTACT, BRIDGE, CAROL, Mail, SOON, World, subject_of};

/// Another tenant, with a domain of its own and without a key for it.
const TWO: &str = r#"
[[tenant]]
slug = "two"
name = "Two"
domains = ["two.test"]
bridge_domain = "bridge.two.test"

[[tenant.member]]
email = "tom@two.test"
name = "Tom"
"#;

const KEY: [&str; 6] = ["keys", "dkim", "--tenant", "acme", "--domain", "acme.test"];

/// A mail that a member writes to Dave, as it left.
async fn written(world: &World, tenant: &str, member: &str, subject: &str) -> SinkMail {
    let api = world.isthmus.member(tenant, member).await;
    let ask =
        json!({"to": "dave@other.test", "via": "email", "subject": subject, "text": "Hello."});
    api.post("/v1/messages", &ask).await.expect(202);
    world.sink.expect_mail("dave@other.test", SOON, |m| subject_of(m) == subject).await
}

fn is_token(address: &str, bridge: &str) -> bool {
    address.starts_with("r-") && address.ends_with(&format!("@{bridge}"))
}

#[tokio::test]
async fn server_a_member_writes_under_their_own_address_where_the_key_is_ours() {
    let world = World::start().await;
    world.isthmus.apply(TWO).await;
    let before = written(&world, "acme", "alice@acme.test", "Before").await;
    let before = ReadMail::read(&before.raw).await;
    assert!(is_token(before.address("From"), BRIDGE), "{}", before.header("From"));

    let record = world.isthmus.run_ok(&KEY).await;
    assert!(record.starts_with("isthmus._domainkey.acme.test IN TXT"), "{record}");
    assert_eq!(world.isthmus.run_ok(&KEY).await, record, "a key is made once");
    let own = written(&world, "acme", "alice@acme.test", "Own address").await;
    assert_eq!(signer(&own.raw, &record).await.as_deref(), Some("acme.test"));
    let changed = own.text().replace("Hello.", "Goodbye.");
    assert_eq!(signer(changed.as_bytes(), &record).await, None);
    let mail = ReadMail::read(&own.raw).await;
    assert_eq!(mail.header("From"), "Alice <alice@acme.test>");
    assert!(is_token(mail.address("Reply-To"), BRIDGE), "{}", mail.header("Reply-To"));
    assert!(own.from.starts_with("b-") && own.from.ends_with(BRIDGE), "{}", own.from);

    // The answer comes back to the conversation.
    let answer = Mail::new(mail.address("Reply-To"), "Re: Own address", "Hello Alice.")
        .from("dave@other.test");
    world.mail(&answer.answers(mail.header("Message-ID"))).await;
    let back = world.sent("alice@acme.test", "Re: Own address").await;
    // Dave is nobody of Acme's: his address is not ours to write under.
    assert!(is_token(back.address("From"), BRIDGE), "{}", back.header("From"));

    // A tenant without such a key is as before.
    let other = written(&world, "two", "tom@two.test", "From Two").await;
    let other = ReadMail::read(&other.raw).await;
    assert!(is_token(other.address("From"), "bridge.two.test"), "{}", other.header("From"));
}

#[tokio::test]
async fn server_a_key_serves_only_the_tenant_that_has_the_domain() {
    let world = World::start().await;
    world.isthmus.apply(TWO).await;
    for foreign in ["two.test", "bridge.two.test", "elsewhere.test"] {
        let asked = ["keys", "dkim", "--tenant", "acme", "--domain", foreign];
        let refused = world.isthmus.run(&asked).await;
        assert_eq!(refused.code, 1, "{}", refused.stdout);
        let known = "acme; it has bridge.acme.test, acme.test";
        assert!(refused.stderr.contains(known), "{}", refused.stderr);
    }

    // The domain goes from Acme to Two: Alice, who stays, has no right to it any more.
    let record = world.isthmus.run_ok(&KEY).await;
    let acme = super::world::ACME.replace(r#"["acme.test"]"#, "[]");
    let two = TWO.replace(r#"["two.test"]"#, r#"["two.test", "acme.test"]"#);
    let acme = acme.replace("mail_mode = \"copy\"", "mail_mode = \"bridge\"");
    world.isthmus.apply(&format!("{acme}{two}")).await;
    super::world::answers(&world.isthmus, "tom@two.test", 250).await;
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    let mail = written(&world, "acme", "alice@acme.test", "Moved").await;
    assert_eq!(signer(&mail.raw, &record).await, None);
    let mail = ReadMail::read(&mail.raw).await;
    assert!(is_token(mail.address("From"), BRIDGE), "{}", mail.header("From"));
    let moved = ["keys", "dkim", "--tenant", "two", "--domain", "acme.test"];
    assert_ne!(world.isthmus.run_ok(&moved).await, record, "the old owner keeps no key to it");
}

/// Whoever only has a chat address with us does not get a member's domain either.
#[tokio::test]
async fn server_an_answer_from_chat_still_comes_from_the_reply_address() {
    let world = World::start().await;
    world.isthmus.run_ok(&KEY).await;
    let mut carol = world.online("carol").await;
    world.mail(&Mail::new(CAROL, "Pump", "Is it fixed?")).await;
    carol.expect_message(SOON).await;
    carol.send(ALICE_CONTACT, "Which pump?", "c-1").await;
    let mail = world.sent("alice@acme.test", "Re: Pump").await;
    assert!(mail.header("From").starts_with("\"Carol (via Acme)\""), "{}", mail.header("From"));
    assert!(is_token(mail.address("From"), BRIDGE));
}
