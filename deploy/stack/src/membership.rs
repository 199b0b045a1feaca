//! Cluster membership, from the heartbeats that each process writes to the database.

use crate::database::direct;
use crate::place::{DATABASES, Place, Stack};
use crate::query_error::QueryError;
use crate::roles::Member;

/// A member whose last heartbeat is older than this has left the cluster.
pub(crate) const HEARTBEAT: &str = "30 seconds";

/// Returns the processes without a current heartbeat, which the other processes do not see.
///
/// # Errors
///
/// If the query fails.
pub(crate) fn unknown_members(place: &Place, stack: &Stack) -> Result<Vec<Member>, QueryError> {
    // The column has no time zone; its values are in UTC.
    let sql = format!(
        "select role, rpc_address from cluster_membership \
         where last_heartbeat > (now() at time zone 'utc') - interval '{HEARTBEAT}'"
    );
    let rows = direct(place, stack, DATABASES[0], &sql)?;
    let is_known = |member: &Member| {
        let number = member.role.membership_number().to_string();
        let ip = member.ip(&stack.network().loopback);
        rows.iter()
            .any(|row| row.first() == Some(&number) && row.get(1) == Some(&ip))
    };
    let members = stack.settings.members().into_iter();
    Ok(members.filter(|member| !is_known(member)).collect())
}
