//! The SMTP door: who may send what to whom, how far a From is believed, and the commit before
//! the `250`.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use isthmus_domain::{
    address::{BridgeLocal, Email, read_bridge_local},
    clock::Millis,
    failpoint,
    service::{MailIn, Trust},
};
use isthmus_mail::{
    auth::Verifier,
    mime::{self, Peek},
    smtp::{Body, Host, ReceivedMail, Reply, ReversePath, Session, received_header},
};
use isthmus_queue::RateLimits;
use isthmus_store::{ChangeSet, Directory, StoreError, TenantView, rows};

use crate::{Gateway, accept::NewTransaction};

/// The owner of the SMTP server's sessions.
pub struct Door {
    gateway: Arc<Gateway>,
    verifier: Verifier,
    passwords: RateLimits,
    guesses: RateLimits,
    large: Arc<tokio::sync::Semaphore>,
}

/// How far the From is believed, and why.
struct Proof {
    trust: Trust,
    words: String,
}

impl Door {
    /// A door of `gateway` that proves senders with `verifier`.
    #[must_use]
    pub fn new(gateway: Arc<Gateway>, verifier: Verifier) -> Self {
        const TEN: std::num::NonZeroU32 = std::num::NonZeroU32::MIN.saturating_add(9);
        const SIXTY: std::num::NonZeroU32 = std::num::NonZeroU32::MIN.saturating_add(59);
        Self {
            gateway,
            verifier,
            passwords: RateLimits::per_minute(TEN),
            guesses: RateLimits::per_minute(SIXTY),
            large: Arc::new(tokio::sync::Semaphore::new(1)),
        }
    }

    /// Whether a recipient exists, and at which tenant.
    async fn owner(
        &self,
        directory: &Directory,
        session: &Session,
        to: &Email,
    ) -> Result<Arc<TenantView>, Reply> {
        let none = |text: &str| Reply::perm("5.1.1", text);
        if let Some(tenant) = directory.by_bridge(to.domain()) {
            return match read_bridge_local(to.local()) {
                None => Err(none("there is no such address on this bridge")),
                Some(BridgeLocal::Alias(alias)) if tenant.alias(&alias).is_none() => {
                    Err(none("there is no such address on this bridge"))
                }
                Some(BridgeLocal::Reply(token)) => {
                    self.reply_address(session, tenant, &token).await?;
                    Ok(Arc::clone(tenant))
                }
                Some(_) => Ok(Arc::clone(tenant)),
            };
        }
        let Some(tenant) = directory.by_domain(to.domain()) else {
            return Err(Reply::perm("5.7.1", "we do not relay to this domain"));
        };
        match tenant.tenant.mail_mode.as_str() {
            "mx" => Ok(Arc::clone(tenant)),
            "copy" if tenant.member(&to.key()).is_some() => Ok(Arc::clone(tenant)),
            "copy" => Err(none("nobody with this address is a member here")),
            _ => Err(Reply::perm("5.7.1", "only mail to the bridge domain is taken here")),
        }
    }

    /// A guess costs as much as a hit: one look-up, one comparison, and the same limit.
    async fn reply_address(
        &self,
        session: &Session,
        tenant: &TenantView,
        token: &str,
    ) -> Result<(), Reply> {
        let peer = session.peer.ip().to_string();
        let found = self.gateway.store.participant_by_token(token).await;
        match found {
            Ok(Some(p)) if p.tenant_id == tenant.tenant.id => Ok(()),
            Ok(_) if self.guesses.allows(&peer) => {
                Err(Reply::perm("5.1.1", "there is no such address on this bridge"))
            }
            Ok(_) => Err(Reply::temp("4.7.1", "too many unknown addresses; please wait a minute")),
            Err(error) => {
                tracing::error!(%error, "A reply address could not be looked up");
                Err(Reply::temp("4.3.0", "we cannot look this up at the moment; please try again"))
            }
        }
    }

