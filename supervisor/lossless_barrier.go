// SPDX-License-Identifier: Apache-2.0

package supervisor

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"highwater/election"
	"highwater/promote"
	"highwater/supervisor/peer"
)

const (
	// barrierTimeout bounds the wait for replicas to receive a barrier.
	barrierTimeout = 2 * time.Second
	// barrierGrace is how long the others have once enough have received it.
	barrierGrace = 20 * time.Millisecond
)

// passBarrier begins a barrier and returns those who have received it.
func (l *lossless) passBarrier(ctx context.Context, step election.Step) ([]election.SyncedNode, error) {
	var running []election.SyncedNode
	for _, node := range step.Nodes {
		h, ok, _ := l.node.cluster.of(node)
		if ok && l.node.hears(h) && h.ServerStartID != "" {
			running = append(running, election.SyncedNode{Node: node, Start: h.ServerStartID})
		}
	}
	if len(running) < step.Acks {
		return nil, fmt.Errorf("%d of %v answer and %d have to pass a barrier", len(running), step.Nodes, step.Acks)
	}
	begun, err := l.change.Begin(running...)
	if err != nil {
		return nil, err
	}
	l.change = &begun
	ctx, cancel := context.WithTimeout(ctx, barrierTimeout)
	defer cancel()
	point, err := l.point(ctx)
	if err != nil {
		return nil, err
	}
	var all sync.WaitGroup
	holds := make(chan election.SyncedNode, len(running))
	for _, r := range running {
		all.Go(func() {
			if l.receives(ctx, r, point.Set) {
				holds <- r // buffered
			}
		})
	}
	go func() { all.Wait(); close(holds) }()
	var passed []election.SyncedNode
	for r := range holds {
		passed = append(passed, r)
		if len(passed) == step.Acks && len(passed) < len(running) {
			time.AfterFunc(barrierGrace, cancel)
		}
	}
	if len(passed) < step.Acks {
		return nil, fmt.Errorf("%d of %v received the barrier and %d have to", len(passed), step.Nodes, step.Acks)
	}
	slices.SortFunc(passed, func(a, b election.SyncedNode) int { return slices.Compare([]string{a.Node}, []string{b.Node}) })
	return passed, nil
}

// point is what those must have received who are to vouch for all that was acknowledged so far.
// While S has not left ∅ in a term nothing was acknowledged in it: what the server held when it
// opened is enough, and needs no commit.
func (l *lossless) point(ctx context.Context) (promote.Point, error) {
	record := l.node.voter.Record()
	l.mu.Lock()
	o := l.began
	l.mu.Unlock()
	if len(record.Synced) == 0 && !record.Alone && o.term == record.Term && o.start != "" && o.start == l.startID() {
		return promote.Point{Set: o.set}, nil
	}
	return l.barrier.Pass(ctx)
}

// begun notes how a term began.
func (l *lossless) begun(o opening) {
	l.mu.Lock()
	l.began = o
	l.mu.Unlock()
	l.nudge()
}

// receives asks a replica until it holds the point, in the server process that ran before.
func (l *lossless) receives(ctx context.Context, r election.SyncedNode, point set) bool {
	client := l.node.client(r.Node)
	if client == nil {
		return false
	}
	for ctx.Err() == nil {
		reply, err := client.Hold(ctx, peer.HoldRequest{Point: point})
		switch {
		case err == nil && reply.Start != "" && reply.Start != r.Start:
			return false
		case err == nil && reply.Holds:
			return true
		}
		sleep(ctx, 5*time.Millisecond)
	}
	return false
}
