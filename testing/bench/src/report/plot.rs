//! A workload as a picture: for each thing that was measured a bar for each engine, as long as its
//! median beside the largest one.

use std::path::Path;

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::figures::{Figures, Row};
use super::markdown::amount;
use crate::Failure;

/// Pixels of the whole width, of the names on the left, and of the longest bar.
const WIDTH: i32 = 860;
const NAMES: i32 = 120;
const LONGEST: i32 = 560;
/// Pixels from one bar to the next, of a bar, and of a line of letters.
const STEP: i32 = 16;
const BAR: i32 = 12;
const LETTERS: i32 = 15;
/// Pixels around everything.
const MARGIN: i32 = 10;

/// Draws a workload into a file.
pub fn draw(path: &Path, workload: &str, figures: &Figures) -> Result<(), Failure> {
    let engines = figures.engines(workload);
    let bars = |row: &Row| engines.iter().filter(|engine| row.median(engine).is_some()).count();
    // Each row has a title in front of its bars, and room behind them.
    let steps: usize = figures.of(workload).map(|row| bars(row) + 2).sum();
    let height = 2 * MARGIN + STEP * (steps as i32 + 1);
    let root = SVGBackend::new(path, (WIDTH as u32, height as u32)).into_drawing_area();
    root.fill(&WHITE).map_err(told)?;
    let mut top = MARGIN;
    let write = |text: &str, x: i32, y: i32, side: HPos| {
        let style = ("sans-serif", LETTERS).into_font().color(&BLACK);
        let style = style.pos(Pos::new(side, VPos::Center));
        root.draw(&Text::new(text.to_owned(), (x, y + STEP / 2), style)).map_err(told)
    };
    for row in figures.of(workload) {
        let better = if row.unit.is_better_if_more() { "per second" } else { "less is better" };
        write(&format!("{}, {better}", row.measure), MARGIN, top, HPos::Left)?;
        top += STEP;
        let medians = engines.iter().filter_map(|engine| row.median(engine));
        let largest = medians.fold(f64::MIN_POSITIVE, f64::max);
        for (index, engine) in engines.iter().enumerate() {
            let Some(median) = row.median(engine) else { continue };
            let end = NAMES + ((median / largest * f64::from(LONGEST)) as i32).max(1);
            let bar = [(NAMES, top + (STEP - BAR) / 2), (end, top + (STEP + BAR) / 2)];
            root.draw(&Rectangle::new(bar, Palette99::pick(index).filled())).map_err(told)?;
            write(engine, NAMES - 6, top, HPos::Right)?;
            write(&amount(median, row.unit), end + 6, top, HPos::Left)?;
            top += STEP;
        }
        top += STEP;
    }
    root.present().map_err(told)
}

/// What a plot fails with borrows from its file's name.
fn told(error: impl std::fmt::Display) -> Failure {
    error.to_string().into()
}
