//! A power cut: only what was synced is there afterwards, and that is all that was acknowledged.
//!
//! `peers/unsynced.c` keeps a second copy of the data folder that holds only what was synced.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use isthmus_tests::{Api, Isthmus, SmtpClient, SmtpSink};
use serde_json::json;
use tokio::process::Command;

use super::{
    ledger::Dice,
    letters::{ALICE, CAROL_MAIL, Letter, acme, expect_once},
    world::{SOON, setup, subject_of},
};

/// How often the power is cut.
const CUTS: u64 = 3;
/// Senders of mail at the same time.
const LANES: usize = 6;

/// The shim, and the image of one folder that it keeps.
struct Disk {
    shim: PathBuf,
    root: PathBuf,
    image: PathBuf,
}

impl Disk {
    /// Builds the shim into `folder`, for the folder `root`.
    async fn new(folder: &Path, root: &Path) -> Self {
        let shim = folder.join("unsynced.so");
        let mut cc = Command::new("cc");
        cc.args(["-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror", "-o"]).arg(&shim);
        run(cc.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/peers/unsynced.c"))).await;
        Self { shim, root: root.to_owned(), image: folder.join("image") }
    }

    fn env(&self) -> [(&'static str, String); 3] {
        [
            ("LD_PRELOAD", self.shim.display().to_string()),
            ("UNSYNCED_ROOT", self.root.display().to_string()),
            ("UNSYNCED_IMAGE", self.image.display().to_string()),
        ]
    }

    /// Begins a new image with all that is there now.
    async fn take_up(&self) {
        let _ = std::fs::remove_dir_all(&self.image);
        std::fs::create_dir_all(self.image.join("inodes")).expect("a folder can be made");
        let mut find = Command::new("find");
        run(find.arg(&self.root).args(["-exec", "sync", "{}", "+"]).envs(self.env())).await;
    }

    /// What would be there after the cut.
    fn tree(&self) -> PathBuf {
        self.image.join("tree")
    }

    /// Leaves of the folder what would be there after the cut.
    async fn cut(&self) {
        std::fs::remove_dir_all(&self.root).expect("the folder can be removed");
        run(Command::new("cp").arg("-r").arg(self.tree()).arg(&self.root)).await;
    }

    /// Runs a Python program under the shim.
    async fn python(&self, program: &str) {
        let mut python = Command::new("python3");
        run(python.args(["-c", program]).current_dir(&self.root).envs(self.env())).await;
    }
}

/// Runs a program that must not fail; returns what it said.
async fn run(command: &mut Command) -> String {
    let output = command.output().await.unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?} failed: {said}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// A test that could not fail would show nothing: what is not synced is dropped.
#[tokio::test]
async fn what_was_not_synced_does_not_outlive_a_power_cut() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let root = folder.path().join("data");
    std::fs::create_dir(&root).expect("a folder can be made");
    let disk = Disk::new(folder.path(), &root).await;
    disk.take_up().await;

    // The process ends as if killed: closing the database would sync it.
    let insert = |mode: &str| {
        format!(
            "import os, sqlite3\ndb = sqlite3.connect('{mode}.db')\n\
             db.execute('PRAGMA journal_mode=WAL')\ndb.execute('CREATE TABLE t (n)')\ndb.commit()\n\
             db.execute('PRAGMA synchronous={mode}')\n\
             for n in range(10):\n  db.execute('INSERT INTO t VALUES (?)', (n,))\n  db.commit()\n\
             os._exit(0)"
        )
    };
    for (mode, rows) in [("FULL", "10"), ("OFF", "0")] {
        disk.python(&insert(mode)).await;
        let read = "import sqlite3, sys\nprint(*sqlite3.connect(sys.argv[1]).execute('SELECT count(*) FROM t').fetchone())";
        let copy = disk.tree().join(format!("{mode}.db"));
        let found = run(Command::new("python3").args(["-c", read]).arg(copy)).await;
        assert_eq!(found, rows, "synchronous={mode}");
        let real = root.join(format!("{mode}.db"));
        assert_eq!(run(Command::new("python3").args(["-c", read]).arg(real)).await, "10");
    }
    let names = "import os\n\
        def put(name, what):\n  with open(name, 'w') as f:\n    f.write(what); f.flush(); os.fsync(f.fileno())\n\
        def keep():\n  d = os.open('.', os.O_RDONLY); os.fsync(d); os.close(d)\n\
        put('kept', 'old'); put('gone', 'x'); put('renamed-later', 'x'); keep()\n\
        put('unnamed', 'x'); open('empty', 'w').write('never synced')\n\
        os.mkdir('below'); put('below/new', 'x')\n\
        d = os.open('below', os.O_RDONLY); os.fsync(d); os.close(d)\n\
        put('.tmp', 'new'); os.rename('.tmp', 'kept'); os.unlink('gone')";
    disk.python(names).await;
    let there = |name: &str| std::fs::read_to_string(disk.tree().join(name)).ok();
    assert_eq!(there("kept").as_deref(), Some("old"));
    assert_eq!(there("gone").as_deref(), Some("x"));
    assert_eq!(there("unnamed"), None);
    assert_eq!(there("below/new").as_deref(), Some("x"));
    // The twin: with its folder synced, each name lasts, and what a file never synced is empty.
    disk.python("import os; d = os.open('.', os.O_RDONLY); os.fsync(d)").await;
    assert_eq!(there("kept").as_deref(), Some("new"));
    assert_eq!(there("gone"), None);
    assert_eq!(there("unnamed").as_deref(), Some("x"));
    assert_eq!(there("empty").as_deref(), Some(""));
}

/// What was sent in one round, and what of it was acknowledged.
#[derive(Default)]
struct Sent {
    all: Mutex<Vec<(Letter, Door)>>,
    acknowledged: Mutex<Vec<Letter>>,
}

/// By which door something came in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Door {
    Smtp,
    Api,
}

