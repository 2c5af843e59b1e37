// SPDX-License-Identifier: Apache-2.0

package election

import (
	"fmt"
	"net/netip"
	"time"
)

// RouterState is the state of a virtual router, RFC 9568 §6.3.
type RouterState uint8

// The three states of RFC 9568 §6.3. RFC 3768 calls Active "Master".
const (
	Initialize RouterState = iota
	Backup
	Active
)

// String returns the RFC's name of the state.
func (s RouterState) String() string {
	switch s {
	case Initialize:
		return "Initialize"
	case Backup:
		return "Backup"
	case Active:
		return "Active"
	default:
		panic(fmt.Sprintf("unknown router state %d", uint8(s)))
	}
}

// Priorities with a meaning of their own, RFC 9568 §5.2.4.
const (
	PriorityReleasing uint8 = 0   // the Active Router stops taking part
	PriorityOwner     uint8 = 255 // the router owns the addresses
)

// RouterConfig holds the parameters of RFC 9568 §6.1.
type RouterConfig struct {
	Version          uint8         // 2 (RFC 3768) or 3 (RFC 9568)
	Priority         uint8         // 1-254; 255 for the address owner
	AdvertInterval   time.Duration // Advertisement_Interval; 10 ms to 40.95 s in version 3, whole seconds in 2
	Preempt          bool          // Preempt_Mode
	DownTimerAdverts int           // adverts missed before the Active_Down_Timer fires; the RFC's 3 when 0
	Address          netip.Addr    // primary address of the interface: breaks ties between Active Routers
}

// Advert is a received VRRP advertisement that passed every check of RFC 9568 §7.1.
type Advert struct {
	Source   netip.Addr    `json:"source"`
	Priority uint8         `json:"priority"`
	Interval time.Duration `json:"interval"`
}

// Output is what one step of a [Router] asks for: at most one advertisement, and the
// transition that it made.
type Output struct {
	Send     bool  // send an advertisement now, before anything that the transition entails
	Priority uint8 // its priority
	From, To RouterState
	Held     bool // the Active_Down_Timer fired and the gate was closed
}

// Changed reports whether the step changed the state.
func (o Output) Changed() bool { return o.From != o.To }

// Router is the virtual router of RFC 9568 §6.4, and of RFC 3768 §6.4 when Version is 2.
// The addresses are not its business: who steps it claims and releases them. The one
// addition to the RFC is the gate: a Backup whose Active_Down_Timer fires while the gate is
// closed stays Backup and asks again after a quarter of an interval.
type Router struct {
	cfg   RouterConfig
	state RouterState

	activeAdvertInterval time.Duration // Active_Adver_Interval, learned from adverts in version 3
	downTimer            Instant       // Active_Down_Timer, 0 when not running
	advertTimer          Instant       // Adver_Timer, 0 when not running
}

// heldFraction is the part of an interval after which a Backup asks at the gate again.
const heldFraction = 4

// NewRouter returns a router in Initialize.
func NewRouter(cfg RouterConfig) Router {
	if cfg.DownTimerAdverts == 0 {
		cfg.DownTimerAdverts = 3
	}
	return Router{cfg: cfg, activeAdvertInterval: cfg.AdvertInterval}
}

// State returns the state.
func (r *Router) State() RouterState { return r.state }

// Deadline returns the instant at which Timer must be called, 0 for none.
func (r *Router) Deadline() Instant { return Earliest(r.downTimer, r.advertTimer) }

// SkewTime returns Skew_Time: RFC 9568 §6.1, or RFC 3768 §6.2 where it does not depend on
// the interval.
func (r *Router) SkewTime() time.Duration {
	base := r.activeAdvertInterval
	if r.cfg.Version == 2 {
		base = time.Second
	}
	return time.Duration(256-int(r.cfg.Priority)) * base / 256
}

// DownInterval returns Active_Down_Interval: the silence after which a Backup takes over.
func (r *Router) DownInterval() time.Duration {
	return time.Duration(r.cfg.DownTimerAdverts)*r.activeAdvertInterval + r.SkewTime()
}

// Startup leaves Initialize (RFC 9568 §6.4.1).
func (r *Router) Startup(now Instant) Output {
	if r.state != Initialize {
		return r.stay()
	}
	if r.cfg.Priority == PriorityOwner {
		return r.becomeActive(now)
	}
	r.activeAdvertInterval = r.cfg.AdvertInterval
	return r.becomeBackup(now)
}

