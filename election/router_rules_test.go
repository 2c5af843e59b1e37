// SPDX-License-Identifier: Apache-2.0

package election

import (
	"time"
)

// routerRule is what must hold of every step of a virtual router. It is written from the sentence
// that it names, not from the code.
type routerRule struct {
	name, says string
	holds      func(s routerStep, off routerMutation) (applies, holds bool)
}

// is makes a rule of a condition and what must follow.
func is(when, then func(s routerStep) bool) func(routerStep, routerMutation) (bool, bool) {
	return func(s routerStep, _ routerMutation) (bool, bool) {
		if !when(s) {
			return false, true
		}
		return true, then(s)
	}
}

func (s routerStep) always() bool { return true }

// unchanged: no timer was touched, nothing learned, nothing asked for.
func (s routerStep) unchanged() bool {
	return s.after == s.before && s.out == Output{From: s.before.state, To: s.before.state}
}

// hears reports whether the step is an advert heard in state.
func (s routerStep) hears(state RouterState) bool {
	return s.move.ask == askReceive && s.before.state == state
}

func (s routerStep) releasing() bool { return s.move.advert.Priority == PriorityReleasing }

// loses reports whether an Active Router loses against the advert, by RFC 9568 §6.4.3.
func (s routerStep) loses() bool {
	a, c := s.move.advert, s.before.cfg
	if a.Priority != c.Priority {
		return a.Priority > c.Priority
	}
	return a.Source == addressAbove
}

// due reports whether the step is a timer that has come.
func (s routerStep) due() bool {
	return s.timer() && s.before.Deadline() != 0 && s.before.Deadline() <= searchNow
}

func (s routerStep) timer() bool { return s.move.ask == askTimerOpen || s.move.ask == askTimerClosed }

// sends reports whether the step sends exactly an advert of this router's own priority.
func (s routerStep) sends() bool { return s.out.Send && s.out.Priority == s.before.cfg.Priority }

// left is how long a timer still runs after the step.
func left(timer Instant) time.Duration { return timer.Sub(searchNow) }

// learned is the interval that a router goes by that accepts the advert of this step.
func (s routerStep) learned() time.Duration {
	if s.before.cfg.Version == 2 {
		return s.before.cfg.AdvertInterval
	}
	return s.move.advert.Interval
}

// skewOf is Skew_Time: (256 - Priority) / 256 of the Active Router's interval, in version 2 of a second.
func skewOf(c RouterConfig, interval time.Duration) time.Duration {
	if c.Version == 2 {
		interval = time.Second
	}
	return interval * time.Duration(256-int(c.Priority)) / 256
}

// downOf is Active_Down_Interval.
func downOf(c RouterConfig, interval time.Duration) time.Duration {
	return interval*time.Duration(c.DownTimerAdverts) + skewOf(c, interval)
}

// isBackup: the step ends in Backup, silently, with the Active_Down_Timer set for an Active Router of
// this interval.
func (s routerStep) isBackup(interval time.Duration) bool {
	return s.after.state == Backup && !s.out.Send && s.after.activeAdvertInterval == interval &&
		left(s.after.downTimer) == downOf(s.after.cfg, interval)
}

// isActive: the step ends in Active, with an advert, and the Adver_Timer set.
func (s routerStep) isActive() bool {
	return s.after.state == Active && s.sends() && left(s.after.advertTimer) == s.after.cfg.AdvertInterval
}

