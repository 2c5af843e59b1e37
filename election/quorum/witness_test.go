// SPDX-License-Identifier: Apache-2.0

package quorum

import (
	"testing"
	"time"
)

// TestWitnessGrants is C1, step 4: the witness has not heard the leader for long, and one
// startled node is enough to depose it, within the lease that this node has itself confirmed.
func TestWitnessGrants(t *testing.T) {
	safe(t, Mutations{NoPromise: true}, func(mut Mutations) string {
		n := newNetwork(t, mut, "a", "b", "w")
		n.elect("a")
		n.sever("a", "w", true)
		n.run(time.Second)
		if n.holder() != "a" {
			n.fatalf("a should hold the right by b's confirmation")
		}
		n.step("b", Seek{})
		n.sever("a", "b", true) // a cannot be told
		n.run(time.Second)
		if n.holder() != "b" {
			n.fatalf("b should have the right by now")
		}
		return n.twice()
	})
}

// TestWitnessKeepsBack is M9: with nobody who wants the right for a while, a witness does not
// take the lead from those who may want it later.
func TestWitnessKeepsBack(t *testing.T) {
	safe(t, Mutations{WitnessStands: true}, func(mut Mutations) string {
		n := newNetwork(t, mut, "a", "b", "w")
		n.elect("a")
		n.run(time.Second)
		n.node("a").crash()
		promise := n.nodes[0].cfg.Promise()
		n.run(promise + promise/2)
		n.step("b", Seek{})
		asked := n.now
		n.until(5*time.Second, func() bool { return n.holder() == "b" })
		if count[BecameLeader](n.node("w")) > 0 {
			return "the witness leads"
		}
		if n.holder() != "b" || n.now-asked > tick {
			n.fatalf("b got the right after %v", n.now-asked)
		}
		n.noOverlap()
		return ""
	})
}

// TestWitnessAlone: where no data voter is heard a majority of witnesses leads, for the record's sake.
func TestWitnessAlone(t *testing.T) {
	n := newNetwork(t, Mutations{}, "a", "w1", "w2")
	n.elect("a")
	n.step("a", Propose{Version: 1, Data: []byte("x")})
	n.run(time.Second)
	n.node("a").crash()
	n.run(witnessPatience * n.nodes[0].cfg.Promise())
	if l := n.node("w1").core.Leader(); l != "" {
		n.fatalf("%s leads already", l)
	}
	n.run(time.Second)
	w := n.node("w1")
	if w.core.Leader() != "w1" || !w.core.RecordCurrent(w.local()) || !w.core.Status().WantsToPassOn {
		n.fatalf("%+v", w.core.Status())
	}
	n.node("a").start()
	n.step("a", Seek{})
	n.run(time.Second)
	n.step("w1", HandOver{To: "a"})
	n.run(10 * tick)
	if n.holder() != "a" {
		n.fatalf("a has not the right")
	}
	n.noOverlap()
}

// TestWitnessAhead: the only node left with the newest entry is the witness. It leads for as long
// as it takes to pass that on.
func TestWitnessAhead(t *testing.T) {
	n := newNetwork(t, Mutations{}, "a", "b", "w")
	n.elect("a")
	n.run(time.Second)
	n.sever("a", "b", true)
	n.step("a", Propose{Version: 1, Data: []byte("x")})
	n.run(time.Second)
	n.node("a").crash()
	n.step("b", Seek{})
	died := n.now
	w := n.node("w")
	if !n.until(2*time.Second, func() bool { return n.holder() == "w" && w.core.Status().WantsToPassOn }) {
		n.fatalf("the witness does not lead")
	}
	n.run(tick)
	n.step("w", HandOver{To: "b"})
	if !n.until(time.Second, func() bool { return n.holder() == "b" }) {
		n.fatalf("b did not take over")
	}
	t.Logf("%v after the death", n.now-died)
	if v, _ := n.node("b").core.Record(); v != 1 || n.now-died > n.nodes[0].cfg.Promise()+6*tick {
		n.fatalf("b has version %d after %v", v, n.now-died)
	}
	n.noOverlap()
}
