// SPDX-License-Identifier: Apache-2.0

package election

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// marks writes SyncedNodes: "db2@1 db3@1".
func marks(text string) []SyncedNode {
	var list []SyncedNode
	for _, f := range strings.Fields(text) {
		node, start, _ := strings.Cut(f, "@")
		list = append(list, SyncedNode{Node: node, Start: start})
	}
	return list
}

func newRecord(t testing.TB) ClusterRecord {
	t.Helper()
	r, err := NewClusterRecord(ClusterMember{Name: "db1", ID: 1}, ClusterMember{Name: "db2", ID: 2},
		ClusterMember{Name: "db3", ID: 3}, ClusterMember{Name: "w1", ID: 4, Witness: true})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// must is for transitions that a test starts from.
func must(t testing.TB) func(ClusterRecord, error) ClusterRecord {
	return func(r ClusterRecord, err error) ClusterRecord {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
}

// synced is db1 as primary of term 1 with this S and k.
func synced(t testing.TB, s string, k int) ClusterRecord {
	t.Helper()
	r := must(t)(newRecord(t).BeginTerm(1, "db1", Move{}))
	return must(t)(r.Raise(k, marks(s)...))
}

func wantRefusal(t *testing.T, err error, code RefusalCode) {
	t.Helper()
	var refusal *Refusal
	if !errors.As(err, &refusal) || refusal.Code != code {
		t.Errorf("got error %v, want a refusal with code %s", err, code)
	}
}

func TestBeginTerm(t *testing.T) {
	r := newRecord(t)
	first := must(t)(r.BeginTerm(1, "db1", Move{}))
	if diff := cmp.Diff(&KeptTerm{Primary: "db1", Alone: true}, first.Kept); diff != "" {
		t.Errorf("the first term keeps: %s", diff)
	}
	r = synced(t, "db2@b db3@c", 1)
	r = must(t)(r.AcceptLoss(Acceptance{By: "op"}))

	again := must(t)(r.BeginTerm(3, "db1", Move{Kind: MoveFailover, HoldOff: time.Minute}))
	want := r
	want.Revision, want.Term, want.AcceptedLoss = r.Revision+1, 3, nil
	if diff := cmp.Diff(want, again); diff != "" {
		t.Errorf("the primary of record regains the right: %s", diff)
	}

	move := Move{At: 1700000000000, Kind: MoveFailover, Reason: "silence", HoldOff: time.Minute}
	other := must(t)(must(t)(r.BeginTerm(2, "db1", Move{})).BeginTerm(5, "db2", move))
	want = r
	want.Revision, want.Term, want.Since, want.Primary, want.Synced, want.Acks, want.AcceptedLoss = r.Revision+2, 5, 5, "db2", nil, 0, nil
	want.Left = want.Revision
	want.Kept = &KeptTerm{Term: 2, Primary: "db1", Synced: marks("db2@b db3@c"), Acks: 1}
	want.HoldOff = &HoldOff{Term: 5, From: "db1", At: move.At, For: 60000}
	want.Failovers = []Failover{{At: move.At, Term: 5, From: "db1", Since: 1, Last: 2, To: "db2", Kind: MoveFailover, Reason: "silence"}}
	if diff := cmp.Diff(want, other); diff != "" {
		t.Errorf("another primary: %s", diff)
	}

	if h := must(t)(r.BeginTerm(5, "db2", Move{Kind: MoveFailover, HoldOff: time.Microsecond})).HoldOff; h != nil {
		t.Errorf("a hold-off below the record's grain: %+v", h)
	}

	// What is kept stays kept over terms in which nothing could be acknowledged.
	third := must(t)(other.BeginTerm(6, "db3", move))
	if diff := cmp.Diff(other.Kept, third.Kept); diff != "" {
		t.Errorf("kept over a barren term: %s", diff)
	}
	if left := must(t)(third.Raise(1, marks("db1@a")...)); left.Kept != nil {
		t.Errorf("S left ∅, and %+v is still kept", left.Kept)
	}
	alone := must(t)(third.GoAlone())
	if alone.Kept != nil {
		t.Errorf("gone alone, and %+v is still kept", alone.Kept)
	}
	if next := must(t)(alone.BeginTerm(7, "db1", move)); !next.Kept.Alone || next.Kept.Primary != "db3" {
		t.Errorf("after a lone term %+v is kept", next.Kept)
	}

	for _, tt := range []struct {
		term    uint64
		primary string
		code    RefusalCode
	}{{1, "db2", RefusedStale}, {0, "db2", RefusedStale}, {2, "w1", RefusedWitness}, {2, "db9", RefusedUnknown}} {
		_, err := r.BeginTerm(tt.term, tt.primary, move)
		wantRefusal(t, err, tt.code)
	}
}

func TestSyncedTransitions(t *testing.T) {
	two := synced(t, "db2@b db3@c", 1)
	one := synced(t, "db2@b", 1)
	barren := must(t)(newRecord(t).BeginTerm(1, "db1", Move{}))
	alone := must(t)(two.GoAlone())
	for _, tt := range []struct {
		name string
		do   func() (ClusterRecord, error)
		want string // S and k, or a code
	}{
		{"grow", func() (ClusterRecord, error) { return one.Grow("db3", "c") }, "db2@b db3@c 1"},
		{"grow ∅", func() (ClusterRecord, error) { return barren.Grow("db2", "b") }, "empty"},
		{"grow by the primary", func() (ClusterRecord, error) { return one.Grow("db1", "a") }, "is_primary"},
		{"grow by a witness", func() (ClusterRecord, error) { return one.Grow("w1", "a") }, "witness"},
		{"grow by a stranger", func() (ClusterRecord, error) { return one.Grow("db9", "a") }, "unknown"},
		{"grow by a member", func() (ClusterRecord, error) { return one.Grow("db2", "b") }, "synced"},
		{"grow by no process", func() (ClusterRecord, error) { return one.Grow("db3", "") }, "no_start"},

		{"shrink", func() (ClusterRecord, error) { return two.Shrink("db3", marks("db2@b2")...) }, "db2@b2 1"},
		{"shrink without a barrier", func() (ClusterRecord, error) { return two.Shrink("db3") }, "barrier"},
		{"shrink on the word of who leaves", func() (ClusterRecord, error) { return two.Shrink("db3", marks("db3@c")...) }, "barrier"},
		{"shrink to ∅", func() (ClusterRecord, error) { return one.Shrink("db2") }, "last"},
		{"shrink by a stranger", func() (ClusterRecord, error) { return one.Shrink("db3") }, "not_synced"},
		{"shrink below k", func() (ClusterRecord, error) {
			return must(t)(two.Raise(2, marks("db2@b db3@c")...)).Shrink("db3", marks("db2@b")...)
		}, "acks"},
		{"shrink with a stranger's barrier", func() (ClusterRecord, error) { return two.Shrink("db3", marks("db9@c")...) }, "not_synced"},

		{"raise from ∅", func() (ClusterRecord, error) { return barren.Raise(1, marks("db3@c db2@b")...) }, "db2@b db3@c 1"},
		{"raise from ∅ with nobody", func() (ClusterRecord, error) { return barren.Raise(1) }, "barrier"},
		{"raise from ∅ with a witness", func() (ClusterRecord, error) { return barren.Raise(1, marks("w1@c")...) }, "witness"},
		{"raise from ∅ by errant transactions", func() (ClusterRecord, error) {
			return barren.Raise(1, SyncedNode{Node: "db2", Start: "b", Errant: "x:1"})
		}, "errant"},
		{"raise from alone", func() (ClusterRecord, error) { return alone.Raise(1, marks("db2@b")...) }, "db2@b 1"},
		{"raise", func() (ClusterRecord, error) { return two.Raise(2, marks("db3@c2 db2@b")...) }, "db2@b db3@c2 2"},
		{"raise on one barrier twice", func() (ClusterRecord, error) { return two.Raise(2, marks("db2@b db2@b")...) }, "duplicate"},
		{"raise on too few", func() (ClusterRecord, error) { return two.Raise(2, marks("db2@b")...) }, "barrier"},
		{"raise above |S|", func() (ClusterRecord, error) { return one.Raise(2, marks("db2@b db3@c")...) }, "acks"},
		{"raise to the same", func() (ClusterRecord, error) { return two.Raise(1, marks("db2@b")...) }, "acks"},
		{"raise by a process unknown", func() (ClusterRecord, error) { return two.Raise(2, marks("db2@b db3@")...) }, "no_start"},

		{"lower", func() (ClusterRecord, error) { return must(t)(two.Raise(2, two.Synced...)).Lower(1) }, "db2@b db3@c 1"},
		{"lower to 0", func() (ClusterRecord, error) { return two.Lower(0) }, "acks"},
		{"lower to the same", func() (ClusterRecord, error) { return two.Lower(1) }, "acks"},

		{"go alone", func() (ClusterRecord, error) { return two.GoAlone() }, "0"},
		{"go alone twice", func() (ClusterRecord, error) { return alone.GoAlone() }, "unchanged"},

		{"pass", func() (ClusterRecord, error) { return two.Pass(marks("db3@c2")...) }, "db2@b db3@c2 1"},
		{"pass again", func() (ClusterRecord, error) { return two.Pass(marks("db3@c")...) }, "unchanged"},
		{"pass by a stranger", func() (ClusterRecord, error) { return one.Pass(marks("db3@c")...) }, "not_synced"},
		{"mark", func() (ClusterRecord, error) { return two.MarkErrant("db3", "x:1") }, "db2@b db3@c!x:1 1"},
		{"mark again", func() (ClusterRecord, error) { return two.MarkErrant("db3", "") }, "unchanged"},
		{"mark a stranger", func() (ClusterRecord, error) { return one.MarkErrant("db3", "x:1") }, "not_synced"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r, err := tt.do()
			var refusal *Refusal
			got := ""
			switch {
			case errors.As(err, &refusal):
				got = string(refusal.Code)
			case err != nil:
				got = err.Error()
			default:
				for _, s := range r.Synced {
					got += s.Node + "@" + s.Start
					if s.Errant != "" {
						got += "!" + s.Errant
					}
					got += " "
				}
				got += string('0' + rune(r.Acks))
			}
			if got != tt.want {
				t.Errorf("got %s (%v), want %s", got, err, tt.want)
			}
		})
	}
	for _, r := range []ClusterRecord{two, one, barren, alone} {
		if err := r.Validate(); err != nil {
			t.Errorf("a transition has changed its receiver: %v", err)
		}
	}
	if !alone.Alone || !alone.WentAlone || must(t)(alone.Raise(1, marks("db2@b")...)).Alone {
		t.Error("alone is not until k is raised")
	}
	// The new S has passed a barrier behind all that was told alone. Of what was told under a record that nobody has, nothing is known.
	if must(t)(alone.Raise(1, marks("db2@b")...)).WentAlone {
		t.Error("that the primary was alone is remembered after S has all that it told")
	}
	if recovered := must(t)(synced(t, "db2@b db3@c", 1).Recover("db1")); !must(t)(recovered.Raise(2, marks("db2@b db3@c")...)).WentAlone {
		t.Error("raising k between others has the record forget that it was recovered")
	}
}

func TestMembers(t *testing.T) {
	r := synced(t, "db2@b", 1)
	added := must(t)(r.AddMember("db4", false))
	if m, _ := added.Member("db4"); m.ID != 5 {
		t.Errorf("new member %+v, want id 5", m)
	}
	gone := must(t)(added.RemoveMember("db4", true))
	if m, _ := must(t)(gone.AddMember("db5", true)).Member("db5"); m.ID != 6 {
		t.Errorf("new member %+v, want id 6: 5 was used", m)
	}
	moved := must(t)(r.BeginTerm(2, "db3", Move{Kind: MoveSwitchover}))
	for name, tt := range map[string]struct {
		r    ClusterRecord
		node string
		code RefusalCode
	}{
		"the primary":     {r, "db1", RefusedIsPrimary},
		"a member of S":   {r, "db2", RefusedSynced},
		"a stranger":      {r, "db9", RefusedUnknown},
		"the old primary": {moved, "db1", RefusedKept},
		"of the old S":    {moved, "db2", RefusedKept},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := tt.r.RemoveMember(tt.node, true)
			wantRefusal(t, err, tt.code)
		})
	}
	if _, known := must(t)(moved.RemoveMember("db1", false)).Member("db1"); known {
		t.Error("where nothing is kept by acknowledgements the old primary stays")
	}
	_, err := r.AddMember("db3", false)
	wantRefusal(t, err, RefusedDuplicate)
}

