//! Checks where a mail comes from: SPF, DKIM and DMARC with mail-auth.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

use isthmus_domain::address::Email;
use mail_auth::{
    DkimOutput, DkimResult, DmarcOutput, DmarcResult, MessageAuthenticator, SpfOutput, SpfResult,
    dmarc::{Policy, verify::DmarcParameters},
    hickory_resolver::{
        config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts},
        system_conf::read_system_conf,
    },
    spf::verify::SpfParameters,
};
use tokio::time::{Instant, timeout_at};

use super::{
    extract::Extract,
    verdict::{Outcome, Verdict},
};

/// All look-ups of one mail together.
const DEADLINE: Duration = Duration::from_secs(2);
/// One question to one server; leaves room for a second try.
const QUESTION: Duration = Duration::from_millis(800);

/// Checks mails; cheap to share, remembers DNS answers as long as these allow.
#[derive(Clone)]
pub struct Verifier {
    dns: MessageAuthenticator,
    hostname: String,
}

impl Verifier {
    /// A verifier that asks these DNS servers; the system's if there are none.
    ///
    /// # Errors
    /// When the resolver cannot be set up.
    pub fn new(dns: Vec<SocketAddr>) -> io::Result<Self> {
        let (config, mut options) = if dns.is_empty() {
            // resolv.conf(5): without any entry the server on this machine is asked.
            read_system_conf().unwrap_or_else(|_| {
                (servers(&[(Ipv4Addr::LOCALHOST, 53).into()]), ResolverOpts::default())
            })
        } else {
            (servers(&dns), ResolverOpts::default())
        };
        options.timeout = QUESTION;
        options.attempts = 1;
        options.ndots = 0;
        options.cache_size = 4_096;
        // What a machine calls its neighbours says nothing about the origin of a mail.
        options.use_hosts_file = ResolveHosts::Never;
        let config = ResolverConfig::from_parts(None, Vec::new(), config.name_servers().to_vec());
        let dns = MessageAuthenticator::new(config, options).map_err(io::Error::other)?;
        Ok(Self { dns, hostname: "localhost".to_owned() })
    }

    /// Checks one mail, in at most two seconds. What got no answer by then is a `temperror`.
    ///
    /// `mail_from` is the envelope sender, `from` the one address in the From field.
    pub async fn verify(
        &self,
        peer: IpAddr,
        helo: &str,
        mail_from: Option<&Email>,
        from: &Email,
        mail: &Extract,
    ) -> Verdict {
        let upstream = mail.upstream_verdict.clone();
        let Some(message) = mail.message() else {
            return unreadable(upstream);
        };
        let deadline = Instant::now() + DEADLINE;
        let helo = host_name(helo);
        let (spf, dkim) = tokio::join!(
            timeout_at(deadline, self.spf(peer, &helo, mail_from)),
            timeout_at(deadline, self.dns.verify_dkim(&message)),
        );
        let no_answer = dkim.is_err() && !message.dkim_headers.is_empty();
        let envelope = mail_from.map_or(helo.as_str(), Email::domain);
        let spf = spf.unwrap_or_else(|_| {
            SpfOutput::new(envelope.to_owned()).with_result(SpfResult::TempError)
        });
        let dkim: Vec<DkimOutput<'_>> =
            dkim.unwrap_or_default().into_iter().map(only_with_author).collect();
        let dmarc = timeout_at(
            deadline,
            self.dns.verify_dmarc(DmarcParameters::new(&message, &dkim, envelope, &spf)),
        )
        .await
        .ok();
        let found = Found {
            from: from.domain(),
            // A second address in From would be another author than the one that is checked.
            one_author: matches!(message.from.as_slice(), [only] if only.eq_ignore_ascii_case(from.as_str())),
            // The greeting's name authenticates no author.
            envelope: mail_from.map(Email::domain),
            spf: &spf,
            dkim: &dkim,
            dkim_no_answer: no_answer,
            dmarc: dmarc.as_ref(),
        };
        found.verdict(upstream)
    }

