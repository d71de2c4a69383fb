//! A kill between every persist and every effect: nothing is lost, nothing comes under two ids.

use std::{sync::Arc, time::Duration};

use isthmus_tests::{SmtpSink, XmppClient, XmppKind, eventually};
use serde_json::json;

use super::{
    ledger::{Ledger, Token, check, lane_mail, seen_by_mail, seen_in_chat},
    world::{ACME, CAROL, Mail, SOON, World, setup},
};

const ARMED: &str = "ISTHMUS_FAILPOINT";
/// Bob's contact that has only a mail address.
const DAVE_CONTACT: &str = r"dave\40other.test@bridge.acme.test";

/// People whose presence nobody knows, and a tenant whose mail is passed on.
fn declaration(own: &SmtpSink) -> String {
    let acme = ACME.replace("time_zone", "policy = \"retry\"\ntime_zone");
    format!(
        "{acme}\n[[tenant.contact]]\nname = \"Eve\"\nemail = \"eve@x.test\"\nim = [\"xmpp:eve@chat.test\"]\nverified = true\n\
         [[tenant]]\nslug = \"mx\"\nname = \"Mx\"\nbridge_domain = \"bridge.two.test\"\ndomains = [\"mx.test\"]\n\
         mail_mode = \"mx\"\nforward_to = \"{}\"\n",
        own.url()
    )
}

/// All kinds of traffic that pass the failpoints, and the record of it.
struct Traffic {
    world: World,
    own: SmtpSink,
    key: String,
    carol: XmppClient,
    bob: XmppClient,
    ledger: Arc<Ledger>,
    round: usize,
}

impl Traffic {
    async fn start() -> Self {
        let own = SmtpSink::start().await;
        let setup = setup().set("DELIVERY__RETRY_INTERVAL", "1s");
        let world = World::with(XmppKind::Prosody, setup).await;
        world.isthmus.apply(&declaration(&own)).await;
        let key = world.isthmus.member_key("acme", "alice@acme.test").await;
        let (carol, bob) = (world.online("carol").await, world.online("bob").await);
        Self { world, own, key, carol, bob, ledger: Arc::default(), round: 0 }
    }

    /// One message of each kind, each sent until it is acknowledged. Whatever does not pass
    /// because the process is gone is sent again.
    async fn round(&mut self) {
        let n = self.round;
        self.round += 1;
        let server = self.world.isthmus.smtp();
        for (lane, to) in [("tocarol", CAROL), ("toeve", "eve=x.test@bridge.acme.test")] {
            let (mail, token) = lane_mail(to, lane, n);
            self.ledger.mail(server, &mail, token).await;
        }
        // Neither these nor the API's new messages are one conversation: each is its own lane.
        let token = Token { lane: format!("passedon{n}"), n };
        let mail = Mail::new("zoe@mx.test", &format!("on{n}"), &token.to_string());
        self.ledger.mail(server, &mail, token).await;
        self.chat(n).await;
        self.api(n).await;
    }

