//! Contacts and their addresses.

use actix_web::http::Method;
use isthmus_store::{ChangeSet, rows};
use serde_json::json;

use crate::support::{ACME, ALICE, BOB, MALLORY, World, request};

#[actix_web::test]
async fn a_contact_is_added_changed_and_found() {
    let world = World::new().await;
    let dave =
        json!({"email": "Dave@Customer.test", "name": " Dave ", "im": "xmpp:dave@chat.test"});
    let created = world.post(ALICE, "/v1/contacts", dave.clone()).await;
    assert_eq!(created.status, 201, "{:?}", created.octets);
    let id = created.json()["id"].as_str().expect("an id").to_owned();
    assert_eq!(created.json()["addresses"][0]["state"], "claimed");
    assert_eq!(
        world.post(ALICE, "/v1/contacts", dave).await.problem(),
        (409, "already-exists".into())
    );
    let change = request(Method::PATCH, &format!("/v1/contacts/{id}"), BOB)
        .set_json(json!({"policy": "email", "always_send": true}));
    assert_eq!(world.ask(change).await.status, 200);
    let reset = request(Method::PATCH, &format!("/v1/contacts/{id}"), BOB)
        .set_json(json!({"policy": null}));
    assert_eq!(world.ask(reset).await.status, 200);
    let seen = world.get(ACME, &format!("/v1/contacts/{id}")).await.json();
    assert_eq!(seen["policy"], json!(null));
    assert_eq!((seen["always_send"].as_bool(), seen["name"].as_str()), (Some(true), Some("Dave")));
    let found = world.get(ALICE, "/v1/contacts?q=dave").await.json();
    assert_eq!(found["items"].as_array().expect("items").len(), 1);
    let bad = request(Method::PATCH, &format!("/v1/contacts/{id}"), BOB)
        .set_json(json!({"policy": "maybe"}));
    assert_eq!(world.ask(bad).await.problem().0, 422);
}

#[actix_web::test]
async fn an_address_is_asked_three_times_a_day_at_most() {
    let world = World::new().await;
    let added =
        world.post(ALICE, "/v1/contacts/me/addresses", json!({"im": "xmpp:alice@chat.test"})).await;
    assert_eq!(added.status, 201, "{:?}", added.octets);
    let mapping = added.json()["id"].as_str().expect("an id").to_owned();
    let path = format!("/v1/contacts/me/addresses/{mapping}/verify");
    let ask = async || world.ask(request(Method::POST, &path, ALICE)).await;
    for _ in 0..3 {
        assert_eq!(ask().await.status, 202);
    }
    let enough = ask().await;
    assert_eq!(enough.problem(), (429, "too-many-challenges".into()));
    assert!(!enough.header("retry-after").is_empty());
    world.clock.advance_ms(86_400_001);
    assert_eq!(ask().await.status, 202);
    let rows = world.get(ALICE, "/v1/transactions").await.json();
    assert_eq!(rows["items"][0]["service"], "challenge");
    assert_eq!(rows["items"][0]["params"]["mapping_id"], mapping.as_str());
}

#[actix_web::test]
async fn a_verified_address_belongs_to_one_person_until_it_is_revoked() {
    let world = World::new().await;
    let carol = world.get(ALICE, "/v1/contacts?q=carol").await.json()["items"][0].clone();
    let (id, mapping) =
        (carol["id"].as_str().expect("id"), carol["addresses"][0]["id"].as_str().expect("id"));
    let im = json!({"im": "xmpp:Carol@chat.test"});
    let taken = world.post(ALICE, "/v1/contacts/me/addresses", im.clone()).await;
    assert_eq!(taken.problem(), (409, "address-taken".into()));
    let verify = world
        .post(ALICE, &format!("/v1/contacts/{id}/addresses/{mapping}/verify"), json!({}))
        .await;
    assert_eq!(verify.problem(), (409, "already-verified".into()));
    let revoke = request(Method::DELETE, &format!("/v1/contacts/{id}/addresses/{mapping}"), ALICE);
    assert_eq!(world.ask(revoke).await.status, 204);
    assert_eq!(
        world.get(ALICE, &format!("/v1/contacts/{id}/addresses")).await.json()["items"],
        json!([])
    );
    assert_eq!(world.post(ALICE, "/v1/contacts/me/addresses", im).await.status, 201);
    let odd =
        world.post(ALICE, "/v1/contacts/me/addresses", json!({"im": "pigeon:a@b.test"})).await;
    assert_eq!(odd.problem().0, 422);
}

