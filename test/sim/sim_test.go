// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"flag"
	"os"
	"strings"
	"testing"
	"time"
)

var (
	seedFlag  = flag.Uint64("sim.seed", 0, "run this one schedule and write its trace to standard error")
	countFlag = flag.Int("sim.count", 0, "schedules of each kind (0: a few hundred)")
)

func schedules(t *testing.T, kind func(seed uint64) Schedule, n int) {
	t.Helper()
	t.Parallel()
	if *seedFlag != 0 {
		play(t, kind(*seedFlag))
		return
	}
	if *countFlag != 0 {
		n = *countFlag
	}
	if testing.Short() {
		n /= 10
	}
	n = max(1, n/slower)
	diverged := 0
	for seed := range uint64(n) {
		r, err := Play(kind(seed + 1))
		if err != nil {
			replay(t, kind(seed+1), err)
		}
		if r.Diverged {
			diverged++
		}
		if t.Failed() {
			return
		}
	}
	t.Logf("%d schedules, %d of which people have to decide", n, diverged)
	if diverged > n/4 {
		t.Errorf("%d of %d schedules ended without a choice", diverged, n)
	}
}

// replay runs a schedule that failed once more and shows how it ended.
func replay(t *testing.T, s Schedule, first error) {
	t.Helper()
	s.Trace = true
	r, err := Play(s)
	if err == nil || err.Error() != first.Error() {
		t.Errorf("seed %d is not deterministic: first %v, then %v", s.Seed, first, err)
	}
	t.Errorf("%v\nrun it alone with -run '%s' -sim.seed=%d; the trace ends:\n%s", first, t.Name(), s.Seed,
		r.World.end())
}

// end returns the end of the trace.
func (w *World) end() string { return strings.Join(w.trace[max(0, len(w.trace)-60):], "\n") }

func play(t *testing.T, s Schedule) {
	s.Trace = true
	r, err := Play(s)
	_, _ = os.Stderr.WriteString(strings.Join(r.World.Trace(), "\n") + "\n")
	if err != nil {
		t.Fatal(err)
	}
}

func TestThreeHosts(t *testing.T) {
	schedules(t, func(seed uint64) Schedule {
		return Schedule{Config: Config{Seed: seed, KillServer: seed%2 == 0}}
	}, 300)
}

func TestTwoHosts(t *testing.T) {
	schedules(t, func(seed uint64) Schedule {
		return Schedule{Config: Config{Seed: seed, Hosts: 2, KillServer: seed%2 == 0}}
	}, 150)
}

func TestFiveHosts(t *testing.T) {
	schedules(t, func(seed uint64) Schedule {
		return Schedule{Config: Config{Seed: seed, Hosts: 5}}
	}, 50)
}

func TestSlowTimers(t *testing.T) {
	schedules(t, func(seed uint64) Schedule {
		return Schedule{
			Config: Config{Seed: seed, Interval: 500 * time.Millisecond, Check: 250 * time.Millisecond},
			Settle: 40 * time.Second,
		}
	}, 100)
}

// TestPartitions holds only what partitions leave to promise without a quorum: after the
// healing there is one primary again, and the others follow it or are held.
func TestPartitions(t *testing.T) {
	schedules(t, func(seed uint64) Schedule {
		return Schedule{Config: Config{Seed: seed}, Partitions: true}
	}, 200)
}

// TestOneFault holds what one fault alone may cost: the role moves once at the most, even
// when a pair of hosts that a third one hears is parted.
func TestOneFault(t *testing.T) {
	kinds := []Fault{Split}
	for f := range wholeFaults {
		kinds = append(kinds, f)
	}
	for _, f := range kinds {
		t.Run(strings.ReplaceAll(f.String(), " ", "_"), func(t *testing.T) {
			schedules(t, func(seed uint64) Schedule {
				return Schedule{Config: Config{Seed: seed}, Only: []Fault{f}, Faults: 1, Moves: 1}
			}, 25)
		})
	}
}
