// SPDX-License-Identifier: Apache-2.0

package raftlog

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"pgregory.net/rapid"
)

var db1 = Identity{Cluster: "orders", Node: "db1"}

func entry(index, term uint64, data string) *raftpb.Entry {
	return &raftpb.Entry{Index: new(index), Term: new(term), Data: []byte(data)}
}

func hard(term, vote, commit uint64) *raftpb.HardState {
	return &raftpb.HardState{Term: new(term), Vote: new(vote), Commit: new(commit)}
}

func snapshot(index, term uint64, data string) *raftpb.Snapshot {
	return &raftpb.Snapshot{Data: []byte(data), Metadata: &raftpb.SnapshotMetadata{
		Index: new(index), Term: new(term), ConfState: &raftpb.ConfState{Voters: []uint64{1, 2, 3}, AutoLeave: new(false)},
	}}
}

// mustOpen opens the log of db1 and closes it when the test ends.
func mustOpen(t testing.TB, dir string) (*Log, Restored) {
	t.Helper()
	l, r, err := Open(dir, db1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l, r
}

// reopened closes the log and opens it again.
func reopened(t testing.TB, dir string, l *Log) (*Log, Restored) {
	t.Helper()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return mustOpen(t, dir)
}

func mustAppend(t testing.TB, l *Log, hs *raftpb.HardState, entries []*raftpb.Entry, snap *raftpb.Snapshot) {
	t.Helper()
	if err := l.Append(hs, entries, snap); err != nil {
		t.Fatal(err)
	}
}

func wantReason(t testing.TB, err error, want Reason) {
	t.Helper()
	var own *Error
	if !errors.As(err, &own) || own.Reason != want || own.Path == "" {
		t.Fatalf("error = %v, want %s", err, want)
	}
	if text := err.Error(); !strings.HasPrefix(text, string(want)) || !strings.Contains(text, own.Reason.advice()) {
		t.Errorf("error %q does not say what to do", text)
	}
}

// same compares what was restored, without the random name.
func same(got, want Restored) string {
	want.ID = got.ID
	equal := got.Fresh == want.Fresh && proto.Equal(got.HardState, want.HardState) && proto.Equal(got.Snapshot, want.Snapshot)
	if equal && slices.EqualFunc(got.Entries, want.Entries, func(a, b *raftpb.Entry) bool { return proto.Equal(a, b) }) {
		return "" // as below, but fast
	}
	return cmp.Diff(want, got, protocmp.Transform())
}

func TestEmptyLog(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "raft")
	l, r := mustOpen(t, dir)
	if !r.Fresh || r.ID == "" || r.HardState != nil || r.Snapshot != nil || r.Entries != nil {
		t.Errorf("first start restored %+v", r)
	}
	_, again := reopened(t, dir, l)
	if diff := same(again, Restored{Fresh: true}); diff != "" || again.ID != r.ID {
		t.Errorf("second start: %s", diff)
	}
	if info, err := os.Stat(filepath.Join(dir, logName)); err != nil || info.Size() != preallocated {
		t.Errorf("file of %d bytes, %v", info.Size(), err)
	}
}

