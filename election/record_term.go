// SPDX-License-Identifier: Apache-2.0

package election

import (
	"fmt"
	"time"
)

// Move is what history says of a change of the primary.
type Move struct {
	At      int64 // Unix time in ms
	Kind    MoveKind
	Reason  string
	Asked   bool          // an operator asked for it: a pause does not stop it
	HoldOff time.Duration // that a failover starts; whole ms, up to maxHoldOff
}

// maxHoldOff bounds what a damaged or careless value can block.
const maxHoldOff = 24 * time.Hour

// BeginTerm makes primary the primary of a new term. The primary of record that regains the right
// keeps S, k and all that belongs to them: a new raft term alone resets nothing. For another,
// S = ∅ and k = 0; what counted until now is kept, until S leaves ∅ or it goes alone. Before the
// very first term its primary is taken to have been alone: nobody else knows what it told whom.
//
// Order: the new primary has applied all that it received, so that it survives a restart (a
// restarted primary of record is complete by its binary log alone); commit; then, before writes
// open, make it true: MySQL waits for k ≥ 1 acknowledgements, and those of whoever is not in S are
// impossible.
func (r ClusterRecord) BeginTerm(term uint64, primary string, move Move) (ClusterRecord, error) {
	const name = "begin a term"
	m, known := r.Member(primary)
	switch {
	case !known:
		return ClusterRecord{}, refuse(name, RefusedUnknown, primary, "")
	case m.Witness:
		return ClusterRecord{}, refuse(name, RefusedWitness, primary, "")
	case term <= r.Term:
		return ClusterRecord{}, refuse(name, RefusedStale, primary, fmt.Sprintf("term %d is not above %d", term, r.Term))
	case r.Paused != nil && r.Term != 0 && primary != r.Primary && !move.Asked:
		return ClusterRecord{}, refuse(name, RefusedPaused, primary, "by "+r.Paused.By)
	}
	n := r.next()
	n.Term, n.AcceptedLoss = term, nil
	if primary == r.Primary {
		return n.checked(name)
	}
	n.Primary, n.Since = primary, term
	n.Synced, n.Left, n.Acks, n.Alone, n.WentAlone = nil, n.Revision, 0, false, false
	switch {
	case r.Term == 0:
		n.Kept = &KeptTerm{Primary: primary, Alone: true}
		return n.checked(name)
	case len(r.Synced) > 0 || r.Alone:
		n.Kept = &KeptTerm{Term: r.Term, Primary: r.Primary, Synced: r.next().Synced, Acks: r.Acks, Alone: r.Alone}
	}
	n.Failovers = append(n.Failovers, Failover{
		At: move.At, Term: term, From: r.Primary, Since: r.Since, Last: r.Term, To: primary,
		Kind: move.Kind, Reason: move.Reason, Alone: r.WentAlone,
		Loss: r.AcceptedLoss != nil && (r.AcceptedLoss.To == "" || r.AcceptedLoss.To == primary),
	})
	if surplus := len(n.Failovers) - maxFailovers; surplus > 0 {
		n.Failovers = n.Failovers[surplus:]
	}
	n.HoldOff = nil
	if move.HoldOff >= time.Millisecond {
		n.HoldOff = &HoldOff{Term: term, From: r.Primary, At: move.At, For: move.HoldOff.Milliseconds()}
	}
	return n.checked(name)
}

// AcceptLoss notes an operator's decision about the current term; a.Term is set here.
//
// Order: commit; then promote.
func (r ClusterRecord) AcceptLoss(a Acceptance) (ClusterRecord, error) {
	const name = "accept loss"
	switch {
	case r.Term == 0:
		return ClusterRecord{}, refuse(name, RefusedNoTerm, "", "")
	case a.By == "":
		return ClusterRecord{}, refuse(name, RefusedIncomplete, "", "who decided?")
	case a.To != "" && a.To == r.Primary:
		return ClusterRecord{}, refuse(name, RefusedIsPrimary, a.To, "")
	}
	if a.To != "" {
		if err := r.replica(name, a.To); err != nil {
			return ClusterRecord{}, err
		}
	}
	n := r.next()
	a.Term = r.Term
	n.AcceptedLoss = &a
	return n.checked(name)
}

