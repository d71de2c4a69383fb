//! Resident memory of the demo when nobody uses it.

use anyhow::Result;
use isthmus_tests::{Port, Server, ServerSpec};

use crate::{plan::Plan, process, results::Figure, say::say, statistics::Sample, world::ready};

pub(crate) async fn measure(plan: &Plan) -> Result<Vec<Figure>> {
    say("Memory when idle: the demo, left alone");
    let mut memory = Sample::default();
    for _ in 0..plan.rounds {
        memory.push(round(plan).await?);
    }
    Ok(vec![Figure::told("resident memory, idle, demo data", "MB", &memory).bound_by("<= 60")])
}

async fn round(plan: &Plan) -> Result<f64> {
    let folder = tempfile::Builder::new().prefix("isthmus-idle-").tempdir()?;
    let (http, smtp) = (Port::free(), Port::free());
    let program = std::env::var("ISTHMUS_BIN")?;
    let mut spec = ServerSpec::new("isthmus", folder.path(), [program, "demo".into()])
        .env("ISTHMUS__DATA_DIR", folder.path().join("data").display().to_string())
        .env("ISTHMUS__HTTP__LISTEN", http.addr().to_string())
        .env("ISTHMUS__SMTP__LISTEN", smtp.addr().to_string());
    spec.without = Some("ISTHMUS__");
    let server = Server::start(spec);
    ready(&format!("http://{}", http.addr())).await?;
    tokio::time::sleep(plan.idle_time).await;
    process::resident_mb(server.pid())
}
