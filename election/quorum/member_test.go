// SPDX-License-Identifier: Apache-2.0

package quorum

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"go.etcd.io/raft/v3/raftpb"
)

// join starts a node that is to be added.
func (n *network) join(name string, id uint64) *node {
	list := []Member{{Name: name, ID: id}}
	for _, nd := range n.nodes {
		self, _ := nd.cfg.member(nd.cfg.Node)
		list = append(list, self)
	}
	cfg := config(name, list)
	cfg.Join = true
	nd := n.add(cfg)
	nd.start()
	return nd
}

// TestAddMember: a new node gets a snapshot, learns, and becomes a voter when it has caught up;
// then it counts.
func TestAddMember(t *testing.T) {
	for _, names := range [][]string{{"a"}, {"a", "b"}, {"a", "b", "c"}} {
		t.Run(fmt.Sprint(names), func(t *testing.T) {
			n := newNetwork(t, Mutations{}, names...)
			n.elect("a")
			for v := uint64(1); v <= 5; v++ {
				n.step("a", Propose{Version: v, Data: []byte{byte(v)}})
				n.run(tick)
			}
			d := n.join("d", 9)
			n.step("d", Seek{})
			n.run(3 * time.Second)
			if d.core.Leader() != "" || count[LeaderChanged](d) != 0 || len(d.core.conf.GetVoters()) != 0 {
				n.fatalf("nobody has added d yet")
			}
			n.step("a", AddMember{Member: Member{Name: "d", ID: 9, Priority: 7}})
			if !n.until(3*time.Second, func() bool { return d.core.Status().Voter }) {
				n.fatalf("d is no voter: %+v", d.core.Status())
			}
			n.run(10 * tick)
			if c, _ := last[MemberChanged](n.node("a")); c.Change != ChangeVoter || c.Member.Name != "d" || count[MemberChanged](n.node("a")) != 2 {
				n.fatalf("a says %+v", c)
			}
			if v, data := d.core.Record(); v != 5 || !bytes.Equal(data, []byte{5}) {
				n.fatalf("d has version %d %x", v, data)
			}
			if n.holder() != "a" || count[LostLead](n.node("a")) != 0 {
				n.fatalf("a lost the right over it")
			}
			// It outlives a restart, and is as good as any other.
			d.crash()
			n.run(time.Second)
			d.start()
			n.run(time.Second)
			n.step("a", HandOver{To: "d"})
			if !n.until(time.Second, func() bool { return n.holder() == "d" }) {
				n.fatalf("d did not take over")
			}
			n.noOverlap()
		})
	}
}

// TestRemoveMember: a follower, then the leader itself, and neither disturbs those that stay.
func TestRemoveMember(t *testing.T) {
	n := newNetwork(t, Mutations{}, "a", "b", "c", "d")
	n.elect("a")
	n.run(time.Second)
	n.step("a", RemoveMember{Name: "d"})
	n.run(time.Second)
	if c, _ := last[MemberChanged](n.node("b")); c.Change != ChangeRemoved || c.Member.Name != "d" {
		n.fatalf("b says %+v", c)
	}
	n.step("d", Seek{})
	n.run(5 * time.Second)
	if n.holder() != "a" || count[LostLead](n.node("a")) != 0 {
		n.fatalf("d disturbs")
	}
	n.step("a", AddMember{Member: Member{Name: "d2", ID: 4}})
	if r, _ := last[MemberRefused](n.node("a")); r.Reason != ReasonKnown {
		n.fatalf("the ID of a removed node is taken again: %+v", r)
	}
	n.step("a", RemoveMember{Name: "a"})
	n.step("b", Seek{})
	if !n.until(2*time.Second, func() bool { return n.holder() == "b" }) {
		n.fatalf("b did not follow a")
	}
	n.step("a", Seek{})
	n.run(2 * time.Second)
	if n.holder() != "b" {
		n.fatalf("a disturbs")
	}
	n.noOverlap()
}

