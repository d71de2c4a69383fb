//! Deliveries and the answers to their questions.

use isthmus_domain::{delivery::State, service::Decision};
use isthmus_store::{ChangeSet, Ended};
use serde_json::json;

use crate::support::{ACME, ALICE, BOB, NOW, World};

fn asked() -> State {
    State::AwaitingDecision { deadline: NOW.plus_ms(60_000), round: 1 }
}

/// Plays the router: ends the next transaction that waits.
async fn end_next(world: &World, state: &'static str, reason: Option<&str>) -> Decision {
    let hint = world.gateway.queue.next_batch(1).await.remove(0);
    let row = world
        .gateway
        .store
        .of(&world.acme)
        .transaction(&hint.transaction)
        .await
        .expect("read")
        .expect("there");
    let ended = Ended { id: row.id.clone(), state, reason: reason.map(Into::into), at: 1 };
    world.commit(ChangeSet { ended: vec![ended], ..ChangeSet::default() }).await;
    serde_json::from_str(&row.params).expect("a decision")
}

#[actix_web::test]
async fn a_question_shows_its_options_and_takes_one_answer() {
    let world = World::new().await;
    let id = world.delivery(&asked()).await;
    let shown = world.get(ALICE, &format!("/v1/deliveries/{id}")).await.json();
    assert_eq!(shown["state"], "awaiting_decision");
    assert_eq!(
        shown["question"],
        json!({"options": ["retry", "email", "abort"], "deadline": "2026-01-01T12:01:00.000Z"})
    );
    let path = format!("/v1/deliveries/{id}/decision");
    let (reply, decision) = tokio::join!(
        world.post(ALICE, &path, json!({"action": "email"})),
        end_next(&world, "done", None)
    );
    assert_eq!(reply.status, 202, "{:?}", reply.octets);
    assert_eq!(
        (decision.delivery_id, decision.action.as_str(), decision.by.as_str()),
        (id, "email", "Alice")
    );
}

#[actix_web::test]
async fn whoever_answers_second_hears_that_it_was_decided() {
    let world = World::new().await;
    let id = world.delivery(&asked()).await;
    let path = format!("/v1/deliveries/{id}/decision");
    let body = json!({"action": "abort"});
    let why = "this delivery is settled already: aborted";
    let (reply, _) = tokio::join!(
        world.post_once(ALICE, &path, "k1", body.clone()),
        end_next(&world, "refused", Some(why))
    );
    assert_eq!(reply.problem(), (409, "already-settled".into()));
    // The same request again gets the same answer, not the 202 of its acceptance.
    assert_eq!(world.post_once(ALICE, &path, "k1", body).await.problem().0, 409);
}

#[actix_web::test]
async fn what_cannot_be_decided_says_so() {
    let world = World::new().await;
    let done = State::Aborted { at: NOW, by: "Alice".into() };
    for (state, action, expected) in [
        (done, "retry", (409, "already-settled")),
        (State::Checking { until: NOW }, "retry", (409, "not-asked")),
        (asked(), "later", (422, "invalid-request")),
    ] {
        let id = world.delivery(&state).await;
        let reply = world
            .post(ALICE, &format!("/v1/deliveries/{id}/decision"), json!({"action": action}))
            .await;
        assert_eq!(reply.problem(), (expected.0, expected.1.to_owned()));
    }
    let id = world.delivery(&asked()).await;
    let foreign =
        world.post(BOB, &format!("/v1/deliveries/{id}/decision"), json!({"action": "retry"})).await;
    assert_eq!(foreign.problem().0, 404);
    let general = json!({"service": "decision", "params": {"delivery_id": id, "action": "retry"}});
    let (by_admin, decision) =
        tokio::join!(world.post(ACME, "/v1/transactions", general), end_next(&world, "done", None));
    assert_eq!((by_admin.status.as_u16(), decision.by.as_str()), (202, "acme GmbH (API key)"));
}
