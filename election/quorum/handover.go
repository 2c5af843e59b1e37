// SPDX-License-Identifier: Apache-2.0

package quorum

import (
	"encoding/binary"
	"time"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"

	"highwater/election"
)

// handOver is rule 3: who says that it hands over has given the right up for the whole term,
// whatever comes of it, since the order to depose it may arrive at any time.
type handOver struct {
	term    uint64 // in which the right was given up; zero: never
	to      uint64 // under way
	pending bool
	unused  election.Instant
}

// legacy is what the leader of the term before said with the order to take over: since when
// nobody has done anything with the right. It counts only if this node leads the very next term,
// so that nobody had the right in between.
type legacy struct {
	term  uint64 // the next one
	since election.Instant
}

// ageLen is the length of the age that a TimeoutNow carries. It leaves the core only when the right
// of its term is given up for good, so nothing can be done with that any more.
const ageLen = 8

// bequeath adds to the order to take over for how long the right has been unused.
func (c *Core) bequeath(m *raftpb.Message) {
	if h := c.handOver; h.term == c.term && h.unused != 0 && h.unused <= c.now {
		m.Context = binary.BigEndian.AppendUint64(nil, uint64(c.now.Sub(h.unused)))
	}
}

// inherit takes note of that. The sender's clock may be fast and this one slow, and both make the
// time since then look longer than it was.
func (c *Core) inherit(m *raftpb.Message) {
	c.legacy = legacy{}
	if ctx := m.GetContext(); len(ctx) == ageLen {
		age := time.Duration(min(binary.BigEndian.Uint64(ctx), maxOrdinal))
		drift := time.Duration(c.cfg.DriftPercent)
		age = age / (100 + drift) * (100 - drift)
		c.legacy = legacy{term: m.GetTerm() + 1, since: max(1, c.now.Add(-age))}
	}
}

// gaveUp reports whether this term's right was handed over.
func (c *Core) gaveUp() bool {
	return c.handOver.term == c.term && !c.cfg.Mutations.KeepRight
}

// handTo begins a hand-over.
func (c *Core) handTo(name string, unused election.Instant) {
	refuse := func(r Reason) { c.event(HandOverEnded{To: name, Term: c.term, Reason: r}) }
	p := c.peerNamed(name)
	switch {
	case !c.leads():
		refuse(ReasonNotLeader)
		return
	case name == c.cfg.Node:
		refuse(ReasonSelf)
		return
	case p == nil:
		refuse(ReasonUnknown)
		return
	case p.Witness:
		refuse(ReasonNoServer)
		return
	case !p.voter:
		refuse(ReasonNoVote)
		return
	case c.handOver.pending:
		refuse(ReasonBusy)
		return
	case c.now.Sub(p.heard) >= c.cfg.Promise() || p.heard == 0:
		refuse(ReasonUnreachable)
		return
	}
	c.handOver = handOver{term: c.term, to: p.ID, pending: true, unused: unused}
	c.raft.TransferLeader(p.ID)
	c.drive()
}

// watchHandOver notices that raft has given a hand-over up.
func (c *Core) watchHandOver() {
	h := &c.handOver
	if !h.pending || h.term != c.term || c.raft.BasicStatus().LeadTransferee != raft.None {
		return
	}
	h.pending = false
	c.event(HandOverEnded{To: c.name(h.to), Term: h.term, Reason: ReasonTimeout})
	c.retake()
}

// retake steps down from a term whose right was given up and that nobody else took. Whoever
// wants the right, this node or another, has to be elected to a new term, beside which a late
// TimeoutNow of this one is nothing; a leader without the right would only keep them from it.
func (c *Core) retake() {
	if !c.leads() || !c.gaveUp() || c.handOver.pending {
		return
	}
	// Raft has no order to step down. The first check clears what it heard from the others,
	// the second one finds nothing.
	for range 2 {
		if c.leads() {
			c.local(raftpb.MsgCheckQuorum)
			c.drive()
		}
	}
}
