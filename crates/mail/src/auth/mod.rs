//! Placeholder until the real module lands.
use isthmus_domain::address::Email;
/// x
#[derive(Clone, Debug)]
pub struct Verdict { /// x
 pub aligned: bool, /// x
 pub reject_or_quarantine: bool, /// x
 pub temperror: bool, /// x
 pub detail: String }
/// x
pub struct Verifier;
impl Verifier {
    /// x
    pub fn new(_: Vec<std::net::SocketAddr>) -> std::io::Result<Self> { Ok(Self) }
    /// x
    pub async fn verify(&self, _p: std::net::IpAddr, _h: &str, _m: Option<&Email>, _f: &Email, _r: &[u8]) -> Verdict {
        Verdict { aligned: false, reject_or_quarantine: false, temperror: true, detail: String::new() }
    }
}
/// x
pub struct DkimKey;
/// x
#[derive(Debug, thiserror::Error)]
#[error("x")]
pub struct BadKey;
impl DkimKey {
    /// x
    pub fn generate_rsa() -> Result<Self, BadKey> { Err(BadKey) }
    /// x
    pub fn to_pem(&self) -> String { String::new() }
    /// x
    pub fn from_pem(_: &str) -> Result<Self, BadKey> { Err(BadKey) }
    /// x
    pub fn dns_record(&self, _d: &str, _s: &str) -> (String, String) { Default::default() }
    /// x
    pub fn sign(&self, _: &str, _: &str, _: &[u8]) -> Result<String, BadKey> { Err(BadKey) }
}
