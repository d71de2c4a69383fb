//! The program itself, as its users run it: `serve`, `apply`, `keys create`, and a kill.

use std::{
    ffi::OsString,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use tempfile::TempDir;
use tokio::time::Instant;

use crate::{Api, Port, Server, ServerSpec, XmppServer};

/// How long the program may take until it is ready.
const READY_LIMIT: Duration = Duration::from_secs(30);
/// How long one command may take.
const COMMAND_LIMIT: Duration = Duration::from_secs(60);
/// How long what a command changed may take to be known to the server.
const KNOWN_LIMIT: Duration = Duration::from_secs(3);
/// How long it may take to end when asked.
const STOP_LIMIT: Duration = Duration::from_secs(30);

/// How the program is configured, on top of its defaults: by environment alone.
#[derive(Clone, Debug, Default)]
pub struct IsthmusSetup {
    env: Vec<(String, String)>,
    wrapper: Vec<OsString>,
}

impl IsthmusSetup {
    /// Loopback is trusted as one's own network, nothing is connected.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
            .set("SMTP__TRUSTED_NETWORKS", r#"["127.0.0.0/8"]"#)
            .set("SMTP__HOSTNAME", "mx.isthmus.test")
    }

    /// Sets `ISTHMUS__KEY`, written as in `SMTP__RELAY`.
    #[must_use]
    pub fn set(mut self, key: &str, value: impl Into<String>) -> Self {
        self.env.push((format!("ISTHMUS__{key}"), value.into()));
        self
    }

    /// Sets a variable as it stands, such as one that arms a failpoint.
    #[must_use]
    pub fn env(mut self, key: &str, value: impl Into<String>) -> Self {
        self.env.push((key.to_owned(), value.into()));
        self
    }

    /// Sends outbound mail there: `smtp://…`.
    #[must_use]
    pub fn relay(self, url: &str) -> Self {
        self.set("SMTP__RELAY", url)
    }

    /// Connects its bridge domains to this server.
    #[must_use]
    pub fn xmpp(self, server: &XmppServer) -> Self {
        self.set("XMPP__SERVER", server.component().to_string())
            .set("XMPP__SECRET", server.secret())
            .set("XMPP__FILE_HOSTS", format!(r#"["{}"]"#, server.files()))
    }

    /// Runs `serve` under another program, such as `strace -f -o FILE`.
    #[must_use]
    pub fn under<A: Into<OsString>>(mut self, wrapper: impl IntoIterator<Item = A>) -> Self {
        self.wrapper = wrapper.into_iter().map(Into::into).collect();
        self
    }
}

/// What a command of the program said.
#[derive(Clone, Debug)]
pub struct Finished {
    /// Exit code; -1 when it was killed.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

/// A running `isthmus serve`; killed and its data removed on drop.
#[derive(Debug)]
pub struct Isthmus {
    server: Server,
    http: Port,
    smtp: Port,
    env: Vec<(String, String)>,
    folder: TempDir,
}

impl Isthmus {
    /// Starts it on an empty data folder and waits until it is ready.
    ///
    /// # Panics
    /// When it has not been built, or is not ready within 30 s.
    pub async fn start(setup: IsthmusSetup) -> Self {
        let mut this = Self::start_unready(setup);
        this.wait_ready().await;
        this
    }

    /// Starts it without waiting, for tests in which it is not meant to become ready.
    ///
    /// # Panics
    /// When it has not been built.
    #[must_use]
    pub fn start_unready(setup: IsthmusSetup) -> Self {
        let folder = tempfile::Builder::new()
            .prefix("isthmus-data-")
            .tempdir()
            .expect("a temporary folder can be made");
        let (http, smtp) = (Port::free(), Port::free());
        let mut env = vec![
            // Logs are read by people and by tests, not by terminals.
            ("NO_COLOR".into(), "1".into()),
            ("ISTHMUS__DATA_DIR".into(), folder.path().join("data").display().to_string()),
            ("ISTHMUS__HTTP__LISTEN".into(), http.addr().to_string()),
            ("ISTHMUS__SMTP__LISTEN".into(), smtp.addr().to_string()),
        ];
        env.extend(setup.env);
        let mut command = setup.wrapper;
        command.extend([binary().into_os_string(), "serve".into()]);
        let mut spec = ServerSpec::new("isthmus", folder.path(), command);
        spec.without = Some("ISTHMUS__");
        spec.env.clone_from(&env);
        Self { server: Server::start(spec), http, smtp, env, folder }
    }

    /// Waits for `/readyz`, and says how long that took from now.
    ///
    /// # Panics
    /// When it is not ready within 30 s, or has ended.
    pub async fn wait_ready(&mut self) -> Duration {
        let http = crate::http::client().build().expect("a client can be made");
        let url = format!("{}/readyz", self.url());
        let start = Instant::now();
        loop {
            if http.get(&url).send().await.is_ok_and(|r| r.status().is_success()) {
                return start.elapsed();
            }
            self.server.assert_running();
            assert!(start.elapsed() < READY_LIMIT, "isthmus is not ready within {READY_LIMIT:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Where it takes mail.
    #[must_use]
    pub fn smtp(&self) -> SocketAddr {
        self.smtp.addr()
    }

    /// Where its pages and API are: `http://127.0.0.1:PORT`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.http.addr())
    }

    /// Its data folder.
    #[must_use]
    pub fn data_dir(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Runs `isthmus ARGS` beside the server, with the same configuration.
    ///
    /// # Panics
    /// When it does not end within a minute.
    pub async fn run(&self, args: &[&str]) -> Finished {
        let output = tokio::process::Command::new(binary())
            .args(args)
            .envs(self.env.iter().cloned())
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output();
        let output = tokio::time::timeout(COMMAND_LIMIT, output)
            .await
            .unwrap_or_else(|_| panic!("isthmus {args:?} did not end within {COMMAND_LIMIT:?}"))
            .unwrap_or_else(|e| panic!("isthmus {args:?} could not be started: {e}"));
        Finished {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// The same, asserting that it went well; returns standard output.
    ///
    /// # Panics
    /// When it failed.
    pub async fn run_ok(&self, args: &[&str]) -> String {
        let done = self.run(args).await;
        assert_eq!(done.code, 0, "isthmus {args:?} failed:\n{}{}", done.stdout, done.stderr);
        done.stdout
    }

    /// `isthmus apply` of this declaration.
    ///
    /// # Panics
    /// When it is refused.
    pub async fn apply(&self, declaration: &str) {
        let file = self.folder.path().join("apply.toml");
        std::fs::write(&file, declaration).expect("a temporary file can be written");
        self.run_ok(&["apply", "-f", &file.display().to_string()]).await;
    }

    /// A key that administers the tenant.
    pub async fn tenant_key(&self, tenant: &str) -> String {
        self.key(&["keys", "create", "--tenant", tenant]).await
    }

    /// A key that acts as the member.
    pub async fn member_key(&self, tenant: &str, email: &str) -> String {
        self.key(&["keys", "create", "--tenant", tenant, "--member", email]).await
    }

    /// Makes a key and waits until it opens: what commands change acts within two seconds.
    async fn key(&self, args: &[&str]) -> String {
        let key = self.run_ok(args).await.trim().to_owned();
        let api = self.api(&key);
        crate::eventually("a new key opens", KNOWN_LIMIT, || async {
            (api.get("/v1/transactions").await.status != 401).then_some(())
        })
        .await;
        key
    }

    /// The HTTP API under a key.
    #[must_use]
    pub fn api(&self, key: &str) -> Api {
        Api::new(&self.url(), Some(key))
    }

    /// The HTTP API as a stranger.
    #[must_use]
    pub fn stranger(&self) -> Api {
        Api::new(&self.url(), None)
    }

    /// The HTTP API as the member, with a key made for this.
    pub async fn member(&self, tenant: &str, email: &str) -> Api {
        self.api(&self.member_key(tenant, email).await)
    }

    /// Kills it, as a power cut would as far as the process is concerned.
    pub fn kill9(&mut self) {
        self.server.kill9();
    }

    /// Starts it again on the same data and ports; says how long until it was ready.
    pub async fn start_again(&mut self) -> Duration {
        self.server.start_again();
        self.wait_ready().await
    }

    /// Kills it and starts it again; says how long it was away.
    pub async fn kill9_and_start_again(&mut self) -> Duration {
        let start = Instant::now();
        self.kill9();
        self.start_again().await;
        start.elapsed()
    }

    /// Asks it to end and waits; returns its exit code.
    ///
    /// # Panics
    /// When it does not end within 30 s.
    pub async fn stop(&mut self) -> i32 {
        self.server.stop(STOP_LIMIT).await.code().unwrap_or(-1)
    }

    /// Waits until it has ended by itself, for example at an armed failpoint.
    ///
    /// # Panics
    /// When it still runs after `limit`.
    pub async fn wait_end(&mut self, limit: Duration) {
        let end = Instant::now() + limit;
        while self.server.is_running() {
            assert!(Instant::now() < end, "isthmus still runs after {limit:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        self.server.kill9();
    }

    /// Changes the environment of the next start; commands see it at once.
    pub fn set_env(&mut self, key: &str, value: Option<&str>) {
        for env in [&mut self.env, &mut self.server.spec_mut().env] {
            env.retain(|(known, _)| known != key);
            env.extend(value.map(|value| (key.to_owned(), value.to_owned())));
        }
    }

    /// Its log so far.
    #[must_use]
    pub fn log(&self) -> String {
        self.server.log()
    }

    /// The process itself.
    pub fn server(&mut self) -> &mut Server {
        &mut self.server
    }
}

/// The program: `ISTHMUS_BIN`, or the one that was built beside the test binary.
fn binary() -> PathBuf {
    if let Some(named) = std::env::var_os("ISTHMUS_BIN") {
        return named.into();
    }
    // …/debug/deps/main-HASH → …/debug/isthmus
    let test = std::env::current_exe().expect("a process knows its own program");
    let built = test.parent().and_then(Path::parent).map(|folder| folder.join("isthmus"));
    built.filter(|path| path.exists()).unwrap_or_else(|| {
        panic!("isthmus is not built: cargo build -p isthmus (make test does), or set ISTHMUS_BIN")
    })
}
