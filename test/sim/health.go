// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"time"

	"highwater/election"
	"highwater/mysqlcheck"
)

// verdict is what the last look at the server said.
type verdict struct {
	alive, hung, writable, failing bool

	eligible     bool
	reasons      []string
	good         int // samples in a row
	serverID     string
	source       string
	replicas     int
	executed     position
	received     position
	errant       gap
	event        election.Instant
	took         bool // there was a look
	at           election.Instant
	receiver     string // its state
	acknowledges bool   // it will, once its receiver starts
}

// rise is how many good samples make a server eligible.
const rise = 2

// lookAgain looks at the server at each interval.
func (s *supervisor) lookAgain() {
	s.look()
	s.after(s.w.cfg.Check, s.lookAgain)
}

// lookSoon looks once more at once, because an effect has changed the server.
func (s *supervisor) lookSoon() { s.after(s.w.between(0, 2*time.Millisecond), s.look) }

// look takes a sample and tells the loop some time later what it saw.
func (s *supervisor) look() {
	if s.looking { // one look at a time
		return
	}
	s.looking = true
	at := s.host.clock()
	v := s.assess()
	took := s.w.between(500*time.Microsecond, 5*time.Millisecond)
	if s.w.chance(0.05) { // a busy server
		took = s.w.between(5*time.Millisecond, 100*time.Millisecond)
	}
	if v.hung {
		took = checkTimeout
	}
	s.after(took, func() {
		s.looking = false
		s.verdict = v
		state := election.HealthUnknown
		switch {
		case v.alive:
			state = election.HealthAlive
		case !v.hung:
			state = election.HealthDead
		}
		h := election.Health{
			At: at, State: state, Eligible: v.eligible, CaughtUp: v.alive, Writable: v.writable,
			Hung:    v.hung && s.machine.Status().Primary == s.host.name,
			Failing: v.failing, Reasons: v.reasons, ServerID: v.serverID, Source: v.source,
			Receiving: s.host.server.receiving(), Replicas: v.replicas, SourceEvent: v.event,
		}
		s.post(election.HealthChanged{Health: h})
	})
}

// assess is mysqlcheck's judgment, as far as the model goes.
func (s *supervisor) assess() verdict {
	srv := &s.host.server
	prev := s.verdict
	if !srv.up() {
		return verdict{took: true, executed: prev.executed, received: prev.received}
	}
	if srv.hung {
		v := prev
		v.took, v.alive, v.hung, v.eligible, v.good = true, false, true, false, 0
		v.reasons = []string{"server_hung"}
		return v
	}
	view := s.machine.Status()
	v := verdict{
		took: true, alive: true, writable: !srv.readOnly(), failing: srv.failing, serverID: srv.id(),
		executed: srv.executed(), received: srv.received(), errant: prev.errant,
		at: s.host.clock(), receiver: mysqlcheck.ThreadStopped.String(), acknowledges: srv.db.WillAcknowledge(),
	}
	switch {
	case srv.db.Connected():
		v.receiver = mysqlcheck.ThreadRunning.String()
	case srv.receiving():
		v.receiver = mysqlcheck.ThreadConnecting.String()
	}
	if src := srv.source(); src != nil {
		v.source = src.name
	}
	if srv.lastEvent != 0 {
		v.event = s.host.clock().Add(-s.w.now.sub(srv.lastEvent))
	}
	for _, h := range s.w.hosts {
		if h.server.up() && h.server.receiving() && h.server.source() == s.host {
			v.replicas++
		}
	}
	refuse := func(when bool, reason string) {
		if when {
			v.reasons = append(v.reasons, reason)
		}
	}
	refuse(srv.broken, "applier_error")
	refuse(srv.failing, "disk_full")
	switch view.Primary {
	case "":
	case s.host.name:
		refuse(view.Role == election.RolePrimary && srv.readOnly(), "primary_read_only")
	default:
		refuse(v.source == "", "not_replicating")
		refuse(v.source != "" && v.source != view.Primary && view.Promised <= view.Term, "wrong_source")
		refuse(v.source == view.Primary && !srv.receiving() && view.Promised <= view.Term && s.primaryAnswers(view.Primary),
			"receiver_stopped") // nobody starts it while there is nobody to follow
		s.errant(&v, view.Primary)
		refuse(!v.errant.empty(), "errant_transactions")
	}
	if prev.serverID == v.serverID {
		v.good = prev.good
	}
	if len(v.reasons) > 0 {
		v.good = 0
		return v
	}
	v.good++
	v.eligible = v.good >= rise
	if !v.eligible {
		v.reasons = []string{"settling"}
	}
	return v
}

// primaryAnswers reports whether there is a primary that could be followed.
func (s *supervisor) primaryAnswers(name string) bool {
	p, ok := s.heard[name]
	return ok && p.Role == election.RolePrimary && s.host.clock().Sub(p.at) < 3*s.w.cfg.Interval
}

// errant finds what this server has and the primary has not.
func (s *supervisor) errant(v *verdict, primary string) {
	p, ok := s.heard[primary]
	if !ok || p.Role != election.RolePrimary {
		return
	}
	v.errant = s.beyond(v.executed, p)
}

// beyond is what somebody has and the server of p has not. What that wrote itself is none of it, however old the word
// is.
func (s *supervisor) beyond(has position, p heard) gap {
	g := gap{from: p.executed, to: has}
	if own := s.w.host(p.Node).server.db.Origin(); g.to[own] > g.from[own] {
		g.to[own] = g.from[own]
	}
	return g
}
