// SPDX-License-Identifier: Apache-2.0

package quorum

import (
	"encoding/binary"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"

	"highwater/election"
)

// lease is the right as last confirmed (rule 2).
type lease struct {
	term  uint64
	asked election.Instant // the confirmed request
	until election.Instant
}

// read is what is known of the record through the quorum.
type read struct {
	wanted election.Instant // by a Read; zero: none
	again  election.Instant // when to repeat it

	// A confirmed request whose index is not applied yet.
	index uint64
	term  uint64 // in which this node led; zero: another did
	asked election.Instant

	// The last one that is.
	asOf    election.Instant
	current uint64 // term of this node's leadership in which it was read
}

// contextLen is the length of the context that raft gives its heartbeats, and requestLen of
// ours: term, instant and node of the request.
const (
	contextLen = 8
	requestLen = 24
)

// Right is the answer to: may this node be primary now?
type Right struct {
	Held   bool
	Until  election.Instant // the end of what is confirmed, or was last
	Term   uint64
	Unused election.Instant // since then nobody has done anything with it, as who had it before says; zero: not known
	Reason Reason           // why not
}

// Right says whether this node has the right at now, which is not before the last step.
func (c *Core) Right(now election.Instant) Right {
	r := Right{Until: c.lease.until, Term: c.term}
	switch {
	case c.dead != nil:
		r.Reason = ReasonFailed
	case c.cfg.Mutations.FollowerLease && now < c.lease.until:
	case !c.leads():
		r.Reason = ReasonNotLeader
	case c.gaveUp():
		r.Reason = ReasonHandedOver
	case c.lease.term != c.term:
		r.Reason, r.Until = ReasonUnconfirmed, 0
	case now >= c.lease.until:
		r.Reason = ReasonExpired
	}
	r.Held = r.Reason == ReasonNone
	if r.Held && c.legacy.term == c.term {
		r.Unused = c.legacy.since
	}
	return r
}

// RecordCurrent says whether [Core.Record] is the newest there is: this node has the right, and
// in this leadership has read the record through the quorum.
func (c *Core) RecordCurrent(now election.Instant) bool {
	return c.Right(now).Held && c.read.current == c.term
}

// RecordAsOf returns the instant before which everything committed is in [Core.Record].
func (c *Core) RecordAsOf() election.Instant { return c.read.asOf }

// mayAsk reports whether this leader asks for its right.
func (c *Core) mayAsk() bool { return c.leads() && c.ready && !c.gaveUp() }

// ask asks the majority whether this node still leads. The request is dated now, before
// anybody can answer it.
func (c *Core) ask() {
	request := make([]byte, 0, requestLen)
	request = binary.BigEndian.AppendUint64(request, c.term)
	request = binary.BigEndian.AppendUint64(request, uint64(c.now))
	request = binary.BigEndian.AppendUint64(request, c.id)
	c.raft.ReadIndex(request)
}

// confirmed takes note of a ReadIndex that a majority has confirmed. The right grows only if
// this node leads now, and led the same term when it asked: a follower's request is
// confirmed too, by another leader.
func (c *Core) confirmed(rs raft.ReadState) {
	if len(rs.RequestCtx) != requestLen || binary.BigEndian.Uint64(rs.RequestCtx[16:]) != c.id {
		c.drop(DropRead)
		return
	}
	term := binary.BigEndian.Uint64(rs.RequestCtx)
	asked := election.Instant(binary.BigEndian.Uint64(rs.RequestCtx[8:]))
	own := c.leads() && term == c.term
	if own {
		c.answered++
	}
	if own && !c.gaveUp() || c.cfg.Mutations.FollowerLease {
		from := asked
		if c.cfg.Mutations.LeaseFromAnswer {
			from = c.now
		}
		if c.lease.term != term {
			c.lease = lease{term: term}
		}
		c.lease.asked = max(c.lease.asked, asked)
		c.lease.until = max(c.lease.until, from.Add(c.cfg.Lease()))
	}
	// A request that still waits for its index is replaced only by one that is not further off.
	if r := &c.read; r.asked == 0 || rs.Index <= max(r.index, c.applied) {
		r.index, r.asked, r.term = rs.Index, asked, 0
		if own {
			r.term = term
		}
	}
	c.readApplied()
}

// readApplied sees whether a confirmed request has become true here.
func (c *Core) readApplied() {
	r := &c.read
	if r.asked == 0 || c.applied < r.index {
		return
	}
	r.asOf = max(r.asOf, r.asked)
	if r.term != 0 {
		r.current = r.term
	}
	if r.wanted != 0 && r.asked >= r.wanted {
		r.wanted = 0
		c.event(RecordRead{AsOf: r.asked})
	}
	r.asked, r.index, r.term = 0, 0, 0
}

// wantRead begins to answer a Read.
func (c *Core) wantRead() {
	c.read.wanted = c.now
	c.read.again = c.now
	if c.mayAsk() {
		c.ask()
		c.drive()
	}
}

// readAgain asks the leader, again every two ticks. (A leader asks with every tick anyhow.)
func (c *Core) readAgain() {
	if at := c.readAgainAt(); at == 0 || c.now < at {
		return
	}
	c.read.again = c.now.Add(2 * c.cfg.Tick)
	c.ask()
	c.drive()
}

func (c *Core) readAgainAt() election.Instant {
	if c.read.wanted == 0 || c.lead == raft.None || c.leads() {
		return 0
	}
	return c.read.again
}

// beat is a leader's tick. One at most per step: what a stall has lost is lost.
func (c *Core) beat() {
	if c.now < c.tick {
		return
	}
	ticks := 1
	if c.cfg.Mutations.CatchUp {
		ticks += int(c.now.Sub(c.tick) / c.cfg.Tick)
	}
	c.tick = c.tick.Add(c.cfg.Tick)
	if c.tick <= c.now {
		c.tick = c.now.Add(c.cfg.Tick)
	}
	before := len(c.out.Messages)
	for range ticks {
		c.raft.Tick() // CheckQuorum, and the end of a hand-over
	}
	c.drive()
	if !c.leads() {
		return
	}
	c.out.Messages = c.out.Messages[:before] // raft's own heartbeat, now and then: the one below does
	ask := c.mayAsk()
	if ask {
		c.ask() // with a heartbeat, unless this is the only voter
	}
	if !ask || len(c.conf.GetVoters()) == 1 {
		c.local(raftpb.MsgBeat)
	}
	c.drive()
	c.watchHandOver()
	c.resend()
	c.promote()
}

// local gives raft a message that it otherwise gives itself.
func (c *Core) local(t raftpb.MessageType) {
	c.step(&raftpb.Message{Type: t.Enum(), From: new(raft.LocalAppendThread)})
}