#[actix_web::test]
async fn a_member_does_not_touch_the_addresses_of_another_one() {
    let world = World::new().await;
    let (alice, bob) = (world.member("alice@acme.test").id, world.member("bob@acme.test").id);
    let im = json!({"im": "xmpp:x@chat.test"});
    assert_eq!(
        world.post(BOB, &format!("/v1/contacts/{alice}/addresses"), im.clone()).await.problem().0,
        404
    );
    assert_eq!(world.post(ALICE, &format!("/v1/contacts/{bob}/addresses"), im).await.status, 201);
}

#[actix_web::test]
async fn a_deleted_contact_is_gone_with_its_addresses_and_is_audited() {
    let world = World::new().await;
    let carol = world.get(ALICE, "/v1/contacts?q=carol").await.json()["items"][0].clone();
    let path = format!("/v1/contacts/{}", carol["id"].as_str().expect("an id"));
    let delete = async |key| world.ask(request(Method::DELETE, &path, key)).await;
    assert_eq!(delete(MALLORY).await.problem(), (404, "not-found".into()));
    assert_eq!(delete(BOB).await.status, 204);
    assert_eq!(delete(ALICE).await.problem(), (404, "not-found".into()));
    assert_eq!(world.get(ALICE, &path).await.status, 404);
    let left = world.get(ALICE, "/v1/contacts?q=carol").await.json();
    assert_eq!(left["items"], json!([]));
    // The address is nobody's any more, and the router has what waits for it to settle.
    let im = json!({"im": "xmpp:carol@chat.test"});
    assert_eq!(world.post(ALICE, "/v1/contacts/me/addresses", im).await.status, 201);
    let settle = world.get(ACME, "/v1/transactions").await.json()["items"][0].clone();
    assert_eq!(settle["service"], "contact.delete");
    assert_eq!(settle["params"]["addresses"], json!(["xmpp:carol@chat.test"]));
    let audit = world.get(ACME, "/v1/audit").await.json();
    let lines = audit["items"].as_array().expect("items");
    let line = lines.iter().find(|l| l["action"] == "contact.delete").expect("a line");
    assert_eq!(line["actor"], "bob@acme.test");
    // Another tenant's Carol is somebody else.
    let other = world.get(MALLORY, "/v1/contacts?q=carol").await.json();
    assert_eq!(other["items"][0]["addresses"][0]["state"], "verified");
}

/// Whoever may not revoke the addresses of a colleague may not do it by this way either.
#[actix_web::test]
async fn a_contact_who_became_a_member_keeps_what_is_theirs() {
    let world = World::new().await;
    let alice = rows::Contact {
        id: world.fresh("con"),
        tenant_id: world.acme.clone(),
        email: "alice@acme.test".into(),
        name: "Alice".into(),
        policy: None,
        always_send: false,
        introduced_at: None,
        created_at: 1,
    };
    let path = format!("/v1/contacts/{}", alice.id);
    world.commit(ChangeSet { put_contacts: vec![alice], ..Default::default() }).await;
    let im = json!({"im": "xmpp:alice@chat.test"});
    assert_eq!(world.post(ALICE, "/v1/contacts/me/addresses", im).await.status, 201);
    let delete = async |key| world.ask(request(Method::DELETE, &path, key)).await;
    assert_eq!(delete(BOB).await.problem().0, 404);
    assert_eq!(delete(ALICE).await.status, 204);
    let hers = world.get(ALICE, "/v1/contacts/me/addresses").await.json();
    assert_eq!(hers["items"].as_array().expect("items").len(), 1);
}

