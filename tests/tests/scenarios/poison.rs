//! Work that can never be done is set aside; everything else flows.

use std::time::Duration;

use isthmus_tests::eventually;

use super::world::{CAROL, Mail, SOON, World, body};

/// Runs SQL on the database beside the server; returns the first column of the first row.
async fn sql(world: &World, statement: &str) -> String {
    let code = "import sqlite3, sys\n\
        db = sqlite3.connect(sys.argv[1], timeout=20)\n\
        row = db.execute(sys.argv[2]).fetchone()\n\
        db.commit()\n\
        print('' if row is None else row[0])";
    let path = world.isthmus.data_dir().join("isthmus.db");
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
        sql(&world, "SELECT group_concat(name) FROM pragma_table_info('transactions')").await;
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
        sql(&world, &format!("INSERT INTO transactions ({columns}) SELECT {values} {from}")).await;
    }
    for n in 0..20 {
        world.mail(&Mail::new(CAROL, &format!("After {n}"), &format!("after {n}"))).await;
        let im = carol.expect_message(SOON).await;
        assert_eq!(body(&im).lines().next(), Some(format!("after {n}").as_str()), "{im}");
    }
    let open = "SELECT count(*) FROM transactions WHERE id LIKE 'txn_poison%' AND ended_at IS NULL";
    eventually("the poison is set aside", Duration::from_secs(60), || async {
        (sql(&world, open).await == "0").then_some(())
    })
    .await;
    let why = "SELECT count(*) FROM transactions WHERE id LIKE 'txn_poison%' AND state IN ('failed', 'refused') AND reason <> ''";
    assert_eq!(sql(&world, why).await, "3");
}
