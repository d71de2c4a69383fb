//! Conversations, files, exports, events, and what operators look at.

use std::pin::Pin;

use actix_web::{body::MessageBody, http::Method, test};
use isthmus_domain::signed::Opens;
use serde_json::json;

use crate::support::{ACME, ALICE, BOB, NOW, World, request};

#[actix_web::test]
async fn messages_come_newest_first_page_by_page() {
    let world = World::new().await;
    let (id, _) = world.conversation(&["one", "two", "three", "four", "five"]).await;
    let (mut path, mut texts) = (format!("/v1/conversations/{id}/messages?limit=2"), Vec::new());
    loop {
        let page = world.get(ALICE, &path).await.json();
        for item in page["items"].as_array().expect("items") {
            texts.push(item["text"].as_str().expect("a text").to_owned());
        }
        let Some(next) = page["next"].as_str() else { break };
        path = format!("/v1/conversations/{id}/messages?limit=2&cursor={next}");
    }
    assert_eq!(texts, ["five", "four", "three", "two", "one"]);
    let one = world.get(ALICE, &format!("/v1/conversations/{id}/messages?limit=1")).await.json();
    assert_eq!(one["items"][0]["from"], json!({"name": "Carol", "address": "carol@customer.test"}));
    assert_eq!(one["items"][0]["at"], "2026-01-01T12:00:00.004Z");
}

#[actix_web::test]
async fn abuse_http_24_a_cursor_that_was_tampered_with_is_refused() {
    let world = World::new().await;
    for _ in 0..3 {
        world.conversation(&["x"]).await;
    }
    let first = world.get(ALICE, "/v1/conversations?limit=1").await.json();
    let next = first["next"].as_str().expect("more").to_owned();
    let good = world.get(ALICE, &format!("/v1/conversations?limit=1&cursor={next}")).await;
    assert_eq!(good.json()["items"].as_array().expect("items").len(), 1);
    let flipped = |i: usize| {
        let mut octets = next.clone().into_bytes();
        octets[i] = if octets[i] == b'a' { b'b' } else { b'a' };
        String::from_utf8(octets).expect("ASCII")
    };
    for bad in [flipped(3), flipped(next.len() - 1), "x".into(), ".".into(), "a".repeat(5_000)] {
        let reply = world.get(ALICE, &format!("/v1/conversations?cursor={bad}")).await;
        assert_eq!(reply.problem(), (400, "bad-cursor".into()), "{bad}");
    }
    // Good ones of another list or another caller do not fit either.
    assert_eq!(world.get(ALICE, &format!("/v1/transactions?cursor={next}")).await.problem().0, 400);
    assert_eq!(world.get(BOB, &format!("/v1/conversations?cursor={next}")).await.problem().0, 400);
    for limit in ["0", "201", "x"] {
        assert_eq!(world.get(ALICE, &format!("/v1/contacts?limit={limit}")).await.problem().0, 400);
    }
}

#[actix_web::test]
async fn an_export_holds_every_mail_as_it_came_and_every_line_under_its_id() {
    let world = World::new().await;
    let (id, messages) = world.conversation(&["a mail", "a chat line"]).await;
    world.attach(&messages[1], "plan.html", b"<b>ten</b>").await;
    let mbox = world.get(ALICE, &format!("/v1/conversations/{id}/export?format=mbox")).await;
    assert_eq!((mbox.status.as_u16(), mbox.header("content-type")), (200, "application/mbox"));
    let text = String::from_utf8_lossy(&mbox.octets).into_owned();
    assert_eq!(text.lines().filter(|l| l.starts_with("From ")).count(), 2, "{text}");
    assert!(text.contains("\n>From here.\n"), "{text}");
    assert!(
        text.contains("X-Isthmus-Medium: im")
            && text.contains(&format!("{}@customer.test", messages[1]))
    );
    assert!(text.contains("plan.html"), "{text}");
    let export =
        world.get(ALICE, &format!("/v1/conversations/{id}/export?format=json")).await.json();
    assert_eq!(export["messages"][0]["text"], "a mail");
    assert_eq!(export["messages"][1]["attachments"][0]["size"], 10);
    let bad = world.get(ALICE, &format!("/v1/conversations/{id}/export?format=pdf")).await;
    assert_eq!(bad.problem().0, 400);
    let listed = world.get(ALICE, "/v1/transactions").await.json();
    assert_eq!(
        (listed["items"][0]["service"].as_str(), listed["items"][0]["state"].as_str()),
        (Some("export"), Some("done"))
    );
}

#[actix_web::test]
async fn files_are_downloads_small_and_large_octet_by_octet() {
    let world = World::new().await;
    let (_, messages) = world.conversation(&["x"]).await;
    let large: Vec<u8> = (0..300_000_u32).map(|i| (i % 251) as u8).collect();
    for octets in [b"<script>alert(1)</script>".to_vec(), large] {
        let id = world.attach(&messages[0], "a\"b.html", &octets).await;
        let token = world
            .gateway
            .links
            .sign(Opens::File { tenant: world.acme.clone(), id: id.clone() }, NOW.plus_ms(1_000));
        for reply in [
            world.get(ALICE, &format!("/v1/attachments/{id}")).await,
            world.ask(test::TestRequest::get().uri(&format!("/f/{token}"))).await,
        ] {
            assert_eq!((reply.status.as_u16(), reply.octets.to_vec() == octets), (200, true));
            assert!(
                reply
                    .header("content-disposition")
                    .starts_with("attachment; filename=\"a_b.html\"")
            );
            assert_eq!(reply.header("x-content-type-options"), "nosniff");
            assert!(reply.header("content-security-policy").contains("sandbox"));
        }
        assert_eq!(world.get(BOB, &format!("/v1/attachments/{id}")).await.problem().0, 404);
    }
}

