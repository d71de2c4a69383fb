//! `isthmus apply -f FILE`: tenants and their people as declared in a file.

use std::collections::HashSet;

use anyhow::{Context, Result, anyhow, bail};
use isthmus_domain::{
    address::{Email, ImAddress},
    clock::Chance,
    delivery::Standing,
};
use isthmus_gateway::sign_in::hash_password;
use isthmus_store::{ApplyContact, ApplyMember, ApplyTenant};
use toml::Spanned;

use crate::{
    apply_file::{self, Contact, File, Member, Tenant, Wrong, checked, one_of},
    price_book,
};

/// Mails that a tenant sends a day unless its declaration says otherwise.
const PER_DAY: i64 = 10_000;

/// What a file declares, checked. It holds passwords and is not to be printed.
pub(crate) struct Declaration {
    tenants: Vec<ApplyTenant>,
    passwords: Vec<Password>,
    /// How many price books there are.
    pub(crate) price_books: usize,
}

/// A password still to be hashed, and whose it is.
struct Password {
    tenant: usize,
    member: usize,
    text: String,
}

impl Declaration {
    /// How many passwords are to be hashed, each of which takes a moment on purpose.
    pub(crate) fn passwords(&self) -> u64 {
        u64::try_from(self.passwords.len()).unwrap_or(u64::MAX)
    }

    /// The tenants with their passwords hashed; `each` is called after every one.
    ///
    /// # Errors
    /// When a password cannot be hashed.
    pub(crate) fn hashed(mut self, chance: &Chance, each: impl Fn()) -> Result<Vec<ApplyTenant>> {
        for Password { tenant, member, text } in self.passwords {
            let hash = hash_password(&text, chance).map_err(anyhow::Error::msg)?;
            let members = self.tenants.get_mut(tenant).map(|t| &mut t.members);
            if let Some(member) = members.and_then(|all| all.get_mut(member)) {
                member.password_hash = Some(hash);
            }
            each();
        }
        Ok(self.tenants)
    }
}

/// Reads and checks a declaration.
///
/// # Errors
/// Names the line and the key that is wrong.
pub(crate) fn read(text: &str) -> Result<Declaration> {
    apply_file::read(text, declaration)
}

fn declaration(file: File) -> Result<Declaration, Wrong> {
    let mut all =
        Declaration { tenants: vec![], passwords: vec![], price_books: file.price_book.len() };
    file.price_book.iter().try_for_each(price_book::check)?;
    let (mut slugs, mut domains) = (HashSet::new(), HashSet::new());
    for t in file.tenant {
        once(&mut slugs, &t.slug, t.slug.get_ref())?;
        for name in t.domains.iter().chain([&t.bridge_domain]) {
            once(&mut domains, name, &name.get_ref().trim().to_ascii_lowercase())?;
        }
        for (member, m) in t.member.iter().enumerate() {
            let Some(password) = &m.password else { continue };
            if password.get_ref().is_empty() {
                return Err(Wrong::at(password, "a password is not empty; leave the key out"));
            }
            let (tenant, text) = (all.tenants.len(), password.get_ref().clone());
            all.passwords.push(Password { tenant, member, text });
        }
        all.tenants.push(tenant(t)?);
    }
    Ok(all)
}

/// Refuses what is declared a second time.
fn once(seen: &mut HashSet<String>, value: &Spanned<String>, key: &str) -> Result<(), Wrong> {
    if seen.insert(key.to_owned()) {
        return Ok(());
    }
    Err(Wrong::at(value, format!("{key} is declared twice")))
}

