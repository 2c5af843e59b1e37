// SPDX-License-Identifier: Apache-2.0

package election

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// plan is for changes that a test starts from.
func plan(t testing.TB) func(Change, error) Change {
	return func(c Change, err error) Change {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
}

// walk carries a change out and writes its steps with what each allows: who may acknowledge,
// and for how many acknowledgements MySQL waits at least.
func walk(t *testing.T, c Change, passed ...SyncedNode) string {
	t.Helper()
	var lines []string
	for {
		step := c.Step()
		var may []string
		for _, node := range []string{"db1", "db2", "db3"} {
			if c.View().MayAcknowledge(node) {
				may = append(may, node)
			}
		}
		lines = append(lines, strings.TrimSpace(fmt.Sprintf("%s %s %d | %s %d", step.Stage, strings.Join(step.Nodes, ","), step.Acks, strings.Join(may, ","), c.View().Acks())))
		var err error
		switch step.Stage {
		case StageDone:
			return strings.Join(lines, "\n")
		case StageCommit:
			proposal, perr := c.Proposal()
			if perr != nil {
				t.Fatal(perr)
			}
			if _, err := c.Done(); err == nil {
				t.Error("a commit was taken for done")
			}
			same, serr := c.Settle(c.base)
			if serr != nil || same.Step().Stage != StageCommit {
				t.Errorf("while nothing is known: %v at %s", serr, same.Step().Stage)
			}
			c, err = c.Settle(proposal)
		case StageBarrier:
			if _, err := c.Proposal(); err == nil {
				t.Error("there is a proposal before the barrier")
			}
			if same, err := c.Done(); err == nil || same.Step().Stage != StageBarrier {
				t.Error("nobody passed the barrier, and it was done")
			}
			if _, err := c.Done(passed...); err == nil {
				t.Error("a barrier that has not begun was passed")
			}
			if c, err = c.Begin(passed...); err != nil {
				t.Fatal(err)
			}
			later := slices.Clone(passed)
			later[0].Start += "'"
			if _, err := c.Done(later...); err == nil {
				t.Error("a process that started after the barrier had begun has passed it")
			}
			c, err = c.Done(passed...)
		default:
			if _, err := c.Proposal(); err == nil {
				t.Errorf("there is a proposal at %s", step.Stage)
			}
			c, err = c.Done()
		}
		if err != nil {
			t.Fatalf("%s: %v", step.Stage, err)
		}
	}
}

func TestChangeOrder(t *testing.T) {
	one, two := synced(t, "db2@b", 1), synced(t, "db2@b db3@c", 1)
	both := must(t)(two.Raise(2, two.Synced...))
	barren := must(t)(newRecord(t).BeginTerm(1, "db1", Move{}))
	alone := must(t)(two.GoAlone())
	for _, tt := range []struct {
		name   string
		change Change
		passed string
		want   []string
	}{
		{"grow", plan(t)(one.PlanGrow("db3", "c")), "", []string{
			"commit  0 | db2 1", "admit db3 0 | db2,db3 1", "done  0 | db2,db3 1",
		}},
		{"shrink", plan(t)(two.PlanShrink("db3")), "db2@b", []string{
			"cut db3 0 | db2 1", "barrier db2 1 | db2 1", "commit  0 | db2 1", "done  0 | db2 1",
		}},
		{"raise", plan(t)(two.PlanRaise(2)), "db2@b db3@c", []string{
			"require  2 | db2,db3 2", "barrier db2,db3 2 | db2,db3 2", "commit  0 | db2,db3 2", "done  0 | db2,db3 2",
		}},
		{"raise from ∅", plan(t)(barren.PlanRaise(1, "db3", "db2")), "db3@c", []string{
			"cut db2,db3 0 |  1", "require  1 |  1", "barrier db2,db3 1 |  1", "commit  0 |  1", "admit db3 0 | db3 1", "done  0 | db3 1",
		}},
		{"raise from alone", plan(t)(alone.PlanRaise(1, "db2")), "db2@b", []string{
			"cut db2,db3 0 |  1", "require  1 |  1", "barrier db2 1 |  1", "commit  0 |  1", "admit db2 0 | db2 1", "done  0 | db2 1",
		}},
		{"lower", plan(t)(both.PlanLower(1)), "", []string{
			"commit  0 | db2,db3 2", "relax  1 | db2,db3 1", "done  0 | db2,db3 1",
		}},
		{"go alone", plan(t)(two.PlanAlone()), "", []string{
			"commit  0 |  1", "cut db2,db3 0 |  0", "relax  0 |  0", "done  0 |  0",
		}},
		{"pass", plan(t)(two.PlanPass("db3")), "db3@c2", []string{
			"barrier db3 1 | db2,db3 1", "commit  0 | db2,db3 1", "done  0 | db2,db3 1",
		}},
		{"another's term", plan(t)(two.PlanTerm(2, "db2", Move{Kind: MoveFailover})), "", []string{
			"drain  0 |  1", "commit  0 |  1", "cut db1,db3 0 |  1", "require  1 |  1", "open  0 |  1", "done  0 |  1",
		}},
		{"the same primary's term", plan(t)(one.PlanTerm(2, "db1", Move{})), "", []string{
			"commit  0 | db2 1", "cut db3 0 | db2 1", "require  1 | db2 1", "open  0 | db2 1", "done  0 | db2 1",
		}},
		{"the same primary's, alone", plan(t)(alone.PlanTerm(2, "db1", Move{})), "", []string{
			"commit  0 |  0", "cut db2,db3 0 |  0", "require  0 |  0", "open  0 |  0", "done  0 |  0",
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := walk(t, tt.change, marks(tt.passed)...); got != strings.Join(tt.want, "\n") {
				t.Errorf("got\n%s\nwant\n%s", got, strings.Join(tt.want, "\n"))
			}
		})
	}
}

func TestChangeRefuses(t *testing.T) {
	two := synced(t, "db2@b db3@c", 1)
	_, err := two.PlanShrink("db9")
	wantRefusal(t, err, RefusedNotSynced)
	_, err = synced(t, "db2@b", 1).PlanShrink("db2")
	wantRefusal(t, err, RefusedLast)
	_, err = two.PlanRaise(3)
	wantRefusal(t, err, RefusedAcks)
	_, err = two.PlanPass("db1")
	wantRefusal(t, err, RefusedNotSynced)

	cut := plan(t)(two.PlanShrink("db3"))
	_, err = cut.Done(marks("db2@b")...)
	wantRefusal(t, err, RefusedStage)
	_, err = cut.Settle(two)
	wantRefusal(t, err, RefusedStage)
	_, err = cut.Begin(marks("db2@b")...)
	wantRefusal(t, err, RefusedStage)
	barrier := plan(t)(cut.Done())
	_, err = barrier.Begin(marks("db3@c")...)
	wantRefusal(t, err, RefusedBarrier)
	barrier = plan(t)(barrier.Begin(marks("db2@b")...))
	commit := plan(t)(barrier.Done(marks("db2@b")...))
	_, err = commit.Settle(must(t)(two.Pause(Pause{By: "op"})))
	wantRefusal(t, err, RefusedSuperseded)
}

func TestCommitRefuses(t *testing.T) {
	r := synced(t, "db2@b db3@c", 1)
	proposal := must(t)(r.Shrink("db3", marks("db2@b")...))
	moved := must(t)(r.BeginTerm(2, "db2", Move{Kind: MoveFailover}))
	// A deposed primary's proposal comes out of the log late.
	got, err := moved.Commit(proposal)
	wantRefusal(t, err, RefusedStale)
	if !sameRecord(got, moved) {
		t.Error("refused, and the record has changed")
	}
	for name, spoil := range map[string]func(*ClusterRecord){
		"an earlier term":           func(n *ClusterRecord) { n.Term = 0 },
		"two primaries of one term": func(n *ClusterRecord) { n.Primary = "db3" },
		"a skipped revision":        func(n *ClusterRecord) { n.Revision++ },
		"an id given again":         func(n *ClusterRecord) { n.LastID = 3 },
	} {
		bad := proposal
		spoil(&bad)
		if _, err := r.Commit(bad); err == nil {
			t.Errorf("%s was committed", name)
		}
	}
	damaged := proposal
	damaged.Acks = 7
	_, err = r.Commit(damaged)
	wantRefusal(t, err, RefusedDamaged)
}

func TestViewInDoubt(t *testing.T) {
	two := synced(t, "db2@b db3@c", 1)
	one := must(t)(two.Shrink("db3", marks("db2@b")...))
	both := must(t)(two.Raise(2, two.Synced...))
	alone := must(t)(two.GoAlone())
	moved := must(t)(two.BeginTerm(2, "db2", Move{Kind: MoveFailover}))
	paused := must(t)(two.Pause(Pause{By: "op"}))
	added := must(t)(two.AddMember("db4", false))

	for _, pair := range [][2]ClusterRecord{{two, one}, {one, two}} {
		if v := InDoubt(pair[0], pair[1]); v.MayAcknowledge("db3") || !v.MayAcknowledge("db2") {
			t.Error("who may acknowledge is who is in both")
		}
	}
	for _, pair := range [][2]ClusterRecord{{two, both}, {both, two}} {
		if got := InDoubt(pair[0], pair[1]).Acks(); got != 2 {
			t.Errorf("between k = 1 and 2, MySQL waits for %d", got)
		}
	}
	if v := InDoubt(two, alone); v.MayCommitAlone() || v.Acks() != 1 || v.MayAcknowledge("db2") {
		t.Error("it may have gone alone, or not: nothing of either is allowed")
	}
	if v := InDoubt(alone, must(t)(alone.Raise(1, marks("db2@b")...))); v.MayCommitAlone() || v.Acks() != 1 {
		t.Error("it may have come back from alone: commits wait")
	}
	v := InDoubt(two, moved)
	if v.MayOpen("db1", 1) || v.MayOpen("db2", 2) || v.MayChange() || len(v.Records()) != 2 {
		t.Error("between two terms nobody opens, and nothing is changed")
	}
	if s := Settled(moved); !s.MayOpen("db2", 2) || s.MayOpen("db2", 1) || s.MayOpen("db1", 2) || !s.MayChange() || len(s.Records()) != 1 {
		t.Error("a settled term is its primary's")
	}
	if !InDoubt(two, paused).Paused() || !InDoubt(paused, two).Paused() || Settled(two).Paused() {
		t.Error("in doubt it is paused")
	}
	if InDoubt(two, added).IsMember("db4") || InDoubt(added, two).IsMember("db4") || !Settled(added).IsMember("db4") {
		t.Error("in doubt one is no member")
	}
}

func TestViewMayConnect(t *testing.T) {
	two := synced(t, "db2@b db3@c", 1)
	one := must(t)(two.Shrink("db3", marks("db2@b")...))
	word := func(r ClusterRecord) Word { return Word{Given: true, Term: r.Term, Revision: r.Revision} }
	later := must(t)(one.Pause(Pause{By: "op"}))
	for _, tt := range []struct {
		name string
		view View
		node string
		word Word
		want bool
	}{
		{"a member of S", Settled(two), "db3", Word{}, true},
		{"out of S without a word", Settled(one), "db3", Word{}, false},
		{"out of S with its word", Settled(one), "db3", word(one), true},
		{"a word given before it left", Settled(one), "db3", word(two), false},
		{"a word given before something else changed", Settled(later), "db3", word(one), true},
		{"a word for another term", Settled(one), "db3", Word{Given: true, Term: 9, Revision: one.Revision}, false},
		// It would read the committed record and start to acknowledge.
		{"on its way out of S with its word", InDoubt(two, one), "db3", word(two), false},
		{"on its way into S without a word", InDoubt(one, must(t)(one.Grow("db3", "c"))), "db3", Word{}, false},
		{"on its way into S with its word", InDoubt(one, must(t)(one.Grow("db3", "c"))), "db3", word(one), true},
	} {
		if got := tt.view.MayConnect(tt.node, tt.word); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}
