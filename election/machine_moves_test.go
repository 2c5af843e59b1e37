// SPDX-License-Identifier: Apache-2.0

package election

import (
	"slices"
	"time"
)

// machineMove is something that can happen to a host.
type machineMove struct {
	name string
	// to prepares the world and returns the event; nil when it cannot happen now.
	to func(h *searchedHost) Event
}

// answers are the ways in which one kind of action ends.
func answers[A Action](name string, end func(a A, t Token) Event) machineMove {
	return machineMove{name: name, to: func(h *searchedHost) Event {
		for i, e := range h.pending {
			a, ok := e.action.(A)
			if !ok {
				if e.claims && isClaims[A]() {
					return nil // the addresses are changed in the order that was asked for
				}
				continue
			}
			h.pending = slices.Delete(h.pending, i, i+1)
			return end(a, e.token)
		}
		return nil
	}}
}

func isClaims[A Action]() bool {
	var a A
	switch any(a).(type) {
	case Claim, Renew, Release:
		return true
	default:
		return false
	}
}

func happens(name string, ev func(h *searchedHost) Event) machineMove {
	return machineMove{name: name, to: ev}
}

// peerSays is a status of db2.
func peerSays(name string, change func(h *searchedHost, s *PeerState)) machineMove {
	return happens("db2 says: "+name, func(h *searchedHost) Event {
		s := PeerState{
			Node: "db2", Role: RoleReplica, Term: h.m.term, Primary: h.m.primary, Promised: h.m.term, Eligible: true, CaughtUp: true, Alive: true,
			Source: h.m.primary, SourceEvent: -1, PrimaryHeard: -1, LeaseReleased: true,
		}
		change(h, &s)
		if s.Primary == "db2" {
			s.Source = ""
		}
		return PeerHeard{Peer: s}
	})
}

func advertOfPeer(name, node string, priority uint8) machineMove {
	return happens("advert "+name, func(h *searchedHost) Event {
		return AdvertReceived{Advert: Advert{Source: addressAbove, Priority: priority, Interval: h.m.cfg.Router.AdvertInterval}, Node: node}
	})
}

func stall(name string, gap time.Duration) machineMove {
	return happens(name, func(h *searchedHost) Event {
		h.now = h.now.Add(gap)
		return Stalled{Gap: gap}
	})
}

