//! The Universal Scalability Law fitted to requests/s over concurrency (N. J. Gunther, *Guerrilla
//! Capacity Planning*, 2007): X(N) = λN / (1 + σ(N − 1) + κN(N − 1)) with λ > 0 and σ, κ ≥ 0, by
//! least squares of the relative residuals X(N)/X − 1.
//!
//! The fit is tried with both coefficients, with either alone and with neither, and the one with the
//! least squares is taken. Each descends within the bounds from the solution of the law's linear
//! form N/X = 1/λ + (σ/λ)(N − 1) + (κ/λ)N(N − 1), weighted so that its residuals are relative, too,
//! and from the low places of a coarse grid, since points that do not follow the law may have
//! several minima.

use loadline_schema::verdict::Scalability;

/// Concurrencies that a fit needs: the law has three parameters.
pub(crate) const CONCURRENCIES_NEEDED: usize = 3;
/// Largest relative residual of points that follow the law.
pub(crate) const RESIDUAL_ALLOWED: f64 = 0.10;

const STEPS: usize = 200;
/// Fourth root of ten.
const QUARTER_DECADE: f64 = 1.778_279_410_038_922_8;
/// Squares that a further coefficient must save, as a share, to be taken: less is rounding.
const GAIN_NEEDED: f64 = 1e-9;
/// Sum of squares of relative residuals that is 0 but for rounding, per point.
const SQUARES_OF_ROUNDING: f64 = 1e-24;

/// 1/λ is at least this share of the smallest N/X: less is an endless λ.
const LEAST_INVERSE: f64 = 1e-6;

/// One over λ, σ over λ, κ over λ, each times the largest value of its term: all of a size.
type Coefficients = [f64; 3];

/// A point in the law's linear form: N/X and the three terms, scaled.
struct Term {
    /// N/X.
    inverse: f64,
    /// 1, (N − 1) and N(N − 1), each ÷ its largest value.
    of: [f64; 3],
}

/// The fit to points (concurrency, requests/s), in any order. `None` with fewer than
/// [`CONCURRENCIES_NEEDED`] different concurrencies, and where a concurrency is under 1 or a rate is
/// not above 0 (such points have no relative residual), or where no finite λ fits.
pub fn scalability(points: &[(f64, f64)]) -> Option<Scalability> {
    let is_usable = |(n, x): &(f64, f64)| n.is_finite() && x.is_finite() && *n >= 1.0 && *x > 0.0;
    if !points.iter().all(is_usable) {
        return None;
    }
    // In order of size, so that the order of rows does not matter to the last bit.
    let mut points = points.to_vec();
    points.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
    let repeats = points.windows(2).filter(|pair| pair[0].0 >= pair[1].0).count();
    if points.len() - repeats < CONCURRENCIES_NEEDED {
        return None;
    }
    let most = points.last()?.0;
    let sizes = [1.0, most - 1.0, most * (most - 1.0)];
    let terms: Vec<Term> = points
        .iter()
        .map(|&(n, x)| Term {
            inverse: n / x,
            of: [1.0, (n - 1.0) / sizes[1], n * (n - 1.0) / sizes[2]],
        })
        .collect();
    let found = best(&terms, &sizes)?;
    let lambda = 1.0 / found[0];
    let (sigma, kappa) = (found[1] / sizes[1] * lambda, found[2] / sizes[2] * lambda);
    Some(described(&points, lambda, sigma, kappa))
}

/// Requests/s by the law.
pub fn fitted_per_s(fit: &Scalability, concurrency: f64) -> f64 {
    law(fit.lambda, fit.sigma, fit.kappa, concurrency)
}

fn law(lambda: f64, sigma: f64, kappa: f64, n: f64) -> f64 {
    lambda * n / (1.0 + sigma * (n - 1.0) + kappa * n * (n - 1.0))
}