// TestMemberRefused: what makes no sense is refused before it is in the log.
func TestMemberRefused(t *testing.T) {
	n := newNetwork(t, Mutations{}, "a", "b", "w")
	refused := func(name string, in Input) Reason {
		was := count[MemberRefused](n.node(name))
		n.step(name, in)
		if count[MemberRefused](n.node(name)) == was {
			return ReasonNone
		}
		r, _ := last[MemberRefused](n.node(name))
		return r.Reason
	}
	if r := refused("a", RemoveMember{Name: "b"}); r != ReasonNotLeader {
		t.Errorf("%q", r)
	}
	n.elect("a")
	n.run(tick)
	for _, tt := range []struct {
		in   Input
		want Reason
	}{
		{RemoveMember{Name: "x"}, ReasonUnknown},
		{AddMember{Member{Name: "b", ID: 77}}, ReasonKnown},
		{AddMember{Member{Name: "x", ID: 2}}, ReasonKnown},
		{AddMember{Member{Name: "x", ID: 0}}, ReasonInvalid},
		{AddMember{Member{Name: "", ID: 77}}, ReasonInvalid},
		{AddMember{Member{Name: "x", ID: ^uint64(0)}}, ReasonInvalid},
		{RemoveMember{Name: "b"}, ReasonNone},
		{RemoveMember{Name: "w"}, ReasonBusy},
	} {
		if r := refused("a", tt.in); r != tt.want {
			t.Errorf("%+v: %q, want %q", tt.in, r, tt.want)
		}
	}
	n.run(time.Second)
	if r := refused("a", RemoveMember{Name: "a"}); r != ReasonLastVoter {
		t.Errorf("the last voter with a server: %q", r)
	}
	n.step("a", HandOver{To: "b"})
	if e, _ := last[HandOverEnded](n.node("a")); e.Reason != ReasonUnknown {
		t.Errorf("to a node that is removed: %+v", e)
	}
}

// TestChangeAwaitsConfirmation: a second change of the voters waits until the right was
// confirmed under the first.
func TestChangeAwaitsConfirmation(t *testing.T) {
	n := newNetwork(t, Mutations{}, "a", "b", "c", "d", "e")
	n.elect("a")
	n.run(time.Second)
	a := n.node("a")
	n.step("a", RemoveMember{Name: "e"})
	n.held = func(_, to string, m *raftpb.Message) bool { return to == "a" && m.GetType() == raftpb.MsgHeartbeatResp }
	if !n.until(time.Second, func() bool { return count[MemberChanged](a) == 1 }) {
		n.fatalf("e was not removed")
	}
	n.step("a", RemoveMember{Name: "d"})
	if r, ok := last[MemberRefused](a); !ok || r.Reason != ReasonUnconfirmed {
		n.fatalf("%+v", r)
	}
	n.kept, n.held = nil, nil
	n.run(3 * tick)
	n.step("a", RemoveMember{Name: "d"})
	n.run(time.Second)
	if count[MemberChanged](a) != 2 || n.holder() != "a" {
		n.fatalf("d was not removed")
	}
	n.noOverlap()
}

// TestCompaction: the log does not grow, neither in memory nor in storage; who was away gets
// a snapshot, also if the first one is lost; and all continue from it.
func TestCompaction(t *testing.T) {
	n := newNetwork(t, Mutations{}, "a", "b", "c")
	for _, nd := range n.nodes {
		nd.crash()
		nd.cfg.CompactEvery = 100
		nd.start()
	}
	n.elect("a")
	n.node("c").crash()
	const versions = 1000
	for v := uint64(1); v <= versions; v++ {
		n.step("a", Propose{Version: v, Data: fmt.Appendf(nil, "%04d", v)})
		if !n.until(time.Second, func() bool { _, doubt := n.node("a").core.Doubt(); return !doubt }) {
			n.fatalf("version %d is not decided", v)
		}
	}
	for _, name := range []string{"a", "b"} {
		nd := n.node(name)
		first, err := nd.core.log.FirstIndex()
		if err != nil {
			t.Fatal(err)
		}
		if held := nd.core.log.last() - first; held > 100+trail+2 {
			n.fatalf("%s holds %d entries in memory", name, held)
		}
		if len(nd.stored.Entries) > 102 {
			n.fatalf("%s holds %d entries in storage", name, len(nd.stored.Entries))
		}
	}
	lost := 0
	n.held = func(_, _ string, m *raftpb.Message) bool {
		if m.GetType() == raftpb.MsgSnap {
			lost++
		}
		return m.GetType() == raftpb.MsgSnap && lost == 1
	}
	c := n.node("c")
	c.start()
	if !n.until(3*time.Second, func() bool { v, _ := c.core.Record(); return v == versions }) {
		n.fatalf("c is at %+v", c.core.Status())
	}
	if lost < 2 {
		n.fatalf("c caught up without a snapshot")
	}
	n.kept, n.held = nil, nil
	n.step("a", Propose{Version: versions + 1, Data: []byte("last")})
	n.run(time.Second)
	for _, nd := range n.nodes {
		nd.crash()
	}
	n.run(time.Second)
	for _, nd := range n.nodes {
		nd.start()
	}
	n.elect("c")
	if v, data := c.core.Record(); v != versions+1 || string(data) != "last" {
		n.fatalf("c has version %d %q", v, data)
	}
	n.noOverlap()
}

