// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"time"

	"highwater/election"
	"highwater/mysqlcheck"
	"highwater/mysqlcheck/gtid"
	"highwater/promote"
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

// errGone is that of a statement whose server has ended, or whose connection has.
var errGone = errors.New("the connection is gone")

// sql is one statement: when it returns nil the server carries it out.
func (k *keeperHost) sql(ctx context.Context) error {
	s, w := k.s, k.s.w
	srv := &s.host.server
	process := srv.process()
	d := w.between(100*time.Microsecond, 2*time.Millisecond)
	if w.chance(0.03) {
		d = w.between(2*time.Millisecond, 60*time.Millisecond)
	}
	w.running.sleep(d + w.between(0, srv.slow))
	for ctx.Err() == nil {
		switch {
		case !srv.up() || srv.process() != process:
			return errGone
		case srv.answers():
			return nil
		}
		w.running.sleep(10 * time.Millisecond)
	}
	return ctx.Err()
}

// take is the beginning of an operation that gives way to seals, promotions and demotions, one at a time. The function
// that it returns is to be called before each of its steps.
func (k *keeperHost) take(ctx context.Context) (step func() error, end func(), err error) {
	s := k.s
	for k.turn != nil && !k.turn.over {
		if err := ctx.Err(); err != nil {
			return nil, nil, err
		}
		s.w.running.sleep(time.Millisecond)
	}
	k.turn = s.w.running
	attempt := s.interrupts
	step = func() error {
		if err := k.sql(ctx); err != nil {
			return err
		}
		if s.interrupts != attempt {
			return context.Canceled
		}
		return nil
	}
	return step, func() { k.turn = nil }, nil
}

func (k *keeperHost) FollowAcknowledging(ctx context.Context, primary string, term uint64) error {
	step, end, err := k.take(ctx)
	if err != nil {
		return err
	}
	defer end()
	return k.s.followLossless(step, primary, term, acksAlways)
}

func (k *keeperHost) AcknowledgeReceived(ctx context.Context, _ string, _ uint64) error {
	step, end, err := k.take(ctx)
	if err != nil {
		return err
	}
	defer end()
	if err := step(); err != nil {
		return err
	}
	db := k.s.host.server.db
	db.ApplyAll()
	if src := k.s.host.server.source(); src == nil || !k.s.w.reaches(src, k.s.host) || !k.s.w.reaches(k.s.host, src) || !src.server.answers() {
		return errGone
	} else if db.AcknowledgeReceived() {
		src.server.tell()
	}
	return nil
}

func (k *keeperHost) Durability(ctx context.Context) (promote.Durability, error) {
	if err := k.sql(ctx); err != nil {
		return promote.Durability{}, err
	}
	return promote.Durability{StartID: k.s.host.server.id()}, nil
}

func (k *keeperHost) Relaxed() (promote.Relaxed, error)                   { return promote.Relaxed{}, nil }
func (k *keeperHost) NoteRelaxed(promote.Relaxed) error                   { return nil }
func (k *keeperHost) ForeignAckers(ctx context.Context, _ []string) error { return k.sql(ctx) }

func (k *keeperHost) NoteRun(start string, led uint64) error {
	srv := &k.s.host.server
	if start == srv.id() {
		srv.led[srv.process()] = led
	}
	return nil
}

func (k *keeperHost) SourceState(ctx context.Context) (promote.SourceState, error) {
	if err := k.sql(ctx); err != nil {
		return promote.SourceState{}, err
	}
	st := k.s.host.server.db.SourceState()
	return promote.SourceState{
		Loaded: true, Enabled: st.Enabled, Active: st.Enabled, Acks: st.Acks, Forever: true, AfterSync: true, WaitNoReplica: true,
		Clients: st.Clients, Waiting: st.Waiting, Acknowledged: st.Acknowledged,
	}, nil
}

func (k *keeperHost) EnableSource(ctx context.Context, acks int) error {
	return k.set(ctx, func() { k.s.host.server.db.EnableSource(acks) })
}

