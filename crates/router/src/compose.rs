//! What people read: the words of messages, mails, questions and notices. Pure text, no look-ups.

use isthmus_domain::clock::Millis;
use isthmus_store::rows;

use crate::{history::addresses, notice_html::BY_MAIL};

/// Longest history excerpt in one instant message, in characters.
const IM_QUOTE: usize = 280;
/// Longest quoted exchange in one mail, in characters; the rest is in the transcript.
const MAIL_QUOTE: usize = 8_000;
/// Longest transcript, in octets.
const TRANSCRIPT: usize = 1_000_000;

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

/// A time to come: `at 18:00`, `tomorrow at 9:15`, `on 12 Nov at 14:02`.
pub(crate) fn deadline(at: Millis, now: Millis, zone: &str) -> String {
    let zone = jiff::tz::TimeZone::get(zone).unwrap_or(jiff::tz::TimeZone::UTC);
    let (then, today) = (at.timestamp().to_zoned(zone.clone()), now.timestamp().to_zoned(zone));
    let time = then.strftime("%H:%M");
    if then.date() == today.date() {
        format!("at {time}")
    } else if today.date().tomorrow().is_ok_and(|d| d == then.date()) {
        format!("tomorrow at {time}")
    } else {
        format!("on {} at {time}", then.strftime("%-d %b"))
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
    /// It is the first one of the conversation.
    pub(crate) starts: bool,
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
    let explains = context.starts && context.answers.is_some();
    if explains || context.introduction.is_some() || context.earlier > 0 {
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

/// `14 Nov 2026 14:02`, in the tenant's zone: a mail may be read on any day.
fn moment(at: Millis, zone: &str) -> String {
    let zone = jiff::tz::TimeZone::get(zone).unwrap_or(jiff::tz::TimeZone::UTC);
    at.timestamp().to_zoned(zone).strftime("%-d %b %Y %H:%M").to_string()
}

/// `14 Nov 2026`.
pub(crate) fn day(at: Millis, zone: &str) -> String {
    let zone = jiff::tz::TimeZone::get(zone).unwrap_or(jiff::tz::TimeZone::UTC);
    at.timestamp().to_zoned(zone).strftime("%-d %b %Y").to_string()
}

/// `Bob <bob@acme.test>` on one line; the address alone where no name is known.
fn who(name: &str, address: &str) -> String {
    let name = name.split_whitespace().collect::<Vec<_>>().join(" ");
    if name.is_empty() || name == address {
        address.to_owned()
    } else {
        format!("{name} <{address}>")
    }
}

fn by_medium(message: &rows::Message) -> &'static str {
    if message.medium == "im" { "by chat" } else { "by mail" }
}

/// The exchange so far for a chat window, newest first, and how many messages did not fit.
pub(crate) fn quoted(history: &[rows::Message], now: Millis, zone: &str) -> (String, usize) {
    let blocks = history.iter().rev().map(|message| {
        let at = when(Millis(message.at), now, zone);
        let line = format!("{}, {at} ({}):\n", message.from_name, by_medium(message));
        (line, quote(&message.text))
    });
    fitting(blocks, "\n")
}

/// What `!history` says.
pub(crate) fn history_chat(quoted: &str, left_out: usize, link: &str) -> String {
    let more = match left_out {
        0 => String::new(),
        1 => "1 earlier message does not fit here. ".to_owned(),
        n => format!("{n} earlier messages do not fit here. "),
    };
    format!("{quoted}\n\n{more}The whole conversation: {link}")
}

/// The same for a mail: one quiet block, with address, time and medium above each message.
pub(crate) fn quoted_in_mail(history: &[rows::Message], zone: &str) -> (String, usize) {
    let blocks = history.iter().rev().map(|message| {
        let from = who(&message.from_name, &message.from_person);
        let at = moment(Millis(message.at), zone);
        (format!("> {from}, {at}, {}:\n", by_medium(message)), quote(&message.text))
    });
    fitting(blocks, ">\n")
}

/// A text as a quote.
fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    for line in text.trim().lines() {
        out.push_str(if line.is_empty() { ">" } else { "> " });
        out.push_str(line);
        out.push('\n');
    }
    out
}

/// As many blocks as fit, at least one, and how many are left out.
fn fitting(blocks: impl Iterator<Item = (String, String)>, between: &str) -> (String, usize) {
    let (mut out, mut left_out) = (String::new(), 0);
    for (line, text) in blocks {
        let size = line.len() + text.len();
        if left_out > 0 || out.len() + size > MAIL_QUOTE && !out.is_empty() {
            left_out += 1;
            continue;
        }
        if !out.is_empty() {
            out.push_str(between);
        }
        out.push_str(&line);
        out.push_str(&text);
    }
    (out.trim_end().to_owned(), left_out)
}

/// The whole exchange as a text file.
pub(crate) struct Transcript<'a> {
    pub(crate) subject: &'a str,
    pub(crate) messages: &'a [rows::Message],
    pub(crate) files: &'a [rows::Attachment],
    /// What became of files, by id: `attached`, or a link.
    pub(crate) fate: &'a [(String, String)],
    pub(crate) zone: &'a str,
    pub(crate) bridge_domain: &'a str,
    /// Where all of it is, if there may be more than these messages.
    pub(crate) cut: Option<&'a str>,
}

