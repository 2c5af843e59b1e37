// SPDX-License-Identifier: Apache-2.0

package quorum

import (
	"testing"
	"time"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"highwater/election"
)

// Each attack is run twice: with all rules on nothing must happen, and with its rule switched
// off it must succeed, or the test proves nothing.

// safe runs an attack with all rules on, and again with one off. The attack returns what it
// has won: "" for nothing.
func safe(t *testing.T, off Mutations, attack func(Mutations) string) {
	t.Helper()
	if won := attack(Mutations{}); won != "" {
		t.Errorf("all rules on: %s", won)
	}
	if won := attack(off); won == "" {
		t.Errorf("%+v: the attack comes to nothing: the test is blind", off)
	}
}

// twice tells of the right that was held twice.
func (n *network) twice() string {
	if len(n.overlaps) > 0 {
		return "the right was held twice: " + n.overlaps[0]
	}
	return ""
}

// TestForgedPriorityZero is C1, steps 1 to 3: two followers are startled while all is well.
func TestForgedPriorityZero(t *testing.T) {
	safe(t, Mutations{NoPromise: true}, func(mut Mutations) string {
		n := newNetwork(t, mut, "a", "b", "c")
		n.elect("a")
		n.run(time.Second)
		for range 100 { // a switch that filters multicast repeats it for ever
			n.step("b", Seek{})
			n.run(2 * time.Millisecond)
			n.step("c", Seek{})
			n.run(tick * 7 / 5)
			n.step("b", Rest{})
			n.step("c", Rest{})
		}
		if count[LostLead](n.node("a")) > 0 {
			return "a was deposed"
		}
		if n.holder() != "a" {
			return "a has not the right"
		}
		return n.twice()
	})
}

// TestVotesAreDroppedWhilePromised: and counted.
func TestVotesAreDroppedWhilePromised(t *testing.T) {
	n := newNetwork(t, Mutations{}, "a", "b", "c")
	n.elect("a")
	n.sever("a", "b", true)
	n.step("b", Seek{})
	n.run(time.Second)
	if got := n.node("c").core.Status().Stats.Dropped[DropPromised]; got == 0 {
		n.fatalf("c dropped no vote of b")
	}
	if n.holder() != "a" {
		n.fatalf("a lost the right")
	}
	n.noOverlap()
}

// TestRestartedVoter is H6: the voter that confirmed the lease restarts, and remembers nothing.
func TestRestartedVoter(t *testing.T) {
	safe(t, Mutations{NoStartPromise: true}, func(mut Mutations) string {
		for shift := range 30 {
			n := newNetwork(t, mut, "a", "b", "c")
			n.elect("a")
			n.sever("a", "c", true)
			n.step("c", Seek{})
			n.run(time.Second + time.Duration(shift)*time.Millisecond)
			n.node("b").crash()
			n.node("b").start()
			n.run(time.Second)
			if won := n.twice(); won != "" {
				return won
			}
		}
		return ""
	})
}

// TestLateAnswer: a confirmation is dated when it was asked for, not when it came.
func TestLateAnswer(t *testing.T) {
	safe(t, Mutations{LeaseFromAnswer: true}, func(mut Mutations) string {
		n := newNetwork(t, mut, "a", "b", "c")
		n.elect("a")
		n.run(time.Second)
		n.held = func(_, to string, m *raftpb.Message) bool {
			return to == "a" && m.GetType() == raftpb.MsgHeartbeatResp
		}
		n.run(tick + tick/2)
		for _, nd := range n.nodes[1:] {
			n.sever("a", nd.cfg.Node, false)
		}
		n.step("b", Seek{})
		n.run(200 * time.Millisecond)
		n.release()
		n.isolate("a")
		n.run(time.Second)
		if n.holder() != "b" {
			n.fatalf("b should have the right by now")
		}
		return n.twice()
	})
}

// TestLeaseArithmetic is M4: the holder's clock is as slow, and its voters' as fast, as may be.
func TestLeaseArithmetic(t *testing.T) {
	cfg := config("a", members("a", "b", "c"))
	if got := cfg.Lease().Round(time.Millisecond); cfg.Promise() != 270*time.Millisecond || got != 221*time.Millisecond {
		t.Errorf("promise %v, lease %v", cfg.Promise(), got)
	}
	cfg.RightLease = 221 * time.Millisecond
	if err := cfg.Validate(); err == nil {
		t.Errorf("a lease of %v passes", cfg.RightLease)
	}
	cfg.RightLease = 220 * time.Millisecond
	if err := cfg.Validate(); err != nil {
		t.Error(err)
	}
	safe(t, Mutations{AnyLease: true}, func(mut Mutations) string {
		n := newNetwork(t, mut, "a", "b", "c")
		for _, nd := range n.nodes {
			nd.crash()
			nd.rate = 1100
			if mut.AnyLease {
				nd.cfg.RightLease = 270 * time.Millisecond
			}
		}
		n.node("a").rate = 900
		for _, nd := range n.nodes {
			nd.start()
		}
		n.elect("a")
		n.run(time.Second)
		n.isolate("a")
		n.step("b", Seek{})
		n.run(2 * time.Second)
		if n.holder() != "b" {
			n.fatalf("b should have the right by now")
		}
		return n.twice()
	})
}

