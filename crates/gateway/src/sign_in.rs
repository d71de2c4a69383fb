//! Passwords, sessions and keys: who is it?

use std::sync::Arc;

use argon2::{Argon2, PasswordHash, PasswordHasher, PasswordVerifier, password_hash::SaltString};
use isthmus_domain::clock::Chance;
use isthmus_store::{Directory, StoreError, TenantView, blob_hash, rows};

use crate::Gateway;

/// How long a session lasts without being used.
const SESSION_MS: i64 = 14 * 86_400_000;

/// Who acts through a key.
#[derive(Clone, Debug)]
pub enum Caller {
    /// A member, through a key of their own or a session.
    Member(Arc<TenantView>, rows::Member),
    /// A tenant's administration.
    Tenant(Arc<TenantView>),
    /// Whoever runs the installation.
    Operator,
}

impl Caller {
    /// The tenant, unless it is the operator.
    #[must_use]
    pub fn tenant(&self) -> Option<&Arc<TenantView>> {
        match self {
            Self::Member(tenant, _) | Self::Tenant(tenant) => Some(tenant),
            Self::Operator => None,
        }
    }

    /// The member, if it is one.
    #[must_use]
    pub fn member(&self) -> Option<&rows::Member> {
        match self {
            Self::Member(_, member) => Some(member),
            _ => None,
        }
    }

    /// May change members, contacts of all, and keys.
    #[must_use]
    pub fn is_admin(&self) -> bool {
        match self {
            Self::Member(_, member) => matches!(member.role.as_str(), "owner" | "admin"),
            Self::Tenant(_) => true,
            Self::Operator => false,
        }
    }
}

/// The hash under which a secret is stored: keys and session tokens are random and long, so a
/// plain hash is enough.
#[must_use]
pub fn secret_hash(secret: &str) -> String {
    blob_hash(secret.as_bytes())
}

/// A password as it is stored.
///
/// # Errors
/// Only for a password that is longer than argon2 takes.
pub fn hash_password(password: &str, chance: &Chance) -> Result<String, String> {
    let mut salt = [0_u8; 16];
    chance.fill(&mut salt);
    let salt = SaltString::encode_b64(&salt).map_err(|e| e.to_string())?;
    Argon2::default()
        .hash_password(password.as_bytes(), &salt)
        .map(|h| h.to_string())
        .map_err(|e| e.to_string())
}

/// A member who may be meant by an address.
struct Candidate {
    tenant: Arc<TenantView>,
    member: rows::Member,
    /// The domain of the address is one of the tenant's.
    at_home: bool,
}

/// Members of all tenants with this address: at home first, then those who were there first. Checking
/// a password takes time, so that only so many are looked at.
fn candidates(directory: &Directory, email: &str) -> Vec<Candidate> {
    let domain = email.rsplit_once('@').map_or("", |(_, domain)| domain);
    let home = directory.by_domain(domain).map(|t| t.tenant.id.as_str());
    let mut all: Vec<_> = directory
        .members_called(email)
        .map(|(tenant, member)| Candidate {
            tenant: Arc::clone(tenant),
            member: member.clone(),
            at_home: home == Some(tenant.tenant.id.as_str()),
        })
        .collect();
    all.sort_by(|a, b| {
        let order = |c: &Candidate| (!c.at_home, c.member.created_at);
        order(a).cmp(&order(b)).then_with(|| a.member.id.cmp(&b.member.id))
    });
    all.truncate(8);
    all
}

impl Gateway {
    /// The member with this address and password. Where several tenants have one, it is the one of
    /// the tenant that the address's domain belongs to; of others only one whom no other tenant's
    /// member shares the password with, since nothing tells which of them is meant.
    ///
    /// # Errors
    /// When the check itself cannot run.
    pub async fn sign_in(
        &self,
        email: &str,
        password: &str,
    ) -> Result<Option<(Arc<TenantView>, rows::Member)>, StoreError> {
        let email = email.trim().to_ascii_lowercase();
        let candidates = candidates(&self.store.directory(), &email);
        let password = password.to_owned();
        let check = move || {
            // Somebody unknown costs as much time as somebody known.
            const NOBODY: &str = "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$\
                                  AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
            let fits = |hash: &str| {
                PasswordHash::new(hash).is_ok_and(|h| {
                    Argon2::default().verify_password(password.as_bytes(), &h).is_ok()
                })
            };
            if candidates.is_empty() {
                fits(NOBODY);
            }
            let mut found = None;
            for candidate in candidates {
                if !candidate.member.password_hash.as_deref().is_some_and(fits) {
                    continue;
                }
                if candidate.at_home {
                    return Some(candidate);
                }
                if found.replace(candidate).is_some() {
                    return None;
                }
            }
            found
        };
        let found = tokio::task::spawn_blocking(check).await.map_err(|_| StoreError::Closed)?;
        Ok(found.map(|c| (c.tenant, c.member)))
    }

    /// Opens a session; returns the token for the cookie. The token is always new, so that nobody
    /// can fix one beforehand.
    ///
    /// # Errors
    /// When it cannot be stored.
    pub async fn open_session(
        &self,
        member: &rows::Member,
        agent: &str,
    ) -> Result<String, StoreError> {
        let token = self.chance.token();
        let now = self.now().0;
        self.store
            .put_session(rows::Session {
                hash: secret_hash(&token),
                tenant_id: member.tenant_id.clone(),
                member_id: member.id.clone(),
                csrf: self.chance.token(),
                agent: agent.chars().filter(|c| !c.is_control()).take(200).collect(),
                created_at: now,
                seen_at: now,
                expires_at: now + SESSION_MS,
            })
            .await?;
        Ok(token)
    }

    /// The session behind a cookie's token.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn session(
        &self,
        token: &str,
    ) -> Result<Option<(Arc<TenantView>, rows::Member, rows::Session)>, StoreError> {
        let Some(session) = self.store.session(&secret_hash(token)).await? else { return Ok(None) };
        let now = self.now().0;
        if session.expires_at < now {
            return Ok(None);
        }
        let directory = self.store.directory();
        let found = directory.tenant(&session.tenant_id).and_then(|t| {
            t.member_by_id(&session.member_id).map(|m| (Arc::clone(t), m.clone(), session.clone()))
        });
        // Written once an hour at most: pages are looked at often.
        if found.is_some() && now - session.seen_at > 3_600_000 {
            let later = rows::Session { seen_at: now, expires_at: now + SESSION_MS, ..session };
            self.store.put_session(later).await?;
        }
        Ok(found)
    }

    /// Who acts through an API key.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn caller(&self, key: &str) -> Result<Option<Caller>, StoreError> {
        let Some(row) = self.store.api_key(&secret_hash(key)).await? else { return Ok(None) };
        let directory = self.store.directory();
        Ok(match (&row.tenant_id, &row.member_id) {
            (None, _) => Some(Caller::Operator),
            (Some(tenant), None) => directory.tenant(tenant).map(|t| Caller::Tenant(Arc::clone(t))),
            (Some(tenant), Some(member)) => directory.tenant(tenant).and_then(|t| {
                t.member_by_id(member).map(|m| Caller::Member(Arc::clone(t), m.clone()))
            }),
        })
    }
}
