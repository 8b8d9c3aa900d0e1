//! Collecting the transactions of the group that is written next.

use super::{BLOCK_PAYLOAD_LEN, HEADER_LEN, LENGTH_LEN, block_count};
use crate::log::MAX_GROUP_BLOCKS;

/// The payload of a group to be.
#[derive(Debug)]
pub struct Builder {
    payload: Vec<u8>,
    transactions: u32,
    max_blocks: u64,
}

impl Builder {
    /// An empty one for a group of at most `max_blocks` blocks:
    /// [`max_group_blocks`](crate::log::max_group_blocks) of the ring.
    ///
    /// # Panics
    ///
    /// If no group has that many blocks.
    pub fn new(max_blocks: u64) -> Builder {
        assert!((1..=MAX_GROUP_BLOCKS).contains(&max_blocks), "groups of {max_blocks} blocks");
        Builder { payload: Vec::new(), transactions: 0, max_blocks }
    }

    /// The longest transaction in bytes that fits into a group of `max_blocks` blocks.
    pub fn max_transaction_len(max_blocks: u64) -> usize {
        max_blocks as usize * BLOCK_PAYLOAD_LEN - HEADER_LEN - LENGTH_LEN
    }

    /// Does a transaction of `len` bytes fit behind those that are there?
    pub fn would_fit(&self, len: usize) -> bool {
        self.would_fit_behind(self.payload.len(), len)
    }

    /// Does it fit behind a payload of so many bytes?
    pub fn would_fit_behind(&self, payload_len: usize, len: usize) -> bool {
        let most = self.max_blocks as usize * BLOCK_PAYLOAD_LEN - HEADER_LEN;
        len.saturating_add(LENGTH_LEN) <= most - payload_len
    }

    /// Puts a transaction behind the others.
    ///
    /// # Panics
    ///
    /// If it does not [fit](Builder::would_fit).
    pub fn push(&mut self, transaction: &[u8]) {
        assert!(self.would_fit(transaction.len()), "{} bytes do not fit", transaction.len());
        self.payload.extend_from_slice(&(transaction.len() as u32).to_le_bytes());
        self.payload.extend_from_slice(transaction);
        self.transactions += 1;
    }

    /// How many transactions are there.
    pub fn transactions(&self) -> u32 {
        self.transactions
    }

    /// What [`encode`](super::encode) takes.
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// How many blocks the group has: at least one, also without a transaction.
    pub fn block_count(&self) -> u64 {
        block_count(self.payload.len())
    }

    /// Forgets the transactions and keeps the memory, for the next group.
    pub fn clear(&mut self) {
        self.payload.clear();
        self.transactions = 0;
    }
}
