//! From `250` to the instant message on a quiet machine, beside a chat message from client to
//! client. Both kinds take turns within each second, so that both see the same machine.

use std::time::Duration;

use anyhow::Result;
use tokio::time::Instant;

use crate::{
    load::{mail, smtp::Session},
    peers::version,
    plan::Plan,
    results::Figure,
    say::say,
    statistics::{Sample, percentile_ms},
    world::{CHAT, World, to_contact},
};

/// Between a mail and the next; the chat message comes half-way.
const PACE: Duration = Duration::from_millis(50);
const PATIENCE: Duration = Duration::from_secs(15);

pub(crate) async fn measure(plan: &Plan, world: &World) -> Result<Vec<Figure>> {
    say(&format!("Quiet machine: {} mails and chat messages a round", plan.quiet_mails));
    let mut ratios = [Sample::default(), Sample::default()];
    let (mut mails, mut chats) =
        ([Sample::default(), Sample::default()], [Sample::default(), Sample::default()]);
    // The first round finds cold caches everywhere and does not count.
    for round_number in 0..=plan.rounds {
        let count = if round_number == 0 { 40 } else { plan.quiet_mails };
        let (mail, chat) = round(world, count).await?;
        if round_number == 0 {
            continue;
        }
        let mut line = format!("  round {round_number}:");
        for (i, percent) in [50, 99].into_iter().enumerate() {
            let (mail, chat) = (percentile_ms(&mail, percent), percentile_ms(&chat, percent));
            line.push_str(&format!("  p{percent} mail {mail:.2} ms, chat {chat:.2} ms"));
            ratios[i].push(mail / chat);
            mails[i].push(mail);
            chats[i].push(chat);
        }
        say(&line);
    }
    let peer = format!("client to client through Prosody {}", version("prosody"));
    let mut figures = Vec::new();
    for (i, (percent, bound)) in [("p50", "<= 5"), ("p99", "<= 10")].into_iter().enumerate() {
        let chat = chats[i].median();
        figures.push(
            Figure::told(
                format!("latency {percent}, 250 to IM ÷ chat to chat"),
                "ratio",
                &ratios[i],
            )
            .bound_by(bound)
            .against(format!("{peer}, {percent} {chat:.2} ms")),
        );
        figures.push(Figure::told(format!("latency {percent}, 250 to IM"), "ms", &mails[i]));
        figures.push(Figure::told(format!("latency {percent}, chat to chat"), "ms", &chats[i]));
    }
    Ok(figures)
}

async fn round(world: &World, count: u32) -> Result<(Vec<Duration>, Vec<Duration>)> {
    let inbox = world.carol.inbox();
    inbox.clear();
    let mut session = Session::connect(world.isthmus.smtp()).await?;
    let (from, to) = ("alice@acme.test", to_contact("acme", "carol"));
    let carol = format!("carol@{CHAT}");
    let (mut mails, mut chats) = (Vec::new(), Vec::new());
    let start = Instant::now();
    for n in 0..count {
        tokio::time::sleep_until(start + PACE * n).await;
        let mark = mail::next_mark();
        let taken = session.send(from, &to, &[&mail::ordinary(from, &to, mark)]).await?;
        mails.push((mark, taken));
        tokio::time::sleep_until(start + PACE * n + PACE / 2).await;
        let mark = mail::next_mark();
        // As long as what Isthmus writes, so that only the way differs.
        let body = format!("{} {}", mail::marked(mark), "x".repeat(4_000));
        chats.push((mark, Instant::now()));
        world.bob.say(&carol, &body).await;
    }
    let all = mails.len() + chats.len();
    inbox.until("mails and chat messages", PATIENCE, |state| state.marks.len() >= all).await?;
    let state = inbox.state();
    let times = |sent: &[(u32, Instant)]| -> Vec<Duration> {
        let came = |(mark, at): &(u32, Instant)| {
            state.marks.get(mark).map(|t| t.saturating_duration_since(*at))
        };
        sent.iter().filter_map(came).collect()
    };
    Ok((times(&mails), times(&chats)))
}
