//! How much is measured: rounds, and the size of each.

use std::time::Duration;

/// Sizes of everything that is measured.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// Rounds of everything but the large mails.
    pub(crate) rounds: usize,
    /// Rounds of the large mails.
    pub(crate) large_rounds: usize,
    /// Mails of one throughput round through Isthmus.
    pub(crate) mails: u32,
    /// Mails of one throughput round through Postfix.
    pub(crate) postfix_mails: u32,
    /// Stanzas of one throughput round through Prosody alone.
    pub(crate) stanzas: u32,
    /// Mails of each step of Postfix's sweep.
    pub(crate) sweep_mails: u32,
    /// Mails, and as many chat messages, of one latency round.
    pub(crate) quiet_mails: u32,
    /// Length of a round under load.
    pub(crate) load_time: Duration,
    /// Length of a quiet and of a loud phase.
    pub(crate) phase: Duration,
    /// How long the demo is left alone before its memory is looked at.
    pub(crate) idle_time: Duration,
    /// Conversations on disk when the start is timed.
    pub(crate) conversations: u32,
}

impl Plan {
    /// What the published figures are made with.
    pub(crate) fn full() -> Self {
        Self {
            rounds: 5,
            large_rounds: 5,
            mails: 8_000,
            postfix_mails: 2_500,
            stanzas: 15_000,
            sweep_mails: 1_000,
            quiet_mails: 300,
            load_time: Duration::from_secs(8),
            phase: Duration::from_secs(6),
            idle_time: Duration::from_secs(6),
            conversations: 10_000,
        }
    }

    /// A look in between.
    pub(crate) fn quick() -> Self {
        Self {
            rounds: 3,
            large_rounds: 1,
            mails: 3_000,
            postfix_mails: 1_000,
            stanzas: 6_000,
            sweep_mails: 400,
            quiet_mails: 150,
            load_time: Duration::from_secs(5),
            phase: Duration::from_secs(4),
            idle_time: Duration::from_secs(3),
            ..Self::full()
        }
    }
}
