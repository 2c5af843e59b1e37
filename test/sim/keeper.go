// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"context"
	"errors"
	"io"
	"iter"
	"log/slog"
	"time"

	"highwater/election"
	"highwater/mysqlcheck"
	"highwater/mysqlcheck/gtid"
	"highwater/supervisor/keeper"
	"highwater/supervisor/peer"
)

// keeperHost gives a real [keeper.Keeper] this process, its modelled server and the world's clock. What waits runs in a
// [routine].
type keeperHost struct {
	s       *supervisor
	resting *routine // in Rest
	nudged  bool
	waiting []*routine // in Await, for news
	turn    *routine   // whose operation on the server is under way
	pushing bool
}

// startKeeper lets a keeper run, where nothing acknowledged may be lost.
func (s *supervisor) startKeeper() {
	if !s.w.cfg.Lossless {
		return
	}
	k := &keeperHost{s: s}
	var err error
	s.keeper, err = keeper.New(keeper.Config{
		Node: s.host.name, User: func(node string) string { return node }, GoAlone: s.w.cfg.GoAlone, Lease: lease, Silence: s.silence(),
		CheckTimeout: checkTimeout, FenceTimeout: fenceTimeout, GatherTimeout: gatherTimeout, PromoteTimeout: promoteTimeout,
		Log: s.log(), Mutations: s.w.cfg.Mutation.keeper(),
	}, k, k)
	if err != nil {
		s.w.fail("%s: new keeper: %v", s.host.name, err)
		return
	}
	s.keeping = k
	s.after(s.w.between(0, 5*time.Millisecond), func() {
		s.start(func() { _ = s.keeper.Run(s.background()) })
	})
}

// silence is the age at which a peer counts as unheard.
func (s *supervisor) silence() time.Duration {
	return 3 * max(s.w.cfg.Interval, 100*time.Millisecond)
}

// log goes into the trace.
func (s *supervisor) log() *slog.Logger {
	if !s.w.cfg.Trace {
		return slog.New(slog.DiscardHandler)
	}
	return slog.New(slog.NewTextHandler(tracer{s}, &slog.HandlerOptions{
		Level: slog.LevelDebug,
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		},
	}))
}

// tracer writes log lines into the trace.
type tracer struct{ s *supervisor }

var _ io.Writer = tracer{}

func (t tracer) Write(line []byte) (int, error) {
	t.s.w.tracef(t.s.host, "keeper: %s", line[:max(0, len(line)-1)])
	return len(line), nil
}

func (k *keeperHost) Now() election.Instant { return k.s.host.clock() }

func (k *keeperHost) Within(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	return k.s.within(ctx, d), func() {}
}

func (k *keeperHost) Rest(_ context.Context, d time.Duration) {
	r := k.s.w.running
	if k.nudged {
		d = 0
	}
	k.nudged, k.resting = false, r
	r.sleep(d)
	k.resting = nil
}

func (k *keeperHost) Nudge() {
	if k.resting == nil {
		k.nudged = true
		return
	}
	k.resting.wake()
}

func (k *keeperHost) News() <-chan struct{} { return nil }

func (k *keeperHost) Await(ctx context.Context, _ <-chan struct{}, d time.Duration) {
	r := k.s.w.running
	k.waiting = append(k.waiting, r)
	if c, ok := ctx.(*span); ok && c.until != 0 {
		d = min(d, max(0, c.until.Sub(k.s.host.clock())))
	}
	r.sleep(d)
	for i, other := range k.waiting {
		if other == r {
			k.waiting = append(k.waiting[:i], k.waiting[i+1:]...)
			break
		}
	}
}

// news wakes those who wait for it.
func (k *keeperHost) news() {
	for _, r := range k.waiting {
		r.wake()
	}
}

func (k *keeperHost) Status() election.Status { return k.s.machine.Status() }
func (k *keeperHost) Own() *peer.NodeStatus   { return k.s.status.node }
func (k *keeperHost) Rebuilding() bool        { return k.s.rebuilding }
func (k *keeperHost) Waits(int)               {}
func (k *keeperHost) Look()                   { k.s.lookSoon() }

