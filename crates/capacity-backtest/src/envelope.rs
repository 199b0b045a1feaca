//! The on-demand envelope: what the service admits without provisioned capacity, based on the last seven
//! days.

/// Minutes in seven days.
const WEEK: usize = 7 * 24 * 60;

/// Lowest envelope: 500 actions per second, in actions per minute.
const LOWEST: i64 = 30_000;

/// Value below which every value has a separate bucket.
const EXACT: u32 = 2048;

/// Number of buckets per coarse bucket.
const FINE: usize = 64;

/// Marks the end of a chain.
const NO_SLOT: u16 = u16::MAX;

/// Served rates of the last seven days, with their mean and 90th percentile.
///
/// The percentile is exact. It is stored with the number of minutes below it and at it, which shows whether
/// it is still the percentile. If it is not, it is looked up: rates are counted in buckets of 11 significant
/// bits, and the ring slots of one bucket are chained, oldest first, so that the minute that leaves the week
/// is the first one in its chain.
#[derive(Debug, Clone)]
pub(crate) struct Envelope {
    /// Actions served in each minute; a ring once it is full.
    served: Vec<u32>,
    /// For each slot of the ring, the next newer one in the same bucket.
    chained: Vec<u16>,
    next: usize,
    sum: i64,
    fine: Vec<Bucket>,
    coarse: Vec<u16>,
    percentile: Percentile,
    limit: i64,
}

/// A rate, and how many minutes of the week served less, or exactly as much.
#[derive(Debug, Clone, Copy, Default)]
struct Percentile {
    rate: u32,
    below: usize,
    equal: usize,
}

impl Percentile {
    fn add(&mut self, served: u32) {
        self.below += usize::from(served < self.rate);
        self.equal += usize::from(served == self.rate);
    }

    fn forget(&mut self, served: u32) {
        self.below -= usize::from(served < self.rate);
        self.equal -= usize::from(served == self.rate);
    }

    fn is_of(&self, rank: usize) -> bool {
        (self.below..self.below + self.equal).contains(&rank)
    }
}

/// Minutes whose rates have the same 11 significant bits.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    minutes: u16,
    oldest: u16,
    newest: u16,
}

fn bucket(value: u32) -> usize {
    if value < EXACT {
        return value as usize;
    }
    // Keeps the 11 highest bits: 32 - 11 = 21. Each further power of two has 1,024 buckets.
    let shift = 21 - value.leading_zeros();
    (shift as usize + 1) * 1024 + (value >> shift) as usize - 1024
}

/// Returns the bucket that contains a rank, and reduces the rank to one within that bucket.
fn holding(rank: &mut usize, mut minutes: impl Iterator<Item = u16>) -> Option<usize> {
    minutes.position(|minutes| {
        let minutes = usize::from(minutes);
        let here = *rank < minutes;
        *rank -= if here { 0 } else { minutes };
        here
    })
}

impl Envelope {
    pub(crate) fn new() -> Self {
        let buckets = bucket(u32::MAX) + 1;
        let empty = Bucket {
            minutes: 0,
            oldest: NO_SLOT,
            newest: NO_SLOT,
        };
        Self {
            served: Vec::new(),
            chained: Vec::new(),
            next: 0,
            sum: 0,
            fine: vec![empty; buckets],
            coarse: vec![0; buckets.div_ceil(FINE)],
            percentile: Percentile::default(),
            limit: LOWEST,
        }
    }

    /// Adds the actions that a minute served.
    pub(crate) fn add(&mut self, served: u32) {
        let slot = if self.served.len() < WEEK {
            self.served.push(served);
            self.chained.push(NO_SLOT);
            self.served.len() - 1
        } else {
            let slot = self.next;
            self.next = (self.next + 1) % WEEK;
            self.forget(slot);
            self.served[slot] = served;
            slot
        };
        self.sum += i64::from(served);
        self.percentile.add(served);
        self.chain(slot, served);
    }

    fn forget(&mut self, slot: usize) {
        let served = self.served[slot];
        self.sum -= i64::from(served);
        self.percentile.forget(served);
        let number = bucket(served);
        self.coarse[number / FINE] -= 1;
        let bucket = &mut self.fine[number];
        bucket.minutes -= 1;
        bucket.oldest = self.chained[slot];
    }

    fn chain(&mut self, slot: usize, served: u32) {
        let number = bucket(served);
        self.coarse[number / FINE] += 1;
        let bucket = &mut self.fine[number];
        // A week has 10,080 slots, so the fallback is never used.
        let this = u16::try_from(slot).unwrap_or(NO_SLOT);
        self.chained[slot] = NO_SLOT;
        if bucket.minutes == 0 {
            bucket.oldest = this;
        } else {
            self.chained[usize::from(bucket.newest)] = this;
        }
        bucket.newest = this;
        bucket.minutes += 1;
    }

    /// Returns the actions per minute that on-demand admits: max(500/s, min(4 x mean, 2 x p90)).
    pub(crate) fn limit(&self) -> i64 {
        self.limit
    }

    /// Recomputes the limit, as the service does every hour.
    pub(crate) fn update(&mut self) {
        let minutes = i64::try_from(self.served.len()).unwrap_or(1).max(1);
        let by_mean = 4 * self.sum / minutes;
        // The lower of the two is then at most the floor, and the percentile is not needed.
        self.limit = if by_mean <= LOWEST {
            LOWEST
        } else {
            LOWEST.max(by_mean.min(2 * self.percentile_90()))
        };
    }

    fn percentile_90(&mut self) -> i64 {
        let rank = self.served.len() * 9 / 10;
        if !self.percentile.is_of(rank) {
            self.percentile = self.looked_up(rank).unwrap_or_default();
        }
        i64::from(self.percentile.rate)
    }

    fn looked_up(&self, rank: usize) -> Option<Percentile> {
        let mut inner = rank;
        let coarse = holding(&mut inner, self.coarse.iter().copied())?;
        let fine = &self.fine[coarse * FINE..self.fine.len().min((coarse + 1) * FINE)];
        let bucket = fine[holding(&mut inner, fine.iter().map(|bucket| bucket.minutes))?];
        let slots = std::iter::successors(Some(bucket.oldest), |slot| {
            let next = self.chained[usize::from(*slot)];
            (next != NO_SLOT).then_some(next)
        });
        // A bucket has several rates, so the exact one is selected among the minutes themselves.
        let mut inside: Vec<u32> = slots.map(|slot| self.served[usize::from(slot)]).collect();
        let rate = *inside.select_nth_unstable(inner).1;
        Some(Percentile {
            rate,
            below: rank - inner + inside.iter().filter(|served| **served < rate).count(),
            equal: inside.iter().filter(|served| **served == rate).count(),
        })
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
        fn the_limit_is_that_of_sorted_minutes_in_every_hour(
            values in prop_oneof![
                proptest::collection::vec(prop_oneof![0..3000_u32, 0..2_000_000_u32, any::<u32>()], 1..300),
                proptest::collection::vec(60_000..60_040_u32, 200..300),
            ],
            repeated in 1..60_usize,
        ) {
            let values: Vec<u32> = values.iter().copied().cycle().take(values.len() * repeated).collect();
            let mut envelope = Envelope::new();
            for (minute, value) in values.iter().enumerate() {
                envelope.add(*value);
                if minute % 719 == 0 || minute + 1 == values.len() {
                    envelope.update();
                    prop_assert_eq!(envelope.limit(), by_sorting(&values[..=minute]));
                }
            }
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
