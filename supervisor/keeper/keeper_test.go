// SPDX-License-Identifier: Apache-2.0

package keeper

import (
	"testing"

	"highwater/election"
	"highwater/promote"
)

// An old primary whose settings were relaxed is believed while its process lives, and again once
// the terms do not count in which they were.
func TestMayLack(t *testing.T) {
	record := election.ClusterRecord{Term: 5, Since: 4, Primary: "db1"}
	moved := election.ClusterRecord{Term: 6, Since: 6, Primary: "db2", Kept: &election.KeptTerm{Term: 5, Primary: "db1"}}
	moved.Failovers = []election.Failover{{From: "db1", Since: 4, Last: 5, To: "db2", Term: 6}}
	counts := moved
	counts.Kept = nil
	for _, tt := range []struct {
		name    string
		relaxed promote.Relaxed
		start   string
		record  election.ClusterRecord
		want    bool
	}{
		{"never", promote.Relaxed{}, "b", record, false},
		{"it has not ended", promote.Relaxed{Start: "a", Term: 5}, "a", record, false},
		{"it has ended", promote.Relaxed{Start: "a", Term: 5}, "b", record, true},
		{"in an earlier of its terms", promote.Relaxed{Start: "a", Term: 4}, "b", record, true},
		{"before somebody else's term", promote.Relaxed{Start: "a", Term: 2}, "b", record, false},
		{"what is kept", promote.Relaxed{Start: "a", Term: 5}, "b", moved, true},
		{"before what is kept", promote.Relaxed{Start: "a", Term: 2}, "b", moved, false},
		{"what is kept no more", promote.Relaxed{Start: "a", Term: 5}, "b", counts, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := mayLack(tt.relaxed, tt.start, tt.record, "db1"); got != tt.want {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}
