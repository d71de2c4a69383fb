//! A delivery: one message on its way to one person over one medium, as a state machine.
//!
//! Every transition consumes the delivery and gives back what it became and what is to be done
//! about it. The caller persists first and performs afterwards.

use serde::{Deserialize, Serialize};

use crate::clock::Millis;

/// Email or instant message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Medium {
    /// Email.
    Email,
    /// Instant message.
    Im,
}

impl Medium {
    /// `email` or `im`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Email => "email",
            Self::Im => "im",
        }
    }
}

impl std::str::FromStr for Medium {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "email" => Ok(Self::Email),
            "im" => Ok(Self::Im),
            other => Err(format!("a medium is \"email\" or \"im\", not {other:?}")),
        }
    }
}

/// What is known of a person's reachability by IM.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reach {
    /// There.
    Available,
    /// Known not to be there.
    Unavailable,
    /// Nobody can tell.
    Unknown,
}

/// How it is known that a message arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Evidence {
    /// The recipient's client confirmed it (XEP-0184).
    Receipt,
    /// The network took it for an available recipient and did not complain.
    Server,
    /// It lies in the recipient's own storage here.
    Stored,
    /// The next mail server answered 250.
    Smtp,
    /// A delivery status notification said so (RFC 3464).
    Dsn,
    /// No relay is configured: the mail is kept here to be looked at.
    Kept,
}

impl Evidence {
    /// As shown in the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Receipt => "receipt",
            Self::Server => "server",
            Self::Stored => "stored",
            Self::Smtp => "smtp",
            Self::Dsn => "dsn",
            Self::Kept => "kept",
        }
    }
}

/// One of the three answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Choice {
    /// Keep trying until the recipient is back.
    Retry,
    /// Do not send it.
    Abort,
    /// Send it as an email instead.
    Email,
}

impl Choice {
    /// `retry`, `abort` or `email`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Retry => "retry",
            Self::Abort => "abort",
            Self::Email => "email",
        }
    }
}

impl std::str::FromStr for Choice {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "retry" => Ok(Self::Retry),
            "abort" => Ok(Self::Abort),
            "email" => Ok(Self::Email),
            other => Err(format!("an action is \"retry\", \"abort\" or \"email\", not {other:?}")),
        }
    }
}

/// Where a delivery is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum State {
    /// Taken; nothing was done yet.
    Accepted,
    /// The recipient's presence is being looked up.
    Checking {
        /// When to stop waiting for an answer.
        until: Millis,
    },
    /// Handed to the medium under its stable id; evidence is awaited.
    Sending {
        /// What is known of the recipient.
        reach: Reach,
        /// When the absence of evidence is evidence too.
        until: Millis,
        /// How often it went out before.
        attempt: u32,
        /// The sender chose to keep trying, until then: no evidence leads back to that, not to a question.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        keep_trying: Option<Millis>,
    },
    /// It arrived.
    Delivered {
        /// When.
        at: Millis,
        /// How that is known.
        evidence: Evidence,
    },
    /// The sender was asked and has not answered.
    AwaitingDecision {
        /// Until when an answer is awaited; then the standing policy acts, or the question is asked again.
        deadline: Millis,
        /// How often it was asked.
        round: u32,
    },
    /// Kept, and tried again by the timer or when the recipient becomes available.
    Retrying {
        /// Attempts so far.
        attempt: u32,
        /// The next one.
        next: Millis,
        /// When it becomes a question again.
        expires: Millis,
    },
    /// The sender did not want it to be sent any more.
    Aborted {
        /// When.
        at: Millis,
        /// Who decided.
        by: String,
    },
    /// It goes out as an email instead.
    BecameEmail {
        /// When.
        at: Millis,
        /// The delivery of the email.
        delivery: String,
        /// Who decided.
        by: String,
    },
    /// It cannot be delivered.
    Failed {
        /// When.
        at: Millis,
        /// Why, for the sender.
        reason: String,
    },
}

impl State {
    /// The name in the API.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Checking { .. } => "checking",
            Self::Sending { .. } => "sending",
            Self::Delivered { .. } => "delivered",
            Self::AwaitingDecision { .. } => "awaiting_decision",
            Self::Retrying { .. } => "retrying",
            Self::Aborted { .. } => "aborted",
            Self::BecameEmail { .. } => "became_email",
            Self::Failed { .. } => "failed",
        }
    }

    /// Whether nothing more will happen by itself.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        matches!(
            self,
            Self::Delivered { .. }
                | Self::Aborted { .. }
                | Self::BecameEmail { .. }
                | Self::Failed { .. }
        )
    }

    /// When the timer must look at it again.
    #[must_use]
    pub fn due(&self) -> Option<Millis> {
        match self {
            Self::Checking { until } | Self::Sending { until, .. } => Some(*until),
            Self::AwaitingDecision { deadline, .. } => Some(*deadline),
            Self::Retrying { next, .. } => Some(*next),
            _ => None,
        }
    }
}

