//! The on-demand envelope: what the service lets through without provisioned capacity, from the last seven days.

/// Minutes of seven days.
const WEEK: usize = 7 * 24 * 60;

/// Lowest envelope: 500 actions a second.
const LOWEST: i64 = 30_000;

/// Values below this have a bucket of their own.
const EXACT: u32 = 2048;

/// Buckets of one coarse bucket.
const FINE: usize = 64;

/// Rates served in the last seven days, with their mean and 90th percentile.
///
/// Rates are counted in buckets of 11 significant bits; the percentile is exact, since the values of its bucket are looked at.
#[derive(Debug, Clone)]
pub(crate) struct Envelope {
    /// Actions served in each minute; a ring once it is full.
    served: Vec<u32>,
    next: usize,
    sum: i64,
    fine: Vec<u32>,
    coarse: Vec<u32>,
    limit: i64,
}

fn bucket(value: u32) -> usize {
    if value < EXACT {
        return value as usize;
    }
    let shift = 21 - value.leading_zeros();
    (shift as usize + 1) * 1024 + (value >> shift) as usize - 1024
}

impl Envelope {
    pub(crate) fn new() -> Self {
        let buckets = bucket(u32::MAX) + 1;
        Self {
            served: Vec::new(),
            next: 0,
            sum: 0,
            fine: vec![0; buckets],
            coarse: vec![0; buckets.div_ceil(FINE)],
            limit: LOWEST,
        }
    }

    /// Remembers what a minute served.
    pub(crate) fn add(&mut self, served: u32) {
        if self.served.len() < WEEK {
            self.served.push(served);
        } else {
            let oldest = std::mem::replace(&mut self.served[self.next], served);
            self.next = (self.next + 1) % WEEK;
            self.sum -= i64::from(oldest);
            self.fine[bucket(oldest)] -= 1;
            self.coarse[bucket(oldest) / FINE] -= 1;
        }
        self.sum += i64::from(served);
        self.fine[bucket(served)] += 1;
        self.coarse[bucket(served) / FINE] += 1;
    }

    /// Actions per minute that on-demand lets through: max(500/s, min(4 x mean, 2 x p90)).
    pub(crate) fn limit(&self) -> i64 {
        self.limit
    }

    /// Computes the limit again, as the service does every hour.
    pub(crate) fn update(&mut self) {
        let minutes = i64::try_from(self.served.len()).unwrap_or(1).max(1);
        let by_mean = 4 * self.sum / minutes;
        self.limit = if by_mean <= LOWEST {
            LOWEST
        } else {
            LOWEST.max(by_mean.min(2 * self.percentile_90()))
        };
    }

    fn percentile_90(&self) -> i64 {
        let mut rank = self.served.len() * 9 / 10;
        let step = |counts: &[u32], rank: &mut usize| {
            counts.iter().position(|count| {
                let count = *count as usize;
                let here = *rank < count;
                *rank -= if here { 0 } else { count };
                here
            })
        };
        let Some(coarse) = step(&self.coarse, &mut rank) else {
            return 0;
        };
        let fine = &self.fine[coarse * FINE..self.fine.len().min((coarse + 1) * FINE)];
        let found = coarse * FINE + step(fine, &mut rank).unwrap_or(0);
        let mut inside: Vec<u32> = self
            .served
            .iter()
            .copied()
            .filter(|value| bucket(*value) == found)
            .collect();
        let (_, value, _) = inside.select_nth_unstable(rank);
        i64::from(*value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn by_sorting(values: &[u32]) -> i64 {
        let mut week = values[values.len().saturating_sub(WEEK)..].to_vec();
        week.sort_unstable();
        let mean = 4 * week.iter().map(|value| i64::from(*value)).sum::<i64>()
            / i64::try_from(week.len()).expect("short");
        LOWEST.max(mean.min(2 * i64::from(week[week.len() * 9 / 10])))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20))]
        #[test]
        fn the_limit_is_that_of_sorted_minutes(
            values in proptest::collection::vec(prop_oneof![0..3000_u32, 0..2_000_000_u32, any::<u32>()], 1..300),
            repeated in 1..60_usize,
        ) {
            let values: Vec<u32> = values.iter().copied().cycle().take(values.len() * repeated).collect();
            let mut envelope = Envelope::new();
            for value in &values {
                envelope.add(*value);
            }
            envelope.update();
            prop_assert_eq!(envelope.limit(), by_sorting(&values));
        }
    }

    #[test]
    fn buckets_ascend_with_the_value() {
        let values = [
            0,
            1,
            2047,
            2048,
            2049,
            4095,
            4096,
            1 << 20,
            (1 << 20) + 4096,
            u32::MAX,
        ];
        assert!(values.windows(2).all(|pair| bucket(pair[0]) <= bucket(pair[1])));
        assert_eq!(bucket(2048), 2048);
        assert_eq!(bucket(4095), 2048 + 1023);
        assert_eq!(bucket(4096), 2048 + 1024);
    }
}
