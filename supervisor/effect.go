// SPDX-License-Identifier: Apache-2.0

package supervisor

import (
	"context"
	"errors"
	"fmt"
	"time"

	"highwater/election"
	"highwater/mysqlcheck/gtid"
	"highwater/promote"
	"highwater/supervisor/keeper"
)

// set shortens the type of many signatures.
type set = gtid.Set

var errServerSilent = errors.New("the server does not answer")

// promote is door 5.
func (n *Node) promote(ctx context.Context, a election.Promote) election.PromoteEnded {
	ended := election.PromoteEnded{Token: a.Token}
	timeout := n.config.Promote.Timeout
	if wait := time.Duration(a.WaitUntil) - boottime(); wait > 0 {
		timeout += wait // the wait for the old lease is not the server's time
	}
	bounded, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	var lossless *promote.Lossless
	in := promote.PromoteInput{
		Term:      a.Term,
		WaitUntil: time.Duration(a.WaitUntil),
		Check:     func() error { return n.stillRight(ctx, a.Term) },
		SemiSync:  n.semiSync(a.OldPrimary),
		Failover:  n.failoverInfo(a),
		Progress: func(s promote.Step) {
			n.keeper.Opened(lossless, s)
			n.log.Info("promote.step", "step", string(s.Name), "took", s.Took, "detail", s.Detail, "error", s.Err)
		},
	}
	if err := n.fetch(&in, a.FetchFrom); err != nil {
		ended.Err, ended.Code = err.Error(), election.CodePromoteFail
		return ended
	}
	if n.keeper != nil {
		lossless = n.keeper.Begin(bounded, a.Term)
		in.SemiSync, in.Lossless, in.Start = nil, lossless, *n.sealedStart.Load()
	}
	if h, ok, _ := n.cluster.of(a.OldPrimary); ok && h.IdleEvents != nil {
		n.idleEvents.Store(&h.IdleEvents)
	}
	result, err := n.server.Promote(bounded, in)
	switch {
	case err != nil:
	case n.keeper == nil:
		n.health.promoted(in.SemiSync)
	default:
		n.keeper.Began(keeper.Opening{Term: a.Term, Start: in.Start, Set: result.Executed})
	}
	n.health.again()
	if err != nil {
		ended.Err, ended.Code = err.Error(), promoteCode(err)
	}
	return ended
}

// fetch names the peer from which a promotion fetches what is missing here, if there is one.
func (n *Node) fetch(in *promote.PromoteInput, node string) error {
	if forgone := n.forgone.Load(); node == "" || forgone != 0 && forgone == in.Term {
		return nil
	}
	source, err := n.source(node, in.Term)
	if err != nil {
		return err
	}
	in.Fetch, in.Received = &source, n.held(node)
	if n.keeper != nil {
		// What was chosen by. The peer may have lost it since, and must not hide that.
		in.Received = in.Received.Union(*n.missing.Load())
	}
	return nil
}

// held is everything that another node's server holds, by its newest status.
func (n *Node) held(node string) set {
	h, _, _ := n.cluster.of(node)
	return h.Executed.Union(h.Received)
}

// semiSync is how a promoted server has to wait for acknowledgements: as the old primary
// did, or, when nobody knows how that was, as this server is set up to.
func (n *Node) semiSync(old string) *promote.SemiSync {
	if h, ok, _ := n.cluster.of(old); ok && h.Role != election.RoleReplica.String() {
		if h.SemiSyncAcks == 0 {
			return nil
		}
		return &promote.SemiSync{Acks: h.SemiSyncAcks}
	}
	sample, _ := n.health.snapshot()
	if s := sample.Settings.SemiSync; s.SourceEnabled || s.ReplicaEnabled {
		return &promote.SemiSync{Acks: max(1, s.WaitCount)}
	}
	return nil
}

// stillRight is asked before each step of a promotion that cannot be taken back.
func (n *Node) stillRight(ctx context.Context, term uint64) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	view := n.loop.view.Load()
	if view.Role != election.RolePromoting || view.Promised > term {
		return fmt.Errorf("%w: %s in term %d", errCancelled, view.Role, view.Term)
	}
	return nil
}

// failoverInfo tells hooks what is going on.
func (n *Node) failoverInfo(a election.Promote) promote.FailoverInfo {
	info := promote.FailoverInfo{
		ID:   fmt.Sprintf("%s-%d", n.config.Cluster.Name, a.Term),
		Kind: promote.KindFailover, Reason: string(a.Cause), Cluster: n.config.Cluster.Name, Term: a.Term,
		Detail: fmt.Sprintf("%s becomes primary of term %d after %s", n.self.Name, a.Term, a.Cause),
		Old:    n.endpoint(a.OldPrimary), New: n.endpoint(n.self.Name),
	}
	if a.Cause == election.CodeOperator {
		info.Kind = promote.KindForced
	}
	for _, p := range n.config.VIP.Addresses {
		info.VIPs = append(info.VIPs, p.Addr().String())
	}
	fresh := n.cluster.all()
	for node := range n.cluster.servers() {
		if node.Name == a.OldPrimary {
			continue
		}
		if h, ok := fresh[node.Name]; ok && n.hears(h) {
			info.Replicas = append(info.Replicas, n.endpoint(node.Name))
		} else {
			info.Lost = append(info.Lost, n.endpoint(node.Name))
		}
	}
	return info
}

// silence is the age at which a peer counts as unheard.
func (n *Node) silence() time.Duration {
	return time.Duration(n.config.Election.DownTimerAdverts) * max(n.config.Election.AdvertInterval, n.pushInterval)
}

