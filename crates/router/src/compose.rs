//! What people read: the words of messages, mails, questions and notices. Pure text, no look-ups.

use isthmus_domain::clock::Millis;
use isthmus_store::rows;

/// Longest history excerpt in one instant message, in characters.
const IM_QUOTE: usize = 280;
/// Longest quoted exchange in one mail, in characters; the rest is in the transcript.
const MAIL_QUOTE: usize = 8_000;

/// A time as people say it: `today 14:02`, `yesterday 9:15`, `12 Nov 14:02`, in their own zone.
pub(crate) fn when(at: Millis, now: Millis, zone: &str) -> String {
    let zone = jiff::tz::TimeZone::get(zone).unwrap_or(jiff::tz::TimeZone::UTC);
    let (then, today) = (at.timestamp().to_zoned(zone.clone()), now.timestamp().to_zoned(zone));
    let time = then.strftime("%H:%M");
    if then.date() == today.date() {
        format!("today {time}")
    } else if then.date().tomorrow().is_ok_and(|d| d == today.date()) {
        format!("yesterday {time}")
    } else if then.year() == today.year() {
        format!("{} {time}", then.strftime("%-d %b"))
    } else {
        format!("{} {time}", then.strftime("%-d %b %Y"))
    }
}

/// `48 kB`, `3.1 MB`.
pub(crate) fn size(octets: i64) -> String {
    match octets {
        ..1_000 => format!("{octets} B"),
        1_000..1_000_000 => format!("{} kB", octets / 1_000),
        _ => format!("{}.{} MB", octets / 1_000_000, octets % 1_000_000 / 100_000),
    }
}

/// Cuts at a character boundary and says so.
pub(crate) fn excerpt(text: &str, limit: usize) -> String {
    let flat = text.trim();
    match flat.char_indices().nth(limit) {
        None => flat.to_owned(),
        Some((end, _)) => {
            let cut = &flat[..end];
            let cut =
                cut.rfind(char::is_whitespace).filter(|i| *i > end / 2).map_or(cut, |i| &cut[..i]);
            format!("{} […]", cut.trim_end())
        }
    }
}

/// What comes below the first instant message in a conversation.
#[derive(Debug, Default)]
pub(crate) struct ImContext {
    /// The message that is answered, as the recipient knows it.
    pub(crate) answers: Option<Answered>,
    /// Earlier messages that are not shown.
    pub(crate) earlier: usize,
    /// Where the whole can be read.
    pub(crate) link: Option<String>,
    /// Says who this is, at the first contact ever.
    pub(crate) introduction: Option<String>,
}

/// The message that is answered.
#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) subject: String,
    /// `your mail`, `Alice's mail`, `your message`.
    pub(crate) whose: String,
    pub(crate) when: String,
    pub(crate) text: String,
    /// Name, size and link of each file.
    pub(crate) files: Vec<(String, i64, String)>,
}

/// An instant message with what travels along: the new text first.
pub(crate) fn im_text(text: &str, context: &ImContext) -> String {
    let mut out = text.trim_end().to_owned();
    let mut below = String::new();
    if let Some(answered) = &context.answers {
        let subject = if answered.subject.is_empty() { "(no subject)" } else { &answered.subject };
        below.push_str(&format!("↩ {subject} ({}, {})\n", answered.whose, answered.when));
        for line in excerpt(&answered.text, IM_QUOTE).lines().filter(|l| !l.trim().is_empty()) {
            below.push_str(&format!("> {line}\n"));
        }
        for (name, octets, link) in &answered.files {
            below.push_str(&format!("📎 {name} · {} · {link}\n", size(*octets)));
        }
    }
    if context.answers.is_some() || context.introduction.is_some() || context.earlier > 0 {
        let earlier = match (context.earlier, &context.link) {
            (0, _) => String::new(),
            (1, Some(link)) => format!("1 earlier message: {link} · "),
            (n, Some(link)) => format!("{n} earlier messages: {link} · "),
            (n, None) => format!("{n} earlier messages · "),
        };
        below.push_str(&format!("{earlier}!email answers by mail · !help"));
    }
    if let Some(introduction) = &context.introduction {
        below.push_str(&format!("\n{introduction}"));
    }
    if !below.is_empty() {
        out.push_str("\n\n");
        out.push_str(below.trim_end());
    }
    out
}

/// One line above a quoted message: who, when, by which medium.
fn attribution(message: &rows::Message, now: Millis, zone: &str) -> String {
    let medium = if message.medium == "im" { "by chat" } else { "by mail" };
    format!("{}, {} ({medium}):", message.from_name, when(Millis(message.at), now, zone))
}

/// The exchange so far as a quoted block, newest first, and how many messages did not fit.
pub(crate) fn quoted(history: &[rows::Message], now: Millis, zone: &str) -> (String, usize) {
    let (mut out, mut left_out) = (String::new(), 0);
    for message in history.iter().rev() {
        let mut block = format!("{}\n", attribution(message, now, zone));
        for line in message.text.trim().lines() {
            block.push_str(if line.is_empty() { ">" } else { "> " });
            block.push_str(line);
            block.push('\n');
        }
        if left_out > 0 || out.len() + block.len() > MAIL_QUOTE && !out.is_empty() {
            left_out += 1;
            continue;
        }
        out.push_str(&block);
        out.push('\n');
    }
    (out.trim_end().to_owned(), left_out)
}

