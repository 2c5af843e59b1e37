// SPDX-License-Identifier: Apache-2.0

package gather

import (
	"strings"
	"testing"
	"time"

	"highwater/configs"
	"highwater/mysqlcheck/gtid"
	"highwater/promote"
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

// What a host holds and cannot give keeps nobody from being promoted.
func TestCompare(t *testing.T) {
	nodes := []configs.Node{{Name: "db1", Priority: 120}, {Name: "db2", Priority: 110}, {Name: "db3", Priority: 100}}
	status := func(executed, received string, edit func(*peer.NodeStatus)) peer.NodeStatus {
		s := peer.NodeStatus{
			Eligible: true, Executed: mustParse(t, executed), Received: mustParse(t, received),
			Term: 2, JoinedTerm: 2, JoinedPrimary: "db2",
		}
		if edit != nil {
			edit(&s)
		}
		return s
	}
	for _, tt := range []struct {
		name   string
		heard  map[string]peer.NodeStatus
		winner string
		left   string
	}{
		{
			"the one that is ahead", map[string]peer.NodeStatus{
				"db2": status("A:1-10", "A:1-10", nil), "db3": status("A:1-10", "A:1-12", nil),
			}, "db3", "",
		},
		{
			"a delayed replica that is ahead", map[string]peer.NodeStatus{
				"db2": status("A:1-10", "A:1-10", nil),
				"db3": status("A:1-8", "A:1-14", func(s *peer.NodeStatus) { s.Eligible, s.Reasons = false, []string{"delayed"} }),
			}, "db2", "db3 has received and cannot apply",
		},
		{
			"an applier with an error that is ahead", map[string]peer.NodeStatus{
				"db2": status("A:1-10", "A:1-10", nil),
				"db3": status("A:1-8", "A:1-14", func(s *peer.NodeStatus) { s.Eligible, s.Reasons = false, []string{"applier_error"} }),
			}, "db2", "A:9-14",
		},
		{
			"a host of an earlier term with rows of its own", map[string]peer.NodeStatus{
				"db1": status("A:1-11", "A:1-11", func(s *peer.NodeStatus) { s.JoinedTerm, s.JoinedPrimary = 1, "db1" }),
				"db2": status("A:1-10,B:1-5", "A:1-10,B:1-5", nil),
				"db3": status("A:1-10,B:1-5", "A:1-10,B:1-5", nil),
			}, "db2", "",
		},
		{
			"the primary of the first term, which was adopted, and a replica that nobody has told to follow", map[string]peer.NodeStatus{
				"db1": status("A:1-12", "A:1-12", func(s *peer.NodeStatus) { s.Term, s.JoinedTerm, s.JoinedPrimary = 1, 0, "" }),
				"db2": status("A:1-11", "A:1-11", func(s *peer.NodeStatus) { s.Term, s.JoinedTerm, s.JoinedPrimary = 1, 0, "" }),
				"db3": status("A:1-10", "A:1-10", func(s *peer.NodeStatus) { s.Term, s.JoinedTerm, s.JoinedPrimary = 1, 1, "db1" }),
			}, "db1", "",
		},
		{
			"a primary that has not noted its term", map[string]peer.NodeStatus{
				"db2": status("A:1-10,B:1-5", "A:1-10,B:1-5", func(s *peer.NodeStatus) { s.JoinedTerm, s.JoinedPrimary = 1, "db1" }),
				"db3": status("A:1-10,B:1-4", "A:1-10,B:1-4", nil),
			}, "db2", "",
		},
		{
			"a term that was only raised", map[string]peer.NodeStatus{
				"db1": status("A:1-11", "A:1-11", func(s *peer.NodeStatus) { s.JoinedTerm, s.JoinedPrimary = 1, "db2" }),
				"db3": status("A:1-10", "A:1-10", nil),
			}, "db1", "",
		},
		{
			"attached to a candidate that failed", map[string]peer.NodeStatus{
				"db1": status("A:1-11", "A:1-11", nil),
				"db3": status("A:1-10", "A:1-10", func(s *peer.NodeStatus) { s.JoinedTerm, s.JoinedPrimary = 3, "db1" }),
			}, "db1", "",
		},
		{
			"a held host", map[string]peer.NodeStatus{
				"db1": status("A:1-30", "A:1-30", func(s *peer.NodeStatus) { s.Held = []string{"x"} }),
				"db3": status("A:1-10", "A:1-10", nil),
			}, "db3", "",
		},
		{
			"a filtered host", map[string]peer.NodeStatus{
				"db1": status("A:1-30", "A:1-30", func(s *peer.NodeStatus) { s.Eligible, s.Reasons = false, []string{"replication_filters"} }),
				"db3": status("A:1-10", "A:1-10", nil),
			}, "db3", "",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			reports, left := Compare(nodes, tt.heard)
			choice := promote.Choose("db3", reports, time.Minute)
			if choice.Winner != tt.winner {
				t.Errorf("winner %q (%s, refused %v), want %q", choice.Winner, choice.Reason, choice.Refused, tt.winner)
			}
			if !strings.Contains(left, strings.ReplaceAll(tt.left, "A", testUUID)) || (tt.left == "") != (left == "") {
				t.Errorf("left %q, want %q in it", left, tt.left)
			}
		})
	}
}
