// SPDX-License-Identifier: Apache-2.0

package main

import (
	"io"
	"reflect"
	"strings"
	"testing"
	"time"

	"highwater/configs"
	"highwater/test/lab"
)

// The matrix is quorum and lossless, for each combination that is asked for.
func TestMatrixOptions(t *testing.T) {
	o, err := parse(strings.Fields("-matrix -flavor mysql,mariadb -hosts 3,2 -faults rejoin,server-killed"), io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	want := []setup{{lab.MySQL, 3}, {lab.MySQL, 2}, {lab.MariaDB, 3}, {lab.MariaDB, 2}}
	if !reflect.DeepEqual(o.setups, want) || o.authority != configs.AuthorityQuorum || o.durability != configs.Lossless {
		t.Errorf("%+v", o)
	}
	if len(o.scenarios) != 2 || o.scenarios[0].name != "rejoin" || o.scenarios[0].times != 10 {
		t.Errorf("%+v", o.scenarios)
	}
}

// Rows are told apart by their names, and each ends within what a round may take.
func TestScenarios(t *testing.T) {
	seen := map[string]bool{}
	for _, s := range scenarios {
		if seen[s.name] || s.summary == "" || s.begin == nil || s.hits == anyone || s.hold < time.Second || s.hold > roundLimit/4 {
			t.Errorf("%+v", s)
		}
		seen[s.name] = true
	}
}

func ack(server string, sent, acked int) lab.Ack {
	return lab.Ack{Server: server, Sent: time.Duration(sent) * time.Millisecond, Acked: time.Duration(acked) * time.Millisecond}
}

func TestOverlapping(t *testing.T) {
	for name, tt := range map[string]struct {
		acks []lab.Ack
		want int
	}{
		"nobody":          {nil, 0},
		"one":             {[]lab.Ack{ack("db1", 1, 5), ack("db1", 2, 9)}, 0},
		"a move":          {[]lab.Ack{ack("db1", 1, 5), ack("db1", 2, 9), ack("db2", 100, 105)}, 0},
		"there and back":  {[]lab.Ack{ack("db1", 1, 5), ack("db2", 100, 105), ack("db1", 200, 205)}, 0},
		"told late":       {[]lab.Ack{ack("db1", 1, 5), ack("db1", 2, 300), ack("db1", 3, 104), ack("db2", 100, 105)}, 1},
		"after two moves": {[]lab.Ack{ack("db1", 1, 500), ack("db2", 100, 105), ack("db3", 200, 205)}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			record := lab.Record{Acks: tt.acks}
			if got := overlapping(record.Terms(), tt.acks); got != tt.want {
				t.Errorf("%d, want %d", got, tt.want)
			}
		})
	}
}

func TestJudgeMove(t *testing.T) {
	sights := []sight{
		{10 * time.Millisecond, []string{"db1"}},
		{20 * time.Millisecond, []string{"db1", "db2"}},
		{30 * time.Millisecond, []string{"db1", "db2"}},
		{3 * time.Second, []string{"db2"}},
		{4 * time.Second, []string{"db1"}},
	}
	if got := twice(sights); got != 10*time.Millisecond {
		t.Errorf("two hosts had the VIP for %v", got)
	}
	told := &lab.Record{Acks: []lab.Ack{ack("db1", 1, 5), ack("db2", 40, 45)}}
	for name, tt := range map[string]struct {
		t      trial
		r      round
		mended time.Duration
		want   string
	}{
		"moved":               {trial{}, round{from: "db1", to: "db2", moves: 1}, 3500 * time.Millisecond, ""},
		"comes back with VIP": {trial{}, round{from: "db1", to: "db2", moves: 1}, 2 * time.Second, "the VIP was on db1"},
		"moved later":         {trial{}, round{from: "db1", to: "db2", moves: 1}, 10 * time.Millisecond, ""},
		"stays":               {trial{stays: true}, round{from: "db1", to: "db1"}, time.Second, ""},
		"without need":        {trial{stays: true}, round{from: "db1", to: "db2", moves: 1}, 3500 * time.Millisecond, "without need"},
		"there and back":      {trial{stays: true}, round{from: "db1", to: "db1", moves: 2}, time.Second, "without need"},
		"two at once":         {trial{}, round{from: "db1", to: "db1", overlapping: 3}, time.Second, "3 rows were acknowledged"},
	} {
		t.Run(name, func(t *testing.T) {
			got := strings.Join(judgeMove(tt.t, &tt.r, told, sights, tt.mended), "; ")
			if tt.want == "" && got != "" || !strings.Contains(got, tt.want) {
				t.Errorf("%q, want %q", got, tt.want)
			}
		})
	}
}

func TestMatrixTable(t *testing.T) {
	named := func(name string) scenario { return scenario{fault: fault{name: name}} }
	rows := []row{
		{named("server-killed"), []round{{
			from: "db1", to: "db2", moves: 1, well: true, acks: 10, cloned: 1,
			outage: time.Second, recovery: 2 * time.Second, twice: 500 * time.Millisecond,
		}}},
		{named("lock-tables"), []round{{from: "db2", to: "db2", well: true}}},
		{named("rejoin"), []round{
			{from: "db2", to: "db1", moves: 1, well: true, rebuilt: 1, heldFor: []string{"rejoin_no_clone"}},
			{from: "db1", to: "db2", moves: 1, well: true, recovery: 3 * time.Second, crashLoop: true},
		}},
		{named("mute"), []round{{wrong: []string{"a|b"}, lost: 2, overlapping: 1}}},
	}
	got := matrixTable(setup{lab.MariaDB, 2}, "10.11", rows, time.Minute)
	want := `### mariadb, two servers and a witness (10.11)

5 rounds in 1m0s: 10 rows acknowledged, 2 lost, 1 by two servers at once; 1 of 4 faults went wrong.

| fault | outage | lost | overlapping | VIP twice | primary | healed in | came back | verdict |
| --- | --- | --- | --- | --- | --- | --- | --- | --- |
| server-killed | 1.00 s | 0 | 0 | 0.50 s | db1 → db2 | 2.00 s | rebuilt by itself: 1 | ok |
| lock-tables | 0.00 s | 0 | 0 | 0.00 s | db2 stays | 0.00 s | – | ok |
| rejoin | 0.00 s | 0 | 0 | 0.00 s | moved 2 of 2 times | 3.00 s | held ` + "`rejoin_no_clone`" + `: 1, taken in after a crash loop | ok, by hand |
| mute | 0.00 s | 2 | 1 | 0.00 s | ? | 0.00 s | – | **a\|b** |
`
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
