//! From the start of the process until it is ready, with conversations on disk.

use anyhow::Result;
use isthmus_tests::{Isthmus, IsthmusSetup};
use tokio::time::Instant;

use crate::{
    load::{mail::next_mark, source::Source},
    plan::Plan,
    process,
    results::Figure,
    say::say,
    statistics::Sample,
    world::{self, ready, to_contact},
};

const SLUG: &str = "many";

pub(crate) async fn measure(plan: &Plan) -> Result<Vec<Figure>> {
    let conversations = plan.conversations;
    say(&format!("Start with {conversations} conversations on disk"));
    let xmpp = world::prosody().await;
    let carol = world::client(&xmpp, "carol").await?;
    let mut isthmus = Isthmus::start(IsthmusSetup::new().xmpp(&xmpp)).await;
    isthmus.apply(&world::one_tenant(SLUG)).await;
    let (sender, recipient) = (format!("ann@{SLUG}.test"), to_contact(SLUG, "carol"));
    world::reach(isthmus.smtp(), &carol, &sender, &recipient, SLUG).await?;
    // Each mail without a thread opens a conversation of its own.
    let to = isthmus.smtp();
    let source =
        Source { to, sender, recipient, sessions: 20, mails: conversations, run: next_mark() };
    source.run().await?;
    let patience = std::time::Duration::from_secs(30);
    carol.inbox().until("mails", patience, |state| state.filled >= conversations).await?;
    process::settled(isthmus.server().pid()).await;
    let (mut killed, mut stopped) = (Sample::default(), Sample::default());
    for round in 1..=plan.rounds {
        isthmus.kill9();
        let after_kill = start_s(&mut isthmus).await?;
        process::settled(isthmus.server().pid()).await;
        isthmus.stop().await;
        let after_stop = start_s(&mut isthmus).await?;
        process::settled(isthmus.server().pid()).await;
        say(&format!(
            "  round {round}: ready {after_kill:.3} s after a kill, {after_stop:.3} s after a stop"
        ));
        killed.push(after_kill);
        stopped.push(after_stop);
    }
    Ok(vec![
        Figure::told("start to ready, 10,000 conversations, after kill -9", "s", &killed)
            .bound_by("<= 1"),
        Figure::told("start to ready, 10,000 conversations, after a stop", "s", &stopped),
    ])
}

async fn start_s(isthmus: &mut Isthmus) -> Result<f64> {
    let start = Instant::now();
    isthmus.server().start_again();
    Ok((ready(&isthmus.url()).await? - start).as_secs_f64())
}
