// SPDX-License-Identifier: Apache-2.0

package model

import (
	"fmt"
	"math/bits"
	"strings"
)

const (
	maxNodes = 5 // with a server
	maxTrx   = 3
)

// set is a set of nodes, or of transactions, one bit each.
type set uint8

func one(i uint8) set          { return 1 << i }
func (s set) has(i uint8) bool { return s&(1<<i) != 0 }
func (s set) count() int       { return bits.OnesCount8(uint8(s)) }

// node is a host with a server.
type node struct {
	log     set   // transactions received or executed; numbers follow the order of every log
	relay   set   // of log: in the relay log only, which a restart may lose
	locked  set   // replication accounts that are locked on this server
	target  uint8 // whom the receiver is pointed at, +1; 0: it is stopped
	promise uint8 // highest term it was sealed for
	term    uint8 // which its supervisor believes to be primary of; 0: none
	acks    uint8 // for how many acknowledgements its server waits
	is      flags
}

type flags uint8

const (
	serverUp     flags = 1 << iota
	supervisorUp       //
	acking             // the receiver runs with semi-sync
	open               // the server accepts writes
	broken             // has restarted since it opened (only tracked where logs are not durable)
	vetted             // the process that was found complete, of one whose term is proposed
)

func (f flags) has(x flags) bool { return f&x == x }

// record is the cluster record. Of a start id only this matters: whether it is still right.
type record struct {
	term, primary    uint8
	s, fresh         set // fresh: of s, those in the process that the record names
	acks             uint8
	is               recordFlags
	keptPrimary      uint8
	keptS, keptFresh set
	keptAcks         uint8
}

type recordFlags uint8

const (
	isRecord recordFlags = 1 << iota // the zero record is none
	isAlone
	hasKept
	keptAlone
)

// change is an election.Change under way, as far as it must be remembered.
type change struct {
	kind      kind
	by        uint8
	node      uint8
	stage     uint8
	committed bool
	barrier   set // transactions that were written when the barrier began
	running   set // nodes whose server process is the one that ran then
	// other is the record that is proposed, once it is known; after the commit the one that
	// it was made for.
	other record
}

type kind uint8

const (
	noChange kind = iota
	grow
	shrink
	raise
	lower
	goAlone
	pass
	beginTerm // is not remembered; for the tables
)

var kindNames = [...]string{"", "grow", "shrink", "raise", "lower", "go alone", "pass", "begin"}

// state is the whole cluster. It is comparable: the key of what was seen.
type state struct {
	nodes   [maxNodes]node
	written uint8 // transactions so far
	writer  [maxTrx]uint8
	acked   [maxTrx]set // by whom, as its writer has seen
	waiting set         // of transactions: their clients wait
	told    set         // of transactions: their clients were told
	rec     record
	pending record // proposed, fate unknown
	change  change
	right   uint8 // the highest term that was taken
	leader  uint8 // by whom, +1
	cut     uint8 // which partition; 0: none
	faults  uint8 // left
}

// restarted takes note in a record that node's server process is another.
func (r *record) restarted(i uint8) {
	r.fresh &^= one(i)
	r.keptFresh &^= one(i)
}

func nodeName(i uint8) string { return string('A' + rune(i)) }

func (s set) nodes() string {
	text := ""
	for i := range uint8(8) {
		if s.has(i) {
			text += nodeName(i)
		}
	}
	if text == "" {
		return "∅"
	}
	return text
}

func (s set) transactions() string {
	text := ""
	for i := range uint8(8) {
		if s.has(i) {
			text += fmt.Sprintf("T%d", i+1)
		}
	}
	if text == "" {
		return "-"
	}
	return text
}

func (r record) String() string {
	if r.is&isRecord == 0 {
		return "-"
	}
	text := fmt.Sprintf("term %d primary %s S=%s k=%d", r.term, nodeName(r.primary), r.s.nodes(), r.acks)
	if stale := r.s &^ r.fresh; stale != 0 {
		text += " restarted:" + stale.nodes()
	}
	if r.is&isAlone != 0 {
		text += " alone"
	}
	if r.is&hasKept != 0 {
		text += fmt.Sprintf(" (kept: primary %s S=%s k=%d", nodeName(r.keptPrimary), r.keptS.nodes(), r.keptAcks)
		if r.is&keptAlone != 0 {
			text += " alone"
		}
		text += ")"
	}
	return text
}

// describe writes a state for people.
func (m *model) describe(s *state) string {
	var b strings.Builder
	for i := range uint8(m.data) {
		n := s.nodes[i]
		fmt.Fprintf(&b, "    %s %s", nodeName(i), n.log.transactions())
		if n.relay != 0 {
			fmt.Fprintf(&b, " (relay %s)", n.relay.transactions())
		}
		for _, f := range []struct {
			is   bool
			text string
		}{
			{!n.is.has(serverUp), "server-down"},
			{!n.is.has(supervisorUp), "supervisor-down"},
			{n.is.has(open), fmt.Sprintf("open waits-for=%d", n.acks)},
			{n.term != 0, fmt.Sprintf("primary-of=%d", n.term)},
			{n.target != 0, "from=" + nodeName(n.target-1)},
			{n.is.has(acking), "acks"},
			{n.promise != 0, fmt.Sprintf("promise=%d", n.promise)},
			{n.locked != 0, "locked=" + n.locked.nodes()},
		} {
			if f.is {
				b.WriteString(" " + f.text)
			}
		}
		b.WriteString("\n")
	}
	fmt.Fprintf(&b, "    record %v, right %d; told %s, waiting %s", s.rec, s.right, s.told.transactions(), s.waiting.transactions())
	if s.pending.is != 0 {
		fmt.Fprintf(&b, "; in doubt %v", s.pending)
	}
	return b.String()
}
