//! Delivery status notifications (RFC 3464), and what their predecessors say in header fields.

use isthmus_domain::address::Email;

use super::{
    decode,
    model::{Action, RecipientReport, Report},
    structure::{Part, Tree},
    values,
};

/// Recipients that are read of one report.
const MAX_RECIPIENTS: usize = 500;
/// Octets of a diagnostic that are kept.
const MAX_DIAGNOSTIC: usize = 1_000;

/// The report that a mail is, if it is one.
pub(crate) fn read(tree: &Tree<'_>) -> Option<Report> {
    let root = tree.root();
    if !root.is_type("multipart", "report") {
        return failed_recipients(root);
    }
    let status = tree.parts.iter().find(|p| {
        p.is_type("message", "delivery-status") || p.is_type("message", "global-delivery-status")
    })?;
    let mut report = fields(&decode::tidy(&String::from_utf8_lossy(&decode::octets(status))));
    report.original_message_id = tree.parts.iter().find_map(returned_id);
    Some(report)
}

/// Message-ID of the returned mail, whole or its header only (RFC 3462 section 3).
fn returned_id(part: &Part<'_>) -> Option<String> {
    let returned =
        ["rfc822", "global", "global-headers"].iter().any(|s| part.is_type("message", s))
            || part.is_type("text", "rfc822-headers");
    if !returned {
        return None;
    }
    let octets = decode::octets(part);
    let text =
        String::from_utf8_lossy(&octets[..octets.len().min(64 * 1024)]).replace("\r\n", "\n");
    let header = text.split("\n\n").next()?;
    let unfolded = header.replace("\n ", " ").replace("\n\t", " ");
    let line = unfolded
        .lines()
        .find(|l| l.get(..11).is_some_and(|n| n.eq_ignore_ascii_case("message-id:")))?;
    values::ids(format!("{}\r\n", &line[11..]).as_bytes(), 1).pop()
}

/// Exim's older bounces name the recipients in the header only.
fn failed_recipients(root: &Part<'_>) -> Option<Report> {
    let value = root.value("X-Failed-Recipients")?;
    let recipients: Vec<RecipientReport> = values::mailboxes(value)
        .0
        .into_iter()
        .take(MAX_RECIPIENTS)
        .map(|m| RecipientReport {
            recipient: Some(m.email),
            original: None,
            action: Action::Failed,
            status: "5.0.0".to_owned(),
            diagnostic: None,
        })
        .collect();
    (!recipients.is_empty()).then(|| Report { recipients, ..Report::default() })
}

/// Groups of fields, the first about the mail, each further one about a recipient (section 2.1).
fn fields(text: &str) -> Report {
    let mut report = Report::default();
    let unfolded = text.replace("\n ", " ").replace("\n\t", " ");
    for group in unfolded.split("\n\n").filter(|g| !g.trim().is_empty()).take(MAX_RECIPIENTS + 1) {
        let value = |name: &str| {
            group.lines().find_map(|line| {
                let (n, v) = line.split_once(':')?;
                n.trim().eq_ignore_ascii_case(name).then(|| values::one_line(v).trim().to_owned())
            })
        };
        if let Some(id) = value("Original-Envelope-Id") {
            report.envelope_id = Some(xtext(&id));
        }
        if let Some(mta) = value("Reporting-MTA") {
            report.reporting_mta = Some(typed(&mta).to_owned());
        }
        let Some(action) = value("Action").and_then(|a| action(&a)) else { continue };
        report.recipients.push(RecipientReport {
            recipient: value("Final-Recipient").and_then(|r| address(&r)),
            original: value("Original-Recipient").and_then(|r| address(&r)),
            action,
            status: value("Status").map(|s| status(&s)).unwrap_or_default(),
            diagnostic: value("Diagnostic-Code")
                .map(|d| typed(&d).chars().take(MAX_DIAGNOSTIC).collect()),
        });
    }
    report
}

/// What follows the type in `rfc822; bob@acme.test` or `smtp; 550 no such user`.
fn typed(value: &str) -> &str {
    value.split_once(';').map_or(value, |(_, v)| v).trim()
}

fn address(value: &str) -> Option<Email> {
    Email::parse(xtext(typed(value)).trim_matches(['<', '>'])).ok()
}

/// Undoes xtext (RFC 3461 section 4): `+` and two upper-case hex digits.
fn xtext(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(n) = rest.find('+') {
        out.push_str(&rest[..n]);
        let code = rest
            .get(n + 1..n + 3)
            .filter(|c| c.bytes().all(|b| b.is_ascii_digit() || (b'A'..=b'F').contains(&b)));
        match code.and_then(|c| u8::from_str_radix(c, 16).ok()).filter(|b| (33..=126).contains(b)) {
            Some(b) => {
                out.push(char::from(b));
                rest = &rest[n + 3..];
            }
            None => {
                out.push('+');
                rest = &rest[n + 1..];
            }
        }
    }
    out.push_str(rest);
    out
}

/// `5.1.1` of `5.1.1 (no such user)`.
fn status(value: &str) -> String {
    value
        .split_whitespace()
        .next()
        .unwrap_or("")
        .chars()
        .filter(|c| c.is_ascii_digit() || *c == '.')
        .take(11)
        .collect()
}

fn action(value: &str) -> Option<Action> {
    let word = value.split_whitespace().next()?.to_ascii_lowercase();
    Some(match word.as_str() {
        "failed" => Action::Failed,
        "delayed" => Action::Delayed,
        "delivered" => Action::Delivered,
        "relayed" => Action::Relayed,
        "expanded" => Action::Expanded,
        _ => return None,
    })
}
