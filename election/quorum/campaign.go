// SPDX-License-Identifier: Apache-2.0

package quorum

import (
	"time"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"

	"highwater/election"
)

// How many promises nobody has led before somebody does who does not want to, and for how
// many no data voter was heard before a witness does.
const (
	patience        = 3
	witnessPatience = 6
	witnessSilence  = 2
)

// promised reports whether rule 1 forbids this node to take part in an election.
func (c *Core) promised() bool {
	return c.now < c.promise && !c.cfg.Mutations.NoPromise
}

// heardLeader renews the promise.
func (c *Core) heardLeader() {
	c.promise = c.now.Add(c.cfg.Promise())
	c.heard = c.now
	c.attempts, c.ahead = 0, 0
}

// compare notes that a data voter asks for votes and lacks something that this node has. It can
// never win this one's vote, and perhaps not the election. So this node stands itself, wanting
// or not, witness or not: it brings the other up to date, and passes the right on.
func (c *Core) compare(m *raftpb.Message) {
	p := c.peer(m.GetFrom())
	last := c.log.last()
	term, err := c.log.Term(last)
	must(err)
	if p.voter && !p.Witness && (m.GetLogTerm() < term || m.GetLogTerm() == term && m.GetIndex() < last) {
		c.ahead = c.now
	}
}

// forget drops a leader that has been silent for a promise: raft would refuse votes while it
// believes in one, and its own clock does not run here.
func (c *Core) forget() {
	if c.lead == raft.None || c.leads() || c.now < c.promise {
		return
	}
	must(c.raft.ForgetLeader())
	c.drive()
}

// seek notes that this node wants the right. A leader that gave it up in this term gets it
// only by a new election.
func (c *Core) seek() {
	if self, _ := c.self(); self.Witness {
		return
	}
	c.wants = true
	c.retake()
}

// stand campaigns when it is time.
func (c *Core) stand() {
	c.readAgain()
	at := c.standAt()
	if at == 0 || c.now < at {
		return
	}
	c.attempts++
	c.stats.Campaigns++
	// A pre-vote costs nothing, and one that is refused is not answered. (A lost one, and a
	// real vote, set a longer pause: see changedRole.)
	pause := 1 + min(c.attempts/10, 4)
	c.backoff = c.now.Add(time.Duration(pause) * c.cfg.Tick)
	must(c.raft.Campaign())
	c.drive()
}

// standAt returns when this node would campaign next; zero: never.
func (c *Core) standAt() election.Instant {
	if c.leads() || !c.votes() {
		return 0
	}
	rank := time.Duration(c.rank()) * c.cfg.Tick
	self, _ := c.self()
	switch {
	case self.Witness && c.cfg.Mutations.WitnessStands:
		return max(c.promise, c.lostAt, c.backoff)
	case c.ahead != 0:
		return max(max(c.promise, c.lostAt).Add(rank), c.ahead, c.backoff)
	case self.Witness: // it has no server: it never wants the right
		at := max(c.promise, c.lostAt).Add(witnessPatience*c.cfg.Promise() + rank)
		return max(at, c.dataHeard().Add(witnessSilence*c.cfg.Promise()), c.backoff)
	case !c.wants:
		return max(max(c.promise, c.lostAt).Add(patience*c.cfg.Promise()+rank), c.backoff)
	case c.cfg.Mutations.NoPromise:
		return max(c.backoff, 1)
	}
	return max(c.promise.Add(rank), c.lostAt, c.backoff)
}

// votes reports whether this node is a voter.
func (c *Core) votes() bool { return isVoter(c.conf, c.id) }

// self returns this node's entry among the members.
func (c *Core) self() (Member, bool) {
	if m, ok := c.state.member(c.id); ok {
		return m, true
	}
	return c.cfg.member(c.cfg.Node)
}

// rank counts the voters that stand before this one: those with a server first, then by
// priority, then by ID.
func (c *Core) rank() int {
	self, _ := c.self()
	n := 0
	for i := range c.peers {
		if p := &c.peers[i]; p.voter && before(c.addressed(p.Member), c.addressed(self)) {
			n++
		}
	}
	return n
}

// addressed takes a member's priority from the address book: it is a preference, not state.
func (c *Core) addressed(m Member) Member {
	if known, ok := c.cfg.member(m.Name); ok {
		m.Priority = known.Priority
	}
	return m
}

func before(a, b Member) bool {
	if a.Witness != b.Witness {
		return !a.Witness
	}
	if a.Priority != b.Priority {
		return a.Priority > b.Priority
	}
	return a.ID < b.ID
}

// dataHeard returns when any voter with a server was last heard.
func (c *Core) dataHeard() election.Instant {
	var last election.Instant
	for i := range c.peers {
		if p := &c.peers[i]; p.voter && !p.Witness {
			last = max(last, p.heard)
		}
	}
	return last
}

// jitter is how long this node keeps still after an election began: long enough for it to end,
// and not as long as another node does, or two candidates split the votes for ever.
func (c *Core) jitter() time.Duration {
	x := c.id ^ c.term<<32 ^ c.attempts<<16
	x += 0x9e3779b97f4a7c15 // splitmix64
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	x ^= x >> 31
	const steps = 8 // of a tick: finer than a round trip is of no use
	span := uint64(c.cfg.ElectionTicks) * steps
	return 2*c.cfg.Tick + time.Duration(x%span)*c.cfg.Tick/steps
}

// Voters of a configuration.
func isVoter(conf *raftpb.ConfState, id uint64) bool {
	for _, v := range conf.GetVoters() {
		if v == id {
			return true
		}
	}
	return false
}
