#![doc = include_str!("../README.md")]

mod load;
mod peers;
mod plan;
mod process;
mod results;
mod rows;
mod say;
mod statistics;
mod world;
mod xmpp;

use std::{os::unix::process::CommandExt, process::ExitCode, time::Duration};

use anyhow::{Context, Result, bail};
use clap::Parser;

use crate::{plan::Plan, results::Results, say::say};

/// The whole run takes no longer, whatever hangs.
const LIMIT: Duration = Duration::from_secs(30 * 60);

/// Speed and memory against real peers.
#[derive(Parser)]
struct Cli {
    /// Fewer and shorter rounds.
    #[arg(long)]
    quick: bool,
    /// Only these of latency, throughput, fairness, load, idle, large, start.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(&cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("isthmus-bench: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> Result<()> {
    choose_program()?;
    if cfg!(debug_assertions) {
        say("This is a debug build: its own share of the work is larger than it should be.");
    }
    say(&process::machine());
    // Servers end with the thread that started them, so everything starts them from this one.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("the runtime cannot be started")?;
    runtime.block_on(async {
        let mut results = Results::default();
        let plan = if cli.quick { Plan::quick() } else { Plan::full() };
        let failed = tokio::select! {
            failed = rows::measure(&plan, &cli.only, &mut results) => failed,
            _ = tokio::signal::ctrl_c() => bail!("interrupted; all servers are stopped"),
            () = tokio::time::sleep(LIMIT) => vec![format!("the run took longer than {LIMIT:?}")],
        };
        say(&results.table());
        say(&process::machine());
        let file = results.write()?;
        say(&format!("Written to {}", file.display()));
        if failed.is_empty() {
            return Ok(());
        }
        bail!("these could not be measured:\n  {}", failed.join("\n  "))
    })
}

/// The program that is measured: `ISTHMUS_BIN`, or the one built beside this one.
fn choose_program() -> Result<()> {
    const NAME: &str = "ISTHMUS_BIN";
    if std::env::var_os(NAME).is_some() {
        return Ok(());
    }
    let this = std::env::current_exe().context("the place of this program is not known")?;
    let program = this.with_file_name("isthmus");
    if !program.exists() {
        bail!("{} is not built: cargo build --release -p isthmus", program.display());
    }
    // The harness looks into the environment, which a running program cannot change safely.
    let mut again = std::process::Command::new(this);
    Err(again.args(std::env::args_os().skip(1)).env(NAME, program).exec().into())
}
