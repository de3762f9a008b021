//! What the points of a serving stage say together: the scalability fit, Little's law, the Pareto
//! set, the point with the most output tokens/s.

use loadline_schema::document::{Point, Serving};
use loadline_schema::verdict::Little;

use crate::pareto::pareto;
use crate::scalability::scalability;

/// Residual of an identity that rounding allows.
const IDENTITY: f64 = 1e-9;

/// Fills what follows from the stage's points.
pub(crate) fn relate(serving: &mut Serving) {
    let points = &serving.points;
    serving.scalability = scalability(&concurrencies(points));
    serving.little = little(points);
    let speeds: Vec<(usize, (f64, f64))> = points
        .iter()
        .enumerate()
        .filter_map(|(at, p)| {
            let total = p.output_tokens_per_s?.value;
            Some((at, (total, p.output_tokens_per_s_per_user?.value)))
        })
        .collect();
    let pairs: Vec<(f64, f64)> = speeds.iter().map(|(_, pair)| *pair).collect();
    serving.pareto = pareto(&pairs).into_iter().map(|kept| speeds[kept].0).collect();
    let totals = points.iter().enumerate();
    let totals = totals.filter_map(|(at, p)| Some((p.output_tokens_per_s?.value, at)));
    // Of equal ones the first: the smaller load.
    let most = totals.reduce(|best, next| if next.0 > best.0 { next } else { best });
    serving.throughput_point = most.map(|(_, at)| at);
}

/// Concurrency and requests/s of closed-loop points that say what the target does: complete, and
/// not limited by the client.
fn concurrencies(points: &[Point]) -> Vec<(f64, f64)> {
    let tells = |point: &&Point| point.incomplete.is_none() && !point.client.limited;
    let pair = |p: &Point| Some((p.load.concurrency? as f64, p.requests_per_s?.value));
    points.iter().filter(tells).filter_map(pair).collect()
}

/// The clipped identity over all points.
fn little(points: &[Point]) -> Option<Little> {
    let residuals = points.iter().filter_map(|point| point.little_residual);
    let residual_max = residuals.max_by(f64::total_cmp)?;
    let holds = residual_max <= IDENTITY;
    Some(Little { residual_max, allowed: IDENTITY, holds, product: Vec::new() })
}

#[cfg(test)]
mod tests {
    use loadline_schema::document::{Estimate, Incomplete, PointLoad};

    use super::*;

    fn point(concurrency: u64, requests: f64, total: f64, per_user: f64) -> Point {
        let estimate = |value| Some(Estimate { value, low: None, high: None, n: 1 });
        Point {
            load: PointLoad {
                concurrency: Some(concurrency),
                arrival: "closed".into(),
                ..PointLoad::default()
            },
            requests_per_s: estimate(requests),
            output_tokens_per_s: estimate(total),
            output_tokens_per_s_per_user: estimate(per_user),
            little_residual: Some(1e-12),
            ..Point::default()
        }
    }

    fn stage() -> Serving {
        Serving {
            points: vec![
                point(1, 2.3, 230.0, 30.0),
                point(4, 8.1, 810.0, 25.0),
                point(16, 18.4, 1_840.0, 15.0),
                point(64, 18.0, 1_800.0, 4.0),
            ],
            ..Serving::default()
        }
    }

    #[test]
    fn points_of_a_closed_loop_are_related() {
        let mut stage = stage();
        relate(&mut stage);
        let fit = stage.scalability.expect("four concurrencies");
        assert!(fit.peak_concurrency.is_some_and(|peak| peak > 16.0 && peak < 64.0), "{fit:?}");
        assert_eq!(stage.pareto, [0, 1, 2]);
        assert_eq!(stage.throughput_point, Some(2));
        assert!(stage.little.is_some_and(|little| little.holds));
    }

    #[test]
    fn points_that_say_nothing_about_the_target_are_not_fitted() {
        let mut stage = stage();
        stage.points[1].client.limited = true;
        stage.points[2].incomplete = Some(Incomplete { trials: 1, reason: None });
        relate(&mut stage);
        assert_eq!(stage.scalability, None);
    }

    #[test]
    fn an_open_loop_has_no_scalability() {
        let mut stage = stage();
        for point in &mut stage.points {
            point.load.rate_per_s = point.load.concurrency.take().map(|n| n as f64);
        }
        relate(&mut stage);
        assert_eq!(stage.scalability, None);
        assert_eq!(stage.throughput_point, Some(2));
    }
}
