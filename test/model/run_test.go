// SPDX-License-Identifier: Apache-2.0

package model

import (
	"flag"
	"testing"
)

var (
	deep  = flag.Bool("deep", false, "search wider bounds: minutes and gigabytes")
	story = flag.Bool("story", false, "print the story that each rule that is off leads to")
)

// three is a cluster of three servers; A is primary, B and C acknowledge.
func three(change func(*model)) *model {
	m := &model{rules: newRules(3, false), faults: 1, rights: 3, trx: 1, acks: 1, first: established(0b110, 0, 1)}
	if change != nil {
		change(m)
	}
	return m
}

// two are two servers and a witness; A is primary, B acknowledges.
func two(change func(*model)) *model {
	m := &model{rules: newRules(2, true), faults: 1, rights: 3, trx: 1, acks: 1, first: established(0b10, 0, 1)}
	if change != nil {
		change(m)
	}
	return m
}

// everything switches on all that the model knows of.
func everything(m *model) { m.doubt, m.alone, m.pairs, m.trx = true, true, true, 2 }

// TestExhausted searches everything within the bounds that the default affords.
func TestExhausted(t *testing.T) {
	for _, tt := range []struct {
		name  string
		model *model
	}{
		{"3 nodes f=0 T=3", three(calm)},
		{"3 nodes f=1 T=2", three(func(m *model) { m.rights = 2 })},
		{"3 nodes f=0 T=2 k=2", three(func(m *model) { calm(m); m.rights, m.acks = 2, 2 })},
		{"3 nodes f=0 T=2, doubt, alone", three(func(m *model) { doubtful(m); m.rights, m.alone = 2, true })},
		{"3 nodes f=0 T=2 k=2, doubt", three(func(m *model) { doubtful(m); m.rights, m.acks = 2, 2 })},
		{"2 and a witness f=1 T=3, not durable, doubt", two(func(m *model) { m.doubt, m.fragile = true, true })},
		{"3 nodes f=0 T=3, a ghost", three(func(m *model) { calm(m); m.first = haunted })},
		{"2 and a witness f=1 T=3", two(func(m *model) { m.trx, m.pairs = 2, true })},
		{"2 and a witness f=2 T=3", two(func(m *model) { m.faults, m.pairs = 2, true })},
		{"2 and a witness f=1 T=3, everything", two(everything)},
		{"2 and a witness f=2 T=3, not durable", two(func(m *model) { m.faults, m.fragile = 2, true })},
		{"2 and a witness f=1 T=3, from the start", two(func(m *model) { m.first = adopted })},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tt.model.exhaust(1 << 30).report(t)
		})
	}
}

// TestDeep searches the bounds of docs/design.md's first proofs, and beyond.
func TestDeep(t *testing.T) {
	if !*deep {
		t.Skip("without -deep")
	}
	for _, tt := range []struct {
		name  string
		model *model
	}{
		{"3 nodes f=0 T=2, alone, 2 transactions", three(func(m *model) { calm(m); m.rights, m.alone, m.trx = 2, true, 2 })},
		{"3 nodes f=1 T=3", three(nil)},
		{"3 nodes f=1 T=3, a ghost", three(func(m *model) { m.first = haunted })},
		{"3 nodes f=1 T=2, everything", three(func(m *model) { everything(m); m.rights = 2 })},
		{"3 nodes f=1 T=2 k=2, doubt", three(func(m *model) { m.rights, m.acks, m.doubt = 2, 2, true })},
		{"2 and a witness f=2 T=4 2 transactions", two(func(m *model) { m.faults, m.rights, m.trx = 2, 4, 2 })},
		{"2 and a witness f=2 T=3, everything", two(func(m *model) { everything(m); m.faults = 2 })},
		{"2 and a witness f=2 T=3, not durable, everything", two(func(m *model) { everything(m); m.faults, m.fragile, m.trx = 2, true, 1 })},
	} {
		t.Run(tt.name, func(t *testing.T) { tt.model.exhaust(12_000_000).report(t) })
	}
}

// TestRandom walks where exhausting is out of reach. Together the walks do everything there is to do.
func TestRandom(t *testing.T) {
	walks := 300
	if *deep {
		walks = 30_000
	}
	five := func(change func(*model)) *model {
		m := &model{rules: newRules(5, false), faults: 3, rights: 5, trx: 3, acks: 2, first: established(0b11110, 0, 2)}
		change(m)
		return m
	}
	var did [whats]int
	for _, tt := range []struct {
		name  string
		model *model
	}{
		{"5 nodes k=2 f=3 T=5", five(func(m *model) { m.pairs = true })},
		{"5 nodes k=2 f=3 T=5, everything", five(func(m *model) { everything(m); m.trx = 3 })},
		{"5 nodes k=3 f=2 T=5", five(func(m *model) { m.faults, m.acks, m.first = 2, 3, established(0b11110, 0, 3) })},
		{"3 nodes f=3 T=6, everything", three(func(m *model) { everything(m); m.faults, m.rights, m.trx = 3, 6, 3 })},
		{"3 nodes f=3 T=6, not durable", three(func(m *model) { everything(m); m.faults, m.rights, m.fragile = 3, 6, true })},
		{"2 and a witness f=3 T=6, everything", two(func(m *model) { everything(m); m.faults, m.rights, m.trx = 3, 6, 3 })},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := tt.model.wander(walks, 150, 1)
			got.report(t)
			for i, n := range got.did {
				did[i] += n
			}
		})
	}
	for i, n := range did {
		if n == 0 && what(i) != doLetBack { // which only a mutation does
			t.Errorf("nobody ever did %q", action{what: what(i)})
		}
	}
}

// TestRandomCatches holds the walks to the same test as the search: they find what a rule is for.
func TestRandomCatches(t *testing.T) {
	for name, off := range map[string]mutation{
		"no formula": noFormula, "no sealing": noSealing, "C6 restarted counts as heard": restartedIsHeard, "C4 kill instead of lock": killNotLock,
	} {
		t.Run(name, func(t *testing.T) {
			if off == killNotLock && !*deep {
				t.Skip("a million steps; with -deep")
			}
			m := three(func(m *model) { m.off, m.rights = off, 5 })
			got := m.wander(40_000, 100, 1)
			t.Log(got)
			if got.violation == nil {
				t.Fatal("not caught")
			}
		})
	}
}
