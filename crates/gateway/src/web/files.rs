//! What belongs to messages: files, originals, and a mail's own HTML, for members who take part.

use actix_web::{HttpResponse, web::Path};
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use isthmus_mail::mime;
use isthmus_store::{Scope, rows};

use super::{Failure, answer, conversation::Talk, who::Me};
use crate::api::export::Export;

/// Octets of all pictures that are shown within one mail.
const PICTURES: i64 = 8_000_000;
/// Octets of the HTML that is shown.
const HTML: usize = 4_000_000;

/// A message of a conversation that the member takes part in.
async fn message(me: &Me, id: &str) -> Result<rows::Message, Failure> {
    let message = me.scope().message(id).await?.ok_or(Failure::NotFound)?;
    Talk::of(me, &message.conversation_id).await?;
    Ok(message)
}

async fn file(me: &Me, id: &str) -> Result<rows::Attachment, Failure> {
    let file = me.scope().attachment(id).await?.ok_or(Failure::NotFound)?;
    message(me, &file.message_id).await?;
    Ok(file)
}

/// The octets of a file.
pub(super) async fn octets(scope: Scope<'_>, hash: &str) -> Result<Bytes, Failure> {
    scope.blob(hash).await?.ok_or(Failure::NotFound)
}

/// `GET /attachments/ID`.
pub(super) async fn download(me: Me, id: Path<String>) -> Result<HttpResponse, Failure> {
    let file = file(&me, &id).await?;
    Ok(answer::download(&file.name, &file.media_type, octets(me.scope(), &file.hash).await?))
}

/// `GET /attachments/ID/preview`.
pub(super) async fn preview(me: Me, id: Path<String>) -> Result<HttpResponse, Failure> {
    let file = file(&me, &id).await?;
    Ok(answer::preview(&file.name, &file.media_type, octets(me.scope(), &file.hash).await?))
}

/// `GET /messages/ID/original`: the mail as it came, or as it went out; where neither is kept, the
/// message written as a mail.
pub(super) async fn original(me: Me, id: Path<String>) -> Result<HttpResponse, Failure> {
    let message = message(&me, &id).await?;
    let hash = match &message.raw_hash {
        Some(hash) => Some(hash.clone()),
        None => {
            let sent = me.portal.gateway.store.outbound_called(&message.message_id).await?;
            sent.filter(|o| o.tenant_id == me.tenant_id()).map(|o| o.raw_hash)
        }
    };
    let raw = match hash {
        Some(hash) => octets(me.scope(), &hash).await?,
        None => {
            let talk = Talk::of(&me, &message.conversation_id).await?;
            Export::of(&me).as_mail(talk.row, &message).await?.into()
        }
    };
    Ok(answer::download(&format!("{}.eml", message.id), "message/rfc822", raw))
}

/// `GET /messages/ID/html`.
pub(super) async fn html(me: Me, id: Path<String>) -> Result<HttpResponse, Failure> {
    let message = message(&me, &id).await?;
    formatted(me.scope(), &message).await
}

/// A mail's own HTML, sanitised, with the pictures that came with it.
pub(super) async fn formatted(
    scope: Scope<'_>,
    message: &rows::Message,
) -> Result<HttpResponse, Failure> {
    let hash = message.html_hash.as_deref().ok_or(Failure::NotFound)?;
    let html = octets(scope, hash).await?;
    if html.len() > HTML {
        return Err(Failure::Bad(
            "The formatted version is too long to be shown. Its text is in the conversation.",
        ));
    }
    let files = scope.attachments(std::slice::from_ref(&message.id)).await?;
    let mut pictures = Vec::new();
    let mut room = PICTURES;
    for file in files {
        let Some(cid) = file.content_id.clone().filter(|c| !c.is_empty()) else { continue };
        let is_picture = matches!(
            file.media_type.as_str(),
            "image/png" | "image/jpeg" | "image/gif" | "image/webp"
        );
        if is_picture && file.size <= room {
            room -= file.size;
            let data = octets(scope, &file.hash).await?;
            pictures
                .push((cid, format!("data:{};base64,{}", file.media_type, STANDARD.encode(data))));
        }
    }
    // It was sanitised when the mail came in; once more costs little and outlives a flaw of that day.
    let text = String::from_utf8_lossy(&html).into_owned();
    let clean =
        tokio::task::spawn_blocking(move || with_pictures(mime::sanitise(&text).html, &pictures));
    let clean = clean.await.map_err(|_| Failure::Bad("The formatted version cannot be shown."))?;
    Ok(answer::mail_html(clean))
}

/// Puts pictures in place of the `cid:` addresses that name them (RFC 2392).
fn with_pictures(html: String, pictures: &[(String, String)]) -> String {
    pictures.iter().fold(html, |html, (cid, data)| {
        let cid = cid
            .replace('&', "&amp;")
            .replace('"', "&quot;")
            .replace('<', "&lt;")
            .replace('>', "&gt;");
        html.replace(&format!("src=\"cid:{cid}\""), &format!("src=\"{data}\""))
    })
}

#[cfg(test)]
mod tests {
    use super::with_pictures;

    #[test]
    fn pictures_take_the_place_of_their_names_only() {
        let html = "<img src=\"cid:a@x\"><p>cid:a@x</p>".to_owned();
        let pictures = [("a@x".to_owned(), "data:image/png;base64,AA==".to_owned())];
        assert_eq!(
            with_pictures(html, &pictures),
            "<img src=\"data:image/png;base64,AA==\"><p>cid:a@x</p>"
        );
    }
}
