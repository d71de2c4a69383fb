//! Tenants, members and contacts as they are declared, and the keys and sessions they act with.

use isthmus_domain::{
    clock::{Chance, Millis},
    ids::{ContactId, KeyId, MappingId, MemberId, TenantId},
};
use sea_orm::{
    ColumnTrait, DatabaseTransaction, EntityTrait, IntoActiveModel, QueryFilter,
    sea_query::OnConflict,
};

use crate::{Store, StoreError, audit, change::bump_directory, entities as e, leaving, rows};

/// A tenant as declared.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "each field is the key of the same name in the apply file")]
pub struct ApplyTenant {
    pub slug: String,
    pub name: String,
    pub domains: Vec<String>,
    pub mail_mode: String,
    pub bridge_domain: String,
    pub currency: String,
    pub time_zone: String,
    pub billing_email: Option<String>,
    pub billing_delivery: Vec<String>,
    pub forward_to: Option<String>,
    pub xmpp_secret: Option<String>,
    pub policy: Option<String>,
    pub outbound_per_day: i64,
    pub members: Vec<ApplyMember>,
    pub contacts: Vec<ApplyContact>,
}

/// A member as declared.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "each field is the key of the same name in the apply file")]
pub struct ApplyMember {
    pub email: String,
    pub name: String,
    pub role: String,
    /// Already hashed; `None` leaves the one that is there.
    pub password_hash: Option<String>,
    pub im: Vec<String>,
}

/// A contact as declared.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "each field is the key of the same name in the apply file")]
pub struct ApplyContact {
    pub email: String,
    pub name: String,
    pub im: Vec<String>,
    pub verified: bool,
}

impl Store {
    /// Declares tenants with their people; what is there already is brought in line. People stay
    /// when the declaration names them no longer, domains are released. Returns the tenants' ids
    /// in order.
    ///
    /// # Errors
    /// A domain that belongs to another tenant is a [`StoreError::Rule`]; nothing is then written.
    pub async fn apply(
        &self,
        tenants: Vec<ApplyTenant>,
        now: Millis,
        chance: std::sync::Arc<Chance>,
    ) -> Result<Vec<String>, StoreError> {
        let ids = self
            .write(move |tx| {
                let (tenants, chance) = (tenants.clone(), std::sync::Arc::clone(&chance));
                Box::pin(async move {
                    let mut ids = Vec::new();
                    // First, so that a domain can move from one tenant to another in one file.
                    for tenant in &tenants {
                        release_before(tx, tenant).await?;
                    }
                    for tenant in tenants {
                        let slug = tenant.slug.clone();
                        let id = apply_tenant(tx, tenant, now, &chance).await?;
                        audit::note(tx, &id, "tenant.apply", &slug, now, &chance).await?;
                        ids.push(id);
                    }
                    bump_directory(tx).await?;
                    Ok(ids)
                })
            })
            .await?;
        self.refresh_directory().await?;
        Ok(ids)
    }

    /// Marks a tenant as deleted: its addresses stop existing at once, and what was under way
    /// for it ends. The slug is free again; whoever gets it is somebody else.
    ///
    /// # Errors
    /// When the database cannot do it.
    pub async fn delete_tenant(
        &self,
        id: String,
        now: Millis,
        chance: std::sync::Arc<Chance>,
    ) -> Result<(), StoreError> {
        self.write(move |tx| {
            let (id, chance) = (id.clone(), std::sync::Arc::clone(&chance));
            Box::pin(async move { leaving::delete(tx, &id, now, &chance).await })
        })
        .await?;
        self.refresh_directory().await
    }

    /// Writes a member's row over the one that is there.
    ///
    /// # Errors
    /// When the database cannot do it.
    pub async fn put_member(&self, member: rows::Member) -> Result<(), StoreError> {
        self.write(move |tx| {
            let member = member.clone();
            Box::pin(async move {
                use e::members::Column as C;
                e::members::Entity::insert(member.into_active_model())
                    .on_conflict(
                        OnConflict::column(C::Id)
                            .update_columns([
                                C::Name,
                                C::Role,
                                C::PasswordHash,
                                C::Notices,
                                C::Policy,
                                C::LeftAt,
                            ])
                            .to_owned(),
                    )
                    .exec_without_returning(tx)
                    .await?;
                bump_directory(tx).await
            })
        })
        .await?;
        self.refresh_directory().await
    }

