//! The pages of the web chat: the other side of the bridge, in a browser.
//!
//! Who may open whose chat: in the demo anybody, as its list of people says; otherwise a member
//! their own, and whoever follows a signed link that was sent to them.

use std::collections::BTreeMap;

use actix_web::{
    FromRequest, HttpRequest, HttpResponse,
    dev::Payload,
    http::StatusCode,
    web::{self, Path},
};
use bytes::Bytes;
use futures::{future::LocalBoxFuture, stream::unfold};
use isthmus_domain::{
    address::{Email, ImAddress},
    clock::Millis,
    signed::Opens,
};
use isthmus_im::InFile;
use isthmus_store::{ChangeSet, TenantView, rows};

use super::{LineFile, NETWORK, News, NotSaid, Saying, Watching, id_of};
use crate::{
    pages::{
        Who,
        chat::{
            ChatContact, ChatFile, ChatMessage, ChatPerson, ChatSignInView, ChatThread, ChatView,
            Showing,
        },
        message::Author,
    },
    web::{
        Failure, Portal, answer,
        cookies::Jar,
        form::{Fields, VisitorForm},
        stream::{self, Next, Place},
        who::{self, Visitor},
    },
};

/// Lines that are looked at for the list and the open chat.
const LINES: u64 = 1_000;
/// Lines of the open chat.
const SHOWN: usize = 200;
/// Octets of one line.
const TEXT: usize = 64 * 1024;
/// Files of one line.
const FILES: usize = 10;
/// How long a browser stays signed in to a chat.
const CHAT_MS: i64 = 30 * 86_400_000;
/// In front of a reference to a file that is kept already.
pub(crate) const KEPT: &str = "kept:";

/// Registers the pages.
pub(crate) fn configure(cfg: &mut web::ServiceConfig) {
    use web::{get, post, resource};
    cfg.service(resource("/chat").route(get().to(start)))
        .service(resource("/chat/sign-in").route(get().to(start)).route(post().to(sign_in)))
        .service(resource("/chat/sign-out").route(post().to(sign_out)))
        .service(resource("/chat/presence").route(post().to(show_as)))
        .service(resource("/chat/messages").route(post().to(say)))
        .service(resource("/chat/stream").route(get().to(events)))
        .service(resource("/chat/open/{token}").route(get().to(ask_to_open)).route(post().to(open)))
        .service(resource("/chat/{key}").route(get().to(thread)));
}

/// Somebody with their chat open.
struct Chatter {
    visitor: Visitor,
    who: ImAddress,
}

/// Whose chat this browser has open.
pub(crate) fn chatter(req: &HttpRequest, visitor: &Visitor) -> Option<ImAddress> {
    let gateway = &visitor.portal.gateway;
    let cookie = Jar::Chat.read(req, &gateway.config.public_url)?;
    let Ok(Opens::Chat { address }) = gateway.links.read(&cookie, gateway.now()) else {
        return None;
    };
    ImAddress::parse(&address).ok().filter(|a| a.network() == NETWORK)
}

impl FromRequest for Chatter {
    type Error = Failure;
    type Future = LocalBoxFuture<'static, Result<Self, Failure>>;

    fn from_request(req: &HttpRequest, _: &mut Payload) -> Self::Future {
        let req = req.clone();
        Box::pin(async move {
            let visitor = Visitor::extract(&req).await?;
            let who = chatter(&req, &visitor).ok_or(Failure::NotFound)?;
            Ok(Self { visitor, who })
        })
    }
}

/// Every web chat address that anybody has, with its person's name: verified, or about to be.
fn everybody(portal: &Portal) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    for tenant in portal.gateway.store.directory().all() {
        for mapping in tenant.all_mappings().filter(|m| m.im.starts_with("web:")) {
            let name = tenant.name_of(&mapping.email).unwrap_or(&mapping.email);
            all.entry(mapping.im.clone()).or_insert_with(|| name.to_owned());
        }
    }
    all
}

/// Whose chats this browser may open without a link.
async fn openable(req: &HttpRequest, portal: &Portal) -> Result<BTreeMap<String, String>, Failure> {
    if !portal.gateway.config.demo_logins.is_empty() {
        return Ok(everybody(portal));
    }
    let Some(me) = who::member_of(req).await? else { return Ok(BTreeMap::new()) };
    // Claiming an address opens nobody's chat: it is verified, or it is the member's own email address.
    let address = format!("web:{}", me.member.email);
    let own = me
        .tenant
        .mappings(&me.member.email)
        .iter()
        .filter(|m| m.im.starts_with("web:") && (m.state == "verified" || m.im == address));
    Ok(own.map(|m| (m.im.clone(), me.member.name.clone())).collect())
}

