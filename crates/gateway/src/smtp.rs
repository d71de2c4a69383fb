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
    auth::{Extract, Verifier},
    mime::{self, Peek},
    smtp::{Host, ReceivedMail, Recipient, Reply, ReversePath, Session, received_header},
};
use isthmus_queue::{Penalties, peer_key};
use isthmus_store::{ChangeSet, Directory, StoreError, TenantView, rows};

use crate::{Gateway, accept::NewTransaction, smtp_room::Room};

/// The owner of the SMTP server's sessions.
pub struct Door {
    gateway: Arc<Gateway>,
    verifier: Verifier,
    passwords: Penalties,
    guesses: Penalties,
    room: Room,
}

/// How far the From is believed, and why.
struct Proof {
    trust: Trust,
    words: String,
}

/// How far the From is believed, as far as the mail and its session tell.
enum Origin {
    Known(Proof),
    /// DNS has to be asked about it.
    Claimed {
        from: Email,
        by: Extract,
    },
}

impl Door {
    /// A door of `gateway` that proves senders with `verifier`.
    #[must_use]
    pub fn new(gateway: Arc<Gateway>, verifier: Verifier) -> Self {
        Self {
            gateway,
            verifier,
            passwords: Penalties::after(10),
            guesses: Penalties::after(60),
            room: Room::new(),
        }
    }

    /// The tenant that takes mail for a recipient, and the address that it is for.
    fn place(&self, directory: &Directory, to: &Email) -> Result<(Arc<TenantView>, Email), Reply> {
        let none = |text: &str| Reply::perm("5.1.1", text);
        if let Some(tenant) = directory.by_bridge(to.domain()) {
            let unknown = || none("there is no such address on this bridge");
            return match read_bridge_local(to.local()) {
                None if is_postmaster(to) => {
                    let owner = first_owner(tenant).unwrap_or_else(|| to.clone());
                    Ok((Arc::clone(tenant), owner))
                }
                None => Err(unknown()),
                Some(BridgeLocal::Alias(alias)) if tenant.alias(&alias).is_none() => Err(unknown()),
                Some(_) => Ok((Arc::clone(tenant), to.clone())),
            };
        }
        let tenant = directory.by_domain(to.domain());
        let refusal = match tenant.map(|t| (t, t.tenant.mail_mode.as_str())) {
            Some((tenant, "mx")) => return Ok((Arc::clone(tenant), to.clone())),
            Some((tenant, "copy")) if tenant.member(&to.key()).is_some() => {
                return Ok((Arc::clone(tenant), to.clone()));
            }
            Some((_, "copy")) => none("nobody with this address is a member here"),
            Some(_) => Reply::perm("5.7.1", "only mail to the bridge domain is taken here"),
            None => Reply::perm("5.7.1", "we do not relay to this domain"),
        };
        let of_the_server =
            is_postmaster(to) && to.domain().eq_ignore_ascii_case(&self.gateway.config.hostname);
        let postmaster = of_the_server.then(|| postmaster(directory)).flatten();
        postmaster.ok_or(refusal)
    }

    /// A guess costs as much as a hit: one look-up and one comparison. Whoever guessed wrong too
    /// often is not told any more what is right either.
    async fn reply_address(
        &self,
        session: &Session,
        tenant: &TenantView,
        token: &str,
    ) -> Result<(), Reply> {
        let (peer, now) = (peer_key(session.peer.ip()), self.gateway.now());
        if self.guesses.holds(&peer, now) && !self.gateway.config.trusts(session.peer.ip()) {
            let text = "too many unknown addresses; please wait a minute";
            return Err(Reply::temp("4.7.1", text));
        }
        let found = self.gateway.store.participant_by_token(token).await;
        match found {
            Ok(Some(p)) if p.tenant_id == tenant.tenant.id => Ok(()),
            Ok(_) => {
                self.guesses.failed(&peer, now);
                Err(Reply::perm("5.1.1", "there is no such address on this bridge"))
            }
            Err(error) => {
                tracing::error!(%error, "A reply address could not be looked up");
                Err(Reply::temp("4.3.0", "we cannot look this up at the moment; please try again"))
            }
        }
    }

    /// What is known of the From without asking anybody.
    fn origin(&self, session: &Session, peek: &Peek, raw: &[u8]) -> Origin {
        let known = |trust, words: &str| Origin::Known(Proof { trust, words: words.into() });
        let Some(from) = &peek.from else {
            return known(Trust::Unproven, "no readable From");
        };
        if Identity::of(session).is_some_and(|id| id.email == from.key()) {
            return known(Trust::SignedIn, "signed in");
        }
        if self.gateway.config.trusts(session.peer.ip()) {
            // A server that we trust may still say that it does not trust the mail.
            return match mime::upstream_verdict(raw) {
                Some(words) => known(Trust::Bad, &words),
                None => known(Trust::TrustedNetwork, "from a trusted network"),
            };
        }
        Origin::Claimed { from: from.clone(), by: Extract::of(raw) }
    }

