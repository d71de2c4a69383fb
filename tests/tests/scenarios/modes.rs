//! The three ways in which mail reaches Isthmus: bridge, copy, mx. None of them is a relay.

use isthmus_tests::{Isthmus, SinkAnswer, SmtpSink, send_mail};

use super::world::{A_WHILE, Mail, SOON, setup, subject_of, takes};

fn tenant(slug: &str, lines: &str) -> String {
    format!(
        "[[tenant]]\nslug = \"{slug}\"\nname = \"{slug}\"\nbridge_domain = \"bridge.{slug}.test\"\n\
         {lines}\n[[tenant.member]]\nemail = \"alice@{slug}.test\"\nname = \"Alice\"\n"
    )
}

async fn code(isthmus: &Isthmus, to: &str) -> u16 {
    let mail = Mail::new(to, &format!("To {to}"), "Hello.").from("carol@customer.test");
    send_mail(isthmus.smtp(), &mail.from, &[to], &mail.raw()).await.code
}

#[tokio::test]
async fn each_mode_takes_its_own_mail_and_nothing_else() {
    let relay = SmtpSink::start().await;
    let own = SmtpSink::start().await;
    let isthmus = Isthmus::start(setup().relay(&relay.url())).await;
    let mx = format!("domains = [\"mx.test\"]\nmail_mode = \"mx\"\nforward_to = \"{}\"", own.url());
    isthmus.apply(&tenant("bridge", "")).await;
    isthmus.apply(&tenant("copy", "domains = [\"copy.test\"]")).await;
    isthmus.apply(&tenant("mx", &mx)).await;

    takes(&isthmus, "alice@mx.test").await;
    assert_eq!(code(&isthmus, "alice@bridge.test").await, 550);
    // Only members may ask for something at the bridge; the others hear so at once.
    assert_eq!(code(&isthmus, "im@bridge.bridge.test").await, 550);
    let asks = Mail::new("im@bridge.bridge.test", "Ask", "Hello.").from("alice@bridge.test");
    let to = &[asks.to.as_str()];
    assert_eq!(send_mail(isthmus.smtp(), &asks.from, to, &asks.raw()).await.code, 250);
    assert_eq!(code(&isthmus, "nobody@bridge.bridge.test").await, 550);
    assert_eq!(code(&isthmus, "alice@copy.test").await, 250);
    assert_eq!(code(&isthmus, "unknown@copy.test").await, 550);
    assert_eq!(code(&isthmus, "alice@mx.test").await, 250);
    // The company's own server knows who is there.
    assert_eq!(code(&isthmus, "unknown@mx.test").await, 250);
    assert_eq!(code(&isthmus, "anybody@elsewhere.test").await, 550);
    assert_eq!(code(&isthmus, "anybody%elsewhere.test@mx.test").await, 550);

    let passed = own.expect_mails(2, SOON).await;
    let mut to: Vec<_> = passed.iter().map(|m| m.to[0].clone()).collect();
    to.sort();
    assert_eq!(to, ["alice@mx.test", "unknown@mx.test"]);
    for mail in &passed {
        assert_eq!(mail.from, "carol@customer.test");
        assert!(mail.text().ends_with("Hello.\r\n") && mail.header("Received").is_some());
    }
    // Copies are not passed on to anybody.
    tokio::time::sleep(A_WHILE).await;
    assert_eq!(relay.mails().iter().filter(|m| !subject_of(m).contains("Nothing")).count(), 0);
    assert_eq!(own.count(), 2);
}

/// The relay takes what goes out to the world; a tenant with its own server gets its mail there.
#[tokio::test]
async fn outbound_mail_to_a_tenant_with_its_own_server_goes_there() {
    let (relay, own) = (SmtpSink::start().await, SmtpSink::start().await);
    let isthmus = Isthmus::start(setup().relay(&relay.url())).await;
    let mx = format!("domains = [\"mx.test\"]\nmail_mode = \"mx\"\nforward_to = \"{}\"", own.url());
    isthmus.apply(&tenant("mx", &mx)).await;
    takes(&isthmus, "alice@mx.test").await;
    let api = isthmus.member("mx", "alice@mx.test").await;
    for to in ["unknown@mx.test", "carol@customer.test"] {
        let ask =
            serde_json::json!({"to": to, "via": "email", "subject": "Pump", "text": "Hello."});
        api.post("/v1/messages", &ask).await.expect(202);
    }
    own.expect_mail("unknown@mx.test", SOON, |m| subject_of(m) == "Pump").await;
    relay.expect_mail("carol@customer.test", SOON, |m| subject_of(m) == "Pump").await;
    assert_eq!((own.count(), relay.count()), (1, 1));
}

