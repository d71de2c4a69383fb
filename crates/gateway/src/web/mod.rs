//! The pages: who is looking, what they may see, and what their forms ask for.
//!
//! Every handler answers through `answer`, which sets the headers that keep a page from being
//! framed, scripted or cached; every form comes in through `form`, which checks that it was one
//! of ours. What is asked for becomes a transaction, as at every other door.

mod addresses;
pub(crate) mod answer;
mod assets;
mod compose;
mod contacts;
mod conversation;
pub(crate) mod cookies;
mod decide;
mod decision;
mod dev_mail;
mod failures;
mod files;
pub(crate) mod form;
mod import;
mod inbox;
mod links;
mod multipart;
mod people;
mod settings;
mod sign_in;
pub(crate) mod stream;
mod timeline;
mod transcript;
pub(crate) mod who;
mod work;

use std::{
    collections::HashMap,
    num::NonZeroU32,
    sync::{Arc, Mutex},
    time::Duration,
};

use actix_web::{HttpResponse, web};
use isthmus_queue::RateLimits;
use tokio::sync::Semaphore;

use crate::{Gateway, pages::Notice, webchat::WebChat};

pub(crate) use answer::Failure;

/// Octets of all files of one message.
pub const FILE_LIMIT: u64 = 25_000_000;
/// Forms with files that are read at the same time.
const UPLOADS: usize = 8;
/// Notices that wait for the page that shows them.
const NOTICES: usize = 10_000;

/// What pages say about times that the router keeps.
#[derive(Clone, Copy, Debug)]
pub struct PageTimes {
    /// For an answer to a question, in milliseconds.
    pub decision_deadline_ms: i64,
    /// For retrying until it becomes a question again, in milliseconds.
    pub expire_after_ms: i64,
    /// How long a form waits for its transaction to end before it shows the page anyway.
    pub patience: Duration,
}

impl Default for PageTimes {
    fn default() -> Self {
        Self {
            decision_deadline_ms: 4 * 3_600_000,
            expire_after_ms: 3 * 86_400_000,
            patience: Duration::from_secs(2),
        }
    }
}

/// What all pages share; cheap to clone, one for all workers.
#[derive(Clone)]
pub struct Portal(Arc<Shared>);

/// What all pages share, behind [`Portal`].
pub struct Shared {
    pub(crate) gateway: Arc<Gateway>,
    pub(crate) chat: WebChat,
    pub(crate) times: PageTimes,
    /// Wrong passwords.
    pub(crate) failures: failures::Failures,
    /// Codes asked for and entered, by link.
    pub(crate) codes: RateLimits,
    pub(crate) uploads: Semaphore,
    pub(crate) streams: stream::Streams,
    notices: Mutex<HashMap<String, Notice>>,
}

impl std::ops::Deref for Portal {
    type Target = Shared;
    fn deref(&self) -> &Shared {
        &self.0
    }
}

const fn some(n: u32) -> NonZeroU32 {
    match NonZeroU32::new(n) {
        Some(n) => n,
        None => NonZeroU32::MIN,
    }
}

impl Portal {
    /// The pages over a gateway and its web chat.
    #[must_use]
    pub fn new(gateway: Arc<Gateway>, chat: WebChat, times: PageTimes) -> Self {
        Self(Arc::new(Shared {
            gateway,
            chat,
            times,
            failures: failures::Failures::default(),
            codes: RateLimits::per_minute(some(20)),
            uploads: Semaphore::new(UPLOADS),
            streams: stream::Streams::default(),
            notices: Mutex::default(),
        }))
    }

    /// Registers every page; the API is to be registered before, as what is not known here is
    /// answered with a page that says so.
    pub fn configure(&self, cfg: &mut web::ServiceConfig) {
        cfg.app_data(web::Data::new(self.clone()));
        routes(cfg);
        crate::webchat::configure(cfg);
        cfg.default_service(web::to(nowhere));
    }
}

