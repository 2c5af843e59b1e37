// SPDX-License-Identifier: Apache-2.0

package election

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"
)

// What the virtual router is asked, and waiting. Time is reduced to the instants that matter: a
// nanosecond before a timer, the timer, and when the loop comes late; and half an interval more.
type routerAsk uint8

const (
	askStartup routerAsk = iota
	askShutdown
	askStand
	askYield
	askAssert
	askHasten
	askTimerOpen
	askTimerClosed
	askReceive
	waitHalf
	waitBefore
	waitUntil
	waitLate
	routerAsks
)

var routerAskNames = [routerAsks]string{
	"Startup", "Shutdown", "Stand", "Yield", "Assert", "Hasten", "Timer, gate open", "Timer, gate closed", "advert",
	"half an interval later", "just before the deadline", "at the deadline", "an interval after the deadline",
}

// routerMove is one step of the search.
type routerMove struct {
	ask    routerAsk
	advert Advert // of askReceive
}

func (v routerMove) String() string {
	if v.ask != askReceive {
		return routerAskNames[v.ask]
	}
	return fmt.Sprintf("advert of priority %d from %s, interval %v", v.advert.Priority, v.advert.Source, v.advert.Interval)
}

// The addresses: of the router itself, and one below and above it. As text 10.0.0.9 would be the
// greatest.
var (
	addressBelow = netip.MustParseAddr("10.0.0.9")
	addressOwn   = netip.MustParseAddr("10.0.0.11")
	addressAbove = netip.MustParseAddr("10.0.0.200")
)

// searchNow is when every step of the search happens: a state is its timers' distances from it.
const searchNow = Instant(time.Hour)

// shifted moves a router in time.
func shifted(r Router, by time.Duration) Router {
	if r.downTimer != 0 {
		r.downTimer = r.downTimer.Add(by)
	}
	if r.advertTimer != 0 {
		r.advertTimer = r.advertTimer.Add(by)
	}
	return r
}

// wait lets time pass; false if there is nothing of that kind to wait for. A Router takes no part.
func wait(r Router, ask routerAsk) (Router, bool) {
	due := r.Deadline()
	if due == 0 {
		return r, false
	}
	left := due.Sub(searchNow)
	var by time.Duration
	switch ask {
	case waitHalf:
		if by = r.cfg.AdvertInterval / 2; by >= left {
			return r, false
		}
	case waitBefore:
		by = left - 1
	case waitUntil:
		by = left
	case waitLate:
		by = left + r.cfg.AdvertInterval
	}
	return shifted(r, -by), by > 0
}

// routerStep is a step of the search, for the rules.
type routerStep struct {
	before, after Router
	move          routerMove
	out           Output
}

// step carries out a move in a state.
func (m routerMutation) step(before Router, v routerMove, now Instant) routerStep {
	r, out := before, Output{From: before.state, To: before.state}
	switch v.ask {
	case askStartup:
		out = r.Startup(now)
	case askShutdown:
		out = r.Shutdown()
	case askStand:
		out = r.Stand(now)
	case askYield:
		out = r.Yield(now)
	case askAssert:
		out = r.Assert(now)
	case askHasten:
		r.Hasten(now)
	case askTimerOpen:
		out = r.Timer(now, true)
	case askTimerClosed:
		out = r.Timer(now, false)
	case askReceive:
		out = r.Receive(now, v.advert)
	}
	if m != nil {
		m(before, v, &r, &out)
	}
	return routerStep{before: before, after: r, move: v, out: out}
}

// routerMoves are all that can happen to a router with this configuration.
func routerMoves(cfg RouterConfig) []routerMove {
	var moves []routerMove
	for ask := range routerAsks {
		if ask != askReceive {
			moves = append(moves, routerMove{ask: ask})
		}
	}
	for _, interval := range []time.Duration{cfg.AdvertInterval, cfg.AdvertInterval / 4, cfg.AdvertInterval * 4} {
		for _, source := range []netip.Addr{addressBelow, addressAbove} {
			var priorities []uint8
			for _, p := range []int{0, 1, int(cfg.Priority) - 1, int(cfg.Priority), int(cfg.Priority) + 1, 254, 255} {
				if p >= 0 && p <= 255 && !slices.Contains(priorities, uint8(p)) {
					priorities = append(priorities, uint8(p))
					moves = append(moves, routerMove{ask: askReceive, advert: Advert{Source: source, Priority: uint8(p), Interval: interval}})
				}
			}
		}
	}
	return moves
}

// routerConfigs are the configurations of interest. Accept_Mode is not the router's: it says what
// is done with packets to the addresses.
func routerConfigs() []RouterConfig {
	var list []RouterConfig
	for _, version := range []uint8{2, 3} {
		for _, priority := range []uint8{1, 100, 254, PriorityOwner} {
			for _, preempt := range []bool{false, true} {
				for _, adverts := range []int{3, 1} {
					interval := 100 * time.Millisecond
					if version == 2 {
						interval = 2 * time.Second
					}
					list = append(list, RouterConfig{
						Version: version, Priority: priority, AdvertInterval: interval, Preempt: preempt,
						DownTimerAdverts: adverts, Address: addressOwn,
					})
				}
			}
		}
	}
	return list
}

