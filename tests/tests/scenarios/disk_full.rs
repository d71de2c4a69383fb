//! The disk is full: what can be kept is taken, the rest is put off, and nothing taken is lost.

use std::path::PathBuf;

use isthmus_tests::{Api, Isthmus, SmtpClient, eventually};
use serde_json::json;

use super::{
    letters::{ALICE, CAROL_MAIL, Letter, acme, expect_once},
    world::{SOON, setup},
};

/// Runs a program with its data folder on a small disk of its own: a mount that only the program
/// sees, and that is gone with it.
const SMALL_DISK: &str = r#"
    cp -r "$ISTHMUS__DATA_DIR" "$ISTHMUS__DATA_DIR.before" &&
    mount -t tmpfs -o size=32m tmpfs "$ISTHMUS__DATA_DIR" &&
    cp -r "$ISTHMUS__DATA_DIR.before/." "$ISTHMUS__DATA_DIR" &&
    exec "$@""#;

/// Octets of the file that takes up room until somebody tidies up.
const BALLAST: usize = 16 << 20;

/// Octets of the files that come with the letters: none, more than a row of the database takes,
/// more than the SMTP server keeps in memory, and a large one.
const SIZES: [usize; 4] = [0, 100_000, 400_000, 1_000_000];

/// The data folder as the program sees it.
fn inside(isthmus: &mut Isthmus) -> PathBuf {
    let root = PathBuf::from(format!("/proc/{}/root", isthmus.server().pid()));
    let folder = isthmus.data_dir();
    root.join(folder.strip_prefix("/").expect("the data folder is absolute"))
}

/// Starts the program again, on a small disk with ballast; returns where that lies.
async fn on_a_small_disk(isthmus: &mut Isthmus) -> PathBuf {
    assert_eq!(isthmus.stop().await, 0);
    let wrapper = ["unshare", "--map-root-user", "--mount", "sh", "-c", SMALL_DISK, "sh"];
    isthmus.server().spec_mut().command.splice(0..0, wrapper.map(Into::into));
    isthmus.start_again().await;
    let ballast = inside(isthmus).join("ballast");
    std::fs::write(&ballast, vec![0; BALLAST]).expect("the disk has room for the ballast");
    ballast
}

async fn send(isthmus: &Isthmus, letter: &Letter) -> u16 {
    let mut client = SmtpClient::connect(isthmus.smtp()).await;
    let _ = client.line("EHLO client.test").await.expect(250);
    client.mail(CAROL_MAIL, &[ALICE], &letter.mail().raw()).await.code
}

/// Sends letters of all sizes until the large ones are put off; those taken, those put off.
async fn fill(isthmus: &Isthmus) -> (Vec<Letter>, Vec<Letter>) {
    let (mut taken, mut put_off) = (Vec::new(), Vec::new());
    for n in 0..200 {
        let letter = Letter::new(&format!("full n{n}"), SIZES[n % SIZES.len()]);
        match send(isthmus, &letter).await {
            250 => taken.push(letter),
            452 => put_off.push(letter),
            code => panic!("{letter:?} was answered with {code}"),
        }
        if SIZES[1..].iter().all(|size| put_off.iter().any(|l| l.size == *size)) {
            return (taken, put_off);
        }
    }
    panic!("200 letters filled no disk of 32 MiB");
}

async fn post(api: &Api, subject: &str, octets: usize) -> isthmus_tests::Answer {
    let body = json!({"to": CAROL_MAIL, "via": "email", "subject": subject, "text": "Hello.",
        "attachments": [{"name": "a.bin", "data": "A".repeat(octets / 3 * 4)}]});
    api.post_once("/v1/messages", &body, subject).await
}

#[tokio::test]
async fn abuse_smtp_12_a_full_disk_puts_mail_off_and_loses_none() {
    let mut isthmus = acme(setup()).await;
    let api = isthmus.member("acme", ALICE).await;
    let ballast = on_a_small_disk(&mut isthmus).await;

    let (taken, put_off) = fill(&isthmus).await;
    for size in SIZES {
        assert!(taken.iter().any(|l| l.size == size), "no letter with {size} was taken");
    }
    // It lives, answers what needs no room, and says what is the matter with the rest.
    assert!(isthmus.server().is_running());
    assert_eq!(api.get("/v1/conversations").await.status, 200);
    let refused = post(&api, "offer", 2_000_000).await;
    assert_eq!(refused.expect(507)["code"], "storage-full");

    std::fs::remove_file(&ballast).expect("the ballast can be thrown off");
    for letter in &put_off {
        eventually(&format!("{letter:?} is taken"), SOON, || async {
            (send(&isthmus, letter).await == 250).then_some(())
        })
        .await;
    }
    // The same request under the same key: the refusal is not what it is answered with again.
    post(&api, "offer", 2_000_000).await.expect(202);
    let all: Vec<_> = taken.into_iter().chain(put_off).collect();
    expect_once(&api, &all, SOON * 2).await;
    assert!(isthmus.server().is_running());
}