#[actix_web::test]
async fn an_import_reports_every_line() {
    let world = World::new().await;
    let csv = "email,name,im\n\
               dave@customer.test,Dave,xmpp:dave@chat.test\n\
               carol@customer.test,Caroline,\n\
               carol@customer.test,Again,\n\
               nonsense,Nobody,\n\
               eve@customer.test,\"Eve, with comma\",carrier pigeon\n\
               frank@customer.test,Frank,xmpp:carol@chat.test\n\
               grace@customer.test,=1+1,\n";
    let send = |csv: &str, key: &str| {
        request(Method::POST, "/v1/contacts/import", key)
            .insert_header(("Content-Type", "text/csv; charset=utf-8"))
            .set_payload(csv.to_owned())
    };
    let reply = world.ask(send(csv, ALICE)).await;
    assert_eq!(reply.status, 200, "{:?}", reply.octets);
    let report = reply.json();
    assert_eq!(report["counts"], json!({"created": 2, "updated": 1, "unchanged": 0, "refused": 4}));
    let results: Vec<_> =
        report["lines"].as_array().expect("lines").iter().map(|l| l["line"].as_u64()).collect();
    assert_eq!(results, (2..=8).map(Some).collect::<Vec<_>>());
    assert!(report["lines"][4]["reason"].as_str().expect("a reason").contains("IM address"));
    let dave = world.get(ALICE, "/v1/contacts?q=dave").await.json();
    assert_eq!(dave["items"][0]["addresses"][0]["state"], "claimed");
    let other = world.ask(send("mail,name\nx@y.test,X\n", ALICE)).await;
    assert_eq!(other.problem().0, 422);
}

#[actix_web::test]
async fn contacts_that_appear_at_the_same_time_are_one() {
    let world = World::new().await;
    let body = json!({"email": "dave@customer.test", "name": "Dave"});
    let (a, b) = tokio::join!(
        world.post(ALICE, "/v1/contacts", body.clone()),
        world.post(BOB, "/v1/contacts", body.clone())
    );
    let mut statuses = [a.status.as_u16(), b.status.as_u16()];
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 409]);
}

#[actix_web::test]
async fn somebody_who_wrote_first_may_be_answered_by_im() {
    let world = World::new().await;
    let hello = json!({"to": "xmpp:zoe@chat.test", "via": "im", "text": "Hello"});
    assert_eq!(world.post(ALICE, "/v1/messages", hello.clone()).await.problem().1, "no-im-address");
    let talk = rows::Conversation {
        id: world.fresh("cnv"),
        tenant_id: world.acme.clone(),
        subject: String::new(),
        pair: "alice@acme.test xmpp:zoe@chat.test".into(),
        created_at: 1,
        last_at: 1,
    };
    world.commit(ChangeSet { put_conversations: vec![talk], ..ChangeSet::default() }).await;
    assert_eq!(world.post(ALICE, "/v1/messages", hello).await.status, 202);
}

#[actix_web::test]
async fn abuse_identity_nobody_adds_an_address_for_a_colleague_who_was_a_contact() {
    let world = World::new().await;
    let made = json!({"email": "erin@acme.test", "name": "Erin"});
    let contact = world.post(ALICE, "/v1/contacts", made).await.json();
    let path = format!("/v1/contacts/{}/addresses", contact["id"].as_str().expect("an id"));
    let im = |name: &str| json!({"im": format!("xmpp:{name}@chat.test")});
    assert_eq!(world.post(BOB, &path, im("erin")).await.status, 201);
    // She becomes a member: from then on whoever has an address of hers would act as her.
    let erin = rows::Member {
        id: world.fresh("mem"),
        email: "erin@acme.test".into(),
        role: "member".into(),
        ..world.member("bob@acme.test")
    };
    world.gateway.store.put_member(erin).await.expect("kept");
    assert_eq!(world.post(BOB, &path, im("bob2")).await.problem().0, 404);
    assert_eq!(world.get(BOB, &path).await.problem().0, 404);
    assert_eq!(world.post(ALICE, &path, im("erin2")).await.status, 201);
}

#[actix_web::test]
async fn abuse_im_one_address_claimed_for_many_is_asked_three_times_in_all() {
    let world = World::new().await;
    let mut statuses = Vec::new();
    for n in 0..4 {
        let new =
            json!({"email": format!("v{n}@customer.test"), "name": "V", "im": "xmpp:v@chat.test"});
        let made = world.post(ALICE, "/v1/contacts", new).await.json();
        let (id, mapping) = (&made["id"], &made["addresses"][0]["id"]);
        let path = format!(
            "/v1/contacts/{}/addresses/{}/verify",
            id.as_str().expect("an id"),
            mapping.as_str().expect("an id")
        );
        statuses.push(world.ask(request(Method::POST, &path, ALICE)).await.status.as_u16());
    }
    assert_eq!(statuses, [202, 202, 202, 429]);
}

