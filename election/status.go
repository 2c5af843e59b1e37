// SPDX-License-Identifier: Apache-2.0

package election

import "time"

// Status is what a [Machine] can say of itself.
type Status struct {
	Node     string
	Role     Role
	Router   RouterState
	Priority uint8
	Term     uint64
	Primary  string // of Term
	Promised uint64
	Farewell uint64
	Refusal  Code // why this node last did not stand; while it stands back, why it has to
	// RefusedFor is what Refusal leaves open, for people.
	RefusedFor string
	// StandBack is when this node, whose try or term ended badly, may stand again; 0 if
	// nothing is in the way. Until then it is not eligible in the eyes of others: they would
	// choose it again.
	StandBack Instant
	Held      string // what keeps a held node from following
	Stopping  bool
	Seeks     bool // the right is all that it lacks to stand
}

// Status returns the state for people, peers and metrics.
func (m *Machine) Status() Status {
	s := Status{
		Node: m.cfg.Node, Role: m.role, Router: m.router.State(), Priority: m.cfg.Router.Priority,
		Term: m.term, Primary: m.primary, Promised: m.promised, Farewell: m.farewell,
		Refusal: m.refusal, RefusedFor: m.detail, StandBack: m.standBack, Stopping: m.stop.token != 0,
		Seeks: m.role == RoleReplica && m.wanting && m.authority.Exclusive(),
	}
	switch {
	case m.refusal == "":
		s.RefusedFor = ""
	case m.refusal == CodeStandingBack && m.failed != "":
		s.Refusal, s.RefusedFor = m.failed, m.failedFor
	}
	if m.role == RoleHeld {
		s.Held = m.follow.failed
	}
	return s
}

// PrimaryHeard returns the age of the primary supervisor's last sign of life as primary that
// this node has heard itself, -1 when there was none: hearsay would never grow old. A primary
// hears itself.
func (m *Machine) PrimaryHeard(now Instant) time.Duration {
	switch {
	case m.role == RolePrimary:
		return 0
	case m.primary == m.cfg.Node, !m.primarySeen:
		return -1
	default:
		return age(m.primaryHeard, now)
	}
}