func (k *keeperHost) SetAcks(ctx context.Context, acks int) error {
	return k.set(ctx, func() { k.s.host.server.db.SetAcks(acks) })
}

func (k *keeperHost) DisableSource(ctx context.Context) error {
	return k.set(ctx, func() { k.s.host.server.db.DisableSource() })
}

// set changes a setting, which is then read back.
func (k *keeperHost) set(ctx context.Context, change func()) error {
	if err := k.sql(ctx); err != nil {
		return err
	}
	change()
	k.s.host.server.tell()
	return k.sql(ctx)
}

func (k *keeperHost) LockReplica(ctx context.Context, user string) error {
	db := k.s.host.server.db
	if k.s.w.cfg.Mutation != KillWithoutLock {
		if err := k.set(ctx, func() { db.Lock(user) }); err != nil {
			return err
		}
	}
	for {
		if err := k.sql(ctx); err != nil {
			return fmt.Errorf("end its dump thread: %w", err)
		}
		if !db.Dumping(user) {
			return nil
		}
		db.KillDump(user)
		if k.s.w.cfg.Mutation == KillWithoutLock {
			return nil
		}
	}
}

func (k *keeperHost) UnlockReplica(ctx context.Context, user string) error {
	return k.set(ctx, func() { k.s.host.server.db.Unlock(user) })
}

func (k *keeperHost) Silence(ctx context.Context) error {
	step, end, err := k.take(ctx)
	if err != nil {
		return err
	}
	defer end()
	return k.s.silent(step)
}

// silent makes sure that the server does not acknowledge, as promote.Silence does.
func (s *supervisor) silent(step func() error) error {
	db := s.host.server.db
	if err := step(); err != nil || !db.WillAcknowledge() && !db.Acknowledges() {
		return err
	}
	if err := step(); err != nil {
		return err
	}
	db.StopReceiver()
	if err := step(); err != nil {
		return err
	}
	db.SetAcknowledge(false)
	return nil
}

var (
	errPromised = errors.New("sealed for a later term")
	errWritable = errors.New("the server is not read-only")
)

// acknowledging is what a server that follows is to do.
type acknowledging uint8

const (
	acksAsSet  acknowledging = iota // what it was told before
	acksAlways                      // a member of S
)

// followLossless is promote.Follow, and FollowAcknowledging.
func (s *supervisor) followLossless(step func() error, primary string, term uint64, acks acknowledging) error {
	srv := &s.host.server
	source := s.w.host(primary)
	promised := func() error {
		if err := step(); err != nil {
			return err
		}
		if term < s.host.promised && s.w.cfg.Mutation != ForgottenPromise {
			return errPromised
		}
		return nil
	}
	if err := promised(); err != nil {
		return err
	}
	if !srv.readOnly() {
		return errWritable
	}
	known, heard := s.heard[primary]
	if !heard {
		return errors.New("nothing was heard")
	}
	if g := s.beyond(srv.executed(), known); !g.empty() {
		return errantError{g}
	}
	s.host.joined, s.host.joinedTo = term, primary
	if srv.source() == source && srv.receiving() && (acks == acksAsSet || srv.db.Acknowledges()) {
		return nil
	}
	keep := srv.source() == source
	srv.db.StopReceiver()
	if !keep { // to set another source deletes what was not applied
		if err := promised(); err != nil {
			return err
		}
		srv.db.ApplyAll()
		if g := s.beyond(srv.executed(), known); !g.empty() {
			return errantError{g}
		}
	}
	if err := promised(); err != nil {
		return err
	}
	if srv.db.SourceState().Waiting > 0 {
		return errors.New("commits wait for an acknowledgement")
	}
	srv.db.DisableSource()
	if acks == acksAlways {
		srv.db.SetAcknowledge(true)
	}
	if err := promised(); err != nil {
		return err
	}
	srv.follow(source)
	srv.rebuilt = false
	s.w.tracef(s.host, "follows %s, acknowledging %v", source.name, srv.db.WillAcknowledge())
	return nil
}

// errantError is transactions that a source has not.
type errantError struct{ gap }

func (e errantError) Error() string { return "errant transactions: " + e.set().String() }
