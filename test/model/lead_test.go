// SPDX-License-Identifier: Apache-2.0

package model

import (
	"slices"

	"highwater/election"
)

// lead is what the primary's supervisor does: it readmits, and changes S and k.
func (m *model) lead(s *state, p uint8, yield emit) {
	me := s.nodes[p]
	if !me.is.has(supervisorUp|serverUp|open) || me.term == 0 {
		return
	}
	c := s.change
	if c.kind != noChange && c.by == p {
		m.carryOn(s, p, yield)
	}
	if s.rec.primary != p || s.rec.term != me.term {
		return
	}
	view := m.view(s)
	if me.acks != view.acks && (c.kind == noChange || s.pending.is != 0) {
		n := *s
		n.nodes[p].acks = view.acks
		yield(action{what: doRequire, a: p, b: view.acks}, &n)
	}
	if s.rec.term != s.right || !m.leads(s, p) {
		return
	}
	for i := range uint8(m.data) {
		it := s.nodes[i]
		connect := view.connect
		if m.broken(wordInDoubt) {
			connect = m.all()
		}
		word := it.is.has(supervisorUp|serverUp) && it.target == 0 && m.reach(s, p, i) && m.majority(s, i)
		if me.locked.has(i) && (view.acknowledge.has(i) || word && connect.has(i)) {
			n := *s
			n.nodes[p].locked &^= one(i)
			yield(action{what: doUnlock, a: p, b: i}, &n)
		}
	}
	if c.kind != noChange && c.by == p || s.pending.is != 0 {
		return
	}
	m.planAll(s, p, yield)
}

// planAll begins each change that is possible.
func (m *model) planAll(s *state, p uint8, yield emit) {
	begin := func(k kind, i uint8) {
		n := *s
		n.change = change{kind: k, by: p, node: i}
		if m.stepsFor(&n) == nil {
			return
		}
		m.arrive(&n)
		yield(action{what: doPlan, a: p, b: uint8(k), c: i}, &n)
	}
	for i := range uint8(m.data) {
		if i == p {
			continue
		}
		it := s.nodes[i]
		switch inS := s.rec.s.has(i); {
		case !inS && s.rec.s != 0 && it.is.has(serverUp|supervisorUp) && m.reach(s, p, i):
			begin(grow, i)
		case inS:
			begin(shrink, i)
			if !s.rec.fresh.has(i) {
				begin(pass, i)
			}
		}
	}
	if s.rec.acks < m.acks && (s.rec.acks == 0 || int(s.rec.acks) < s.rec.s.count()) {
		begin(raise, p)
	}
	if s.rec.acks > 1 {
		begin(lower, p)
	}
	if m.alone && s.rec.is&isAlone == 0 {
		begin(goAlone, p)
	}
}

// arrive does what happens at once when a stage is reached: a barrier begins, a proposal is known.
func (m *model) arrive(n *state) {
	c := &n.change
	steps := m.stepsFor(n)
	if int(c.stage) >= len(steps) {
		n.change = change{}
		return
	}
	switch steps[c.stage].stage {
	case election.StageBarrier:
		m.beginBarrier(n)
	case election.StageCommit:
		if c.other.is == 0 {
			// Without a barrier before it; if the order is reversed it is taken for passed.
			rec, ok := m.next(n.rec, c.kind, c.node, m.hopeful(n, steps), 0)
			if !ok {
				n.change = change{}
				return
			}
			c.other = rec
		}
	}
}

// beginBarrier begins the heartbeat commit of a barrier.
func (m *model) beginBarrier(n *state) {
	c := &n.change
	c.barrier = n.nodes[c.by].log
	if m.broken(executedNotBarrier) {
		c.barrier &^= n.waiting
	}
	c.running = 0
	for i := range uint8(m.data) {
		if n.nodes[i].is.has(serverUp) {
			c.running |= one(i)
		}
	}
}

