// SPDX-License-Identifier: Apache-2.0

package supervisor

import (
	"context"
	"iter"
	"sync"
	"time"

	"highwater/configs"
	"highwater/election"
	"highwater/mysqlcheck"
	"highwater/mysqlcheck/gtid"
	"highwater/promote"
	"highwater/supervisor/keeper"
	"highwater/supervisor/peer"
)

// newKeeper returns nil where durability is best-effort, or there is no server.
func newKeeper(n *Node) (*keeper.Keeper, error) {
	c := n.config
	if c.Durability.Mode != configs.Lossless || n.self.Witness {
		return nil, nil
	}
	return keeper.New(keeper.Config{
		Node: n.self.Name, User: c.MySQL.Replication.UserFor,
		GoAlone: c.Durability.WhenAlone == configs.WhenAloneContinue, Lease: c.VIP.Lease, Silence: n.silence(),
		CheckTimeout: c.Check.Timeout, FenceTimeout: c.Fencing.Timeout,
		GatherTimeout: c.Promote.GatherTimeout, PromoteTimeout: c.Promote.Timeout,
		Log: n.log,
	}, &keeperHost{node: n, wake: make(chan struct{}, 1), barrier: promote.NewBarrier(n.server, c.MySQL.Heartbeat)}, n.server)
}

// keeperHost is this host, as far as a [keeper.Keeper] needs it.
type keeperHost struct {
	node    *Node
	wake    chan struct{}
	barrier *promote.Barrier
}

func (h *keeperHost) Now() election.Instant { return now() }

func (h *keeperHost) Within(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, d)
}

func (h *keeperHost) Rest(ctx context.Context, d time.Duration) { h.Await(ctx, h.wake, d) }

func (h *keeperHost) Nudge() {
	select {
	case h.wake <- struct{}{}:
	default:
	}
}

func (h *keeperHost) News() <-chan struct{} { return h.node.cluster.news() }

func (h *keeperHost) Await(ctx context.Context, news <-chan struct{}, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-news:
	case <-timer.C:
	case <-ctx.Done():
	}
}

func (h *keeperHost) Status() election.Status { return h.node.loop.view.Load().Status }
func (h *keeperHost) Own() *peer.NodeStatus   { return h.node.status.Load() }
func (h *keeperHost) Publish()                { h.node.publish() }
func (h *keeperHost) Look()                   { h.node.health.again() }
func (h *keeperHost) Rebuilding() bool        { return h.node.rebuilding.Load() }
func (h *keeperHost) Waits(acks int)          { h.node.health.promoted(&promote.SemiSync{Acks: acks}) }

func (h *keeperHost) Sample() keeper.Sample {
	s, v := h.node.health.snapshot()
	out := keeper.Sample{
		UUID: s.ServerUUID, Flavor: s.Version.Flavor, Executed: v.Executed,
		Acknowledges: s.Settings.SemiSync.ReplicaEnabled, ReadAt: election.Instant(s.SettingsAt),
	}
	if v.Health == mysqlcheck.HealthAlive {
		out.Start = s.StartID
	}
	return out
}

func (h *keeperHost) Record() election.ClusterRecord { return h.node.voter.Record() }
func (h *keeperHost) Leader() string                 { return h.node.voter.State().Leader }

func (h *keeperHost) Change(ctx context.Context, next func(election.ClusterRecord) (election.ClusterRecord, error), ended func(context.Context, error)) {
	h.node.voter.Change(ctx, next, ended)
}

func (h *keeperHost) Replicas() iter.Seq[string] {
	return func(yield func(string) bool) {
		for node := range h.node.cluster.servers() {
			if !yield(node.Name) {
				return
			}
		}
	}
}

func (h *keeperHost) Peer(node string) (keeper.Peer, bool) {
	s, ok, _ := h.node.cluster.of(node)
	if !ok {
		return keeper.Peer{}, false
	}
	fresh := h.node.hears(s)
	return keeper.Peer{
		NodeStatus: &s.NodeStatus, Fresh: fresh, Alive: fresh && s.Health == healthAlive,
		Source: h.node.cluster.nodeOf(s.SourceUUID, s.SourceHost, 0),
	}, true
}

const (
	// holdGrace is how long the others have once enough hold a point, and askPause the pause
	// between two questions.
	holdGrace = 20 * time.Millisecond
	askPause  = 5 * time.Millisecond
)

func (h *keeperHost) Hold(ctx context.Context, running []election.SyncedNode, point gtid.Set, enough int) []election.SyncedNode {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var all sync.WaitGroup
	holds := make(chan election.SyncedNode, len(running))
	for _, r := range running {
		all.Go(func() {
			if h.holds(ctx, r, point) {
				holds <- r // buffered
			}
		})
	}
	go func() { all.Wait(); close(holds) }()
	var held []election.SyncedNode
	for r := range holds {
		held = append(held, r)
		if len(held) == enough && len(held) < len(running) {
			time.AfterFunc(holdGrace, cancel)
		}
	}
	return held
}

// holds asks a server process until it holds the point, or another one runs.
func (h *keeperHost) holds(ctx context.Context, r election.SyncedNode, point gtid.Set) bool {
	client := h.node.client(r.Node)
	if client == nil {
		return false
	}
	for ctx.Err() == nil {
		reply, err := client.Hold(ctx, peer.HoldRequest{Point: point})
		switch {
		case err == nil && reply.Start != "" && reply.Start != r.Start:
			return false
		case err == nil && reply.Holds:
			return true
		}
		sleep(ctx, askPause)
	}
	return false
}

func (h *keeperHost) Pass(ctx context.Context) (gtid.Set, error) {
	point, err := h.barrier.Pass(ctx)
	return point.Set, err
}

func (h *keeperHost) FollowAcknowledging(ctx context.Context, primary string, term uint64) error {
	source, err := h.node.source(primary, term)
	if err != nil {
		return err
	}
	_, err = h.node.server.FollowAcknowledging(ctx, source)
	return err
}

func (h *keeperHost) AcknowledgeReceived(ctx context.Context, primary string, term uint64) error {
	source, err := h.node.source(primary, term)
	if err != nil {
		return err
	}
	return h.node.server.AcknowledgeReceived(ctx, source)
}
