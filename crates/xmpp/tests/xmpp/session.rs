//! Sessions: opened, lost, found dead, ended; and what that means for messages.

use std::time::Duration;

use isthmus_im::{Event, ImNetwork, OutFile, OutMessage, Presence, SendError, Sent};
use isthmus_xmpp::{Confirm, XmppConfig};
use tokio::time::Instant;

use crate::{
    fake::FakeServer,
    support::{DOMAIN, Net, SECRET, bob, message},
};

fn config(server: &FakeServer) -> XmppConfig {
    XmppConfig::new(server.addr().to_string(), SECRET)
}

#[tokio::test]
async fn a_message_counts_as_sent_once_the_server_has_worked_through_it() {
    let server = FakeServer::start().await;
    let mut net = Net::serve(config(&server)).await;
    let mut fake = server.session().await;
    net.session(true).await;
    fake.echoes = false;
    let network = net.network.clone();
    let mut sending = tokio::spawn(async move { network.send(message("m1", "hi")).await });
    assert!(fake.stanza().await.contains("id='m1'"));
    let ping = fake.until("</iq>").await;
    let early = tokio::time::timeout(Duration::from_millis(200), &mut sending).await;
    assert!(early.is_err(), "it counted as sent before the server had answered");
    fake.write(&ping).await;
    assert_eq!(sending.await.expect("no panic").expect("sent"), Sent::Written);
}

#[tokio::test]
async fn when_flushing_is_enough_nothing_waits_for_the_server() {
    let server = FakeServer::start().await;
    let mut net = Net::serve(XmppConfig { confirm: Confirm::Flushed, ..config(&server) }).await;
    let _fake = server.session().await;
    net.session(true).await;
    assert_eq!(net.network.send(message("m1", "hi")).await.expect("sent"), Sent::Written);
}

#[tokio::test]
async fn abuse_xmpp_32_a_connection_lost_after_a_write_leaves_the_message_unclear() {
    let server = FakeServer::start().await;
    let mut net = Net::serve(config(&server)).await;
    let mut fake = server.session().await;
    net.session(true).await;
    fake.echoes = false;
    let network = net.network.clone();
    let sending = tokio::spawn(async move { network.send(message("lost", "hi")).await });
    assert!(fake.stanza().await.contains("id='lost'"));
    drop(fake);
    let result = sending.await.expect("no panic");
    assert!(matches!(result, Err(SendError::Unclear(_))), "{result:?}");
    net.session(false).await;
    let result = net.network.send(message("between", "hi")).await;
    assert!(matches!(result, Err(SendError::NotConnected(_))), "{result:?}");

    // The same message once more, under the same id, over the next session.
    let mut fake = server.session().await;
    net.session(true).await;
    let network = net.network.clone();
    let again = tokio::spawn(async move { network.send(message("lost", "hi")).await });
    assert!(fake.stanza().await.contains("id='lost'"));
    fake.idle(Duration::from_millis(100)).await;
    assert_eq!(again.await.expect("no panic").expect("sent"), Sent::Written);
}

#[tokio::test]
async fn a_server_that_falls_silent_is_noticed() {
    let server = FakeServer::start().await;
    let idle = Duration::from_millis(200);
    let mut net = Net::serve(XmppConfig { idle, ..config(&server) }).await;
    let mut fake = server.session().await;
    net.session(true).await;
    // A quiet server that lives is left alone.
    fake.idle(idle * 8).await;
    fake.echoes = false;
    let since = Instant::now();
    net.session(false).await;
    assert!(since.elapsed() < idle * 5, "noticed after {:?}", since.elapsed());
    server.session().await;
    net.session(true).await;
}

#[tokio::test]
async fn a_conflict_is_tried_again_every_second() {
    let server = FakeServer::start().await;
    let mut net = Net::serve(config(&server)).await;
    for _ in 0..2 {
        let mut refused = server.connection().await;
        refused
            .write(
                "<stream:error><conflict xmlns='urn:ietf:params:xml:ns:xmpp-streams'/>\
                 </stream:error></stream:stream>",
            )
            .await;
        let since = Instant::now();
        drop(refused);
        let _next = server.connection().await;
        let waited = since.elapsed();
        assert!(
            waited > Duration::from_millis(700) && waited < Duration::from_millis(1_900),
            "{waited:?}"
        );
    }
    let _fake = server.session().await;
    net.session(true).await;
}

