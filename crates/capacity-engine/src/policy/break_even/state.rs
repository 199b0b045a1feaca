//! The state that the policy keeps for a namespace, and its storage format.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;

use super::parameters::MOST_HOURS;
use super::scale;

/// Prefix of the stored form: the policy and the version of its state.
const VERSION_1: &str = "break-even/1:";

/// Minutes from an evaluation until its change takes effect.
pub(super) const MINUTES_UNTIL_EFFECT: i64 = 2;

/// Number of bytes before the remembered hours.
const FIXED_BYTES: usize = 32;

/// One remembered hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct RememberedHour {
    peak: u8,
    mean: u8,
    beyond: u8,
}

impl RememberedHour {
    /// An unknown hour.
    pub const UNKNOWN: Self = Self {
        peak: scale::UNKNOWN,
        mean: scale::UNKNOWN,
        beyond: scale::UNKNOWN,
    };

    /// Returns an hour from its peak and mean in actions per minute, and the number of minutes beyond the
    /// envelope.
    pub(super) fn new(peak: i64, mean: i64, minutes_beyond_envelope: usize) -> Self {
        Self {
            peak: scale::code(peak),
            mean: scale::code(mean),
            beyond: u8::try_from(minutes_beyond_envelope).unwrap_or(60),
        }
    }

    /// Returns an hour from its three bytes: code of the peak, code of the mean, minutes beyond the envelope.
    pub const fn from_bytes([peak, mean, beyond]: [u8; 3]) -> Self {
        Self { peak, mean, beyond }
    }

    /// Returns the three bytes of an hour.
    pub const fn bytes(self) -> [u8; 3] {
        [self.peak, self.mean, self.beyond]
    }

    /// Returns whether anything is known about the hour.
    pub const fn is_known(self) -> bool {
        self.peak != scale::UNKNOWN
    }

    /// Returns the highest rate of the hour, in actions per minute.
    pub(super) fn peak(self) -> i64 {
        scale::decoded(self.peak)
    }

    /// Returns the mean rate served in the hour, in actions per minute.
    pub(super) fn mean(self) -> i64 {
        scale::decoded(self.mean)
    }

    /// Returns the number of minutes in which the demand was beyond the envelope.
    pub(super) fn minutes_beyond(self) -> i64 {
        i64::from(self.beyond)
    }
}

// Exhaustive: the specification of the policy defines its fields.
/// The state that the policy carries from one evaluation of a namespace to the next.
///
/// Minutes count from any full hour; in the product, from the Unix epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BreakEvenState {
    /// Past hours, oldest first.
    pub hours: Vec<RememberedHour>,
    /// Number of the hour last planned for. The newest remembered hour is the one before it.
    pub last_plan_hour: i64,
    /// Minute of the evaluation that last changed the capacity.
    pub changed_minute: i64,
    /// TRUs (0: on-demand) that are planned and have not been requested yet.
    pub planned: Option<u32>,
    /// Number of the hour that `top` belongs to.
    pub top_hour: i64,
    /// Highest TRUs so far in that hour.
    pub top: u32,
}

impl Default for BreakEvenState {
    fn default() -> Self {
        Self {
            hours: Vec::new(),
            last_plan_hour: 0,
            // Long before any minute that is compared with it, so that all of the window counts.
            changed_minute: -1000,
            planned: None,
            top_hour: -1,
            top: 0,
        }
    }
}

/// A stored state that cannot be used. It is safe to start without state: the policy then starts without past
/// hours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// The state was written by another policy, or by a newer version of this one.
    #[error(
        "the stored policy state does not start with `{VERSION_1}`; it was written by another policy or version"
    )]
    Version,
    /// The text is truncated or otherwise damaged.
    #[error("the stored policy state is damaged; the policy starts over without past hours")]
    Damaged,
}

impl BreakEvenState {
    /// Returns whether the namespace never exceeded its envelope as far as this state knows. Such a state
    /// need not be stored.
    pub fn is_blank(&self) -> bool {
        let fresh = Self::default();
        self.changed_minute == fresh.changed_minute
            && self.top == 0
            // A plan to stay on-demand is what an empty state leads to as well.
            && self.planned.unwrap_or(0) == 0
            && self.hours.iter().all(|hour| !hour.is_known() || hour.beyond == 0)
    }

    /// Returns the state after a change has been carried out.
    #[must_use]
    pub(super) fn changed(mut self, current: u32, option: u32, now: i64) -> Self {
        if option == current {
            return self;
        }
        self.changed_minute = now;
        self.planned = None;
        let effect = now + MINUTES_UNTIL_EFFECT;
        // Otherwise it is billed in the next hour only, where it is the current size anyway.
        if effect.div_euclid(60) == now.div_euclid(60) {
            self.top = self.top.max(option);
        }
        self
    }

