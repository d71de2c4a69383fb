//! Ad-hoc commands (XEP-0050): the text commands as menus and forms.

use std::{collections::HashMap, sync::Mutex, time::Duration};

use isthmus_domain::clock::{Chance, Millis};
use isthmus_im::Event;
use minidom::Element;
use tokio::{sync::oneshot, time::timeout};

use super::{Answer, Request};
use crate::{jid::Target, lock, ns, stanza::error::StanzaError, xml::Xml};

/// Nodes and titles, as a client lists them.
pub(super) const LIST: [(&str, &str); 4] = [
    ("email", "Answer by email"),
    ("decide", "Decide about an undelivered message"),
    ("history", "Show the history"),
    ("help", "Help"),
];

/// Forms that are open at once, and how long each stays open.
const OPEN_MAX: usize = 1_000;
const OPEN_FOR_MS: i64 = 15 * 60 * 1_000;
/// How long the answer to a command may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// Characters of a subject.
const SUBJECT_MAX: usize = 200;

/// The title of a command.
pub(super) fn title(node: &str) -> Option<&'static str> {
    LIST.iter().find(|(known, _)| *known == node).map(|(_, title)| *title)
}

/// Forms that somebody has open.
#[derive(Default)]
pub(crate) struct Sessions(Mutex<HashMap<String, Session>>);

struct Session {
    node: &'static str,
    /// By whom, and on whom.
    between: (String, Target),
    opened_at: Millis,
}

impl Sessions {
    /// `None` if too many are open already.
    fn open(&self, session: Session, chance: &Chance) -> Option<String> {
        let mut open = lock(&self.0);
        let now = session.opened_at;
        if open.len() >= OPEN_MAX {
            open.retain(|_, session| now.since_ms(session.opened_at) < OPEN_FOR_MS);
        }
        if open.len() >= OPEN_MAX {
            return None;
        }
        let id = chance.token();
        open.insert(id.clone(), session);
        Some(id)
    }

    /// The command of a session; `None` if none is open to `between`.
    fn find(&self, id: &str, between: &(String, Target), now: Millis) -> Option<&'static str> {
        let open = lock(&self.0);
        let session = open.get(id).filter(|session| session.between == *between)?;
        (now.since_ms(session.opened_at) < OPEN_FOR_MS).then_some(session.node)
    }

    /// Ends a session; `None` if it is not open to `between`, so that only one of two
    /// submissions goes on.
    fn close(&self, id: &str, between: &(String, Target), now: Millis) -> Option<&'static str> {
        let mut open = lock(&self.0);
        if open.get(id)?.between != *between {
            return None;
        }
        let session = open.remove(id)?;
        (now.since_ms(session.opened_at) < OPEN_FOR_MS).then_some(session.node)
    }
}

/// Runs one step of a command.
pub(super) async fn run(request: &Request<'_>) -> Answer {
    request.answering().await?;
    let command = request.payload;
    let node = LIST.iter().map(|(node, _)| *node).find(|node| command.attr("node") == Some(*node));
    let node = node.ok_or_else(|| StanzaError::item_not_found("There is no such command."))?;
    let action = command.attr("action").unwrap_or("execute");
    let between = (request.from.bare(), request.to.clone());
    let shared = &request.link.shared;
    let now = shared.clock.now();
    match (command.attr("sessionid"), action) {
        (None, "execute") => match node {
            "email" | "decide" => {
                let session = Session { node, between, opened_at: now };
                let id = request.link.commands.open(session, &shared.chance);
                let id = id.ok_or_else(|| {
                    StanzaError::resource_constraint(
                        "Too many forms are open. Please try again later.",
                    )
                })?;
                Ok(if node == "email" { email_form(&id) } else { decide_form(&id) })
            }
            _ => perform(request, node, &shared.chance.token(), format!("!{node}")).await,
        },
        (None, _) => Err(StanzaError::bad_request("The command was not begun.")),
        (Some(id), action) => {
            let sessions = &request.link.commands;
            let node = sessions.find(id, &between, now).ok_or_else(StanzaError::session_expired)?;
            let close =
                || sessions.close(id, &between, now).ok_or_else(StanzaError::session_expired);
            match action {
                "cancel" => close().map(|node| reply(node, id, "canceled", |_| {})),
                "execute" | "complete" | "next" => {
                    let form = command.get_child("x", ns::FORMS);
                    let text = match node {
                        "email" => email_text(form),
                        _ => decision_text(form),
                    };
                    // A form that lacks something stays open to be completed.
                    let text = text.map_err(StanzaError::not_acceptable)?;
                    perform(request, close()?, id, text).await
                }
                _ => Err(StanzaError::bad_request("There is no such step.")),
            }
        }
    }
}

/// Hands the equivalent text to the gateway and shows what it says.
async fn perform(request: &Request<'_>, node: &'static str, id: &str, text: String) -> Answer {
    let busy = || {
        StanzaError::resource_constraint(
            "There is no answer yet. Please look at the conversation before you try again.",
        )
    };
    let (answer, answered) = oneshot::channel();
    let event = Event::Command {
        bridge_domain: request.link.domain.clone(),
        from: request.from.im().ok_or_else(StanzaError::service_unavailable)?,
        to: request.to.email(),
        text,
        id: format!("cmd-{id}"),
        answer,
    };
    let events = &request.link.shared.events;
    let done = timeout(PATIENCE, async {
        events.send(event).await.ok()?;
        answered.await.ok()
    });
    let said = done.await.ok().flatten().ok_or_else(busy)?;
    Ok(reply(node, id, "completed", |xml| xml.leaf("note", &[("type", "info")], &said)))
}