// machineMoves is everything that happens to the host db1.
var machineMoves = []machineMove{
	happens("its next deadline", func(h *searchedHost) Event {
		d, ok := h.m.Deadline()
		if !ok {
			return nil
		}
		h.now = max(h.now, d)
		return Tick{}
	}),
	happens("a moment later", func(h *searchedHost) Event {
		h.now = h.now.Add(30 * time.Millisecond)
		return Tick{}
	}),
	stall("it slept for less than a lease", 900*time.Millisecond),
	stall("it slept for a minute", time.Minute),
	happens("a good verdict", func(h *searchedHost) Event { return HealthChanged{Health: h.health(true)} }),
	happens("a bad verdict", func(h *searchedHost) Event { return HealthChanged{Health: h.health(false)} }),
	happens("the server hangs", func(h *searchedHost) Event {
		v := h.health(false)
		if !h.alive {
			return nil
		}
		v.State, v.Hung = HealthUnknown, true
		return HealthChanged{Health: v}
	}),
	happens("the server ends", func(h *searchedHost) Event {
		if !h.alive {
			return nil
		}
		return ServerExited{}
	}),
	happens("the server starts", func(h *searchedHost) Event {
		if h.alive {
			return nil
		}
		return ServerStarted{}
	}),
	happens("the link changes", func(h *searchedHost) Event { return LinkChanged{Up: !h.link} }),
	happens("somebody removes the VIP", func(h *searchedHost) Event {
		if h.now >= h.address {
			return nil
		}
		h.address = 0
		return AddressLost{}
	}),
	peerSays("replica", func(_ *searchedHost, _ *PeerState) {}),
	peerSays("replica, I promised more", func(h *searchedHost, s *PeerState) { s.Promised = h.m.promised + 1 }),
	peerSays("candidate", func(h *searchedHost, s *PeerState) { s.Role, s.Promised = RoleCandidate, h.m.promised+1 }),
	peerSays("primary, of this term", func(h *searchedHost, s *PeerState) {
		s.Role, s.Primary, s.Writable, s.LeaseReleased = RolePrimary, "db2", true, false
		s.Term = max(1, h.m.term)
	}),
	peerSays("primary, of a term more", func(h *searchedHost, s *PeerState) {
		s.Role, s.Primary, s.Writable, s.LeaseReleased = RolePrimary, "db2", true, false
		s.Term, s.Promised = h.m.term+1, h.m.term+1
	}),
	peerSays("demoting", func(_ *searchedHost, s *PeerState) { s.Role, s.Eligible = RoleDemoting, false }),
	advertOfPeer("of db2, lower", "db2", 110),
	advertOfPeer("of db2, higher", "db2", 200),
	advertOfPeer("of db2, priority 0", "db2", PriorityReleasing),
	advertOfPeer("of a stranger, higher", "", 200),
	happens("farewell of db2 to db1", func(h *searchedHost) Event {
		return FarewellReceived{From: "db2", Term: max(1, h.m.term), Reason: CodeOperator, Successor: "db1"}
	}),
	happens("db2 asks for a seal", func(h *searchedHost) Event {
		return SealRequested{Token: requestToken | 1, From: "db2", Term: max(h.m.term, h.m.promised) + 1}
	}),
	happens("db2 asks it to stand", func(h *searchedHost) Event {
		return StandRequested{Token: requestToken | 1, From: "db2", Term: max(h.m.term, h.m.promised)}
	}),
	happens("failover, says the operator", func(*searchedHost) Event { return Command{Token: requestToken | 1, Name: CommandFailover} }),
	happens("stop, says the operator", func(*searchedHost) Event { return Command{Token: requestToken | 1, Name: CommandStop} }),
	answers("gathered: db1", func(_ Gather, t Token) Event { return GatherEnded{Token: t, Winner: "db1"} }),
	answers("gathered: db1, the old primary released", func(_ Gather, t Token) Event { return GatherEnded{Token: t, Winner: "db1", OldReleased: true} }),
	answers("gathered: db2", func(_ Gather, t Token) Event { return GatherEnded{Token: t, Winner: "db2"} }),
	answers("gathered: promised to another", func(a Gather, t Token) Event { return GatherEnded{Token: t, Promised: a.Term} }),
	answers("gathering fails", func(_ Gather, t Token) Event { return GatherEnded{Token: t, Err: "no"} }),
	happens("promoted", func(h *searchedHost) Event {
		if !h.alive {
			return nil
		}
		return answers("", func(_ Promote, t Token) Event { return PromoteEnded{Token: t} }).to(h)
	}),
	answers("promotion fails", func(_ Promote, t Token) Event { return PromoteEnded{Token: t, Err: "no"} }),
	answers("claimed", func(_ Claim, t Token) Event { return ClaimEnded{Token: t} }),
	answers("claim fails", func(_ Claim, t Token) Event { return ClaimEnded{Token: t, Err: "no"} }),
	answers("renewed", func(_ Renew, t Token) Event { return RenewEnded{Token: t} }),
	answers("renewal finds nothing", func(_ Renew, t Token) Event { return RenewEnded{Token: t, Lost: true, Err: "no"} }),
	answers("renewal fails", func(_ Renew, t Token) Event { return RenewEnded{Token: t, Err: "no"} }),
	answers("released", func(_ Release, t Token) Event { return ReleaseEnded{Token: t} }),
	answers("release fails", func(_ Release, t Token) Event { return ReleaseEnded{Token: t, Err: "no"} }),
	answers("demoted", func(_ Demote, t Token) Event { return DemoteEnded{Token: t} }),
	answers("demotion fails", func(_ Demote, t Token) Event { return DemoteEnded{Token: t, Err: "no"} }),
	answers("follows", func(_ Follow, t Token) Event { return FollowEnded{Token: t} }),
	answers("follows not: errant", func(_ Follow, t Token) Event { return FollowEnded{Token: t, Errant: "e:1"} }),
	answers("finished", func(_ Finish, t Token) Event { return FinishEnded{Token: t} }),
}

