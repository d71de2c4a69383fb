//! What comes in by mail keeps all it brought, reaches whom it was for, and nobody else; what
//! proves nothing, or no person wrote, goes no further than the inbox.

use serde_json::{Value, json};

use super::world::{
    A_WHILE, ALICE_CONTACT, CAROL, Mail, SOON, World, body, links, press, settle, subject_of,
};
use isthmus_tests::{ReadMail, SmtpClient, XmppClient, send_mail};

const OUTLOOK: &str = "The plan is attached.\n\n________________________________\n\
    From: Carol (via Acme)\nSent: Sunday, November 22, 2026 11:02 AM\n\
    To: Alice <alice@acme.test>\nSubject: Re: Pump\n\nWhich pump?\n";

/// Carol answered Alice in chat: the reply address that Alice got.
async fn token(world: &World) -> (XmppClient, String) {
    let mut carol = world.online("carol").await;
    world.mail(&Mail::new(CAROL, "Pump", "Is it fixed?")).await;
    carol.expect_message(SOON).await;
    carol.send(ALICE_CONTACT, "Which pump?", "c-1").await;
    carol.expect_receipt("c-1", SOON).await;
    let mail = world.sent("alice@acme.test", "Re: Pump").await;
    let token = mail.address("Reply-To").to_owned();
    (carol, token)
}

/// A mail with this text and a text file.
fn with_file(mail: Mail, name: &str) -> Mail {
    let body = format!(
        "--b\nContent-Type: text/plain\n\n{}\n--b\nContent-Type: text/csv\n\
         Content-Disposition: attachment; filename=\"{name}\"\n\n1,2,3\n--b--",
        mail.body
    );
    Mail { body, ..mail }.header("Content-Type", "multipart/mixed; boundary=b")
}

/// The messages of Alice's conversation whose subject holds `subject`.
async fn message(world: &World, subject: &str, fits: impl Fn(&Value) -> bool) -> Value {
    let api = world.alice().await;
    let talk = api
        .expect_item("/v1/conversations", SOON, |c| {
            c["subject"].as_str().is_some_and(|s| s.contains(subject))
        })
        .await;
    let path = format!("/v1/conversations/{}/messages", talk["id"].as_str().expect("an id"));
    api.expect_item(&path, SOON, fits).await
}

#[tokio::test]
async fn server_a_file_in_an_answer_from_outlook_arrives() {
    let world = World::start().await;
    let (mut carol, token) = token(&world).await;
    world.mail(&with_file(Mail::new(&token, "Re: Pump 2", OUTLOOK), "plan.csv")).await;
    let file = carol.expect("a file", SOON, |e| e["oob"].get(0).is_some()).await;
    assert!(file["oob"][0].as_str().is_some_and(|url| url.contains("plan.csv")), "{file}");
    // The same where a member writes to a person's bridge address.
    world.mail(&with_file(Mail::new(CAROL, "Re: Other", OUTLOOK), "other.csv")).await;
    carol.expect("a file", SOON, |e| e["oob"].to_string().contains("other.csv")).await;
}

#[tokio::test]
async fn server_an_answer_keeps_its_recipients_and_its_thread() {
    let world = World::start().await;
    let (mut carol, token) = token(&world).await;
    let quote = "Thank you.\n\nOn Sunday, Carol wrote:\n> Which pump?";
    let answer = Mail::new(&token, "Re: Pump 3", quote)
        .header("Cc", "Dave <dave@other.test>, bob=acme.test@bridge.acme.test")
        .answers("some@thread.test");
    world.mail(&answer).await;
    carol.expect("the answer", SOON, |e| body(e) == "Thank you.").await;
    let row = message(&world, "Pump", |m| m["text"] == "Thank you.").await;
    assert_eq!(row["to"], json!([{"name": "Carol", "address": "carol@customer.test"}]));
    let cc: Vec<_> = row["cc"].as_array().expect("a list").iter().map(|p| &p["address"]).collect();
    assert_eq!(cc, ["dave@other.test", "bob@acme.test"]);
    assert!(row["quoted"].as_str().is_some_and(|q| q.contains("> Which pump?")), "{row}");
}

