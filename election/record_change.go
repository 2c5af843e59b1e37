// SPDX-License-Identifier: Apache-2.0

package election

import (
	"bytes"
	"fmt"
	"slices"
)

// Stage is what is to be done next of a [Change].
type Stage string

// The stages. A change goes through some of them, in the order that it needs.
const (
	// StageDrain: the new primary applies all that it received.
	StageDrain Stage = "drain"
	// StageCut: the acknowledgements of Nodes are made impossible: of each that [View.MayConnect]
	// does not let in, the replication account is locked on the primary, and its dump thread is
	// killed and seen gone.
	StageCut Stage = "cut"
	// StageRequire: MySQL waits for Acks acknowledgements, without a time limit, and also when no
	// replica is there.
	StageRequire Stage = "require"
	// StageBarrier: [Change.Begin] takes the server processes of Nodes that run; after that one
	// heartbeat commit begins; Done takes those processes that have received it, at least Acks.
	// Begin may be repeated, with another heartbeat commit.
	StageBarrier Stage = "barrier"
	// StageCommit: [Change.Proposal] is proposed; [Change.Settle] takes what was committed.
	StageCommit Stage = "commit"
	// StageRelax: MySQL waits for Acks acknowledgements only; 0: semi-sync is switched off.
	StageRelax Stage = "relax"
	// StageAdmit: Nodes may acknowledge. Their accounts are unlocked, their supervisors told.
	StageAdmit Stage = "admit"
	// StageOpen: writes open, in the server process that was found complete. If that has ended
	// meanwhile the change is over, committed or not: the right is taken again, and the question
	// put again (promote.Complete).
	StageOpen Stage = "open"
	// StageDone: nothing is left to do.
	StageDone Stage = "done"
)

// Step is one stage of a change with what it needs.
type Step struct {
	Stage Stage    `json:"stage"`
	Nodes []string `json:"nodes,omitempty"`
	Acks  int      `json:"acks,omitempty"`
}

// Change is one transition of the record together with what must be done in MySQL before and
// after it, in the one order in which the record never claims more than MySQL has delivered. It
// is a value; one change runs at a time.
//
// A change that was not proposed yet may be dropped at any stage; [Settled] of its record then
// says what holds again. Once proposed it is dropped only when its fate is known.
type Change struct {
	name     string
	base     ClusterRecord
	proposal ClusterRecord // what it may become; exact from the last barrier on
	steps    []Step
	at       int
	running  []SyncedNode // when the barrier began
	apply    func(barrier []SyncedNode) (ClusterRecord, error)
}

// newChange tries the transition with a barrier that everybody passed.
func newChange(name string, base ClusterRecord, hopeful []SyncedNode, apply func([]SyncedNode) (ClusterRecord, error), steps ...Step) (Change, error) {
	proposal, err := apply(hopeful)
	if err != nil {
		return Change{}, err
	}
	return Change{name: name, base: base, proposal: proposal, steps: steps, apply: apply}, nil
}

// PlanGrow plans [ClusterRecord.Grow].
func (r ClusterRecord) PlanGrow(node, start string) (Change, error) {
	return newChange("grow", r, nil,
		func([]SyncedNode) (ClusterRecord, error) { return r.Grow(node, start) },
		Step{Stage: StageCommit},
		Step{Stage: StageAdmit, Nodes: []string{node}},
	)
}

// PlanShrink plans [ClusterRecord.Shrink].
func (r ClusterRecord) PlanShrink(node string) (Change, error) {
	stay := slices.DeleteFunc(slices.Clone(r.Synced), func(s SyncedNode) bool { return s.Node == node })
	return newChange("shrink", r, stay,
		func(barrier []SyncedNode) (ClusterRecord, error) { return r.Shrink(node, barrier...) },
		Step{Stage: StageCut, Nodes: []string{node}},
		Step{Stage: StageBarrier, Nodes: names(stay), Acks: r.Acks},
		Step{Stage: StageCommit},
	)
}

