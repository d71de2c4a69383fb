//! Signing in, and what keeps other sites from acting in a member's name.

use actix_web::test;

use crate::support::{PASSWORD, World, form};

#[actix_web::test]
async fn signing_in_leads_on_and_signing_out_ends_it() {
    let world = World::new().await;
    let mut browser = world.browser();
    let asked = browser.get("/contacts?q=carol").await;
    assert_eq!(asked.to(), (303, "/sign-in?next=%2Fcontacts%3Fq%3Dcarol"));
    let wrong = browser.sign_in("alice@acme.test", "wrong").await;
    assert_eq!(wrong.status, 422);
    assert!(wrong.body.contains("The address or the password is wrong."));
    let fields = [("email", "alice@acme.test"), ("password", PASSWORD), ("next", "/contacts")];
    let reply = browser.fill("/sign-in", "/sign-in", &fields).await;
    assert_eq!(reply.to(), (303, "/contacts"));
    let page = browser.get("/contacts").await;
    assert!(page.body.contains("Carol") && page.body.contains("Sign out"), "{}", page.body);
    let out = browser.fill("/contacts", "/sign-out", &[]).await;
    assert_eq!(out.to(), (303, "/sign-in"));
    assert_eq!(browser.get("/contacts").await.status, 303);
}

#[actix_web::test]
async fn guessing_passwords_is_slowed_down() {
    let world = World::new().await;
    let mut browser = world.browser();
    let csrf = browser.get("/sign-in").await.field("csrf");
    let mut seen = Vec::new();
    for _ in 0..12 {
        let fields = [("csrf", csrf.as_str()), ("email", "nobody@acme.test"), ("password", "x")];
        seen.push(browser.post("/sign-in", &fields).await.status.as_u16());
    }
    assert_eq!((seen[0], seen[11]), (422, 429));
}

#[actix_web::test]
async fn abuse_portal_47_a_form_without_its_token_is_refused() {
    let world = World::new().await;
    let mut alice = world.signed_in("alice@acme.test").await;
    let mut bob = world.signed_in("bob@acme.test").await;
    let csrf_of_bob = bob.get("/settings").await.field("csrf");
    for token in ["", "guessed", csrf_of_bob.as_str()] {
        let reply = alice.post("/settings/name", &[("csrf", token), ("name", "Mallory")]).await;
        assert_eq!(reply.status, 403, "{token:?}");
    }
    let none = alice.post("/settings/name", &[("name", "Mallory")]).await;
    assert_eq!(none.status, 403);
    // The legitimate twin.
    let good = alice.fill("/settings", "/settings/name", &[("name", "Alice Adler")]).await;
    assert_eq!(good.to(), (303, "/settings"));
    assert!(alice.get("/settings").await.body.contains("Alice Adler"));
}

#[actix_web::test]
async fn abuse_portal_47_another_site_cannot_send_a_form_even_with_the_token() {
    let world = World::new().await;
    let mut alice = world.signed_in("alice@acme.test").await;
    let csrf = alice.get("/settings").await.field("csrf");
    let fields = [("csrf", csrf.as_str()), ("notices", "off")];
    for (name, value) in [
        ("Origin", "https://evil.test"),
        ("Origin", "http://localhost.evil.test"),
        ("Origin", "null"),
        ("Sec-Fetch-Site", "cross-site"),
        ("Sec-Fetch-Site", "same-site"),
    ] {
        let reply =
            alice.send(form("/settings/notices", &fields).insert_header((name, value))).await;
        assert_eq!(reply.status, 403, "{name}: {value}");
    }
    let ours = form("/settings/notices", &fields)
        .insert_header(("Origin", "http://localhost"))
        .insert_header(("Sec-Fetch-Site", "same-origin"));
    assert_eq!(alice.send(ours).await.to(), (303, "/settings"));
}

#[actix_web::test]
async fn abuse_portal_47_a_session_cannot_be_fixed_beforehand() {
    let world = World::new().await;
    let mut victim = world.browser();
    victim.cookies.insert("isthmus_session".into(), "chosen-by-mallory".into());
    let visitor_before = victim.get("/sign-in").await.field("csrf");
    assert_eq!(victim.sign_in("alice@acme.test", PASSWORD).await.status, 303);
    let token = victim.cookies["isthmus_session"].clone();
    assert_ne!(token, "chosen-by-mallory");
    let mut mallory = world.browser();
    mallory.cookies.insert("isthmus_session".into(), "chosen-by-mallory".into());
    assert_eq!(mallory.get("/").await.status, 303, "the old value opens nothing");
    // What was known before signing in is worth nothing afterwards.
    let reply = victim.post("/settings/name", &[("csrf", &visitor_before), ("name", "M")]).await;
    assert_eq!(reply.status, 403);
    // The legitimate twin: signing in again ends the session before, and works.
    assert_eq!(victim.get("/").await.status, 200);
}

