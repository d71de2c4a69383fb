//! The AUTH exchange within a session (RFC 4954): over TLS only, once, and not too often.

use tokio::io::{AsyncRead, AsyncWrite};

use super::command::Mechanism;
use super::session::{End, Talk};
use super::{Reply, auth};

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Talk<'_, S> {
    /// Answers AUTH.
    pub(super) async fn auth(
        &mut self,
        mechanism: Mechanism,
        initial: Option<String>,
    ) -> Result<(), End> {
        let out_of_order = if !self.session.tls {
            Some(Reply::new(538, "5.7.11", "Sign in over an encrypted connection only"))
        } else if !self.session.esmtp || self.envelope.is_some() || self.session.identity.is_some()
        {
            // RFC 4954 section 4: once, and not within a mail.
            Some(Reply::new(503, "5.5.1", "AUTH comes once, after EHLO and before MAIL"))
        } else {
            None
        };
        if let Some(reply) = out_of_order {
            return self.mistake(&reply);
        }
        let (user, password) = match self.credentials(mechanism, initial).await? {
            Ok(both) => both,
            Err(reply) => return self.auth_failed(reply),
        };
        match self.shared.host.authenticate(&self.session, &user, &password).await {
            Ok(identity) => {
                self.session.identity = Some(identity);
                self.wire.say(&Reply::new(235, "2.7.0", "Signed in"));
                Ok(())
            }
            Err(reply) => self.auth_failed(reply),
        }
    }

    fn auth_failed(&mut self, reply: Reply) -> Result<(), End> {
        self.pass_on(reply)?;
        self.tally.auth_failures += 1;
        if self.tally.auth_failures >= self.shared.limits.max_auth_failures {
            return Err(End::Say(Reply::new(421, "4.7.0", "Too many failed attempts to sign in")));
        }
        Ok(())
    }

    async fn credentials(
        &mut self,
        mechanism: Mechanism,
        initial: Option<String>,
    ) -> Result<Result<(String, String), Reply>, End> {
        Ok(match mechanism {
            Mechanism::Plain => match self.answer(initial, "").await? {
                Ok(response) => auth::plain(&response),
                Err(reply) => Err(reply),
            },
            Mechanism::Login => {
                // "Username:" and "Password:" in base64, as every client expects them.
                let user = match self.answer(initial, "VXNlcm5hbWU6").await? {
                    Ok(response) => auth::text(&response),
                    Err(reply) => Err(reply),
                };
                let user = match user {
                    Ok(user) => user,
                    Err(reply) => return Ok(Err(reply)),
                };
                match self.answer(None, "UGFzc3dvcmQ6").await? {
                    Ok(response) => auth::text(&response).map(|password| (user, password)),
                    Err(reply) => Err(reply),
                }
            }
        })
    }

    /// The initial response, or the answer to a challenge.
    async fn answer(
        &mut self,
        initial: Option<String>,
        challenge: &str,
    ) -> Result<Result<String, Reply>, End> {
        if let Some(initial) = initial {
            return Ok(Ok(initial));
        }
        self.wire.say(&Reply::bare(334, challenge));
        let line = self.line().await?;
        let answer = String::from_utf8_lossy(self.wire.line(line)).into_owned();
        if !self.wire.unread().is_empty() {
            let text = "You sent more before you could have read the reply";
            return Err(End::Say(Reply::new(503, "5.5.1", text)));
        }
        Ok(if answer == "*" {
            Err(Reply::new(501, "5.7.0", "Signing in was cancelled"))
        } else {
            Ok(answer)
        })
    }
}
