// SPDX-License-Identifier: Apache-2.0

package voter

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"highwater/election"
	"highwater/election/quorum"
	"highwater/supervisor/raftlog"
)

// Config is what a [Voter] needs.
type Config struct {
	// Quorum's Members are the address book, without IDs: who is a member, and under which ID, the log says.
	Quorum quorum.Config
	Dir    string // state_dir; the log lies in raft/ below it

	Now  func() election.Instant
	Post func(context.Context, election.Event)     // to the loop
	Send func(to string, data []byte, urgent bool) // to another node's core; never waits
	Log  *slog.Logger
	// Applied, if not nil, is called when another record is applied here. It must not wait.
	Applied func()
	// Heard returns what the other nodes say of themselves that are heard now, by name; nil: nobody is.
	Heard func() map[string]Standing
}

// logDir is where the log lies in state_dir.
const logDir = "raft"

// inputQueue bounds what waits for the core. A full queue drops what the network brings, which raft tolerates, and
// lets the rest of the program wait.
const inputQueue = 256

// Voter is this node's part of the quorum.
type Voter struct {
	cfg    Config
	disk   *raftlog.Log
	log    string          // its random name
	kept   quorum.Restored // what the log held at the start, as long as there is no core
	inputs chan input
	stores chan quorum.Store
	stored chan uint64 // of the newest that is done
	failed chan error

	record  atomic.Pointer[election.ClusterRecord]
	state   atomic.Pointer[State]
	dropped atomic.Uint64

	// What follows belongs to Run's goroutine.
	core       *quorum.Core // nil: this node takes no part
	reason     Reason       // why not
	detail     string
	told       election.RightChanged
	leaderless election.Instant // since then nobody has led, as far as this node knows; 0: somebody does
	wish       election.Instant // the last Seek; 0 none
	pending    *proposal
}

// State is what other goroutines may know.
type State struct {
	quorum.Status
	Right    election.RightChanged
	Leader   string
	Standing Standing
	Detail   string // of Standing.Reason
}

// proposal is a change of the record that is under way.
type proposal struct {
	record election.ClusterRecord
	ended  func(ctx context.Context, err error)
}

// input is what wakes the core: one of quorum's inputs, or a request of this program.
type input struct {
	quorum quorum.Input
	call   func(ctx context.Context, now election.Instant)
}

// Open reads what an earlier process left, and votes for nobody yet.
func Open(c Config) (*Voter, error) {
	disk, restored, err := raftlog.Open(filepath.Join(c.Dir, logDir), raftlog.Identity{Cluster: c.Quorum.Cluster, Node: c.Quorum.Node})
	if err != nil {
		return nil, fmt.Errorf("open the quorum's log: %w", err)
	}
	v := &Voter{
		cfg: c, disk: disk, log: restored.ID, inputs: make(chan input, inputQueue),
		stores: make(chan quorum.Store, inputQueue), stored: make(chan uint64, 1), failed: make(chan error, 1),
	}
	v.kept, err = fromDisk(restored)
	if err == nil {
		err = v.resume()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start the quorum: %w", err), disk.Close())
	}
	v.show(election.RightChanged{})
	return v, nil
}

// Close gives the log back.
func (v *Voter) Close() error { return v.disk.Close() }

// Record returns the cluster record as it is applied here; it may be old unless this node has the right.
func (v *Voter) Record() election.ClusterRecord { return *v.record.Load() }

// State returns the core's state as of the last step.
func (v *Voter) State() State { return *v.state.Load() }

// Dropped counts messages that came while too much was waiting.
func (v *Voter) Dropped() uint64 { return v.dropped.Load() }

// Receive takes in messages of another node's core, whom the channel has authenticated.
func (v *Voter) Receive(from string, messages [][]byte) {
	for _, m := range messages {
		select {
		case v.inputs <- input{quorum: quorum.Received{From: from, Message: m}}:
		default:
			v.dropped.Add(1)
		}
	}
}

// Seek asks for the right. It has to be repeated, or it lapses.
func (v *Voter) Seek(ctx context.Context) {
	v.ask(ctx, func(ctx context.Context, now election.Instant) {
		if v.core == nil {
			return // it will be asked again
		}
		if v.wish == 0 {
			v.step(ctx, now, quorum.Seek{})
		}
		v.wish = now
	})
}

