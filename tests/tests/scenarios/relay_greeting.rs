//! The name by which the relay knows us.

use isthmus_tests::{Isthmus, SmtpSink};
use serde_json::json;

use super::world::{ACME, SOON, setup};

/// RFC 5321 section 4.1.1.1: a client names itself, and relays refuse names that are made up.
#[tokio::test]
async fn the_relay_is_greeted_with_the_name_that_is_configured() {
    let sink = SmtpSink::start().await;
    let named = setup().set("SMTP__HOSTNAME", "mail.acme.test").relay(&sink.url());
    let isthmus = Isthmus::start(named).await;
    isthmus.apply(ACME).await;
    let api = isthmus.member("acme", "alice@acme.test").await;
    let message =
        json!({"to": "dave@other.test", "via": "email", "subject": "Offer", "text": "Hello."});
    api.post("/v1/messages", &message).await.expect(202);
    sink.expect_mail("dave@other.test", SOON, |_| true).await;
    let names = sink.greetings();
    assert!(!names.is_empty() && names.iter().all(|n| n == "mail.acme.test"), "{names:?}");
}
