//! How mail programs in several languages announce quoted and forwarded mails.
//! To add a language: add its words to each list, and a fixture to `quote_tests.rs`.

/// What a labelled line of a quoted header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Label {
    From,
    Date,
    To,
    Cc,
    Subject,
    /// Reply-To, Importance, Attachments and the like: part of the header, not looked at.
    Other,
}

const LABELS: [(Label, &[&str]); 6] = [
    (
        Label::From,
        &["from", "von", "de", "da", "van", "från", "fra", "od", "expéditeur", "absender"],
    ),
    (
        Label::Date,
        &[
            "sent",
            "date",
            "gesendet",
            "datum",
            "envoyé",
            "enviado",
            "enviado el",
            "fecha",
            "inviato",
            "data",
            "verzonden",
            "skickat",
            "sendt",
            "dato",
            "envoyé le",
            "gesendet am",
            "wysłano",
        ],
    ),
    (
        Label::To,
        &["to", "an", "à", "a", "para", "aan", "till", "til", "do", "destinataire", "empfänger"],
    ),
    (Label::Cc, &["cc", "kopie", "kopie (cc)", "copie à", "copia"]),
    (
        Label::Subject,
        &[
            "subject",
            "betreff",
            "objet",
            "asunto",
            "oggetto",
            "assunto",
            "onderwerp",
            "ämne",
            "emne",
            "temat",
        ],
    ),
    (
        Label::Other,
        &[
            "reply-to",
            "antwort an",
            "répondre à",
            "responder a",
            "importance",
            "wichtigkeit",
            "priority",
            "attachments",
            "anlagen",
            "anhänge",
            "pièces jointes",
            "adjuntos",
            "bcc",
            "message-id",
            "resent-from",
            "cci",
            "organisation",
            "organization",
        ],
    ),
];

/// Reads `Label: value`, also in bold as `*Label:* value` or `**Label:** value`.
pub(super) fn labelled(line: &str) -> Option<(Label, &str)> {
    let line = line.trim().trim_start_matches('*').trim_start();
    let colon = line.bytes().take(41).position(|b| b == b':')?;
    let word = line[..colon].trim_matches(|c: char| c == '*' || c.is_whitespace()).to_lowercase();
    let (label, _) = LABELS.iter().find(|(_, words)| words.contains(&word.as_str()))?;
    let value = line[colon + 1..].trim_start_matches('*').trim().trim_end_matches('*');
    Some((*label, value))
}

/// What stands between dashes above a forwarded mail.
const FORWARD_MARKS: [&str; 14] = [
    "forwarded message",
    "weitergeleitete nachricht",
    "message transféré",
    "message transmis",
    "mensaje reenviado",
    "messaggio inoltrato",
    "mensagem encaminhada",
    "mensagem reencaminhada",
    "doorgestuurd bericht",
    "vidarebefordrat meddelande",
    "videresendt meddelelse",
    "message réexpédié",
    "weitergeleitete e-mail",
    "forwarded by",
];

/// What Apple Mail writes there, without dashes.
const APPLE_FORWARD_MARKS: [&str; 8] = [
    "begin forwarded message:",
    "anfang der weitergeleiteten nachricht:",
    "anfang der weitergeleiteten e-mail:",
    "début du message réexpédié :",
    "début du message transféré :",
    "inicio del mensaje reenviado:",
    "inizio messaggio inoltrato:",
    "begin doorgestuurd bericht:",
];

/// What stands between dashes above a quoted mail.
const ORIGINAL_MARKS: [&str; 12] = [
    "original message",
    "ursprüngliche nachricht",
    "originalnachricht",
    "original-nachricht",
    "ursprüngliche e-mail",
    "message d'origine",
    "message original",
    "mensaje original",
    "messaggio originale",
    "mensagem original",
    "oorspronkelijk bericht",
    "ursprungligt meddelande",
];

/// The mark that a line is, if it is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    Forward,
    Original,
}