// HandOver passes the right on. The caller holds neither the VIP nor a server that can write. Since unused, if it is
// not 0, nobody has done anything with the right.
func (v *Voter) HandOver(ctx context.Context, to string, unused election.Instant) {
	v.ask(ctx, func(ctx context.Context, now election.Instant) {
		v.wish = 0
		v.step(ctx, now, quorum.HandOver{To: to, Unused: unused})
	})
}

// errOtherRecord refuses a term that was decided on by another record than the present one.
var errOtherRecord = errors.New("the cluster record is another one than that by which it was decided")

// Establish makes this node the primary of a term in the record, unless fits says that what led to it does not hold
// for the record. ended is called once its fate is known.
func (v *Voter) Establish(ctx context.Context, term uint64, move election.Move, fits func(election.ClusterRecord) bool, ended func(context.Context, error)) {
	v.Change(ctx, func(record election.ClusterRecord) (election.ClusterRecord, error) {
		switch {
		case record.Term == term && record.Primary == v.cfg.Quorum.Node:
			return record, nil
		case !fits(record):
			return record, errOtherRecord
		default:
			return record.BeginTerm(term, v.cfg.Quorum.Node, move)
		}
	}, ended)
}

// Change proposes the record that next makes of the one which is applied here; an unchanged one needs no proposal.
// Only the node that has the right succeeds. ended is called once, by the goroutine of Run, which it must not
// hold up: with nil when the new record is committed and applied, else with why it was not, or may not have been.
// While the fate of a change is unknown another one is refused.
func (v *Voter) Change(ctx context.Context, next func(election.ClusterRecord) (election.ClusterRecord, error), ended func(context.Context, error)) {
	v.ask(ctx, func(ctx context.Context, now election.Instant) { v.change(ctx, now, next, ended) })
}

func (v *Voter) change(ctx context.Context, now election.Instant, next func(election.ClusterRecord) (election.ClusterRecord, error), ended func(context.Context, error)) {
	if v.core == nil {
		ended(ctx, refuse(v.reason, v.cfg.Quorum.Node, v.detail))
		return
	}
	record := v.Record()
	proposal, err := next(record)
	switch {
	case err != nil:
		ended(ctx, err)
	case proposal.Revision == record.Revision:
		ended(ctx, nil)
	default:
		v.propose(ctx, now, proposal, ended)
	}
}

// ask has a request carried out by the goroutine that owns the core.
func (v *Voter) ask(ctx context.Context, call func(context.Context, election.Instant)) {
	select {
	case v.inputs <- input{call: call}:
	case <-ctx.Done():
	}
}

// errBusy refuses a second proposal before the first one's fate is known.
var errBusy = errors.New("another change of the cluster record is under way")

func (v *Voter) propose(ctx context.Context, now election.Instant, next election.ClusterRecord, ended func(context.Context, error)) {
	if v.pending != nil {
		ended(ctx, errBusy)
		return
	}
	data, err := next.Encode()
	if err != nil {
		ended(ctx, err)
		return
	}
	v.pending = &proposal{record: next, ended: ended}
	v.step(ctx, now, quorum.Propose{Version: next.Revision, Data: data})
}

// Run takes part until ctx ends.
func (v *Voter) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return v.write(ctx) })
	g.Go(func() error { return v.run(ctx) })
	if err := g.Wait(); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

func (v *Voter) run(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	if record := v.Record(); record.Term != 0 {
		v.cfg.Post(ctx, record.Changed(time.Now().UnixMilli(), true))
	}
	v.step(ctx, v.cfg.Now(), quorum.Tick{})
	look := time.NewTimer(0)
	defer look.Stop()
	for {
		timer.Reset(max(0, v.deadline().Sub(v.cfg.Now())))
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-v.failed:
			return err
		case in := <-v.inputs:
			v.handle(ctx, in)
		case <-look.C:
			look.Reset(v.look(ctx))
		case token := <-v.stored:
			v.step(ctx, v.cfg.Now(), quorum.Stored{Token: token})
		case <-timer.C:
			// What has arrived counts before the clock does.
			for range len(v.inputs) {
				v.handle(ctx, <-v.inputs)
			}
			v.step(ctx, v.cfg.Now(), quorum.Tick{})
		}
	}
}

func (v *Voter) handle(ctx context.Context, in input) {
	if in.call != nil {
		in.call(ctx, v.cfg.Now())
		return
	}
	v.step(ctx, v.cfg.Now(), in.quorum)
}

