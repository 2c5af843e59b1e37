// SPDX-License-Identifier: Apache-2.0

package election

// View is what a host must assume of the record while it does not know the fate of a proposal: it
// counts as committed for all that it forbids, and as not committed for all that it allows
// (docs/design.md §4, rule 5). Whatever touches MySQL asks a View, never a record.
//
// A [Change] is in doubt from its first step, so its View also gives the order between
// MySQL and the record: what it takes away is gone before it is proposed, and what it gives
// comes after its commit.
//
// Doubt ends when the change is seen in the log, or when a leader of a later raft term reads the
// record through the quorum, whatever it finds there.
type View struct {
	committed ClusterRecord
	proposed  ClusterRecord // equal to committed unless doubt
	doubt     bool
}

// Settled returns the view of a record that nothing is proposed for.
func Settled(r ClusterRecord) View { return View{committed: r, proposed: r} }

// InDoubt returns the view of a record and of a proposal to follow it.
func InDoubt(committed, proposed ClusterRecord) View {
	return View{committed: committed, proposed: proposed, doubt: true}
}

// Committed returns the record that is known to be committed.
func (v View) Committed() ClusterRecord { return v.committed }

// Records returns the records that may be in force. Who wants to promote must be allowed to by
// each of them (promote.Complete).
func (v View) Records() []ClusterRecord {
	if v.doubt {
		return []ClusterRecord{v.committed, v.proposed}
	}
	return []ClusterRecord{v.committed}
}

// MayChange reports whether a change may be proposed: none while the fate of one is unknown.
func (v View) MayChange() bool { return !v.doubt }

// MayOpen reports whether node may accept writes as primary of term.
func (v View) MayOpen(node string, term uint64) bool {
	return v.all(func(r ClusterRecord) bool { return r.Primary == node && r.Term == term && node != "" })
}

// MayAcknowledge reports whether node may acknowledge the primary's commits.
func (v View) MayAcknowledge(node string) bool {
	return v.all(func(r ClusterRecord) bool { return r.IsSynced(node) })
}

// Word is what a replica's supervisor says of itself: "my receiver was stopped, and semi-sync is
// off since". Term and Revision are of the record, read through the quorum, that it acts on.
type Word struct {
	Given    bool   `json:"given"`
	Term     uint64 `json:"term"`
	Revision uint64 `json:"revision"`
}

// MayConnect reports whether the primary may leave node's replication account unlocked: it may
// acknowledge, or it has given its word for this term. A word does not help a node that the
// committed record has in S: reading that record it would start to acknowledge, and the proposal
// that takes it out may be committed the moment after. For the same reason a word from before the
// last time that somebody left S does not count.
func (v View) MayConnect(node string, word Word) bool {
	if v.MayAcknowledge(node) {
		return true
	}
	r := v.committed
	return word.Given && word.Term == r.Term && word.Revision >= r.Left && !r.IsSynced(node)
}

// MayCommitAlone reports whether the primary may commit without any acknowledgement.
func (v View) MayCommitAlone() bool {
	return v.all(func(r ClusterRecord) bool { return r.Alone })
}

// Acks returns for how many acknowledgements MySQL must wait, at least. It is 0 only where
// MayCommitAlone: with S = ∅ commits wait.
func (v View) Acks() int {
	if v.MayCommitAlone() {
		return 0
	}
	return max(1, v.committed.Acks, v.proposed.Acks)
}

// Paused reports whether failovers that nobody asks for are stopped.
func (v View) Paused() bool { return v.committed.Paused != nil || v.proposed.Paused != nil }

// IsMember reports whether name votes.
func (v View) IsMember(name string) bool {
	return v.all(func(r ClusterRecord) bool { _, known := r.Member(name); return known })
}

func (v View) all(allows func(ClusterRecord) bool) bool {
	return allows(v.committed) && allows(v.proposed)
}