    /// How far the From is believed.
    async fn proof(&self, session: &Session, mail: &ReceivedMail, origin: Origin) -> Proof {
        let (from, by) = match origin {
            Origin::Known(proof) => return proof,
            Origin::Claimed { from, by } => (from, by),
        };
        let helo = session.helo.as_deref().unwrap_or_default();
        let verdict =
            self.verifier.verify(session.peer.ip(), helo, mail.from.as_ref(), &from, &by).await;
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
        // Read twice rather than kept: others need the room while DNS is waited for.
        let opened = self.room.open(&mail.body).await?;
        let checked = mime::check(&opened.raw);
        let peek =
            checked.map_err(|r| Reply::perm(r.enhanced(), &r.to_string()).with_code(r.code()))?;
        let origin = self.origin(session, &peek, &opened.raw);
        drop(opened);
        let directory = self.gateway.store.directory();
        if let Some(reply) = self.refusal(&peek) {
            // Where a company's server copies mail to us it also copies what we sent through it.
            let copies = |rcpt: &Recipient| {
                directory.by_bridge(rcpt.email.domain()).is_none()
                    && directory
                        .by_domain(rcpt.email.domain())
                        .is_some_and(|t| t.tenant.mail_mode == "copy")
            };
            if peek.hops <= mime::MAX_HOPS && mail.to.iter().all(copies) {
                return Ok("a mail of our own, which is here already".into());
            }
            return Err(reply);
        }
        let proof = self.proof(session, &mail, origin).await;
        let mut tenants: Vec<(Arc<TenantView>, Vec<Email>)> = Vec::new();
        for rcpt in &mail.to {
            // A tenant may have been deleted since RCPT.
            let (tenant, to) = self.place(&directory, &rcpt.email)?;
            match tenants.iter_mut().find(|(t, _)| t.tenant.id == tenant.tenant.id) {
                Some((_, rcpts)) if rcpts.contains(&to) => {}
                Some((_, rcpts)) => rcpts.push(to),
                None => tenants.push((tenant, vec![to])),
            }
        }
        if let Some(reply) = nothing_allowed(session, &peek, &tenants) {
            return Err(reply);
        }
        let opened = self.room.open(&mail.body).await?;
        let (mut rows, mut blobs) = (Vec::new(), Vec::new());
        let mut id = String::new();
        let mut carried = None;
        for (tenant, rcpts) in &tenants {
            let row = self.row(session, &mail, &peek, &proof, tenant, rcpts, &opened.raw).await;
            let (row, blob, whole) = match row {
                Ok(row) => row,
                Err(error) => {
                    self.give_up(&blobs).await;
                    return Err(failed(error));
                }
            };
            id.clone_from(&row.id);
            carried = whole.filter(|_| tenants.len() == 1);
            rows.push(row);
            blobs.push(blob);
        }
        drop(opened);
        let set = ChangeSet {
            new_transactions: rows.clone(),
            once_blobs: blobs.clone(),
            ..Default::default()
        };
        match self.gateway.accept(set, carried).await {
            Ok(()) => {}
            // The peer did not hear our first 250: it is the same mail again, for some at least.
            Err(error) if error.is_duplicate() => {
                let mut new = 0;
                for (row, blob) in rows.into_iter().zip(blobs) {
                    new += usize::from(self.take_alone(row, blob).await?);
                }
                if new == 0 {
                    return Ok("the same mail, which is here already".into());
                }
            }
            Err(error) => {
                self.give_up(&blobs).await;
                return Err(failed(error));
            }
        }
        failpoint::hit("smtp.after_commit");
        Ok(id)
    }

    async fn give_up(&self, blobs: &[rows::Blob]) {
        for blob in blobs {
            self.gateway.store.drop_unused(blob).await;
        }
    }

    /// One tenant's part of a mail that another one has already; `false` if this one has it, too.
    async fn take_alone(&self, row: rows::Transaction, blob: rows::Blob) -> Result<bool, Reply> {
        let set = ChangeSet {
            new_transactions: vec![row],
            once_blobs: vec![blob.clone()],
            ..Default::default()
        };
        match self.gateway.accept(set, None).await {
            Ok(()) => Ok(true),
            Err(error) => {
                self.gateway.store.drop_unused(&blob).await;
                if error.is_duplicate() { Ok(false) } else { Err(failed(error)) }
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
        let parts = vec![header.into(), raw.clone()];
        let blob = self.gateway.store.keep_original(tenant_id, parts, now).await?;
        // The router takes it from here and need not look it up.
        let whole = blob.data.as_ref().map(|data| Bytes::copy_from_slice(data));
        let params = MailIn {
            mail_from: mail.from.clone(),
            rcpts: rcpts.to_vec(),
            raw: blob.hash.clone(),
            size,
            trust: trust_at(tenant, session, peek, proof.trust),
            verdict: proof.words.clone(),
            identity: Identity::of(session)
                .filter(|id| id.tenant == *tenant_id)
                .map(|id| id.email.to_owned()),
        };
        let member = peek.from.as_ref().and_then(|f| tenant.member(&f.key()));
        let row = self.gateway.transaction(NewTransaction {
            tenant: tenant_id,
            member: member.filter(|_| params.trust.is_good()).map(|m| m.id.as_str()),
            service: "mail.in",
            source: "smtp",
            params: &params,
            dedupe,
        });
        Ok((row, blob, whole))
    }
}

/// Who signed in: the same address may be a member of several tenants, each with a password of
/// its own.
struct Identity<'s> {
    tenant: &'s str,
    email: &'s str,
}

impl<'s> Identity<'s> {
    fn of(session: &'s Session) -> Option<Self> {
        let (tenant, email) = session.identity.as_deref()?.split_once(' ')?;
        Some(Self { tenant, email })
    }