// hears reports whether a status is new enough for its sender to count as there.
func (n *Node) hears(h heard) bool { return boottime()-h.at < n.silence() }

func (n *Node) endpoint(name string) promote.Endpoint {
	if name == "" {
		return promote.Endpoint{}
	}
	host, port := n.cluster.server(name)
	return promote.Endpoint{Node: name, Host: host, Port: port}
}

// finishTimeout bounds what is left to do once the VIP is there. An event cannot be enabled
// before a replica acknowledges it; it is tried again until it works or the role ends.
const (
	finishTimeout = 10 * time.Second
	finishRetry   = time.Second
)

func (n *Node) finish(ctx context.Context) error {
	for {
		view := n.loop.view.Load()
		if view.Role != election.RolePrimary {
			return nil
		}
		bounded, cancel := context.WithTimeout(ctx, finishTimeout)
		in := promote.FinishInput{Term: view.Term}
		if idle := n.idleEvents.Load(); idle != nil {
			in.Idle = *idle
		}
		result, err := n.server.Finish(bounded, in)
		cancel()
		if err == nil {
			if len(result.Events) > 0 {
				n.log.Info("events.enabled", "events", result.Events)
			}
			return nil
		}
		n.log.Warn("finish.retry", "error", err)
		if sleep(ctx, finishRetry); ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

// demote makes the server read-only, or ends it where that is allowed.
func (n *Node) demote(ctx context.Context, a election.Demote) election.DemoteEnded {
	result, err := n.server.Demote(ctx, promote.DemoteInput{
		Reason: string(a.Reason), KillClients: true,
		Progress: func(s promote.Step) {
			n.log.Debug("demote.step", "step", string(s.Name), "took", s.Took, "detail", s.Detail, "error", s.Err)
		},
	})
	n.health.again()
	if err != nil {
		return election.DemoteEnded{Token: a.Token, Err: err.Error()}
	}
	n.log.Info("server.demoted", "gone", result.Gone, "killed_sessions", result.KilledSessions,
		"prepared_xa", result.Prepared, "exempt", result.Exempt, "warnings", result.Warnings)
	return election.DemoteEnded{Token: a.Token, Killed: result.KilledPid != 0}
}

const (
	followTimeout = 60 * time.Second
	statusPause   = 2 * time.Second
)

// follow points the local server at the primary. A clean old primary rejoins so; one with
// transactions of its own is held.
func (n *Node) follow(ctx context.Context, a election.Follow) election.FollowEnded {
	ctx, cancel := context.WithTimeout(ctx, followTimeout)
	defer cancel()
	defer n.health.again()
	ended := election.FollowEnded{Token: a.Token}
	if errant, busy := n.rejoin.busy(); busy {
		ended.Errant = errant // until the copy is complete
		return ended
	}
	if done, err := n.keeper.AwaitTurn(ctx, a.Node); done || err != nil {
		ended.Err = text(err)
		return ended
	}
	source, err := n.source(a.Node, a.Term)
	if err != nil {
		ended.Err = err.Error()
		return ended
	}
	source.SemiSync = source.SemiSync && n.keeper == nil
	result, err := n.server.Rejoin(ctx, source)
	switch {
	case result.Held:
		ended.Errant = result.Errant.String()
		if v, news := n.rejoin.held(ctx, source, result, err); news {
			n.log.Warn("errant.held", "errant", ended.Errant, "count", result.Errant.Count(), "saved", result.Tail, "error", err,
				"reason", string(v.code), "detail", v.detail)
		}
	case err != nil:
		ended.Err = err.Error()
	default:
		n.rejoin.clear()
		n.log.Info("server.follows", "source", a.Node, "receiver", result.Follow.Receiver)
	}
	return ended
}

// newerSets waits for a status of node whose sets were read after now.
func (n *Node) newerSets(ctx context.Context, node string) (executed, purged set, err error) {
	waiting, cancel := context.WithTimeout(ctx, statusPause)
	defer cancel()
	sleep(waiting, 2*n.config.Check.Interval) // a verdict is at most an interval old
	_, _, more := n.cluster.of(node)
	select {
	case <-more:
	case <-waiting.Done():
	}
	h, ok, _ := n.cluster.of(node)
	if !ok || ctx.Err() != nil {
		return set{}, set{}, fmt.Errorf("hear of %s: %w", node, ctx.Err())
	}
	if h.ServerStartID == "" {
		return set{}, set{}, fmt.Errorf("hear of %s: %w", node, errUnread)
	}
	return h.Executed, h.Purged, nil
}

// errUnread is why nobody is compared with a node whose process has just begun: its empty sets are no news, and all that
// others have would look like theirs alone.
var errUnread = errors.New("its supervisor has not looked at its server yet")

// source describes another node's server from its newest status.
func (n *Node) source(node string, term uint64) (promote.Source, error) {
	h, ok, _ := n.cluster.of(node)
	if !ok {
		return promote.Source{}, fmt.Errorf("nothing was heard of %s", node)
	}
	if h.ServerStartID == "" {
		return promote.Source{}, fmt.Errorf("compare with %s: %w", node, errUnread)
	}
	host, port := n.cluster.server(node)
	return promote.Source{
		Node: node, Host: host, Port: port, ServerUUID: h.ServerUUID, Term: term,
		Executed: h.Executed, Purged: h.Purged, SemiSync: h.SemiSyncAcks > 0, Keep: n.keeper != nil,
		Refresh: func(ctx context.Context) (set, set, error) { return n.newerSets(ctx, node) },
	}, nil
}
