//! What a member sees and asks for.

use isthmus_domain::{clock::Millis, delivery::State};
use isthmus_store::{ChangeSet, rows};

use crate::support::{Browser, NOW, World};

#[actix_web::test]
async fn a_conversation_is_listed_unread_and_read_once_it_was_opened() {
    let world = World::new().await;
    let (conversation, _) = world.conversation(&["Can you approve it?", "Please."]).await;
    let mut alice = world.signed_in("alice@acme.test").await;
    let inbox = alice.get("/").await;
    assert!(inbox.body.contains("Budget") && inbox.body.contains("Please."), "{}", inbox.body);
    assert!(inbox.body.contains("2<span class=\"unseen\"> unread"), "{}", inbox.body);
    let page = alice.get(&format!("/conversations/{conversation}")).await;
    assert!(page.body.contains("Can you approve it?"));
    let inbox = alice.get("/").await;
    assert!(!inbox.body.contains("unread</span>"), "{}", inbox.body);
}

#[actix_web::test]
async fn other_people_s_conversations_look_like_none() {
    let world = World::new().await;
    let (conversation, messages) = world.conversation(&["secret"]).await;
    let file = world.attach(&messages[0], "a.txt", "text/plain", b"secret").await;
    let delivery = world.delivery(&conversation, &State::Accepted, "q1").await;
    let paths = [
        format!("/conversations/{conversation}"),
        format!("/conversations/{conversation}/export"),
        format!("/messages/{}/html", messages[0]),
        format!("/messages/{}/original", messages[0]),
        format!("/attachments/{file}"),
        format!("/attachments/{file}/preview"),
    ];
    let mut alice = world.signed_in("alice@acme.test").await;
    for email in ["bob@acme.test", "mallory@evil.test"] {
        let mut other = world.signed_in(email).await;
        for path in &paths {
            let reply = other.get(path).await;
            assert_eq!(reply.status, 404, "{email} {path}");
            assert!(!reply.body.contains("secret"), "{email} {path}");
        }
        let path = format!("/deliveries/{delivery}/decision");
        let reply = other.fill("/settings", &path, &[("action", "abort")]).await;
        assert_eq!(reply.status, 404, "{email}");
        let path = format!("/conversations/{conversation}/messages");
        let fields = [("via", "email"), ("text", "Hello"), ("once", "a1")];
        assert_eq!(other.fill("/settings", &path, &fields).await.status, 404, "{email}");
    }
    assert_eq!(alice.get(&format!("/attachments/{file}")).await.body, "secret");
    let original = alice.get(&format!("/messages/{}/original", messages[0])).await;
    assert_eq!(original.header("content-type"), "message/rfc822");
    assert!(original.body.contains("Subject: Budget"), "{}", original.body);
    let exported = alice.get(&format!("/conversations/{conversation}/export?format=json")).await;
    assert!(
        exported.body.contains("secret")
            && exported.header("content-disposition").starts_with("attachment")
    );
}

#[actix_web::test]
async fn a_message_becomes_a_transaction_once_however_often_it_is_sent() {
    let world = World::new().await;
    let (conversation, _) = world.conversation(&["Can you approve it?"]).await;
    let mut alice = world.signed_in("alice@acme.test").await;
    let page = format!("/conversations/{conversation}");
    let once = alice.get(&page).await.field("once");
    let path = format!("{page}/messages");
    let fields = [("via", "chat"), ("text", "Approved,\r\ngo ahead."), ("once", once.as_str())];
    for _ in 0..2 {
        assert_eq!(alice.fill(&page, &path, &fields).await.to(), (303, page.as_str()));
    }
    let accepted = world.accepted("reply.im").await;
    assert_eq!(accepted.len(), 1);
    assert_eq!(accepted[0]["text"], "Approved,\ngo ahead.");
    assert_eq!(accepted[0]["to"]["conversation"], conversation.as_str());
    // A new form is a new message, even with the same words.
    let again = [("via", "email"), ("text", "Approved,\r\ngo ahead."), ("once", "other")];
    alice.fill(&page, &path, &again).await;
    assert_eq!(world.accepted("reply.email").await.len(), 1);
}

