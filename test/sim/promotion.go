// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"time"

	"highwater/election"
	"highwater/promote"
	"highwater/supervisor/keeper"
)

// promotion is one run of door 5, in the steps of package promote.
type promotion struct {
	s      *supervisor
	action election.Promote
	in     *promote.Lossless // with durability lossless
	opened bool
	over   bool
	stop   bool // interrupted by a demotion
}

// hearable returns what the expected hosts hold together that nothing keeps from answering
// a candidate.
func (w *World) hearable(candidate *host, expect []string) position {
	var all position
	if w.loss > 0 || w.delay > 5*time.Millisecond || w.parted {
		return all
	}
	promised := candidate.supervisor.machine.Status().Promised
	for _, name := range expect {
		h := w.host(name)
		p := h.supervisor
		if p != nil && !p.stopped() && !w.older(h) && h.promised <= promised && p.machine.Status().Term < promised &&
			h.server.answers() && h.server.readOnly() && w.reaches(h, candidate) && p.verdict.alive && p.verdict.errant.empty() {
			all = all.Union(h.server.executed())
		}
	}
	return all
}

// older reports whether a host has not come back from an earlier term: what it has of that counts for nobody.
func (w *World) older(h *host) bool {
	newest := h
	for _, o := range w.hosts {
		if o.joined > newest.joined {
			newest = o
		}
	}
	return newest.joined > 1 && h.joined < newest.joined && h.joinedTo != newest.joinedTo && h.name != newest.joinedTo
}

// heardAll remembers what the hosts that are heard for a term hold together.
func (s *supervisor) heardAll(term uint64, all position) {
	s.w.heardFor[seat{s.host.index, term}] = all
}

func (s *supervisor) promote(a election.Promote) {
	p := &promotion{s: s, action: a}
	s.promoting = p
	if s.host.promised > a.Term {
		p.end("promised")
		return
	}
	s.host.promised = a.Term
	s.following++
	if s.w.cfg.Mutation == EarlyClaim {
		s.host.lease()
	}
	timeout := promoteTimeout
	if wait := a.WaitUntil.Sub(s.host.clock()); wait > 0 {
		timeout += wait
	}
	s.after(timeout, func() { p.fail("timeout") })
	if s.keeper == nil {
		p.next(time.Millisecond, 20*time.Millisecond, p.drain)
		return
	}
	s.interrupts++
	s.start(func() {
		p.in = s.keeper.Begin(&span{Context: s.background(), s: s, until: s.host.clock().Add(timeout), token: a.Token}, a.Term)
		p.next(time.Millisecond, 5*time.Millisecond, p.drain)
	})
}

// next runs a step after some time unless the promotion is over by then.
func (p *promotion) next(low, high time.Duration, step func()) {
	p.s.after(p.s.w.between(low, high), func() {
		switch {
		case p.over:
		case p.stop:
			p.fail("interrupted")
		case p.s.cancelled[p.action.Token]:
			p.fail("the right to be primary is gone")
		case !p.s.host.server.up():
			p.fail("server gone")
		case !p.s.host.server.answers(): // until the timeout
			p.next(10*time.Millisecond, 20*time.Millisecond, step)
		default:
			step()
		}
	})
}

func (p *promotion) drain() {
	srv := &p.s.host.server
	if srv.receiving() {
		p.fail("not_sealed")
		return
	}
	srv.db.ApplyAll()
	if p.action.FetchFrom != "" && p.s.forgone != p.action.Term && p.s.w.cfg.Mutation != NoFetch {
		p.next(5*time.Millisecond, 50*time.Millisecond, p.fetch)
		return
	}
	p.lease()
}

func (p *promotion) fetch() {
	from := p.s.w.host(p.action.FetchFrom)
	if !from.server.answers() || !p.s.w.reaches(from, p.s.host) || !p.s.w.reaches(p.s.host, from) || !p.s.host.server.fetch(from) {
		p.next(10*time.Millisecond, 50*time.Millisecond, p.fetch)
		return
	}
	p.lease()
}

// leaseSlice is how often the wait for the old lease looks whether it is still wanted.
const leaseSlice = 50 * time.Millisecond

func (p *promotion) lease() {
	wait := p.action.WaitUntil.Sub(p.s.host.clock())
	if wait <= 0 {
		if p.in != nil {
			p.next(0, 5*time.Millisecond, p.lock)
			return
		}
		p.next(0, 20*time.Millisecond, p.open)
		return
	}
	p.next(min(wait, leaseSlice), min(wait, leaseSlice)+time.Microsecond, p.lease)
}