/// The whole exchange, oldest first, as a text file.
pub(crate) fn transcript(
    subject: &str,
    history: &[rows::Message],
    files: &[rows::Attachment],
    zone: &str,
) -> String {
    let tz = jiff::tz::TimeZone::get(zone).unwrap_or(jiff::tz::TimeZone::UTC);
    let mut out = format!("{}\n\n", if subject.is_empty() { "(no subject)" } else { subject });
    for message in history {
        let at = Millis(message.at).timestamp().to_zoned(tz.clone());
        out.push_str(&format!(
            "[{}] {} ({})\n{}\n",
            at.strftime("%Y-%m-%d %H:%M %Z"),
            message.from_name,
            message.medium,
            message.text.trim_end()
        ));
        for file in files.iter().filter(|f| f.message_id == message.id) {
            out.push_str(&format!("[file: {}, {}]\n", file.name, size(file.size)));
        }
        out.push('\n');
    }
    out
}

/// The body of an answer that goes out as a mail.
pub(crate) fn mail_text(
    text: &str,
    quoted: &str,
    left_out: usize,
    link: Option<&str>,
    author: &str,
    company: &str,
) -> String {
    let mut out = text.trim_end().to_owned();
    if !quoted.is_empty() {
        out.push_str("\n\n");
        out.push_str(quoted);
    }
    if left_out > 0 {
        out.push_str(&format!("\n\n{left_out} earlier messages are in the attached transcript."));
    }
    out.push_str(&format!("\n\n-- \nSent by {author} through {company}. Just answer this mail."));
    if let Some(link) = link {
        out.push_str(&format!(" The whole conversation: {link}"));
    }
    out.push('\n');
    out
}

/// The question as a mail: three links, three addresses.
#[derive(Debug)]
pub(crate) struct Question<'a> {
    pub(crate) name: &'a str,
    pub(crate) text: &'a str,
    pub(crate) can_email: bool,
    pub(crate) keep_days: i64,
    pub(crate) otherwise: String,
    pub(crate) links: [String; 3],
    pub(crate) addresses: [String; 3],
    pub(crate) settings: String,
}

/// Subject and text of the question.
pub(crate) fn question_mail(q: &Question<'_>) -> (String, String) {
    let subject = format!("{} is away. What shall we do with your message?", q.name);
    let days = if q.keep_days == 1 { "1 day".to_owned() } else { format!("{} days", q.keep_days) };
    let mut text = format!("{} is not reachable by chat right now.\n\n", q.name);
    let mut line = |what: &str, i: usize| {
        text.push_str(&format!("→ {what}\n   {}\n   or by mail: {}\n", q.links[i], q.addresses[i]));
    };
    line(&format!("Keep trying until {} is back (for {days})", q.name), 0);
    if q.can_email {
        line("Send it as an email instead", 1);
    }
    line("Don't send it", 2);
    text.push_str(&format!(
        "\n{}\n\nAlways do the same? Settings: {}\n\n",
        q.otherwise, q.settings
    ));
    text.push_str("Your message:\n");
    for l in excerpt(q.text, 1_000).lines() {
        text.push_str(&format!("> {l}\n"));
    }
    (subject, text)
}

/// The question as a chat message.
pub(crate) fn question_chat(
    name: &str,
    can_email: bool,
    keep_days: i64,
    otherwise: &str,
) -> String {
    let days = if keep_days == 1 { "1 day".to_owned() } else { format!("{keep_days} days") };
    let email = if can_email { "2  Send it as an email instead\n" } else { "" };
    format!(
        "{name} is not reachable by chat right now. What shall we do with your message?\n\
         1  Keep trying until {name} is back (for {days})\n{email}3  Don't send it\n{otherwise}"
    )
}

/// What `!help` says.
pub(crate) fn help(name: Option<&str>) -> String {
    let who = name.map_or_else(
        || "This is the bridge between chat and email.".to_owned(),
        |n| format!("What you write here goes to {n}."),
    );
    format!(
        "{who}\n\
         !email Subject, then your text on the next lines: answers by email\n\
         !history: the conversation so far\n\
         !retry, !email, !abort (or 1, 2, 3): answers an open question\n\
         !stop: no more messages from here\n\
         !help: this"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_message_carries_what_it_answers_and_later_ones_only_their_text() {
        let context = ImContext {
            answers: Some(Answered {
                subject: "Budget 2027".into(),
                whose: "your mail".into(),
                when: "today 14:02".into(),
                text: "Can you approve 12,400 EUR for the pump?".into(),
                files: vec![("offer.pdf".into(), 48_000, "https://x/f/1".into())],
            }),
            earlier: 3,
            link: Some("https://x/c/1".into()),
            introduction: None,
        };
        insta::assert_snapshot!(im_text("Approved, go ahead.\n", &context), @r"
        Approved, go ahead.

        ↩ Budget 2027 (your mail, today 14:02)
        > Can you approve 12,400 EUR for the pump?
        📎 offer.pdf · 48 kB · https://x/f/1
        3 earlier messages: https://x/c/1 · !email answers by mail · !help
        ");
        assert_eq!(im_text("Just this.", &ImContext::default()), "Just this.");
    }

    #[test]
    fn times_are_told_in_the_zone_of_the_tenant() {
        let at = Millis(1_767_268_920_000); // 2026-01-01T12:02:00Z
        assert_eq!(when(at, at.plus_ms(60_000), "Europe/Berlin"), "today 13:02");
        assert_eq!(when(at, at.plus_ms(86_400_000), "Europe/Berlin"), "yesterday 13:02");
        assert_eq!(when(at, at.plus_ms(10 * 86_400_000), "no/such"), "1 Jan 12:02");
    }

    #[test]
    fn an_excerpt_says_that_it_is_one() {
        assert_eq!(excerpt("short", 10), "short");
        assert_eq!(excerpt("some words that run on", 12), "some words […]");
    }
}
