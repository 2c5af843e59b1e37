// SPDX-License-Identifier: Apache-2.0

package gtid

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// transaction is one element of a MySQL set, for a model of sets as maps.
type transaction struct {
	uuid, tag string
	gno       uint64
}

type model map[transaction]bool

// modelUUIDs differ in their last digit only, so that their order matters.
var modelUUIDs = []string{uuidA, uuidA[:35] + "3", uuidB}

func drawModel(t *rapid.T, name string) model {
	// Few keys make intervals that meet and overlap, many make orders to get wrong.
	uuids, tags := modelUUIDs, []string{"", "a", "a_1", "b"}
	if rapid.Bool().Draw(t, name+" dense") {
		uuids, tags = uuids[:1], tags[:1]
	}
	one := rapid.Custom(func(t *rapid.T) transaction {
		return transaction{
			uuid: rapid.SampledFrom(uuids).Draw(t, "uuid"),
			tag:  rapid.SampledFrom(tags).Draw(t, "tag"),
			gno:  rapid.Uint64Range(1, 12).Draw(t, "gno"),
		}
	})
	m := make(model)
	for _, tx := range rapid.SliceOfN(one, 0, 40).Draw(t, name) {
		m[tx] = true
	}
	return m
}

// drawText writes m in one of the many ways that mean the same: elements in any
// order, some as ranges that overlap, with white space and capitals.
func (m model) drawText(t *rapid.T) string {
	all := slices.SortedFunc(maps.Keys(m), func(a, b transaction) int {
		return strings.Compare(fmt.Sprint(a), fmt.Sprint(b))
	})
	var elements []string
	for _, tx := range rapid.Permutation(all).Draw(t, "order") {
		last := tx.gno
		for m[transaction{tx.uuid, tx.tag, last + 1}] && rapid.Bool().Draw(t, "range") {
			last++
		}
		element := tx.uuid
		if tx.tag != "" {
			element += ":" + tx.tag
		}
		element += fmt.Sprintf(":%d", tx.gno)
		if last > tx.gno {
			element += fmt.Sprintf(" - %d", last)
		}
		if rapid.Bool().Draw(t, "upper") {
			element = strings.ToUpper(element)
		}
		elements = append(elements, element)
	}
	return strings.Join(elements, rapid.SampledFrom([]string{",", ",\n", " , ", ",,"}).Draw(t, "comma"))
}

func (m model) filter(keep func(transaction) bool) model {
	out := make(model)
	for tx := range m {
		if keep(tx) {
			out[tx] = true
		}
	}
	return out
}

// set builds a Set without the parser.
func (m model) set() Set {
	byKey := make(map[sourceKey][]interval)
	for tx := range m {
		id, err := parseUUID(tx.uuid)
		if err != nil {
			panic(err)
		}
		key := sourceKey{id, tx.tag}
		byKey[key] = append(byKey[key], interval{tx.gno, tx.gno})
	}
	var s Set
	for key, ivs := range byKey {
		s.sources = append(s.sources, source{key.uuid, key.tag, normal(ivs)})
	}
	slices.SortFunc(s.sources, source.compare)
	return s
}

// TestMySQLModel holds every operation to the same one on maps of transactions.
func TestMySQLModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ma, mb := drawModel(t, "a"), drawModel(t, "b")
		a, err := Parse(ma.drawText(t))
		if err != nil {
			t.Fatal(err)
		}
		b, err := Parse(mb.drawText(t))
		if err != nil {
			t.Fatal(err)
		}
		union := maps.Clone(ma)
		maps.Copy(union, mb)
		inB := func(tx transaction) bool { return mb[tx] }
		minus := ma.filter(func(tx transaction) bool { return !mb[tx] })
		for _, tt := range []struct {
			name string
			got  Set
			want model
		}{
			{"parse", a, ma},
			{"union", a.Union(b), union},
			{"subtract", a.Subtract(b), minus},
			{"intersect", a.Intersect(b), ma.filter(inB)},
			{"by source", a.BySource(uuidA), ma.filter(func(tx transaction) bool { return tx.uuid == uuidA })},
		} {
			if got, want := tt.got.String(), tt.want.set().String(); got != want {
				t.Fatalf("%s: got %q, want %q", tt.name, got, want)
			}
			if got := tt.got.Count(); got != uint64(len(tt.want)) {
				t.Fatalf("%s: counted %d, want %d", tt.name, got, len(tt.want))
			}
		}
		if got, want := b.Contains(a), len(minus) == 0; got != want {
			t.Fatalf("contains: got %t, want %t", got, want)
		}
	})
}