    /// Keeps a new API key by its hash.
    ///
    /// # Errors
    /// When the database cannot do it.
    pub async fn add_key(
        &self,
        hash: String,
        tenant_id: Option<String>,
        member_id: Option<String>,
        now: Millis,
        chance: std::sync::Arc<Chance>,
    ) -> Result<String, StoreError> {
        let row = rows::ApiKey {
            id: KeyId::new(now, &chance).into(),
            hash,
            tenant_id,
            member_id,
            created_at: now.0,
            revoked_at: None,
        };
        let id = row.id.clone();
        self.write(move |tx| {
            let (row, chance) = (row.clone(), std::sync::Arc::clone(&chance));
            Box::pin(async move {
                // A key of the installation belongs to no tenant's log.
                if let Some(tenant) = &row.tenant_id {
                    let target = row.member_id.as_deref().unwrap_or(&row.id);
                    audit::note(tx, tenant, "key.create", target, now, &chance).await?;
                }
                e::api_keys::Entity::insert(row.into_active_model())
                    .exec_without_returning(tx)
                    .await?;
                Ok(())
            })
        })
        .await?;
        Ok(id)
    }

    /// Opens a session, or writes it over the one with the same hash.
    ///
    /// # Errors
    /// When the database cannot do it.
    pub async fn put_session(&self, session: rows::Session) -> Result<(), StoreError> {
        self.write(move |tx| {
            let session = session.clone();
            Box::pin(async move {
                use e::sessions::Column as C;
                e::sessions::Entity::insert(session.into_active_model())
                    .on_conflict(
                        OnConflict::column(C::Hash)
                            .update_columns([C::SeenAt, C::ExpiresAt])
                            .to_owned(),
                    )
                    .exec_without_returning(tx)
                    .await?;
                Ok(())
            })
        })
        .await
    }

    /// Ends a session.
    ///
    /// # Errors
    /// When the database cannot do it.
    pub async fn end_session(&self, hash: String) -> Result<(), StoreError> {
        self.write(move |tx| {
            let hash = hash.clone();
            Box::pin(async move {
                e::sessions::Entity::delete_by_id(hash).exec(tx).await?;
                Ok(())
            })
        })
        .await
    }

    /// Sessions of a member, newest first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn sessions_of(
        &self,
        tenant: &str,
        member: &str,
    ) -> Result<Vec<rows::Session>, StoreError> {
        use sea_orm::QueryOrder;
        Ok(e::sessions::Entity::find()
            .filter(e::sessions::Column::TenantId.eq(tenant))
            .filter(e::sessions::Column::MemberId.eq(member))
            .order_by(e::sessions::Column::CreatedAt, sea_orm::Order::Desc)
            .all(&self.read)
            .await?)
    }

    /// Throws away answers to idempotency keys that are older than `before_ms`.
    ///
    /// # Errors
    /// When the database cannot do it.
    pub async fn forget_idempotency(&self, before_ms: i64) -> Result<(), StoreError> {
        self.write(move |tx| {
            Box::pin(async move {
                e::idempotency::Entity::delete_many()
                    .filter(e::idempotency::Column::At.lt(before_ms))
                    .exec(tx)
                    .await?;
                Ok(())
            })
        })
        .await
    }

    /// Keeps a signing key unless the tenant has one for this domain; returns the one that holds.
    /// A key of a tenant that had the domain before gives way.
    ///
    /// # Errors
    /// When the database cannot do it.
    pub async fn keep_dkim_key(&self, key: rows::DkimKey) -> Result<rows::DkimKey, StoreError> {
        self.write(move |tx| {
            let key = key.clone();
            Box::pin(async move {
                if let Some(there) = e::dkim_keys::Entity::find_by_id(&key.domain).one(tx).await? {
                    if there.tenant_id == key.tenant_id {
                        return Ok(there);
                    }
                    e::dkim_keys::Entity::delete_by_id(&key.domain).exec(tx).await?;
                }
                e::dkim_keys::Entity::insert(key.clone().into_active_model())
                    .exec_without_returning(tx)
                    .await?;
                Ok(key)
            })
        })
        .await
    }

    /// A fact about the installation, made by `make` at the first question and kept from then on.
    ///
    /// # Errors
    /// When the database cannot do it.
    pub async fn setting_or(
        &self,
        name: &str,
        make: impl Fn() -> String,
    ) -> Result<String, StoreError> {
        let fresh = rows::Setting { name: name.to_owned(), value: make() };
        self.write(move |tx| {
            let fresh = fresh.clone();
            Box::pin(async move {
                if let Some(there) = e::settings::Entity::find_by_id(&fresh.name).one(tx).await? {
                    return Ok(there.value);
                }
                e::settings::Entity::insert(fresh.clone().into_active_model())
                    .exec_without_returning(tx)
                    .await?;
                Ok(fresh.value)
            })
        })
        .await
    }
}

