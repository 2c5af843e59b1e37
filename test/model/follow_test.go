// SPDX-License-Identifier: Apache-2.0

package model

// obey is what a replica's supervisor does by the record.
func (m *model) obey(s *state, i uint8, yield emit) {
	me, rec := s.nodes[i], s.rec
	p := rec.primary
	if p == i || !me.is.has(supervisorUp|serverUp) || !m.majority(s, i) {
		return
	}
	if me.is.has(open) {
		if me.term < rec.term {
			n := *s
			m.fence(&n, i)
			yield(action{what: doDemote, a: i}, &n)
		}
		return
	}
	inS := rec.s.has(i)
	if me.target != 0 && (me.target != p+1 || me.is.has(acking) && !inS && !m.broken(ackAtOnce)) {
		n := *s
		n.nodes[i].target = 0
		n.nodes[i].is &^= acking
		yield(action{what: doStop, a: i}, &n)
	}
	source := s.nodes[p]
	if rec.term < me.promise && !m.broken(promiseNotHeld) || !source.is.has(serverUp) || !m.reach(s, i, p) {
		return
	}
	if me.log&^source.log != 0 {
		if source.is.has(open) && me.target == 0 {
			// What it has more was never told; it is rebuilt, in another server process.
			n := *s
			n.restart(i, m)
			n.nodes[i].log, n.nodes[i].relay = source.log, 0
			n.nodes[i].term = 0
			yield(action{what: doRebuild, a: i}, &n)
		}
		return
	}
	wants := me.is &^ acking
	if inS || m.broken(ackAtOnce) {
		wants |= acking
	}
	if source.locked.has(i) && !inS {
		return // nothing would come of it
	}
	if me.target != p+1 || me.is != wants {
		n := *s
		n.nodes[i].target, n.nodes[i].is = p+1, wants
		n.nodes[i].term = 0
		if m.broken(repointDropsRelay) {
			n.nodes[i].log &^= me.relay
			n.nodes[i].relay = 0
		}
		yield(action{what: doFollow, a: i, b: p}, &n)
	}
}

// restart takes note that i's server process is another.
func (n *state) restart(i uint8, m *model) {
	it := &n.nodes[i]
	it.target, it.acks = 0, 0
	it.is &^= acking | open | vetted
	if m.fragile {
		it.is |= broken
	}
	n.end(i)
	n.change.running &^= one(i)
	for _, r := range []*record{&n.rec, &n.pending, &n.change.other} {
		r.restarted(i)
	}
}
