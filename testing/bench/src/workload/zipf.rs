//! Numbers of which some are much more frequent than others.

use crate::entries::{Random, mix};

/// Numbers below a limit, the first ones most often: the number `n` as often as `1 / (n + 1)^SKEW`.
///
/// Gray et al., "Quickly Generating Billion-Record Synthetic Databases" (SIGMOD 1994): exact for
/// the first two numbers, and near for the others.
#[derive(Clone, Debug)]
pub struct Zipf {
    limit: f64,
    zeta: f64,
    eta: f64,
}

/// What YCSB has.
const SKEW: f64 = 0.99;

impl Zipf {
    /// Numbers below `limit`. Takes as long as there are numbers.
    pub fn new(limit: u64) -> Zipf {
        let zeta = zeta(limit);
        let limit = limit as f64;
        let eta = (1.0 - (2.0 / limit).powf(1.0 - SKEW)) / (1.0 - zeta_of_two() / zeta);
        Zipf { limit, zeta, eta }
    }

    /// One of the numbers.
    fn rank(&self, random: &mut Random) -> u64 {
        let fraction = random.fraction();
        let reached = fraction * self.zeta;
        if reached < 1.0 {
            return 0;
        }
        if reached < zeta_of_two() {
            return 1;
        }
        let part = (self.eta * fraction - self.eta + 1.0).powf(1.0 / (1.0 - SKEW));
        ((self.limit * part) as u64).min(self.limit as u64 - 1)
    }

    /// One of the numbers, where the frequent ones are not beside each other.
    pub fn scrambled(&self, random: &mut Random) -> u64 {
        mix(self.rank(random)) % self.limit as u64
    }
}

fn zeta(limit: u64) -> f64 {
    (1..=limit).map(|number| (number as f64).powf(-SKEW)).sum()
}

fn zeta_of_two() -> f64 {
    1.0 + 2_f64.powf(-SKEW)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_as_frequent_as_they_should_be() {
        const LIMIT: u64 = 1_000;
        const COUNT: usize = 1_000_000;
        let (zipf, mut random) = (Zipf::new(LIMIT), Random(1));
        let mut counts = [0_usize; LIMIT as usize];
        for _ in 0..COUNT {
            counts[zipf.rank(&mut random) as usize] += 1;
        }
        let share = |numbers: usize| counts[..numbers].iter().sum::<usize>() as f64 / COUNT as f64;
        for (numbers, tolerance) in [(1, 0.002), (2, 0.003), (10, 0.03), (100, 0.03), (500, 0.02)] {
            let expected = zeta(numbers as u64) / zeta(LIMIT);
            let found = share(numbers);
            assert!((found - expected).abs() < tolerance, "{numbers}: {found}, not {expected}");
        }
        assert!(counts[LIMIT as usize - 1] > 0, "the last one is one of them");
    }

    #[test]
    fn frequent_numbers_are_apart() {
        let (zipf, mut random) = (Zipf::new(1_000), Random(1));
        let mut counts = [0; 1_000];
        for _ in 0..100_000 {
            counts[zipf.scrambled(&mut random) as usize] += 1;
        }
        let mut ranked: Vec<usize> = (0..counts.len()).collect();
        ranked.sort_by_key(|number| std::cmp::Reverse(counts[*number]));
        assert!(ranked[0].abs_diff(ranked[1]) > 1);
        assert_eq!(ranked[0], mix(0) as usize % 1_000);
    }
}
