//! Who a password opens the door for, where one address is a member of several tenants.

use isthmus_store::ApplyMember;

use crate::support::{NOW, World, tenant};

/// Declares these tenants, each with one member: slug, address, password.
async fn apply(world: &World, people: &[(&str, &str, &str)]) {
    let chance = &world.gateway.chance;
    let tenants = people.iter().map(|(slug, email, password)| {
        let hash = isthmus_gateway::sign_in::hash_password(password, chance).expect("hashed");
        let member = ApplyMember {
            email: (*email).to_owned(),
            name: "Somebody".into(),
            role: "member".into(),
            password_hash: Some(hash),
            im: vec![],
        };
        isthmus_store::ApplyTenant { members: vec![member], ..tenant(slug, &[]) }
    });
    let store = &world.gateway.store;
    store.apply(tenants.collect(), NOW, chance.clone()).await.expect("applied");
}

/// The short name of the tenant that a password opens.
async fn opens(world: &World, email: &str, password: &str) -> Option<String> {
    let found = world.gateway.sign_in(email, password).await.expect("checked");
    found.map(|(tenant, _)| tenant.tenant.slug.clone())
}

#[actix_web::test]
async fn a_shared_address_opens_its_own_domains_tenant_and_never_a_guessed_one() {
    let world = World::new().await;
    apply(
        &world,
        &[
            ("one", "zoe@home.test", "shared-password"),
            ("two", "zoe@home.test", "password-of-two"),
            ("home", "zoe@home.test", "shared-password"),
            ("three", "max@nowhere.test", "same-password"),
            ("four", "max@nowhere.test", "same-password"),
            ("five", "max@nowhere.test", "password-of-five"),
        ],
    )
    .await;
    assert_eq!(opens(&world, "Zoe@home.test", "shared-password").await.as_deref(), Some("home"));
    assert_eq!(opens(&world, "zoe@home.test", "password-of-two").await.as_deref(), Some("two"));
    assert_eq!(opens(&world, "zoe@home.test", "wrong").await, None);
    // Nothing tells which of the two is meant.
    assert_eq!(opens(&world, "max@nowhere.test", "same-password").await, None);
    let five = opens(&world, "max@nowhere.test", "password-of-five").await;
    assert_eq!(five.as_deref(), Some("five"));
    assert_eq!(opens(&world, "nobody@nowhere.test", "same-password").await, None);
}