// PlanRaise plans [ClusterRecord.Raise]. Nodes are the replicas that may become S if it is empty;
// otherwise they are left out.
func (r ClusterRecord) PlanRaise(acks int, nodes ...string) (Change, error) {
	apply := func(barrier []SyncedNode) (ClusterRecord, error) { return r.Raise(acks, barrier...) }
	if len(r.Synced) > 0 {
		return newChange("raise", r, r.Synced, apply,
			Step{Stage: StageRequire, Acks: acks},
			Step{Stage: StageBarrier, Nodes: names(r.Synced), Acks: acks},
			Step{Stage: StageCommit},
		)
	}
	hopeful := make([]SyncedNode, 0, len(nodes))
	for _, node := range nodes {
		hopeful = append(hopeful, SyncedNode{Node: node, Start: "to be seen"})
	}
	hopeful = sortSynced(hopeful)
	return newChange("raise", r, hopeful, apply,
		Step{Stage: StageCut, Nodes: r.replicas()},
		Step{Stage: StageRequire, Acks: acks},
		Step{Stage: StageBarrier, Nodes: names(hopeful), Acks: acks},
		Step{Stage: StageCommit},
		Step{Stage: StageAdmit, Nodes: names(hopeful)}, // those of them who passed
	)
}

// PlanLower plans [ClusterRecord.Lower].
func (r ClusterRecord) PlanLower(acks int) (Change, error) {
	return newChange("lower", r, nil,
		func([]SyncedNode) (ClusterRecord, error) { return r.Lower(acks) },
		Step{Stage: StageCommit},
		Step{Stage: StageRelax, Acks: acks},
	)
}

// PlanAlone plans [ClusterRecord.GoAlone].
func (r ClusterRecord) PlanAlone() (Change, error) {
	return newChange("alone", r, nil,
		func([]SyncedNode) (ClusterRecord, error) { return r.GoAlone() },
		Step{Stage: StageCommit},
		Step{Stage: StageCut, Nodes: r.replicas()},
		Step{Stage: StageRelax},
	)
}

// PlanPass plans [ClusterRecord.Pass] for one member.
func (r ClusterRecord) PlanPass(node string) (Change, error) {
	if !r.IsSynced(node) {
		return Change{}, refuse("note a barrier", RefusedNotSynced, node, "")
	}
	return Change{
		name: "pass", base: r, proposal: r,
		apply: func(barrier []SyncedNode) (ClusterRecord, error) { return r.Pass(barrier...) },
		steps: []Step{{Stage: StageBarrier, Nodes: []string{node}, Acks: 1}, {Stage: StageCommit}},
	}, nil
}

// PlanWithdrawLoss plans [ClusterRecord.WithdrawLoss].
func (r ClusterRecord) PlanWithdrawLoss() (Change, error) {
	return newChange("withdraw_loss", r, nil,
		func([]SyncedNode) (ClusterRecord, error) { return r.WithdrawLoss() },
		Step{Stage: StageCommit},
	)
}

// PlanTerm plans [ClusterRecord.BeginTerm]. That primary may succeed is not decided here.
func (r ClusterRecord) PlanTerm(term uint64, primary string, move Move) (Change, error) {
	c, err := newChange("term", r, nil,
		func([]SyncedNode) (ClusterRecord, error) { return r.BeginTerm(term, primary, move) })
	if err != nil {
		return Change{}, err
	}
	if primary != r.Primary {
		c.steps = append(c.steps, Step{Stage: StageDrain})
	}
	cut := slices.DeleteFunc(c.proposal.replicas(), c.proposal.IsSynced)
	c.steps = append(
		c.steps,
		Step{Stage: StageCommit},
		Step{Stage: StageCut, Nodes: cut},
		Step{Stage: StageRequire, Acks: Settled(c.proposal).Acks()},
		Step{Stage: StageOpen},
	)
	return c, nil
}

// Name says which transition it is: grow, shrink, raise, lower, alone, pass, withdraw_loss or
// term.
func (c Change) Name() string { return c.name }

// Step returns what is to be done now.
func (c Change) Step() Step {
	if c.at >= len(c.steps) {
		return Step{Stage: StageDone}
	}
	return c.steps[c.at]
}

// committed reports whether the stage of the commit is past.
func (c Change) committed() bool {
	return slices.ContainsFunc(c.steps[:min(c.at, len(c.steps))], func(s Step) bool { return s.Stage == StageCommit })
}

// View returns what must be assumed while the change is at this stage.
func (c Change) View() View {
	if c.committed() {
		return Settled(c.proposal)
	}
	return InDoubt(c.base, c.proposal)
}

