// SPDX-License-Identifier: Apache-2.0

package election

import "fmt"

// Role is what this node is in its cluster. VRRP's state follows from it: a node is Active on
// the wire from Candidate to Primary.
type Role uint8

// The roles, in the order in which a node may pass through them.
const (
	RoleStarting  Role = iota // nothing is known of the server yet
	RoleReplica               // follows, or waits for, a primary
	RoleCandidate             // passed doors 1-3; gathers (door 4)
	RolePromoting             // door 5 is under way
	RoleClaiming              // promoted; the VIP is being added
	RolePrimary               // writable and holds the VIP
	RoleResuming              // was primary before a restart or a stall; asks before it goes on
	RoleLingering             // server process dead; keeps the VIP until a successor speaks
	RoleDemoting              // the VIP is off; the server is being made read-only
	RoleHeld                  // stays fenced: it has transactions that the primary has not
	RoleStopping              // on the operator's order; hands over
	RoleStopped               // takes no part any more
)

var roleNames = [...]string{
	"starting", "replica", "candidate", "promoting", "claiming", "primary",
	"resuming", "lingering", "demoting", "held", "stopping", "stopped",
}

// String returns the role's name as in status, log and metrics.
func (r Role) String() string {
	if int(r) >= len(roleNames) {
		panic(fmt.Sprintf("unknown role %d", uint8(r)))
	}
	return roleNames[r]
}

// MarshalText writes the role's name.
func (r Role) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText reads a role's name; an unknown one is an error.
func (r *Role) UnmarshalText(b []byte) error {
	for i, n := range roleNames {
		if n == string(b) {
			*r = Role(i)
			return nil
		}
	}
	return fmt.Errorf("unknown role %q", b)
}

// aside reports whether a node in this role neither has the VIP nor is on its way there or
// back.
func (r Role) aside() bool {
	return r == RoleStarting || r == RoleReplica || r == RoleHeld
}

// contending reports whether the node is on its way through doors 4 and 5.
func (r Role) contending() bool {
	return r == RoleCandidate || r == RolePromoting || r == RoleClaiming
}
