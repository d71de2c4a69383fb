//! What the checks of a mail's origin found.

use serde::{Deserialize, Serialize};

/// The result of one method, in the words of RFC 8601 section 2.7.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Authorised, or a valid signature.
    Pass,
    /// Not authorised, or a signature that does not hold.
    Fail,
    /// Probably not authorised.
    SoftFail,
    /// The domain says nothing either way.
    Neutral,
    /// Nothing is published, or there is no signature.
    None,
    /// No answer; a later try may give one.
    TempError,
    /// What is published cannot be understood.
    PermError,
}

impl Outcome {
    /// As it is written in an Authentication-Results field.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::SoftFail => "softfail",
            Self::Neutral => "neutral",
            Self::None => "none",
            Self::TempError => "temperror",
            Self::PermError => "permerror",
        }
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Whether a mail comes from whom its From names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// SPF of the envelope sender, or of the greeting's name for bounces (RFC 7208 section 2.4).
    pub spf: Outcome,
    /// The best of all DKIM signatures (RFC 6376).
    pub dkim: Outcome,
    /// DMARC of the From domain.
    pub dmarc: Outcome,
    /// The From domain is authenticated: SPF or DKIM passes for it, whatever policy it publishes.
    pub aligned: bool,
    /// The domain asks for such mail to be rejected or quarantined, or a server before us called it bad.
    pub reject_or_quarantine: bool,
    /// Something that could have authenticated the domain got no answer. Never set with `aligned`.
    pub temperror: bool,
    /// One line that says what was found, for a person.
    pub detail: String,
}
