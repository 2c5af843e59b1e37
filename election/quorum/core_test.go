// SPDX-License-Identifier: Apache-2.0

package quorum

import (
	"fmt"
	"testing"
	"time"
)

// TestElection: clusters of every size elect who wants the right, and only one.
func TestElection(t *testing.T) {
	for _, names := range [][]string{
		{"a"},
		{"a", "b"},
		{"a", "b", "c"},
		{"a", "b", "w"},
		{"a", "b", "c", "d", "e"},
	} {
		t.Run(fmt.Sprint(names), func(t *testing.T) {
			n := newNetwork(t, Mutations{}, names...)
			for _, nd := range n.nodes {
				nd.step(Seek{})
			}
			promise := n.nodes[0].cfg.Promise()
			if !n.until(promise+3*tick, func() bool { return n.holder() != "" }) {
				n.fatalf("nobody has the right after a promise and three ticks")
			}
			if n.holder() != "a" {
				n.fatalf("%s has the right, and a ranks first", n.holder())
			}
			held, until := 0, n.now+5*time.Second
			for n.now < until {
				n.run(tick / 3)
				if n.holder() == "a" {
					held++
				}
			}
			if held < 500 {
				n.fatalf("a healthy leader had the right in %d of 500 looks", held)
			}
			for _, nd := range n.nodes {
				if got := nd.core.Leader(); got != "a" {
					n.fatalf("%s thinks that %q leads", nd.cfg.Node, got)
				}
			}
			n.noOverlap()
		})
	}
}

// TestFailover: the next one has the right within a promise, a round and a little.
func TestFailover(t *testing.T) {
	for _, names := range [][]string{{"a", "b", "c"}, {"a", "b", "w"}, {"a", "b", "c", "d", "e"}} {
		t.Run(fmt.Sprint(names), func(t *testing.T) {
			n := newNetwork(t, Mutations{}, names...)
			n.elect("a")
			n.run(time.Second)
			n.node("a").crash()
			died := n.now
			for _, nd := range n.nodes[1:] {
				nd.step(Seek{})
			}
			if !n.until(10*time.Second, func() bool { return n.holder() != "" }) {
				n.fatalf("nobody took over")
			}
			took := n.now - died
			t.Logf("%v after the death", took)
			if took > n.nodes[0].cfg.Promise()+3*tick {
				n.fatalf("took %v", took)
			}
			n.noOverlap()
			// Its last word as leader was a tick before it died at most, and is not dated by what came after.
			for _, nd := range n.nodes[1:] {
				name, heard := nd.core.Former()
				if at := nd.real(heard); name != "a" || at < died-tick || at > died+10*n.delay {
					n.fatalf("%s: before it led %q, heard %v after the death", nd.cfg.Node, name, at-died)
				}
			}
		})
	}
}

// TestQuietCluster: at rest a follower gets one heartbeat per tick and answers it, the leader
// asks no more than that, and nobody else is woken.
func TestQuietCluster(t *testing.T) {
	n := newNetwork(t, Mutations{}, "a", "b", "c")
	n.elect("a")
	n.run(time.Second)
	for _, nd := range n.nodes {
		clear(nd.sent)
		nd.steps = 0
	}
	const ticks = 100
	n.run(ticks * tick)
	total := 0
	for _, nd := range n.nodes {
		for _, sent := range nd.sent {
			total += sent
		}
	}
	// Two followers, a question and an answer.
	if most := ticks * 2 * 2 * 102 / 100; total > most {
		n.fatalf("%d messages in %d ticks, more than %d", total, ticks, most)
	}
	if steps := n.node("b").steps; steps > ticks*102/100 {
		n.fatalf("a follower was stepped %d times in %d ticks", steps, ticks)
	}
	t.Logf("%d messages in %d ticks; steps: leader %d, follower %d", total, ticks, n.node("a").steps, n.node("b").steps)
}

// TestLeaderWithoutQuorum: who is cut off loses the right by itself, and does not disturb when
// it comes back.
func TestLeaderWithoutQuorum(t *testing.T) {
	n := newNetwork(t, Mutations{}, "a", "b", "c")
	n.elect("a")
	n.run(time.Second)
	n.isolate("a")
	cut := n.now
	n.step("b", Seek{})
	n.run(n.nodes[0].cfg.Lease())
	if n.holder() != "" {
		n.fatalf("a still has the right after %v", n.now-cut)
	}
	if !n.until(time.Second, func() bool { return n.holder() == "b" }) {
		n.fatalf("b did not take over")
	}
	n.run(10 * time.Second)
	term := n.node("b").core.Status().Term
	n.heal()
	n.run(5 * time.Second)
	if s := n.node("b").core.Status(); n.holder() != "b" || s.Term != term {
		n.fatalf("the return of a has cost b the right (term %d, then %d)", term, s.Term)
	}
	n.noOverlap()
}

// TestNobodyWantsIt: without anybody who wants the right somebody leads all the same, after a
// while, so that the record can be read, and says that it would pass the right on.
func TestNobodyWantsIt(t *testing.T) {
	n := newNetwork(t, Mutations{}, "w1", "a", "b")
	promise := n.nodes[0].cfg.Promise()
	n.run((1 + patience) * promise)
	for _, nd := range n.nodes {
		if nd.core.Leader() != "" {
			n.fatalf("%s leads and does not want to", nd.core.Leader())
		}
	}
	n.run(4 * tick)
	a := n.node("a")
	if !a.core.Status().WantsToPassOn || !a.core.RecordCurrent(a.local()) {
		n.fatalf("a: %+v", a.core.Status())
	}
	n.step("b", Seek{})
	n.run(2 * time.Second)
	if n.holder() != "a" {
		n.fatalf("the right moved by itself")
	}
	n.step("a", HandOver{To: "b"})
	if !n.until(10*tick, func() bool { return n.holder() == "b" }) {
		n.fatalf("b did not take over")
	}
	n.noOverlap()
}

