// SPDX-License-Identifier: Apache-2.0

package supervisor

import (
	"context"
	"slices"
	"time"

	"highwater/election"
	"highwater/promote"
)

// wordPatience is how long a promotion waits for the word of replicas that have sealed.
const wordPatience = 30 * time.Millisecond

// begin is asked before a term's writes open: it returns how many acknowledgements they wait for,
// and the accounts of those who may give none. Replicas that are there have a moment to give
// their word, which lets them connect at once.
func (l *lossless) begin(ctx context.Context, term uint64) *promote.Lossless {
	deadline := now().Add(wordPatience)
	for {
		record := l.node.voter.Record()
		v := election.Settled(record)
		if v.Acks() == 0 {
			return nil // it has gone alone, and goes on so
		}
		in := &promote.Lossless{Acks: v.Acks()}
		wait := false
		var more <-chan struct{}
		for node := range l.node.cluster.servers() {
			h, ok, next := l.node.cluster.of(node.Name)
			more = next
			if v.MayConnect(node.Name, wordOf(h.NodeStatus)) {
				in.Unlock = append(in.Unlock, l.user(node.Name))
				continue
			}
			in.Lock = append(in.Lock, l.user(node.Name))
			wait = wait || ok && l.node.hears(h) && h.Health == healthAlive && h.PromisedTerm >= term
		}
		if left := deadline.Sub(now()); wait && left > 0 && ctx.Err() == nil {
			select {
			case <-more:
			case <-time.After(left):
			case <-ctx.Done():
			}
			continue
		}
		return in
	}
}

// opened notes whom a promotion has let in, once it has.
func (l *lossless) opened(in *promote.Lossless, step promote.Step) {
	if in == nil || step.Name != promote.StepLocks || step.Err != "" {
		return
	}
	l.mu.Lock()
	clear(l.admits)
	for _, node := range l.node.cluster.nodes {
		l.admits[node.Name] = slices.Contains(in.Unlock, l.user(node.Name))
	}
	l.mu.Unlock()
	l.node.publish()
}
