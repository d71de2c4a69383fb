//! A real XMPP client (slixmpp) driven over its standard input and output.

use std::{
    net::SocketAddr,
    path::PathBuf,
    process::Stdio,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    process::{Child, ChildStdin, Command},
    sync::Notify,
};

/// How long signing in may take.
const SIGN_IN_LIMIT: Duration = Duration::from_secs(30);
/// How long a question to a server may take.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);

#[derive(Debug, Default)]
struct Heard {
    events: Mutex<Vec<Value>>,
    more: Notify,
}

impl Heard {
    fn events(&self) -> MutexGuard<'_, Vec<Value>> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A signed-in client. It accepts subscriptions and sends receipts by itself.
///
/// What it hears is kept until a test takes it with one of the `expect` methods.
#[derive(Debug)]
pub struct XmppClient {
    jid: String,
    stdin: ChildStdin,
    heard: Arc<Heard>,
    asked: u64,
    // Kills the process when dropped.
    _child: Child,
}

impl XmppClient {
    /// Signs in as `jid` at a server's client port, without TLS, and waits until online.
    ///
    /// # Panics
    /// When that does not succeed within 30 s.
    pub async fn connect(jid: &str, password: &str, server: SocketAddr) -> Self {
        let mut this = Self::start(jid, password, server);
        this.expect("online", SIGN_IN_LIMIT, |e| e["ev"] == "online").await;
        this
    }

    /// Starts the client without waiting for it to be online.
    ///
    /// # Panics
    /// When Python or the script is not there.
    #[must_use]
    pub fn start(jid: &str, password: &str, server: SocketAddr) -> Self {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/peers/slixmpp_client.py");
        let mut child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--"])
            .arg(python())
            .args([script, jid, password])
            .args([server.ip().to_string(), server.port().to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|e| panic!("the XMPP client could not be started: {e}"));
        let stdin = child.stdin.take().expect("standard input was asked for");
        let stdout = child.stdout.take().expect("standard output was asked for");
        let heard = Arc::new(Heard::default());
        let listener = Arc::clone(&heard);
        tokio::spawn(async move {
            let mut lines = BufReader::new(stdout).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                match serde_json::from_str(&line) {
                    Ok(event) => listener.events().push(event),
                    Err(_) => eprintln!("the XMPP client said: {line}"),
                }
                listener.more.notify_one();
            }
        });
        Self { jid: jid.into(), stdin, heard, asked: 0, _child: child }
    }

    /// The bare JID it is signed in as.
    #[must_use]
    pub fn jid(&self) -> &str {
        &self.jid
    }

    /// Gives the client a command; see the script for what there is.
    ///
    /// # Panics
    /// When the client has ended.
    pub async fn command(&mut self, command: Value) {
        let line = format!("{command}\n");
        let written = self.stdin.write_all(line.as_bytes()).await;
        written.and(self.stdin.flush().await).unwrap_or_else(|e| {
            panic!("the XMPP client of {} takes no more commands: {e}", self.jid)
        });
    }

    /// Gives the client a command that has an answer (`disco`, `vcard`, `command`, `upload`),
    /// and returns that.
    ///
    /// # Panics
    /// When the client reports a problem, or nothing comes within 30 s.
    pub async fn ask(&mut self, mut command: Value) -> Value {
        self.asked += 1;
        let reference = json!(self.asked);
        command["ref"] = reference.clone();
        self.command(command.clone()).await;
        let what = format!("an answer to {command}");
        let answer = self
            .expect(&what, ANSWER_LIMIT, |e| {
                e["ref"] == reference && (e["ev"] == "result" || e["ev"] == "problem")
            })
            .await;
        assert_eq!(answer["ev"], "result", "{} failed: {answer}", self.jid);
        answer
    }

    /// Sends a message with the stanza id `id`, asking for a receipt.
    pub async fn send(&mut self, to: &str, body: &str, id: &str) {
        self.command(json!({"do": "send", "to": to, "body": body, "id": id, "receipt": true}))
            .await;
    }

    /// Says that it is there.
    pub async fn go_online(&mut self) {
        self.command(json!({"do": "presence"})).await;
    }

    /// Says that it is gone, while staying connected.
    pub async fn go_offline(&mut self) {
        self.command(json!({"do": "presence", "type": "unavailable"})).await;
    }

    /// The next message with a body.
    ///
    /// # Panics
    /// When none comes within `limit`.
    pub async fn expect_message(&mut self, limit: Duration) -> Value {
        self.expect("a message", limit, |e| e["ev"] == "message" && e["body"].is_string()).await
    }

    /// The receipt for the message that was sent with `id`.
    ///
    /// # Panics
    /// When it does not come within `limit`.
    pub async fn expect_receipt(&mut self, id: &str, limit: Duration) -> Value {
        self.expect(&format!("a receipt for {id}"), limit, |e| {
            e["ev"] == "receipt" && e["id"] == id
        })
        .await
    }

    /// Takes the first event that `fits`, waiting for it if need be; others stay.
    ///
    /// # Panics
    /// When none comes within `limit`, with what was heard instead.
    pub async fn expect(
        &mut self,
        what: &str,
        limit: Duration,
        mut fits: impl FnMut(&Value) -> bool,
    ) -> Value {
        let found = tokio::time::timeout(limit, async {
            loop {
                let taken = {
                    let mut events = self.heard.events();
                    let at = events.iter().position(&mut fits);
                    at.map(|at| events.remove(at))
                };
                match taken {
                    Some(event) => return event,
                    None => self.heard.more.notified().await,
                }
            }
        })
        .await;
        found.unwrap_or_else(|_| {
            let heard = self.heard.events();
            let rest: Vec<_> = heard.iter().map(Value::to_string).collect();
            panic!("{} waited {limit:?} for {what}; it heard:\n{}", self.jid, rest.join("\n"))
        })
    }

    /// Asserts that no message with a body comes for the whole of `time`.
    ///
    /// # Panics
    /// When one comes.
    pub async fn expect_silence(&mut self, time: Duration) {
        tokio::time::sleep(time).await;
        let events = self.heard.events();
        let message = events.iter().find(|e| e["ev"] == "message" && e["body"].is_string());
        assert!(message.is_none(), "{} should have heard nothing: {message:?}", self.jid);
    }

    /// Everything heard and not yet taken.
    #[must_use]
    pub fn heard(&self) -> Vec<Value> {
        self.heard.events().clone()
    }
}

/// The Python with what `scripts/peers.sh install` puts there.
pub(crate) fn python() -> PathBuf {
    let folder = std::env::var_os("ISTHMUS_PYTHON_DIR").map_or_else(
        || PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cache/isthmus-py"),
        PathBuf::from,
    );
    let python = folder.join("bin/python");
    assert!(python.exists(), "{} is missing: run scripts/peers.sh install", python.display());
    python
}
