//! The Pareto set of throughput: points between which only a preference decides.

/// The indices, in order, of the points (in total, per user) that no other point beats: no other is
/// at least as good in both and better in one. Points with a figure that is not finite are left out.
pub fn pareto(points: &[(f64, f64)]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..points.len())
        .filter(|index| points[*index].0.is_finite() && points[*index].1.is_finite())
        .collect();
    // From the most in total down; of equal ones the best per user first.
    order.sort_by(|a, b| {
        let (a, b) = (points[*a], points[*b]);
        b.0.total_cmp(&a.0).then(b.1.total_cmp(&a.1))
    });
    let mut kept: Vec<usize> = Vec::new();
    for index in order {
        let (total, per_user) = points[index];
        // The last kept has at least as much in total and the most per user so far.
        let is_kept = kept.last().is_none_or(|last| {
            let (best_total, best) = points[*last];
            per_user > best || (per_user >= best && total >= best_total)
        });
        if is_kept {
            kept.push(index);
        }
    }
    kept.sort_unstable();
    kept
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn brute_force(points: &[(f64, f64)]) -> Vec<usize> {
        let beats =
            |a: (f64, f64), b: (f64, f64)| a.0 >= b.0 && a.1 >= b.1 && (a.0 > b.0 || a.1 > b.1);
        (0..points.len())
            .filter(|at| !points.iter().any(|other| beats(*other, points[*at])))
            .collect()
    }

    #[test]
    fn a_trade_off_keeps_every_point() {
        assert_eq!(pareto(&[(2.3, 2.3), (8.1, 2.0), (18.4, 1.1), (29.2, 0.5)]), [0, 1, 2, 3]);
        assert_eq!(pareto(&[(2.0, 2.0), (1.0, 1.0), (3.0, 1.5)]), [0, 2]);
        assert_eq!(pareto(&[]), Vec::<usize>::new());
    }

    #[test]
    fn a_point_without_figures_is_left_out() {
        assert_eq!(pareto(&[(f64::NAN, 1.0), (1.0, 1.0), (f64::INFINITY, 0.0)]), [1]);
    }

    proptest! {
        // Few different values, so that there are ties.
        #[test]
        fn it_is_what_comparing_each_with_each_gives(
            points in prop::collection::vec((0_u8..6, 0_u8..6), 0..30),
        ) {
            let points: Vec<(f64, f64)> =
                points.into_iter().map(|(a, b)| (f64::from(a), f64::from(b))).collect();
            prop_assert_eq!(pareto(&points), brute_force(&points));
        }
    }
}