func TestPauseAndHoldOff(t *testing.T) {
	r := newRecord(t)
	paused := must(t)(r.Pause(Pause{By: "op", Since: 1000, Until: 5000, Why: "maintenance"}))
	if paused.Paused.Over(4999) || !paused.Paused.Over(5000) || r.Paused.Over(9999) {
		t.Error("a pause ends at its time, and no earlier")
	}
	if must(t)(paused.Resume()).Paused != nil {
		t.Error("resumed, and still paused")
	}
	_, err := r.Resume()
	wantRefusal(t, err, RefusedUnchanged)
	_, err = r.Pause(Pause{By: "op", Since: 5, Until: 5})
	wantRefusal(t, err, RefusedStale)
	_, err = r.Pause(Pause{})
	wantRefusal(t, err, RefusedIncomplete)

	first := must(t)(paused.BeginTerm(1, "db1", Move{Kind: MoveFailover})) // nobody was primary: nothing fails over
	_, err = first.BeginTerm(2, "db2", Move{Kind: MoveFailover})
	wantRefusal(t, err, RefusedPaused)
	must(t)(first.BeginTerm(2, "db1", Move{Kind: MoveFailover}))
	must(t)(first.BeginTerm(2, "db2", Move{Kind: MoveFailover, Asked: true}))

	moved := must(t)(must(t)(first.Resume()).BeginTerm(2, "db2", Move{At: 10_000, Kind: MoveFailover, HoldOff: time.Minute}))
	want := RecordChanged{Term: moved.Term, Primary: "db2", HoldOff: time.Minute, HoldOffTerm: moved.Term, HoldOffFrom: "db1"}
	if got := moved.Changed(40_000, false); got != want {
		t.Errorf("learned of when it was committed: %+v, want %+v", got, want)
	}
	want.HoldOff, want.Paused = 30*time.Second, true
	if got := must(t)(moved.Pause(Pause{By: "op"})).Changed(40_000, true); got != want {
		t.Errorf("found later: %+v, want %+v", got, want)
	}

	h := &HoldOff{Term: 2, From: "db1", At: 10_000, For: 60_000}
	for _, tt := range []struct {
		wall     int64
		replayed bool
		want     time.Duration
	}{
		{99_999_999, false, time.Minute}, // seen live: no wall clock counts
		{10_000, true, time.Minute},
		{30_000, true, 40 * time.Second},
		{70_000, true, 0},
		{maxWall, true, 0},         // a clock far ahead ends it
		{0, true, time.Minute},     // one far behind does not prolong it
		{-1e15, true, time.Minute}, //
	} {
		if got := h.Left(tt.wall, tt.replayed); got != tt.want {
			t.Errorf("Left(%d, %v) = %v, want %v", tt.wall, tt.replayed, got, tt.want)
		}
	}
	if got := (*HoldOff)(nil).Left(5, true); got != 0 {
		t.Errorf("no hold-off: %v left", got)
	}
}