fn described(points: &[(f64, f64)], lambda: f64, sigma: f64, kappa: f64) -> Scalability {
    let residual = |&(n, x): &(f64, f64)| (law(lambda, sigma, kappa, n) / x - 1.0).abs();
    let residual_max = points.iter().map(residual).fold(0.0, f64::max);
    // Above contention 1 more slots yield less from the first one on.
    let falls = sigma > 1.0 || (sigma >= 1.0 && kappa > 0.0);
    let peak = match (falls, kappa > 0.0) {
        (true, _) => Some(1.0),
        (false, true) => Some(((1.0 - sigma) / kappa).sqrt().max(1.0)),
        (false, false) => None,
    };
    let asymptote = (peak.is_none() && sigma > 0.0).then_some(lambda / sigma);
    let most_per_s = peak.map(|n| law(lambda, sigma, kappa, n)).or(asymptote);
    Scalability {
        lambda,
        sigma,
        kappa,
        peak_concurrency: peak,
        asymptote_per_s: asymptote,
        residual_max,
        follows: residual_max <= RESIDUAL_ALLOWED,
        knee_concurrency: most_per_s.map(|per_s| per_s / lambda),
        n: points.len(),
    }
}

/// The coefficients with the least squares within the bounds. Of sets that are equal but for
/// rounding the one with fewer coefficients, contention before coherency. `None` where the points
/// want an endless λ: requests/s that fall from the first concurrency on, which is not 1.
fn best(terms: &[Term], sizes: &[f64; 3]) -> Option<Coefficients> {
    let sets: [&[usize]; 4] = [&[0], &[0, 1], &[0, 2], &[0, 1, 2]];
    let lowest = LEAST_INVERSE * terms.iter().map(|t| t.inverse).fold(f64::INFINITY, f64::min);
    let mut best: Option<(f64, Coefficients)> = None;
    for set in sets {
        // Where a coefficient that was held at its bound is let go, the descent may go on.
        let so_far = best.map(|(_, found)| found);
        let starts = linear(terms, set).into_iter().chain(coarse(terms, set, sizes)).chain(so_far);
        for (squares, found) in starts.filter_map(|start| descend(terms, set, start, lowest)) {
            let floor = SQUARES_OF_ROUNDING * terms.len() as f64;
            let wanted = |least: f64| squares < least * (1.0 - GAIN_NEEDED) - floor;
            if best.is_none_or(|(least, _)| wanted(least)) {
                best = Some((squares, found));
            }
        }
    }
    best.map(|(_, found)| found).filter(|found| found[0] > lowest)
}

/// Squares and coefficients at the end of a descent within the bounds with the coefficients of `set`
/// alone: Levenberg–Marquardt steps over those that are not held at their bound, cut at the bounds.
fn descend(
    terms: &[Term],
    set: &[usize],
    start: Coefficients,
    lowest: f64,
) -> Option<(f64, Coefficients)> {
    let bounded = |at: Coefficients| [at[0].max(lowest), at[1].max(0.0), at[2].max(0.0)];
    let mut found = bounded(start);
    let mut squares = sum_of_squares(terms, &found)?;
    // Short steps at first: a long one may leave the basin of a start for a shallower one.
    let mut damping = 1.0;
    for _ in 0..STEPS {
        let Some(step) = step(terms, set, &found, lowest, damping) else { break };
        let next = bounded([found[0] + step[0], found[1] + step[1], found[2] + step[2]]);
        match sum_of_squares(terms, &next).filter(|new| *new < squares) {
            Some(new) => {
                let gain = squares - new;
                (found, squares) = (next, new);
                damping = (damping / 3.0).max(1e-12);
                if gain <= squares * 1e-15 {
                    break;
                }
            }
            None if damping > 1e12 => break,
            None => damping *= 10.0,
        }
    }
    Some((squares, found))
}

