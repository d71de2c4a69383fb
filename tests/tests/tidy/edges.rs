//! Which crate may know which: docs/ARCHITECTURE.md in a form that fails.

use std::collections::BTreeSet;

use super::metadata::{direct, ours, packages, reachable};

/// Each of our crates and the ones of ours that it may need directly.
const MAY_NEED: &[(&str, &[&str])] = &[
    ("isthmus-domain", &[]),
    ("isthmus-migrations", &[]),
    ("isthmus-im", &["isthmus-domain"]),
    ("isthmus-mail", &["isthmus-domain"]),
    ("isthmus-xmpp", &["isthmus-domain", "isthmus-im"]),
    ("isthmus-queue", &["isthmus-domain"]),
    ("isthmus-store", &["isthmus-domain", "isthmus-migrations"]),
    (
        "isthmus-router",
        &["isthmus-domain", "isthmus-store", "isthmus-queue", "isthmus-im", "isthmus-mail"],
    ),
    (
        "isthmus-gateway",
        &[
            "isthmus-domain",
            "isthmus-store",
            "isthmus-queue",
            "isthmus-im",
            "isthmus-mail",
            "isthmus-xmpp",
        ],
    ),
];

/// Crates that may need any of ours: the binary wires all, the others look from outside.
const FREE: &[&str] = &["isthmus", "isthmus-tests", "isthmus-bench"];

/// What each of our crates must not reach, however far away.
const NEVER: &[(&str, &[&str])] = &[
    ("isthmus-domain", &["tokio", "sea-orm", "sqlx", "actix-web", "reqwest", "lapin", "redis"]),
    ("isthmus-im", &["sea-orm", "sqlx", "actix-web", "lapin", "redis"]),
    ("isthmus-mail", &["sea-orm", "sqlx", "actix-web", "lapin", "redis"]),
    ("isthmus-xmpp", &["sea-orm", "sqlx", "actix-web", "lapin", "redis"]),
    ("isthmus-queue", &["sea-orm", "sqlx", "actix-web"]),
    ("isthmus-store", &["actix-web", "lapin", "redis", "lettre"]),
    ("isthmus-router", &["actix-web"]),
];

/// Packages by others that only these of ours may name.
const ONLY: &[(&str, &[&str])] = &[
    ("sea-orm", &["isthmus-store"]),
    ("sea-orm-migration", &["isthmus-store", "isthmus-migrations"]),
    ("sqlx", &["isthmus-store"]),
    ("object_store", &["isthmus-store"]),
    ("rxml", &["isthmus-xmpp"]),
    ("minidom", &["isthmus-xmpp"]),
    ("lettre", &["isthmus-mail"]),
    ("smtp-proto", &["isthmus-mail"]),
    ("mail-auth", &["isthmus-mail"]),
    ("mail-parser", &["isthmus-mail"]),
    ("actix-web", &["isthmus-gateway", "isthmus"]),
    ("askama", &["isthmus-gateway"]),
    ("lapin", &["isthmus-queue"]),
    ("redis", &["isthmus-queue"]),
    ("anyhow", &["isthmus", "isthmus-bench"]),
];

/// What is wrong with one crate's needs.
fn forbidden(name: &str, direct: &BTreeSet<&str>, reachable: &BTreeSet<&str>) -> Vec<String> {
    let mut wrong = Vec::new();
    let may = MAY_NEED.iter().find(|(crate_name, _)| *crate_name == name).map(|(_, may)| *may);
    if may.is_none() && !FREE.contains(&name) {
        wrong.push(format!("{name} is not in the table of crate edges: say what it may need"));
    }
    for need in direct {
        let is_ours = need.starts_with("isthmus-");
        if let Some(may) = may
            && is_ours
            && !may.contains(need)
        {
            wrong.push(format!("{name} must not know {need}"));
        }
        let only = ONLY.iter().find(|(package, _)| package == need);
        if let Some((_, users)) = only
            && !users.contains(&name)
        {
            wrong.push(format!("{name} must not use {need}: only {} may", users.join(", ")));
        }
    }
    for (_, never) in NEVER.iter().filter(|(crate_name, _)| *crate_name == name) {
        let reached = never.iter().filter(|package| reachable.contains(*package));
        wrong.extend(reached.map(|package| format!("{name} must not reach {package}")));
    }
    wrong
}

#[test]
fn crates_know_only_what_they_may() {
    let ours = packages().values().filter(|package| package.ours);
    let wrong: Vec<_> = ours.flat_map(|p| forbidden(&p.name, &direct(p), &reachable(p))).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_crate_in_the_table_exists() {
    for (name, _) in MAY_NEED {
        assert!(ours(name).is_some(), "{name} is in the table of crate edges and nowhere else");
    }
}

#[test]
fn a_forbidden_edge_is_seen() {
    let router = BTreeSet::from(["isthmus-domain", "isthmus-gateway", "sea-orm"]);
    let far = BTreeSet::from(["isthmus-domain", "isthmus-gateway", "sea-orm", "actix-web"]);
    assert_eq!(
        forbidden("isthmus-router", &router, &far),
        [
            "isthmus-router must not know isthmus-gateway",
            "isthmus-router must not use sea-orm: only isthmus-store may",
            "isthmus-router must not reach actix-web",
        ]
    );
    assert_eq!(forbidden("isthmus-new", &BTreeSet::new(), &BTreeSet::new()).len(), 1);
    let fine = BTreeSet::from(["isthmus-domain", "isthmus-store", "tokio"]);
    assert!(forbidden("isthmus-router", &fine, &fine).is_empty());
}
