//! What the component answers: messages, requests, subscriptions.

use std::time::Duration;

use isthmus_im::{Event, InMessage};
use isthmus_xmpp::XmppConfig;
use tokio::sync::oneshot;

use crate::{
    fake::{Fake, FakeServer},
    support::{ALICE, DOMAIN, Net, SECRET, alice, bob},
};

async fn start() -> (Net, Fake) {
    let server = FakeServer::start().await;
    let mut net = Net::serve(XmppConfig::new(server.addr().to_string(), SECRET)).await;
    let fake = server.session().await;
    net.session(true).await;
    (net, fake)
}

fn message(to: &str, id: &str, inside: &str) -> String {
    format!(
        "<message from='bob@chat.test/phone' to='{to}' id='{id}' type='chat'>{inside}</message>"
    )
}

async fn arriving(net: &mut Net) -> (InMessage, oneshot::Sender<Result<(), String>>) {
    net.event(|event| match event {
        Event::Message(message, acknowledge) => Some((message, acknowledge)),
        _ => None,
    })
    .await
}

const ASKING: &str = "<body>hello</body><request xmlns='urn:xmpp:receipts'/>";

#[tokio::test]
async fn the_receipt_follows_the_commit_and_a_refusal_says_why() {
    let (mut net, mut fake) = start().await;
    fake.write(&message(ALICE, "m1", ASKING)).await;
    let (came, acknowledge) = arriving(&mut net).await;
    assert_eq!((came.from, came.to, came.body.as_str()), (bob(), Some(alice()), "hello"));
    assert_eq!((came.id.as_str(), came.from_resource.as_deref()), ("m1", Some("phone")));
    fake.idle(Duration::from_millis(150)).await;
    acknowledge.send(Ok(())).expect("it waits");
    let receipt = fake.stanza().await;
    assert!(receipt.contains("to='bob@chat.test/phone'"), "{receipt}");
    assert!(receipt.contains("<received xmlns='urn:xmpp:receipts' id='m1'/>"), "{receipt}");

    fake.write(&message(ALICE, "m2", ASKING)).await;
    arriving(&mut net).await.1.send(Err("Too <long>.".to_owned())).expect("it waits");
    let line = fake.stanza().await;
    assert!(line.contains(&format!("from='{ALICE}'")), "{line}");
    assert!(line.contains("<body>Too &lt;long&gt;.</body>"), "{line}");

    fake.write(&message(ALICE, "m3", "<body>no receipt wanted</body>")).await;
    arriving(&mut net).await.1.send(Ok(())).expect("it waits");
    fake.write(&message(ALICE, "m4", ASKING)).await;
    drop(arriving(&mut net).await.1);
    fake.idle(Duration::from_millis(150)).await;
}

#[tokio::test]
async fn an_encrypted_message_is_explained_once_in_ten_minutes() {
    let (mut net, mut fake) = start().await;
    let omemo = "<body>fallback</body><encrypted xmlns='eu.siacs.conversations.axolotl'><payload/></encrypted>";
    fake.write(&message(ALICE, "e1", omemo)).await;
    let line = fake.stanza().await;
    assert!(line.contains("OMEMO") && line.contains("switch encryption off"), "{line}");
    let from = net.event(|event| match event {
        Event::Encrypted { from, .. } => Some(from),
        Event::Message(message, _) => panic!("the fallback was delivered: {message:?}"),
        _ => None,
    });
    assert_eq!(from.await, bob());
    fake.write(&message(ALICE, "e2", omemo)).await;
    fake.idle(Duration::from_millis(100)).await;
    net.clock.advance_ms(10 * 60 * 1_000);
    fake.write(&message(ALICE, "e3", omemo)).await;
    assert!(fake.stanza().await.contains("OMEMO"));
}

#[tokio::test]
async fn errors_and_receipts_become_events() {
    let (mut net, mut fake) = start().await;
    let error = |kind: &str, condition: &str, id: &str| {
        format!(
            "<message from='bob@chat.test' to='{ALICE}' id='{id}' type='error'><error type='{kind}'>\
             <{condition} xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>"
        )
    };
    fake.write(&error("cancel", "item-not-found", "d1-f1")).await;
    for (kind, condition, expected) in [
        ("cancel", "item-not-found", false),
        ("cancel", "service-unavailable", true),
        ("wait", "gone", true),
    ] {
        fake.write(&error(kind, condition, "d1")).await;
        let bounced = net.event(|event| match event {
            Event::Bounced { to, id, temporary, reason, .. } => Some((to, id, temporary, reason)),
            _ => None,
        });
        assert_eq!(bounced.await, (bob(), "d1".to_owned(), expected, condition.to_owned()));
    }
    fake.write(&message(ALICE, "", "<received xmlns='urn:xmpp:receipts' id='d2'/>")).await;
    let receipt = net.event(|event| match event {
        Event::Receipt { from, id, .. } => Some((from, id)),
        _ => None,
    });
    assert_eq!(receipt.await, (bob(), "d2".to_owned()));
}

#[tokio::test]
async fn a_contact_that_cannot_exist_is_answered_with_an_error() {
    let (_net, mut fake) = start().await;
    fake.write(&message("nobody@bridge.acme.test", "m1", "<body>x</body>")).await;
    let answer = fake.stanza().await;
    assert!(answer.contains("type='error'") && answer.contains("<item-not-found "), "{answer}");
}

async fn ask(fake: &mut Fake, kind: &str, to: &str, payload: &str) -> String {
    fake.write(&format!(
        "<iq type='{kind}' id='q' from='bob@chat.test/phone' to='{to}'>{payload}</iq>"
    ))
    .await;
    fake.stanza().await
}