async fn apply_tenant(
    tx: &DatabaseTransaction,
    wanted: ApplyTenant,
    now: Millis,
    chance: &Chance,
) -> Result<String, StoreError> {
    use e::tenants::Column as C;
    leaving::free_slug(tx, &wanted.slug).await?;
    let alive = e::tenants::Entity::find().filter(C::DeletedAt.is_null());
    let there = alive.filter(C::Slug.eq(&wanted.slug)).one(tx).await?;
    let row = rows::Tenant {
        id: there.as_ref().map_or_else(|| TenantId::new(now, chance).into(), |t| t.id.clone()),
        slug: wanted.slug.clone(),
        name: wanted.name,
        mail_mode: wanted.mail_mode,
        bridge_domain: wanted.bridge_domain,
        currency: wanted.currency,
        time_zone: wanted.time_zone,
        billing_email: wanted.billing_email,
        billing_delivery: serde_json::to_string(&wanted.billing_delivery).unwrap_or_default(),
        forward_to: wanted.forward_to,
        xmpp_secret: wanted.xmpp_secret,
        policy: wanted.policy,
        outbound_per_day: wanted.outbound_per_day,
        created_at: there.as_ref().map_or(now.0, |t| t.created_at),
        deleted_at: None,
    };
    let clash = e::tenants::Entity::find()
        .filter(C::BridgeDomain.eq(&row.bridge_domain))
        .filter(C::DeletedAt.is_null())
        .filter(C::Id.ne(&row.id))
        .one(tx)
        .await?;
    if let Some(other) = clash {
        return Err(StoreError::Rule(format!(
            "the bridge domain {} belongs to the tenant {}",
            row.bridge_domain, other.slug
        )));
    }
    let id = row.id.clone();
    let rest = [
        C::Name,
        C::MailMode,
        C::BridgeDomain,
        C::Currency,
        C::TimeZone,
        C::BillingEmail,
        C::BillingDelivery,
        C::ForwardTo,
        C::XmppSecret,
        C::Policy,
        C::OutboundPerDay,
    ];
    e::tenants::Entity::insert(row.into_active_model())
        .on_conflict(OnConflict::column(C::Id).update_columns(rest).to_owned())
        .exec_without_returning(tx)
        .await?;
    for domain in wanted.domains {
        claim_domain(tx, &id, domain).await?;
    }
    for member in wanted.members {
        apply_member(tx, &id, member, now, chance).await?;
    }
    for contact in wanted.contacts {
        apply_contact(tx, &id, contact, now, chance).await?;
    }
    Ok(id)
}

/// Domains that a tenant declares no longer may be somebody else's.
async fn release_before(tx: &DatabaseTransaction, wanted: &ApplyTenant) -> Result<(), StoreError> {
    use e::{tenant_domains::Column as D, tenants::Column as T};
    let alive = e::tenants::Entity::find().filter(T::DeletedAt.is_null());
    let Some(there) = alive.filter(T::Slug.eq(&wanted.slug)).one(tx).await? else {
        return Ok(());
    };
    e::tenant_domains::Entity::delete_many()
        .filter(D::TenantId.eq(there.id))
        .filter(D::Domain.is_not_in(wanted.domains.iter().cloned()))
        .exec(tx)
        .await?;
    Ok(())
}

async fn claim_domain(
    tx: &DatabaseTransaction,
    tenant: &str,
    domain: String,
) -> Result<(), StoreError> {
    match e::tenant_domains::Entity::find_by_id(&domain).one(tx).await? {
        Some(row) if row.tenant_id == tenant => Ok(()),
        Some(row) => {
            let owner = e::tenants::Entity::find_by_id(&row.tenant_id).one(tx).await?;
            let owner = owner.map_or_else(|| "that is gone".to_owned(), |t| t.slug);
            Err(StoreError::Rule(format!("the domain {domain} belongs to the tenant {owner}")))
        }
        None => {
            let row = rows::TenantDomain { domain, tenant_id: tenant.to_owned() };
            e::tenant_domains::Entity::insert(row.into_active_model())
                .exec_without_returning(tx)
                .await?;
            Ok(())
        }
    }
}