/// Abuse 20: what a program wrote is kept, and no message.
#[tokio::test]
async fn server_abuse_smtp_20_what_no_person_wrote_is_not_bridged_as_an_answer() {
    let world = World::start().await;
    let (mut carol, token) = token(&world).await;
    let calendar = Mail::new(&token, "Invitation", "BEGIN:VCALENDAR\nEND:VCALENDAR")
        .header("Content-Type", "text/calendar; method=REQUEST");
    world.mail(&calendar).await;
    let vacation = Mail::new(&token, "I am away", "Back on Monday.");
    world.mail(&vacation.header("Auto-Submitted", "auto-replied")).await;
    let report = Mail::new(
        &token,
        "Undelivered",
        "--b\nContent-Type: text/plain\n\nNot delivered.\n--b\n\
         Content-Type: message/delivery-status\n\nReporting-MTA: dns; relay.test\n\n\
         Final-Recipient: rfc822; x@y.test\nAction: failed\nStatus: 5.1.1\n\n--b--",
    );
    let report =
        report.header("Content-Type", "multipart/report; report-type=delivery-status; boundary=b");
    let mut client = SmtpClient::connect(world.isthmus.smtp()).await;
    let _ = client.line("EHLO relay.test").await.expect(250);
    let _ = client.mail("", &[&token], &report.raw()).await.expect(250);
    carol.expect_silence(A_WHILE).await;
    // They are where they belong: in the conversation.
    message(&world, "Pump", |m| m["text"] == "Back on Monday.").await;
    // The twin is a person.
    world.mail(&Mail::new(&token, "Re: Pump", "The big one.")).await;
    assert_eq!(body(&carol.expect_message(SOON).await), "The big one.");
}

/// Abuse 10 where the company's server copies mail in: a colleague's name needs proof.
#[tokio::test]
async fn server_abuse_smtp_10_a_forged_colleague_is_held_and_told_once() {
    let world = World::start().await;
    let mut bob = world.online("bob").await;
    let forged = Mail::new("bob@acme.test", "Urgent", "Transfer the money.");
    let mut client = SmtpClient::connect_from([127, 0, 0, 66].into(), world.isthmus.smtp()).await;
    let _ = client.line("EHLO stranger.test").await.expect(250);
    let both = ["bob@acme.test", CAROL, "im@bridge.acme.test"];
    let _ = client.mail(forged.sender(), &both, &forged.raw()).await.expect(250);
    world.sent("alice@acme.test", "A mail in your name was held back").await;
    bob.expect_silence(A_WHILE).await;
    assert_eq!(world.count("alice@acme.test", "A mail in your name"), 1);
    // However many there are, the notices end.
    for n in 0..8 {
        let next = Mail::new("bob@acme.test", &format!("Urgent {n}"), "Transfer the money.");
        let _ = world.mail_from_a_stranger(&next).await.expect(250);
    }
    tokio::time::sleep(A_WHILE).await;
    assert!(world.count("alice@acme.test", "A mail in your name") <= 5);
    // The twin.
    world.mail(&Mail::new("bob@acme.test", "Lunch", "At one?")).await;
    assert!(body(&bob.expect_message(SOON).await).contains("At one?"));
}

/// Mail that nothing proves reaches the inbox and says so, but joins no conversation.
#[tokio::test]
async fn server_unproven_mail_is_marked_and_stays_by_itself() {
    let world = World::start().await;
    let mut bob = world.online("bob").await;
    let from = "Carol <carol@customer.test>";
    world.mail(&Mail::new("bob@acme.test", "Offer", "Here it is.").from(from)).await;
    let shown = bob.expect_message(SOON).await;
    assert!(body(&shown).starts_with("✉ Offer\n"), "{shown}");
    let reply = Mail::new("bob@acme.test", "Re: Offer", "Pay to another account.")
        .from(from)
        .answers("Offer@client.test");
    let _ = world.mail_from_a_stranger(&reply).await.expect(250);
    let unproven = bob.expect_message(SOON).await;
    assert!(body(&unproven).starts_with("⚠ Nothing proves"), "{unproven}");
    assert_ne!(unproven["thread"], shown["thread"]);
    // What is known to be bad, or has no sender, is not shown at all.
    let spam = Mail::new("bob@acme.test", "Win", "Click.").from(from);
    world.mail(&spam.header("X-Spam-Flag", "YES")).await;
    let nobody = Mail::new("bob@acme.test", "Notice", "From a program.").from(from);
    let mut client = SmtpClient::connect(world.isthmus.smtp()).await;
    let _ = client.line("EHLO relay.test").await.expect(250);
    let _ = client.mail("", &["bob@acme.test"], &nobody.raw()).await.expect(250);
    bob.expect_silence(A_WHILE).await;
    let api = world.isthmus.member("acme", "bob@acme.test").await;
    let inbox = |subject: &'static str| {
        api.expect_item("/v1/conversations", SOON, move |c| c["subject"] == subject)
    };
    inbox("Notice").await;
    inbox("Win").await;
}

