//! Nothing is acknowledged before it is on the disk.

use super::world::{CAROL, Mail, World, setup};
use isthmus_tests::XmppKind;

/// The lines of a trace, in the order in which the calls ended.
fn ended_syncs_and_answers(trace: &str) -> Vec<&'static str> {
    let mut syncing = Vec::new();
    let mut story = Vec::new();
    for line in trace.lines() {
        let thread = line.split_whitespace().next().unwrap_or_default().to_owned();
        let is_wal = line.contains("fdatasync(") || line.contains("fsync(");
        if is_wal && line.contains("isthmus.db-wal") {
            if line.contains("<unfinished") {
                syncing.push(thread);
            } else if line.contains("= 0") {
                story.push("sync");
            }
        } else if line.contains("sync resumed") && syncing.contains(&thread) {
            syncing.retain(|t| *t != thread);
            story.push("sync");
        } else if line.contains("\"354 ") {
            story.push("354");
        } else if line.contains("accepted as") {
            story.push("250");
        }
    }
    story
}

#[tokio::test]
async fn server_strace_shows_the_sync_before_the_250() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let file = folder.path().join("trace");
    let name = file.display().to_string();
    let calls = "trace=fdatasync,fsync,write,writev,sendto,sendmsg";
    let strace = ["strace", "-f", "-y", "-s", "200", "-o", &name, "-e", calls];
    let world = World::with(XmppKind::Prosody, setup().under(strace)).await;
    for n in 0..10 {
        world.mail(&Mail::new(CAROL, &format!("Pump {n}"), "Hello.")).await;
    }
    let trace = std::fs::read_to_string(&file).expect("strace wrote its file");
    let story = ended_syncs_and_answers(&trace);
    let mut accepted = 0;
    for (i, _) in story.iter().enumerate().filter(|(_, s)| **s == "250") {
        let since = story[..i].iter().rposition(|s| *s == "354").expect("354 comes before 250");
        assert!(story[since..i].contains(&"sync"), "a 250 without a sync before it: {story:?}");
        accepted += 1;
    }
    assert_eq!(accepted, 10, "{story:?}");
}
