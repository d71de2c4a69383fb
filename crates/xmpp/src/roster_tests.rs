//! What is concluded from presence, and when.

use super::*;

const SILENT: Duration = Duration::from_secs(3);

fn bob() -> ImAddress {
    ImAddress::parse("xmpp:bob@chat.test").expect("valid")
}

/// A roster with a session, watching Bob, who was asked for a subscription.
fn watching(now: Instant) -> Roster {
    let mut roster = Roster::new(SILENT);
    assert_eq!(roster.session_up(now), []);
    assert_eq!(roster.watch(&bob(), "why", now), Some(Ask::Subscribe));
    roster
}

fn subscribed(now: Instant) -> Roster {
    let mut roster = watching(now);
    assert_eq!(roster.news(&bob(), None, News::Subscribed, now), Some(Ask::Probe));
    roster
}

#[tokio::test]
async fn nobody_is_asked_twice_and_without_an_answer_nothing_is_known() {
    let now = Instant::now();
    let mut roster = watching(now);
    assert_eq!(roster.watch(&bob(), "why", now), None);
    roster.tick(now + SILENT * 10);
    assert_eq!(roster.presence(&bob()), Presence::Unknown);
    assert!(roster.take_changes().is_empty());
}

#[tokio::test]
async fn unavailable_before_subscribed_is_not_believed() {
    let now = Instant::now();
    let mut roster = watching(now);
    roster.news(&bob(), None, News::Unavailable, now);
    assert_eq!(roster.presence(&bob()), Presence::Unknown);
    roster.news(&bob(), None, News::Subscribed, now);
    assert_eq!(roster.presence(&bob()), Presence::Unknown);
    roster.news(&bob(), Some("phone"), News::Available, now);
    assert_eq!(roster.take_changes(), [(bob(), Presence::Available)]);
}

#[tokio::test]
async fn silence_after_subscribing_means_away_after_three_seconds() {
    let now = Instant::now();
    let mut roster = subscribed(now);
    roster.tick(now + SILENT - Duration::from_millis(1));
    assert_eq!(roster.presence(&bob()), Presence::Unknown);
    assert_eq!(roster.next_tick(), Some(now + SILENT));
    roster.tick(now + SILENT);
    assert_eq!(roster.take_changes(), [(bob(), Presence::Unavailable)]);
}

#[tokio::test]
async fn one_client_that_is_there_is_enough() {
    let now = Instant::now();
    let mut roster = subscribed(now);
    roster.news(&bob(), Some("phone"), News::Available, now);
    roster.news(&bob(), Some("desk"), News::Available, now);
    roster.news(&bob(), Some("phone"), News::Unavailable, now);
    assert_eq!(roster.presence(&bob()), Presence::Available);
    roster.news(&bob(), Some("desk"), News::Unavailable, now);
    assert_eq!(roster.presence(&bob()), Presence::Unavailable);
}

#[tokio::test]
async fn a_reconnect_keeps_what_was_known_until_the_probe_is_answered_or_not() {
    let now = Instant::now();
    let mut roster = subscribed(now);
    roster.news(&bob(), Some("phone"), News::Available, now);
    roster.take_changes();
    roster.session_down();
    let later = now + SILENT * 5;
    assert_eq!(roster.session_up(later), [(bob(), Ask::Probe)]);
    assert_eq!(roster.presence(&bob()), Presence::Available);
    roster.tick(later + SILENT);
    assert_eq!(roster.take_changes(), [(bob(), Presence::Unavailable)]);
}

#[tokio::test]
async fn refusal_and_errors_mean_that_nobody_can_tell() {
    let now = Instant::now();
    for news in [News::Unsubscribed, News::Error] {
        let mut roster = subscribed(now);
        roster.news(&bob(), Some("phone"), News::Available, now);
        roster.take_changes();
        roster.news(&bob(), None, news, now);
        assert_eq!(roster.take_changes(), [(bob(), Presence::Unknown)], "{news:?}");
        roster.tick(now + SILENT);
        assert_eq!(roster.presence(&bob()), Presence::Unknown);
    }
}

#[tokio::test]
async fn abuse_xmpp_31_a_flood_is_one_change_and_strangers_leave_no_trace() {
    let now = Instant::now();
    let mut roster = subscribed(now);
    for n in 0..10_000 {
        let news = if n % 2 == 0 { News::Available } else { News::Unavailable };
        roster.news(&bob(), Some("phone"), news, now);
        roster.news(&bob(), Some(&format!("r{n}")), News::Available, now);
        let stranger = ImAddress::parse(&format!("xmpp:s{n}@evil.test")).expect("valid");
        roster.news(&stranger, None, News::Available, now);
    }
    assert_eq!(roster.entries.len(), 1);
    assert!(roster.entries[&bob()].clients.len() <= CLIENTS_MAX);
    assert_eq!(roster.take_changes(), [(bob(), Presence::Available)]);
    roster.news(&bob(), None, News::Unavailable, now);
    assert_eq!(roster.take_changes(), [(bob(), Presence::Unavailable)]);
}