// hopeful are those that a reversed change takes to have passed its barrier.
func (m *model) hopeful(n *state, steps []step) set {
	for _, s := range steps {
		if s.stage == election.StageBarrier && n.rec.acks == 0 {
			// For ∅ the first that is attached will do.
			for i := range uint8(m.data) {
				if s.nodes.has(i) && m.attached(n, i, n.change.by) {
					return one(i)
				}
			}
		}
		if s.stage == election.StageBarrier {
			return s.nodes
		}
	}
	return 0
}

// carryOn takes the next step of the change under way, or drops it.
func (m *model) carryOn(s *state, p uint8, yield emit) {
	c := s.change
	step := m.stepsFor(s)[c.stage]
	label := action{what: doStep, a: p, b: uint8(c.kind), c: uint8(slices.Index(stages, step.stage))}
	n := *s
	done := func() {
		n.change.stage++
		m.arrive(&n)
		yield(label, &n)
	}
	switch step.stage {
	case election.StageCut:
		cut := step.nodes
		if m.broken(raiseWithoutCut|startWithoutLocks) && c.kind != shrink {
			cut = 0
		}
		if m.broken(killNotLock) {
			// The dump thread is killed; only a supervisor that answers stops the receiver.
			for i := range uint8(m.data) {
				if cut.has(i) && s.nodes[i].is.has(supervisorUp) && m.reach(s, p, i) {
					n.nodes[i].target = 0
					n.nodes[i].is &^= acking
				}
			}
		} else {
			n.nodes[p].locked |= cut
		}
		done()
	case election.StageRequire, election.StageRelax:
		n.nodes[p].acks = step.acks
		done()
	case election.StageAdmit:
		admitted := step.nodes
		if c.committed {
			admitted &= s.rec.s
		}
		n.nodes[p].locked &^= admitted
		if m.broken(growReversed) && c.kind == grow {
			for i := range uint8(m.data) {
				if admitted.has(i) && s.nodes[i].is.has(supervisorUp) && n.nodes[i].target == p+1 {
					n.nodes[i].is |= acking
				}
			}
		}
		done()
	case election.StageBarrier:
		var passed set
		for i := range uint8(m.data) {
			runs := c.running.has(i) || m.broken(barrierBeforeStart)
			if step.nodes.has(i) && runs && m.attached(s, i, p) && c.barrier&^s.nodes[i].log == 0 {
				passed |= one(i)
			}
		}
		again := *s
		m.beginBarrier(&again)
		if again.change.running&^c.running&step.nodes != 0 {
			yield(action{what: doBarrier, a: p}, &again)
		}
		if c.committed { // the order is reversed
			done()
			break
		}
		rec, ok := m.next(s.rec, c.kind, c.node, passed, 0)
		if !ok {
			break
		}
		n.change.other = rec
		done()
	case election.StageCommit:
		if !m.leads(s, p) || s.pending.is != 0 || s.rec.term != s.right || c.committed {
			break
		}
		if m.doubt {
			d := *s
			d.pending = c.other
			yield(action{what: doStep, a: p, b: uint8(c.kind) | 1<<4, c: label.c}, &d)
		}
		m.commitChange(&n)
		yield(label, &n)
	}
	m.settle(s, p, yield)
}

// settle ends a doubt, or drops a change that was not proposed.
func (m *model) settle(s *state, p uint8, yield emit) {
	c := s.change
	if s.pending.is != 0 && s.pending == c.other && !c.committed {
		if m.leads(s, p) {
			n := *s
			m.commitChange(&n)
			yield(action{what: doResolve, a: p}, &n)
		}
		if m.broken(letBackInDoubt | lowerInDoubt) {
			n := *s
			if m.broken(letBackInDoubt) {
				n.nodes[p].locked &^= s.rec.s
			} else {
				n.nodes[p].acks = max(1, s.rec.acks)
			}
			if n != *s {
				yield(action{what: doLetBack, a: p}, &n)
			}
		}
		return
	}
	if c.committed || s.pending.is != 0 || s.rec.primary != p || s.rec.term != s.nodes[p].term {
		return
	}
	n := *s
	n.change = change{}
	v := m.view(&n)
	n.nodes[p].locked &^= v.acknowledge
	n.nodes[p].acks = v.acks
	yield(action{what: doAbandon, a: p}, &n)
}
