//! Why a mail is not taken, as the SMTP reply and the API say it.

/// What is wrong with a mail; the text is a sentence for its sender.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// More `Received:` fields than a mail collects without going in circles.
    #[error("the mail went through {0} servers, which means that it goes in circles")]
    Hops(usize),
    /// No header at all, or a line in it that is no field.
    #[error("the header is malformed: {0}")]
    Header(&'static str),
    /// The header exceeds a bound (RFC 5322 names none; these are far above real mail).
    #[error("the header is too large: {0}")]
    HeaderSize(&'static str),
    /// A field that may appear once appears again (RFC 5322 section 3.6).
    #[error("the header field {0} appears more than once")]
    Duplicate(&'static str),
    /// There is no `From:` with an address in it.
    #[error("the mail has no From address that can be read")]
    From,
    /// Content-Type, boundary or transfer encoding contradict themselves or each other.
    #[error("the structure of the mail is contradictory: {0}")]
    Structure(&'static str),
    /// Too many parts, too deep, too many parameters.
    #[error("the structure of the mail is too complex: {0}")]
    Complexity(&'static str),
}

impl Refusal {
    /// The SMTP reply code; every refusal is permanent.
    #[must_use]
    pub fn code(&self) -> u16 {
        554
    }

    /// The enhanced status code (RFC 3463 section 3, RFC 7372).
    #[must_use]
    pub fn enhanced(&self) -> &'static str {
        match self {
            Self::Hops(_) => "5.4.6",
            Self::From => "5.1.7",
            Self::Header(_)
            | Self::HeaderSize(_)
            | Self::Duplicate(_)
            | Self::Structure(_)
            | Self::Complexity(_) => "5.6.0",
        }
    }
}
