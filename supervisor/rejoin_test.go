// SPDX-License-Identifier: Apache-2.0

package supervisor

import (
	"errors"
	"strings"
	"testing"

	"highwater/configs"
	"highwater/election"
	"highwater/mysqlcheck"
	"highwater/promote"
)

// recordAfter is the record of a cluster whose primary db1, of term 1, had db2 in S and was
// followed by db2 in term 4, with a change before that.
func recordAfter(t *testing.T, change func(election.ClusterRecord) (election.ClusterRecord, error)) election.ClusterRecord {
	t.Helper()
	r, err := election.NewClusterRecord(
		election.ClusterMember{Name: "db1", ID: 1}, election.ClusterMember{Name: "db2", ID: 2}, election.ClusterMember{Name: "db3", ID: 3})
	then := func(f func(election.ClusterRecord) (election.ClusterRecord, error)) {
		if err == nil {
			r, err = f(r)
		}
	}
	then(func(r election.ClusterRecord) (election.ClusterRecord, error) {
		return r.BeginTerm(1, "db1", election.Move{})
	})
	then(func(r election.ClusterRecord) (election.ClusterRecord, error) {
		return r.Raise(1, election.SyncedNode{Node: "db2", Start: "b"})
	})
	if change != nil {
		then(change)
	}
	then(func(r election.ClusterRecord) (election.ClusterRecord, error) {
		return r.BeginTerm(4, "db2", election.Move{Kind: election.MoveFailover})
	})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// A server is rebuilt only if everything says that nobody was told of what it alone has.
func TestRejoinDecision(t *testing.T) {
	t.Parallel()
	clean := recordAfter(t, nil)
	for _, tt := range []struct {
		name   string
		change func(*evidence)
		want   election.Code
		detail string
	}{
		{"crash", func(*evidence) {}, election.CodeRebuilding, ""},
		{"crash, the second try", func(e *evidence) { e.Tries = rejoinTries - 1 }, election.CodeRebuilding, ""},
		{"hold", func(e *evidence) { e.Policy = configs.RejoinHold }, election.CodeRejoinHold, "hold"},
		{"MariaDB", func(e *evidence) { e.Flavor = mysqlcheck.MariaDB }, election.CodeRejoinNoClone, "CLONE"},
		{"flavour not known", func(e *evidence) { e.Flavor = 0 }, election.CodeRejoinNoClone, ""},
		{"not saved", func(e *evidence) { e.Saved = errors.New("disk full") }, election.CodeRejoinUnsaved, "disk full"},
		{"shut down", func(e *evidence) { e.Ending.Ending = promote.EndingOrderly }, election.CodeRejoinShutDown, "why"},
		{"end unknown", func(e *evidence) { e.Ending.Ending = promote.EndingUnknown }, election.CodeRejoinEndUnknown, "why"},
		{"end not looked at", func(e *evidence) { e.Ending = promote.RunEnding{} }, election.CodeRejoinEndUnknown, ""},
		{"tried", func(e *evidence) { e.Tries, e.Failure = rejoinTries, "no donor" }, election.CodeRejoinFailed, "no donor"},
		{"no record", func(e *evidence) { e.Record = election.ClusterRecord{} }, election.CodeRejoinUnproved, "term 0"},
		{"older record", func(e *evidence) { e.Term = 5 }, election.CodeRejoinUnproved, "term 4"},
		{"another primary", func(e *evidence) { e.Primary = "db3" }, election.CodeRejoinUnproved, "db2"},
		{"written to as a replica", func(e *evidence) { e.Led = 0 }, election.CodeRejoinUnproved, "not known"},
		{"of a term that is not told", func(e *evidence) { e.Led = 3 }, election.CodeRejoinUnproved, "terms 1 to 1"},
		{
			"went alone", func(e *evidence) {
				e.Record = recordAfter(t, func(r election.ClusterRecord) (election.ClusterRecord, error) { return r.GoAlone() })
			}, election.CodeRejoinUnproved, "alone",
		},
		{
			"was alone, and is not", func(e *evidence) {
				e.Record = recordAfter(t, func(r election.ClusterRecord) (election.ClusterRecord, error) {
					r, err := r.GoAlone()
					if err != nil {
						return r, err
					}
					return r.Raise(1, election.SyncedNode{Node: "db2", Start: "b"})
				})
			}, election.CodeRebuilding, "",
		},
		{
			"left with accepted loss", func(e *evidence) {
				e.Record = recordAfter(t, func(r election.ClusterRecord) (election.ClusterRecord, error) {
					return r.AcceptLoss(election.Acceptance{By: "op"})
				})
			}, election.CodeRejoinUnproved, "loss",
		},
	} {
		e := evidence{
			Policy: configs.RejoinAuto, Node: "db1", Flavor: mysqlcheck.MySQL, Led: 1,
			Record: clean, Primary: "db2", Term: 4, Ending: promote.RunEnding{Ending: promote.EndingCrash, Detail: "why"},
		}
		tt.change(&e)
		if code, detail := e.decide(); code != tt.want || !strings.Contains(detail, tt.detail) {
			t.Errorf("%s: %s: %s, want %s: …%s…", tt.name, code, detail, tt.want, tt.detail)
		}
	}
}

// No copy is begun while the primary's commits wait: it would wait for them.
func TestRejoinWaitsForAcknowledgements(t *testing.T) {
	t.Parallel()
	r := recordAfter(t, nil) // db2 is primary, and its S is empty
	after := func(f func() (election.ClusterRecord, error)) election.ClusterRecord {
		next, err := f()
		if err != nil {
			t.Fatal(err)
		}
		return next
	}
	for name, tt := range map[string]struct {
		record election.ClusterRecord
		want   bool
	}{
		"nobody": {r, false},
		"alone":  {after(r.GoAlone), true},
		"another replica": {after(func() (election.ClusterRecord, error) {
			return r.Raise(1, election.SyncedNode{Node: "db3", Start: "c"})
		}), true},
		"only itself, once": {after(func() (election.ClusterRecord, error) {
			return r.Raise(1, election.SyncedNode{Node: "db1", Start: "a"})
		}), false},
	} {
		if got := (evidence{Node: "db1", Record: tt.record}).acknowledged(); got != tt.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}

// A copy that would wait for a commit which waits for this node is refused before it drops anything.
func TestMayCopy(t *testing.T) {
	for _, tt := range []struct {
		name   string
		record election.ClusterRecord
		want   string
	}{
		{"another acknowledges", election.ClusterRecord{Primary: "db1", Synced: []election.SyncedNode{{Node: "db2"}, {Node: "db3"}}}, ""},
		{"held, another acknowledges", election.ClusterRecord{Primary: "db1", Synced: []election.SyncedNode{{Node: "db3"}}}, ""},
		{"the only one", election.ClusterRecord{Primary: "db1", Synced: []election.SyncedNode{{Node: "db2"}}}, "nobody but this node"},
		{"nobody", election.ClusterRecord{Primary: "db1"}, "nobody acknowledges"},
		{"alone", election.ClusterRecord{Primary: "db1", Alone: true}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := mayCopy("db2", tt.record); got != tt.want && (tt.want == "" || !strings.HasPrefix(got, tt.want)) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}
