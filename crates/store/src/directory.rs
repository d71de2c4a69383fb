//! Tenants and people in memory, because every message asks for them: read whole at start and
//! again whenever the version in the database has moved.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use isthmus_domain::address::{Email, alias_name, bridge_local, bridge_local_or_alias};
use sea_orm::{ColumnTrait, DatabaseConnection, EntityTrait, QueryFilter};

use crate::{StoreError, entities, rows};

/// All tenants that are alive, with their people.
#[derive(Debug, Default)]
pub struct Directory {
    pub(crate) version: i64,
    tenants: HashMap<String, Arc<TenantView>>,
    by_bridge: HashMap<String, Arc<TenantView>>,
    by_domain: HashMap<String, Arc<TenantView>>,
}

/// One tenant with its people.
#[derive(Debug)]
pub struct TenantView {
    /// The tenant's own row.
    pub tenant: rows::Tenant,
    /// Mail domains of its members.
    pub domains: Vec<String>,
    members: BTreeMap<String, rows::Member>,
    members_by_id: HashMap<String, String>,
    contacts: HashMap<String, rows::Contact>,
    mappings_by_email: HashMap<String, Vec<rows::Mapping>>,
    mappings_by_im: HashMap<String, rows::Mapping>,
    aliases: HashMap<String, String>,
}

impl Directory {
    /// The tenant with this id.
    #[must_use]
    pub fn tenant(&self, id: &str) -> Option<&Arc<TenantView>> {
        self.tenants.get(id)
    }

    /// The tenant whose bridge domain this is.
    #[must_use]
    pub fn by_bridge(&self, domain: &str) -> Option<&Arc<TenantView>> {
        self.by_bridge.get(domain)
    }

    /// The tenant whose members' mail domain this is.
    #[must_use]
    pub fn by_domain(&self, domain: &str) -> Option<&Arc<TenantView>> {
        self.by_domain.get(domain)
    }

    /// The tenant with this short name.
    #[must_use]
    pub fn by_slug(&self, slug: &str) -> Option<&Arc<TenantView>> {
        self.tenants.values().find(|t| t.tenant.slug == slug)
    }

    /// All tenants, in no particular order.
    pub fn all(&self) -> impl Iterator<Item = &Arc<TenantView>> {
        self.tenants.values()
    }

    /// Members of any tenant with this email address.
    pub fn members_called<'a>(
        &'a self,
        email: &'a str,
    ) -> impl Iterator<Item = (&'a Arc<TenantView>, &'a rows::Member)> {
        self.tenants.values().filter_map(move |t| t.member(email).map(|m| (t, m)))
    }
}

impl TenantView {
    /// The member with this email address (in lower case), unless they left.
    #[must_use]
    pub fn member(&self, email: &str) -> Option<&rows::Member> {
        self.members.get(email).filter(|m| m.left_at.is_none())
    }

    /// The member with this id, unless they left.
    #[must_use]
    pub fn member_by_id(&self, id: &str) -> Option<&rows::Member> {
        self.members_by_id.get(id).and_then(|email| self.member(email))
    }

    /// All members by address.
    pub fn members(&self) -> impl Iterator<Item = &rows::Member> {
        self.members.values().filter(|m| m.left_at.is_none())
    }

    /// The contact with this email address (in lower case).
    #[must_use]
    pub fn contact(&self, email: &str) -> Option<&rows::Contact> {
        self.contacts.get(email)
    }

    /// All contacts.
    pub fn contacts(&self) -> impl Iterator<Item = &rows::Contact> {
        self.contacts.values()
    }

    /// Everything that was ever claimed for this email address and not revoked.
    #[must_use]
    pub fn mappings(&self, email: &str) -> &[rows::Mapping] {
        self.mappings_by_email.get(email).map_or(&[], Vec::as_slice)
    }

    /// All mappings that are not revoked.
    pub fn all_mappings(&self) -> impl Iterator<Item = &rows::Mapping> {
        self.mappings_by_email.values().flatten()
    }

    /// Whether an address may stand for its person. For a contact whoever confirmed it does; for a
    /// member it must have been declared by the operator, or claimed by that member or an
    /// administrator: a colleague who claims an address of their own for a member could else act
    /// and read in the member's name.
    #[must_use]
    pub fn stands_for(&self, mapping: &rows::Mapping) -> bool {
        let Some(member) = self.member(&mapping.email) else { return true };
        // `tenant` is the tenant's own key, which administers it.
        matches!(mapping.created_by.as_str(), "operator" | "tenant")
            || mapping.created_by == member.id
            || self
                .member_by_id(&mapping.created_by)
                .is_some_and(|m| matches!(m.role.as_str(), "owner" | "admin"))
    }

    /// Who writes from an IM address: the verified mapping that stands for them.
    #[must_use]
    pub fn author_by_im(&self, im: &str) -> Option<&rows::Mapping> {
        self.by_im(im).filter(|m| self.stands_for(m))
    }

    /// The verified IM address for an email address; the one verified last if there are several.
    #[must_use]
    pub fn im_of(&self, email: &str) -> Option<&rows::Mapping> {
        self.mappings(email)
            .iter()
            .filter(|m| m.state == "verified" && self.stands_for(m))
            .max_by_key(|m| (m.verified_at, &m.id))
    }

