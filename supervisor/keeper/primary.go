// SPDX-License-Identifier: Apache-2.0

package keeper

import (
	"context"
	"errors"
	"fmt"
	"time"

	"highwater/election"
	"highwater/mysqlcheck"
)

// lead is a primary's turn.
func (k *Keeper) lead(ctx context.Context, record election.ClusterRecord) {
	if k.term != record.Term {
		k.term, k.lost, k.requiredAt, k.ackedAt = record.Term, map[string]election.Instant{}, 0, k.host.Now()
		k.silent = ""
		k.setAcknowledges("")
		k.drop()       // what an earlier term began
		k.stuck = true // clients may wait for the first replica
	}
	k.say(election.Word{})
	facts := k.replicas(record)
	if err := k.require(ctx, k.view(record)); err != nil {
		k.complain("require", err)
		return
	}
	k.admit(ctx, k.view(record))
	if k.change == nil && k.host.Now() >= k.backoff {
		policy := k.policy
		policy.MaxAcks = maxAcks(k.flavor())
		if c, ok := record.NextChange(policy, facts, k.host.Now().Sub(k.ackedAt)); ok {
			k.setChange(&c)
		}
	}
	for k.change != nil && k.step(ctx) {
	}
}

// complain says a failure once.
func (k *Keeper) complain(what string, err error) {
	if k.failed != err.Error() {
		k.failed = err.Error()
		k.config.Log.Warn("lossless.failed", "stage", what, "error", err)
	}
	k.count("failed")
}

// near is how many transactions a replica may lack that is said to have received all but the
// last moments: what a fast primary commits between two statuses.
const near = 10_000

