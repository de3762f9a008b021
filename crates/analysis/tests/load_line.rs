//! The search against servers whose load line is known: it ends within its budget, stays within
//! what it may try, and finds the line.

use loadline_analysis::{Ended, Look, Search, SearchOver, SearchSettings, SlaLook, Step};
use loadline_schema::verdict::Verdict::{self, Met, Missed, Open};
use proptest::prelude::*;

/// A look for one SLA.
fn look(verdict: Verdict, likely: bool) -> Look {
    Look { slas: vec![SlaLook { verdict, likely }], saturated: false, too_short: false }
}

fn certain(inside: bool) -> Look {
    look(if inside { Met } else { Missed }, inside)
}

/// Carries out a search; gives the loads in the order of the looks.
fn run(search: &mut Search, capacity: f64, mut server: impl FnMut(f64) -> Look) -> Vec<f64> {
    let mut looks = Vec::new();
    loop {
        match search.next() {
            Step::Probe => search.probed(capacity),
            Step::Look(load) => {
                looks.push(load);
                search.add(load, server(load));
            }
            Step::Done => return looks,
        }
        assert!(looks.len() <= 1_000, "no end");
    }
}

fn settings(over: SearchOver) -> SearchSettings {
    SearchSettings::new(over, 1)
}

#[test]
fn slots_are_doubled_then_bisected_to_neighbours() {
    let mut search = Search::new(settings(SearchOver::Concurrency));
    let looks = run(&mut search, 0.0, |load| certain(load <= 11.0));
    assert_eq!(looks, [1.0, 2.0, 4.0, 8.0, 16.0, 11.0, 13.0, 12.0]);
    let line = search.line(0);
    assert_eq!((line.low, line.high, line.ended), (Some(11.0), Some(12.0), Ended::Narrow));
}

#[test]
fn rates_begin_at_a_quarter_of_what_the_probe_carried() {
    let mut search = Search::new(settings(SearchOver::Rate));
    assert_eq!(search.next(), Step::Probe);
    let looks = run(&mut search, 10.0, |load| certain(load <= 7.0));
    assert_eq!(looks[..4], [2.5, 5.0, 10.0, 7.07]);
    let line = search.line(0);
    let (low, high) = (line.low.expect("low"), line.high.expect("high"));
    assert!(low <= 7.0 && 7.0 < high && high / low <= 1.05, "{low} {high}");
}

#[test]
fn without_any_capacity_there_is_nothing_to_search() {
    for nothing in [0.0, f64::NAN, f64::INFINITY, -1.0] {
        let mut search = Search::new(settings(SearchOver::Rate));
        assert!(run(&mut search, nothing, |_| certain(true)).is_empty());
        let line = search.line(0);
        assert_eq!((line.low, line.high, line.ended), (None, None, Ended::NoCapacity));
    }
}

#[test]
fn nothing_inside_leaves_low_absent() {
    let mut search = Search::new(settings(SearchOver::Concurrency));
    assert_eq!(run(&mut search, 0.0, |_| certain(false)), [1.0]);
    let line = search.line(0);
    assert_eq!((line.low, line.high, line.ended), (None, Some(1.0), Ended::NothingInside));

    let mut search = Search::new(settings(SearchOver::Rate));
    let looks = run(&mut search, 16.0, |_| certain(false));
    assert_eq!(looks, [4.0, 2.0, 1.0, 0.5, 0.25]);
    let line = search.line(0);
    assert_eq!((line.low, line.high, line.ended), (None, Some(0.25), Ended::NothingInside));
}

#[test]
fn all_inside_leaves_high_absent() {
    let max = Some(50.0);
    let mut search = Search::new(SearchSettings { max, ..settings(SearchOver::Concurrency) });
    let looks = run(&mut search, 0.0, |_| certain(true));
    assert_eq!(looks, [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 50.0]);
    let line = search.line(0);
    assert_eq!((line.low, line.high, line.ended), (Some(50.0), None, Ended::AllInside));
}

#[test]
fn nothing_is_certain_where_no_look_is() {
    let mut search = Search::new(settings(SearchOver::Concurrency));
    let looks = run(&mut search, 0.0, |load| look(Open, load <= 8.0));
    assert_eq!(looks[..5], [1.0; 5]);
    let line = search.line(0);
    assert_eq!((line.low, line.high, line.likely), (None, None, Some(8.0)));
    assert_eq!(line.ended, Ended::Spent);
}

