//! Mail in a member's name that nothing speaks for, mail that runs in circles, guessed addresses.

use isthmus_tests::SmtpClient;

use super::world::{A_WHILE, BRIDGE, CAROL, Mail, SOON, World, body};

#[tokio::test]
async fn server_abuse_smtp_08_mail_in_a_circle_is_refused() {
    let world = World::start().await;
    let mut carol = world.online("carol").await;
    let mut mail = Mail::new(CAROL, "Circle", "Round and round.");
    for hop in 0..51 {
        mail = mail.header(
            "Received",
            &format!("from a{hop}.test by b.test; Sun, 22 Nov 2026 12:00:00 +0000"),
        );
    }
    assert_eq!(world.mail_to(&mail, CAROL).await.code, 554);

    // What we have sent out ourselves does not come back in.
    world.mail(&Mail::new(CAROL, "Pump", "Hello.")).await;
    carol.expect_message(SOON).await;
    carol.send(super::world::ALICE_CONTACT, "Hello Alice.", "c-1").await;
    let ours =
        world.sink.expect_mail("alice@acme.test", SOON, |m| m.text().contains("Hello Alice")).await;
    let back =
        isthmus_tests::send_mail(world.isthmus.smtp(), "a@x.test", &[CAROL], &ours.text()).await;
    assert_eq!(back.code, 554, "{}", back.text());

    // The twin has come a long way, but not in a circle.
    let mut far = Mail::new(CAROL, "Far", "From far away.");
    for hop in 0..20 {
        far = far.header(
            "Received",
            &format!("from a{hop}.test by b.test; Sun, 22 Nov 2026 12:00:00 +0000"),
        );
    }
    world.mail(&far).await;
    carol.expect("the twin", SOON, |e| body(e).starts_with("From far away.")).await;
}

#[tokio::test]
async fn server_abuse_smtp_10_a_forged_from_is_quarantined_and_told() {
    let world = World::start().await;
    let mut carol = world.online("carol").await;
    let forged = Mail::new(CAROL, "Urgent", "Transfer the money.");
    assert_eq!(world.mail_from_a_stranger(&forged).await.code, 250);
    let notice = world.sent("alice@acme.test", "A mail in your name was held back").await;
    assert!(notice.text.contains("Urgent"), "{}", notice.text);
    carol.expect_silence(A_WHILE).await;

    // The twin comes from the trusted network.
    world.mail(&Mail::new(CAROL, "Pump", "It is me.")).await;
    assert!(body(&carol.expect_message(SOON).await).starts_with("It is me."));

    // Trusted as the network is, a verdict of the server before us counts.
    let marked = Mail::new(CAROL, "Marked", "Transfer the money.").header("X-Spam-Flag", "YES");
    let _ = world.mail_to(&marked, CAROL).await;
    carol.expect_silence(A_WHILE).await;
}

#[tokio::test]
async fn server_abuse_smtp_11_guessed_reply_addresses_are_refused_and_slowed() {
    let world = World::start().await;
    let mut carol = world.online("carol").await;
    world.mail(&Mail::new(CAROL, "Pump", "Hello.")).await;
    carol.expect_message(SOON).await;
    carol.send(super::world::ALICE_CONTACT, "Hello Alice.", "c-1").await;
    let known = world.sent("alice@acme.test", "Re: Pump").await.address("Reply-To").to_owned();

    let stranger = std::net::Ipv4Addr::new(127, 0, 0, 66);
    let mut codes = Vec::new();
    for round in 0..8 {
        let mut client = SmtpClient::connect_from(stranger.into(), world.isthmus.smtp()).await;
        let _ = client.line("EHLO guess.test").await.expect(250);
        let _ = client.line("MAIL FROM:<a@guess.test>").await.expect(250);
        for guess in 0..10 {
            let token = format!("{round:02}{guess:02}{}", &known[6..known.find('@').unwrap_or(26)]);
            let reply = client.line(&format!("RCPT TO:<r-{token}@{BRIDGE}>")).await;
            codes.push(reply.code);
            if reply.code == 0 || reply.code == 421 {
                break;
            }
        }
    }
    assert!(codes.iter().all(|c| matches!(c, 550 | 450 | 451 | 421 | 0)), "{codes:?}");
    assert_eq!(codes[0], 550);
    assert!(codes.iter().any(|c| *c != 550), "80 guesses in a row were never slowed: {codes:?}");

    // The twin knows the address, and comes from elsewhere.
    world.mail(&Mail::new(&known, "Re: Pump", "I know it.")).await;
    assert_eq!(body(&carol.expect_message(SOON).await), "I know it.");
}

/// A mail that a server before us calls bad lies held back in Bob's inbox, until he or an
/// administrator lets it in.
#[tokio::test]
async fn server_a_bad_mail_is_let_in_by_whom_it_is_for_or_an_administrator() {
    let world = World::start().await;
    let more = "[[tenant.member]]\nemail = \"mia@acme.test\"\nname = \"Mia\"\n";
    let acme = super::world::ACME.replacen(
        "[[tenant.contact]]",
        &format!("{more}\n[[tenant.contact]]"),
        1,
    );
    world.isthmus.apply(&acme).await;
    let mut bob = world.online("bob").await;
    let (his, alice) = (world.isthmus.member("acme", "bob@acme.test").await, world.alice().await);
    let mia = world.isthmus.member("acme", "mia@acme.test").await;
    let mut held = Vec::new();
    for subject in ["Offer", "Invoice"] {
        let bad = Mail::new("bob@acme.test", subject, "Please read.").from("dave@other.test");
        world.mail(&bad.header("X-Spam-Flag", "YES")).await;
        let of = |t: &serde_json::Value| t["subject"] == subject;
        let talk = his.expect_item("/v1/conversations", SOON, of).await;
        let path = format!("/v1/conversations/{}/messages", talk["id"].as_str().expect("an id"));
        let message = his.expect_item(&path, SOON, |m| m["held"].is_string()).await;
        held.push((path, message["id"].as_str().expect("an id").to_owned()));
    }
    bob.expect_silence(A_WHILE).await;
    let allow = async |api: &isthmus_tests::Api, id: &str| {
        api.post(&format!("/v1/messages/{id}/allow"), &serde_json::json!({})).await
    };
    for (_, id) in &held {
        assert_eq!(allow(&mia, id).await.status, 404, "a colleague has no say");
    }
    for ((path, id), who) in held.iter().zip([&his, &alice]) {
        allow(who, id).await.expect(202);
        let shown = bob.expect_message(SOON).await;
        assert!(body(&shown).contains("Please read.") && body(&shown).contains("Nothing proves"));
        let open = |m: &serde_json::Value| m["id"] == id.as_str() && m["held"].is_null();
        his.expect_item(path, SOON, open).await;
        assert_eq!(allow(&his, id).await.status, 409, "it is in already");
    }
    let audit = alice.get("/v1/audit").await.expect(200);
    let lines = audit["items"].as_array().expect("items").iter();
    let actors: Vec<_> =
        lines.filter(|l| l["action"] == "mail.allow").map(|l| &l["actor"]).collect();
    assert_eq!(actors, ["alice@acme.test", "bob@acme.test"]);
}
