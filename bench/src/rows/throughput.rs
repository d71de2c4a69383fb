//! Mails a second until the instant message is in a client's hands, beside Postfix passing on
//! the same mails and beside bare stanzas; and the processor time of a thousand mails.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::time::Instant;

use crate::{
    load::{mail::next_mark, source::Source},
    peers::{
        relay::{self, Relay},
        version,
    },
    plan::Plan,
    process,
    results::Figure,
    say::say,
    statistics::Sample,
    world::{BARE, CHAT, World, to_contact},
    xmpp::{client::Client, component::Component},
};

/// Sessions in which mail comes in.
const SESSIONS: u32 = 20;
/// How long the client may go without a message.
const PATIENCE: Duration = Duration::from_secs(20);
/// Stanzas on their way at once, tried in the sweep.
const WINDOWS: [u32; 4] = [64, 256, 1_024, u32::MAX];

/// A short bare message; the inbox knows it by its filler.
const SHORT: &str = "<body>XXXXXXXXXXXXXXXX</body>";

/// One run through Isthmus.
struct Run {
    per_second: f64,
    cpu_per_1000: f64,
    /// Mails a second as far as `250`.
    taken_per_second: f64,
}

/// What was measured, and what other rows are compared with.
pub(crate) struct Measured {
    pub(crate) figures: Vec<Figure>,
    /// The highest rate, for the row that loads to a part of it.
    pub(crate) highest: f64,
    /// Bare stanzas a second.
    pub(crate) stanzas: f64,
}

pub(crate) async fn measure(plan: &Plan, world: &mut World) -> Result<Measured> {
    let setting = relay::best(plan.sweep_mails).await?;
    let postfix = Relay::start(setting).await?;
    let addr = world.xmpp.component();
    let mut bare = Component::connect(addr, BARE, world.xmpp.secret()).await?;
    let pid = world.pid();
    // Also warms Isthmus up, and shows what its messages look like.
    write_in(world, pid, plan.mails / 4).await?;
    let inside = body(&world.carol.inbox().state().latest)?;
    let window = best_window(&mut bare, world, &inside, plan.stanzas).await?;

    say(&format!(
        "Throughput: {} mails, {} through Postfix, {} bare stanzas a round",
        plan.mails, plan.postfix_mails, plan.stanzas
    ));
    let mut s = Samples::default();
    for round in 1..=plan.rounds {
        let ours = write_in(world, pid, plan.mails).await?;
        let theirs = postfix.run(plan.postfix_mails).await?;
        let carol = format!("carol@{CHAT}");
        let stanzas = bare.rate(&carol, &inside, plan.stanzas, window, world.carol.inbox()).await?;
        let short = bare.rate(&carol, SHORT, plan.stanzas, window, world.carol.inbox()).await?;
        let copied = copy_in(world, pid, plan.mails).await?;
        say(&format!(
            "  round {round}: Isthmus {:.0}/s (250 at {:.0}/s), Postfix {:.0}/s, bare stanzas {stanzas:.0}/s, \
             copy mode {:.0}/s",
            ours.per_second, ours.taken_per_second, theirs.per_second, copied.per_second
        ));
        s.ours.push(ours.per_second);
        s.taken.push(ours.taken_per_second);
        s.postfix.push(theirs.per_second);
        s.stanzas.push(stanzas);
        s.short.push(short);
        s.copied.push(copied.per_second);
        s.to_postfix.push(ours.per_second / theirs.per_second);
        s.to_stanzas.push(ours.per_second / stanzas);
        s.copied_to_postfix.push(copied.per_second / theirs.per_second);
        s.cpu.push(ours.cpu_per_1000);
        s.postfix_cpu.push(theirs.cpu_per_1000);
        s.cpu_ratio.push(ours.cpu_per_1000 / theirs.cpu_per_1000);
    }
    let figures = s.figures(&setting.name(), window);
    Ok(Measured { figures, highest: s.ours.median(), stanzas: s.stanzas.median() })
}

/// The same while the client sends no receipts. What it leaves behind is waited for for minutes,
/// so nothing else is measured after it.
pub(crate) async fn without_receipts(
    plan: &Plan,
    world: &mut World,
    stanzas: f64,
) -> Result<Vec<Figure>> {
    say("Throughput without receipts");
    let pid = world.pid();
    world.carol.withhold_receipts();
    let (mut silent, mut ratio) = (Sample::default(), Sample::default());
    for round in 1..=plan.rounds {
        let rate = write_in(world, pid, plan.mails).await?.per_second;
        say(&format!("  round {round}: {rate:.0}/s"));
        silent.push(rate);
        ratio.push(rate / stanzas);
    }
    let told = format!("bare stanzas: {stanzas:.0}/s");
    Ok(vec![
        Figure::told("mails to IM, client without receipts", "mails/s", &silent),
        Figure::told("mails to IM, without receipts ÷ bare stanzas", "ratio", &ratio).against(told),
    ])
}

/// Mail from a member to a contact, who gets it as an instant message.
async fn write_in(world: &World, pid: u32, mails: u32) -> Result<Run> {
    run(world, &world.carol, "alice@acme.test", &to_contact("acme", "carol"), pid, mails).await
}

