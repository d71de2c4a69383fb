//! The most resident memory while twenty mails of 25 MB arrive at once, until each of them has
//! become an instant message.

use std::time::Duration;

use anyhow::Result;
use isthmus_tests::{Isthmus, IsthmusSetup, XmppServer};
use tokio::time::Instant;

use crate::{
    load::{
        mail::{self, Large},
        smtp::Session,
    },
    plan::Plan,
    process,
    results::Figure,
    say::say,
    statistics::Sample,
    world::{self, to_contact},
    xmpp::client::Client,
};

const MAILS: usize = 20;
const SLUG: &str = "big";
/// From one message to the next.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) async fn measure(plan: &Plan) -> Result<Vec<Figure>> {
    say(&format!("Memory while {MAILS} mails of 25 MB arrive at once"));
    let large = Large::new();
    let (mut peak, mut taken, mut through) =
        (Sample::default(), Sample::default(), Sample::default());
    for round_number in 1..=plan.large_rounds {
        // A server of its own for each round: what is uploaded to it stays there.
        let xmpp = world::prosody().await;
        let carol = world::client(&xmpp, "carol").await?;
        let round = round(&xmpp, &carol, &large).await?;
        say(&format!(
            "  round {round_number}: peak {:.0} MB, all taken after {:.1} s, all there after {:.1} s",
            round.peak_mb, round.taken_s, round.through_s
        ));
        peak.push(round.peak_mb);
        taken.push(round.taken_s);
        through.push(round.through_s);
    }
    Ok(vec![
        Figure::told("resident memory, 20 mails of 25 MB at once", "MB", &peak).bound_by("<= 200"),
        Figure::told("20 mails of 25 MB, until the last 250", "s", &taken),
        Figure::told("20 mails of 25 MB, until the last IM", "s", &through),
    ])
}

struct Round {
    peak_mb: f64,
    taken_s: f64,
    through_s: f64,
}

async fn round(xmpp: &XmppServer, carol: &Client, large: &Large) -> Result<Round> {
    let mut isthmus = Isthmus::start(IsthmusSetup::new().xmpp(xmpp)).await;
    isthmus.apply(&world::one_tenant(SLUG)).await;
    let (from, to) = (format!("ann@{SLUG}.test"), to_contact(SLUG, "carol"));
    world::reach(isthmus.smtp(), carol, &from, &to, SLUG).await?;
    let pid = isthmus.server().pid();
    process::settled(pid).await;
    carol.inbox().clear();
    process::forget_peak(pid)?;
    let start = Instant::now();
    let mut tasks = Vec::new();
    for _ in 0..MAILS {
        let (addr, from, to) = (isthmus.smtp(), from.clone(), to.clone());
        let (front, shared) = large.parts(&from, &to, mail::next_mark());
        tasks.push(tokio::spawn(async move {
            let mut session = Session::connect(addr).await?;
            session.send(&from, &to, &[&front, &shared]).await
        }));
    }
    let mut taken = start;
    for task in tasks {
        taken = taken.max(task.await??);
    }
    carol.inbox().until("large mails", PATIENCE, |state| state.marks.len() >= MAILS).await?;
    let last = carol.inbox().state().marks.values().max().copied().unwrap_or(start);
    process::settled(pid).await;
    Ok(Round {
        peak_mb: process::peak_mb(pid)?,
        taken_s: (taken - start).as_secs_f64(),
        through_s: (last - start).as_secs_f64(),
    })
}
