//! The content of one mail, from 354 to its end: bounded in size, in time and in memory.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, timeout_at};

use super::body::BodyWriter;
use super::data::{Fed, Scanner};
use super::session::{End, Envelope, Shared, too_big};
use super::wire::Wire;
use super::{Limits, ReceivedMail, Reply};

/// Reads up to the true end of the mail. The inner error is the reply for a mail that was read to
/// its end and is not taken.
///
/// # Errors
/// Why the session is over before the end came.
pub(crate) async fn receive<S>(
    wire: &mut Wire<S>,
    envelope: Envelope,
    shared: &Shared,
) -> Result<Result<ReceivedMail, Reply>, End>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let limits = &shared.limits;
    let mut writer = BodyWriter::new(shared.spool.clone(), limits.memory_body, envelope.mail.size);
    let mut scanner = Scanner::new();
    let mut pace = Pace::new(limits);
    let mut refusal: Option<Reply> = None;
    let mut size: u64 = 0;
    loop {
        let input = wire.unread();
        let keep = refusal.is_none();
        let fed = scanner.feed(input, |run| {
            size += run.len() as u64;
            if keep {
                writer.push(run);
            }
        });
        let (used, ended) = match fed {
            Fed::More => (input.len(), false),
            Fed::End(used) => (used, true),
        };
        wire.consume(used);
        pace.octets += used as u64;
        if refusal.is_none() {
            refusal = verdict(&scanner, size, limits, &mut writer).await;
            if refusal.is_some() {
                writer.discard();
            }
        }
        if ended {
            break;
        }
        // Reading on serves the peer, who learns the reason; twice the limit is patience enough.
        if pace.octets > limits.max_size.saturating_mul(2).saturating_add(1024 * 1024) {
            return Err(End::Say(refusal.unwrap_or_else(|| too_big(limits.max_size))));
        }
        more(wire, &mut pace, shared).await?;
    }
    if let Some(reply) = refusal {
        return Ok(Err(reply));
    }
    Ok(match writer.finish().await {
        Ok((body, sha256)) => Ok(ReceivedMail {
            from: envelope.mail.from.email().cloned(),
            to: envelope.to,
            ret: envelope.mail.ret,
            envid: envelope.mail.envid,
            body,
            sha256,
        }),
        Err(error) => Err(no_room(&error)),
    })
}

/// Why the mail cannot be taken, as far as it has come.
async fn verdict(
    scanner: &Scanner,
    size: u64,
    limits: &Limits,
    writer: &mut BodyWriter,
) -> Option<Reply> {
    if scanner.stray() {
        let text = "The mail holds a CR or LF that stands alone; lines end with both together";
        return Some(Reply::new(554, "5.6.0", text));
    }
    if size > limits.max_size {
        return Some(too_big(limits.max_size));
    }
    writer.settle().await.err().map(|error| no_room(&error))
}

fn no_room(error: &std::io::Error) -> Reply {
    tracing::error!(%error, "a mail could not be written to the spool directory");
    Reply::new(452, "4.3.1", "There is no room for the mail at the moment, try again later")
}

/// Reads once, within the time that the peer has left.
async fn more<S>(wire: &mut Wire<S>, pace: &mut Pace<'_>, shared: &Shared) -> Result<(), End>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    loop {
        let stopping = pace.stopping.is_some();
        tokio::select! {
            read = timeout_at(pace.deadline(), wire.fill()) => return match read {
                Ok(Ok(1..)) => Ok(()),
                Ok(Ok(0) | Err(_)) => Err(End::Closed),
                Err(_) if stopping => {
                    Err(End::Say(Reply::new(421, "4.3.2", "The server is stopping, try again soon")))
                }
                Err(_) => Err(End::Say(Reply::new(421, "4.4.2", "The mail comes too slowly"))),
            },
            () = shared.stop.cancelled(), if !stopping => {
                pace.stopping = Some(Instant::now() + shared.limits.stop_grace);
            }
        }
    }
}

/// How long the peer may still take: silence, average rate and total are bounded, so that neither
/// an octet a minute nor a steady trickle holds a session forever.
struct Pace<'a> {
    limits: &'a Limits,
    begun: Instant,
    octets: u64,
    /// Until when a server that stops waits.
    stopping: Option<Instant>,
}

impl<'a> Pace<'a> {
    fn new(limits: &'a Limits) -> Self {
        Self { limits, begun: Instant::now(), octets: 0, stopping: None }
    }

    fn deadline(&self) -> Instant {
        let earned = Duration::from_secs(self.octets / self.limits.data_min_rate.max(1));
        let pace = self.begun + (self.limits.data_grace + earned).min(self.limits.data_total);
        let silence = Instant::now() + self.limits.data_idle;
        let usual = pace.min(silence);
        self.stopping.map_or(usual, |stop| stop.min(usual))
    }
}