/// `!email Subject`, then the text on lines of its own.
fn email_text(form: Option<&Element>) -> Result<String, &'static str> {
    let text = field(form, "text").join("\n");
    if text.trim().is_empty() {
        return Err("Please write a text.");
    }
    let subject = field(form, "subject").join(" ");
    let subject: String = subject.split_whitespace().collect::<Vec<_>>().join(" ");
    let subject: String = subject.chars().take(SUBJECT_MAX).collect();
    let gap = if subject.is_empty() { "" } else { " " };
    Ok(format!("!email{gap}{subject}\n{}", text.trim_end()))
}

fn decision_text(form: Option<&Element>) -> Result<String, &'static str> {
    match field(form, "decision").first().map(String::as_str) {
        Some("retry") => Ok("!retry".to_owned()),
        Some("email") => Ok("!email".to_owned()),
        Some("abort") => Ok("!abort".to_owned()),
        _ => Err("Please choose one of the three."),
    }
}

/// The values of a field (XEP-0004 section 3.2).
fn field(form: Option<&Element>, name: &str) -> Vec<String> {
    let fields = form.into_iter().flat_map(Element::children);
    let field =
        fields.into_iter().find(|f| f.is("field", ns::FORMS) && f.attr("var") == Some(name));
    let values = field.into_iter().flat_map(Element::children).filter(|v| v.is("value", ns::FORMS));
    values.map(|value| value.text().replace("\r\n", "\n").replace('\r', "\n")).collect()
}

fn reply(node: &str, id: &str, status: &str, inside: impl FnOnce(&mut Xml)) -> String {
    Xml::build(|xml| {
        let attributes =
            [("xmlns", ns::COMMANDS), ("node", node), ("sessionid", id), ("status", status)];
        xml.element("command", &attributes, inside);
    })
}

fn form(node: &str, id: &str, instructions: &str, fields: impl FnOnce(&mut Xml)) -> String {
    reply(node, id, "executing", |xml| {
        xml.element("actions", &[("execute", "complete")], |xml| xml.empty("complete", &[]));
        xml.element("x", &[("xmlns", ns::FORMS), ("type", "form")], |xml| {
            xml.leaf("title", &[], title(node).unwrap_or_default());
            xml.leaf("instructions", &[], instructions);
            fields(xml);
        });
    })
}

fn email_form(id: &str) -> String {
    form("email", id, "Your text goes out as an email in this conversation.", |xml| {
        xml.empty(
            "field",
            &[("var", "subject"), ("type", "text-single"), ("label", "Subject (optional)")],
        );
        xml.element(
            "field",
            &[("var", "text"), ("type", "text-multi"), ("label", "Text")],
            |xml| {
                xml.empty("required", &[]);
            },
        );
    })
}

fn decide_form(id: &str) -> String {
    let choices = [
        ("retry", "Keep trying"),
        ("email", "Send it as an email instead"),
        ("abort", "Don't send it"),
    ];
    form("decide", id, "What shall happen with the message that was not delivered?", |xml| {
        let attributes = [("var", "decision"), ("type", "list-single"), ("label", "Decision")];
        xml.element("field", &attributes, |xml| {
            xml.empty("required", &[]);
            // Some clients list the options only beside one that is chosen.
            xml.leaf("value", &[], choices[0].0);
            for (value, label) in choices {
                xml.element("option", &[("label", label)], |xml| xml.leaf("value", &[], value));
            }
        });
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn submitted(fields: &str) -> Element {
        format!("<x xmlns='jabber:x:data' type='submit'>{fields}</x>").parse().expect("well formed")
    }

    #[test]
    fn a_form_becomes_the_text_command() {
        let form = submitted(
            "<field var='subject'><value>Pump\n!abort</value></field>\
             <field var='text'><value>one</value><value>two</value></field>",
        );
        assert_eq!(email_text(Some(&form)), Ok("!email Pump !abort\none\ntwo".to_owned()));
        let bare = submitted("<field var='text'><value>one</value></field>");
        assert_eq!(email_text(Some(&bare)), Ok("!email\none".to_owned()));
        assert!(email_text(Some(&submitted(""))).is_err());
        let choice = submitted("<field var='decision'><value>abort</value></field>");
        assert_eq!(decision_text(Some(&choice)), Ok("!abort".to_owned()));
        assert!(decision_text(None).is_err());
    }

    #[test]
    fn a_session_belongs_to_who_opened_it_ends_once_and_expires() {
        let (sessions, chance) = (Sessions::default(), Chance::seeded([1; 32]));
        let bob = ("bob@chat.test".to_owned(), Target::Bridge);
        let open = |opened_at| {
            let session = Session { node: "email", between: bob.clone(), opened_at };
            sessions.open(session, &chance)
        };
        let id = open(Millis(0)).expect("room");
        let eve = ("eve@chat.test".to_owned(), Target::Bridge);
        assert_eq!(
            (sessions.find(&id, &eve, Millis(1)), sessions.close(&id, &eve, Millis(1))),
            (None, None)
        );
        assert_eq!(sessions.close(&id, &bob, Millis(1)), Some("email"));
        assert_eq!(sessions.close(&id, &bob, Millis(1)), None);
        let late = open(Millis(0)).expect("room");
        assert_eq!(sessions.close(&late, &bob, Millis(OPEN_FOR_MS)), None);
        while open(Millis(0)).is_some() {}
        assert_eq!(lock(&sessions.0).len(), OPEN_MAX);
        assert!(open(Millis(OPEN_FOR_MS)).is_some());
    }
}
