//! Proportions of counts, and how sure one can be of them.

/// Quantile of the standard normal distribution for a two-sided confidence of 95 %.
const Z: f64 = 1.96;

/// Returns the count as a real number, rounded beyond 2^53.
#[expect(clippy::cast_precision_loss, reason = "shares and rates are shown with few digits")]
pub fn real(count: u64) -> f64 {
    count as f64
}

/// Returns the share of a part, 0 to 1; 0 of nothing.
pub fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { (real(part) / real(whole)).min(1.0) }
}

/// Returns the lower end of the 95 % interval of a share that was seen on so many (E. B. Wilson, "Probable Inference",
/// 1927). Unlike the share itself it is small while few have been seen, and never reaches 1.
pub fn share_at_least(part: u64, whole: u64) -> f64 {
    wilson(part, whole).0
}

/// Returns the upper end of the same interval: what the share may be for all that was seen; 0 of nothing.
pub fn share_at_most(part: u64, whole: u64) -> f64 {
    wilson(part, whole).1
}

fn wilson(part: u64, whole: u64) -> (f64, f64) {
    if whole == 0 {
        return (0.0, 0.0);
    }
    let (n, p) = (real(whole), share(part, whole));
    let centre = p + Z * Z / (2.0 * n);
    let margin = Z * (p * (1.0 - p) / n + Z * Z / (4.0 * n * n)).sqrt();
    let scale = 1.0 + Z * Z / n;
    (((centre - margin) / scale).max(0.0), ((centre + margin) / scale).min(1.0))
}

/// Returns how far a count has come towards enough: 0 for none, 1/2 at `half`, 3/4 at twice that, below 1 for ever.
pub fn saturation(count: u64, half: f64) -> f64 {
    if half > 0.0 { 1.0 - (-real(count) / half).exp2() } else { 1.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lower_bound_grows_with_what_was_seen_and_stays_below_the_share() {
        assert!(share_at_least(0, 0) == 0.0 && share_at_least(0, 9) < 1e-9);
        // The published interval of 9 of 10 begins at 0.596.
        assert!((share_at_least(9, 10) - 0.596).abs() < 0.001);
        assert!(share_at_least(10, 10) < share_at_least(1_000, 1_000));
        assert!(share_at_least(u64::MAX, u64::MAX) <= 1.0);
    }

    #[test]
    fn saturation_halves_the_rest_every_step() {
        assert!(saturation(0, 10.0).abs() < 1e-12);
        assert!((saturation(10, 10.0) - 0.5).abs() < 1e-12);
        assert!((saturation(20, 10.0) - 0.75).abs() < 1e-12);
    }
}
