//! Server-sent events: what becomes of messages is told as it happens, to whom it concerns.

use serde_json::json;

use super::world::{SOON, World};

#[tokio::test]
async fn server_a_delivery_is_told_as_it_moves_and_only_to_its_sender() {
    let world = World::start().await;
    let mut carol = world.online("carol").await;
    let alice = world.alice().await;
    let bob = world.isthmus.member("acme", "bob@acme.test").await;
    let (mut hers, mut his) = (alice.events().await, bob.events().await);
    let ask = |text: &str| json!({"to": "carol@customer.test", "via": "im", "text": text});
    let sent = alice.post("/v1/messages", &ask("From Alice.")).await.expect(202);
    let id = sent["delivery_id"].as_str().expect("a delivery").to_owned();
    carol.expect_message(SOON).await;
    let moved = |state: &'static str| {
        let id = id.clone();
        move |e: &serde_json::Value| e["delivery_id"] == id.as_str() && e["state"] == state
    };
    let sending = hers.expect(SOON, moved("sending")).await;
    assert!(sending["conversation_id"].is_string() && sending["message_id"].is_string());
    hers.expect(SOON, moved("delivered")).await;

    let own = bob.post("/v1/messages", &ask("From Bob.")).await.expect(202);
    let own = own["delivery_id"].as_str().expect("a delivery").to_owned();
    his.expect(SOON, |e| {
        assert_ne!(e["delivery_id"], id.as_str(), "Bob hears of Alice's message: {e}");
        e["delivery_id"] == own.as_str() && e["state"] == "delivered"
    })
    .await;
}