#[tokio::test]
async fn every_request_is_answered() {
    let (_net, mut fake) = start().await;
    let info = "<query xmlns='http://jabber.org/protocol/disco#info'/>";
    let vcard = "<vCard xmlns='vcard-temp'/>";
    let nobody = "nobody\\40acme.test@bridge.acme.test";
    for (kind, to, payload, expected) in [
        ("get", DOMAIN, info, "<identity category='gateway' type='smtp' name='Email'/>"),
        (
            "get",
            ALICE,
            info,
            "<identity category='account' type='registered' name='Alice (acme.test)'/>",
        ),
        ("get", ALICE, info, "<feature var='urn:xmpp:receipts'/>"),
        ("get", nobody, info, "<item-not-found "),
        ("get", ALICE, vcard, "<FN>Alice (acme.test)</FN>"),
        ("get", ALICE, vcard, "<USERID>alice@acme.test</USERID>"),
        ("get", nobody, vcard, "<item-not-found "),
        ("get", DOMAIN, "<ping xmlns='urn:xmpp:ping'/>", "type='result'"),
        ("get", DOMAIN, "<query xmlns='jabber:iq:version'/>", "<name>Isthmus</name>"),
        (
            "get",
            DOMAIN,
            "<query xmlns='http://jabber.org/protocol/disco#items'/>",
            "disco#items'></query>",
        ),
        ("get", DOMAIN, "<query xmlns='jabber:iq:gateway'/>", "<prompt>Email address</prompt>"),
        (
            "set",
            DOMAIN,
            "<query xmlns='jabber:iq:gateway'><prompt>O&apos;Neil@acme.test</prompt></query>",
            "<jid>o\\27neil\\40acme.test@bridge.acme.test</jid>",
        ),
        (
            "set",
            DOMAIN,
            "<query xmlns='jabber:iq:gateway'><prompt>x</prompt></query>",
            "<not-acceptable ",
        ),
        ("set", DOMAIN, "<query xmlns='jabber:iq:register'/>", "<service-unavailable "),
        (
            "get",
            ALICE,
            "<pubsub xmlns='http://jabber.org/protocol/pubsub'/>",
            "<service-unavailable ",
        ),
        ("get", DOMAIN, "", "<bad-request "),
        ("wat", DOMAIN, info, "<bad-request "),
    ] {
        let answer = ask(&mut fake, kind, to, payload).await;
        assert!(
            answer.contains("id='q'") && answer.contains("to='bob@chat.test/phone'"),
            "{answer}"
        );
        assert!(answer.contains(expected), "{payload}: {answer}");
    }
}

#[tokio::test]
async fn commands_are_the_text_commands() {
    let (mut net, mut fake) = start().await;
    let ns = "http://jabber.org/protocol/commands";
    let list = format!("<query xmlns='http://jabber.org/protocol/disco#items' node='{ns}'/>");
    assert_eq!(ask(&mut fake, "get", ALICE, &list).await.matches("<item ").count(), 4);

    let begin = format!("<command xmlns='{ns}' node='email' action='execute'/>");
    let form = ask(&mut fake, "set", ALICE, &begin).await;
    assert!(form.contains("status='executing'") && form.contains("var='subject'"), "{form}");
    let session = form.split("sessionid='").nth(1).and_then(|rest| rest.split('\'').next());
    let session = session.expect("a session").to_owned();
    let submit = |text: &str| {
        format!(
            "<iq type='set' id='s' from='bob@chat.test/phone' to='{ALICE}'><command xmlns='{ns}' \
             node='email' sessionid='{session}' action='complete'><x xmlns='jabber:x:data' type='submit'>\
             <field var='subject'><value>Pump</value></field>\
             <field var='text'><value>{text}</value></field></x></command></iq>"
        )
    };
    // What lacks something can be completed.
    fake.write(&submit("")).await;
    assert!(fake.stanza().await.contains("<not-acceptable "));
    fake.write(&submit("Done.")).await;
    let (text, to, id, answer) = net
        .event(|event| match event {
            Event::Command { text, to, id, answer, from, .. } if from == bob() => {
                Some((text, to, id, answer))
            }
            _ => None,
        })
        .await;
    assert_eq!(
        (text.as_str(), to, id),
        ("!email Pump\nDone.", Some(alice()), format!("cmd-{session}"))
    );
    answer.send("Sent by email.".to_owned()).expect("it waits");
    let done = fake.stanza().await;
    assert!(done.contains("status='completed'") && done.contains("Sent by email."), "{done}");
    fake.write(&submit("Twice.")).await;
    assert!(fake.stanza().await.contains("<session-expired "));
}

#[tokio::test]
async fn subscriptions_are_accepted_for_people_who_exist() {
    let (_net, mut fake) = start().await;
    let presence =
        |kind: &str, to: &str| format!("<presence type='{kind}' from='bob@chat.test' to='{to}'/>");
    fake.write(&presence("subscribe", ALICE)).await;
    assert!(fake.stanza().await.contains("type='subscribed'"));
    let there = fake.stanza().await;
    assert!(
        there.contains("<nick xmlns='http://jabber.org/protocol/nick'>Alice (acme.test)</nick>"),
        "{there}"
    );
    fake.write(&presence("probe", DOMAIN)).await;
    assert!(
        fake.stanza().await.starts_with(&format!("<presence from='{DOMAIN}' to='bob@chat.test'>"))
    );
    fake.write(&presence("subscribe", "nobody\\40acme.test@bridge.acme.test")).await;
    assert!(fake.stanza().await.contains("type='unsubscribed'"));
    fake.write(&presence("unsubscribe", ALICE)).await;
    assert!(fake.stanza().await.contains("type='unsubscribed'"));
    assert!(fake.stanza().await.contains("type='unavailable'"));
}