func TestLedSince(t *testing.T) {
	move := Move{Kind: MoveFailover}
	r := must(t)(synced(t, "db2@b", 1).BeginTerm(4, "db2", move))
	later := must(t)(must(t)(r.BeginTerm(5, "db3", move)).BeginTerm(6, "db3", move))
	counts := must(t)(later.Raise(1, SyncedNode{Node: "db1", Start: "a"}))
	forgotten := r
	forgotten.Failovers = nil
	for _, tt := range []struct {
		name   string
		record ClusterRecord
		node   string
		want   uint64
	}{
		{"primary", r, "db2", 4},
		{"primary of several terms", later, "db3", 5},
		{"what is kept", r, "db1", 1},
		{"what is kept, two terms later", later, "db1", 1},
		{"opened, and nobody acknowledged", later, "db2", 0},
		{"what is kept no more", counts, "db1", 0},
		{"a replica", r, "db3", 0},
		{"kept, and history has no room for it", forgotten, "db1", 1},
		{"nobody", newRecord(t), "", 0},
	} {
		if got := tt.record.LedSince(tt.node); got != tt.want {
			t.Errorf("%s: %d, want %d", tt.name, got, tt.want)
		}
	}
}

func TestUntold(t *testing.T) {
	move := Move{Kind: MoveFailover}
	clean := must(t)(synced(t, "db2@b", 1).BeginTerm(4, "db2", move))
	if err := clean.Untold("db1", 1); err != nil {
		t.Errorf("a clean end: %v", err)
	}
	_, err := clean.BeginTerm(5, "db2", move)
	if err != nil {
		t.Fatal(err)
	}
	wantRefusal(t, clean.Untold("db2", 4), RefusedIsPrimary)
	wantRefusal(t, clean.Untold("db3", 2), RefusedUnknown)
	wantRefusal(t, clean.Untold("db1", 4), RefusedUnknown)

	alone := must(t)(synced(t, "db2@b", 1).GoAlone())
	wantRefusal(t, must(t)(alone.BeginTerm(4, "db2", move)).Untold("db1", 1), RefusedAlone)
	// What it told alone S has, once that has left ∅ again; until it goes alone anew.
	back := must(t)(alone.Raise(1, marks("db2@b")...))
	if err := must(t)(back.BeginTerm(4, "db2", move)).Untold("db1", 1); err != nil {
		t.Errorf("alone, and no more: %v", err)
	}
	wantRefusal(t, must(t)(must(t)(back.GoAlone()).BeginTerm(4, "db2", move)).Untold("db1", 1), RefusedAlone)

	lossy := must(t)(must(t)(synced(t, "db2@b", 1).AcceptLoss(Acceptance{By: "op"})).BeginTerm(4, "db2", move))
	wantRefusal(t, lossy.Untold("db1", 1), RefusedLoss)

	// db2 had all that db1 had told, and then it was itself left with accepted loss.
	later := must(t)(must(t)(clean.AcceptLoss(Acceptance{By: "op", To: "db3"})).BeginTerm(9, "db3", move))
	wantRefusal(t, later.Untold("db1", 1), RefusedLoss)

	// An acceptance for one node is not used by another.
	unused := must(t)(must(t)(clean.AcceptLoss(Acceptance{By: "op", To: "db3"})).BeginTerm(9, "db1", move))
	if err := unused.Untold("db2", 4); err != nil {
		t.Errorf("loss was not accepted for db1: %v", err)
	}
	// It counts only as the last run of that server.
	again := must(t)(must(t)(clean.BeginTerm(6, "db1", move)).BeginTerm(9, "db3", move))
	if err := errors.Join(clean.UntoldLast("db1", 1), again.UntoldLast("db1", 6), again.Untold("db1", 1)); err != nil {
		t.Errorf("a clean end: %v", err)
	}
	wantRefusal(t, again.UntoldLast("db1", 1), RefusedUnknown)
	wantRefusal(t, again.UntoldLast("db3", 9), RefusedIsPrimary)
	wantRefusal(t, clean.UntoldLast("db3", 1), RefusedUnknown)
	// History is short, and what it does not tell is not proved.
	for term := uint64(10); term < 40; term += 2 {
		clean = must(t)(clean.BeginTerm(term, "db3", move))
		clean = must(t)(clean.BeginTerm(term+1, "db2", move))
	}
	if len(clean.Failovers) != maxFailovers {
		t.Errorf("%d failovers are kept", len(clean.Failovers))
	}
	wantRefusal(t, clean.Untold("db1", 1), RefusedUnknown)
}

