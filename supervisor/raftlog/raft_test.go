// SPDX-License-Identifier: Apache-2.0

package raftlog

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
)

// voter is a raft node whose memory is a Log.
type voter struct {
	id      uint64
	dir     string
	log     *Log
	store   *raft.MemoryStorage
	node    *raft.RawNode
	conf    *raftpb.ConfState
	applied uint64
	data    []string // what was committed
}

// start reads everything from the disk, as a process does.
func (v *voter) start(t *testing.T) {
	t.Helper()
	l, r := mustOpen(t, v.dir)
	if r.Fresh {
		mustAppend(t, l, nil, nil, snapshot(1, 1, ""))
		l, r = reopened(t, v.dir, l)
	}
	v.log, v.store = l, raft.NewMemoryStorage()
	v.conf, v.applied = r.Snapshot.GetMetadata().GetConfState(), r.Snapshot.GetMetadata().GetIndex()
	v.data = nil
	if err := v.store.ApplySnapshot(r.Snapshot); err != nil {
		t.Fatal(err)
	}
	if r.HardState != nil {
		if err := v.store.SetHardState(r.HardState); err != nil {
			t.Fatal(err)
		}
	}
	if err := v.store.Append(r.Entries); err != nil {
		t.Fatal(err)
	}
	var err error
	v.node, err = raft.NewRawNode(&raft.Config{
		ID: v.id, ElectionTick: 10, HeartbeatTick: 1, Storage: v.store, Applied: v.applied, MaxSizePerMsg: 1 << 16, MaxInflightMsgs: 16,
		PreVote: true, CheckQuorum: true, Logger: quiet{},
	})
	if err != nil {
		t.Fatal(err)
	}
}

// quiet drops raft's log, except what would end the process.
type quiet struct{ raft.Logger }

func (quiet) Debug(...any)              {}
func (quiet) Debugf(string, ...any)     {}
func (quiet) Info(...any)               {}
func (quiet) Infof(string, ...any)      {}
func (quiet) Warning(...any)            {}
func (quiet) Warningf(string, ...any)   {}
func (quiet) Error(...any)              {}
func (quiet) Errorf(string, ...any)     {}
func (quiet) Panic(v ...any)            { panic(fmt.Sprint(v...)) }
func (quiet) Panicf(f string, v ...any) { panic(fmt.Sprintf(f, v...)) }

// ready does what raft asks for, in its order, and returns what it has to say.
func (v *voter) ready(t *testing.T) []*raftpb.Message {
	t.Helper()
	var out []*raftpb.Message
	for v.node.HasReady() {
		rd := v.node.Ready()
		if err := v.log.Append(rd.HardState, rd.Entries, rd.Snapshot); err != nil {
			t.Fatalf("node %d: %v", v.id, err)
		}
		if !raft.IsEmptySnap(rd.Snapshot) {
			if err := v.store.ApplySnapshot(rd.Snapshot); err != nil {
				t.Fatal(err)
			}
			v.applied = rd.Snapshot.GetMetadata().GetIndex()
		}
		if err := v.store.Append(rd.Entries); err != nil {
			t.Fatal(err)
		}
		if rd.HardState != nil {
			if err := v.store.SetHardState(rd.HardState); err != nil {
				t.Fatal(err)
			}
		}
		out = append(out, rd.Messages...)
		for _, e := range rd.CommittedEntries {
			v.applied = e.GetIndex()
			v.data = append(v.data, fmt.Sprint(e.GetIndex(), " ", e.GetTerm(), " ", string(e.GetData())))
		}
		v.node.Advance(rd)
	}
	return out
}

// compact makes a snapshot of all that was applied.
func (v *voter) compact(t *testing.T) {
	t.Helper()
	if first, err := v.store.FirstIndex(); err != nil || v.applied < first {
		return
	}
	snap, err := v.store.CreateSnapshot(v.applied, v.conf, nil)
	if err == nil {
		err = v.log.Append(nil, nil, snap)
	}
	if err == nil {
		err = v.store.Compact(v.applied)
	}
	if err != nil {
		t.Fatalf("node %d: %v", v.id, err)
	}
}

// Three voters of the real library over lossy links, restarted from their disks again and again: raft never asks for what Append refuses,
// never finds a log it cannot start with, and all apply the same.
func TestRaftLivesOnIt(t *testing.T) {
	random := rand.New(rand.NewPCG(7, 7))
	voters := map[uint64]*voter{}
	for id := uint64(1); id <= 3; id++ {
		voters[id] = &voter{id: id, dir: filepath.Join(t.TempDir(), "raft")}
		voters[id].start(t)
	}
	committed := map[string]string{} // by index
	proposals, restarts := 0, 0
	cut := uint64(0) // hears and says nothing
	for step := range 800 {
		if step%100 == 0 {
			cut = random.Uint64N(4)
		}
		for id := uint64(1); id <= 3; id++ {
			v := voters[id]
			v.node.Tick()
			if v.node.BasicStatus().RaftState == raft.StateLeader && v.node.Propose(fmt.Append(nil, step)) == nil {
				proposals++
			}
			switch random.IntN(150) {
			case 0:
				if err := v.log.Close(); err != nil {
					t.Fatal(err)
				}
				v.start(t)
				restarts++
			case 1, 2:
				v.compact(t)
			}
		}
		for range 6 {
			for id := uint64(1); id <= 3; id++ {
				for _, m := range voters[id].ready(t) {
					if to := voters[m.GetTo()]; id != cut && m.GetTo() != cut && random.IntN(20) > 0 {
						_ = to.node.Step(m) // a refusal is raft's own business
					}
					if m.GetType() == raftpb.MsgSnap {
						voters[id].node.ReportSnapshot(m.GetTo(), raft.SnapshotFinish)
					}
				}
				for _, d := range voters[id].data {
					var index string
					fmt.Sscan(d, &index)
					if was, ok := committed[index]; ok && was != d {
						t.Fatalf("step %d: node %d applied %q, another one %q", step, id, d, was)
					}
					committed[index] = d
				}
				voters[id].data = nil
			}
		}
	}
	if len(committed) < 150 || restarts < 5 {
		t.Errorf("%d entries committed of %d, %d restarts", len(committed), proposals, restarts)
	}
	t.Logf("%d entries committed of %d proposed, %d restarts", len(committed), proposals, restarts)
}