    fn write(tenant: &str, email: &str) -> String {
        format!("{tenant} {email}")
    }
}

/// A password of one tenant proves nothing about a member of another one with the same address.
fn trust_at(tenant: &TenantView, session: &Session, peek: &Peek, trust: Trust) -> Trust {
    let here = Identity::of(session).is_some_and(|id| id.tenant == tenant.tenant.id);
    let member = peek.from.as_ref().is_some_and(|from| tenant.member(&from.key()).is_some());
    if trust == Trust::SignedIn && !here && member { Trust::Unproven } else { trust }
}

/// Recipients that only a member may write to.
fn is_for_members(rcpt: &Email, bridge: &str) -> bool {
    rcpt.domain() == bridge
        && matches!(
            read_bridge_local(rcpt.local()),
            Some(
                BridgeLocal::Forward
                    | BridgeLocal::Person(_)
                    | BridgeLocal::Alias(_)
                    | BridgeLocal::Decision { .. }
            )
        )
}

/// What to say when nothing of a mail may be done. Somebody who may act but cannot prove it is let
/// in, and the member in whose name they wrote is told.
fn nothing_allowed(
    session: &Session,
    peek: &Peek,
    tenants: &[(Arc<TenantView>, Vec<Email>)],
) -> Option<Reply> {
    let from = peek.from.as_ref().map(Email::key).unwrap_or_default();
    let all_for_members = tenants
        .iter()
        .all(|(t, rcpts)| rcpts.iter().all(|r| is_for_members(r, &t.tenant.bridge_domain)));
    if !all_for_members || tenants.is_empty() {
        return None;
    }
    if Identity::of(session).is_some_and(|id| id.email != from) {
        return Some(Reply::perm(
            "5.7.1",
            "the From of this mail is not the address you signed in as",
        ));
    }
    let nobody = tenants.iter().all(|(t, _)| t.member(&from).is_none());
    nobody.then(|| {
        Reply::perm("5.7.1", "only members may write to this address, and the From is none")
    })
}

/// RFC 5321 section 4.5.1: mail for the postmaster is taken, of a bridge as of the server itself.
fn is_postmaster(to: &Email) -> bool {
    to.local().eq_ignore_ascii_case("postmaster")
}

/// Who looks after a tenant: the owner who was there first.
fn first_owner(tenant: &TenantView) -> Option<Email> {
    let owners = tenant.members().filter(|m| m.role == "owner");
    owners.min_by_key(|m| (m.created_at, &m.id)).and_then(|m| Email::parse(&m.email).ok())
}

/// Who looks after the server: the first owner of the tenant that was there first.
fn postmaster(directory: &Directory) -> Option<(Arc<TenantView>, Email)> {
    let owners = directory.all().filter_map(|t| Some((t, first_owner(t)?)));
    let (tenant, owner) = owners.min_by_key(|(t, _)| (t.tenant.created_at, &t.tenant.id))?;
    Some((Arc::clone(tenant), owner))
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
        let (peer, now) = (peer_key(session.peer.ip()), self.gateway.now());
        if self.passwords.holds(&peer, now) {
            return Err(Reply::temp("4.7.0", "too many attempts; please wait a minute"));
        }
        match self.gateway.sign_in(user, password).await {
            Ok(Some((tenant, member))) => Ok(Identity::write(&tenant.tenant.id, &member.email)),
            Ok(None) => {
                self.passwords.failed(&peer, now);
                Err(Reply::perm("5.7.8", "wrong address or password").with_code(535))
            }
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
        let (tenant, _) = self.place(&directory, to)?;
        match read_bridge_local(to.local()) {
            Some(BridgeLocal::Reply(token)) if to.domain() == tenant.tenant.bridge_domain => {
                self.reply_address(session, &tenant, &token).await
            }
            _ => Ok(()),
        }
    }

    async fn accept(&self, session: &Session, mail: ReceivedMail) -> Reply {
        match self.take(session, mail).await {
            Ok(id) => Reply::ok(&format!("accepted as {id}")),
            Err(reply) => reply,
        }
    }
}
