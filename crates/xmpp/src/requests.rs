//! Requests of ours (`<iq/>`) that wait for an answer.

use std::{collections::HashMap, sync::Mutex, time::Duration};

use isthmus_domain::clock::Chance;
use minidom::Element;
use tokio::{sync::oneshot, time::timeout};

use crate::{lock, stream::Out, xml::Xml};

/// Requests under way at once.
const UNDER_WAY_MAX: usize = 256;
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// The requests of one bridge domain.
#[derive(Default)]
pub(crate) struct Requests(Mutex<HashMap<String, Waiting>>);

struct Waiting {
    /// Who was asked: nobody else may answer.
    of: String,
    answer: oneshot::Sender<Element>,
}

impl Requests {
    /// Asks `to` and waits. `None` if there was no answer in time, or an error.
    pub(crate) async fn ask(
        &self,
        out: &Out,
        chance: &Chance,
        (kind, from, to): (&'static str, &str, &str),
        payload: impl FnOnce(&mut Xml),
    ) -> Option<Element> {
        let id = format!("ask-{}", chance.token());
        let (answer, answered) = oneshot::channel();
        {
            let mut waiting = lock(&self.0);
            if waiting.len() >= UNDER_WAY_MAX {
                return None;
            }
            waiting.insert(id.clone(), Waiting { of: to.to_owned(), answer });
        }
        let attributes = [("type", kind), ("id", &id), ("from", from), ("to", to)];
        out.push(Xml::build(|xml| xml.element("iq", &attributes, payload))).await;
        let answer = timeout(PATIENCE, answered).await;
        lock(&self.0).remove(&id);
        answer.ok()?.ok().filter(|iq| iq.attr("type") == Some("result"))
    }

    /// Hands an answer to whoever asked.
    pub(crate) fn answered(&self, from: &str, iq: Element) {
        let Some(id) = iq.attr("id") else { return };
        let waiting = {
            let mut waiting = lock(&self.0);
            match waiting.get(id) {
                Some(asked) if asked.of == from => waiting.remove(id),
                _ => None,
            }
        };
        if let Some(waiting) = waiting {
            // Whoever asked may have lost patience.
            drop(waiting.answer.send(iq));
        }
    }
}
