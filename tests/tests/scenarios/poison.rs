//! Work that can never be done is set aside; everything else flows.

use std::time::Duration;

use isthmus_tests::{Isthmus, eventually, send_mail};

use super::{
    letters::{ALICE, Letter, acme, expect_once},
    world::{CAROL, Mail, SOON, World, body, setup},
};

/// Runs SQL on the database beside the server; returns the first column of the first row.
pub(super) async fn sql(isthmus: &Isthmus, statement: &str) -> String {
    let code = "import sqlite3, sys\n\
        db = sqlite3.connect(sys.argv[1], timeout=20)\n\
        row = db.execute(sys.argv[2]).fetchone()\n\
        db.commit()\n\
        print('' if row is None else row[0])";
    let path = isthmus.data_dir().join("isthmus.db");
    let output = tokio::process::Command::new("python3")
        .args(["-c", code])
        .arg(path)
        .arg(statement)
        .output()
        .await
        .expect("python3 is installed");
    assert!(output.status.success(), "{statement}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

#[tokio::test]
async fn server_abuse_queue_37_poison_is_set_aside_and_others_flow() {
    let world = World::start().await;
    let mut carol = world.online("carol").await;
    world.mail(&Mail::new(CAROL, "Before", "before")).await;
    carol.expect_message(SOON).await;

    // Copies of an honest transaction, each spoilt in its own way, old enough to be swept up.
    let columns =
        sql(&world.isthmus, "SELECT group_concat(name) FROM pragma_table_info('transactions')")
            .await;
    let spoilt = [
        ("txn_poison_1", "'{'"),
        ("txn_poison_2", "replace(params, '\"raw\":\"', '\"raw\":\"0')"),
        ("txn_poison_3", "'[]'"),
    ];
    for (id, params) in spoilt {
        let values: Vec<_> = columns
            .split(',')
            .map(|column| match column {
                "id" => format!("'{id}'"),
                "params" => params.to_owned(),
                "state" => "'received'".into(),
                "dedupe" | "ended_at" | "reason" => "NULL".into(),
                "at" => "at - 60000".into(),
                other => other.into(),
            })
            .collect();
        let values = values.join(", ");
        let from = "FROM transactions WHERE service = 'mail.in' LIMIT 1";
        sql(
            &world.isthmus,
            &format!("INSERT INTO transactions ({columns}) SELECT {values} {from}"),
        )
        .await;
    }
    for n in 0..20 {
        world.mail(&Mail::new(CAROL, &format!("After {n}"), &format!("after {n}"))).await;
        let im = carol.expect_message(SOON).await;
        assert_eq!(body(&im).lines().next(), Some(format!("after {n}").as_str()), "{im}");
    }
    let open = "SELECT count(*) FROM transactions WHERE id LIKE 'txn_poison%' AND ended_at IS NULL";
    eventually("the poison is set aside", Duration::from_secs(60), || async {
        (sql(&world.isthmus, open).await == "0").then_some(())
    })
    .await;
    let why = "SELECT count(*) FROM transactions WHERE id LIKE 'txn_poison%' AND state IN ('failed', 'refused') AND reason <> ''";
    assert_eq!(sql(&world.isthmus, why).await, "3");
}

async fn send(isthmus: &Isthmus, letter: &Letter) {
    let mail = letter.mail();
    let _ = send_mail(isthmus.smtp(), &mail.from, &[ALICE], &mail.raw()).await.expect(250);
}

/// Nothing is wrong with the transaction itself: the database never takes what comes of it.
#[tokio::test]
async fn abuse_queue_37_what_fails_at_every_try_is_set_aside_and_others_flow() {
    let mut isthmus = acme(setup()).await;
    let alice = isthmus.member("acme", ALICE).await;
    let keeper = isthmus.api(&isthmus.tenant_key("acme").await);
    assert_eq!(isthmus.stop().await, 0);
    let trigger = "CREATE TRIGGER poison BEFORE INSERT ON messages WHEN NEW.subject = 'poison 0' \
        BEGIN SELECT RAISE(ABORT, 'this one never'); END";
    sql(&isthmus, trigger).await;
    isthmus.start_again().await;

    let mut flowing = Vec::new();
    for n in 0..6 {
        let letters =
            [Letter::new(&format!("fine {n}"), 0), Letter::new(&format!("poison {n}"), 0)];
        for letter in letters {
            send(&isthmus, &letter).await;
            flowing.extend((letter.subject != "poison 0").then_some(letter));
        }
    }
    expect_once(&alice, &flowing, SOON).await;
    let aside = |t: &serde_json::Value| t["state"] == "failed";
    let aside = keeper.expect_item("/v1/transactions?limit=200", SOON * 3, aside).await;
    let reason = aside["reason"].as_str().unwrap_or_default();
    assert!(reason.starts_with("set aside after 5 tries"), "{aside}");
    // Nobody tries it a sixth time, and what is new still flows.
    let tries = isthmus.log().matches("A transaction failed").count();
    assert_eq!(tries, 5, "it was tried {tries} times");
    let after = Letter::new("fine 6", 0);
    send(&isthmus, &after).await;
    expect_once(&alice, &[after], SOON).await;
}
