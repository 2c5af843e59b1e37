// SPDX-License-Identifier: Apache-2.0

package quorum

import (
	"encoding/binary"
	"encoding/json"
	"testing"
	"time"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

// hostile is a running cluster of three, of which a leads and c has a bad mind: what the fuzzer
// says comes in c's name, to the leader and to the follower.
func hostile(t fatal) *network {
	n := newNetwork(t, Mutations{}, "a", "b", "c")
	n.elect("a")
	n.step("a", Propose{Version: 1, Data: []byte("x")})
	n.run(time.Second)
	return n
}

// lies are messages that would make raft panic, or believe what is not true, if they reached it.
func lies() []*raftpb.Message {
	const far = 1 << 40
	msg := func(t raftpb.MessageType, term uint64, change func(*raftpb.Message)) *raftpb.Message {
		m := &raftpb.Message{Type: t.Enum(), Term: &term}
		if change != nil {
			change(m)
		}
		return m
	}
	entry := func(term, index uint64, t raftpb.EntryType, data string) *raftpb.Entry {
		return &raftpb.Entry{Term: &term, Index: &index, Type: t.Enum(), Data: []byte(data)}
	}
	without := func(m Member) string {
		return string(marshal(&raftpb.ConfChange{Type: raftpb.ConfChangeRemoveNode.Enum(), NodeId: &m.ID, Context: encodeMember(m)}))
	}
	all := members("a", "b", "c")
	state, err := json.Marshal(&state{Origin: origin("test", members("a", "b", "c")), Members: members("a", "b", "c"), Version: 7})
	if err != nil {
		panic(err)
	}
	snap := func(data []byte, voters ...uint64) *raftpb.Snapshot {
		return &raftpb.Snapshot{Data: data, Metadata: &raftpb.SnapshotMetadata{Index: new(uint64(50)), Term: new(uint64(2)), ConfState: &raftpb.ConfState{Voters: voters}}}
	}
	return []*raftpb.Message{
		msg(raftpb.MsgHeartbeat, 9, func(m *raftpb.Message) { m.Commit = new(uint64(far)) }),
		msg(raftpb.MsgHeartbeat, 2, func(m *raftpb.Message) { m.Commit = new(uint64(3)) }), // a second leader
		msg(raftpb.MsgHeartbeatResp, 2, func(m *raftpb.Message) { m.Context = binary.LittleEndian.AppendUint64(nil, far) }),
		msg(raftpb.MsgHeartbeatResp, 2, func(m *raftpb.Message) { m.Context = []byte{1} }),
		msg(raftpb.MsgAppResp, 2, func(m *raftpb.Message) { m.Index = new(uint64(far)) }),
		msg(raftpb.MsgAppResp, 2, func(m *raftpb.Message) {
			m.Reject, m.Index, m.RejectHint = new(true), new(uint64(3)), new(^uint64(0))
		}),
		msg(raftpb.MsgApp, 9, func(m *raftpb.Message) { // not one after the other
			m.Index, m.LogTerm = new(uint64(3)), new(uint64(2))
			m.Entries = []*raftpb.Entry{entry(9, 2, raftpb.EntryNormal, "x")}
		}),
		msg(raftpb.MsgApp, 9, func(m *raftpb.Message) { // no voter is left
			m.Index, m.LogTerm, m.Commit = new(uint64(3)), new(uint64(2)), new(uint64(9))
			m.Entries = []*raftpb.Entry{
				entry(9, 4, raftpb.EntryConfChange, without(all[0])), entry(9, 5, raftpb.EntryConfChange, without(all[1])),
				entry(9, 6, raftpb.EntryConfChange, without(all[2])),
			}
		}),
		msg(raftpb.MsgApp, 9, func(m *raftpb.Message) { // nonsense, committed
			m.Index, m.LogTerm, m.Commit = new(uint64(3)), new(uint64(2)), new(uint64(9))
			m.Entries = []*raftpb.Entry{
				entry(9, 4, raftpb.EntryConfChange, "\xff"), entry(9, 5, raftpb.EntryConfChange, ""), entry(9, 6, raftpb.EntryNormal, "nonsense"),
			}
		}),
		msg(raftpb.MsgApp, 9, func(m *raftpb.Message) { // out of a joint configuration that there is not
			m.Index, m.LogTerm, m.Commit = new(uint64(3)), new(uint64(2)), new(uint64(9))
			m.Entries = []*raftpb.Entry{entry(9, 4, raftpb.EntryConfChangeV2, "")}
		}),
		msg(raftpb.MsgSnap, 9, func(m *raftpb.Message) { m.Snapshot = snap(state, 1, 2, 3) }),
		msg(raftpb.MsgSnap, 9, func(m *raftpb.Message) { m.Snapshot = snap(state, 1, 1, 1) }),
		msg(raftpb.MsgSnap, 9, func(m *raftpb.Message) { m.Snapshot = snap(state) }),
		msg(raftpb.MsgSnap, 9, func(m *raftpb.Message) { m.Snapshot = snap([]byte("{"), 1, 2, 3) }),
		msg(raftpb.MsgSnap, 9, nil),
		msg(raftpb.MsgVote, ^uint64(0), nil),
		msg(raftpb.MsgPreVote, ^uint64(0), nil),
		msg(raftpb.MsgVote, 0, nil),
		msg(raftpb.MsgTimeoutNow, 2, nil),
		msg(raftpb.MsgReadIndex, 0, nil),
		msg(raftpb.MsgReadIndexResp, 2, nil),
		msg(raftpb.MsgProp, 2, nil),
		msg(raftpb.MsgHup, 2, nil),
		msg(raftpb.MsgTransferLeader, 2, nil),
		msg(raftpb.MsgStorageAppendResp, 2, func(m *raftpb.Message) { m.Index = new(uint64(far)) }),
		msg(raftpb.MsgStorageApplyResp, 2, func(m *raftpb.Message) { m.Entries = []*raftpb.Entry{entry(2, far, raftpb.EntryNormal, "")} }),
		msg(raftpb.MsgUnreachable, 2, nil),
	}
}

// TestLies: each is dropped, or does no harm; the leader keeps the right where no higher term was told.
func TestLies(t *testing.T) {
	for _, m := range lies() {
		for to, name := range []string{"a", "b"} {
			n := hostile(t)
			m.From, m.To = new(uint64(3)), new(uint64(to+1))
			nd := n.node(name)
			n.step(name, Received{From: "c", Message: nd.core.seal(m)})
			n.run(200 * time.Millisecond)
			if m.GetTerm() <= 2 && n.holder() != "a" {
				n.fatalf("%v to %s: a lost the right", m, name)
			}
			// Whatever it was, the others go on.
			for _, nd := range n.nodes {
				nd.step(Seek{})
			}
			if !n.until(10*time.Second, func() bool { return n.holder() != "" }) {
				n.fatalf("%v to %s: nobody has the right any more", m, name)
			}
			n.noOverlap()
		}
	}
}

// TestStrangers: what comes from elsewhere is counted and dropped.
func TestStrangers(t *testing.T) {
	n := hostile(t)
	a := n.node("a").core
	vote := func(change func(*raftpb.Message)) []byte {
		m := &raftpb.Message{Type: raftpb.MsgVote.Enum(), From: new(uint64(3)), To: new(uint64(1)), Term: new(uint64(9))}
		if change != nil {
			change(m)
		}
		return a.seal(m)
	}
	other := vote(nil)
	other[0] ^= 1
	late := vote(nil)
	late[11] ^= 1
	for _, tt := range []struct {
		in   Received
		want Drop
	}{
		{Received{From: "c"}, DropUndecodable},
		{Received{From: "c", Message: []byte("nonsense....")}, DropMisaddressed}, // an empty one
		{Received{From: "c", Message: []byte("nonsense of greater length")}, DropUndecodable},
		{Received{From: "x", Message: vote(nil)}, DropUnknown},
		{Received{From: "", Message: vote(nil)}, DropUnknown},
		{Received{From: "a", Message: vote(nil)}, DropUnknown},
		{Received{From: "b", Message: vote(nil)}, DropMisaddressed},
		{Received{From: "c", Message: vote(func(m *raftpb.Message) { m.To = new(uint64(2)) })}, DropMisaddressed},
		{Received{From: "c", Message: vote(func(m *raftpb.Message) { m.From = nil })}, DropMisaddressed},
		{Received{From: "c", Message: other}, DropCluster},
		{Received{From: "c", Message: late}, DropTiming},
		{Received{From: "c", Message: vote(func(m *raftpb.Message) { m.Type = raftpb.MsgHup.Enum() })}, DropType},
		{Received{From: "c", Message: vote(func(m *raftpb.Message) {
			m.Type, m.Term, m.Context = raftpb.MsgHeartbeatResp.Enum(), &a.term, binary.LittleEndian.AppendUint64(nil, a.sent+1)
		})}, DropBeyondLog},
		{Received{From: "c", Message: vote(func(m *raftpb.Message) {
			m.Type, m.Term, m.Index = raftpb.MsgAppResp.Enum(), &a.term, new(a.log.last()+1)
		})}, DropBeyondLog},
		{Received{From: "c", Message: vote(func(m *raftpb.Message) { m.Responses = []*raftpb.Message{{}} })}, DropMalformed},
	} {
		was := a.Status().Stats.Dropped[tt.want]
		n.step("a", tt.in)
		if got := a.Status().Stats.Dropped[tt.want]; got != was+1 {
			t.Errorf("%+v: not dropped as %v: %v", tt.in, tt.want, a.Status().Stats.Dropped)
		}
	}
	n.step("a", Stored{Token: 1 << 40})
	if a.Status().Stats.Dropped[DropToken] != 1 {
		t.Errorf("an answer that nobody waits for was not counted")
	}
	if n.holder() != "a" {
		t.Errorf("a lost the right")
	}
	for d := DropUndecodable; d < drops; d++ {
		if d.String() == "" {
			t.Errorf("drop %d has no name", d)
		}
	}
}

// FuzzReceived says up to four things in c's name to a leader and to a follower. Neither may
// fail, nor be stuck for ever afterwards.
func FuzzReceived(f *testing.F) {
	for _, m := range lies() {
		m.From = new(uint64(3))
		data, err := proto.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data, []byte{}, false)
		f.Add(data, data, true)
	}
	f.Fuzz(func(t *testing.T, first, second []byte, promised bool) {
		n := hostile(t)
		if !promised {
			n.isolate("a") // the promise of b ends
			n.run(time.Second)
			n.heal()
		}
		for _, data := range [][]byte{first, second} {
			for to, name := range []string{"a", "b"} {
				m := new(raftpb.Message)
				if proto.Unmarshal(data, m) == nil { // let it past the door
					m.From, m.To = new(uint64(3)), new(uint64(to+1))
					if sealed, err := (proto.MarshalOptions{}).Marshal(m); err == nil {
						data = sealed
					}
				}
				header := n.node(name).core.seal(new(raftpb.Message))
				n.step(name, Received{From: "c", Message: append(header, data...)})
				n.run(tick)
			}
		}
		n.run(20 * tick)
	})
}
