// SPDX-License-Identifier: Apache-2.0

package interop

import (
	"fmt"
	"net/netip"
	"slices"
	"syscall"
	"testing"
	"time"

	"highwater/election"
	"highwater/election/vrrp"
	"highwater/election/vrrpnet"
	"highwater/election/vrrpnet/netnstest"
	"highwater/test/lab"
)

// cable is the name of the interface on both hosts.
const cable = "vrrp0"

const vrid = 51

// segment is two hosts on one cable: keepalived's with the lower address of
// each family, and ours with the higher.
type segment struct {
	theirs, ours   *netnstest.Host
	theirIP, ourIP [2]netip.Addr // IPv4, link-local IPv6
}

func newSegment(t *testing.T) *segment {
	t.Helper()
	lab.Require(t, "root", "keepalived")
	s := &segment{theirs: netnstest.NewHost(t), ours: netnstest.NewHost(t)}
	netnstest.Connect(t, s.theirs, cable, s.ours, cable)
	s.theirs.AddAddress(t, cable, "10.77.0.1/24")
	s.ours.AddAddress(t, cable, "10.77.0.2/24")
	s.theirIP[0], s.ourIP[0] = netip.MustParseAddr("10.77.0.1"), netip.MustParseAddr("10.77.0.2")
	for h, ip := range map[*netnstest.Host]*netip.Addr{s.theirs: &s.theirIP[1], s.ours: &s.ourIP[1]} {
		eventually(t, "a link-local address", func() bool {
			list := h.Addresses(t, cable)
			i := slices.IndexFunc(list, netip.Addr.IsLinkLocalUnicast)
			if i >= 0 {
				*ip = list[i]
			}
			return i >= 0
		})
	}
	return s
}

// A kind is one way to speak VRRP, configured alike on both sides.
type kind struct {
	name     string
	version  vrrp.Version
	interval time.Duration
	v6       bool
	unicast  bool
	password string
	vips     []netip.Addr
}

var (
	vips4 = []netip.Addr{netip.MustParseAddr("10.77.0.100"), netip.MustParseAddr("10.78.0.100")}
	vips6 = []netip.Addr{netip.MustParseAddr("fe80::100"), netip.MustParseAddr("fd77::100")}
)

var kinds = []kind{
	{name: "v3", version: vrrp.V3, interval: 100 * time.Millisecond, vips: vips4},
	{name: "v2", version: vrrp.V2, interval: time.Second, vips: vips4},
	{name: "v2 with password", version: vrrp.V2, interval: time.Second, password: "s3cret", vips: vips4},
	{name: "v3 unicast", version: vrrp.V3, interval: 100 * time.Millisecond, unicast: true, vips: vips4},
	{name: "v3 IPv6", version: vrrp.V3, interval: 100 * time.Millisecond, v6: true, vips: vips6},
	{name: "v3 IPv6 unicast", version: vrrp.V3, interval: 100 * time.Millisecond, v6: true, unicast: true, vips: vips6},
}

// instance returns the body of keepalived's vrrp_instance.
func (k *kind) instance(s *segment, priority uint8) string {
	text := fmt.Sprintf("state BACKUP\nversion %d\nvirtual_router_id %d\npriority %d\nadvert_int %v\n", k.version, vrid, priority, k.interval.Seconds())
	if k.unicast {
		text += fmt.Sprintf("unicast_src_ip %s\nunicast_peer {\n%s\n}\n", s.theirIP[k.family()], s.ourIP[k.family()])
	}
	if k.password != "" {
		text += fmt.Sprintf("authentication {\nauth_type PASS\nauth_pass %s\n}\n", k.password)
	}
	return text
}