// history is a domain's transactions in order: element i is the server that
// wrote number i+1.
type history []uint32

func (h history) position() Set {
	if len(h) == 0 {
		return Set{}
	}
	return parseMariaDB(fmt.Sprintf("0-%d-%d", h[len(h)-1], len(h)))
}

// state is what gtid_binlog_state shows.
func (h history) state() Set {
	last := make(map[uint32]int)
	for i, server := range h {
		last[server] = i + 1
	}
	var elements []string
	for server, seq := range last {
		elements = append(elements, fmt.Sprintf("0-%d-%d", server, seq))
	}
	return parseMariaDB(strings.Join(elements, ","))
}

func parseMariaDB(s string) Set {
	set, err := ParseMariaDB(s)
	if err != nil {
		panic(err)
	}
	return set
}

func drawHistory(t *rapid.T, name string, servers ...uint32) history {
	var h history
	for _, run := range rapid.SliceOfN(rapid.IntRange(0, 4), len(servers), len(servers)).Draw(t, name) {
		server := rapid.SampledFrom(servers).Draw(t, name+" server")
		h = append(h, slices.Repeat(history{server}, run)...)
	}
	return h
}

// TestMariaDBHistories holds positions and states to the histories behind them.
func TestMariaDBHistories(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		base := drawHistory(t, "base", 1, 2, 3)
		left := slices.Concat(base, drawHistory(t, "left", 1, 4))
		right := slices.Concat(base, drawHistory(t, "right", 2, 5))
		views := map[string]func(history) Set{"position": history.position, "state": history.state}
		for long, viewLong := range views {
			for short, viewShort := range views {
				l, b := viewLong(left), viewShort(base)
				if !l.Contains(b) {
					t.Fatalf("%s %s lacks %s %s of the same history", long, l, short, b)
				}
				if got, want := l.Subtract(b).Count(), uint64(len(left)-len(base)); got != want {
					t.Fatalf("%s - %s: counted %d, want %d", l, b, got, want)
				}
				if got := l.Subtract(b).Union(b); !got.Equal(l) || !got.Contains(left.state()) {
					t.Fatalf("(%s - %s) ∪ %[2]s: got %s", l, b, got)
				}
				if got := l.Intersect(b); !got.Equal(b) {
					t.Fatalf("%s ∩ %s: got %s", l, b, got)
				}
				if got := l.Union(b); got.String() != l.String() && len(left) > len(base) {
					t.Fatalf("%s ∪ %s: got %s", l, b, got)
				}
			}
		}
		// A state that reaches back before the fork shows every divergence.
		l, r := left.state(), right.state()
		before := func(s Set) bool { return s.domains[0].tips[0].seq <= uint64(len(base)) }
		if len(left) == len(base) || len(right) == len(base) || !before(l) || !before(r) {
			return
		}
		if got := l.Compare(r); got != Diverged {
			t.Fatalf("%s compare %s: got %v for branches of %v", l, r, got, base)
		}
		if u := l.Union(r); u.Compare(l) != Ahead || u.Compare(r) != Ahead {
			t.Fatalf("%s ∪ %s: %s is not ahead of both", l, r, u)
		}
	})
}

