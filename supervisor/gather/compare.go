// SPDX-License-Identifier: Apache-2.0

package gather

import (
	"fmt"
	"slices"

	"highwater/configs"
	"highwater/election"
	"highwater/mysqlcheck"
	"highwater/promote"
	"highwater/supervisor/peer"
)

// Compare makes the reports from which the successor is chosen out of what the sealed hosts
// said. What a host holds and cannot give is left out of the comparison, so that it keeps
// nobody from being promoted; left names it, for people.
func Compare(nodes []configs.Node, heard map[string]peer.NodeStatus) (reports []promote.Report, left string) {
	var newest peer.NodeStatus // who last took part
	for _, s := range heard {
		// A term above the highest known is a candidate's that never became primary.
		if s.JoinedTerm > newest.JoinedTerm && s.JoinedTerm <= s.Term {
			newest = s
		}
	}
	for _, node := range nodes {
		if node.Witness {
			continue
		}
		r := promote.Report{Node: node.Name, Priority: node.Priority, NoFailover: node.NoFailover}
		s, ok := heard[node.Name]
		if ok {
			r.Heard, r.Eligible, r.Reasons = true, s.Eligible, s.Reasons
		}
		switch {
		case !ok:
		case len(s.Held) > 0:
			// It was compared with the primary of record while that lived: what it has beyond
			// that is known, and must not look like a second truth.
			r.Eligible, r.Reasons = false, []string{string(election.CodeHeldErrant)}
		case older(node.Name, s, newest):
			// It has not come back from an earlier term: what it has of that term and its
			// successor has not is errant, though nobody may remember that after a power cut.
			r.Eligible, r.Reasons = false, []string{string(election.CodeOlderTerm)}
		case slices.Contains(s.Reasons, string(mysqlcheck.ReasonFilters)):
			// Its sets name transactions that it holds only in part.
		default:
			r.Executed, r.Purged, r.DrainETA, r.Errant = s.Executed, s.Purged, s.DrainETA, s.Errant
			r.Received = s.Received.Union(s.Executed)
			if waiting := r.Received.Subtract(s.Executed); !waiting.IsEmpty() && stuck(s.Reasons) {
				r.Received = s.Executed
				left += fmt.Sprintf("; %s has received and cannot apply %s", node.Name, waiting)
			}
		}
		reports = append(reports, r)
	}
	return reports, left
}

// older reports whether a host last took part in an earlier term than the newest in which any
// did. Nobody is older than the first term, which begins with servers that nobody has told
// whom to follow, nor is its primary, which may not have noted the term yet, older than any.
func older(name string, s, newest peer.NodeStatus) bool {
	return s.JoinedTerm < newest.JoinedTerm && s.JoinedPrimary != newest.JoinedPrimary &&
		newest.JoinedTerm > 1 && name != newest.JoinedPrimary
}

// stuck reports whether a host's applier will not apply what it has received any time soon,
// for itself or for anybody who would fetch it.
func stuck(reasons []string) bool {
	for _, r := range []mysqlcheck.Reason{mysqlcheck.ReasonDelayed, mysqlcheck.ReasonApplierError, mysqlcheck.ReasonApplierStopped} {
		if slices.Contains(reasons, string(r)) {
			return true
		}
	}
	return false
}