async fn apply_member(
    tx: &DatabaseTransaction,
    tenant: &str,
    wanted: ApplyMember,
    now: Millis,
    chance: &Chance,
) -> Result<(), StoreError> {
    use e::members::Column as C;
    let there = e::members::Entity::find()
        .filter(C::TenantId.eq(tenant))
        .filter(C::Email.eq(&wanted.email))
        .one(tx)
        .await?;
    let row = match there {
        Some(row) => rows::Member {
            name: wanted.name,
            role: wanted.role,
            password_hash: wanted.password_hash.or(row.password_hash),
            left_at: None,
            ..row
        },
        None => rows::Member {
            id: MemberId::new(now, chance).into(),
            tenant_id: tenant.to_owned(),
            email: wanted.email.clone(),
            name: wanted.name,
            role: wanted.role,
            password_hash: wanted.password_hash,
            notices: true,
            policy: None,
            created_at: now.0,
            left_at: None,
        },
    };
    e::members::Entity::insert(row.into_active_model())
        .on_conflict(
            OnConflict::column(C::Id)
                .update_columns([C::Name, C::Role, C::PasswordHash, C::LeftAt])
                .to_owned(),
        )
        .exec_without_returning(tx)
        .await?;
    for im in wanted.im {
        declare_mapping(tx, tenant, &wanted.email, im, true, now, chance).await?;
    }
    Ok(())
}

async fn apply_contact(
    tx: &DatabaseTransaction,
    tenant: &str,
    wanted: ApplyContact,
    now: Millis,
    chance: &Chance,
) -> Result<(), StoreError> {
    use e::contacts::Column as C;
    let there = e::contacts::Entity::find()
        .filter(C::TenantId.eq(tenant))
        .filter(C::Email.eq(&wanted.email))
        .one(tx)
        .await?;
    let row = rows::Contact {
        id: there.as_ref().map_or_else(|| ContactId::new(now, chance).into(), |c| c.id.clone()),
        tenant_id: tenant.to_owned(),
        email: wanted.email.clone(),
        name: wanted.name,
        policy: there.as_ref().and_then(|c| c.policy.clone()),
        always_send: there.as_ref().is_some_and(|c| c.always_send),
        introduced_at: there.as_ref().and_then(|c| c.introduced_at),
        created_at: there.as_ref().map_or(now.0, |c| c.created_at),
    };
    e::contacts::Entity::insert(row.into_active_model())
        .on_conflict(OnConflict::column(C::Id).update_columns([C::Name]).to_owned())
        .exec_without_returning(tx)
        .await?;
    for im in wanted.im {
        declare_mapping(tx, tenant, &wanted.email, im, wanted.verified, now, chance).await?;
    }
    Ok(())
}

/// A mapping that the operator's file declares: verified by that, or merely claimed.
async fn declare_mapping(
    tx: &DatabaseTransaction,
    tenant: &str,
    email: &str,
    im: String,
    verified: bool,
    now: Millis,
    chance: &Chance,
) -> Result<(), StoreError> {
    use e::mappings::Column as C;
    let there = e::mappings::Entity::find()
        .filter(C::TenantId.eq(tenant))
        .filter(C::Im.eq(&im))
        .filter(C::State.ne("revoked"))
        .all(tx)
        .await?;
    if verified
        && let Some(other) = there.iter().find(|m| m.email != email && m.state == "verified")
    {
        return Err(StoreError::Rule(format!("{im} is the verified address of {}", other.email)));
    }
    let mine = there.into_iter().find(|m| m.email == email);
    if mine.as_ref().is_some_and(|m| m.state == "verified" || !verified) {
        return Ok(());
    }
    let row = rows::Mapping {
        id: mine.map_or_else(|| MappingId::new(now, chance).into(), |m| m.id),
        tenant_id: tenant.to_owned(),
        email: email.to_owned(),
        im,
        state: if verified { "verified" } else { "claimed" }.to_owned(),
        how: verified.then(|| "declared by the operator".to_owned()),
        challenge_hash: None,
        challenge_until: None,
        attempts: 0,
        created_by: "operator".to_owned(),
        created_at: now.0,
        verified_at: verified.then_some(now.0),
        revoked_at: None,
    };
    e::mappings::Entity::insert(row.into_active_model())
        .on_conflict(
            OnConflict::column(C::Id).update_columns([C::State, C::How, C::VerifiedAt]).to_owned(),
        )
        .exec_without_returning(tx)
        .await?;
    Ok(())
}
