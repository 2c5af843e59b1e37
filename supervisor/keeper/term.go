// SPDX-License-Identifier: Apache-2.0

package keeper

import (
	"context"
	"slices"
	"time"

	"highwater/election"
	"highwater/mysqlcheck/gtid"
	"highwater/promote"
)

// Opening is how a term began.
type Opening struct {
	Term  uint64
	Start string   // server process
	Set   gtid.Set // what it held when writes opened
}

// wordPatience is how long a promotion waits for the word of replicas that have sealed.
const wordPatience = 30 * time.Millisecond

// Begin is asked before a term's writes open: it returns how many acknowledgements they wait for,
// and the accounts of those who may give none. Replicas that are there have a moment to give
// their word, which lets them connect at once.
func (k *Keeper) Begin(ctx context.Context, term uint64) *promote.Lossless {
	deadline := k.host.Now().Add(wordPatience)
	for {
		record := k.host.Record()
		v := election.Settled(record)
		if v.Acks() == 0 {
			return nil // it has gone alone, and goes on so
		}
		in := &promote.Lossless{Acks: v.Acks()}
		wait := false
		news := k.host.News()
		for node := range k.host.Replicas() {
			if v.MayConnect(node, k.wordOf(node)) {
				in.Unlock = append(in.Unlock, k.config.User(node))
				continue
			}
			in.Lock = append(in.Lock, k.config.User(node))
			p, _ := k.host.Peer(node)
			wait = wait || p.Alive && p.PromisedTerm >= term
		}
		if left := deadline.Sub(k.host.Now()); wait && left > 0 && ctx.Err() == nil {
			k.host.Await(ctx, news, left)
			continue
		}
		return in
	}
}

// Opened notes whom a promotion has let in, once it has.
func (k *Keeper) Opened(in *promote.Lossless, step promote.Step) {
	if in == nil || step.Name != promote.StepLocks || step.Err != "" {
		return
	}
	k.mu.Lock()
	clear(k.admits)
	for node := range k.host.Replicas() {
		k.admits[node] = slices.Contains(in.Unlock, k.config.User(node))
	}
	k.mu.Unlock()
	k.host.Publish()
}