/// The token alone was forwarded to somebody: what they write is theirs, and so is the answer.
#[tokio::test]
async fn server_a_strangers_reply_that_is_let_in_is_a_conversation_of_its_own() {
    let world = World::start().await;
    let mut bob = world.online("bob").await;
    bob.send(super::world::CAROL_CONTACT, "!email Offer\nHere it is.", "b-1").await;
    let token = world.sent("carol@customer.test", "Offer").await.address("Reply-To").to_owned();
    bob.expect("that it went out", SOON, |e| body(e).contains("went out by email")).await;
    // Without a Message-ID, as some programs send.
    let dave = Mail::new(&token, "Re: Offer", "I take it.").from("Dave <dave@other.test>");
    let raw = dave.raw().replace("Message-ID: <ReOffer@client.test>\n", "");
    let _ = send_mail(world.isthmus.smtp(), dave.sender(), &[&token], &raw).await.expect(250);
    let asked = world.sent("bob@acme.test", "A mail from dave@other.test waits").await;
    press(&links(&asked.text, "/d/").remove(0), "").await;
    let (to, limit) = ("bob@acme.test", SOON);
    let passed = world.sink.expect_mail(to, limit, |m| m.text().contains("I take it.")).await;
    let passed = ReadMail::read(&passed.raw).await;
    assert!(passed.header("From").contains("Dave"), "{}", passed.header("From"));
    assert!(!passed.text.contains("Here it is."), "{}", passed.text);
    // Bob's answer goes to Dave.
    let back = passed.address("Reply-To").to_owned();
    world.mail(&Mail::new(&back, "Re: Offer 2", "Sold.").from("bob@acme.test")).await;
    world.sink.expect_mail("dave@other.test", SOON, |m| m.text().contains("Sold.")).await;
    assert_eq!(world.count("carol@customer.test", "Re: Offer"), 0);
}

/// Plain bounces and vacation notices, to the return address of a mail of ours.
#[tokio::test]
async fn server_a_plain_bounce_is_told_and_a_vacation_notice_is_filed() {
    let world = World::start().await;
    let mut bob = world.online("bob").await;
    let write = |subject: &'static str| format!("!email {subject}\nHello.");
    bob.send(super::world::CAROL_CONTACT, &write("Offer"), "b-1").await;
    let sent = |subject: &'static str| {
        world.sink.expect_mail("carol@customer.test", SOON, move |m| subject_of(m) == subject)
    };
    let mail = sent("Offer").await;
    bob.expect("that it went out", SOON, |e| body(e).contains("went out by email")).await;
    let mut client = SmtpClient::connect(world.isthmus.smtp()).await;
    let _ = client.line("EHLO relay.test").await.expect(250);
    let away = Mail::new(&mail.from, "Away", "Back on Monday.").from("carol@customer.test");
    let away = away.header("Auto-Submitted", "auto-replied");
    let _ = client.mail("", &[&mail.from], &away.raw()).await.expect(250);
    let api = world.isthmus.member("acme", "bob@acme.test").await;
    let talk = api.expect_item("/v1/conversations", SOON, |c| c["subject"] == "Offer").await;
    let path = format!("/v1/conversations/{}/messages", talk["id"].as_str().expect("an id"));
    api.expect_item(&path, SOON, |m| m["text"] == "Back on Monday.").await;
    // Anybody can write this; only mail servers, which have no sender, are believed.
    let posing = Mail::new(&mail.from, "failure notice", "No such user.").from("m@evil.test");
    let _ = client.mail("m@evil.test", &[&mail.from], &posing.raw()).await.expect(250);
    bob.expect_silence(A_WHILE).await;
    let plain = Mail::new(&mail.from, "failure notice 2", "No such user.").from("daemon@far.test");
    let _ = client.mail("", &[&mail.from], &plain.raw()).await.expect(250);
    let told = bob.expect("that it failed", SOON, |e| body(e).contains("was not delivered")).await;
    assert!(body(&told).contains("Carol"), "{told}");
    // A bounce without a status suppresses nobody.
    bob.send(super::world::CAROL_CONTACT, &write("Again"), "b-2").await;
    sent("Again").await;
}

