// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"fmt"
	"hash/fnv"
	"time"

	"highwater/election"
	"highwater/election/quorum"
)

// The quorum's clock, as the supervisor derives it from adverts of 100 ms.
const (
	electionTicks  = 10
	driftPercent   = 10
	voterInputs    = 256 // that wait for a process which does not run; the rest is lost
	postDelay      = 200 * time.Microsecond
	writeLeast     = 100 * time.Microsecond // of one fsync
	writeMost      = 3 * time.Millisecond
	writeSlow      = 60 * time.Millisecond // of one in fifty
	readEvery      = 2 * time.Second
	maxQuorumDrift = 0.10
)

// voter is a host's part of the quorum: a real [quorum.Core] in the glue that package
// supervisor has around it. It lives and dies with the supervisor's process.
type voter struct {
	s    *supervisor
	core *quorum.Core
	cfg  quorum.Config

	record     election.ClusterRecord
	told       election.RightChanged
	leaderless election.Instant
	wish       election.Instant
	pending    *proposal

	alarm   election.Instant // the earliest timer that runs, 0 none
	timer   uint64           // its number
	inbox   []func()
	posted  instant // the last event reaches the loop
	queue   []quorum.Store
	writing bool
	asked   election.Instant // the last Read
}

// proposal is a change of the record that is under way.
type proposal struct {
	record election.ClusterRecord
	ended  func(err string)
}

func (w *World) quorumConfig(h *host) quorum.Config {
	c := quorum.Config{
		Cluster: "sim", Node: h.name, Tick: w.cfg.Interval * 3 / 10, ElectionTicks: electionTicks, DriftPercent: driftPercent,
		CompactEvery: 4, Mutations: w.cfg.Mutation.core(),
	}
	for _, m := range w.members {
		id := fnv.New32a()
		_, _ = id.Write([]byte(m.Name))
		c.Members = append(c.Members, quorum.Member{Name: m.Name, ID: uint64(id.Sum32()) + 1, Priority: m.Priority})
	}
	if w.cfg.Mutation == AnyLease {
		c.RightLease = c.Promise() * 13 / 10
	}
	return c
}

// startVoter builds the core from what is on the disk.
func (s *supervisor) startVoter() {
	h := s.host
	v := &voter{s: s, cfg: h.w.quorumConfig(h)}
	core, err := quorum.New(v.cfg, h.disk.restored(), h.clock())
	if err != nil {
		h.w.fail("%s: new core: %v", h.name, err)
		return
	}
	v.core = core
	s.voter = v
	_, data := core.Record()
	v.take(data)
	if v.record.Term != 0 {
		v.post(v.record.Changed(v.s.w.wall(), true))
	}
	v.step(quorum.Tick{})
	s.after(h.w.between(0, readEvery), v.readAgain)
}

// do runs f in the goroutine that owns the core.
func (v *voter) do(f func()) {
	switch {
	case v.s.ended:
	case v.s.stopped():
		if len(v.inbox) < voterInputs {
			v.inbox = append(v.inbox, f)
		}
	default:
		f()
	}
}

// wake is what happens first after a freeze: what has arrived counts before the clock does.
func (v *voter) wake() {
	inbox := v.inbox
	v.inbox = nil
	for _, f := range inbox {
		if v.s.ended {
			return
		}
		f()
	}
	v.step(quorum.Tick{})
}

// post brings an event to the loop: one after the other, a little later.
func (v *voter) post(ev election.Event) {
	w := v.s.w
	v.posted = max(v.posted, w.now.add(w.between(0, postDelay)))
	w.after(v.posted.sub(w.now), func() { v.s.post(ev) })
}

func (v *voter) receive(from string, data []byte) {
	v.do(func() { v.step(quorum.Received{From: from, Message: data}) })
}

func (v *voter) seek() {
	v.do(func() {
		if v.wish == 0 {
			v.step(quorum.Seek{})
		}
		v.wish = v.s.host.clock()
	})
}

func (v *voter) handOver(to string, unused election.Instant) {
	if v.s.w.cfg.Mutation == UsedRight {
		unused = 1
	}
	v.do(func() {
		v.s.judgeHandOver(to)
		v.wish = 0
		v.step(quorum.HandOver{To: to, Unused: unused})
	})
}

// establish makes this node the primary of a term in the record.
func (v *voter) establish(a election.Establish) {
	ended := func(err string) { v.post(election.EstablishEnded{Token: a.Token, Err: err}) }
	if v.s.keeper != nil && a.Drain {
		v.s.start(func() {
			if err := v.s.prepare(a); err != nil {
				ended(err.Error())
				return
			}
			v.commitTerm(a, ended)
		})
		return
	}
	v.commitTerm(a, ended)
}

// fits reports whether the record is one for which the term was thought out.
func (v *voter) fits(a election.Establish) bool {
	switch {
	case v.s.keeper == nil:
		return true
	case a.Drain:
		return v.record.Revision == v.s.gathered
	default:
		return v.record.Term == 0 || v.record.Primary == v.s.host.name
	}
}

// commitTerm has the record say so.
func (v *voter) commitTerm(a election.Establish, ended func(string)) {
	v.do(func() {
		if v.s.w.cfg.Mutation == NoEstablish && a.Term > 1 || v.record.Term == a.Term && v.record.Primary == v.s.host.name {
			ended("")
			return
		}
		if !v.fits(a) {
			ended("the cluster record has changed")
			return
		}
		next, err := v.record.BeginTerm(a.Term, v.s.host.name, a.Move(v.s.w.wall(), holdOff))
		if err != nil {
			ended(err.Error())
			return
		}
		v.propose(next, ended)
	})
}

