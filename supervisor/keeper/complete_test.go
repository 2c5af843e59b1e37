// SPDX-License-Identifier: Apache-2.0

package keeper

import (
	"strings"
	"testing"

	"highwater/election"
	"highwater/mysqlcheck/gtid"
	"highwater/promote"
	"highwater/supervisor/peer"
)

const uuidA = "3e11fa47-71ca-11e1-9e33-c80aa9429562"

func parsed(t *testing.T, text string) gtid.Set {
	t.Helper()
	s, err := gtid.Parse(strings.ReplaceAll(text, "A", uuidA))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// recordHost is a [Host] that only knows the record.
type recordHost struct {
	Host
	record election.ClusterRecord
}

func (h recordHost) Record() election.ClusterRecord { return h.record }
func (h recordHost) Peer(string) (Peer, bool)       { return Peer{}, false }
func (h recordHost) Sample() Sample                 { return Sample{} }

// What only the old primary has was not acknowledged if enough members of S are heard and lack it.
// What a member of S has may have been, and what nobody else can tell of.
func TestSpares(t *testing.T) {
	synced := func(nodes ...string) (list []election.SyncedNode) {
		for _, node := range nodes {
			list = append(list, election.SyncedNode{Node: node, Start: node + "-1"})
		}
		return list
	}
	both := election.ClusterRecord{Term: 5, Primary: "db1", Acks: 1, Synced: synced("db2", "db3")}
	accepted := election.ClusterRecord{Term: 5, Primary: "db1", Alone: true, AcceptedLoss: &election.Acceptance{To: "db2"}}
	for _, tt := range []struct {
		name   string
		record election.ClusterRecord
		heard  map[string]string
		start  string // of db3
		want   bool
	}{
		{"only the old primary has more", both, map[string]string{"db1": "A:1-12", "db2": "A:1-9", "db3": "A:1-9"}, "db3-1", true},
		{"a member of S has it too", both, map[string]string{"db1": "A:1-12", "db2": "A:1-9", "db3": "A:1-10"}, "db3-1", false},
		{"a member of S is silent", both, map[string]string{"db1": "A:1-12", "db2": "A:1-9"}, "", false},
		{"a member of S has restarted", both, map[string]string{"db1": "A:1-12", "db2": "A:1-9", "db3": "A:1-9"}, "db3-2", false},
		{"the primary was alone", election.ClusterRecord{Term: 5, Primary: "db1", Alone: true}, map[string]string{"db1": "A:1-12", "db2": "A:1-9"}, "", false},
		{"an operator accepts a loss that a fetch prevents", accepted, map[string]string{"db1": "A:1-12", "db2": "A:1-9"}, "", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			k := &Keeper{config: Config{Node: "db2"}, host: recordHost{record: tt.record}}
			heard := map[string]peer.NodeStatus{}
			for node, set := range tt.heard {
				s := peer.NodeStatus{Node: node, ServerStartID: node + "-1", Executed: parsed(t, set), Durable: true}
				if node == "db3" {
					s.ServerStartID = tt.start
				}
				heard[node] = s
			}
			if got := k.Spares(heard); got != tt.want {
				t.Errorf("got %t, want %t", got, tt.want)
			}
			if short := k.Incomplete(heard, promote.Choice{Missing: parsed(t, "A:10-12")}); short != "" {
				t.Errorf("with the fetch: %s", short)
			}
		})
	}
}
