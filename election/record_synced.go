// SPDX-License-Identifier: Apache-2.0

package election

import (
	"fmt"
	"slices"
)

// next starts the record that follows r, sharing nothing that may be written.
func (r ClusterRecord) next() ClusterRecord {
	r.Revision++
	r.Synced = slices.Clone(r.Synced)
	r.Members = slices.Clone(r.Members)
	r.Failovers = slices.Clone(r.Failovers)
	return r
}

// checked is the end of every transition: a record that breaks its own rules is never proposed.
func (r ClusterRecord) checked(transition string) (ClusterRecord, error) {
	if err := r.Validate(); err != nil {
		return ClusterRecord{}, refuse(transition, RefusedDamaged, "", err.Error())
	}
	return r, nil
}

// replica returns why node cannot be in S, if so.
func (r ClusterRecord) replica(transition, node string) error {
	m, known := r.Member(node)
	switch {
	case r.Term == 0:
		return refuse(transition, RefusedNoTerm, node, "")
	case !known:
		return refuse(transition, RefusedUnknown, node, "")
	case m.Witness:
		return refuse(transition, RefusedWitness, node, "")
	case node == r.Primary:
		return refuse(transition, RefusedIsPrimary, node, "")
	default:
		return nil
	}
}

// passed returns S with the server processes of those who have passed a barrier, or why they
// do not count. Each ran already when the barrier began ([Change.Begin]).
func (r ClusterRecord) passed(transition string, barrier []SyncedNode) ([]SyncedNode, error) {
	synced := slices.Clone(r.Synced)
	for i, p := range barrier {
		j := indexSynced(synced, p.Node)
		switch {
		case j < 0:
			return nil, refuse(transition, RefusedNotSynced, p.Node, "it passed the barrier, and is not in S")
		case p.Start == "":
			return nil, refuse(transition, RefusedNoStart, p.Node, "")
		case indexSynced(barrier[:i], p.Node) >= 0:
			return nil, refuse(transition, RefusedDuplicate, p.Node, "it is counted twice")
		}
		synced[j].Start = p.Start
	}
	return synced, nil
}

// Grow adds a replica to a set S that is not empty, whose server process is start.
//
// Order: commit; then let it acknowledge. It needs to catch up with nothing: the rule of
// docs/design.md §5 only becomes stricter.
func (r ClusterRecord) Grow(node, start string) (ClusterRecord, error) {
	const name = "grow S"
	if err := r.replica(name, node); err != nil {
		return ClusterRecord{}, err
	}
	switch {
	case r.IsSynced(node):
		return ClusterRecord{}, refuse(name, RefusedSynced, node, "")
	case len(r.Synced) == 0:
		return ClusterRecord{}, refuse(name, RefusedEmpty, node, "S leaves ∅ by raising k")
	case start == "":
		return ClusterRecord{}, refuse(name, RefusedNoStart, node, "")
	}
	n := r.next()
	n.Synced = sortSynced(append(n.Synced, SyncedNode{Node: node, Start: start}))
	return n.checked(name)
}

// Shrink removes a replica from S. Of those who stay, barrier are those who have passed one that
// began after the replica's acknowledgements had become impossible; at least k. The last member
// does not leave: S = ∅ without [ClusterRecord.GoAlone] would be a door without a handle.
//
// Order: make its acknowledgements impossible; barrier; commit. Until its fate is known the
// replica stays cut ([View.MayAcknowledge]).
func (r ClusterRecord) Shrink(node string, barrier ...SyncedNode) (ClusterRecord, error) {
	const name = "shrink S"
	i := indexSynced(r.Synced, node)
	switch {
	case i < 0:
		return ClusterRecord{}, refuse(name, RefusedNotSynced, node, "")
	case len(r.Synced) == 1:
		return ClusterRecord{}, refuse(name, RefusedLast, node, "it stays until another has entered S or the primary goes alone")
	case len(r.Synced)-1 < r.Acks:
		return ClusterRecord{}, refuse(name, RefusedAcks, node, fmt.Sprintf("%d would stay and k is %d: lower k first", len(r.Synced)-1, r.Acks))
	case indexSynced(barrier, node) >= 0:
		return ClusterRecord{}, refuse(name, RefusedBarrier, node, "it is to leave and cannot stand for those who stay")
	case len(barrier) < r.Acks:
		return ClusterRecord{}, refuse(name, RefusedBarrier, node, fmt.Sprintf("%d of those who stay have passed the barrier and k is %d", len(barrier), r.Acks))
	}
	synced, err := r.passed(name, barrier)
	if err != nil {
		return ClusterRecord{}, err
	}
	n := r.next()
	n.Synced, n.Left = slices.Delete(synced, i, i+1), n.Revision
	return n.checked(name)
}