#[actix_web::test]
async fn head_is_answered_like_get_without_a_body() {
    let world = World::new().await;
    for path in ["/v1/contacts", "/healthz"] {
        let reply = world.ask(request(Method::HEAD, path, ALICE)).await;
        assert_eq!((reply.status.as_u16(), reply.octets.len()), (200, 0), "{path}");
    }
    assert_eq!(world.ask(request(Method::HEAD, "/v1/replies", ALICE)).await.status, 405);
}

#[actix_web::test]
async fn vcards_are_imported_with_a_report_for_each() {
    let world = World::new().await;
    let send = |cards: String, media_type: &'static str| {
        request(Method::POST, "/v1/contacts/import", ALICE)
            .insert_header(("Content-Type", media_type))
            .set_payload(cards)
    };
    let card = |lines: &str| format!("BEGIN:VCARD\r\n{lines}\r\nEND:VCARD\r\n");
    let file = [
        card("VERSION:4.0\r\nFN:Dave\r\nEMAIL:dave@home.test\r\nEMAIL;PREF=1:Dave@Customer.test\r\nIMPP:xmpp:dave@chat.test\r\nIMPP:xmpp:dave@work.test"),
        card("VERSION:3.0\r\nFN:Caroline\r\nEMAIL;TYPE=INTERNET:carol@customer.test"),
        card("VERSION:2.1\r\nN;ENCODING=QUOTED-PRINTABLE:=C3=84\r\nEMAIL:e@customer.test"),
        card("VERSION:4.0\r\nFN:Frank\r\nEMAIL:frank@customer.test\r\nIMPP:xmpp:carol@chat.test"),
        card("VERSION:4.0\r\nFN:Gr\u{1b}ace\r\nEMAIL:grace@customer.test"),
        card("VERSION:4.0\r\nFN:Alice\r\nEMAIL:alice@acme.test"),
    ]
    .concat();
    let report = world.ask(send(file, "text/vcard")).await.json();
    assert_eq!(report["counts"], json!({"created": 2, "updated": 1, "unchanged": 0, "refused": 4}));
    let lines = report["lines"].as_array().expect("lines");
    let seen: Vec<_> = lines.iter().map(|l| (l["line"].as_u64(), l["result"].as_str())).collect();
    assert_eq!(
        seen[..3],
        [(Some(1), Some("created")), (Some(1), Some("created")), (Some(9), Some("updated"))]
    );
    let reason = |i: usize| lines[i]["reason"].as_str().expect("a reason").to_owned();
    assert!(reason(3).contains("vCard 2.1") && reason(5).contains("U+001B"), "{report}");
    // Nothing goes to any of the addresses until they are confirmed.
    let dave = world.get(ALICE, "/v1/contacts?q=dave@customer").await.json();
    let dave = &dave["items"][0];
    assert_eq!(dave["name"], "Dave");
    let states: Vec<_> =
        dave["addresses"].as_array().expect("two").iter().map(|a| &a["state"]).collect();
    assert_eq!(states, ["claimed", "claimed"]);

    let nothing = world.ask(send("email,name\na@b.test,A\n".to_owned(), "text/vcard")).await;
    assert_eq!(nothing.problem().0, 422);
    let many = card("VERSION:4.0\r\nEMAIL:a@b.test").repeat(10_001);
    assert_eq!(world.ask(send(many, "text/x-vcard")).await.problem().0, 422);
    let photo = card(&format!("VERSION:4.0\r\nPHOTO:{}", "A".repeat(20_000_000)));
    assert_eq!(world.ask(send(photo, "text/vcard")).await.problem(), (413, "too-large".into()));
    let photo = card(&format!("VERSION:4.0\r\nPHOTO:{}\r\nEMAIL:h@b.test", "A".repeat(3_000_000)));
    assert_eq!(world.ask(send(photo, "text/vcard")).await.json()["counts"]["created"], 1);
}