fn tenant(t: Tenant) -> Result<ApplyTenant, Wrong> {
    let slug = checked(&t.slug, slug)?;
    let domains = t.domains.iter().map(|d| checked(d, domain)).collect::<Result<Vec<_>, _>>()?;
    if let Some(currency) = &t.currency {
        checked(currency, price_book::currency)?;
    }
    if let Some(zone) = &t.time_zone {
        checked(zone, |z| Ok(jiff::tz::TimeZone::get(z)?))?;
    }
    if let Some(policy) = t.policy.as_ref().filter(|p| p.get_ref() != "ask") {
        checked(policy, |p| p.parse::<Standing>().map_err(|why| anyhow!("{why}, or ask")))?;
    }
    if let Some(relay) = &t.forward_to {
        checked(relay, |r| Ok(isthmus_mail::send::Relay::from_url(r)?))?;
    }
    t.billing_delivery.iter().try_for_each(|way| one_of(way, &["portal", "email"]))?;
    if let Some(number) = t.outbound_per_day.as_ref().filter(|n| *n.get_ref() < 0) {
        return Err(Wrong::at(number, "it is a number of mails, 0 or more"));
    }
    let (members, contacts) = people(&t.member, &t.contact)?;
    Ok(ApplyTenant {
        name: t.name.clone().unwrap_or_else(|| slug.clone()),
        bridge_domain: checked(&t.bridge_domain, domain)?,
        mail_mode: mail_mode(&t)?,
        slug,
        domains,
        currency: t.currency.map_or_else(|| "EUR".into(), Spanned::into_inner),
        time_zone: t.time_zone.map_or_else(|| "UTC".into(), Spanned::into_inner),
        billing_email: t.billing_email.map(|e| checked(&e, email)).transpose()?,
        billing_delivery: t.billing_delivery.into_iter().map(Spanned::into_inner).collect(),
        forward_to: t.forward_to.map(Spanned::into_inner),
        xmpp_secret: t.xmpp_secret,
        policy: t.policy.map(Spanned::into_inner).filter(|p| p != "ask"),
        outbound_per_day: t.outbound_per_day.map_or(PER_DAY, Spanned::into_inner),
        members,
        contacts,
    })
}

fn mail_mode(t: &Tenant) -> Result<String, Wrong> {
    let Some(mode) = &t.mail_mode else {
        return Ok(if t.domains.is_empty() { "bridge" } else { "copy" }.to_owned());
    };
    one_of(mode, &["bridge", "copy", "mx"])?;
    if mode.get_ref() == "mx" && t.forward_to.is_none() {
        return Err(Wrong::at(mode, "mx needs forward_to: the server that mail is passed on to"));
    }
    Ok(mode.get_ref().clone())
}

fn people(
    members: &[Member],
    contacts: &[Contact],
) -> Result<(Vec<ApplyMember>, Vec<ApplyContact>), Wrong> {
    let (mut mails, mut others) = (HashSet::new(), HashSet::new());
    let members = members.iter().map(|m| {
        let address = checked(&m.email, email)?;
        once(&mut mails, &m.email, &address)?;
        if let Some(role) = &m.role {
            one_of(role, &["owner", "admin", "billing", "member"])?;
        }
        let local = || address.split('@').next().unwrap_or_default().to_owned();
        Ok::<_, Wrong>(ApplyMember {
            name: m.name.clone().unwrap_or_else(local),
            role: m.role.as_ref().map_or_else(|| "member".into(), |r| r.get_ref().clone()),
            password_hash: None,
            im: m.im.iter().map(|text| checked(text, im)).collect::<Result<_, _>>()?,
            email: address,
        })
    });
    let members = members.collect::<Result<_, Wrong>>()?;
    let contacts = contacts.iter().map(|c| {
        let address = checked(&c.email, email)?;
        once(&mut others, &c.email, &address)?;
        Ok::<_, Wrong>(ApplyContact {
            name: c.name.clone().unwrap_or_else(|| address.clone()),
            im: c.im.iter().map(|text| checked(text, im)).collect::<Result<_, _>>()?,
            verified: c.verified,
            email: address,
        })
    });
    Ok((members, contacts.collect::<Result<_, Wrong>>()?))
}

fn slug(text: &str) -> Result<String> {
    let letters = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    if text.is_empty() || text.len() > 40 || !text.bytes().all(letters) {
        bail!("a slug has lower-case letters, digits and hyphens, at most 40: {text:?}");
    }
    Ok(text.to_owned())
}

fn email(text: &str) -> Result<String> {
    Ok(Email::parse(text).with_context(|| format!("{text:?}"))?.key())
}

fn im(text: &str) -> Result<String> {
    Ok(ImAddress::parse(text).with_context(|| format!("{text:?}"))?.as_str().to_owned())
}

