// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// TestQuorumMutations is the test of the test with a quorum.
func TestQuorumMutations(t *testing.T) {
	notWithRace(t)
	const enough = 800
	cuts := []Fault{Isolate, Deafen, Mute, Split, Scramble}
	tests := []mutationTest{
		{mutation: NoEstablish, only: []Fault{KillServer, Stop}, want: []string{"the record says"}},
		{mutation: KeptRight, only: []Fault{Isolate, Deafen, Mute}, want: []string{"without the right", "has the right"}},
		{mutation: EarlyHandOver, only: []Fault{Stop, FillDisk}, want: []string{"and has the VIP"}},
		{mutation: UsedRight, only: []Fault{Isolate, Deafen, Mute, FreezeSupervisor}, want: []string{"the VIP is on"}},
		{mutation: NoLeaseWait, only: []Fault{KillSupervisor, Isolate, FreezeSupervisor}, want: []string{"the VIP is on"}},
		{mutation: NoRelease, only: []Fault{Stop, FillDisk}, want: []string{"the VIP is on", "and has the VIP"}},
		// Without the promise nothing ever rests.
		{mutation: NoPromise, only: cuts, want: []string{"both have the right", "for the leader"}},
		{mutation: NoStartPromise, script: forgetful, want: []string{"both have the right"}},
		{mutation: AnyLease, only: cuts, want: []string{"both have the right"}},
		{mutation: LeaseFromAnswer, script: slowAnswers, want: []string{"both have the right"}},
		{mutation: FollowerLease, only: []Fault{KillServer}, want: []string{"both have the right"}},
		{mutation: KeepRight, only: []Fault{Stop, KillServer, LosePackets}, want: []string{"both have the right"}},
		// A follower that has lost what it acknowledged is behind for ever: its leader takes it to have it.
		{
			mutation: SendUnstored, only: []Fault{SlowDisk, PowerOff, BounceSupervisor, Scramble},
			want: []string{"both lead", "another version", "reads version", "says that version", "for the leader"},
		},
	}
	for _, tt := range tests {
		t.Run(strings.ReplaceAll(tt.mutation.String(), " ", "_"), func(t *testing.T) {
			t.Parallel()
			if tt.script != nil {
				catchScripted(t, Config{Mutation: tt.mutation, Quorum: true}, tt.script, enough, tt.want)
				return
			}
			catch(t, Schedule{
				Config: Config{Mutation: tt.mutation, Quorum: true, KillServer: true, Hosts: tt.hosts}, Only: tt.only, Faults: tt.faults, Moves: tt.moves,
			}, enough, tt.want)
		})
	}
	for m := NoEstablish; m < NoSeal; m++ {
		if !slices.ContainsFunc(tests, func(tt mutationTest) bool { return tt.mutation == m }) {
			t.Errorf("mutation %s is not in the table", m)
		}
	}
}

// forgetful parts db1 and db2 and lets the supervisor of db3, whose promise keeps db1 in
// office, come and go.
func forgetful(w *World) {
	w.parted = true
	w.cut[0][1], w.cut[1][0] = true, true
	w.Run(6 * time.Second)
	for range 20 {
		w.hosts[2].crashSupervisor()
		w.Run(w.between(time.Millisecond, 100*time.Millisecond))
		w.hosts[2].startSupervisor()
		w.Run(w.between(500*time.Millisecond, time.Second))
	}
}

// slowAnswers lets packets be lost, so that answers come late, and then nobody hear db1,
// who hears the others.
func slowAnswers(w *World) {
	w.parted, w.datagrams = true, true
	for range 5 {
		w.loss = 0.3
		w.Run(w.between(time.Second, 2*time.Second))
		for to := range w.hosts[1:] {
			w.cut[0][1+to] = true
		}
		w.Run(time.Second)
		w.cut, w.loss = [maxHosts][maxHosts]bool{}, 0
		w.Run(8 * time.Second)
	}
}

// catchScripted runs a script on a broken build with one seed after the other until an
// invariant breaks.
func catchScripted(t *testing.T, c Config, script func(*World), enough uint64, want []string) {
	t.Helper()
	for c.Seed = 1; c.Seed <= enough; c.Seed++ {
		w := New(c)
		w.Run(2 * firstStart)
		script(w)
		w.Close()
		if err := w.Err(); err != nil {
			if !slices.ContainsFunc(want, func(s string) bool { return strings.Contains(err.Error(), s) }) {
				t.Fatalf("caught after %d schedules by another invariant than %q: %v", c.Seed, want, err)
			}
			t.Logf("caught after %d schedules: %.160s", c.Seed, err)
			return
		}
	}
	t.Errorf("not caught in %d schedules", enough)
}

// TestQuorumScripts is the test of those scripts: with every rule in force they break nothing.
func TestQuorumScripts(t *testing.T) {
	t.Parallel()
	for name, script := range map[string]func(*World){"forgetful": forgetful, "slow_answers": slowAnswers} {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(10 / slower) {
				w := New(Config{Seed: seed + 1, Quorum: true})
				w.Run(2 * firstStart)
				script(w)
				if w.Err() != nil {
					t.Fatal(w.Err())
				}
			}
		})
	}
}
