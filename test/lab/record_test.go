// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func ack(server string, client int, seq int64, sent, acked time.Duration) Ack {
	return Ack{Row: Row{client, seq}, Server: server, Sent: sent, Acked: acked}
}

func TestRecordOutage(t *testing.T) {
	for name, c := range map[string]struct {
		record Record
		want   Outage
	}{
		"nothing acknowledged": {Record{Started: 3, Ended: 9}, Outage{3, 9}},
		"between two clients": {
			Record{Ended: 31, Acks: []Ack{ack("a", 1, 1, 0, 10), ack("a", 2, 1, 0, 12), ack("b", 1, 2, 11, 30), ack("b", 2, 2, 13, 20)}},
			Outage{20, 30},
		},
		"until the end": {Record{Ended: 40, Acks: []Ack{ack("a", 1, 1, 0, 10), ack("a", 1, 2, 11, 12)}}, Outage{12, 40}},
	} {
		if got := c.record.Outage(); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

func TestRecordTerms(t *testing.T) {
	r := Record{Acks: []Ack{
		ack("a", 1, 1, 1, 2),
		ack("b", 2, 3, 10, 11), // noted before an older one of the other server
		ack("a", 2, 2, 3, 12),
		ack("a", 1, 2, 20, 21),
	}}
	var got []string
	for _, term := range r.Terms() {
		got = append(got, term.Server)
	}
	if diff := cmp.Diff([]string{"a", "b", "a"}, got); diff != "" {
		t.Error(diff)
	}
}

func TestRecordCompare(t *testing.T) {
	r := Record{Acks: []Ack{ack("a", 1, 1, 1, 2), ack("a", 1, 2, 3, 4)}, Unknown: []Row{{1, 3}, {1, 4}}}
	got := r.compare(map[Row]bool{{1, 1}: true, {1, 3}: true, {9, 9}: true})
	want := Difference{Missing: []Ack{r.Acks[1]}, Unexpected: []Row{{9, 9}}, Survived: 1}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if got.OK() {
		t.Error("OK in spite of it")
	}
}
