// SPDX-License-Identifier: Apache-2.0

package quorum

import (
	"strconv"

	"go.etcd.io/raft/v3"

	"highwater/election"
)

// Drop says why something was dropped.
type Drop uint8

// The reasons for a drop.
const (
	dropNot         Drop = iota
	DropUndecodable      // no message at all, or too large
	DropUnknown          // from a node that is no member
	DropMisaddressed
	DropCluster   // of another cluster
	DropTiming    // of a node whose promises are of another length
	DropType      // not for the network
	DropMalformed // it contradicts itself
	DropPromised  // a vote, while promised to the leader
	DropRival     // from a second leader of one term
	DropBeyondLog // it speaks of what this node never had or sent
	DropWitness   // a hand-over to a node without a server
	DropRead      // a request or answer that nobody waits for
	DropByRaft    // raft does not know the sender
	DropNoAddress // ours, to a node that is no member
	DropToken     // an answer of the storage that nobody waits for
	DropEntry     // an entry of the log that means nothing
	drops
)

var dropNames = [drops]string{
	"", "undecodable", "unknown", "misaddressed", "cluster", "timing", "type", "malformed", "promised", "rival", "beyond_log",
	"witness", "read", "by_raft", "no_address", "token", "entry",
}

// String returns the reason as it stands in a metric's label.
func (d Drop) String() string {
	if d < drops {
		return dropNames[d]
	}
	return "drop " + strconv.Itoa(int(d))
}

func (c *Core) drop(d Drop) { c.stats.Dropped[d]++ }

// Stats counts since the start of the process.
type Stats struct {
	Dropped   [drops]uint64
	Campaigns uint64 // begun
	Elected   uint64
	Proposals uint64
}

// Status is what a core says of itself.
type Status struct {
	Role     string // follower, pre-candidate, candidate, leader
	Term     uint64
	Commit   uint64 // index
	Applied  uint64 // index
	LastLog  uint64 // index
	Version  uint64 // of the record
	Leader   string // "" if none was heard for a promise
	Voter    bool
	Wants    bool
	Promised election.Instant // until then: no votes
	Lease    election.Instant // until then: the right
	Storing  int              // answers of the storage that are awaited

	// WantsToPassOn: this node leads, and wants no right. It should hand over to one that does.
	WantsToPassOn bool

	Members []MemberStatus // by ID, this node included
	Origin  uint64         // of the cluster; zero: not known yet
	Before  []uint64       // origins that it replaces
	Removed []uint64       // IDs of former members
	Stats   Stats
}

// MemberStatus is a member as this node knows it.
type MemberStatus struct {
	Member
	Voter bool
	Heard election.Instant // zero: never, or this node itself
}

// Status returns what a core says of itself.
func (c *Core) Status() Status {
	s := Status{
		Role: roleNames[c.role], Term: c.term, Commit: c.commit, Applied: c.applied, LastLog: c.log.last(),
		Version: c.state.Version, Leader: c.Leader(), Voter: c.votes(), Wants: c.wants,
		Promised: c.promise, Storing: len(c.storing), Stats: c.stats,
		WantsToPassOn: c.leads() && !c.wants,
		Origin:        c.state.Origin, Before: c.state.Before, Removed: c.state.Removed,
	}
	if c.leads() && c.lease.term == c.term && !c.gaveUp() {
		s.Lease = c.lease.until
	}
	for _, m := range c.state.Members {
		ms := MemberStatus{Member: m, Voter: isVoter(c.conf, m.ID)}
		if p := c.peer(m.ID); p != nil {
			ms.Heard = p.heard
		}
		s.Members = append(s.Members, ms)
	}
	return s
}

var roleNames = map[raft.StateType]string{
	raft.StateFollower:     "follower",
	raft.StateCandidate:    "candidate",
	raft.StateLeader:       "leader",
	raft.StatePreCandidate: "pre-candidate",
}

// Leader returns the name of the node that leads, as far as this one has heard within a
// promise; "": none.
func (c *Core) Leader() string { return c.name(c.lead) }

// Former returns the other node that led before [Core.Leader], as far as this one knows, and when
// it was last heard as leader; "": none.
func (c *Core) Former() (name string, heard election.Instant) {
	return c.name(c.former.lead), c.former.heard
}
