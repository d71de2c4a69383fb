//! `isthmus apply -f FILE`: tenants and their people as declared in a file.

use anyhow::{Context, Result, bail};
use isthmus_domain::{
    address::{Email, ImAddress},
    clock::Chance,
};
use isthmus_gateway::sign_in::hash_password;
use isthmus_store::{ApplyContact, ApplyMember, ApplyTenant};
use serde::Deserialize;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    tenant: Vec<Tenant>,
    /// Kept for the metering service; checked for its form only.
    #[serde(default)]
    price_book: Vec<toml::Table>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Tenant {
    slug: String,
    name: Option<String>,
    #[serde(default)]
    domains: Vec<String>,
    mail_mode: Option<String>,
    bridge_domain: String,
    #[serde(default = "eur")]
    currency: String,
    #[serde(default = "utc")]
    time_zone: String,
    billing_email: Option<String>,
    #[serde(default)]
    billing_delivery: Vec<String>,
    forward_to: Option<String>,
    xmpp_secret: Option<String>,
    policy: Option<String>,
    #[serde(default = "per_day")]
    outbound_per_day: i64,
    #[serde(default)]
    member: Vec<Member>,
    #[serde(default)]
    contact: Vec<Contact>,
}

fn eur() -> String {
    "EUR".into()
}
fn utc() -> String {
    "UTC".into()
}
fn per_day() -> i64 {
    10_000
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Member {
    email: String,
    name: Option<String>,
    #[serde(default = "member")]
    role: String,
    password: Option<String>,
    #[serde(default)]
    im: Vec<String>,
}

fn member() -> String {
    "member".into()
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Contact {
    name: Option<String>,
    email: String,
    #[serde(default)]
    im: Vec<String>,
    #[serde(default)]
    verified: bool,
}

/// Reads and checks a declaration; passwords come out hashed.
///
/// # Errors
/// Names the tenant and the value that is wrong.
pub(crate) fn read(text: &str, chance: &Chance) -> Result<Vec<ApplyTenant>> {
    let file: File = toml::from_str(text)?;
    if !file.price_book.is_empty() {
        tracing::warn!(
            "Price books are declared; this version does not charge yet and leaves them alone"
        );
    }
    let mut seen = std::collections::HashSet::new();
    file.tenant
        .into_iter()
        .map(|t| {
            let slug = t.slug.clone();
            if !seen.insert(slug.clone()) {
                bail!("the tenant {slug} is declared twice");
            }
            tenant(t, chance).with_context(|| format!("in the tenant {slug}"))
        })
        .collect()
}

fn tenant(t: Tenant, chance: &Chance) -> Result<ApplyTenant> {
    let slug_ok = !t.slug.is_empty()
        && t.slug.len() <= 40
        && t.slug.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if !slug_ok {
        bail!("a slug has lower-case letters, digits and hyphens, at most 40: {:?}", t.slug);
    }
    let domains = t.domains.iter().map(|d| domain(d)).collect::<Result<Vec<_>>>()?;
    let mail_mode = t
        .mail_mode
        .unwrap_or_else(|| if domains.is_empty() { "bridge" } else { "copy" }.to_owned());
    if !["bridge", "copy", "mx"].contains(&mail_mode.as_str()) {
        bail!("mail_mode is bridge, copy or mx, not {mail_mode:?}");
    }
    if mail_mode == "mx" && t.forward_to.is_none() {
        bail!("mail_mode = \"mx\" needs forward_to: the server that mail is passed on to");
    }
    if let Some(relay) = &t.forward_to {
        isthmus_mail::send::Relay::from_url(relay)
            .with_context(|| format!("forward_to = {relay:?}"))?;
    }
    if let Some(policy) = &t.policy
        && !["ask", "retry", "abort", "email"].contains(&policy.as_str())
    {
        bail!("policy is ask, retry, abort or email, not {policy:?}");
    }
    jiff::tz::TimeZone::get(&t.time_zone)
        .with_context(|| format!("time_zone = {:?}", t.time_zone))?;
    if t.currency.len() != 3 || !t.currency.bytes().all(|b| b.is_ascii_uppercase()) {
        bail!("currency is a code of three letters, not {:?}", t.currency);
    }
    Ok(ApplyTenant {
        name: t.name.unwrap_or_else(|| t.slug.clone()),
        bridge_domain: domain(&t.bridge_domain)?,
        slug: t.slug,
        domains,
        mail_mode,
        currency: t.currency,
        time_zone: t.time_zone,
        billing_email: t.billing_email.map(|e| email(&e)).transpose()?,
        billing_delivery: t.billing_delivery,
        forward_to: t.forward_to,
        xmpp_secret: t.xmpp_secret,
        policy: t.policy.filter(|p| p != "ask"),
        outbound_per_day: t.outbound_per_day,
        members: t
            .member
            .into_iter()
            .map(|m| {
                if !["owner", "admin", "billing", "member"].contains(&m.role.as_str()) {
                    bail!("role is owner, admin, billing or member, not {:?}", m.role);
                }
                let hash =
                    m.password.map(|p| hash_password(&p, chance).map_err(anyhow::Error::msg));
                Ok(ApplyMember {
                    name: m.name.unwrap_or_else(|| {
                        m.email.split('@').next().unwrap_or_default().to_owned()
                    }),
                    email: email(&m.email)?,
                    role: m.role,
                    password_hash: hash.transpose()?,
                    im: ims(m.im)?,
                })
            })
            .collect::<Result<_>>()?,
        contacts: t
            .contact
            .into_iter()
            .map(|c| {
                Ok(ApplyContact {
                    name: c.name.unwrap_or_else(|| c.email.clone()),
                    email: email(&c.email)?,
                    im: ims(c.im)?,
                    verified: c.verified,
                })
            })
            .collect::<Result<_>>()?,
    })
}

fn email(text: &str) -> Result<String> {
    Ok(Email::parse(text).with_context(|| format!("{text:?}"))?.key())
}

fn ims(all: Vec<String>) -> Result<Vec<String>> {
    all.into_iter()
        .map(|text| {
            Ok(ImAddress::parse(&text).with_context(|| format!("{text:?}"))?.as_str().to_owned())
        })
        .collect()
}

fn domain(text: &str) -> Result<String> {
    let lower = text.trim().to_ascii_lowercase();
    Email::parse(&format!("x@{lower}")).with_context(|| format!("the domain {text:?}"))?;
    Ok(lower)
}
