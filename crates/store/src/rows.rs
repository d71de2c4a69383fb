//! The rows of the store as plain data.

pub use crate::entities::aliases::Model as Alias;
pub use crate::entities::api_keys::Model as ApiKey;
pub use crate::entities::attachments::Model as Attachment;
pub use crate::entities::audit::Model as Audit;
pub use crate::entities::blobs::Model as Blob;
pub use crate::entities::confirmations::Model as Confirmation;
pub use crate::entities::contacts::Model as Contact;
pub use crate::entities::conversations::Model as Conversation;
pub use crate::entities::deliveries::Model as Delivery;
pub use crate::entities::dkim_keys::Model as DkimKey;
pub use crate::entities::idempotency::Model as Idempotency;
pub use crate::entities::links::Model as Link;
pub use crate::entities::mappings::Model as Mapping;
pub use crate::entities::members::Model as Member;
pub use crate::entities::messages::Model as Message;
pub use crate::entities::outbound::Model as Outbound;
pub use crate::entities::participants::Model as Participant;
pub use crate::entities::sessions::Model as Session;
pub use crate::entities::settings::Model as Setting;
pub use crate::entities::suppressions::Model as Suppression;
pub use crate::entities::tenant_domains::Model as TenantDomain;
pub use crate::entities::tenants::Model as Tenant;
pub use crate::entities::transactions::Model as Transaction;
pub use crate::entities::web_chat::Model as WebChatLine;
