// SPDX-License-Identifier: Apache-2.0

package supervisor

import (
	"context"
	"errors"
	"fmt"
	"time"

	"highwater/election"
	"highwater/mysqlcheck"
	"highwater/promote"
)

// lead is a primary's turn.
func (l *lossless) lead(ctx context.Context, record election.ClusterRecord) {
	if l.term != record.Term {
		l.term, l.lost, l.requiredAt, l.ackedAt = record.Term, map[string]election.Instant{}, 0, now()
		l.silent = ""
		l.setAcknowledges("")
		l.drop()       // what an earlier term began
		l.stuck = true // clients may wait for the first replica
	}
	l.say(election.Word{})
	facts := l.replicas(record)
	if err := l.require(ctx, l.view(record)); err != nil {
		l.complain("require", err)
		return
	}
	l.admit(ctx, l.view(record))
	if l.change == nil && now() >= l.backoff {
		policy := l.policy
		policy.MaxAcks = maxAcks(l.flavor())
		if c, ok := record.NextChange(policy, facts, now().Sub(l.ackedAt)); ok {
			l.setChange(&c)
		}
	}
	for l.change != nil && l.step(ctx) {
	}
}

// complain says a failure once.
func (l *lossless) complain(what string, err error) {
	if l.failed != err.Error() {
		l.failed = err.Error()
		l.node.log.Warn("lossless.failed", "stage", what, "error", err)
	}
	l.count("failed")
}

// near is how many transactions a replica may lack that is said to have received all but the
// last moments: what a fast primary commits between two statuses.
const near = 10_000

// replicas says what this primary knows of every other host with a server.
func (l *lossless) replicas(record election.ClusterRecord) []election.Replica {
	n, at := l.node, now()
	_, verdict := n.health.snapshot()
	var list []election.Replica
	for node := range n.cluster.servers() {
		r := election.Replica{Node: node.Name}
		h, ok, _ := n.cluster.of(node.Name)
		fresh := ok && n.hears(h) && h.Health == healthAlive
		if fresh {
			r.Start, r.Word = h.ServerStartID, wordOf(h.NodeStatus)
			r.Follows = n.cluster.nodeOf(h.SourceUUID, h.SourceHost, 0) == n.self.Name && h.Receiver == mysqlcheck.ThreadRunning.String()
			r.Near = verdict.Executed.Subtract(h.Received.Union(h.Executed)).Count() <= near
			r.Barred = len(h.Weak) > 0 || !h.Errant.IsEmpty() || len(h.Held) > 0
		}
		useless := !fresh || r.Barred || record.IsSynced(node.Name) && !r.Follows
		switch since := l.lost[node.Name]; {
		case !useless:
			delete(l.lost, node.Name)
		case since == 0:
			l.lost[node.Name] = at
			r.Lost = 1
		default:
			r.Lost = max(1, at.Sub(since))
		}
		list = append(list, r)
	}
	return list
}

// requireInterval is how often MySQL's own word on its waiting is read.
const requireInterval = time.Second

// require holds MySQL to what the view demands: as many acknowledgements, without a time limit.
func (l *lossless) require(ctx context.Context, v election.View) error {
	interval := requireInterval
	if l.stuck {
		interval = losslessPause
	}
	if now() < l.requiredAt.Add(interval) {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, l.node.config.Fencing.Timeout)
	defer cancel()
	server := l.node.server
	st, err := server.SourceState(ctx)
	if err != nil {
		return err
	}
	l.lookAtWaiting(ctx, st, v.Acks())
	switch acks := v.Acks(); {
	case acks == 0:
		if st.Enabled {
			err = server.DisableSource(ctx)
		}
	case !st.Enabled && len(l.node.voter.Record().Synced) == 0:
		// The first commit of all makes the heartbeat's schema. One that waits for an acknowledgement
		// would lock it, and with it out every commit that could make a replica speak.
		if _, err = l.barrier.Pass(ctx); err == nil {
			err = server.EnableSource(ctx, acks)
		}
	case !st.Lossless(acks):
		err = server.EnableSource(ctx, acks)
	case st.Acks != acks && l.change == nil:
		err = server.SetAcks(ctx, acks)
	}
	if err == nil && st.Clients > l.following() {
		err = l.foreign(ctx) // an acknowledgement of its counts, and it is in no S
	}
	if err == nil {
		l.requiredAt = now()
		l.node.health.promoted(&promote.SemiSync{Acks: v.Acks()})
	}
	return err
}

// following counts the members of S that are there to acknowledge.
func (l *lossless) following() int {
	n := 0
	for _, s := range l.node.voter.Record().Synced {
		if _, lost := l.lost[s.Node]; !lost {
			n++
		}
	}
	return n
}

// admit unlocks the accounts of those who may connect.
func (l *lossless) admit(ctx context.Context, v election.View) {
	for node := range l.node.cluster.servers() {
		if l.admitted(node.Name) {
			continue
		}
		h, _, _ := l.node.cluster.of(node.Name)
		if !v.MayConnect(node.Name, wordOf(h.NodeStatus)) {
			continue
		}
		if err := l.unlock(ctx, node.Name); err != nil {
			l.complain("admit", err)
		}
	}
}

