// SPDX-License-Identifier: Apache-2.0

package supervisor

import (
	"context"
	"fmt"
	"time"

	"highwater/election"
	"highwater/promote"
	"highwater/supervisor/control"
	"highwater/supervisor/peer"
)

// lossAssessment says what would be lost if this host became primary now, before anybody decides.
func (n *Node) lossAssessment() (code int, text string) {
	if n.keeper == nil {
		return control.CodeRefused, "durability is best-effort: nothing keeps a failover from losing what only missing hosts hold"
	}
	heard := map[string]peer.NodeStatus{n.self.Name: n.refreshStatus()}
	for name, h := range n.cluster.all() {
		if n.hears(h) && h.Health == healthAlive {
			heard[name] = h.NodeStatus
		}
	}
	short := n.keeper.Incomplete(heard, promote.Choice{})
	if short == "" {
		return control.CodeDone, "nothing that was acknowledged would be lost: `highwater failover` suffices"
	}
	return control.CodeDone, short
}

const (
	// acceptTimeout bounds the wait for the right, without which nothing can be decided.
	acceptTimeout = 15 * time.Second
	seekPause     = 100 * time.Millisecond
)

// acceptLoss has the quorum note that acknowledged transactions may be lost at the end of this
// term. It is good for one promotion, of whoever holds all that is heard.
func (n *Node) acceptLoss(ctx context.Context, progress func(string)) error {
	ctx, cancel := context.WithTimeout(ctx, acceptTimeout)
	defer cancel()
	progress("asking the quorum for the right to decide")
	for !n.voter.State().Right.Held {
		n.voter.Seek(ctx)
		if sleep(ctx, seekPause); ctx.Err() != nil {
			return fmt.Errorf("no majority gave this host the right within %s: a quorum that is lost for good cannot decide anything", acceptTimeout)
		}
	}
	decided := make(chan error, 1)
	n.voter.Change(ctx, func(r election.ClusterRecord) (election.ClusterRecord, error) {
		if r.AcceptedLoss != nil && r.AcceptedLoss.To == "" {
			return r, nil
		}
		return r.AcceptLoss(election.Acceptance{By: "an operator on " + n.self.Name, At: time.Now().UnixMilli()})
	}, func(_ context.Context, err error) { decided <- err })
	select {
	case err := <-decided:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}
