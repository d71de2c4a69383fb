//! What people type in chat: commands start with `!`, everything else is simply the answer.

use crate::{delivery::Choice, text::one_line_without_controls};

/// A line of chat, understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Chat {
    /// The answer itself.
    Text(String),
    /// An answer to the open question.
    Decide(Choice),
    /// Answer by email; bare, it answers an open question.
    Email {
        /// What stood on the command's line, as one line without control characters.
        subject: Option<String>,
        /// The lines below it.
        text: String,
    },
    /// Send the history again.
    History,
    /// Explain.
    Help,
    /// Never write to me again from here.
    Stop,
    /// Starts with `!` and is none of ours: gets a helpful line, never goes out.
    Mistyped(String),
}

/// Reads a chat message. `1`, `2` and `3` are answers only while a question is open.
#[must_use]
pub fn read_chat(body: &str, question_open: bool) -> Chat {
    let trimmed = body.trim();
    if question_open {
        match trimmed {
            "1" => return Chat::Decide(Choice::Retry),
            "2" => return Chat::Decide(Choice::Email),
            "3" => return Chat::Decide(Choice::Abort),
            _ => {}
        }
    }
    let Some(rest) = trimmed.strip_prefix('!') else {
        return Chat::Text(body.trim_end().to_owned());
    };
    // "!!!" or "! careful" is somebody shouting, not a command.
    if !rest.starts_with(|c: char| c.is_ascii_alphabetic()) {
        return Chat::Text(body.trim_end().to_owned());
    }
    let (first, below) = rest.split_once('\n').unwrap_or((rest, ""));
    let (word, arguments) =
        first.trim().split_once(char::is_whitespace).unwrap_or((first.trim(), ""));
    match word.to_ascii_lowercase().as_str() {
        "email" | "mail" => Chat::Email {
            subject: Some(one_line_without_controls(arguments)).filter(|s| !s.is_empty()),
            text: below.trim_matches('\n').trim_end().to_owned(),
        },
        "retry" => Chat::Decide(Choice::Retry),
        "abort" => Chat::Decide(Choice::Abort),
        "history" => Chat::History,
        "help" => Chat::Help,
        "stop" => Chat::Stop,
        other => Chat::Mistyped(other.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_answer_only_an_open_question() {
        assert_eq!(read_chat("2", true), Chat::Decide(Choice::Email));
        assert_eq!(read_chat("2", false), Chat::Text("2".into()));
    }

    #[test]
    fn email_takes_its_text_from_the_lines_below() {
        assert_eq!(
            read_chat("!email Broken pump\nIt is fixed.\nBob", false),
            Chat::Email { subject: Some("Broken pump".into()), text: "It is fixed.\nBob".into() }
        );
        assert_eq!(read_chat("!email", true), Chat::Email { subject: None, text: String::new() });
    }

    #[test]
    fn a_subject_is_one_line_whatever_was_typed() {
        for typed in ["!email a\tb\nText", "!email\ta\u{2028}b\r\nText", "!email a\u{7f} b\nText"] {
            assert_eq!(
                read_chat(typed, false),
                Chat::Email { subject: Some("a b".into()), text: "Text".into() },
                "{typed:?}"
            );
        }
    }

    #[test]
    fn a_mistyped_command_is_not_an_answer_but_shouting_is() {
        assert_eq!(read_chat("!emial x", false), Chat::Mistyped("emial".into()));
        assert_eq!(read_chat("!!! urgent", false), Chat::Text("!!! urgent".into()));
    }
}
