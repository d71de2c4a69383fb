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
