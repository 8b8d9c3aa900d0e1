//! Figures beside what is wanted of them.

use std::collections::BTreeSet;

use super::figures::{Figures, Row};
use super::markdown::{amount, columns, line};
use crate::engine;
use crate::targets::{Against, Bound, FULL_CORE, Limit, Ours, TARGETS, Target, Wanted};

/// The targets as a table, a row for each.
pub fn section(figures: &Figures) -> String {
    let mut text = "\n## What is wanted\n\n".to_owned();
    text += &columns(&["", "yieldb", "against", "", "ratio", "wanted", "reached"]);
    TARGETS.iter().for_each(|target| text += &line(judge(target, figures)));
    text
}

/// The cells of a target. What was not measured is empty.
fn judge(target: &Target, figures: &Figures) -> [String; 7] {
    let ours = &target.ours;
    let row = figures.find(ours.workload, ours.measure);
    let value = row.and_then(|row| shown(row, ours.engine)).unwrap_or_default();
    let [against, theirs, ratio, wanted, reached] = match &target.wanted {
        Wanted::Ratio(against, bound) => beside_other(ours, against, bound, figures),
        Wanted::AtMost(limit) => beside_limit(ours, limit, figures),
    };
    [title(ours), value, against, theirs, ratio, wanted, reached]
}

fn title(ours: &Ours) -> String {
    let Ours { workload, measure, engine } = ours;
    match *engine {
        "yieldb" => format!("{workload}: {measure}"),
        way => format!("{workload}: {measure} ({way})"),
    }
}

fn shown(row: &Row, engine: &str) -> Option<String> {
    Some(amount(row.median(engine)?, row.unit))
}

/// What the last column says; `None` is for what was not measured.
fn answer(is_reached: Option<bool>) -> String {
    match is_reached {
        Some(true) => "yes",
        Some(false) => "**no**",
        None => "not measured",
    }
    .to_owned()
}

fn beside_limit(ours: &Ours, limit: &Limit, figures: &Figures) -> [String; 5] {
    let Limit { value, unit, of } = *limit;
    let row = figures.find(ours.workload, ours.measure).filter(|row| row.unit == unit);
    let median = row.and_then(|row| row.median(ours.engine));
    let wanted = format!("at most {}", amount(value, unit));
    let reached = answer(median.map(|median| median <= value));
    [of.to_owned(), String::new(), String::new(), wanted, reached]
}

fn beside_other(ours: &Ours, against: &Against, bound: &Bound, figures: &Figures) -> [String; 5] {
    let row = figures.find(ours.workload, ours.measure);
    let other = row.and_then(|row| Other::find(row, against, figures));
    let ratio = row
        .zip(other.as_ref())
        .and_then(|(row, other)| row.ratio(ours.engine, other.row, other.engine));
    let (wanted, reached) = match *bound {
        Bound::AtLeast(least) => {
            (format!("at least {least:.2}"), answer(ratio.map(|ratio| ratio >= least)))
        }
        Bound::AtLeastOrFull(least, busy) => {
            let busy = figures.find(ours.workload, busy).and_then(|row| row.median(ours.engine));
            let reached = match (ratio, busy) {
                (Some(ratio), Some(busy)) if ratio < least && busy >= FULL_CORE => {
                    format!("yes: {busy:.2} of a core")
                }
                _ => answer(ratio.map(|ratio| ratio >= least)),
            };
            (format!("at least {least:.2}, or {FULL_CORE:.2} of a core"), reached)
        }
        Bound::Reported => {
            ("reported".to_owned(), ratio.map_or_else(|| answer(None), |_| String::new()))
        }
    };
    let (who, theirs) = match &other {
        Some(other) => (other.name(), shown(other.row, other.engine).unwrap_or_default()),
        None => (nobody(ours, against), String::new()),
    };
    let ratio = ratio.map_or_else(String::new, |ratio| format!("{ratio:.2}"));
    [who, theirs, ratio, wanted, reached]
}

/// What a figure is beside.
struct Other<'f> {
    row: &'f Row,
    engine: &'f str,
    /// Of how many engines it is the best one, if more than one could be.
    of: Option<usize>,
}