#[actix_web::test]
async fn the_switch_stays_where_the_member_left_it() {
    let world = World::new().await;
    let (conversation, _) = world.conversation(&["Can you approve it?"]).await;
    let mut alice = world.signed_in("alice@acme.test").await;
    let page = format!("/conversations/{conversation}");
    let chosen = async |alice: &mut Browser<'_>| {
        let body = alice.get(&page).await.body;
        ["chat", "email"].into_iter().find(|m| body.contains(&format!("id=\"via-{m}\" checked")))
    };
    // Carol wrote a mail and is away.
    assert_eq!(chosen(&mut alice).await, Some("email"));
    for (from, medium, then) in [
        ("alice@acme.test", "im", "chat"),
        ("carol@customer.test", "email", "email"),
        ("carol@customer.test", "im", "chat"),
        ("alice@acme.test", "email", "email"),
    ] {
        let message = world.message(&conversation, from, "And now?");
        let message = rows::Message { medium: medium.into(), ..message };
        world.commit(ChangeSet { once_messages: vec![message], ..ChangeSet::default() }).await;
        assert_eq!(chosen(&mut alice).await, Some(then), "after {medium} from {from}");
    }
}

#[actix_web::test]
async fn the_text_of_an_html_mail_shows_links_and_bold_words_and_no_marks() {
    let world = World::new().await;
    let (conversation, _) = world.conversation(&[]).await;
    let text = "**Big news**: [the offer](https://customer.test/o)";
    let message = world.message(&conversation, "carol@customer.test", text);
    let message = rows::Message { html_hash: Some("any".into()), ..message };
    world.commit(ChangeSet { once_messages: vec![message], ..ChangeSet::default() }).await;
    let mut alice = world.signed_in("alice@acme.test").await;
    let inbox = alice.get("/").await.body;
    assert!(inbox.contains("<bdi>Big news: the offer</bdi>"), "{inbox}");
    let page = alice.get(&format!("/conversations/{conversation}")).await.body;
    assert!(
        page.contains("<strong>Big news</strong>: <a href=\"https://customer.test/o\""),
        "{page}"
    );
    assert!(page.contains(">the offer</a>"), "{page}");
}

#[actix_web::test]
async fn files_come_along_byte_for_byte_and_an_empty_message_comes_back() {
    let world = World::new().await;
    let (conversation, _) = world.conversation(&["Please send the offer."]).await;
    let mut alice = world.signed_in("alice@acme.test").await;
    let page = alice.get(&format!("/conversations/{conversation}")).await;
    let (csrf, once) = (page.field("csrf"), page.field("once"));
    let field = |name: &str, value: &str| {
        format!("--xyz\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
    };
    let body = format!(
        "{}{}{}{}--xyz\r\nContent-Disposition: form-data; name=\"files\"; filename=\"../offer.pdf\"\r\n\
         Content-Type: application/pdf\r\n\r\n%PDF\r\n-1\r\n--xyz--\r\n",
        field("csrf", &csrf),
        field("once", &once),
        field("via", "email"),
        field("text", "Here.")
    );
    let path = format!("/conversations/{conversation}/messages");
    let request = actix_web::test::TestRequest::post()
        .uri(&path)
        .insert_header(("Content-Type", "multipart/form-data; boundary=xyz"))
        .set_payload(body);
    assert_eq!(alice.send(request).await.status, 303);
    let accepted = world.accepted("reply.email").await;
    let file = &accepted[0]["attachments"][0];
    assert_eq!(
        (file["name"].as_str(), file["type"].as_str()),
        (Some("offer.pdf"), Some("application/pdf"))
    );
    let hash = file["hash"].as_str().expect("a hash");
    let kept = world.gateway.store.of(&world.acme).blob(hash).await.expect("reads").expect("kept");
    assert_eq!(&kept[..], b"%PDF\r\n-1");
    let empty =
        alice.fill("/settings", &path, &[("via", "email"), ("text", " "), ("once", "a1")]).await;
    assert_eq!(empty.status, 422);
    assert!(empty.body.contains("Write something first"));
}

#[actix_web::test]
async fn a_new_conversation_needs_a_verified_address_to_begin_in_chat() {
    let world = World::new().await;
    let mut alice = world.signed_in("alice@acme.test").await;
    let form = "/conversations/new";
    let said = |to: &'static str, via: &'static str, once: &'static str| {
        [("to", to), ("via", via), ("text", "Hello"), ("once", once)]
    };
    for to in ["nobody@else.test", "web:stranger@else.test", "xmpp:nobody@else.test", "what", ""] {
        let refused = alice.fill(form, "/conversations", &said(to, "chat", "a1")).await;
        assert_eq!(refused.status, 422, "{to}");
        assert!(refused.body.contains("Hello"), "{to}: the text is given back");
    }
    assert!(world.accepted("message.im").await.is_empty());
    for (to, once) in [("carol@customer.test", "a2"), ("web:carol@customer.test", "a3")] {
        assert_eq!(
            alice.fill(form, "/conversations", &said(to, "chat", once)).await.to(),
            (303, "/")
        );
    }
    assert_eq!(world.accepted("message.im").await.len(), 2);
    assert_eq!(
        alice.fill(form, "/conversations", &said("nobody@else.test", "email", "a4")).await.status,
        303
    );
    assert_eq!(world.accepted("message.email").await[0]["to"]["person"], "nobody@else.test");
}