#[actix_web::test]
async fn abuse_http_25_forged_and_expired_links_open_nothing() {
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as B64};
    let world = World::new().await;
    let (_, messages) = world.conversation(&["x"]).await;
    let id = world.attach(&messages[0], "a.txt", b"secret").await;
    let opens = Opens::File { tenant: world.acme.clone(), id };
    let good = world.gateway.links.sign(opens.clone(), NOW.plus_ms(1_000));
    let get =
        async |token: &str| world.ask(test::TestRequest::get().uri(&format!("/f/{token}"))).await;
    assert_eq!(get(&good).await.octets, "secret");
    let parts: Vec<&str> = good.split('.').collect();
    let header = |h: &str| format!("{}.{}.{}", B64.encode(h), parts[1], parts[2]);
    let text_exp = B64.encode(r#"{"k":"file","tenant":"t","id":"a","exp":"99999999999"}"#);
    for bad in [
        header(r#"{"alg":"none","kid":"1"}"#),
        header(r#"{"alg":"HS512","kid":"1"}"#),
        header(r#"{"alg":"HS256","kid":"2"}"#),
        format!("{}.{text_exp}.{}", parts[0], parts[2]),
        "rubbish".to_owned(),
        world.gateway.links.sign(Opens::Confirm { token: "x".into() }, NOW.plus_ms(1_000)),
    ] {
        assert_eq!(get(&bad).await.problem(), (401, "bad-link".into()), "{bad}");
    }
    world.clock.advance_ms(2_000);
    assert_eq!(get(&good).await.problem(), (410, "link-expired".into()));
    let browser =
        test::TestRequest::get().uri(&format!("/f/{good}")).insert_header(("Accept", "text/html"));
    let page = world.ask(browser).await;
    assert_eq!(
        (page.status.as_u16(), page.header("content-type")),
        (410, "text/plain; charset=utf-8")
    );
}

#[actix_web::test]
async fn events_reach_those_whom_they_concern() {
    let world = World::new().await;
    let alice = world.member("alice@acme.test").id;
    let mut streams = Vec::new();
    for key in [ALICE, BOB, ACME] {
        let response = world.send(request(Method::GET, "/v1/events", key)).await;
        assert_eq!(response.headers().get("content-type").expect("a type"), "text/event-stream");
        streams.push(response.into_body());
    }
    world.gateway.bus.publish(
        "ten_other",
        vec![alice.clone()],
        "message",
        "{\"foreign\":1}".into(),
    );
    world.gateway.bus.publish(
        &world.acme,
        vec![alice],
        "message",
        "{\"message_id\":\"msg_1\"}".into(),
    );
    let mut heard = Vec::new();
    for body in &mut streams {
        let mut all = String::new();
        for _ in 0..2 {
            let next = std::future::poll_fn(|cx| Pin::new(&mut *body).poll_next(cx));
            match tokio::time::timeout(std::time::Duration::from_millis(100), next).await {
                Ok(Some(Ok(part))) => all.push_str(&String::from_utf8_lossy(&part)),
                _ => break,
            }
        }
        heard.push(all);
    }
    assert!(heard[0].contains("event: message\ndata: {\"message_id\":\"msg_1\"}\n\n"), "{heard:?}");
    assert!(!heard[0].contains("foreign") && !heard[1].contains("msg_1"), "{heard:?}");
    assert!(heard[2].contains("msg_1") && !heard[2].contains("foreign"), "{heard:?}");
}

#[actix_web::test]
async fn operators_find_health_metrics_and_the_description() {
    let world = World::new().await;
    world.get(ALICE, "/v1/contacts").await;
    let plain = async |path: &str| world.ask(test::TestRequest::get().uri(path)).await;
    assert_eq!(plain("/healthz").await.status, 200);
    assert_eq!(plain("/readyz").await.status, 200);
    assert_eq!(plain("/openapi.json").await.json()["openapi"], "3.1.0");
    let metrics = String::from_utf8(plain("/metrics").await.octets.to_vec()).expect("text");
    assert!(
        metrics.contains(
            r#"isthmus_http_requests_total{method="GET",route="/v1/contacts",status="200"} 1"#
        ),
        "{metrics}"
    );
    assert!(metrics.contains("isthmus_queue_waiting 0"), "{metrics}");
    assert_eq!(plain("/v1/nowhere").await.problem(), (404, "no-route".into()));
    let wrong = world.ask(request(Method::PUT, "/v1/contacts", ALICE)).await;
    assert_eq!(
        (wrong.problem(), wrong.header("allow")),
        ((405, "wrong-method".into()), "GET, POST")
    );
    assert_eq!(plain("/problems/no-im-address").await.status, 200);
}