// TestRecordLaws walks through random transitions: each result is valid, survives its encoding,
// is one revision on, and leaves its receiver as it was.
func TestRecordLaws(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		r := newRecord(t)
		for range rapid.IntRange(1, 25).Draw(rt, "steps") {
			before, err := r.Encode()
			if err != nil {
				rt.Fatal(err)
			}
			n, err := drawTransition(rt, r)
			after, _ := r.Encode()
			if string(before) != string(after) {
				rt.Fatalf("the receiver changed: %s, was %s", after, before)
			}
			var refusal *Refusal
			if errors.As(err, &refusal) {
				if refusal.Code == RefusedDamaged {
					rt.Fatalf("no check caught this: %v", err)
				}
				continue
			}
			if err != nil {
				rt.Fatal(err)
			}
			b, err := n.Encode()
			if err != nil {
				rt.Fatal(err)
			}
			back, err := DecodeClusterRecord(b)
			if err != nil {
				rt.Fatalf("decode %s: %v", b, err)
			}
			if diff := cmp.Diff(n, back); diff != "" {
				rt.Fatalf("decoded: %s", diff)
			}
			if committed, err := r.Commit(n); err != nil || !sameRecord(committed, n) {
				rt.Fatalf("commit: %v", err)
			}
			if n.Revision != r.Revision+1 || n.Term < r.Term {
				rt.Fatalf("revision %d and term %d follow %d and %d", n.Revision, n.Term, r.Revision, r.Term)
			}
			r = n
		}
	})
}

