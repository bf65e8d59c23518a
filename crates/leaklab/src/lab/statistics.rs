//! Robust estimates, pure: numbers in, numbers out.

/// The middle value; of an even number the mean of the two in the middle; of none 0.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => 0.0,
        count if count % 2 == 1 => sorted[count / 2],
        count => f64::midpoint(sorted[count / 2 - 1], sorted[count / 2]),
    }
}

/// The standard deviation that a normal distribution with this median distance from its median would have.
pub fn spread(values: &[f64]) -> f64 {
    let middle = median(values);
    let distances: Vec<f64> = values.iter().map(|value| (value - middle).abs()).collect();
    median(&distances) * 1.4826
}

/// The median of values with weights.
pub fn weighted_median(pairs: &[(f64, f64)]) -> f64 {
    let mut sorted: Vec<(f64, f64)> = pairs.iter().copied().filter(|(_, weight)| *weight > 0.0).collect();
    sorted.sort_by(|a, b| a.0.total_cmp(&b.0));
    let half = sorted.iter().map(|(_, weight)| weight).sum::<f64>() / 2.0;
    let mut sum = 0.0;
    for (value, weight) in &sorted {
        sum += weight;
        if sum >= half {
            return *value;
        }
    }
    0.0
}

/// The line through the origin with the least sum of absolute errors: for increments of `y` by those of `x`.
pub fn slope_through_origin(points: &[(f64, f64)]) -> f64 {
    let ratios: Vec<(f64, f64)> =
        points.iter().filter(|(x, _)| *x != 0.0).map(|(x, y)| (y / x, x.abs())).collect();
    weighted_median(&ratios)
}

/// Theil and Sen: the median slope of all pairs of points.
pub fn theil_sen(points: &[(f64, f64)]) -> f64 {
    let mut slopes = Vec::with_capacity(points.len() * points.len() / 2);
    for (index, (x, y)) in points.iter().enumerate() {
        for (other_x, other_y) in &points[index + 1..] {
            if other_x != x {
                slopes.push((other_y - y) / (other_x - x));
            }
        }
    }
    median(&slopes)
}

/// A value with the interval in which it lies, with the confidence that was asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Estimate {
    /// The value.
    pub value: f64,
    /// The least it may be.
    pub low: f64,
    /// The most it may be.
    pub high: f64,
}

/// Random numbers (splitmix64): the same seed gives the same.
#[derive(Debug, Clone)]
pub struct Numbers(pub u64);

impl Numbers {
    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// From 0 to 1, without 1.
    pub fn uniform(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// From 0 to `bound`, without it.
    pub fn below(&mut self, bound: usize) -> usize {
        (self.uniform() * bound as f64) as usize
    }

    /// Normal, with mean 0 and standard deviation 1.
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform()).cos()
    }
}

/// Samples of a bootstrap.
const SAMPLES: usize = 200;

/// Bootstrap over blocks: the increments of one cycle stay together, because they depend on each other. `estimate`
/// is asked for the whole and for samples drawn with replacement; `doubt` is the share that lies outside of the
/// interval.
pub fn bootstrap<T>(blocks: &[Vec<T>], doubt: f64, estimate: impl Fn(&[&T]) -> f64) -> Estimate {
    let whole: Vec<&T> = blocks.iter().flatten().collect();
    let value = estimate(&whole);
    if blocks.len() < 2 {
        return Estimate { value, low: f64::NEG_INFINITY, high: f64::INFINITY };
    }
    let mut numbers = Numbers(17);
    let values: Vec<f64> = (0..SAMPLES)
        .map(|_| {
            let drawn: Vec<&T> =
                (0..blocks.len()).flat_map(|_| &blocks[numbers.below(blocks.len())]).collect();
            estimate(&drawn)
        })
        .collect();
    between(value, values, doubt)
}

/// A value with the interval that its samples leave when a share of them is in doubt.
pub fn between(value: f64, mut samples: Vec<f64>, doubt: f64) -> Estimate {
    samples.sort_by(f64::total_cmp);
    let last = samples.len().saturating_sub(1);
    let at = |share: f64| samples.get((last as f64 * share).round() as usize).copied().unwrap_or(value);
    Estimate { value, low: at(doubt / 2.0), high: at(1.0 - doubt / 2.0) }
}

/// Holm: which of these probabilities are too small for chance when all of them are looked at.
pub fn holm(probabilities: &[f64], doubt: f64) -> Vec<bool> {
    let mut order: Vec<usize> = (0..probabilities.len()).collect();
    order.sort_by(|a, b| probabilities[*a].total_cmp(&probabilities[*b]));
    let mut passed = vec![false; probabilities.len()];
    for (rank, index) in order.iter().enumerate() {
        if probabilities[*index] > doubt / (probabilities.len() - rank) as f64 {
            break;
        }
        passed[*index] = true;
    }
    passed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outliers_do_not_move_the_estimates() {
        let mut points: Vec<(f64, f64)> = (0..20).map(|x| (f64::from(x), 3.0 * f64::from(x) + 7.0)).collect();
        points[4].1 = 1e9;
        points[15].1 = -1e9;
        assert!((theil_sen(&points) - 3.0).abs() < 0.05);
        let increments = [(1.0, 2.0), (10.0, 20.0), (5.0, 10.0), (2.0, -400.0)];
        assert_eq!(slope_through_origin(&increments), 2.0);
        assert_eq!(median(&[1.0, 9.0, 2.0, 3.0]), 2.5);
        assert_eq!(median(&[]), 0.0);
    }

    #[test]
    fn an_interval_holds_the_truth_as_often_as_it_says() {
        let mut numbers = Numbers(1);
        let mut inside = 0;
        for _ in 0..300 {
            let blocks: Vec<Vec<(f64, f64)>> = (0..12)
                .map(|_| {
                    let shared = numbers.normal();
                    (0..4).map(|_| (10.0, 20.0 + shared + numbers.normal())).collect()
                })
                .collect();
            let estimate = bootstrap(&blocks, 0.05, |points| {
                median(&points.iter().map(|(x, y)| y / x).collect::<Vec<_>>())
            });
            inside += u32::from(estimate.low <= 2.0 && 2.0 <= estimate.high);
        }
        assert!((255..=297).contains(&inside), "{inside} of 300");
    }

    #[test]
    fn many_looks_need_smaller_probabilities() {
        assert_eq!(holm(&[0.04, 0.03, 0.9], 0.05), [false, false, false]);
        assert_eq!(holm(&[0.04, 0.001, 0.02], 0.05), [true, true, true]);
        assert_eq!(holm(&[0.2, 0.001], 0.05), [false, true]);
    }

    #[test]
    fn normal_numbers_have_their_spread() {
        let mut numbers = Numbers(3);
        let values: Vec<f64> = (0..4000).map(|_| numbers.normal()).collect();
        assert!(median(&values).abs() < 0.06 && (spread(&values) - 1.0).abs() < 0.06);
    }
}
