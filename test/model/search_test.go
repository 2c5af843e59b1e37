// SPDX-License-Identifier: Apache-2.0

package model

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

// violation is what a search has found.
type violation struct {
	what  string
	trace string
	steps int
}

// outcome is what a search has seen.
type outcome struct {
	violation *violation
	states    int
	exhausted bool
	took      time.Duration
	did       [whats]int // transitions by action
}

func (o outcome) String() string {
	end := "bounded"
	if o.exhausted {
		end = "exhausted"
	}
	moves := 0
	for _, n := range o.did {
		moves += n
	}
	return fmt.Sprintf("%d states %s, %d transitions, %v, %.0f states/s", o.states, end, moves, o.took.Round(time.Millisecond), float64(o.states)/o.took.Seconds())
}

// normal makes states equal that nothing tells apart.
func (s *state) normal() {
	for t := range s.written {
		if !s.waiting.has(t) {
			s.writer[t], s.acked[t] = 0, 0
		}
	}
	for i := range s.nodes {
		n := &s.nodes[i]
		if n.promise <= s.rec.term && n.promise < s.right && (n.term == 0 || n.term >= n.promise) {
			n.promise = 0
		}
		if s.pending.is == 0 {
			n.is &^= vetted
		}
		if !n.is.has(open) && n.term == 0 {
			n.acks, n.locked = 0, 0 // both are set before it opens again
		}
	}
}

// wrong returns what must not be and is, "" if nothing.
func (m *model) wrong(s *state) string {
	p := s.nodes[s.rec.primary]
	if lost := s.told &^ p.log; lost != 0 && p.is.has(open) {
		return fmt.Sprintf("%s is open as primary of record without %s, of which a client was told", nodeName(s.rec.primary), lost.transactions())
	}
	for _, rec := range []record{s.rec, s.pending} {
		if rec.is == 0 {
			continue
		}
		if m.broken(nothingKept) {
			rec = rec.withoutKept()
		}
		if m.isStuck(rec) {
			return fmt.Sprintf("if %s is gone for good nobody may ever succeed it: %v", nodeName(rec.primary), rec)
		}
	}
	return ""
}

// origin is how a state was first reached.
type origin struct {
	from   int32
	action action
}

// exhaust searches breadth first, so that a story it finds is a shortest one.
func (m *model) exhaust(limit int) outcome {
	start := time.Now()
	var out outcome
	first := m.first(m)
	first.normal()
	seen := map[state]struct{}{first: {}}
	origins := []origin{{from: -1}}
	type entry struct {
		s  state
		id int32
	}
	frontier, following := []entry{{first, 0}}, []entry(nil)
	out.exhausted = true
search:
	for len(frontier) > 0 {
		for i := range frontier {
			e := &frontier[i]
			m.successors(&e.s, func(a action, n *state) {
				out.did[a.what]++
				if out.violation != nil {
					return
				}
				n.normal()
				if _, known := seen[*n]; known {
					return
				}
				seen[*n] = struct{}{}
				origins = append(origins, origin{e.id, a})
				id := int32(len(origins) - 1)
				following = append(following, entry{*n, id})
				if what := m.wrong(n); what != "" {
					out.violation = m.tell(what, origins, id)
				}
			})
			if out.violation != nil || len(seen) >= limit {
				out.exhausted = false
				break search
			}
		}
		frontier, following = following, frontier[:0]
	}
	out.states, out.took = len(seen), time.Since(start)
	return out
}

// tell writes the story that ends in state id.
func (m *model) tell(what string, origins []origin, id int32) *violation {
	var actions []action
	for ; id > 0; id = origins[id].from {
		actions = append(actions, origins[id].action)
	}
	v := &violation{what: what, steps: len(actions)}
	var b strings.Builder
	s := m.first(m)
	s.normal()
	fmt.Fprintf(&b, "%s\n", m.describe(&s))
	for i := len(actions) - 1; i >= 0; i-- {
		found := false
		m.successors(&s, func(a action, n *state) {
			if a == actions[i] && !found {
				found = true
				n.normal()
				defer func(n state) { s = n }(*n)
			}
		})
		fmt.Fprintf(&b, "%3d. %v\n", len(actions)-i, actions[i])
	}
	fmt.Fprintf(&b, "%s\n=> %s", m.describe(&s), what)
	v.trace = b.String()
	return v
}

// disrupts reports whether an action is a fault, or ends what is under way.
func (w what) disrupts() bool {
	switch w {
	case doTake, doCrash, doSupervisorDies, doCut, doAbandon:
		return true
	default:
		return false
	}
}

// wander walks at random.
func (m *model) wander(walks, steps int, seed uint64) outcome {
	start := time.Now()
	rnd := rand.New(rand.NewPCG(seed, 0))
	var out outcome
	for range walks {
		s := m.first(m)
		s.normal()
		origins := []origin{{from: -1}}
		for range steps {
			type option struct {
				a action
				s state
			}
			var options []option
			m.successors(&s, func(a action, n *state) { options = append(options, option{a, *n}) })
			if len(options) == 0 {
				break
			}
			// A kind of action first: there are many ways to fail, and few to go on. What there is
			// little of (faults, terms) is not to be used up before anything has happened.
			kinds := map[what][]int{}
			var order []what
			for i, o := range options {
				if len(kinds[o.a.what]) == 0 {
					order = append(order, o.a.what)
					if !o.a.what.disrupts() {
						order = append(order, o.a.what, o.a.what, o.a.what, o.a.what, o.a.what)
					}
				}
				kinds[o.a.what] = append(kinds[o.a.what], i)
			}
			of := kinds[order[rnd.IntN(len(order))]]
			chosen := options[of[rnd.IntN(len(of))]]
			out.did[chosen.a.what]++
			out.states++
			s = chosen.s
			s.normal()
			origins = append(origins, origin{int32(len(origins) - 1), chosen.a})
			if what := m.wrong(&s); what != "" {
				out.violation = m.tell(what, origins, int32(len(origins)-1))
				out.violation.what += fmt.Sprintf(" (seed %d)", seed)
				out.took = time.Since(start)
				return out
			}
		}
	}
	out.took = time.Since(start)
	return out
}

// report fails the test on a violation, and says what was searched.
func (o outcome) report(t *testing.T) {
	t.Helper()
	t.Log(o)
	if o.violation != nil {
		t.Errorf("%s, in %d steps:\n%s", o.violation.what, o.violation.steps, o.violation.trace)
	}
}
