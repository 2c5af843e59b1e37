// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"net/netip"
	"time"

	"highwater/election"
)

// Fault is one kind of thing that goes wrong on a host, or is done to it.
type Fault uint8

// The kinds.
const (
	KillServer        Fault = iota // and it comes back read-only
	BounceServer                   // it is back before anybody noticed
	HangServer                     // answers nothing for a while
	FillDisk                       // answers, commits nothing
	BlockCommits                   // a lock: nothing may move
	BreakApplier                   // until the end: never eligible
	KillSupervisor                 // without a word
	RestartSupervisor              // planned: back within the lease
	FreezeSupervisor               // the rest of the host runs
	FreezeHost                     // a stunned VM
	PowerOff                       // and on again
	PowerCut                       // of all hosts
	Unplug                         // the host sees that its link is down
	Stop                           // the operator's order
	RemoveVIP                      // by hand
	FailPromotions                 // on this host, for a while
	LosePackets                    // everywhere, for a while
	DelayPackets                   // everywhere, for a while
	wholeFaults                    // of those above, which part no network
	Isolate                        // from all others, link up
	Deafen                         // it hears nobody, everybody hears it
	Mute                           // nobody hears it
	Split                          // one pair does not hear each other
	allFaults
	Scramble         // each direction of each pair is cut or not, by chance
	Forge            // somebody on the segment sends adverts in everybody's name
	SlowDisk         // fsync takes long
	BounceSupervisor // without a word, and back before anybody noticed
	quorumFaults
	StunHost       // it is frozen with its clock; only where a schedule asks for it
	PauseFailovers // the operator's order, on the whole cluster; only where a schedule asks for it
)

var faultNames = [...]string{
	"kill server", "bounce server", "hang server", "fill disk", "block commits", "break applier", "kill supervisor",
	"restart supervisor", "freeze supervisor", "freeze host", "power off", "power cut", "unplug", "stop", "remove VIP",
	"fail promotions", "lose packets", "delay packets", "", "isolate", "deafen", "mute", "split", "",
	"scramble", "forge", "slow disk", "bounce supervisor", "", "stun host", "pause failovers",
}

// String returns the fault's name.
func (f Fault) String() string { return faultNames[f] }

// Inject lets f happen to a host, for d where it lasts.
func (w *World) Inject(f Fault, h *host, d time.Duration) {
	w.tracef(h, "FAULT %s for %v", f, d)
	w.faults++
	boot := h.boot
	later := func(f func()) {
		w.after(d, func() {
			if h.boot == boot && h.powered {
				f()
			}
		})
	}
	srv := &h.server
	switch f {
	case KillServer:
		srv.kill()
		later(srv.start)
	case BounceServer:
		srv.kill()
		h.after(w.between(0, 300*time.Millisecond), srv.start)
	case HangServer:
		srv.hung = srv.up()
		later(func() { srv.hung = false })
	case FillDisk:
		srv.failing = true
		later(func() { srv.failing = false })
	case BlockCommits:
		srv.blocked = srv.up() && !srv.readOnly()
		later(func() { srv.blocked = false })
	case BreakApplier:
		s := h.supervisor
		if srv.readOnly() && srv.source() != nil && w.soundServers() > 2 && s != nil && s.machine.Status().Role == election.RoleReplica {
			srv.broken, srv.brokenAt = true, w.now
		}
	case KillSupervisor:
		h.crashSupervisor()
		later(h.startSupervisor)
	case RestartSupervisor:
		w.order(h, election.CommandRestart, later)
	case FreezeSupervisor:
		h.freezeSupervisor(d)
	case FreezeHost:
		h.freeze(d)
	case PowerOff:
		h.powerOff()
		w.after(d, h.powerOn)
	case PowerCut:
		for _, h := range w.hosts {
			h.powerOff()
			w.after(w.between(0, d), h.powerOn)
		}
	case Unplug:
		w.unplugged = true
		h.setLink(false)
		later(func() { h.setLink(true) })
	case Stop:
		w.order(h, election.CommandStop, later)
	case RemoveVIP:
		h.dropVIP("somebody removed it")
	case FailPromotions:
		h.failPromotions = true
		w.after(d, func() { h.failPromotions = false })
	case LosePackets:
		w.loss = 0.05 + 0.25*w.rng.Float64()
		w.after(d, func() { w.loss = 0 })
	case DelayPackets:
		w.delay = w.between(5*time.Millisecond, 50*time.Millisecond)
		w.after(d, func() { w.delay = 2 * time.Millisecond })
	case Isolate, Deafen, Mute, Split:
		w.part(f, h, d)
	case Scramble:
		w.scramble(d)
	case Forge:
		w.forge(d)
	case SlowDisk:
		h.disk.slow = w.between(50*time.Millisecond, time.Second)
		w.after(d, func() { h.disk.slow = 0 })
	case BounceSupervisor:
		h.crashSupervisor()
		h.after(w.between(0, 500*time.Millisecond), h.startSupervisor)
	case StunHost:
		h.stun(d)
	case PauseFailovers:
		w.pause(d)
	default:
		panic("no such fault")
	}
}