func drawTransition(rt *rapid.T, r ClusterRecord) (ClusterRecord, error) {
	node := func(name string) string {
		return rapid.SampledFrom([]string{"db1", "db2", "db3", "w1", "db9"}).Draw(rt, name)
	}
	barrier := func() []SyncedNode {
		return rapid.SliceOfN(rapid.Custom(func(rt *rapid.T) SyncedNode {
			return SyncedNode{Node: node("passed"), Start: rapid.SampledFrom([]string{"", "x", "y"}).Draw(rt, "start")}
		}), 0, 3).Draw(rt, "barrier")
	}
	switch rapid.IntRange(0, 14).Draw(rt, "transition") {
	case 0, 1:
		return r.BeginTerm(r.Term+uint64(rapid.IntRange(0, 2).Draw(rt, "term")), node("primary"), Move{At: 5, Kind: MoveFailover, HoldOff: time.Second})
	case 2:
		return r.Grow(node("node"), "x")
	case 3:
		return r.Shrink(node("node"), barrier()...)
	case 4, 5, 6:
		return r.Raise(rapid.IntRange(-1, 4).Draw(rt, "k"), barrier()...)
	case 7:
		return r.Lower(rapid.IntRange(-1, 4).Draw(rt, "k"))
	case 8:
		return r.GoAlone()
	case 9:
		return r.Pass(barrier()...)
	case 10:
		return r.MarkErrant(node("node"), rapid.SampledFrom([]string{"", "e:1"}).Draw(rt, "errant"))
	case 11:
		return r.AcceptLoss(Acceptance{By: "op", To: rapid.SampledFrom([]string{"", "db1", "db2", "db3"}).Draw(rt, "to")})
	case 12:
		if r.Paused != nil {
			return r.Resume()
		}
		return r.Pause(Pause{By: "op", Since: 7, Why: "<why> & how"})
	case 13:
		return r.AddMember(node("new"), rapid.Bool().Draw(rt, "witness"))
	default:
		return r.RemoveMember(node("old"), true)
	}
}

