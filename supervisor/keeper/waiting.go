// SPDX-License-Identifier: Apache-2.0

package keeper

import (
	"context"

	"highwater/promote"
)

const (
	// stirPause is the least time between two commits that are to stir replicas, where none came
	// or went meanwhile.
	stirPause = requireInterval
	// stallPatience is how long commits may wait before people are told.
	stallPatience = requireInterval
)

// lookAtWaiting takes in how the commits fare that wait for acknowledgements.
//
// A replica that had received them when it connected, as one that followed silently and now may
// acknowledge, says nothing of them before something new comes. If each client waits for its commit,
// and the commit of the probe waits too, nothing ever does: so this host commits something.
func (k *Keeper) lookAtWaiting(ctx context.Context, st promote.SourceState, acks int) {
	at := k.host.Now()
	if st.Clients > 0 && (st.Waiting == 0 || st.Acknowledged != k.acked) { // a frozen replica stays connected
		k.ackedAt = at
	}
	k.stuck = acks > 0 && st.Waiting > 0 && st.Acknowledged == k.acked
	if k.stuck && st.Clients >= acks && (st.Clients != k.clients || at >= k.stirredAt.Add(stirPause)) {
		k.stirredAt = at
		if _, err := k.host.Pass(ctx); err != nil {
			k.config.Log.Debug("lossless.unstirred", "error", err)
		}
	}
	k.acked, k.clients = st.Acknowledged, st.Clients
	k.setStalled(k.stuck && at >= k.ackedAt.Add(stallPatience))
}

// setStalled notes whether clients wait in vain, and lets the others know.
func (k *Keeper) setStalled(stalled bool) {
	k.mu.Lock()
	changed := k.stalled != stalled
	k.stalled = stalled
	k.mu.Unlock()
	if changed {
		k.host.Publish()
	}
}