// network returns our side of the same.
func (k *kind) network(s *segment) vrrpnet.Config {
	c := vrrpnet.Config{Family: vrrpnet.IPv4, VRID: vrid, Version: k.version}
	if k.v6 {
		c.Family = vrrpnet.IPv6
	}
	if k.version == vrrp.V2 {
		c.Interval = k.interval
	}
	if k.unicast {
		c.Peers = []netip.Addr{s.theirIP[k.family()]}
		if k.v6 {
			c.MinTTL = 64 // keepalived leaves the hop limit to the kernel
		}
	}
	if k.password != "" {
		c.AuthType = vrrp.AuthSimple
		copy(c.AuthData[:], k.password)
	}
	return c
}

func (k *kind) family() int {
	if k.v6 {
		return 1
	}
	return 0
}

// checkAdverts verifies that everything keepalived sent was accepted, and what
// it said.
func (k *kind) checkAdverts(t *testing.T, s *segment, r *router, priority uint8) {
	t.Helper()
	adverts := r.adverts()
	got := r.conn.Counters()
	// An advertisement may have been accepted between the two readings.
	if got.DroppedTotal() != 0 || got.AcceptedRFC9568 != 0 || got.AcceptedNotLinkLocal != 0 || got.Accepted < uint64(len(adverts)) || len(adverts) == 0 {
		t.Errorf("%d advertisements received, counters %+v", len(adverts), got)
	}
	if got.SendDenied+got.SendNoBuffers+got.SendFailed != 0 {
		t.Errorf("counters %+v", got)
	}
	want := vrrp.Advertisement{Version: k.version, VRID: vrid, Priority: priority, Interval: k.interval}
	if k.password != "" {
		want.AuthType = vrrp.AuthSimple
		copy(want.AuthData[:], k.password)
	}
	want.SetAddresses(k.vips)
	for _, p := range adverts {
		if p.Advertisement.Priority == election.PriorityReleasing {
			p.Advertisement.Priority = priority
		}
		if !p.Advertisement.Equal(&want) || p.Source != s.theirIP[k.family()] || p.Dialect != vrrp.ChecksumPseudoHeader {
			t.Errorf("keepalived sent %+v, want %+v", p, want)
		}
	}
}

// each runs a test for every kind, in parallel: they mostly wait.
func each(t *testing.T, test func(t *testing.T, k *kind)) {
	for i := range kinds {
		t.Run(kinds[i].name, func(t *testing.T) {
			t.Parallel()
			test(t, &kinds[i])
		})
	}
}

// TestKeepalivedYields has a running keepalived meet our higher priority: it
// gives up the role and the addresses, stays quiet, and takes over at our
// farewell.
func TestKeepalivedYields(t *testing.T) {
	each(t, func(t *testing.T, k *kind) {
		s := newSegment(t)
		keepalived := startKeepalived(t, s.theirs, k.instance(s, 150), k.vips)
		keepalived.becomes(t, "MASTER")
		ours := startRouter(t, s.ours, k.network(s), election.RouterConfig{Priority: 200, AdvertInterval: k.interval, Preempt: true}, k.vips)
		ours.becomes(t, election.Active)
		keepalived.becomes(t, "BACKUP")
		k.checkAdverts(t, s, ours, 150)

		// It is quiet as long as we speak. The first wait is for what it sent before
		// it heard us and we have not read yet.
		ours.sends(t, 1)
		quiet := len(ours.adverts())
		ours.sends(t, 3)
		if n := len(ours.adverts()); n != quiet {
			t.Errorf("keepalived sent %d advertisements in BACKUP", n-quiet)
		}

		start := time.Now()
		ours.shutdown()
		keepalived.becomes(t, "MASTER")
		took := time.Since(start)
		t.Logf("keepalived took over %v after the farewell, its skew time is %v", took, k.skew(150))
		if took < k.skew(150) || k.version == vrrp.V2 && took > 3*k.interval {
			t.Error("that is not the skew time")
		}
		k.checkAdverts(t, s, ours, 150)
	})
}

