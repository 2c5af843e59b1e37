// SPDX-License-Identifier: Apache-2.0

package supervisor

import (
	"slices"
	"strings"
	"testing"

	"highwater/configs"
	"highwater/supervisor/control"
	"highwater/supervisor/peer"
	"highwater/supervisor/voter"
	"highwater/supervisor/web"
)

// An order about the members is refused by its reason, wherever it was given, and tells what to do.
func TestMemberOrders(t *testing.T) {
	n := voting(t)
	n.config = &configs.Config{}
	n.config.Cluster.Nodes = n.cluster.nodes
	give := func(verb, node string) (int, string) {
		return n.Order(t.Context(), control.Command{Name: verb, Args: map[string]string{"node": node}}, func(string) {})
	}
	for _, tt := range []struct {
		verb, node string
		code       int
		want       string
	}{
		{"member-add", "", control.CodeUsage, "which node"},
		{"member-add", "db9", control.CodeRefused, "not_configured: db9: cluster.nodes on db1"},
		{"member-add", "db2", control.CodeRefused, "member_silent: db2"},
		{"member-add", "db1", control.CodeRefused, "already_member: db1"},
		{"member-remove", "db2", control.CodeRefused, "no_member: db2"},
		{"member-remove", "db1", control.CodeRefused, "last_voter: db1"},
	} {
		if code, text := give(tt.verb, tt.node); code != tt.code || !strings.Contains(text, tt.want) {
			t.Errorf("%s %s: %d %q, want %d %q", tt.verb, tt.node, code, text, tt.code, tt.want)
		}
	}
	reply := n.HandleCommand(t.Context(), "db2", peer.Command{Name: "member-remove", Args: map[string]string{"node": "db7"}})
	if reply.Code != control.CodeRefused || !strings.Contains(reply.Text, "no_member: db7") {
		t.Errorf("of another host: %+v", reply)
	}
	var s web.Status
	describeRecord(&s, n.voter.Record())
	n.describeMembers(&s)
	if len(s.NotVoting) > 0 || !slices.Equal(s.Unmatched, []string{"db2 is only configured"}) || len(s.Members) != 1 || !s.Members[0].Votes {
		t.Errorf("%+v", s)
	}
	var own peer.NodeStatus
	own.Eligible, own.Seeks = true, true
	n.fillVoter(&own)
	if !own.Eligible || own.Voter.Origin == 0 || own.Voter.Reason != "" || len(own.Voter.Members) != 1 || own.Voter.Members[0].Log != own.Voter.Log {
		t.Errorf("%+v", own.Voter)
	}
	none := &Node{self: n.self, log: n.log}
	order := control.Command{Name: "member-remove", Args: map[string]string{"node": "db2"}}
	if code, text := none.Order(t.Context(), order, func(string) {}); code != control.CodeRefused || !strings.Contains(text, string(voter.ReasonNeedsQuorum)) {
		t.Errorf("without a quorum: %d %q", code, text)
	}
	none.fillVoter(&own)
}
