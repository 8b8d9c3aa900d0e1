//! Keeping a record of what a transaction does, as long as it is one for a log.
//!
//! ```text
//!   off
//!   on --- a change that no log is to have, or too many bytes --> over
//!    ^                                                             |
//!    '--- the transaction goes back to a savepoint before that ----'
//! ```

use std::fmt;

use yieldb_core::is_planted;

use crate::record::TreeChange;
use crate::transaction::Transaction;

/// The longest value that is recorded, in bytes. A log would have to carry a longer one beside the
/// pages that it is written to anyway.
const MAX_VALUE_LEN: usize = 64 * 1024;

/// How many pages and runs of the version before a transaction may replace whose record is enough
/// to make it durable, however short that is. A range or a tree that goes is a few bytes in a
/// record, and as many reads as it has pages for whoever replays it: a thousand reads, even one
/// after the other, take about a tenth of a second. Beyond that it is cheaper to write down what
/// has become of them.
const MAX_REPLACED: usize = 1024;

/// For so many bytes of its record it may replace one more. Small commits replace as many of a log
/// that is full of them: then many changes in one may, too.
const BYTES_FOR_ONE_MORE: usize = 16;

/// The record of a transaction under way.
#[derive(Default)]
pub(crate) struct Recorder {
    /// The changes so far. When the record is over, those before that: they count again if the
    /// transaction goes back.
    bytes: Vec<u8>,
    /// How many bytes it may have.
    limit: usize,
    recording: Recording,
}

/// Is what a transaction does recorded?
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Recording {
    /// No.
    #[default]
    Off,
    /// All of it so far.
    On,
    /// Not any more: it has done what a log is not to have.
    Over,
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}, {} bytes", self.recording, self.bytes.len())
    }
}

/// A point in a record that it can go back to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RecordMark {
    len: usize,
    recording: Recording,
}

impl Recorder {
    /// Notes a change that was made.
    #[inline]
    pub fn note(&mut self, change: TreeChange<'_>) {
        if self.recording == Recording::On {
            self.append(change);
        }
    }

    fn append(&mut self, change: TreeChange<'_>) {
        let len = self.bytes.len();
        let is_long = match change {
            TreeChange::Put { value, .. } => value.len() > MAX_VALUE_LEN,
            TreeChange::Delete { .. }
            | TreeChange::DeleteRange { .. }
            | TreeChange::CreateTree { .. }
            | TreeChange::RenameTree { .. }
            | TreeChange::DropTree { .. }
            | TreeChange::PassOver { .. } => false,
        };
        if is_long || len.saturating_add(change.content_len()) > self.limit {
            return self.end();
        }
        change.append_to(&mut self.bytes);
        if self.bytes.len() > self.limit {
            self.bytes.truncate(len);
            self.end();
        }
    }

    /// Notes that something was done that no record has.
    pub fn end(&mut self) {
        if self.recording == Recording::On {
            self.recording = Recording::Over;
        }
    }

    /// Where the record is now.
    pub fn mark(&self) -> RecordMark {
        RecordMark { len: self.bytes.len(), recording: self.recording }
    }

    /// Forgets what was noted since.
    pub fn go_back_to(&mut self, mark: RecordMark) {
        if is_planted!(RecordNotRolledBack) {
            return;
        }
        self.bytes.truncate(mark.len);
        self.recording = mark.recording;
    }
}

impl Transaction {
    /// Records from now on what the transaction does, in `buffer`, whose contents are given up and
    /// whose memory is used again. Without this it does not, which costs nothing. Cost: a copy of
    /// each key and value.
    ///
    /// The record is over, and no more than `limit` bytes of it were kept, when it becomes longer
    /// than that; with a value of more than 64 KiB, or one that is stored piece by piece and too
    /// long for a leaf; with a bulk load; and with a replay. Going back to a savepoint takes that
    /// back as well.
    ///
    /// # Panics
    ///
    /// If the transaction has changed something, or has a savepoint; if `limit` is 4 GiB or more.
    pub fn record_into(&mut self, mut buffer: Vec<u8>, limit: usize) {
        assert!(self.is_unchanged() && self.saved.is_empty(), "a record has all that was done");
        assert!(u32::try_from(limit).is_ok(), "a record of {limit} bytes");
        buffer.clear();
        self.recorder = Recorder { bytes: buffer, limit, recording: Recording::On };
    }

    /// What the transaction did so far, to be [made again](crate::ops::replay); `None` if that is
    /// not recorded, or over.
    pub fn record(&self) -> Option<&[u8]> {
        (self.recorder.recording == Recording::On).then_some(&self.recorder.bytes)
    }

    /// Takes [the record](Transaction::record) out, and records nothing from now on.
    pub fn take_record(&mut self) -> Option<Vec<u8>> {
        let Recorder { bytes, recording, .. } = std::mem::take(&mut self.recorder);
        (recording == Recording::On).then_some(bytes)
    }

    /// Has the transaction done more than a replay should have to do again, whatever its record
    /// says? It has written out pages before its end, or has replaced more pages and large values
    /// of the version that it began on than 1,024, and one for each 16 bytes of its record.
    pub fn needs_checkpoint(&self) -> bool {
        let set = self.write_set();
        let most = MAX_REPLACED + self.recorder.bytes.len() / BYTES_FOR_ONE_MORE;
        set.has_spilled() || set.replaced_count() > most
    }
}
