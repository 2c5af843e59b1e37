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

// maxWaiting is how many answers wait for a storage that hangs.
const maxWaiting = 256

// drive carries out all that raft has ready.
func (c *Core) drive() {
	for c.raft.HasReady() {
		ready := c.raft.Ready()
		was := c.role
		if hs := ready.HardState; !raft.IsEmptyHardState(hs) {
			c.term, c.commit = hs.GetTerm(), hs.GetCommit()
		}
		if soft := ready.SoftState; soft != nil {
			if c.lead != soft.Lead && c.lead != raft.None && c.lead != c.id {
				c.former = former{lead: c.lead, heard: c.heard}
			}
			c.lead, c.role = soft.Lead, soft.RaftState
		}
		if was != c.role {
			c.changedRole(was)
		}
		for _, rs := range ready.ReadStates {
			c.confirmed(rs)
		}
		for _, m := range ready.Messages {
			switch m.GetTo() {
			case raft.LocalAppendThread:
				c.store(m)
			case raft.LocalApplyThread:
				c.apply(m)
			default:
				c.send(m)
			}
		}
	}
}

// changedRole sets up what a role begins with.
func (c *Core) changedRole(was raft.StateType) {
	switch c.role {
	case raft.StateLeader:
		c.tick = c.now.Add(c.cfg.Tick)
		c.ready, c.sent, c.answered, c.attempts, c.ahead = false, 0, 0, 0, 0
		c.change = change{}
		for i := range c.peers {
			c.peers[i].snapshot = 0
		}
		c.stats.Elected++
	case raft.StateCandidate:
		c.backoff = c.now.Add(c.jitter())
	case raft.StateFollower:
		if was == raft.StatePreCandidate && c.lead == raft.None {
			c.backoff = c.now.Add(c.jitter()) // refused
		}
	}
	if was == raft.StateLeader {
		c.lostAt, c.ready = c.now, false
		c.handOver.pending = false
	}
}

// store asks for the durable change that raft asks for, and keeps back what depends on it.
func (c *Core) store(m *raftpb.Message) {
	var s Store
	if snap := m.GetSnapshot(); !raft.IsEmptySnap(snap) {
		c.replace(snap)
		s.Snapshot = &Snapshot{Index: snap.GetMetadata().GetIndex(), Data: marshal(snap), Reset: true}
	}
	if entries := m.GetEntries(); len(entries) > 0 {
		must(c.log.Append(entries))
		s.Entries = make([]Entry, len(entries))
		for i, e := range entries {
			s.Entries[i] = Entry{Index: e.GetIndex(), Data: marshal(e)}
		}
	}
	if m.GetTerm() != 0 || m.GetVote() != 0 || m.GetCommit() != 0 {
		hs := &raftpb.HardState{Term: m.Term, Vote: m.Vote, Commit: m.Commit}
		must(c.log.SetHardState(hs))
		s.HardState = marshal(hs)
	}
	then := m.GetResponses()
	for _, r := range then {
		if r.GetType() == raftpb.MsgVoteResp && !r.GetReject() && r.GetTo() != c.id {
			c.backoff = max(c.backoff, c.now.Add(c.jitter())) // it may well win
		}
	}
	nothing := s.Snapshot == nil && s.Entries == nil && s.HardState == nil
	switch {
	case c.cfg.Mutations.SendUnstored:
		c.deliver(then)
		then = nil
	case nothing && len(c.storing) == 0:
		c.deliver(then)
		return
	case nothing: // it waits for what is being stored, not for more
		c.storing[len(c.storing)-1].wait(then, c.id)
		return
	}
	s.Sync = len(then) > 0
	// What needed no durability may have been left out, a term among it. An entry that is
	// acknowledged in a term must not outlive that term in the storage.
	if s.HardState != nil {
		c.unsaved = s.HardState
	} else if s.Sync {
		s.HardState = c.unsaved
	}
	if s.Sync {
		c.unsaved = nil
	}
	c.emit(s, then)
}

