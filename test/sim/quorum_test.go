// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"slices"
	"testing"
	"time"

	"highwater/election"
)

func TestQuorum(t *testing.T) {
	schedules(t, func(seed uint64) Schedule {
		return Schedule{Config: Config{Seed: seed, Quorum: true, KillServer: true}}
	}, 100)
}

// TestQuorumPartitions holds with a quorum what partitions leave nobody without one: P1.
func TestQuorumPartitions(t *testing.T) {
	schedules(t, func(seed uint64) Schedule {
		return Schedule{Config: Config{Seed: seed, Quorum: true, KillServer: true}, Partitions: true}
	}, 150)
}

func TestQuorumFiveHosts(t *testing.T) {
	schedules(t, func(seed uint64) Schedule {
		return Schedule{Config: Config{Seed: seed, Hosts: 5, Quorum: true, KillServer: true}, Partitions: true}
	}, 25)
}

// TestQuorumOneFault holds what one fault alone may cost: the role moves once at the most.
func TestQuorumOneFault(t *testing.T) {
	kinds := []Fault{Isolate, Deafen, Mute, Split, Scramble, Forge, SlowDisk, BounceSupervisor}
	for f := range wholeFaults {
		kinds = append(kinds, f)
	}
	schedules(t, func(seed uint64) Schedule {
		f := kinds[seed%uint64(len(kinds))]
		return Schedule{Config: Config{Seed: seed, Quorum: true, KillServer: true}, Only: []Fault{f}, Faults: 1}
	}, 4*len(kinds))
}

// rest is a cluster with a quorum that has come to rest under db1.
func rest(t *testing.T, seed uint64) *World {
	t.Helper()
	w := New(Config{Seed: seed, Quorum: true, KillServer: true})
	w.Run(2 * firstStart)
	w.want(t, "db1")
	return w
}

// unmoved holds that nothing was taken from db1, not for a moment.
func unmoved(t *testing.T, w *World) {
	t.Helper()
	w.want(t, "db1")
	p := w.hosts[0]
	switch {
	case len(w.History()) != 1:
		t.Fatalf("seed %d: the role moved: %v", w.Seed(), w.History())
	case w.ledger.released > 0 || !p.vip:
		t.Fatalf("seed %d: the VIP was released", w.Seed())
	}
}

// TestForgedAdverts holds P7: whatever is said on the segment takes nothing from a healthy
// primary, not even the lead of a raft term.
func TestForgedAdverts(t *testing.T) {
	t.Parallel()
	for seed := range uint64(20 / slower) {
		w := rest(t, seed+1)
		raft := w.hosts[0].supervisor.voter.core.Status().Term
		w.Inject(Forge, w.hosts[0], 20*time.Second)
		w.Run(25 * time.Second)
		unmoved(t, w)
		if got := w.hosts[0].supervisor.machine.Status().Term; got != 1 {
			t.Fatalf("seed %d: term 1 became %d", seed+1, got)
		}
		if got := w.hosts[0].supervisor.voter.core.Status().Term; got != raft {
			t.Fatalf("seed %d: raft's term %d became %d", seed+1, raft, got)
		}
	}
}

// TestQuorumRestart holds P5: the supervisor of the primary comes back within the lease, and
// nothing moves. Somebody forges adverts meanwhile.
func TestQuorumRestart(t *testing.T) {
	t.Parallel()
	for seed := range uint64(20 / slower) {
		for _, fault := range []Fault{KillSupervisor, RestartSupervisor, BounceSupervisor, FreezeSupervisor} {
			w := rest(t, seed+1)
			if seed%2 == 1 {
				w.Inject(Forge, w.hosts[0], 5*time.Second)
			}
			down := 1200 * time.Millisecond
			if fault == FreezeSupervisor {
				down = 200 * time.Millisecond
			}
			w.Inject(fault, w.hosts[0], down)
			w.Run(10 * time.Second)
			unmoved(t, w)
		}
	}
}

// TestQuorumOutage holds how long it takes until the successor has the VIP.
func TestQuorumOutage(t *testing.T) {
	t.Parallel()
	// A slow clock keeps the address for longer, and a fast one waits for longer.
	c := election.Config{Lease: lease}
	surely := c.LeaseEnds() * 100 / 90 * 100 / 90
	tests := []struct {
		name  string
		fault Fault
		limit time.Duration
	}{
		{"server_killed", KillServer, 500 * time.Millisecond},
		{"server_hung", HangServer, 1200 * time.Millisecond},
		{"stopped", Stop, 1500 * time.Millisecond},
		{"powered_off", PowerOff, surely + 1500*time.Millisecond},
		{"isolated", Isolate, surely + 1500*time.Millisecond},
		{"mute", Mute, surely + 1500*time.Millisecond},
		{"deaf", Deafen, surely + 5*time.Second}, // it is still heard for a while, and the right may move on before it is used
		{"supervisor_killed", KillSupervisor, 2*surely + 2*time.Second},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var took []time.Duration
			for seed := range uint64(10 / slower) {
				w := rest(t, seed+1)
				at := w.now.sub(epoch)
				w.Inject(tt.fault, w.hosts[0], 30*time.Second)
				w.Run(tt.limit)
				if w.broken != nil {
					t.Fatal(w.broken)
				}
				if len(w.History()) != 2 {
					t.Fatalf("seed %d: nobody took over: %s", seed+1, w.summary())
				}
				took = append(took, w.History()[1].At-at)
				w.Run(30 * time.Second)
				w.Heal()
				if err := w.settle(25*time.Second, 1); err != nil {
					t.Fatal(err)
				}
			}
			slices.Sort(took)
			t.Logf("outage: median %v, longest %v", took[len(took)/2].Round(time.Millisecond), took[len(took)-1].Round(time.Millisecond))
		})
	}
}

