// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"highwater/election"
	"highwater/supervisor/journal"
	"highwater/test/lab"
)

// entry is a record of the journal as the supervisor writes it.
func entry(t *testing.T, at time.Duration, ev election.Event, actions ...election.Action) journal.Record {
	t.Helper()
	event, err := election.MarshalEvent(ev)
	if err != nil {
		t.Fatal(err)
	}
	r := journal.Record{Seq: 1, At: at, Event: event}
	if r.Actions, err = election.MarshalActions(actions); err != nil {
		t.Fatal(err)
	}
	return r
}

func TestTimeline(t *testing.T) {
	ms := time.Millisecond
	var marks []mark
	for _, r := range []journal.Record{
		entry(t, 1012*ms, election.GatherEnded{},
			election.Record{Code: election.CodeGathered, Door: 4, Detail: `winner "db2", most advanced [db2]`}),
		entry(t, 1005*ms, election.FarewellReceived{},
			election.Record{Code: election.CodeFarewell, Door: 1, Node: "db1", Detail: "server_exited"},
			election.SendAdvert{Priority: 110},
			election.Record{Code: election.CodeStood, Door: 3, Term: 2, Detail: "farewell"}),
		entry(t, 1020*ms, election.ClaimEnded{}, election.Record{Code: election.CodeClaimed, Door: 6}),
		entry(t, 1021*ms, election.Tick{}),
		entry(t, 1022*ms, election.Tick{}, election.Record{Code: election.CodeEventsFlow, Door: 1, Detail: "db1"}),
		{At: 1023 * ms, Event: json.RawMessage(`{"type":"journal_gap","dropped":3}`)},
	} {
		told, err := tell("db2", r)
		if err != nil {
			t.Fatal(err)
		}
		marks = append(marks, told...)
	}
	boot := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	steps, err := stepMarks(strings.NewReader(
		"time=2026-01-02T03:04:06.000Z level=INFO msg=claimed node=db2\n"+
			"time=2026-01-02T03:04:06.015Z level=INFO msg=promote.step node=db2 step=drain took=2.5ms detail=\"\" error=\"\"\n"), "db2", boot)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	show(newPrinter(&out, false), "timeline", append(marks, steps...), time.Second)
	want := `timeline         ms  host  door
                5.0  db2   1 silence       db1 says farewell (server_exited)
                5.0  db2   2 health        its own verdict is fresh, and good
                5.0  db2   3 authority     stands for term 2
               12.0  db2   4 completeness  chosen: most advanced [db2]
               15.0  db2                     everything received is applied: 2.5 ms
               20.0  db2   claim           carries the VIP and announces it
               22.0  db2   1 silence       shut: events_flow (db1)
               23.0  db2                   3 records of the journal are missing here
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Error(diff)
	}
}

// A journal of another version must not be told as something else.
func TestTimelineRefusesWhatItDoesNotKnow(t *testing.T) {
	if _, err := tell("db1", journal.Record{Event: json.RawMessage(`{"type":"Miracle"}`)}); err == nil {
		t.Error("an unknown event is no error")
	}
}

func TestOutageAfter(t *testing.T) {
	record := &lab.Record{Ended: 1000}
	for _, at := range []time.Duration{10, 400, 420, 700, 710} { // two clients, not in order
		record.Acks = append([]lab.Ack{{Acked: at}}, record.Acks...)
	}
	for _, c := range []struct {
		at   time.Duration
		want lab.Outage
	}{
		{at: 300, want: lab.Outage{From: 10, To: 400}}, // under way
		{at: 415, want: lab.Outage{From: 710, To: 1000}},
		{at: 400, want: lab.Outage{From: 710, To: 1000}}, // over: the pause before the fault is none of its
	} {
		if got := outageAfter(record, c.at); got != c.want {
			t.Errorf("outage after %d = %v, want %v", c.at, got, c.want)
		}
	}
}

func TestWatchAddsUpDoubles(t *testing.T) {
	w := &watch{}
	w.see(0, 10, []string{"db1"}, nil)
	w.see(10, 20, []string{"db1", "db2"}, nil)
	w.see(20, 30, []string{"db1", "db2"}, nil)
	w.see(30, 40, []string{"db2"}, nil)
	marks, double := w.seen(15)
	if double != 20 {
		t.Errorf("two carried it for %d, want 20", double)
	}
	var texts []string
	for _, m := range marks {
		texts = append(texts, m.text)
	}
	if diff := cmp.Diff([]string{"db1 and db2 carry the VIP", "db2 alone carries the VIP"}, texts); diff != "" {
		t.Error(diff)
	}
}
