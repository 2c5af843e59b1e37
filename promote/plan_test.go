// SPDX-License-Identifier: Apache-2.0

package promote

import (
	"slices"
	"strings"
	"testing"
)

func TestPlan(t *testing.T) {
	tests := []struct {
		name string
		in   PlanInput
		want string
	}{
		{"nothing special", PlanInput{}, "sealed drain open_writes read_back"},
		{"a peer is ahead", PlanInput{Fetch: true}, "sealed drain fetch open_writes read_back"},
		{"best effort", PlanInput{Lease: true}, "sealed drain wait_for_lease open_writes read_back"},
		{"semi-sync", PlanInput{SemiSync: true}, "sealed drain semi_sync open_writes read_back"},
		{"command", PlanInput{Command: true, SemiSync: true}, "sealed drain command read_back"},
		{"lossless", PlanInput{Lossless: true}, "sealed drain semi_sync lock_replicas open_writes read_back"},
		{"lossless command", PlanInput{Command: true, Lossless: true}, "sealed drain semi_sync lock_replicas command read_back"},
		{
			"lossless, and everything",
			PlanInput{Fetch: true, Lease: true, Before: true, After: true, Lossless: true},
			"sealed drain fetch wait_for_lease hooks_before semi_sync lock_replicas open_writes read_back hooks_after",
		},
		{
			"everything",
			PlanInput{Fetch: true, Lease: true, Before: true, After: true, SemiSync: true},
			"sealed drain fetch wait_for_lease hooks_before semi_sync open_writes read_back hooks_after",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got []string
			for _, step := range Plan(tt.in) {
				got = append(got, string(step))
			}
			if got := strings.Join(got, " "); got != tt.want {
				t.Errorf("plan\n%s, want\n%s", got, tt.want)
			}
		})
	}
}

// What holds for every plan, whatever it is made for.
func TestPlanLaws(t *testing.T) {
	for bits := range 1 << 7 {
		is := func(bit int) bool { return bits>>bit&1 == 1 }
		in := PlanInput{is(0), is(1), is(2), is(3), is(4), is(5), is(6)}
		plan := Plan(in)
		at := func(step StepName) int { return slices.Index(plan, step) }
		opens := max(at(StepOpen), at(StepCommand))
		switch {
		case plan[0] != StepSealed:
			t.Errorf("%+v: does not begin sealed: %v", in, plan)
		case (at(StepOpen) < 0) == (at(StepCommand) < 0):
			t.Errorf("%+v: opens writes in two ways or none: %v", in, plan)
		case slices.Max([]int{at(StepDrain), at(StepFetch), at(StepLease), at(StepBefore), at(StepSemiSync), at(StepLocks)}) > opens:
			t.Errorf("%+v: writes open too early: %v", in, plan)
		case at(StepReadBack) != opens+1:
			t.Errorf("%+v: not read back at once: %v", in, plan)
		case at(StepFetch) >= 0 && at(StepFetch) < at(StepDrain):
			t.Errorf("%+v: another source before the relay log is applied: %v", in, plan)
		case in.Lossless != (at(StepLocks) >= 0):
			t.Errorf("%+v: accounts are locked in a lossless term and in no other: %v", in, plan)
		case in.Lossless && (at(StepSemiSync) < 0 || at(StepSemiSync) > at(StepLocks) || at(StepSemiSync) < at(StepBefore) || at(StepLocks) != opens-1):
			t.Errorf("%+v: writes open before all commits wait and nobody can acknowledge: %v", in, plan)
		case in.Lossless && !(StepSemiSync.needsRight() && StepLocks.needsRight()):
			t.Errorf("%+v: others are cut off without the right: %v", in, plan)
		case slices.IndexFunc(plan, func(s StepName) bool { return !s.prepares() }) <= max(at(StepDrain), at(StepFetch)):
			t.Errorf("%+v: what prepares a promotion is not its beginning: %v", in, plan)
		case !plan[opens].needsRight():
			t.Errorf("%+v: writes open without the right: %v", in, plan)
		}
	}
}