#[tokio::test]
async fn stopping_writes_what_is_queued_and_closes_the_stream() {
    let server = FakeServer::start().await;
    let mut net = Net::serve(config(&server)).await;
    let mut fake = server.session().await;
    net.session(true).await;
    let mut sending = Vec::new();
    for n in 0..50 {
        let network = net.network.clone();
        sending
            .push(tokio::spawn(async move { network.send(message(&format!("m{n}"), "x")).await }));
    }
    tokio::task::yield_now().await;
    let network = net.network.clone();
    let stopping = tokio::spawn(async move { network.stop().await });
    let mut seen = 0;
    while fake.stanza().await != "</stream:stream>" {
        seen += 1;
    }
    drop(fake);
    let mut sent = 0;
    for result in sending {
        match result.await.expect("no panic") {
            Ok(_) => sent += 1,
            Err(SendError::NotConnected(_)) => {}
            Err(other) => panic!("{other}"),
        }
    }
    assert_eq!(seen, sent, "what was written and what was said to be written differ");
    stopping.await.expect("no panic");
}

#[tokio::test]
async fn only_the_wanted_domains_are_served() {
    let server = FakeServer::start().await;
    let mut net = Net::serve(config(&server)).await;
    let mut fake = server.session().await;
    net.session(true).await;
    // Saying the same again changes nothing.
    net.network.serve(vec![(DOMAIN.to_owned(), String::new())]).await;
    fake.idle(Duration::from_millis(200)).await;
    net.network.serve(Vec::new()).await;
    assert_eq!(fake.stanza().await, "</stream:stream>");
    drop(fake);
    net.session(false).await;
    let result = net.network.send(message("m", "x")).await;
    assert!(matches!(result, Err(SendError::NotConnected(_))), "{result:?}");
    net.network.serve(vec![(DOMAIN.to_owned(), SECRET.to_owned())]).await;
    let _fake = server.session().await;
    net.session(true).await;
}

#[tokio::test]
async fn a_new_session_asks_for_everybody_again() {
    let server = FakeServer::start().await;
    let mut net = Net::serve(config(&server)).await;
    // Asked while there is no session: asked when there is one.
    net.network.watch(DOMAIN, &bob(), "To know when.").await;
    let mut fake = server.session().await;
    net.session(true).await;
    let asked = "<presence type='subscribe' from='bridge.acme.test' to='bob@chat.test'>\
                 <status>To know when.</status></presence>";
    assert_eq!(fake.stanza().await, asked);
    let from_bob = "<presence from='bob@chat.test/phone' to='bridge.acme.test'";
    fake.write(&format!("{from_bob} type='subscribed'/>{from_bob}/>")).await;
    let probe = "<presence type='probe' from='bridge.acme.test' to='bob@chat.test'/>";
    assert_eq!(fake.stanza().await, probe);
    drop(fake);
    let mut fake = server.session().await;
    assert_eq!(fake.stanza().await, probe);
    assert_eq!(net.network.presence(DOMAIN, &bob()), Presence::Available);
}

#[tokio::test]
async fn five_thousand_messages_go_out_in_few_writes_and_in_order() {
    let server = FakeServer::start().await;
    let mut net = Net::serve(config(&server)).await;
    let mut fake = server.session().await;
    net.session(true).await;
    let network = net.network.clone();
    let since = Instant::now();
    let sending = tokio::spawn(async move {
        let mut all = tokio::task::JoinSet::new();
        for n in 0..5_000 {
            let network = network.clone();
            all.spawn(async move { network.send(message(&format!("m{n:05}"), "x")).await });
        }
        all.join_all().await.into_iter().filter(Result::is_ok).count()
    });
    for _ in 0..5_000 {
        fake.stanza().await;
    }
    fake.idle(Duration::from_millis(50)).await;
    assert_eq!(sending.await.expect("no panic"), 5_000);
    // Generous, since tests are built without optimisation and share the machine.
    assert!(since.elapsed() < Duration::from_secs(10), "{:?}", since.elapsed());
}

