//! Isthmus: email and instant messaging as one conversation. The command line.

mod apply;
mod apply_file;
mod commands;
mod config;
mod demo;
mod doctor;
mod http;
mod lock;
mod price_book;
mod progress;
mod seed;
mod serve;

use std::{path::PathBuf, process::ExitCode};

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::config::Config;

/// Gives memory back to the system soon after a burst of large mails, where the allocator of the
/// C library keeps it for each thread.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Email and instant messaging as one conversation.
#[derive(Parser)]
#[command(name = "isthmus", version, about)]
struct Cli {
    /// Configuration file (TOML); every value can be overridden by ISTHMUS__SECTION__KEY.
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Everything on this machine with sample tenants, members and messages.
    Demo,
    /// Serve mail, chat, API and pages.
    Serve {
        /// all, or a list of gateway, router, allocator, billing.
        #[arg(long, default_value = "all", value_parser = commands::role)]
        role: commands::Role,
        /// Print the configuration in effect, secrets masked, and exit.
        #[arg(long)]
        print_config: bool,
    },
    /// Change the shape of the database.
    Migrate {
        #[command(subcommand)]
        what: commands::Migrate,
        /// As JSON.
        #[arg(long, global = true)]
        json: bool,
    },
    /// Declare tenants, members and contacts; safe to repeat.
    Apply {
        /// TOML file that declares tenants; all of it is taken, or nothing.
        #[arg(short, long)]
        file: PathBuf,
    },
    /// API keys and signing keys.
    Keys {
        #[command(subcommand)]
        what: commands::Keys,
    },
    /// Check what is configured and say what to do.
    Doctor {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// The XMPP server's side.
    Xmpp {
        #[command(subcommand)]
        what: commands::Xmpp,
    },
    /// Tenants.
    Tenant {
        #[command(subcommand)]
        what: commands::Tenant,
    },
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are no errors; wrong usage is 2.
            let code = if error.use_stderr() { 2 } else { 0 };
            let _ = error.print();
            return ExitCode::from(code);
        }
    };
    if let Ok(name) = std::env::var("ISTHMUS_FAILPOINT") {
        isthmus_domain::failpoint::arm(name);
    }
    // One TLS stack for everything; it is only an error to choose twice.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime =
        match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => {
                complain(&error.into());
                return ExitCode::FAILURE;
            }
        };
    match runtime.block_on(run(cli)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error);
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::print_stderr, reason = "this is the command line's last word")]
fn complain(error: &anyhow::Error) {
    eprintln!("isthmus: {error:#}");
}

async fn run(cli: Cli) -> Result<()> {
    // Variables of others may be in any encoding; ours are all text.
    let environment = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    let config = Config::load(cli.config.as_deref(), environment)?;
    match cli.command {
        Command::Demo => demo::run(config).await,
        Command::Serve { print_config: true, .. } => {
            commands::say(&config.print());
            Ok(())
        }
        Command::Serve { role, .. } => {
            commands::check_role(role)?;
            log(&config, "info");
            serve::serve(config, serve::Demo::default(), || tracing::info!("Isthmus is ready"))
                .await
        }
        Command::Migrate { what, json } => commands::migrate(&config, what, json).await,
        Command::Apply { file } => commands::apply(&config, &file).await,
        Command::Keys { what } => commands::keys(&config, what).await,
        Command::Doctor { json } => doctor::doctor(&config, json).await,
        Command::Xmpp { what } => commands::xmpp(&config, what).await,
        Command::Tenant { what } => commands::tenant(&config, what).await,
    }
}

/// Logs to stderr; RUST_LOG chooses how much.
pub(crate) fn log(config: &Config, level: &str) {
    use tracing_subscriber::{EnvFilter, fmt};
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    // Colours are for people, not for files.
    let colours = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let builder = fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colours);
    if config.logs_json() { builder.json().init() } else { builder.compact().init() }
}