/// `GET /chat`.
async fn start(req: HttpRequest, visitor: Visitor) -> Result<HttpResponse, Failure> {
    if let Some(who) = chatter(&req, &visitor) {
        return page(&visitor, &who, None).await;
    }
    let people = openable(&req, &visitor.portal)
        .await?
        .into_iter()
        .map(|(address, name)| ChatPerson { name, address, unread: 0 })
        .collect();
    Ok(visitor
        .keep(answer::page(&ChatSignInView { frame: visitor.frame(Who::Visitor, None), people })))
}

/// `GET /chat/KEY`.
async fn thread(chatter: Chatter, key: Path<String>) -> Result<HttpResponse, Failure> {
    let contact = Contact::of(&chatter.visitor.portal, &key).ok_or(Failure::NotFound)?;
    let open = Open { contact, text: String::new(), error: None };
    page(&chatter.visitor, &chatter.who, Some(open)).await
}

/// A contact by its key: `acme:alice@acme.test`, `acme:bridge`.
struct Contact {
    key: String,
    tenant: std::sync::Arc<TenantView>,
    email: Option<Email>,
}

impl Contact {
    fn of(portal: &Portal, key: &str) -> Option<Self> {
        let (slug, who) = key.split_once(':')?;
        let tenant = portal.gateway.store.directory().by_slug(slug)?.clone();
        let email = if who == "bridge" { None } else { Some(Email::parse(who).ok()?) };
        Some(Self {
            key: format!("{slug}:{}", email.as_ref().map_or("bridge".to_owned(), Email::key)),
            tenant,
            email,
        })
    }

    fn holds(&self, line: &rows::WebChatLine) -> bool {
        line.tenant_id == self.tenant.tenant.id
            && line.contact == self.email.as_ref().map(Email::key).unwrap_or_default()
    }
}

/// The chat that is open on the page.
struct Open {
    contact: Contact,
    text: String,
    error: Option<String>,
}

async fn page(
    visitor: &Visitor,
    who: &ImAddress,
    open: Option<Open>,
) -> Result<HttpResponse, Failure> {
    let portal = &visitor.portal;
    portal.chat.seen(who);
    let lines = portal.chat.lines(who, LINES).await?;
    if let Some(open) = &open
        && let Some(last) = lines.iter().rfind(|l| open.contact.holds(l))
    {
        portal.chat.mark_read(last);
    }
    let contacts = contacts(portal, &lines);
    let status = match &open {
        Some(Open { error: Some(_), .. }) => StatusCode::UNPROCESSABLE_ENTITY,
        _ => StatusCode::OK,
    };
    let tenant = open.as_ref().map(|o| o.contact.tenant.clone());
    let thread = match open {
        Some(open) => Some(thread_view(portal, who, open, &contacts, &lines).await?),
        None => None,
    };
    let name = everybody(portal).remove(who.as_str()).unwrap_or_else(|| who.address().to_owned());
    let me = Who::Chatter { name, address: who.as_str().to_owned() };
    let zone = tenant.or_else(|| {
        let last = lines.last()?;
        portal.gateway.store.directory().tenant(&last.tenant_id).cloned()
    });
    let view = ChatView {
        frame: visitor.frame(me, zone.as_deref()),
        showing: if portal.chat.is_away(who) { Showing::Away } else { Showing::Online },
        contacts,
        thread,
    };
    Ok(visitor.keep(answer::page_as(status, &view)))
}

/// The contacts that the lines are from and to, by last activity.
fn contacts(portal: &Portal, lines: &[rows::WebChatLine]) -> Vec<ChatContact> {
    let directory = portal.gateway.store.directory();
    let mut out: Vec<ChatContact> = Vec::new();
    for line in lines.iter().rev() {
        let Some(tenant) = directory.tenant(&line.tenant_id) else { continue };
        let who = if line.contact.is_empty() { "bridge" } else { &line.contact };
        let key = format!("{}:{who}", tenant.tenant.slug);
        if out.iter().any(|c| c.key == key) {
            continue;
        }
        let fallback = || format!("{} bridge", tenant.tenant.name);
        let name =
            if line.contact_name.is_empty() { fallback() } else { line.contact_name.clone() };
        let excerpt = line.body.split_whitespace().take(40).collect::<Vec<_>>().join(" ");
        let excerpt: String = excerpt.chars().take(120).collect();
        let same =
            |l: &&rows::WebChatLine| l.tenant_id == line.tenant_id && l.contact == line.contact;
        let unread = portal.chat.unread(lines.iter().filter(same));
        out.push(ChatContact { key, name, excerpt, at: Some(Millis(line.at)), unread });
    }
    out
}

