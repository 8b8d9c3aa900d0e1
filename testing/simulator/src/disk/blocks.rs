//! The contents of a file, in blocks that copies of it share.

use std::sync::Arc;

/// The length of a block in bytes.
pub const BLOCK_LEN: usize = 4096;

/// The length of a sector in bytes: what a power cut keeps whole.
pub const SECTOR_LEN: usize = 512;

/// All sectors of a block.
pub(crate) const ALL_SECTORS: u8 = u8::MAX;

/// The length in bytes that no file exceeds, so that no request makes a table of any size.
pub(crate) const MAX_FILE_LEN: u64 = 1 << 34;

type Bytes = [u8; BLOCK_LEN];

/// A block's bytes; `None` for zeros only.
pub(crate) type Block = Option<Arc<Bytes>>;

static ZEROS: Bytes = [0; BLOCK_LEN];

/// A block of these bytes.
pub(crate) fn block_of(bytes: &Bytes) -> Block {
    if bytes == &ZEROS { None } else { Some(Arc::new(*bytes)) }
}

/// A block's bytes.
pub(crate) fn bytes_of(block: &Block) -> &Bytes {
    block.as_deref().unwrap_or(&ZEROS)
}

/// A block's bytes, to be changed: those of this block alone.
pub(crate) fn bytes_of_mut(block: &mut Block) -> &mut Bytes {
    Arc::make_mut(block.get_or_insert_with(|| Arc::new(ZEROS)))
}

/// The contents of a file. A copy costs a count for each block.
#[derive(Clone, Debug, Default)]
pub(crate) struct Blocks {
    /// Those behind the last are zeros.
    blocks: Vec<Block>,
    len: u64,
}

impl Blocks {
    /// The contents that these bytes are.
    pub fn from_bytes(bytes: &[u8]) -> Blocks {
        let block = |chunk: &[u8]| match chunk.try_into() {
            Ok(whole) => block_of(whole),
            Err(_) => {
                let mut padded = ZEROS;
                padded[..chunk.len()].copy_from_slice(chunk);
                block_of(&padded)
            }
        };
        Blocks { blocks: bytes.chunks(BLOCK_LEN).map(block).collect(), len: bytes.len() as u64 }
    }

    /// All bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0; usize::try_from(self.len).expect("a simulated file is small")];
        self.read(0, &mut bytes);
        bytes
    }

    /// The length in bytes.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Fills `out` from `offset` on and returns how many bytes there were.
    pub fn read(&self, offset: u64, out: &mut [u8]) -> usize {
        let len = (self.len.saturating_sub(offset)).min(out.len() as u64) as usize;
        let mut done = 0;
        while done < len {
            let at = offset + done as u64;
            let start = (at % BLOCK_LEN as u64) as usize;
            let part = (BLOCK_LEN - start).min(len - done);
            let block = self.blocks.get((at / BLOCK_LEN as u64) as usize).unwrap_or(&None);
            out[done..done + part].copy_from_slice(&bytes_of(block)[start..start + part]);
            done += part;
        }
        len
    }

    /// The block at `index`, which may lie behind the end.
    pub fn block(&self, index: u64) -> Block {
        self.blocks.get(index as usize).cloned().flatten()
    }

    /// Takes some sectors over from a block. The length stays as it is.
    pub fn put(&mut self, index: u64, block: &Block, sectors: u8) {
        let own = self.block_mut(index);
        if sectors == ALL_SECTORS {
            own.clone_from(block);
            return;
        }
        let (own, new) = (bytes_of_mut(own), bytes_of(block));
        for sector in (0..8).filter(|sector| sectors & 1 << sector != 0) {
            let range = sector * SECTOR_LEN..(sector + 1) * SECTOR_LEN;
            own[range.clone()].copy_from_slice(&new[range]);
        }
    }

    /// The block at `index`, to be changed.
    pub fn block_mut(&mut self, index: u64) -> &mut Block {
        assert!(index < MAX_FILE_LEN / BLOCK_LEN as u64, "block {index} is too far");
        let index = index as usize;
        if self.blocks.len() <= index {
            self.blocks.resize(index + 1, None);
        }
        &mut self.blocks[index]
    }

    /// Sets the length. What is cut off is zeros when the file grows again.
    pub fn set_len(&mut self, len: u64) {
        self.len = len;
        self.cut();
    }

    /// Makes the length at least this.
    pub fn grow(&mut self, len: u64) {
        self.len = self.len.max(len);
    }

    /// Forgets what lies behind the end.
    pub fn cut(&mut self) {
        self.blocks.truncate(self.len.div_ceil(BLOCK_LEN as u64) as usize);
        let (last, tail) = (self.len / BLOCK_LEN as u64, (self.len % BLOCK_LEN as u64) as usize);
        if tail > 0
            && let Some(block @ Some(_)) = self.blocks.get_mut(last as usize)
        {
            bytes_of_mut(block)[tail..].fill(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_back_and_what_was_cut_off_does_not() {
        let bytes: Vec<u8> = (0..10_000_u32).map(|index| (index % 251) as u8).collect();
        let mut blocks = Blocks::from_bytes(&bytes);
        assert_eq!(blocks.to_bytes(), bytes);
        let copy = blocks.clone();
        blocks.set_len(5000);
        blocks.set_len(10_000);
        assert_eq!(blocks.to_bytes()[..5000], bytes[..5000]);
        assert_eq!(blocks.to_bytes()[5000..], [0; 5000]);
        assert_eq!(copy.to_bytes(), bytes, "a copy keeps its bytes");
    }

    #[test]
    fn sectors_are_taken_over_one_by_one() {
        let mut blocks = Blocks::default();
        blocks.grow(2 * BLOCK_LEN as u64);
        blocks.put(1, &block_of(&[7; BLOCK_LEN]), 0b1000_0001);
        let bytes = blocks.to_bytes();
        let is_set =
            |sector: usize| bytes[BLOCK_LEN + sector * SECTOR_LEN..][..SECTOR_LEN] == [7; 512];
        assert_eq!((0..8).filter(|sector| is_set(*sector)).collect::<Vec<_>>(), [0, 7]);
        assert_eq!(bytes.iter().filter(|byte| **byte != 0).count(), 2 * SECTOR_LEN);
        let mut part = [1; BLOCK_LEN];
        assert_eq!(blocks.read(2 * BLOCK_LEN as u64 - 100, &mut part), 100);
        assert_eq!(part[99..101], [7, 1]);
    }
}