    /// How far the From is believed.
    async fn proof(
        &self,
        session: &Session,
        mail: &ReceivedMail,
        peek: &Peek,
        raw: &[u8],
    ) -> Proof {
        let Some(from) = &peek.from else {
            return Proof { trust: Trust::Unproven, words: "no readable From".into() };
        };
        if session.identity.as_deref().is_some_and(|id| id == from.key()) {
            return Proof { trust: Trust::SignedIn, words: "signed in".into() };
        }
        if self.gateway.config.trusts(session.peer.ip()) {
            // A server that we trust may still say that it does not trust the mail.
            return match mime::upstream_verdict(raw) {
                Some(words) => Proof { trust: Trust::Bad, words },
                None => {
                    Proof { trust: Trust::TrustedNetwork, words: "from a trusted network".into() }
                }
            };
        }
        let helo = session.helo.as_deref().unwrap_or_default();
        let verdict =
            self.verifier.verify(session.peer.ip(), helo, mail.from.as_ref(), from, raw).await;
        let trust = if verdict.reject_or_quarantine {
            Trust::Bad
        } else if verdict.aligned && !verdict.temperror {
            Trust::Aligned
        } else {
            Trust::Unproven
        };
        Proof { trust, words: verdict.detail }
    }

    /// What speaks against the mail as a whole.
    fn refusal(&self, peek: &Peek) -> Option<Reply> {
        if peek.hops > mime::MAX_HOPS {
            return Some(
                Reply::perm("5.4.6", "this mail has passed too many servers; it runs in a circle")
                    .with_code(554),
            );
        }
        if peek.loop_marks.iter().any(|m| m == &self.gateway.config.installation) {
            return Some(
                Reply::perm("5.4.6", "this mail has come from here already; it runs in a circle")
                    .with_code(554),
            );
        }
        None
    }

    async fn take(&self, session: &Session, mail: ReceivedMail) -> Result<String, Reply> {
        let (raw, _room) = self.open(&mail).await?;
        let checked = mime::check(&raw);
        let peek =
            checked.map_err(|r| Reply::perm(r.enhanced(), &r.to_string()).with_code(r.code()))?;
        if let Some(reply) = self.refusal(&peek) {
            return Err(reply);
        }
        let proof = self.proof(session, &mail, &peek, &raw).await;
        let directory = self.gateway.store.directory();
        let mut tenants: Vec<(Arc<TenantView>, Vec<Email>)> = Vec::new();
        for rcpt in &mail.to {
            // A tenant may have been deleted since RCPT.
            let tenant = self.owner(&directory, session, &rcpt.email).await?;
            match tenants.iter_mut().find(|(t, _)| t.tenant.id == tenant.tenant.id) {
                Some((_, rcpts)) => rcpts.push(rcpt.email.clone()),
                None => tenants.push((tenant, vec![rcpt.email.clone()])),
            }
        }
        let mut set = ChangeSet::default();
        let mut id = String::new();
        let mut carried = None;
        for (tenant, rcpts) in &tenants {
            let (row, blob, whole) = self
                .row(session, &mail, &peek, &proof, tenant, rcpts, &raw)
                .await
                .map_err(failed)?;
            id.clone_from(&row.id);
            carried = whole.filter(|_| tenants.len() == 1);
            set.new_transactions.push(row);
            set.once_blobs.push(blob);
        }
        match self.gateway.accept(set, carried).await {
            Ok(()) => {}
            // The peer did not hear our first 250: it is the same mail again.
            Err(error) if error.is_duplicate() => {
                return Ok("the same mail, which is here already".into());
            }
            Err(error) => return Err(failed(error)),
        }
        failpoint::hit("smtp.after_commit");
        Ok(id)
    }

    /// The mail in memory; long mails are read back from their files one at a time, for as long
    /// as the permit is held.
    async fn open(
        &self,
        mail: &ReceivedMail,
    ) -> Result<(Bytes, Option<tokio::sync::OwnedSemaphorePermit>), Reply> {
        let failed = |_| Reply::temp("4.3.0", "the mail could not be read back; please try again");
        match &mail.body {
            Body::Memory(bytes) => Ok((bytes.clone(), None)),
            Body::File { path, .. } => {
                let room = Arc::clone(&self.large).acquire_owned().await;
                let room = room.map_err(|e| failed(e.to_string()))?;
                let raw = tokio::fs::read(path).await.map_err(|e| failed(e.to_string()))?;
                Ok((raw.into(), Some(room)))
            }
        }
    }

