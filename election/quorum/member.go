// SPDX-License-Identifier: Apache-2.0

package quorum

import (
	"encoding/json"
	"slices"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	"go.etcd.io/raft/v3/tracker"
	"google.golang.org/protobuf/proto"

	"highwater/election"
)

// change is a change of the members that this leader has proposed. Members change one by one:
// the majorities of two neighbouring configurations meet.
type change struct {
	pending bool
	applied election.Instant // the last one, in this term
}

// mayChange returns why this node may not change the members now. A second change waits until
// the right was confirmed under the first: else a lease might rest on a configuration whose
// majorities need not meet those of the next.
func (c *Core) mayChange() Reason {
	switch {
	case !c.leads():
		return ReasonNotLeader
	case c.gaveUp():
		return ReasonHandedOver
	case !c.ready:
		return ReasonNotReady
	case c.change.pending:
		return ReasonBusy
	case c.lease.term != c.term || c.lease.asked < c.change.applied:
		return ReasonUnconfirmed
	}
	return ReasonNone
}

// addMember proposes a learner.
func (c *Core) addMember(m Member) {
	why := c.mayChange()
	switch {
	case why != ReasonNone:
	case checkMember(m) != nil || len(c.state.Members) >= maxMembers:
		why = ReasonInvalid
	case c.isKnown(m):
		why = ReasonKnown
	}
	if why == ReasonNone {
		why = c.proposeChange(raftpb.ConfChangeAddLearnerNode, m)
	}
	if why != ReasonNone {
		c.event(MemberRefused{Name: m.Name, Reason: why})
	}
}

// isKnown reports whether a name is taken, or an ID is or was.
func (c *Core) isKnown(m Member) bool {
	for _, known := range c.state.Members {
		if known.Name == m.Name || known.ID == m.ID {
			return true
		}
	}
	return slices.Contains(c.state.Removed, m.ID)
}

// removeMember proposes to take a member out.
func (c *Core) removeMember(name string) {
	why := c.MayRemove(name)
	if why == ReasonNone {
		i := slices.IndexFunc(c.state.Members, func(m Member) bool { return m.Name == name })
		why = c.proposeChange(raftpb.ConfChangeRemoveNode, c.state.Members[i])
	}
	if why != ReasonNone {
		c.event(MemberRefused{Name: name, Reason: why})
	}
}

// MayRemove returns why a member could not be taken out as of the last step, [ReasonNone] if it could.
func (c *Core) MayRemove(name string) Reason {
	if c.dead != nil {
		return ReasonFailed
	}
	why := c.mayChange()
	i := slices.IndexFunc(c.state.Members, func(m Member) bool { return m.Name == name })
	switch {
	case why != ReasonNone:
		return why
	case i < 0:
		return ReasonUnknown
	case c.isLast(c.state.Members[i].ID):
		return ReasonLastVoter
	case !c.enoughWithout(c.state.Members[i].ID):
		return ReasonMajority
	}
	return ReasonNone
}

// enoughWithout reports whether a majority of the voters is heard also without one of them. Raft
// would take it out and then, for want of a majority, be able to take nothing back.
func (c *Core) enoughWithout(id uint64) bool {
	voters, heard := 0, 0
	for _, m := range c.state.Members {
		if m.ID == id || !isVoter(c.conf, m.ID) {
			continue
		}
		voters++
		if p := c.peer(m.ID); p == nil || p.heard != 0 && c.now.Sub(p.heard) < c.cfg.Promise() {
			heard++ // nil: this node
		}
	}
	return heard > voters/2
}

// isLast reports whether without a voter nobody could be primary.
func (c *Core) isLast(id uint64) bool {
	for _, m := range c.state.Members {
		if m.ID != id && !m.Witness && isVoter(c.conf, m.ID) {
			return false
		}
	}
	return true
}

