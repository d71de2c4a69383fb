//! The state machine of a delivery, step by step and in any order.

use super::*;
use proptest::prelude::*;

const NOW: Millis = Millis(1_000_000);

fn policy() -> Policy {
    Policy::default()
}

fn run(state: State, happened: Happened) -> Step {
    state.step(happened, &policy(), NOW).expect("possible")
}

#[test]
fn somebody_available_gets_it_at_once_and_silence_counts_as_arrival() {
    let (state, effects) = run(State::Accepted, Happened::Presence(Reach::Available));
    assert_eq!(effects, [Effect::Send]);
    let later = NOW.plus_ms(5_000);
    let (state, effects) = state.step(Happened::Timer, &policy(), later).expect("possible");
    assert_eq!(state, State::Delivered { at: later, evidence: Evidence::Server });
    assert_eq!(effects, [Effect::TellDelivered]);
}

#[test]
fn somebody_unknown_is_probed_then_sent_to_and_a_missing_receipt_becomes_a_question() {
    let (state, effects) = run(State::Accepted, Happened::Presence(Reach::Unknown));
    assert_eq!(effects, [Effect::Probe]);
    let (state, effects) =
        state.step(Happened::Timer, &policy(), NOW.plus_ms(3_000)).expect("possible");
    assert_eq!(effects, [Effect::Send]);
    let (state, effects) =
        state.step(Happened::Timer, &policy(), NOW.plus_ms(200_000)).expect("possible");
    assert_eq!((state.name(), effects), ("awaiting_decision", vec![Effect::Ask]));
}

#[test]
fn a_retry_is_woken_by_presence_and_expires_into_a_question() {
    let (asked, _) = run(State::Accepted, Happened::Presence(Reach::Unavailable));
    let decided = Happened::Decided {
        choice: Choice::Retry,
        by: "Alice".into(),
        email_delivery: String::new(),
    };
    let (retrying, effects) = run(asked, decided);
    assert_eq!(effects, [Effect::Probe]);
    let (sending, effects) = run(retrying.clone(), Happened::Presence(Reach::Available));
    assert_eq!((sending.name(), effects), ("sending", vec![Effect::Send]));
    let expired = NOW.plus_ms(3 * 86_400_000);
    let (state, effects) = retrying.step(Happened::Timer, &policy(), expired).expect("possible");
    assert_eq!((state.name(), effects), ("awaiting_decision", vec![Effect::Ask]));
}

#[test]
fn retrying_somebody_unknown_sends_again_and_goes_on_retrying_without_a_receipt() {
    let retrying = State::Retrying { attempt: 0, next: NOW, expires: NOW.plus_ms(1_000_000) };
    let (sending, effects) = run(retrying, Happened::Presence(Reach::Unknown));
    assert_eq!(effects, [Effect::Send]);
    let silent = NOW.plus_ms(180_000);
    let (state, effects) = sending.step(Happened::Timer, &policy(), silent).expect("possible");
    assert_eq!((state.name(), effects), ("retrying", vec![]));
}

#[test]
fn somebody_unknown_who_confirms_nothing_gets_it_more_and_more_rarely() {
    let mut state = retrying(&policy(), NOW);
    let mut copies = 0;
    while matches!(state, State::Retrying { .. } | State::Sending { .. }) {
        let now = state.due().expect("it has a timer");
        let expired = matches!(state, State::Retrying { expires, .. } if now >= expires);
        let happened = match state {
            State::Retrying { .. } if !expired => Happened::Presence(Reach::Unknown),
            _ => Happened::Timer,
        };
        let (next, effects) = state.step(happened, &policy(), now).expect("possible");
        copies += effects.iter().filter(|e| **e == Effect::Send).count();
        state = next;
    }
    assert_eq!(state.name(), "awaiting_decision");
    assert!((8..20).contains(&copies), "{copies} copies in three days");
}

