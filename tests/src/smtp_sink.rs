//! An SMTP server of our own that keeps what it is given and answers as it is told.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
};

use crate::wait::eventually;

/// What the sink says to a recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SinkAnswer {
    /// Takes the mail.
    Accept,
    /// Refuses the recipient with this code and text: `550`, `5.1.1 no such user`.
    Refuse(u16, String),
    /// Takes the recipient, and refuses the mail at the end of its data.
    RefuseData(u16, String),
    /// Takes the mail, after this time.
    Slow(Duration),
    /// Keeps the mail and closes the connection without an answer.
    HangUp,
}

/// One mail that was taken.
#[derive(Clone, Debug)]
pub struct SinkMail {
    /// Envelope sender, empty for the null sender.
    pub from: String,
    /// What followed the sender in MAIL: `SIZE=…`, `RET=…`.
    pub from_params: String,
    /// Envelope recipients.
    pub to: Vec<String>,
    /// What followed each recipient in RCPT: `NOTIFY=…`.
    pub to_params: Vec<String>,
    /// The mail as it was written, without dot-stuffing.
    pub raw: Vec<u8>,
}

impl SinkMail {
    /// The mail as text, undecoded.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.raw).into_owned()
    }

    /// The first header field of that name, unfolded.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<String> {
        let text = self.text();
        let head = text.split("\r\n\r\n").next().unwrap_or_default().replace("\r\n\t", " ");
        let head = head.replace("\r\n ", " ");
        head.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
        })
    }
}

#[derive(Debug)]
struct State {
    mails: Vec<SinkMail>,
    /// What each session called itself in EHLO or HELO.
    greetings: Vec<String>,
    answer: SinkAnswer,
    /// The first pair whose text is in the recipient's address decides.
    answers: Vec<(String, SinkAnswer)>,
    extensions: Vec<String>,
}

/// The sink; it stops listening on drop.
#[derive(Debug)]
pub struct SmtpSink {
    addr: SocketAddr,
    state: Arc<Mutex<State>>,
    task: tokio::task::JoinHandle<()>,
}

