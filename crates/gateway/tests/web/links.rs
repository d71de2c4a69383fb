//! Links that travel with mails: to a question, to a conversation.

use isthmus_domain::{
    clock::Millis,
    delivery::{Evidence, State},
    signed::Opens,
};
use isthmus_store::ChangeSet;

use crate::support::{NOW, World};

#[actix_web::test]
async fn a_link_of_a_question_shows_it_and_only_the_button_acts() {
    let world = World::new().await;
    let (conversation, _) = world.conversation(&["Hello"]).await;
    let waiting = State::AwaitingDecision { deadline: Millis(NOW.0 + 3_600_000), round: 0 };
    let delivery = world.delivery(&conversation, &waiting, "q1").await;
    let opens = Opens::Decide { question: "q1".into(), choice: "email".into() };
    let token = world.gateway.links.sign(opens, Millis(NOW.0 + 86_400_000));
    let page = format!("/d/{token}");
    let mut browser = world.browser();
    for _ in 0..3 {
        let shown = browser.get(&page).await;
        assert!(
            shown.body.contains("Is it paid?") && shown.body.contains("Nothing has happened yet")
        );
    }
    assert!(world.accepted("decision").await.is_empty(), "looking decides nothing");
    let bare = browser.post(&page, &[("action", "email")]).await;
    assert_eq!(bare.status, 403, "neither does a form of another site");
    let done = browser.fill(&page, &page, &[("action", "abort")]).await;
    assert!(done.body.contains("It is not sent"), "{}", done.body);
    let decided = world.accepted("decision").await;
    assert_eq!(decided[0]["delivery_id"], delivery.as_str());
    assert_eq!(
        (decided[0]["action"].as_str(), decided[0]["by"].as_str()),
        (Some("abort"), Some("Alice"))
    );
}

#[actix_web::test]
async fn a_link_of_a_question_says_what_became_of_it() {
    let world = World::new().await;
    let (conversation, _) = world.conversation(&["Hello"]).await;
    let mut browser = world.browser();
    let mut page = async |question: &str| {
        let opens = Opens::Decide { question: question.into(), choice: "retry".into() };
        let token = world.gateway.links.sign(opens, Millis(NOW.0 + 86_400_000));
        browser.get(&format!("/d/{token}")).await.body
    };
    let (next, expires) = (Millis(NOW.0 + 60_000), Millis(NOW.0 + 3 * 86_400_000));
    let trying = State::Retrying { attempt: 1, next, expires };
    world.delivery(&conversation, &trying, "q1").await;
    let shown = page("q1").await;
    assert!(shown.contains("We keep trying to reach") && shown.contains("Is it paid?"), "{shown}");
    assert!(shown.contains("value=\"abort\"") && !shown.contains("value=\"retry\""), "{shown}");
    let arrived = State::Delivered { at: NOW, evidence: Evidence::Receipt };
    world.delivery(&conversation, &arrived, "q2").await;
    let shown = page("q2").await;
    assert!(shown.contains("has your message") && !shown.contains("name=\"action\""), "{shown}");
}

#[actix_web::test]
async fn links_that_are_forged_expired_or_for_something_else_decide_nothing() {
    let world = World::new().await;
    let (conversation, _) = world.conversation(&["Hello"]).await;
    let until = Millis(NOW.0 + 60_000);
    let by = State::Aborted { at: NOW, by: "Alice".into() };
    world.delivery(&conversation, &by, "q1").await;
    let opens = Opens::Decide { question: "q1".into(), choice: "retry".into() };
    let good = world.gateway.links.sign(opens, until);
    let mut browser = world.browser();
    let settled = browser.get(&format!("/d/{good}")).await;
    assert!(settled.body.contains("decided already") && !settled.body.contains("name=\"action\""));
    let file = Opens::File { tenant: world.acme.clone(), id: "att_1".into() };
    let other = world.gateway.links.sign(file, until);
    for token in [&good[..good.len() - 2], "x.y.z", &other] {
        let reply = browser.get(&format!("/d/{token}")).await;
        assert!(reply.body.contains("does not lead anywhere"), "{token}");
    }
    world.clock.advance_ms(120_000);
    assert_eq!(browser.get(&format!("/d/{good}")).await.status, 410);
}

