// SPDX-License-Identifier: Apache-2.0

package quorum

import (
	"encoding/binary"
	"errors"
	"time"

	"go.etcd.io/raft/v3/raftpb"
)

// state is what the log makes of every node alike. It is what a snapshot holds.
type state struct {
	Origin  uint64   `json:"origin"`  // of the cluster: its name and its first members
	Members []Member `json:"members"` // voters and learners, by ID
	Removed []uint64 `json:"removed,omitempty"`
	Before  []uint64 `json:"before,omitempty"` // origins of the clusters that this one replaces, the last one last

	Promise time.Duration `json:"promise"` // that the members keep, or kept before a restart

	// The record, and the proposal that made it so.
	Version uint64 `json:"version"`
	Data    []byte `json:"data,omitempty"`
	Term    uint64 `json:"term,omitempty"`
	Number  uint64 `json:"number,omitempty"`
}

func (s *state) member(id uint64) (Member, bool) {
	for _, m := range s.Members {
		if m.ID == id {
			return m, true
		}
	}
	return Member{}, false
}

// An entry of the record is its kind, the version that it becomes, the proposal's number
// within its term, and the data.
const (
	entryRecord = 'R'
	entryTiming = 'T' // and the promise, 8 bytes
	entryHead   = 1 + 8 + 8
	maxRecord   = maxAppend / 2
)

type recordEntry struct {
	version, number uint64
	data            []byte
}

func (r recordEntry) encode() []byte {
	b := make([]byte, 0, entryHead+len(r.data))
	b = append(b, entryRecord)
	b = binary.BigEndian.AppendUint64(b, r.version)
	b = binary.BigEndian.AppendUint64(b, r.number)
	return append(b, r.data...)
}

var errNotRecord = errors.New("not an entry of the record")

func decodeRecord(b []byte) (recordEntry, error) {
	if len(b) < entryHead || b[0] != entryRecord {
		return recordEntry{}, errNotRecord
	}
	return recordEntry{
		version: binary.BigEndian.Uint64(b[1:]),
		number:  binary.BigEndian.Uint64(b[9:]),
		data:    b[entryHead:],
	}, nil
}

// agree writes the promise that the members keep now into the log, if it is another one than
// before. Who restarts with a shorter promise keeps the one of the log first: see [New].
func (c *Core) agree() {
	if c.state.Promise == c.cfg.Promise() {
		return
	}
	if err := c.raft.Propose(binary.BigEndian.AppendUint64([]byte{entryTiming}, uint64(c.cfg.Promise()))); err != nil {
		c.drop(DropByRaft) // a hand-over has begun; the next leader does it
	}
}

func decodeTiming(b []byte) (time.Duration, bool) {
	if len(b) != 1+8 || b[0] != entryTiming {
		return 0, false
	}
	promise := time.Duration(binary.BigEndian.Uint64(b[1:]))
	return promise, promise > 0 && promise <= maxPromise
}

// proposal is the one of this node whose fate is not known. It is told from others by its
// term, in which only this node led, and its number.
type proposal struct {
	open         bool
	version      uint64
	index        uint64 // it is there or nowhere
	term, number uint64
	applied      bool
}

// Record returns the record as applied here, which may be old: see [Core.RecordCurrent]. The
// data is not to be changed.
func (c *Core) Record() (version uint64, data []byte) { return c.state.Version, c.state.Data }

// Doubt returns the version that this node has proposed and whose fate it does not know yet.
func (c *Core) Doubt() (version uint64, ok bool) { return c.proposal.version, c.proposal.open }

// propose begins a compare-and-set of the record.
func (c *Core) propose(in Propose) {
	refuse := func(o Outcome, r Reason) { c.event(Decided{Version: in.Version, Outcome: o, Reason: r}) }
	switch {
	case c.proposal.open && !c.cfg.Mutations.IgnoreDoubt:
		refuse(OutcomeRefused, ReasonInDoubt)
		return
	case !c.leads():
		refuse(OutcomeRefused, ReasonNotLeader)
		return
	case c.gaveUp():
		refuse(OutcomeRefused, ReasonHandedOver)
		return
	case !c.ready:
		refuse(OutcomeRefused, ReasonNotReady)
		return
	case in.Version != c.state.Version+1:
		refuse(OutcomeSuperseded, ReasonVersion)
		return
	case len(in.Data) > maxRecord:
		refuse(OutcomeRefused, ReasonTooLarge)
		return
	}
	c.stats.Proposals++
	entry := recordEntry{version: in.Version, number: c.stats.Proposals, data: in.Data}
	index := c.log.last() + 1
	if err := c.raft.Propose(entry.encode()); err != nil {
		refuse(OutcomeRefused, ReasonDropped)
		return
	}
	c.proposal = proposal{open: true, version: in.Version, index: index, term: c.term, number: entry.number}
	c.drive()
}

// applyRecord carries out an entry of the record. Every node does the same with it.
func (c *Core) applyRecord(e *raftpb.Entry) {
	if len(e.GetData()) == 0 {
		return // the first of a term
	}
	if promise, ok := decodeTiming(e.GetData()); ok {
		c.state.Promise = promise
		return
	}
	r, err := decodeRecord(e.GetData())
	if err != nil {
		c.drop(DropEntry)
		return
	}
	if r.version != c.state.Version+1 {
		return
	}
	c.state.Version, c.state.Data = r.version, r.data
	c.state.Term, c.state.Number = e.GetTerm(), r.number
	c.out.Applied = append(c.out.Applied, Applied{Index: e.GetIndex(), Term: e.GetTerm(), Version: r.version, Data: r.data})
	if p := &c.proposal; p.open && p.term == e.GetTerm() && p.number == r.number {
		p.applied = true
	}
}

// decide reports the fate of a proposal once the log has passed the only place where it can be.
func (c *Core) decide() {
	p := c.proposal
	if !p.open || c.applied < p.index {
		return
	}
	if c.state.Term == p.term && c.state.Number == p.number {
		p.applied = true // in a snapshot
	}
	outcome := OutcomeSuperseded
	if p.applied {
		outcome = OutcomeApplied
	}
	c.proposal = proposal{}
	c.event(Decided{Version: p.version, Outcome: outcome})
}
