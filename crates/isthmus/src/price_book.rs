//! Price books of the apply file: checked for their form, so that a file which is taken today is
//! taken by the version that charges as well.

use anyhow::{Result, bail};
use toml::Spanned;

use crate::apply_file::{Price, PriceBook, Wrong, checked, one_of};

const METERS: &[&str] = &[
    "cpu_seconds",
    "memory_byte_seconds",
    "ingress_bytes",
    "egress_bytes",
    "storage_byte_hours",
    "messages",
];

/// Refuses what cannot be a price book.
pub(crate) fn check(book: &PriceBook) -> Result<(), Wrong> {
    checked(&book.currency, currency)?;
    let from = book.valid_from.get_ref();
    if from.date.is_none() || from.time.is_some() {
        return Err(Wrong::at(&book.valid_from, "it is a date such as 2026-01-01"));
    }
    if let Some(rounding) = &book.rounding {
        one_of(rounding, &["half_up", "half_even"])?;
    }
    book.price.iter().try_for_each(price)
}

fn price(price: &Price) -> Result<(), Wrong> {
    one_of(&price.meter, METERS)?;
    one_of(&price.model, &["per_unit", "graduated"])?;
    let graduated = price.model.get_ref() == "graduated";
    if graduated && price.tiers.is_empty() {
        return Err(Wrong::at(&price.model, "a graduated price needs tiers"));
    }
    if !graduated && price.unit_price.is_none() {
        return Err(Wrong::at(&price.model, "a price per unit needs unit_price"));
    }
    if let Some(per) = &price.per {
        decimal(per)?;
        if per.get_ref().bytes().all(|b| matches!(b, b'0' | b'.')) {
            return Err(Wrong::at(per, "a price is for more than nothing"));
        }
    }
    let of_tiers = price.tiers.iter().flat_map(|t| t.up_to.iter().chain([&t.unit_price]));
    let mut amounts = price.unit_price.iter().chain(&price.free).chain(of_tiers);
    amounts.try_for_each(decimal)
}

/// Money is exact: a TOML float would not be.
fn decimal(value: &Spanned<String>) -> Result<(), Wrong> {
    checked(value, |text| {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
        let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        if !digits(whole) || !digits(fraction) {
            bail!("{text:?} is not a decimal number such as \"0.0004\"");
        }
        Ok(())
    })
}

/// A code as of ISO 4217.
pub(crate) fn currency(text: &str) -> Result<()> {
    if text.len() != 3 || !text.bytes().all(|b| b.is_ascii_uppercase()) {
        bail!("a currency is a code of three capital letters such as EUR, not {text:?}");
    }
    Ok(())
}