// routerSearch is what a search has seen.
type routerSearch struct {
	states  []Router
	steps   int
	did     [routerAsks][Active + 1]int // moves by the state they were made in
	applied map[string]int              // how often a rule had something to say
	broken  string                      // the rule that was broken first
	story   string                      // a shortest one
}

// searchRouter visits breadth first every state that a router with this configuration can reach.
func searchRouter(cfg RouterConfig, off routerMutation) routerSearch {
	found := routerSearch{applied: map[string]int{}}
	moves := routerMoves(cfg)
	type origin struct {
		from int
		move routerMove
	}
	first := NewRouter(cfg)
	seen := map[Router]bool{first: true}
	found.states = append(found.states, first)
	origins := []origin{{from: -1}}
	tell := func(at int, last routerStep) string {
		story := fmt.Sprintf("%v\n%+v\nbecomes %+v\nand asks for %+v", last.move, last.before, last.after, last.out)
		for ; at > 0; at = origins[at].from {
			story = origins[at].move.String() + "\n" + story
		}
		return fmt.Sprintf("%+v\n%s", cfg, story)
	}
	for at := 0; at < len(found.states); at++ {
		for _, v := range moves {
			before := found.states[at]
			var after Router
			if v.ask >= waitHalf {
				var ok bool
				if after, ok = wait(before, v.ask); !ok {
					continue
				}
			} else {
				s := off.step(before, v, searchNow)
				for i := range routerRules {
					applies, holds := routerRules[i].holds(s, off)
					if applies {
						found.applied[routerRules[i].name]++
					}
					if applies && !holds {
						found.broken, found.story = routerRules[i].name, routerRules[i].says+"\n"+tell(at, s)
						return found
					}
				}
				after = s.after
			}
			found.steps++
			found.did[v.ask][before.state]++
			if !seen[after] {
				seen[after] = true
				found.states = append(found.states, after)
				origins = append(origins, origin{at, v})
			}
		}
	}
	return found
}

// TestRouterSearch holds the rules of router_rules_test.go in every state that a virtual router
// can reach, whatever happens to it. The states are finite, and all are visited.
func TestRouterSearch(t *testing.T) {
	start, states, steps := time.Now(), 0, 0
	applied := map[string]int{}
	var did [routerAsks][Active + 1]int
	for _, cfg := range routerConfigs() {
		found := searchRouter(cfg, nil)
		if found.broken != "" {
			t.Errorf("%s: %s", found.broken, found.story)
		}
		states, steps = states+len(found.states), steps+found.steps
		for name, n := range found.applied {
			applied[name] += n
		}
		for ask := range did {
			for state := range did[ask] {
				did[ask][state] += found.did[ask][state]
			}
		}
	}
	t.Logf("%d states and %d steps of %d configurations, exhausted, %v", states, steps, len(routerConfigs()), time.Since(start).Round(time.Millisecond))
	for ask := range did {
		for state, n := range did[ask] {
			if idle := RouterState(state) == Initialize && routerAsk(ask) >= waitHalf; n == 0 && !idle {
				t.Errorf("in %s never: %s", RouterState(state), routerAskNames[ask])
			}
		}
	}
	for _, rule := range routerRules {
		if applied[rule.name] == 0 {
			t.Errorf("the rule %q never had anything to say", rule.name)
		}
	}
}

// TestRouterSearchPairs lets any two Active Routers meet, in every state in which either can be: when
// each has heard the other, in whatever order, one of them is Active, and it is heard again before
// the other one's patience ends.
func TestRouterSearchPairs(t *testing.T) {
	type side struct {
		active []Router
		advert Advert
	}
	var sides []side
	for i, cfg := range routerConfigs() {
		if i%slower != 0 {
			continue
		}
		for _, address := range []netip.Addr{addressBelow, addressAbove} {
			s := side{advert: Advert{Source: address, Priority: cfg.Priority, Interval: cfg.AdvertInterval}}
			for _, r := range searchRouter(cfg, nil).states {
				if r.state == Active {
					r.cfg.Address = address
					s.active = append(s.active, r)
				}
			}
			sides = append(sides, s)
		}
	}
	// hears steps a router that hears the other one's advert, and says whether it answers.
	hears := func(r *Router, a Advert) bool { return r.Receive(searchNow, a).Send }
	meetings := 0
	for _, one := range sides {
		for _, other := range sides {
			if one.advert.Source == other.advert.Source || one.active[0].cfg.Version != other.active[0].cfg.Version {
				continue
			}
			for _, a := range one.active {
				for _, b := range other.active {
					crossing := [2]Router{a, b} // both adverts are on their way
					hears(&crossing[0], other.advert)
					hears(&crossing[1], one.advert)
					turns := [2]Router{a, b} // the other one's first, and what is answered
					if hears(&turns[0], other.advert) {
						hears(&turns[1], one.advert)
					}
					for _, pair := range [][2]Router{crossing, turns} {
						meetings++
						winner, loser := pair[0], pair[1]
						if winner.state != Active {
							winner, loser = loser, winner
						}
						if winner.state != Active || loser.state != Backup {
							t.Fatalf("%+v and %+v have met as\n%+v and %+v", a, b, pair[0], pair[1])
						}
						if winner.Deadline() >= loser.Deadline() {
							t.Fatalf("%+v does not wait for the next advert of %+v", loser, winner)
						}
					}
				}
			}
		}
	}
	t.Logf("%d meetings", meetings)
	if meetings == 0 {
		t.Error("nobody met")
	}
}