/// A report by somebody who knows no more than the Message-ID changes nothing.
#[tokio::test]
async fn server_abuse_smtp_20_a_forged_report_fails_nothing() {
    let world = World::start().await;
    let mut bob = world.online("bob").await;
    bob.send(super::world::CAROL_CONTACT, "!email Offer\nHello.", "b-1").await;
    let mail = world
        .sink
        .expect_mail("carol@customer.test", SOON, |m| subject_of(m).contains("Offer"))
        .await;
    bob.expect("that it went out", SOON, |e| body(e).contains("went out by email")).await;
    let report = format!(
        "From: MAILER-DAEMON@evil.test\nTo: im@bridge.acme.test\nSubject: Undelivered\n\
         Message-ID: <dsn@evil.test>\nMIME-Version: 1.0\n\
         Content-Type: multipart/report; report-type=delivery-status; boundary=b\n\n\
         --b\nContent-Type: message/delivery-status\n\nReporting-MTA: dns; evil.test\n\n\
         Final-Recipient: rfc822; carol@customer.test\nAction: failed\nStatus: 5.1.1\n\n\
         --b\nContent-Type: text/rfc822-headers\n\nMessage-ID: {}\n\n--b--\n",
        mail.header("Message-ID").expect("every mail has one")
    );
    let mut client = SmtpClient::connect(world.isthmus.smtp()).await;
    let _ = client.line("EHLO evil.test").await.expect(250);
    let _ = client.mail("", &["im@bridge.acme.test"], &report).await.expect(550);
    // Nor does one from a sender, at the right address.
    let _ = client.mail("m@evil.test", &[&mail.from], &report).await.expect(250);
    bob.expect_silence(A_WHILE).await;
    // A bounce of somebody's own mail that is copied in is kept in the inbox.
    let _ = client.mail("", &["bob@acme.test"], &report).await.expect(250);
    let api = world.isthmus.member("acme", "bob@acme.test").await;
    api.expect_item("/v1/conversations", SOON, |c| c["subject"] == "Undelivered").await;
}

/// Written to Carol's chat, with her own address in copy: the copy is no delivery.
#[tokio::test]
async fn server_a_chat_message_with_a_copy_by_mail_is_still_sent() {
    let world = World::start().await;
    let mut bob = world.away("bob").await;
    let to_chat = "bob=acme.test@bridge.acme.test";
    let mail = Mail::new(to_chat, "Lunch", "At one?").header("Cc", "bob@acme.test");
    let _ = world.mail_to(&mail, "bob@acme.test").await.expect(250);
    let api = world.isthmus.member("acme", "bob@acme.test").await;
    api.expect_item("/v1/conversations", SOON, |c| c["subject"] == "Lunch").await;
    bob.go_online().await;
    settle().await;
    world.mail(&mail).await;
    let im = bob.expect_message(SOON).await;
    assert!(body(&im).starts_with("At one?"), "{im}");
}

/// A forward that comes by two ways goes out once.
#[tokio::test]
async fn server_a_forward_that_comes_twice_is_sent_once() {
    let world = World::start().await;
    let mut carol = world.online("carol").await;
    let original = "From: Carol <carol@customer.test>\nTo: alice@acme.test\nSubject: Budget\n\
        Message-ID: <budget@customer.test>\nContent-Type: text/plain\n\nCan you approve it?\n";
    let forward = Mail::new(
        "im@bridge.acme.test",
        "Fwd: Budget",
        &format!(
            "--b\nContent-Type: text/plain\n\nApproved.\n--b\nContent-Type: message/rfc822\n\n\
             {original}\n--b--"
        ),
    )
    .header("Content-Type", "multipart/mixed; boundary=b");
    world.mail(&forward).await;
    assert!(body(&carol.expect_message(SOON).await).starts_with("Approved."));
    let hop = forward.clone().header("X-Way", "another");
    world.mail(&hop).await;
    carol.expect_silence(A_WHILE).await;
}

/// What the bridge sent to Alice comes from a reply address; forwarded, it is Carol's mail.
#[tokio::test]
async fn server_a_mail_of_the_bridge_can_be_forwarded() {
    let world = World::start().await;
    let (mut carol, _) = token(&world).await;
    let sent =
        world.sink.expect_mail("alice@acme.test", SOON, |m| m.text().contains("Which pump?")).await;
    let forward = format!(
        "--fwd\nContent-Type: text/plain\n\nThe big one.\n--fwd\nContent-Type: message/rfc822\n\n\
         {}\n--fwd--",
        sent.text().replace("\r\n", "\n")
    );
    let mail = Mail::new("im@bridge.acme.test", "Fwd: Pump", &forward);
    world.mail(&mail.header("Content-Type", "multipart/mixed; boundary=fwd")).await;
    let im = carol.expect_message(SOON).await;
    assert!(body(&im).starts_with("The big one."), "{im}");
}

