//! Subjects and thread keys: what belongs to what.

use super::model::Parsed;

/// Prefixes that mail programs put before the subject of an answer or a forwarded mail.
const PREFIXES: [&str; 23] = [
    "re",
    "aw",
    "antw",
    "antwort",
    "sv",
    "vs",
    "r",
    "rif",
    "res",
    "odp",
    "ynt", // answers
    "fwd",
    "fw",
    "wg",
    "tr",
    "rv",
    "i",
    "enc",
    "vl",
    "doorst",
    "vb",
    "pd",
    "weitergeleitet",
];

/// Prefixes that say "forwarded".
const FORWARDS: [&str; 12] =
    ["fwd", "fw", "wg", "tr", "rv", "i", "enc", "vl", "doorst", "vb", "pd", "weitergeleitet"];

/// The prefix of `subject` in lower case and what follows its colon.
fn prefix(subject: &str) -> Option<(String, &str)> {
    let subject = subject.trim_start();
    let colon = subject.find([':', '：'])?;
    let rest = subject[colon..].trim_start_matches([':', '：']);
    // RFC 5256 section 2.1: `Re[2]:`; some programs write `Re(2):` or `Re^2:`.
    let word = subject[..colon].trim_end();
    let word =
        word.trim_end_matches(|c: char| c.is_ascii_digit() || "[]()^".contains(c)).trim_end();
    let word = word.to_lowercase();
    PREFIXES.contains(&word.as_str()).then_some((word, rest))
}

/// The subject without `Re:`, `AW:`, `Fwd:` and their kin (RFC 5256 section 2.1 in spirit).
///
/// A tag in brackets (`[list]`) is left out too, unless nothing else is there.
#[must_use]
pub fn base_subject(subject: &str) -> String {
    let mut rest = subject.trim();
    loop {
        if let Some((_, after)) = prefix(rest) {
            rest = after.trim();
        } else if let Some(after) = without_tag(rest) {
            rest = after;
        } else if let Some(inner) = bracketed_forward(rest) {
            rest = inner;
        } else {
            break;
        }
    }
    rest.strip_suffix("(fwd)").unwrap_or(rest).split_whitespace().collect::<Vec<_>>().join(" ")
}

/// `[tag] rest`, if there is a rest.
fn without_tag(subject: &str) -> Option<&str> {
    let inner = subject.strip_prefix('[')?;
    let (tag, rest) = inner.split_once(']')?;
    let rest = rest.trim_start();
    (!tag.contains('[') && !rest.is_empty()).then_some(rest)
}

/// `[Fwd: rest]`.
fn bracketed_forward(subject: &str) -> Option<&str> {
    let inner = subject.strip_prefix('[')?.strip_suffix(']')?;
    prefix(inner).map(|(_, rest)| rest.trim())
}

/// The subject for an answer: `Re: ` once, before the base subject with its list tag.
#[must_use]
pub fn reply_subject(subject: &str) -> String {
    let mut rest = subject.trim();
    while let Some((_, after)) = prefix(rest) {
        rest = after.trim();
    }
    if rest.is_empty() { "Re:".to_owned() } else { format!("Re: {rest}") }
}

/// Whether the subject begins as a forwarded mail's does.
pub(crate) fn is_forward(subject: &str) -> bool {
    let subject = subject.trim();
    let subject = subject.strip_prefix('[').unwrap_or(subject);
    prefix(subject).is_some_and(|(word, _)| FORWARDS.contains(&word.as_str()))
}

/// The message ids by which a mail finds its conversation, the nearest first:
/// all of In-Reply-To, then References from the last to the first, each once.
#[must_use]
pub fn thread_keys(mail: &Parsed) -> Vec<String> {
    let mut keys: Vec<String> = Vec::new();
    for id in mail.in_reply_to.iter().chain(mail.references.iter().rev()) {
        if !keys.contains(id) {
            keys.push(id.clone());
        }
    }
    keys
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base_subjects_lose_every_prefix() {
        for (given, want) in [
            ("Re: AW: Fwd: Budget 2027", "Budget 2027"),
            ("RE[2]: WG:  Budget   2027", "Budget 2027"),
            ("[team] Re: Budget 2027", "Budget 2027"),
            ("[Fwd: Budget 2027]", "Budget 2027"),
            ("Rép : ok", "Rép : ok"),
            ("Budget: Re: done", "Budget: Re: done"),
            ("[urgent]", "[urgent]"),
            ("Re:", ""),
        ] {
            assert_eq!(base_subject(given), want, "{given:?}");
        }
    }

    #[test]
    fn an_answer_has_one_prefix() {
        assert_eq!(reply_subject("Broken pump"), "Re: Broken pump");
        assert_eq!(reply_subject("AW: Re: Broken pump"), "Re: Broken pump");
        assert_eq!(reply_subject("Re: [team] Broken pump"), "Re: [team] Broken pump");
        assert!(is_forward("WG: x") && is_forward("Fwd: x") && !is_forward("Re: x"));
    }
}