// Begin says, before the heartbeat commit of a barrier begins, in which processes the servers run
// that may pass it. A process that starts later cannot: what its predecessor acknowledged since
// the barrier began, and lost, is not before the barrier.
func (c Change) Begin(running ...SyncedNode) (Change, error) {
	step := c.Step()
	if step.Stage != StageBarrier {
		return c, refuse(c.name, RefusedStage, "", fmt.Sprintf("it is at %s", step.Stage))
	}
	c.running = nil
	for _, p := range running {
		if !slices.Contains(step.Nodes, p.Node) {
			return c, refuse(c.name, RefusedBarrier, p.Node, "it was not asked to pass the barrier")
		}
		c.running = append(c.running, p)
	}
	return c, nil
}

// Done says that the step has been done, and returns the change with the next one. After a
// barrier it takes those who have passed it; if they do not suffice the change stays as it was.
// A commit is not done but settled.
func (c Change) Done(passed ...SyncedNode) (Change, error) {
	step := c.Step()
	switch step.Stage {
	case StageDone, StageCommit:
		return c, refuse(c.name, RefusedStage, "", fmt.Sprintf("it is at %s", step.Stage))
	case StageBarrier:
		for _, p := range passed {
			i := indexSynced(c.running, p.Node)
			if i < 0 || c.running[i].Start != p.Start {
				return c, refuse(c.name, RefusedBarrier, p.Node, "it did not run when the barrier began")
			}
		}
		proposal, err := c.apply(passed)
		if err != nil {
			return c, err
		}
		c.proposal = proposal
		// Only they are let in.
		c.steps = slices.Clone(c.steps)
		for i := range c.steps {
			if c.steps[i].Stage == StageAdmit {
				c.steps[i].Nodes = names(sortSynced(passed))
			}
		}
	default:
		if len(passed) > 0 {
			return c, refuse(c.name, RefusedStage, "", fmt.Sprintf("a barrier was passed at %s", step.Stage))
		}
	}
	c.at++
	return c, nil
}

// Proposal returns the record to propose. It is there at StageCommit only.
func (c Change) Proposal() (ClusterRecord, error) {
	if step := c.Step(); step.Stage != StageCommit {
		return ClusterRecord{}, refuse(c.name, RefusedStage, "", fmt.Sprintf("it is at %s", step.Stage))
	}
	return c.proposal, nil
}

// Settle takes a record that is committed. If it is the proposal, the change goes on with the
// next step; while it is still the one before, nothing is known and the change stays at
// StageCommit; if it is another, the change is over and the error says so.
func (c Change) Settle(committed ClusterRecord) (Change, error) {
	proposal, err := c.Proposal()
	if err != nil {
		return c, err
	}
	switch {
	case sameRecord(committed, proposal):
		c.at++
		return c, nil
	case sameRecord(committed, c.base):
		return c, nil
	default:
		return c, refuse(c.name, RefusedSuperseded, "", fmt.Sprintf("revision %d was committed instead of %d", committed.Revision, proposal.Revision))
	}
}

// Commit decides for every host alike whether a proposal that comes out of the log is committed:
// it must have been made for exactly this record. One made for an earlier revision by somebody who
// had lost the right, or whose proposal was late, changes nothing.
func (r ClusterRecord) Commit(proposal ClusterRecord) (ClusterRecord, error) {
	switch {
	case proposal.Revision != r.Revision+1:
		return r, refuse("commit", RefusedStale, "", fmt.Sprintf("revision %d does not follow %d", proposal.Revision, r.Revision))
	case proposal.Term < r.Term || proposal.Term == r.Term && proposal.Primary != r.Primary:
		return r, refuse("commit", RefusedStale, proposal.Primary, fmt.Sprintf("term %d of %s does not follow term %d of %s", proposal.Term, proposal.Primary, r.Term, r.Primary))
	case proposal.LastID < r.LastID:
		return r, refuse("commit", RefusedStale, "", fmt.Sprintf("last id %d is below %d", proposal.LastID, r.LastID))
	}
	return proposal.checked("commit")
}

func names(list []SyncedNode) []string {
	out := make([]string, 0, len(list))
	for _, s := range list {
		out = append(out, s.Node)
	}
	return out
}

// sameRecord compares two records by their one form.
func sameRecord(a, b ClusterRecord) bool {
	if a.Revision != b.Revision {
		return false
	}
	x, errA := a.Encode()
	y, errB := b.Encode()
	return errA == nil && errB == nil && bytes.Equal(x, y)
}