// TestWeYield has our active router meet keepalived's higher priority; then
// keepalived ends, once with a farewell and once without.
func TestWeYield(t *testing.T) {
	each(t, func(t *testing.T, k *kind) {
		s := newSegment(t)
		interval := k.interval
		if k.version == vrrp.V3 {
			interval = 330 * time.Millisecond // to be learned otherwise
		}
		ours := startRouter(t, s.ours, k.network(s), election.RouterConfig{Priority: 100, AdvertInterval: interval, Preempt: true}, k.vips)
		ours.stand()
		ours.becomes(t, election.Active)
		for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
			p := startKeepalived(t, s.theirs, k.instance(s, 150), k.vips)
			p.becomes(t, "MASTER")
			ours.becomes(t, election.Backup)
			down := 3*k.interval + k.skew(100)
			eventually(t, "the interval of the active router learned", func() bool { return ours.downInterval() == down })

			p.signal(t, sig)
			ours.becomes(t, election.Active)
			silence := ours.silence()
			t.Logf("%v: we took over after %v of silence, skew time %v, down interval %v", sig, silence, k.skew(100), down)
			p.wait(t)
			k.checkAdverts(t, s, ours, 150)
			switch sig {
			case syscall.SIGTERM:
				if silence < k.skew(100) || k.version == vrrp.V2 && silence > 3*k.interval {
					t.Error("that is not the skew time")
				}
				if n := p.carries(t); n != 0 {
					t.Errorf("keepalived left %d addresses behind", n)
				}
			case syscall.SIGKILL:
				if silence < down {
					t.Error("that is less than the down interval")
				}
				// The belief behind the lease of docs/design.md §6.
				if n := p.carries(t); n != len(k.vips) {
					t.Errorf("%d addresses are left, expected all: nothing removes them", n)
				}
			}
		}
	})
}

// skew returns Skew_Time.
func (k *kind) skew(priority int) time.Duration {
	base := k.interval
	if k.version == vrrp.V2 {
		base = time.Second
	}
	return time.Duration(256-priority) * base / 256
}

// TestTie lets both be active with one priority: the higher address wins, and
// both sides agree which one that is.
func TestTie(t *testing.T) {
	for _, weWin := range []bool{true, false} {
		t.Run(fmt.Sprintf("we win %v", weWin), func(t *testing.T) {
			t.Parallel()
			s, k := newSegment(t), &kinds[0]
			if !weWin {
				s.theirs.DeleteAddress(t, cable, "10.77.0.1/24")
				s.theirs.AddAddress(t, cable, "10.77.0.3/24")
				s.theirIP[0] = netip.MustParseAddr("10.77.0.3")
			}
			p := startKeepalived(t, s.theirs, k.instance(s, 150), k.vips)
			p.becomes(t, "MASTER")
			ours := startRouter(t, s.ours, k.network(s), election.RouterConfig{Priority: 150, AdvertInterval: k.interval, Preempt: true}, k.vips)
			eventually(t, "an advertisement of keepalived", func() bool { return len(ours.adverts()) > 0 })
			ours.stand()
			if weWin {
				p.becomes(t, "BACKUP")
				ours.becomes(t, election.Active)
			} else {
				ours.becomes(t, election.Backup)
				p.becomes(t, "MASTER")
			}
			k.checkAdverts(t, s, ours, 150)
		})
	}
}

// TestKeepalivedRefusesRFC9568Checksum is why ChecksumPseudoHeader is the
// default: with the checksum that RFC 9568 asks for, keepalived hears nobody.
func TestKeepalivedRefusesRFC9568Checksum(t *testing.T) {
	t.Parallel()
	s, k := newSegment(t), &kinds[0]
	p := startKeepalived(t, s.theirs, k.instance(s, 150), k.vips)
	p.becomes(t, "MASTER")
	network := k.network(s)
	network.Checksum = vrrp.ChecksumRFC9568
	ours := startRouter(t, s.ours, network, election.RouterConfig{Priority: 200, AdvertInterval: k.interval, Preempt: true}, k.vips)
	ours.becomes(t, election.Active)
	eventually(t, "a complaint of keepalived", func() bool { return p.logged("Invalid VRRPv3 checksum") })
	if p.state() != "MASTER" {
		t.Errorf("keepalived in state %s", p.state())
	}
}