// TestQuorumSignsOfLife holds when somebody stands, with clients that write all the while: soon when the primary is cut off,
// although its last events come after its last status, and not before the lease has ended when only its supervisor is gone.
func TestQuorumSignsOfLife(t *testing.T) {
	t.Parallel()
	c := election.Config{Lease: lease}
	tests := []struct {
		name        string
		fault       Fault
		least, most time.Duration
	}{
		{"unplugged", Unplug, 0, 2 * time.Second},
		{"isolated", Isolate, 0, 2 * time.Second},
		{"powered_off", PowerOff, 0, 2 * time.Second},
		{"supervisor_killed", KillSupervisor, c.LeaseEnds() * 85 / 100, c.LeaseEnds() + 2*time.Second},
		{"supervisor_frozen", FreezeSupervisor, c.LeaseEnds() * 85 / 100, c.LeaseEnds() + 2*time.Second},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for seed := range uint64(40 / slower) {
				w := rest(t, seed+1)
				// Statuses come late, replication does not.
				w.delay = 40 * time.Millisecond
				w.Run(3*time.Second + w.between(0, 200*time.Millisecond))
				before, at := len(w.stood), w.now.sub(epoch)
				w.Inject(tt.fault, w.hosts[0], time.Minute)
				for w.Run(10 * time.Millisecond); len(w.stood) == before && w.now.sub(epoch) < at+tt.most; {
					w.Run(10 * time.Millisecond)
				}
				if w.broken != nil {
					t.Fatal(w.broken)
				}
				if len(w.stood) == before {
					t.Fatalf("seed %d: nobody stands: %s", seed+1, w.summary())
				}
				if took := w.stood[before].At - at; took < tt.least {
					t.Fatalf("seed %d: %s stands after %v", seed+1, w.stood[before].Node, took)
				}
			}
		})
	}
}

// TestQuorumFailoverByOrder holds that an operator's order is carried out whoever has the right: after a power cut one host
// is missing, another one has the right and waits, and the order goes to the third.
func TestQuorumFailoverByOrder(t *testing.T) {
	t.Parallel()
	for seed := range uint64(40 / slower) {
		w := rest(t, seed+1)
		for _, h := range w.hosts {
			h.powerOff()
		}
		w.Run(time.Second)
		ordered := w.hosts[2]
		for _, h := range w.hosts[1:] {
			h.powerOn()
		}
		w.Run(20 * time.Second)
		if w.hosts[2].holds() {
			ordered = w.hosts[1]
		} else if !w.hosts[1].holds() {
			t.Fatalf("seed %d: nobody has the right: %s", seed+1, w.summary())
		}
		if p := w.Primary(); p != "" {
			t.Fatalf("seed %d: %s did not wait for db1", seed+1, p)
		}
		passed, accepted := w.ledger.passed, false
		ordered.supervisor.ask(func(t election.Token) election.Event {
			return election.Command{Token: t, Name: election.CommandFailover}
		}, func(a answer) { accepted = a.accepted })
		// The right has been unused for so long that nobody waits for the old lease, however often it was passed on.
		w.Run(3 * time.Second)
		switch {
		case w.broken != nil:
			t.Fatal(w.broken)
		case !accepted:
			t.Fatalf("seed %d: the order was refused", seed+1)
		case w.Primary() == "":
			t.Fatalf("seed %d: nobody became primary: %s", seed+1, w.summary())
		case w.ledger.passed-passed > 3:
			t.Fatalf("seed %d: the right was passed on %d times", seed+1, w.ledger.passed-passed)
		}
	}
}

// TestQuorumRepeatsItself holds that a seed decides everything: raft draws a time-out from
// crypto/rand, which must mean nothing.
func TestQuorumRepeatsItself(t *testing.T) {
	t.Parallel()
	for seed := range uint64(10 / slower) {
		s := Schedule{Config: Config{Seed: seed + 1, Quorum: true, KillServer: true, Trace: true}, Partitions: true}
		first, err := Play(s)
		if err != nil {
			t.Fatal(err)
		}
		second, err := Play(s)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(first.World.Trace(), second.World.Trace()) || first.World.seq != second.World.seq {
			t.Fatalf("seed %d: two runs differ", seed+1)
		}
	}
}

// BenchmarkSchedule reports simulated seconds per second of one core.
func BenchmarkSchedule(b *testing.B) {
	for _, c := range []struct {
		name string
		Schedule
	}{
		{"vrrp/3", Schedule{Config: Config{}}},
		{"quorum/3", Schedule{Config: Config{Quorum: true, KillServer: true}, Partitions: true}},
		{"quorum/5", Schedule{Config: Config{Hosts: 5, Quorum: true, KillServer: true}, Partitions: true}},
	} {
		b.Run(c.name, func(b *testing.B) {
			var simulated time.Duration
			for b.Loop() {
				c.Seed++
				r, err := Play(c.Schedule)
				if err != nil {
					b.Fatal(err)
				}
				simulated += r.World.now.sub(epoch)
			}
			b.ReportMetric(simulated.Seconds()/b.Elapsed().Seconds(), "sim-s/s")
		})
	}
}
