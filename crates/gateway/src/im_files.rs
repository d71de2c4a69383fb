//! Files that come with instant messages: fetched from the sender's own server and kept, so that
//! they go on as files; what cannot be fetched goes on as the link it is.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use isthmus_domain::service::OutFileRef;
use isthmus_im::InMessage;
use isthmus_store::{StoreError, TenantView, rows};
use tokio::{
    sync::Semaphore,
    time::{Instant, timeout_at},
};
use tokio_util::sync::CancellationToken;

use crate::{
    Gateway,
    file_hosts::{self, Whose},
    webchat::{KEPT, NETWORK},
};

/// Octets of one file.
const MAX: usize = 25 * 1024 * 1024;
/// Files of one message.
const FILES: usize = 10;
/// For all files of one message, waiting for room included.
pub(crate) const TIME: Duration = Duration::from_secs(20);

/// What became of the files of a message.
#[derive(Default)]
pub(crate) struct Files {
    /// Those that are kept here.
    pub(crate) files: Vec<OutFileRef>,
    /// The addresses of those that are not.
    pub(crate) links: Vec<String>,
    /// Rows to commit with the message.
    pub(crate) blobs: Vec<rows::Blob>,
}

/// What bounds the fetching of one message's files.
pub(crate) struct Bounds<'a> {
    /// Room for those that are fetched at the same time.
    pub(crate) room: &'a Semaphore,
    /// Cancelled when too much waits behind this message.
    pub(crate) enough: &'a CancellationToken,
}

/// The files of a message of which none has to be fetched; `None` if one has.
pub(crate) fn at_hand(message: &InMessage) -> Option<Files> {
    let files = message.files.iter().map(|f| kept(message, &f.url)).collect::<Option<_>>()?;
    Some(Files { files, ..Files::default() })
}

/// Our own chat keeps a file before it hands the message on; no other network can say so.
fn kept(message: &InMessage, url: &str) -> Option<OutFileRef> {
    let kept = url.strip_prefix(KEPT).filter(|_| message.from.network() == NETWORK)?;
    serde_json::from_str(kept).ok()
}

/// Fetches what may be fetched in time; the rest stays the link that it is.
pub(crate) async fn fetch(
    gateway: &Gateway,
    tenant: &TenantView,
    message: &InMessage,
    bounds: Bounds<'_>,
) -> Result<Files, StoreError> {
    let until = Instant::now() + TIME;
    let room = if may_write(gateway, tenant, message).await? {
        let waiting = timeout_at(until, bounds.room.acquire());
        tokio::select! {
            room = waiting => room.ok().and_then(Result::ok),
            () = bounds.enough.cancelled() => None,
        }
    } else {
        None
    };
    let mut out = Files::default();
    for (i, file) in message.files.iter().enumerate() {
        if let Some(kept) = kept(message, &file.url) {
            out.files.push(kept);
            continue;
        }
        let fetched = if room.is_none() || i >= FILES {
            Err("it is not fetched for this sender, or not now".to_owned())
        } else {
            tokio::select! {
                got = timeout_at(until, get(gateway, message, &file.url)) => {
                    got.unwrap_or_else(|_| Err("it took too long".to_owned()))
                }
                () = bounds.enough.cancelled() => Err("too much waited behind it".to_owned()),
            }
        };
        match fetched {
            Ok((media_type, data)) => {
                let size = i64::try_from(data.len()).unwrap_or(i64::MAX);
                let blob = gateway.store.keep_blob(&tenant.tenant.id, data).await?;
                out.files.push(OutFileRef {
                    name: name(&file.url),
                    media_type,
                    size,
                    hash: blob.hash.clone(),
                    content_id: None,
                });
                out.blobs.push(blob);
            }
            Err(why) => {
                tracing::info!(%why, "A file of an instant message goes on as a link");
                out.links.push(file.url.clone());
            }
        }
    }
    Ok(out)
}

/// Whether the sender may write to the one addressed, as far as can be told before the router
/// decides: somebody with a verified address here, or somebody who is in a conversation with them.
async fn may_write(
    gateway: &Gateway,
    tenant: &TenantView,
    message: &InMessage,
) -> Result<bool, StoreError> {
    if tenant.author_by_im(message.from.as_str()).is_some() {
        return Ok(true);
    }
    let Some(to) = &message.to else { return Ok(false) };
    let mut pair = [message.from.as_str().to_owned(), to.key()];
    pair.sort_unstable();
    let scope = gateway.store.of(&tenant.tenant.id);
    Ok(scope.last_of_pair(&pair.join(" ")).await?.is_some())
}

async fn get(gateway: &Gateway, message: &InMessage, url: &str) -> Result<(String, Bytes), String> {
    let words = |e: reqwest::Error| e.without_url().to_string();
    let url = url::Url::parse(url).map_err(|e| e.to_string())?;
    let whose =
        whose(gateway, message, &url).ok_or("it lies on a server that is not the sender's")?;
    let client = file_hosts::client(&url, whose).await?;
    let mut response = client
        .get(url)
        .send()
        .await
        .and_then(reqwest::Response::error_for_status)
        .map_err(words)?;
    // A redirection is no error, and no file.
    if !response.status().is_success() {
        return Err(format!("the server answered {}", response.status()));
    }
    let announced = response.content_length().unwrap_or(0);
    if announced > MAX as u64 {
        return Err("it is too large".into());
    }
    let media_type = response
        .headers()
        .get("content-type")
        .and_then(|v| v.to_str().ok())
        .and_then(isthmus_mail::mime::safe_media_type)
        .unwrap_or_else(|| "application/octet-stream".to_owned());
    let mut data = BytesMut::with_capacity(usize::try_from(announced).unwrap_or(0));
    while let Some(chunk) = response.chunk().await.map_err(words)? {
        if data.len() + chunk.len() > MAX {
            return Err("it is too large".into());
        }
        data.extend_from_slice(&chunk);
    }
    Ok((media_type, data.freeze()))
}

/// Only the sender's own server or one that the operator named: an address in a message must not
/// make us call anybody else.
fn whose(gateway: &Gateway, message: &InMessage, url: &url::Url) -> Option<Whose> {
    if !matches!(url.scheme(), "http" | "https") {
        return None;
    }
    if file_hosts::is_named(&gateway.config.file_hosts, url) {
        return Some(Whose::Named);
    }
    let host = url.host_str()?;
    let domain = message.from.address().split('@').nth(1).filter(|d| !d.is_empty())?;
    let own = host == domain || host.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.'));
    own.then_some(Whose::Sender)
}

/// The last part of the path, neutralised.
fn name(url: &str) -> String {
    let last = url::Url::parse(url)
        .ok()
        .and_then(|u| u.path_segments().and_then(|mut s| s.next_back().map(ToOwned::to_owned)))
        .unwrap_or_default();
    isthmus_mail::mime::safe_file_name(&percent(&last))
}

/// Undoes percent-encoding.
fn percent(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut i = 0;
    while i < bytes.len() {
        let hex = bytes.get(i + 1..i + 3).filter(|_| bytes[i] == b'%');
        match hex
            .and_then(|h| std::str::from_utf8(h).ok())
            .and_then(|h| u8::from_str_radix(h, 16).ok())
        {
            Some(b) => {
                out.push(b);
                i += 3;
            }
            None => {
                out.push(bytes[i]);
                i += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}
