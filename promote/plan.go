// SPDX-License-Identifier: Apache-2.0

package promote

// StepName is a step of a promotion or a demotion, as it is reported and
// measured.
type StepName string

// Steps of a promotion.
const (
	// StepSealed: nothing comes in from a source any more.
	StepSealed StepName = "sealed"
	// StepDrain: everything received is applied.
	StepDrain StepName = "drain"
	// StepFetch: what a peer has more is read from it and applied.
	StepFetch StepName = "fetch"
	// StepLease: the VIP's lease of the old primary has ended.
	StepLease StepName = "wait_for_lease"
	// StepBefore: the before hooks agree.
	StepBefore StepName = "hooks_before"
	// StepSemiSync: commits wait for an acknowledgement from now on.
	StepSemiSync StepName = "semi_sync"
	// StepLocks: nobody can acknowledge who must not.
	StepLocks StepName = "lock_replicas"
	// StepOpen: the server accepts writes.
	StepOpen StepName = "open_writes"
	// StepCommand: the command that replaces StepOpen, and outside of a lossless
	// term StepSemiSync, has run.
	StepCommand StepName = "command"
	// StepReadBack: the server says itself that it accepts writes.
	StepReadBack StepName = "read_back"
	// StepAfter: the after hooks have run.
	StepAfter StepName = "hooks_after"
)

// Steps of a demotion.
const (
	StepEvents   StepName = "events"      // no event starts here any more
	StepReadOnly StepName = "read_only"   // the server refuses writes
	StepSessions StepName = "sessions"    // the clients' connections are gone
	StepKill     StepName = "kill_server" // the server process is gone
)

// PlanInput is what the steps of a promotion depend on.
type PlanInput struct {
	Fetch    bool // a peer is ahead
	Lease    bool // the old primary's lease may still run
	Before   bool // there are before hooks
	After    bool // there are after hooks
	SemiSync bool // the old primary waited for acknowledgements
	Lossless bool // nothing acknowledged may be lost
	Command  bool // an operator's command replaces the built-in promotion
}

// Plan returns the steps of a promotion, in order.
//
// What was received is applied before a peer is asked for more, because to set
// another source deletes the relay log. Semi-sync comes before writes open, or
// the first ones would be unprotected, and after the drain, because the applier
// too would wait for acknowledgements. Of a lossless term both what makes commits
// wait and what keeps others from acknowledging come before writes open, in this
// order: nothing is to slip through between the two.
func Plan(in PlanInput) []StepName {
	steps := []StepName{StepSealed, StepDrain}
	add := func(wanted bool, step StepName) {
		if wanted {
			steps = append(steps, step)
		}
	}
	add(in.Fetch, StepFetch)
	add(in.Lease, StepLease)
	add(in.Before, StepBefore)
	add(in.Lossless || in.SemiSync && !in.Command, StepSemiSync)
	add(in.Lossless, StepLocks)
	add(!in.Command, StepOpen)
	add(in.Command, StepCommand)
	add(true, StepReadBack)
	add(in.After, StepAfter)
	return steps
}

// needsRight reports whether the right to be primary is checked once more right
// before the step: what it does cannot be taken back, or shows outside.
func (n StepName) needsRight() bool {
	switch n {
	case StepFetch, StepBefore, StepSemiSync, StepLocks, StepOpen, StepCommand:
		return true
	default:
		return false
	}
}

// prepares reports whether the step only makes the server hold what it must.
func (n StepName) prepares() bool { return n == StepSealed || n == StepDrain || n == StepFetch }

// opens reports whether writes may be open once the step has begun.
func (n StepName) opens() bool { return n == StepOpen || n == StepCommand || n == StepReadBack }
