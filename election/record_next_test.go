// SPDX-License-Identifier: Apache-2.0

package election

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// wideRecord is a record of db1, the replicas db2 to db6, and a witness.
func wideRecord(t testing.TB) ClusterRecord {
	t.Helper()
	var members []ClusterMember
	for i := range 6 {
		members = append(members, ClusterMember{Name: fmt.Sprintf("db%d", i+1), ID: uint64(i + 1)})
	}
	r, err := NewClusterRecord(append(members, ClusterMember{Name: "w1", ID: 7, Witness: true})...)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// wide is db1 as primary of term 1 with this S and k.
func wide(t testing.TB, s string, k int) ClusterRecord {
	t.Helper()
	r := must(t)(wideRecord(t).BeginTerm(1, "db1", Move{}))
	if s == "" {
		return r
	}
	return must(t)(r.Raise(k, marks(s)...))
}

const testPatience = 3 * time.Second

// facts writes what a primary knows of its replicas: "db2@b:wfn db3:L". w: it has given its word,
// W: but before a node left S; f: it follows; n: it is near; b: barred; l: lost for less than the
// patience; L: for longer.
func facts(r ClusterRecord, text string) []Replica {
	var list []Replica
	for _, f := range strings.Fields(text) {
		who, flags, _ := strings.Cut(f, ":")
		var q Replica
		q.Node, q.Start, _ = strings.Cut(who, "@")
		for _, flag := range flags {
			switch flag {
			case 'w':
				q.Word = Word{Given: true, Term: r.Term, Revision: r.Revision}
			case 'W':
				q.Word = Word{Given: true, Term: r.Term, Revision: r.Left - 1}
			case 'f':
				q.Follows = true
			case 'n':
				q.Near = true
			case 'b':
				q.Barred = true
			case 'l':
				q.Lost = testPatience - 1
			case 'L':
				q.Lost = testPatience
			default:
				panic("no such flag: " + f)
			}
		}
		list = append(list, q)
	}
	return list
}

// inWords writes a change and the S and k that it leads to if all goes well.
func inWords(c Change, ok bool) string {
	if !ok {
		return ""
	}
	text := c.Name()
	if c.Name() == "pass" {
		return text + " " + strings.Join(c.Step().Nodes, ",")
	}
	if len(c.proposal.Synced) > 0 {
		text += fmt.Sprintf(" to %d of %s", c.proposal.Acks, strings.Join(names(c.proposal.Synced), ","))
	}
	return text
}

func TestNextChange(t *testing.T) {
	mysql := DurabilityPolicy{Patience: testPatience}
	goesOn := DurabilityPolicy{Patience: testPatience, GoAlone: true}
	mariaDB := DurabilityPolicy{Patience: testPatience, MaxAcks: 1}
	record := func(s string, k int) ClusterRecord { return wide(t, s, k) }
	alone := must(t)(record("db2@b db3@c", 1).GoAlone())
	regained := must(t)(record("db2@b db3@c db4@d", 2).BeginTerm(2, "db1", Move{}))
	moved := must(t)(record("db2@b db3@c", 1).BeginTerm(2, "db2", Move{Kind: MoveFailover}))
	for _, tt := range []struct {
		name     string
		record   ClusterRecord
		policy   DurabilityPolicy
		replicas string
		silence  time.Duration // nobody has acknowledged for
		want     string
	}{
		{"a loss that was accepted while the primary was silent", must(t)(record("db2@b", 1).AcceptLoss(Acceptance{By: "op"})), mysql, "db2@b:fn db3@c:wfn", 0, "withdraw_loss to 1 of db2"},
		{"no term has begun", wideRecord(t), goesOn, "db2@b:wfn db3:L", time.Hour, ""},

		// S = ∅.
		{"∅: all that gave their word enter", record("", 0), mysql, "db2@b:w db3@c:wfn db4@d", 0, "raise to 1 of db2,db3"},
		{"∅: a word for another term", moved, mysql, "db1@a db3@c", 0, ""},
		{"∅: nobody gave it", record("", 0), mysql, "db2@b:fn db3@c:fn", time.Hour, ""},
		{"∅: its server is not known", record("", 0), mysql, "db2:w", 0, ""},
		{"∅: barred", record("", 0), mysql, "db2@b:wfnb db3@c:wfn", 0, "raise to 1 of db3"},
		{"∅: only barred ones", record("", 0), mysql, "db2@b:wfnb", 0, ""},
		{"∅: lost", record("", 0), mysql, "db2@b:wfnl", 0, ""},
		{"∅: MariaDB begins with two", record("", 0), mariaDB, "db2@b:wfn db3@c:wfn db4@d:wfn", 0, "raise to 1 of db2,db3"},
		{"∅: MariaDB begins with two that follow", record("", 0), mariaDB, "db2@b:w db3@c:w db4@d:wfn db5@e:wfn", 0, "raise to 1 of db4,db5"},
		{"∅: nobody is there, and writes stall", record("", 0), mysql, "db2:L db3:L", time.Hour, ""},
		{"∅: nobody is there, and it goes on", record("", 0), goesOn, "db2:L db3:L", testPatience, "alone"},
		{"∅: somebody may come back", record("", 0), goesOn, "db2:L db3:l", testPatience, ""},
		{"∅: somebody is there without a word", record("", 0), goesOn, "db2:L db3@c", testPatience, ""},
		{"∅: who is there is barred for the patience", record("", 0), goesOn, "db2@b:bL", testPatience, "alone"},

		// Alone.
		{"alone, and nobody is back", alone, goesOn, "db2:L db3:L", time.Hour, ""},
		{"alone, and one is back", alone, goesOn, "db2@b:wfn db3:L", time.Hour, "raise to 1 of db2"},
		{"alone, and its word is older", alone, goesOn, "db2@b:Wfn db3:L", time.Hour, ""},
		// Raising would make writes wait for a barrier that it does not pass.
		{"alone, and who is back does not follow", alone, goesOn, "db2@b:w db3:L", time.Hour, ""},
		{"alone, and who is back is far behind", alone, goesOn, "db2@b:wf db3:L", time.Hour, ""},
		{"alone, and one of those back is near", alone, goesOn, "db2@b:wf db3@c:wfn", time.Hour, "raise to 1 of db3"},

		// A member has restarted.
		{"restarted", record("db2@b db3@c", 1), mysql, "db2@b2:fn db3@c:fn", 0, "pass db2"},
		{"restarted before lost", record("db2@b db3@c", 1), mysql, "db2:L db3@c2:fn", 0, "pass db3"},
		{"restarted, and does not follow yet", record("db2@b db3@c", 1), mysql, "db2@b2 db3@c:fn", 0, ""},
		// It would keep everything else waiting for a barrier that it does not pass.
		{"restarted, and far behind", record("db2@b db3@c", 1), mysql, "db2@b2:f db3@c:fn db4@d:wfn", 0, "grow to 1 of db2,db3,db4"},
		{"restarted, and barred", record("db2@b db3@c", 1), mysql, "db2@b2:fnbl db3@c:fn", 0, ""},

		// A member is lost.
		{"lost for a moment", record("db2@b db3@c", 1), mysql, "db2@b:fn db3:l", 0, ""},
		{"lost", record("db2@b db3@c", 1), mysql, "db2@b:fn db3:L", 0, "shrink to 1 of db2"},
		{"lost, and k is too high", record("db2@b db3@c db4@d", 2), mysql, "db2@b:fn db3:L db4@d:fn", 0, "lower to 1 of db2,db3,db4"},
		{"lost, and k was lowered", record("db2@b db3@c db4@d", 1), mysql, "db2@b:fn db3:L db4@d:fn", 0, "shrink to 1 of db2,db4"},
		{"lost, and k is right without it", record("db2@b db3@c db4@d db5@e", 2), mysql, "db2@b:fn db3:L db4@d:fn db5@e:fn", 0, "shrink to 2 of db2,db4,db5"},
		{"two lost of five", record("db2@b db3@c db4@d db5@e db6@f", 3), mysql, "db2@b:fn db3:L db4:L db5@e:fn db6@f:fn", 0, "lower to 2 of db2,db3,db4,db5,db6"},
		{"three lost of four: one can pass a barrier", record("db2@b db3@c db4@d db5@e", 2), mysql, "db2:L db3:L db4:L db5@e:fn", 0, "lower to 1 of db2,db3,db4,db5"},
		{"three lost of four, one for a moment", record("db2@b db3@c db4@d db5@e", 2), mysql, "db2:L db3:L db4:l db5@e:fn", 0, ""},
		{"lost, and who stays is far behind", record("db2@b db3@c", 1), mysql, "db2@b:f db3:L db4@d:w", 0, ""},
		{"lost, and who stays is far behind, and another is ready", record("db2@b db3@c", 1), mysql, "db2@b:f db3:L db4@d:wfn", 0, "grow to 1 of db2,db3,db4"},
		{"lost before another enters", record("db2@b db3@c", 1), mysql, "db2@b:fn db3:L db4@d:wfn", 0, "shrink to 1 of db2"},
		{"barred, and another stays", record("db2@b db3@c", 1), mysql, "db2@b:fn db3@c:fnbL", 0, "shrink to 1 of db2"},

		// All members are lost.
		{"the last one lost", record("db2@b", 1), mysql, "db2:L db3:L", time.Hour, ""},
		{"the last one lost, and another is ready", record("db2@b", 1), mysql, "db2:L db3@c:wfn", time.Hour, "grow to 1 of db2,db3"},
		{"the last one lost a moment ago, and another is ready", record("db2@b", 1), mysql, "db2:l db3@c:wfn", time.Hour, "grow to 1 of db2,db3"},
		{"then the last one leaves", record("db2@b db3@c", 1), mysql, "db2:L db3@c:fn", time.Hour, "shrink to 1 of db3"},
		{"the last one barred, and another is ready", record("db2@b", 1), mysql, "db2@b:fnbL db3@c:wfn", 0, "grow to 1 of db2,db3"},
		{"both lost, and nobody could pass a barrier", record("db2@b db3@c", 1), mysql, "db2:L db3:L", time.Hour, ""},
		{"both lost, and another is ready", record("db2@b db3@c", 1), mysql, "db2:L db3:L db4@d:wfn", time.Hour, "grow to 1 of db2,db3,db4"},
		{"all lost, and writes go on", record("db2@b", 1), goesOn, "db2:L db3:L", testPatience, "alone"},
		{"all of several lost, and writes go on", record("db2@b db3@c", 1), goesOn, "db2:L db3:L", testPatience, "alone"},
		{"all of many lost, and writes go on", record("db2@b db3@c db4@d", 2), goesOn, "db2:L db3:L db4:L", testPatience, "alone"},
		{"all lost, and one acknowledges", record("db2@b", 1), goesOn, "db2:L db3:L", testPatience - 1, ""},
		{"all of S lost, and another may become ready", record("db2@b", 1), goesOn, "db2:L db3@c", testPatience, ""},
		{"some lost, and writes go on", record("db2@b db3@c", 1), goesOn, "db2@b:fn db3:L", testPatience, "shrink to 1 of db2"},

		// Growing.
		{"grow", record("db2@b", 1), mysql, "db2@b:fn db3@c:wfn db4@d:wfn", 0, "grow to 1 of db2,db3"},
		{"grow without a word", record("db2@b", 1), mysql, "db2@b:fn db3@c:fn", 0, ""},
		{"grow by one that does not follow", record("db2@b", 1), mysql, "db2@b:fn db3@c:w", 0, ""},
		{"grow by one far behind", record("db2@b", 1), mysql, "db2@b:fn db3@c:wf", 0, ""},
		{"grow by a barred one", record("db2@b", 1), mysql, "db2@b:fn db3@c:wfnb", 0, ""},
		{"grow before k rises", record("db2@b db3@c db4@d", 1), mysql, "db2@b:fn db3@c:fn db4@d:fn db5@e:wfn", 0, "grow to 1 of db2,db3,db4,db5"},

		// k.
		{"k rises", record("db2@b db3@c db4@d", 1), mysql, "db2@b:fn db3@c:fn db4@d:fn", 0, "raise to 2 of db2,db3,db4"},
		{"k rises by two", record("db2@b db3@c db4@d db5@e db6@f", 1), mysql, "db2@b:fn db3@c:fn db4@d:fn db5@e:fn db6@f:fn", 0, "raise to 3 of db2,db3,db4,db5,db6"},
		{"k does not rise for those who are not there", record("db2@b db3@c db4@d", 1), mysql, "db2@b:fn db3:l db4:l", 0, ""},
		{"k does not rise for those who are far behind", record("db2@b db3@c db4@d", 1), mysql, "db2@b:fn db3@c:f db4@d:f", 0, ""},
		{"two members, and k is one", record("db2@b db3@c", 1), mysql, "db2@b:fn db3@c:fn", 0, ""},
		{"three members, and k is two", record("db2@b db3@c db4@d", 2), mysql, "db2@b:fn db3@c:fn db4@d:fn", 0, ""},

		// MariaDB.
		{"MariaDB has two", record("db2@b db3@c", 1), mariaDB, "db2@b:fn db3@c:fn db4@d:wfn", 0, ""},
		{"MariaDB has one", record("db2@b", 1), mariaDB, "db2@b:fn db3@c:wfn db4@d:wfn", 0, "grow to 1 of db2,db3"},
		{"MariaDB has one of use", record("db2@b db3@c", 1), mariaDB, "db2@b:fn db3:l db4@d:wfn", 0, "grow to 1 of db2,db3,db4"},
		{"MariaDB: then the lost one leaves", record("db2@b db3@c db4@d", 1), mariaDB, "db2@b:fn db3:L db4@d:fn", 0, "shrink to 1 of db2,db4"},
		{"MariaDB: or it is back, and one is too many", record("db2@b db3@c db4@d", 1), mariaDB, "db2@b:fn db3@c:fn db4@d:fn", 0, "shrink to 1 of db2,db3"},
		{"MariaDB: k stays", record("db2@b db3@c db4@d", 1), mariaDB, "db2@b:fn db3:l db4@d:fn", 0, ""},
		{"MariaDB with one replica", record("db2@b", 1), mariaDB, "db2@b:fn", 0, ""},

		// The primary of record has regained the right, and its S and k.
		{"regained", regained, mysql, "db2@b:fn db3@c:fn db4@d:fn", 0, ""},
		{"regained, and one restarted", regained, mysql, "db2@b2:fn db3@c:fn db4@d:fn", 0, "pass db2"},
		{"regained, and one was lost", regained, mysql, "db2@b:fn db3@c:fn db4:L", 0, "lower to 1 of db2,db3,db4"},
		{"regained, and another gave its word", regained, mysql, "db2@b:fn db3@c:fn db4@d:fn db5@e:wfn", 0, "grow to 2 of db2,db3,db4,db5"},
		{"regained, and another's word is of the last term", regained, mysql, "db2@b:fn db3@c:fn db4@d:fn db5@e:fn", 0, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := inWords(tt.record.NextChange(tt.policy, facts(tt.record, tt.replicas), tt.silence)); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestAim(t *testing.T) {
	for n, want := range []int{0, 1, 1, 2, 2, 3} {
		if got := (DurabilityPolicy{}).Aim(n); got != want {
			t.Errorf("of %d: %d, want %d", n, got, want)
		}
		if got := (DurabilityPolicy{MaxAcks: 1}).Aim(n); got != min(n, 1) {
			t.Errorf("of %d on MariaDB: %d", n, got)
		}
	}
}

// carryOut does all of a change as the facts promise: whoever is of use passes its barriers. An
// error says that the change was planned in vain.
func carryOut(c Change, replicas []Replica) (ClusterRecord, error) {
	for {
		var err error
		switch step := c.Step(); step.Stage {
		case StageDone:
			return c.proposal, c.proposal.Validate()
		case StageCommit:
			proposal, perr := c.Proposal()
			if perr != nil {
				return ClusterRecord{}, perr
			}
			if _, err = c.base.Commit(proposal); err == nil {
				c, err = c.Settle(proposal)
			}
		case StageBarrier:
			var passed []SyncedNode
			for _, q := range replicas {
				if slices.Contains(step.Nodes, q.Node) && q.Lost == 0 && q.receives() && q.Start != "" {
					passed = append(passed, SyncedNode{Node: q.Node, Start: q.Start})
				}
			}
			if len(passed) < step.Acks {
				return ClusterRecord{}, fmt.Errorf("%s: %d of %v can pass a barrier for %d", c.Name(), len(passed), step.Nodes, step.Acks)
			}
			if c, err = c.Begin(passed...); err == nil {
				c, err = c.Done(passed...)
			}
		default:
			c, err = c.Done()
		}
		if err != nil {
			return ClusterRecord{}, err
		}
	}
}

// TestNextChangeSettles: from any S and k, while the facts stay as they are, each planned change
// can be carried out, they end, and what they end in is the aim.
func TestNextChangeSettles(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		n := rapid.IntRange(2, 5).Draw(rt, "replicas")
		p := DurabilityPolicy{
			Patience: testPatience, GoAlone: rapid.Bool().Draw(rt, "go alone"),
			MaxAcks: rapid.SampledFrom([]int{0, 1}).Draw(rt, "max acks"),
		}
		var replicas []Replica
		var s []string
		for i := range n {
			q := Replica{Node: fmt.Sprintf("db%d", i+2)}
			q.Lost = rapid.SampledFrom([]time.Duration{0, 0, 1, testPatience}).Draw(rt, "lost")
			if q.Lost == 0 {
				q.Start = rapid.SampledFrom([]string{"x", "x", "y"}).Draw(rt, "start")
				q.Follows = rapid.Bool().Draw(rt, "follows")
				q.Near = q.Follows && rapid.Bool().Draw(rt, "near")
			}
			synced := rapid.Bool().Draw(rt, "synced")
			q.Follows = q.Follows || synced && q.Lost == 0 // or it would be lost
			if synced {
				s = append(s, q.Node+"@x")
			} else {
				q.Barred = rapid.Bool().Draw(rt, "barred")
			}
			q.Word.Given = rapid.Bool().Draw(rt, "word")
			replicas = append(replicas, q)
		}
		k := 0
		if len(s) > 0 {
			k = rapid.IntRange(1, p.Aim(len(s))).Draw(rt, "k")
		}
		r := wide(t, strings.Join(s, " "), k)
		if len(s) == 0 && rapid.Bool().Draw(rt, "alone") {
			r = must(t)(r.GoAlone())
		}
		var silence time.Duration
		if !slices.ContainsFunc(replicas, func(q Replica) bool { return r.IsSynced(q.Node) && q.Lost == 0 }) {
			silence = testPatience
		}
		var seen []string
		for {
			for i, q := range replicas {
				if q.Word.Given {
					replicas[i].Word = Word{Given: true, Term: r.Term, Revision: r.Revision}
				}
				// From ∅ they are asked to pass a barrier who may come to follow meanwhile.
				if len(r.Synced) == 0 && !q.receives() {
					replicas[i].Start = ""
				}
			}
			c, ok := r.NextChange(p, replicas, silence)
			if !ok {
				break
			}
			seen = append(seen, inWords(c, ok))
			if len(seen) > 20 {
				rt.Fatalf("it does not end: %s", strings.Join(seen, "; "))
			}
			next, err := carryOut(c, replicas)
			if err != nil {
				rt.Fatalf("%s: %v", strings.Join(seen, "; "), err)
			}
			r = next
		}
		settled(rt, r, p, replicas)
	})
}

// settled holds what must be true where nothing is left to change.
func settled(t rapid.TB, r ClusterRecord, p DurabilityPolicy, replicas []Replica) {
	t.Helper()
	useful, able, useless, ready := 0, 0, 0, 0
	for _, q := range replicas {
		switch member := r.IsSynced(q.Node); {
		case member && q.Lost == 0:
			useful++
			if q.receives() {
				able++
			}
			if q.Near && q.Start != r.Synced[indexSynced(r.Synced, q.Node)].Start {
				t.Fatalf("%s has restarted and passed no barrier", q.Node)
			}
		case member && q.Lost >= p.Patience:
			useless++
		case !member && q.Lost == 0 && q.Start != "" && q.Word.Given && q.Follows && q.Near && !q.Barred:
			ready++
		}
	}
	state := fmt.Sprintf("%d of %v, alone %v: %+v", r.Acks, names(r.Synced), r.Alone, replicas)
	if ready > 0 && useful < p.members(len(replicas)) {
		t.Fatalf("somebody ready is left out of %s", state)
	}
	if useful > p.members(len(replicas)) && able > r.Acks {
		t.Fatalf("too many are in %s", state)
	}
	if useless > 0 && able >= r.Acks {
		t.Fatalf("somebody lost stays in %s", state)
	}
	if k := p.Aim(len(r.Synced)); r.Acks != k && able >= k {
		t.Fatalf("k is not %d in %s", k, state)
	}
	if p.GoAlone && !r.Alone && r.allLost(p, replicas) {
		t.Fatalf("writes do not go on in %s", state)
	}
}
