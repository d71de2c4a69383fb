//! Kills at random moments under load, traffic in both directions: the clients' own records are
//! reconciled at the end.

use std::{collections::HashMap, sync::Arc, time::Duration};

use isthmus_tests::{Isthmus, XmppClient, XmppKind};
use tokio::{sync::Mutex, time::Instant};

use super::{
    ledger::{Dice, Ledger, Seen, Token, check, keep_mailing, seen_by_mail, seen_in_chat},
    world::{ACME, CAROL, World, settle, setup},
};

/// Conversations that go on at once by mail, and those by chat.
const MAIL_LANES: usize = 28;
const CHAT_LANES: usize = 4;
/// To be back in service.
const BACK: Duration = Duration::from_secs(5);
/// Nothing new for so long means that nothing more comes: what was taken in faster than the chat
/// clients could read it may need minutes to arrive.
const QUIET: Duration = Duration::from_secs(30);

/// The two people in chat; a new connection after the chat server was killed keeps what was heard.
struct Chat {
    carol: XmppClient,
    bob: XmppClient,
    heard_before: Vec<serde_json::Value>,
}

impl Chat {
    async fn connect(world: &World, heard_before: Vec<serde_json::Value>) -> Self {
        let (carol, bob) = (world.chat.client("carol").await, world.chat.client("bob").await);
        Self { carol, bob, heard_before }
    }

    fn seen(&self) -> Vec<Seen> {
        let mut all = self.heard_before.clone();
        all.extend(self.carol.heard());
        seen_in_chat(&all)
    }
}

/// Bob writes to people who have only mail, each a conversation; unacknowledged lines are
/// repeated under their id.
async fn keep_chatting(
    ledger: Arc<Ledger>,
    chat: Arc<Mutex<Option<Chat>>>,
    stop: tokio::sync::watch::Receiver<bool>,
) {
    let mut open: HashMap<usize, (usize, Option<Instant>)> =
        (0..CHAT_LANES).map(|l| (l, (0, None))).collect();
    loop {
        if let Some(chat) = chat.lock().await.as_mut() {
            let heard = chat.bob.heard();
            for (lane, (n, sent)) in &mut open {
                let token = Token { lane: format!("c{lane}"), n: *n };
                let id = format!("c{lane}-{n}");
                if sent.is_some()
                    && heard.iter().any(|e| e["ev"] == "receipt" && e["id"] == id.as_str())
                {
                    ledger.acknowledge(token);
                    (*n, *sent) = (*n + 1, None);
                    continue;
                }
                let due = sent.is_none_or(|at| at.elapsed() > Duration::from_secs(2));
                if due && !(*stop.borrow() && sent.is_none()) {
                    let to = format!(r"lane{lane}\40other.test@bridge.acme.test");
                    chat.bob.send(&to, &token.to_string(), &id).await;
                    *sent = Some(Instant::now());
                }
            }
        }
        if *stop.borrow() && open.values().all(|(_, sent)| sent.is_none()) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Kills it and starts it again; how long it was away.
async fn kill(isthmus: &mut Isthmus) -> Duration {
    let away = isthmus.kill9_and_start_again().await;
    assert!(away < BACK, "back in service only after {away:?}");
    away
}

#[tokio::test]
async fn server_random_kills_lose_and_double_nothing() {
    let kills: u64 = std::env::var("ISTHMUS_KILLS").ok().and_then(|k| k.parse().ok()).unwrap_or(10);
    let prosody_every: u64 =
        std::env::var("ISTHMUS_PROSODY_EVERY").ok().and_then(|k| k.parse().ok()).unwrap_or(5);
    let seed = Dice::seed();
    println!("ISTHMUS_SEED={seed} ISTHMUS_KILLS={kills}");
    let mut dice = Dice::seeded(seed);
    let mut world =
        World::with(XmppKind::Prosody, setup().set("DELIVERY__RETRY_INTERVAL", "1s")).await;
    world.isthmus.apply(&ACME.replace("time_zone", "policy = \"retry\"\ntime_zone")).await;
    drop((world.online("carol").await, world.online("bob").await));
    let chat = Arc::new(Mutex::new(Some(Chat::connect(&world, Vec::new()).await)));
    settle().await;

    let ledger: Arc<Ledger> = Arc::default();
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let mut senders = keep_mailing(&ledger, world.isthmus.smtp(), CAROL, MAIL_LANES, &stopped);
    senders.push(tokio::spawn(keep_chatting(Arc::clone(&ledger), Arc::clone(&chat), stopped)));

    println!("kill  victim   in flight  acknowledged  away ms");
    for k in 1..=kills {
        tokio::time::sleep(Duration::from_millis(200 + dice.below(1_300))).await;
        while ledger.in_flight() < 20 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let (in_flight, so_far) = (ledger.in_flight(), ledger.acknowledged().len());
        let prosody = k % prosody_every == 0;
        let away = if prosody {
            let mut held = chat.lock().await;
            let before = Instant::now();
            world.chat.kill9();
            let old = held.take().expect("it is always put back");
            world.chat.start_again().await;
            let mut heard = old.heard_before;
            heard.extend(old.carol.heard());
            *held = Some(Chat::connect(&world, heard).await);
            before.elapsed()
        } else {
            kill(&mut world.isthmus).await
        };
        let victim = if prosody { "prosody" } else { "isthmus" };
        println!("{k:>4}  {victim:<8} {in_flight:>9}  {so_far:>12}  {:>7}", away.as_millis());
    }
    stop.send(true).expect("the senders listen");
    for sender in senders {
        sender.await.expect("a sender found something wrong");
    }

    let chat = chat.lock().await.take().expect("it is always put back");
    let (mut fewest, mut since) = (usize::MAX, Instant::now());
    let seen = loop {
        let mut seen = chat.seen();
        seen.extend(seen_by_mail(&world.sink.mails()));
        let missing = ledger.missing(&seen).len();
        if missing < fewest {
            (fewest, since) = (missing, Instant::now());
        }
        if missing == 0 || since.elapsed() > QUIET {
            break seen;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    };
    let lost = ledger.missing(&seen);
    let distinct: std::collections::HashSet<_> = seen.iter().map(|(token, _)| token).collect();
    println!(
        "sent {} times, acknowledged {}, arrived {} (repeated under the same id: {}), lost {}",
        ledger.tries(),
        ledger.acknowledged().len(),
        distinct.len(),
        seen.len() - distinct.len(),
        lost.len()
    );
    assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
    check(&seen);
}
