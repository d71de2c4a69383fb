//! Figures: the table that is printed and the file that is written.

use std::{fmt::Write as _, path::PathBuf};

use anyhow::{Context, Result};
use serde::Serialize;

use crate::{say::say, statistics::Sample};

/// One row of the results.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Figure {
    name: String,
    value: f64,
    /// `>= 6.0` or `<= 60`; none for a figure that is only told.
    to_reach: Option<&'static str>,
    unit: &'static str,
    median_of: usize,
    /// Smallest and largest of the measurements.
    spread: [f64; 2],
    /// What it was measured against, at which settings.
    peer: Option<String>,
}

impl Figure {
    /// A figure that is only told.
    pub(crate) fn told(name: impl Into<String>, unit: &'static str, sample: &Sample) -> Self {
        let [least, most] = sample.spread();
        Self {
            name: name.into(),
            value: rounded(sample.median()),
            to_reach: None,
            unit,
            median_of: sample.len(),
            spread: [rounded(least), rounded(most)],
            peer: None,
        }
    }

    /// With what is to be reached.
    pub(crate) fn bound_by(mut self, bound: &'static str) -> Self {
        self.to_reach = Some(bound);
        self
    }

    /// Against this peer.
    pub(crate) fn against(mut self, peer: impl Into<String>) -> Self {
        self.peer = Some(peer.into());
        self
    }

    fn verdict(&self) -> &'static str {
        let Some((sign, bound)) = self.to_reach.and_then(|text| text.split_once(' ')) else {
            return "";
        };
        let Ok(bound) = bound.parse::<f64>() else { return "?" };
        let reached = if sign == ">=" { self.value >= bound } else { self.value <= bound };
        if reached { "reached" } else { "FALLS SHORT" }
    }
}

/// Three digits behind the point say more than was measured.
fn rounded(value: f64) -> f64 {
    (value * 1_000.0).round() / 1_000.0
}

/// Everything measured so far.
#[derive(Debug, Default)]
pub(crate) struct Results(Vec<Figure>);

impl Results {
    /// Keeps figures and shows them at once.
    pub(crate) fn add(&mut self, figures: Vec<Figure>) {
        for figure in &figures {
            say(&format!("  = {}: {} {}", figure.name, figure.value, figure.unit));
        }
        self.0.extend(figures);
    }

    /// All figures, those with something to reach first.
    pub(crate) fn table(&self) -> String {
        let mut text = String::from("\n");
        let (bound, told): (Vec<_>, Vec<_>) = self.0.iter().partition(|f| f.to_reach.is_some());
        let width = self.0.iter().map(|f| f.name.chars().count()).max().unwrap_or(0);
        for figure in bound.into_iter().chain(told) {
            let Figure { name, value, unit, median_of, spread: [least, most], .. } = figure;
            let to_reach = figure.to_reach.unwrap_or_default();
            let peer = figure.peer.as_deref().unwrap_or_default();
            let verdict = figure.verdict();
            let measured = format!("{value} {unit}");
            let spread = format!("{least} … {most} of {median_of}");
            let _ = writeln!(
                text,
                "{name:width$}  {measured:>16}  {spread:<26} {to_reach:>8}  {verdict:<11}  {peer}"
            );
        }
        text
    }

    /// Writes `bench/results.json` into the target folder.
    pub(crate) fn write(&self) -> Result<PathBuf> {
        let folder = target()?.join("bench");
        std::fs::create_dir_all(&folder)?;
        let file = folder.join("results.json");
        let json = serde_json::to_string_pretty(&self.0)?;
        std::fs::write(&file, json + "\n")
            .with_context(|| format!("{} cannot be written", file.display()))?;
        Ok(file)
    }
}

/// Cargo's target folder: the one that is set, or the one in which this program lies.
fn target() -> Result<PathBuf> {
    if let Some(set) = std::env::var_os("CARGO_TARGET_DIR") {
        return Ok(set.into());
    }
    let this = std::env::current_exe()?;
    let folder = this.parent().and_then(std::path::Path::parent);
    Ok(folder.context("this program does not lie in a target folder")?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_is_read_both_ways() {
        let mut sample = Sample::default();
        sample.push(6.0);
        let figure = Figure::told("x", "ratio", &sample);
        assert_eq!(figure.clone().bound_by(">= 6.0").verdict(), "reached");
        assert_eq!(figure.clone().bound_by("<= 5").verdict(), "FALLS SHORT");
        assert_eq!(figure.verdict(), "");
    }
}
