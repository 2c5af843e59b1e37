// SPDX-License-Identifier: Apache-2.0

package vip

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/mdlayher/packet"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// The kernel removes what nobody renews, also beside other addresses whose
// lifetimes end shortly before: it looks for expired addresses at most once a
// second, so these are what delays it.
func TestKernelEndsLease(t *testing.T) {
	requireLab(t)
	for _, tt := range []struct {
		name string
		// others adds addresses with lifetimes at about the time of the claim.
		others func(t *testing.T, h *host)
	}{
		{"alone", func(*testing.T, *host) {}},
		{"other lifetimes", func(t *testing.T, h *host) {
			for i := range 10 {
				h.add(t, fmt.Sprintf("10.77.1.%d/32", i+1), 1+i)
				h.add(t, fmt.Sprintf("fd77:1::%d/128", i+1), 1+i)
			}
		}},
		{"others end just before", func(t *testing.T, h *host) {
			h.add(t, "10.77.1.1/32", 2)
			h.add(t, "fd77:1::1/128", 2)
			time.Sleep(100 * time.Millisecond)
		}},
		{"others end half a second before", func(t *testing.T, h *host) {
			h.add(t, "10.77.1.1/32", 2)
			h.add(t, "fd77:1::1/128", 2)
			time.Sleep(500 * time.Millisecond)
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			a, _ := newHosts(t)
			m := a.manager(t, vip4, vip6)
			tt.others(t, a)
			const lease = 2 * time.Second
			start := time.Now()
			mustClaim(t, m, lease)
			var ended [2]time.Duration
			until(t, "end of the lease", func() bool {
				for i, p := range both {
					if ended[i] == 0 && !a.has(t, p) {
						ended[i] = time.Since(start)
					}
				}
				return ended[0] != 0 && ended[1] != 0
			})
			for i, p := range both {
				t.Logf("%s removed %.3f s after the end of its lease", p, (ended[i] - lease).Seconds())
				// The kernel's rounding may take up to 20 ms off (ADDRCONF_TIMER_FUZZ_MINUS).
				if ended[i] < lease-50*time.Millisecond || ended[i] > lease+2*time.Second {
					t.Errorf("%s removed after %s, lease %s", p, ended[i], lease)
				}
			}
			if err := m.Renew(t.Context(), lease); !errors.Is(err, ErrLost) {
				t.Errorf("Renew: %v, want ErrLost", err)
			}
			if a.has(t, vip4) || a.has(t, vip6) {
				t.Error("Renew added an address again")
			}
			// What belongs to others is left alone.
			if err := m.Release(t.Context()); err != nil {
				t.Error(err)
			}
			for _, p := range []string{"10.77.0.1/24", "fd77::1/64"} {
				if !a.has(t, p) {
					t.Errorf("%s is gone", p)
				}
			}
		})
	}
}