/// Mail from a contact to a member in copy mode, who is shown it in chat.
async fn copy_in(world: &World, pid: u32, mails: u32) -> Result<Run> {
    run(world, &world.alice, "carol@customer.test", "alice@acme.test", pid, mails).await
}

async fn run(
    world: &World,
    client: &Client,
    from: &str,
    to: &str,
    pid: u32,
    mails: u32,
) -> Result<Run> {
    process::settled(pid).await;
    let inbox = client.inbox();
    inbox.clear();
    let source = Source {
        to: world.isthmus.smtp(),
        sender: from.into(),
        recipient: to.into(),
        sessions: SESSIONS,
        mails,
        run: next_mark(),
    };
    let cpu = process::cpu_seconds(pid);
    let start = Instant::now();
    let sending = async {
        source.run().await?;
        anyhow::Ok(Instant::now())
    };
    let (taken, came) =
        tokio::join!(sending, inbox.until("mails as messages", PATIENCE, |s| s.filled >= mails));
    let taken = (taken? - start).as_secs_f64();
    came?;
    let last = inbox.state().last.context("no message came")?;
    // What follows a message, receipts and notices, is part of its price.
    process::settled(pid).await;
    let cpu = process::cpu_seconds(pid) - cpu;
    {
        let state = inbox.state();
        ensure!(state.filled == mails, "{} messages came of {mails} mails", state.filled);
        ensure!(state.again == 0, "{} messages came twice", state.again);
    }
    let count = f64::from(mails);
    Ok(Run {
        per_second: count / (last - start).as_secs_f64(),
        cpu_per_1000: cpu / count * 1_000.0,
        taken_per_second: count / taken,
    })
}

/// The body of a message, to be sent bare.
fn body(stanza: &[u8]) -> Result<String> {
    let text = std::str::from_utf8(stanza)?;
    let from = text.find("<body").context("the message has no body")?;
    let to = text.find("</body>").context("the message has no body")?;
    Ok(format!("{}</body>", &text[from..to]))
}

async fn best_window(
    bare: &mut Component,
    world: &World,
    inside: &str,
    stanzas: u32,
) -> Result<u32> {
    let mut line = String::from("Bare stanzas, looking for the best window (stanzas/s):");
    let mut best = (0.0, WINDOWS[0]);
    for window in WINDOWS {
        let carol = format!("carol@{CHAT}");
        let rate = bare.rate(&carol, inside, stanzas / 2, window, world.carol.inbox()).await?;
        line.push_str(&format!("  {} {rate:.0}", window_name(window)));
        if rate > best.0 {
            best = (rate, window);
        }
    }
    say(&line);
    Ok(best.1)
}

fn window_name(window: u32) -> String {
    if window == u32::MAX { "unlimited".into() } else { window.to_string() }
}

#[derive(Default)]
struct Samples {
    ours: Sample,
    taken: Sample,
    postfix: Sample,
    stanzas: Sample,
    short: Sample,
    copied: Sample,
    to_postfix: Sample,
    to_stanzas: Sample,
    copied_to_postfix: Sample,
    cpu: Sample,
    postfix_cpu: Sample,
    cpu_ratio: Sample,
}

impl Samples {
    fn figures(&self, postfix: &str, window: u32) -> Vec<Figure> {
        let prosody = format!("Prosody {}, window {}", version("prosody"), window_name(window));
        let with = |peer: &str, sample: &Sample| format!("{peer}: {:.0}/s", sample.median());
        let (to_postfix, to_prosody) =
            (with(postfix, &self.postfix), with(&prosody, &self.stanzas));
        let cpu_peer = format!("{postfix}: {:.3} s", self.postfix_cpu.median());
        vec![
            Figure::told("mails to IM ÷ Postfix", "ratio", &self.to_postfix)
                .bound_by(">= 6.0")
                .against(to_postfix.clone()),
            Figure::told("mails to IM ÷ bare stanzas", "ratio", &self.to_stanzas)
                .bound_by(">= 0.5")
                .against(to_prosody.clone()),
            Figure::told("CPU of 1,000 mails ÷ Postfix's", "ratio", &self.cpu_ratio)
                .bound_by("<= 0.5")
                .against(cpu_peer),
            Figure::told("mails to IM", "mails/s", &self.ours),
            Figure::told("mails as far as 250", "mails/s", &self.taken),
            Figure::told("mails to IM, copy mode", "mails/s", &self.copied),
            Figure::told("mails to IM, copy mode ÷ Postfix", "ratio", &self.copied_to_postfix)
                .against(to_postfix),
            Figure::told("Postfix, mails to smtp-sink", "mails/s", &self.postfix),
            Figure::told("bare stanzas with the same body", "stanzas/s", &self.stanzas),
            Figure::told("bare stanzas of a few words", "stanzas/s", &self.short),
            Figure::told("CPU of 1,000 mails", "s", &self.cpu),
            Figure::told("CPU of 1,000 mails, Postfix", "s", &self.postfix_cpu),
        ]
    }
}
