//! Requests that mean harm, each beside one that does not.

use std::{sync::Arc, time::Duration};

use actix_web::{App, HttpServer, dev::ServerHandle, http::Method, web};
use isthmus_store::{ChangeSet, rows};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::support::{ALICE, BOB, World, request};

#[actix_web::test]
async fn abuse_http_22_fields_that_are_not_the_callers_to_set_are_refused() {
    let world = World::new().await;
    let good = json!({"to": "carol@customer.test", "via": "im", "text": "Hello"});
    for field in ["tenant_id", "member_id", "state", "balance", "delivery_id"] {
        let mut bad = good.clone();
        bad[field] = "ten_other".into();
        let reply = world.post(ALICE, "/v1/messages", bad.clone()).await;
        assert_eq!(reply.problem().0, 422, "{field}");
        assert!(reply.json()["detail"].as_str().expect("a detail").contains(field));
        let general = json!({"service": "message.im", "params": bad});
        assert_eq!(
            world.post(ALICE, "/v1/transactions", general).await.problem().0,
            422,
            "{field}"
        );
    }
    let contact = json!({"email": "dave@customer.test", "tenant_id": "ten_other"});
    assert_eq!(world.post(ALICE, "/v1/contacts", contact).await.problem().0, 422);
    assert_eq!(world.gateway.queue.len(), 0);
    assert_eq!(world.post(ALICE, "/v1/messages", good).await.status, 202);
}

#[actix_web::test]
async fn abuse_http_23_one_key_is_one_request() {
    let world = World::new().await;
    let body = |text: &str| json!({"to": "carol@customer.test", "via": "im", "text": text});
    let first = world.post_once(ALICE, "/v1/messages", "k-1", body("Hello")).await;
    assert_eq!(first.status, 202);
    let again = world.post_once(ALICE, "/v1/messages", "k-1", body("Hello")).await;
    assert_eq!((again.status, again.octets), (first.status, first.octets.clone()));
    let other = world.post_once(ALICE, "/v1/messages", "k-1", body("Something else")).await;
    assert_eq!(other.problem(), (422, "idempotency-key-reused".into()));
    let elsewhere = world.post_once(ALICE, "/v1/replies", "k-1", body("Hello")).await;
    assert_eq!(elsewhere.problem(), (422, "idempotency-key-reused".into()));
    // Another member's key of the same name is another key, and no key at all is another request.
    let bob = world.post_once(BOB, "/v1/messages", "k-1", body("Hello")).await;
    assert!(bob.status == 202 && bob.octets != first.octets);
    assert_eq!(world.post(ALICE, "/v1/messages", body("Hello")).await.status, 202);
    assert_eq!(world.gateway.queue.len(), 3);
    let long = "k".repeat(256);
    for bad in ["", "a b", long.as_str()] {
        let reply = world.post_once(ALICE, "/v1/messages", bad, body("Hello")).await;
        assert_eq!(reply.problem(), (400, "bad-idempotency-key".into()), "{bad:?}");
    }
}

#[actix_web::test]
async fn abuse_http_23_the_same_key_at_the_same_time_is_a_conflict() {
    let world = World::new().await;
    let body = json!({"to": "carol@customer.test", "via": "im", "text": "Hello"});
    let one = || world.post_once(ALICE, "/v1/messages", "k-2", body.clone());
    let (a, b, c) = tokio::join!(one(), one(), one());
    let mut statuses = [a.status.as_u16(), b.status.as_u16(), c.status.as_u16()];
    statuses.sort_unstable();
    assert!(matches!(statuses, [202, 409, 409]), "{statuses:?}");
    assert_eq!(world.gateway.queue.len(), 1);
    assert_eq!(one().await.status, 202);
    assert_eq!(world.gateway.queue.len(), 1);
}

#[actix_web::test]
async fn a_key_that_another_process_used_first_gives_its_answer() {
    let world = World::new().await;
    let body = json!({"email": "dave@customer.test", "name": "Dave"});
    assert_eq!(world.post_once(ALICE, "/v1/contacts", "k-3", body.clone()).await.status, 201);
    // Old answers are forgotten after a day.
    world.clock.advance_ms(25 * 3_600_000);
    world.get(ALICE, "/v1/contacts").await;
    world.post(ALICE, "/v1/contacts", json!({"email": "eve@customer.test"})).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(
        world.post_once(ALICE, "/v1/contacts", "k-3", body).await.problem(),
        (409, "already-exists".into())
    );
}

