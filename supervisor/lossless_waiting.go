// SPDX-License-Identifier: Apache-2.0

package supervisor

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
func (l *lossless) lookAtWaiting(ctx context.Context, st promote.SourceState, acks int) {
	at := now()
	if st.Clients > 0 && (st.Waiting == 0 || st.Acknowledged != l.acked) { // a frozen replica stays connected
		l.ackedAt = at
	}
	l.stuck = acks > 0 && st.Waiting > 0 && st.Acknowledged == l.acked
	if l.stuck && st.Clients >= acks && (st.Clients != l.clients || at >= l.stirredAt.Add(stirPause)) {
		l.stirredAt = at
		if _, err := l.barrier.Pass(ctx); err != nil {
			l.node.log.Debug("lossless.unstirred", "error", err)
		}
	}
	l.acked, l.clients = st.Acknowledged, st.Clients
	l.setStalled(l.stuck && at >= l.ackedAt.Add(stallPatience))
}

// setStalled notes whether clients wait in vain, and lets the others know.
func (l *lossless) setStalled(stalled bool) {
	l.mu.Lock()
	changed := l.stalled != stalled
	l.stalled = stalled
	l.mu.Unlock()
	if changed {
		l.node.publish()
	}
}
