// SPDX-License-Identifier: Apache-2.0

package election

import (
	"fmt"
	"slices"
	"testing"
)

// without leaves out the actions of one kind.
func without[A Action](actions []Action) []Action {
	return slices.DeleteFunc(actions, func(a Action) bool {
		_, is := a.(A)
		return is
	})
}

// changed changes the actions of one kind.
func changed[A Action](actions []Action, change func(*A)) []Action {
	for i := range actions {
		if a, is := actions[i].(A); is {
			change(&a)
			actions[i] = a
		}
	}
	return actions
}

// onEvent is a mutation that has to do with one kind of event.
func onEvent[E Event](spoil func(h *searchedHost, e E, honest func(Event) []Action) []Action) machineMutation {
	return func(h *searchedHost, ev Event, honest func(Event) []Action) []Action {
		if e, is := ev.(E); is {
			return spoil(h, e, honest)
		}
		return honest(ev)
	}
}

// onActions is a mutation of what is asked for.
func onActions(spoil func(h *searchedHost, actions []Action) []Action) machineMutation {
	return func(h *searchedHost, ev Event, honest func(Event) []Action) []Action {
		return spoil(h, honest(ev))
	}
}

// TestMachineSearchCatches spoils the Machine in one way each: the rule that this breaks must say so.
func TestMachineSearchCatches(t *testing.T) {
	if slower > 1 {
		t.Skip("with the race detector")
	}
	type mutated struct {
		name, from, rule string
		off              machineMutation
	}
	tests := []mutated{
		{"a failed promotion is one", "a candidate", "doors", onEvent(func(_ *searchedHost, e PromoteEnded, honest func(Event) []Action) []Action {
			e.Err = ""
			return honest(e)
		})},
		{"promotes although another one is ahead", "a candidate", "doors", onEvent(func(h *searchedHost, e GatherEnded, honest func(Event) []Action) []Action {
			e.Winner = h.m.cfg.Node
			return honest(e)
		})},
		{"any promotion is the awaited one", "a promotion that waits", "stale", onEvent(func(h *searchedHost, e PromoteEnded, honest func(Event) []Action) []Action {
			e.Token = h.m.contest.promote
			return honest(e)
		})},
		{"any claim is the awaited one", "a claim", "stale", onEvent(func(h *searchedHost, e ClaimEnded, honest func(Event) []Action) []Action {
			e.Token = h.m.contest.claim
			return honest(e)
		})},
		{"a renewal is for life", "a primary", "lease", onActions(func(h *searchedHost, actions []Action) []Action {
			if h.m.role == RoleDemoting && len(actions) > 0 {
				return append(actions, Renew{Token: h.m.next()})
			}
			return actions
		})},
		{"demotes first", "a primary", "release first", onActions(func(_ *searchedHost, actions []Action) []Action {
			slices.Reverse(actions)
			return actions
		})},
		{"does not demote", "a primary", "fenced", onActions(func(h *searchedHost, actions []Action) []Action {
			h.m.fence.demote = 0
			return without[Demote](actions)
		})},
		{"claims again at once", "a claim", "one claim", onEvent(func(h *searchedHost, e HealthChanged, honest func(Event) []Action) []Action {
			actions := honest(e)
			if h.m.role == RoleClaiming {
				h.m.contest.claim = h.m.next()
				actions = append(actions, Claim{Token: h.m.contest.claim, Term: h.m.term})
			}
			return actions
		})},
		{"does not look at the link", "a primary", "right", onEvent(func(*searchedHost, LinkChanged, func(Event) []Action) []Action { return nil })},
		{"does not wait for the old lease", "a candidate by order", "old lease", onActions(func(_ *searchedHost, actions []Action) []Action {
			return changed(actions, func(a *Promote) { a.WaitUntil = 0 })
		})},
		{"takes a sleep while it resumes for consent", "a restart with the VIP", "resume", onEvent(func(h *searchedHost, e Stalled, honest func(Event) []Action) []Action {
			if h.m.role == RoleResuming {
				return nil
			}
			return honest(e)
		})},
		{"does not stand back", "a first start", "aside", onEvent(func(h *searchedHost, e GatherEnded, honest func(Event) []Action) []Action {
			actions := honest(e)
			h.m.standBack = 0
			return actions
		})},
		{"forgets to finish", "a claim", "finish", onEvent(func(h *searchedHost, e ClaimEnded, honest func(Event) []Action) []Action {
			h.m.lease.unfinished = false
			return honest(e)
		})},
		{"does not save", "a primary", "terms", onActions(func(_ *searchedHost, actions []Action) []Action { return without[Save](actions) })},
		{"breaks its promise", "a replica", "terms", onEvent(func(h *searchedHost, e HealthChanged, honest func(Event) []Action) []Action {
			h.m.promised = h.m.term
			return honest(e)
		})},
		{"forgets what it has cancelled", "a promotion that waits", "undone", func(h *searchedHost, ev Event, honest func(Event) []Action) []Action {
			actions := honest(ev)
			h.m.contest.abandoned = nil
			return actions
		}},
		{"seals itself as primary", "a primary", "seal", onEvent(func(_ *searchedHost, e SealRequested, _ func(Event) []Action) []Action {
			return []Action{Seal{Token: e.Token, Term: e.Term}}
		})},
		{"farewell first", "a primary", "farewell", onActions(func(h *searchedHost, actions []Action) []Action {
			if slices.ContainsFunc(actions, func(a Action) bool { _, is := a.(Release); return is }) {
				return append(actions, Farewell{Term: h.m.term})
			}
			return actions
		})},
		{"is heard when it should be silent", "a primary's way back", "wire", onEvent(func(h *searchedHost, _ Tick, _ func(Event) []Action) []Action {
			return []Action{SendAdvert{Priority: h.m.cfg.Router.Priority}}
		})},
		{"stands when it is told to resume", "a restart with the VIP", "wire", onEvent(func(h *searchedHost, e AdvertReceived, honest func(Event) []Action) []Action {
			h.m.router.Startup(h.now)
			return honest(e)
		})},
		{"spins", "a primary", "deadline", onEvent(func(h *searchedHost, e Tick, honest func(Event) []Action) []Action {
			actions := honest(e)
			h.m.lease.renewAt = h.now
			return actions
		})},
		{"follows as it is", "a claim", "follow", onEvent(func(h *searchedHost, e PeerHeard, honest func(Event) []Action) []Action {
			return append(honest(e), Follow{Token: h.m.next(), Node: "db2", Term: h.m.term})
		})},
	}
	for rule := range machineRules {
		if !slices.ContainsFunc(tests, func(s mutated) bool { return s.rule == rule }) {
			t.Errorf("nothing is there to break the rule %q", rule)
		}
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			at := slices.IndexFunc(machineStarts, func(s machineStart) bool { return s.name == tt.from })
			found := searchMachine(t, at, 2000, tt.off, tt.rule)
			if found.broken[tt.rule] == "" {
				t.Errorf("not caught in %d states; other rules say %v", found.states, fmt.Sprint(found.broken))
			}
		})
	}
}
