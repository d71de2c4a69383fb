//! The web chat in a browser, and what only the demo shows.

use isthmus_domain::address::{Email, ImAddress};
use isthmus_im::{Event, ImNetwork, OutMessage, Presence};

use crate::support::World;

const CAROL: &str = "web:carol@customer.test";

fn message(id: &str, body: &str) -> OutMessage {
    OutMessage {
        id: id.into(),
        bridge_domain: "bridge.acme.test".into(),
        from: Some(Email::parse("alice@acme.test").expect("an address")),
        from_name: "Alice (acme.test)".into(),
        to: ImAddress::parse(CAROL).expect("an address"),
        body: body.into(),
        thread: None,
        written_at: None,
        files: vec![],
    }
}

#[actix_web::test]
async fn a_message_is_read_and_answered_in_the_browser() {
    let mut world = World::at("http://localhost", &["alice@acme.test"]).await;
    let (_, closed) = tokio::sync::mpsc::channel(1);
    let mut events = std::mem::replace(&mut world.events, closed);
    world.chat.send(message("dlv_1", "Approved, go ahead.")).await.expect("stored");
    let mut carol = world.browser();
    let list = carol.get("/chat").await;
    assert!(list.body.contains(CAROL), "{}", list.body);
    assert_eq!(
        carol.fill("/chat", "/chat/sign-in", &[("address", CAROL)]).await.to(),
        (303, "/chat")
    );
    let key = "acme:alice@acme.test";
    let chats = carol.get("/chat").await;
    assert!(chats.body.contains("Alice (acme.test)") && chats.body.contains("Approved, go ahead."));
    let page = "/chat/acme%3Aalice%40acme.test";
    let thread = carol.get(page).await;
    assert!(thread.body.contains("Approved, go ahead."));
    let (csrf, once) = (thread.field("csrf"), thread.field("once"));
    let fields = [("csrf", csrf.as_str()), ("once", &once), ("to", key), ("text", "Thank you!")];
    let router = async {
        loop {
            if let Event::Message(message, done) = events.recv().await.expect("an event") {
                assert_eq!(message.from.as_str(), CAROL);
                assert_eq!(message.to.expect("a contact").as_str(), "alice@acme.test");
                done.send(Ok(())).expect("the chat waits");
                return message.body;
            }
        }
    };
    let (reply, said) = tokio::join!(carol.post("/chat/messages", &fields), router);
    assert_eq!((reply.status.as_u16(), said.as_str()), (303, "Thank you!"));
    assert!(carol.get(page).await.body.contains("Thank you!"));
    let refused = async {
        loop {
            if let Event::Message(_, done) = events.recv().await.expect("an event") {
                return done.send(Err("This is too long.".into())).expect("the chat waits");
            }
        }
    };
    let fields = [("csrf", csrf.as_str()), ("once", "second"), ("to", key), ("text", "And now?")];
    let (reply, ()) = tokio::join!(carol.post("/chat/messages", &fields), refused);
    assert_eq!(reply.status, 422);
    assert!(reply.body.contains("This is too long.") && reply.body.contains("And now?"));
}

#[actix_web::test]
async fn presence_is_a_page_that_was_loaded_and_a_button() {
    let world = World::at("http://localhost", &["alice@acme.test"]).await;
    let who = ImAddress::parse(CAROL).expect("an address");
    let bridge = "bridge.acme.test";
    world.chat.watch(bridge, &who, "").await;
    assert_eq!(world.chat.presence(bridge, &who), Presence::Unavailable);
    let mut carol = world.browser();
    carol.fill("/chat", "/chat/sign-in", &[("address", CAROL)]).await;
    assert_eq!(world.chat.presence(bridge, &who), Presence::Available);
    let fields = [("presence", "unavailable"), ("with", "")];
    assert_eq!(carol.fill("/chat", "/chat/presence", &fields).await.to(), (303, "/chat"));
    assert_eq!(world.chat.presence(bridge, &who), Presence::Unavailable);
    assert!(carol.get("/chat").await.body.contains("You are away"));
}

