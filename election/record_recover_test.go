// SPDX-License-Identifier: Apache-2.0

package election

import (
	"errors"
	"slices"
	"testing"
)

func TestRecoverRecord(t *testing.T) {
	before, err := NewClusterRecord(ClusterMember{Name: "db1", ID: 1}, ClusterMember{Name: "db2", ID: 2}, ClusterMember{Name: "db3", ID: 3}, ClusterMember{Name: "w1", ID: 4, Witness: true})
	if err != nil {
		t.Fatal(err)
	}
	must := func(r ClusterRecord, err error) ClusterRecord {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	r := must(before.BeginTerm(5, "db1", Move{At: 1, Kind: MoveFailover}))
	r = must(r.Raise(1, SyncedNode{Node: "db2", Start: "x"}, SyncedNode{Node: "db3", Start: "y"}))
	r = must(r.AcceptLoss(Acceptance{By: "me"}))
	n := must(r.Recover("db2"))
	if n.Term <= r.Term || n.Primary != "db1" || n.Since != r.Since || len(n.Synced) != 2 || n.Acks != 1 || n.AcceptedLoss != nil || n.Revision != r.Revision+1 {
		t.Errorf("%+v", n)
	}
	for i, m := range n.Members {
		if m.ID <= r.LastID || m.Name != r.Members[i].Name || m.ID > n.LastID {
			t.Errorf("member %+v", m)
		}
	}
	if _, err := n.Encode(); err != nil {
		t.Error(err)
	}
	// What the old primary wrote may have been acknowledged under a record that nobody has.
	next := must(n.BeginTerm(n.Term+1, "db2", Move{At: 2, Kind: MoveFailover}))
	var refused *Refusal
	if err := next.Untold("db1", 5); !errors.As(err, &refused) || refused.Code != RefusedAlone {
		t.Errorf("told to nobody: %v", err)
	}
	if n := must(before.Recover("db1")); n.Term != 0 || n.Revision != 1 || n.LastID != 8 {
		t.Errorf("before the first term: %+v", n)
	}
	for _, name := range []string{"w1", "db9"} {
		if _, err := r.Recover(name); err == nil {
			t.Errorf("%s begins a cluster", name)
		}
	}
}

func TestMayLack(t *testing.T) {
	synced := func(names ...string) (list []SyncedNode) {
		for _, name := range names {
			list = append(list, SyncedNode{Node: name, Start: "x"})
		}
		return list
	}
	for _, tt := range []struct {
		name string
		r    ClusterRecord
		node string
		want []string
	}{
		{"no term", ClusterRecord{}, "db1", nil},
		{"the primary", ClusterRecord{Term: 1, Primary: "db1", Synced: synced("db2"), Acks: 1}, "db1", nil},
		{"all must acknowledge", ClusterRecord{Term: 1, Primary: "db1", Synced: synced("db2", "db3"), Acks: 2}, "db2", nil},
		{"another may have", ClusterRecord{Term: 1, Primary: "db1", Synced: synced("db2", "db3"), Acks: 1}, "db2", []string{"db3"}},
		{"not in S", ClusterRecord{Term: 1, Primary: "db1", Synced: synced("db2", "db3"), Acks: 2}, "db4", []string{"db2", "db3"}},
		{"alone", ClusterRecord{Term: 1, Primary: "db1", Alone: true}, "db2", []string{"db1"}},
		{"kept", ClusterRecord{Term: 2, Primary: "db1", Kept: &KeptTerm{Term: 1, Primary: "db2", Synced: synced("db1", "db3"), Acks: 1}}, "db4", []string{"db1", "db3"}},
		{"kept, its primary", ClusterRecord{Term: 2, Primary: "db1", Kept: &KeptTerm{Term: 1, Primary: "db2", Alone: true}}, "db2", nil},
		{"kept, who was primary alone", ClusterRecord{Term: 2, Primary: "db1", Kept: &KeptTerm{Term: 1, Primary: "db2", Alone: true}}, "db3", []string{"db2"}},
	} {
		if got := tt.r.MayLack(tt.node); !slices.Equal(got, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}
