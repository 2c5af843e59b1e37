// SPDX-License-Identifier: Apache-2.0

package raftlog

import (
	"fmt"

	"go.etcd.io/bbolt"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

// writer carries one Append into a transaction. It refuses what raft never asks for: the mistake is ours then, and would be on the disk.
type writer struct {
	path      string
	state     *state
	base, log *bbolt.Bucket
}

func isEmpty(hs *raftpb.HardState) bool {
	return hs.GetTerm()|hs.GetVote()|hs.GetCommit() == 0
}

// hasContent: a snapshot of index 0 says who the first members are, if it says anything.
func hasContent(snap *raftpb.Snapshot) bool {
	m := snap.GetMetadata()
	return m.GetIndex() != 0 || len(snap.GetData()) > 0 || len(m.GetConfState().GetVoters())+len(m.GetConfState().GetLearners()) > 0
}

func (w *writer) refuse(format string, args ...any) error {
	return refuse(ReasonInvalid, w.path, format, args...)
}

func (w *writer) write(hs *raftpb.HardState, entries []*raftpb.Entry, snap *raftpb.Snapshot) error {
	if w.base == nil || w.log == nil {
		return refuse(ReasonCorrupt, w.path, "bucket is missing")
	}
	if hasContent(snap) {
		if err := w.snapshot(snap); err != nil {
			return err
		}
	}
	if err := w.entries(entries); err != nil {
		return err
	}
	if err := w.hardState(hs); err != nil {
		return err
	}
	if err := w.state.whole(); err != nil {
		return w.refuse("%w", err)
	}
	return w.log.Put(keyState, w.state.encode())
}

func (w *writer) snapshot(snap *raftpb.Snapshot) error {
	s := w.state
	index, term := snap.GetMetadata().GetIndex(), snap.GetMetadata().GetTerm()
	if index < s.SnapIndex {
		return w.refuse("snapshot %d after %d", index, s.SnapIndex)
	}
	keep, sum := false, uint32(0)
	if index <= s.Last {
		held, heldSum, err := w.termOf(index)
		if err != nil {
			return err
		}
		if held != term && index <= max(s.Commit, s.SnapIndex) {
			return w.refuse("snapshot %d of term %d contradicts what was committed in term %d", index, term, held)
		}
		keep, sum = held == term, heldSum
	}
	end := index
	if !keep {
		end = s.Last
	}
	for i := s.SnapIndex + 1; i <= min(end, s.Last); i++ {
		if err := w.log.Delete(entryKey(i)); err != nil {
			return err
		}
	}
	payload, err := proto.Marshal(snap)
	if err != nil {
		return fmt.Errorf("encode snapshot: %w", err)
	}
	value := seal(0, keySnapshot, payload)
	if err := w.base.Put(keySnapshot, value); err != nil {
		return err
	}
	s.SnapIndex, s.SnapTerm, s.SnapSum, s.HasSnap, s.Base = index, term, sumOf(value), true, sum
	if !keep || s.Last == index {
		s.Last, s.LastTerm, s.Chain = index, term, sum
	}
	return nil
}

func (w *writer) entries(entries []*raftpb.Entry) error {
	s := w.state
	for len(entries) > 0 && entries[0].GetIndex() <= s.SnapIndex {
		entries = entries[1:] // in the snapshot already
	}
	if len(entries) == 0 {
		return nil
	}
	first := entries[0].GetIndex()
	if first > s.Last+1 {
		return w.refuse("entry %d after %d", first, s.Last)
	}
	term, sum, err := w.termOf(first - 1)
	if err != nil {
		return err
	}
	for i, e := range entries {
		index := first + uint64(i)
		if e.GetIndex() != index || e.GetTerm() < term {
			return w.refuse("entry %d of term %d where %d of term %d or later must come", e.GetIndex(), e.GetTerm(), index, term)
		}
		if index <= s.Commit {
			held, _, err := w.termOf(index)
			if err != nil {
				return err
			}
			if held != e.GetTerm() {
				return w.refuse("entry %d of term %d contradicts what was committed in term %d", index, e.GetTerm(), held)
			}
		}
		payload, err := proto.Marshal(e)
		if err != nil {
			return fmt.Errorf("encode entry %d: %w", index, err)
		}
		key := entryKey(index)
		value := seal(sum, key, payload)
		if err := w.log.Put(key, value); err != nil {
			return err
		}
		term, sum = e.GetTerm(), sumOf(value)
	}
	last := first + uint64(len(entries)) - 1
	if last < s.Commit {
		return w.refuse("log would end at %d, before commit %d", last, s.Commit)
	}
	for i := last + 1; i <= s.Last; i++ {
		if err := w.log.Delete(entryKey(i)); err != nil {
			return err
		}
	}
	s.Last, s.LastTerm, s.Chain = last, term, sum
	return nil
}

// hardState never goes back: not the term, not the vote within a term, not the commit index.
func (w *writer) hardState(hs *raftpb.HardState) error {
	if isEmpty(hs) {
		return nil
	}
	s := w.state
	switch {
	case hs.GetTerm() < s.Term:
		return w.refuse("term %d after %d", hs.GetTerm(), s.Term)
	case hs.GetTerm() == s.Term && s.Vote != 0 && hs.GetVote() != s.Vote:
		return w.refuse("vote for %x in term %d after one for %x", hs.GetVote(), s.Term, s.Vote)
	case hs.GetCommit() < s.Commit:
		return w.refuse("commit %d after %d", hs.GetCommit(), s.Commit)
	}
	s.Term, s.Vote, s.Commit = hs.GetTerm(), hs.GetVote(), hs.GetCommit()
	return nil
}

// termOf is the term at an index between snapshot and last entry, both included, and the checksum that the next entry continues.
func (w *writer) termOf(index uint64) (term uint64, sum uint32, err error) {
	s := w.state
	switch index {
	case s.Last:
		return s.LastTerm, s.Chain, nil
	case s.SnapIndex:
		return s.SnapTerm, s.Base, nil
	}
	value := w.log.Get(entryKey(index))
	e := new(raftpb.Entry)
	if len(value) < 4 {
		return 0, 0, refuse(ReasonCorrupt, w.path, "entry %d is missing", index)
	}
	if err := proto.Unmarshal(value[:len(value)-4], e); err != nil {
		return 0, 0, refuse(ReasonCorrupt, w.path, "entry %d: %w", index, err)
	}
	return e.GetTerm(), sumOf(value), nil
}
