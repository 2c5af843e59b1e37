// SPDX-License-Identifier: Apache-2.0

package quorum

import (
	"testing"
	"time"

	"go.etcd.io/raft/v3/raftpb"
)

// TestStaleTimeoutNow is H4: a hand-over comes to nothing, and long after the order to take over
// arrives.
func TestStaleTimeoutNow(t *testing.T) {
	safe(t, Mutations{KeepRight: true}, func(mut Mutations) string {
		n := newNetwork(t, mut, "a", "b", "c")
		n.elect("a")
		n.run(time.Second)
		n.held = func(_, _ string, m *raftpb.Message) bool { return m.GetType() == raftpb.MsgTimeoutNow }
		term := n.node("a").core.Status().Term
		n.step("a", HandOver{To: "b"})
		if mut == (Mutations{}) {
			if r := n.node("a").core.Right(n.node("a").local()); r.Held || r.Reason != ReasonHandedOver {
				return "a still has the right that it handed over"
			}
		}
		n.run(30 * tick)
		if mut == (Mutations{}) {
			if e, ok := last[HandOverEnded](n.node("a")); !ok || e.Reason != ReasonTimeout {
				n.fatalf("the hand-over did not end: %+v", e)
			}
			for _, held := range n.rights[len(n.rights)-2:] {
				if held != "" && n.node("a").core.Status().Term == term {
					n.fatalf("the right is held again in the term that was handed over")
				}
			}
		}
		if !n.until(2*time.Second, func() bool { return n.holder() == "a" }) {
			n.fatalf("a was not elected anew")
		}
		n.run(time.Second + tick/2)
		n.sever("a", "b", true) // a cannot be told
		n.release()
		n.run(100 * time.Millisecond)
		if won := n.twice(); won != "" {
			return won
		}
		if count[BecameLeader](n.node("b")) > 0 {
			return "b leads"
		}
		return ""
	})
}

// TestHandOverAsksNothing: while a hand-over runs no ReadIndex is asked, and the promises of the
// others are kept up all the same.
func TestHandOverAsksNothing(t *testing.T) {
	n := newNetwork(t, Mutations{}, "a", "b", "c")
	n.elect("a")
	n.run(time.Second)
	asked := false
	n.held = func(_, _ string, m *raftpb.Message) bool {
		asked = asked || m.GetType() == raftpb.MsgHeartbeat && len(m.GetContext()) > 0
		return m.GetType() == raftpb.MsgTimeoutNow
	}
	n.step("a", Rest{})
	n.step("a", HandOver{To: "b"})
	n.run(9 * tick)
	if asked {
		n.fatalf("a asked for its right while it handed over")
	}
	if c := n.node("c"); c.core.Leader() != "a" || c.core.Status().Promised <= c.local() {
		n.fatalf("c has lost the leader: %+v", c.core.Status())
	}
	// It comes to nothing: a steps down, although it does not want the right again, and whoever
	// does gets it.
	n.step("c", Seek{})
	if !n.until(time.Second, func() bool { return n.holder() == "c" }) {
		n.fatalf("c did not get the right that nobody has")
	}
	n.noOverlap()
}

// TestHandOver: the right passes within a few round trips, votes of it need no promise to end.
func TestHandOver(t *testing.T) {
	for _, to := range []string{"b", "c"} {
		n := newNetwork(t, Mutations{}, "a", "b", "c", "w")
		n.elect("a")
		n.run(time.Second)
		n.step("a", HandOver{To: to})
		began := n.now
		if !n.until(time.Second, func() bool { return n.holder() == to }) {
			n.fatalf("%s did not take over", to)
		}
		t.Logf("%v", n.now-began)
		if n.now-began > 4*n.disk+12*n.delay {
			n.fatalf("took %v", n.now-began)
		}
		if count[LostLead](n.node("a")) != 1 {
			n.fatalf("a does not know that it lost the lead")
		}
		n.noOverlap()
	}
}

// TestHandOverRefused: what is refused at once has cost nothing.
func TestHandOverRefused(t *testing.T) {
	n := newNetwork(t, Mutations{}, "a", "b", "w", "d")
	n.elect("a")
	n.run(time.Second)
	n.node("d").crash()
	n.run(n.nodes[0].cfg.Promise())
	for to, want := range map[string]Reason{"a": ReasonSelf, "w": ReasonNoServer, "x": ReasonUnknown, "d": ReasonUnreachable} {
		n.step("a", HandOver{To: to})
		if e, _ := last[HandOverEnded](n.node("a")); e.Reason != want || e.To != to {
			t.Errorf("to %s: %+v, want %s", to, e, want)
		}
	}
	n.step("b", HandOver{To: "a"})
	if e, _ := last[HandOverEnded](n.node("b")); e.Reason != ReasonNotLeader {
		t.Errorf("by a follower: %+v", e)
	}
	n.run(time.Second)
	if n.holder() != "a" {
		n.fatalf("a has lost the right")
	}
}

// TestHandOverAge: since when the right has been unused passes on with it, and is never made out to be longer ago than it was,
// whoever's clock is fast or slow.
func TestHandOverAge(t *testing.T) {
	for _, rates := range [][]time.Duration{{1000, 1000, 1000}, {1100, 900, 1100}, {900, 1100, 900}} {
		n := newNetwork(t, Mutations{}, "a", "b", "c")
		for i, nd := range n.nodes {
			nd.rate = rates[i]
		}
		n.elect("a")
		since, unused := n.now, n.node("a").local()
		if got := n.node("a").core.Right(unused).Unused; got != 0 {
			t.Errorf("elected, and the right unused since %v", got)
		}
		for i, hop := range []string{"b", "c"} {
			n.run(3 * time.Second)
			n.step([]string{"a", "b"}[i], HandOver{To: hop, Unused: unused})
			if !n.until(time.Second, func() bool { return n.holder() == hop }) {
				n.fatalf("%s did not take over", hop)
			}
			nd := n.node(hop)
			unused = nd.core.Right(nd.local()).Unused
			if at := nd.real(unused); at < since || at > since+(n.now-since)*2/5 {
				t.Errorf("clocks %v: %s takes the right to be unused since %v of the last %v", rates, hop, at-since, n.now-since)
			}
		}
		n.noOverlap()
	}
}

// TestHandOverAgeIsOfOneTerm: what a leader said of its right is void if another term came between, and a hand-over that says
// nothing passes nothing on.
func TestHandOverAgeIsOfOneTerm(t *testing.T) {
	n := newNetwork(t, Mutations{}, "a", "b", "c")
	n.elect("a")
	unused := n.node("a").local()
	n.run(time.Second)
	n.held = func(_, to string, m *raftpb.Message) bool { return to == "b" && m.GetType() == raftpb.MsgVoteResp }
	n.step("a", HandOver{To: "b", Unused: unused})
	n.run(tick)
	n.node("a").crash()
	n.kept, n.held = nil, nil // it has heard of the age, and not won the term after
	n.step("b", Seek{})
	if !n.until(5*time.Second, func() bool { return n.holder() == "b" }) {
		n.fatalf("b was not elected")
	}
	b := n.node("b")
	if got := b.core.Right(b.local()).Unused; got != 0 || b.core.legacy.since == 0 {
		n.fatalf("the right is unused since %v, said in another term: %+v", got, b.core.legacy)
	}
	n.step("b", HandOver{To: "c"})
	if !n.until(time.Second, func() bool { return n.holder() == "c" }) {
		n.fatalf("c did not take over")
	}
	c := n.node("c")
	if got := c.core.Right(c.local()).Unused; got != 0 {
		n.fatalf("the right is unused since %v, which nobody has said", got)
	}
}