#[test]
fn trials_that_are_too_short_are_said_to_be() {
    let mut search = Search::new(settings(SearchOver::Rate));
    let looks = run(&mut search, 8.0, |load| Look { too_short: true, ..certain(load <= 4.0) });
    // Two looks at each point, since one could be chance; and no hunt above what looks hopeless.
    assert!(looks.len() <= 24 && looks.iter().all(|load| *load <= 16.0), "{looks:?}");
    let line = search.line(0);
    assert_eq!((line.low, line.high, line.ended), (None, None, Ended::TooShort));
}

#[test]
fn nothing_is_tried_above_a_saturated_load() {
    let mut search = Search::new(settings(SearchOver::Rate));
    let looks = run(&mut search, 8.0, |load| Look { saturated: load > 6.0, ..look(Open, true) });
    let first = looks.iter().position(|load| *load > 6.0).expect("saturated once");
    assert!(looks[first + 1..].iter().all(|load| *load < looks[first]), "{looks:?}");
    let line = search.line(0);
    assert_eq!(line.low, None);
    assert!(line.high.is_some_and(|high| high > 6.0) && line.high == line.saturated_at);
}

#[test]
fn a_point_that_stays_open_leaves_the_gaps_beside_it_to_be_narrowed() {
    let mut search = Search::new(settings(SearchOver::Rate));
    // Certain 10 % away from the line at 5 only.
    let looks = run(&mut search, 8.0, |load| {
        let verdict = if load < 4.5 {
            Met
        } else if load > 5.5 {
            Missed
        } else {
            Open
        };
        look(verdict, load <= 5.0)
    });
    let line = search.line(0);
    let (low, high) = (line.low.expect("low"), line.high.expect("high"));
    assert!((4.2..4.5).contains(&low) && (5.5..5.9).contains(&high), "{low} {high} {looks:?}");
}

#[test]
fn a_second_sla_reuses_the_points_of_the_first() {
    let both = |load: f64| {
        let sla = |limit: f64| {
            let inside = load <= limit;
            SlaLook { verdict: if inside { Met } else { Missed }, likely: inside }
        };
        Look { slas: vec![sla(5.0), sla(20.0)], saturated: false, too_short: false }
    };
    let mut search = Search::new(SearchSettings::new(SearchOver::Concurrency, 2));
    let looks = run(&mut search, 0.0, both);
    assert_eq!(looks, [1.0, 2.0, 4.0, 8.0, 6.0, 5.0, 16.0, 32.0, 23.0, 19.0, 21.0, 20.0]);
    assert_eq!((search.line(0).low, search.line(0).high), (Some(5.0), Some(6.0)));
    assert_eq!((search.line(1).low, search.line(1).high), (Some(20.0), Some(21.0)));
}

#[test]
fn the_level_is_shared_by_all_looks_that_could_be_taken() {
    let one = Search::new(settings(SearchOver::Rate));
    assert!((one.alpha() - 0.05 / 60.0).abs() < 1e-15);
    let two = Search::new(SearchSettings::new(SearchOver::Rate, 2));
    assert!((two.alpha() - 0.05 / 120.0).abs() < 1e-15);
}

#[test]
fn a_load_inside_above_a_miss_is_flagged() {
    // The second SLA leads the search above the first one's line, where the first one is kept again.
    let server = |load: f64| {
        let sla =
            |inside: bool| SlaLook { verdict: if inside { Met } else { Missed }, likely: inside };
        let dip = !(3.0..6.0).contains(&load);
        Look { slas: vec![sla(dip), sla(load <= 30.0)], saturated: false, too_short: false }
    };
    let mut search = Search::new(SearchSettings::new(SearchOver::Concurrency, 2));
    run(&mut search, 0.0, server);
    let line = search.line(0);
    assert_eq!((line.low, line.high, line.non_monotone), (Some(2.0), Some(3.0), true));
    assert!(!search.line(1).non_monotone);
}

/// Looks drawn from a script, for the properties that must hold whatever comes.
fn any_look() -> impl Strategy<Value = Look> {
    let verdict = prop_oneof![Just(Met), Just(Missed), Just(Open)];
    (verdict, any::<bool>(), prop::bool::weighted(0.1), prop::bool::weighted(0.2)).prop_map(
        |(verdict, likely, saturated, too_short)| Look {
            slas: vec![SlaLook { verdict, likely }],
            saturated,
            too_short,
        },
    )
}