func TestAppendIsRestored(t *testing.T) {
	dir := t.TempDir()
	l, r := mustOpen(t, dir)
	id := r.ID
	mustAppend(t, l, hard(2, 1, 0), []*raftpb.Entry{entry(1, 1, "a"), entry(2, 2, "")}, nil)
	mustAppend(t, l, nil, []*raftpb.Entry{entry(3, 2, "c")}, nil)
	mustAppend(t, l, hard(3, 0, 2), nil, nil)
	mustAppend(t, l, nil, nil, nil)
	l, r = reopened(t, dir, l)
	want := Restored{HardState: hard(3, 0, 2), Entries: []*raftpb.Entry{entry(1, 1, "a"), entry(2, 2, ""), entry(3, 2, "c")}}
	if diff := same(r, want); diff != "" || r.ID != id {
		t.Fatal(diff)
	}
	// A new leader's entries replace the tail.
	mustAppend(t, l, hard(4, 3, 2), []*raftpb.Entry{entry(3, 4, "x")}, nil)
	l, r = reopened(t, dir, l)
	want = Restored{HardState: hard(4, 3, 2), Entries: []*raftpb.Entry{entry(1, 1, "a"), entry(2, 2, ""), entry(3, 4, "x")}}
	if diff := same(r, want); diff != "" {
		t.Fatal(diff)
	}
	// Compaction keeps what follows the snapshot, and the log goes on.
	mustAppend(t, l, nil, nil, snapshot(2, 2, "state at 2"))
	mustAppend(t, l, hard(4, 3, 4), []*raftpb.Entry{entry(4, 4, "y")}, nil)
	l, r = reopened(t, dir, l)
	want = Restored{HardState: hard(4, 3, 4), Snapshot: snapshot(2, 2, "state at 2"), Entries: []*raftpb.Entry{entry(3, 4, "x"), entry(4, 4, "y")}}
	if diff := same(r, want); diff != "" {
		t.Fatal(diff)
	}
	// A snapshot from the leader replaces the log, also one that ends before ours where ours says otherwise.
	mustAppend(t, l, nil, []*raftpb.Entry{entry(5, 4, "lost"), entry(6, 4, "lost"), entry(7, 4, "lost")}, nil)
	mustAppend(t, l, hard(6, 0, 6), []*raftpb.Entry{entry(6, 5, "in it"), entry(7, 6, "z")}, snapshot(6, 5, "state at 6"))
	_, r = reopened(t, dir, l)
	want = Restored{HardState: hard(6, 0, 6), Snapshot: snapshot(6, 5, "state at 6"), Entries: []*raftpb.Entry{entry(7, 6, "z")}}
	if diff := same(r, want); diff != "" {
		t.Fatal(diff)
	}
}

// The first members may be told by a snapshot alone, of index 0 or 1, before there is a term.
func TestBootstrapSnapshot(t *testing.T) {
	for index := range uint64(2) {
		dir := t.TempDir()
		l, _ := mustOpen(t, dir)
		mustAppend(t, l, nil, nil, snapshot(index, index, ""))
		l, r := reopened(t, dir, l)
		if r.Fresh || r.Snapshot.GetMetadata().GetIndex() != index || len(r.Snapshot.GetMetadata().GetConfState().GetVoters()) != 3 {
			t.Errorf("index %d: restored %+v", index, r)
		}
		mustAppend(t, l, hard(2, 1, index), []*raftpb.Entry{entry(index+1, 2, "")}, nil)
	}
}

