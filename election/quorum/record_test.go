// SPDX-License-Identifier: Apache-2.0

package quorum

import (
	"testing"
	"time"

	"go.etcd.io/raft/v3/raftpb"
)

// TestFollowerRead is H5: raft confirms a follower's ReadIndex as well, by the new leader. It
// reads the record, and is no right.
func TestFollowerRead(t *testing.T) {
	safe(t, Mutations{FollowerLease: true}, func(mut Mutations) string {
		n := newNetwork(t, mut, "a", "b", "c")
		n.elect("a")
		n.isolate("a")
		n.step("b", Seek{})
		n.run(2 * time.Second)
		n.step("b", Propose{Version: 1, Data: []byte("b")})
		n.run(time.Second)
		n.heal()
		n.run(time.Second)
		a := n.node("a")
		asked := a.local()
		n.step("a", Read{})
		n.run(10 * tick)
		if e, ok := last[RecordRead](a); !ok || e.AsOf < asked || a.core.RecordAsOf() < asked {
			n.fatalf("a has not read the record: %+v", e)
		}
		if v, _ := a.core.Record(); v != 1 {
			n.fatalf("a read version %d", v)
		}
		return n.twice()
	})
}

// TestRecordNotCurrent: a new leader's record is current only once it was read in its own term.
func TestRecordNotCurrent(t *testing.T) {
	n := newNetwork(t, Mutations{}, "a", "b", "c")
	n.elect("a")
	n.run(time.Second)
	b := n.node("b")
	n.step("a", Propose{Version: 1, Data: []byte("x")})
	n.node("a").crash()
	n.step("b", Seek{})
	if !n.until(time.Second, func() bool { return count[BecameLeader](b) == 1 }) {
		n.fatalf("b does not lead")
	}
	if b.core.RecordCurrent(b.local()) || b.core.Right(b.local()).Reason != ReasonUnconfirmed {
		n.fatalf("b has read nothing yet: %+v", b.core.Right(b.local()))
	}
	n.run(tick)
	if !b.core.RecordCurrent(b.local()) {
		n.fatalf("b has not read the record: %+v", b.core.Status())
	}
	n.isolate("b")
	n.run(time.Second)
	if b.core.RecordCurrent(b.local()) {
		n.fatalf("b cannot know whether its record is current")
	}
}

// TestDoubt is M1: nothing is proposed beside a proposal whose fate is not known, and its fate
// is found out also by a leader no more.
func TestDoubt(t *testing.T) {
	safe(t, Mutations{IgnoreDoubt: true}, func(mut Mutations) string {
		n := newNetwork(t, mut, "a", "b", "c")
		n.elect("a")
		n.run(time.Second)
		a := n.node("a")
		n.isolate("a")
		n.step("a", Propose{Version: 1, Data: []byte("shrink")})
		if v, ok := a.core.Doubt(); !ok || v != 1 {
			n.fatalf("no doubt")
		}
		n.step("a", Propose{Version: 1, Data: []byte("grow")})
		if d, ok := last[Decided](a); !ok || d.Reason != ReasonInDoubt {
			return "a second proposal was made beside the one in doubt"
		}
		n.step("b", Seek{})
		n.run(2 * time.Second)
		if _, ok := a.core.Doubt(); !ok {
			n.fatalf("a cannot know the fate of its proposal, and claims to")
		}
		n.step("b", Propose{Version: 1, Data: []byte("b's")})
		n.run(time.Second)
		n.heal()
		n.run(time.Second)
		if d, _ := last[Decided](a); d.Outcome != OutcomeSuperseded || d.Version != 1 {
			n.fatalf("the fate of a's proposal: %+v", d)
		}
		if _, data := a.core.Record(); string(data) != "b's" {
			n.fatalf("the record is %q", data)
		}
		return ""
	})
}

// TestDoubtThatComesTrue: the same, and the next leader commits it.
func TestDoubtThatComesTrue(t *testing.T) {
	n := newNetwork(t, Mutations{}, "a", "b", "c")
	n.elect("a")
	n.run(time.Second)
	a := n.node("a")
	n.held = func(_, to string, m *raftpb.Message) bool { return to == "a" && m.GetType() == raftpb.MsgAppResp }
	n.step("a", Propose{Version: 1, Data: []byte("shrink")})
	n.run(10 * time.Millisecond)
	n.isolate("a")
	n.step("b", Seek{})
	n.run(2 * time.Second)
	if v, _ := n.node("b").core.Record(); v != 1 || n.holder() != "b" {
		n.fatalf("b should have committed a's proposal")
	}
	if _, ok := a.core.Doubt(); !ok {
		n.fatalf("a cannot know")
	}
	n.kept, n.held = nil, nil
	n.heal()
	n.run(time.Second)
	if d, _ := last[Decided](a); d.Outcome != OutcomeApplied {
		n.fatalf("the fate of a's proposal: %+v", d)
	}
	if _, ok := a.core.Doubt(); ok {
		n.fatalf("a still doubts")
	}
}

// TestPropose: what is refused says why.
func TestPropose(t *testing.T) {
	n := newNetwork(t, Mutations{}, "a", "b", "c")
	decided := func(name string, in Propose) Decided {
		n.step(name, in)
		n.run(2 * tick)
		d, _ := last[Decided](n.node(name))
		return d
	}
	if d := decided("a", Propose{Version: 1}); d.Outcome != OutcomeRefused || d.Reason != ReasonNotLeader {
		t.Errorf("no leader yet: %+v", d)
	}
	n.elect("a")
	if d := decided("a", Propose{Version: 1, Data: []byte("one")}); d.Outcome != OutcomeApplied {
		t.Errorf("%+v", d)
	}
	if d := decided("a", Propose{Version: 1, Data: []byte("other")}); d.Outcome != OutcomeSuperseded || d.Reason != ReasonVersion {
		t.Errorf("%+v", d)
	}
	if d := decided("a", Propose{Version: 2, Data: make([]byte, maxRecord+1)}); d.Reason != ReasonTooLarge {
		t.Errorf("%+v", d)
	}
	if d := decided("a", Propose{Version: 2}); d.Outcome != OutcomeApplied { // an empty one is one, too
		t.Errorf("%+v", d)
	}
	n.step("a", HandOver{To: "b"})
	if d := decided("a", Propose{Version: 3}); d.Outcome != OutcomeRefused {
		t.Errorf("%+v", d)
	}
	for _, nd := range n.nodes {
		if v, data := nd.core.Record(); v != 2 || len(data) != 0 {
			t.Errorf("%s: version %d %q", nd.cfg.Node, v, data)
		}
	}
}
