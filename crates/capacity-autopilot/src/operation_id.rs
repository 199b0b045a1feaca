//! Ids of our asynchronous operations. They are derived, so that a repeated request repeats its id, and
//! recognizable, so that our own changes can be distinguished from a person's without stored state.
//!
//! An id is a version 8 UUID (the version for custom layouts): 32 bits of a fixed marker, then a name-based
//! hash of the namespace's full id, the wanted value and the evaluation.

use capacity_engine::{Capacity, NamespaceId};
use uuid::Uuid;

/// The first 32 bits of every id that we create. Never change it: older ids must stay recognizable.
const MARKER: [u8; 4] = [0x7c, 0xa9, 0xac, 0x17];

/// The namespace of our name-based UUIDs (a random version 4 UUID, generated once).
const NAME_SPACE: Uuid = Uuid::from_u128(0x5b0f_9c2e_3d1a_4e67_9a44_c1d2_70e8_b3f5);

/// Returns the operation id of one wanted change of one evaluation.
///
/// The namespace's full id includes the account. The same three inputs always give the same id.
pub fn operation_id(namespace: &NamespaceId, wanted: Capacity, evaluation: &str) -> String {
    let wanted = match wanted {
        Capacity::OnDemand => 0,
        Capacity::Provisioned(trus) => trus.get(),
    };
    let hash = Uuid::new_v5(
        &NAME_SPACE,
        format!("{namespace}\n{wanted}\n{evaluation}").as_bytes(),
    );
    let mut bytes = *hash.as_bytes();
    bytes[..MARKER.len()].copy_from_slice(&MARKER);
    Uuid::new_v8(bytes).to_string()
}

/// Returns whether an operation id was made by [`operation_id`].
pub fn is_ours(operation_id: &str) -> bool {
    Uuid::parse_str(operation_id)
        .is_ok_and(|id| id.get_version_num() == 8 && id.as_bytes()[..MARKER.len()] == MARKER)
}

/// Returns a digest of a text, to detect edits. It detects accidents, not forgery.
pub(crate) fn digest(text: &str) -> String {
    Uuid::new_v5(&NAME_SPACE, text.as_bytes()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use capacity_engine::Trus;

    fn namespace(id: &str) -> NamespaceId {
        id.parse().expect("a valid id")
    }

    #[test]
    fn the_same_change_of_the_same_evaluation_repeats_its_id() {
        let wanted = Capacity::Provisioned(Trus::try_new(6).expect("positive"));
        let first = operation_id(&namespace("pay.a1b2c"), wanted, "e1");
        assert_eq!(first, operation_id(&namespace("pay.a1b2c"), wanted, "e1"));
        assert_ne!(first, operation_id(&namespace("pay.a1b2c"), wanted, "e2"));
        assert_ne!(
            first,
            operation_id(&namespace("pay.a1b2c"), Capacity::OnDemand, "e1")
        );
        assert_ne!(first, operation_id(&namespace("pay.z9z9z"), wanted, "e1"));
    }

    #[test]
    fn only_ids_with_our_marker_are_ours() {
        let ours = operation_id(&namespace("pay.a1b2c"), Capacity::OnDemand, "e1");
        assert!(is_ours(&ours), "{ours}");
        assert!(
            is_ours(&ours.to_uppercase()),
            "the service may answer in another case"
        );
        assert!(!is_ours("5f0c8f6e-3b0a-4c69-9d86-0f6ad57bd3a1"));
        assert!(!is_ours(""));
        assert!(!is_ours("UpdateNamespace-2026"));
    }
}
