//! Who may see what.

use actix_web::{http::Method, test};
use serde_json::json;

use crate::support::{ACME, ALICE, BOB, MALLORY, OPERATOR, World, request};

#[actix_web::test]
async fn without_a_good_key_there_is_nothing_to_see() {
    let world = World::new().await;
    let none = world.ask(test::TestRequest::get().uri("/v1/contacts")).await;
    assert_eq!(none.problem(), (401, "no-key".into()));
    assert!(none.header("www-authenticate").starts_with("Bearer"));
    assert_eq!(world.get("guessed", "/v1/contacts").await.problem(), (401, "bad-key".into()));
    assert_eq!(world.get(OPERATOR, "/v1/contacts").await.problem(), (403, "operator-key".into()));
    assert_eq!(world.get(ALICE, "/v1/contacts").await.status, 200);
}

#[actix_web::test]
async fn abuse_http_21_foreign_ids_are_as_unknown_as_made_up_ones() {
    let world = World::new().await;
    let (conversation, messages) = world.conversation(&["secret"]).await;
    let file = world.attach(&messages[0], "a.txt", b"secret").await;
    let delivery = world.delivery(&isthmus_domain::delivery::State::Accepted).await;
    let contact = world.get(ALICE, "/v1/contacts").await.json()["items"][0]["id"]
        .as_str()
        .expect("id")
        .to_owned();
    let hello = json!({"to": "carol@customer.test", "via": "im", "text": "Hello"});
    let accepted = world.post(ALICE, "/v1/messages", hello).await.json();
    let text = |name: &str| accepted[name].as_str().expect("an id").to_owned();
    for (path, made_up) in [
        (format!("/v1/conversations/{conversation}"), "/v1/conversations/cnv_none".to_owned()),
        (
            format!("/v1/conversations/{conversation}/messages"),
            "/v1/conversations/cnv_none/messages".into(),
        ),
        (
            format!("/v1/conversations/{conversation}/export"),
            "/v1/conversations/cnv_none/export".into(),
        ),
        (format!("/v1/attachments/{file}"), "/v1/attachments/att_none".into()),
        (format!("/v1/deliveries/{delivery}"), "/v1/deliveries/dlv_none".into()),
        (format!("/v1/deliveries/{}", text("delivery_id")), "/v1/deliveries/dlv_none".into()),
        (
            format!("/v1/transactions/{}", text("transaction_id")),
            "/v1/transactions/txn_none".into(),
        ),
        (format!("/v1/contacts/{contact}"), "/v1/contacts/con_none".into()),
        (format!("/v1/contacts/{contact}/addresses"), "/v1/contacts/con_none/addresses".into()),
    ] {
        assert_eq!(world.get(ALICE, &path).await.status, 200, "{path} is Alice's own");
        let (foreign, none) = (world.get(MALLORY, &path).await, world.get(MALLORY, &made_up).await);
        assert_eq!(foreign.problem(), (404, "not-found".into()), "{path}");
        assert_eq!(foreign.octets, none.octets, "{path}");
    }
    let answer = json!({"to_message": messages[0], "via": "email", "text": "Hello"});
    assert_eq!(world.post(MALLORY, "/v1/replies", answer).await.problem().0, 404);
    let path = format!("/v1/deliveries/{delivery}/decision");
    assert_eq!(world.post(MALLORY, &path, json!({"action": "retry"})).await.problem().0, 404);
}

#[actix_web::test]
async fn a_member_reads_only_conversations_they_take_part_in() {
    let world = World::new().await;
    let (conversation, messages) = world.conversation(&["secret"]).await;
    assert_eq!(world.get(BOB, "/v1/conversations").await.json()["items"], json!([]));
    assert_eq!(world.get(BOB, &format!("/v1/conversations/{conversation}")).await.problem().0, 404);
    let answer = json!({"to_message": messages[0], "via": "email", "text": "Hello"});
    assert_eq!(world.post(BOB, "/v1/replies", answer.clone()).await.problem().0, 404);
    assert_eq!(world.post(ALICE, "/v1/replies", answer).await.status, 202);
}

#[actix_web::test]
async fn administrators_see_who_and_when_but_not_what() {
    let world = World::new().await;
    let (conversation, messages) = world.conversation(&["secret words"]).await;
    let file = world.attach(&messages[0], "a.txt", b"secret words").await;
    let answer = json!({"to_message": messages[0], "via": "im", "text": "secret words"});
    let accepted = world.post(ALICE, "/v1/replies", answer).await.json();
    let transaction =
        format!("/v1/transactions/{}", accepted["transaction_id"].as_str().expect("an id"));
    for path in [
        "/v1/conversations",
        "/v1/transactions",
        &transaction,
        &format!("/v1/conversations/{conversation}"),
    ] {
        let seen = world.get(ACME, path).await;
        let text = String::from_utf8_lossy(&seen.octets).into_owned();
        assert!(
            seen.status == 200 && text.contains("txn_") | text.contains("carol"),
            "{path}: {text}"
        );
        assert!(!text.contains("secret words") && !text.contains("Pump"), "{path}: {text}");
    }
    for path in [
        format!("/v1/conversations/{conversation}/messages"),
        format!("/v1/conversations/{conversation}/export"),
        format!("/v1/attachments/{file}"),
        "/v1/conversations?q=secret".to_owned(),
    ] {
        assert_eq!(
            world.get(ACME, &path).await.problem(),
            (403, "content-is-private".into()),
            "{path}"
        );
        assert_eq!(world.get(ALICE, &path).await.status, 200, "{path}");
    }
}

#[actix_web::test]
async fn the_audit_log_is_for_administrators() {
    let world = World::new().await;
    let dave = json!({"email": "dave@customer.test", "name": "Dave"});
    assert_eq!(world.post(BOB, "/v1/contacts", dave).await.status, 201);
    assert_eq!(world.get(BOB, "/v1/audit").await.problem(), (403, "admins-only".into()));
    for key in [ALICE, ACME] {
        let log = world.get(key, "/v1/audit").await.json();
        assert_eq!(log["items"][0]["actor"], "bob@acme.test");
        assert_eq!(log["items"][0]["action"], "contact.create");
    }
    assert_eq!(world.get(MALLORY, "/v1/audit").await.problem().0, 403);
}

#[actix_web::test]
async fn a_revoked_key_opens_nothing_at_once() {
    let world = World::new().await;
    assert_eq!(world.get(ALICE, "/v1/contacts").await.status, 200);
    let alice = world.member("alice@acme.test");
    let left = isthmus_store::rows::Member { left_at: Some(1), ..alice };
    world.gateway.store.put_member(left).await.expect("written");
    assert_eq!(world.get(ALICE, "/v1/contacts").await.problem(), (401, "bad-key".into()));
    assert_eq!(world.ask(request(Method::GET, "/v1/contacts", BOB)).await.status, 200);
}
