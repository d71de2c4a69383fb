//! Replies and messages: what is accepted, and what is said when it is not.

use actix_web::http::Method;
use base64::{Engine, engine::general_purpose::STANDARD};
use isthmus_domain::service::{Request, To};
use isthmus_store::{ChangeSet, Ended};
use serde_json::json;

use crate::support::{ACME, ALICE, BOB, World, request};

#[actix_web::test]
async fn a_reply_is_accepted_stored_and_never_unknown_again() {
    let world = World::new().await;
    let (_, messages) = world.conversation(&["Can you come?"]).await;
    let file =
        json!({"name": "../plan.txt", "type": "text/plain", "data": STANDARD.encode("at ten")});
    let body = json!({"to_message": messages[0], "via": "im", "text": "Yes.\r\nAt ten.", "attachments": [file]});
    let reply = world.post(ALICE, "/v1/replies", body).await;
    assert_eq!(reply.status, 202, "{:?}", reply.octets);
    let accepted = reply.json();
    let id = accepted["transaction_id"].as_str().expect("an id");
    let row =
        world.gateway.store.of(&world.acme).transaction(id).await.expect("read").expect("there");
    assert_eq!((row.service.as_str(), row.source.as_str()), ("reply.im", "api"));
    let request: Request = serde_json::from_str(&row.params).expect("the router's parameters");
    assert_eq!(request.to, To::Message(messages[0].clone()));
    assert_eq!(
        (request.text.as_str(), request.attachments[0].name.as_str()),
        ("Yes.\nAt ten.", "plan.txt")
    );
    let kept =
        world.gateway.store.of(&world.acme).blob(&request.attachments[0].hash).await.expect("read");
    assert_eq!(kept.expect("kept"), "at ten");
    assert_eq!(world.gateway.queue.len(), 1);

    let shown = world.get(ALICE, &format!("/v1/transactions/{id}")).await.json();
    assert_eq!(shown["params"]["to_message"], messages[0].as_str());
    assert_eq!(shown["deliveries"][0]["id"], accepted["delivery_id"]);
    let delivery = world
        .get(ALICE, &format!("/v1/deliveries/{}", accepted["delivery_id"].as_str().expect("id")))
        .await;
    assert_eq!(
        (delivery.status.as_u16(), delivery.json()["state"].as_str()),
        (200, Some("accepted"))
    );
}

#[actix_web::test]
async fn a_promised_delivery_that_was_refused_says_why() {
    let world = World::new().await;
    let (_, messages) = world.conversation(&["Can you come?"]).await;
    let body = json!({"to_message": messages[0], "via": "email", "text": "Yes."});
    let accepted = world.post(ALICE, "/v1/replies", body).await.json();
    let id = accepted["transaction_id"].as_str().expect("an id").to_owned();
    let ended =
        Ended { id, state: "refused", reason: Some("the tenant was deleted".into()), at: 1 };
    world.commit(ChangeSet { ended: vec![ended], ..ChangeSet::default() }).await;
    let path = format!("/v1/deliveries/{}", accepted["delivery_id"].as_str().expect("an id"));
    let delivery = world.get(ALICE, &path).await.json();
    assert_eq!(
        (delivery["state"].as_str(), delivery["reason"].as_str()),
        (Some("failed"), Some("the tenant was deleted"))
    );
}

#[actix_web::test]
async fn a_whole_mail_can_be_answered() {
    let world = World::new().await;
    let mail = "From: Carol <carol@customer.test>\nTo: alice@acme.test\nSubject: Hi\nMessage-ID: <1@x>\n\nHi\n";
    let body = json!({"original_email": mail, "via": "im", "text": "Hello."});
    let reply = world.post(ALICE, "/v1/replies", body).await;
    assert_eq!(reply.status, 202, "{:?}", reply.octets);
    let bad = json!({"original_email": "no mail at all", "via": "im", "text": "Hello."});
    assert_eq!(
        world.post(ALICE, "/v1/replies", bad).await.problem(),
        (422, "unreadable-email".into())
    );
    let stranger = mail.replace("carol@customer.test", "eve@x.test");
    let bad = json!({"original_email": stranger, "via": "im", "text": "Hello."});
    assert_eq!(
        world.post(ALICE, "/v1/replies", bad).await.problem(),
        (422, "no-im-address".into())
    );
}