// Shutdown returns to Initialize; an Active Router says goodbye with priority 0
// (RFC 9568 §6.4.2, §6.4.3).
func (r *Router) Shutdown() Output {
	out := Output{From: r.state, To: Initialize}
	if r.state == Active {
		out.Send, out.Priority = true, PriorityReleasing
	}
	r.state, r.downTimer, r.advertTimer = Initialize, 0, 0
	return out
}

// Stand makes a Backup Active without waiting for the Active_Down_Timer: a hand-over, or the
// start of a cluster.
func (r *Router) Stand(now Instant) Output {
	if r.state == Active {
		return r.stay()
	}
	return r.becomeActive(now)
}

// Yield makes an Active Router Backup without a farewell: another router is about to
// advertise, and priority 0 would only invite a third.
func (r *Router) Yield(now Instant) Output {
	if r.state != Active {
		return r.stay()
	}
	return r.becomeBackup(now)
}

// Assert sends an advertisement at once and restarts the Adver_Timer of an Active Router.
func (r *Router) Assert(now Instant) Output {
	out := r.stay()
	if r.state == Active {
		out.Send, out.Priority = true, r.cfg.Priority
		r.advertTimer = now.Add(r.cfg.AdvertInterval)
	}
	return out
}

// Timer fires whatever is due at now. gate says whether a Backup may become Active.
func (r *Router) Timer(now Instant, gate bool) Output {
	switch {
	case r.state == Backup && r.downTimer != 0 && now >= r.downTimer:
		if gate {
			return r.becomeActive(now)
		}
		r.downTimer = now.Add(r.activeAdvertInterval / heldFraction)
		out := r.stay()
		out.Held = true
		return out
	case r.state == Active && r.advertTimer != 0 && now >= r.advertTimer:
		return r.Assert(now)
	default:
		return r.stay()
	}
}

// Hasten lets the Active_Down_Timer of a Backup fire now.
func (r *Router) Hasten(now Instant) {
	if r.state == Backup {
		r.downTimer = now
	}
}

// Receive handles an advertisement (RFC 9568 §6.4.2 and §6.4.3).
func (r *Router) Receive(now Instant, a Advert) Output {
	switch r.state {
	case Initialize:
		return r.stay()
	case Backup:
		return r.receiveBackup(now, a)
	case Active:
		return r.receiveActive(now, a)
	default:
		panic(fmt.Sprintf("unknown router state %d", uint8(r.state)))
	}
}

func (r *Router) receiveBackup(now Instant, a Advert) Output {
	switch {
	case a.Priority == PriorityReleasing:
		r.downTimer = now.Add(r.SkewTime())
	case !r.cfg.Preempt || a.Priority >= r.cfg.Priority:
		r.learn(a)
		r.downTimer = now.Add(r.DownInterval())
	default: // Preempt_Mode and a lower priority: discard, the timer runs on
	}
	return r.stay()
}

func (r *Router) receiveActive(now Instant, a Advert) Output {
	if a.Priority == PriorityReleasing {
		return r.Assert(now)
	}
	if a.Priority > r.cfg.Priority ||
		(a.Priority == r.cfg.Priority && r.cfg.Address.Less(a.Source)) {
		r.learn(a)
		return r.becomeBackup(now)
	}
	// RFC 9568 §6.4.3: assert at once, so that the loser learns without waiting.
	return r.Assert(now)
}

// learn adopts the Active Router's interval; version 2 demands that both be equal (RFC
// 3768 §7.1), so there is nothing to learn there.
func (r *Router) learn(a Advert) {
	if r.cfg.Version != 2 && a.Interval > 0 {
		r.activeAdvertInterval = a.Interval
	}
}

func (r *Router) becomeActive(now Instant) Output {
	out := Output{From: r.state, To: Active, Send: true, Priority: r.cfg.Priority}
	r.state, r.downTimer = Active, 0
	r.advertTimer = now.Add(r.cfg.AdvertInterval)
	return out
}

func (r *Router) becomeBackup(now Instant) Output {
	out := Output{From: r.state, To: Backup}
	r.state, r.advertTimer = Backup, 0
	r.downTimer = now.Add(r.DownInterval())
	return out
}

func (r *Router) stay() Output { return Output{From: r.state, To: r.state} }