impl Transcript<'_> {
    /// Oldest first; what is too much is left out at the start, and said.
    pub(crate) fn write(&self) -> String {
        let (mut blocks, mut octets) = (Vec::new(), 0);
        for message in self.messages.iter().rev() {
            let block = self.block(message);
            octets += block.len();
            if octets > TRANSCRIPT && !blocks.is_empty() {
                break;
            }
            blocks.push(block);
        }
        let left_out = self.messages.len() - blocks.len();
        let subject = self.subject.split_whitespace().collect::<Vec<_>>().join(" ");
        let subject = if subject.is_empty() { "(no subject)" } else { &subject };
        let mut out = format!("{subject}\n\n");
        match self.cut {
            Some(link) => out.push_str(&format!("What was before this: {link}\n\n")),
            None if left_out > 0 => {
                out.push_str(&format!(
                    "{left_out} messages before this are too long to be here.\n\n"
                ));
            }
            None => {}
        }
        blocks.iter().rev().for_each(|block| out.push_str(block));
        out
    }

    fn block(&self, message: &rows::Message) -> String {
        let tz = jiff::tz::TimeZone::get(self.zone).unwrap_or(jiff::tz::TimeZone::UTC);
        let at = Millis(message.at).timestamp().to_zoned(tz);
        let mut out = format!(
            "[{}] {}\nFrom: {}\n",
            at.strftime("%Y-%m-%d %H:%M %Z"),
            by_medium(message),
            who(&message.from_name, &message.from_person)
        );
        for (field, list) in [("To", &message.to_list), ("Cc", &message.cc_list)] {
            let people = self.people(list);
            if !people.is_empty() {
                out.push_str(&format!("{field}: {people}\n"));
            }
        }
        out.push_str(&format!("\n{}\n", excerpt(&message.text, TRANSCRIPT / 4)));
        for file in self.files.iter().filter(|f| f.message_id == message.id) {
            let fate = self.fate.iter().find(|(id, _)| *id == file.id);
            let fate = fate.map(|(_, fate)| format!(", {fate}")).unwrap_or_default();
            out.push_str(&format!("[file: {}, {}{fate}]\n", file.name, size(file.size)));
        }
        out.push('\n');
        out
    }

    /// Reply addresses are secrets of whom they were made for: they are left out.
    fn people(&self, list: &str) -> String {
        let secret = format!("@{}", self.bridge_domain);
        let all = addresses(list);
        let shown = all.iter().filter(|(_, a)| !(a.starts_with("r-") && a.ends_with(&secret)));
        shown.map(|(name, address)| who(name, address)).collect::<Vec<_>>().join(", ")
    }
}

/// The line below a mail: who wrote it, and on whose behalf it comes from another address.
pub(crate) fn footer(author: &str, address: &str, company: &str) -> String {
    let author = who(author, address);
    format!("Written by {author}, sent on their behalf by {company}. Just answer this mail.")
}

/// The body of an answer that goes out as a mail: the new text first.
#[derive(Debug, Default)]
pub(crate) struct MailText {
    pub(crate) text: String,
    /// Files of the text itself that are too large to go along.
    pub(crate) links: Vec<String>,
    pub(crate) quoted: String,
    /// Messages that the quote leaves out.
    pub(crate) left_out: usize,
    /// Files of what is quoted that are too large to go along.
    pub(crate) earlier_links: Vec<String>,
    pub(crate) footer: String,
    /// Where the whole conversation is.
    pub(crate) whole: Option<String>,
}

