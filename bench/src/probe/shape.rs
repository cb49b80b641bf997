//! How regular probes are, as the peers see them.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use support::swarm::Record;

use crate::numbers::{count, percentile, sorted};

/// The regularity of the probes that began within a window.
#[derive(Clone, Debug)]
pub(super) struct Shape {
    /// How many there were.
    pub probes: usize,
    /// Probes of a peer in a second: one for each gap, over the sum of gaps, so that the ends of the
    /// window do not matter.
    pub each_second: f64,
    /// In milliseconds and ascending order, the times from each probe of a peer to its next one.
    pub gaps: Vec<f64>,
    /// The most that began within any 10 ms.
    pub most_at_once: usize,
}

impl Shape {
    /// Of what the peers saw between two moments.
    pub(super) fn of(records: &[Record], from: Instant, to: Instant) -> Shape {
        let mut gaps = Vec::new();
        let mut all = Vec::new();
        let mut idle = Duration::ZERO;

        for record in records {
            let begun = record.probes.iter().map(|probe| probe.accepted);
            let mut begun: Vec<Instant> = begun.filter(|at| (from..to).contains(at)).collect();
            begun.sort();
            if begun.len() < 2 {
                idle += to - from;
            }
            gaps.extend(begun.windows(2).map(|pair| (pair[1] - pair[0]).as_secs_f64() * 1e3));
            all.extend(begun);
        }
        let gaps = sorted(gaps);
        let seconds = gaps.iter().sum::<f64>() / 1e3 + idle.as_secs_f64();
        let most_at_once = most_within(Duration::from_millis(10), &mut all);

        Shape { probes: all.len(), each_second: count(gaps.len()) / seconds, gaps, most_at_once }
    }

    /// In milliseconds, the gap that so many of 1000 do not exceed.
    pub(super) fn gap(&self, of_thousand: usize) -> f64 {
        percentile(&self.gaps, of_thousand)
    }
}

fn most_within(span: Duration, times: &mut [Instant]) -> usize {
    times.sort();
    let mut recent = VecDeque::new();
    let mut most = 0;

    for &time in times.iter() {
        while recent.front().is_some_and(|&first| time - first > span) {
            recent.pop_front();
        }
        recent.push_back(time);
        most = most.max(recent.len());
    }
    most
}

#[cfg(test)]
mod tests {
    use super::*;
    use support::swarm::Asked;

    #[test]
    fn a_missing_probe_shows_in_rate_and_gaps() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let record = |times: &[u64]| {
            let asked = |&ms: &u64| Asked { accepted: at(ms), asked: at(ms) };
            Record { probes: times.iter().map(asked).collect(), ..Record::default() }
        };
        let records = [record(&[0, 1000, 2000]), record(&[5, 2005]), record(&[9])];
        let shape = Shape::of(&records, start, at(3000));

        assert_eq!((shape.probes, shape.most_at_once), (6, 3));
        assert_eq!((shape.gap(10), shape.gap(990)), (1000.0, 2000.0));
        assert!((shape.each_second - 3.0 / 7.0).abs() < 1e-9);
    }
}