impl Shared {
    /// Keeps a notice for the next page of this reader.
    pub(crate) fn say(&self, reader: &str, notice: Notice) {
        let mut notices = crate::webchat::lock(&self.notices);
        if notices.len() >= NOTICES {
            notices.clear();
        }
        notices.insert(reader.to_owned(), notice);
    }

    /// The notice for this reader, once.
    pub(crate) fn said(&self, reader: &str) -> Option<Notice> {
        crate::webchat::lock(&self.notices).remove(reader)
    }
}

async fn nowhere() -> Result<HttpResponse, Failure> {
    Err(Failure::NotFound)
}

fn routes(cfg: &mut web::ServiceConfig) {
    use web::{get, post, resource};
    cfg.service(resource("/assets/{name}").route(get().to(assets::serve)))
        .service(
            resource("/sign-in").route(get().to(sign_in::show)).route(post().to(sign_in::enter)),
        )
        .service(resource("/sign-out").route(post().to(sign_in::leave)))
        .service(resource("/").route(get().to(inbox::show)))
        .service(
            resource("/conversations")
                .route(get().to(inbox::other_address))
                .route(post().to(compose::start)),
        )
        .service(resource("/new").route(get().to(compose::other_address)))
        .service(resource("/conversations/new").route(get().to(compose::form)))
        .service(resource("/conversations/{id}").route(get().to(conversation::show)))
        .service(resource("/conversations/{id}/messages").route(post().to(compose::reply)))
        .service(resource("/conversations/{id}/export").route(get().to(conversation::export)))
        .service(resource("/deliveries/{id}/decision").route(post().to(decision::decide)))
        .service(resource("/messages/{id}/held").route(post().to(decision::held)))
        .service(resource("/messages/{id}/html").route(get().to(files::html)))
        .service(resource("/messages/{id}/original").route(get().to(files::original)))
        .service(resource("/attachments/{id}").route(get().to(files::download)))
        .service(resource("/attachments/{id}/preview").route(get().to(files::preview)))
        .service(
            resource("/contacts").route(get().to(contacts::list)).route(post().to(contacts::add)),
        )
        .service(resource("/contacts/import").route(post().to(import::import)))
        .service(
            resource("/contacts/{id}")
                .route(get().to(contacts::show))
                .route(post().to(contacts::change)),
        )
        .service(resource("/contacts/{id}/delete").route(post().to(contacts::delete)))
        .service(resource("/contacts/{id}/addresses").route(post().to(addresses::add_for_contact)))
        .service(resource("/settings/addresses").route(post().to(addresses::add_own)))
        .service(resource("/mappings/{id}/challenge").route(post().to(addresses::challenge)))
        .service(resource("/mappings/{id}/revoke").route(post().to(addresses::revoke)))
        .service(resource("/settings").route(get().to(settings::show)))
        .service(resource("/settings/name").route(post().to(settings::name)))
        .service(resource("/settings/policy").route(post().to(settings::policy)))
        .service(resource("/settings/notices").route(post().to(settings::notices)))
        .service(resource("/sessions/end-others").route(post().to(settings::end_others)))
        .service(resource("/sessions/{id}/end").route(post().to(settings::end)))
        .service(resource("/events/stream").route(get().to(stream::member)))
        .service(resource("/c/{token}").route(get().to(links::show)).route(post().to(links::enter)))
        .service(resource("/c/{token}/code").route(post().to(links::send)))
        .service(resource("/c/{token}/attachments/{id}").route(get().to(transcript::download)))
        .service(
            resource("/c/{token}/attachments/{id}/preview").route(get().to(transcript::preview)),
        )
        .service(resource("/c/{token}/messages/{id}/html").route(get().to(transcript::html)))
        .service(resource("/d/{token}").route(get().to(decide::show)).route(post().to(decide::act)))
        .service(resource("/dev/mail").route(get().to(dev_mail::list)))
        .service(resource("/dev/mail/{id}").route(get().to(dev_mail::one)))
        .service(resource("/dev/mail/{id}/html").route(get().to(dev_mail::html)))
        .service(resource("/dev/mail/{id}/raw").route(get().to(dev_mail::raw)));
}
