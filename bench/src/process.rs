//! What a process and its children used, as `/proc` tells it.

use std::{collections::HashMap, time::Duration};

use anyhow::{Context, Result};

/// Clock ticks in a second, the unit of times in `/proc/PID/stat`: 100 on Linux everywhere
/// (`USER_HZ`, proc(5)).
const TICKS: f64 = 100.0;
/// One megabyte in kilobytes of `/proc`, which are 1,024 octets.
const KB_PER_MB: f64 = 1_000_000.0 / 1_024.0;

/// One line of `/proc/PID/stat`.
struct Stat {
    name: String,
    parent: u32,
    /// Its own time and that of its children who have ended and were waited for.
    ticks: u64,
}

fn all() -> HashMap<u32, Stat> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().filter_map(Result::ok);
    let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    numbers.filter_map(|pid| Some((pid, stat(pid)?))).collect()
}

fn stat(pid: u32) -> Option<Stat> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name stands in brackets and may hold some itself.
    let (front, rest) = text.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    // After the name: state, parent, …; utime, stime, cutime and cstime are 11 to 14 from there.
    let ticks = fields.get(11..15)?.iter().filter_map(|f| f.parse::<u64>().ok()).sum();
    let name = front.split_once('(')?.1.to_owned();
    Some(Stat { name, parent: fields.get(1)?.parse().ok()?, ticks })
}

fn descends(all: &HashMap<u32, Stat>, mut pid: u32, root: u32) -> bool {
    // No tree is deeper; a process that ends while we look must not lead us in circles.
    for _ in 0..64 {
        if pid == root {
            return true;
        }
        let Some(stat) = all.get(&pid) else { return false };
        pid = stat.parent;
    }
    false
}

/// Processor time in seconds that `root` and everything below it have used so far.
pub(crate) fn cpu_seconds(root: u32) -> f64 {
    let all = all();
    let ours = all.iter().filter(|(pid, _)| descends(&all, **pid, root));
    ours.map(|(_, stat)| stat.ticks).sum::<u64>() as f64 / TICKS
}

/// The process called `name` that this one has started, itself or through others.
pub(crate) fn started_here(name: &str) -> Result<u32> {
    let all = all();
    let found = all
        .iter()
        .find(|(pid, stat)| stat.name == name && descends(&all, **pid, std::process::id()));
    found.map(|(pid, _)| *pid).with_context(|| format!("no process {name} was started here"))
}

/// Waits until `root` and its children have used less than 3 % of a processor for half a
/// second; at most a minute.
pub(crate) async fn settled(root: u32) {
    const LOOK: Duration = Duration::from_millis(500);
    let mut before = cpu_seconds(root);
    for _ in 0..120 {
        tokio::time::sleep(LOOK).await;
        let now = cpu_seconds(root);
        if now - before < 0.03 * LOOK.as_secs_f64() {
            return;
        }
        before = now;
    }
}

/// How many processors there are and how busy they were in the last minute: a machine that does
/// other things as well gives other figures.
pub(crate) fn machine() -> String {
    let processors = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or_default();
    format!("Machine: {processors} processors, load {load} in the last minute")
}

fn status_mb(pid: u32, field: &str) -> Result<f64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    let kb = line.and_then(|l| l.trim().strip_suffix(" kB")?.trim().parse::<f64>().ok());
    Ok(kb.with_context(|| format!("/proc/{pid}/status has no {field}"))? / KB_PER_MB)
}

/// Resident memory now, in megabytes of a million octets.
pub(crate) fn resident_mb(pid: u32) -> Result<f64> {
    status_mb(pid, "VmRSS")
}

/// The most resident memory since [`forget_peak`], in megabytes.
pub(crate) fn peak_mb(pid: u32) -> Result<f64> {
    status_mb(pid, "VmHWM")
}

/// Begins to look for the peak anew (proc(5), `clear_refs`).
pub(crate) fn forget_peak(pid: u32) -> Result<()> {
    std::fs::write(format!("/proc/{pid}/clear_refs"), "5").context("the peak cannot be reset")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn children_that_have_ended_count() {
        let this = std::process::id();
        let before = cpu_seconds(this);
        let work = "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done";
        let status = std::process::Command::new("sh").args(["-c", work]).status();
        assert!(status.is_ok_and(|status| status.success()));
        assert!(cpu_seconds(this) > before);
        assert!(resident_mb(this).is_ok_and(|mb| mb > 1.0));
    }
}
