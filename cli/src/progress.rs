//! A progress bar on standard error, if that is a terminal.

use std::io::{self, IsTerminal};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use yieldb::Recovery;

/// What the bar counts.
#[derive(Clone, Copy, Debug)]
pub enum Unit {
    /// Bytes of input.
    Bytes,
    /// Pages of the file.
    Pages,
    /// Entries of trees.
    Entries,
}

/// A bar that is shown on a terminal only; `total` is `None` where it is not known.
pub fn bar(unit: Unit, total: Option<u64>, quiet: bool) -> ProgressBar {
    if quiet || !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let template = match (unit, total) {
        (Unit::Bytes, Some(_)) => {
            "{bar:40} {bytes}/{total_bytes} {binary_bytes_per_sec} {eta} {msg}"
        }
        (Unit::Bytes, None) => "{spinner} {bytes} {binary_bytes_per_sec} {msg}",
        (Unit::Pages, _) => "{bar:40} {pos}/{len} pages {eta}",
        (Unit::Entries, _) => "{bar:40} {pos}/{len} entries {eta}",
    };
    let bar = match total {
        Some(total) => ProgressBar::new(total),
        None => ProgressBar::new_spinner(),
    };
    bar.set_draw_target(ProgressDrawTarget::stderr_with_hz(10));
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(250));
    bar
}

/// How long a recovery is nobody's business, and how often it is looked at from then on.
const RECOVERY_PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_millis(100));

/// Does `work`, which opens a database, and shows how far its recovery is if that takes long.
pub fn watched<T>(recovery: &Recovery, quiet: bool, work: impl FnOnce() -> T) -> T {
    if quiet || !io::stderr().is_terminal() {
        return work();
    }
    let (working, over) = mpsc::channel();
    thread::scope(|scope| {
        scope.spawn(|| show(recovery, over));
        let result = work();
        drop(working);
        result
    })
}

/// Shows a bar until nobody works any more.
fn show(recovery: &Recovery, over: Receiver<()>) {
    let (mut pause, next_pause) = RECOVERY_PAUSES;
    let mut shown: Option<ProgressBar> = None;
    while over.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
        pause = next_pause;
        let Some(progress) = recovery.progress() else { continue };
        let shown = shown.get_or_insert_with(|| {
            bar(Unit::Bytes, Some(progress.of), false).with_message("of the log made again")
        });
        shown.set_position(progress.bytes);
    }
    if let Some(shown) = shown {
        shown.finish_and_clear();
    }
}