// What raft never does is refused, leaves no trace on the disk, and ends the log until the next start.
func TestWhatRaftNeverDoesIsRefused(t *testing.T) {
	base := Restored{
		HardState: hard(6, 2, 4), Snapshot: snapshot(2, 1, "s"),
		Entries: []*raftpb.Entry{entry(3, 1, "c"), entry(4, 3, "d"), entry(5, 5, "e")},
	}
	for name, c := range map[string]struct {
		hs      *raftpb.HardState
		entries []*raftpb.Entry
		snap    *raftpb.Snapshot
	}{
		"second vote in a term":       {hs: hard(6, 3, 4)},
		"vote withdrawn":              {hs: hard(6, 0, 4)},
		"term goes back":              {hs: hard(5, 0, 4)},
		"commit goes back":            {hs: hard(7, 0, 3)},
		"commit beyond the log":       {hs: hard(6, 2, 6)},
		"gap":                         {entries: []*raftpb.Entry{entry(7, 5, "")}},
		"gap inside":                  {entries: []*raftpb.Entry{entry(6, 5, ""), entry(8, 5, "")}},
		"terms go back":               {entries: []*raftpb.Entry{entry(6, 4, "")}},
		"terms go back inside":        {entries: []*raftpb.Entry{entry(6, 5, ""), entry(7, 4, "")}},
		"entry of a term unheard of":  {entries: []*raftpb.Entry{entry(6, 7, "")}},
		"committed entry replaced":    {hs: hard(7, 0, 4), entries: []*raftpb.Entry{entry(4, 7, "")}},
		"committed entry cut off":     {entries: []*raftpb.Entry{entry(3, 1, "c")}},
		"snapshot goes back":          {snap: snapshot(1, 1, "")},
		"snapshot of the same index":  {snap: snapshot(2, 2, "")},
		"snapshot contradicts commit": {hs: hard(7, 0, 4), snap: snapshot(4, 4, "")},
		"snapshot beyond commit":      {snap: snapshot(9, 5, "")},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			l, _ := mustOpen(t, dir)
			mustAppend(t, l, base.HardState, []*raftpb.Entry{entry(1, 1, "a"), entry(2, 1, "b"), entry(3, 1, "c"), entry(4, 3, "d"), entry(5, 5, "e")}, nil)
			mustAppend(t, l, nil, nil, base.Snapshot)
			err := l.Append(c.hs, c.entries, c.snap)
			wantReason(t, err, ReasonInvalid)
			if again := l.Append(hard(9, 1, 4), nil, nil); again != err {
				t.Errorf("the log goes on: %v", again)
			}
			_, r := reopened(t, dir, l)
			if diff := same(r, base); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestAppendAfterClose(t *testing.T) {
	l, _ := mustOpen(t, t.TempDir())
	if err := errors.Join(l.Close(), l.Close()); err != nil {
		t.Fatal(err)
	}
	wantReason(t, l.Append(hard(1, 1, 0), nil, nil), ReasonInvalid)
}

// model is what the log must hold, kept the plain way.
type model struct {
	term, vote, commit uint64
	snap               *raftpb.Snapshot
	entries            []*raftpb.Entry // those behind the snapshot
}

func (m *model) start() uint64 { return m.snap.GetMetadata().GetIndex() }
func (m *model) last() uint64  { return m.start() + uint64(len(m.entries)) }

func (m *model) termAt(index uint64) uint64 {
	if index == m.start() {
		return m.snap.GetMetadata().GetTerm()
	}
	return m.entries[index-m.start()-1].GetTerm()
}

func (m *model) restored() Restored {
	r := Restored{Snapshot: m.snap, Entries: m.entries, Fresh: m.term == 0 && m.snap == nil && len(m.entries) == 0}
	if m.term|m.vote|m.commit != 0 {
		r.HardState = hard(m.term, m.vote, m.commit)
	}
	if len(r.Entries) == 0 {
		r.Entries = nil
	}
	return r
}

// Random histories, as raft may write them, come back whole after every start.
func TestRandomHistories(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		dir, err := os.MkdirTemp(t.TempDir(), "")
		if err != nil {
			rt.Fatal(err)
		}
		l, _, err := Open(dir, db1)
		if err != nil {
			rt.Fatal(err)
		}
		defer func() { l.Close() }()
		var m model
		draw := func(low, high uint64) uint64 { return rapid.Uint64Range(low, high).Draw(rt, "n") }
		for range rapid.IntRange(1, 15).Draw(rt, "steps") {
			next := m
			var entries []*raftpb.Entry
			var snap *raftpb.Snapshot
			switch draw(0, 5) {
			case 0: // elections
				next.term, next.vote = m.term+draw(1, 3), draw(0, 3)
			case 1, 2: // entries, at the end or over a tail that was not committed
				next.term = max(m.term, 1) + draw(0, 1)
				if next.term != m.term {
					next.vote = 0
				}
				first := draw(max(m.commit, m.start()), m.last()) + 1
				term := max(m.termAt(first-1), next.term)
				for i := range draw(1, 40) {
					entries = append(entries, entry(first+i, term, strings.Repeat("x", int(draw(0, 400)))))
				}
				next.entries = append(m.entries[:first-m.start()-1:first-m.start()-1], entries...)
			case 3: // commit
				if m.term == 0 {
					continue
				}
				next.commit = draw(m.commit, m.last())
			case 4: // compaction
				if m.commit == m.start() {
					continue
				}
				index := draw(m.start()+1, m.commit)
				snap = snapshot(index, m.termAt(index), fmt.Sprint("state at ", index, strings.Repeat("y", int(draw(0, 9000)))))
				next.snap, next.entries = snap, m.entries[index-m.start():]
			case 5: // a snapshot from the leader
				index := m.last() + draw(1, 5)
				next.term = max(m.term, 1) + draw(0, 1)
				if next.term != m.term {
					next.vote = 0
				}
				snap = snapshot(index, next.term, "from the leader")
				next.snap, next.entries, next.commit = snap, nil, index
			}
			if err := l.Append(hard(next.term, next.vote, next.commit), entries, snap); err != nil {
				rt.Fatal(err)
			}
			m = next
			if draw(0, 2) == 0 {
				if err := l.Close(); err != nil {
					rt.Fatal(err)
				}
				var r Restored
				if l, r, err = Open(dir, db1); err != nil {
					rt.Fatal(err)
				}
				if diff := same(r, m.restored()); diff != "" {
					rt.Fatal(diff)
				}
			}
		}
	})
}
