//! Who wrote a mail: SPF, DKIM and DMARC of what comes in, DKIM for what goes out.

mod dkim;
mod extract;
mod verdict;
mod verify;

#[cfg(test)]
mod dns_stub;
#[cfg(test)]
mod tests;

pub use dkim::{BadKey, DkimKey};
pub use extract::Extract;
pub use verdict::{Outcome, Verdict};
pub use verify::Verifier;
