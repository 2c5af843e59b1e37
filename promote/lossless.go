// SPDX-License-Identifier: Apache-2.0

package promote

import (
	"context"
	"errors"
	"fmt"
)

// Lossless says how a term begins in which nothing acknowledged may be lost:
// commits wait, and nobody can acknowledge them, before writes open
// (docs/design.md §5). Whoever is to acknowledge is let in afterwards, by
// [Server.UnlockReplica].
type Lossless struct {
	// Acks is for how many acknowledgements commits wait, at least 1.
	Acks int
	// Lock are the users of the replication accounts of those who must not
	// acknowledge.
	Lock []string
	// Unlock are those of who may read, and perhaps acknowledge: a lock outlasts the term in
	// which it was set.
	Unlock []string
}

// errTwoSemiSyncs says that an input asks for both.
var errTwoSemiSyncs = errors.New("semi-sync of the old primary and a lossless term exclude each other")

// semiSync makes commits wait, if the flavour and its plugins can. In a lossless
// term they must.
func (r *promotion) semiSync(ctx context.Context) (detail string, err error) {
	if r.in.Lossless == nil {
		return r.session.semiSyncSourceOn(ctx, *r.in.SemiSync)
	}
	acks := r.in.Lossless.Acks
	return fmt.Sprintf("%d acknowledgements", acks), r.session.enableSource(ctx, acks)
}

// lockReplicas locks the accounts of those who must not acknowledge.
func (r *promotion) lockReplicas(ctx context.Context) (detail string, err error) {
	in := r.in.Lossless
	if err := r.session.lockAll(ctx, in.Lock, in.Unlock); err != nil {
		return "", err
	}
	return fmt.Sprintf("%d accounts", len(in.Lock)), r.session.unlockAll(ctx, in.Unlock)
}

// stillLossless asserts that a command which opened writes has left commits
// waiting.
func (r *promotion) stillLossless(ctx context.Context) error {
	if r.in.Lossless == nil || len(r.server.cfg.Command) == 0 {
		return nil
	}
	st, err := r.session.sourceState(ctx)
	if err != nil {
		return err
	}
	if !st.Lossless(r.in.Lossless.Acks) {
		return fmt.Errorf("the command has changed semi-sync: %+v", st)
	}
	return nil
}