// open makes the server writable, if the Machine still wants it.
func (p *promotion) open() {
	s := p.s
	view := s.machine.Status()
	if view.Role != election.RolePromoting || view.Promised > p.action.Term {
		p.fail("the right to be primary is gone")
		return
	}
	if s.host.failPromotions {
		p.fail("hook_veto")
		return
	}
	if s.keeper != nil && s.host.server.id() != s.sealedStart {
		p.fail("another server process than the one that was sealed")
		return
	}
	p.opened = true
	held := s.host.server.db.Logged()
	s.host.server.db.SetReadOnly(false)
	s.w.tracef(s.host, "writes open for term %d at %v", p.action.Term, s.host.server.executed())
	s.lookSoon()
	s.judgeOpen(p.action.Term)
	s.judgeEstablished(p.action.Term)
	s.judgeComplete(p.action.Term)
	p.next(time.Millisecond, 10*time.Millisecond, func() {
		if s.keeper != nil {
			s.keeper.Began(keeper.Opening{Term: p.action.Term, Start: s.sealedStart, Set: s.w.set(held)})
		}
		p.end("")
	})
}

// fail ends the promotion and undoes it.
func (p *promotion) fail(why string) {
	if p.over {
		return
	}
	if p.opened && p.s.host.server.answers() {
		if blocked := p.s.host.server.db.SetReadOnly(true); blocked && p.s.w.cfg.KillServer {
			p.s.host.server.enforce()
		}
	}
	p.end(why)
}

func (p *promotion) end(why string) {
	if p.over {
		return
	}
	p.over = true
	s := p.s
	if s.promoting == p {
		s.promoting = nil
	}
	s.lookSoon()
	ended := election.PromoteEnded{Token: p.action.Token, Err: why}
	if why == "" {
		s.claims[p.action.Term] = true
	} else {
		ended.Code = election.CodePromoteFail
	}
	s.post(ended)
}

// demote makes the server read-only, or kills it where that is allowed.
func (s *supervisor) demote(a election.Demote) {
	if p := s.promoting; p != nil {
		p.stop = true
	}
	s.following++
	s.interrupts++
	srv := &s.host.server
	d := s.w.between(time.Millisecond, 30*time.Millisecond)
	if s.w.chance(0.1) { // clients in the middle of something
		d = s.w.between(100*time.Millisecond, 800*time.Millisecond)
	}
	process := srv.process()
	// enforce ends a server that has not obeyed when the fence's time is over.
	enforce := func(obeyed func() bool) {
		s.after(fenceTimeout-d, func() {
			ended := election.DemoteEnded{Token: a.Token}
			switch {
			case obeyed():
			case s.w.cfg.KillServer:
				srv.enforce()
				ended.Killed = true
			default:
				ended.Err = "the server did not become read-only"
			}
			s.lookSoon()
			s.post(ended)
		})
	}
	s.after(d, func() {
		switch {
		case s.w.cfg.Mutation == NoDemote:
		case !srv.up() || srv.process() != process:
		case srv.hung:
			enforce(func() bool {
				if srv.answers() {
					srv.db.SetReadOnly(true)
				}
				return srv.answers()
			})
			return
		case srv.db.SetReadOnly(true): // commits wait for an acknowledgement
			enforce(func() bool { return !srv.up() || srv.process() != process || srv.readOnly() })
			return
		default:
			srv.blocked = false // its waiting clients are killed
		}
		s.lookSoon()
		s.post(election.DemoteEnded{Token: a.Token})
	})
}

// follow points the server at the primary.
func (s *supervisor) follow(a election.Follow) {
	s.following++
	if s.keeper != nil {
		s.start(func() { s.rejoin(a) })
		return
	}
	attempt := s.following
	s.after(s.w.between(10*time.Millisecond, 150*time.Millisecond), func() { s.point(a, attempt, true) })
}

// point is the end of a follow. What looks errant may only be younger than what was heard of
// the source: it is asked once more.
func (s *supervisor) point(a election.Follow, attempt int, again bool) {
	srv := &s.host.server
	ended := election.FollowEnded{Token: a.Token}
	source := s.w.host(a.Node)
	known, heard := s.heard[a.Node]
	errant := s.beyond(srv.executed(), known)
	switch {
	case s.following != attempt:
		ended.Err = "interrupted"
	case !srv.answers():
		ended.Err = "the server does not answer"
	case !srv.readOnly():
		ended.Err = "the server is not read-only"
	case a.Term < s.host.promised:
		ended.Err = "promised"
	case !heard:
		ended.Err = "nothing was heard"
	case !errant.empty() && again:
		s.after(2*s.w.cfg.Check+s.w.cfg.Interval+retransmit, func() { s.point(a, attempt, false) })
		return
	case !errant.empty():
		ended.Errant = errant.set().String()
	default:
		srv.follow(source)
		s.host.joined, s.host.joinedTo = a.Term, a.Node
		s.w.tracef(s.host, "follows %s", source.name)
	}
	s.lookSoon()
	s.post(ended)
}
