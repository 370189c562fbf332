//! Order statistics of a series of rounds.

/// The median of a series, and the range that its middle half lies in.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    pub low: f64,
    pub median: f64,
    pub high: f64,
}

impl Spread {
    /// Returns `None` for an empty series.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let at = |share| quantile(&values, share);
        Some(Self { low: at(0.25)?, median: at(0.5)?, high: at(0.75)? })
    }

    /// Returns the width of the range as a share of the median.
    pub fn relative(&self) -> f64 {
        (self.high - self.low) / self.median
    }
}

/// Returns the median, or zero for an empty series.
pub fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    Spread::of(values).map_or(0.0, |spread| spread.median)
}

/// Returns the value at that share of a sorted series: the nearest one, without interpolation.
pub fn quantile<T: Copy>(sorted: &[T], share: f64) -> Option<T> {
    let last = sorted.len().checked_sub(1)?;
    Some(sorted[(last as f64 * share).round() as usize])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quartiles_of_nine_rounds_are_the_third_and_seventh_value() {
        let spread = Spread::of([9.0, 1.0, 8.0, 2.0, 7.0, 3.0, 6.0, 4.0, 5.0]);
        assert_eq!(spread, Some(Spread { low: 3.0, median: 5.0, high: 7.0 }));
    }

    #[test]
    fn one_value_is_its_own_range() {
        assert_eq!(Spread::of([2.5]), Some(Spread { low: 2.5, median: 2.5, high: 2.5 }));
    }

    #[test]
    fn an_empty_series_has_no_spread() {
        assert_eq!(Spread::of([]), None);
        assert_eq!(quantile::<f64>(&[], 0.5), None);
    }

    #[test]
    fn quantiles_stay_within_the_series() {
        let sorted = [10, 20, 30];
        assert_eq!([0.0, 0.5, 0.99, 1.0].map(|share| quantile(&sorted, share)), [10, 20, 30, 30].map(Some));
    }

    #[test]
    fn the_relative_width_is_a_share_of_the_median() {
        assert_eq!(Spread { low: 3.0, median: 4.0, high: 5.0 }.relative(), 0.5);
    }
}
