//! Tenants come and go beside a running server, within two seconds.

use std::time::Duration;

use isthmus_tests::Isthmus;

use super::world::{A_WHILE, ACME, CAROL, Mail, SOON, World, answers, recipient, settle, setup};

const TWO: &str =
    "[[tenant]]\nslug = \"two\"\nname = \"Two\"\nbridge_domain = \"bridge.two.test\"\n";

#[tokio::test]
async fn abuse_tenancy_54_mail_for_a_deleted_tenant_is_refused() {
    let mut isthmus = Isthmus::start(setup()).await;
    isthmus.apply(&format!("{ACME}\n{TWO}")).await;
    answers(&isthmus, CAROL, 250).await;
    isthmus.run_ok(&["tenant", "delete", "acme"]).await;
    answers(&isthmus, CAROL, 550).await;
    assert_eq!(recipient(&isthmus, "alice@acme.test").await, 550);
    assert_eq!(recipient(&isthmus, "im@bridge.two.test").await, 250);
    // Nor does a restart, or a declaration of somebody else, bring it back.
    isthmus.kill9_and_start_again().await;
    isthmus.apply(TWO).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(recipient(&isthmus, CAROL).await, 550);
    assert_eq!(recipient(&isthmus, "im@bridge.two.test").await, 250);
}

/// What waited for somebody does not go out in the name of a tenant that is gone.
#[tokio::test]
async fn server_abuse_tenancy_54_nothing_of_a_deleted_tenant_comes_back_to_life() {
    let world = World::start().await;
    let retry = ACME.replace("time_zone", "policy = \"retry\"\ntime_zone");
    world.isthmus.apply(&retry).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let mut carol = world.away("carol").await;
    world.mail(&Mail::new(CAROL, "Pump", "Too late.")).await;
    settle().await;
    world.isthmus.run_ok(&["tenant", "delete", "acme"]).await;
    answers(&world.isthmus, CAROL, 550).await;
    carol.go_online().await;
    carol.expect_silence(A_WHILE).await;
    assert_eq!(world.sink.count(), 0);
}

/// A new tenant's chat session is there without a restart.
#[tokio::test]
async fn server_a_new_tenant_is_served_at_once() {
    let world = World::start().await;
    let two = format!(
        "{TWO}[[tenant.member]]\nemail = \"zoe@two.test\"\nname = \"Zoe\"\n\
         [[tenant.contact]]\nname = \"Eve\"\nemail = \"eve@x.test\"\nim = [\"xmpp:eve@chat.test\"]\nverified = true\n"
    );
    world.isthmus.apply(&two).await;
    let mut eve = world.online("eve").await;
    let mail = Mail::new("eve=x.test@bridge.two.test", "Hello", "Hello Eve.").from("zoe@two.test");
    world.mail(&mail).await;
    let im = eve.expect_message(SOON).await;
    assert_eq!(super::world::sender(&im), r"zoe\40two.test@bridge.two.test");
}

#[tokio::test]
async fn applying_twice_changes_nothing() {
    let isthmus = Isthmus::start(setup()).await;
    isthmus.apply(ACME).await;
    isthmus.apply(ACME).await;
    let list = isthmus.run_ok(&["tenant", "list"]).await;
    assert_eq!(list.matches("bridge.acme.test").count(), 1, "{list}");
    let wrong = isthmus.run(&["apply", "-f", "/nonexistent.toml"]).await;
    assert_eq!(wrong.code, 1);
    assert_eq!(isthmus.run(&["apply"]).await.code, 2);
}

#[tokio::test]
async fn a_second_server_on_the_same_data_is_refused() {
    let mut isthmus = Isthmus::start(setup()).await;
    let second = isthmus.run(&["serve"]).await;
    assert_eq!(second.code, 1);
    assert!(second.stderr.contains("serves the data"), "{}", second.stderr);
    isthmus.kill9_and_start_again().await;
    assert_eq!(isthmus.stop().await, 0);
}

/// The folder does not matter: it is the database that two would write to.
#[tokio::test]
async fn a_second_server_on_the_same_database_is_refused() {
    let mut isthmus = Isthmus::start(setup()).await;
    let url = format!("sqlite://{}", isthmus.data_dir().join("isthmus.db").display());
    let other = isthmus.data_dir().join("elsewhere").display().to_string();
    isthmus.set_env("ISTHMUS__DATA_DIR", Some(&other));
    isthmus.set_env("ISTHMUS__DATABASE__URL", Some(&url));
    let second = isthmus.run(&["serve"]).await;
    assert_eq!(second.code, 1);
    assert!(second.stderr.contains("set another database.url"), "{}", second.stderr);
}
