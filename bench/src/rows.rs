//! The rows of the table, one file for each thing that is measured.

mod fairness;
mod idle;
mod large;
mod latency;
mod load;
mod start;
mod throughput;

use std::{any::Any, future::Future, panic::AssertUnwindSafe};

use anyhow::Result;
use futures::FutureExt;

use crate::{
    plan::Plan,
    results::{Figure, Results},
    say::say,
    world::World,
};

/// Measures everything, or what `only` names. Returns what could not be measured and why.
pub(crate) async fn measure(plan: &Plan, only: &[String], results: &mut Results) -> Vec<String> {
    let wanted = |name: &str| only.is_empty() || only.iter().any(|o| o == name);
    let mut failed = Vec::new();
    let mut keep = |name: &str, figures: Result<Vec<Figure>>| match figures {
        Ok(figures) => results.add(figures),
        Err(error) => {
            say(&format!("  {name} failed: {error:#}"));
            failed.push(format!("{name}: {error:#}"));
        }
    };
    if ["latency", "throughput", "fairness", "load"].into_iter().any(wanted) {
        match caught(World::start()).await {
            Ok(mut world) => {
                // The rate is needed by the last of them; the quiet ones come first.
                let mut peak = None;
                if wanted("latency") {
                    keep("latency", caught(latency::measure(plan, &world)).await);
                }
                if wanted("fairness") {
                    keep("fairness", caught(fairness::measure(plan, &mut world)).await);
                }
                if wanted("throughput") || wanted("load") {
                    let measured = caught(throughput::measure(plan, &mut world)).await;
                    let figures = measured.map(|measured| {
                        peak = Some((measured.highest, measured.stanzas));
                        measured.figures
                    });
                    keep("throughput", figures);
                }
                if let Some((highest, stanzas)) = peak {
                    if wanted("load") {
                        keep("load", caught(load::measure(plan, &mut world, highest)).await);
                    }
                    if wanted("throughput") {
                        let silent = throughput::without_receipts(plan, &mut world, stanzas);
                        keep("throughput without receipts", caught(silent).await);
                    }
                }
                complaints(&world.isthmus.log());
            }
            Err(error) => keep("the bridge", Err(error)),
        }
    }
    if wanted("idle") {
        keep("idle", caught(idle::measure(plan)).await);
    }
    if wanted("large") {
        keep("large", caught(large::measure(plan)).await);
    }
    if wanted("start") {
        keep("start", caught(start::measure(plan)).await);
    }
    failed
}

/// The harness panics with a sentence; here that ends one row, not the run.
async fn caught<T>(measure: impl Future<Output = Result<T>>) -> Result<T> {
    let panicked = |cause: Box<dyn Any + Send>| {
        let text = cause.downcast_ref::<String>().cloned();
        let text = text.or_else(|| cause.downcast_ref::<&str>().map(|&s| s.to_owned()));
        anyhow::anyhow!(text.unwrap_or_else(|| "it panicked".into()))
    };
    AssertUnwindSafe(measure).catch_unwind().await.unwrap_or_else(|cause| Err(panicked(cause)))
}

/// Warnings and errors in the program's log belong to the result.
fn complaints(log: &str) {
    let lines: Vec<&str> =
        log.lines().filter(|l| l.contains("ERROR") || l.contains("WARN")).collect();
    if !lines.is_empty() {
        say(&format!("Isthmus logged {} warnings and errors; the first ones:", lines.len()));
        for line in lines.iter().take(5) {
            say(&format!("  {line}"));
        }
    }
}
