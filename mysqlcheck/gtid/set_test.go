// SPDX-License-Identifier: Apache-2.0

package gtid

import (
	"encoding/json"
	"math"
	"strings"
	"testing"
)

const (
	uuidA = "3e11fa47-71ca-11e1-9e33-c80aa9429562"
	uuidB = "4f22fb58-82db-22f2-af44-d91bb053a673"
)

// expand writes A and B for the two UUIDs, so that a table line stays readable.
func expand(s string) string {
	return strings.NewReplacer("A", uuidA, "B", uuidB).Replace(s)
}

func shorten(s string) string {
	return strings.NewReplacer(uuidA, "A", uuidB, "B").Replace(s)
}

func mustParse(t testing.TB, s string) Set {
	t.Helper()
	set, err := Parse(expand(s))
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func TestParseMySQL(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{"", ""},
		{" \t\r\n\v\f", ""},
		{",, ,", ""},
		{"A:1", "A:1"},
		{"A:1-1", "A:1"},
		{"A:1-5", "A:1-5"},
		{"A", ""},
		{"A,B:1", "B:1"},
		{"A:1-5:6-9", "A:1-9"},
		{"A:6-9:1-5", "A:1-9"},
		{"A:1-5:3-9:20", "A:1-9:20"},
		{"A:1:3:5", "A:1:3:5"},
		{"A:5-1", ""},
		{"A:5-1:7", "A:7"},
		{"A:5-0", ""},
		{"B:1,A:1", "A:1,B:1"},
		{"A:1,,B:2,\nA:2,", "A:1-2,B:2"},
		{" A : 1 - 5 : 7 , B : 2 ", "A:1-5:7,B:2"},
		{"A:9223372036854775806", "A:9223372036854775806"},
		{"A:007-010", "A:7-10"},
		{"{A}:1", "A:1"},
		{"3e11fa4771ca11e19e33c80aa9429562:1", "A:1"},
		// Tags of 8.3 and later.
		{"A:1-10:tag1:1-3,B:4", "A:1-10:tag1:1-3,B:4"},
		{"A:Tag_1:1-3:5", "A:tag_1:1-3:5"},
		{"A:b:1:a:1,A:7", "A:7:a:1:b:1"},
		{"A:_:1", "A:_:1"},
		{"A:x:1:y:2:x:2", "A:x:1-2:y:2"},
		{"A:x:y:1", "A:y:1"},
		{"A:x", ""},
		{"A:1:x", "A:1"},
		{"A:abcdefghijklmnopqrstuvwxyz_12345:1", "A:abcdefghijklmnopqrstuvwxyz_12345:1"},
	} {
		set, err := ParseMySQL(expand(tt.in))
		if err != nil {
			t.Errorf("%q: %v", tt.in, err)
			continue
		}
		if got := shorten(set.String()); got != tt.want {
			t.Errorf("%q: got %q, want %q", tt.in, got, tt.want)
		}
	}
}

func TestParseMySQLUpperCase(t *testing.T) {
	set, err := ParseMySQL(strings.ToUpper(uuidA) + ":TAG:1")
	if want := uuidA + ":tag:1"; err != nil || set.String() != want {
		t.Errorf("got %q, %v, want %q", set, err, want)
	}
}

func TestParseMySQLRefuses(t *testing.T) {
	// The letter is ours to refuse: 9.7.4 takes it for two bytes 0xff.
	for _, in := range append([]string{"A:täg:1"}, mysqlMalformed...) {
		if set, err := ParseMySQL(expand(in)); err == nil {
			t.Errorf("%q: accepted as %q", in, set)
		}
	}
}

// mysqlMalformed is refused here and, in the oracle test, by a live server.
var mysqlMalformed = []string{
	"x", "1", "A:", "A:0", "A:0-5", "A:-1", "A:1-", "A:1-x", "A:1--5", "A:1-5-7", "A:+1", "A:1.5",
	"A:9223372036854775807", "A:1-9223372036854775807", "A:99999999999999999999999999",
	"A 1", "A:1 B:1", "A:1;B:1", "A:1:", "A::1", "A:1::2", "A:1\x00", "A:0x10",
	"3e11fa47-71ca-11e1-9e33-c80aa942956:1", "3e11fa47-71ca-11e1-9e33-c80aa94295621:1",
	"3e11fa47-71ca-11e1-9e33-c80aa942956g:1", "{" + uuidA + ":1", uuidA + "}:1", "{3e11fa4771ca11e19e33c80aa9429562}:1",
	"3e11fa4-771ca-11e1-9e33-c80aa9429562:1",
	"A:1tag:1", "A:tag-1:1", "A:tag:", "A:tag:0", "A:tag 1:1", "A:1\xa0", "A:\xe4:1",
	"A:abcdefghijklmnopqrstuvwxyz_123456:1",
	"A:1,0-1-100", "0-1-100",
}