func TestDecodeClusterRecordRefuses(t *testing.T) {
	r := must(t)(synced(t, "db2@b db3@c", 1).BeginTerm(2, "db2", Move{Kind: MoveFailover, HoldOff: time.Second}))
	good, err := r.Encode()
	if err != nil {
		t.Fatal(err)
	}
	var pretty strings.Builder
	enc := json.NewEncoder(&pretty)
	enc.SetIndent("", "  ")
	if err := enc.Encode(r); err != nil {
		t.Fatal(err)
	}
	if _, err := DecodeClusterRecord([]byte(pretty.String())); err != nil {
		t.Errorf("white space: %v", err)
	}
	for _, tt := range []struct{ old, new, want string }{
		{`{"version"`, `{"version":1,"version"`, `key "version" is there twice`},
		{`"term":2`, `"Term":2`, `key "Term" is not in lower case`},
		{`"term":2`, `"term":2,"color":1`, `unknown field "color"`},
		{`"version":1`, `"version":2`, "version 2: this program knows version 1"},
		{`"version":1,`, ``, "version 0: this program knows version 1"},
		{`"primary":"db2"`, `"primary":"w1"`, `primary "w1" is not a member with a server`},
		{`"primary":"db2"`, `"primary":"db1"`, `failover to "db2" in term 2 is followed by "db1" since term 2`},
		{`"since":2`, `"since":3`, "since 3 in term 2"},
		{`"kept":{`, `"alone":true,"went_alone":true,"kept":{`, "of synced, alone and kept 2 are there"},
		{`"acks":1`, `"acks":3`, "kept: acks 3 with 2 nodes"},
		{`"node":"db3","start":"c"`, `"node":"db3","start":""`, `the server process of "db3" is not known`},
		{`"node":"db3"`, `"node":"db2"`, `"db2" and "db2" are not in order`},
		{`"for":1000`, `"for":-1`, "hold-off for -1 ms"},
		{`"for":1000`, `"for":1e3`, "cannot unmarshal"},
		{`"id":3`, `"id":2`, "have the same id 2"},
		{`"last_id":4`, `"last_id":3`, "above last_id 3"},
		{`"kind":"failover"`, `"kind":"magic"`, `unknown kind "magic"`},
		{`"term":2`, `"term":2,"alone":false`, "not in its one form: byte"},
		{`"term":2`, `"term":2,"synced":[]`, "not in its one form: byte"},
		{`"term":2`, `"term":2,"paused":null`, "not in its one form: byte"},
		{`"db2"`, `"\u0064b2"`, "not in its one form: byte"},
	} {
		bad := strings.Replace(string(good), tt.old, tt.new, 1)
		if bad == string(good) {
			t.Errorf("%s is not in %s", tt.old, good)
		}
		if _, err := DecodeClusterRecord([]byte(bad)); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s for %s: got error %v, want %q", tt.new, tt.old, err, tt.want)
		}
	}
	for _, bad := range []string{"", "null", "[]", "7", `"x"`, string(good) + "x", string(good[:len(good)-1]), "[" + string(good) + "]"} {
		if _, err := DecodeClusterRecord([]byte(bad)); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
	r.Members[0].Name = "db\xff"
	if _, err := r.Encode(); err == nil {
		t.Error("a name that is no UTF-8 was encoded")
	}
}

// FuzzDecodeClusterRecord: no input panics, and what is accepted is its own one form.
func FuzzDecodeClusterRecord(f *testing.F) {
	r := synced(f, "db2@b db3@c", 1)
	for _, r := range []ClusterRecord{
		newRecord(f), r, must(f)(r.GoAlone()), must(f)(r.AcceptLoss(Acceptance{By: "op", To: "db2"})),
		must(f)(r.BeginTerm(2, "db2", Move{Kind: MoveFailover, HoldOff: time.Second})), must(f)(r.Pause(Pause{By: "op", Until: 3, Since: 2})),
	} {
		b, err := r.Encode()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	for _, s := range []string{"", "{}", "null", `{"version":1}`, `{"version":1,"revision":0,"term":0,"since":0,"x":{"a":1,"a":2}}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := DecodeClusterRecord(b)
		if err != nil {
			return
		}
		again, err := r.Encode()
		if err != nil {
			t.Fatalf("decoded, and cannot be encoded: %v", err)
		}
		if back, err := DecodeClusterRecord(again); err != nil || !cmp.Equal(r, back) {
			t.Fatalf("%s reads back as %+v (%v)", again, back, err)
		}
	})
}
