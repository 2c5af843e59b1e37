// SPDX-License-Identifier: Apache-2.0

package vip

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// maxLabel is the longest label, and the longest interface name, that the
// kernel takes: IFNAMSIZ less the terminating zero.
const maxLabel = unix.IFNAMSIZ - 1

// maxAddresses bounds the addresses of one Manager. Each is announced by frames of
// its own, and 64 of them still leave a device's queue at once.
const maxAddresses = 64

// maxInstance bounds Config.Instance. The kernel takes names of 255 bytes.
const maxInstance = 64

// labelSuffix marks our addresses in the output of ip(8).
const labelSuffix = ":hw"

// A Scope is the scope of an IPv4 address as in ip-address(8). IPv6 derives the
// scope from the address.
type Scope int

// Possible values of a Scope. ScopeAuto is ScopeHost for an address with prefix
// length 32 and ScopeGlobal for a shorter prefix; the package comment says why.
const (
	ScopeAuto Scope = iota
	ScopeGlobal
	ScopeLink
	ScopeHost
)

// A Config says which addresses a Manager carries, and where. It is not changed
// after New.
type Config struct {
	// Interface is the name of the interface that carries the addresses.
	Interface string
	// Addresses are the virtual addresses, IPv4 and IPv6 in any mixture, 1
	// to 64 of them. Prefix length 32 or 128 is recommended: with a shorter one the
	// address takes part in the kernel's order of primary and secondary
	// addresses, and removing a primary can remove its secondaries too
	// (promote_secondaries in ip-sysctl).
	Addresses []netip.Prefix
	// Label marks IPv4 addresses, at most 15 bytes. Default: the interface's
	// name, shortened if need be, followed by ":hw".
	Label string
	// Scope of IPv4 addresses. Default: ScopeAuto.
	Scope Scope
	// Announce says how often addresses are announced. The zero value is right
	// for most.
	Announce AnnounceConfig
	// SessionFence says whether sessions are cut by nftables too. Default: FenceAuto.
	SessionFence SessionFence
	// Instance tells this Manager from others with the same interface, such as by
	// its VRID: it is part of the name of the nftables table. Default: none.
	Instance string
	// Netns is the path of the network namespace to work in, such as
	// /run/netns/NAME. Default: that of the thread that calls New. Any other one
	// needs CAP_SYS_ADMIN; without it CAP_NET_ADMIN and CAP_NET_RAW are enough.
	Netns string
	// Now reads CLOCK_BOOTTIME as the time since boot. Default: the real clock.
	Now func() time.Duration
	// Log receives announcements that could not be sent, watches that had to be
	// opened anew, and why the session fence is not used or had to be put back.
	// Default: nothing is logged.
	Log *slog.Logger
}

// An AnnounceConfig is the schedule of announcements that begins with a Claim or
// an Announce: a burst, a second burst, then one frame for each address again
// and again. A zero field takes the default.
type AnnounceConfig struct {
	// Burst is the number of frames in each of the two bursts, for each address.
	// Default: 5.
	Burst int
	// Interval is the time between the first and the second frame of a burst, so
	// that a lost frame, or one whose opcode a device ignores, is made up for
	// soon. Default: 100ms.
	Interval time.Duration
	// Spacing is the time between the other frames. Default: 1.1s, a little more
	// than the second for which Linux holds on to a neighbor entry that was just
	// updated (locktime in arp(7)).
	Spacing time.Duration
	// SecondBurst is the time from the first frame of the first burst to the
	// first frame of the second. It is put off until the first has ended.
	// Default: 5s. Negative: no second burst.
	SecondBurst time.Duration
	// Refresh is the time between frames after the bursts; switches forget hosts
	// that are silent. Default: 60s. Negative: no refresh.
	Refresh time.Duration
}