// WithdrawLoss forgets an operator's decision that nobody has used: the primary lives, and what it
// acknowledges from now on nobody has given up.
func (r ClusterRecord) WithdrawLoss() (ClusterRecord, error) {
	if r.AcceptedLoss == nil {
		return ClusterRecord{}, refuse("withdraw accepted loss", RefusedUnchanged, "", "")
	}
	n := r.next()
	n.AcceptedLoss = nil
	return n.checked("withdraw accepted loss")
}

// Pause stops failovers that nobody asks for. A second pause replaces the first.
func (r ClusterRecord) Pause(p Pause) (ClusterRecord, error) {
	const name = "pause"
	switch {
	case p.By == "":
		return ClusterRecord{}, refuse(name, RefusedIncomplete, "", "who decided?")
	case p.Until != 0 && p.Until <= p.Since:
		return ClusterRecord{}, refuse(name, RefusedStale, "", "it would be over before it begins")
	case r.Paused != nil && *r.Paused == p:
		return ClusterRecord{}, refuse(name, RefusedUnchanged, "", "")
	}
	n := r.next()
	n.Paused = &p
	return n.checked(name)
}

// Resume ends a pause.
func (r ClusterRecord) Resume() (ClusterRecord, error) {
	if r.Paused == nil {
		return ClusterRecord{}, refuse("resume", RefusedUnchanged, "", "")
	}
	n := r.next()
	n.Paused = nil
	return n.checked("resume")
}

// AddMember adds a supervisor and gives it an id that nobody ever had.
//
// Order: raft's membership change carries the id; both are one entry, or raft's follows.
func (r ClusterRecord) AddMember(name string, witness bool) (ClusterRecord, error) {
	const transition = "add a member"
	if _, known := r.Member(name); known {
		return ClusterRecord{}, refuse(transition, RefusedDuplicate, name, "")
	}
	n := r.next()
	n.LastID++
	n.Members = append(n.Members, ClusterMember{Name: name, ID: n.LastID, Witness: witness})
	return n.checked(transition)
}

// RemoveMember removes a supervisor. Whoever may hold what was acknowledged stays: the primary,
// members of S and, while it counts, of what is kept. That counts only where S is kept at all:
// with durability best-effort S never leaves ∅, and lossless is false.
//
// Order: commit; then raft's membership change.
func (r ClusterRecord) RemoveMember(name string, lossless bool) (ClusterRecord, error) {
	const transition = "remove a member"
	_, known := r.Member(name)
	switch {
	case !known:
		return ClusterRecord{}, refuse(transition, RefusedUnknown, name, "")
	case name == r.Primary:
		return ClusterRecord{}, refuse(transition, RefusedIsPrimary, name, "switch over first")
	case r.IsSynced(name):
		return ClusterRecord{}, refuse(transition, RefusedSynced, name, "take it out of S first")
	case lossless && r.Kept != nil && (r.Kept.Primary == name || indexSynced(r.Kept.Synced, name) >= 0):
		return ClusterRecord{}, refuse(transition, RefusedKept, name, fmt.Sprintf("until a replica of %s has entered S", r.Primary))
	case len(r.Members) == 1:
		return ClusterRecord{}, refuse(transition, RefusedOnlyMembers, name, "")
	}
	n := r.next()
	for i, m := range n.Members {
		if m.Name == name {
			n.Members = append(n.Members[:i], n.Members[i+1:]...)
			break
		}
	}
	if n.AcceptedLoss != nil && n.AcceptedLoss.To == name {
		n.AcceptedLoss = nil
	}
	return n.checked(transition)
}
