// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"slices"
	"time"

	"highwater/configs"
	"highwater/election"
	"highwater/promote"
	"highwater/supervisor/gather"
	"highwater/supervisor/peer"
)

// answer is how a peer's request ended.
type answer struct {
	accepted bool
	code     election.Code
	promised uint64
	sealed   bool // accepted, and the server answered
	status   status
}

// execute carries out one action, as the supervisor's executor does.
func (s *supervisor) execute(a election.Action) {
	h, w := s.host, s.w
	switch a := a.(type) {
	case election.SendAdvert:
		w.advert(h, a.Priority)
	case election.Claim:
		s.kernel(func() election.Event {
			s.judgeClaim(a)
			h.lease()
			s.dateClaim()
			return election.ClaimEnded{Token: a.Token}
		})
	case election.Renew:
		s.kernel(func() election.Event {
			if !h.vip {
				return election.RenewEnded{Token: a.Token, Lost: true, Err: "the address is gone"}
			}
			h.lease()
			s.dateClaim()
			return election.RenewEnded{Token: a.Token}
		})
	case election.Release:
		w.ledger.released++
		if w.cfg.Mutation == EarlyHandOver && s.voter != nil {
			s.voter.handOver(s.firstPeer(), 0)
		}
		if w.cfg.Mutation == NoRelease && a.Reason != election.CodeServerExited {
			s.post(election.ReleaseEnded{Token: a.Token})
			return
		}
		s.kernel(func() election.Event {
			h.vip = false
			h.vipGen++
			s.leaseEnd = 0
			return election.ReleaseEnded{Token: a.Token}
		})
	case election.Publish:
		s.push()
	case election.Save:
		saved := a.Saved
		s.after(w.between(100*time.Microsecond, 5*time.Millisecond), func() { h.saved = saved })
	case election.Record:
		switch a.Code {
		case election.CodeAdopted, election.CodeResumed:
			s.claims[a.Term] = true
		case election.CodeTermRaised: // of the term that it is primary of already
			s.primaryOf = a.Term
		case election.CodeStood:
			w.stood = append(w.stood, Claim{At: w.now.sub(epoch), Node: h.name, Term: a.Term})
		default:
		}
	case election.Refuse:
		s.answer(a.Token, answer{code: a.Code})
	case election.Accept:
		s.answer(a.Token, answer{accepted: true})
	case election.Cancel:
		s.cancel(a.Token)
	case election.Farewell:
		s.farewell(a)
	case election.AskToStand:
		s.request(w.host(a.Node), func(peer *supervisor, _ func(answer)) {
			peer.ask(func(t election.Token) election.Event {
				return election.StandRequested{Token: t, From: h.name, Term: a.Term, Ordered: a.Ordered}
			}, func(answer) {})
		}, nil)
	case election.Seal:
		s.seal(a)
	case election.Gather:
		s.gather(a)
	case election.Promote:
		s.promote(a)
	case election.Demote:
		s.demote(a)
	case election.Follow:
		s.follow(a)
	case election.Finish:
		s.after(w.between(time.Millisecond, 20*time.Millisecond), func() {
			if view := s.machine.Status(); view.Role == election.RolePrimary {
				h.joined, h.joinedTo = view.Term, h.name
				h.server.db.Follow(nil)
			}
			s.post(election.FinishEnded{Token: a.Token})
		})
	case election.Seek:
		s.voter.seek()
	case election.HandOver:
		w.ledger.passed++
		s.voter.handOver(a.To, a.Unused)
	case election.Establish:
		s.voter.establish(a)
	case election.Stopped:
		s.stop()
	case election.Announce:
	default:
		w.fail("%s: unknown action %T", h.name, a)
	}
}

func (s *supervisor) dateClaim() {
	now := s.host.clock()
	s.leaseEnd = now.Add(lease)
	s.host.claimAt, s.host.claimBoot = now, s.host.boot
}

// stop ends the process after a last word.
func (s *supervisor) stop() {
	s.push()
	h := s.host
	h.saved = s.lastSaved()
	done := s.onStopped
	h.crashSupervisor()
	if h.w.healed {
		done = func() { h.after(retransmit, h.startSupervisor) }
	}
	if done != nil {
		done()
	}
}

// lastSaved is what the saver still writes when the loop has ended.
func (s *supervisor) lastSaved() election.Saved {
	saved := s.host.saved
	for _, a := range s.queue {
		if a, ok := a.(election.Save); ok {
			saved = a.Saved
		}
	}
	return saved
}