#[actix_web::test]
async fn a_conversation_link_opens_with_its_code_for_what_the_reader_was_part_of() {
    let world = World::new().await;
    let (conversation, messages) = world.conversation(&["from Carol"]).await;
    let mine = world.attach(&messages[0], "a.txt", "text/plain", b"carol's file").await;
    let mut private = world.message(&conversation, "alice@acme.test", "to somebody else");
    private.to_list = r#"[{"name":"","address":"dave@customer.test"}]"#.into();
    let private_id = private.id.clone();
    world.commit(ChangeSet { once_messages: vec![private], ..ChangeSet::default() }).await;
    let theirs = world.attach(&private_id, "b.txt", "text/plain", b"not for carol").await;
    let token = world.link(&conversation, Some("123456")).await;
    let page = format!("/c/{token}");
    let mut carol = world.browser();
    let asked = carol.get(&page).await;
    assert!(asked.body.contains("c…@customer.test") && !asked.body.contains("from Carol"));
    assert_eq!(carol.get(&format!("{page}/attachments/{mine}")).await.status, 404);
    assert_eq!(carol.fill(&page, &page, &[("code", "123 456")]).await.to(), (303, page.as_str()));
    let read = carol.get(&page).await;
    assert!(read.body.contains("from Carol"), "{}", read.body);
    assert!(!read.body.contains("to somebody else") && !read.body.contains("b.txt"));
    assert_eq!(carol.get(&format!("{page}/attachments/{mine}")).await.body, "carol's file");
    assert_eq!(carol.get(&format!("{page}/attachments/{theirs}")).await.status, 404);
    // The code has opened once; another browser needs another.
    let mut other = world.browser();
    let reply = other.fill(&page, &page, &[("code", "123456")]).await;
    assert_eq!(reply.status, 200);
    assert!(!other.get(&page).await.body.contains("from Carol"));
    // A member who takes part needs none, one who does not gets nothing.
    let mut alice = world.signed_in("alice@acme.test").await;
    assert_eq!(
        alice.get(&page).await.to(),
        (303, format!("/conversations/{conversation}").as_str())
    );
    let mut bob = world.signed_in("bob@acme.test").await;
    assert!(!bob.get(&page).await.body.contains("from Carol"));
}

#[actix_web::test]
async fn a_code_can_be_guessed_five_times_only() {
    let world = World::new().await;
    let (conversation, _) = world.conversation(&["from Carol"]).await;
    let token = world.link(&conversation, Some("123456")).await;
    let page = format!("/c/{token}");
    let mut thief = world.browser();
    for left in (0..5).rev() {
        let reply = thief.fill(&page, &page, &[("code", "000000")]).await;
        let words = if left == 0 {
            "Too many wrong codes".to_owned()
        } else {
            format!("You have {left} attempt")
        };
        assert!(reply.body.contains(&words), "{left}: {}", reply.body);
    }
    let right = thief.fill(&page, &page, &[("code", "123456")]).await;
    assert_eq!(right.status, 200, "the right code comes too late");
    assert!(!thief.get(&page).await.body.contains("from Carol"));
    // The legitimate twin: within five attempts it opens, and an old code never does.
    let second = world.link(&conversation, Some("654321")).await;
    let page = format!("/c/{second}");
    let mut carol = world.browser();
    carol.fill(&page, &page, &[("code", "111111")]).await;
    assert_eq!(carol.fill(&page, &page, &[("code", "654321")]).await.status, 303);
    let third = world.link(&conversation, Some("777777")).await;
    world.clock.advance_ms(601_000);
    let page = format!("/c/{third}");
    let late = world.browser().fill(&page, &page, &[("code", "777777")]).await;
    assert_eq!(late.status, 200);
}

#[actix_web::test]
async fn asking_for_a_code_is_a_transaction_and_a_dead_link_asks_for_none() {
    let world = World::new().await;
    let (conversation, _) = world.conversation(&["from Carol"]).await;
    let token = world.link(&conversation, None).await;
    let page = format!("/c/{token}");
    let mut carol = world.browser();
    let sent = carol.fill(&page, &format!("{page}/code"), &[]).await;
    assert_eq!(sent.to(), (303, page.as_str()));
    assert_eq!(world.accepted("code").await[0]["link"], token.as_str());
    world.clock.advance_ms(2 * 86_400_000);
    for path in [page.as_str(), "/c/0000000000000000000000000000000000"] {
        let gone = carol.get(path).await;
        assert_eq!(gone.status, 404);
        assert!(gone.body.contains("does not work any more"), "both look the same");
    }
}