/// The lowest places of a coarse grid of shapes, each with its own best λ: points that do not follow
/// the law may have several minima.
fn coarse(terms: &[Term], set: &[usize], sizes: &[f64; 3]) -> Vec<Coefficients> {
    // Four for each factor of ten, from shares in 1 + σ(N − 1) + κN(N − 1) at the largest concurrency
    // that hardly show up to σ and κ of 10, where nothing but the first slot counts. By products
    // alone, which are the same on every machine.
    let of = |index: usize| -> Vec<f64> {
        let most = if set.contains(&index) { 10.0 * sizes[index] } else { 0.0 };
        let shares = std::iter::successors(Some(0.01), |share| Some(share * QUARTER_DECADE));
        std::iter::once(0.0).chain(shares.take_while(|share| *share <= most)).collect()
    };
    let (sigmas, kappas) = (of(1), of(2));
    let at = |sigma: f64, kappa: f64| best_lambda(terms, [1.0, sigma, kappa]);
    let grid: Vec<Vec<Option<(f64, Coefficients)>>> = sigmas
        .iter()
        .map(|sigma| kappas.iter().map(|kappa| at(*sigma, *kappa)).collect())
        .collect();
    let squares = |i: usize, j: usize| grid.get(i)?.get(j)?.map(|(squares, _)| squares);
    let mut lowest = Vec::new();
    for (i, row) in grid.iter().enumerate() {
        for (j, cell) in row.iter().enumerate() {
            let Some((here, found)) = *cell else { continue };
            let around = [
                squares(i + 1, j),
                squares(i, j + 1),
                i.checked_sub(1).and_then(|i| squares(i, j)),
                j.checked_sub(1).and_then(|j| squares(i, j)),
            ];
            if around.iter().flatten().all(|other| *other >= here) {
                lowest.push(found);
            }
        }
    }
    lowest
}

/// Squares and coefficients of a shape with the λ that makes Σ (λ · ratio − 1)² least.
fn best_lambda(terms: &[Term], shape: [f64; 3]) -> Option<(f64, Coefficients)> {
    let ratios = terms.iter().map(|term| ratio(term, &shape)).collect::<Option<Vec<f64>>>()?;
    let lambda = ratios.iter().sum::<f64>() / ratios.iter().map(|r| r * r).sum::<f64>();
    let found = shape.map(|value| value / lambda);
    Some((sum_of_squares(terms, &found)?, found))
}

/// X(N)/X of a point; `None` where the law has no value.
fn ratio(term: &Term, at: &Coefficients) -> Option<f64> {
    let below: f64 = term.of.iter().zip(at).map(|(term, value)| term * value).sum();
    (below > 0.0).then(|| term.inverse / below)
}

fn sum_of_squares(terms: &[Term], at: &Coefficients) -> Option<f64> {
    terms.iter().map(|term| Some((ratio(term, at)? - 1.0).powi(2))).sum()
}

/// The least squares of the linear form, relative: minimises Σ (below ÷ (N/X) − 1)².
fn linear(terms: &[Term], set: &[usize]) -> Option<Coefficients> {
    let mut normal = Normal::default();
    for term in terms {
        let row: Vec<f64> = set.iter().map(|index| term.of[*index] / term.inverse).collect();
        normal.add(&row, 1.0);
    }
    let solved = normal.solve(set.len(), 0.0)?;
    let mut found = [0.0; 3];
    for (index, value) in set.iter().zip(solved) {
        found[*index] = value;
    }
    Some(found)
}

/// One damped Gauss–Newton step of the relative residuals. A coefficient at its bound that the
/// squares push further out is held there.
fn step(
    terms: &[Term],
    set: &[usize],
    at: &Coefficients,
    lowest: f64,
    damping: f64,
) -> Option<Coefficients> {
    let slopes: Vec<([f64; 3], f64)> = terms
        .iter()
        .map(|term| {
            let ratio = ratio(term, at)?;
            // d(ratio)/d(coefficient) = −ratio · term ÷ below, with below = (N/X) ÷ ratio.
            let slope = -ratio * ratio / term.inverse;
            Some((term.of.map(|of| slope * of), 1.0 - ratio))
        })
        .collect::<Option<_>>()?;
    let downhill =
        |index: usize| slopes.iter().map(|(row, wanted)| row[index] * wanted).sum::<f64>();
    let bounds = [lowest, 0.0, 0.0];
    let is_free = |index: &usize| at[*index] > bounds[*index] || downhill(*index) > 0.0;
    let free: Vec<usize> = set.iter().copied().filter(is_free).collect();
    let mut normal = Normal::default();
    for (row, wanted) in &slopes {
        let row: Vec<f64> = free.iter().map(|index| row[*index]).collect();
        normal.add(&row, *wanted);
    }
    let solved = normal.solve(free.len(), damping)?;
    let mut step = [0.0; 3];
    for (index, change) in free.iter().zip(solved) {
        step[*index] = change;
    }
    Some(step)
}