    async fn spf(&self, peer: IpAddr, helo: &str, mail_from: Option<&Email>) -> SpfOutput {
        let parameters = match mail_from {
            Some(sender) => {
                SpfParameters::verify_mail_from(peer, helo, &self.hostname, sender.as_str())
            }
            None => SpfParameters::verify_ehlo(peer, helo, &self.hostname),
        };
        self.dns.verify_spf(parameters).await
    }
}

impl std::fmt::Debug for Verifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Verifier").finish_non_exhaustive()
    }
}

fn servers(addresses: &[SocketAddr]) -> ResolverConfig {
    let servers = addresses
        .iter()
        .map(|a| {
            let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut c| {
                c.port = a.port();
                c
            });
            NameServerConfig::new(a.ip(), true, connections.into())
        })
        .collect();
    ResolverConfig::from_parts(None, Vec::new(), servers)
}

/// The name that a client greeted with, if it can be looked up.
fn host_name(helo: &str) -> String {
    let plausible = helo.len() <= 255
        && helo.contains('.')
        && helo.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.' || b == b'-');
    if plausible { helo.to_ascii_lowercase() } else { String::new() }
}

fn unreadable(upstream: Option<String>) -> Verdict {
    Verdict {
        spf: Outcome::None,
        dkim: Outcome::None,
        dmarc: Outcome::None,
        aligned: false,
        reject_or_quarantine: upstream.is_some(),
        temperror: false,
        detail: "the mail has no header that can be checked".to_owned(),
    }
}

/// A signature that leaves From out says nothing about the author (RFC 6376 section 5.4).
fn only_with_author(output: DkimOutput<'_>) -> DkimOutput<'_> {
    let covers =
        output.signature().is_none_or(|s| s.h.iter().any(|h| h.eq_ignore_ascii_case("from")));
    if covers { output } else { DkimOutput::perm_err(mail_auth::Error::NotAligned) }
}

/// What the three methods returned.
struct Found<'a> {
    from: &'a str,
    one_author: bool,
    envelope: Option<&'a str>,
    spf: &'a SpfOutput,
    dkim: &'a [DkimOutput<'a>],
    dkim_no_answer: bool,
    dmarc: Option<&'a DmarcOutput>,
}

impl Found<'_> {
    fn verdict(&self, upstream: Option<String>) -> Verdict {
        let spf = spf_outcome(self.spf.result());
        let dkim = if self.dkim_no_answer { Outcome::TempError } else { dkim_outcome(self.dkim) };
        let dmarc = self.dmarc.map_or(Outcome::TempError, |d| dmarc_outcome(&d.result()));
        let aligned = self.one_author && self.authenticated(dmarc);
        let refused = dmarc == Outcome::Fail
            && self
                .dmarc
                .is_some_and(|d| matches!(d.policy(), Policy::Reject | Policy::Quarantine));
        // The author's domain says that this server may not send for it (RFC 7208 section 8.4), and
        // no signature of it speaks for the mail all the same, or still might. What any other
        // domain says of its servers, such as a forwarder's, accuses nobody but that domain.
        let unsigned = !aligned && dkim != Outcome::TempError;
        let refused = refused || (spf == Outcome::Fail && unsigned && self.spf_is_of_author());
        let silent = [spf, dkim, dmarc].contains(&Outcome::TempError);
        Verdict {
            spf,
            dkim,
            dmarc,
            aligned,
            reject_or_quarantine: refused || upstream.is_some(),
            temperror: silent && !aligned,
            detail: self.detail(spf, dkim, dmarc, upstream),
        }
    }

    /// Whether the domain that SPF was asked about and the one in From are parts of one another.
    fn spf_is_of_author(&self) -> bool {
        let asked = self.spf.domain();
        speaks_for(asked, self.from) || speaks_for(self.from, asked)
    }

    /// Whether SPF or DKIM speaks for the From domain.
    fn authenticated(&self, dmarc: Outcome) -> bool {
        let signers = self
            .dkim
            .iter()
            .filter(|o| *o.result() == DkimResult::Pass)
            .filter_map(|o| o.signature());
        let sent = self.envelope.filter(|_| self.spf.result() == SpfResult::Pass);
        let mut domains = signers.map(|s| s.d.as_str()).chain(sent);
        match dmarc {
            Outcome::Pass => true,
            // The domain published how strict it is, and this mail does not live up to it.
            Outcome::Fail | Outcome::PermError => false,
            // The policy is unknown; the domain itself satisfies every policy.
            Outcome::TempError => domains.any(|d| d.eq_ignore_ascii_case(self.from)),
            // Nothing published: the domain itself, or one above it, which controls its names.
            _ => domains.any(|d| speaks_for(d, self.from)),
        }
    }

    fn detail(
        &self,
        spf: Outcome,
        dkim: Outcome,
        dmarc: Outcome,
        upstream: Option<String>,
    ) -> String {
        let mut out = format!("spf={spf}");
        if !self.spf.domain().is_empty() {
            out.push_str(&format!(" ({})", self.spf.domain()));
        }
        out.push_str(&format!(", dkim={dkim}"));
        let signature =
            self.dkim.iter().find(|o| *o.result() == DkimResult::Pass).or(self.dkim.first());
        if let Some(domain) = signature.and_then(|o| o.signature()).map(|s| s.d.as_str()) {
            let domain: String = domain.chars().filter(char::is_ascii_graphic).take(255).collect();
            out.push_str(&format!(" ({domain})"));
        }
        out.push_str(&format!(", dmarc={dmarc}"));
        if dmarc != Outcome::None {
            let policy = match self.dmarc.map(DmarcOutput::policy) {
                Some(Policy::Reject) => "reject",
                Some(Policy::Quarantine) => "quarantine",
                _ => "none",
            };
            out.push_str(&format!(" (p={policy})"));
        }
        if let Some(reason) = upstream {
            out.push_str(&format!("; {reason}"));
        }
        out
    }
}