/// What somebody wished once and for all about messages to people who are away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Nobody is asked: this is done at once.
    AtOnce(Choice),
    /// The sender is asked; this is done if there is no answer by the deadline.
    Unanswered(Choice),
}

impl Standing {
    /// All of them, as they are written.
    pub const NAMES: [&'static str; 6] =
        ["retry", "email", "abort", "ask-retry", "ask-email", "ask-abort"];

    /// What is done in the end.
    #[must_use]
    pub fn choice(self) -> Choice {
        let (Self::AtOnce(choice) | Self::Unanswered(choice)) = self;
        choice
    }

    /// As rows and the API have it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AtOnce(choice) => choice.as_str(),
            Self::Unanswered(Choice::Retry) => "ask-retry",
            Self::Unanswered(Choice::Email) => "ask-email",
            Self::Unanswered(Choice::Abort) => "ask-abort",
        }
    }
}

impl std::str::FromStr for Standing {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let choice = text.strip_prefix("ask-").unwrap_or(text).parse();
        let choice = choice.map_err(|_: String| {
            format!("a standing policy is one of {}, not {text:?}", Self::NAMES.join(", "))
        })?;
        Ok(if text.starts_with("ask-") { Self::Unanswered(choice) } else { Self::AtOnce(choice) })
    }
}

/// How often the time for an answer doubles: from 4 hours to 64.
const ROUNDS_LONGER: u32 = 4;
/// The longest pause between two attempts to reach somebody of whom nothing is known.
const SELDOM_MS: i64 = 12 * 3_600_000;

/// Times and standing wishes that apply to one delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// What to do when the recipient is away; `None`: ask, and ask again.
    pub standing: Option<Standing>,
    /// Whether anybody may be asked: a member asked for this IM.
    pub askable: bool,
    /// Send without regard to presence.
    pub always_send: bool,
    /// Whether the recipient has an email address to fall back to.
    pub can_email: bool,
    /// Between two attempts.
    pub retry_interval_ms: i64,
    /// For an answer to the question.
    pub deadline_ms: i64,
    /// For retrying until it becomes a question again.
    pub expire_ms: i64,
    /// For an answer to a presence probe.
    pub probe_ms: i64,
    /// For an error after sending to somebody available.
    pub settle_ms: i64,
    /// For a receipt from somebody of whom nothing is known.
    pub receipt_ms: i64,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            standing: None,
            askable: true,
            always_send: false,
            can_email: true,
            retry_interval_ms: 60_000,
            deadline_ms: 4 * 3_600_000,
            expire_ms: 3 * 86_400_000,
            probe_ms: 3_000,
            settle_ms: 5_000,
            receipt_ms: 180_000,
        }
    }
}

/// What happened to a delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Happened {
    /// The recipient's presence is this.
    Presence(Reach),
    /// Evidence that it arrived.
    Evidence(Evidence),
    /// It came back.
    Bounced {
        /// Worth another try.
        temporary: bool,
        /// The network's words.
        reason: String,
    },
    /// Its time came.
    Timer,
    /// Nothing more will come of it.
    GivenUp {
        /// Why, for the sender.
        reason: String,
    },
    /// The sender decided.
    Decided {
        /// What.
        choice: Choice,
        /// Who, as shown.
        by: String,
        /// The delivery of the email, if that was chosen.
        email_delivery: String,
    },
}

/// What is to be done after the new state was persisted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Hand it to the network under its stable id.
    Send,
    /// Ask the network for presence.
    Probe,
    /// Ask the sender.
    Ask,
    /// Tell the sender that it arrived.
    TellDelivered,
    /// Tell the sender that it did not.
    TellFailed,
    /// Make it an email.
    BecomeEmail,
}

