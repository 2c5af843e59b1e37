// SPDX-License-Identifier: Apache-2.0

package election

import (
	"slices"
	"time"
)

// Replica is what the primary knows, at one moment, of another host with a server when it looks for
// the next change of S and k.
type Replica struct {
	Node  string
	Start string // its server process; empty: not known
	Word  Word
	// Follows: its receiver reads from this primary. Near: it has received all but the last
	// moments.
	Follows, Near bool
	// Barred: its server may not acknowledge, whatever the record says (promote.Weakness), or it has
	// transactions that this primary has not.
	Barred bool
	// Lost is for how long it has been of no use as a member of S: its supervisor does not answer,
	// its server does not follow, or is barred. 0: it is of use.
	Lost time.Duration
}

// receives reports whether it can be expected to pass a barrier.
func (q Replica) receives() bool { return q.Follows && q.Near }

// DurabilityPolicy says what to aim at.
type DurabilityPolicy struct {
	// MaxAcks is for how many acknowledgements the primary's server can wait: 1 on MariaDB, 0 for any
	// number.
	MaxAcks int
	// GoAlone is `when_alone: continue`.
	GoAlone bool
	// Patience is how long a member of S may be lost before it leaves, or the primary goes alone.
	Patience time.Duration

	Mutations DurabilityMutations // zero but in tests
}

// DurabilityMutations switch single rules off, to prove that a test notices. The zero value is safe; nothing else is.
type DurabilityMutations struct {
	GrowLate    bool // a member is let in before it is in the record
	ShrinkEarly bool // a member leaves the record before it cannot acknowledge any more
	RaiseEarly  bool // the record says a k that MySQL does not wait for yet
	LowerLate   bool // MySQL waits for fewer than the record says
	NoCut       bool // k is raised from 0 without cutting whoever acknowledged before
}

// reorder breaks the order of a change.
func (m DurabilityMutations) reorder(c Change) Change {
	if m.NoCut && c.name == "raise" {
		c.steps = slices.DeleteFunc(slices.Clone(c.steps), func(s Step) bool { return s.Stage == StageCut })
	}
	first := m.ShrinkEarly && c.name == "shrink" || m.RaiseEarly && c.name == "raise"
	if !first && !(m.LowerLate && c.name == "lower") && !(m.GrowLate && c.name == "grow") {
		return c
	}
	i := slices.IndexFunc(c.steps, func(s Step) bool { return s.Stage == StageCommit })
	commit, rest := c.steps[i], slices.Delete(slices.Clone(c.steps), i, i+1)
	if first {
		c.steps = append([]Step{commit}, rest...)
	} else {
		c.steps = append(rest, commit)
	}
	return c
}

// maxOfOneAck is how many members S has where k cannot be above 1: every one of them must be heard
// before anybody promotes.
const maxOfOneAck = 2

// Aim returns the k for an S of n members: with the primary, a majority holds every acknowledged
// transaction, and the loss of as many as leave a majority stops neither writes nor a failover.
func (p DurabilityPolicy) Aim(n int) int {
	k := (n + 1) / 2
	if p.MaxAcks > 0 {
		k = min(k, p.MaxAcks)
	}
	return k
}

// members returns how many members S may have, of n replicas.
func (p DurabilityPolicy) members(n int) int {
	if p.MaxAcks == 1 {
		return min(n, maxOfOneAck)
	}
	return n
}

// NextChange returns the change that brings S and k nearer to the policy's aim, false if there is
// none. One change runs at a time, so it names the most urgent. Unacknowledged is for how long
// no replica has been connected that acknowledges.
func (r ClusterRecord) NextChange(p DurabilityPolicy, replicas []Replica, unacknowledged time.Duration) (Change, bool) {
	if r.Term == 0 {
		return Change{}, false
	}
	plan := func(c Change, err error) (Change, bool) {
		if err != nil {
			return Change{}, false
		}
		return p.Mutations.reorder(c), true
	}
	if r.AcceptedLoss != nil { // for the end of a term that has not ended: the primary is here and asks
		return plan(r.PlanWithdrawLoss())
	}
	v := Settled(r)
	var ready []Replica // may enter S, those first that receive what is committed
	near := 0           // how many do
	for _, q := range replicas {
		switch {
		case r.IsSynced(q.Node) || q.Start == "" || q.Lost != 0 || q.Barred || !v.MayConnect(q.Node, q.Word):
		case q.receives():
			ready = slices.Insert(ready, near, q)
			near++
		default:
			ready = append(ready, q)
		}
	}
	if len(r.Synced) == 0 {
		if r.Alone { // raising k makes writes wait until somebody has passed the barrier
			ready = ready[:near]
		}
		if len(ready) > 0 {
			ready = ready[:p.members(len(ready))]
			return plan(r.PlanRaise(1, nodes(ready)...))
		}
		if p.GoAlone && !r.Alone && r.allLost(p, replicas) {
			return plan(r.PlanAlone())
		}
		return Change{}, false
	}
	for _, q := range replicas {
		i := indexSynced(r.Synced, q.Node)
		if i >= 0 && q.Lost == 0 && q.receives() && q.Start != "" && q.Start != r.Synced[i].Start {
			return plan(r.PlanPass(q.Node)) // until then it counts as unheard
		}
	}
	useful, able, lost := r.weigh(p, replicas)
	members := p.members(len(replicas))
	// Others must stay who pass the barrier. Where there are none, S waits for one who enters, or
	// the primary goes alone.
	if len(lost) > 0 && len(lost) < len(r.Synced) {
		if k := min(p.Aim(len(r.Synced)-1), len(r.Synced)-len(lost)); r.Acks > k {
			return plan(r.PlanLower(k))
		}
		if able >= r.Acks {
			return plan(r.PlanShrink(lost[0]))
		}
	}
	if near > 0 && useful < members {
		return plan(r.PlanGrow(ready[0].Node, ready[0].Start))
	}
	if useful > members && able > r.Acks { // one entered while another was lost for a moment
		return plan(r.PlanShrink(r.Synced[len(r.Synced)-1].Node))
	}
	if k := p.Aim(len(r.Synced)); k > r.Acks && able >= k {
		return plan(r.PlanRaise(k))
	}
	if p.GoAlone && unacknowledged >= p.Patience && r.allLost(p, replicas) {
		return plan(r.PlanAlone())
	}
	return Change{}, false
}

// weigh looks at the members of S: how many are not lost, how many of these can pass a barrier,
// and with whom the patience is over.
func (r ClusterRecord) weigh(p DurabilityPolicy, replicas []Replica) (useful, able int, lost []string) {
	for _, q := range replicas {
		if !r.IsSynced(q.Node) {
			continue
		}
		if q.Lost == 0 {
			useful++
		}
		if q.Lost == 0 && q.receives() {
			able++
		}
		if q.Lost >= p.Patience {
			lost = append(lost, q.Node)
		}
	}
	return useful, able, lost
}

// allLost reports whether the patience with every replica is over.
func (r ClusterRecord) allLost(p DurabilityPolicy, replicas []Replica) bool {
	for _, q := range replicas {
		if q.Lost < p.Patience {
			return false
		}
	}
	return true
}

func nodes(list []Replica) []string {
	var out []string
	for _, q := range list {
		out = append(out, q.Node)
	}
	return out
}
