// SPDX-License-Identifier: Apache-2.0

package election

import (
	"slices"
	"strings"
	"testing"
)

// routerMutation spoils a step: r and out are as the real router left them.
type routerMutation func(before Router, v routerMove, r *Router, out *Output)

// TestRouterSearchCatches spoils the router in one way each: the rule that this breaks must say so.
func TestRouterSearchCatches(t *testing.T) {
	if slower > 1 {
		t.Skip("with the race detector")
	}
	hears := func(v routerMove, before Router, state RouterState) bool {
		return v.ask == askReceive && before.state == state
	}
	for _, tt := range []struct {
		name, rule string
		off        routerMutation
	}{
		{"ignores the gate", "gate", func(before Router, v routerMove, r *Router, out *Output) {
			if out.Held {
				*r = before
				*out = r.Timer(searchNow, true)
			}
		}},
		{"does not ask at the gate again", "timer", func(_ Router, _ routerMove, r *Router, out *Output) {
			if out.Held {
				r.downTimer = 0
			}
		}},
		{"asks at the gate at once", "gate", func(_ Router, _ routerMove, r *Router, out *Output) {
			if out.Held {
				r.downTimer = searchNow
			}
		}},
		{"keeps Active on a higher advert", "higher", func(before Router, v routerMove, r *Router, out *Output) {
			if hears(v, before, Active) && v.advert.Priority > before.cfg.Priority {
				*r = before
				*out = r.Assert(searchNow)
			}
		}},
		{"the lower address wins a tie", "tie", func(before Router, v routerMove, r *Router, out *Output) {
			if hears(v, before, Active) && v.advert.Priority == before.cfg.Priority {
				*r = before
				if v.advert.Source == addressBelow {
					*out = r.Receive(searchNow, Advert{Source: addressAbove, Priority: v.advert.Priority, Interval: v.advert.Interval})
				} else {
					*out = r.Assert(searchNow)
				}
			}
		}},
		{"forgets priority 0 as Backup", "priority 0 to a Backup", func(before Router, v routerMove, r *Router, _ *Output) {
			if hears(v, before, Backup) && v.advert.Priority == PriorityReleasing {
				*r = before
			}
		}},
		{"priority 0 is a low priority", "priority 0 to a Backup", func(before Router, v routerMove, r *Router, _ *Output) {
			if hears(v, before, Backup) && v.advert.Priority == PriorityReleasing && !before.cfg.Preempt {
				r.downTimer = searchNow.Add(r.DownInterval())
			}
		}},
		{"keeps silent on priority 0", "priority 0 to the Active", func(before Router, v routerMove, r *Router, out *Output) {
			if hears(v, before, Active) && v.advert.Priority == PriorityReleasing {
				*r, *out = before, before.stay()
			}
		}},
		{"does not assert", "lower", func(before Router, v routerMove, r *Router, out *Output) {
			if hears(v, before, Active) && v.advert.Priority != PriorityReleasing && out.To == Active {
				*r, *out = before, before.stay()
			}
		}},
		{"obeys a lower priority all the same", "preempt", func(before Router, v routerMove, r *Router, _ *Output) {
			if hears(v, before, Backup) && before.cfg.Preempt && v.advert.Priority > 0 && v.advert.Priority < before.cfg.Priority {
				r.downTimer = searchNow.Add(r.DownInterval())
			}
		}},
		{"always preempts", "obey", func(before Router, v routerMove, r *Router, _ *Output) {
			if hears(v, before, Backup) && v.advert.Priority < before.cfg.Priority && v.advert.Priority > 0 {
				*r = before
			}
		}},
		{"obeys only a higher priority", "obey", func(before Router, v routerMove, r *Router, _ *Output) {
			if hears(v, before, Backup) && v.advert.Priority == before.cfg.Priority {
				*r = before
			}
		}},
		{"does not learn", "higher", func(before Router, v routerMove, r *Router, out *Output) {
			if out.Changed() && hears(v, before, Active) {
				r.activeAdvertInterval = before.activeAdvertInterval
				r.downTimer = searchNow.Add(r.DownInterval())
			}
		}},
		{"learns from a loser", "learn", func(before Router, v routerMove, r *Router, out *Output) {
			if hears(v, before, Active) && !out.Changed() {
				r.activeAdvertInterval = v.advert.Interval
			}
		}},
		{"learns from a farewell", "learn", func(before Router, v routerMove, r *Router, _ *Output) {
			if hears(v, before, Backup) && v.advert.Priority == PriorityReleasing {
				r.activeAdvertInterval = v.advert.Interval
			}
		}},
		{"version 2 learns", "learn", func(before Router, v routerMove, r *Router, out *Output) {
			if hears(v, before, Active) && out.Changed() && r.cfg.Version == 2 {
				r.activeAdvertInterval = v.advert.Interval
				r.downTimer = searchNow.Add(r.DownInterval())
			}
		}},
		{"remembers an interval over a Startup", "startup", func(before Router, v routerMove, r *Router, out *Output) {
			if v.ask == askStartup && out.To == Backup && out.Changed() {
				r.activeAdvertInterval = before.activeAdvertInterval
			}
		}},
		{"goes without a farewell", "farewell", func(_ Router, _ routerMove, _ *Router, out *Output) {
			if out.Send && out.Priority == PriorityReleasing {
				out.Send, out.Priority = false, 0
			}
		}},
		{"a farewell when it yields", "adverts", func(_ Router, v routerMove, _ *Router, out *Output) {
			if v.ask == askYield && out.Changed() {
				out.Send = true
			}
		}},
		{"a Backup advertises", "adverts", func(before Router, v routerMove, _ *Router, out *Output) {
			if v.ask == askAssert && before.state == Backup {
				out.Send, out.Priority = true, before.cfg.Priority
			}
		}},
		{"stands without its timer", "timer", func(_ Router, v routerMove, r *Router, out *Output) {
			if v.ask == askStand && out.Changed() {
				r.advertTimer = 0
			}
		}},
		{"both timers run", "timer", func(before Router, _ routerMove, r *Router, out *Output) {
			if out.Changed() && out.To == Active {
				r.downTimer = before.downTimer
			}
		}},
		{"a timer outlives the Shutdown", "timer", func(before Router, v routerMove, r *Router, _ *Output) {
			if v.ask == askShutdown {
				r.downTimer = before.downTimer
			}
		}},
		{"advertises at the learned interval", "rhythm", func(_ Router, _ routerMove, r *Router, out *Output) {
			if out.Send && out.To == Active {
				r.advertTimer = searchNow.Add(r.activeAdvertInterval)
			}
		}},
		{"advertises once", "future", func(before Router, v routerMove, r *Router, out *Output) {
			if v.ask == askTimerOpen && before.state == Active && out.Send {
				r.advertTimer = before.advertTimer
			}
		}},
		{"fires early", "not due", func(before Router, v routerMove, r *Router, out *Output) {
			if v.ask == askTimerOpen && before.state == Backup && before.downTimer == searchNow+1 {
				*out = r.becomeActive(searchNow)
			}
		}},
		{"does not fire", "silence", func(before Router, v routerMove, r *Router, out *Output) {
			if v.ask == askTimerOpen && before.state == Backup && out.Changed() {
				*r, *out = before, before.stay()
			}
		}},
		{"an advert makes it Active", "way up", func(before Router, v routerMove, r *Router, out *Output) {
			if hears(v, before, Backup) && v.advert.Priority == PriorityReleasing {
				*out = r.becomeActive(searchNow)
			}
		}},
		{"Initialize listens", "Initialize", func(before Router, v routerMove, r *Router, out *Output) {
			if hears(v, before, Initialize) && v.advert.Priority == PriorityReleasing {
				*out = r.becomeBackup(searchNow)
			}
		}},
		{"hastens nothing", "orders", func(before Router, v routerMove, r *Router, _ *Output) {
			if v.ask == askHasten {
				*r = before
			}
		}},
		{"does not yield", "orders", func(before Router, v routerMove, r *Router, out *Output) {
			if v.ask == askYield {
				*r, *out = before, before.stay()
			}
		}},
		{"reports a change that was none", "report", func(before Router, v routerMove, _ *Router, out *Output) {
			if v.ask == askStartup && before.state == Backup {
				out.From = Initialize
			}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var caught []string
			for _, cfg := range routerConfigs() {
				found := searchRouter(cfg, tt.off)
				if found.broken != "" && !slices.Contains(caught, found.broken) {
					caught = append(caught, found.broken)
				}
			}
			if !slices.Contains(caught, tt.rule) {
				t.Errorf("caught by %q, want %q", strings.Join(caught, ", "), tt.rule)
			}
		})
	}
}
