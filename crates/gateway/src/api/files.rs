//! Downloads: by id for members, by signed link for whoever got it in a message.

use actix_web::{
    HttpRequest, HttpResponse,
    body::SizedStream,
    http::{
        StatusCode,
        header::{self, HeaderValue},
    },
    web,
};
use bytes::Bytes;
use futures::stream;
use isthmus_domain::signed::{BadLink, Opens};
use isthmus_mail::mime;
use isthmus_store::{Scope, rows};
use tokio::io::AsyncReadExt;

use super::{
    conversations,
    enter::Ctx,
    problem::{Code, Problem},
};
use crate::Gateway;

/// Octets that are read from a large file at a time.
const CHUNK: usize = 64 * 1024;

/// `GET /v1/attachments/{id}`.
pub(super) async fn by_id(ctx: Ctx, id: web::Path<String>) -> Result<HttpResponse, Problem> {
    let nothing = || Problem::new(Code::NotFound);
    let row = ctx.scope().attachment(&id).await?.ok_or_else(nothing)?;
    let message = ctx.scope().message(&row.message_id).await?.ok_or_else(nothing)?;
    conversations::known(&ctx, &message.conversation_id).await?;
    ctx.reader()?;
    download(ctx.scope(), &row).await
}

/// `GET /f/{token}`: the link itself is the permission, until it expires.
pub(super) async fn by_link(
    gateway: web::Data<Gateway>,
    req: HttpRequest,
    token: web::Path<String>,
) -> HttpResponse {
    let answer = match open(&gateway, &token).await {
        Ok((tenant, row)) => download(gateway.store.of(&tenant), &row).await,
        Err(problem) => Err(problem),
    };
    answer.unwrap_or_else(
        |problem| if wants_page(&req) { for_people(&problem) } else { problem.response() },
    )
}

async fn open(gateway: &Gateway, token: &str) -> Result<(String, rows::Attachment), Problem> {
    let opens = gateway.links.read(token, gateway.now()).map_err(|why| match why {
        BadLink::Expired => Problem::new(Code::Expired),
        BadLink::Forged => Problem::new(Code::BadLink),
    })?;
    let Opens::File { tenant, id } = opens else { return Err(Problem::new(Code::BadLink)) };
    if gateway.store.directory().tenant(&tenant).is_none() {
        return Err(Problem::new(Code::Expired));
    }
    let row = gateway
        .store
        .of(&tenant)
        .attachment(&id)
        .await?
        .ok_or_else(|| Problem::new(Code::Expired))?;
    Ok((tenant, row))
}

fn wants_page(req: &HttpRequest) -> bool {
    req.headers()
        .get(header::ACCEPT)
        .and_then(|v| v.to_str().ok())
        .is_some_and(|v| v.contains("text/html"))
}

/// Whoever clicked a link in a chat gets a sentence instead of JSON.
fn for_people(problem: &Problem) -> HttpResponse {
    let (status, title, next) = problem.words();
    let mut response = HttpResponse::build(status);
    if status == StatusCode::UNAUTHORIZED {
        response.insert_header((header::WWW_AUTHENTICATE, "Bearer realm=\"isthmus\""));
    }
    response.content_type("text/plain; charset=utf-8").body(format!("{title}.\n\n{next}\n"))
}

/// The file as a download: never shown inside our own pages, whatever it says it is.
async fn download(scope: Scope<'_>, row: &rows::Attachment) -> Result<HttpResponse, Problem> {
    let gone = || Problem::with(Code::NotFound, "The file is not there any more.");
    let mut response = HttpResponse::Ok();
    let media_type = mime::safe_media_type(&row.media_type)
        .unwrap_or_else(|| "application/octet-stream".to_owned());
    response
        .insert_header((header::CONTENT_TYPE, media_type))
        .insert_header((header::CONTENT_DISPOSITION, disposition(&row.name)))
        .insert_header((header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .insert_header((header::CONTENT_SECURITY_POLICY, "default-src 'none'; sandbox"))
        .insert_header((header::REFERRER_POLICY, "no-referrer"))
        .insert_header((header::CACHE_CONTROL, "private, no-store"));
    let Some((path, size)) = scope.blob_file(&row.hash).await? else {
        let octets = scope.blob(&row.hash).await?.ok_or_else(gone)?;
        return Ok(response.body(octets));
    };
    let file = tokio::fs::File::open(path).await.map_err(|_| gone())?;
    let parts = stream::try_unfold(file, |mut file| async move {
        let mut part = vec![0; CHUNK];
        let n = file.read(&mut part).await?;
        part.truncate(n);
        Ok::<_, std::io::Error>((n > 0).then(|| (Bytes::from(part), file)))
    });
    Ok(response.body(SizedStream::new(u64::try_from(size).unwrap_or(0), Box::pin(parts))))
}

/// RFC 6266 section 4.1: an ASCII name for old programs, the real one beside it (RFC 8187).
pub(super) fn disposition(name: &str) -> HeaderValue {
    use std::fmt::Write;
    let name = mime::safe_file_name(name);
    let plain: String = name
        .chars()
        .map(|c| {
            if c.is_ascii_graphic() && !matches!(c, '"' | '\\' | '%') || c == ' ' { c } else { '_' }
        })
        .collect();
    let mut full = String::new();
    for b in name.bytes() {
        if b.is_ascii_alphanumeric() || b"!#$&+-.^_`|~".contains(&b) {
            full.push(char::from(b));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(full, "%{b:02X}");
        }
    }
    let text = format!("attachment; filename=\"{plain}\"; filename*=UTF-8''{full}");
    HeaderValue::from_str(&text).unwrap_or_else(|_| HeaderValue::from_static("attachment"))
}

#[cfg(test)]
mod tests {
    use super::disposition;

    #[test]
    fn a_file_name_cannot_leave_its_place_in_the_header() {
        let value = disposition("../a\"b\r\nX-Evil: 1/π.html");
        let text = value.to_str().expect("ASCII");
        assert!(!text.contains("\r\n") && text.matches('"').count() == 2, "{text}");
        assert!(text.ends_with("filename*=UTF-8''%CF%80.html"), "{text}");
    }
}