// routerRules are the rules. Those of RFC 3768 are the same where no version is named.
var routerRules = []routerRule{
	{
		"report", "the transition that is reported is the one that was made",
		is(routerStep.always, func(s routerStep) bool { return s.out.From == s.before.state && s.out.To == s.after.state }),
	},
	{
		"gate", "ours: a Backup never becomes Active while the gate is closed; it asks again after a quarter of an interval",
		is(func(s routerStep) bool { return s.move.ask == askTimerClosed && s.before.state == Backup && s.due() }, func(s routerStep) bool {
			return s.after.state == Backup && s.out.Held && !s.out.Send &&
				(s.after.downTimer == 0 || left(s.after.downTimer) == s.before.activeAdvertInterval/4) // 0 breaks the next rule
		}),
	},
	{
		"timer", "§6.4: Active_Down_Timer runs in Backup, Adver_Timer in Active, and neither in Initialize",
		is(routerStep.always, func(s routerStep) bool {
			return (s.after.downTimer != 0) == (s.after.state == Backup) && (s.after.advertTimer != 0) == (s.after.state == Active) &&
				(s.after.Deadline() != 0) == (s.after.state != Initialize)
		}),
	},
	{
		"way up", "§6.4: Active by Startup as the owner or when Active_Down_Timer fires; ours: by an order to stand. Nothing that is heard makes a router Active",
		is(func(s routerStep) bool { return s.before.state != Active && s.after.state == Active }, func(s routerStep) bool {
			switch s.move.ask {
			case askStand:
				return true
			case askStartup:
				return s.before.state == Initialize && s.before.cfg.Priority == PriorityOwner
			default:
				return s.timer() && s.before.state == Backup
			}
		}),
	},
	{
		"Initialize", "§6.4.1: a router in Initialize waits for a Startup; ours: or for the order to stand",
		is(func(s routerStep) bool {
			return s.before.state == Initialize && s.move.ask != askStartup && s.move.ask != askStand
		}, routerStep.unchanged),
	},
	{
		"startup", "§6.4.1: at Startup the owner advertises and becomes Active; any other sets Active_Adver_Interval to its own, and becomes Backup for Active_Down_Interval",
		is(func(s routerStep) bool { return s.move.ask == askStartup }, func(s routerStep) bool {
			switch {
			case s.before.state != Initialize:
				return s.unchanged()
			case s.before.cfg.Priority == PriorityOwner:
				return s.isActive()
			default:
				return s.isBackup(s.before.cfg.AdvertInterval)
			}
		}),
	},
	{
		"farewell", "§6.4.3: at Shutdown an Active Router sends priority 0; §6.4.2: a Backup only cancels its timer. Both go to Initialize",
		is(func(s routerStep) bool { return s.move.ask == askShutdown }, func(s routerStep) bool {
			return s.after.state == Initialize && s.out.Send == (s.before.state == Active) && s.out.Priority == PriorityReleasing
		}),
	},
	{
		"adverts", "§6.4: only an Active Router advertises, with its own priority; §5.2.4: with priority 0 only one that stops taking part",
		is(func(s routerStep) bool { return s.out.Send }, func(s routerStep) bool {
			if s.move.ask == askShutdown {
				return s.before.state == Active && s.out.Priority == PriorityReleasing
			}
			return s.after.state == Active && s.sends()
		}),
	},
	{
		"not due", "a timer that has not come changes nothing",
		is(func(s routerStep) bool { return s.timer() && !s.due() }, routerStep.unchanged),
	},
	{
		"silence", "§6.4.2: when Active_Down_Timer fires the Backup advertises, sets Adver_Timer to its own Advertisement_Interval and becomes Active",
		is(func(s routerStep) bool { return s.move.ask == askTimerOpen && s.before.state == Backup && s.due() }, func(s routerStep) bool {
			return s.after.state == Active && s.sends()
		}),
	},
	{
		"future", "after its timer was served a router waits for an instant to come, and what else happens puts no timer into the past",
		is(func(s routerStep) bool { return s.after.Deadline() != 0 }, func(s routerStep) bool {
			switch {
			case s.timer():
				return s.after.Deadline() > searchNow
			case s.before.Deadline() == 0:
				return s.after.Deadline() >= searchNow
			default:
				return s.after.Deadline() >= min(searchNow, s.before.Deadline())
			}
		}),
	},
	{
		"rhythm", "§6.4.3: the segment hears an Active Router each Advertisement_Interval, its own; §6.4.2: a Backup bears silence for Active_Down_Interval and no longer",
		is(func(s routerStep) bool { return s.after.state != Initialize }, func(s routerStep) bool {
			if s.after.state == Active {
				return left(s.after.advertTimer) <= s.after.cfg.AdvertInterval && (!s.sends() || left(s.after.advertTimer) == s.after.cfg.AdvertInterval)
			}
			return left(s.after.downTimer) <= downOf(s.after.cfg, s.after.activeAdvertInterval)
		}),
	},
	{
		"priority 0 to the Active", "§6.4.3: an Active Router that hears priority 0 advertises and resets Adver_Timer",
		is(func(s routerStep) bool { return s.hears(Active) && s.releasing() }, routerStep.isActive),
	},
	{
		"tie", "§6.4.3: at equal priority the greater primary address wins, as an unsigned number",
		is(func(s routerStep) bool { return s.hears(Active) && s.move.advert.Priority == s.before.cfg.Priority }, func(s routerStep) bool {
			return s.after.state == map[bool]RouterState{true: Backup, false: Active}[s.loses()]
		}),
	},
	{
		"higher", "§6.4.3: an Active Router that loses takes over the interval, sets Active_Down_Timer by it and becomes Backup, without a word",
		is(func(s routerStep) bool { return s.hears(Active) && !s.releasing() && s.loses() }, func(s routerStep) bool {
			return s.after.state == Backup && !s.out.Send && (s.after.cfg.Version == 2 || s.isBackup(s.learned()))
		}),
	},
	{
		"lower", "§6.4.3: an Active Router that wins advertises at once, to assert itself, and discards the other's advert",
		is(func(s routerStep) bool { return s.hears(Active) && !s.releasing() && !s.loses() }, func(s routerStep) bool {
			return s.after.state == Active && s.sends()
		}),
	},
	{
		"priority 0 to a Backup", "§6.4.2: a Backup that hears priority 0 sets Active_Down_Timer to Skew_Time",
		is(func(s routerStep) bool { return s.hears(Backup) && s.releasing() && s.after.state == Backup }, func(s routerStep) bool {
			return left(s.after.downTimer) == skewOf(s.before.cfg, s.before.activeAdvertInterval)
		}),
	},
	{
		"obey", "§6.4.2: without Preempt_Mode, or of at least its own priority, an advert gives a Backup its interval and a new Active_Down_Timer",
		is(func(s routerStep) bool {
			return s.hears(Backup) && !s.releasing() && (!s.before.cfg.Preempt || s.move.advert.Priority >= s.before.cfg.Priority)
		}, func(s routerStep) bool { return s.isBackup(s.learned()) }),
	},
	{
		"preempt", "§6.4.2: with Preempt_Mode a Backup discards an advert of a lower priority",
		is(func(s routerStep) bool {
			return s.hears(Backup) && !s.releasing() && s.before.cfg.Preempt && s.move.advert.Priority < s.before.cfg.Priority
		}, routerStep.unchanged),
	},
	{
		"learn", "§6.4: Active_Adver_Interval is learned from the adverts of a winner alone, and never in version 2 (RFC 3768 §7.1)",
		is(func(s routerStep) bool { return s.after.activeAdvertInterval != s.before.activeAdvertInterval }, func(s routerStep) bool {
			if s.move.ask == askStartup {
				return s.after.activeAdvertInterval == s.after.cfg.AdvertInterval
			}
			return s.after.cfg.Version == 3 && s.move.ask == askReceive && s.after.state == Backup && !s.releasing()
		}),
	},
	{
		"skew", "§6.1: Skew_Time is (256 - Priority) / 256 of Active_Adver_Interval, of a second in version 2: more than nothing, less than the whole; Active_Down_Interval is so much more than the adverts that may be missed",
		is(routerStep.always, func(s routerStep) bool {
			interval, skew := s.after.activeAdvertInterval, s.after.SkewTime()
			base := interval
			if s.after.cfg.Version == 2 {
				base = time.Second
			}
			return skew > 0 && skew < base && skew == skewOf(s.after.cfg, interval) && s.after.DownInterval() == downOf(s.after.cfg, interval)
		}),
	},
	{
		"orders", "ours: a router that is told to stand is Active, one that is told to yield is not and is silent, one that is told to assert itself advertises if it is Active, and a Backup that is hastened fires now",
		is(func(s routerStep) bool { return s.move.ask >= askStand && s.move.ask <= askHasten }, func(s routerStep) bool {
			switch {
			case s.move.ask == askStand && s.before.state != Active, s.move.ask == askAssert && s.before.state == Active:
				return s.isActive()
			case s.move.ask == askYield && s.before.state == Active:
				return s.isBackup(s.before.activeAdvertInterval)
			case s.move.ask == askHasten && s.before.state == Backup:
				return s.after.state == Backup && !s.out.Send && s.after.downTimer == searchNow
			default:
				return s.unchanged()
			}
		}),
	},
	{
		"same again", "§3 of docs/design.md: a step depends on the state and the event alone, and on distances in time, not on the time",
		func(s routerStep, off routerMutation) (bool, bool) {
			again := off.step(s.before, s.move, searchNow)
			if again.after != s.after || again.out != s.out || s.after.cfg != s.before.cfg {
				return true, false
			}
			if off != nil {
				return true, true // a mutation knows one instant only
			}
			const later = 12345 * time.Second
			shift := off.step(shifted(s.before, later), s.move, searchNow.Add(later))
			return true, shifted(shift.after, -later) == s.after && shift.out == s.out
		},
	},
}