func TestParseMariaDB(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{"", ""},
		{"0-1-100", "0-1-100"},
		{"1-1-7,0-1-100", "0-1-100,1-1-7"},
		{"0-2-100,0-1-90", "0-1-90,0-2-100"},
		{"0-1-0", ""},
		{"4294967295-4294967295-18446744073709551615", "4294967295-4294967295-18446744073709551615"},
		{" 0-\t1-\n+100, 1-1-7", "0-1-100,1-1-7"},
		{"0-1-7,0-1-5", "0-1-7"},
		// Differences.
		{"0-1-51..100", "0-1-51..100"},
		{"0-1-1..100", "0-1-100"},
		{"0-*-1..50", "0-*-1..50"},
		{"0-*-1..50,0-1-51..60", "0-1-60"},
		{"0-1-1..50,0-*-40..60", "0-1-50,0-*-51..60"},
		{"0-*-18446744073709551615..18446744073709551615", "0-*-18446744073709551615..18446744073709551615"},
	} {
		set, err := ParseMariaDB(tt.in)
		if err != nil {
			t.Errorf("%q: %v", tt.in, err)
			continue
		}
		if got := set.String(); got != tt.want {
			t.Errorf("%q: got %q, want %q", tt.in, got, tt.want)
		}
	}
}

func TestParseMariaDBRefuses(t *testing.T) {
	for _, in := range append([]string{
		"0-1-5..3", "0-1-0..3", "0-1-1...3", "0-1-1.3", "0-*-5", "0-*-", "*-1-5", "0-1-1..", uuidA + ":1",
	}, mariadbMalformed...) {
		if set, err := ParseMariaDB(in); err == nil {
			t.Errorf("%q: accepted as %q", in, set)
		}
	}
}

// mariadbMalformed is refused here and, in the oracle test, by a live server.
var mariadbMalformed = []string{
	"x", "0", "0-1", "0-1-", "0--1", "-0-1-1", "0-1-1-1", "0-1-x", "0-1-1;1-1-1", "0-1-1 1-1-1",
	"4294967296-1-1", "0-4294967296-1", "0-1-18446744073709551616", "0-1-1,x", "0-1-1,,1-1-1", "0 -1-1", "0-1 -1",
	"0-1-1 ", "0-1-1 ,1-1-1", "0-1-1,", ",0-1-1", " ", "+ 0-1-1",
}

func TestParseChoosesFlavor(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{"12345678-1-5", "12345678-1-5"},
		{"A:1", "A:1"},
		{"A", ""},
		{" , ", ""},
		{"\n,A:1,B:1", "A:1,B:1"},
		{"0-*-1..50", "0-*-1..50"},
	} {
		if got := shorten(mustParse(t, tt.in).String()); got != tt.want {
			t.Errorf("%q: got %q, want %q", tt.in, got, tt.want)
		}
	}
	if _, err := Parse("nonsense"); err == nil {
		t.Error("nonsense accepted")
	}
}

func TestParseErrorIsShort(t *testing.T) {
	_, err := Parse(strings.Repeat("\x00", 1<<20))
	if err == nil || len(err.Error()) > 300 {
		t.Errorf("error of %d bytes", len(err.Error()))
	}
}

