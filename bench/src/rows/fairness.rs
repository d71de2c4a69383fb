//! What others notice when one tenant sends a hundred times as much as each of them.

use std::time::Duration;

use anyhow::Result;

use crate::{
    load::{
        mail::next_mark,
        open_loop::{self, Arrival},
    },
    plan::Plan,
    process,
    results::Figure,
    rows::load::times,
    say::say,
    statistics::{Dice, Sample, percentile_ms},
    world::{QUIET_TENANTS, World, to_contact},
};

/// Mails a second of each quiet tenant.
const QUIET: f64 = 5.0;
/// Times that of the loud one.
const LOUD: f64 = 100.0;

pub(crate) async fn measure(plan: &Plan, world: &mut World) -> Result<Vec<Figure>> {
    let loud = QUIET * LOUD;
    say(&format!(
        "Fairness: {QUIET_TENANTS} tenants with {QUIET} mails/s each, then one more with {loud}"
    ));
    let pid = world.pid();
    let mut dice = Dice::new(100);
    let (mut ratio, mut alone, mut beside) =
        (Sample::default(), Sample::default(), Sample::default());
    for round in 1..=plan.rounds {
        let quiet = phase(plan, world, pid, &mut dice, None).await?;
        let busy = phase(plan, world, pid, &mut dice, Some(loud)).await?;
        say(&format!(
            "  round {round}: the others' p99 alone {quiet:.1} ms, beside the loud one {busy:.1} ms"
        ));
        ratio.push(busy / quiet);
        alone.push(quiet);
        beside.push(busy);
    }
    let told =
        format!("themselves alone, p99 {:.1} ms; loud tenant {loud} mails/s", alone.median());
    Ok(vec![
        Figure::told("others' p99 beside a tenant sending 100× ÷ alone", "ratio", &ratio)
            .bound_by("<= 1.5")
            .against(told),
        Figure::told("others' p99 beside a tenant sending 100×", "ms", &beside),
        Figure::told("others' p99 alone", "ms", &alone),
    ])
}

/// The quiet tenants' p99 in milliseconds.
async fn phase(
    plan: &Plan,
    world: &World,
    pid: u32,
    dice: &mut Dice,
    loud: Option<f64>,
) -> Result<f64> {
    process::settled(pid).await;
    world.carol.inbox().clear();
    world.lou.inbox().clear();
    let mut arrivals = Vec::new();
    for tenant in 0..QUIET_TENANTS {
        let slug = format!("q{tenant}");
        arrivals.extend(mails(dice, QUIET, plan.phase, "ann", &slug, "carol"));
    }
    let quiet: Vec<u32> = arrivals.iter().map(|a| a.mark).collect();
    if let Some(rate) = loud {
        arrivals.extend(mails(dice, rate, plan.phase, "max", "loud", "lou"));
    }
    arrivals.sort_by_key(|a| a.at);
    let sent = open_loop::run(world.isthmus.smtp(), arrivals).await?;
    Ok(percentile_ms(&times(&sent, &quiet, world.carol.inbox()).await?, 99))
}

fn mails(
    dice: &mut Dice,
    rate: f64,
    time: Duration,
    member: &str,
    slug: &str,
    contact: &str,
) -> Vec<Arrival> {
    let points = dice.arrivals(rate, time).into_iter();
    let one = |at| Arrival {
        at,
        from: format!("{member}@{slug}.test"),
        to: to_contact(slug, contact),
        mark: next_mark(),
    };
    points.map(one).collect()
}