/// Whether `domain` is `of` or stands above it. A domain below it could belong to somebody else;
/// only a published policy (relaxed alignment, found by the tree walk of DMARC) vouches for that.
fn speaks_for(domain: &str, of: &str) -> bool {
    let (domain, of) = (domain.to_ascii_lowercase(), of.to_ascii_lowercase());
    domain == of
        || (domain.contains('.')
            && of.strip_suffix(&domain).is_some_and(|rest| rest.ends_with('.')))
}

fn spf_outcome(result: SpfResult) -> Outcome {
    match result {
        SpfResult::Pass => Outcome::Pass,
        SpfResult::Fail => Outcome::Fail,
        SpfResult::SoftFail => Outcome::SoftFail,
        SpfResult::Neutral => Outcome::Neutral,
        SpfResult::TempError => Outcome::TempError,
        SpfResult::PermError => Outcome::PermError,
        SpfResult::None => Outcome::None,
    }
}

/// One valid signature is enough (RFC 6376 section 6.1); else one that could still turn out
/// valid is worth more than one that cannot.
fn dkim_outcome(outputs: &[DkimOutput<'_>]) -> Outcome {
    let rank = |o: &Outcome| match o {
        Outcome::Pass => 0,
        Outcome::TempError => 1,
        Outcome::Fail => 2,
        Outcome::PermError => 3,
        _ => 4,
    };
    outputs
        .iter()
        .map(|o| match o.result() {
            DkimResult::Pass => Outcome::Pass,
            // mail-auth calls a body that was changed or an expired signature neutral.
            DkimResult::Fail(_) | DkimResult::Neutral(_) => Outcome::Fail,
            DkimResult::PermError(_) => Outcome::PermError,
            DkimResult::TempError(_) => Outcome::TempError,
            DkimResult::None => Outcome::None,
        })
        .min_by_key(rank)
        .unwrap_or(Outcome::None)
}

fn dmarc_outcome(result: &DmarcResult) -> Outcome {
    match result {
        DmarcResult::Pass => Outcome::Pass,
        DmarcResult::Fail(_) => Outcome::Fail,
        DmarcResult::TempError(_) => Outcome::TempError,
        DmarcResult::PermError(_) => Outcome::PermError,
        DmarcResult::None => Outcome::None,
    }
}
