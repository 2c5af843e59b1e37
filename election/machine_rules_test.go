// SPDX-License-Identifier: Apache-2.0

package election

import (
	"fmt"
	"slices"
	"time"
)

// machineRules are what must hold of every step, with the section of docs/design.md.
var machineRules = map[string]string{
	"doors":         "§2: the VIP is claimed in the term of a promotion that succeeded, of an adoption or of a resuming; a promotion is of the term that was gathered",
	"one claim":     "§3: never are two claims awaited",
	"right":         "§4: without a link there is no right, and without a right no claim and no primary",
	"lease":         "§6: only a primary renews, and only what it has claimed and not released since",
	"release first": "§2: on the way back the VIP goes before the server is made read-only",
	"farewell":      "§2: inform others second: no farewell, no priority 0, while clients reach a server through the VIP here",
	"fenced":        "§2: a server that is writable without the right is made read-only, again and again until it is",
	"undone":        "§2: a promotion that was cancelled and succeeded all the same is undone at once",
	"old lease":     "§5: door 5 waits until the old lease has surely ended, unless the old primary said farewell",
	"resume":        "§6: after a stall or a start the right is asked for: silence that nobody listened to is not consent",
	"finish":        "§2: what is left to do after a promotion is asked for once the VIP is there",
	"follow":        "§5: only a replica that is read-only is pointed at a primary",
	"seal":          "§5: who serves clients, or is about to, does not seal itself for another one",
	"aside":         "§2: who asks another one to stand stands back",
	"terms":         "§4: terms and promises do not sink, are saved when they change, and nobody promotes in one that was another's",
	"wire":          "RFC 9568 §6.4, by role: Active from candidate to primary, Backup as replica, else in Initialize; only an Active Router advertises its priority",
	"deadline":      "§3: after a tick the next deadline lies ahead: the loop does not spin",
	"stale":         "§3: an answer that is not awaited changes nothing",
}

// machineMutation spoils a step; honest is the Machine's own.
type machineMutation func(h *searchedHost, ev Event, honest func(Event) []Action) []Action

// decide lets the Machine, or what a mutation has made of it, take a step.
func (h *searchedHost) decide(ev Event, off machineMutation) []Action {
	honest := func(ev Event) []Action {
		actions := h.m.Step(h.now, ev)
		h.m.out = nil
		return actions
	}
	if off != nil {
		return off(h, ev, honest)
	}
	return honest(ev)
}

// step lets an event happen, and returns which rule the answer breaks.
func (h *searchedHost) step(ev Event, off machineMutation) (rule, what string) {
	before := h.note(ev)
	actions := h.decide(ev, off)
	for _, a := range actions {
		if rule, what = h.carryOut(a, before); rule != "" {
			return rule, what
		}
	}
	return h.judge(before, ev, actions, off)
}

// carryOut takes in one action, and returns which rule it breaks by itself.
func (h *searchedHost) carryOut(a Action, before Status) (rule, what string) {
	m := &h.m
	switch a := a.(type) {
	case Claim:
		h.ask(a, a.Token, true)
		switch {
		case h.mayClaim != a.Term:
			return "doors", fmt.Sprintf("claims in term %d; entitled is term %d", a.Term, h.mayClaim)
		case h.claiming:
			return "one claim", "claims while a claim is awaited"
		case !h.link:
			return "right", "claims with its link down"
		}
		h.holds, h.claiming = true, true
	case Renew:
		h.ask(a, a.Token, true)
		switch {
		case !h.holds:
			return "lease", "renews what it does not hold"
		case m.role != RolePrimary, !h.link:
			return "lease", fmt.Sprintf("renews as %s, link up %v", m.role, h.link)
		}
	case Release:
		h.ask(a, a.Token, true)
		h.holds, h.claiming, h.mayClaim = false, false, 0
	case Demote:
		h.ask(a, a.Token, false)
		if h.holds {
			return "release first", "demotes before it has released"
		}
	case Gather:
		h.ask(a, a.Token, false)
	case Promote:
		h.ask(a, a.Token, false)
		opens := latest(h.now, a.WaitUntil)
		switch {
		case a.Term != h.gathered:
			return "doors", fmt.Sprintf("promotes in term %d; gathered was %d", a.Term, h.gathered)
		case a.Term <= m.term:
			return "terms", fmt.Sprintf("promotes in term %d of %d", a.Term, m.term)
		case h.old != 0 && opens < h.old.Add(m.cfg.LeaseEnds()):
			return "old lease", fmt.Sprintf("opens %v after the old primary's last word", opens.Sub(h.old))
		}
	case Follow:
		h.ask(a, a.Token, false)
		if h.open || m.role != RoleReplica && m.role != RoleHeld {
			return "follow", fmt.Sprintf("follows as %s, writable %v", m.role, h.open)
		}
	case Finish:
		h.ask(a, a.Token, false)
		h.owed = false
	case Seal:
		if h.serves() && !h.stuck || m.role.contending() && m.role != RoleCandidate || m.role == RolePrimary || m.role == RoleResuming {
			return "seal", fmt.Sprintf("seals itself as %s, the VIP here %v", m.role, h.serves())
		}
	case Farewell:
		if h.serves() {
			return "farewell", "says farewell and has the VIP"
		}
	case SendAdvert:
		switch {
		case a.Priority == PriorityReleasing && h.serves() && !before.Role.contending():
			return "farewell", "advertises priority 0 and has the VIP"
		case a.Priority != PriorityReleasing && (a.Priority != m.cfg.Router.Priority || m.router.State() != Active && !leaves(m.role)):
			return "wire", fmt.Sprintf("advertises priority %d as %s", a.Priority, m.role)
		}
	case AskToStand:
		h.aside = h.now.Add(m.cfg.GatherTimeout)
	case Record:
		switch a.Code {
		case CodeAdopted:
			h.mayClaim = a.Term
		case CodeTermRaised:
			if h.mayClaim == before.Term {
				h.mayClaim = m.term
			}
		case CodeResumed:
			h.mayClaim = m.term
			if h.now < h.listening.Add(m.router.DownInterval()) && h.spoke < h.listening {
				return "resume", fmt.Sprintf("resumes after it has listened for %v", h.now.Sub(h.listening))
			}
		case CodeStood:
			if h.now < h.aside {
				return "aside", "stands although it has just asked another one to"
			}
		case CodePromoted:
			h.owed = true
		}
	case Stopped:
		h.stopped = true
	}
	return "", ""
}