#[actix_web::test]
async fn an_im_needs_a_verified_address_and_the_answer_says_where_to_add_one() {
    let world = World::new().await;
    let to = |to: &str, via: &str| json!({"to": to, "via": via, "text": "Hello"});
    let known = world.post(ALICE, "/v1/messages", to("carol@customer.test", "im")).await;
    assert_eq!(known.status, 202, "{:?}", known.octets);
    let unknown = world.post(ALICE, "/v1/messages", to("dave@customer.test", "im")).await;
    assert_eq!(unknown.problem(), (422, "no-im-address".into()));
    assert_eq!(unknown.json()["add_at"], "/v1/contacts");
    assert_eq!(
        world.post(ALICE, "/v1/messages", to("dave@customer.test", "email")).await.status,
        202
    );
    assert_eq!(
        world.post(ALICE, "/v1/messages", to("xmpp:carol@chat.test", "im")).await.status,
        202
    );
    let stranger = world.post(ALICE, "/v1/messages", to("xmpp:dave@chat.test", "im")).await;
    assert_eq!(stranger.problem(), (422, "no-im-address".into()));
    let stranger = world.post(ALICE, "/v1/messages", to("xmpp:dave@chat.test", "email")).await;
    assert_eq!(stranger.problem(), (422, "no-email-address".into()));
}

#[actix_web::test]
async fn somebody_has_to_be_the_author() {
    let world = World::new().await;
    let hello = json!({"to": "carol@customer.test", "via": "im", "text": "Hello"});
    assert_eq!(
        world.post(ACME, "/v1/messages", hello.clone()).await.problem(),
        (422, "member-needed".into())
    );
    let mut named = hello.clone();
    named["as"] = "alice@acme.test".into();
    assert_eq!(world.post(ACME, "/v1/messages", named.clone()).await.status, 202);
    assert_eq!(world.post(ALICE, "/v1/messages", named.clone()).await.status, 202);
    assert_eq!(
        world.post(BOB, "/v1/messages", named.clone()).await.problem(),
        (403, "not-yours".into())
    );
    named["as"] = "mallory@evil.test".into();
    assert_eq!(
        world.post(ACME, "/v1/messages", named).await.problem(),
        (422, "member-needed".into())
    );
}

#[actix_web::test]
async fn the_general_form_does_the_same_as_the_special_ones() {
    let world = World::new().await;
    let params = json!({"to": "carol@customer.test", "subject": "Hi", "text": "Hello"});
    let general = json!({"service": "message.email", "params": params});
    assert_eq!(world.post(ALICE, "/v1/transactions", general).await.status, 202);
    let contradiction = json!({"service": "message.email", "params": {"to": "carol@customer.test", "via": "im", "text": "x"}});
    assert_eq!(world.post(ALICE, "/v1/transactions", contradiction).await.problem().0, 422);
    let unknown = json!({"service": "mail.in", "params": {}});
    assert_eq!(world.post(ALICE, "/v1/transactions", unknown).await.problem().0, 422);
    let listed = world.get(ALICE, "/v1/transactions").await.json();
    assert_eq!(listed["items"][0]["service"], "message.email");
    assert_eq!(listed["items"][0]["params"]["text"], "Hello");
}

#[actix_web::test]
async fn texts_and_files_that_cannot_be_right_are_refused_with_the_reason() {
    let world = World::new().await;
    for (field, value, said) in [
        ("text", json!(""), "neither a text nor an attachment"),
        ("text", json!("a\u{0}b"), "control character"),
        ("text", json!("x".repeat(300_000)), "longer than"),
        ("subject", json!("a\u{0}b"), "control character"),
        ("attachments", json!([{"name": "a", "data": "%%"}]), "base64"),
        ("to", json!("nobody"), "looks like"),
        ("via", json!("fax"), "unknown variant"),
    ] {
        let mut body = json!({"to": "carol@customer.test", "via": "im", "text": "Hello"});
        body[field] = value;
        let reply = world.post(ALICE, "/v1/messages", body).await;
        assert_eq!(reply.problem().0, 422, "{field}");
        let detail = reply.json()["detail"].as_str().expect("a detail").to_owned();
        assert!(detail.contains(said), "{field}: {detail}");
    }
    let form = request(Method::POST, "/v1/messages", ALICE)
        .insert_header(("Content-Type", "application/x-www-form-urlencoded"))
        .set_payload("to=carol");
    assert_eq!(world.ask(form).await.problem(), (415, "wrong-media-type".into()));
}