async fn thread_view(
    portal: &Portal,
    who: &ImAddress,
    open: Open,
    contacts: &[ChatContact],
    lines: &[rows::WebChatLine],
) -> Result<ChatThread, Failure> {
    let Open { contact, text, error } = open;
    let domain = &contact.tenant.tenant.bridge_domain;
    let looked_up = match &contact.email {
        Some(email) => portal.chat.name(domain, email, who).await,
        None => Some(format!("{} bridge", contact.tenant.tenant.name)),
    };
    let shown = contacts.iter().find(|c| c.key == contact.key).map(|c| c.name.clone());
    // Nobody behind that address, and nothing said: not a contact.
    let name = looked_up.or(shown).ok_or(Failure::NotFound)?;
    let mine: Vec<&rows::WebChatLine> = lines.iter().filter(|l| contact.holds(l)).collect();
    let skip = mine.len().saturating_sub(SHOWN);
    let messages = mine[skip..].iter().map(|l| message(portal, l)).collect();
    Ok(ChatThread {
        key: contact.key,
        name,
        earlier: None,
        messages,
        text,
        error,
        once: portal.gateway.chance.token(),
    })
}

fn message(portal: &Portal, line: &rows::WebChatLine) -> ChatMessage {
    let files: Vec<LineFile> = serde_json::from_str(&line.files).unwrap_or_default();
    // Links are made for the public address; the page is shown wherever it was asked for.
    let own = &portal.gateway.config.public_url;
    let local =
        |link: String| link.strip_prefix(own.as_str()).map(ToOwned::to_owned).unwrap_or(link);
    ChatMessage {
        id: id_of(line).to_owned(),
        author: if line.direction == "out" { Author::Me } else { Author::Other },
        text: line.body.clone(),
        files: files
            .into_iter()
            .map(|f| ChatFile { name: f.name, size: f.size, path: local(f.link) })
            .collect(),
        at: Millis(line.at),
    }
}

/// Signs a browser in to a chat.
fn signed_in(portal: &Portal, who: &ImAddress) -> HttpResponse {
    let gateway = &portal.gateway;
    let opens = Opens::Chat { address: who.as_str().to_owned() };
    let cookie = gateway.links.sign(opens, gateway.now().plus_ms(CHAT_MS));
    portal.chat.seen(who);
    let mut response = answer::see("/chat");
    // A signed token is made of letters, digits, dashes, underscores and dots.
    let _ = response.add_cookie(&Jar::Chat.with(cookie, &gateway.config.public_url));
    response
}

/// `POST /chat/sign-in`.
async fn sign_in(req: HttpRequest, form: VisitorForm) -> Result<HttpResponse, Failure> {
    let VisitorForm { visitor, fields } = form;
    let who = ImAddress::parse(fields.line("address")).map_err(|_| Failure::NotFound)?;
    if !openable(&req, &visitor.portal).await?.contains_key(who.as_str()) {
        return Err(Failure::NotFound);
    }
    Ok(signed_in(&visitor.portal, &who))
}

fn linked(visitor: &Visitor, token: &str) -> Result<ImAddress, Failure> {
    let gateway = &visitor.portal.gateway;
    match gateway.links.read(token, gateway.now()) {
        Ok(Opens::Chat { address }) => ImAddress::parse(&address).map_err(|_| Failure::NotFound),
        Ok(_) | Err(isthmus_domain::signed::BadLink::Forged) => Err(Failure::NotFound),
        Err(isthmus_domain::signed::BadLink::Expired) => Err(Failure::Gone),
    }
}

/// `GET /chat/open/TOKEN`: shows whose chat it is; only the button opens it.
async fn ask_to_open(visitor: Visitor, token: Path<String>) -> Result<HttpResponse, Failure> {
    let who = linked(&visitor, &token)?;
    let name =
        everybody(&visitor.portal).remove(who.as_str()).unwrap_or_else(|| who.address().to_owned());
    let frame = visitor.frame(Who::Visitor, None);
    let view = crate::pages::chat::ChatOpenView { frame, token: token.into_inner(), name };
    Ok(visitor.keep(answer::page(&view)))
}

/// `POST /chat/open/TOKEN`.
async fn open(token: Path<String>, form: VisitorForm) -> Result<HttpResponse, Failure> {
    let who = linked(&form.visitor, &token)?;
    Ok(signed_in(&form.visitor.portal, &who))
}

/// `POST /chat/sign-out`.
async fn sign_out(req: HttpRequest, form: VisitorForm) -> Result<HttpResponse, Failure> {
    let portal = &form.visitor.portal;
    if let Some(who) = chatter(&req, &form.visitor) {
        portal.chat.leave(&who);
    }
    let mut response = answer::see("/chat");
    let _ = response.add_cookie(&Jar::Chat.without(&portal.gateway.config.public_url));
    Ok(response)
}

