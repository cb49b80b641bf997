//! Medians and percentiles.

/// The middle one, the upper of two; 0 of none.
pub fn median(values: &[f64]) -> f64 {
    percentile(&sorted(values.to_vec()), 500)
}

/// In ascending order.
pub fn sorted(mut values: Vec<f64>) -> Vec<f64> {
    values.sort_by(f64::total_cmp);
    values
}

/// Of values in ascending order, the one that so many of 1000 do not exceed; 0 of none.
pub fn percentile(sorted: &[f64], of_thousand: usize) -> f64 {
    let at = (sorted.len() * of_thousand).div_ceil(1000).saturating_sub(1);
    sorted.get(if of_thousand == 500 { sorted.len() / 2 } else { at }).copied().unwrap_or(0.0)
}

/// A count as a number for division.
pub fn count(of: usize) -> f64 {
    u32::try_from(of).map_or(f64::INFINITY, f64::from)
}
