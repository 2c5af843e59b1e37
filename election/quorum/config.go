// SPDX-License-Identifier: Apache-2.0

package quorum

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"go.etcd.io/raft/v3"
)

// Member is a voter of the cluster.
type Member struct {
	Name     string `json:"name"`
	ID       uint64 `json:"id"` // raft's; not zero, and never used again for another node
	Witness  bool   `json:"witness,omitempty"`
	Priority uint8  `json:"priority,omitempty"` // who stands first; a preference only
	// Log is the random name of the log with which this member became one. The same node with
	// another log is a voter that has forgotten its votes. Empty: not known.
	Log string `json:"log,omitempty"`
}

// Config is what a [Core] needs to know.
type Config struct {
	Cluster string   // its name: messages of another cluster are dropped
	Node    string   // this node's name; one of Members
	Members []Member // of the first start, the same on every node; later the address book

	// Log is the random name of this node's log; empty: it has none. What says that this member
	// has another one is refused.
	Log string

	// Join is for a node that is added to a running cluster: it starts with no log and no
	// vote, and learns the rest from a snapshot. It is ignored when something was restored.
	Join bool

	Tick          time.Duration // 1 ms to 10 s; a leader's heartbeat
	ElectionTicks int           // 3 to 100, usually 10
	DriftPercent  int           // 1 to 30: how far any clock may be off, usually 10

	// RightLease is how long a confirmed right is valid. Zero is the longest that the
	// promise allows.
	RightLease time.Duration

	CompactEvery int // applied entries between two snapshots; zero is 256

	Mutations Mutations // zero but in tests
}

// Mutations switch single rules off, to prove that a test notices. The zero value is safe;
// nothing else is.
type Mutations struct {
	NoPromise       bool // campaign at once, and vote while promised
	NoStartPromise  bool // a new process votes at once
	AnyLease        bool // a lease longer than the promise is accepted
	LeaseFromAnswer bool // the lease counts from the confirmation
	FollowerLease   bool // a ReadIndex that another leader confirmed counts
	KeepRight       bool // a hand-over gives up nothing
	WitnessStands   bool // witnesses campaign when their promise ends
	IgnoreDoubt     bool // a second proposal before the first one's fate is known
	CatchUp         bool // lost ticks are made up for
	SendUnstored    bool // votes and acknowledgements do not wait for the storage
}

// Limits of the configuration.
const (
	minTick          = time.Millisecond
	maxTick          = 10 * time.Second
	minElectionTicks = 3
	maxElectionTicks = 100
	maxDrift         = 30
	maxName          = 255
	maxPromise       = maxElectionTicks * maxTick
	maxMembers       = 64

	defaultCompactEvery = 256
)

// Promise is how long a node keeps away from elections after it answered a leader:
// one tick less than raft's election timeout.
func (c *Config) Promise() time.Duration {
	return time.Duration(c.ElectionTicks-1) * c.Tick
}

// Lease is how long a right is valid from the instant at which its confirmation was asked for.
func (c *Config) Lease() time.Duration {
	if c.RightLease != 0 {
		return c.RightLease
	}
	drift := time.Duration(c.DriftPercent)
	return c.Promise() * (100 - drift) / (100 + drift)
}

// Validate returns every fault of the configuration.
func (c *Config) Validate() error {
	var errs []error
	complain := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if c.Tick < minTick || c.Tick > maxTick {
		complain("tick %v is not within %v and %v", c.Tick, minTick, maxTick)
	}
	if c.ElectionTicks < minElectionTicks || c.ElectionTicks > maxElectionTicks {
		complain("election ticks %d are not within %d and %d", c.ElectionTicks, minElectionTicks, maxElectionTicks)
	}
	if c.DriftPercent < 1 || c.DriftPercent > maxDrift {
		complain("drift of %d %% is not within 1 and %d", c.DriftPercent, maxDrift)
	}
	if c.CompactEvery < 0 {
		complain("compaction every %d entries", c.CompactEvery)
	}
	if len(errs) == 0 {
		drift := time.Duration(c.DriftPercent)
		// A slow clock stretches the lease, a fast one shortens the promise.
		if c.Lease() <= 0 || !c.Mutations.AnyLease && c.Lease()*(100+drift) > c.Promise()*(100-drift) {
			complain("lease %v is not covered by the promise %v with clocks that drift by %d %%", c.Lease(), c.Promise(), c.DriftPercent)
		}
	}
	if err := checkMembers(c.Members); err != nil {
		errs = append(errs, err)
	}
	if _, ok := c.member(c.Node); !ok {
		complain("node %q is not a member", c.Node)
	}
	return errors.Join(errs...)
}

// member looks a name up in the address book.
func (c *Config) member(name string) (Member, bool) {
	for _, m := range c.Members {
		if m.Name == name {
			return m, true
		}
	}
	return Member{}, false
}

// checkMembers returns what is wrong with a list of members.
func checkMembers(members []Member) error {
	var errs []error
	names, ids, data := map[string]bool{}, map[uint64]bool{}, 0
	for _, m := range members {
		if err := checkMember(m); err != nil {
			errs = append(errs, err)
		}
		if names[m.Name] {
			errs = append(errs, fmt.Errorf("two members are named %q", m.Name))
		}
		if ids[m.ID] {
			errs = append(errs, fmt.Errorf("two members have the ID %x", m.ID))
		}
		names[m.Name], ids[m.ID] = true, true
		if !m.Witness {
			data++
		}
	}
	if data == 0 {
		errs = append(errs, errors.New("no member has a server: a witness alone is no cluster"))
	}
	if len(members) > maxMembers {
		errs = append(errs, fmt.Errorf("%d members, more than %d", len(members), maxMembers))
	}
	return errors.Join(errs...)
}

func checkMember(m Member) error {
	switch {
	case m.Name == "" || len(m.Name) > maxName || strings.ContainsAny(m.Name, "\x00\n"):
		return fmt.Errorf("member name %.40q is empty, too long or not printable", m.Name)
	case m.ID == raft.None || raft.IsLocalMsgTarget(m.ID):
		return fmt.Errorf("member %q: ID %x is reserved", m.Name, m.ID)
	case len(m.Log) > maxName:
		return fmt.Errorf("member %q: the name of its log has %d bytes", m.Name, len(m.Log))
	}
	return nil
}