impl SmtpSink {
    /// Starts one on a free loopback port; it takes everything.
    ///
    /// # Panics
    /// When there is no port.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has a free port");
        let addr = listener.local_addr().expect("a bound socket has an address");
        let state = Arc::new(Mutex::new(State {
            mails: Vec::new(),
            greetings: Vec::new(),
            answer: SinkAnswer::Accept,
            answers: Vec::new(),
            extensions: ["SIZE 52428800", "8BITMIME", "PIPELINING", "ENHANCEDSTATUSCODES"]
                .map(str::to_owned)
                .to_vec(),
        }));
        let shared = Arc::clone(&state);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let shared = Arc::clone(&shared);
                // A client that goes away in the middle is none of the sink's business.
                tokio::spawn(async move { session(stream, &shared).await.ok() });
            }
        });
        Self { addr, state, task }
    }

    /// Its address.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The value of `smtp.relay`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("smtp://{}", self.addr)
    }

    /// What it answers from now on to whom nothing else is said.
    pub fn answer(&self, answer: SinkAnswer) {
        self.state().answer = answer;
    }

    /// What it answers from now on to recipients whose address holds `part`.
    pub fn answer_for(&self, part: &str, answer: SinkAnswer) {
        let mut state = self.state();
        state.answers.retain(|(known, _)| known != part);
        state.answers.push((part.to_owned(), answer));
    }

    /// Offers one more extension in EHLO, such as `DSN`.
    pub fn offer(&self, extension: &str) {
        self.state().extensions.push(extension.to_owned());
    }

    /// Everything taken so far.
    #[must_use]
    pub fn mails(&self) -> Vec<SinkMail> {
        self.state().mails.clone()
    }

    /// The names by which sessions have introduced themselves so far.
    #[must_use]
    pub fn greetings(&self) -> Vec<String> {
        self.state().greetings.clone()
    }

    /// How many were taken so far.
    #[must_use]
    pub fn count(&self) -> usize {
        self.state().mails.len()
    }

    /// Waits until there are `count` mails, and returns all.
    ///
    /// # Panics
    /// When there are fewer after `limit`.
    pub async fn expect_mails(&self, count: usize, limit: Duration) -> Vec<SinkMail> {
        eventually(&format!("the sink has {count} mails"), limit, || async {
            Some(self.mails()).filter(|mails| mails.len() >= count)
        })
        .await
    }

    /// Waits for a mail to `recipient` for which `fits` holds.
    ///
    /// # Panics
    /// When none came after `limit`.
    pub async fn expect_mail(
        &self,
        recipient: &str,
        limit: Duration,
        fits: impl Fn(&SinkMail) -> bool,
    ) -> SinkMail {
        eventually(&format!("the sink has a fitting mail to {recipient}"), limit, || async {
            let mut mails = self.mails().into_iter();
            mails.find(|m| m.to.iter().any(|to| to.eq_ignore_ascii_case(recipient)) && fits(m))
        })
        .await
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl Drop for SmtpSink {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn answer_to(state: &Mutex<State>, recipient: &str) -> SinkAnswer {
    let state = lock(state);
    let own = state.answers.iter().find(|(part, _)| recipient.contains(part.as_str()));
    own.map_or(&state.answer, |(_, answer)| answer).clone()
}

/// The mail that a session is being given.
#[derive(Default)]
struct Envelope {
    from: Option<(String, String)>,
    to: Vec<(String, String, SinkAnswer)>,
}

async fn session(stream: TcpStream, state: &Mutex<State>) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = BufReader::with_capacity(64 * 1024, stream);
    stream.get_mut().write_all(b"220 sink.test ESMTP\r\n").await?;
    let mut envelope = Envelope::default();
    let mut line = Vec::new();
    loop {
        line.clear();
        if stream.read_until(b'\n', &mut line).await? == 0 {
            return Ok(());
        }
        let text = String::from_utf8_lossy(&line).trim_end().to_owned();
        let verb = text.split(' ').next().unwrap_or_default().to_ascii_uppercase();
        if matches!(verb.as_str(), "EHLO" | "HELO") {
            let name = text.split_once(' ').map_or("", |(_, name)| name);
            lock(state).greetings.push(name.to_owned());
        }
        let reply = match verb.as_str() {
            "EHLO" => greeting(state),
            "HELO" => "250 sink.test".into(),
            "MAIL" => {
                envelope = Envelope { from: Some(path_and_params(&text)), to: Vec::new() };
                "250 2.1.0 go on".into()
            }
            "RCPT" => recipient(state, &mut envelope, &text),
            "DATA" if envelope.to.is_empty() => "503 5.5.1 no recipient".into(),
            "DATA" => {
                stream.get_mut().write_all(b"354 go ahead\r\n").await?;
                let raw = data(&mut stream).await?;
                match finish(state, std::mem::take(&mut envelope), raw).await {
                    Some(reply) => reply,
                    None => return Ok(()),
                }
            }
            "RSET" => {
                envelope = Envelope::default();
                "250 2.0.0 forgotten".into()
            }
            "NOOP" => "250 2.0.0 fine".into(),
            "QUIT" => {
                stream.get_mut().write_all(b"221 2.0.0 bye\r\n").await?;
                return Ok(());
            }
            _ => "502 5.5.1 not here".into(),
        };
        stream.get_mut().write_all(format!("{reply}\r\n").as_bytes()).await?;
    }
}

fn greeting(state: &Mutex<State>) -> String {
    let mut lines = vec!["sink.test".to_owned()];
    lines.extend(lock(state).extensions.iter().cloned());
    let last = lines.pop().unwrap_or_default();
    let more: String = lines.iter().map(|line| format!("250-{line}\r\n")).collect();
    format!("{more}250 {last}")
}

fn recipient(state: &Mutex<State>, envelope: &mut Envelope, line: &str) -> String {
    if envelope.from.is_none() {
        return "503 5.5.1 no sender yet".into();
    }
    let (to, params) = path_and_params(line);
    match answer_to(state, &to) {
        SinkAnswer::Refuse(code, text) => format!("{code} {text}"),
        answer => {
            envelope.to.push((to, params, answer));
            "250 2.1.5 fine".into()
        }
    }
}

/// Keeps the mail or not; `None` closes the connection.
async fn finish(state: &Mutex<State>, envelope: Envelope, raw: Vec<u8>) -> Option<String> {
    let mut reply = Some("250 2.0.0 taken".to_owned());
    for (_, _, answer) in &envelope.to {
        match answer {
            SinkAnswer::RefuseData(code, text) => return Some(format!("{code} {text}")),
            SinkAnswer::Slow(time) => tokio::time::sleep(*time).await,
            SinkAnswer::HangUp => reply = None,
            SinkAnswer::Accept | SinkAnswer::Refuse(..) => {}
        }
    }
    let (from, from_params) = envelope.from.unwrap_or_default();
    let (to, to_params) = envelope.to.into_iter().map(|(to, params, _)| (to, params)).unzip();
    lock(state).mails.push(SinkMail { from, from_params, to, to_params, raw });
    reply
}

/// Reads until the line with a single dot, taking doubled dots back (RFC 5321 section 4.5.2).
async fn data(stream: &mut BufReader<TcpStream>) -> std::io::Result<Vec<u8>> {
    let mut raw = Vec::new();
    loop {
        let start = raw.len();
        if stream.read_until(b'\n', &mut raw).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        if &raw[start..] == b".\r\n" {
            raw.truncate(start);
            return Ok(raw);
        }
        if raw[start] == b'.' {
            raw.remove(start);
        }
    }
}

/// `MAIL FROM:<a@b> SIZE=1` gives `a@b` and `SIZE=1`.
fn path_and_params(line: &str) -> (String, String) {
    let after = line.split_once('<').map_or("", |(_, rest)| rest);
    let (path, params) = after.split_once('>').unwrap_or((after, ""));
    (path.to_owned(), params.trim().to_owned())
}
