//! Forms: read within bounds, and believed only if they came from one of our own pages.

use std::time::Duration;

use actix_web::{
    FromRequest, HttpRequest,
    dev::Payload,
    http::header::{self, HeaderMap},
    web::Data,
};
use bytes::{Bytes, BytesMut};
use futures::{StreamExt, future::LocalBoxFuture};

use super::{
    FILE_LIMIT, Failure, Portal, multipart,
    who::{Me, Visitor},
};

/// Octets of a form without files.
const PLAIN: usize = 1_000_000;
/// Octets of a form with files: the files, a text, and what lies around them.
#[expect(clippy::cast_possible_truncation, reason = "25 MB fit any usize")]
const WITH_FILES: usize = FILE_LIMIT as usize + 1_000_000;
/// For a form to come in.
const TIME: Duration = Duration::from_secs(120);

/// Until there is room for a form with files.
const ROOM: Duration = Duration::from_secs(10);

/// A file that came with a form.
#[derive(Clone, Debug)]
pub(crate) struct Upload {
    /// Field.
    pub(crate) field: String,
    /// Neutralised name.
    pub(crate) name: String,
    /// MIME type.
    pub(crate) media_type: String,
    /// Octets.
    pub(crate) data: Bytes,
}

/// What a form holds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fields {
    fields: Vec<(String, String)>,
    /// Files that were chosen.
    pub(crate) files: Vec<Upload>,
}

impl Fields {
    /// A field's value as typed; empty if it is missing.
    pub(crate) fn get(&self, name: &str) -> &str {
        self.fields.iter().find(|(n, _)| n == name).map_or("", |(_, v)| v.as_str())
    }

    /// The value without white space around it.
    pub(crate) fn line(&self, name: &str) -> &str {
        self.get(name).trim()
    }

    /// A text of several lines: LF line ends, no control characters.
    pub(crate) fn text(&self, name: &str) -> String {
        let text = self.get(name).replace("\r\n", "\n").replace('\r', "\n");
        text.chars().filter(|c| matches!(c, '\n' | '\t') || !c.is_control()).collect()
    }
}

/// A form that a member sent.
pub(crate) struct MemberForm {
    /// Who.
    pub(crate) me: Me,
    /// What.
    pub(crate) fields: Fields,
}

/// A form that somebody sent who need not be signed in.
pub(crate) struct VisitorForm {
    /// Who.
    pub(crate) visitor: Visitor,
    /// What.
    pub(crate) fields: Fields,
}

impl FromRequest for MemberForm {
    type Error = Failure;
    type Future = LocalBoxFuture<'static, Result<Self, Failure>>;

    fn from_request(req: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let (req, mut payload) = (req.clone(), payload.take());
        Box::pin(async move {
            same_origin(&req)?;
            let me = Me::extract(&req).await?;
            let fields = read(&req, &mut payload, Kinds::WithFiles).await?;
            check(&fields, &me.session.csrf)?;
            Ok(Self { me, fields })
        })
    }
}

impl FromRequest for VisitorForm {
    type Error = Failure;
    type Future = LocalBoxFuture<'static, Result<Self, Failure>>;

    fn from_request(req: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let (req, mut payload) = (req.clone(), payload.take());
        Box::pin(async move {
            same_origin(&req)?;
            let visitor = Visitor::extract(&req).await?;
            // Of those who are not signed in only somebody in their own chat sends files.
            let kinds = match crate::webchat::chatter(&req, &visitor) {
                Some(_) if req.path() == "/chat/messages" => Kinds::WithFiles,
                _ => Kinds::Plain,
            };
            let fields = read(&req, &mut payload, kinds).await?;
            check(&fields, &visitor.csrf())?;
            Ok(Self { visitor, fields })
        })
    }
}

/// Whether two secrets are the same, in a time that does not tell where they differ.
pub(crate) fn same(a: &str, b: &str) -> bool {
    a.len() == b.len() && a.bytes().zip(b.bytes()).fold(0, |sum, (x, y)| sum | (x ^ y)) == 0
}

fn check(fields: &Fields, csrf: &str) -> Result<(), Failure> {
    if csrf.is_empty() || !same(fields.get("csrf"), csrf) {
        return Err(Failure::Forged("the token is missing or belongs to another session"));
    }
    Ok(())
}