/// Reads a line such as `---------- Forwarded message ---------`.
pub(super) fn mark(line: &str) -> Option<Mark> {
    if line.len() < 12 || line.len() > 120 {
        return None;
    }
    let line = line.trim().trim_matches('*').trim();
    if !(line.starts_with(['-', '_', '=']) || line.ends_with(':')) {
        return None;
    }
    let lower = line.replace('\u{2019}', "'").replace('\u{a0}', " ").to_lowercase();
    if APPLE_FORWARD_MARKS.contains(&lower.as_str()) {
        return Some(Mark::Forward);
    }
    let inner = lower.trim_matches(['-', '_', '=']);
    if lower.len() - inner.len() < 6 {
        return None;
    }
    let inner = inner.trim().trim_end_matches(':');
    if FORWARD_MARKS.iter().any(|m| inner == *m || (m.ends_with(" by") && inner.starts_with(m))) {
        Some(Mark::Forward)
    } else if ORIGINAL_MARKS.contains(&inner) {
        Some(Mark::Original)
    } else {
        None
    }
}

/// How a line above a quote begins and ends: "On … wrote:".
const ATTRIBUTIONS: [(&str, &[&str]); 11] = [
    ("on ", &["wrote", "writes", "said"]),
    ("am ", &["schrieb"]),
    ("le ", &["a écrit", "écrivait"]),
    ("el ", &["escribió"]),
    ("il ", &["ha scritto"]),
    ("em ", &["escreveu"]),
    ("op ", &["schreef"]),
    ("den ", &["skrev"]),
    ("w dniu ", &["napisał", "pisze"]),
    ("dne ", &["napsal"]),
    ("på ", &["skrev"]),
];

/// How an attribution looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Attribution {
    /// Opener, verb, and a date or address: an attribution even without a quote below it.
    Full,
    /// A line with such a verb before its colon: one only directly above a quote.
    Loose,
}

/// Whether a line can be the first of a full attribution; cheap, since every line is asked.
pub(super) fn opens_attribution(line: &str) -> bool {
    ATTRIBUTIONS.iter().any(|(opener, _)| {
        line.get(..opener.len()).is_some_and(|start| {
            start.eq_ignore_ascii_case(opener)
                || (!start.is_ascii() && start.to_lowercase() == *opener)
        })
    })
}

/// Judges a line, or several joined with spaces.
pub(super) fn attribution(line: &str) -> Option<Attribution> {
    let line = line.trim();
    if line.len() > 500 || !line.ends_with(':') {
        return None;
    }
    let lower = line.to_lowercase().replace(['\u{a0}', '\u{202f}'], " ");
    let body = lower.trim_end_matches(':').trim_end();
    let dated = body.bytes().filter(u8::is_ascii_digit).count() >= 3;
    for (opener, verbs) in ATTRIBUTIONS {
        let Some(verb) = verbs.iter().find_map(|v| body.rfind(v).map(|at| at + v.len())) else {
            continue;
        };
        // German puts the name after the verb, with an address at most.
        let near_end = body.len() - verb <= 120;
        if near_end && body.starts_with(opener) && dated {
            return Some(Attribution::Full);
        }
        if near_end {
            return Some(Attribution::Loose);
        }
    }
    None
}

/// Lines that phones and programs add below a text.
const MOBILE: [&str; 22] = [
    "sent from my ",
    "sent from mail for ",
    "sent from outlook for ",
    "get outlook for ",
    "sent via ",
    "sent from yahoo",
    "sent with proton mail",
    "sent from proton mail",
    "sent from the all new ",
    "von meinem ",
    "gesendet von ",
    "gesendet mit ",
    "outlook für ",
    "von iphone gesendet",
    "envoyé de mon ",
    "envoyé depuis ",
    "télécharger outlook pour ",
    "enviado desde ",
    "obtener outlook para ",
    "inviato da ",
    "verstuurd vanaf ",
    "enviado do meu ",
];

/// Whether a line is such a one.
pub(super) fn is_mobile_line(line: &str) -> bool {
    let line = line.trim();
    line.len() <= 100 && {
        let lower = line.to_lowercase();
        MOBILE.iter().any(|m| lower.starts_with(m))
    }
}
