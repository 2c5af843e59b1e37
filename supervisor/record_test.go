// SPDX-License-Identifier: Apache-2.0

package supervisor

import (
	"log/slog"
	"testing"

	"highwater/election"
	"highwater/supervisor/web"
)

// A farewell that a pause keeps this node from following is no failover under way.
func TestFarewellNotFollowed(t *testing.T) {
	r := newRecorder(slog.New(slog.DiscardHandler), "test", "db2", web.NewMetrics())
	record := func(rec election.Record) { r.record(election.Status{Node: "db2", Role: election.RoleReplica}, rec) }
	record(election.Record{Code: election.CodeFarewell, Door: 1, Term: 1, Node: "db1", Detail: "server_exited"})
	record(election.Record{Code: election.CodePaused, Door: 1, Term: 1})
	if running, _ := r.failovers(); running != nil {
		t.Errorf("under way: %+v", running)
	}
	record(election.Record{Code: election.CodeStood, Door: 3, Term: 2, Detail: "farewell"})
	if running, _ := r.failovers(); running == nil || running.From != "db1" || running.Term != 2 {
		t.Errorf("under way: %+v, want one from db1", running)
	}
	record(election.Record{Code: election.CodeClaimed, Door: 6, Term: 2})
	if running, last := r.failovers(); running != nil || last == nil || last.Result != web.ResultDone {
		t.Errorf("under way: %+v, the last: %+v", running, last)
	}
}