/// Otherwise a busy server would have so much to work through that it seems dead.
#[tokio::test]
async fn no_more_is_written_than_the_server_can_work_through_in_time() {
    let server = FakeServer::start().await;
    let mut net = Net::serve(XmppConfig { confirm: Confirm::Flushed, ..config(&server) }).await;
    let mut fake = server.session().await;
    net.session(true).await;
    fake.echoes = false;
    let mut sending = tokio::task::JoinSet::new();
    for n in 0..500 {
        let network = net.network.clone();
        sending.spawn(
            async move { network.send(message(&format!("m{n}"), &"x".repeat(4_000))).await },
        );
    }
    let read = fake.octets_until_quiet(Duration::from_secs(1)).await;
    assert!((200_000..800_000).contains(&read), "{read} octets of 2 MB were written unconfirmed");
}

#[tokio::test]
async fn stopping_lets_a_message_that_is_being_committed_have_its_receipt() {
    let server = FakeServer::start().await;
    let mut net = Net::serve(config(&server)).await;
    let mut fake = server.session().await;
    net.session(true).await;
    fake.write(&format!(
        "<message from='bob@chat.test/p' to='{DOMAIN}' id='late' type='chat'><body>1</body>\
         <request xmlns='urn:xmpp:receipts'/></message>"
    ))
    .await;
    let acknowledge = net.event(|event| match event {
        Event::Message(_, acknowledge) => Some(acknowledge),
        _ => None,
    });
    let acknowledge = acknowledge.await;
    let network = net.network.clone();
    let stopping = tokio::spawn(async move { network.stop().await });
    fake.idle(Duration::from_millis(100)).await;
    let result = net.network.send(message("m", "x")).await;
    assert!(matches!(result, Err(SendError::NotConnected(_))), "{result:?}");
    acknowledge.send(Ok(())).expect("it waits");
    assert!(fake.stanza().await.contains("<received xmlns='urn:xmpp:receipts' id='late'/>"));
    assert_eq!(fake.stanza().await, "</stream:stream>");
    drop(fake);
    stopping.await.expect("no panic");
}

#[tokio::test]
async fn where_nothing_can_be_uploaded_the_link_is_sent_and_nobody_is_asked_again() {
    let server = FakeServer::start().await;
    let mut net = Net::serve(config(&server)).await;
    let mut fake = server.session().await;
    net.session(true).await;
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("a.txt");
    std::fs::write(&path, "hello").expect("written");
    let with_file = |id: &str| OutMessage {
        files: vec![OutFile {
            name: "a.txt".to_owned(),
            media_type: "text/plain".to_owned(),
            size: 5,
            path: path.clone(),
            link: "https://bridge.test/f?a&b".to_owned(),
        }],
        ..message(id, "See this")
    };
    let network = net.network.clone();
    let (first, second) = (with_file("u1"), with_file("u2"));
    let sending =
        tokio::spawn(async move { (network.send(first).await, network.send(second).await) });
    for server in ["acme.test", "chat.test"] {
        let asked = fake.stanza().await;
        assert!(
            asked.contains(&format!("to='{server}'")) && asked.contains("disco#items"),
            "{asked}"
        );
        let id =
            asked.split("id='").nth(1).and_then(|rest| rest.split('\'').next()).expect("an id");
        // Only who was asked may answer.
        let answer = |from| format!("<iq type='error' id='{id}' from='{from}' to='{DOMAIN}'/>");
        fake.write(&(answer("eve.test") + &answer(server))).await;
    }
    for id in ["u1", "u2"] {
        assert!(fake.stanza().await.contains(&format!("id='{id}'")));
        let file = fake.stanza().await;
        assert!(file.contains(&format!("id='{id}-f1'")), "{file}");
        assert!(file.contains("<body>https://bridge.test/f?a&amp;b</body>"), "{file}");
    }
    fake.idle(Duration::from_millis(50)).await;
    let (first, second) = sending.await.expect("no panic");
    assert!(first.is_ok() && second.is_ok());
}