// holdOff is short, so that both what it delays and what follows are within a schedule.
const holdOff = 4 * time.Second

// wall is the time as every host's wall clock shows it.
func (w *World) wall() int64 { return int64(w.now.sub(0) / time.Millisecond) }

func (v *voter) propose(next election.ClusterRecord, ended func(string)) {
	if v.pending != nil {
		ended("another change of the cluster record is under way")
		return
	}
	data, err := next.Encode()
	if err != nil {
		ended(err.Error())
		return
	}
	v.pending = &proposal{record: next, ended: ended}
	v.step(quorum.Propose{Version: next.Revision, Data: data})
}

// readAgain reads the record through the quorum, as an operator's question does.
func (v *voter) readAgain() {
	v.asked = v.s.host.clock()
	v.step(quorum.Read{})
	v.s.after(v.s.w.between(readEvery/2, 2*readEvery), v.readAgain)
}

// wishAge is how long a Seek counts.
func (v *voter) wishAge() time.Duration { return 2 * v.cfg.Promise() }

func (v *voter) step(in quorum.Input) {
	now := v.s.host.clock()
	v.carryOut(v.core.Step(now, in))
	if v.wish != 0 && now >= v.wish.Add(v.wishAge()) {
		v.wish = 0
		v.carryOut(v.core.Step(now, quorum.Rest{}))
	}
	v.tell(now)
	v.setAlarm()
	v.s.w.judgeRights()
}

func (v *voter) carryOut(out quorum.Output) {
	h, w := v.s.host, v.s.w
	v.queue = append(v.queue, out.Stores...)
	v.write()
	for _, m := range out.Messages {
		w.sendRaft(h, w.host(m.To), m.Data, m.Urgent)
	}
	for _, a := range out.Applied {
		v.take(a.Data)
		w.judgeApplied(h, a, v.record)
		v.s.keeper.Nudge()
		v.post(v.record.Changed(v.s.w.wall(), false))
	}
	for _, e := range out.Events {
		v.event(e)
	}
}

func (v *voter) event(e quorum.Event) {
	h, w := v.s.host, v.s.w
	w.tracef(h, "quorum: %T%+v", e, e)
	switch e := e.(type) {
	case quorum.BecameLeader:
		w.judgeLeader(h, e.Term)
	case quorum.RecordRead:
		w.judgeRead(h, e.AsOf)
	case quorum.Decided:
		p := v.pending
		if p == nil || p.record.Revision != e.Version {
			return
		}
		v.pending = nil
		if e.Outcome == quorum.OutcomeApplied {
			p.ended("")
		} else {
			p.ended(fmt.Sprintf("the change of the cluster record was %s %s", e.Outcome, e.Reason))
		}
	case quorum.Failed:
		w.fail("%s: the core is dead: %v", h.name, e.Err)
	}
}

// take makes data the record.
func (v *voter) take(data []byte) {
	var err error
	if len(data) > 0 {
		v.record, err = v.s.w.decode(data)
	} else {
		var members []election.ClusterMember
		for _, m := range v.cfg.Members {
			members = append(members, election.ClusterMember{Name: m.Name, ID: m.ID})
		}
		v.record, err = election.NewClusterRecord(members...)
	}
	if err != nil {
		v.s.w.fail("%s: the record: %v", v.s.host.name, err)
	}
}

// tell passes on who has the right: each change, and a confirmation while half of the last
// one is left.
func (v *voter) tell(now election.Instant) {
	right, leader := v.core.Right(now), v.core.Leader()
	switch {
	case leader != "":
		v.leaderless = 0
	case v.leaderless == 0:
		v.leaderless = now
	}
	e := election.RightChanged{Held: right.Held, Leader: leader}
	e.Before, e.Heard = v.core.Former()
	e.Silent = v.leaderless != 0 && now.Sub(v.leaderless) >= v.cfg.Promise()
	if e.Held {
		e.Until, e.Unused = right.Until, right.Unused
	}
	due := e.Held && v.told.Until.Sub(now) < v.cfg.Lease()/2 && e.Until > v.told.Until
	if e.Held == v.told.Held && e.Leader == v.told.Leader && e.Silent == v.told.Silent && !due {
		return
	}
	v.told = e
	v.post(e)
}

// deadline is when the core or the glue wants to be woken; 0 never.
func (v *voter) deadline() election.Instant {
	d := v.core.Deadline()
	soonest := func(at election.Instant) {
		if d == 0 || at < d {
			d = at
		}
	}
	if v.wish != 0 {
		soonest(v.wish.Add(v.wishAge()))
	}
	if v.told.Held {
		soonest(v.told.Until)
	}
	if v.leaderless != 0 && !v.told.Silent {
		soonest(v.leaderless.Add(v.cfg.Promise()))
	}
	return d
}

// setAlarm sees to it that a timer runs no later than the deadline.
func (v *voter) setAlarm() {
	d := v.deadline()
	if d == 0 || v.alarm != 0 && v.alarm <= d {
		return
	}
	w := v.s.w
	v.alarm, v.timer = d, w.seq+1
	timer := v.timer
	w.after(max(0, v.s.host.until(d))+w.between(0, 300*time.Microsecond), func() {
		if v.s.ended || v.timer != timer {
			return
		}
		v.alarm = 0
		switch d := v.deadline(); {
		case v.s.stopped(): // wake asks
		case d != 0 && v.s.host.clock() >= d:
			v.step(quorum.Tick{})
		default:
			v.setAlarm()
		}
	})
}
