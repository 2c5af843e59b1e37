// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"slices"
	"strings"
	"testing"
)

// TestMutations is the test of the test: with one rule switched off, some invariant must
// break, and it must be the one that the rule is for.
func TestMutations(t *testing.T) {
	notWithRace(t)
	t.Parallel()
	const enough = 1500
	tests := []mutationTest{
		{mutation: NoLeaseWait, only: []Fault{FreezeSupervisor, KillSupervisor, KillServer}, want: []string{"the VIP is on"}},
		{mutation: NoKernelLease, only: []Fault{FreezeSupervisor, KillSupervisor}, want: []string{"the VIP is on"}},
		{mutation: NoRelease, only: []Fault{Stop, FillDisk}, want: []string{"the VIP is on"}},
		{mutation: NoDemote, only: []Fault{Stop, FillDisk}, want: []string{"is writable beside", "is demoting", "does not follow"}},
		{mutation: NoStall, only: []Fault{FreezeSupervisor}, want: []string{"the VIP is on"}},
		{mutation: NoHealthDoor, only: []Fault{BreakApplier, KillServer, PowerOff}, want: []string{"stands although its server is not eligible"}},
		{mutation: StaleVerdicts, only: []Fault{KillServer}, faults: 1, moves: 1, want: []string{"primaries after", "changed without a fault"}},
		{mutation: NoFetch, only: []Fault{KillServer, BreakApplier, PowerOff, HangServer}, want: []string{"were heard"}},
		{mutation: DeafSeals, only: []Fault{Split}, faults: 1, want: []string{"the VIP is on", "were heard"}},
		{mutation: HastyGather, only: []Fault{KillServer, PowerOff, PowerCut}, want: []string{"were heard"}},
		{mutation: ForgottenPromise, only: []Fault{KillSupervisor}, want: []string{"does not follow"}},
		{mutation: EarlyClaim, only: []Fault{KillServer}, want: []string{"before its promotion"}},
	}
	for _, tt := range tests {
		t.Run(strings.ReplaceAll(tt.mutation.String(), " ", "_"), func(t *testing.T) {
			t.Parallel()
			catch(t, Schedule{Config: Config{Mutation: tt.mutation}, Only: tt.only, Faults: tt.faults, Moves: tt.moves}, enough, tt.want)
		})
	}
	for m := NoMutation + 1; m < NoEstablish; m++ {
		if !slices.ContainsFunc(tests, func(tt mutationTest) bool { return tt.mutation == m }) {
			t.Errorf("mutation %s is not in the table", m)
		}
	}
}

// mutationTest says which invariant a rule is for, and what of all that can go wrong it is to
// be tried with.
type mutationTest struct {
	mutation Mutation
	only     []Fault
	faults   int
	moves    int
	hosts    int
	want     []string     // one of them
	script   func(*World) // instead of what happens by chance, on a cluster at rest
}

// catch plays a schedule of a broken build with one seed after the other until an invariant
// breaks.
func catch(t *testing.T, s Schedule, enough uint64, want []string) {
	t.Helper()
	for s.Seed = 1; s.Seed <= enough; s.Seed++ {
		_, err := Play(s)
		if err == nil {
			continue
		}
		if slices.ContainsFunc(want, func(w string) bool { return strings.Contains(err.Error(), w) }) {
			t.Logf("caught after %d schedules: %.160s", s.Seed, err)
			return
		}
		s.Trace = true
		r, _ := Play(s)
		t.Fatalf("caught after %d schedules by another invariant than %q: %v\nthe trace ends:\n%s", s.Seed, want, err, r.World.end())
	}
	t.Errorf("not caught in %d schedules", enough)
}