func (k *keeperHost) Publish() {
	if k.pushing {
		return
	}
	k.pushing = true
	k.s.after(k.s.w.between(0, time.Millisecond), func() {
		k.pushing = false
		k.s.push()
	})
}

func (k *keeperHost) Sample() keeper.Sample {
	v := &k.s.verdict
	out := keeper.Sample{UUID: uuidOf(k.s.host.server.db.Origin()), Executed: k.s.w.set(v.executed), Acknowledges: v.acknowledges, ReadAt: v.at, Flavor: mysqlcheck.MySQL}
	if k.s.w.cfg.MariaDB {
		out.Flavor = mysqlcheck.MariaDB
	}
	if v.alive {
		out.Start = v.serverID
	}
	return out
}

func (k *keeperHost) Record() election.ClusterRecord { return k.s.voter.record }
func (k *keeperHost) Leader() string                 { return k.s.voter.core.Leader() }

func (k *keeperHost) Change(ctx context.Context, next func(election.ClusterRecord) (election.ClusterRecord, error), ended func(context.Context, error)) {
	k.s.voter.change(next, func(failed string) {
		var err error
		if failed != "" {
			err = errors.New(failed)
		}
		ended(ctx, err)
	})
}

func (k *keeperHost) Replicas() iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, h := range k.s.w.hosts {
			if h != k.s.host && !yield(h.name) {
				return
			}
		}
	}
}

func (k *keeperHost) Peer(node string) (keeper.Peer, bool) {
	h, ok := k.s.heard[node]
	if !ok || h.node == nil {
		return keeper.Peer{}, false
	}
	fresh := k.s.host.clock().Sub(h.at) < k.s.silence()
	return keeper.Peer{NodeStatus: h.node, Fresh: fresh, Alive: fresh && h.Alive, Source: h.Source}, true
}

const (
	// holdGrace is how long the others have once enough hold a point, and askPause the pause between two questions.
	holdGrace = 20 * time.Millisecond
	askPause  = 8 * time.Millisecond
	// youngUptime is the uptime below which a server is not believed.
	youngUptime = 2 * time.Second
)

func (k *keeperHost) Hold(ctx context.Context, running []election.SyncedNode, point gtid.Set, enough int) []election.SyncedNode {
	s, w := k.s, k.s.w
	at := w.position(point)
	var held []election.SyncedNode
	left := append([]election.SyncedNode(nil), running...)
	var grace election.Instant
	for len(left) > 0 && ctx.Err() == nil && (grace == 0 || s.host.clock() < grace) {
		w.running.sleep(w.between(200*time.Microsecond, w.delay+time.Millisecond))
		var wait []election.SyncedNode
		for _, r := range left {
			switch holds, restarted := s.asksHold(w.host(r.Node), r.Start, at); {
			case holds:
				held = append(held, r)
			case !restarted:
				wait = append(wait, r)
			}
		}
		if left = wait; len(held) >= enough && grace == 0 {
			grace = s.host.clock().Add(holdGrace)
		}
		w.running.sleep(askPause)
	}
	return held
}

// asksHold asks another host whether its server holds a point.
func (s *supervisor) asksHold(to *host, start string, point position) (holds, restarted bool) {
	p, srv := to.supervisor, &to.server
	if p == nil || p.stopped() || !srv.answers() || !s.w.reaches(s.host, to) || !s.w.reaches(to, s.host) {
		return false, false
	}
	if srv.id() != start {
		return false, true
	}
	return srv.received().Contains(point) && !srv.young(), false
}

func (k *keeperHost) Pass(ctx context.Context) (gtid.Set, error) {
	srv := &k.s.host.server
	if err := k.sql(ctx); err != nil {
		return gtid.Set{}, err
	}
	if srv.readOnly() || srv.failing {
		return gtid.Set{}, errors.New("server is read-only")
	}
	srv.db.Commit()
	if err := k.sql(ctx); err != nil {
		return gtid.Set{}, err
	}
	if k.s.w.cfg.Mutation == ExecutedBarrier {
		return k.s.w.set(srv.executed()), nil
	}
	return k.s.w.set(srv.db.Logged()), nil
}
