// SPDX-License-Identifier: Apache-2.0

package vrrpnet

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"highwater/election/vrrp"
	"highwater/election/vrrpnet/netnstest"
)

// cable is the name of the interface on both hosts.
const cable = "vrrp0"

// namespaces is two network namespaces joined by a virtual cable.
type namespaces struct {
	hosts [2]*netnstest.Host
	addrs [2]map[Family]netip.Addr
	macs  [2][]byte
	tap   int // packet socket of host 1, which sees and sends raw packets
}

func newReal(t *testing.T) network {
	t.Helper()
	return newNamespaces(t)
}

func newNamespaces(t *testing.T) *namespaces {
	t.Helper()
	r := &namespaces{tap: -1}
	for i := range r.hosts {
		r.hosts[i] = netnstest.NewHost(t)
	}
	netnstest.Connect(t, r.hosts[0], cable, r.hosts[1], cable)
	for i, h := range r.hosts {
		h.AddAddress(t, cable, []string{"10.9.0.1/24", "10.9.0.2/24"}[i])
		r.addrs[i] = map[Family]netip.Addr{IPv4: ips("10.9.0.1", "10.9.0.2")[i]}
		eventually(t, "a link-local address", func() bool {
			for _, ip := range h.Addresses(t, cable) {
				if ip.IsLinkLocalUnicast() {
					r.addrs[i][IPv6] = ip
				}
			}
			return r.addrs[i][IPv6].IsValid()
		})
		h.OnLink(t, cable, func(l netlink.Link) error {
			r.macs[i] = l.Attrs().HardwareAddr
			return nil
		})
	}
	r.hosts[1].OnLink(t, cable, func(l netlink.Link) error {
		const all = unix.ETH_P_ALL>>8 | unix.ETH_P_ALL&0xff<<8 // network byte order
		var err error
		if r.tap, err = unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, all); err != nil {
			return err
		}
		t.Cleanup(func() { unix.Close(r.tap) })
		return errors.Join(
			unix.Bind(r.tap, &unix.SockaddrLinklayer{Protocol: all, Ifindex: l.Attrs().Index}),
			unix.SetsockoptTimeval(r.tap, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: int64(patience / time.Second)}),
		)
	})
	return r
}

func (r *namespaces) address(host int, f Family) netip.Addr { return r.addrs[host][f] }

func (r *namespaces) open(t *testing.T, host int, c Config) (conn Conn, err error) {
	if c.Interface == "" {
		c.Interface = cable
	}
	err = r.hosts[host].Do(func() error {
		var err error
		conn, err = Listen(t.Context(), c)
		return err
	})
	return conn, err
}

