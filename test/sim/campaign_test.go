// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"sync"
	"syscall"
	"testing"
	"time"
)

var campaignFlag = flag.Int("sim.campaign", 0, "schedules of a minute or more that TestCampaign plays (0: 20)")

// campaign is the schedule of a seed: most of them are of what is promised where nothing may be lost.
func campaign(seed uint64) Schedule {
	s := Schedule{Config: lossless(seed / 10), Span: time.Minute, Moves: 100}
	s.Seed = seed
	switch seed % 10 {
	case 0, 1, 2: // three hosts
	case 3, 4, 5, 6:
		s.Partitions = true
	case 7:
		s.Only = []Fault{StunHost, KillServer, Isolate, Scramble, FreezeSupervisor, PowerOff, LosePackets}
	case 8:
		s.Config = Config{Seed: seed, Quorum: true, KillServer: true}
		s.Partitions = true
	case 9:
		s.Config = Config{Seed: seed, KillServer: seed%20 == 9}
	}
	if seed%50 == 3 {
		s.Hosts = 5
	}
	return s
}

// TestCampaign plays schedules of a minute or more, on all processors, and says how fast that goes.
func TestCampaign(t *testing.T) {
	n := uint64(20)
	if *campaignFlag > 0 {
		n = uint64(*campaignFlag) //nolint:gosec // positive
	}
	if *seedFlag != 0 {
		play(t, campaign(*seedFlag))
		return
	}
	defer debug.SetGCPercent(debug.SetGCPercent(1000)) // worlds are small, and leave much behind
	began, cpu := time.Now(), cpuTime()
	var mu sync.Mutex
	var next, played uint64
	var simulated time.Duration
	faults := 0
	var workers sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			for {
				mu.Lock()
				next++
				seed := next
				mu.Unlock()
				if seed > n || t.Failed() {
					return
				}
				s := campaign(seed)
				r, err := Play(s)
				if err != nil {
					replay(t, s, err)
					return
				}
				mu.Lock()
				played++
				simulated += r.Lasted
				faults += r.Faults
				if played%500 == 0 {
					_, _ = fmt.Fprintf(os.Stderr, "sim: %d of %d schedules, %.1f cluster-hours\n", played, n, simulated.Hours())
				}
				mu.Unlock()
			}
		})
	}
	workers.Wait()
	spent := cpuTime() - cpu
	t.Logf("%d schedules, %d faults, %.1f simulated cluster-hours in %v: %.0f cluster-seconds per CPU-second, %.1f cluster-hours per second",
		played, faults, simulated.Hours(), time.Since(began).Round(time.Second), simulated.Seconds()/spent.Seconds(),
		simulated.Hours()/time.Since(began).Seconds())
}

// cpuTime is what this process has spent.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err) // there is no reason
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
