// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"io"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"

	"highwater/configs"
	"highwater/test/lab"
)

func TestParse(t *testing.T) {
	for _, tt := range []struct {
		args, want string // in the error, "" for none
	}{
		{"", ""},
		{"-authority quorum -durability lossless -seed 7 -faults isolated,mute", ""},
		{"-faults help", ""},
		{"-flavor mariadb -hosts 2 -authority quorum -durability lossless", ""},
		{"-matrix", ""},
		{"-matrix -flavor mysql,mariadb -hosts 3,2 -faults split-P/AB,rejoin", ""},
		{"-matrix -faults help", ""},
		{"-matrix -faults isolated", `unknown fault "isolated"`},
		{"-matrix -flavor oracle", `flavor "oracle"`},
		{"-hosts 4", `hosts "4": want 3`},
		{"-hosts 2", "a witness needs authority quorum"},
		{"-hosts 2 -authority quorum", "needs durability lossless"},
		{"-flavor mysql,mariadb", "needs -matrix"},
		{"-durability lossless", "needs authority quorum"},
		{"-authority raft", "want vrrp or quorum"},
		{"-durability some", "want best-effort or lossless"},
		{"-faults isolated,mutt", `unknown fault "mutt"`},
		{"now", `unexpected argument "now"`},
	} {
		o, err := parse(strings.Fields(tt.args), io.Discard)
		if tt.want == "" && (err != nil || (o == nil) != strings.Contains(tt.args, "help")) ||
			tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%q: %v, want %q", tt.args, err, tt.want)
		}
	}
	o, err := parse(nil, io.Discard)
	if err != nil || o.seed == 0 || o.authority != configs.AuthorityVRRP || len(o.faults) != len(faults) {
		t.Errorf("by default %+v, %v", o, err)
	}
}

// The same seed draws the same faults, and every fault is drawn before one is drawn again.
func TestDraw(t *testing.T) {
	type drawn struct {
		name string
		hits target
		hold time.Duration
	}
	draw := func(seed uint64) (list []drawn) {
		s := &soaking{o: options{faults: faults}, rand: rand.New(rand.NewPCG(seed, 0))}
		for range 3 * len(faults) {
			f, hits, hold := s.draw()
			list = append(list, drawn{f.name, hits, hold})
			if hits == anyone || f.hits != anyone && hits != f.hits || hold < minHold || hold > maxHold {
				t.Errorf("%s hits %d for %v", f.name, hits, hold)
			}
		}
		return list
	}
	first := draw(1)
	if !reflect.DeepEqual(first, draw(1)) {
		t.Error("one seed draws two sequences")
	}
	if reflect.DeepEqual(first, draw(2)) {
		t.Error("two seeds draw one sequence")
	}
	for n := 0; n < len(first); n += len(faults) {
		seen := map[string]bool{}
		for _, d := range first[n : n+len(faults)] {
			seen[d.name] = true
		}
		if len(seen) != len(faults) {
			t.Errorf("draws %d to %d have %d of %d faults", n, n+len(faults), len(seen), len(faults))
		}
	}
}

// term is a run of acknowledgements, of one server, in milliseconds.
func term(server string, from, to int) lab.Term {
	ack := func(at int) lab.Ack {
		return lab.Ack{Server: server, Sent: time.Duration(at) * time.Millisecond, Acked: time.Duration(at+5) * time.Millisecond}
	}
	return lab.Term{Server: server, First: ack(from), Last: ack(to), Acks: to - from}
}

func TestJudgeTerms(t *testing.T) {
	for name, tt := range map[string]struct {
		terms  []lab.Term
		raised uint64
		want   string
	}{
		"nobody acknowledges":   {nil, 0, ""},
		"nothing moved":         {[]lab.Term{term("db1", 0, 900)}, 0, ""},
		"a term for nothing":    {[]lab.Term{term("db1", 0, 900)}, 2, ""},
		"a move":                {[]lab.Term{term("db1", 0, 900), term("db2", 3000, 4000)}, 1, ""},
		"there and back":        {[]lab.Term{term("db1", 0, 900), term("db2", 3000, 4000), term("db1", 6000, 7000)}, 2, ""},
		"a move without term":   {[]lab.Term{term("db1", 0, 900), term("db2", 3000, 4000)}, 0, "changed 1 times while the term rose by 0: db1:900 db2:1000"},
		"more moves than terms": {[]lab.Term{term("db1", 0, 900), term("db2", 3000, 4000), term("db1", 6000, 7000)}, 1, "changed 2 times"},
		"two at once":           {[]lab.Term{term("db1", 0, 900), term("db2", 910, 911), term("db1", 915, 1500)}, 5, "db2 acknowledged while db1 did so"},
	} {
		t.Run(name, func(t *testing.T) {
			got := strings.Join(judgeTerms(tt.terms, tt.raised), "; ")
			if tt.want == "" && got != "" || !strings.Contains(got, tt.want) {
				t.Errorf("%q, want %q", got, tt.want)
			}
		})
	}
}

func TestOutageAfter(t *testing.T) {
	record := &lab.Record{Ended: 9 * time.Second}
	for _, at := range []time.Duration{0, 3 * time.Second, 4 * time.Second, 6 * time.Second, 8 * time.Second} {
		record.Acks = append(record.Acks, lab.Ack{Acked: at})
	}
	for at, want := range map[time.Duration]time.Duration{
		time.Second:             3 * time.Second, // it began before
		3500 * time.Millisecond: 2 * time.Second,
		8500 * time.Millisecond: time.Second, // until the end
	} {
		if got := outageAfter(record, at); got != want {
			t.Errorf("after %v: %v, want %v", at, got, want)
		}
	}
}

func TestTable(t *testing.T) {
	o := options{authority: "quorum", durability: "best-effort", seed: 7}
	rounds := []round{
		{fault: "mute", host: "db1", primary: true, outage: 3 * time.Second, recovery: time.Second, acks: 10, moves: 1, rebuilt: 1},
		{fault: "isolated", host: "db2", outage: time.Second, acks: 5},
		{fault: "mute", host: "db3", outage: 2 * time.Second, acks: 5},
		{fault: "mute", host: "db2", primary: true, outage: 5 * time.Second, recovery: 4 * time.Second, acks: 1},
		{fault: "mute", host: "db2", primary: true, outage: time.Second, acks: 1, lost: 2, wrong: []string{"2 rows | lost"}},
		{fault: "power-cut", outage: 9 * time.Second},
	}
	got := table(o, rounds, 62*time.Second, errors.New("a promise was broken"))
	want := `Soak of 1m2s: authority quorum, durability best-effort, seed 7: 6 faults, 22 rows acknowledged, 2 lost; **a promise was broken**.

| fault | rounds | moved | rebuilt | outage, median | worst | lost | well again, worst | verdict |
| --- | --- | --- | --- | --- | --- | --- | --- | --- |
| isolated, replica | 1 | 0 | 0 | 1.00 s | 1.00 s | 0 | 0.00 s | ok |
| mute, primary | 3 | 1 | 1 | 3.00 s | 5.00 s | 2 | 4.00 s | **2 rows \| lost** |
| mute, replica | 1 | 0 | 0 | 2.00 s | 2.00 s | 0 | 0.00 s | ok |
| power-cut | 1 | 0 | 0 | 9.00 s | 9.00 s | 0 | 0.00 s | ok |
`
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