// ask hands a request to the loop and waits for its answer.
func (s *supervisor) ask(event func(election.Token) election.Event, reply func(answer)) {
	s.requested++
	t := s.requested | shellToken
	s.requests[t] = func(a answer) {
		view := s.machine.Status()
		if !a.sealed && a.promised == 0 {
			a.promised, a.status = max(view.Promised, view.Term), s.status
		}
		reply(a)
	}
	s.post(event(t))
}

func (s *supervisor) answer(t election.Token, a answer) {
	if f := s.requests[t]; f != nil {
		delete(s.requests, t)
		f(a)
	}
}

// request sends a request over the peer channel; reply, if not nil, gets the answer.
func (s *supervisor) request(to *host, handle func(*supervisor, func(answer)), reply func(answer)) {
	if to == nil {
		return
	}
	from := s.host
	s.w.deliver(from, to, func(peer *supervisor) {
		handle(peer, func(a answer) {
			if reply == nil {
				return
			}
			s.w.deliver(to, from, func(back *supervisor) {
				if back == s && !s.stopped() {
					reply(a)
				} else if back == s {
					s.backlog = append(s.backlog, func() { reply(a) })
				}
			})
		})
	})
}

func (s *supervisor) cancel(t election.Token) {
	s.cancelled[t] = true
}

func (s *supervisor) farewell(a election.Farewell) {
	s.refreshStatus()
	for _, to := range s.w.hosts {
		if to != s.host {
			s.request(to, func(peer *supervisor, _ func(answer)) {
				peer.post(election.FarewellReceived{From: s.host.name, Term: a.Term, Reason: a.Reason, Successor: a.Successor})
			}, nil)
		}
	}
}

// sealServer stops the receiver, after the promise is on disk.
func (s *supervisor) sealServer(term uint64, stop bool, done func(ok bool)) {
	h := s.host
	limit := gatherTimeout
	if !s.verdict.alive {
		limit = 50 * time.Millisecond
	}
	s.after(s.w.between(time.Millisecond, 8*time.Millisecond), func() {
		if term < h.promised {
			done(false)
			return
		}
		h.promised = term
		if !h.server.up() { // the connection is refused
			done(false)
			return
		}
		if !h.server.answers() {
			s.after(limit, func() { done(false) })
			return
		}
		s.following++
		s.interrupts++
		if stop {
			h.server.db.StopReceiver()
		}
		s.verdict.serverID = h.server.id()
		s.verdict.executed = h.server.executed()
		s.verdict.received = h.server.received()
		s.keeper.Nudge()
		done(s.keeper == nil || h.server.readOnly())
	})
}

func (s *supervisor) seal(a election.Seal) {
	s.sealServer(a.Term, s.w.cfg.Mutation != NoSeal, func(ok bool) {
		ended := election.SealEnded{Token: a.Token}
		if !ok {
			ended.Err = "the server does not answer"
		}
		s.post(ended)
		st := s.sealedStatus()
		ans := answer{accepted: true, sealed: ok, promised: a.Term, status: st}
		if later := s.host.promised; !ok && later > a.Term {
			ans.accepted, ans.code, ans.promised = false, election.CodePromisedElsewhere, later
		}
		s.answer(a.Token, ans)
	})
}

// sealedStatus is what a sealed host says of itself.
func (s *supervisor) sealedStatus() status {
	st := s.refreshStatus()
	if st.node == nil {
		st.node = s.nodeStatus(&st)
	}
	return st
}

// gather asks every peer for a seal, and chooses with [promote.Choose].
func (s *supervisor) gather(a election.Gather) {
	s.judgeCandidate()
	g := &gathering{s: s, action: a, answers: map[string]answer{}, late: map[string]answer{}, waiting: append(slices.Clone(a.Expect), s.host.name)}
	s.sealServer(a.Term, true, func(ok bool) {
		g.take(s.host.name, answer{accepted: ok, sealed: ok, status: s.sealedStatus()})
	})
	g.before = s.w.hearable(s.host, a.Expect)
	for _, to := range s.w.hosts {
		if to == s.host {
			continue
		}
		g.ask(to)
	}
	s.after(gatherTimeout, g.end)
}

// gathering is a gather under way.
type gathering struct {
	s       *supervisor
	action  election.Gather
	answers map[string]answer
	waiting []string
	late    map[string]answer // of those that are asked again
	over    bool
	before  position // of the hosts that are there to be heard
}

// sealRetry is the pause before a host that has not heard of a farewell is asked again.
const sealRetry = 50 * time.Millisecond