fn held<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Sent {
    /// Sends letters one after the other until one is not acknowledged.
    async fn go_on(&self, door: Door, api: &Api, smtp: SocketAddr, lane: &str) {
        for n in 0.. {
            let size = if door == Door::Api { 0 } else { [0, 100_000, 0, 1_000_000][n % 4] };
            let letter = Letter::new(&format!("{lane} n{n}"), size);
            held(&self.all).push((letter.clone(), door));
            let done = match door {
                Door::Smtp => mail(smtp, &letter).await == 250,
                Door::Api => post(api, &letter).await == 202,
            };
            if !done {
                return;
            }
            held(&self.acknowledged).push(letter);
        }
    }
}

/// One attempt; 0 when the server went away.
async fn mail(server: SocketAddr, letter: &Letter) -> u16 {
    let Ok(mut client) = SmtpClient::try_connect(server).await else { return 0 };
    for step in ["", "EHLO client.test"] {
        let reply = if step.is_empty() { client.reply().await } else { client.line(step).await };
        if reply.code != 220 && reply.code != 250 {
            return reply.code;
        }
    }
    client.mail(CAROL_MAIL, &[ALICE], &letter.mail().raw()).await.code
}

/// One attempt, under a key that is the letter's own; 0 when the server went away.
async fn post(api: &Api, letter: &Letter) -> u16 {
    let body = json!({"to": CAROL_MAIL, "via": "email", "subject": letter.subject,
        "text": format!("This is {}.", letter.subject)});
    let request = api.request(reqwest::Method::POST, "/v1/messages").json(&body);
    let request = request.header("Idempotency-Key", letter.subject.replace(' ', "-"));
    api.try_send(request).await.map_or(0, |answer| answer.status)
}

/// Puts the program under load on `disk`, and cuts the power after `wait`.
async fn until_cut(
    isthmus: &mut Isthmus,
    disk: &Disk,
    api: &Api,
    round: u64,
    wait: Duration,
) -> Arc<Sent> {
    assert_eq!(isthmus.stop().await, 0);
    disk.take_up().await;
    for (key, value) in disk.env() {
        isthmus.set_env(key, Some(&value));
    }
    isthmus.start_again().await;
    let sent = Arc::new(Sent::default());
    let mut senders = Vec::new();
    for lane in 0..=LANES {
        let door = if lane == LANES { Door::Api } else { Door::Smtp };
        let (sent, api, smtp) = (Arc::clone(&sent), api.clone(), isthmus.smtp());
        senders.push(tokio::spawn(async move {
            sent.go_on(door, &api, smtp, &format!("round{round}lane{lane}")).await;
        }));
    }
    tokio::time::sleep(wait).await;
    isthmus.kill9();
    for sender in senders {
        sender.await.expect("a sender does not panic");
    }
    disk.cut().await;
    for (key, _) in disk.env() {
        isthmus.set_env(key, None);
    }
    isthmus.start_again().await;
    sent
}

#[tokio::test]
async fn all_that_was_acknowledged_outlives_a_power_cut_and_is_there_once() {
    let seed = Dice::seed();
    eprintln!("ISTHMUS_SEED={seed}");
    let mut dice = Dice::seeded(seed);
    let relay = SmtpSink::start().await;
    let mut isthmus = acme(setup().relay(&relay.url())).await;
    let api = isthmus.member("acme", ALICE).await;
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let disk = Disk::new(folder.path(), &isthmus.data_dir()).await;
    for round in 0..CUTS {
        let wait = Duration::from_millis(200 + dice.below(1_000));
        let sent = until_cut(&mut isthmus, &disk, &api, round, wait).await;
        let kept = held(&sent.acknowledged).clone();
        eprintln!("round {round}: cut after {wait:?}, {} acknowledged", kept.len());
        assert!(kept.len() > LANES, "there was no load: {kept:?}");
        expect_once(&api, &kept, SOON).await;
        // Who did not hear of it sends the same again, and it is there once as well.
        let all = held(&sent.all).clone();
        for (letter, door) in all.iter().filter(|(letter, _)| !kept.contains(letter)) {
            match door {
                Door::Smtp => assert_eq!(mail(isthmus.smtp(), letter).await, 250),
                Door::Api => assert_eq!(post(&api, letter).await, 202),
            }
        }
        let letters: Vec<_> = all.iter().map(|(letter, _)| letter.clone()).collect();
        expect_once(&api, &letters, SOON).await;
        // What went out has one id, however often it went.
        for (letter, _) in all.iter().filter(|(_, door)| *door == Door::Api) {
            let is_it = |m: &isthmus_tests::SinkMail| subject_of(m) == letter.subject;
            relay.expect_mail(CAROL_MAIL, SOON, is_it).await;
            let mails = relay.mails();
            let mut ids: Vec<_> =
                mails.iter().filter(|m| is_it(m)).map(|m| m.header("Message-ID")).collect();
            ids.dedup();
            assert_eq!(ids.len(), 1, "{} went out as {ids:?}", letter.subject);
        }
    }
}
