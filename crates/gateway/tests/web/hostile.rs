//! Whatever people write about themselves and to others stays text.

use isthmus_store::{ChangeSet, rows};

use crate::support::World;

const SCRIPT: &str = "<script>alert(1)</script><img src=x onerror=alert(1)>";

#[actix_web::test]
async fn abuse_portal_46_script_in_subject_nickname_text_and_file_name_is_inert() {
    let world = World::new().await;
    let (conversation, messages) = world.conversation(&["if a < b && c > d"]).await;
    let file = world.attach(&messages[0], &format!("{SCRIPT}.png"), "image/png", b"png").await;
    let mut hostile = world.message(&conversation, "dave@customer.test", SCRIPT);
    hostile.from_name = SCRIPT.into();
    hostile.subject = SCRIPT.into();
    hostile.quoted = Some(SCRIPT.into());
    let talk = rows::Conversation {
        subject: SCRIPT.into(),
        ..world
            .gateway
            .store
            .of(&world.acme)
            .conversation(&conversation)
            .await
            .expect("reads")
            .expect("there")
    };
    let set = ChangeSet {
        put_conversations: vec![talk],
        once_messages: vec![hostile],
        ..ChangeSet::default()
    };
    world.commit(set).await;
    let mut alice = world.signed_in("alice@acme.test").await;
    for path in
        ["/", &format!("/conversations/{conversation}"), "/?q=%3Cscript%3Ealert(1)%3C/script%3E"]
    {
        let page = alice.get(path).await;
        assert_eq!(page.status, 200, "{path}");
        assert!(page.body.contains("alert(1)"), "{path} shows the text");
        assert!(!page.body.contains("<script>") && !page.body.contains("<img src=x"), "{path}");
        assert!(page.header("content-security-policy").contains("script-src 'self'"), "{path}");
    }
    // The legitimate twin: what is no markup reads as it was written, and the file downloads.
    let page = alice.get(&format!("/conversations/{conversation}")).await;
    assert!(page.body.contains("if a &#60; b &#38;&#38; c &#62; d"));
    let download = alice.get(&format!("/attachments/{file}")).await;
    assert_eq!((download.status.as_u16(), download.body.as_str()), (200, "png"));
    let disposition = download.header("content-disposition");
    assert!(disposition.starts_with("attachment;") && !disposition.contains('<'), "{disposition}");
}

#[actix_web::test]
async fn abuse_portal_46_html_mail_and_html_files_do_not_act() {
    let world = World::new().await;
    let (conversation, _) = world.conversation(&[]).await;
    let html = format!("<p>Hello <b>Alice</b></p>{SCRIPT}<a href=\"javascript:alert(1)\">x</a>");
    let blob = world.gateway.store.keep_blob(&world.acme, html.clone().into()).await.expect("kept");
    let message = rows::Message {
        html_hash: Some(blob.hash.clone()),
        ..world.message(&conversation, "carol@customer.test", "Hello")
    };
    let id = message.id.clone();
    world
        .commit(ChangeSet {
            once_blobs: vec![blob],
            once_messages: vec![message],
            ..ChangeSet::default()
        })
        .await;
    let file = world.attach(&id, "page.html", "text/html", html.as_bytes()).await;
    let mut alice = world.signed_in("alice@acme.test").await;
    let shown = alice.get(&format!("/messages/{id}/html")).await;
    assert!(!shown.body.contains("alert(1)"), "{}", shown.body);
    assert!(shown.header("content-security-policy").contains("sandbox"));
    assert!(shown.header("content-security-policy").contains("default-src 'none'"));
    for path in [format!("/attachments/{file}"), format!("/attachments/{file}/preview")] {
        let saved = alice.get(&path).await;
        assert_eq!(saved.header("content-type"), "application/octet-stream", "{path}");
        assert!(saved.header("content-disposition").starts_with("attachment;"), "{path}");
        assert!(saved.header("content-security-policy").contains("sandbox"), "{path}");
        // The legitimate twin: it is the file, octet by octet.
        assert_eq!(saved.body, html, "{path}");
    }
    assert!(shown.body.contains("<b>Alice</b>"), "{}", shown.body);
}