fn domain(text: &str) -> Result<String> {
    let lower = text.trim().to_ascii_lowercase();
    Email::parse(&format!("x@{lower}"))
        .map_err(|_| anyhow!("{text:?} is not a domain such as example.org"))?;
    Ok(lower)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Both blocks as they stand in the description of the file.
    const WHOLE: &str = r#"
[[tenant]]
slug = "acme"
name = "Acme GmbH"
domains = ["acme.test"]               # whose members these are; mail_mode = "copy": mail for them is taken into their inboxes
mail_mode = "copy"                    # bridge | copy | mx
bridge_domain = "bridge.acme.test"    # bridge addresses, mail and XMPP
currency = "EUR"
time_zone = "Europe/Berlin"
billing_email = "billing@acme.test"
billing_delivery = ["portal", "email"]
forward_to = "smtp://127.0.0.1:2600"  # with mx: the tenant's own server

[[tenant.member]]
email = "alice@acme.test"
name = "Alice"
role = "owner"                        # owner | admin | billing | member
password = "…"
im = ["xmpp:alice@chat.test"]         # declared by the operator: counts as verified

[[tenant.contact]]
name = "Carol"
email = "carol@customer.test"
im = ["xmpp:carol@chat.test"]
verified = true

[[price_book]]
currency = "EUR"
valid_from = 2026-01-01
rounding = "half_up"

[[price_book.price]]
meter = "cpu_seconds"                 # also memory_byte_seconds, ingress_bytes, egress_bytes, storage_byte_hours, messages
model = "per_unit"                    # or graduated, then with tiers
unit_price = "0.0004"                 # in the currency's main unit, exact decimal, per `per` of the meter's unit
per = "1"
free = "0"
"#;

    #[test]
    fn the_file_as_described_is_taken() {
        let all = read(WHOLE).expect("is taken");
        assert_eq!((all.tenants.len(), all.passwords(), all.price_books), (1, 1, 1));
        let done = std::cell::Cell::new(0);
        let tenants = all
            .hashed(&Chance::seeded([1; 32]), || done.set(done.get() + 1))
            .expect("passwords can be hashed");
        assert!(tenants[0].members[0].password_hash.is_some());
        assert_eq!(done.get(), 1);
    }

    /// What is wrong is named with its line and key.
    #[test]
    fn a_mistake_is_found_at_its_place() {
        let line = |text: &str| {
            let at = WHOLE.lines().position(|l| l.starts_with(text)).expect("a line");
            format!("line {}, ", at + 1)
        };
        for (right, wrong, key, says) in [
            ("slug = \"acme\"", "slug = \"A B\"", "tenant.slug", "lower-case"),
            (
                "mail_mode = \"copy\" ",
                "mail_mod = \"copy\" ",
                "tenant.mail_mod",
                "did you mean mail_mode?",
            ),
            ("role = \"owner\"", "role = \"boss\"", "tenant.member.role", "none of owner, admin"),
            ("password =", "pasword =", "tenant.member.pasword", "did you mean password?"),
            ("verified = true", "verified = 1", "tenant.contact.verified", "boolean"),
            ("domains = [\"acme.test\"]", "domains = [\"a b\"]", "tenant.domains", "\"a b\""),
            ("[[price_book]]", "[price_book]", "price_book", "write [[price_book]]"),
            ("rounding", "roundin", "price_book.roundin", "did you mean rounding?"),
            ("meter = \"cpu_seconds\"", "meter = \"cpu\"", "price_book.price.meter", "none of"),
            ("per = \"1\"", "per = \"0.0\"", "price_book.price.per", "more than nothing"),
            ("free = \"0\"", "fre = \"0\"", "price_book.price.fre", "did you mean free?"),
            ("unit_price = \"0.0004\"", "unit_price = 0.0004", "price_book.price.unit_price", ""),
        ] {
            let error = read(&WHOLE.replacen(right, wrong, 1)).err().expect(wrong).to_string();
            let place = format!("{}{key}: ", line(right));
            assert!(error.starts_with(&place) && error.contains(says), "{wrong}: {error}");
        }
    }

    #[test]
    fn nothing_is_declared_twice() {
        let twice = |more: &str| read(&format!("{WHOLE}{more}")).err().expect(more).to_string();
        let again = "[[tenant]]\nslug = \"two\"\nbridge_domain = \"bridge.acme.test\"\n";
        assert!(twice(again).contains("bridge.acme.test is declared twice"));
        let again = "[[tenant]]\nslug = \"acme\"\nbridge_domain = \"b.test\"\n";
        assert!(twice(again).contains("acme is declared twice"));
        let other = "[[tenant]]\nslug = \"two\"\nbridge_domain = \"b.test\"\n";
        assert_eq!(read(&format!("{WHOLE}{other}")).expect("two tenants").tenants.len(), 2);
    }
}
