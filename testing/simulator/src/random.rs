//! Chance that can be repeated.

/// A stream of numbers that a seed decides: splitmix64 (Steele, Lea, Flood 2014).
#[derive(Clone, Debug)]
pub struct Random {
    state: u64,
}

const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

impl Random {
    /// The stream of this seed.
    pub fn new(seed: u64) -> Random {
        // Neighbouring seeds are to have nothing in common.
        Random { state: scramble(seed.wrapping_add(STEP)) }
    }

    /// The next number.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(STEP);
        scramble(self.state)
    }

    /// A number below `limit`.
    ///
    /// # Panics
    ///
    /// If the limit is 0.
    pub fn below(&mut self, limit: u64) -> u64 {
        assert!(limit > 0, "there is no number below 0");
        // The high half of a product: no division, and even enough for tests.
        ((u128::from(self.next()) * u128::from(limit)) >> 64) as u64
    }

    /// An index of something with `len` elements.
    ///
    /// # Panics
    ///
    /// If there are none.
    pub fn index(&mut self, len: usize) -> usize {
        self.below(len as u64) as usize
    }

    /// True once in `n` times; never for 0.
    pub fn one_in(&mut self, n: u64) -> bool {
        n > 0 && self.below(n) == 0
    }

    /// A stream of its own: what is taken from one does not move the other.
    pub fn fork(&mut self) -> Random {
        Random::new(self.next())
    }
}

fn scramble(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_decides_and_a_fork_is_apart() {
        let (mut one, mut same, mut other) = (Random::new(1), Random::new(1), Random::new(2));
        let taken: Vec<u64> = (0..100).map(|_| one.next()).collect();
        assert!(taken.iter().all(|number| *number == same.next()));
        assert!(taken.iter().all(|number| *number != other.next()));
        let mut fork = one.fork();
        same.fork().next();
        assert_eq!(one.next(), same.next(), "a fork does not move its origin");
        assert_ne!(fork.next(), one.next());
    }

    #[test]
    fn numbers_are_spread_evenly() {
        let mut random = Random::new(3);
        let mut counts = [0_u32; 10];
        (0..10_000).for_each(|_| counts[random.index(10)] += 1);
        assert!(counts.iter().all(|count| (850..1150).contains(count)), "{counts:?}");
        let hits = (0..10_000).filter(|_| random.one_in(4)).count();
        assert!((2300..2700).contains(&hits), "{hits}");
        assert!(!(0..100).any(|_| random.one_in(0)));
    }
}
