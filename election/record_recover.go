// SPDX-License-Identifier: Apache-2.0

package election

import "slices"

// recoveredTerms is by how much the term rises when a cluster begins anew: more than the terms that the old members may have begun since,
// unknown to this record.
const recoveredTerms = 1000

// Recover is the record of the cluster that node begins anew, when the majority that had agreed on r is lost for good. What r says of
// primary, S and k still holds: it decides who may be promoted, and lost hosts are not declared to be of no account here. But others may
// have had later terms, and a record of them:
//
//   - The term is raised beyond those, for the primary that r names, so that nobody follows one of the old members.
//   - Nobody is told again that what an old primary wrote was acknowledged to nobody ([ClusterRecord.Untold]).
//   - A decision to accept loss, and a hold-off, were about terms that may be over.
//   - Every member gets another id. Only node votes; the others are members until they are removed, and vote when they come with nothing.
func (r ClusterRecord) Recover(node string) (ClusterRecord, error) {
	const name = "begin the cluster anew"
	m, known := r.Member(node)
	switch {
	case !known:
		return ClusterRecord{}, refuse(name, RefusedUnknown, node, "")
	case m.Witness:
		return ClusterRecord{}, refuse(name, RefusedWitness, node, "")
	}
	n := r.next()
	for i := range n.Members {
		n.LastID++
		n.Members[i].ID = n.LastID
	}
	n.AcceptedLoss, n.HoldOff = nil, nil
	if r.Term != 0 {
		n.Term, n.WentAlone = r.Term+recoveredTerms, true
	}
	return n.checked(name)
}

// MayLack names those whose acknowledgement may have been the only one for a transaction that node has not, by this record alone: nobody
// if node, all by itself, would qualify (docs/design.md §5).
func (r ClusterRecord) MayLack(node string) []string {
	primary, synced, acks, alone := r.Primary, r.Synced, r.Acks, r.Alone
	if k := r.Kept; k != nil {
		primary, synced, acks, alone = k.Primary, k.Synced, k.Acks, k.Alone
	}
	if r.Term == 0 || node == r.Primary || node == primary {
		return nil
	}
	if alone {
		return []string{primary}
	}
	others := slices.DeleteFunc(names(synced), func(name string) bool { return name == node })
	if len(others) < acks {
		return nil
	}
	return others
}