// Raise sets k to a higher value. Barrier are the replicas that have passed one which began after
// MySQL waited for so many acknowledgements; at least that many. If S is empty, they are the new
// S; before that barrier every replica's acknowledgements must have been made impossible.
//
// Order: MySQL; barrier; commit. From ∅: make impossible; MySQL; barrier; commit; then let the
// members acknowledge.
//
// That the primary was alone is forgotten then: all that it told anybody alone lies before that
// barrier in its log, so S holds it.
func (r ClusterRecord) Raise(acks int, barrier ...SyncedNode) (ClusterRecord, error) {
	const name = "raise k"
	switch {
	case r.Term == 0:
		return ClusterRecord{}, refuse(name, RefusedNoTerm, "", "")
	case acks <= r.Acks:
		return ClusterRecord{}, refuse(name, RefusedAcks, "", fmt.Sprintf("k is %d and would be %d", r.Acks, acks))
	case len(r.Synced) > 0 && acks > len(r.Synced):
		return ClusterRecord{}, refuse(name, RefusedAcks, "", fmt.Sprintf("k would be %d, and S has %d members", acks, len(r.Synced)))
	case len(barrier) < acks:
		return ClusterRecord{}, refuse(name, RefusedBarrier, "", fmt.Sprintf("%d replicas have passed the barrier and k would be %d", len(barrier), acks))
	}
	n := r.next()
	if len(r.Synced) == 0 {
		for _, p := range barrier {
			if err := r.replica(name, p.Node); err != nil {
				return ClusterRecord{}, err
			}
			if p.Errant != "" {
				return ClusterRecord{}, refuse(name, RefusedErrant, p.Node, p.Errant)
			}
		}
		n.Synced = sortSynced(barrier)
		r.Synced = n.Synced // for the checks below
	}
	synced, err := r.passed(name, barrier)
	if err != nil {
		return ClusterRecord{}, err
	}
	n.Synced, n.Acks, n.Alone, n.WentAlone, n.Kept = synced, acks, false, r.WentAlone && !r.Alone, nil
	return n.checked(name)
}

// Lower sets k to a lower value, at least 1.
//
// Order: commit; then MySQL.
func (r ClusterRecord) Lower(acks int) (ClusterRecord, error) {
	const name = "lower k"
	if acks < 1 || acks >= r.Acks {
		return ClusterRecord{}, refuse(name, RefusedAcks, "", fmt.Sprintf("k is %d and would be %d", r.Acks, acks))
	}
	n := r.next()
	n.Acks = acks
	return n.checked(name)
}

// GoAlone lets the primary acknowledge by itself (`when_alone: continue`). From then on nobody
// succeeds it who does not hold all that it holds.
//
// Order: commit; then MySQL. The replicas that were in S are cut like everybody else: they have
// to be, before k is raised again.
func (r ClusterRecord) GoAlone() (ClusterRecord, error) {
	const name = "go alone"
	switch {
	case r.Term == 0:
		return ClusterRecord{}, refuse(name, RefusedNoTerm, "", "")
	case r.Alone:
		return ClusterRecord{}, refuse(name, RefusedUnchanged, "", "")
	}
	n := r.next()
	n.Synced, n.Left, n.Acks, n.Alone, n.WentAlone, n.Kept = nil, n.Revision, 0, true, true, nil
	return n.checked(name)
}

// Pass says that members of S have passed a barrier with the server processes named: one that had
// restarted counts as heard again.
//
// Order: barrier; commit.
func (r ClusterRecord) Pass(barrier ...SyncedNode) (ClusterRecord, error) {
	const name = "note a barrier"
	synced, err := r.passed(name, barrier)
	if err != nil {
		return ClusterRecord{}, err
	}
	if slices.Equal(synced, r.Synced) {
		return ClusterRecord{}, refuse(name, RefusedUnchanged, "", "")
	}
	n := r.next()
	n.Synced = synced
	return n.checked(name)
}

// MarkErrant notes the transactions, as GTIDs, that a member of S has and the primary has not; none
// if they are resolved. They must have been found so: the member's set was read; a barrier
// that began after that was passed; then the primary's set was read. In any other order a commit
// that waits for its acknowledgement looks errant.
func (r ClusterRecord) MarkErrant(node, gtids string) (ClusterRecord, error) {
	const name = "mark errant transactions"
	i := indexSynced(r.Synced, node)
	switch {
	case i < 0:
		return ClusterRecord{}, refuse(name, RefusedNotSynced, node, "")
	case r.Synced[i].Errant == gtids:
		return ClusterRecord{}, refuse(name, RefusedUnchanged, node, "")
	}
	n := r.next()
	n.Synced[i].Errant = gtids
	return n.checked(name)
}