// deadline is when the core or this package wants to be woken.
func (v *Voter) deadline() election.Instant {
	var d election.Instant
	if v.core != nil {
		d = v.core.Deadline()
	}
	if v.wish != 0 {
		d = election.Earliest(d, v.wish.Add(v.wishAge()))
	}
	if v.told.Held {
		d = election.Earliest(d, v.told.Until)
	}
	if v.leaderless != 0 && !v.told.Silent {
		d = election.Earliest(d, v.leaderless.Add(v.cfg.Quorum.Promise()))
	}
	if d == 0 {
		return v.cfg.Now().Add(time.Hour)
	}
	return d
}

// wishAge is how long a Seek counts.
func (v *Voter) wishAge() time.Duration { return 2 * v.cfg.Quorum.Promise() }

func (v *Voter) step(ctx context.Context, now election.Instant, in quorum.Input) {
	if v.core == nil {
		v.wish = 0
		v.tell(ctx, now)
		return
	}
	v.carryOut(ctx, v.core.Step(now, in))
	if v.wish != 0 && now >= v.wish.Add(v.wishAge()) {
		v.wish = 0
		v.carryOut(ctx, v.core.Step(now, quorum.Rest{}))
	}
	v.tell(ctx, now)
}

func (v *Voter) carryOut(ctx context.Context, out quorum.Output) {
	for _, s := range out.Stores {
		if s.HardState != nil {
			v.kept.HardState = s.HardState // another core in this process must not forget a vote
		}
		select {
		case v.stores <- s:
		case <-ctx.Done():
			return
		}
	}
	for _, m := range out.Messages {
		v.cfg.Send(m.To, m.Data, m.Urgent)
	}
	for _, a := range out.Applied {
		if err := v.take(a.Data); err != nil {
			v.fail(err)
			return
		}
		record := v.record.Load()
		v.cfg.Post(ctx, record.Changed(time.Now().UnixMilli(), false))
		if v.cfg.Applied != nil {
			v.cfg.Applied()
		}
	}
	for _, e := range out.Events {
		v.event(ctx, e)
	}
}

func (v *Voter) event(ctx context.Context, e quorum.Event) {
	switch e := e.(type) {
	case quorum.BecameLeader:
		v.cfg.Log.Info("quorum.leads", "raft_term", e.Term)
	case quorum.LostLead:
		v.cfg.Log.Info("quorum.lost", "raft_term", e.Term)
	case quorum.HandOverEnded:
		v.cfg.Log.Warn("quorum.not_handed_over", "peer", e.To, "raft_term", e.Term, "reason", string(e.Reason))
	case quorum.MemberChanged:
		v.cfg.Log.Info("quorum.member", "peer", e.Member.Name, "change", string(e.Change))
	case quorum.Decided:
		p := v.pending
		if p == nil || p.record.Revision != e.Version {
			return
		}
		v.pending = nil
		var err error
		if e.Outcome != quorum.OutcomeApplied {
			err = fmt.Errorf("the change of the cluster record was %s %s", e.Outcome, e.Reason)
		}
		p.ended(ctx, err)
	case quorum.Failed:
		v.fail(e.Err)
	}
}

// tell passes on who has the right: each change, and a confirmation while half of the last one is left.
func (v *Voter) tell(ctx context.Context, now election.Instant) {
	var right quorum.Right
	leader, former, heard := "", "", election.Instant(0)
	if v.core != nil {
		right, leader = v.core.Right(now), v.core.Leader()
		former, heard = v.core.Former()
	}
	switch {
	case leader != "":
		v.leaderless = 0
	case v.leaderless == 0:
		v.leaderless = now
	}
	e := election.RightChanged{Held: right.Held, Leader: leader, Before: former, Heard: heard}
	e.Silent = v.leaderless != 0 && now.Sub(v.leaderless) >= v.cfg.Quorum.Promise()
	if e.Held {
		e.Until, e.Unused = right.Until, right.Unused
	}
	v.show(e)
	due := e.Held && v.told.Until.Sub(now) < v.cfg.Quorum.Lease()/2 && e.Until > v.told.Until
	if e.Held == v.told.Held && e.Leader == v.told.Leader && e.Silent == v.told.Silent && !due {
		return
	}
	v.told = e
	v.cfg.Post(ctx, e)
}

func (v *Voter) fail(err error) {
	select {
	case v.failed <- err:
	default:
	}
}