// replicas says what this primary knows of every other host with a server.
func (k *Keeper) replicas(record election.ClusterRecord) []election.Replica {
	at, own := k.host.Now(), k.host.Sample()
	var list []election.Replica
	for node := range k.host.Replicas() {
		r := election.Replica{Node: node}
		p, _ := k.host.Peer(node)
		if p.Alive {
			r.Start, r.Word = k.namedRun(node, p.ServerStartID), wordOf(p.NodeStatus)
			r.Follows = p.Source == k.config.Node && p.Receiver == mysqlcheck.ThreadRunning.String()
			held := p.Received.Union(p.Executed)
			r.Near = own.Executed.Subtract(held).Count() <= near
			// What it has and this server has not it need not know yet. Only this one's own may be younger than the look.
			beyond := held.Subtract(own.Executed)
			r.Barred = len(p.Weak) > 0 || !p.Errant.IsEmpty() || len(p.Held) > 0 || !beyond.Subtract(beyond.BySource(own.UUID)).IsEmpty()
		}
		useless := !p.Alive || r.Barred || record.IsSynced(node) && !r.Follows
		switch since := k.lost[node]; {
		case !useless:
			delete(k.lost, node)
		case since == 0:
			k.lost[node] = at
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
func (k *Keeper) require(ctx context.Context, v election.View) error {
	interval := requireInterval
	if k.stuck {
		interval = pause
	}
	if k.host.Now() < k.requiredAt.Add(interval) {
		return nil
	}
	ctx, cancel := k.host.Within(ctx, k.config.FenceTimeout)
	defer cancel()
	server := k.server
	st, err := server.SourceState(ctx)
	if err != nil {
		return err
	}
	k.lookAtWaiting(ctx, st, v.Acks())
	switch acks := v.Acks(); {
	case acks == 0:
		if st.Enabled {
			err = server.DisableSource(ctx)
		}
	case !st.Enabled && len(k.host.Record().Synced) == 0:
		// The first commit of all makes the heartbeat's schema. One that waits for an acknowledgement
		// would lock it, and with it out every commit that could make a replica speak.
		if _, err = k.host.Pass(ctx); err == nil {
			err = server.EnableSource(ctx, acks)
		}
	case !st.Lossless(acks):
		err = server.EnableSource(ctx, acks)
	case st.Acks != acks && k.change == nil:
		err = server.SetAcks(ctx, acks)
	}
	if err == nil && st.Clients > k.following() {
		err = k.foreign(ctx) // an acknowledgement of its counts, and it is in no S
	}
	if err == nil {
		k.requiredAt = k.host.Now()
		k.host.Waits(v.Acks())
	}
	return err
}

// following counts the members of S that are there to acknowledge.
func (k *Keeper) following() int {
	n := 0
	for _, s := range k.host.Record().Synced {
		if _, lost := k.lost[s.Node]; !lost {
			n++
		}
	}
	return n
}

// admit unlocks the accounts of those who may connect.
func (k *Keeper) admit(ctx context.Context, v election.View) {
	for node := range k.host.Replicas() {
		if k.admitted(node) || !v.MayConnect(node, k.wordOf(node)) {
			continue
		}
		if err := k.unlock(ctx, node); err != nil {
			k.complain("admit", err)
		}
	}
}

func (k *Keeper) admitted(node string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.admits[node]
}

// setAdmitted notes whose account is locked, and lets that node know.
func (k *Keeper) setAdmitted(node string, admitted bool) {
	k.mu.Lock()
	changed := k.admits[node] != admitted
	k.admits[node] = admitted
	k.mu.Unlock()
	if changed {
		k.host.Publish()
	}
}

func (k *Keeper) unlock(ctx context.Context, node string) error {
	ctx, cancel := k.host.Within(ctx, k.config.FenceTimeout)
	defer cancel()
	if err := k.server.UnlockReplica(ctx, k.config.User(node)); err != nil {
		return err
	}
	k.setAdmitted(node, true)
	return nil
}

// step carries out one stage of the change under way and reports whether to go on at once.
func (k *Keeper) step(ctx context.Context) bool {
	step := k.change.Step()
	ctx, cancel := k.host.Within(ctx, k.config.PromoteTimeout)
	defer cancel()
	var passed []election.SyncedNode
	var err error
	switch step.Stage {
	case election.StageCommit:
		if !k.proposed {
			k.propose(ctx)
		}
		return false
	case election.StageDone:
		k.config.Log.Info("lossless.changed", "change", k.change.Name(), "synced", SyncedNames(k.host.Record()), "acks", k.host.Record().Acks)
		k.count(k.change.Name())
		k.failed = ""
		k.setChange(nil)
		return false
	case election.StageCut:
		err = k.cut(ctx, step.Nodes)
	case election.StageRequire:
		if err = k.foreign(ctx); err == nil {
			err = k.waitFor(ctx, step.Acks)
		}
	case election.StageBarrier:
		passed, err = k.passBarrier(ctx, step)
	case election.StageRelax:
		if step.Acks == 0 {
			err = k.server.DisableSource(ctx)
		} else {
			err = k.server.SetAcks(ctx, step.Acks)
		}
		k.requiredAt = 0
	case election.StageAdmit:
		for _, node := range step.Nodes {
			err = errors.Join(err, k.unlock(ctx, node))
		}
	default:
		err = fmt.Errorf("no primary does %s", step.Stage)
	}
	if err == nil {
		var next election.Change
		if next, err = k.change.Done(passed...); err == nil {
			k.change = &next
			return true
		}
	}
	// What is committed stays so, and what this change leaves undone each turn sees to.
	k.fail(string(step.Stage), err)
	return false
}

// cut makes it impossible for nodes to acknowledge, unless the view lets them in.
func (k *Keeper) cut(ctx context.Context, nodes []string) error {
	v := k.change.View()
	for _, node := range nodes {
		if v.MayConnect(node, k.wordOf(node)) {
			continue
		}
		k.setAdmitted(node, false)
		if err := k.server.LockReplica(ctx, k.config.User(node)); err != nil {
			return err
		}
	}
	return nil
}

// waitFor has MySQL wait for so many acknowledgements.
func (k *Keeper) waitFor(ctx context.Context, acks int) error {
	st, err := k.server.SourceState(ctx)
	switch {
	case err != nil:
		return err
	case !st.Lossless(1):
		return k.server.EnableSource(ctx, acks)
	case st.Acks < acks:
		return k.server.SetAcks(ctx, acks)
	default:
		return nil
	}
}

// propose puts the change before the quorum. Until its fate is known it is in doubt.
func (k *Keeper) propose(ctx context.Context) {
	proposal, err := k.change.Proposal()
	if err != nil {
		k.fail("propose", err)
		return
	}
	k.proposed = true
	v := k.change.View()
	k.mu.Lock()
	k.doubt = &v
	k.mu.Unlock()
	k.host.Change(ctx, func(record election.ClusterRecord) (election.ClusterRecord, error) {
		return record.Commit(proposal)
	}, func(_ context.Context, err error) {
		k.decided <- err // buffered; one is under way
		k.Nudge()
	})
}

// foreign returns an error if a replica acknowledges that is not of this cluster.
func (k *Keeper) foreign(ctx context.Context) error {
	users := []string{k.config.User(k.config.Node)}
	for node := range k.host.Replicas() {
		users = append(users, k.config.User(node))
	}
	return k.server.ForeignAckers(ctx, users)
}

// flavor is the local server's.
func (k *Keeper) flavor() mysqlcheck.Flavor { return k.host.Sample().Flavor }

// maxAcks is for how many acknowledgements a server can wait, 0 for any number.
func maxAcks(f mysqlcheck.Flavor) int {
	if f == mysqlcheck.MariaDB {
		return 1
	}
	return 0
}

// SyncedNames names the members of S.
func SyncedNames(r election.ClusterRecord) []string {
	out := []string{} // [] in JSON
	for _, s := range r.Synced {
		out = append(out, s.Node)
	}
	return out
}