#[actix_web::test]
async fn abuse_http_27_attachments_are_counted_wherever_they_stand() {
    let world = World::new().await;
    let (_, messages) = world.conversation(&["Can you come?"]).await;
    let files = |n: usize| vec![json!({"name": "a.txt", "data": "aGk="}); n];
    for (count, status) in [(50, 202), (51, 422), (100_000, 422)] {
        let params = json!({"to": "carol@customer.test", "text": "x", "attachments": files(count)});
        let reply = json!({"to_message": messages[0], "text": "x", "attachments": files(count)});
        let via = |mut body: serde_json::Value| {
            body["via"] = "email".into();
            body
        };
        for (path, body) in [
            ("/v1/messages", via(params.clone())),
            ("/v1/replies", via(reply.clone())),
            ("/v1/transactions", json!({"service": "message.email", "params": params})),
            ("/v1/transactions", json!({"service": "reply.im", "params": reply})),
        ] {
            let answer = world.post(ALICE, path, body).await;
            assert_eq!(answer.status, status, "{count} at {path}: {:?}", answer.octets);
            if status == 422 {
                let detail = answer.json()["detail"].as_str().expect("a detail").to_owned();
                assert!(detail.contains("at most 50 attachments"), "{path}: {detail}");
            }
        }
    }
}

