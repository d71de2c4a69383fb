//! Medians, percentiles, and arrivals that are random but the same in every run.

use std::time::Duration;

/// Several measurements of one thing.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sample(Vec<f64>);

impl Sample {
    pub(crate) fn push(&mut self, value: f64) {
        self.0.push(value);
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The middle one, or the mean of the two in the middle; 0 of nothing.
    pub(crate) fn median(&self) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let middle = sorted.len() / 2;
        match sorted.len() {
            0 => 0.0,
            n if n % 2 == 1 => sorted[middle],
            _ => f64::midpoint(sorted[middle - 1], sorted[middle]),
        }
    }

    /// Smallest and largest.
    pub(crate) fn spread(&self) -> [f64; 2] {
        let all = self.0.iter().copied();
        [all.clone().fold(f64::INFINITY, f64::min), all.fold(f64::NEG_INFINITY, f64::max)]
    }
}

/// The time that `percent` of all did not exceed (nearest rank), in milliseconds; 0 of nothing.
pub(crate) fn percentile_ms(times: &[Duration], percent: u32) -> f64 {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    let rank = (sorted.len() * percent as usize).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).map_or(0.0, |time| time.as_secs_f64() * 1_000.0)
}

/// A small generator of random numbers (splitmix64).
#[derive(Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Between 0 and 1, never 1.
    pub(crate) fn fraction(&mut self) -> f64 {
        // 53 bits are what a double holds exactly.
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Points in time of independent arrivals, `per_second` on average, within `time`.
    pub(crate) fn arrivals(&mut self, per_second: f64, time: Duration) -> Vec<Duration> {
        let mut at = 0.0;
        let mut all = Vec::new();
        loop {
            at -= (1.0 - self.fraction()).ln() / per_second;
            if at >= time.as_secs_f64() {
                return all;
            }
            all.push(Duration::from_secs_f64(at));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_a_value_that_was_measured() {
        let times: Vec<_> = (1..=200).map(Duration::from_millis).collect();
        assert_eq!((percentile_ms(&times, 50), percentile_ms(&times, 99)), (100.0, 198.0));
        assert_eq!(percentile_ms(&times[..1], 99), 1.0);
        assert_eq!(percentile_ms(&[], 99), 0.0);
    }

    #[test]
    fn median_and_spread() {
        let mut sample = Sample::default();
        for value in [5.0, 1.0, 3.0, 2.0] {
            sample.push(value);
        }
        assert_eq!((sample.median(), sample.spread()), (2.5, [1.0, 5.0]));
    }

    #[test]
    fn arrivals_keep_their_rate_and_their_seed() {
        let all = Dice::new(7).arrivals(1_000.0, Duration::from_secs(10));
        assert!((9_500..10_500).contains(&all.len()), "{}", all.len());
        assert!(all.is_sorted());
        assert_eq!(all, Dice::new(7).arrivals(1_000.0, Duration::from_secs(10)));
    }
}