/// Why a transition cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotPossible {
    /// It is settled: deciding again is a conflict.
    #[error("this delivery is settled already: {0}")]
    Settled(&'static str),
    /// There is no open question.
    #[error("nothing was asked about this delivery: it is {0}")]
    NotAsked(&'static str),
    /// The recipient has no email address.
    #[error("no email address is known for the recipient")]
    NoEmail,
}

/// The state after a transition, and what to do about it.
pub type Step = (State, Vec<Effect>);

impl State {
    /// Moves on. What cannot mean anything in the present state (a late receipt for an
    /// aborted message, a second timer) changes nothing and asks for nothing.
    ///
    /// # Errors
    /// Only a decision can be refused: [`NotPossible`].
    pub fn step(
        self,
        happened: Happened,
        policy: &Policy,
        now: Millis,
    ) -> Result<Step, NotPossible> {
        match happened {
            Happened::Presence(reach) => Ok(self.on_presence(reach, policy, now)),
            Happened::Evidence(evidence) => Ok(self.on_evidence(evidence, now)),
            Happened::Bounced { temporary, reason } => {
                Ok(self.on_bounce(temporary, reason, policy, now))
            }
            Happened::Timer => Ok(self.on_timer(policy, now)),
            Happened::GivenUp { .. } if self.is_settled() => Ok((self, vec![])),
            Happened::GivenUp { reason } => {
                Ok((Self::Failed { at: now, reason }, vec![Effect::TellFailed]))
            }
            Happened::Decided { choice, by, email_delivery } => {
                self.decide(choice, by, email_delivery, policy, now)
            }
        }
    }

    fn on_presence(self, reach: Reach, policy: &Policy, now: Millis) -> Step {
        let waiting = matches!(self, Self::Accepted | Self::Checking { .. });
        match (self, reach) {
            (Self::Accepted | Self::Checking { .. }, _) if policy.always_send => {
                first(reach, policy, now)
            }
            (Self::Accepted | Self::Checking { .. }, Reach::Available) => first(reach, policy, now),
            // Presence was asked for and there is no subscription: send, and watch for a receipt.
            (Self::Checking { .. }, Reach::Unknown) => first(reach, policy, now),
            (Self::Accepted, Reach::Unknown) => {
                (Self::Checking { until: now.plus_ms(policy.probe_ms) }, vec![Effect::Probe])
            }
            (_, Reach::Unavailable) if waiting => away(policy, now, 0),
            (Self::Retrying { attempt, expires, .. }, Reach::Available) => {
                again(reach, attempt, expires, policy, now)
            }
            // Nobody can tell, and it is time for another try: it goes out under the same id.
            (Self::Retrying { attempt, next, expires }, Reach::Unknown)
                if now >= next && now < expires =>
            {
                again(reach, attempt, expires, policy, now)
            }
            (state, _) => (state, vec![]),
        }
    }

    fn on_evidence(self, evidence: Evidence, now: Millis) -> Step {
        match self {
            Self::Sending { .. }
            | Self::Accepted
            | Self::Checking { .. }
            | Self::Retrying { .. } => {
                (Self::Delivered { at: now, evidence }, vec![Effect::TellDelivered])
            }
            // It was asked because no receipt came in time, and here it is.
            Self::AwaitingDecision { .. } => {
                (Self::Delivered { at: now, evidence }, vec![Effect::TellDelivered])
            }
            // Better evidence for what is known already.
            Self::Delivered { at, evidence: Evidence::Server | Evidence::Smtp } => {
                (Self::Delivered { at, evidence }, vec![])
            }
            state => (state, vec![]),
        }
    }

    fn on_bounce(self, temporary: bool, reason: String, policy: &Policy, now: Millis) -> Step {
        match self {
            Self::Sending { attempt, keep_trying: Some(expires), .. } if temporary => {
                (back_to_trying(attempt, expires, policy, now), vec![])
            }
            Self::Sending { .. } if temporary => away(policy, now, 0),
            Self::Sending { .. } | Self::Checking { .. } | Self::Accepted => {
                (Self::Failed { at: now, reason }, vec![Effect::TellFailed])
            }
            // A bounce that comes after the next server took it is still the truth.
            Self::Delivered {
                evidence: Evidence::Smtp | Evidence::Server | Evidence::Kept,
                ..
            } if !temporary => (Self::Failed { at: now, reason }, vec![Effect::TellFailed]),
            Self::Delivered { evidence: Evidence::Server, .. } => away(policy, now, 0),
            state => (state, vec![]),
        }
    }

    fn on_timer(self, policy: &Policy, now: Millis) -> Step {
        match self {
            Self::Checking { until } if now >= until => first(Reach::Unknown, policy, now),
            Self::Sending { reach: Reach::Available, until, .. } if now >= until => {
                let evidence = Evidence::Server;
                (Self::Delivered { at: now, evidence }, vec![Effect::TellDelivered])
            }
            // Sent into the blue and no receipt came: as good as away. Whoever said
            // "always send" has said that this is fine.
            Self::Sending { until, .. } if now >= until && policy.always_send => (
                Self::Delivered { at: now, evidence: Evidence::Server },
                vec![Effect::TellDelivered],
            ),
            // A server that took it for somebody it says nothing about may well have passed it on
            // or kept it: it goes again, but more and more rarely.
            Self::Sending { until, attempt, keep_trying: Some(expires), .. } if now >= until => {
                let wait = policy.retry_interval_ms.saturating_mul(1 << attempt.min(16));
                let next = now.plus_ms(wait.min(SELDOM_MS).max(policy.retry_interval_ms));
                (Self::Retrying { attempt, next: next.min(expires), expires }, vec![])
            }
            Self::Sending { until, .. } if now >= until => away(policy, now, 0),
            Self::Retrying { expires, .. } if now >= expires => ask(policy, now, 0),
            Self::Retrying { attempt, next, expires } if now >= next => (
                Self::Retrying {
                    attempt: attempt + 1,
                    next: now.plus_ms(policy.retry_interval_ms).min(expires),
                    expires,
                },
                vec![Effect::Probe],
            ),
            Self::AwaitingDecision { deadline, round } if now >= deadline => {
                match policy.standing {
                    Some(Standing::AtOnce(choice) | Standing::Unanswered(choice)) => {
                        act(choice, policy, now, round)
                    }
                    None => ask(policy, now, round + 1),
                }
            }
            state => (state, vec![]),
        }
    }

    fn decide(
        self,
        choice: Choice,
        by: String,
        email_delivery: String,
        policy: &Policy,
        now: Millis,
    ) -> Result<Step, NotPossible> {
        match self {
            Self::AwaitingDecision { .. } | Self::Retrying { .. } => {}
            state if state.is_settled() => return Err(NotPossible::Settled(state.name())),
            state => return Err(NotPossible::NotAsked(state.name())),
        }
        match choice {
            Choice::Retry => Ok((retrying(policy, now), vec![Effect::Probe])),
            Choice::Abort => Ok((Self::Aborted { at: now, by }, vec![])),
            Choice::Email if !policy.can_email => Err(NotPossible::NoEmail),
            Choice::Email => Ok((
                Self::BecameEmail { at: now, delivery: email_delivery, by },
                vec![Effect::BecomeEmail],
            )),
        }
    }
}

fn first(reach: Reach, policy: &Policy, now: Millis) -> Step {
    send(reach, 0, None, policy, now)
}

fn again(reach: Reach, attempt: u32, expires: Millis, policy: &Policy, now: Millis) -> Step {
    send(reach, attempt + 1, Some(expires), policy, now)
}

fn send(
    reach: Reach,
    attempt: u32,
    keep_trying: Option<Millis>,
    policy: &Policy,
    now: Millis,
) -> Step {
    let wait = if reach == Reach::Available { policy.settle_ms } else { policy.receipt_ms };
    (State::Sending { reach, until: now.plus_ms(wait), attempt, keep_trying }, vec![Effect::Send])
}

fn back_to_trying(attempt: u32, expires: Millis, policy: &Policy, now: Millis) -> State {
    State::Retrying { attempt, next: now.plus_ms(policy.retry_interval_ms).min(expires), expires }
}

fn retrying(policy: &Policy, now: Millis) -> State {
    State::Retrying {
        attempt: 0,
        next: now.plus_ms(policy.retry_interval_ms),
        expires: now.plus_ms(policy.expire_ms),
    }
}

/// The recipient is not there: the standing policy acts, or the sender is asked.
fn away(policy: &Policy, now: Millis, round: u32) -> Step {
    match policy.standing {
        _ if !policy.askable && policy.can_email => become_email("nobody is asked", now),
        Some(Standing::AtOnce(choice)) => act(choice, policy, now, round),
        _ if !policy.askable => (retrying(policy, now), vec![]),
        _ => ask(policy, now, round),
    }
}

/// What the standing policy says is done.
fn act(choice: Choice, policy: &Policy, now: Millis, round: u32) -> Step {
    match choice {
        Choice::Retry => (retrying(policy, now), vec![]),
        Choice::Abort => (State::Aborted { at: now, by: "standing policy".into() }, vec![]),
        Choice::Email if policy.can_email => become_email("standing policy", now),
        Choice::Email => ask(policy, now, round + 1),
    }
}

fn become_email(by: &str, now: Millis) -> Step {
    (
        State::BecameEmail { at: now, delivery: String::new(), by: by.into() },
        vec![Effect::BecomeEmail],
    )
}

fn ask(policy: &Policy, now: Millis, round: u32) -> Step {
    if !policy.askable {
        let reason = "the recipient could not be reached by instant message".to_owned();
        return (State::Failed { at: now, reason }, vec![Effect::TellFailed]);
    }
    // Every unanswered question is followed by a longer pause before it is asked again.
    let wait = policy.deadline_ms.saturating_mul(1 << round.min(ROUNDS_LONGER));
    (State::AwaitingDecision { deadline: now.plus_ms(wait), round }, vec![Effect::Ask])
}

#[cfg(test)]
#[path = "delivery_tests.rs"]
mod tests;
