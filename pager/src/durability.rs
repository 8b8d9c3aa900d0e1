//! How durable a commit is when it is acknowledged, and making those durable that are not.
//!
//! ```text
//!   Sync      applied --- in the queue of the log --- written, synced ---> acknowledged
//!   Relaxed   applied --- those ahead of it are acknowledged ---> acknowledged
//!                '------- in the queue of the log --- written with the next group
//! ```
//!
//! A relaxed commit never overtakes: where those ahead of it wait for their groups, it waits with
//! them. So what a crash leaves is the commits up to one of them, as ever.
//!
//! The versions that are acknowledged and not durable need no pin. A crash takes the file back to
//! its checkpoint, whose pages are pinned, and what is found of the log behind that is made again
//! from its records, which refer to no page. So a page that was made and replaced since the
//! checkpoint is nobody's when no reader has it, whether or not its end is durable.

use std::time::Duration;

use yieldb_core::is_planted;
use yieldb_core::sync::Arc;

use crate::ledger::Ledger;
use crate::ops::checkpoint::Ticket;
use crate::{Pager, Result};

/// How durable a commit is when it is acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// It survives a crash of the process and a power cut.
    #[default]
    Sync,
    /// It is in memory, and written with the next commit that is not relaxed; when there are enough
    /// of them for the longest group that the log has; or within a second, as long as anybody
    /// drives the database. A crash of the process before that takes it, and those behind it.
    ///
    /// Without a log, or where a commit does not go into it, it is as durable as any other.
    Relaxed,
}

/// How long a relaxed commit is in memory only, while somebody drives.
pub(crate) const MAX_DELAY: Duration = Duration::from_secs(1);

impl Pager {
    /// Puts a commit that is applied into the queue of the log. A relaxed one is acknowledged at
    /// once, if those before it are.
    ///
    /// Under the lock under which it was applied: what is in the queue is in the order of versions,
    /// and a checkpoint has nothing that is not in it.
    pub(crate) fn enqueue(
        &self,
        ledger: &mut Ledger,
        record: &[u8],
        durability: Durability,
        ticket: &Arc<Ticket>,
    ) {
        let version = ledger.applied().version;
        match durability {
            Durability::Sync => self.log.push(version, record.to_vec(), ticket.clone()),
            Durability::Relaxed => {
                self.log.push_relaxed(version, record.to_vec(), self.io().now());
                ledger.acknowledge_in_turn(version, ticket.clone(), self.cache());
                if is_planted!(RelaxedOvertakes) {
                    ledger.acknowledge(version, self.cache());
                }
            }
        }
    }

    /// Makes every commit durable that is acknowledged: the version of the newest one, and what to
    /// wait for; `None` if all of them are.
    ///
    /// # Errors
    ///
    /// [`ReadOnly`](crate::Error::ReadOnly), [`Poisoned`](crate::Error::Poisoned).
    pub fn sync(&self) -> Result<(u64, Option<Arc<Ticket>>)> {
        let _queue = self.writers()?;
        let version = self.ledger().newest().version;
        let ticket = self.log.sync_up_to(version);
        Ok((version, ticket.filter(|_| !is_planted!(SyncNotAwaited))))
    }
}
