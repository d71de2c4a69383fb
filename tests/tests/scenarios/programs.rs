//! Programs: answers, new messages, deliveries and decisions through the HTTP API.

use serde_json::{Value, json};

use super::world::{A_WHILE, ALICE_CONTACT, CAROL, Mail, SOON, World, body, sender, settle};

fn delivery_of(answer: &Value) -> &str {
    answer["delivery_id"].as_str().unwrap_or_else(|| panic!("no delivery_id: {answer}"))
}

#[tokio::test]
async fn server_a_message_in_the_inbox_is_answered_by_im() {
    let world = World::start().await;
    let mut carol = world.online("carol").await;
    let mail = Mail::new("alice@acme.test", "Budget", "Can you approve it?");
    world.mail(&mail.from("Carol <carol@customer.test>")).await;
    let api = world.alice().await;
    let conversation = api
        .expect_item("/v1/conversations", SOON, |c| {
            c["subject"].as_str().is_some_and(|s| s.contains("Budget"))
        })
        .await;
    let path =
        format!("/v1/conversations/{}/messages", conversation["id"].as_str().expect("an id"));
    let message = api.expect_item(&path, SOON, |m| m["text"] == "Can you approve it?").await;
    assert_eq!(
        (&message["medium"], &message["from"]["address"]),
        (&json!("email"), &json!("carol@customer.test"))
    );
    assert_eq!(message["message_id"], "Budget@client.test");

    let reply = json!({"to_message": message["id"], "via": "im", "text": "Approved, go ahead."});
    let answer = api.post("/v1/replies", &reply).await.expect(202);
    assert!(answer["transaction_id"].is_string(), "{answer}");
    let im = carol.expect_message(SOON).await;
    assert_eq!(sender(&im), ALICE_CONTACT);
    assert!(body(&im).starts_with("Approved, go ahead.\n"), "{im}");
    assert!(body(&im).contains("> Can you approve it?"), "{im}");
    let delivery = api.expect_delivery(delivery_of(&answer), "delivered", SOON).await;
    assert_eq!(delivery["evidence"], "receipt");
    let states: Vec<_> =
        delivery["history"].as_array().expect("a list").iter().map(|h| &h["state"]).collect();
    assert_eq!(states.first(), Some(&&json!("accepted")), "{states:?}");
    assert_eq!(states.last(), Some(&&json!("delivered")), "{states:?}");
}

#[tokio::test]
async fn server_a_mail_given_whole_is_answered_by_either_medium() {
    let world = World::start().await;
    let mut carol = world.online("carol").await;
    let api = world.alice().await;
    let original = Mail::new("alice@acme.test", "Budget", "Can you approve it?");
    let original = original.from("Carol <carol@customer.test>").raw();
    let reply = json!({"original_email": original, "via": "im", "text": "By chat."});
    api.post("/v1/replies", &reply).await.expect(202);
    assert!(body(&carol.expect_message(SOON).await).starts_with("By chat.\n"));

    let reply = json!({"original_email": original, "via": "email", "text": "By mail."});
    let answer = api.post("/v1/replies", &reply).await.expect(202);
    let mail = world.sent("carol@customer.test", "Re: Budget").await;
    assert!(mail.text.starts_with("By mail.\n"), "{}", mail.text);
    assert!(
        mail.header("References").contains("<Budget@client.test>"),
        "{}",
        mail.header("References")
    );
    assert!(!mail.header("In-Reply-To").is_empty());
    let delivery = api.expect_delivery(delivery_of(&answer), "delivered", SOON).await;
    assert_eq!(delivery["evidence"], "smtp");
}

#[tokio::test]
async fn server_a_key_of_the_tenant_or_another_member_decides_nothing_that_is_not_theirs() {
    let world = World::start().await;
    let _carol = world.away("carol").await;
    let api = world.alice().await;
    let message =
        json!({"to": "carol@customer.test", "via": "im", "subject": "Pump", "text": "Hello."});
    let answer = api.post("/v1/messages", &message).await.expect(202);
    let id = delivery_of(&answer);
    api.expect_delivery(id, "awaiting_decision", SOON).await;
    let bob = world.isthmus.member("acme", "bob@acme.test").await;
    assert_eq!(bob.get(&format!("/v1/deliveries/{id}")).await.status, 404);
    let decision = format!("/v1/deliveries/{id}/decision");
    assert_eq!(bob.post(&decision, &json!({"action": "abort"})).await.status, 404);
    assert_eq!(world.isthmus.stranger().get(&format!("/v1/deliveries/{id}")).await.status, 401);
    api.post(&decision, &json!({"action": "abort"})).await.expect(202);
}

