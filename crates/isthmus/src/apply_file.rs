//! The form of the apply file: which keys there are, and where in the file each value stands.

use std::ops::Range;

use anyhow::{Result, anyhow};
use serde::Deserialize;
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use crate::config::nearest;

/// What is wrong, and which octets of the file say so.
#[derive(Debug)]
pub(crate) struct Wrong {
    at: Range<usize>,
    why: String,
}

impl Wrong {
    pub(crate) fn at<T>(value: &Spanned<T>, why: impl Into<String>) -> Self {
        Self { at: value.span(), why: why.into() }
    }

    /// In words for who wrote the file: the line and the key.
    fn explain(&self, text: &str) -> anyhow::Error {
        let start = self.at.start.min(text.len());
        let before = text.as_bytes().get(..start).unwrap_or_default();
        let line = before.iter().filter(|b| **b == b'\n').count() + 1;
        let key = DeTable::parse(text).ok().and_then(|t| key_at(t.get_ref(), "", self.at.start));
        match key {
            Some(key) => anyhow!("line {line}, {key}: {}", self.why),
            None => anyhow!("line {line}: {}", self.why),
        }
    }
}

impl From<toml::de::Error> for Wrong {
    fn from(error: toml::de::Error) -> Self {
        Self { at: error.span().unwrap_or(0..0), why: error.message().to_owned() }
    }
}

/// Runs `check` on a value; what it says is said about the value's place.
pub(crate) fn checked<T>(
    value: &Spanned<String>,
    check: impl FnOnce(&str) -> Result<T>,
) -> Result<T, Wrong> {
    check(value.get_ref()).map_err(|why| Wrong::at(value, format!("{why:#}")))
}

/// Refuses a value that is none of `known`.
pub(crate) fn one_of(value: &Spanned<String>, known: &[&str]) -> Result<(), Wrong> {
    if known.contains(&value.get_ref().as_str()) {
        return Ok(());
    }
    Err(Wrong::at(value, format!("{:?} is none of {}", value.get_ref(), known.join(", "))))
}

/// Every table of the file with its keys.
const KEYS: &[(&str, &[&str])] = &[
    ("", &["tenant", "price_book"]),
    (
        "tenant",
        &[
            "slug",
            "name",
            "domains",
            "mail_mode",
            "bridge_domain",
            "currency",
            "time_zone",
            "billing_email",
            "billing_delivery",
            "forward_to",
            "xmpp_secret",
            "policy",
            "outbound_per_day",
            "member",
            "contact",
        ],
    ),
    ("tenant.member", &["email", "name", "role", "password", "im"]),
    ("tenant.contact", &["name", "email", "im", "verified"]),
    ("price_book", &["currency", "valid_from", "rounding", "price"]),
    ("price_book.price", &["meter", "model", "unit_price", "per", "free", "tiers"]),
    ("price_book.price.tiers", &["up_to", "unit_price"]),
];

/// Reads the file's form and has `check` look at what it says. Nothing is done with it before all
/// of it is right.
///
/// # Errors
/// Names the line and the key.
pub(crate) fn read<T>(text: &str, check: impl FnOnce(File) -> Result<T, Wrong>) -> Result<T> {
    let file = || -> Result<T, Wrong> {
        known_keys(DeTable::parse(text)?.get_ref(), "")?;
        check(toml::from_str(text)?)
    };
    file().map_err(|wrong| wrong.explain(text))
}

fn known_keys(table: &DeTable<'_>, path: &str) -> Result<(), Wrong> {
    let Some((_, known)) = KEYS.iter().find(|(name, _)| *name == path) else { return Ok(()) };
    for (key, value) in table {
        if !known.contains(&key.get_ref().as_ref()) {
            let name = nearest(known.iter().copied(), key.get_ref());
            return Err(Wrong::at(key, format!("there is no such key; did you mean {name}?")));
        }
        let path = join(path, key.get_ref());
        if value.get_ref().is_table() && KEYS.iter().any(|(name, _)| *name == path) {
            return Err(Wrong::at(key, format!("there may be several: write [[{path}]]")));
        }
        for table in tables(value.get_ref()) {
            known_keys(table, &path)?;
        }
    }
    Ok(())
}