// leaves reports whether a step that ends in this role may have begun as an Active Router's.
func leaves(r Role) bool { return r == RoleReplica || r == RoleDemoting }

// judge returns which rule the host as a whole breaks after a step.
func (h *searchedHost) judge(before Status, ev Event, actions []Action, off machineMutation) (rule, what string) {
	m := &h.m
	wants := Initialize
	switch m.role {
	case RoleReplica, RoleHeld:
		wants = Backup
	case RoleCandidate, RolePromoting, RoleClaiming, RolePrimary:
		wants = Active
	}
	if h.stopped {
		wants = m.router.State()
	}
	if m.router.State() != wants {
		return "wire", fmt.Sprintf("%s on the wire as %s", m.router.State(), m.role)
	}
	if m.term < before.Term || m.promised < before.Promised {
		return "terms", fmt.Sprintf("term %d of %d, promised %d of %d", m.term, before.Term, m.promised, before.Promised)
	}
	if _, start := ev.(Start); !start && (m.term != before.Term || m.primary != before.Primary) {
		saved := slices.ContainsFunc(actions, func(a Action) bool {
			s, ok := a.(Save)
			return ok && s.Saved.Term == m.term && s.Saved.Primary == m.primary
		})
		if !saved {
			return "terms", fmt.Sprintf("term %d of %s is not saved", m.term, m.primary)
		}
	}
	if !h.link && (m.role == RolePrimary || m.role == RoleClaiming) {
		return "right", fmt.Sprintf("%s with its link down", m.role)
	}
	if m.role == RolePrimary && h.owed {
		return "finish", "it was promoted, and its receiver is never removed"
	}
	if m.role != RolePrimary && !m.role.contending() && m.role != RoleResuming {
		h.owed = false
	}
	if _, tick := ev.(Tick); tick && !h.stopped {
		if next, ok := m.Deadline(); ok && next <= h.now {
			return "deadline", fmt.Sprintf("as %s the deadline stays in the past", m.role)
		}
	}
	if e, ok := ev.(PromoteEnded); ok && e.Err == "" && m.role != RolePrimary && !m.role.contending() && m.fence.demote == 0 {
		return "undone", fmt.Sprintf("its server was opened, and it goes on as %s", m.role)
	}
	return h.fenced(off)
}

// fenced reports a server that is writable without the right to be, and left alone: nothing is
// under way that makes it read-only, and the next look at it changes nothing.
func (h *searchedHost) fenced(off machineMutation) (rule, what string) {
	m := &h.m
	if !h.open || h.stopped || m.term == 0 {
		return "", ""
	}
	switch m.role {
	case RoleReplica, RoleHeld, RoleDemoting, RoleStopping:
	default:
		return "", ""
	}
	underWay := func(h *searchedHost) bool {
		return h.m.fence.retryAt != 0 || slices.ContainsFunc(h.pending, func(e searchedEffect) bool {
			_, demote := e.action.(Demote)
			return demote && e.token == h.m.fence.demote
		})
	}
	if underWay(h) {
		return "", ""
	}
	next := h.clone()
	next.now = next.now.Add(time.Millisecond)
	for _, a := range next.decide(HealthChanged{Health: next.health(true)}, off) {
		if d, ok := a.(Demote); ok {
			next.ask(d, d.Token, false)
		}
	}
	if !underWay(next) {
		return "fenced", fmt.Sprintf("its server stays writable as %s", m.role)
	}
	return "", ""
}

// deaf tries answers that nobody awaits: they must change nothing.
func (h *searchedHost) deaf(off machineMutation) (rule, what string) {
	var stale []Token
	for t := h.m.tokens; t > 0 && len(stale) < 2; t-- { // the newest that were answered
		if !slices.ContainsFunc(h.pending, func(e searchedEffect) bool { return e.token == t }) {
			stale = append(stale, t)
		}
	}
	key := string(h.key(nil))
	for _, t := range append(stale, h.m.tokens+1) {
		for _, ev := range []Event{
			GatherEnded{Token: t, Winner: h.m.cfg.Node},
			PromoteEnded{Token: t},
			ClaimEnded{Token: t},
			ClaimEnded{Token: t, Err: "late"},
			RenewEnded{Token: t},
			RenewEnded{Token: t, Lost: true, Err: "late"},
			ReleaseEnded{Token: t},
			DemoteEnded{Token: t},
			FollowEnded{Token: t, Errant: "late"},
			FinishEnded{Token: t},
			EstablishEnded{Token: t},
		} {
			c := h.clone()
			if len(c.decide(ev, off)) > 0 || string(c.key(nil)) != key {
				return "stale", fmt.Sprintf("%T%+v changes something", ev, ev)
			}
		}
	}
	return "", ""
}