    /// The verified mapping of an IM address.
    #[must_use]
    pub fn by_im(&self, im: &str) -> Option<&rows::Mapping> {
        self.mappings_by_im.get(im)
    }

    /// How a person is called: member, contact, or nothing known.
    #[must_use]
    pub fn name_of(&self, email: &str) -> Option<&str> {
        self.member(email)
            .map(|m| m.name.as_str())
            .or_else(|| self.contact(email).map(|c| c.name.as_str()))
            .filter(|n| !n.is_empty())
    }

    /// The mail address that stands for a person on the bridge domain; `None` for what is no email
    /// address.
    #[must_use]
    pub fn bridge_address(&self, email: &str) -> Option<String> {
        let email = Email::parse(email).ok()?;
        let local = bridge_local_or_alias(&self.tenant.id, &email);
        Some(format!("{local}@{}", self.tenant.bridge_domain))
    }

    /// Whether mail of the tenant may come from this domain: the bridge domain, or one of its
    /// members'.
    #[must_use]
    pub fn has_domain(&self, domain: &str) -> bool {
        self.tenant.bridge_domain == domain || self.domains.iter().any(|d| d == domain)
    }

    /// The address behind an alias.
    #[must_use]
    pub fn alias(&self, alias: &str) -> Option<&str> {
        self.aliases.get(alias).map(String::as_str)
    }
}

/// The alias that an address needs on a bridge domain, where its own form does not fit.
#[must_use]
pub fn alias_of(tenant: &str, email: &str) -> Option<String> {
    // Whatever is shorter fits, and nearly all addresses are.
    if email.len() <= 64 {
        return None;
    }
    let email = Email::parse(email).ok().filter(|e| bridge_local(e).is_none())?;
    Some(alias_name(tenant, &email))
}

pub(crate) async fn version(db: &DatabaseConnection) -> Result<i64, StoreError> {
    let row = entities::settings::Entity::find_by_id("directory_version").one(db).await?;
    row.and_then(|r| r.value.parse().ok()).ok_or_else(|| StoreError::Corrupt {
        table: "settings",
        column: "value",
        id: "directory_version".into(),
        why: "it must be a number".into(),
    })
}

pub(crate) async fn load(db: &DatabaseConnection) -> Result<Directory, StoreError> {
    use entities::{aliases, contacts, mappings, members, tenant_domains, tenants};
    // The version first: a change that comes in between is then seen at the next look.
    let version = version(db).await?;
    let mut views: HashMap<String, TenantView> = HashMap::new();
    for tenant in
        tenants::Entity::find().filter(tenants::Column::DeletedAt.is_null()).all(db).await?
    {
        views.insert(tenant.id.clone(), TenantView::empty(tenant));
    }
    for row in tenant_domains::Entity::find().all(db).await? {
        if let Some(view) = views.get_mut(&row.tenant_id) {
            view.domains.push(row.domain);
        }
    }
    for row in members::Entity::find().all(db).await? {
        if let Some(view) = views.get_mut(&row.tenant_id) {
            view.members_by_id.insert(row.id.clone(), row.email.clone());
            view.members.insert(row.email.clone(), row);
        }
    }
    for row in contacts::Entity::find().all(db).await? {
        if let Some(view) = views.get_mut(&row.tenant_id) {
            view.contacts.insert(row.email.clone(), row);
        }
    }
    let alive = mappings::Entity::find().filter(mappings::Column::State.ne("revoked"));
    for row in alive.all(db).await? {
        if let Some(view) = views.get_mut(&row.tenant_id) {
            if row.state == "verified" {
                view.mappings_by_im.insert(row.im.clone(), row.clone());
            }
            view.mappings_by_email.entry(row.email.clone()).or_default().push(row);
        }
    }
    for row in aliases::Entity::find().all(db).await? {
        if let Some(view) = views.get_mut(&row.tenant_id) {
            view.aliases.insert(row.alias, row.email);
        }
    }
    let mut directory = Directory { version, ..Default::default() };
    for (id, mut view) in views {
        view.name_aliases();
        let view = Arc::new(view);
        for domain in &view.domains {
            directory.by_domain.insert(domain.clone(), Arc::clone(&view));
        }
        directory.by_bridge.insert(view.tenant.bridge_domain.clone(), Arc::clone(&view));
        directory.tenants.insert(id, view);
    }
    Ok(directory)
}

impl TenantView {
    /// The aliases of members and contacts follow from their addresses; those of other people
    /// have rows.
    fn name_aliases(&mut self) {
        for key in self.members.keys().chain(self.contacts.keys()) {
            if let Some(alias) = alias_of(&self.tenant.id, key) {
                self.aliases.insert(alias, key.clone());
            }
        }
    }

    fn empty(tenant: rows::Tenant) -> Self {
        Self {
            tenant,
            domains: Vec::new(),
            members: BTreeMap::new(),
            members_by_id: HashMap::new(),
            contacts: HashMap::new(),
            mappings_by_email: HashMap::new(),
            mappings_by_im: HashMap::new(),
            aliases: HashMap::new(),
        }
    }
}
