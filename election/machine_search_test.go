// SPDX-License-Identifier: Apache-2.0

package election

import (
	"encoding/binary"
	"flag"
	"fmt"
	"math"
	"reflect"
	"slices"
	"testing"
	"time"
)

var deep = flag.Bool("deep", false, "search the states of a Machine as far as a minute goes")

// machineSearch is what a search has seen.
type machineSearch struct {
	states, steps, depth int
	roles                map[Role]int
	did                  map[string]bool
	broken               map[string]string // by rule, the shortest story
}

// searchMachine visits breadth first what can happen after a start, up to a number of states; with a rule,
// until that is broken.
func searchMachine(t *testing.T, at int, limit int, off machineMutation, rule string) machineSearch {
	t.Helper()
	begin := machineStarts[at]
	found := machineSearch{roles: map[Role]int{}, did: map[string]bool{}, broken: map[string]string{}}
	m, err := New(testConfig("db1", 2), NewVRRP())
	if err != nil {
		t.Fatal(err)
	}
	first := &searchedHost{m: *m, now: Instant(time.Hour), alive: true, open: begin.open, starts: 1}
	if rule, what := first.step(begin.start, nil); rule != "" {
		t.Fatalf("%s: %s", rule, what)
	}
	for _, name := range begin.moves {
		ev := moveNamed(name).to(first)
		if ev == nil {
			t.Fatalf("%s: %q cannot happen: %v", begin.name, name, first)
		}
		if rule, what := first.step(ev, nil); rule != "" {
			t.Fatalf("%s: %s: %s", name, rule, what)
		}
	}
	type origin struct{ from, move, depth int }
	origins := []origin{{from: -1}}
	hosts := []*searchedHost{first}
	buf := first.key(nil)
	seen := map[string]bool{string(buf): true}
	tell := func(from, move int, what string) string {
		story := machineMoves[move].name + "\n=> " + what
		for i := from; i >= 0; i = origins[i].from {
			before := "from " + begin.name
			if origins[i].from >= 0 {
				before = machineMoves[origins[i].move].name
			}
			story = fmt.Sprintf("%s\n      %v\n%s", before, hosts[i], story)
		}
		return story
	}
	for i := 0; i < len(hosts) && (rule == "" || found.broken[rule] == ""); i++ {
		found.depth = origins[i].depth
		for j := range machineMoves {
			h := hosts[i].clone()
			ev := machineMoves[j].to(h)
			if ev == nil || hosts[i].stopped {
				continue
			}
			found.steps++
			found.did[machineMoves[j].name] = true
			if rule, what := h.step(ev, off); rule != "" {
				if found.broken[rule] == "" {
					found.broken[rule] = tell(i, j, what)
				}
				continue
			}
			buf = h.key(buf)
			if len(hosts) < limit && !seen[string(buf)] {
				seen[string(buf)] = true
				hosts, origins = append(hosts, h), append(origins, origin{i, j, origins[i].depth + 1})
				found.roles[h.m.role]++
				if rule, what := h.deaf(off); rule != "" && found.broken[rule] == "" {
					found.broken[rule] = tell(i, j, what)
				}
			}
		}
	}
	found.states = len(hosts)
	return found
}

// TestMachineSearch holds the rules of machine_rules_test.go in the states that a Machine reaches from
// where it matters, whatever happens to its host. With -deep it goes some steps further.
func TestMachineSearch(t *testing.T) {
	limit := 1000 / slower
	if *deep {
		limit = 40_000
	}
	roles, did := map[Role]bool{}, map[string]bool{}
	for i, begin := range machineStarts {
		t.Run(begin.name, func(t *testing.T) {
			start := time.Now()
			found := searchMachine(t, i, limit, nil, "")
			t.Logf("%d states, %d steps, depth %d, %v: %v", found.states, found.steps, found.depth, time.Since(start).Round(time.Millisecond), found.roles)
			for rule, story := range found.broken {
				t.Errorf("%s: %s\n%s", rule, machineRules[rule], story)
			}
			for role := range found.roles {
				roles[role] = true
			}
			for name := range found.did {
				did[name] = true
			}
		})
	}
	if slower > 1 {
		return // too little to see everything
	}
	for i := range roleNames {
		if !roles[Role(i)] {
			t.Errorf("nobody was ever %s", Role(i))
		}
	}
	for _, v := range machineMoves {
		if !did[v.name] {
			t.Errorf("never: %s", v.name)
		}
	}
}

// key writes down everything that a next step can depend on: instants by their distance from now,
// tokens by the order in which they are met.
func (h *searchedHost) key(buf []byte) []byte {
	d := stateDump{buf: buf[:0], now: h.now}
	d.value(reflect.ValueOf(h).Elem())
	return d.buf
}

type stateDump struct {
	buf    []byte
	now    Instant
	tokens []Token
}

var (
	instantType = reflect.TypeFor[Instant]()
	tokenType   = reflect.TypeFor[Token]()
)

func (d *stateDump) value(v reflect.Value) {
	switch v.Kind() {
	case reflect.Struct:
		t := v.Type()
		for i := range v.NumField() {
			switch t.Field(i).Name {
			case "cfg", "self", "Member", "now", "tokens", "out", "refusal": // the same for all, or for people
			default:
				d.value(v.Field(i))
			}
		}
	case reflect.Slice:
		d.buf = binary.AppendUvarint(d.buf, uint64(v.Len()))
		for i := range v.Len() {
			d.value(v.Index(i))
		}
	case reflect.Interface, reflect.Pointer:
		if v.Kind() == reflect.Interface {
			d.buf = append(d.buf, v.Elem().Type().Name()...)
		}
		d.value(v.Elem())
	case reflect.String:
		d.buf = append(append(d.buf, v.String()...), 0)
	case reflect.Bool:
		d.buf = append(d.buf, '0')
		if v.Bool() {
			d.buf[len(d.buf)-1] = '1'
		}
	case reflect.Int, reflect.Int64:
		n := v.Int()
		if v.Type() == instantType {
			if n == 0 {
				n = math.MaxInt64
			} else {
				n -= int64(d.now)
			}
		}
		d.buf = binary.AppendVarint(d.buf, n)
	case reflect.Uint8, reflect.Uint64:
		n := v.Uint()
		if v.Type() == tokenType && n != 0 {
			i := slices.Index(d.tokens, Token(n))
			if i < 0 {
				i = len(d.tokens)
				d.tokens = append(d.tokens, Token(n))
			}
			n = uint64(i) + 1
		}
		d.buf = binary.AppendUvarint(d.buf, n)
	default:
		panic(fmt.Sprintf("a field of kind %s: teach the search about it", v.Kind()))
	}
}