impl<'f> Other<'f> {
    /// The best one that there is for a row of yieldb's.
    fn find(ours: &'f Row, against: &Against, figures: &'f Figures) -> Option<Other<'f>> {
        let is_wanted = |name: &str| match against.engines {
            Some(engines) => engines.contains(&name),
            None => engine::is_peer(name),
        };
        let others = against.measures.iter();
        let others = others.filter_map(|measure| figures.find(&ours.workload, measure));
        let mut rows: Vec<&Row> = others.filter(|other| other.unit == ours.unit).collect();
        if against.measures.is_empty() {
            rows.push(ours);
        }
        let engines = rows.iter().flat_map(|row| row.engines()).filter(|name| is_wanted(name));
        let count = engines.collect::<BTreeSet<&str>>().len();
        let of = against.engines.is_none_or(|engines| engines.len() > 1).then_some(count);
        let best_of = |row: &'f Row| {
            let engine = row.best(is_wanted)?;
            Some((row, engine, row.goodness(engine)?))
        };
        let bests = rows.into_iter().filter_map(best_of);
        let best = bests.max_by(|(.., one), (.., other)| one.total_cmp(other));
        best.map(|(row, engine, _)| Other { row, engine, of })
    }

    fn name(&self) -> String {
        let among = self.of.map_or_else(String::new, |count| format!(", the best of {count}"));
        format!("{}{among}: {}", self.engine, self.row.measure)
    }
}

