//! A Postfix that takes mail and passes it on to smtp-sink, as fast as it can be made to.

use anyhow::{Context, Result};
use isthmus_tests::{Postfix, PostfixSetup};
use tokio::time::Instant;

use super::{sink::Sink, version};
use crate::{load::source::Source, process, say::say};

/// What is tried in the sweep: sessions in, and connections out.
const SESSIONS: [u32; 3] = [10, 20, 50];
const OUTGOING: [u32; 3] = [5, 20, 60];

/// How Postfix is used.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setting {
    pub(crate) sessions: u32,
    pub(crate) outgoing: u32,
}

/// A running Postfix with its sink.
pub(crate) struct Relay {
    postfix: Postfix,
    sink: Sink,
    master: u32,
    sessions: u32,
}

/// One run through it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run {
    pub(crate) per_second: f64,
    /// Processor seconds of all of Postfix for a thousand mails.
    pub(crate) cpu_per_1000: f64,
}

impl Relay {
    /// Starts it at a setting.
    pub(crate) async fn start(setting: Setting) -> Result<Self> {
        let sink = Sink::start().await?;
        let extra = tuned(setting.outgoing);
        let setup = PostfixSetup { relay_to: Some(sink.addr()), extra, ..PostfixSetup::default() };
        let postfix = Postfix::start(setup).await;
        let master = process::started_here("master")?;
        let this = Self { postfix, sink, master, sessions: setting.sessions };
        // Its processes start when they are first needed.
        this.run(200).await?;
        Ok(this)
    }

    /// Sends `mails` through it; until the last has reached the sink.
    pub(crate) async fn run(&self, mails: u32) -> Result<Run> {
        let before = self.sink.count();
        let cpu = process::cpu_seconds(self.master);
        let start = Instant::now();
        let source = Source {
            to: self.postfix.addr(),
            sender: "alice@acme.test".into(),
            recipient: "carol@customer.test".into(),
            sessions: self.sessions,
            mails,
            run: crate::load::mail::next_mark(),
        };
        let (sent, taken) = tokio::join!(source.run(), self.sink.until(before + mails));
        sent.context("into Postfix")?;
        let time = (taken? - start).as_secs_f64();
        process::settled(self.master).await;
        let cpu = process::cpu_seconds(self.master) - cpu;
        let mails = f64::from(mails);
        Ok(Run { per_second: mails / time, cpu_per_1000: cpu / mails * 1_000.0 })
    }
}

/// Looks for the setting at which Postfix is fastest, telling what each brought.
pub(crate) async fn best(mails: u32) -> Result<Setting> {
    say("Postfix, looking for its best setting (mails/s):");
    let mut best = (0.0, Setting { sessions: 20, outgoing: 20 });
    for outgoing in OUTGOING {
        let mut relay = Relay::start(Setting { sessions: 20, outgoing }).await?;
        let mut line = format!("  {outgoing:>3} connections out:");
        for sessions in SESSIONS {
            relay.sessions = sessions;
            let rate = relay.run(mails).await?.per_second;
            line.push_str(&format!("  {sessions} sessions {rate:.0}"));
            if rate > best.0 {
                best = (rate, Setting { sessions, outgoing });
            }
        }
        say(&line);
    }
    Ok(best.1)
}

impl Setting {
    /// The peer as the results name it.
    pub(crate) fn name(self) -> String {
        let Self { sessions, outgoing } = self;
        format!("Postfix {}, {sessions} sessions, {outgoing} out", version("postfix"))
    }
}

/// What makes it fast without making it lose mail: it syncs each mail before it says 250.
fn tuned(outgoing: u32) -> String {
    format!(
        "default_process_limit = 300
default_destination_concurrency_limit = {outgoing}
initial_destination_concurrency = {outgoing}
in_flow_delay = 0
qmgr_message_active_limit = 100000
max_use = 100000
queue_run_delay = 300s
minimal_backoff_time = 300s
maximal_backoff_time = 600s
smtpd_client_event_limit_exceptions = 127.0.0.0/8
local_header_rewrite_clients =
receive_override_options = no_address_mappings, no_header_body_checks
"
    )
}
