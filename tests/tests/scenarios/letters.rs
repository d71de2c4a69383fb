//! Acme without a chat server: what Carol mails to Alice, and what Alice finds of it.
//!
//! Alice's company copies its mail to the bridge, so that every mail that was taken is in one of
//! her conversations.

use std::{collections::BTreeMap, fmt::Write as _, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use isthmus_tests::{Api, Isthmus, IsthmusSetup, eventually};
use serde_json::Value;

use super::world::{ACME, Mail, takes};

/// The member to whom all letters go.
pub(super) const ALICE: &str = "alice@acme.test";
/// The customer who writes them.
pub(super) const CAROL_MAIL: &str = "carol@customer.test";

/// The program with Acme in it, ready for mail to Alice.
pub(super) async fn acme(setup: IsthmusSetup) -> Isthmus {
    let isthmus = Isthmus::start(setup).await;
    isthmus.apply(ACME).await;
    takes(&isthmus, ALICE).await;
    isthmus
}

/// Something that Carol sends: known by its subject, with a file of so many octets.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Letter {
    pub(super) subject: String,
    /// Octets of the file; none comes with zero.
    pub(super) size: usize,
}

impl Letter {
    pub(super) fn new(subject: &str, size: usize) -> Self {
        Self { subject: subject.into(), size }
    }

    /// Octets that are this letter's alone.
    fn octets(&self) -> Vec<u8> {
        let salt =
            self.subject.bytes().fold(7_usize, |sum, b| (sum * 31 + usize::from(b)) % 65_521);
        (0..self.size).map(|i| ((i * (salt | 1) + i / 256 + salt) % 256) as u8).collect()
    }

    /// What stands in it.
    fn text(&self) -> String {
        format!("This is {}.", self.subject)
    }

    /// The mail. Letters whose subject begins with the same word are one conversation.
    pub(super) fn mail(&self) -> Mail {
        let lane = self.subject.split(' ').next().unwrap_or_default();
        let mail = if self.size == 0 {
            Mail::new(ALICE, &self.subject, &self.text())
        } else {
            let mut file = String::new();
            for line in STANDARD.encode(self.octets()).as_bytes().chunks(76) {
                let _ = writeln!(file, "{}", String::from_utf8_lossy(line));
            }
            let body = format!(
                "--b\nContent-Type: text/plain\n\n{}\n--b\nContent-Type: application/octet-stream\n\
                 Content-Disposition: attachment; filename=\"data.bin\"\n\
                 Content-Transfer-Encoding: base64\n\n{file}\n--b--",
                self.text()
            );
            Mail::new(ALICE, &self.subject, &body)
                .header("Content-Type", "multipart/mixed; boundary=b")
        };
        mail.from(CAROL_MAIL).answers(&format!("{lane}@client.test"))
    }
}

/// Everything in a list, page by page.
pub(super) async fn all(api: &Api, path: &str) -> Vec<Value> {
    let mut items = Vec::new();
    let mut page = format!("{path}?limit=200");
    loop {
        let answer = eventually("the API has time for us", Duration::from_secs(20), || async {
            let answer = api.get(&page).await;
            (answer.status != 429).then_some(answer)
        });
        let list = answer.await.expect(200);
        items.extend(list["items"].as_array().cloned().unwrap_or_default());
        match list["next"].as_str() {
            Some(cursor) => page = format!("{path}?limit=200&cursor={cursor}"),
            None => return items,
        }
    }
}

/// All messages in the caller's conversations, by subject.
pub(super) async fn found(api: &Api) -> BTreeMap<String, Vec<Value>> {
    let mut found: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for conversation in all(api, "/v1/conversations").await {
        let id = conversation["id"].as_str().expect("a conversation has an id");
        for message in all(api, &format!("/v1/conversations/{id}/messages")).await {
            let subject = message["subject"].as_str().unwrap_or_default().to_owned();
            found.entry(subject).or_default().push(message);
        }
    }
    found
}

/// Waits until all `letters` are there; each is there once, with its text and the octets of its
/// file.
pub(super) async fn expect_once(api: &Api, letters: &[Letter], limit: Duration) {
    let end = tokio::time::Instant::now() + limit;
    let there = loop {
        let there = found(api).await;
        let missing: Vec<_> =
            letters.iter().map(|l| &l.subject).filter(|s| !there.contains_key(*s)).collect();
        if missing.is_empty() {
            break there;
        }
        let late = tokio::time::Instant::now() > end;
        assert!(!late, "{} of {} are lost: {missing:?}", missing.len(), letters.len());
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    for letter in letters {
        let [message] = &there[&letter.subject][..] else {
            panic!("{} is there {} times", letter.subject, there[&letter.subject].len());
        };
        check(api, letter, message).await;
    }
}

async fn check(api: &Api, letter: &Letter, message: &Value) {
    assert_eq!(message["text"].as_str().map(str::trim), Some(letter.text().as_str()), "{message}");
    let files = message["attachments"].as_array().map(Vec::as_slice).unwrap_or_default();
    assert_eq!(files.len(), usize::from(letter.size > 0), "{message}");
    for file in files {
        let path = format!("/v1/attachments/{}", file["id"].as_str().expect("a file has an id"));
        let answer = eventually("the API has time for us", Duration::from_secs(20), || async {
            let answer = api.get(&path).await;
            (answer.status != 429).then_some(answer)
        });
        let answer = answer.await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        assert!(answer.body == letter.octets(), "the file of {} is another one", letter.subject);
    }
}