/// `POST /chat/presence`.
async fn show_as(req: HttpRequest, form: VisitorForm) -> Result<HttpResponse, Failure> {
    let VisitorForm { visitor, fields } = form;
    let who = chatter(&req, &visitor).ok_or(Failure::NotFound)?;
    match fields.get("presence") {
        "available" => visitor.portal.chat.come_back(&who),
        "unavailable" => visitor.portal.chat.go_away(&who),
        _ => return Err(Failure::Bad("There is no such presence.")),
    }
    let with = Contact::of(&visitor.portal, fields.get("with"));
    Ok(answer::see(&with.map_or("/chat".to_owned(), |c| path(&c.key))))
}

fn path(key: &str) -> String {
    let key: String = url::form_urlencoded::byte_serialize(key.as_bytes()).collect();
    format!("/chat/{key}")
}

/// `POST /chat/messages`.
async fn say(req: HttpRequest, form: VisitorForm) -> Result<HttpResponse, Failure> {
    let VisitorForm { visitor, fields } = form;
    let who = chatter(&req, &visitor).ok_or(Failure::NotFound)?;
    let contact = Contact::of(&visitor.portal, fields.get("to")).ok_or(Failure::NotFound)?;
    let key = contact.key.clone();
    let error = match saying(&visitor.portal, &who, &contact, &fields).await? {
        Ok(saying) => match visitor.portal.chat.say(saying).await {
            Ok(_) => return Ok(answer::see(&path(&key))),
            Err(NotSaid::Store(error)) => return Err(error.into()),
            Err(why) => why.to_string(),
        },
        Err(why) => why,
    };
    let open = Open { contact, text: fields.text("text"), error: Some(error) };
    page(&visitor, &who, Some(open)).await
}

async fn saying(
    portal: &Portal,
    who: &ImAddress,
    contact: &Contact,
    fields: &Fields,
) -> Result<Result<Saying, String>, Failure> {
    let body = fields.text("text").trim_end().to_owned();
    let once = fields.line("once");
    if body.trim().is_empty() && fields.files.is_empty() {
        return Ok(Err("Write something first, or choose a file.".to_owned()));
    }
    if body.len() > TEXT {
        return Ok(Err("This text is too long. Please send it as a file.".to_owned()));
    }
    if fields.files.len() > FILES {
        return Ok(Err(format!("One message can have {FILES} files.")));
    }
    if once.is_empty() || once.len() > 64 || !once.bytes().all(|b| b.is_ascii_alphanumeric()) {
        return Ok(Err("This form is damaged. Load the page again.".to_owned()));
    }
    // The files are kept before the line that names them is handed on.
    let mut set = ChangeSet::default();
    let kept = portal.keep(&contact.tenant.tenant.id, &fields.files, &mut set).await?;
    if !set.once_blobs.is_empty() {
        portal.gateway.store.commit(set).await?;
    }
    let files = kept
        .into_iter()
        .map(|file| {
            let shown = LineFile {
                name: file.name.clone(),
                media_type: file.media_type.clone(),
                size: u64::try_from(file.size).unwrap_or(0),
                link: String::new(),
            };
            let url = format!("{KEPT}{}", serde_json::to_string(&file).unwrap_or_default());
            (shown, InFile { url, description: Some(file.name) })
        })
        .collect();
    Ok(Ok(Saying {
        owner: who.clone(),
        bridge_domain: contact.tenant.tenant.bridge_domain.clone(),
        to: contact.email.clone(),
        id: once.to_owned(),
        body,
        files,
    }))
}

struct Listening {
    who: ImAddress,
    news: tokio::sync::broadcast::Receiver<News>,
    _here: Watching,
    _place: Place,
    opened: bool,
}

/// `GET /chat/stream`: as long as it is open, its reader is there.
async fn events(chatter: Chatter) -> Result<HttpResponse, Failure> {
    let portal = &chatter.visitor.portal;
    let place = portal.streams.place(chatter.who.as_str()).ok_or(Failure::TooMuch)?;
    let state = Listening {
        news: portal.chat.watch_news(),
        _here: portal.chat.open(&chatter.who),
        who: chatter.who,
        _place: place,
        opened: false,
    };
    Ok(stream::answer(unfold(state, step)))
}

async fn step(mut state: Listening) -> Option<(Result<Bytes, actix_web::Error>, Listening)> {
    if !state.opened {
        state.opened = true;
        return Some((Ok(stream::opening()), state));
    }
    loop {
        let out = match stream::next(&mut state.news).await {
            Next::News(news) if news.owner == state.who.as_str() => {
                stream::change("{\"kind\":\"chat\"}")
            }
            Next::News(_) => continue,
            Next::Missed => stream::change("{\"kind\":\"missed\"}"),
            Next::Beat => stream::beat(),
            Next::End => return None,
        };
        return Some((Ok(out), state));
    }
}
