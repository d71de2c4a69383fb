//! Files by HTTP upload (XEP-0363): put where the recipient's client can fetch them.

use std::{collections::HashMap, sync::Mutex};

use isthmus_domain::address::ImAddress;
use isthmus_im::{OutFile, OutMessage};
use minidom::Element;
use reqwest::{
    Body, Client,
    header::{HeaderMap, HeaderName, HeaderValue},
    redirect,
};
use tokio::time::{Duration, Instant, timeout_at};
use url::Url;

use crate::{link::Link, lock, ns, stanza::message_out::SharedFile, stream::Out};

/// Items of a server that are looked at when searching for an upload service.
const ITEMS_MAX: usize = 20;
/// Servers whose service is remembered.
const SERVERS_MAX: usize = 256;
/// How long a service is remembered, and how long that there is none.
const FOUND_FOR: Duration = Duration::from_secs(600);
const MISSING_FOR: Duration = Duration::from_secs(60);

/// An upload service.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Service {
    address: String,
    /// Largest file in octets.
    size_max: u64,
}

/// Uploads files, and remembers where that is possible.
pub(crate) struct Uploads {
    client: Option<Client>,
    known: Mutex<HashMap<String, (Instant, Option<Service>)>>,
}

impl Uploads {
    pub(crate) fn new() -> Self {
        // Only the first call in a process can succeed; a provider that is set already is fine.
        drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
        // The place was given by our own server. Where it leads on to was not.
        let client = Client::builder().redirect(redirect::Policy::none()).build();
        let client = client.inspect_err(|error| {
            tracing::warn!(%error, "files go out as links because no HTTP client could be made");
        });
        Self { client: client.ok(), known: Mutex::default() }
    }

    /// The files of `message` as addresses: uploaded where that works, else their links.
    pub(crate) async fn share(
        &self,
        link: &Link,
        out: &Out,
        message: &OutMessage,
    ) -> Vec<SharedFile> {
        let deadline = Instant::now() + link.shared.config.upload_timeout;
        let mut shared = Vec::with_capacity(message.files.len());
        for file in &message.files {
            let upload = timeout_at(deadline, self.upload(link, out, &message.to, file)).await;
            let url = upload.ok().flatten().unwrap_or_else(|| file.link.clone());
            shared.push(SharedFile { url, name: file.name.clone() });
        }
        shared
    }

    async fn upload(
        &self,
        link: &Link,
        out: &Out,
        to: &ImAddress,
        file: &OutFile,
    ) -> Option<String> {
        let client = self.client.as_ref()?;
        let service = self.service(link, out, to).await?;
        if file.size > service.size_max {
            return None;
        }
        let content = tokio::fs::File::open(&file.path).await.ok()?;
        let size = file.size.to_string();
        let asking = ("get", link.domain.as_str(), service.address.as_str());
        let answer = link.requests.ask(out, &link.shared.chance, asking, |xml| {
            let attributes = [
                ("xmlns", ns::UPLOAD),
                ("filename", file.name.as_str()),
                ("size", size.as_str()),
                ("content-type", file.media_type.as_str()),
            ];
            xml.empty("request", &attributes);
        });
        let Some(answer) = answer.await else {
            // Refused, most likely for good: a server lets only its own users upload, unless told.
            self.remember(&service.address, None, MISSING_FOR);
            return None;
        };
        let slot = read_slot(&answer)?;
        let put = client
            .put(slot.put)
            .headers(slot.headers)
            .header("Content-Type", &file.media_type)
            .header("Content-Length", file.size)
            .body(Body::from(content));
        match put.send().await {
            Ok(answer) if answer.status().is_success() => Some(slot.get),
            Ok(answer) => {
                tracing::info!(
                    status = answer.status().as_u16(),
                    "an upload was refused, a link is sent instead"
                );
                None
            }
            Err(error) => {
                tracing::info!(error = %error.without_url(), "an upload failed, a link is sent instead");
                None
            }
        }
    }

    /// The service to use for a recipient: the configured one, else that of the server the
    /// bridge belongs to, else that of the recipient's server.
    async fn service(&self, link: &Link, out: &Out, to: &ImAddress) -> Option<Service> {
        if let Some(address) = &link.shared.config.upload_service {
            return self.look(link, out, address, address).await;
        }
        let own = link.domain.split_once('.').map(|(_, parent)| parent);
        let theirs = to.address().split_once('@').map(|(_, domain)| domain);
        for server in own.into_iter().chain(theirs.filter(|theirs| Some(*theirs) != own)) {
            if let Some(service) = self.look(link, out, server, "").await {
                return Some(service);
            }
        }
        None
    }

