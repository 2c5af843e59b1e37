// SPDX-License-Identifier: Apache-2.0

package model

import (
	"math/bits"
)

// emit takes a step and where it leads.
type emit func(action, *state)

// successors emits all that can happen next.
func (m *model) successors(s *state, yield emit) {
	for i := range uint8(m.data) {
		m.client(s, i, yield)
		m.replicate(s, i, yield)
		m.elect(s, i, yield)
		m.obey(s, i, yield)
		m.lead(s, i, yield)
		m.fail(s, i, yield)
	}
	if s.cut != 0 {
		n := *s
		n.cut = 0
		yield(action{what: doHeal}, &n)
	} else if s.faults > 0 {
		for _, c := range m.cuts() {
			n := *s
			n.cut = c
			n.faults--
			yield(action{what: doCut, a: c}, &n)
		}
	}
}

// client writes, and is told.
func (m *model) client(s *state, i uint8, yield emit) {
	me := s.nodes[i]
	if !me.is.has(serverUp) {
		return
	}
	if me.is.has(open) && s.written < m.trx {
		n := *s
		t := n.written
		n.written++
		n.writer[t], n.acked[t] = i, 0
		n.waiting |= one(t)
		n.nodes[i].log |= one(t)
		yield(action{what: doWrite, a: i}, &n)
	}
	for t := range s.written {
		if s.waiting.has(t) && s.writer[t] == i && s.acked[t].count() >= int(me.acks) {
			n := *s
			n.waiting &^= one(t)
			n.told |= one(t)
			n.acked[t] = 0
			yield(action{what: doTell, a: i, b: t}, &n)
		}
	}
}

// replicate receives the next transaction, and acknowledges.
func (m *model) replicate(s *state, i uint8, yield emit) {
	me := s.nodes[i]
	if me.target == 0 || !m.attached(s, i, me.target-1) {
		return
	}
	p := me.target - 1
	if missing := s.nodes[p].log &^ me.log; missing != 0 {
		t := uint8(bits.TrailingZeros8(uint8(missing)))
		n := *s
		n.nodes[i].log |= one(t)
		n.nodes[i].relay |= one(t)
		m.acknowledge(&n, i, p, one(t))
		yield(action{what: doReceive, a: i, b: p}, &n)
		return
	}
	// It is level: the next event it acknowledges covers what came before.
	n := *s
	if m.acknowledge(&n, i, p, me.log); n != *s {
		yield(action{what: doReceive, a: i, b: p}, &n)
	}
}

func (m *model) acknowledge(n *state, i, p uint8, transactions set) {
	if !n.nodes[i].is.has(acking) {
		return
	}
	for t := range n.written {
		if transactions.has(t) && n.waiting.has(t) && n.writer[t] == p {
			n.acked[t] |= one(i)
		}
	}
}

// end ends the clients that wait on server i: nobody was told.
func (n *state) end(i uint8) {
	for t := range n.written {
		if n.waiting.has(t) && n.writer[t] == i {
			n.waiting &^= one(t)
			n.acked[t] = 0
		}
	}
}

// commit makes rec the record. Whatever else was under way toward another is superseded.
func (n *state) commit(rec record) {
	if n.change.kind != noChange && !n.change.committed && n.change.other != rec {
		n.change = change{}
	}
	n.rec, n.pending = rec, record{}
}

// commitChange commits the proposal of the change under way.
func (m *model) commitChange(n *state) {
	base := n.rec
	n.commit(n.change.other)
	n.change.other, n.change.committed = base, true
	n.change.stage++
	m.arrive(n)
}

// supervisorGone ends a supervisor, and what only it knew.
func (n *state) supervisorGone(i uint8) {
	n.nodes[i].is &^= supervisorUp
	n.nodes[i].term = 0
	n.dropChange(i)
	if n.leader == i+1 {
		n.leader = 0
	}
}

// fail is what breaks, and what comes back.
func (m *model) fail(s *state, i uint8, yield emit) {
	me := s.nodes[i]
	if s.faults > 0 && me.is.has(serverUp) {
		for _, host := range []uint8{0, 1} {
			for _, loses := range []uint8{0, 1} {
				lost := me.relay
				if m.fragile && me.log != 0 {
					lost |= one(uint8(bits.Len8(uint8(me.log))) - 1)
				}
				if loses == 1 && lost == 0 || host == 1 && !me.is.has(supervisorUp) {
					continue
				}
				n := *s
				n.faults--
				n.restart(i, m)
				n.nodes[i].is &^= serverUp
				n.nodes[i].term = 0
				if host == 1 {
					n.supervisorGone(i)
				}
				n.dropChange(i)
				if loses == 1 {
					n.nodes[i].log &^= lost
					n.nodes[i].relay &^= lost
				}
				yield(action{what: doCrash, a: i, b: host, c: loses}, &n)
			}
		}
	}
	if s.faults > 0 && me.is.has(supervisorUp) {
		n := *s
		n.faults--
		n.supervisorGone(i)
		yield(action{what: doSupervisorDies, a: i}, &n)
	}
	if !me.is.has(serverUp) {
		n := *s
		n.nodes[i].is |= serverUp
		yield(action{what: doReturn, a: i}, &n)
	}
	if !me.is.has(supervisorUp) {
		n := *s
		n.nodes[i].is |= supervisorUp
		yield(action{what: doSupervisorReturns, a: i}, &n)
	}
}