    #[expect(clippy::too_many_arguments, reason = "a transaction has as many sources")]
    async fn row(
        &self,
        session: &Session,
        mail: &ReceivedMail,
        peek: &Peek,
        proof: &Proof,
        tenant: &TenantView,
        rcpts: &[Email],
        raw: &Bytes,
    ) -> Result<(rows::Transaction, rows::Blob, Option<Bytes>), StoreError> {
        let tenant_id = &tenant.tenant.id;
        let now = self.gateway.now();
        let dedupe = dedupe(mail, peek, rcpts);
        let date = rfc5322_date(now);
        let only = (mail.to.len() == 1).then(|| &mail.to[0].email);
        let header = received_header(
            session,
            &self.gateway.config.hostname,
            &mail.sha256[..16],
            only,
            &date,
        );
        let size = raw.len() as u64 + header.len() as u64;
        let parts = [header.into(), raw.clone()];
        let blob = self.gateway.store.keep_blob_of(tenant_id, parts).await?;
        // The router takes it from here and need not look it up.
        let whole = blob.data.as_ref().map(|data| Bytes::copy_from_slice(data));
        let params = MailIn {
            mail_from: mail.from.clone(),
            rcpts: rcpts.to_vec(),
            raw: blob.hash.clone(),
            size,
            trust: proof.trust,
            verdict: proof.words.clone(),
            identity: session.identity.clone(),
        };
        let member = peek.from.as_ref().and_then(|f| tenant.member(&f.key()));
        let row = self.gateway.transaction(NewTransaction {
            tenant: tenant_id,
            member: member.filter(|_| proof.trust.is_good()).map(|m| m.id.as_str()),
            service: "mail.in",
            source: "smtp",
            params: &params,
            dedupe,
        });
        Ok((row, blob, whole))
    }
}

/// The same mail for the same people from the same sender, however often it comes.
fn dedupe(mail: &ReceivedMail, peek: &Peek, rcpts: &[Email]) -> Option<String> {
    let message_id = peek.message_id.as_deref()?;
    let from = mail.from.as_ref().map(Email::key).unwrap_or_default();
    let mut to: Vec<String> = rcpts.iter().map(Email::key).collect();
    to.sort();
    Some(isthmus_store::blob_hash(
        format!("mail\n{message_id}\n{from}\n{}\n{}", to.join(" "), mail.sha256).as_bytes(),
    ))
}

fn failed(error: StoreError) -> Reply {
    if error.is_full() {
        return Reply::temp("4.3.1", "there is no room to store this mail at the moment")
            .with_code(452);
    }
    tracing::error!(%error, "A mail could not be stored");
    Reply::temp("4.3.0", "the mail could not be stored; please try again")
}

fn rfc5322_date(now: Millis) -> String {
    now.timestamp().strftime("%a, %d %b %Y %H:%M:%S +0000").to_string()
}

#[async_trait]
impl Host for Door {
    fn hostname(&self) -> &str {
        &self.gateway.config.hostname
    }

    async fn authenticate(
        &self,
        session: &Session,
        user: &str,
        password: &str,
    ) -> Result<String, Reply> {
        let peer = session.peer.ip().to_string();
        if !self.passwords.allows(&peer) {
            return Err(Reply::temp("4.7.0", "too many attempts; please wait a minute"));
        }
        match self.gateway.sign_in(user, password).await {
            Ok(Some((_, member))) => Ok(member.email),
            Ok(None) => Err(Reply::perm("5.7.8", "wrong address or password").with_code(535)),
            Err(error) => Err(failed(error)),
        }
    }

    async fn sender(&self, _session: &Session, _from: &ReversePath) -> Result<(), Reply> {
        Ok(())
    }

    async fn recipient(
        &self,
        session: &Session,
        _from: &ReversePath,
        to: &Email,
    ) -> Result<(), Reply> {
        let directory = self.gateway.store.directory();
        self.owner(&directory, session, to).await.map(|_| ())
    }

    async fn accept(&self, session: &Session, mail: ReceivedMail) -> Reply {
        match self.take(session, mail).await {
            Ok(id) => Reply::ok(&format!("accepted as {id}")),
            Err(reply) => reply,
        }
    }
}