// TestTwoCandidatesAtOnce: candidates that split the votes do so once or twice, not for ever.
func TestTwoCandidatesAtOnce(t *testing.T) {
	for seed := range 50 {
		n := newNetwork(t, Mutations{}, "a", "b", "c", "d")
		n.delay = time.Duration(1+seed) * 200 * time.Microsecond
		n.run(patience * n.nodes[0].cfg.Promise()) // the promise is over, nobody stands yet
		for _, nd := range n.nodes {
			nd.step(Seek{})
		}
		if !n.until(3*time.Second, func() bool { return n.holder() != "" }) {
			n.fatalf("delay %v: nobody won", n.delay)
		}
		n.noOverlap()
	}
}

// TestRestart: from what was stored, and only that, a cluster continues.
func TestRestart(t *testing.T) {
	n := newNetwork(t, Mutations{}, "a", "b", "c")
	n.elect("a")
	for v := uint64(1); v <= 20; v++ {
		n.step("a", Propose{Version: v, Data: []byte{byte(v)}})
		n.run(2 * tick)
	}
	term := n.node("a").core.Status().Term
	for _, nd := range n.nodes {
		nd.crash()
	}
	n.run(time.Second)
	for _, nd := range n.nodes {
		nd.start()
	}
	n.elect("b")
	b := n.node("b").core
	if v, data := b.Record(); v != 20 || len(data) != 1 || data[0] != 20 || !b.RecordCurrent(n.node("b").local()) {
		n.fatalf("record %d %x after a restart of all", v, data)
	}
	if b.Status().Term <= term {
		n.fatalf("term %d after %d", b.Status().Term, term)
	}
	n.noOverlap()
}

// TestSupervisorRestart is H2: the leader's process is back at once, and nobody else wants the
// right: it leads again after its own promise, and no other has led meanwhile.
func TestSupervisorRestart(t *testing.T) {
	n := newNetwork(t, Mutations{}, "a", "b", "c")
	n.elect("a")
	n.run(time.Second)
	a := n.node("a")
	a.crash()
	n.run(200 * time.Millisecond)
	a.start()
	back := n.now
	n.step("a", Seek{})
	if !n.until(time.Second, func() bool { return n.holder() == "a" }) {
		n.fatalf("a has not regained the right")
	}
	if took := n.now - back; took < a.cfg.Promise() || took > a.cfg.Promise()+3*tick {
		n.fatalf("a regained the right after %v, its promise is %v", took, a.cfg.Promise())
	}
	if count[BecameLeader](n.node("b"))+count[BecameLeader](n.node("c")) != 0 {
		n.fatalf("another node led meanwhile")
	}
	n.noOverlap()
}

// TestStalledLeader: a leader that was frozen does not make up for lost ticks, at whose end
// raft would find that nobody had answered it.
func TestStalledLeader(t *testing.T) {
	stall := func(mut Mutations) int {
		n := newNetwork(t, mut, "a", "b", "c")
		n.elect("a")
		n.run(time.Second)
		n.node("a").stall(25 * tick)
		n.run(2 * time.Second)
		if n.holder() != "a" {
			n.fatalf("a has not the right")
		}
		return count[LostLead](n.node("a"))
	}
	if lost := stall(Mutations{}); lost != 0 {
		t.Errorf("a stall of 25 ticks, with nobody who wants the right, cost the lead")
	}
	if lost := stall(Mutations{CatchUp: true}); lost == 0 {
		t.Errorf("ticks that are made up for cost nothing: the test is blind")
	}
}

// TestFailedCore: a core whose raft contradicts itself says so once, and then no to everything.
func TestFailedCore(t *testing.T) {
	n := newNetwork(t, Mutations{}, "a")
	n.elect("a")
	a := n.node("a")
	a.core.raft = nil
	out := a.core.Step(a.local(), Tick{})
	if len(out.Events) != 1 || len(out.Messages)+len(out.Stores) != 0 {
		t.Fatalf("%+v", out)
	}
	if _, ok := out.Events[0].(Failed); !ok {
		t.Fatalf("%+v", out)
	}
	if r := a.core.Right(a.local()); r.Held || r.Reason != ReasonFailed || a.core.Deadline() != 0 {
		t.Fatalf("a dead core answers %+v", r)
	}
	if out := a.core.Step(a.local(), Seek{}); len(out.Events) != 0 {
		t.Fatalf("a dead core speaks: %+v", out)
	}
}

// TestHungStorage: a voter whose storage hangs votes for nobody, keeps its promises, and does not
// pile up answers.
func TestHungStorage(t *testing.T) {
	n := newNetwork(t, Mutations{}, "a", "b", "c")
	n.elect("a")
	n.run(time.Second)
	b := n.node("b")
	n.disk = time.Hour
	n.step("a", Propose{Version: 1, Data: []byte("x")}) // and a's own hangs, too
	n.run(time.Second)
	if b.core.Status().Storing == 0 || n.holder() != "a" {
		n.fatalf("%+v", b.core.Status())
	}
	n.node("a").crash()
	n.step("c", Seek{})
	n.run(time.Minute)
	if n.holder() != "" {
		n.fatalf("%s won an election whose votes nobody has stored", n.holder())
	}
	for _, s := range b.core.storing {
		if len(s.then) > maxWaiting+8 {
			n.fatalf("%d answers wait", len(s.then))
		}
	}
	n.noOverlap()
}
