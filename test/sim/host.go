// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"net/netip"
	"time"

	"highwater/election"
)

// host is a machine: its power, clock, link, kernel, disk and what runs on it.
type host struct {
	w      *World
	index  int
	name   string
	addr   netip.Addr
	drift  float64
	booted instant
	boot   int // counts up

	powered  bool
	frozen   bool // the whole machine: a paused VM
	stunned  bool // with its clock
	frozenAt instant
	stood    time.Duration // for how long its clock has stood still in all
	thawed   instant
	backlog  []func() // what the kernel does once it runs again
	link     bool

	vip    bool
	vipGen int
	vipFor int // the server process it was claimed or renewed for

	server     server
	supervisor *supervisor

	// On disk.
	disk      disk
	saved     election.Saved
	promised  uint64 // package promote's
	joined    uint64 // the last term that the server took part in
	joinedTo  string // and its primary
	claimAt   election.Instant
	claimBoot int

	failPromotions bool // promotions fail here
}

func newHost(w *World, i int) *host {
	h := &host{
		w: w, index: i, name: w.members[i].Name, addr: netip.AddrFrom4([4]byte{10, 0, 0, byte(11 + i)}),
		drift: w.drift(), powered: true, link: true, boot: 1,
		booted: w.now.add(-w.between(10*time.Second, time.Minute)),
	}
	h.server = newServer(h, w.flavor())
	return h
}

// clock returns the host's CLOCK_BOOTTIME.
func (h *host) clock() election.Instant {
	return election.Instant(float64(h.w.now.sub(h.booted)) * (1 + h.drift))
}

// until returns the true time that passes until the host's clock shows at.
func (h *host) until(at election.Instant) time.Duration {
	d := time.Duration(float64(at) / (1 + h.drift))
	return h.booted.add(d).sub(h.w.now) + time.Nanosecond
}

// after runs f in d of the host's time, once it is not frozen, unless it lost its power.
func (h *host) after(d time.Duration, f func()) { h.due(time.Duration(float64(d)/(1+h.drift)), f) }

// due runs f in d of true time, and as much later as the host's clock stands still meanwhile.
func (h *host) due(d time.Duration, f func()) {
	boot, stood := h.boot, h.stood
	h.w.after(d, func() {
		switch {
		case h.boot != boot || !h.powered:
		case h.frozen && h.stunned:
			left := h.w.now.sub(h.frozenAt)
			h.backlog = append(h.backlog, func() { h.due(left, f) })
		case h.stood != stood:
			h.due(h.stood-stood, f)
		case h.frozen:
			h.backlog = append(h.backlog, f)
		default:
			f()
		}
	})
}

// lease puts the VIP on the host for a lease, or extends it.
func (h *host) lease() {
	if s := h.supervisor; s != nil && s.machine.Status().Role == election.RolePromoting {
		h.w.fail("%s claims the VIP before its promotion has ended", h.name)
	}
	h.vip = true
	h.vipGen++
	h.vipFor = h.server.process()
	if h.w.cfg.Mutation == NoKernelLease {
		return
	}
	gen := h.vipGen
	h.after(lease+h.w.between(10*time.Millisecond, kernelLate), func() {
		if h.vip && h.vipGen == gen {
			h.dropVIP("the lease ended")
		}
	})
}

// dropVIP takes the VIP off without the supervisor's doing.
func (h *host) dropVIP(why string) {
	if !h.vip {
		return
	}
	h.vip = false
	h.vipGen++
	h.w.tracef(h, "VIP gone: %s", why)
	if s := h.supervisor; s != nil && s.leaseEnd != 0 {
		s.post(election.AddressLost{})
	}
}

// powerOff ends everything at once.
func (h *host) powerOff() {
	h.w.tracef(h, "power off")
	h.server.kill()
	h.crashSupervisor()
	h.losePower()
	h.powered, h.vip, h.frozen, h.stunned, h.backlog = false, false, false, false, nil
	h.vipGen++
	h.boot++
}

// powerOn boots the host: the server comes up read-only, later than the supervisor.
func (h *host) powerOn() {
	if h.powered {
		return
	}
	h.w.tracef(h, "power on")
	h.powered, h.booted = true, h.w.now.add(-h.w.between(2*time.Second, 5*time.Second))
	h.startSupervisor()
	h.after(h.w.between(0, 3*time.Second), h.server.start)
}

// freeze stuns the host for d.
func (h *host) freeze(d time.Duration) {
	if h.frozen || !h.powered {
		return
	}
	h.w.tracef(h, "host frozen for %v", d)
	h.frozen, h.frozenAt = true, h.w.now
	boot := h.boot
	h.w.after(d, func() {
		if h.boot == boot {
			h.thaw()
		}
	})
}

// stun freezes the host for d with its clock: it cannot know of it.
func (h *host) stun(d time.Duration) {
	if !h.frozen && h.powered {
		h.freeze(d)
		h.stunned = true
	}
}

func (h *host) thaw() {
	if !h.frozen {
		return
	}
	h.w.tracef(h, "host thawed")
	if h.stunned {
		stood := h.w.now.sub(h.frozenAt)
		h.booted, h.stood, h.stunned = h.booted.add(stood), h.stood+stood, false
		h.w.stunned = h.w.now
	}
	h.frozen, h.thawed = false, h.w.now
	backlog := h.backlog
	h.backlog = nil
	for _, f := range backlog {
		f()
	}
	if s := h.supervisor; s != nil {
		s.wake()
	}
}

// setLink plugs the host in or out.
func (h *host) setLink(up bool) {
	if h.link == up || !h.powered {
		return
	}
	h.w.tracef(h, "link up=%v", up)
	h.link = up
	if s := h.supervisor; s != nil {
		s.post(election.LinkChanged{Up: up})
	}
}