    /// Encodes the state as versioned text of less than 1,000 characters.
    pub fn encode(&self) -> String {
        let mut bytes = Vec::with_capacity(FIXED_BYTES + 3 * self.hours.len());
        bytes.extend(self.last_plan_hour.to_le_bytes());
        bytes.extend(self.changed_minute.to_le_bytes());
        bytes.extend(self.top_hour.to_le_bytes());
        bytes.extend(short(self.top).to_le_bytes());
        bytes.extend(self.planned.map_or(u16::MAX, short).to_le_bytes());
        // Reserved for later fields of version 1; zero for now.
        bytes.extend([0; 4]);
        for hour in &self.hours {
            bytes.extend(hour.bytes());
        }
        format!("{VERSION_1}{}", STANDARD_NO_PAD.encode(bytes))
    }

    /// Decodes a stored state.
    ///
    /// # Errors
    ///
    /// If another policy or version wrote it, or if it is damaged.
    pub fn decode(text: &str) -> Result<Self, StateError> {
        let encoded = text.strip_prefix(VERSION_1).ok_or(StateError::Version)?;
        let bytes = STANDARD_NO_PAD.decode(encoded).map_err(|_| StateError::Damaged)?;
        Self::from_bytes(&bytes).ok_or(StateError::Damaged)
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (fixed, hours) = bytes.split_at_checked(FIXED_BYTES)?;
        let number = |at: usize| Some(i64::from_le_bytes(fixed.get(at..at + 8)?.try_into().ok()?));
        let trus = |at: usize| Some(u16::from_le_bytes(fixed.get(at..at + 2)?.try_into().ok()?));
        let (hours, rest) = hours.as_chunks::<3>();
        if !rest.is_empty() || hours.len() > MOST_HOURS {
            return None;
        }
        let planned = trus(26)?;
        Some(Self {
            hours: hours.iter().copied().map(RememberedHour::from_bytes).collect(),
            last_plan_hour: number(0)?,
            changed_minute: number(8)?,
            top_hour: number(16)?,
            top: u32::from(trus(24)?),
            planned: (planned != u16::MAX).then_some(u32::from(planned)),
        })
    }
}

/// Converts TRUs to their stored form. No ladder comes close to the limit of 16 bits.
fn short(trus: u32) -> u16 {
    u16::try_from(trus).map_or(u16::MAX - 1, |trus| trus.min(u16::MAX - 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn states() -> impl Strategy<Value = BreakEvenState> {
        let hours = proptest::collection::vec(any::<[u8; 3]>().prop_map(RememberedHour::from_bytes), 0..=169);
        let planned = proptest::option::of(0_u32..=1000);
        (
            hours,
            any::<i64>(),
            any::<i64>(),
            planned,
            any::<i64>(),
            0_u32..=1000,
        )
            .prop_map(
                |(hours, last_plan_hour, changed_minute, planned, top_hour, top)| BreakEvenState {
                    hours,
                    last_plan_hour,
                    changed_minute,
                    planned,
                    top_hour,
                    top,
                },
            )
    }

    proptest! {
        #[test]
        fn a_state_survives_storing_in_less_than_a_kilobyte(state in states()) {
            let stored = state.encode();
            prop_assert!(stored.len() < 1000, "{} characters", stored.len());
            prop_assert_eq!(BreakEvenState::decode(&stored), Ok(state));
        }

        #[test]
        fn any_text_is_parsed_or_refused(text in ".*") {
            let _ = BreakEvenState::decode(&text);
            let _ = BreakEvenState::decode(&format!("{VERSION_1}{text}"));
        }
    }

    #[test]
    fn a_state_of_version_1_is_still_read() {
        let stored = "break-even/1:ZwAAAAAAAABHGAAAAAAAAGYAAAAAAAAABAD//wAAAACPVgX///8";
        let state = BreakEvenState::decode(stored).expect("readable");
        let expected = BreakEvenState {
            hours: vec![
                RememberedHour::from_bytes([0x8f, 0x56, 5]),
                RememberedHour::UNKNOWN,
            ],
            last_plan_hour: 103,
            changed_minute: 6215,
            planned: None,
            top_hour: 102,
            top: 4,
        };
        assert_eq!(state, expected);
        assert_eq!(state.encode(), stored);
    }

    #[test]
    fn a_damaged_or_foreign_state_is_refused() {
        let whole = BreakEvenState::default().encode();
        let cut = &whole[..whole.len() - 4];
        assert_eq!(BreakEvenState::decode(cut), Err(StateError::Damaged));
        assert_eq!(
            BreakEvenState::decode("break-even/2:AAAA"),
            Err(StateError::Version)
        );
        assert_eq!(BreakEvenState::decode("{}"), Err(StateError::Version));
    }
}
