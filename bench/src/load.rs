//! Mail in quantity: smtp-source for rates, sessions of our own where each mail is timed.

pub(crate) mod mail;
pub(crate) mod open_loop;
pub(crate) mod smtp;
pub(crate) mod source;

/// Stands in front of the number that a timed message carries.
pub(crate) const MARK: &str = "mark=";
/// Digits of that number.
pub(crate) const MARK_DIGITS: usize = 8;
