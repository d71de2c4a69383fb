//! One server process of a test: its command, its log, and its certain end.

use std::{
    ffi::OsString,
    fs::File,
    os::unix::process::CommandExt,
    path::PathBuf,
    process::{Child, ExitStatus, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tokio::time::Instant;

/// Lines of a log that a failing test shows.
const LOG_LINES: usize = 80;

/// A user's test cannot kill what root runs. So root's shell waits for the end of its
/// standard input, which is ours to close and closes by itself when the test dies, and then
/// kills the group.
const GUARD: &str = r#"setsid "$@" & group=$!; cat >/dev/null; kill -s KILL -- "-$group"; wait"#;

/// Whether the test itself runs as root.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// How a server is started, and started again.
#[derive(Clone, Debug)]
pub struct ServerSpec {
    /// What to call it in messages.
    pub name: String,
    /// Program and arguments.
    pub command: Vec<OsString>,
    /// Variables set on top of the environment; the ones in `without` are taken away first.
    pub env: Vec<(String, String)>,
    /// Prefix of variables that the server must not inherit.
    pub without: Option<&'static str>,
    /// Where standard output and error go, appended.
    pub log: PathBuf,
    /// Working directory.
    pub folder: PathBuf,
    /// Log files that the server writes itself.
    pub more_logs: Vec<PathBuf>,
    /// Whether it works as root only; sudo helps where the test is somebody else.
    pub needs_root: bool,
}

impl ServerSpec {
    /// A server called `name` with its files in `folder`.
    pub fn new<A: Into<OsString>>(
        name: &str,
        folder: impl Into<PathBuf>,
        command: impl IntoIterator<Item = A>,
    ) -> Self {
        let folder = folder.into();
        Self {
            name: name.into(),
            command: command.into_iter().map(Into::into).collect(),
            env: Vec::new(),
            without: None,
            log: folder.join(format!("{name}.log")),
            folder,
            more_logs: Vec::new(),
            needs_root: false,
        }
    }

    /// Sets a variable.
    #[must_use]
    pub fn env(mut self, key: &str, value: impl Into<String>) -> Self {
        self.env.push((key.into(), value.into()));
        self
    }
}

/// A running (or killed) server.
///
/// It leads a process group of its own, which is killed on drop; the kernel kills it when
/// the thread of the test that started it ends, so that even a killed test leaves nothing.
#[derive(Debug)]
pub struct Server {
    spec: ServerSpec,
    child: Option<Child>,
}

impl Server {
    /// Starts the process. Being ready is for the caller to find out.
    ///
    /// # Panics
    /// When the program cannot be started.
    #[must_use]
    pub fn start(spec: ServerSpec) -> Self {
        let mut server = Self { spec, child: None };
        server.start_again();
        server
    }

    /// Starts the same command again after [`Self::kill9`] or [`Self::stop`].
    ///
    /// # Panics
    /// When it still runs, or cannot be started.
    pub fn start_again(&mut self) {
        assert!(self.child.is_none(), "{} is still running", self.spec.name);
        let spec = &self.spec;
        let log = File::options()
            .create(true)
            .append(true)
            .open(&spec.log)
            .expect("the log file of a server can be opened");
        let same_log = log.try_clone().expect("a file handle can be doubled");
        let guarded = spec.needs_root && !is_root();
        let program = if guarded { "sudo" } else { "setpriv" };
        let mut command = std::process::Command::new(program);
        if guarded {
            // sudo passes on no environment by itself.
            let env = spec.env.iter().map(|(key, value)| format!("{key}={value}"));
            command.args(["-n", "--", "env"]).args(env).args(["sh", "-c", GUARD, "guard"]);
        } else {
            command.args(["--pdeathsig", "KILL", "--"]);
        }
        command
            .args(&spec.command)
            .current_dir(&spec.folder)
            .stdin(if guarded { Stdio::piped() } else { Stdio::null() })
            .stdout(log)
            .stderr(same_log)
            .process_group(0);
        if let Some(prefix) = spec.without {
            for (key, _) in std::env::vars().filter(|(key, _)| key.starts_with(prefix)) {
                command.env_remove(key);
            }
        }
        command.envs(spec.env.iter().cloned());
        match command.spawn() {
            Ok(child) => self.child = Some(child),
            Err(e) => panic!("{} could not be started through {program}: {e}", spec.name),
        }
    }

    /// Process id.
    ///
    /// # Panics
    /// When it does not run.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.as_ref().map_or_else(|| panic!("{} does not run", self.spec.name), Child::id)
    }

    /// Whether it runs; a zombie does not.
    pub fn is_running(&mut self) -> bool {
        match &mut self.child {
            Some(child) => matches!(child.try_wait(), Ok(None)),
            None => false,
        }
    }

    /// Kills the whole group with SIGKILL and waits until none of it runs: a child that is
    /// still on its way out would keep the port open.
    pub fn kill9(&mut self) {
        if let Some(mut child) = self.child.take() {
            if let Some(input) = child.stdin.take() {
                // Under the guard: this is its sign.
                drop(input);
                let _ = child.wait();
                return;
            }
            if let Some(pid) = pid_of(&child) {
                // Either may be gone already; that is what is wanted.
                let _ = kill_process_group(pid, Signal::KILL);
                let _ = kill_process(pid, Signal::KILL);
            }
            let _ = child.wait();
            // A killed process ends within milliseconds; this bounds the wait at a second.
            for _ in 0..200 {
                if !group_runs(child.id()) {
                    break;
                }
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    }

    /// Sends `signal` to the leader alone.
    pub fn signal(&self, signal: Signal) {
        if let Some(pid) = self.child.as_ref().and_then(pid_of) {
            let _ = kill_process(pid, signal);
        }
    }

    /// Asks it to end with SIGTERM and waits.
    ///
    /// # Panics
    /// When it has not ended after `limit`.
    pub async fn stop(&mut self, limit: Duration) -> ExitStatus {
        self.signal(Signal::TERM);
        let end = Instant::now() + limit;
        let name = self.spec.name.clone();
        let child = self.child.as_mut().unwrap_or_else(|| panic!("{name} does not run"));
        loop {
            if let Ok(Some(status)) = child.try_wait() {
                self.child = None;
                return status;
            }
            assert!(Instant::now() < end, "{name} did not end within {limit:?} of SIGTERM");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Panics with the log when the process has ended by itself; for use while waiting for it.
    ///
    /// # Panics
    /// When it has ended.
    pub fn assert_running(&mut self) {
        if let Some(Ok(Some(status))) = self.child.as_mut().map(Child::try_wait) {
            panic!("{} ended by itself ({status})", self.spec.name);
        }
    }

    /// All that it has written to standard output and error so far.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read(&self.spec.log)
            .map(|raw| String::from_utf8_lossy(&raw).into_owned())
            .unwrap_or_default()
    }

    /// What it was started with; changes count from the next start.
    pub fn spec_mut(&mut self) -> &mut ServerSpec {
        &mut self.spec
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill9();
        if std::thread::panicking() {
            for path in std::iter::once(&self.spec.log).chain(&self.spec.more_logs) {
                print_tail(&self.spec.name, path);
            }
        }
    }
}

/// Whether a process of this group runs; those that only wait to be collected do not count.
fn group_runs(group: u32) -> bool {
    let group = group.to_string();
    let Ok(processes) = std::fs::read_dir("/proc") else { return false };
    processes.filter_map(Result::ok).any(|entry| {
        let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        // After the name in brackets come state, parent and group (proc(5)).
        let mut fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
        let state = fields.next();
        fields.nth(1) == Some(&group) && state != Some("Z")
    })
}

fn pid_of(child: &Child) -> Option<Pid> {
    i32::try_from(child.id()).ok().and_then(Pid::from_raw)
}

fn print_tail(name: &str, path: &std::path::Path) {
    let Ok(raw) = std::fs::read(path) else { return };
    let text = String::from_utf8_lossy(&raw);
    let lines: Vec<_> = text.lines().collect();
    let from = lines.len().saturating_sub(LOG_LINES);
    eprintln!("---- {name}: {}, last {} lines ----", path.display(), lines.len() - from);
    for line in &lines[from..] {
        eprintln!("{line}");
    }
}
