// SPDX-License-Identifier: Apache-2.0

package quorum

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	"go.etcd.io/raft/v3/tracker"
	"google.golang.org/protobuf/proto"
)

// trail is how many applied entries are kept for followers that are a little behind.
const trail = 64

// mirror is the log in memory. It holds what was handed out to be stored, also what is not
// durable yet: raft reads it only where it has been told that it is.
type mirror struct {
	*raft.MemoryStorage
	core *Core
}

// Snapshot makes a snapshot of what is applied now: a new member must find itself in it.
func (l *mirror) Snapshot() (*raftpb.Snapshot, error) {
	c := l.core
	term, err := l.Term(c.applied)
	if err != nil {
		return nil, err
	}
	data, err := json.Marshal(&c.state)
	if err != nil {
		return nil, err
	}
	return &raftpb.Snapshot{
		Data: data,
		Metadata: &raftpb.SnapshotMetadata{
			ConfState: proto.Clone(c.conf).(*raftpb.ConfState),
			Index:     new(c.applied),
			Term:      new(term),
		},
	}, nil
}

func (l *mirror) last() uint64 {
	last, err := l.LastIndex()
	must(err)
	return last
}

// compact stores a snapshot and forgets the log before it, every so many entries.
func (c *Core) compact() {
	if c.applied < c.snapshot+uint64(c.cfg.CompactEvery) {
		return
	}
	snap, err := c.log.Snapshot()
	must(err)
	c.snapshot = c.applied
	c.emit(Store{Snapshot: &Snapshot{Index: c.applied, Data: marshal(snap)}, Sync: true}, nil)
	first, err := c.log.FirstIndex()
	must(err)
	if to := c.applied - min(trail, c.applied); to > first {
		must(c.log.Compact(to))
	}
}

// replace takes a leader's snapshot for this node's state and log.
func (c *Core) replace(snap *raftpb.Snapshot) {
	must(c.log.ApplySnapshot(snap))
	var s state
	must(json.Unmarshal(snap.GetData(), &s)) // looked at before raft was given it
	changed := s.Version != c.state.Version
	c.state, c.conf = s, proto.Clone(snap.GetMetadata().GetConfState()).(*raftpb.ConfState)
	c.applied, c.snapshot = snap.GetMetadata().GetIndex(), snap.GetMetadata().GetIndex()
	c.meet()
	if changed {
		c.out.Applied = append(c.out.Applied, Applied{Index: c.applied, Term: s.Term, Version: s.Version, Data: s.Data})
	}
	c.settle()
}

// resend lets raft try again where a snapshot seems to be lost: it would wait for ever.
func (c *Core) resend() {
	patience := time.Duration(c.cfg.ElectionTicks) * c.cfg.Tick
	for i := range c.peers {
		p := &c.peers[i]
		if p.snapshot == 0 || c.now.Sub(p.snapshot) < patience {
			continue
		}
		waiting := false
		c.raft.WithProgress(func(id uint64, _ raft.ProgressType, pr tracker.Progress) {
			waiting = waiting || id == p.ID && pr.State == tracker.StateSnapshot
		})
		p.snapshot = 0
		if waiting {
			c.raft.ReportSnapshot(p.ID, raft.SnapshotFailure)
			c.drive()
		}
	}
}

// soundSnapshot reports whether a snapshot is one that a core has made.
func (c *Core) soundSnapshot(snap *raftpb.Snapshot, leader uint64) bool {
	meta := snap.GetMetadata()
	if meta.GetIndex() == 0 || meta.GetIndex() > maxOrdinal || meta.GetTerm() == 0 || meta.GetTerm() > leader {
		return false
	}
	s, err := decodeState(snap)
	if err != nil || c.state.Origin != 0 && s.Origin != c.state.Origin {
		return false
	}
	for _, m := range s.Members {
		if (m.ID == c.id) != (m.Name == c.cfg.Node) || m.ID == c.id && c.otherLog(m) {
			return false
		}
	}
	return true
}

// otherLog reports whether this node, by what is said of it, had another log than it has now.
func (c *Core) otherLog(self Member) bool {
	return c.cfg.Log != "" && self.Log != "" && self.Log != c.cfg.Log
}

// decodeState reads the state out of a snapshot, and checks that it and raft's own part agree.
func decodeState(snap *raftpb.Snapshot) (state, error) {
	var s state
	if err := json.Unmarshal(snap.GetData(), &s); err != nil {
		return s, fmt.Errorf("decode snapshot: %w", err)
	}
	conf := snap.GetMetadata().GetConfState()
	if len(conf.GetVotersOutgoing()) > 0 || len(conf.GetLearnersNext()) > 0 || conf.GetAutoLeave() {
		return s, errors.New("snapshot amid a joint change of the members")
	}
	if len(conf.GetVoters()) == 0 {
		return s, errors.New("snapshot without a voter")
	}
	if err := checkMembers(s.Members); err != nil {
		return s, fmt.Errorf("snapshot: %w", err)
	}
	ids := slices.Concat(conf.GetVoters(), conf.GetLearners())
	slices.Sort(ids)
	if s.Promise < 0 || s.Promise > maxPromise {
		return s, fmt.Errorf("snapshot with a promise of %v", s.Promise)
	}
	if !slices.IsSortedFunc(s.Members, byID) || !slices.EqualFunc(ids, s.Members, func(id uint64, m Member) bool { return id == m.ID }) {
		return s, errors.New("snapshot whose members are not its voters and learners")
	}
	return s, nil
}