#[actix_web::test]
async fn abuse_http_27_deep_json_is_refused() {
    let world = World::new().await;
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    let bodies = [
        deep.clone(),
        format!(
            r#"{{"to": "carol@customer.test", "via": "im", "text": "x", "attachments": {deep}}}"#
        ),
        format!(r#"{{"nothing": {deep}}}"#),
        format!(r#"{{"a":{}1{}}}"#, r#"{"a":"#.repeat(10_000), "}".repeat(10_000)),
        "{\"to\": ".into(),
        "\u{1}".into(),
    ];
    for body in bodies {
        let send = request(Method::POST, "/v1/messages", ALICE)
            .insert_header(("Content-Type", "application/json"))
            .set_payload(body.clone());
        let reply = world.ask(send).await;
        assert_eq!(
            reply.problem(),
            (400, "malformed-json".into()),
            "{}",
            &body[..body.len().min(80)]
        );
    }
    let brackets = json!({"to": "carol@customer.test", "via": "im", "text": "[".repeat(10_000)});
    assert_eq!(world.post(ALICE, "/v1/messages", brackets).await.status, 202);
}

/// A real server, for what only shows on the wire.
fn serve(world: &World) -> (std::net::SocketAddr, ServerHandle) {
    let (gateway, api) = (web::Data::from(Arc::clone(&world.gateway)), world.api.clone());
    let server = HttpServer::new(move || {
        let api = api.clone();
        App::new().app_data(gateway.clone()).configure(move |cfg| api.configure(cfg))
    })
    .workers(1)
    .disable_signals()
    .bind(("127.0.0.1", 0))
    .expect("a free port");
    let address = server.addrs()[0];
    let server = server.run();
    let handle = server.handle();
    actix_web::rt::spawn(server);
    (address, handle)
}

/// Sends octets and reads until the server closes or is silent for a moment.
async fn talk(address: std::net::SocketAddr, octets: &[u8]) -> (String, bool) {
    let mut socket = TcpStream::connect(address).await.expect("connects");
    socket.write_all(octets).await.expect("writes");
    let mut heard = Vec::new();
    let mut closed = false;
    let mut part = [0; 4_096];
    loop {
        match tokio::time::timeout(Duration::from_millis(800), socket.read(&mut part)).await {
            Ok(Ok(0) | Err(_)) => {
                closed = true;
                break;
            }
            Ok(Ok(n)) => heard.extend_from_slice(&part[..n]),
            Err(_) => break,
        }
    }
    (String::from_utf8_lossy(&heard).into_owned(), closed)
}

#[actix_web::test]
async fn abuse_http_26_ambiguous_lengths_are_refused_and_the_connection_closed() {
    let world = World::new().await;
    let (address, server) = serve(&world);
    let body = r#"{"to": "carol@customer.test", "via": "im", "text": "Hello"}"#;
    let head = format!(
        "POST /v1/messages HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {ALICE}\r\nContent-Type: application/json\r\n"
    );
    let n = body.len();
    let chunked = format!("{n:x}\r\n{body}\r\n0\r\n\r\n");
    let smuggled = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";
    for lengths in [
        format!("Content-Length: {n}\r\nTransfer-Encoding: chunked\r\n\r\n{chunked}{smuggled}"),
        format!("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n{chunked}{smuggled}"),
        format!("Content-Length: {n}\r\nContent-Length: 5\r\n\r\n{body}{smuggled}"),
        format!("Content-Length: +{n}\r\n\r\n{body}{smuggled}"),
        format!(
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n{chunked}{smuggled}"
        ),
    ] {
        let (heard, closed) = talk(address, format!("{head}{lengths}").as_bytes()).await;
        assert!(heard.starts_with("HTTP/1.1 400") && closed, "{lengths}\n{heard}");
        assert_eq!(heard.matches("HTTP/1.1").count(), 1, "{heard}");
    }
    assert_eq!(world.gateway.queue.len(), 0);
    for lengths in [
        format!("Content-Length: {n}\r\n\r\n{body}"),
        format!("Transfer-Encoding: chunked\r\n\r\n{chunked}"),
    ] {
        let (heard, _) = talk(address, format!("{head}{lengths}").as_bytes()).await;
        assert!(heard.starts_with("HTTP/1.1 202"), "{heard}");
    }
    server.stop(false).await;
}

#[actix_web::test]
async fn abuse_http_27_a_gigabyte_is_refused_without_being_read() {
    let world = World::new().await;
    let (address, server) = serve(&world);
    let head = format!(
        "POST /v1/messages HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {ALICE}\r\nContent-Type: application/json\r\n"
    );
    let (heard, _) =
        talk(address, format!("{head}Content-Length: 1000000000\r\n\r\n{{").as_bytes()).await;
    assert!(heard.starts_with("HTTP/1.1 413"), "{heard}");

    // Without a length the answer comes when the bound is passed, long before the end.
    let mut socket = TcpStream::connect(address).await.expect("connects");
    socket
        .write_all(format!("{head}Transfer-Encoding: chunked\r\n\r\n").as_bytes())
        .await
        .expect("writes");
    let (mut read, mut write) = socket.split();
    let sent = std::sync::atomic::AtomicU64::new(0);
    let chunk = format!("10000\r\n{}\r\n", " ".repeat(65_536));
    let sending = async {
        for _ in 0..16_384 {
            if write.write_all(chunk.as_bytes()).await.is_err() {
                break;
            }
            sent.fetch_add(65_536, std::sync::atomic::Ordering::Relaxed);
        }
        std::future::pending::<()>().await;
    };
    let mut start = [0; 12];
    tokio::select! {
        () = sending => {}
        n = read.read_exact(&mut start) => { n.expect("an answer"); }
    }
    assert_eq!(&start, b"HTTP/1.1 413");
    let sent = sent.load(std::sync::atomic::Ordering::Relaxed);
    assert!(sent < 80_000_000, "{sent} octets were taken before the answer");

    let file =
        base64::Engine::encode(&base64::engine::general_purpose::STANDARD, vec![7_u8; 3_000_000]);
    let body = json!({"to": "carol@customer.test", "via": "im", "text": "x", "attachments": [{"name": "a", "data": file}]});
    assert_eq!(world.post(ALICE, "/v1/messages", body).await.status, 202);
    server.stop(false).await;
}

#[actix_web::test]
async fn an_answer_to_a_key_lies_in_the_commit_of_its_effect() {
    let world = World::new().await;
    let body = json!({"to": "carol@customer.test", "via": "im", "text": "Hello"});
    // Somebody else's commit under the same key, as another process would have made it.
    let first = world.post_once(ALICE, "/v1/messages", "k-9", body.clone()).await;
    let alice = world.member("alice@acme.test").id;
    let key = isthmus_store::blob_hash(format!("{alice}\nk-9").as_bytes());
    let kept =
        world.gateway.store.of(&world.acme).idempotency(&key).await.expect("read").expect("kept");
    assert_eq!(kept.response.as_bytes(), &first.octets[..]);
    let set = ChangeSet {
        new_idempotency: vec![rows::Idempotency { at: 1, ..kept }],
        ..ChangeSet::default()
    };
    assert!(world.gateway.store.commit(set).await.expect_err("taken").is_duplicate());
}