fn any_over() -> impl Strategy<Value = SearchOver> {
    prop_oneof![Just(SearchOver::Concurrency), Just(SearchOver::Rate)]
}

proptest! {
    #[test]
    fn whatever_is_seen_the_search_keeps_its_budget_and_its_limits(
        over in any_over(), max in 1.0..300.0f64, capacity in 0.1..500.0f64,
        script in prop::collection::vec(any_look(), 60..61),
    ) {
        let max = if over == SearchOver::Concurrency { max.floor() } else { max };
        let settings = SearchSettings { max: Some(max), ..settings(over) };
        let mut search = Search::new(settings.clone());
        let mut script = script.into_iter();
        let looks = run(&mut search, capacity, |_| script.next().expect("60 looks at most"));
        prop_assert!(search.points() <= 12);
        prop_assert!(looks.iter().all(|load| *load <= max && *load > 0.0));
        for load in &looks {
            let times = looks.iter().filter(|other| other.total_cmp(load).is_eq()).count();
            prop_assert!(times <= 5);
        }
        let line = search.line(0);
        prop_assert!(line.low.zip(line.high).is_none_or(|(low, high)| low < high));
        prop_assert!(line.ended != Ended::Searching);
    }

    #[test]
    fn the_same_looks_ask_for_the_same_steps(
        over in any_over(), script in prop::collection::vec(any_look(), 60..61),
    ) {
        let again = |told: usize| {
            let mut search = Search::new(settings(over));
            let mut steps = Vec::new();
            for look in script.iter().take(told) {
                if search.next() == Step::Probe {
                    search.probed(40.0);
                }
                let Step::Look(load) = search.next() else { break };
                steps.push(load);
                search.add(load, look.clone());
            }
            (steps, search.next())
        };
        let (all, _) = again(60);
        for told in [1, 2, 5, 20] {
            let (steps, next) = again(told);
            prop_assert_eq!(&steps[..], &all[..steps.len()]);
            if let (Step::Look(load), Some(later)) = (next, all.get(steps.len())) {
                prop_assert_eq!(load.to_bits(), later.to_bits());
            }
        }
    }

    #[test]
    fn every_line_over_slots_is_found(line in 1u32..64) {
        let line = f64::from(line);
        let mut search = Search::new(settings(SearchOver::Concurrency));
        run(&mut search, 0.0, |load| certain(load <= line));
        let found = search.line(0);
        let (low, high) = (found.low.expect("low"), found.high.expect("high"));
        prop_assert!(low <= line && line < high, "{} {}", low, high);
        prop_assert!(high - low <= 1.0 || high / low <= 1.05, "{} {}", low, high);
        prop_assert_eq!(found.ended, Ended::Narrow);
    }

    #[test]
    fn every_rate_down_to_a_sixtieth_of_the_capacity_is_found(
        share in 0.017..1.0f64, capacity in 0.01..10_000.0f64,
    ) {
        let line = share * capacity;
        let mut search = Search::new(settings(SearchOver::Rate));
        run(&mut search, capacity, |load| certain(load <= line));
        let found = search.line(0);
        let (low, high) = (found.low.expect("low"), found.high.expect("high"));
        prop_assert!(low <= line && line < high && high / low <= 1.05, "{} {}", low, high);
    }

    #[test]
    fn a_line_beyond_the_budget_is_bracketed_all_the_same(line in 64u32..2_000) {
        let line = f64::from(line);
        let mut search = Search::new(settings(SearchOver::Concurrency));
        run(&mut search, 0.0, |load| certain(load <= line));
        let found = search.line(0);
        prop_assert!(found.low.is_some_and(|low| low <= line));
        prop_assert!(found.high.is_none_or(|high| high > line));
    }
}

#[test]
fn a_load_too_near_to_saturation_to_be_certain_does_not_hide_what_lies_below() {
    let mut search = Search::new(settings(SearchOver::Rate));
    // The line is at 5; from 7 on the trials are too short, and at 16 the target saturates.
    let looks = run(&mut search, 8.0, |load| Look {
        too_short: load > 7.0,
        saturated: load >= 16.0,
        ..certain(load <= 5.0)
    });
    let line = search.line(0);
    let (low, high) = (line.low.expect("low"), line.high.expect("high"));
    assert!(low <= 5.0 && high > 5.0 && high / low <= 1.05, "{low} {high} {looks:?}");
}