// restore fills the log from what was stored, or with what every first member begins with. It
// returns the longest promise of which what was stored speaks.
func (c *Core) restore(r Restored) (time.Duration, error) {
	if len(r.HardState) == 0 && r.Snapshot == nil && len(r.Entries) == 0 && !c.cfg.Join {
		return 0, c.bootstrap()
	}
	hs := new(raftpb.HardState)
	if err := proto.Unmarshal(r.HardState, hs); err != nil {
		return 0, fmt.Errorf("decode hard state: %w", err)
	}
	c.conf = new(raftpb.ConfState)
	if r.Snapshot == nil {
		if !c.cfg.Join || len(r.Entries) > 0 || hs.GetCommit() != 0 {
			return 0, errors.New("there is a log and no snapshot")
		}
		c.meet()
		return 0, c.log.SetHardState(hs)
	}
	snap := new(raftpb.Snapshot)
	if err := proto.Unmarshal(r.Snapshot.Data, snap); err != nil {
		return 0, fmt.Errorf("decode snapshot: %w", err)
	}
	s, err := decodeState(snap)
	if err != nil {
		return 0, err
	}
	index, term := snap.GetMetadata().GetIndex(), snap.GetMetadata().GetTerm()
	if err := c.log.ApplySnapshot(snap); err != nil {
		return 0, fmt.Errorf("snapshot at %d: %w", index, err)
	}
	c.state, c.applied, c.snapshot = s, index, index
	c.conf = proto.Clone(snap.GetMetadata().GetConfState()).(*raftpb.ConfState)
	for _, m := range s.Members {
		if (m.Name == c.cfg.Node) != (m.ID == c.id) {
			return 0, fmt.Errorf("member %q has the ID %x, and this node is %q, %x", m.Name, m.ID, c.cfg.Node, c.id)
		}
		if m.ID == c.id && c.otherLog(m) {
			return 0, fmt.Errorf("member %q has the log %q, and this node %q", m.Name, m.Log, c.cfg.Log)
		}
	}
	entries, err := decodeEntries(r.Entries, index, term)
	if err != nil {
		return 0, err
	}
	if err := c.log.Append(entries); err != nil {
		return 0, fmt.Errorf("log: %w", err)
	}
	// What was only committed need not have been durable.
	hs.Commit = new(max(hs.GetCommit(), index))
	if n := len(entries); n > 0 {
		term = entries[n-1].GetTerm()
	}
	if hs.GetTerm() < term { // this node took part in that term, and has not voted in it
		hs.Term, hs.Vote = new(term), new(uint64(0))
	}
	if hs.GetCommit() > c.log.last() {
		return 0, fmt.Errorf("log ends at %d before its commit %d", c.log.last(), hs.GetCommit())
	}
	c.meet()
	promise := s.Promise
	for _, e := range entries {
		if p, ok := decodeTiming(e.GetData()); ok {
			promise = max(promise, p)
		}
	}
	return promise, c.log.SetHardState(hs)
}

// decodeEntries returns the entries after a snapshot's index.
func decodeEntries(stored []Entry, index, term uint64) ([]*raftpb.Entry, error) {
	var entries []*raftpb.Entry
	for _, s := range stored {
		if s.Index <= index && len(entries) == 0 {
			continue // before the snapshot
		}
		e := new(raftpb.Entry)
		if err := proto.Unmarshal(s.Data, e); err != nil {
			return nil, fmt.Errorf("decode entry %d: %w", s.Index, err)
		}
		if !soundEntries([]*raftpb.Entry{e}, index, term, maxOrdinal) || e.GetIndex() != s.Index {
			return nil, fmt.Errorf("entry %d of term %d after entry %d of term %d", s.Index, e.GetTerm(), index, term)
		}
		entries = append(entries, e)
		index, term = e.GetIndex(), e.GetTerm()
	}
	return entries, nil
}

// bootstrap begins the cluster: on each of its nodes with the same snapshot.
func (c *Core) bootstrap() error {
	members := slices.Clone(c.cfg.Members)
	slices.SortFunc(members, byID)
	voters := make([]uint64, len(members))
	for i, m := range members {
		voters[i] = m.ID
		members[i].Priority = 0 // of the address book, which may differ from node to node
	}
	c.state = state{Origin: origin(c.cfg.Cluster, members), Members: members, Promise: c.cfg.Promise()}
	c.conf = &raftpb.ConfState{Voters: voters, AutoLeave: new(false)}
	data, err := json.Marshal(&c.state)
	if err != nil {
		return err
	}
	snap := &raftpb.Snapshot{Data: data, Metadata: &raftpb.SnapshotMetadata{ConfState: c.conf, Index: new(uint64(1)), Term: new(uint64(1))}}
	hs := &raftpb.HardState{Term: new(uint64(1)), Vote: new(uint64(0)), Commit: new(uint64(1))}
	c.applied, c.snapshot = 1, 1
	c.meet()
	c.emit(Store{HardState: marshal(hs), Snapshot: &Snapshot{Index: 1, Data: marshal(snap), Reset: true}, Sync: true}, nil)
	return cmp.Or(c.log.ApplySnapshot(snap), c.log.SetHardState(hs))
}

// origin tells clusters apart: FNV-1a of the name and the first members. It is never zero.
func origin(cluster string, members []Member) uint64 {
	h := uint64(14695981039346656037)
	add := func(s string) {
		for i := range len(s) {
			h = (h ^ uint64(s[i])) * 1099511628211
		}
		h = (h ^ 0xff) * 1099511628211
	}
	add(cluster)
	for _, m := range members {
		add(fmt.Sprintf("%s %x %t", m.Name, m.ID, m.Witness))
		if m.Log != "" {
			add(m.Log)
		}
	}
	return h | 1
}

// Origin is what the messages of a cluster carry that these first members, by ID, have begun.
// With the names of their logs among them no other beginning has the same.
func Origin(cluster string, first []Member) uint64 { return origin(cluster, first) }
