// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"fmt"
	"slices"
	"time"

	"highwater/election"
)

// thawGrace is how long a host that ran no instruction may take for its first ones.
const thawGrace = 100 * time.Millisecond

// carries reports whether the host answers for the VIP with the server process that it was
// claimed for. One that died and came back, read-only, within a lease that nobody could take
// back is the price of the linger (docs/design.md §2).
func (w *World) carries(h *host) bool {
	if h.vipFor != h.server.process() && h.server.readOnly() {
		return false
	}
	return h.powered && h.vip && h.server.up() && !h.frozen && (h.thawed == 0 || w.now.sub(h.thawed) > thawGrace)
}

// check holds what must be true at every moment (P1 of docs/design.md §1). With lossless durability a promotion does
// not wait for the end of the old lease, and the old host may carry the address for so long: there judgeTold holds that
// it acknowledges nothing any more.
func (w *World) check() {
	if w.parted && !w.cfg.Quorum || w.cfg.Lossless || w.broken != nil {
		return
	}
	var carriers []*host
	for _, h := range w.hosts {
		if w.carries(h) {
			carriers = append(carriers, h)
		}
	}
	if len(carriers) < 2 {
		return
	}
	writable := 0
	for _, h := range carriers {
		if !h.server.readOnly() {
			writable++
		}
	}
	w.fail("the VIP is on %s and on %s; %d of them accept writes", carriers[0].name, carriers[1].name, writable)
}

// judgeClaim holds P3: the VIP comes only after a promotion that ended well, and no two
// hosts get it in one term.
func (s *supervisor) judgeClaim(a election.Claim) {
	w, h := s.w, s.host
	if !s.claims[a.Term] && s.primaryOf != a.Term {
		w.fail("%s claims the VIP in term %d without a promotion", h.name, a.Term)
	}
	if s.primaryOf == a.Term {
		return
	}
	s.primaryOf = a.Term
	known := func(c Claim) bool { return c.Term == a.Term && c.Node == h.name }
	if slices.ContainsFunc(w.history, known) {
		return
	}
	for _, c := range w.history {
		if c.Term == a.Term && (w.cfg.Quorum || !w.parted && !w.unplugged) {
			w.fail("%s and %s both claim term %d", c.Node, h.name, a.Term)
		}
	}
	w.tracef(h, "PRIMARY of term %d", a.Term)
	w.history = append(w.history, Claim{At: w.now.sub(epoch), Node: h.name, Term: a.Term})
}

// judgeCandidate holds P4: who may not stand does not, once a look has had the time to say so.
func (s *supervisor) judgeCandidate() {
	srv, w := &s.host.server, s.w
	if srv.broken && w.now.sub(srv.brokenAt) > 2*w.cfg.Check {
		w.fail("%s stands although its server is not eligible", s.host.name)
	}
}

// judgeOpen holds completeness: what opens has all that anybody heard had.
func (s *supervisor) judgeOpen(term uint64) {
	if s.w.cfg.Lossless { // what was never acknowledged need not be there
		return
	}
	all := s.w.heardFor[seat{s.host.index, term}]
	if held := s.host.server.db.Logged(); !held.Contains(all) {
		s.w.fail("%s opens with %v although hosts with %v were heard", s.host.name, held, all)
	}
}

// Settled returns what is not yet as it should be when nothing is broken any more: one
// primary, and everybody else its replica or held because of transactions of its own.
func (w *World) Settled() error {
	name := w.Primary()
	if name == "" {
		if !w.cfg.Lossless && w.diverged() {
			return errDiverged
		}
		return fmt.Errorf("no primary, or several: %s", w.summary())
	}
	p := w.host(name)
	switch {
	case !p.vip:
		return fmt.Errorf("%s is primary without the VIP", name)
	case w.cfg.Quorum && !p.holds():
		return fmt.Errorf("%s is primary without the right", name)
	case !p.server.up() || p.server.readOnly():
		return fmt.Errorf("%s is primary and its server takes no writes", name)
	}
	for _, h := range w.hosts {
		if h == p {
			continue
		}
		if h.supervisor == nil {
			return fmt.Errorf("%s has no supervisor", h.name)
		}
		view := h.supervisor.machine.Status()
		if v := h.supervisor.voter; v != nil && (v.record.Primary != name || v.core.Leader() != name) {
			return fmt.Errorf("%s takes %q for the leader and %q for the primary of record", h.name, v.core.Leader(), v.record.Primary)
		}
		switch {
		case h.server.rebuilt && !w.resting:
		case h.leftBehind(p): // somebody has to copy the primary to it
		case h.vip:
			return fmt.Errorf("%s has the VIP beside %s", h.name, name)
		case !h.server.readOnly():
			return fmt.Errorf("%s is writable beside %s", h.name, name)
		case view.Role == election.RoleHeld && !p.server.executed().Contains(h.server.executed()):
		case view.Role != election.RoleReplica:
			return fmt.Errorf("%s is %s", h.name, view.Role)
		case h.server.source() != p || !h.server.receiving():
			return fmt.Errorf("%s does not follow %s: %s", h.name, name, w.summary())
		}
	}
	if w.resting && w.cfg.Lossless && w.healthy() > 0 && len(p.supervisor.voter.record.Synced) == 0 {
		return fmt.Errorf("nobody acknowledges the commits of %s: %s", name, w.summary())
	}
	return nil
}

// leftBehind reports whether the primary, which was rebuilt before, has purged what the host lacks.
func (h *host) leftBehind(primary *host) bool {
	return h.server.readOnly() && !h.vip && !h.server.received().Contains(primary.server.db.Purged())
}

// healthy counts the hosts that could acknowledge the primary's commits.
func (w *World) healthy() int {
	n := 0
	for _, h := range w.hosts {
		if s := h.supervisor; s != nil && s.machine.Status().Role == election.RoleReplica && !h.server.broken && !h.leftBehind(w.host(w.Primary())) {
			n++
		}
	}
	return n
}

// errDiverged says that each choice would lose transactions: people have to decide.
var errDiverged = fmt.Errorf("no server holds all that the others hold")

// diverged reports whether two servers each hold what the other lacks.
func (w *World) diverged() bool {
	for _, a := range w.hosts {
		for _, b := range w.hosts {
			if !a.server.received().Contains(b.server.received()) && !b.server.received().Contains(a.server.received()) {
				return true
			}
		}
	}
	return false
}

// summary says for people how everything is.
func (w *World) summary() string {
	text := ""
	for _, h := range w.hosts {
		text += fmt.Sprintf("\n  %s powered=%v vip=%v up=%v hung=%v readonly=%v executed=%v received=%v receiving=%v", h.name, h.powered,
			h.vip, h.server.up(), h.server.hung, h.server.readOnly(), h.server.executed(), h.server.received(), h.server.receiving())
		if src := h.server.source(); src != nil {
			text += " from " + src.name
		}
		if h.supervisor != nil {
			text += fmt.Sprintf(" verdict=%v %+v", h.supervisor.verdict.reasons, h.supervisor.machine.Status())
		}
	}
	return text
}