    /// A chat line to somebody who has only mail; the receipt is the acknowledgement.
    async fn chat(&mut self, n: usize) {
        let token = Token { lane: "todave".into(), n };
        let id = format!("chat-{n}");
        loop {
            self.bob.send(DAVE_CONTACT, &token.to_string(), &id).await;
            let end = tokio::time::Instant::now() + Duration::from_secs(2);
            while tokio::time::Instant::now() < end {
                if self.bob.heard().iter().any(|e| e["ev"] == "receipt" && e["id"] == id.as_str()) {
                    return self.ledger.acknowledge(token);
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }

    async fn api(&mut self, n: usize) {
        let token = Token { lane: format!("byapi{n}"), n };
        let api = self.world.isthmus.api(&self.key);
        let message = json!({"to": "fay@other.test", "via": "email", "subject": format!("api{n}"), "text": token.to_string()});
        loop {
            let request = api.request(reqwest::Method::POST, "/v1/messages").json(&message);
            let request = request.header("Idempotency-Key", format!("api-{n}"));
            match api.try_send(request).await.map(|a| a.status) {
                Ok(202) => return self.ledger.acknowledge(token),
                Ok(status) if status < 500 && status != 409 => panic!("the API answered {status}"),
                _ => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    }

    /// Arms the failpoint, drives traffic until the process dies there, and starts it again.
    async fn die_at(&mut self, name: &str) -> Result<(), String> {
        let isthmus = &mut self.world.isthmus;
        isthmus.set_env(ARMED, Some(name));
        isthmus.kill9();
        // Work that was left over may take it there before it is ready.
        isthmus.server().start_again();
        isthmus.set_env(ARMED, None);
        let died = tokio::time::timeout(Duration::from_secs(12), async {
            loop {
                if !self.world.isthmus.server().is_running() {
                    return;
                }
                // A round may hang on a process that has died in the middle of it.
                let _ = tokio::time::timeout(Duration::from_secs(4), self.round()).await;
            }
        })
        .await;
        self.world.isthmus.kill9();
        self.world.isthmus.start_again().await;
        died.map_err(|_| format!("{name} was never hit"))
    }

    fn seen(&self) -> Vec<super::ledger::Seen> {
        let mut seen = seen_in_chat(&self.carol.heard());
        seen.extend(seen_by_mail(&self.world.sink.mails()));
        seen.extend(seen_by_mail(&self.own.mails()));
        seen
    }

    /// Waits until everything acknowledged has arrived, then looks at ids and order.
    async fn reconcile(&self) {
        let missing = || {
            let mut missing = self.ledger.missing(&self.seen());
            // Eve is never there: what is for her waits.
            missing.retain(|t| t.lane != "toeve");
            missing
        };
        let end = tokio::time::Instant::now() + Duration::from_secs(30);
        while !missing().is_empty() && tokio::time::Instant::now() < end {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let lost = missing();
        assert!(
            lost.is_empty(),
            "{} of {} acknowledged are lost: {lost:?}",
            lost.len(),
            self.ledger.acknowledged().len()
        );
        check(&self.seen());
    }
}

#[tokio::test]
async fn server_failpoints_lose_and_double_nothing() {
    let mut traffic = Traffic::start().await;
    let mut never = Vec::new();
    for name in isthmus_domain::failpoint::ALL {
        let result = traffic.die_at(name).await;
        println!(
            "{name}: {}",
            result.as_ref().map_or_else(Clone::clone, |()| "died there, and went on".into())
        );
        never.extend(result.err());
    }
    let _ = tokio::time::timeout(SOON, traffic.round()).await;
    traffic.reconcile().await;
    // Eve comes at last, and gets hers.
    let eve = traffic.world.chat.client("eve").await;
    eventually("Eve has all of hers", SOON, || async {
        let missing = traffic.ledger.missing(&seen_in_chat(&eve.heard()));
        missing.iter().all(|t| t.lane != "toeve").then_some(())
    })
    .await;
    check(&seen_in_chat(&eve.heard()));
    assert!(never.is_empty(), "{never:?}");
}

/// Killed between the write to the chat server and any record of it: the same id comes again.
#[tokio::test]
async fn server_abuse_queue_38_killed_after_the_send_the_same_id_comes_again() {
    let mut world = World::start().await;
    let mut carol = world.online("carol").await;
    world.isthmus.set_env(ARMED, Some("router.after_send"));
    world.isthmus.kill9_and_start_again().await;
    world.isthmus.set_env(ARMED, None);
    super::world::settle().await;
    world.mail(&Mail::new(CAROL, "Pump", "Approved.")).await;
    let first = carol.expect_message(SOON).await;
    world.isthmus.wait_end(SOON).await;
    world.isthmus.start_again().await;
    world.sent("alice@acme.test", "Carol has it").await;
    // It may come again, as the same message; and the twin comes once.
    world.mail(&Mail::new(CAROL, "Hose", "Another.")).await;
    let mut ids = Vec::new();
    loop {
        let im = carol.expect_message(SOON).await;
        if im["body"].as_str().is_some_and(|b| b.starts_with("Another.")) {
            break;
        }
        ids.push(im["id"].clone());
    }
    assert!(ids.iter().all(|id| *id == first["id"]), "{ids:?} of {first}");
}