#[tokio::test]
async fn server_a_decision_counts_once() {
    let world = World::start().await;
    let mut carol = world.away("carol").await;
    let api = world.alice().await;
    let message =
        json!({"to": "carol@customer.test", "via": "im", "subject": "Pump", "text": "Hello."});
    let answer = api.post("/v1/messages", &message).await.expect(202);
    let id = delivery_of(&answer);
    let asked = api.expect_delivery(id, "awaiting_decision", SOON).await;
    assert_eq!(asked["question"]["options"], json!(["retry", "email", "abort"]));
    assert!(asked["question"]["deadline"].is_string(), "{asked}");

    let path = format!("/v1/deliveries/{id}/decision");
    api.post(&path, &json!({"action": "sideways"})).await.expect(422);
    api.post(&path, &json!({"action": "retry"})).await.expect(202);
    api.expect_delivery(id, "retrying", SOON).await;
    // While it is being retried, the decision may still change.
    api.post(&path, &json!({"action": "email"})).await.expect(202);
    let settled = api.expect_delivery(id, "became_email", SOON).await;
    let became = settled["became"].as_str().expect("the delivery that it became");
    api.expect_delivery(became, "delivered", SOON).await;
    world.sent("carol@customer.test", "Pump").await;
    for action in ["retry", "abort", "email"] {
        let again = api.post(&path, &json!({"action": action})).await;
        assert_eq!(again.status, 409, "{}", again.text());
        assert_eq!(again.headers["content-type"], "application/problem+json");
    }
    carol.go_online().await;
    carol.expect_silence(A_WHILE).await;
}

#[tokio::test]
async fn server_a_retry_asked_through_the_api_is_woken_by_presence() {
    let world = World::start().await;
    let mut carol = world.away("carol").await;
    let api = world.alice().await;
    let message = json!({"to": "xmpp:carol@chat.test", "via": "im", "text": "Hello."});
    let answer = api.post("/v1/messages", &message).await.expect(202);
    let id = delivery_of(&answer).to_owned();
    api.expect_delivery(&id, "awaiting_decision", SOON).await;
    api.post(&format!("/v1/deliveries/{id}/decision"), &json!({"action": "retry"}))
        .await
        .expect(202);
    let mut events = api.events().await;
    carol.go_online().await;
    assert!(body(&carol.expect_message(SOON).await).starts_with("Hello."));
    events.expect(SOON, |e| e["delivery_id"] == id.as_str() && e["state"] == "delivered").await;
    assert_eq!(api.expect_delivery(&id, "delivered", SOON).await["evidence"], "receipt");
}

/// Needs no chat server: mail out is one of the two media.
#[tokio::test]
async fn abuse_http_23_the_same_key_twice_is_one_message() {
    let sink = isthmus_tests::SmtpSink::start().await;
    let isthmus = isthmus_tests::Isthmus::start(super::world::setup().relay(&sink.url())).await;
    isthmus.apply(super::world::ACME).await;
    let api = isthmus.member("acme", "alice@acme.test").await;
    let message =
        json!({"to": "dave@other.test", "via": "email", "subject": "Offer", "text": "Hello."});
    let first = api.post_once("/v1/messages", &message, "key-1").await;
    let second = api.post_once("/v1/messages", &message, "key-1").await;
    assert_eq!(first.expect(202), second.expect(202));
    let other =
        json!({"to": "dave@other.test", "via": "email", "subject": "Offer", "text": "Bye."});
    assert_eq!(api.post_once("/v1/messages", &other, "key-1").await.status, 422);
    // The twin under its own key goes out.
    api.post_once("/v1/messages", &other, "key-2").await.expect(202);
    sink.expect_mails(2, SOON).await;
    tokio::time::sleep(A_WHILE).await;
    assert_eq!(sink.count(), 2);
}

/// Accepted is committed: a kill right after the answer loses nothing, and a repetition of the
/// request is still recognised.
#[tokio::test]
async fn what_was_accepted_survives_a_kill() {
    let sink = isthmus_tests::SmtpSink::start().await;
    let mut isthmus = isthmus_tests::Isthmus::start(super::world::setup().relay(&sink.url())).await;
    isthmus.apply(super::world::ACME).await;
    let api = isthmus.member("acme", "alice@acme.test").await;
    for n in 0..5 {
        let message = json!({"to": "dave@other.test", "via": "email", "subject": format!("Offer {n}"), "text": "Hello."});
        let key = format!("key-{n}");
        let first = api.post_once("/v1/messages", &message, &key).await.expect(202);
        isthmus.kill9_and_start_again().await;
        assert_eq!(api.post_once("/v1/messages", &message, &key).await.expect(202), first);
        let subject = format!("Offer {n}");
        sink.expect_mail("dave@other.test", SOON, |m| super::world::subject_of(m) == subject).await;
        api.expect_delivery(delivery_of(&first), "delivered", SOON).await;
    }
    settle().await;
    let mut ids: Vec<_> = sink.mails().iter().filter_map(|m| m.header("Message-ID")).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 5, "a mail came again under another id");
}

#[tokio::test]
async fn server_a_transaction_tells_what_became_of_a_mail() {
    let world = World::start().await;
    let mut carol = world.online("carol").await;
    world.mail(&Mail::new(CAROL, "Pump", "Approved.")).await;
    let im = carol.expect_message(SOON).await;
    let api = world.alice().await;
    let found = |t: &Value| t["service"] == "mail.in" && t["deliveries"][0]["state"] == "delivered";
    let transaction = api.expect_item("/v1/transactions", SOON, found).await;
    assert_eq!(transaction["deliveries"][0]["evidence"], "receipt");
    assert_eq!(transaction["state"], "done");
    // Receipts are matched by the id that the client saw.
    assert!(im["id"].is_string());
}