impl MailText {
    pub(crate) fn write(&self) -> String {
        let mut out = self.text.trim_end().to_owned();
        for link in &self.links {
            out.push_str(&format!("\n{link}"));
        }
        if !self.quoted.is_empty() {
            out.push_str(&format!("\n\n{}", self.quoted));
        }
        match self.left_out {
            0 => {}
            1 => out.push_str("\n\n1 earlier message is in the attached transcript."),
            n => out.push_str(&format!("\n\n{n} earlier messages are in the attached transcript.")),
        }
        if !self.earlier_links.is_empty() {
            out.push_str(&format!("\n\nEarlier files:\n{}", self.earlier_links.join("\n")));
        }
        out.push_str(&format!("\n\n-- \n{}", self.footer));
        if let Some(link) = &self.whole {
            out.push_str(&format!(" The whole conversation: {link}"));
        }
        out.push('\n');
        out
    }
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
        let (link, address) = (&q.links[i], &q.addresses[i]);
        text.push_str(&format!("→ {what}\n{link}\n{BY_MAIL}{address}\n\n"));
    };
    line(&format!("Keep trying until {} is back (for {days})", q.name), 0);
    if q.can_email {
        line("Send it as an email instead", 1);
    }
    line("Don't send it", 2);
    text.push_str(&format!("{}\n\nAlways do the same? Settings: {}\n\n", q.otherwise, q.settings));
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
pub(crate) fn help(name: &str) -> String {
    format!(
        "What you write here goes to {name}.\n\
         !email Subject, then your text on the next lines: answers by email\n\
         !history: the conversation so far\n\
         !retry, !email, !abort (or 1, 2, 3): answers an open question\n\
         !stop: no more messages from here\n\
         !help: this"
    )
}

