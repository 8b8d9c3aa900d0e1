//! A progress bar on standard error, if that is a terminal.

use std::io::{self, IsTerminal};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

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
