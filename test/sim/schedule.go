// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"errors"
	"fmt"
	"time"
)

// Schedule is what one seed does to a cluster.
type Schedule struct {
	Config
	Faults     int           // at most; 4
	Partitions bool          // also parts the network
	Only       []Fault       // choose among these
	Moves      int           // how many primaries one fault, and its end, may bring about; 2
	Settle     time.Duration // how long a healed cluster may take; 25 s
	Span       time.Duration // how long a schedule lasts at least
}

// Result says how a schedule ended.
type Result struct {
	Claims   []Claim
	Faults   int
	Diverged bool // people have to decide: no server holds all
	World    *World
	Lasted   time.Duration // simulated
}

// wearOff is how long a look that began before the end of a fault may still tell of it.
const wearOff = 2 * time.Second

// firstStart is how long a cluster may take to find its first primary once all hosts are there.
const firstStart = 3 * time.Second

// quiet is how long a settled cluster must stay as it is.
const quiet = 6 * time.Second

// Play runs a schedule and returns the first invariant that did not hold.
func Play(s Schedule) (Result, error) {
	if s.Settle == 0 {
		s.Settle = 25 * time.Second
	}
	if s.Faults == 0 {
		s.Faults = 4
	}
	if s.Moves == 0 {
		s.Moves = 2
	}
	w := New(s.Config)
	defer w.Close()
	w.witnessed = len(s.Only) == 1 && s.Only[0] == Split && s.Faults == 1 && w.cfg.Hosts == 3
	w.Run(firstStart + 10*w.cfg.Interval)
	if s.Quorum {
		w.Run(firstStart)
	}
	result := Result{World: w}
	if w.broken != nil {
		return result, w.broken
	}
	if w.Primary() != "db1" {
		return result, fmt.Errorf("seed %d: the first start adopted nobody: %s", s.Seed, w.summary())
	}
	for range 1 + w.rng.IntN(s.Faults) {
		w.Inject(w.pickFault(s), w.pickHost(), w.between(100*time.Millisecond, 12*time.Second))
		w.Run(w.between(0, 5*time.Second))
	}
	for w.broken == nil && w.now.sub(epoch)+s.Settle < s.Span {
		w.Inject(w.pickFault(s), w.pickHost(), w.between(100*time.Millisecond, 12*time.Second))
		w.Run(w.between(0, 8*time.Second))
	}
	if w.chance(0.5) {
		w.Run(w.between(0, 10*time.Second))
	}
	w.Heal()
	err := w.settle(s.Settle, s.Moves)
	if err == nil && w.now.sub(epoch) < s.Span {
		w.Run(s.Span - w.now.sub(epoch))
		err = w.broken
	}
	result.Claims, result.Faults, result.Lasted = w.history, w.faults, w.now.sub(epoch)
	if errors.Is(err, errDiverged) {
		result.Diverged = true
		return result, nil
	}
	return result, err
}

func (w *World) pickFault(s Schedule) Fault {
	if len(s.Only) > 0 {
		return s.Only[w.rng.IntN(len(s.Only))]
	}
	if s.Quorum && w.chance(0.3) {
		return allFaults + 1 + Fault(w.rng.IntN(int(quorumFaults-allFaults-1)))
	}
	if s.Partitions && w.chance(0.5) {
		return wholeFaults + 1 + Fault(w.rng.IntN(int(allFaults-wholeFaults-1)))
	}
	return Fault(w.rng.IntN(int(wholeFaults)))
}

// pickHost prefers the one that matters.
func (w *World) pickHost() *host {
	if p := w.host(w.Primary()); p != nil && w.chance(0.6) {
		return p
	}
	return w.hosts[w.rng.IntN(len(w.hosts))]
}

// settle waits for a healed cluster to come to rest, and makes sure that it stays so.
func (w *World) settle(limit time.Duration, moves int) error {
	end := w.now.add(limit)
	w.Run(wearOff)
	var err error
	for w.now < end {
		w.Run(200 * time.Millisecond)
		if w.broken != nil {
			return w.broken
		}
		if err = w.Settled(); err == nil {
			break
		}
	}
	if err != nil {
		return fmt.Errorf("seed %d: %v after the last fault: %w", w.cfg.Seed, limit, err)
	}
	before := len(w.history)
	for rest := w.now.add(quiet); w.now < rest; {
		w.Run(200 * time.Millisecond)
		if w.broken != nil {
			return w.broken
		}
		if err := w.Settled(); err != nil && (!w.cfg.Lossless || w.Primary() == "") { // S, k and rebuilding go on
			return fmt.Errorf("seed %d: at %v the rest did not last: %w", w.cfg.Seed, w.now.sub(epoch), err)
		}
	}
	w.resting = true
	if w.cfg.Lossless {
		if err := w.settleRebuilt(); err != nil {
			return err
		}
	}
	if len(w.history) != before {
		return fmt.Errorf("seed %d: the primary changed without a fault: %v", w.cfg.Seed, w.history)
	}
	if n := len(w.history) - 1; n > moves*w.faults {
		return fmt.Errorf("seed %d: %d primaries after %d faults: %v", w.cfg.Seed, n, w.faults, w.history)
	}
	return nil
}

// rebuildLimit is how long a server may take to be rebuilt and follow.
const rebuildLimit = 20 * time.Second

// settleRebuilt waits for servers that are being rebuilt, and then for clients to be told of something new.
func (w *World) settleRebuilt() error {
	var err error
	for end := w.now.add(rebuildLimit); w.now < end; {
		if err = w.Settled(); err == nil {
			break
		}
		w.Run(200 * time.Millisecond)
	}
	if w.broken != nil {
		return w.broken
	}
	if err != nil {
		return fmt.Errorf("seed %d: what is rebuilt does not follow after %v: %w", w.cfg.Seed, rebuildLimit, err)
	}
	p := w.host(w.Primary())
	if !p.supervisor.voter.record.Alone && w.healthy() == 0 {
		return nil // everybody else is held: it waits, as it must
	}
	told := w.told
	w.Run(progressLimit)
	if w.broken == nil && w.told == told {
		return fmt.Errorf("seed %d: no client of %s was told of anything for %v: %s", w.cfg.Seed, p.name, progressLimit, w.summary())
	}
	return w.broken
}

// progressLimit is how long clients of a cluster at rest may wait.
const progressLimit = 2 * time.Second