#[tokio::test]
async fn forwarding_outlasts_a_server_that_says_later_and_a_restart() {
    let own = SmtpSink::start().await;
    let mut isthmus = Isthmus::start(setup()).await;
    let mx = format!("domains = [\"mx.test\"]\nmail_mode = \"mx\"\nforward_to = \"{}\"", own.url());
    isthmus.apply(&tenant("mx", &mx)).await;
    takes(&isthmus, "alice@mx.test").await;
    own.answer(SinkAnswer::RefuseData(451, "4.3.0 later".into()));
    assert_eq!(code(&isthmus, "alice@mx.test").await, 250);
    tokio::time::sleep(A_WHILE).await;
    isthmus.kill9_and_start_again().await;
    own.answer(SinkAnswer::Accept);
    own.expect_mails(1, SOON).await;
    tokio::time::sleep(A_WHILE).await;
    assert_eq!(own.count(), 1);
}

/// What the company's server does not want goes back to who sent it.
#[tokio::test]
async fn a_forwarded_mail_that_is_refused_is_returned_to_its_sender() {
    let (relay, own) = (SmtpSink::start().await, SmtpSink::start().await);
    let isthmus = Isthmus::start(setup().relay(&relay.url())).await;
    let mx = format!("domains = [\"mx.test\"]\nmail_mode = \"mx\"\nforward_to = \"{}\"", own.url());
    isthmus.apply(&tenant("mx", &mx)).await;
    takes(&isthmus, "alice@mx.test").await;
    own.answer(SinkAnswer::Refuse(550, "5.1.1 no such user".into()));
    assert_eq!(code(&isthmus, "gone@mx.test").await, 250);
    let bounce = relay.expect_mail("carol@customer.test", SOON, |_| true).await;
    assert_eq!(bounce.from, "");
    let text = bounce.text();
    assert!(text.contains("was not delivered"), "{text}");
    // For the sender's own server: RFC 3464.
    assert!(text.contains("report-type=\"delivery-status\""), "{text}");
    assert!(text.contains("Final-Recipient: rfc822; gone@mx.test"), "{text}");
    assert!(text.contains("Status: 5.1.1"), "{text}");
    assert!(text.contains("Subject: To gone@mx.test"), "{text}");
}

/// Whoever is named as the sender of a forged mail had no part in it, and hears nothing.
#[tokio::test]
async fn a_forwarded_mail_known_to_be_bad_ends_in_silence() {
    let (relay, own) = (SmtpSink::start().await, SmtpSink::start().await);
    let isthmus = Isthmus::start(setup().relay(&relay.url())).await;
    let mx = format!("domains = [\"mx.test\"]\nmail_mode = \"mx\"\nforward_to = \"{}\"", own.url());
    isthmus.apply(&tenant("mx", &mx)).await;
    takes(&isthmus, "alice@mx.test").await;
    own.answer(SinkAnswer::Refuse(550, "5.7.1 spam".into()));
    let forged = Mail::new("gone@mx.test", "Forged", "Hello.").from("carol@customer.test");
    let forged = forged.header("X-Spam-Flag", "YES");
    let sent = send_mail(isthmus.smtp(), &forged.from, &["gone@mx.test"], &forged.raw()).await;
    assert_eq!(sent.code, 250);
    // The legitimate twin, which comes after it, is returned.
    assert_eq!(code(&isthmus, "gone@mx.test").await, 250);
    relay.expect_mail("carol@customer.test", SOON, |m| m.text().contains("To gone@mx.test")).await;
    tokio::time::sleep(A_WHILE).await;
    assert_eq!(relay.count(), 1, "the forged one was returned, too");
}

/// A long mail lies in a file on its way; it is passed on as any other, with our trace on top.
#[tokio::test]
async fn a_long_mail_is_passed_on_whole_and_traced() {
    let own = SmtpSink::start().await;
    let isthmus = Isthmus::start(setup()).await;
    let mx = format!("domains = [\"mx.test\"]\nmail_mode = \"mx\"\nforward_to = \"{}\"", own.url());
    isthmus.apply(&tenant("mx", &mx)).await;
    takes(&isthmus, "alice@mx.test").await;
    let body = "One line of many.\r\n".repeat(40_000);
    let mail = Mail::new("alice@mx.test", "Long", &body).from("carol@customer.test");
    let sent = send_mail(isthmus.smtp(), &mail.from, &["alice@mx.test"], &mail.raw()).await;
    assert_eq!(sent.code, 250);
    let passed = own.expect_mails(1, SOON).await.remove(0);
    assert!(passed.text().starts_with("Received: from "), "{:.200}", passed.text());
    assert_eq!(passed.text().matches("One line of many.\r\n").count(), 40_000);
}