/// Browsers say where a form comes from (`Sec-Fetch-Site`, `Origin`); another site is refused
/// before anything of the form is read. Programs without a browser say nothing, and have no
/// cookies that anybody could misuse.
fn same_origin(req: &HttpRequest) -> Result<(), Failure> {
    let text = |name: header::HeaderName| req.headers().get(name).and_then(|v| v.to_str().ok());
    match text(header::HeaderName::from_static("sec-fetch-site")) {
        None | Some("same-origin" | "none") => {}
        Some(_) => return Err(Failure::Forged("it came from another site")),
    }
    let Some(origin) = text(header::ORIGIN) else { return Ok(()) };
    let portal = req.app_data::<Data<Portal>>().ok_or(Failure::NotFound)?;
    let public = url::Url::parse(&portal.gateway.config.public_url).ok();
    let ours = public.is_some_and(|u| u.origin().ascii_serialization() == origin);
    // Behind no proxy the address that the browser uses is the Host itself.
    let host = origin.split_once("://").map(|(_, host)| host);
    if ours || (host.is_some() && host == text(header::HOST)) {
        return Ok(());
    }
    Err(Failure::Forged("it came from another origin"))
}

/// What a form may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kinds {
    Plain,
    WithFiles,
}

async fn read(req: &HttpRequest, payload: &mut Payload, kinds: Kinds) -> Result<Fields, Failure> {
    let kind =
        req.headers().get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    if let Some(boundary) = multipart::boundary(kind) {
        if kinds == Kinds::Plain {
            return Err(Failure::Bad("This form takes no files."));
        }
        let portal = req.app_data::<Data<Portal>>().ok_or(Failure::NotFound)?;
        let room = tokio::time::timeout(ROOM, portal.uploads.acquire()).await;
        let _room = room.ok().and_then(Result::ok).ok_or(Failure::Busy)?;
        let body = octets(req.headers(), payload, WITH_FILES).await?;
        let parts =
            multipart::parse(&body, boundary).ok_or(Failure::Bad("The form could not be read."))?;
        return sorted(parts);
    }
    if !kind.to_ascii_lowercase().starts_with("application/x-www-form-urlencoded") {
        return Err(Failure::Bad("The form could not be read."));
    }
    let body = octets(req.headers(), payload, PLAIN).await?;
    let fields =
        url::form_urlencoded::parse(&body).take(256).map(|(k, v)| (k.into_owned(), v.into_owned()));
    Ok(Fields { fields: fields.collect(), files: Vec::new() })
}

async fn octets(headers: &HeaderMap, payload: &mut Payload, most: usize) -> Result<Bytes, Failure> {
    let said = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|v| v.to_str().ok())
        .and_then(|v| v.parse::<u64>().ok());
    if said.is_some_and(|n| n > most as u64) {
        return Err(Failure::TooLarge);
    }
    let reading = async {
        let mut body = BytesMut::new();
        while let Some(chunk) = payload.next().await {
            let chunk = chunk.map_err(|_| Failure::Bad("The form was cut off."))?;
            if body.len() + chunk.len() > most {
                return Err(Failure::TooLarge);
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body.freeze())
    };
    tokio::time::timeout(TIME, reading).await.map_err(|_| Failure::TooSlow)?
}

fn sorted(parts: Vec<multipart::Part>) -> Result<Fields, Failure> {
    let mut out = Fields::default();
    for part in parts {
        match part.file_name {
            None => {
                let value = String::from_utf8(part.data.to_vec());
                out.fields
                    .push((part.name, value.map_err(|_| Failure::Bad("The form is not UTF-8."))?));
            }
            // A file field in which nothing was chosen.
            Some(name) if name.is_empty() && part.data.is_empty() => {}
            Some(name) => {
                let said = part.media_type.as_deref().and_then(isthmus_mail::mime::safe_media_type);
                out.files.push(Upload {
                    field: part.name,
                    name: isthmus_mail::mime::safe_file_name(&name),
                    media_type: said.unwrap_or_else(|| "application/octet-stream".to_owned()),
                    data: part.data,
                });
            }
        }
    }
    if out.files.iter().map(|f| f.data.len() as u64).sum::<u64>() > FILE_LIMIT {
        return Err(Failure::TooLarge);
    }
    Ok(out)
}