// wait adds messages to those that wait for a Store. If it hangs they are not to pile up: of
// raft's reports on the storage the newest says all, and the rest may be lost, but for a
// leader's own acknowledgement.
func (s *storing) wait(then []*raftpb.Message, self uint64) {
	for _, m := range then {
		switch t := m.GetType(); {
		case t == raftpb.MsgStorageAppendResp:
			s.then = slices.DeleteFunc(s.then, func(old *raftpb.Message) bool {
				return old.GetType() == t && old.GetSnapshot() == nil
			})
		case t == raftpb.MsgAppResp && m.GetTo() == self:
		case len(s.then) >= maxWaiting:
			continue
		}
		s.then = append(s.then, m)
	}
}

// emit hands out a Store, after which then is to be delivered.
func (c *Core) emit(s Store, then []*raftpb.Message) {
	c.tokens++
	s.Token = c.tokens
	c.out.Stores = append(c.out.Stores, s)
	c.storing = append(c.storing, storing{token: s.Token, then: then})
}

// stored delivers what has waited for a Store and for all before it.
func (c *Core) stored(token uint64) {
	n := 0
	for n < len(c.storing) && c.storing[n].token <= token {
		n++
	}
	if n == 0 || token > c.tokens {
		c.drop(DropToken)
		return
	}
	done := c.storing[:n]
	c.storing = c.storing[n:]
	for _, s := range done {
		c.deliver(s.then)
	}
	if len(c.storing) == 0 {
		c.storing = nil
	}
	c.drive()
}

// deliver passes on raft's messages to itself and to others.
func (c *Core) deliver(messages []*raftpb.Message) {
	for _, m := range messages {
		if m.GetTo() == c.id {
			c.step(m)
		} else {
			c.send(m)
		}
	}
}

// step gives raft a message. It refuses those of nodes that are not, or no longer, members.
func (c *Core) step(m *raftpb.Message) bool {
	if err := c.raft.Step(m); err != nil {
		c.drop(DropByRaft)
		return false
	}
	return true
}

// send hands out a message for another node.
func (c *Core) send(m *raftpb.Message) {
	p := c.peer(m.GetTo())
	if p == nil {
		c.drop(DropNoAddress)
		return
	}
	switch m.GetType() {
	case raftpb.MsgSnap:
		p.snapshot = c.now
	case raftpb.MsgHeartbeat:
		if len(m.GetContext()) == contextLen && m.GetTerm() == c.term {
			c.sent = max(c.sent, binary.LittleEndian.Uint64(m.GetContext()))
		}
	case raftpb.MsgReadIndexResp:
		c.answered++
	case raftpb.MsgTimeoutNow:
		c.bequeath(m)
	}
	data := c.seal(m)
	urgent := m.GetType() != raftpb.MsgSnap && len(data) <= maxUrgent
	c.out.Messages = append(c.out.Messages, Message{To: p.Name, Data: data, Urgent: urgent})
}

// seal encodes a message: the origin of the cluster, this node's promise, and raft's own encoding.
func (c *Core) seal(m *raftpb.Message) []byte {
	data := make([]byte, headerLen, headerLen+proto.Size(m))
	binary.BigEndian.PutUint64(data, c.state.Origin)
	binary.BigEndian.PutUint32(data[8:], uint32(c.cfg.Promise()/time.Microsecond))
	data, err := proto.MarshalOptions{}.MarshalAppend(data, m)
	must(err)
	return data
}

// apply carries out committed entries.
func (c *Core) apply(m *raftpb.Message) {
	for _, e := range m.GetEntries() {
		c.applied = e.GetIndex()
		switch e.GetType() {
		case raftpb.EntryConfChange, raftpb.EntryConfChangeV2:
			c.applyChange(e)
		default:
			c.applyRecord(e)
		}
		if c.leads() && e.GetTerm() == c.term && !c.ready {
			c.ready = true
			c.ask()
			c.agree()
		}
	}
	c.deliver(m.GetResponses())
	c.settle()
	c.compact()
}

// settle sees what the newly applied entries decide.
func (c *Core) settle() {
	c.decide()
	c.readApplied()
}

func marshal(m proto.Message) []byte {
	data, err := proto.Marshal(m)
	must(err)
	return data
}

// must is for what cannot fail but where this package, or raft, contradicts itself.
func must(err error) {
	if err != nil {
		panic(err.Error())
	}
}