#[actix_web::test]
async fn outside_the_demo_a_chat_opens_for_its_owner_only() {
    let world = World::new().await;
    let mut stranger = world.browser();
    let list = stranger.get("/chat").await;
    assert!(!list.body.contains(CAROL), "{}", list.body);
    let reply = stranger.fill("/sign-in", "/chat/sign-in", &[("address", CAROL)]).await;
    assert_eq!(reply.status, 404);
    for path in ["/chat/acme%3Aalice%40acme.test", "/chat/stream"] {
        assert_eq!(stranger.get(path).await.status, 404, "{path}");
    }
    // Nor does it open for a member who merely claims the address.
    let mut mallory = world.signed_in("mallory@evil.test").await;
    for im in [CAROL, "web:victim@customer.test", "web:mallory@evil.test"] {
        mallory.fill("/settings", "/settings/addresses", &[("address", im)]).await;
    }
    let list = mallory.get("/chat").await;
    assert!(list.body.contains("web:mallory@evil.test"), "{}", list.body);
    assert!(!list.body.contains("@customer.test"), "{}", list.body);
    let sign_in = [("address", "web:victim@customer.test")];
    assert_eq!(mallory.fill("/chat", "/chat/sign-in", &sign_in).await.status, 404);
    // The legitimate twin: the link that was sent to her.
    let opens = isthmus_domain::signed::Opens::Chat { address: CAROL.into() };
    let token = world.gateway.links.sign(opens, world.gateway.now().plus_ms(60_000));
    let path = format!("/chat/open/{token}");
    let mut carol = world.browser();
    assert!(carol.get(&path).await.body.contains("Open my chat"));
    assert_eq!(carol.fill(&path, &path, &[]).await.to(), (303, "/chat"));
    assert!(carol.get("/chat").await.body.contains(CAROL));
}

#[actix_web::test]
async fn kept_mail_is_shown_to_its_tenant_and_in_the_demo_to_all() {
    let world = World::new().await;
    let raw = "From: im@bridge.acme.test\r\nTo: carol@customer.test\r\nSubject: Hello Carol\r\n\
               Message-ID: <1@bridge.acme.test>\r\n\r\nSee http://localhost/c/1\r\n<script>alert(1)</script>\r\n";
    let blob = world.gateway.store.keep_blob(&world.acme, raw.into()).await.expect("kept");
    let id = "out_01jnqv4x8h0000000000000000".to_owned();
    let row = isthmus_store::rows::Outbound {
        id: id.clone(),
        tenant_id: world.acme.clone(),
        seq: 1,
        delivery_id: None,
        kind: "notice".into(),
        mail_from: String::new(),
        rcpt: "carol@customer.test".into(),
        subject: "Hello Carol".into(),
        message_id: "1@bridge.acme.test".into(),
        raw_hash: blob.hash.clone(),
        route: None,
        state: "kept".into(),
        attempts: 0,
        next_at: None,
        last_reply: None,
        created_at: 1,
        ended_at: None,
    };
    let set = isthmus_store::ChangeSet {
        once_blobs: vec![blob],
        once_outbound: vec![row],
        ..Default::default()
    };
    world.commit(set).await;
    let mut alice = world.signed_in("alice@acme.test").await;
    assert!(alice.get("/dev/mail").await.body.contains("Hello Carol"));
    let mail = alice.get(&format!("/dev/mail/{id}")).await;
    assert!(mail.body.contains("<a href=\"http://localhost/c/1\""), "{}", mail.body);
    assert!(!mail.body.contains("<script>"));
    let mut mallory = world.signed_in("mallory@evil.test").await;
    assert!(!mallory.get("/dev/mail").await.body.contains("Hello Carol"));
    assert_eq!(mallory.get(&format!("/dev/mail/{id}")).await.status, 404);
    assert_eq!(world.browser().get("/dev/mail").await.status, 303);
}