// ask asks a host to seal. One that still hears the primary, whose farewell came here first, is asked again.
func (g *gathering) ask(to *host) {
	s, a := g.s, g.action
	s.request(to, func(peer *supervisor, reply func(answer)) {
		peer.ask(func(t election.Token) election.Event {
			return election.SealRequested{Token: t, From: s.host.name, Term: a.Term, OldPrimary: a.OldPrimary}
		}, reply)
	}, func(ans answer) {
		if view := s.machine.Status(); ans.code == election.CodeHearsPrimary && view.Farewell == view.Term && !g.over {
			s.after(sealRetry, func() {
				if !g.over {
					g.late[to.name] = ans
					g.ask(to)
				}
			})
			return
		}
		g.take(to.name, ans)
	})
}

func (g *gathering) take(node string, a answer) {
	if g.over {
		return
	}
	switch g.s.w.cfg.Mutation {
	case DeafSeals: // nobody's objection counts
		if a.code == election.CodeHearsPrimary || a.code == election.CodePrimaryAlive {
			a.code = ""
		}
	case HastyGather:
		g.waiting = []string{g.s.host.name}
	default:
	}
	g.answers[node] = a
	g.waiting = slices.DeleteFunc(g.waiting, func(n string) bool { return n == node })
	if len(g.waiting) == 0 || g.s.cancelled[g.action.Token] {
		g.end()
	}
}

func (g *gathering) end() {
	if g.over {
		return
	}
	g.over = true
	s := g.s
	for node, a := range g.late {
		if _, answered := g.answers[node]; !answered {
			g.answers[node] = a
		}
	}
	ended := election.GatherEnded{Token: g.action.Token}
	if !g.answers[s.host.name].sealed {
		ended.Err = "seal this server"
		s.post(ended)
		return
	}
	var nodes []configs.Node
	for _, h := range s.w.hosts {
		nodes = append(nodes, configs.Node{Name: h.name, Priority: s.w.members[h.index].Priority})
		if a, answered := g.answers[h.name]; answered {
			switch a.code {
			case election.CodeStaleTerm, election.CodePromisedElsewhere:
				ended.Promised = max(ended.Promised, a.promised)
			case election.CodeHearsPrimary, election.CodePrimaryAlive:
				ended.HearsPrimary = append(ended.HearsPrimary, h.name)
			case election.CodeCandidateExists:
				ended.Code = election.CodeCandidateExists
			default:
			}
			ended.OldReleased = ended.OldReleased || h.name == g.action.OldPrimary && !a.status.vipHeld
		}
	}
	heard := g.heard()
	reports, _ := gather.Compare(nodes, heard)
	var all position
	for _, r := range reports {
		if r.Errant.IsEmpty() { // what is errant is left out of the comparison
			all = all.Union(s.w.position(r.Received))
		}
	}
	if s.keeper != nil {
		s.gathered, s.sealedStart = s.voter.record.Revision, g.answers[s.host.name].status.node.ServerStartID
		s.keeper.Bar(reports, heard)
	}
	choice := promote.Choose(s.host.name, reports, promoteTimeout)
	s.missing = s.w.position(s.w.set(g.answers[s.host.name].status.received).Union(choice.Missing))
	ended.Winner, ended.FetchFrom = choice.Winner, choice.FetchFrom
	if ended.Code == "" && choice.Winner == "" {
		ended.Code = election.Code(choice.Reason)
	}
	s.spares = 0
	if s.keeper != nil && ended.Winner == s.host.name && (s.keeper.Spares(heard) || s.w.cfg.Mutation == SpareAll) {
		s.spares = g.action.Term
	}
	if s.keeper != nil && ended.Winner == s.host.name && s.w.cfg.Mutation != NoCompleteness {
		if short := s.keeper.Incomplete(heard, choice); short != "" {
			ended.Winner, ended.FetchFrom, ended.Code, ended.Detail = "", "", election.CodeIncomplete, short
		}
	}
	if ended.Winner == s.host.name {
		s.heardAll(g.action.Term, all.Union(g.before))
	}
	s.post(ended)
}

// heard is what those said of themselves who have sealed.
func (g *gathering) heard() map[string]peer.NodeStatus {
	heard := map[string]peer.NodeStatus{}
	for name, a := range g.answers {
		if !a.sealed {
			continue
		}
		st := *a.status.node
		if g.s.w.cfg.Mutation == RestartedHeard {
			for _, s := range g.s.voter.record.Synced {
				if s.Node == name {
					st.ServerStartID = s.Start
				}
			}
		}
		heard[name] = st
	}
	return heard
}