// promote makes a learner that has caught up a voter.
func (c *Core) promote() {
	if len(c.conf.GetLearners()) == 0 || c.mayChange() != ReasonNone {
		return
	}
	var ready Member
	c.raft.WithProgress(func(id uint64, typ raft.ProgressType, pr tracker.Progress) {
		if typ == raft.ProgressTypeLearner && pr.RecentActive && pr.State == tracker.StateReplicate && pr.Match >= c.commit && ready.ID == 0 {
			ready, _ = c.state.member(id)
		}
	})
	if ready.ID != 0 {
		c.proposeChange(raftpb.ConfChangeAddNode, ready)
	}
}

func (c *Core) proposeChange(t raftpb.ConfChangeType, m Member) Reason {
	if err := c.raft.ProposeConfChange(&raftpb.ConfChange{Type: t.Enum(), NodeId: &m.ID, Context: encodeMember(m)}); err != nil {
		return ReasonDropped
	}
	c.change.pending = true
	c.drive()
	return ReasonNone
}

// encodeMember is what a change carries of its member.
func encodeMember(m Member) []byte {
	data, err := json.Marshal(m)
	must(err)
	return data
}

// applyChange carries out a change of the members. Every node does the same with it, also
// with one that makes no sense: nothing.
func (c *Core) applyChange(e *raftpb.Entry) {
	c.change.pending = false
	cc := new(raftpb.ConfChange)
	var m Member
	if e.GetType() != raftpb.EntryConfChange || proto.Unmarshal(e.GetData(), cc) != nil ||
		json.Unmarshal(cc.GetContext(), &m) != nil || m.ID != cc.GetNodeId() || !c.sensible(cc.GetType(), m) {
		c.drop(DropEntry)
		return
	}
	what := ChangeVoter
	switch cc.GetType() {
	case raftpb.ConfChangeAddLearnerNode:
		what = ChangeLearner
		c.state.Members = append(slices.Clone(c.state.Members), m)
		slices.SortFunc(c.state.Members, byID)
	case raftpb.ConfChangeRemoveNode:
		what = ChangeRemoved
		c.state.Members = slices.DeleteFunc(slices.Clone(c.state.Members), func(other Member) bool { return other.ID == m.ID })
		c.state.Removed = append(slices.Clone(c.state.Removed), m.ID)
	}
	c.change.applied = c.now
	c.conf = c.raft.ApplyConfChange(cc)
	c.meet()
	c.event(MemberChanged{Member: m, Change: what})
}

// sensible reports whether a change can be applied to the members as they are. It decides from
// the replicated state alone.
func (c *Core) sensible(t raftpb.ConfChangeType, m Member) bool {
	known, ok := c.state.member(m.ID)
	switch t {
	case raftpb.ConfChangeAddLearnerNode:
		return checkMember(m) == nil && !c.isKnown(m) && len(c.state.Members) < maxMembers
	case raftpb.ConfChangeAddNode:
		return ok && known == m && !isVoter(c.conf, m.ID)
	case raftpb.ConfChangeRemoveNode:
		return ok && known == m && !c.isLast(m.ID)
	}
	return false
}

// meet lists the other members anew, and keeps what is known of those that stay.
func (c *Core) meet() {
	members := c.state.Members
	if len(members) == 0 { // not joined yet: those of the address book
		members = c.cfg.Members
	}
	var peers []peer
	for _, m := range members {
		if m.ID == c.id {
			continue
		}
		p := peer{}
		if old := c.peer(m.ID); old != nil {
			p = *old
		}
		p.Member, p.voter, p.guest = m, isVoter(c.conf, m.ID), false
		peers = append(peers, p)
	}
	slices.SortFunc(peers, func(a, b peer) int { return byID(a.Member, b.Member) })
	for _, p := range c.peers {
		if p.guest && !c.isKnown(p.Member) {
			peers = append(peers, p)
		}
	}
	c.peers = peers
}

func byID(a, b Member) int {
	switch {
	case a.ID < b.ID:
		return -1
	case a.ID > b.ID:
		return 1
	}
	return 0
}
