// SPDX-License-Identifier: Apache-2.0

package quorum

import (
	"fmt"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"

	"highwater/election"
)

// Core is one voter. Its zero value is of no use: see [New].
type Core struct {
	cfg  Config
	id   uint64
	raft *raft.RawNode
	log  mirror
	now  election.Instant
	out  Output
	dead error // once set, for ever

	// What raft said last.
	role   raft.StateType
	lead   uint64
	term   uint64
	commit uint64

	// What was told to the caller last.
	toldLead uint64
	toldTerm uint64 // in which this node led; zero: it did not

	state    state             // the replicated one
	conf     *raftpb.ConfState // as applied
	applied  uint64
	snapshot uint64 // index of the last one stored
	peers    []peer // every member but this node, by ID, and guests

	tokens  uint64
	unsaved []byte // the hard state, if the storage need not have it yet
	storing []storing

	// Rule 1, and who campaigns when.
	promise  election.Instant // until then: no votes
	heard    election.Instant // the last word of whoever led
	former   former           // who led before
	rival    rival
	wants    bool
	lostAt   election.Instant // this node led until then
	backoff  election.Instant // no campaign before
	ahead    election.Instant // a data voter cannot win: it lacks what this node has; zero: not so
	attempts uint64

	// As leader.
	tick     election.Instant // the next one
	ready    bool             // this term has committed an entry
	handOver handOver
	legacy   legacy
	change   change
	sent     uint64 // ReadIndex requests begun in this term, as raft counts them
	answered uint64 // and confirmed

	lease    lease
	read     read
	proposal proposal

	stats Stats
}

// peer is another member, or a guest.
type peer struct {
	Member
	voter    bool
	guest    bool             // no member that this node's log knows of
	heard    election.Instant // its last message
	snapshot election.Instant // when it was last sent one
}

// rival remembers who led a term, so that nobody else claims to.
type rival struct{ term, lead uint64 }

// former is another node that led, and its last word as such.
type former struct {
	lead  uint64
	heard election.Instant
}

// storing is a Store that waits for its answer, and what waits for it.
type storing struct {
	token uint64
	then  []*raftpb.Message
}

// New returns a core that continues from what was stored. Nothing stored means the first start:
// every node of cfg.Members then begins with the same snapshot, so there is no race to
// bootstrap. It fails if cfg is invalid or what was stored contradicts itself.
func New(cfg Config, restored Restored, now election.Instant) (core *Core, err error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("check configuration: %w", err)
	}
	if cfg.CompactEvery == 0 {
		cfg.CompactEvery = defaultCompactEvery
	}
	self, _ := cfg.member(cfg.Node)
	c := &Core{cfg: cfg, id: self.ID, now: now, promise: now}
	c.log = mirror{MemoryStorage: raft.NewMemoryStorage(), core: c}
	if !cfg.Mutations.NoPromise && !cfg.Mutations.NoStartPromise {
		c.promise = now.Add(cfg.Promise())
	}
	before, err := c.restore(restored)
	if err != nil {
		return nil, fmt.Errorf("restore: %w", err)
	}
	// What the process before has promised it may have promised for longer.
	if !cfg.Mutations.NoPromise && !cfg.Mutations.NoStartPromise {
		c.promise = max(c.promise, now.Add(before))
	}
	defer func() {
		if p := recover(); p != nil {
			core, err = nil, fmt.Errorf("restore: %v", p)
		}
	}()
	c.raft, err = raft.NewRawNode(&raft.Config{
		ID:           c.id,
		ElectionTick: cfg.ElectionTicks,
		// The heartbeats are those of ReadIndex, one per tick; raft's own are not sent.
		HeartbeatTick:             cfg.ElectionTicks - 1,
		Storage:                   &c.log,
		Applied:                   c.applied,
		AsyncStorageWrites:        true,
		MaxSizePerMsg:             maxAppend,
		MaxInflightMsgs:           64,
		CheckQuorum:               true,
		PreVote:                   true,
		ReadOnlyOption:            raft.ReadOnlySafe,
		Logger:                    silent{},
		DisableProposalForwarding: true,
		StepDownOnRemoval:         true,
	})
	if err != nil {
		return nil, fmt.Errorf("start raft: %w", err)
	}
	status := c.raft.BasicStatus()
	c.term, c.commit, c.role = status.GetTerm(), status.GetCommit(), status.RaftState
	return c, nil
}

// Step tells the core that it is now, and what happened.
func (c *Core) Step(now election.Instant, in Input) (out Output) {
	if c.dead != nil {
		return Output{}
	}
	c.now = max(now, c.now)
	defer func() {
		// Raft panics where its state contradicts itself. Nothing that it said in this step is
		// passed on, and it is not asked again.
		if p := recover(); p != nil {
			c.dead = fmt.Errorf("raft: %v", p)
			out = Output{Events: []Event{Failed{Err: c.dead}}}
		}
	}()
	c.drive() // what the start, or the step before, has left
	c.input(in)
	c.forget()
	if c.leads() {
		c.beat()
	} else {
		c.stand()
	}
	c.tell()
	out, c.out = c.out, Output{}
	return out
}

func (c *Core) input(in Input) {
	switch in := in.(type) {
	case Tick:
	case Received:
		c.receive(in)
	case Stored:
		c.stored(in.Token)
	case Seek:
		c.seek()
	case Rest:
		c.wants = false
	case HandOver:
		c.handTo(in.To, in.Unused)
	case Propose:
		c.propose(in)
	case Read:
		c.wantRead()
	case AddMember:
		c.addMember(in.Member)
	case RemoveMember:
		c.removeMember(in.Name)
	default:
		panic(fmt.Sprintf("input of unknown type %T", in))
	}
}

// Deadline returns the next instant at which a [Tick] may change something; zero: none.
func (c *Core) Deadline() election.Instant {
	if c.dead != nil {
		return 0
	}
	if c.leads() {
		return c.tick
	}
	next := c.standAt()
	if c.lead != raft.None {
		next = election.Earliest(next, c.promise)
	}
	return election.Earliest(next, c.readAgainAt())
}

func (c *Core) leads() bool { return c.role == raft.StateLeader }

// tell reports what changed who leads.
func (c *Core) tell() {
	leading := uint64(0)
	if c.leads() {
		leading = c.term
	}
	if c.toldTerm != 0 && c.toldTerm != leading {
		c.event(LostLead{Term: c.toldTerm})
	}
	if leading != 0 && c.toldTerm != leading {
		c.event(BecameLeader{Term: leading})
	}
	if c.lead != c.toldLead {
		c.event(LeaderChanged{Leader: c.name(c.lead), Term: c.term})
	}
	c.toldTerm, c.toldLead = leading, c.lead
}

func (c *Core) event(e Event) { c.out.Events = append(c.out.Events, e) }

// name returns the name of an ID, "" if it has none.
func (c *Core) name(id uint64) string {
	if id == c.id {
		return c.cfg.Node
	}
	if p := c.peer(id); p != nil {
		return p.Name
	}
	return ""
}

func (c *Core) peer(id uint64) *peer {
	for i := range c.peers {
		if c.peers[i].ID == id {
			return &c.peers[i]
		}
	}
	return nil
}

func (c *Core) peerNamed(name string) *peer {
	for i := range c.peers {
		if c.peers[i].Name == name {
			return &c.peers[i]
		}
	}
	return nil
}