/// What a figure is to be beside, where nobody was measured.
fn nobody(ours: &Ours, against: &Against) -> String {
    let measures = match against.measures {
        [] => ours.measure.to_owned(),
        measures => measures.join(" or "),
    };
    match against.engines {
        Some(engines) => format!("{}: {measures}", engines.join(" or ")),
        None => format!("the best peer: {measures}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::DEVICE;
    use crate::measure::Unit;
    use crate::record::Line;

    const OURS: Ours = Ours { workload: "w", measure: "get", engine: "yieldb" };
    const PEERS: Against = Against { engines: None, measures: &[] };

    /// A figure of each round, from the first on.
    fn lines(engine: &str, measure: &str, unit: Unit, values: &[f64]) -> Vec<Line> {
        let line =
            |(round, value): (u64, &f64)| Line::made_up("w", engine, round, measure, *value, unit);
        (1..).zip(values).map(line).collect()
    }

    fn rates(all: &[(&str, &str, &[f64])]) -> Figures {
        let lines = all
            .iter()
            .flat_map(|(engine, measure, values)| lines(engine, measure, Unit::PerSecond, values));
        Figures::new(&lines.collect::<Vec<Line>>())
    }

    /// The columns "against", "ratio" and "reached".
    fn judged(wanted: Wanted, figures: &Figures) -> [String; 3] {
        let [_, _, against, _, ratio, _, reached] = judge(&Target { ours: OURS, wanted }, figures);
        [against, ratio, reached]
    }

    fn at_least(least: f64, against: Against, figures: &Figures) -> [String; 3] {
        judged(Wanted::Ratio(against, Bound::AtLeast(least)), figures)
    }

    #[test]
    fn the_best_peer_is_neither_the_device_nor_yieldb() {
        let figures = rates(&[
            ("yieldb", "get", &[30.0, 20.0, 30.0]),
            ("yieldb-step", "get", &[90.0; 3]),
            (DEVICE, "get", &[90.0; 3]),
            ("redb", "get", &[5.0; 3]),
            ("lmdb", "get", &[10.0; 3]),
        ]);
        assert_eq!(at_least(3.0, PEERS, &figures), ["lmdb, the best of 2: get", "3.00", "yes"]);
        assert_eq!(at_least(3.1, PEERS, &figures)[1..], ["3.00", "**no**"]);
        let device = Against { engines: Some(&[DEVICE]), measures: &[] };
        assert_eq!(at_least(0.5, device, &figures), ["device: get", "0.33", "**no**"]);
        let some = Against { engines: Some(&["redb", "sqlite"]), measures: &[] };
        assert_eq!(at_least(2.0, some, &figures), ["redb, the best of 1: get", "6.00", "yes"]);
    }

    #[test]
    fn peers_are_taken_where_they_are_best() {
        let figures = rates(&[
            ("yieldb", "get", &[60.0, 60.0]),
            ("redb", "threads: 1", &[20.0, 20.0]),
            ("redb", "threads: 8", &[10.0, 10.0]),
            ("lmdb", "threads: 8", &[12.0, 12.0]),
            ("yieldb", "threads: 8", &[50.0, 50.0]),
            ("lmdb", "get", &[99.0, 99.0]),
        ]);
        let peers = Against { engines: None, measures: &["threads: 1", "threads: 8"] };
        assert_eq!(
            at_least(5.0, peers, &figures),
            ["redb, the best of 2: threads: 1", "3.00", "**no**"]
        );
        let lmdb = Against { engines: Some(&["lmdb"]), measures: &["threads: 8"] };
        assert_eq!(at_least(5.0, lmdb, &figures), ["lmdb: threads: 8", "5.00", "yes"]);
        let itself = Against { engines: Some(&["yieldb"]), measures: &["threads: 8"] };
        assert_eq!(at_least(1.0, itself, &figures), ["yieldb: threads: 8", "1.20", "yes"]);
    }

    #[test]
    fn where_less_is_better_so_is_the_least() {
        let all = [("yieldb", 4.0), ("redb", 8.0), ("lmdb", 12.0)];
        let all = all
            .iter()
            .flat_map(|(engine, value)| lines(engine, "get", Unit::Microseconds, &[*value]));
        let figures = Figures::new(&all.collect::<Vec<Line>>());
        assert_eq!(at_least(2.0, PEERS, &figures), ["redb, the best of 2: get", "2.00", "yes"]);
    }

    #[test]
    fn different_things_are_not_compared() {
        let mut all = lines("yieldb", "get", Unit::PerSecond, &[4.0]);
        all.extend(lines(DEVICE, "bytes", Unit::BytesPerSecond, &[4.0]));
        let device = Against { engines: Some(&[DEVICE]), measures: &["bytes"] };
        let told = at_least(1.0, device, &Figures::new(&all));
        assert_eq!(told, ["device: bytes", "", "not measured"]);
    }

    #[test]
    fn a_full_core_is_enough() {
        let device = Against { engines: Some(&[DEVICE]), measures: &[] };
        let wanted = Wanted::Ratio(device, Bound::AtLeastOrFull(0.7, "core"));
        let told = |ours, core: &[f64]| {
            let mut all = lines("yieldb", "get", Unit::PerSecond, &[ours]);
            all.extend(lines("yieldb", "core", Unit::Times, core));
            all.extend(lines(DEVICE, "get", Unit::PerSecond, &[10.0]));
            judged(wanted, &Figures::new(&all))[2].clone()
        };
        assert_eq!(told(7.0, &[0.5]), "yes");
        assert_eq!(told(6.0, &[0.97]), "yes: 0.97 of a core");
        assert_eq!(told(6.0, &[0.94]), "**no**");
        assert_eq!(told(6.0, &[]), "**no**");
    }

    #[test]
    fn a_limit_is_one() {
        let limit = |value, unit| Wanted::AtMost(Limit { value, unit, of: "live data" });
        let figures = Figures::new(&lines("yieldb", "get", Unit::Times, &[2.1, 9.0, 1.0]));
        assert_eq!(judged(limit(2.1, Unit::Times), &figures), ["live data", "", "yes"]);
        assert_eq!(judged(limit(2.0, Unit::Times), &figures)[2], "**no**");
        assert_eq!(judged(limit(2.1, Unit::Bytes), &figures)[2], "not measured");
    }

    #[test]
    fn what_is_reported_has_no_answer() {
        let wanted = Wanted::Ratio(PEERS, Bound::Reported);
        let figures = rates(&[("yieldb", "get", &[1.0]), ("redb", "get", &[4.0])]);
        assert_eq!(judged(wanted, &figures), ["redb, the best of 1: get", "0.25", ""]);
        let figures = rates(&[("yieldb", "get", &[1.0])]);
        assert_eq!(judged(wanted, &figures), ["the best peer: get", "", "not measured"]);
    }

    #[test]
    fn every_target_is_told_without_figures() {
        let text = section(&Figures::new(&[]));
        assert_eq!(text.matches("not measured").count(), TARGETS.len());
    }
}