#[actix_web::test]
async fn abuse_portal_47_cookies_and_pages_are_guarded() {
    let world = World::at("https://mail.acme.test", &[]).await;
    let mut browser = world.browser();
    let page = browser.get("/sign-in").await;
    let csp = page.header("content-security-policy");
    for rule in
        ["default-src 'none'", "frame-ancestors 'none'", "form-action 'self'", "base-uri 'none'"]
    {
        assert!(csp.contains(rule), "{rule} is missing in {csp}");
    }
    assert!(!csp.contains("unsafe"), "{csp}");
    assert_eq!(page.header("x-frame-options"), "DENY");
    assert_eq!(page.header("x-content-type-options"), "nosniff");
    assert_eq!(page.header("referrer-policy"), "same-origin");
    assert_eq!(page.header("cache-control"), "no-store");
    let fields = [
        ("csrf", page.field("csrf")),
        ("email", "alice@acme.test".into()),
        ("password", PASSWORD.into()),
    ];
    let request = test::TestRequest::post()
        .uri("/sign-in")
        .insert_header(("Origin", "https://mail.acme.test"))
        .set_form(fields);
    let reply = browser.send(request).await;
    assert_eq!(reply.status, 303);
    let cookies: Vec<&str> =
        reply.headers.get_all("set-cookie").map(|v| v.to_str().expect("ASCII")).collect();
    let session =
        cookies.iter().find(|c| c.starts_with("__Host-isthmus_session=")).expect("a session");
    for flag in ["HttpOnly", "Secure", "SameSite=Lax", "Path=/"] {
        assert!(session.contains(flag), "{flag} is missing in {session}");
    }
    assert!(!session.contains("Domain"), "{session}");
}

#[actix_web::test]
async fn a_form_that_is_too_large_is_refused_before_it_is_read() {
    let world = World::new().await;
    let mut alice = world.signed_in("alice@acme.test").await;
    let csrf = alice.get("/settings").await.field("csrf");
    let long = "x".repeat(1_100_000);
    let reply = alice.post("/settings/name", &[("csrf", csrf.as_str()), ("name", &long)]).await;
    assert_eq!(reply.status, 413);
}

#[actix_web::test]
async fn sessions_can_be_ended_from_another_browser() {
    let world = World::new().await;
    let mut desk = world.signed_in("alice@acme.test").await;
    let mut phone = world.signed_in("alice@acme.test").await;
    assert_eq!(phone.get("/").await.status, 200);
    let reply = desk.fill("/settings", "/sessions/end-others", &[]).await;
    assert_eq!(reply.to(), (303, "/settings"));
    assert_eq!(phone.get("/").await.status, 303);
    assert_eq!(desk.get("/").await.status, 200);
}

#[actix_web::test]
async fn signing_in_often_is_no_guessing() {
    let world = World::new().await;
    for _ in 0..12 {
        let reply = world.browser().sign_in("alice@acme.test", PASSWORD).await;
        assert_eq!(reply.status, 303);
    }
}

#[actix_web::test]
async fn abuse_portal_a_visitor_takes_no_room_for_files() {
    let world = World::new().await;
    let mut browser = world.browser();
    let request = test::TestRequest::post()
        .uri("/sign-in")
        .insert_header(("Content-Type", "multipart/form-data; boundary=b"))
        .set_payload("--b\r\nContent-Disposition: form-data; name=\"email\"\r\n\r\na\r\n--b--\r\n");
    assert_eq!(browser.send(request).await.status, 400);
}

#[actix_web::test]
async fn a_contact_is_deleted_only_by_its_own_form() {
    let world = World::new().await;
    let mut alice = world.signed_in("alice@acme.test").await;
    let list = alice.get("/contacts?q=carol").await.body;
    let (_, id) = list.split_once("/contacts/con_").expect("Carol's page");
    let page = format!("/contacts/con_{}", &id[..26]);
    let path = format!("{page}/delete");
    assert_eq!(alice.post(&path, &[("csrf", "guessed")]).await.status, 403);
    let shown = alice.get(&page).await.body;
    assert!(shown.contains("Delete this contact") && shown.contains("not called back"), "{shown}");
    assert_eq!(alice.fill(&page, &path, &[]).await.to(), (303, "/contacts"));
    let after = alice.get("/contacts").await.body;
    assert!(after.contains("Carol is not among the contacts any more."), "{after}");
    assert_eq!(alice.get(&page).await.status, 404);
    assert_eq!(world.accepted("contact.delete").await.len(), 1);
}
