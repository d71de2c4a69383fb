//! Latency of the healthy while arrivals come at 70 % of the highest rate, open loop, and one
//! target in ten is away, its questions going to a mail server that is slow or says 451.

use std::time::Duration;

use anyhow::Result;
use isthmus_tests::{SinkAnswer, SmtpSink};

use crate::{
    load::{
        mail::next_mark,
        open_loop::{self, Arrival, Sent},
    },
    plan::Plan,
    process,
    results::Figure,
    say::say,
    statistics::{Dice, Sample, percentile_ms},
    world::{World, to_contact},
    xmpp::inbox::Inbox,
};

const SHARE: f64 = 0.7;
const SICK: f64 = 0.1;
const SLOW: Duration = Duration::from_secs(2);
const PATIENCE: Duration = Duration::from_secs(20);
/// A session that waits longer for its turn than this means that arrivals were not open-loop.
const LATE: Duration = Duration::from_millis(250);

pub(crate) async fn measure(plan: &Plan, world: &mut World, highest: f64) -> Result<Vec<Figure>> {
    let rate = highest * SHARE;
    say(&format!("Under load: {rate:.0} mails/s, a tenth of them to sick targets"));
    let sink = SmtpSink::start().await;
    sink.answer_for("slow@", SinkAnswer::Slow(SLOW));
    sink.answer_for("busy@", SinkAnswer::RefuseData(451, "4.3.0 try again later".into()));
    world.use_relay(&sink.url()).await?;
    let pid = world.pid();
    let mut dice = Dice::new(70);
    let (mut p99, mut p50, mut late) = (Sample::default(), Sample::default(), Sample::default());
    for round in 1..=plan.rounds {
        process::settled(pid).await;
        world.carol.inbox().clear();
        let arrivals = arrivals(&mut dice, rate, plan.load_time);
        let healthy: Vec<u32> =
            arrivals.iter().filter(|a| a.from.starts_with("alice")).map(|a| a.mark).collect();
        let sent = open_loop::run(world.isthmus.smtp(), arrivals).await?;
        let times = times(&sent, &healthy, world.carol.inbox()).await?;
        p50.push(percentile_ms(&times, 50));
        p99.push(percentile_ms(&times, 99));
        late.push(sent.latest.as_secs_f64() * 1_000.0);
        let note = if sent.latest > LATE { "; arrivals had to wait for a session" } else { "" };
        say(&format!(
            "  round {round}: healthy p50 {:.1} ms, p99 {:.1} ms{note}",
            percentile_ms(&times, 50),
            percentile_ms(&times, 99)
        ));
    }
    Ok(vec![
        Figure::told("p99 of the healthy at 70 % of the highest rate", "ms", &p99)
            .bound_by("<= 150")
            .against(format!("none; {rate:.0} arrivals/s, 10 % of targets sick")),
        Figure::told("p50 of the healthy at 70 % of the highest rate", "ms", &p50),
        Figure::told("longest wait of an arrival for a session", "ms", &late),
    ])
}

fn arrivals(dice: &mut Dice, rate: f64, time: Duration) -> Vec<Arrival> {
    let points = dice.arrivals(rate, time);
    let one = |at| {
        let sick = dice.fraction();
        let (member, contact) = match sick {
            s if s < SICK / 2.0 => ("slow", "dave"),
            s if s < SICK => ("busy", "dave"),
            _ => ("alice", "carol"),
        };
        Arrival {
            at,
            from: format!("{member}@acme.test"),
            to: to_contact("acme", contact),
            mark: next_mark(),
        }
    };
    points.into_iter().map(one).collect()
}

/// From `250` to the message, for each of `marks`, once all have come.
pub(crate) async fn times(sent: &Sent, marks: &[u32], inbox: &Inbox) -> Result<Vec<Duration>> {
    inbox
        .until("messages to the healthy", PATIENCE, |state| {
            state.marks.len() >= marks.len()
                && marks.iter().all(|mark| state.marks.contains_key(mark))
        })
        .await?;
    let state = inbox.state();
    let wanted: std::collections::HashSet<u32> = marks.iter().copied().collect();
    let taken = sent.taken.iter().filter(|(mark, _)| wanted.contains(mark));
    Ok(taken
        .filter_map(|(mark, at)| state.marks.get(mark).map(|t| t.saturating_duration_since(*at)))
        .collect())
}