#[actix_web::test]
async fn an_open_question_is_a_card_that_its_buttons_decide() {
    let world = World::new().await;
    let (conversation, _) = world.conversation(&["Hello"]).await;
    let waiting = State::AwaitingDecision { deadline: Millis(NOW.0 + 3_600_000), round: 0 };
    let delivery = world.delivery(&conversation, &waiting, "q1").await;
    let mut alice = world.signed_in("alice@acme.test").await;
    assert!(alice.get("/").await.body.contains("Your decision"));
    let page = format!("/conversations/{conversation}");
    let shown = alice.get(&page).await;
    assert!(shown.body.contains(&format!("id=\"question-{delivery}\"")), "{}", shown.body);
    assert!(world.accepted("decision").await.is_empty());
    let path = format!("/deliveries/{delivery}/decision");
    let fields = [("action", "email"), ("back", conversation.as_str())];
    assert_eq!(alice.fill(&page, &path, &fields).await.to(), (303, page.as_str()));
    let decided = world.accepted("decision").await;
    assert_eq!(
        (decided[0]["action"].as_str(), decided[0]["by"].as_str()),
        (Some("email"), Some("Alice"))
    );
    let odd = alice.fill(&page, &path, &[("action", "explode")]).await;
    assert_eq!(odd.status, 400);
}

#[actix_web::test]
async fn contacts_are_added_changed_and_imported_with_a_report() {
    let world = World::new().await;
    let mut alice = world.signed_in("alice@acme.test").await;
    let fields = [("name", "Dave"), ("email", "Dave@Customer.test"), ("im", "xmpp:dave@chat.test")];
    let added = alice.fill("/contacts", "/contacts", &fields).await;
    let page = added.to().1.to_owned();
    assert!(page.starts_with("/contacts/con_"), "{page}");
    let shown = alice.get(&page).await;
    assert!(shown.body.contains("dave@chat.test") && shown.body.contains("Not verified yet"));
    assert_eq!(alice.fill("/contacts", "/contacts", &fields).await.status, 422);
    let fields = [("name", "Dave D"), ("sending", "always"), ("policy", "email")];
    assert_eq!(alice.fill(&page, &page, &fields).await.to(), (303, page.as_str()));
    assert!(alice.get(&page).await.body.contains("Dave D"));
    let csrf = alice.get("/contacts").await.field("csrf");
    let csv = "name,email,im\nErin,erin@press.test,\n,alice@acme.test,\nX,not an address,\nDave D,dave@customer.test,\n";
    let body = format!(
        "--xyz\r\nContent-Disposition: form-data; name=\"csrf\"\r\n\r\n{csrf}\r\n--xyz\r\n\
         Content-Disposition: form-data; name=\"file\"; filename=\"people.csv\"\r\n\r\n{csv}\r\n--xyz--\r\n"
    );
    let import = |body: String| {
        actix_web::test::TestRequest::post()
            .uri("/contacts/import")
            .insert_header(("Content-Type", "multipart/form-data; boundary=xyz"))
            .set_payload(body)
    };
    let cards = "BEGIN:VCARD\r\nVERSION:3.0\r\nFN:Frank\r\nEMAIL:frank@press.test\r\nIMPP:xmpp:frank@chat.test\r\n\
                 END:VCARD\r\nBEGIN:VCARD\r\nVERSION:2.1\r\nEND:VCARD\r\n";
    let as_cards = body.replace(csv, cards).replace("people.csv", "people.vcf");
    let no_cards = body.replace("people.csv", "people.vcf");
    let report = alice.send(import(body)).await;
    assert!(report.body.contains("1 added, 1 known already, 2 refused"), "{}", report.body);
    let report = alice.send(import(as_cards)).await;
    assert!(report.body.contains("1 added, 0 known already, 1 refused"), "{}", report.body);
    assert!(report.body.contains("export it as 3.0 or 4.0"), "{}", report.body);
    assert!(alice.get("/contacts?q=frank").await.body.contains("chat not verified"));
    assert_eq!(alice.send(import(no_cards)).await.to(), (303, "/contacts"));
    assert!(alice.get("/contacts").await.body.contains("This is no vCard file"));
    assert!(alice.get("/contacts?q=erin").await.body.contains("erin@press.test"));
}