// TestDoubtEndsInSnapshot: the fate of a proposal is found also where the log has moved on.
func TestDoubtEndsInSnapshot(t *testing.T) {
	for _, keeps := range []bool{true, false} {
		n := newNetwork(t, Mutations{}, "a", "b", "c")
		for _, nd := range n.nodes {
			nd.crash()
			nd.cfg.CompactEvery = 10
			nd.start()
		}
		n.elect("a")
		n.run(time.Second)
		a := n.node("a")
		if keeps { // the others have it, and a is not told
			n.held = func(_, to string, _ *raftpb.Message) bool { return to == "a" }
		} else {
			n.isolate("a")
		}
		n.step("a", Propose{Version: 1, Data: []byte("mine")})
		n.run(10 * time.Millisecond)
		n.isolate("a")
		n.kept, n.held = nil, nil
		n.step("b", Seek{})
		n.run(2 * time.Second)
		from := uint64(1)
		if keeps {
			from = 2
		}
		for v := from; v < 200; v++ {
			n.step("b", Propose{Version: v, Data: []byte("yours")})
			n.run(tick)
		}
		n.heal()
		n.run(2 * time.Second)
		d, _ := last[Decided](a)
		if v, _ := a.core.Record(); v != 199 || d.Version != 1 || d.Outcome != OutcomeSuperseded {
			n.fatalf("a at version %d: %+v", v, d)
		}
	}
}

// TestUnknownLeader: a node that was away while others were added follows one of them, which it
// has never heard of, and gives it its vote where that is needed.
func TestUnknownLeader(t *testing.T) {
	n := newNetwork(t, Mutations{}, "a", "b", "c")
	n.elect("a")
	n.node("c").crash()
	d := n.join("d", 9)
	n.step("a", AddMember{Member: Member{Name: "d", ID: 9}})
	if !n.until(3*time.Second, func() bool { return d.core.Status().Voter }) {
		n.fatalf("d is no voter")
	}
	n.step("a", HandOver{To: "d"})
	n.run(time.Second)
	n.node("c").start()
	n.node("a").crash()
	n.run(time.Second)
	if c := n.node("c").core; c.Leader() != "d" || c.Status().Commit != d.core.Status().Commit {
		n.fatalf("c does not follow d: %+v", c.Status())
	}
	d.crash() // and c forgets again who d is
	c := n.node("c")
	c.crash()
	c.stored = Restored{HardState: c.stored.HardState, Snapshot: c.stored.Snapshot}
	c.stored.HardState = nil
	c.start()
	d.start()
	n.step("d", Seek{})
	if !n.until(3*time.Second, func() bool { return n.holder() == "d" }) {
		n.fatalf("d did not get c's vote")
	}
	n.noOverlap()
}

// TestGuestsAreFew: who is not known is not remembered in any number, and not believed about an
// ID that is another's.
func TestGuestsAreFew(t *testing.T) {
	n := newNetwork(t, Mutations{}, "a", "b", "c")
	n.elect("a")
	a := n.node("a").core
	for i := range 100 {
		vote := &raftpb.Message{Type: raftpb.MsgPreVote.Enum(), From: new(uint64(i + 2)), To: new(uint64(1)), Term: new(uint64(9))}
		n.step("a", Received{From: fmt.Sprintf("x%d", i), Message: a.seal(vote)})
	}
	if len(a.peers) != 2+maxGuests {
		t.Errorf("%d peers", len(a.peers))
	}
	if got := a.Status().Stats.Dropped[DropUnknown]; got != 2 { // the IDs of b and c
		t.Errorf("%d dropped", got)
	}
	n.run(time.Second)
	if n.holder() != "a" {
		t.Errorf("a lost the right")
	}
}
