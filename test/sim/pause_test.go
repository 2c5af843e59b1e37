// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"testing"
	"time"
)

// Failovers are paused and resumed while things go wrong: the cluster comes to rest all the same.
func TestQuorumPauses(t *testing.T) {
	schedules(t, func(seed uint64) Schedule {
		return Schedule{
			Config: Config{Seed: seed, Quorum: true, KillServer: true}, Faults: 6,
			Only: []Fault{PauseFailovers, PauseFailovers, KillServer, BounceServer, HangServer, PowerOff, Isolate, Scramble, FreezeHost, BounceSupervisor, Stop},
		}
	}, 100)
}

// While it is paused the role moves for none of these, however long they last, and the server or host that comes back is
// primary again; resumed meanwhile, it moves at once.
func TestPausedRole(t *testing.T) {
	t.Parallel()
	for seed := range uint64(10 / slower) {
		for _, fault := range []Fault{KillServer, HangServer, PowerOff, Isolate} {
			w := rest(t, seed+1)
			w.pause(time.Hour)
			w.Run(time.Second)
			w.Inject(fault, w.hosts[0], 20*time.Second)
			w.Run(22 * time.Second)
			w.Run(13 * time.Second)
			w.want(t, "db1")
			for _, c := range w.History() {
				if c.Node != "db1" {
					t.Fatalf("seed %d: paused, and the role moved after %v: %v", seed+1, fault, w.History())
				}
			}
			w.Inject(fault, w.hosts[0], 20*time.Second)
			w.Run(9 * time.Second)
			if got := w.Primary(); got != "" && got != "db1" {
				t.Fatalf("seed %d: paused, and %s is primary", seed+1, got)
			}
			w.resume()
			w.Run(9 * time.Second)
			back := fault == HangServer // it was killed for that, and its service manager has started it again
			if got := w.Primary(); w.broken != nil || got == "" || got == "db1" && !back {
				t.Fatalf("seed %d: resumed after %v, and %q is primary: %v", seed+1, fault, got, w.broken)
			}
		}
	}
}

// Of two servers left the new primary's hangs within the hold-off: the role goes back when that is over, and no earlier. A dead one is not waited for.
func TestHoldOff(t *testing.T) {
	t.Parallel()
	for seed := range uint64(20 / slower) {
		for _, fault := range []Fault{HangServer, KillServer} {
			w := rest(t, seed+1)
			w.hosts[2].server.broken, w.hosts[2].server.brokenAt = true, w.now // it votes, and can never take over
			w.Run(time.Second)
			w.until(time.Second, func() bool { return w.hosts[1].server.received().Contains(w.hosts[0].server.executed()) })
			w.Inject(KillServer, w.hosts[0], 500*time.Millisecond)
			w.Run(1500 * time.Millisecond)
			w.want(t, "db2")
			began := w.History()[1].At
			w.Inject(fault, w.hosts[1], time.Minute)
			w.Run(12 * time.Second)
			w.want(t, "db1")
			after := w.History()[2].At - began
			if fault == HangServer && (after < holdOff*8/10 || // clocks differ
				after > holdOff+4*time.Second) {
				t.Fatalf("seed %d: the role went back after %v, the hold-off is %v", seed+1, after, holdOff)
			}
			if fault == KillServer && after > holdOff {
				t.Fatalf("seed %d: a dead server was waited for: %v", seed+1, after)
			}
		}
	}
}