#[actix_web::test]
async fn an_own_address_is_claimed_asked_and_revoked() {
    let world = World::new().await;
    let mut alice = world.signed_in("alice@acme.test").await;
    let path = "/settings/addresses";
    assert_eq!(alice.fill("/settings", path, &[("address", "alice")]).await.status, 422);
    let added = alice.fill("/settings", path, &[("address", "xmpp:alice@chat.test")]).await;
    assert_eq!(added.to(), (303, "/settings"));
    let directory = world.gateway.store.directory();
    let tenant = directory.tenant(&world.acme).expect("a tenant");
    let mapping = tenant.mappings("alice@acme.test")[0].id.clone();
    let ask = format!("/mappings/{mapping}/challenge");
    for _ in 0..4 {
        assert_eq!(
            alice.fill("/settings", &ask, &[("back", "settings")]).await.to(),
            (303, "/settings")
        );
    }
    assert!(alice.get("/settings").await.body.contains("often enough for today"));
    assert_eq!(world.accepted("challenge").await.len(), 3);
    // Somebody else's address is nobody's business.
    let mut bob = world.signed_in("bob@acme.test").await;
    let revoke = format!("/mappings/{mapping}/revoke");
    assert_eq!(bob.fill("/settings", &revoke, &[("back", "settings")]).await.status, 404);
    assert_eq!(alice.fill("/settings", &revoke, &[("back", "settings")]).await.status, 303);
    let directory = world.gateway.store.directory();
    assert!(
        directory.tenant(&world.acme).expect("a tenant").mappings("alice@acme.test").is_empty()
    );
}

#[actix_web::test]
async fn assets_are_cached_under_their_version_and_pages_never() {
    let world = World::new().await;
    let mut browser = world.browser();
    let page = browser.get("/sign-in").await;
    let css = page
        .body
        .split("href=\"")
        .find(|p| p.starts_with("/assets/app.css"))
        .expect("a style sheet");
    let path = css.split('"').next().expect("a path");
    let asset = browser.get(path).await;
    assert_eq!(asset.status, 200);
    assert!(asset.header("cache-control").contains("immutable"));
    assert_eq!(
        browser.get("/assets/app.css").await.header("cache-control"),
        "public, max-age=3600"
    );
    assert_eq!(browser.get("/assets/../Cargo.toml").await.status, 404);
    assert_eq!(browser.get("/nothing/here").await.status, 404);
}

/// A mail that is known to be bad lies held in Alice's inbox: her page lets it in, nobody else's.
#[actix_web::test]
async fn a_held_mail_is_let_in_by_the_member_it_is_for() {
    let world = World::new().await;
    let (talk, _) = world.conversation(&[]).await;
    let mut held = world.message(&talk, "carol@customer.test", "Please read.");
    let mail = serde_json::json!({
        "mail_from": "carol@customer.test", "rcpts": ["alice@acme.test"], "raw": "hash", "size": 9,
        "trust": "bad", "verdict": "dmarc=fail", "identity": null,
    });
    let new = isthmus_gateway::accept::NewTransaction {
        tenant: &world.acme,
        member: None,
        service: "mail.in",
        source: "smtp",
        params: &mail,
        dedupe: None,
    };
    let origin = world.gateway.transaction(new);
    let parts = [origin.id.as_bytes(), b"alice@acme.test".as_slice()];
    held.id = isthmus_domain::ids::MessageId::derived(Millis(origin.at), &parts).into();
    held.transaction_id.clone_from(&origin.id);
    held.held = Some("the mail is not from where it says".into());
    let path = format!("/messages/{}/held", held.id);
    let origin = rows::Transaction { ended_at: Some(1), state: "done".into(), ..origin };
    world
        .commit(ChangeSet {
            new_transactions: vec![origin],
            once_messages: vec![held.clone()],
            ..ChangeSet::default()
        })
        .await;
    let page = format!("/conversations/{talk}");
    let fields = [("action", "allow"), ("back", talk.as_str())];
    let mut bob = world.signed_in("bob@acme.test").await;
    assert_eq!(bob.fill("/settings", &path, &fields).await.status, 404);
    assert!(world.accepted("mail.allow").await.is_empty());
    let mut alice = world.signed_in("alice@acme.test").await;
    assert!(alice.get(&page).await.body.contains("waits for you"));
    assert_eq!(alice.fill(&page, &path, &fields).await.to(), (303, page.as_str()));
    let asked = world.accepted("mail.allow").await;
    assert_eq!(asked.len(), 1, "{asked:?}");
    assert_eq!(asked[0]["message_id"], held.id.as_str());
    assert_eq!(asked[0]["member_id"], world.member("alice@acme.test"));
}