func moveNamed(name string) machineMove {
	for _, v := range machineMoves {
		if v.name == name {
			return v
		}
	}
	panic("no move " + name)
}

// machineStart is a state from which is searched.
type machineStart struct {
	name  string
	start Start
	open  bool // the server is writable
	moves []string
}

// machineStarts are the states from which is searched.
var machineStarts = []machineStart{
	{name: "a first start", start: Start{LinkUp: true}, open: true},
	{
		name: "a replica", start: Start{Saved: Saved{Term: 3, Primary: "db2", Promised: 3}, LinkUp: true},
		moves: []string{"a good verdict", "db2 says: primary, of this term"},
	},
	{
		name: "a candidate", start: Start{Saved: Saved{Term: 3, Primary: "db2", Promised: 3}, LinkUp: true},
		moves: []string{"a good verdict", "db2 says: primary, of this term", "farewell of db2 to db1"},
	},
	{
		name: "a candidate by order", start: Start{Saved: Saved{Term: 3, Primary: "db2", Promised: 3}, LinkUp: true},
		moves: []string{
			"a good verdict", "db2 says: primary, of this term", "its next deadline", "its next deadline", "its next deadline",
			"its next deadline", "its next deadline", "its next deadline", "its next deadline", "a good verdict", "failover, says the operator",
		},
	},
	{
		name: "a promotion that waits", start: Start{Saved: Saved{Term: 3, Primary: "db2", Promised: 3}, LinkUp: true},
		moves: []string{
			"a good verdict", "db2 says: primary, of this term", "its next deadline", "its next deadline", "its next deadline",
			"its next deadline", "its next deadline", "its next deadline", "its next deadline", "a good verdict", "failover, says the operator", "gathered: db1",
		},
	},
	{
		name: "a claim", start: Start{Saved: Saved{Term: 3, Primary: "db2", Promised: 3}, LinkUp: true},
		moves: []string{"a good verdict", "db2 says: primary, of this term", "farewell of db2 to db1", "gathered: db1", "promoted"},
	},
	{
		name: "a primary", start: Start{Saved: Saved{Term: 3, Primary: "db2", Promised: 3}, LinkUp: true},
		moves: []string{"a good verdict", "db2 says: primary, of this term", "farewell of db2 to db1", "gathered: db1", "promoted", "claimed", "finished", "db2 says: replica"},
	},
	{
		name: "a primary that renews", start: Start{Saved: Saved{Term: 3, Primary: "db2", Promised: 3}, LinkUp: true},
		moves: append([]string{
			"a good verdict", "db2 says: primary, of this term", "farewell of db2 to db1", "gathered: db1", "promoted", "claimed", "finished", "db2 says: replica",
		}, slices.Repeat([]string{"its next deadline"}, 10)...),
	},
	{
		name: "a primary's way back", start: Start{Saved: Saved{Term: 3, Primary: "db2", Promised: 3}, LinkUp: true},
		moves: []string{
			"a good verdict", "db2 says: primary, of this term", "farewell of db2 to db1", "gathered: db1", "promoted", "claimed", "finished",
			"advert of a stranger, higher",
		},
	},
	{
		name: "a claim that a stall has ended", start: Start{Saved: Saved{Term: 3, Primary: "db2", Promised: 3}, LinkUp: true},
		moves: []string{
			"a good verdict", "db2 says: primary, of this term", "farewell of db2 to db1", "gathered: db1", "promoted", "it slept for less than a lease",
			"claimed", "released", "db2 says: replica",
		},
	},
	{
		name:  "a restart with the VIP",
		start: Start{Saved: Saved{Term: 3, Primary: "db1", Promised: 3, Claimed: true, ServerID: "s1"}, VIPPresent: true, ClaimDated: true, ClaimAge: time.Second, LinkUp: true},
		open:  true,
	},
	{
		name:  "a restart with an old claim",
		start: Start{Saved: Saved{Term: 3, Primary: "db1", Promised: 3, Claimed: true, ServerID: "s1"}, LinkUp: true},
		open:  true,
	},
}
