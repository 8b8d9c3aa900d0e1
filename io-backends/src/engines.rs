//! The engines that one back-end works for.

use std::fmt;

use smallvec::SmallVec;
use yieldb_core::Driver;
use yieldb_core::sync::atomic::{AtomicUsize, Ordering};
use yieldb_core::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// What has work of its own when I/O is over, and nobody that waits for the I/O itself: the engine
/// of a database, whose log is written for many.
pub trait Engine: Send + Sync {
    /// Does what there is to be done, on a thread that need not have a handle of its database.
    fn visit(&self, driver: &dyn Driver);
}

/// The engines of a back-end. Whoever drives it may have finished what one of the others needs to
/// go on, and whose own threads sleep: so he turns all of them.
#[derive(Default)]
pub struct Engines {
    all: Mutex<Vec<Weak<dyn Engine>>>,
    count: AtomicUsize,
}

impl Engines {
    /// Turns this engine, too, as long as it is there.
    pub fn add(&self, engine: Weak<dyn Engine>) {
        let mut all = self.all();
        all.retain(|engine| engine.strong_count() > 0);
        all.push(engine);
        self.count.store(all.len(), Ordering::SeqCst);
    }

    /// Turns all of them, if there are several. Costs next to nothing if there are not.
    #[inline]
    pub fn turn_several(&self, driver: &dyn Driver) {
        if self.count.load(Ordering::SeqCst) > 1 {
            self.turn(driver);
        }
    }

    #[cold]
    fn turn(&self, driver: &dyn Driver) {
        let all: SmallVec<[Arc<dyn Engine>; 8]> =
            self.all().iter().filter_map(Weak::upgrade).collect();
        all.iter().for_each(|engine| engine.visit(driver));
    }

    fn all(&self) -> MutexGuard<'_, Vec<Weak<dyn Engine>>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Engines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} engines", self.all().len())
    }
}
