// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"testing"
	"time"
)

// flow is a cluster that has come to rest under db1.
func flow(t *testing.T, c Config) *World {
	t.Helper()
	w := New(c)
	w.Run(4 * time.Second)
	w.want(t, "db1")
	return w
}

func (w *World) want(t *testing.T, primary string) {
	t.Helper()
	if w.broken != nil {
		t.Fatal(w.broken)
	}
	if got := w.Primary(); got != primary {
		t.Fatalf("seed %d: primary %q, want %q: %s", w.cfg.Seed, got, primary, w.summary())
	}
}

// successor returns who is primary instead of db1: whoever has received more than the others, by chance, or db2.
func (w *World) successor(t *testing.T) string {
	t.Helper()
	if w.broken != nil {
		t.Fatal(w.broken)
	}
	got := w.Primary()
	if got == "" || got == "db1" {
		t.Fatalf("seed %d: primary %q, want another: %s", w.cfg.Seed, got, w.summary())
	}
	return got
}

// TestFlows holds the outage of one fault on the primary, for many seeds: by then the
// successor must have the VIP.
func TestFlows(t *testing.T) {
	t.Parallel()
	surely := leaseEnds()
	tests := []struct {
		name  string
		fault Fault
		lasts time.Duration
		limit time.Duration // 0: the role must not move
	}{
		{"server_killed", KillServer, 20 * time.Second, 300 * time.Millisecond},
		{"server_hung", HangServer, 20 * time.Second, 900 * time.Millisecond}, // a look's deadline first
		{"disk_full", FillDisk, 20 * time.Second, 1300 * time.Millisecond},    // clients end first
		{"stopped", Stop, 20 * time.Second, 1300 * time.Millisecond},
		{"unplugged", Unplug, 20 * time.Second, surely + 1500*time.Millisecond},
		{"powered_off", PowerOff, 20 * time.Second, surely + 1500*time.Millisecond},
		{"supervisor_killed", KillSupervisor, 20 * time.Second, surely + 2*time.Second},
		{"supervisor_frozen", FreezeSupervisor, 20 * time.Second, surely + 2*time.Second},
		{"host_frozen", FreezeHost, 20 * time.Second, surely + 1500*time.Millisecond},
		{"supervisor_back_within_the_lease", KillSupervisor, 1500 * time.Millisecond, 0},
		{"planned_restart", RestartSupervisor, time.Second, 0},
		{"short_stall", FreezeSupervisor, time.Second, 0},
		{"commits_blocked", BlockCommits, 10 * time.Second, 0},
		{"address_removed", RemoveVIP, time.Second, 0},
		{"packets_lost", LosePackets, 10 * time.Second, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for seed := range uint64(10) {
				for hosts := 2; hosts <= 3; hosts++ {
					w := flow(t, Config{Seed: seed + 1, Hosts: hosts})
					w.Inject(tt.fault, w.hosts[0], tt.lasts)
					if tt.limit == 0 {
						w.Run(tt.lasts + 5*time.Second)
						w.want(t, "db1")
						if len(w.History()) != 1 {
							t.Fatalf("the role moved: %v", w.History())
						}
						continue
					}
					w.Run(tt.limit)
					to := w.successor(t)
					w.Run(30 * time.Second)
					w.Heal()
					if err := w.settle(25*time.Second, 1); err != nil {
						t.Fatal(err)
					}
					w.want(t, to)
				}
			}
		})
	}
}

func TestHandOverLosesNothing(t *testing.T) {
	t.Parallel()
	for seed := range uint64(50) {
		w := flow(t, Config{Seed: seed + 1})
		w.Inject(Stop, w.hosts[0], 20*time.Second)
		w.Run(3 * time.Second)
		if got := w.host(w.successor(t)).server.executed()[0]; got != w.told[0] {
			t.Fatalf("seed %d: clients were told of %d transactions, %d are there", seed+1, w.told[0], got)
		}
	}
}

func TestPowerCutElectsTheMostAdvanced(t *testing.T) {
	t.Parallel()
	for seed := range uint64(30) {
		w := flow(t, Config{Seed: seed + 1})
		w.hosts[1].server.db.StopReceiver() // db2 falls behind
		w.hosts[2].server.db.StopReceiver()
		w.Run(time.Second)
		for _, h := range w.hosts {
			h.powerOff()
		}
		w.Run(time.Second)
		w.hosts[1].powerOn()
		w.hosts[2].powerOn()
		w.Run(15 * time.Second)
		if p := w.Primary(); p != "" {
			t.Fatalf("seed %d: %s did not wait for db1", seed+1, p)
		}
		w.hosts[0].powerOn()
		w.Run(10 * time.Second)
		if p := w.host(w.Primary()); p == nil || p.server.executed()[0] < w.told[0] {
			t.Fatalf("seed %d: clients were told of %d: %s", seed+1, w.told[0], w.summary())
		}
	}
}

// TestNextOneTries holds that a host that cannot be promoted does not stand in the way of
// one that can.
func TestNextOneTries(t *testing.T) {
	t.Parallel()
	for seed := range uint64(30) {
		w := flow(t, Config{Seed: seed + 1})
		w.Inject(FailPromotions, w.hosts[1], time.Hour)
		w.Inject(KillServer, w.hosts[0], time.Hour)
		w.Run(2 * time.Second)
		w.want(t, "db3")
	}
}

func TestOldPrimaryWithMoreIsHeld(t *testing.T) {
	t.Parallel()
	held := 0
	for seed := range uint64(20) {
		w := flow(t, Config{Seed: seed + 1})
		for _, h := range w.hosts[1:] { // what comes now reaches nobody
			h.server.db.StopReceiver()
		}
		w.Run(90 * time.Millisecond)
		w.Inject(PowerOff, w.hosts[0], 20*time.Second)
		w.Run(10 * time.Second)
		if w.Primary() == "" {
			t.Fatalf("seed %d: no primary: %s", seed+1, w.summary())
		}
		w.Heal()
		if err := w.settle(25*time.Second, 2); err != nil {
			t.Fatal(err)
		}
		if w.hosts[0].supervisor.machine.Status().Held != "" {
			held++
		}
	}
	if held == 0 {
		t.Error("nobody was held")
	}
}