/// A blind copy of what Alice sent lies with those she wrote to, not with herself.
#[tokio::test]
async fn server_a_copy_of_a_members_own_mail_is_filed_with_its_recipients() {
    let world = World::start().await;
    let mail = Mail::new("Dave <dave@other.test>", "Invoice", "Here it is.");
    let _ = world.mail_to(&mail, "alice@acme.test").await.expect(250);
    let api = world.alice().await;
    let talk = api.expect_item("/v1/conversations", SOON, |c| c["subject"] == "Invoice").await;
    assert!(talk.to_string().contains("dave@other.test"), "{talk}");
    let row = message(&world, "Invoice", |m| m["text"] == "Here it is.").await;
    assert_eq!(row["from"]["address"], "alice@acme.test");
    assert_eq!(row["to"][0]["address"], "dave@other.test");
}

/// A long mail is shown whole; an empty HTML part hides nothing.
#[tokio::test]
async fn server_a_long_mail_is_shown_in_chat_whole() {
    let world = World::start().await;
    let mut bob = world.online("bob").await;
    let from = "Carol <carol@customer.test>";
    let long = format!("{}The end.", "One line of many.\n".repeat(1_000));
    world.mail(&Mail::new("bob@acme.test", "Long", &long).from(from)).await;
    let shown = bob.expect_message(SOON).await;
    assert!(body(&shown).ends_with("The end."), "{} octets", body(&shown).len());
    let empty = "--b\nContent-Type: text/plain\n\nRead me.\n--b\nContent-Type: text/html\n\n\
        <html><body></body></html>\n--b--";
    let mail = Mail::new("bob@acme.test", "Empty", empty).from(from);
    world.mail(&mail.header("Content-Type", "multipart/alternative; boundary=b")).await;
    assert!(body(&bob.expect_message(SOON).await).contains("Read me."));
    // Beyond what a chat server takes, a link leads to the rest.
    let huge = "One line of many.\n".repeat(20_000);
    world.mail(&Mail::new("bob@acme.test", "Huge", &huge).from(from)).await;
    let shown = bob.expect_message(SOON).await;
    assert!(body(&shown).contains("[…]") && !links(body(&shown), "/c/").is_empty());
}

/// Pictures within a mail keep the name by which its HTML calls them.
#[tokio::test]
async fn server_a_picture_in_a_mail_is_shown_in_its_html() {
    let world = World::start().await;
    let picture = "--b\nContent-Type: text/html\n\n<p>See <img src=\"cid:p@x\"></p>\n--b\n\
        Content-Type: image/png\nContent-ID: <p@x>\nContent-Disposition: inline; filename=p.png\n\
        Content-Transfer-Encoding: base64\n\niVBORw0KGgo=\n--b--";
    let mail = Mail::new("alice@acme.test", "Picture", picture)
        .from("Carol <carol@customer.test>")
        .header("Content-Type", "multipart/related; boundary=b");
    world.mail(&mail).await;
    let row = message(&world, "Picture", |m| m["subject"] == "Picture").await;
    let html = html_of(&world, row["id"].as_str().expect("an id")).await;
    assert!(html.contains("src=\"data:image/png;base64,iVBORw0KGgo=\""), "{html}");
}

/// The page with a message's own HTML, for Alice in her browser.
async fn html_of(world: &World, id: &str) -> String {
    let http = reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .expect("a client can be made");
    let base = world.isthmus.url();
    let cookies = |answer: &reqwest::Response| {
        let set = answer.headers().get_all("set-cookie").iter();
        let all: Vec<_> =
            set.filter_map(|c| c.to_str().ok()?.split(';').next().map(str::to_owned)).collect();
        all.join("; ")
    };
    let form = http.get(format!("{base}/sign-in")).send().await.expect("a page");
    let visitor = cookies(&form);
    let form = form.text().await.expect("text");
    let mut fields: Vec<(String, String)> =
        [("email", "alice@acme.test"), ("password", "alice-password")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into();
    for tag in form.split("<input").skip(1).filter(|tag| tag.contains("type=\"hidden\"")) {
        let attribute = |name: &str| {
            let (_, rest) = tag.split_once(&format!("{name}=\""))?;
            rest.split('"').next().map(str::to_owned)
        };
        fields.extend(attribute("name").zip(attribute("value")));
    }
    let signed_in = http
        .post(format!("{base}/sign-in"))
        .header("origin", &base)
        .header("cookie", visitor)
        .form(&fields)
        .send()
        .await
        .expect("an answer");
    let page = http
        .get(format!("{base}/messages/{id}/html"))
        .header("cookie", cookies(&signed_in))
        .send()
        .await
        .expect("an answer");
    assert_eq!(page.status().as_u16(), 200, "signed in with {}", signed_in.status());
    page.text().await.expect("text")
}