// drawSet draws a set of either flavor, or of both.
func drawSet(t *rapid.T, name string) Set {
	position := func() Set {
		one := rapid.Custom(func(t *rapid.T) string {
			return fmt.Sprintf("%d-%d-%d", rapid.IntRange(0, 2).Draw(t, "domain"),
				rapid.IntRange(1, 3).Draw(t, "server"), rapid.IntRange(0, 9).Draw(t, "seq"))
		})
		domainOf := func(s string) string { return s[:1] }
		return parseMariaDB(strings.Join(rapid.SliceOfNDistinct(one, 0, 3, domainOf).Draw(t, name), ","))
	}
	switch rapid.IntRange(0, 4).Draw(t, name+" flavor") {
	case 0:
		return position().Union(drawModel(t, name).set())
	case 1, 2:
		return position()
	default:
		return drawModel(t, name).set()
	}
}

// TestLaws holds for MySQL sets, MariaDB positions and mixtures of both.
func TestLaws(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b, c := drawSet(t, "a"), drawSet(t, "b"), drawSet(t, "c")
		minus, both, union := a.Subtract(b), a.Intersect(b), a.Union(b)
		check := func(ok bool, law string) {
			if !ok {
				t.Fatalf("%s: not for A = %q, B = %q; A−B = %q, A∩B = %q, A∪B = %q", law, a, b, minus, both, union)
			}
		}
		check(minus.Union(both).Equal(a), "(A−B) ∪ (A∩B) = A")
		check(minus.Union(b).Equal(union), "(A−B) ∪ B = A∪B")
		check(minus.Intersect(both).IsEmpty(), "(A−B) ∩ (A∩B) = ∅")
		check(union.Contains(a) && union.Contains(b), "A, B ⊆ A∪B")
		check(a.Contains(both) && b.Contains(both), "A∩B ⊆ A, B")
		check(b.Contains(a) == minus.IsEmpty(), "A ⊆ B ⇔ A−B = ∅")
		check(minus.IsEmpty() == (minus.Count() == 0), "A−B = ∅ ⇔ |A−B| = 0")
		check(union.Equal(b.Union(a)), "A∪B = B∪A")
		check(both.Equal(b.Intersect(a)), "A∩B = B∩A")
		check(a.Union(a).Equal(a) && a.Intersect(a).Equal(a) && a.Subtract(a).IsEmpty(), "A∪A = A∩A = A, A−A = ∅")
		check(a.Union(Set{}).Equal(a) && a.Subtract(Set{}).Equal(a) && a.Intersect(Set{}).IsEmpty(), "∅ is neutral")
		check(!a.Contains(b) || !b.Contains(c) || a.Contains(c), "C ⊆ B ⊆ A ⇒ C ⊆ A, C = "+c.String())
		reverse := map[Relation]Relation{Equal: Equal, Ahead: Behind, Behind: Ahead, Diverged: Diverged}
		check(b.Compare(a) == reverse[a.Compare(b)], "compare is antisymmetric")
		check(a.Equal(b) == (a.Compare(b) == Equal), "equal agrees with compare")
		if a.Compare(b) == Diverged {
			check(union.Compare(a) == Ahead && union.Compare(b) == Ahead, "a union is ahead of what has diverged")
		}
		for _, s := range []Set{a, b, minus, both, union} {
			text, err := s.MarshalText()
			if err != nil {
				check(len(s.sources) > 0 && len(s.domains) > 0, "only two flavors have no text")
				continue
			}
			back, err := Parse(string(text))
			check(err == nil && back.String() == s.String() && back.Equal(s), "text is read back")
		}
	})
}

func TestOperandsAreUntouched(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := drawSet(t, "a"), drawSet(t, "b")
		beforeA, beforeB := a.String(), b.String()
		a.Union(b).Union(a).Subtract(b)
		a.Intersect(b).Union(a)
		a.Union(b.Holes()).Subtract(a.BySource(uuidA))
		if a.String() != beforeA || b.String() != beforeB {
			t.Fatalf("%q became %q, %q became %q", beforeA, a, beforeB, b)
		}
	})
}