/// The table or tables that a value is.
fn tables<'a, 'i>(value: &'a DeValue<'i>) -> Vec<&'a DeTable<'i>> {
    match value {
        DeValue::Table(table) => vec![table],
        DeValue::Array(all) => all.iter().filter_map(|v| v.get_ref().as_table()).collect(),
        _ => vec![],
    }
}

/// The key whose name or value stands at this octet.
fn key_at(table: &DeTable<'_>, path: &str, at: usize) -> Option<String> {
    table.iter().find_map(|(key, value)| {
        let path = join(path, key.get_ref());
        let within = tables(value.get_ref()).into_iter().find_map(|t| key_at(t, &path, at));
        let elements = value.get_ref().as_array().into_iter().flat_map(|all| all.iter());
        let here = key.span().contains(&at)
            || value.span().contains(&at)
            || elements.into_iter().any(|e| e.span().contains(&at));
        within.or(here.then_some(path))
    })
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

/// The whole file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct File {
    #[serde(default)]
    pub(crate) tenant: Vec<Tenant>,
    #[serde(default)]
    pub(crate) price_book: Vec<PriceBook>,
}

/// `[[tenant]]`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Tenant {
    pub(crate) slug: Spanned<String>,
    pub(crate) name: Option<String>,
    #[serde(default)]
    pub(crate) domains: Vec<Spanned<String>>,
    pub(crate) mail_mode: Option<Spanned<String>>,
    pub(crate) bridge_domain: Spanned<String>,
    pub(crate) currency: Option<Spanned<String>>,
    pub(crate) time_zone: Option<Spanned<String>>,
    pub(crate) billing_email: Option<Spanned<String>>,
    #[serde(default)]
    pub(crate) billing_delivery: Vec<Spanned<String>>,
    pub(crate) forward_to: Option<Spanned<String>>,
    pub(crate) xmpp_secret: Option<String>,
    pub(crate) policy: Option<Spanned<String>>,
    pub(crate) outbound_per_day: Option<Spanned<i64>>,
    #[serde(default)]
    pub(crate) member: Vec<Member>,
    #[serde(default)]
    pub(crate) contact: Vec<Contact>,
}

/// `[[tenant.member]]`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Member {
    pub(crate) email: Spanned<String>,
    pub(crate) name: Option<String>,
    pub(crate) role: Option<Spanned<String>>,
    pub(crate) password: Option<Spanned<String>>,
    #[serde(default)]
    pub(crate) im: Vec<Spanned<String>>,
}

/// `[[tenant.contact]]`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Contact {
    pub(crate) name: Option<String>,
    pub(crate) email: Spanned<String>,
    #[serde(default)]
    pub(crate) im: Vec<Spanned<String>>,
    #[serde(default)]
    pub(crate) verified: bool,
}

/// `[[price_book]]`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PriceBook {
    pub(crate) currency: Spanned<String>,
    pub(crate) valid_from: Spanned<toml::value::Datetime>,
    pub(crate) rounding: Option<Spanned<String>>,
    #[serde(default)]
    pub(crate) price: Vec<Price>,
}

/// `[[price_book.price]]`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Price {
    pub(crate) meter: Spanned<String>,
    pub(crate) model: Spanned<String>,
    pub(crate) unit_price: Option<Spanned<String>>,
    pub(crate) per: Option<Spanned<String>>,
    pub(crate) free: Option<Spanned<String>>,
    #[serde(default)]
    pub(crate) tiers: Vec<Tier>,
}

/// One step of a graduated price; the last one has no end.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Tier {
    pub(crate) up_to: Option<Spanned<String>>,
    pub(crate) unit_price: Spanned<String>,
}
