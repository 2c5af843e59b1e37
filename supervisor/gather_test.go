// SPDX-License-Identifier: Apache-2.0

package supervisor

import (
	"strings"
	"testing"
	"time"

	"highwater/configs"
	"highwater/mysqlcheck"
	"highwater/mysqlcheck/gtid"
	"highwater/promote"
	"highwater/supervisor/keeper"
	"highwater/supervisor/peer"
)

const (
	testUUID  = "3e11fa47-71ca-11e1-9e33-c80aa9429562"
	otherUUID = "4e11fa47-71ca-11e1-9e33-c80aa9429562"
)

func mustParse(t *testing.T, text string) gtid.Set {
	t.Helper()
	s, err := gtid.Parse(strings.NewReplacer("A", testUUID, "B", otherUUID).Replace(text))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// A peer that says less than when it was sealed does not make a candidate fetch less.
func TestFetchWhatWasChosenBy(t *testing.T) {
	nodes := []configs.Node{{Name: "db1"}, {Name: "db2"}}
	n := &Node{config: &configs.Config{}, cluster: newCluster(nodes, &nodes[0], 3306), keeper: &keeper.Keeper{}}
	missing := mustParse(t, "A:9")
	n.missing.Store(&missing)
	n.cluster.take(peer.NodeStatus{Node: "db2", ServerStartID: "db2/1", ServerUUID: otherUUID, Executed: mustParse(t, "A:1-8")}, boottime())
	var in promote.PromoteInput
	if err := n.fetch(&in, "db2"); err != nil {
		t.Fatal(err)
	}
	if want := mustParse(t, "A:1-9"); !in.Received.Contains(want) {
		t.Errorf("it fetches until it holds %s, want %s", in.Received, want)
	}
}

// What a seal has read counts until all of it was read again.
func TestSealedPositionStays(t *testing.T) {
	const sealedAt = 10 * time.Second
	read := func(at, received time.Duration, failure mysqlcheck.FailureClass) mysqlcheck.Sample {
		return mysqlcheck.Sample{At: at, ReplicationAt: received, Failure: mysqlcheck.Failure{Class: failure}}
	}
	for _, tt := range []struct {
		name   string
		sample mysqlcheck.Sample
		want   string
	}{
		{"begun before", read(sealedAt-1, sealedAt+1, mysqlcheck.NoFailure), "A:1-9"},
		{"failed", read(sealedAt+1, sealedAt-1, mysqlcheck.Answered), "A:1-9"},
		{"what was received is of before", read(sealedAt+1, sealedAt-1, mysqlcheck.NoFailure), "A:1-9"},
		{"read again", read(sealedAt+1, sealedAt+2, mysqlcheck.NoFailure), "A:1-8"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			older := mustParse(t, "A:1-8")
			h := health{
				verdict: mysqlcheck.Verdict{Executed: older, Received: older}, sealedAt: sealedAt,
				sealed: &promote.Position{Executed: older, Received: mustParse(t, "A:1-9")},
			}
			h.take(tt.sample)
			var s peer.NodeStatus
			h.fill(&s, sealedAt+3)
			if want := mustParse(t, tt.want); !s.Received.Equal(want) {
				t.Errorf("received %s, want %s", s.Received, want)
			}
		})
	}
}