// TestNothingUnstored: no vote and no acknowledgement leaves a node before the storage has answered.
func TestNothingUnstored(t *testing.T) {
	safe(t, Mutations{SendUnstored: true}, func(mut Mutations) string {
		n := newNetwork(t, mut, "a", "b", "c")
		n.run(n.nodes[0].cfg.Promise()) // every promise of the start is over
		b := n.node("b")
		b.core.Step(b.local(), Tick{})
		vote := &raftpb.Message{
			Type: raftpb.MsgVote.Enum(), From: new(uint64(1)), To: new(uint64(2)),
			Term: new(uint64(7)), Index: new(uint64(1)), LogTerm: new(uint64(1)),
		}
		out := b.core.Step(b.local(), Received{From: "a", Message: b.core.seal(vote)})
		if len(out.Messages) != 0 {
			return "a vote was sent before it was stored"
		}
		if len(out.Stores) != 1 || !out.Stores[0].Sync {
			n.fatalf("a vote is not stored: %+v", out)
		}
		out = b.core.Step(b.local(), Stored{Token: out.Stores[0].Token})
		if len(out.Messages) != 1 || !out.Messages[0].Urgent || out.Messages[0].To != "a" {
			n.fatalf("the vote was not sent: %+v", out)
		}
		return ""
	})
}

// TestOtherTiming: nodes are restarted one by one with a promise a quarter as long. The leader that
// is left has its lease from the longer ones, and it ends before another begins.
func TestOtherTiming(t *testing.T) {
	for shift := range 10 {
		n := newNetwork(t, Mutations{}, "a", "b", "c")
		n.elect("a")
		n.run(time.Second + time.Duration(shift)*3*time.Millisecond)
		old := n.nodes[0].cfg.Promise()
		for _, name := range []string{"b", "c", "a"} {
			nd := n.node(name)
			nd.crash()
			nd.cfg.ElectionTicks = 3
			nd.start()
			if name == "c" {
				n.step("b", Seek{})
				if !n.until(2*old, func() bool { return n.holder() == "b" }) {
					n.fatalf("b did not take over")
				}
				n.run(time.Second)
				if n.node("a").core.Status().Stats.Dropped[DropTiming] == 0 {
					n.fatalf("a listens to those whose promises are too short")
				}
			}
		}
		n.run(time.Second)
		for _, nd := range n.nodes {
			if nd.core.Leader() != "b" || nd.core.state.Promise != 2*tick {
				n.fatalf("%s follows %q and remembers a promise of %v", nd.cfg.Node, nd.core.Leader(), nd.core.state.Promise)
			}
		}
		n.noOverlap()
	}
}

// TestTermOutlivesItsEntries: a term that was learned from a heartbeat need not be durable; an
// entry of it, once acknowledged, must not be found in the storage without it. (Else this node
// would follow an older leader after a restart, who overwrites what was acknowledged.)
func TestTermOutlivesItsEntries(t *testing.T) {
	n := newNetwork(t, Mutations{}, "a", "b", "c")
	n.run(tick)
	b := n.node("b")
	from := func(m *raftpb.Message) Output {
		m.From, m.To, m.Term = new(uint64(1)), new(uint64(2)), new(uint64(7))
		return b.core.Step(b.local(), Received{From: "a", Message: b.core.seal(m)})
	}
	out := from(&raftpb.Message{Type: raftpb.MsgHeartbeat.Enum()})
	if len(out.Stores) != 1 || out.Stores[0].Sync {
		n.fatalf("the heartbeat: %+v", out)
	}
	out = from(&raftpb.Message{
		Type: raftpb.MsgApp.Enum(), Index: new(uint64(1)), LogTerm: new(uint64(1)),
		Entries: []*raftpb.Entry{{Index: new(uint64(2)), Term: new(uint64(7))}},
	})
	hs := new(raftpb.HardState)
	if len(out.Stores) != 1 || !out.Stores[0].Sync || proto.Unmarshal(out.Stores[0].HardState, hs) != nil || hs.GetTerm() != 7 {
		n.fatalf("the entry is stored without its term: %+v", out.Stores)
	}
	out = from(&raftpb.Message{
		Type: raftpb.MsgApp.Enum(), Index: new(uint64(2)), LogTerm: new(uint64(7)),
		Entries: []*raftpb.Entry{{Index: new(uint64(3)), Term: new(uint64(7))}},
	})
	if len(out.Stores) != 1 || out.Stores[0].HardState != nil {
		n.fatalf("the term is stored twice: %+v", out.Stores)
	}
}

// TestClockIsMonotonic: an instant before the last one is taken for it.
func TestClockIsMonotonic(t *testing.T) {
	n := newNetwork(t, Mutations{}, "a")
	n.elect("a")
	a := n.node("a")
	until := a.core.Right(a.local()).Until
	a.core.Step(election.Instant(1), Tick{})
	if got := a.core.Right(a.local()).Until; got < until {
		t.Errorf("the right ended at %v, now at %v", until, got)
	}
}
