//! Files arrive byte for byte, both ways.

use std::fmt::Write as _;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::json;

use super::world::{ALICE_CONTACT, CAROL, Mail, SOON, World, body, links};
use isthmus_tests::ReadMail;

/// Every octet, in an order that no text encoding survives by chance.
fn octets(count: usize) -> Vec<u8> {
    (0..count).map(|i| u8::try_from((i * 167 + i / 256) % 256).expect("below 256")).collect()
}

/// A multipart body with a text and a file.
fn with_file(text: &str, name: &str, data: &[u8]) -> String {
    let mut lines = String::new();
    for line in STANDARD.encode(data).as_bytes().chunks(76) {
        let _ = writeln!(lines, "{}", String::from_utf8_lossy(line));
    }
    format!(
        "--b\nContent-Type: text/plain\n\n{text}\n--b\nContent-Type: application/octet-stream\n\
         Content-Disposition: attachment; filename=\"{name}\"\nContent-Transfer-Encoding: base64\n\n\
         {lines}\n--b--"
    )
}

async fn download(url: &str) -> Vec<u8> {
    let answer = reqwest::get(url).await.unwrap_or_else(|e| panic!("{url}: {e}"));
    assert_eq!(answer.status().as_u16(), 200, "{url}");
    answer.bytes().await.expect("the file comes whole").to_vec()
}

#[tokio::test]
async fn server_a_file_in_a_mail_comes_as_a_file_in_chat() {
    let world = World::start().await;
    let mut carol = world.online("carol").await;
    let data = octets(100_000);
    let mail = Mail::new(CAROL, "Offer", &with_file("Here it is.", "offer.bin", &data));
    world.mail(&mail.header("Content-Type", "multipart/mixed; boundary=b")).await;
    let file = carol.expect("a file", SOON, |e| e["oob"].get(0).is_some()).await;
    let url = file["oob"][0].as_str().expect("an address");
    assert!(download(url).await == data, "{url} is another file");
    carol.expect("the text", SOON, |e| body(e).starts_with("Here it is.")).await;
}

/// Where nothing can be uploaded, and for the files of the history, a link does.
#[tokio::test]
async fn server_a_file_in_a_forwarded_mail_is_a_link() {
    let world = World::start().await;
    let mut carol = world.online("carol").await;
    let data = octets(50_001);
    let original =
        Mail::new("alice@acme.test", "Offer", &with_file("See the file.", "offer.bin", &data))
            .from("Carol <carol@customer.test>")
            .header("Content-Type", "multipart/mixed; boundary=b");
    let forward = format!(
        "--f\nContent-Type: text/plain\n\nLooks good.\n--f\nContent-Type: message/rfc822\n\n{}\n--f--",
        original.raw()
    );
    let mail = Mail::new("im@bridge.acme.test", "Fwd: Offer", &forward);
    world.mail(&mail.header("Content-Type", "multipart/mixed; boundary=f")).await;
    let im = carol.expect_message(SOON).await;
    assert!(body(&im).starts_with("Looks good.\n"), "{im}");
    let line = body(&im).lines().find(|l| l.contains("offer.bin")).expect("the file is named");
    assert!(line.contains("50 kB"), "{line}");
    let link = links(line, "/f/").pop().expect("the file has a link");
    assert!(download(&link).await == data, "{link} is another file");
    // A changed link opens nothing.
    let changed = reqwest::get(format!("{link}x")).await.expect("an answer").status().as_u16();
    assert!((400..500).contains(&changed), "{changed}");
}

#[tokio::test]
async fn server_a_file_from_chat_is_attached_to_the_mail() {
    let world = World::start().await;
    let mut carol = world.online("carol").await;
    world.mail(&Mail::new(CAROL, "Offer", "Can you send it?")).await;
    carol.expect_message(SOON).await;

    let data = octets(200_003);
    let path = world.chat.folder().join("offer.bin");
    std::fs::write(&path, &data).expect("the file system works");
    let url = carol.ask(json!({"do": "upload", "path": path})).await["url"].clone();
    carol
        .command(json!({"do": "send", "to": ALICE_CONTACT, "body": url, "oob": url, "id": "c-1", "receipt": true}))
        .await;
    carol.expect_receipt("c-1", SOON).await;
    let raw =
        world.sink.expect_mail("alice@acme.test", SOON, |m| m.text().contains("offer.bin")).await;
    let mail = ReadMail::read(&raw.raw).await;
    let file = mail.files.iter().find(|f| f.name == "offer.bin").expect("the file is attached");
    assert!(file.data == data, "{} octets of {}", file.data.len(), data.len());
}