// withDefaults returns c with every field set, or all that is wrong with it.
func (c Config) withDefaults() (Config, error) {
	var errs []error
	if c.Interface == "" || len(c.Interface) > maxLabel || strings.ContainsAny(c.Interface, "/ \t\n") {
		errs = append(errs, fmt.Errorf("interface name %q is not valid", c.Interface))
	}
	if len(c.Addresses) == 0 {
		errs = append(errs, errors.New("no virtual address given"))
	}
	if len(c.Addresses) > maxAddresses {
		errs = append(errs, fmt.Errorf("%d virtual addresses are more than %d", len(c.Addresses), maxAddresses))
	}
	seen := make(map[netip.Addr]bool, len(c.Addresses))
	for _, p := range c.Addresses {
		a := p.Addr()
		switch {
		case !p.IsValid():
			errs = append(errs, errors.New("virtual address is not a valid prefix"))
		case a.Is4In6() || a.Zone() != "" || a.IsUnspecified() || a.IsLoopback() || a.IsMulticast():
			errs = append(errs, fmt.Errorf("%s cannot be a virtual address", p))
		case seen[a]:
			errs = append(errs, fmt.Errorf("virtual address %s is given twice", a))
		}
		seen[a] = true
	}
	if c.Label == "" {
		c.Label = defaultLabel(c.Interface)
	}
	if len(c.Label) > maxLabel {
		errs = append(errs, fmt.Errorf("label %q is longer than %d bytes", c.Label, maxLabel))
	}
	if c.Scope < ScopeAuto || c.Scope > ScopeHost {
		errs = append(errs, fmt.Errorf("scope %d is not valid", c.Scope))
	}
	switch c.SessionFence {
	case "":
		c.SessionFence = FenceAuto
	case FenceAuto, FenceNFT, FenceNone:
	default:
		errs = append(errs, fmt.Errorf("session fence %q is not %s, %s or %s", c.SessionFence, FenceAuto, FenceNFT, FenceNone))
	}
	if len(c.Instance) > maxInstance {
		errs = append(errs, fmt.Errorf("instance %q is longer than %d bytes", c.Instance, maxInstance))
	}
	if c.Announce.Burst < 0 || c.Announce.Interval < 0 || c.Announce.Spacing < 0 {
		errs = append(errs, errors.New("announcement schedule has a negative burst, interval or spacing"))
	}
	c.Announce = c.Announce.withDefaults()
	if c.Now == nil {
		c.Now = bootTime
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c, errors.Join(errs...)
}

func (c AnnounceConfig) withDefaults() AnnounceConfig {
	if c.Burst == 0 {
		c.Burst = 5
	}
	if c.Interval == 0 {
		c.Interval = 100 * time.Millisecond
	}
	if c.Spacing == 0 {
		c.Spacing = 1100 * time.Millisecond
	}
	if c.SecondBurst == 0 {
		c.SecondBurst = 5 * time.Second
	}
	if c.Refresh == 0 {
		c.Refresh = 60 * time.Second
	}
	return c
}

// at returns when frame n (from 0) is due, counted from frame 0, and whether
// there is such a frame.
func (c AnnounceConfig) at(n int) (time.Duration, bool) {
	within := func(n int) time.Duration {
		if n == 0 {
			return 0
		}
		return c.Interval + time.Duration(n-1)*c.Spacing
	}
	if n < c.Burst {
		return within(n), true
	}
	last := within(c.Burst - 1)
	n -= c.Burst
	if c.SecondBurst > 0 {
		second := max(c.SecondBurst, last+c.Spacing)
		if n < c.Burst {
			return second + within(n), true
		}
		last += second
		n -= c.Burst
	}
	return last + time.Duration(n+1)*c.Refresh, c.Refresh > 0
}

// defaultLabel returns the label for addresses on the interface. Of a name that
// is too long the end is cut: the suffix is what marks the address.
func defaultLabel(ifname string) string {
	return ifname[:min(len(ifname), maxLabel-len(labelSuffix))] + labelSuffix
}

// bootTime reads CLOCK_BOOTTIME (clock_gettime(2)), which goes on while the
// machine is suspended.
func bootTime() time.Duration {
	var ts unix.Timespec
	// It fails only for an unknown clock or a bad pointer, and is neither.
	_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts)
	return time.Duration(ts.Nano())
}
