// SPDX-License-Identifier: Apache-2.0

package model

import "testing"

// TestMutations switches each rule off in turn: the search must find what the rule is for, and
// nothing among as many states with the rule on. The names are those of the attacks that
// the rules answer.
func TestMutations(t *testing.T) {
	for _, tt := range []struct {
		name  string
		off   mutation
		model func() *model
	}{
		{"no formula", noFormula, func() *model { return three(calm) }},
		{"no sealing", noSealing, func() *model { return three(calm) }},
		{"C2 gtid_executed instead of a barrier", executedNotBarrier, func() *model { return three(calm) }},
		{"C3a start without locks", startWithoutLocks | ackAtOnce, func() *model { return three(calm) }},
		// Either alone does no harm: what was not cut when the term began is cut when k is raised.
		{"C3b resume resets S and k", resumeResets | raiseWithoutCut, func() *model { return three(calm) }},
		{"C3c start without locks, a ghost", startWithoutLocks, func() *model {
			return three(func(m *model) { calm(m); m.rights, m.first = 4, haunted })
		}},
		{"C4 kill instead of lock", killNotLock, func() *model { return three(once) }},
		{"C5 SIGTERM instead of SIGKILL", shutdownNotKill, func() *model { return three(calm) }},
		{"C6 restarted counts as heard", restartedIsHeard, func() *model { return three(once) }},
		{"C6 a barrier begun before the restart", barrierBeforeStart, func() *model { return three(once) }},
		{"H1 nothing kept", nothingKept, func() *model { return two(calm) }},
		{"M1 undone in doubt", letBackInDoubt, func() *model { return three(doubtful) }},
		{"M1 undone in doubt, k", lowerInDoubt, func() *model {
			return three(func(m *model) { doubtful(m); m.acks = 2 })
		}},
		{"M2 promise not held", promiseNotHeld, func() *model { return three(calm) }},
		{"a word in doubt", wordInDoubt, func() *model { return three(calm) }},
		{"committed before it has drained", commitBeforeDrain, func() *model { return two(nil) }},
		{"heard for its term without 1/1", notDurableIsHeard, func() *model {
			return two(func(m *model) { m.fragile = true })
		}},
		{"another process than was found complete", otherProcessOpens, func() *model {
			return two(func(m *model) { m.fragile, m.doubt = true, true })
		}},
		{"re-pointed before it has applied", repointDropsRelay, func() *model { return three(calm) }},
		{"grow: acknowledge, then commit", growReversed, func() *model {
			return three(func(m *model) { calm(m); m.first = established(0b10, 0b100, 1) })
		}},
		{"shrink: commit, then cut", shrinkReversed, func() *model { return three(calm) }},
		{"raise: commit, then MySQL", raiseReversed, func() *model {
			return three(func(m *model) { calm(m); m.acks = 2 })
		}},
		{"lower: MySQL, then commit", lowerReversed, func() *model {
			return three(func(m *model) { calm(m); m.acks = 2; m.first = established(0b110, 0, 2) })
		}},
		{"alone: MySQL, then commit", aloneReversed, func() *model {
			return three(func(m *model) { calm(m); m.alone = true })
		}},
		{"back from alone: commit, then barrier", raiseReversed, func() *model {
			return two(func(m *model) { calm(m); m.alone = true })
		}},
		{"back from alone without a cut", raiseWithoutCut, func() *model {
			return three(func(m *model) { calm(m); m.alone, m.trx, m.rights = true, 2, 2 })
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			m := tt.model()
			m.off = tt.off
			got := m.exhaust(3_000_000)
			t.Log(got)
			if got.violation == nil {
				t.Fatal("not caught")
			}
			t.Logf("%s, in %d steps", got.violation.what, got.violation.steps)
			if *story {
				t.Log("\n" + got.violation.trace)
			}
			sound := tt.model().exhaust(got.states)
			if sound.violation != nil {
				t.Errorf("also with the rule on: %s\n%s", sound.violation.what, sound.violation.trace)
			}
		})
	}
}

// calm is without faults: the right moves all the same.
func calm(m *model) { m.faults = 0 }

// once is with one fault and one term more.
func once(m *model) { m.rights = 2 }

// doubtful may lose sight of proposals, and has no other fault.
func doubtful(m *model) { m.faults, m.doubt = 0, true }