/// Normal equations of at most three unknowns.
#[derive(Default)]
struct Normal {
    matrix: [[f64; 3]; 3],
    right: [f64; 3],
}

impl Normal {
    fn add(&mut self, row: &[f64], wanted: f64) {
        for (i, a) in row.iter().enumerate() {
            for (j, b) in row.iter().enumerate() {
                self.matrix[i][j] += a * b;
            }
            self.right[i] += a * wanted;
        }
    }

    /// Gauss elimination with pivots; the diagonal grows by the share `damping` (Marquardt). `None`
    /// where the unknowns cannot be told apart.
    fn solve(mut self, n: usize, damping: f64) -> Option<[f64; 3]> {
        for i in 0..n {
            self.matrix[i][i] *= 1.0 + damping;
        }
        for column in 0..n {
            let size = |row: &usize| self.matrix[*row][column].abs();
            let pivot = (column..n).max_by(|a, b| size(a).total_cmp(&size(b)))?;
            self.matrix.swap(column, pivot);
            self.right.swap(column, pivot);
            let head = self.matrix[column][column];
            if head.abs() < 1e-280 || !head.is_finite() {
                return None;
            }
            for row in column + 1..n {
                let factor = self.matrix[row][column] / head;
                for k in column..n {
                    self.matrix[row][k] -= factor * self.matrix[column][k];
                }
                self.right[row] -= factor * self.right[column];
            }
        }
        let mut solved = [0.0; 3];
        for row in (0..n).rev() {
            let known: f64 = (row + 1..n).map(|k| self.matrix[row][k] * solved[k]).sum();
            solved[row] = (self.right[row] - known) / self.matrix[row][row];
        }
        solved.iter().all(|value| value.is_finite()).then_some(solved)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The published table of batch sizes and requests/s.
    const CHAPTER: [(f64, f64); 4] = [(1.0, 2.3), (4.0, 8.1), (16.0, 18.4), (64.0, 29.2)];

    fn exact(lambda: f64, sigma: f64, kappa: f64, at: &[f64]) -> Vec<(f64, f64)> {
        at.iter().map(|n| (*n, law(lambda, sigma, kappa, *n))).collect()
    }

    fn squares(points: &[(f64, f64)], lambda: f64, sigma: f64, kappa: f64) -> f64 {
        points.iter().map(|(n, x)| (law(lambda, sigma, kappa, *n) / x - 1.0).powi(2)).sum()
    }

    #[test]
    fn the_chapter_has_contention_and_no_peak() {
        let fit = scalability(&CHAPTER).expect("four concurrencies");
        assert_eq!(format!("{:.2}", fit.lambda), "2.34");
        assert_eq!(format!("{:.3}", fit.sigma), "0.066");
        assert_eq!(fit.kappa, 0.0);
        assert_eq!(fit.peak_concurrency, None);
        assert_eq!(format!("{:.1}", fit.asymptote_per_s.expect("no peak")), "35.4");
        assert_eq!(format!("{:.3}", fit.residual_max), "0.035");
        assert!(fit.follows);
        // 1/σ: where the line of one slot alone meets the asymptote.
        assert!((fit.knee_concurrency.expect("contention") - 1.0 / fit.sigma).abs() < 1e-9);
        assert_eq!(fit.n, 4);
    }

    #[test]
    fn fewer_than_three_concurrencies_are_refused() {
        assert_eq!(scalability(&[]), None);
        assert_eq!(scalability(&CHAPTER[..2]), None);
        assert_eq!(scalability(&[(1.0, 2.0), (1.0, 2.1), (4.0, 7.0), (4.0, 7.1)]), None);
        assert!(scalability(&CHAPTER[..3]).is_some());
    }

    #[test]
    fn what_has_no_relative_residual_is_refused() {
        assert_eq!(scalability(&[(1.0, 0.0), (2.0, 1.0), (3.0, 2.0)]), None);
        assert_eq!(scalability(&[(0.0, 1.0), (2.0, 1.0), (3.0, 2.0)]), None);
        assert_eq!(scalability(&[(1.0, f64::NAN), (2.0, 1.0), (3.0, 2.0)]), None);
    }

    #[test]
    fn a_peak_is_found() {
        let fit = scalability(&exact(10.0, 0.02, 0.0005, &[1.0, 8.0, 32.0, 64.0, 128.0]));
        let fit = fit.expect("five concurrencies");
        let peak = fit.peak_concurrency.expect("coherency");
        assert!((peak - (0.98_f64 / 0.0005).sqrt()).abs() < 1e-3, "{peak}");
        assert_eq!(fit.asymptote_per_s, None);
    }

    #[test]
    fn more_than_linear_growth_is_a_line_that_the_points_do_not_follow() {
        let fit = scalability(&[(1.0, 1.0), (2.0, 3.0), (4.0, 9.0)]).expect("three");
        assert_eq!((fit.sigma, fit.kappa), (0.0, 0.0));
        assert_eq!((fit.peak_concurrency, fit.asymptote_per_s), (None, None));
        assert_eq!(fit.knee_concurrency, None);
        assert!(!fit.follows);
    }

    #[test]
    fn a_server_that_only_falls_has_its_peak_at_one() {
        let fit = scalability(&[(1.0, 10.0), (2.0, 6.0), (4.0, 3.2)]).expect("three");
        assert_eq!(fit.peak_concurrency, Some(1.0), "{fit:?}");
    }

    fn laws() -> impl Strategy<Value = (f64, f64, f64)> {
        let sigma = prop_oneof![Just(0.0), 1e-3..0.9_f64];
        let kappa = prop_oneof![Just(0.0), 1e-5..1e-2_f64];
        (1e-2..1e3_f64, sigma, kappa)
    }

    proptest! {
        #[test]
        fn exact_points_give_their_law_back((lambda, sigma, kappa) in laws()) {
            let at = [1.0, 2.0, 4.0, 16.0, 64.0, 256.0];
            let fit = scalability(&exact(lambda, sigma, kappa, &at)).expect("six concurrencies");
            prop_assert!((fit.lambda / lambda - 1.0).abs() < 1e-6, "{fit:?}");
            prop_assert!((fit.sigma - sigma).abs() < 1e-6, "{fit:?}");
            prop_assert!((fit.kappa - kappa).abs() < 1e-8, "{fit:?}");
            prop_assert!(fit.residual_max < 1e-6);
        }

        #[test]
        fn the_order_of_points_does_not_matter(
            rates in prop::collection::vec(0.1..100.0_f64, 3..9),
            seed in 0_usize..1_000,
        ) {
            let points: Vec<(f64, f64)> =
                (0_u32..).zip(rates).map(|(n, x)| (f64::from(2_u32.pow(n)), x)).collect();
            let mut turned = points.clone();
            let places = turned.len();
            turned.rotate_left(seed % places);
            turned.swap(0, seed % places);
            prop_assert_eq!(scalability(&points), scalability(&turned));
        }

        /// No law near the fit, and none of a coarse grid, has smaller squares.
        #[test]
        fn nothing_fits_better(rates in prop::collection::vec(1.0..20.0_f64, 3..7)) {
            let points: Vec<(f64, f64)> =
                (0_u32..).zip(rates).map(|(n, x)| (f64::from(4_u32.pow(n)), x)).collect();
            let fit = scalability(&points).expect("three or more");
            let least = squares(&points, fit.lambda, fit.sigma, fit.kappa);
            let allowed = least * (1.0 + 1e-6) + 1e-12;
            for sigma in [0.0, 1e-3, 1e-2, 0.03, 0.1, 0.3, 1.0, fit.sigma * 0.98, fit.sigma * 1.02] {
                for kappa in [0.0, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1, fit.kappa * 0.98, fit.kappa * 1.02] {
                    // The best λ for these coefficients in closed form.
                    let shape: Vec<f64> =
                        points.iter().map(|(n, x)| law(1.0, sigma, kappa, *n) / x).collect();
                    let lambda = shape.iter().sum::<f64>() / shape.iter().map(|g| g * g).sum::<f64>();
                    let other = squares(&points, lambda, sigma, kappa);
                    prop_assert!(other >= least - (allowed - least), "{fit:?} {sigma} {kappa}");
                }
            }
        }
    }
}