func (l *lossless) admitted(node string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.admits[node]
}

// setAdmitted notes whose account is locked, and lets that node know.
func (l *lossless) setAdmitted(node string, admitted bool) {
	l.mu.Lock()
	changed := l.admits[node] != admitted
	l.admits[node] = admitted
	l.mu.Unlock()
	if changed {
		l.node.publish()
	}
}

func (l *lossless) unlock(ctx context.Context, node string) error {
	ctx, cancel := context.WithTimeout(ctx, l.node.config.Fencing.Timeout)
	defer cancel()
	if err := l.node.server.UnlockReplica(ctx, l.user(node)); err != nil {
		return err
	}
	l.setAdmitted(node, true)
	return nil
}

// step carries out one stage of the change under way and reports whether to go on at once.
func (l *lossless) step(ctx context.Context) bool {
	step := l.change.Step()
	ctx, cancel := context.WithTimeout(ctx, l.node.config.Promote.Timeout)
	defer cancel()
	var passed []election.SyncedNode
	var err error
	switch step.Stage {
	case election.StageCommit:
		if !l.proposed {
			l.propose(ctx)
		}
		return false
	case election.StageDone:
		l.node.log.Info("lossless.changed", "change", l.change.Name(), "synced", syncedNames(l.node.voter.Record()), "acks", l.node.voter.Record().Acks)
		l.count(l.change.Name())
		l.failed = ""
		l.setChange(nil)
		return false
	case election.StageCut:
		err = l.cut(ctx, step.Nodes)
	case election.StageRequire:
		if err = l.foreign(ctx); err == nil {
			err = l.waitFor(ctx, step.Acks)
		}
	case election.StageBarrier:
		passed, err = l.passBarrier(ctx, step)
	case election.StageRelax:
		if step.Acks == 0 {
			err = l.node.server.DisableSource(ctx)
		} else {
			err = l.node.server.SetAcks(ctx, step.Acks)
		}
		l.requiredAt = 0
	case election.StageAdmit:
		for _, node := range step.Nodes {
			err = errors.Join(err, l.unlock(ctx, node))
		}
	default:
		err = fmt.Errorf("no primary does %s", step.Stage)
	}
	if err == nil {
		var next election.Change
		if next, err = l.change.Done(passed...); err == nil {
			l.change = &next
			return true
		}
	}
	// What is committed stays so, and what this change leaves undone each turn sees to.
	l.fail(string(step.Stage), err)
	return false
}

// cut makes it impossible for nodes to acknowledge, unless the view lets them in.
func (l *lossless) cut(ctx context.Context, nodes []string) error {
	v := l.change.View()
	for _, node := range nodes {
		h, _, _ := l.node.cluster.of(node)
		if v.MayConnect(node, wordOf(h.NodeStatus)) {
			continue
		}
		l.setAdmitted(node, false)
		if err := l.node.server.LockReplica(ctx, l.user(node)); err != nil {
			return err
		}
	}
	return nil
}

// waitFor has MySQL wait for so many acknowledgements.
func (l *lossless) waitFor(ctx context.Context, acks int) error {
	st, err := l.node.server.SourceState(ctx)
	switch {
	case err != nil:
		return err
	case !st.Lossless(1):
		return l.node.server.EnableSource(ctx, acks)
	case st.Acks < acks:
		return l.node.server.SetAcks(ctx, acks)
	default:
		return nil
	}
}

// propose puts the change before the quorum. Until its fate is known it is in doubt.
func (l *lossless) propose(ctx context.Context) {
	proposal, err := l.change.Proposal()
	if err != nil {
		l.fail("propose", err)
		return
	}
	l.proposed = true
	v := l.change.View()
	l.mu.Lock()
	l.doubt = &v
	l.mu.Unlock()
	l.node.voter.Change(ctx, func(record election.ClusterRecord) (election.ClusterRecord, error) {
		return record.Commit(proposal)
	}, func(_ context.Context, err error) {
		l.decided <- err // buffered; one is under way
		l.nudge()
	})
}

// foreign returns an error if a replica acknowledges that is not of this cluster.
func (l *lossless) foreign(ctx context.Context) error {
	var users []string
	for _, node := range l.node.cluster.nodes {
		if !node.Witness {
			users = append(users, l.user(node.Name))
		}
	}
	return l.node.server.ForeignAckers(ctx, users)
}

// flavor is the local server's.
func (l *lossless) flavor() mysqlcheck.Flavor {
	sample, _ := l.node.health.snapshot()
	return sample.Version.Flavor
}

// maxAcks is for how many acknowledgements a server can wait, 0 for any number.
func maxAcks(f mysqlcheck.Flavor) int {
	if f == mysqlcheck.MariaDB {
		return 1
	}
	return 0
}

func syncedNames(r election.ClusterRecord) []string {
	out := []string{} // [] in JSON
	for _, s := range r.Synced {
		out = append(out, s.Node)
	}
	return out
}
