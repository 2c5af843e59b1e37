// SPDX-License-Identifier: Apache-2.0

package quorum

import (
	"encoding/binary"
	"slices"
	"time"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

// Limits of what is taken from others. Raft adds to terms and indexes.
const (
	maxAppend   = 1 << 20 // bytes of entries in one message
	maxMessage  = 16 << 20
	maxUrgent   = 4 << 10
	headerLen   = 8 + 4
	maxOrdinal  = 1 << 62
	maxReads    = 64 // requests of others that wait for a majority
	transferCtx = "CampaignTransfer"
)

// receive passes a message on to raft, if it is one that another core may have sent. Raft
// trusts what it is given: some contradictions make it panic, others it believes.
func (c *Core) receive(in Received) {
	m, why := c.decode(in)
	if why == dropNot {
		c.peer(m.GetFrom()).heard = c.now
		why = c.admit(m)
	}
	if why != dropNot {
		c.drop(why)
		return
	}
	if t := m.GetType(); t == raftpb.MsgVote || t == raftpb.MsgPreVote {
		c.forget()
		c.compare(m)
	} else if t == raftpb.MsgTimeoutNow && m.GetTerm() >= c.term {
		c.inherit(m)
	}
	if !c.step(m) {
		return
	}
	c.drive()
	if fromLeader(m.GetType()) && m.GetTerm() == c.term && !c.leads() {
		c.rival = rival{term: c.term, lead: m.GetFrom()}
		c.heardLeader()
	}
}

// fromLeader are the messages that make a promise when they are answered.
func fromLeader(t raftpb.MessageType) bool {
	return t == raftpb.MsgHeartbeat || t == raftpb.MsgApp || t == raftpb.MsgSnap
}

// decode finds out whether a message is one at all, and from whom it says that it is.
func (c *Core) decode(in Received) (*raftpb.Message, Drop) {
	if len(in.Message) < headerLen || len(in.Message) > maxMessage {
		return nil, DropUndecodable
	}
	m := new(raftpb.Message)
	if err := proto.Unmarshal(in.Message[headerLen:], m); err != nil {
		return nil, DropUndecodable
	}
	p := c.peerNamed(in.From)
	switch {
	case p == nil && !c.mayVisit(in.From, m):
		return nil, DropUnknown
	case p != nil && m.GetFrom() != p.ID || m.GetTo() != c.id:
		return nil, DropMisaddressed
	}
	// A node that joins learns the origin from its first snapshot; until then it believes
	// whom it was told to join, and may answer.
	origin := binary.BigEndian.Uint64(in.Message)
	joining := origin == 0 && raft.IsResponseMsg(m.GetType())
	if origin != c.state.Origin && c.state.Origin != 0 && !joining {
		return nil, DropCluster
	}
	// A lease rests on promises that are as long as the leader thinks they are.
	if time.Duration(binary.BigEndian.Uint32(in.Message[8:]))*time.Microsecond != c.cfg.Promise().Truncate(time.Microsecond) {
		return nil, DropTiming
	}
	if p == nil {
		c.visit(peer{Member: Member{Name: in.From, ID: m.GetFrom()}, guest: true})
	}
	return m, dropNot
}

// maxGuests is how many unknown nodes are answered at a time.
const maxGuests = 8

// mayVisit reports whether an unknown node may be one that was added after the end of this
// node's log. Such a one may lead, and this node has to follow it to learn that it may; and it
// may need this node's vote.
func (c *Core) mayVisit(name string, m *raftpb.Message) bool {
	if t := m.GetType(); !fromLeader(t) && t != raftpb.MsgVote && t != raftpb.MsgPreVote {
		return false
	}
	known := Member{Name: name, ID: m.GetFrom()}
	return name != c.cfg.Node && known.ID != c.id && checkMember(known) == nil && !c.isKnown(known) && c.peer(known.ID) == nil
}

// visit takes a guest in, for the oldest one if there are too many.
func (c *Core) visit(p peer) {
	guests := 0
	for i := range c.peers {
		if c.peers[i].guest {
			guests++
		}
	}
	if guests >= maxGuests {
		i := slices.IndexFunc(c.peers, func(p peer) bool { return p.guest })
		c.peers = slices.Delete(c.peers, i, i+1)
	}
	c.peers = append(c.peers, p)
}

// admit finds out whether raft may be given a message now.
func (c *Core) admit(m *raftpb.Message) Drop {
	if why := c.wellFormed(m); why != dropNot {
		return why
	}
	switch m.GetType() {
	case raftpb.MsgVote:
		// A hand-over that the leader itself began needs no promise to end.
		if c.promised() && string(m.GetContext()) != transferCtx {
			return DropPromised
		}
	case raftpb.MsgPreVote:
		if c.promised() {
			return DropPromised
		}
	case raftpb.MsgApp, raftpb.MsgHeartbeat, raftpb.MsgSnap:
		if c.secondLeader(m) {
			return DropRival
		}
		// Raft takes it for proof that this log was lost, and panics.
		if m.GetType() == raftpb.MsgHeartbeat && m.GetTerm() >= c.term && m.GetCommit() > c.log.last() {
			return DropBeyondLog
		}
	case raftpb.MsgTimeoutNow:
		if self, _ := c.self(); self.Witness {
			return DropWitness
		}
		if c.secondLeader(m) {
			return DropRival
		}
	case raftpb.MsgAppResp:
		if c.leads() && m.GetTerm() == c.term && (m.GetIndex() > c.log.last() || m.GetRejectHint() > c.log.last()) {
			return DropBeyondLog
		}
	case raftpb.MsgHeartbeatResp:
		// Raft takes the context for a position in its queue of requests.
		if ctx := m.GetContext(); c.leads() && m.GetTerm() == c.term && len(ctx) != 0 && binary.LittleEndian.Uint64(ctx) > c.sent {
			return DropBeyondLog
		}
	case raftpb.MsgReadIndex:
		if !c.mayAsk() || c.sent > c.answered+maxReads {
			return DropRead
		}
	case raftpb.MsgReadIndexResp:
		if c.leads() || c.lead != m.GetFrom() || m.GetTerm() != c.term || c.read.wanted == 0 {
			return DropRead
		}
	}
	return dropNot
}

// secondLeader reports whether another node than the leader of its term says that it is.
func (c *Core) secondLeader(m *raftpb.Message) bool {
	if m.GetTerm() != c.term {
		return false
	}
	return c.leads() ||
		c.lead != raft.None && c.lead != m.GetFrom() ||
		c.rival.term == c.term && c.rival.lead != m.GetFrom()
}

// wellFormed looks at a message alone.
func (c *Core) wellFormed(m *raftpb.Message) Drop {
	t := m.GetType()
	if term := m.GetTerm(); term > maxOrdinal || (term == 0) != (t == raftpb.MsgReadIndex) {
		return DropMalformed
	}
	if m.GetIndex() > maxOrdinal || m.GetLogTerm() > maxOrdinal || m.GetCommit() > maxOrdinal || m.GetRejectHint() > maxOrdinal {
		return DropMalformed
	}
	if len(m.GetResponses()) > 0 ||
		m.GetSnapshot() != nil && t != raftpb.MsgSnap ||
		len(m.GetEntries()) > 0 && t != raftpb.MsgApp && t != raftpb.MsgReadIndex && t != raftpb.MsgReadIndexResp {
		return DropMalformed
	}
	ok := true
	switch t {
	case raftpb.MsgApp:
		ok = soundEntries(m.GetEntries(), m.GetIndex(), m.GetLogTerm(), m.GetTerm())
	case raftpb.MsgSnap:
		ok = m.GetSnapshot() != nil && c.soundSnapshot(m.GetSnapshot(), m.GetTerm())
	case raftpb.MsgHeartbeat, raftpb.MsgHeartbeatResp:
		ok = len(m.GetContext()) == 0 || len(m.GetContext()) == contextLen
	case raftpb.MsgReadIndex, raftpb.MsgReadIndexResp:
		ok = len(m.GetEntries()) == 1 && len(m.GetEntries()[0].GetData()) == requestLen
	case raftpb.MsgAppResp, raftpb.MsgVote, raftpb.MsgVoteResp, raftpb.MsgPreVote, raftpb.MsgPreVoteResp:
	case raftpb.MsgTimeoutNow:
		ok = len(m.GetContext()) == 0 || len(m.GetContext()) == ageLen
	default:
		return DropType // not for the network
	}
	if !ok {
		return DropMalformed
	}
	return dropNot
}

// soundEntries reports whether entries follow each other and prev, and none is of a later term
// than the leader that sends them.
func soundEntries(entries []*raftpb.Entry, index, term, leader uint64) bool {
	for _, e := range entries {
		if e == nil || e.GetIndex() != index+1 || e.GetTerm() < term || e.GetTerm() > leader || e.GetTerm() == 0 {
			return false
		}
		switch e.GetType() {
		case raftpb.EntryNormal, raftpb.EntryConfChange:
		default:
			return false // what we propose is one of the two
		}
		index, term = e.GetIndex(), e.GetTerm()
	}
	return term <= leader
}