func TestAlgebra(t *testing.T) {
	for _, tt := range []struct {
		s, t                       string
		union, subtract, intersect string
		relation                   Relation
		subtractCount              uint64
	}{
		{s: "", t: "", relation: Equal},
		{s: "A:1-5", t: "", union: "A:1-5", subtract: "A:1-5", relation: Ahead, subtractCount: 5},
		{s: "A:1-5", t: "A:1-5", union: "A:1-5", intersect: "A:1-5", relation: Equal},
		{s: "A:1-5", t: "A:1-9", union: "A:1-9", intersect: "A:1-5", relation: Behind},
		{s: "A:1-9", t: "A:3-5:7", union: "A:1-9", subtract: "A:1-2:6:8-9", intersect: "A:3-5:7", relation: Ahead, subtractCount: 5},
		{s: "A:1-5", t: "A:4-9", union: "A:1-9", subtract: "A:1-3", intersect: "A:4-5", relation: Diverged, subtractCount: 3},
		{s: "A:1-5", t: "B:1-5", union: "A:1-5,B:1-5", subtract: "A:1-5", relation: Diverged, subtractCount: 5},
		{s: "A:1-5", t: "A:x:1-5", union: "A:1-5:x:1-5", subtract: "A:1-5", relation: Diverged, subtractCount: 5},
		{s: "A:1-5:x:1-5", t: "A:x:1-5", union: "A:1-5:x:1-5", subtract: "A:1-5", intersect: "A:x:1-5", relation: Ahead, subtractCount: 5},

		// MariaDB: positions.
		{s: "0-1-100", t: "0-1-100", union: "0-1-100", intersect: "0-1-100", relation: Equal},
		{s: "0-1-100", t: "0-1-60", union: "0-1-100", subtract: "0-1-61..100", intersect: "0-1-60", relation: Ahead, subtractCount: 40},
		{s: "0-1-100", t: "0-2-60", union: "0-1-100", subtract: "0-1-61..100", intersect: "0-2-60", relation: Ahead, subtractCount: 40},
		{s: "0-1-100", t: "0-2-100", union: "0-1-100,0-2-100", subtract: "0-1-100..100", intersect: "0-*-1..99", relation: Diverged, subtractCount: 1},
		{s: "0-1-100,1-1-5", t: "0-1-90", union: "0-1-100,1-1-5", subtract: "0-1-91..100,1-1-5", intersect: "0-1-90", relation: Ahead, subtractCount: 15},
		{s: "0-1-100", t: "0-1-90,1-1-5", union: "0-1-100,1-1-5", subtract: "0-1-91..100", intersect: "0-1-90", relation: Diverged, subtractCount: 10},
		// States.
		{s: "0-1-90,0-2-100", t: "0-2-100", union: "0-1-90,0-2-100", intersect: "0-1-90,0-2-100", relation: Equal},
		{s: "0-1-90,0-2-100", t: "0-1-90", union: "0-1-90,0-2-100", subtract: "0-2-91..100", intersect: "0-1-90", relation: Ahead, subtractCount: 10},
		{s: "0-1-90,0-2-100", t: "0-3-40", union: "0-1-90,0-2-100", subtract: "0-1-41..90,0-2-91..100", intersect: "0-3-40", relation: Ahead, subtractCount: 60},
		{s: "0-1-90,0-2-100", t: "0-3-90", union: "0-1-90,0-3-90,0-2-100", subtract: "0-1-90..90,0-2-91..100", intersect: "0-*-1..89", relation: Diverged, subtractCount: 11},
		// Server 1 ended at 90 in one history, wrote on until 95 in the other.
		{s: "0-1-95", t: "0-1-90,0-2-100", union: "0-1-95,0-2-100", subtract: "0-1-91..95", intersect: "0-1-90", relation: Diverged, subtractCount: 5},
		// Two servers were promoted at 90.
		{s: "0-1-90,0-2-100", t: "0-1-90,0-3-95", union: "0-1-90,0-3-95,0-2-100", subtract: "0-2-91..100", intersect: "0-1-90", relation: Diverged, subtractCount: 10},
		{s: "0-1-90,0-3-95", t: "0-1-90,0-2-100", union: "0-1-90,0-3-95,0-2-100", subtract: "0-3-91..95", intersect: "0-1-90", relation: Diverged, subtractCount: 5},
		// A union of diverged positions holds both, and nothing else does.
		{s: "0-1-100,0-2-100", t: "0-1-101", union: "0-1-100,0-2-100,0-1-101", subtract: "0-1-100..100,0-2-100..100", intersect: "0-*-1..99", relation: Diverged, subtractCount: 1},
		{s: "0-1-100,0-2-100", t: "0-2-100", union: "0-1-100,0-2-100", subtract: "0-1-100..100", intersect: "0-2-100", relation: Ahead, subtractCount: 1},
		// Differences.
		{s: "0-1-50,0-2-60,0-*-61..90", t: "0-3-80", union: "0-1-50,0-2-60,0-*-61..90", subtract: "0-*-81..90", intersect: "0-3-80", relation: Ahead, subtractCount: 10},
		{s: "0-1-51..100", t: "0-2-50", union: "0-1-100", subtract: "0-1-51..100", relation: Diverged, subtractCount: 50},
		{s: "0-1-100", t: "0-1-51..100", union: "0-1-100", subtract: "0-*-1..50", intersect: "0-1-51..100", relation: Ahead, subtractCount: 50},

		// Two flavors.
		{s: "A:1-5", t: "0-1-100", union: "A:1-5,0-1-100", subtract: "A:1-5", relation: Diverged, subtractCount: 5},
		{s: "0-1-100", t: "", union: "0-1-100", subtract: "0-1-100", relation: Ahead, subtractCount: 100},
	} {
		a, b := mustParse(t, tt.s), mustParse(t, tt.t)
		if got := shorten(a.Union(b).String()); got != tt.union {
			t.Errorf("%s union %s: got %q, want %q", tt.s, tt.t, got, tt.union)
		}
		diff := a.Subtract(b)
		if got := shorten(diff.String()); got != tt.subtract {
			t.Errorf("%s subtract %s: got %q, want %q", tt.s, tt.t, got, tt.subtract)
		}
		if got := diff.Count(); got != tt.subtractCount {
			t.Errorf("%s subtract %s: count %d, want %d", tt.s, tt.t, got, tt.subtractCount)
		}
		if got := shorten(a.Intersect(b).String()); got != tt.intersect {
			t.Errorf("%s intersect %s: got %q, want %q", tt.s, tt.t, got, tt.intersect)
		}
		if got := a.Compare(b); got != tt.relation {
			t.Errorf("%s compare %s: got %v, want %v", tt.s, tt.t, got, tt.relation)
		}
	}
}