// order gives an operator's order, and starts the supervisor again later.
func (w *World) order(h *host, name election.CommandName, later func(func())) {
	s := h.supervisor
	if s == nil {
		return
	}
	s.restarting = name == election.CommandRestart
	if s.restarting {
		s.onStopped = func() { h.after(w.between(50*time.Millisecond, time.Second), h.startSupervisor) }
	} else {
		s.onStopped = func() { later(h.startSupervisor) }
	}
	s.ask(func(t election.Token) election.Event { return election.Command{Token: t, Name: name} }, func(answer) {})
}

// part cuts hosts off one another.
func (w *World) part(f Fault, h *host, d time.Duration) {
	w.parted = w.parted || f != Split || !w.witnessed
	other := w.hosts[(h.index+1+w.rng.IntN(len(w.hosts)-1))%len(w.hosts)]
	set := func(cut bool) {
		for _, o := range w.hosts {
			if o == h || f == Split && o != other {
				continue
			}
			if f != Deafen {
				w.cut[h.index][o.index] = cut
			}
			if f != Mute {
				w.cut[o.index][h.index] = cut
			}
		}
	}
	set(true)
	w.after(d, func() { set(false) })
}

// scramble cuts what it likes.
func (w *World) scramble(d time.Duration) {
	w.parted = true
	share := w.rng.Float64()
	for from := range w.hosts {
		for to := range w.hosts {
			w.cut[from][to] = from != to && w.chance(share)
		}
	}
	w.after(d, func() { w.cut = [maxHosts][maxHosts]bool{} })
}

// forge lets an attacker speak VRRP on the segment for d: the highest priority, that of a
// router which stops, and what was said before; as a stranger and in the name of every host.
func (w *World) forge(d time.Duration) {
	w.forging = max(w.forging, w.now.add(d))
	if w.forger {
		return
	}
	w.forger = true
	w.forgeOne()
}

func (w *World) forgeOne() {
	if w.now >= w.forging || w.healed {
		w.forger = false
		return
	}
	ad := election.AdvertReceived{Advert: election.Advert{
		Source: netip.AddrFrom4([4]byte{10, 0, 0, 66}), Priority: election.PriorityOwner, Interval: w.cfg.Interval,
	}}
	as := w.rng.IntN(len(w.hosts) + 1)
	if as < len(w.hosts) {
		ad.Node, ad.Source = w.hosts[as].name, w.hosts[as].addr
	}
	switch w.rng.IntN(4) {
	case 0:
		ad.Priority = election.PriorityReleasing
	case 1:
		if as < len(w.hosts) {
			ad.Priority = w.adverts[as] // as it was heard
		}
	case 2:
		ad.Interval = w.between(10*time.Millisecond, 40*time.Second)
	}
	for i, to := range w.hosts {
		if i != as && w.chance(0.7) && to.powered && to.link && to.supervisor != nil {
			to.supervisor.post(ad)
		}
	}
	w.after(w.between(time.Millisecond, 60*time.Millisecond), w.forgeOne)
}

// soundServers counts the servers that could ever be eligible.
func (w *World) soundServers() int {
	n := 0
	for _, h := range w.hosts {
		if !h.server.broken {
			n++
		}
	}
	return n
}

// Heal ends everything that still goes wrong.
func (w *World) Heal() {
	w.tracef(nil, "HEAL")
	w.healed = true
	w.loss, w.delay = 0, 2*time.Millisecond
	w.cut = [maxHosts][maxHosts]bool{}
	for _, h := range w.hosts {
		h.powerOn()
		h.thaw()
		h.setLink(true)
		h.failPromotions = false
		srv := &h.server
		h.disk.slow = 0
		srv.hung, srv.failing, srv.blocked = false, false, false
		srv.start()
		if s := h.supervisor; s != nil && s.frozen {
			s.frozen = false
			s.wake()
		}
		h.startSupervisor()
	}
	if w.cfg.Quorum {
		w.resume()
	}
}