    /// Looks for a service at `server`; `only` names it if it is known.
    async fn look(&self, link: &Link, out: &Out, server: &str, only: &str) -> Option<Service> {
        let known =
            lock(&self.known).get(server).filter(|(until, _)| *until > Instant::now()).cloned();
        if let Some((_, service)) = known {
            // A refusal is remembered under the service's own address.
            return service.filter(|service| !self.has_refused(&service.address));
        }
        let mut items = vec![only.to_owned()];
        if only.is_empty() {
            items = link.items_of(out, server).await;
        }
        for item in items.into_iter().take(ITEMS_MAX) {
            let Some(info) = link.info_of(out, &item).await else { continue };
            if let Some(size_max) = read_service(&info) {
                let service = Service { address: item, size_max };
                self.remember(server, Some(service.clone()), FOUND_FOR);
                return Some(service);
            }
        }
        self.remember(server, None, MISSING_FOR);
        None
    }

    fn has_refused(&self, service: &str) -> bool {
        let known = lock(&self.known);
        known.get(service).is_some_and(|(until, known)| known.is_none() && *until > Instant::now())
    }

    fn remember(&self, server: &str, service: Option<Service>, for_how_long: Duration) {
        let mut known = lock(&self.known);
        if known.len() >= SERVERS_MAX {
            known.clear();
        }
        known.insert(server.to_owned(), (Instant::now() + for_how_long, service));
    }
}

/// Whether this is an upload service; the largest size it takes (XEP-0363 section 4).
fn read_service(info: &Element) -> Option<u64> {
    let offers =
        info.children().any(|c| c.name() == "feature" && c.attr("var") == Some(ns::UPLOAD));
    let form = info.children().filter(|c| c.is("x", ns::FORMS)).flat_map(Element::children);
    let size = form
        .filter(|field| field.attr("var") == Some("max-file-size"))
        .find_map(|field| field.get_child("value", ns::FORMS)?.text().trim().parse().ok());
    offers.then(|| size.unwrap_or(u64::MAX))
}

struct Slot {
    put: Url,
    get: String,
    headers: HeaderMap,
}

/// Reads a slot (XEP-0363 section 5); of its headers only those that the section allows.
fn read_slot(iq: &Element) -> Option<Slot> {
    let web = |text: &str| Url::parse(text).ok().filter(|u| matches!(u.scheme(), "http" | "https"));
    let slot = iq.get_child("slot", ns::UPLOAD)?;
    let put = slot.get_child("put", ns::UPLOAD)?;
    let get = slot.get_child("get", ns::UPLOAD)?.attr("url")?;
    let mut headers = HeaderMap::new();
    for header in put.children().filter(|c| c.is("header", ns::UPLOAD)).take(5) {
        let name = header.attr("name").unwrap_or_default().to_ascii_lowercase();
        let value = header.text().replace(['\r', '\n'], "");
        if matches!(name.as_str(), "authorization" | "cookie" | "expires")
            && let (Ok(name), Ok(value)) =
                (name.parse::<HeaderName>(), value.parse::<HeaderValue>())
        {
            headers.insert(name, value);
        }
    }
    web(get)?;
    Some(Slot { put: web(put.attr("url")?)?, get: get.to_owned(), headers })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_allowed_headers_and_web_addresses_are_taken_from_a_slot() {
        let slot = |put: &str| {
            let xml = format!(
                "<iq xmlns='jabber:component:accept'><slot xmlns='urn:xmpp:http:upload:0'>\
                 <put url='{put}'><header name='Authorization'>Bearer x\ny</header>\
                 <header name='Host'>evil</header></put><get url='https://up.test/g'/></slot></iq>"
            );
            read_slot(&xml.parse().expect("well formed"))
        };
        let fine = slot("https://up.test/p").expect("a slot");
        assert_eq!((fine.get.as_str(), fine.headers.len()), ("https://up.test/g", 1));
        assert_eq!(fine.headers["authorization"], "Bearer xy");
        assert!(slot("file:///etc/passwd").is_none());
    }

    #[test]
    fn a_service_is_known_by_its_feature_and_says_its_limit() {
        let info = |feature: &str| {
            let xml = format!(
                "<query xmlns='http://jabber.org/protocol/disco#info'><feature var='{feature}'/>\
                 <x xmlns='jabber:x:data'><field var='max-file-size'><value>1000</value></field></x></query>"
            );
            read_service(&xml.parse().expect("well formed"))
        };
        assert_eq!(info(ns::UPLOAD), Some(1_000));
        assert_eq!(info(ns::PING), None);
    }
}
