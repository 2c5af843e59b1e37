// SPDX-License-Identifier: Apache-2.0

package supervisor

import (
	"context"
	"time"

	"highwater/election"
	"highwater/promote"
)

// spareFetch bounds the attempt to fetch what may be left behind. Writes are closed meanwhile; but a
// server that keeps what the new primary lacks is held, or rebuilt. What commits waited for is
// little, at most a transaction of each session.
const spareFetch = 5 * time.Second

// prepare makes this server hold all that a promotion needs.
func (n *Node) prepare(ctx context.Context, a election.Establish) error {
	ctx, cancel := context.WithTimeout(ctx, n.config.Promote.Timeout)
	defer cancel()
	without := promote.PromoteInput{Term: a.Term, Start: *n.sealedStart.Load(), Check: func() error { return n.stillRight(ctx, a.Term) }}
	spares := n.spares.Load() == a.Term
	with := without
	if err := n.fetch(&with, a.FetchFrom); err != nil {
		return err
	}
	if !spares {
		_, err := n.server.Prepare(ctx, with)
		return err
	}
	forgone, err := prepareSparing(ctx, with, without, n.server.Prepare)
	if err == nil && forgone != nil {
		n.log.Warn("fetch.forgone", "peer", a.FetchFrom, "transactions", n.missing.Load().Count(), "error", forgone)
		n.forgone.Store(a.Term)
	}
	return err
}

// prepareSparing prepares a server that need not fetch, since what it misses was never
// acknowledged, but better does. If the fetch fails, forgone says why, and the server holds what it
// held when it was sealed. Whoever sent may have a damaged log, and would else keep everybody
// waiting until it is elected itself.
func prepareSparing(ctx context.Context, with, without promote.PromoteInput,
	prepare func(context.Context, promote.PromoteInput) (promote.Result, error),
) (forgone, err error) {
	if _, err := prepare(ctx, without); err != nil {
		return nil, err
	}
	trying, cancel := context.WithTimeout(ctx, spareFetch)
	defer cancel()
	if _, forgone = prepare(trying, with); forgone == nil {
		return nil, nil
	}
	if err := without.Check(); err != nil {
		return forgone, err
	}
	// That it is sealed again, and still the same process, and has applied what did come.
	_, err = prepare(ctx, without)
	return forgone, err
}