#[test]
fn a_standing_policy_acts_at_once_or_when_nobody_answered() {
    for (standing, first, at_the_deadline) in [
        ("email", "became_email", "became_email"),
        ("ask-email", "awaiting_decision", "became_email"),
        ("retry", "retrying", "retrying"),
        ("ask-abort", "awaiting_decision", "aborted"),
    ] {
        let parsed: Standing = standing.parse().expect("a policy");
        assert_eq!(parsed.as_str(), standing);
        let policy = Policy { standing: Some(parsed), ..policy() };
        let gone = Happened::Presence(Reach::Unavailable);
        let (state, _) = State::Accepted.step(gone, &policy, NOW).expect("possible");
        assert_eq!(state.name(), first, "{standing}");
        let later = NOW.plus_ms(policy.deadline_ms);
        let (state, _) = state.step(Happened::Timer, &policy, later).expect("possible");
        assert_eq!(state.name(), at_the_deadline, "{standing}");
    }
    assert!("ask-".parse::<Standing>().is_err() && "later".parse::<Standing>().is_err());
}

#[test]
fn what_is_given_up_has_failed_and_what_arrived_has_not() {
    let given_up = || Happened::GivenUp { reason: "no server took it".into() };
    let sending =
        State::Sending { reach: Reach::Unknown, until: NOW, attempt: 0, keep_trying: None };
    let (state, effects) = run(sending, given_up());
    assert_eq!((state.name(), effects), ("failed", vec![Effect::TellFailed]));
    let arrived = State::Delivered { at: NOW, evidence: Evidence::Smtp };
    assert_eq!(run(arrived.clone(), given_up()), (arrived, vec![]));
}

#[test]
fn a_settled_delivery_cannot_be_decided() {
    let decided = Happened::Decided {
        choice: Choice::Abort,
        by: "Alice".into(),
        email_delivery: String::new(),
    };
    let delivered = State::Delivered { at: NOW, evidence: Evidence::Receipt };
    assert_eq!(
        delivered.step(decided.clone(), &policy(), NOW),
        Err(NotPossible::Settled("delivered"))
    );
    assert_eq!(
        State::Accepted.step(decided, &policy(), NOW),
        Err(NotPossible::NotAsked("accepted"))
    );
}

#[test]
fn nobody_is_asked_about_ordinary_mail() {
    let policy = Policy { askable: false, ..policy() };
    let (state, effects) = State::Accepted
        .step(Happened::Presence(Reach::Unavailable), &policy, NOW)
        .expect("possible");
    assert_eq!((state.name(), effects), ("became_email", vec![Effect::BecomeEmail]));
}

fn anything() -> impl Strategy<Value = Happened> {
    prop_oneof![
        Just(Happened::Presence(Reach::Available)),
        Just(Happened::Presence(Reach::Unavailable)),
        Just(Happened::Presence(Reach::Unknown)),
        Just(Happened::Evidence(Evidence::Receipt)),
        Just(Happened::Bounced { temporary: true, reason: "wait".into() }),
        Just(Happened::Bounced { temporary: false, reason: "gone".into() }),
        Just(Happened::Timer),
        Just(Happened::Decided {
            choice: Choice::Retry,
            by: "a".into(),
            email_delivery: "d".into()
        }),
        Just(Happened::Decided {
            choice: Choice::Abort,
            by: "a".into(),
            email_delivery: "d".into()
        }),
    ]
}

proptest! {
    /// Whatever happens in whatever order: nothing is sent after it was settled, and
    /// everything that is not settled has a timer.
    #[test]
    fn nothing_is_forgotten_and_nothing_is_sent_after_the_end(
        events in proptest::collection::vec((anything(), 0_i64..100_000_000), 1..40)
    ) {
        let policy = policy();
        let (mut state, mut now) = (State::Accepted, NOW);
        for (happened, wait) in events {
            now = now.plus_ms(wait);
            let was_final = matches!(state, State::Aborted { .. } | State::BecameEmail { .. });
            match state.clone().step(happened, &policy, now) {
                Ok((next, effects)) => {
                    if was_final {
                        prop_assert!(effects.is_empty());
                        prop_assert_eq!(&next, &state);
                    }
                    state = next;
                }
                Err(_) => prop_assert!(true),
            }
            prop_assert!(state.is_settled() || state.due().is_some() || state == State::Accepted);
        }
    }
}
