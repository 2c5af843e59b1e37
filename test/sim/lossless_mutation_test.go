// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"slices"
	"strings"
	"testing"
)

// TestLosslessMutations is the test of the test where nothing acknowledged may be lost.
func TestLosslessMutations(t *testing.T) {
	notWithRace(t)
	const enough = 400
	told := []string{"was told of", "were told of"}
	tests := []mutationTest{
		{mutation: NoSeal, script: healed, want: told},
		{mutation: NoCompleteness, script: onlyOneHasIt, want: told},
		{mutation: RestartedHeard, script: relayLogLost, want: told},
		{mutation: ExecutedBarrier, script: halfAcknowledged, hosts: 5, want: told},
		{mutation: KillWithoutLock, script: leftBehind, want: told},
		{mutation: NoLocks, script: ghost, want: told},
		{mutation: Sigterm, script: cutOff, want: told},
		{mutation: ResetTerm, script: resumed, want: told},
		{mutation: GrowLate, script: eager, want: told},
		{mutation: ShrinkEarly, script: leavesAtTheWrongMoment, want: told},
		{mutation: RaiseEarly, script: grows, hosts: 5, want: told},
		{mutation: LowerLate, script: shrinks, hosts: 5, want: told},
		{mutation: SpareAll, script: tornTold, want: told},
	}
	for _, tt := range tests {
		t.Run(strings.ReplaceAll(tt.mutation.String(), " ", "_"), func(t *testing.T) {
			t.Parallel()
			if tt.script != nil {
				catchScripted(t, Config{
					Mutation: tt.mutation, Quorum: true, Lossless: true, KillServer: true, Hosts: tt.hosts,
				}, tt.script, enough, tt.want)
				return
			}
			catch(t, Schedule{
				Config: Config{Mutation: tt.mutation, Quorum: true, Lossless: true, KillServer: true, Hosts: tt.hosts}, Only: tt.only, Faults: 6, Moves: 100,
			}, enough, tt.want)
		})
	}
	for m := NoSeal; m < mutations; m++ {
		if !slices.ContainsFunc(tests, func(tt mutationTest) bool { return tt.mutation == m }) {
			t.Errorf("mutation %s is not in the table", m)
		}
	}
}
