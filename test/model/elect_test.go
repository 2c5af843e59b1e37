// SPDX-License-Identifier: Apache-2.0

package model

// elect takes the right, seals, fetches, begins a term and opens.
func (m *model) elect(s *state, i uint8, yield emit) {
	me := s.nodes[i]
	if s.right < m.rights && m.majority(s, i) {
		fates := []uint8{0}
		if s.pending.is != 0 {
			fates = []uint8{1, 2}
		}
		for _, fate := range fates {
			n := *s
			n.right++
			n.leader = i + 1
			switch {
			case fate == 1 && n.change.kind != noChange && !n.change.committed && n.change.other == n.pending:
				m.commitChange(&n)
			case fate == 1:
				n.commit(n.pending)
			}
			n.pending = record{}
			if !n.change.committed {
				n.change = change{}
			}
			yield(action{what: doTake, a: i, b: fate}, &n)
		}
	}
	if s.leader == i+1 && me.is.has(supervisorUp) && s.rec.primary != i && s.rec.term < s.right {
		for j := range uint8(m.data) {
			if s.nodes[j].promise < s.right && s.nodes[j].is.has(supervisorUp) && m.reach(s, i, j) {
				n := *s
				m.seal(&n, j)
				yield(action{what: doSeal, a: i, b: j}, &n)
			}
			if s.nodes[j].promise == s.right && me.promise == s.right && me.is.has(serverUp) && s.nodes[j].is.has(serverUp) &&
				m.reach(s, i, j) && s.nodes[j].log&^me.log != 0 {
				n := *s
				n.nodes[i].relay |= s.nodes[j].log &^ me.log
				n.nodes[i].log |= s.nodes[j].log
				yield(action{what: doFetch, a: i, b: j}, &n)
			}
		}
	}
	m.begin(s, i, yield)
	if s.pending.is != 0 && s.pending.primary == i && s.pending.term > s.rec.term && m.leads(s, i) {
		n := *s
		if me.is.has(vetted) || m.broken(otherProcessOpens) {
			n.nodes[i].term = s.pending.term
		}
		n.commit(s.pending)
		yield(action{what: doResolve, a: i}, &n)
	}
	if me.term != 0 && me.term >= me.promise && me.is.has(supervisorUp|serverUp) && !s.isOpened(m, i) {
		n := *s
		m.open(&n, i)
		yield(action{what: doOpen, a: i}, &n)
	}
}

func (m *model) seal(n *state, j uint8) {
	it := &n.nodes[j]
	it.promise = n.right
	if !m.broken(noSealing) {
		it.target = 0
		it.is &^= acking
	}
	m.fence(n, j)
}

// fence closes a server: its clients are told nothing.
func (m *model) fence(n *state, j uint8) {
	if m.broken(shutdownNotKill) {
		for t := range n.written {
			if n.waiting.has(t) && n.writer[t] == j {
				n.told |= one(t)
			}
		}
	}
	n.nodes[j].is &^= open
	n.nodes[j].term = 0
	n.end(j)
	n.dropChange(j)
}

// dropChange forgets what j's supervisor was about. What it proposed may yet be committed.
func (n *state) dropChange(j uint8) {
	if n.change.kind != noChange && n.change.by == j {
		n.change = change{}
	}
}

// begin commits a term for i, if it may.
func (m *model) begin(s *state, i uint8, yield emit) {
	me := s.nodes[i]
	if !m.leads(s, i) || s.rec.term >= s.right || s.pending.is != 0 || !me.is.has(serverUp) || !m.mayPromote(s, i) {
		return
	}
	rec, ok := m.next(s.rec, beginTerm, i, 0, s.right)
	if !ok {
		return
	}
	if m.broken(resumeResets) && s.rec.primary == i && s.rec.s != 0 {
		rec.s, rec.fresh, rec.acks = 0, 0, 0
		rec.is = isRecord | hasKept
		rec.keptPrimary, rec.keptS, rec.keptFresh, rec.keptAcks = i, s.rec.s, s.rec.fresh, s.rec.acks
	}
	n := *s
	if s.rec.primary != i && !m.broken(commitBeforeDrain) {
		n.nodes[i].relay = 0
	}
	if m.doubt {
		d := n
		d.pending = rec
		d.nodes[i].is |= vetted
		yield(action{what: doBegin, a: i, b: 1}, &d)
	}
	n.commit(rec)
	n.nodes[i].term = rec.term
	yield(action{what: doBegin, a: i}, &n)
}

// mayPromote asks the real rule, of what is sealed and reached now.
func (m *model) mayPromote(s *state, i uint8) bool {
	var heard, durable set
	var logs [maxNodes]set
	for j := range uint8(m.data) {
		it := s.nodes[j]
		itself := j == i && s.rec.primary == i
		if it.is.has(serverUp|supervisorUp) && m.reach(s, i, j) && (it.promise == s.right || itself) {
			heard |= one(j)
			logs[j] = it.log
			if !it.is.has(broken) || m.broken(notDurableIsHeard) {
				durable |= one(j)
			}
		}
	}
	rec := s.rec
	if m.broken(restartedIsHeard) {
		rec.fresh, rec.keptFresh = rec.s, rec.keptS
	}
	if m.broken(nothingKept) {
		rec = rec.withoutKept()
	}
	if m.broken(noFormula) && rec.s != 0 {
		// The unheard are not missed, and what is left is asked of the same function.
		rec.s &= heard & rec.fresh
		rec.fresh &= rec.s
		rec.acks = 1
		if rec.s == 0 {
			return heard.has(i)
		}
	}
	return m.complete(rec, i, heard, durable, logs)
}

// withoutKept cannot be asked of the real record, which does not allow it.
func (r record) withoutKept() record {
	r.is &^= hasKept | keptAlone
	r.keptPrimary, r.keptS, r.keptFresh, r.keptAcks = 0, 0, 0, 0
	return r
}

// isOpened reports whether i has made true what its term says.
func (s *state) isOpened(m *model, i uint8) bool {
	n := *s
	m.open(&n, i)
	return n == *s
}

// open carries out what follows the commit of a term: cut, require, open.
func (m *model) open(n *state, i uint8) {
	it := &n.nodes[i]
	inS, acks := set(0), uint8(1)
	if n.rec.primary == i && n.rec.term == it.term {
		v := m.view(n)
		inS, acks = v.acknowledge, v.acks
	}
	if !it.is.has(open) {
		if !m.broken(startWithoutLocks) {
			it.locked = m.all() &^ one(i) &^ inS
		}
		it.acks = acks
		it.target = 0
		it.is &^= acking
	}
	it.is |= open
	it.is &^= broken
}