func TestKernelKeepsWhatIsRenewed(t *testing.T) {
	t.Parallel()
	a, _ := newHosts(t)
	m := a.manager(t, vip4, vip6)
	mustClaim(t, m, time.Second)
	list, err := m.Held(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(list) != 2 {
		t.Fatalf("Held: %v, want 2", list)
	}
	for _, h := range list {
		if !h.Ours || h.Remaining != time.Second || h.Interface != "eth0" {
			t.Errorf("Held: %+v", h)
		}
	}
	events, err := m.Watch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	// Several leases long.
	for end := time.Now().Add(3500 * time.Millisecond); time.Now().Before(end); {
		if err := m.Renew(t.Context(), time.Second); err != nil {
			t.Fatal(err)
		}
		time.Sleep(200 * time.Millisecond)
	}
	for {
		select {
		case e := <-events:
			if e.Kind == AddressVanished {
				t.Errorf("event %s", describe(e))
			}
			continue
		default:
		}
		break
	}
	if !a.has(t, vip4) || !a.has(t, vip6) {
		t.Error("an address is gone although it was renewed")
	}
}

// A supervisor that is killed or frozen leaves no address behind.
func TestKernelEndsLeaseOfAProcess(t *testing.T) {
	for _, signal := range []os.Signal{unix.SIGKILL, unix.SIGSTOP} {
		t.Run(signal.String(), func(t *testing.T) {
			t.Parallel()
			a, _ := newHosts(t)
			p := startChild(t, "claim", a)
			time.Sleep(time.Second) // it renews
			if !a.has(t, vip4) || !a.has(t, vip6) {
				t.Fatal("the process does not hold the addresses")
			}
			if err := p.Signal(signal); err != nil {
				t.Fatal(err)
			}
			took := until(t, "removal", func() bool { return !a.has(t, vip4) && !a.has(t, vip6) })
			t.Logf("removed %s after the signal, lease %s", took.Round(time.Millisecond), childLease)
			if took > 4*time.Second {
				t.Errorf("removed only after %s", took)
			}
		})
	}
}

// Frozen just before the renewal and thawed after the end of the lease: the
// process finds out by itself.
func TestKernelThawedProcess(t *testing.T) {
	t.Parallel()
	a, _ := newHosts(t)
	p := startChild(t, "claim", a)
	for _, signal := range []os.Signal{unix.SIGSTOP, unix.SIGCONT} {
		if err := p.Signal(signal); err != nil {
			t.Fatal(err)
		}
		if signal == unix.SIGSTOP {
			until(t, "removal", func() bool { return !a.has(t, vip4) && !a.has(t, vip6) })
		}
	}
	state, err := p.Wait() // its Renew fails
	if err != nil {
		t.Fatal(err)
	}
	if state.ExitCode() != 1 {
		t.Errorf("ended with %s, want an error of Renew", state)
	}
	if a.has(t, vip4) || a.has(t, vip6) {
		t.Error("an address was added again")
	}
}

func TestKernelForeignRemoval(t *testing.T) {
	a, _ := newHosts(t)
	m := a.manager(t, vip4, vip6)
	mustClaim(t, m, 30*time.Second)
	events, err := m.Watch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range both {
		a.del(t, p)
		start := time.Now()
		for e := range events {
			if e.Kind == AddressVanished && e.Address.String() == p {
				if !e.Unexpected {
					t.Errorf("event %s, want unexpected", describe(e))
				}
				t.Logf("%s: seen %s after the removal", p, time.Since(start))
				break
			}
		}
		if err := m.Renew(t.Context(), 30*time.Second); !errors.Is(err, ErrLost) || !strings.Contains(err.Error(), p) {
			t.Errorf("Renew: %v, want ErrLost and %s", err, p)
		}
		if a.has(t, p) {
			t.Errorf("Renew added %s again", p)
		}
		mustClaim(t, m, 30*time.Second)
		if !a.has(t, p) {
			t.Errorf("Claim did not add %s again", p)
		}
	}
}

// capture listens on the host for what comes in until the test ends.
func capture(t *testing.T, h *host) <-chan []byte {
	t.Helper()
	var c *packet.Conn
	err := h.ns.do(func() (err error) {
		c, err = packet.Listen(&net.Interface{Index: h.eth0(t).Attrs().Index}, packet.Raw, unix.ETH_P_ALL, nil)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	frames := make(chan []byte, 1000)
	go func() {
		for {
			b := make([]byte, 2000)
			n, _, err := c.ReadFrom(b)
			if err != nil {
				return
			}
			frames <- b[:n]
		}
	}()
	t.Cleanup(func() { c.Close() })
	return frames
}

func TestKernelAnnouncements(t *testing.T) {
	a, b := newHosts(t)
	m := a.manager(t, vip4, vip6)
	mac := a.eth0(t).Attrs().HardwareAddr
	ip4, ip6 := netip.MustParsePrefix(vip4).Addr(), netip.MustParsePrefix(vip6).Addr()

	// The peer has learned another host's hardware address.
	peer := b.eth0(t).Attrs().Index
	for _, ip := range []netip.Addr{ip4, ip6} {
		err := b.links.NeighSet(&netlink.Neigh{
			LinkIndex: peer, State: netlink.NUD_REACHABLE, IP: ip.AsSlice(),
			HardwareAddr: net.HardwareAddr{2, 0, 0, 0, 0, 0x99},
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	frames := capture(t, b)
	mustClaim(t, m, 30*time.Second)

	want := map[string][]byte{
		"request": appendARP(nil, arpRequest, mac, ip4),
		"reply":   appendARP(nil, arpReply, mac, ip4),
		"NA":      appendNA(nil, mac, ip6, false),
	}
	var order []string
	deadline := time.After(10 * time.Second)
	for len(order) < 5 {
		select {
		case f := <-frames:
			for name, w := range want {
				if bytes.Equal(f, w) {
					order = append(order, name)
				}
			}
		case <-deadline:
			t.Fatalf("announcements seen: %v", order)
		}
	}
	if got := strings.Join(order, " "); got != "request NA reply NA request" {
		t.Errorf("announcements seen: %s", got)
	}
	for _, ip := range []netip.Addr{ip4, ip6} {
		list, err := b.links.NeighList(peer, 0)
		if err != nil {
			t.Fatal(err)
		}
		found := false
		for _, n := range list {
			if n.IP.Equal(net.IP(ip.AsSlice())) {
				found = true
				if !bytes.Equal(n.HardwareAddr, mac) {
					t.Errorf("the peer has %s at %s, want %s", ip, n.HardwareAddr, mac)
				}
			}
		}
		if !found {
			t.Errorf("the peer does not know %s", ip)
		}
	}

	// A router says so.
	err := a.ns.do(func() error {
		return os.WriteFile("/proc/sys/net/ipv6/conf/eth0/forwarding", []byte("1"), 0)
	})
	if err != nil {
		t.Fatal(err)
	}
	m.Announce()
	router := appendNA(nil, mac, ip6, true)
	for {
		select {
		case f := <-frames:
			if bytes.Equal(f, router) {
				return
			}
		case <-deadline:
			t.Fatal("no announcement with the Router flag")
		}
	}
}

// wantReset reads from the session until it ends, which has to be by a reset.
func wantReset(t *testing.T, c net.Conn) {
	t.Helper()
	start := time.Now()
	_, err := io.Copy(io.Discard, c)
	if !errors.Is(err, unix.ECONNRESET) {
		t.Errorf("session to %s ended with %v, want ECONNRESET", c.RemoteAddr(), err)
	}
	t.Logf("session to %s: reset seen %s after looking", c.RemoteAddr(), time.Since(start))
}

// The server cannot run, the clients are told at once, and neither the stopped
// process nor the address coming back revives a session.
func TestKernelReleaseDestroysSessions(t *testing.T) {
	a, b := newHosts(t)
	m := a.manager(t, vip4, vip6)
	mustClaim(t, m, 30*time.Second)
	server := startChild(t, "serve", a)
	// A dual-stack server has its IPv4 clients at IPv6-mapped addresses.
	vips := []net.Conn{b.session(t, "10.77.0.100:3306"), b.session(t, "[fd77::100]:3306")}
	others := []net.Conn{b.session(t, "10.77.0.1:3306"), b.session(t, "[fd77::1]:3306")}

	if err := server.Signal(unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	if err := m.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, c := range vips {
		wantReset(t, c)
	}
	if err := server.Signal(unix.SIGCONT); err != nil {
		t.Fatal(err)
	}
	mustClaim(t, m, 30*time.Second)
	for _, c := range vips {
		if _, err := c.Write([]byte("again")); err == nil {
			t.Errorf("a write to the old session at %s was accepted", c.RemoteAddr())
		}
	}
	// New sessions are welcome: the listening socket is still there.
	b.session(t, "10.77.0.100:3306")
	b.session(t, "[fd77::100]:3306")

	// Sessions with the host's own addresses were not touched until now.
	for _, c := range others {
		if _, err := c.Write([]byte("x")); err != nil {
			t.Error(err)
		}
		if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
			t.Error(err)
		}
	}
	if err := server.Signal(unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	n, err := m.DestroyServerSockets(t.Context(), 3306)
	if n != 4 || err != nil {
		t.Errorf("DestroyServerSockets: %d, %v, want 4", n, err)
	}
	for _, c := range others {
		wantReset(t, c)
	}
}

// What TestKernelReleaseDestroysSessions proves is not so by itself: without a
// Release, a session goes on when its address comes back.
func TestKernelSessionsOutliveTheirAddress(t *testing.T) {
	a, b := newHosts(t)
	startChild(t, "serve", a)
	a.add(t, vip4, 30)
	c := b.session(t, "10.77.0.100:3306")
	a.del(t, vip4)
	if _, err := c.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	time.Sleep(100 * time.Millisecond)
	a.add(t, vip4, 30)
	if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
		t.Errorf("the session did not resume: %v", err)
	}
}

// A server that listens on the virtual address alone serves again after the
// address has gone and come.
func TestKernelListenerStays(t *testing.T) {
	a, b := newHosts(t)
	m := a.manager(t, vip4)
	mustClaim(t, m, 30*time.Second)
	startChild(t, "serve-vip", a)
	c := b.session(t, "10.77.0.100:3306")
	if err := m.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantReset(t, c)
	mustClaim(t, m, 30*time.Second)
	b.session(t, "10.77.0.100:3306")
}

// Connections of the host's own do not come from a virtual address, not even by
// a route that names no source.
func TestKernelSourceAddress(t *testing.T) {
	a, b := newHosts(t)
	startChild(t, "serve", b)
	b.add(t, "192.0.2.1/32", 0)
	b.add(t, "2001:db8::1/128", 0)
	m := a.manager(t, vip4, vip6)
	mustClaim(t, m, 30*time.Second)
	// As after a restart of the network: the virtual address was there first.
	a.del(t, "10.77.0.1/24")
	a.del(t, "fd77::1/64")
	a.add(t, "10.77.0.1/24", 0)
	a.add(t, "fd77::1/64", 0)
	for _, dst := range []string{"192.0.2.1/32", "2001:db8::1/128"} {
		n, err := netlink.ParseIPNet(dst)
		if err != nil {
			t.Fatal(err)
		}
		r := netlink.Route{LinkIndex: a.eth0(t).Attrs().Index, Dst: n, Scope: netlink.SCOPE_LINK}
		if err := a.links.RouteAdd(&r); err != nil {
			t.Fatal(err)
		}
	}
	for address, want := range map[string]string{
		"10.77.0.2:3306":     "10.77.0.1",
		"192.0.2.1:3306":     "10.77.0.1",
		"[fd77::2]:3306":     "fd77::1",
		"[2001:db8::1]:3306": "fd77::1",
	} {
		c := a.session(t, address)
		if got := c.LocalAddr().(*net.TCPAddr).IP.String(); got != want {
			t.Errorf("connection to %s comes from %s, want %s", address, got, want)
		}
	}
}

// A virtual address within the host's subnet becomes a secondary address there,
// and leaves without a trace.
func TestKernelShortPrefix(t *testing.T) {
	a, b := newHosts(t)
	startChild(t, "serve", a)
	m := a.manager(t, "10.77.0.100/24", "fd77::100/64")
	for range 2 {
		mustClaim(t, m, 30*time.Second)
		b.session(t, "10.77.0.100:3306")
		b.session(t, "[fd77::100]:3306")
		if err := m.Renew(t.Context(), 30*time.Second); err != nil {
			t.Error(err)
		}
		if err := m.Release(t.Context()); err != nil {
			t.Error(err)
		}
	}
	for p, want := range map[string]bool{"10.77.0.1/24": true, "fd77::1/64": true, vip4: false, vip6: false} {
		if a.has(t, p) != want {
			t.Errorf("%s is there: %t", p, !want)
		}
	}
}

func TestKernelLinkEvents(t *testing.T) {
	a, b := newHosts(t)
	m := a.manager(t, vip4)
	mustClaim(t, m, 30*time.Second)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	events, err := m.Watch(ctx)
	if err != nil {
		t.Fatal(err)
	}
	vanished := false
	wait := func(kind EventKind) {
		t.Helper()
		for e := range events {
			vanished = vanished || e.Kind == AddressVanished
			if e.Kind == kind {
				return
			}
		}
		t.Errorf("no event %s", kind)
	}
	wait(LinkUp)
	for _, step := range []struct {
		name string
		set  func(netlink.Link) error
		host *host
		want EventKind
	}{
		{"carrier lost", b.links.LinkSetDown, b, LinkDown},
		{"carrier back", b.links.LinkSetUp, b, LinkUp},
		{"disabled", a.links.LinkSetDown, a, LinkDown},
		{"enabled", a.links.LinkSetUp, a, LinkUp},
		{"deleted", a.links.LinkDel, a, LinkDown},
	} {
		if err := step.set(step.host.eth0(t)); err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		wait(step.want)
		t.Logf("%s: event after %s", step.name, time.Since(start))
	}
	// The kernel may report the address before the link or after it.
	if !vanished {
		wait(AddressVanished)
	}
	if err := m.Claim(t.Context(), 30*time.Second); !errors.Is(err, errNoLink) {
		t.Errorf("Claim without an interface: %v", err)
	}
	if err := m.Release(t.Context()); err != nil {
		t.Errorf("Release without an interface: %v", err)
	}
}

// A claim on a link that is down fails, and leaves nothing.
func TestKernelClaimOnDownLink(t *testing.T) {
	a, _ := newHosts(t)
	if err := a.links.LinkSetDown(a.eth0(t)); err != nil {
		t.Fatal(err)
	}
	m := a.manager(t, vip4)
	if err := m.Claim(t.Context(), 30*time.Second); !errors.Is(err, unix.ENETDOWN) {
		t.Errorf("Claim: %v, want ENETDOWN", err)
	}
	if a.has(t, vip4) {
		t.Error("the address is there")
	}
}

// A queue that overflows is reported as an error, not as silence.
func TestKernelSubscriptionOverflow(t *testing.T) {
	a, _ := newHosts(t)
	m := a.manager(t, vip4)
	sub, err := m.kernel.subscribe()
	if err != nil {
		t.Fatal(err)
	}
	defer sub.close()
	if err := sub.(netlinkSubscription).socket.SetReceiveBufferSize(4096, true); err != nil {
		t.Fatal(err)
	}
	for range 100 {
		a.add(t, "10.77.2.1/32", 0)
		a.del(t, "10.77.2.1/32")
	}
	for range 1000 {
		if _, err := sub.receive(); err != nil {
			if !errors.Is(err, unix.ENOBUFS) {
				t.Errorf("receive: %v, want ENOBUFS", err)
			}
			return
		}
	}
	t.Error("no error")
}

// The kernel tells the address that was there from the one that came after it.
func TestKernelAddressFields(t *testing.T) {
	a, _ := newHosts(t)
	m := a.manager(t, vip4, vip6)
	mustClaim(t, m, 30*time.Second)
	read := func() map[netip.Addr]address {
		t.Helper()
		list, err := m.present()
		if err != nil {
			t.Fatal(err)
		}
		found := make(map[netip.Addr]address)
		for _, a := range list {
			found[a.prefix.Addr()] = a
		}
		return found
	}
	first := read()
	a4, a6 := first[netip.MustParsePrefix(vip4).Addr()], first[netip.MustParsePrefix(vip6).Addr()]
	if a4.label != "eth0:hw" || a4.scope != unix.RT_SCOPE_HOST || a4.flags&unix.IFA_F_DEPRECATED == 0 {
		t.Errorf("IPv4: %+v", a4)
	}
	if a6.flags&unix.IFA_F_NODAD == 0 || a6.flags&unix.IFA_F_DEPRECATED == 0 || a6.flags&unix.IFA_F_TENTATIVE != 0 {
		t.Errorf("IPv6: %+v", a6)
	}
	time.Sleep(50 * time.Millisecond)
	if err := m.Renew(t.Context(), 30*time.Second); err != nil {
		t.Fatal(err)
	}
	for ip, was := range first {
		if is := read()[ip]; is.created != was.created {
			t.Errorf("%s: a renewal changed the creation stamp", ip)
		}
	}
	if err := m.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	mustClaim(t, m, 30*time.Second)
	for ip, was := range first {
		if is := read()[ip]; is.created == was.created {
			t.Errorf("%s: a new address has the old creation stamp", ip)
		}
	}
}

func TestParseGarbage(t *testing.T) {
	for n := range unix.SizeofIfAddrmsg + 8 {
		if _, err := parseAddress(make([]byte, n)); err == nil {
			t.Errorf("an address message of %d zero bytes was accepted", n)
		}
	}
	for n := range diagMessageLen {
		if _, err := parseSocket(make([]byte, n)); err == nil {
			t.Errorf("a socket message of %d bytes was accepted", n)
		}
	}
}
