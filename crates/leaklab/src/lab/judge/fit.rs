//! All factors at once: how much of what memory grew by belongs to which.
//!
//! Every two floors of a cycle are a row: by how much the later is above the earlier, and what was done between
//! them. A slope for each factor is fitted to all rows, none of them negative, because nothing shrinks for having
//! been used; absolute errors count, not squares (by weights that are made anew from the errors). With one factor
//! this is the slope of Theil and Sen; with several it is what that is a case of.

use std::collections::{BTreeMap, BTreeSet};

use super::increments::{Amounts, Step};
use crate::lab::statistics::{Numbers, median};

/// Rounds of weights, and of slopes within each.
const ROUNDS: usize = 8;
const SWEEPS: usize = 20;
/// Samples of a bootstrap.
const SAMPLES: usize = 120;

/// The rows of each cycle: every run of blocks that begins in it and is not longer than a cycle. A run goes on into
/// the next cycle: what a block left and the next collection took must not look like growth.
pub fn cycles(steps: &[Step]) -> Vec<Vec<Step>> {
    let count = steps.iter().map(|step| step.cycle).collect::<BTreeSet<_>>().len().max(1);
    let longest = steps.len().div_ceil(count);
    let mut cycles: BTreeMap<u32, Vec<Step>> = BTreeMap::new();
    for first in 0..steps.len() {
        let mut sum = Step { grown: 0.0, amounts: [0.0; 6], ..steps[first] };
        for step in steps[first..].iter().take(longest) {
            sum.grown += step.grown;
            sum.amounts = std::array::from_fn(|factor| sum.amounts[factor] + step.amounts[factor]);
            cycles.entry(sum.cycle).or_default().push(sum);
        }
    }
    cycles.into_values().collect()
}

/// The slopes for samples of the cycles, drawn with replacement: the rows of a cycle depend on each other and stay
/// together.
pub fn bootstrap(cycles: &[Vec<Step>], among: &[usize]) -> Vec<Amounts> {
    let mut numbers = Numbers(17);
    let sample = |_| {
        let drawn: Vec<&Step> =
            (0..cycles.len()).flat_map(|_| &cycles[numbers.below(cycles.len())]).collect();
        slopes(&drawn, among)
    };
    (0..SAMPLES).map(sample).collect()
}

/// The slopes of the factors in `among`; 0 for the others.
pub fn slopes(steps: &[&Step], among: &[usize]) -> Amounts {
    // Amounts differ by many powers of ten: each factor is measured by its total.
    let totals: Amounts =
        std::array::from_fn(|factor| steps.iter().map(|step| step.amounts[factor]).sum::<f64>().max(1e-9));
    let share = |step: &Step, factor: usize| step.amounts[factor] / totals[factor];
    let mut fitted = [0.0; 6];
    let mut weights = vec![1.0; steps.len()];
    for _ in 0..ROUNDS {
        let (mut squares, mut products) = ([[0.0; 6]; 6], [0.0; 6]);
        for (step, weight) in steps.iter().zip(&weights) {
            for factor in among {
                let x = share(step, *factor) * weight;
                products[*factor] += x * step.grown;
                for other in among {
                    squares[*factor][*other] += x * share(step, *other);
                }
            }
        }
        descend(&mut fitted, among, &squares, &products);
        let errors: Vec<f64> = steps.iter().map(|step| error(step, among, &fitted, &totals).abs()).collect();
        // An error below a tenth of the usual weighs no more than that: the next page is chance.
        let usual = median(&errors);
        weights = errors.iter().map(|error| 1.0 / error.max(usual * 0.1).max(1.0)).collect();
    }
    std::array::from_fn(|factor| fitted[factor] / totals[factor])
}

fn error(step: &Step, among: &[usize], fitted: &Amounts, totals: &Amounts) -> f64 {
    step.grown
        - among.iter().map(|factor| fitted[*factor] * step.amounts[*factor] / totals[*factor]).sum::<f64>()
}

/// One slope after the other, each as good as it can be beside the others, and none below 0.
fn descend(fitted: &mut Amounts, among: &[usize], squares: &[[f64; 6]; 6], products: &Amounts) {
    for _ in 0..SWEEPS {
        for factor in among {
            let others: f64 = among
                .iter()
                .filter(|other| *other != factor)
                .map(|other| squares[*factor][*other] * fitted[*other])
                .sum();
            let square = squares[*factor][*factor];
            fitted[*factor] =
                if square > 0.0 { ((products[*factor] - others) / square).max(0.0) } else { 0.0 };
        }
    }
}
