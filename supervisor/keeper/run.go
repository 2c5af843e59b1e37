// SPDX-License-Identifier: Apache-2.0

package keeper

import (
	"context"
	"slices"
	"time"

	"highwater/election"
	"highwater/promote"
)

// note remembers which run of the server is primary of a term, 0 for none: if it ends by a crash,
// what it alone has was told to nobody.
func (k *Keeper) note(start string, led uint64) {
	if start == "" || k.noted.start == start && k.noted.led == led {
		return
	}
	if err := k.server.NoteRun(start, led); err != nil {
		k.config.Log.Warn("run.not_noted", "error", err)
		return
	}
	k.noted.start, k.noted.led = start, led
}

// noteReplica remembers that the local server runs as no primary, before anything is done that only a
// replica's may: such a one answers whoever writes to it at once. It asks the server which run it is,
// since the last look may name one that a fence has killed, and that was primary to its end. It
// returns false if the server, which answered then, does not now: nothing is known of it, and nothing
// may be done to it.
func (k *Keeper) noteReplica(ctx context.Context) bool {
	start := k.startID()
	if start == "" || k.noted.start == start && k.noted.led == 0 {
		return true
	}
	ctx, cancel := k.host.Within(ctx, k.config.CheckTimeout)
	defer cancel()
	d, err := k.server.Durability(ctx)
	if err != nil || d.StartID == "" {
		k.config.Log.Debug("run.unread", "error", err)
		return false
	}
	k.note(d.StartID, 0)
	return true
}

// durabilityInterval is how old the word on the server's settings may be.
const durabilityInterval = 5 * time.Second

// lookAtServer learns what the server can promise, before its supervisor sets anything that
// hides it.
func (k *Keeper) lookAtServer(ctx context.Context, role election.Role, record election.ClusterRecord) {
	start := k.startID()
	if start == "" || start == k.durability.StartID && k.host.Now() < k.durability.at.Add(durabilityInterval) {
		return
	}
	ctx, cancel := k.host.Within(ctx, k.config.CheckTimeout)
	defer cancel()
	d, err := k.server.Durability(ctx)
	if err != nil {
		k.config.Log.Debug("durability.unread", "error", err)
		return
	}
	k.durability.Durability, k.durability.at = d, k.host.Now()
	relaxed := slices.ContainsFunc(d.Weaknesses, func(w promote.Weakness) bool { return w.Reason == promote.DurabilityRelaxed })
	if leads := role == election.RoleClaiming || role == election.RolePrimary; leads && relaxed && record.Primary == k.config.Node {
		k.noteRelaxed(promote.Relaxed{Start: d.StartID, Term: record.Term})
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.known || !slices.Equal(k.weak.Weaknesses, d.Weaknesses) {
		for _, w := range d.Weaknesses {
			k.config.Log.Warn("server.weak", "reason", string(w.Reason), "problem", w.Problem, "remedy", w.Remedy, "bars", w.Bars)
		}
	}
	k.weak, k.known = d, true
}

// noteRelaxed remembers that what this primary writes may not survive a crash.
func (k *Keeper) noteRelaxed(r promote.Relaxed) {
	k.mu.Lock()
	known := k.relaxed == r
	k.mu.Unlock()
	if known {
		return
	}
	if err := k.server.NoteRelaxed(r); err != nil {
		k.config.Log.Warn("relaxed.not_noted", "error", err)
		return
	}
	k.mu.Lock()
	k.relaxed = r
	k.mu.Unlock()
}

// mayLack reports whether the server process start may lack what an earlier one wrote as primary
// in a term that still counts: that one had relaxed settings.
func mayLack(r promote.Relaxed, start string, record election.ClusterRecord, node string) bool {
	since := record.LedSince(node)
	return since != 0 && r.Term >= since && r.Start != start
}

// startID names the run of the local server, "" if it does not answer.
func (k *Keeper) startID() string { return k.host.Sample().Start }

// run is one of a replica's server.
type run struct {
	start string
	since election.Instant // it was first heard of
}

// runName is how long a run has to be known for its name to be its own. A name is a second, and a server that crashes may
// be back within it, without relay log that it has acknowledged. From here on a later run has a later second.
const runName = 2 * time.Second

// namedRun returns the name of the run of a node's server, "" if another one may have the same.
func (k *Keeper) namedRun(node string, start string) string {
	k.mu.Lock()
	defer k.mu.Unlock()
	if r := k.runs[node]; r.start != start || k.host.Now().Sub(r.since) < runName {
		return ""
	}
	return start
}