/// The same from the bridge itself, where nobody reads.
pub(crate) fn help_of_the_bridge(bridge_domain: &str) -> String {
    format!(
        "This is the bridge between chat and email: nobody reads here.\n\
         To write to somebody, add NAME\\40DOMAIN@{bridge_domain} as a contact: \
         bob\\40example.org@{bridge_domain} for bob@example.org\n\
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
            starts: true,
        };
        insta::assert_snapshot!(im_text("Approved, go ahead.\n", &context), @r"
        Approved, go ahead.

        ↩ Budget 2027 (your mail, today 14:02)
        > Can you approve 12,400 EUR for the pump?
        📎 offer.pdf · 48 kB · https://x/f/1
        3 earlier messages: https://x/c/1 · !email answers by mail · !help
        ");
        assert_eq!(im_text("Just this.", &ImContext::default()), "Just this.");
        // Later, where an older message is answered, only that one is shown.
        let later = ImContext { earlier: 0, link: None, starts: false, ..context };
        insta::assert_snapshot!(im_text("Yes, that one.", &later), @r"
        Yes, that one.

        ↩ Budget 2027 (your mail, today 14:02)
        > Can you approve 12,400 EUR for the pump?
        📎 offer.pdf · 48 kB · https://x/f/1
        ");
    }

    fn message(id: &str, medium: &str, from: (&str, &str), to: &str, text: &str) -> rows::Message {
        rows::Message {
            id: id.into(),
            tenant_id: "t".into(),
            conversation_id: "c".into(),
            seq: 1,
            message_id: format!("{id}@client.test"),
            medium: medium.into(),
            from_person: from.1.into(),
            from_name: from.0.into(),
            to_list: to.into(),
            cc_list: "[]".into(),
            subject: "Pump".into(),
            text: text.into(),
            quoted: None,
            html_hash: None,
            raw_hash: None,
            in_reply_to: None,
            refs: "[]".into(),
            verdict: None,
            held: None,
            automatic: false,
            transaction_id: String::new(),
            at: 1_767_268_920_000,
        }
    }

    fn exchange() -> [rows::Message; 2] {
        let to_carol = r#"[{"name":"Carol","address":"carol@customer.test"},
            {"name":"","address":"r-0secret@bridge.acme.test"}]"#;
        let to_alice = r#"[{"name":"Alice","address":"alice@acme.test"}]"#;
        let alice = ("Alice", "alice@acme.test");
        [
            message("m1", "email", alice, to_carol, "Is it fixed?\n\nAlice"),
            message("m2", "im", ("Carol\nX", "carol@customer.test"), to_alice, "Which pump?"),
        ]
    }

    #[test]
    fn a_mail_says_who_wrote_when_in_which_medium_and_for_whom() {
        let (quoted, left_out) = quoted_in_mail(&exchange(), "Europe/Berlin");
        let mail = MailText {
            text: "The big one.\n".into(),
            links: vec!["📎 plan.pdf · 30.0 MB · https://x/f/1 (until 15 Jan 2026)".into()],
            quoted,
            left_out,
            earlier_links: vec!["📎 film.mp4 · 99.0 MB · https://x/f/2 (until 15 Jan 2026)".into()],
            footer: footer("Alice", "alice@acme.test", "Acme"),
            whole: Some("https://x/c/1".into()),
        };
        insta::assert_snapshot!(mail.write(), @r"
        The big one.
        📎 plan.pdf · 30.0 MB · https://x/f/1 (until 15 Jan 2026)

        > Carol X <carol@customer.test>, 1 Jan 2026 13:02, by chat:
        > Which pump?
        >
        > Alice <alice@acme.test>, 1 Jan 2026 13:02, by mail:
        > Is it fixed?
        >
        > Alice

        Earlier files:
        📎 film.mp4 · 99.0 MB · https://x/f/2 (until 15 Jan 2026)

        -- 
        Written by Alice <alice@acme.test>, sent on their behalf by Acme. Just answer this mail. The whole conversation: https://x/c/1
        ");
        let alone =
            MailText { text: "Hello.".into(), footer: "Bye.".into(), ..MailText::default() };
        assert_eq!(alone.write(), "Hello.\n\n-- \nBye.\n");
    }

    #[test]
    fn a_transcript_names_senders_and_recipients_and_no_reply_address() {
        let file = |id: &str, name: &str| rows::Attachment {
            id: id.into(),
            tenant_id: "t".into(),
            message_id: "m2".into(),
            position: 0,
            name: name.into(),
            media_type: "image/png".into(),
            size: 48_000,
            hash: id.into(),
            content_id: None,
        };
        let messages = exchange();
        let mut transcript = Transcript {
            subject: "Broken pump",
            messages: &messages,
            files: &[file("f1", "pump.png"), file("f2", "hose.png")],
            fate: &[("f1".into(), "attached".into())],
            zone: "Europe/Berlin",
            bridge_domain: "bridge.acme.test",
            cut: None,
        };
        insta::assert_snapshot!(transcript.write(), @r"
        Broken pump

        [2026-01-01 13:02 CET] by mail
        From: Alice <alice@acme.test>
        To: Carol <carol@customer.test>

        Is it fixed?

        Alice

        [2026-01-01 13:02 CET] by chat
        From: Carol X <carol@customer.test>
        To: Alice <alice@acme.test>

        Which pump?
        [file: pump.png, 48 kB, attached]
        [file: hose.png, 48 kB]
        ");
        transcript.cut = Some("https://x/c/1");
        assert!(transcript.write().contains("What was before this: https://x/c/1"));
    }

    #[test]
    fn a_long_exchange_is_quoted_in_part_and_says_so() {
        let long = "x".repeat(7_000);
        let from = ("Alice", "alice@acme.test");
        let all: Vec<_> =
            (0..3).map(|i| message(&i.to_string(), "im", from, "[]", &long)).collect();
        assert_eq!(quoted_in_mail(&all, "UTC").1, 2);
        let mail = MailText { left_out: 2, ..MailText::default() }.write();
        assert!(mail.contains("2 earlier messages are in the attached transcript."), "{mail}");
    }

    #[test]
    fn times_are_told_in_the_zone_of_the_tenant() {
        let at = Millis(1_767_268_920_000); // 2026-01-01T12:02:00Z
        assert_eq!(when(at, at.plus_ms(60_000), "Europe/Berlin"), "today 13:02");
        assert_eq!(when(at, at.plus_ms(86_400_000), "Europe/Berlin"), "yesterday 13:02");
        assert_eq!(when(at, at.plus_ms(10 * 86_400_000), "no/such"), "1 Jan 12:02");
        assert_eq!(deadline(at.plus_ms(3_600_000), at, "Europe/Berlin"), "at 14:02");
        assert_eq!(deadline(at.plus_ms(86_400_000), at, "Europe/Berlin"), "tomorrow at 13:02");
        assert_eq!(deadline(at.plus_ms(3 * 86_400_000), at, "no/such"), "on 4 Jan at 12:02");
    }

    #[test]
    fn an_excerpt_says_that_it_is_one() {
        assert_eq!(excerpt("short", 10), "short");
        assert_eq!(excerpt("some words that run on", 12), "some words […]");
    }
}
