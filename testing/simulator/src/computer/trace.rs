//! What happened, as one number, and in words where somebody wants to read it.

/// What happened so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Trace {
    hash: u64,
    /// A line for each event, if somebody wants them.
    pub log: Option<Vec<String>>,
}

const FACTOR: u64 = 0x9fb2_1c65_1e98_df25;

impl Trace {
    /// Takes numbers in.
    pub fn mix(&mut self, numbers: &[u64]) {
        for number in numbers {
            self.hash = mixed(self.hash, *number);
        }
    }

    /// Everything so far.
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// Adds a line to the log, which is made only if it is kept.
    pub fn log(&mut self, line: impl FnOnce() -> String) {
        if let Some(log) = &mut self.log {
            log.push(line());
        }
    }
}

fn mixed(hash: u64, number: u64) -> u64 {
    (hash.rotate_left(23) ^ number).wrapping_mul(FACTOR)
}

/// A hash of bytes, fast rather than good: four numbers at a time that do not wait for each other.
pub(crate) fn hash_bytes(bytes: &[u8]) -> u64 {
    let mut lanes = [1_u64, 2, 3, 4];
    let (words, rest) = bytes.as_chunks::<8>();
    let (quads, odd) = words.as_chunks::<4>();
    for quad in quads {
        for (lane, word) in lanes.iter_mut().zip(quad) {
            *lane = mixed(*lane, u64::from_le_bytes(*word));
        }
    }
    for word in odd {
        lanes[0] = mixed(lanes[0], u64::from_le_bytes(*word));
    }
    for byte in rest {
        lanes[1] = mixed(lanes[1], u64::from(*byte));
    }
    lanes.into_iter().fold(bytes.len() as u64, mixed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_counts() {
        let mut bytes: Vec<u8> = (0..107).collect();
        let before = hash_bytes(&bytes);
        for index in 0..bytes.len() {
            bytes[index] ^= 0x80;
            assert_ne!(hash_bytes(&bytes), before, "byte {index}");
            bytes[index] ^= 0x80;
        }
        assert_eq!(hash_bytes(&bytes), before);
        assert_ne!(hash_bytes(&[0; 8]), hash_bytes(&[0; 9]));
    }
}
