// SPDX-License-Identifier: Apache-2.0

package keeper

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"highwater/election"
	"highwater/mysqlcheck/gtid"
)

// barrierTimeout bounds the wait for replicas to receive a barrier.
const barrierTimeout = 2 * time.Second

// passBarrier begins a barrier and returns those who have received it.
func (k *Keeper) passBarrier(ctx context.Context, step election.Step) ([]election.SyncedNode, error) {
	var running []election.SyncedNode
	for _, node := range step.Nodes {
		if p, _ := k.host.Peer(node); p.Fresh && p.ServerStartID != "" {
			running = append(running, election.SyncedNode{Node: node, Start: p.ServerStartID})
		}
	}
	if len(running) < step.Acks {
		return nil, fmt.Errorf("%d of %v answer and %d have to pass a barrier", len(running), step.Nodes, step.Acks)
	}
	begun, err := k.change.Begin(running...)
	if err != nil {
		return nil, err
	}
	k.change = &begun
	ctx, cancel := k.host.Within(ctx, barrierTimeout)
	defer cancel()
	point, err := k.point(ctx)
	if err != nil {
		return nil, err
	}
	passed := k.host.Hold(ctx, running, point, step.Acks)
	if len(passed) < step.Acks {
		return nil, fmt.Errorf("%d of %v received the barrier and %d have to", len(passed), step.Nodes, step.Acks)
	}
	slices.SortFunc(passed, func(a, b election.SyncedNode) int { return strings.Compare(a.Node, b.Node) })
	return passed, nil
}

// point is what those must have received who are to vouch for all that was acknowledged so far.
// While S has not left ∅ in a term nothing was acknowledged in it: what the server held when it
// opened is enough, and needs no commit.
func (k *Keeper) point(ctx context.Context) (gtid.Set, error) {
	record := k.host.Record()
	k.mu.Lock()
	o := k.began
	k.mu.Unlock()
	if len(record.Synced) == 0 && !record.Alone && o.Term == record.Term && o.Start != "" && o.Start == k.startID() {
		return o.Set, nil
	}
	return k.host.Pass(ctx)
}

// Began notes how a term began.
func (k *Keeper) Began(o Opening) {
	k.mu.Lock()
	k.began = o
	k.mu.Unlock()
	k.Nudge()
}