func (r *namespaces) listen(t *testing.T, host int, c Config) Conn {
	t.Helper()
	conn, err := r.open(t, host, c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

func (r *namespaces) inject(t *testing.T, d datagram) {
	t.Helper()
	to := &unix.SockaddrLinklayer{Halen: 6}
	var packet []byte
	if d.source.Is4() {
		to.Protocol, packet = unix.ETH_P_IP, header4(d)
	} else {
		to.Protocol, packet = unix.ETH_P_IPV6, header6(d)
	}
	to.Protocol = to.Protocol>>8 | to.Protocol<<8
	switch last := d.destination.AsSlice(); {
	case !d.destination.IsMulticast():
		copy(to.Addr[:], r.macs[0])
	case d.destination.Is4():
		copy(to.Addr[:], []byte{0x01, 0x00, 0x5e, last[1] & 0x7f, last[2], last[3]})
	default:
		copy(to.Addr[:], append([]byte{0x33, 0x33}, last[12:]...))
	}
	r.hosts[1].OnLink(t, cable, func(l netlink.Link) error {
		to.Ifindex = l.Attrs().Index
		return unix.Sendto(r.tap, append(packet, d.payload...), 0, to)
	})
}

func header4(d datagram) []byte {
	h := []byte{0x45, 0xc0, 0, 0, 0, 1, 0, 0, byte(d.ttl), vrrp.Protocol, 0, 0}
	h = append(append(h, d.source.AsSlice()...), d.destination.AsSlice()...)
	binary.BigEndian.PutUint16(h[2:], uint16(len(h)+len(d.payload)))
	var acc uint32
	for i := 0; i < len(h); i += 2 {
		acc += uint32(binary.BigEndian.Uint16(h[i:]))
	}
	for acc > 0xffff {
		acc = acc>>16 + acc&0xffff
	}
	binary.BigEndian.PutUint16(h[10:], ^uint16(acc))
	return h
}

func header6(d datagram) []byte {
	h := []byte{0x6c, 0, 0, 0, 0, 0, vrrp.Protocol, byte(d.ttl)}
	h = append(append(h, d.source.AsSlice()...), d.destination.AsSlice()...)
	binary.BigEndian.PutUint16(h[4:], uint16(len(d.payload)))
	return h
}

// capture returns the next VRRP packet that arrives at host 1, from its IP
// header on.
func (r *namespaces) capture(t *testing.T) []byte {
	t.Helper()
	b := make([]byte, 2048)
	for {
		n, from, err := unix.Recvfrom(r.tap, b, 0)
		if err != nil {
			t.Fatalf("capture: %v", err)
		}
		if from.(*unix.SockaddrLinklayer).Pkttype == unix.PACKET_OUTGOING {
			continue
		}
		if b[0]>>4 == 4 && b[9] == vrrp.Protocol || b[0]>>4 == 6 && b[6] == vrrp.Protocol {
			return b[:n]
		}
	}
}

// TestWire compares what is on the wire, IP header included, with packets of
// keepalived 2.2.7 from the same addresses.
func TestWire(t *testing.T) {
	r := newNamespaces(t)
	r.hosts[0].AddAddress(t, cable, "10.77.0.1/24")
	r.hosts[0].AddAddress(t, cable, "fd77::1/64")
	// A route, so that the unicast packets leave; who has the addresses does not matter.
	r.hosts[1].AddAddress(t, cable, "10.77.0.2/24")
	r.hosts[1].AddAddress(t, cable, "fd77::2/64")
	tests := []struct {
		name string
		cfg  Config
		adv  *vrrp.Advertisement
		want string // a question mark matches every digit: IP id, flow label
	}{
		{
			"v2",
			Config{Family: IPv4, VRID: 51, Version: vrrp.V2, Source: netip.MustParseAddr("10.77.0.1")},
			advert(0, 0, 150, time.Second, "10.77.0.100"),
			"45c00028 ????0000 ff70???? 0a4d0001 e0000012 2133960100013e19 0a4d0064 0000000000000000",
		},
		{
			"v3",
			Config{Family: IPv4, VRID: 51, Version: vrrp.V3, Source: netip.MustParseAddr("10.77.0.1")},
			advert(0, 0, 150, 250*time.Millisecond, "10.77.0.100"),
			"45c00020 ????0000 ff70???? 0a4d0001 e0000012 3133960100194324 0a4d0064",
		},
		{
			"v3 unicast",
			Config{Family: IPv4, VRID: 51, Version: vrrp.V3, Source: netip.MustParseAddr("10.77.0.1"), Peers: ips("10.77.0.2")},
			advert(0, 0, 150, 250*time.Millisecond, "10.77.0.100"),
			"45c00020 ????0000 ff70???? 0a4d0001 0a4d0002 31339601001918e8 0a4d0064",
		},
		{
			"IPv6 unicast",
			Config{Family: IPv6, VRID: 51, Version: vrrp.V3, Source: netip.MustParseAddr("fd77::1"), Peers: ips("fd77::2")},
			advert(0, 0, 150, 250*time.Millisecond, "fd77::100"),
			"6c0????? 001870ff fd770000000000000000000000000001 fd770000000000000000000000000002 3133960100193ebf fd770000000000000000000000000100",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if err := r.listen(t, 0, tt.cfg).Send(tt.adv); err != nil {
				t.Fatal(err)
			}
			got, want := hex.EncodeToString(r.capture(t)), strings.ReplaceAll(tt.want, " ", "")
			masked := []byte(got)
			for i := range masked {
				if i < len(want) && want[i] == '?' {
					masked[i] = '?'
				}
			}
			if string(masked) != want {
				t.Errorf("on the wire\n%s, want\n%s", got, want)
			}
		})
	}
	t.Run("IPv6 multicast", func(t *testing.T) {
		c := r.listen(t, 0, Config{Family: IPv6, VRID: 51, Version: vrrp.V3})
		if err := c.Send(advert(0, 0, 150, 250*time.Millisecond, "fe80::100")); err != nil {
			t.Fatal(err)
		}
		got := r.capture(t)
		src, dst := netip.AddrFrom16([16]byte(got[8:])), netip.AddrFrom16([16]byte(got[24:]))
		if got[0] != 0x6c || got[1]&0xf0 != 0 || got[7] != 255 || src != c.Source() || dst != vrrp.GroupIPv6() || !src.IsLinkLocalUnicast() {
			t.Errorf("header %x", got[:40])
		}
		var a vrrp.Advertisement
		if _, err := a.Parse(got[40:], src, dst); err != nil {
			t.Errorf("parse %x: %v", got[40:], err)
		}
	})
}

// TestLinkFlap sets the link down and up again: the Conn goes on by itself.
func TestLinkFlap(t *testing.T) {
	r := newNamespaces(t)
	for _, f := range []Family{IPv4, IPv6} {
		address := "10.9.0.100"
		if f == IPv6 {
			address = "fe80::100"
		}
		cfg := Config{Family: f, VRID: 51, Version: vrrp.V3}
		a, b := r.listen(t, 0, cfg), r.listen(t, 1, cfg)
		received := packets(t, a)
		r.hosts[0].SetUp(t, cable, false)
		if err := a.Send(advert(0, 0, 1, time.Second, address)); err == nil {
			t.Errorf("IPv%d: sent while the link was down", f)
		}
		if got := a.Counters(); got.SendFailed != 1 {
			t.Errorf("IPv%d: counters %+v", f, got)
		}
		r.hosts[0].SetUp(t, cable, true)
		// The carrier, and over IPv6 the address, need a moment.
		eventually(t, "an advertisement after the flap", func() bool {
			if err := b.Send(advert(0, 0, 2, time.Second, address)); err != nil {
				return false
			}
			select {
			case p := <-received:
				return p.Advertisement.Priority == 2
			case <-time.After(50 * time.Millisecond):
				return false
			}
		})
		eventually(t, "sending after the flap", func() bool { return a.Send(advert(0, 0, 1, time.Second, address)) == nil })
		// The addresses of an interface that was down may have been renewed.
		if err := a.Rejoin(); err != nil {
			t.Errorf("IPv%d: rejoin: %v", f, err)
		}
	}
}

// TestRejoin replaces the source address.
func TestRejoin(t *testing.T) {
	r := newNamespaces(t)
	cfg := Config{Family: IPv4, VRID: 51, Version: vrrp.V3}
	a, b := r.listen(t, 0, cfg), r.listen(t, 1, cfg)
	atA, atB := packets(t, a), packets(t, b)
	r.hosts[0].DeleteAddress(t, cable, "10.9.0.1/24")
	if err := a.Rejoin(); !errors.Is(err, ErrNoSource) {
		t.Errorf("rejoin without an address: %v", err)
	}
	if err := a.Send(advert(0, 0, 1, time.Second, "10.9.0.100")); err == nil {
		t.Error("sent from an address that is gone")
	}
	r.hosts[0].AddAddress(t, cable, "10.9.0.9/24")
	if err := a.Rejoin(); err != nil {
		t.Fatal(err)
	}
	if got, want := a.Source(), netip.MustParseAddr("10.9.0.9"); got != want {
		t.Fatalf("source %v, want %v", got, want)
	}
	if err := a.Send(advert(0, 0, 1, time.Second, "10.9.0.100")); err != nil {
		t.Fatal(err)
	}
	if p := next(t, atB); p.Source != a.Source() {
		t.Errorf("received %+v", p)
	}
	if err := b.Send(advert(0, 0, 2, time.Second, "10.9.0.100")); err != nil {
		t.Fatal(err)
	}
	next(t, atA)
}

// TestInterfaceGone removes the interface, and puts another of the same name
// in its place.
func TestInterfaceGone(t *testing.T) {
	r := newNamespaces(t)
	cfg := Config{Family: IPv4, VRID: 51, Version: vrrp.V3}
	a := r.listen(t, 0, cfg)
	result := make(chan error)
	go func() { result <- a.Receive(new(Packet)) }()
	r.hosts[0].OnLink(t, cable, netlink.LinkDel)
	select {
	case err := <-result:
		if !errors.Is(err, ErrInterfaceGone) {
			t.Errorf("receive: %v", err)
		}
	case <-time.After(patience):
		t.Fatal("Receive does not notice")
	}
	if err := a.Send(advert(0, 0, 1, time.Second, "10.9.0.100")); !errors.Is(err, ErrInterfaceGone) {
		t.Errorf("send: %v", err)
	}
	if err := a.Rejoin(); !errors.Is(err, ErrInterfaceGone) {
		t.Errorf("rejoin: %v", err)
	}
	if _, err := r.open(t, 0, cfg); !errors.Is(err, ErrInterfaceGone) {
		t.Errorf("listen without the interface: %v", err)
	}

	netnstest.Connect(t, r.hosts[0], cable, r.hosts[1], cable)
	r.hosts[0].AddAddress(t, cable, "10.9.0.1/24")
	r.hosts[1].AddAddress(t, cable, "10.9.0.2/24")
	if err := a.Receive(new(Packet)); !errors.Is(err, ErrInterfaceGone) {
		t.Errorf("receive after the name came back: %v", err)
	}
	a.Close()
	received := packets(t, r.listen(t, 0, cfg))
	if err := r.listen(t, 1, cfg).Send(advert(0, 0, 1, time.Second, "10.9.0.100")); err != nil {
		t.Fatal(err)
	}
	next(t, received)
}

// TestSource has virtual addresses all over the interface.
func TestSource(t *testing.T) {
	r := newNamespaces(t)
	h := r.hosts[0]
	cfg := Config{Family: IPv4, VRID: 51, Version: vrrp.V3}
	if got := r.listen(t, 0, cfg).Source(); got != r.address(0, IPv4) {
		t.Errorf("source %v, want the only address", got)
	}
	// Now a virtual address comes first in the kernel's order.
	h.DeleteAddress(t, cable, "10.9.0.1/24")
	h.AddAddress(t, cable, "10.9.0.100/24")
	h.AddAddress(t, cable, "10.9.0.1/24") // secondary, as the subnet is taken
	h.AddAddress(t, cable, "10.8.0.1/24")
	cfg.Exclude = ips("10.9.0.100")
	if got, want := r.listen(t, 0, cfg).Source(), netip.MustParseAddr("10.8.0.1"); got != want {
		t.Errorf("source %v, want the primary address %v", got, want)
	}
	h.DeleteAddress(t, cable, "10.8.0.1/24")
	if got, want := r.listen(t, 0, cfg).Source(), netip.MustParseAddr("10.9.0.1"); got != want {
		t.Errorf("source %v, want the secondary address %v", got, want)
	}
	cfg.Exclude = append(cfg.Exclude, netip.MustParseAddr("10.9.0.1"))
	if _, err := r.open(t, 0, cfg); !errors.Is(err, ErrNoSource) {
		t.Errorf("only virtual addresses: %v", err)
	}
	cfg.Source = netip.MustParseAddr("10.9.0.1")
	if got := r.listen(t, 0, cfg).Source(); got != cfg.Source {
		t.Errorf("source %v, want the configured %v", got, cfg.Source)
	}
	cfg = Config{Family: IPv4, VRID: 51, Version: vrrp.V3, Peers: ips("10.9.0.2", "10.9.0.100")}
	if _, err := r.open(t, 0, cfg); err == nil || !strings.Contains(err.Error(), "own source") {
		t.Errorf("peer with our own address: %v", err)
	}

	h.AddAddress(t, cable, "fd77::1/64")
	h.AddAddress(t, cable, "fe80::100/64")
	own := r.address(0, IPv6)
	six := Config{Family: IPv6, VRID: 51, Version: vrrp.V3, Exclude: ips("fe80::100")}
	if got := r.listen(t, 0, six).Source(); got != own {
		t.Errorf("source %v, want %v", got, own)
	}
	six.Exclude = []netip.Addr{own}
	if got := r.listen(t, 0, six).Source(); got != netip.MustParseAddr("fe80::100") {
		t.Errorf("source %v, want the link-local address not excluded", got)
	}
	if !slices.Contains(h.Addresses(t, cable), netip.MustParseAddr("fd77::1")) {
		t.Error("the global address was not there to be chosen")
	}

	// Duplicate address detection that takes minutes.
	h.OnLink(t, cable, func(l netlink.Link) error {
		conf := "/proc/sys/net/ipv6/conf/" + cable
		return errors.Join(
			os.WriteFile(conf+"/accept_dad", []byte("1"), 0o644),
			os.WriteFile(conf+"/dad_transmits", []byte("100"), 0o644),
			netlink.AddrAdd(l, &netlink.Addr{IPNet: netlink.NewIPNet(net.ParseIP("fe80::200"))}),
		)
	})
	if got := r.listen(t, 0, six).Source(); got != netip.MustParseAddr("fe80::100") {
		t.Errorf("source %v, want the one that is not tentative", got)
	}
	six.Exclude = append(six.Exclude, netip.MustParseAddr("fe80::100"))
	if got := r.listen(t, 0, six).Source(); got != netip.MustParseAddr("fe80::200") {
		t.Errorf("source %v, want the tentative one for want of others", got)
	}
}

// TestOtherInterface has two cables between the hosts: what comes in by the
// other one is not received.
func TestOtherInterface(t *testing.T) {
	r := newNamespaces(t)
	netnstest.Connect(t, r.hosts[0], "other0", r.hosts[1], "other0")
	r.hosts[0].AddAddress(t, "other0", "10.10.0.1/24")
	r.hosts[1].AddAddress(t, "other0", "10.10.0.2/24")
	cfg := Config{Family: IPv4, VRID: 51, Version: vrrp.V3}
	a, b := r.listen(t, 0, cfg), r.listen(t, 1, cfg)
	cfg.Interface = "other0"
	otherA, otherB := r.listen(t, 0, cfg), r.listen(t, 1, cfg)
	atA, atOther := packets(t, a), packets(t, otherA)
	if err := otherB.Send(advert(0, 0, 2, time.Second, "10.9.0.100")); err != nil {
		t.Fatal(err)
	}
	if p := next(t, atOther); p.Advertisement.Priority != 2 {
		t.Errorf("received %+v", p)
	}
	if err := b.Send(advert(0, 0, 1, time.Second, "10.9.0.100")); err != nil {
		t.Fatal(err)
	}
	if p := next(t, atA); p.Advertisement.Priority != 1 {
		t.Errorf("received %+v", p)
	}
	// A packet to one of the host's addresses needs no membership: any raw socket
	// that is not bound to an interface would see it.
	cfg.Peers = ips("10.10.0.1")
	if err := r.listen(t, 1, cfg).Send(advert(0, 0, 3, time.Second, "10.9.0.100")); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the packet at the socket bound to its interface", func() bool {
		got := otherA.Counters()
		return got.Dropped[vrrp.ReasonDestination] == 1
	})
	if err := b.Send(advert(0, 0, 1, time.Second, "10.9.0.100")); err != nil {
		t.Fatal(err)
	}
	next(t, atA)
	if got := a.Counters(); got != (Counters{Accepted: 2}) {
		t.Errorf("counters %+v", got)
	}
}

// TestSendDenied has a firewall refuse outgoing packets: the sender learns it.
func TestSendDenied(t *testing.T) {
	nft, err := exec.LookPath("nft")
	if err != nil {
		if os.Getenv("HIGHWATER_REQUIRE_LAB") == "1" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	r := newNamespaces(t)
	c := r.listen(t, 0, Config{Family: IPv4, VRID: 51, Version: vrrp.V3})
	r.hosts[0].MustDo(t, func() error {
		rules := exec.Command(nft, "-f", "-")
		rules.Stdin = strings.NewReader("table ip t { chain out { type filter hook output priority 0; ip protocol 112 drop; }; }\n")
		out, err := rules.CombinedOutput()
		if err != nil {
			return fmt.Errorf("nft: %w: %s", err, out)
		}
		return nil
	})
	if err := c.Send(advert(0, 0, 1, time.Second, "10.9.0.100")); !errors.Is(err, unix.EPERM) {
		t.Errorf("send: %v", err)
	}
	if got := c.Counters(); got != (Counters{SendDenied: 1}) {
		t.Errorf("counters %+v", got)
	}
}