func TestCountSaturates(t *testing.T) {
	if got := mustParse(t, "A:1-9223372036854775806,B:1-9223372036854775806:x:1-9223372036854775806").Count(); got != math.MaxUint64 {
		t.Errorf("MySQL: %d", got)
	}
	if got := mustParse(t, "0-1-18446744073709551615").Count(); got != math.MaxUint64 {
		t.Errorf("MariaDB: %d", got)
	}
	if got := mustParse(t, "0-1-18446744073709551615,1-1-1").Count(); got != math.MaxUint64 {
		t.Errorf("MariaDB, two domains: %d", got)
	}
}

func TestBySource(t *testing.T) {
	set := mustParse(t, "A:1-5:x:1:y:2,B:7")
	for _, tt := range []struct{ uuid, want string }{
		{uuidA, "A:1-5:x:1:y:2"},
		{strings.ToUpper(uuidB), "B:7"},
		{"00000000-0000-0000-0000-000000000000", ""},
		{"ffffffff-ffff-ffff-ffff-ffffffffffff", ""},
		{"nonsense", ""},
		{"", ""},
	} {
		if got := shorten(set.BySource(tt.uuid).String()); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.uuid, got, tt.want)
		}
	}
	if got := mustParse(t, "0-1-5").BySource(uuidA); !got.IsEmpty() {
		t.Errorf("MariaDB: %q", got)
	}
}

func TestHoles(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{"", ""},
		{"A:1-5", ""},
		{"A:4-5", ""},
		{"A:1-5:8-9:12,B:1", "A:6-7:10-11"},
		{"A:1:x:1:3", "A:x:2"},
		{"0-1-100,1-1-5", ""},
		{"0-*-1..5,0-1-8..9", "0-*-6..7"},
	} {
		if got := shorten(mustParse(t, tt.in).Holes().String()); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.in, got, tt.want)
		}
	}
}

func TestText(t *testing.T) {
	type document struct{ Executed, Empty Set }
	in := document{Executed: mustParse(t, "A:1-5:x:7")}
	text, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	if want := expand(`{"Executed":"A:1-5:x:7","Empty":""}`); string(text) != want {
		t.Errorf("got %s, want %s", text, want)
	}
	out := document{Empty: mustParse(t, "A:1")}
	if err := json.Unmarshal(text, &out); err != nil {
		t.Fatal(err)
	}
	if !out.Executed.Equal(in.Executed) || !out.Empty.IsEmpty() {
		t.Errorf("got %+v", out)
	}
	kept := mustParse(t, "A:1")
	if err := kept.UnmarshalText([]byte("A:0")); err == nil || shorten(kept.String()) != "A:1" {
		t.Errorf("after a refused text: %v, %s", err, kept)
	}
	if text, err := mustParse(t, "A:1").Union(mustParse(t, "0-1-5")).MarshalText(); err == nil {
		t.Errorf("two flavors written as %s", text)
	}
}

func TestRelationString(t *testing.T) {
	for r, want := range map[Relation]string{Equal: "equal", Ahead: "ahead", Behind: "behind", Diverged: "diverged", 9: "invalid"} {
		if got := r.String(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
