// SPDX-License-Identifier: Apache-2.0

package vrrpnet

import (
	"errors"
	"net"
	"net/netip"
	"testing"
	"time"

	"highwater/election/vrrp"
)

// A network has two hosts, 0 and 1. The tests of this file run on both kinds:
// a LAN in memory, and two network namespaces joined by a virtual cable.
type network interface {
	// address returns the address of a host from which it sends.
	address(host int, f Family) netip.Addr
	// listen opens a Conn on a host, which ends with the test.
	listen(t *testing.T, host int, c Config) Conn
	// inject makes host 1 put a packet on the wire that no Conn would send. The
	// index of the interface is of no concern.
	inject(t *testing.T, d datagram)
}

func TestTwin(t *testing.T) {
	bodies := []struct {
		name string
		body func(t *testing.T, n network)
	}{
		{"exchange", testExchange},
		{"drops", testDrops},
		{"own packets do not come back", testNoLoop},
		{"close", testClose},
		{"refused advertisement", testRefused},
		{"several peers", testSeveralPeers},
		{"unicast hears no group", testUnicastHearsNoGroup},
	}
	networks := []struct {
		name string
		make func(t *testing.T) network
	}{
		{"simulated", newSimulated},
		{"real", newReal},
	}
	for _, n := range networks {
		t.Run(n.name, func(t *testing.T) {
			for _, b := range bodies {
				t.Run(b.name, func(t *testing.T) { b.body(t, n.make(t)) })
			}
		})
	}
}

// patience bounds waits that end long before, unless something is broken.
const patience = 20 * time.Second

// packets makes one goroutine receive from c until the test ends.
func packets(t *testing.T, c Conn) <-chan Packet {
	out, done := make(chan Packet), make(chan struct{})
	ended := make(chan struct{})
	t.Cleanup(func() {
		c.Close()
		close(done)
		<-ended
	})
	go func() {
		defer close(ended)
		for {
			var p Packet
			if err := c.Receive(&p); err != nil {
				if !errors.Is(err, net.ErrClosed) {
					t.Errorf("receive: %v", err)
				}
				return
			}
			select {
			case out <- p:
			case <-done:
				return
			}
		}
	}()
	return out
}

func next(t *testing.T, c <-chan Packet) Packet {
	t.Helper()
	select {
	case p := <-c:
		return p
	case <-time.After(patience):
		t.Fatal("nothing received")
		return Packet{}
	}
}

// eventually waits until f is true.
func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !f(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
	}
}

// kinds are the kinds of virtual router, as seen by a host whose peer has the
// given address.
var kinds = []struct {
	name   string
	config func(peer netip.Addr) Config
	v6     bool
}{
	{name: "v3 multicast", config: func(netip.Addr) Config { return Config{Family: IPv4, VRID: 51, Version: vrrp.V3} }},
	{name: "v3 multicast RFC 9568", config: func(netip.Addr) Config {
		return Config{Family: IPv4, VRID: 51, Version: vrrp.V3, Checksum: vrrp.ChecksumRFC9568}
	}},
	{name: "v3 multicast from accepted source", config: func(peer netip.Addr) Config {
		return Config{Family: IPv4, VRID: 51, Version: vrrp.V3, AcceptFrom: []netip.Addr{peer}}
	}},
	{name: "v3 unicast", config: func(peer netip.Addr) Config {
		return Config{Family: IPv4, VRID: 51, Version: vrrp.V3, Peers: []netip.Addr{peer}}
	}},
	{name: "v2 multicast", config: func(netip.Addr) Config {
		return Config{Family: IPv4, VRID: 51, Version: vrrp.V2, Interval: time.Second}
	}},
	{name: "v2 unicast with password", config: func(peer netip.Addr) Config {
		return Config{Family: IPv4, VRID: 51, Version: vrrp.V2, Peers: []netip.Addr{peer}, AuthType: vrrp.AuthSimple, AuthData: [8]byte{'s', '3', 'c', 'r', 'e', 't'}}
	}},
	{name: "IPv6 multicast", v6: true, config: func(netip.Addr) Config { return Config{Family: IPv6, VRID: 51, Version: vrrp.V3} }},
	{name: "IPv6 unicast", v6: true, config: func(peer netip.Addr) Config {
		return Config{Family: IPv6, VRID: 51, Version: vrrp.V3, Peers: []netip.Addr{peer}}
	}},
}

func testExchange(t *testing.T, n network) {
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			family, list := IPv4, ips("10.9.0.100", "10.9.0.101")
			if k.v6 {
				family, list = IPv6, ips("fe80::100", "fd99::100")
			}
			addr := [2]netip.Addr{n.address(0, family), n.address(1, family)}
			conn := [2]Conn{n.listen(t, 0, k.config(addr[1])), n.listen(t, 1, k.config(addr[0]))}
			received := [2]<-chan Packet{packets(t, conn[0]), packets(t, conn[1])}
			for from, to := range []int{1, 0} {
				if got := conn[from].Source(); got != addr[from] {
					t.Fatalf("source %v, want %v", got, addr[from])
				}
				cfg := k.config(addr[to])
				sent := vrrp.Advertisement{Priority: uint8(100 + from), Interval: time.Second}
				sent.SetAddresses(list)
				before := boottime()
				if err := conn[from].Send(&sent); err != nil {
					t.Fatal(err)
				}
				p := next(t, received[to])

				want := sent.Clone()
				want.Version, want.VRID, want.AuthType, want.AuthData = cfg.Version, cfg.VRID, cfg.AuthType, cfg.AuthData
				destination := family.group()
				if cfg.unicast() {
					destination = addr[to]
				}
				if !p.Advertisement.Equal(&want) || p.Source != addr[from] || p.Destination != destination || p.Dialect != cfg.Checksum {
					t.Errorf("received %+v, sent %+v", p, want)
				}
				if p.Received < before || p.Received > boottime() {
					t.Errorf("received at %v, sent at %v", p.Received, before)
				}
				if sent.Version != 0 || sent.VRID != 0 {
					t.Errorf("Send changed its argument to %+v", sent)
				}
			}
			for host, c := range conn {
				want := Counters{Sent: 1, Accepted: 1}
				if k.config(addr[0]).Checksum == vrrp.ChecksumRFC9568 {
					want.AcceptedRFC9568 = 1
				}
				if got := c.Counters(); got != want {
					t.Errorf("host %d: counters %+v, want %+v", host, got, want)
				}
			}
		})
	}
}

// testDrops puts bad packets on the wire: each is counted under its reason and
// none is returned.
func testDrops(t *testing.T, n network) {
	for _, f := range []Family{IPv4, IPv6} {
		own, peer, stranger, address := n.address(0, f), n.address(1, f), netip.MustParseAddr("10.9.0.3"), "10.9.0.100"
		if f == IPv6 {
			stranger, address = netip.MustParseAddr("fe80::3"), "fe80::100"
		}
		c := n.listen(t, 0, Config{Family: f, VRID: 51, Version: vrrp.V3, AcceptFrom: []netip.Addr{peer}})
		received := packets(t, c)

		good := func(src, dst netip.Addr, vrid uint8) datagram {
			a := advert(vrrp.V3, vrid, 200, 100*time.Millisecond, address)
			return datagram{payload: message(t, a, src, dst, vrrp.ChecksumPseudoHeader), source: src, destination: dst, ttl: 255}
		}
		var want Counters
		bad := func(reason vrrp.Reason, d datagram) {
			n.inject(t, d)
			want.Dropped[reason]++
		}
		d := good(peer, f.group(), 51)
		d.ttl = 254
		bad(vrrp.ReasonTTL, d)
		d.ttl = 1
		bad(vrrp.ReasonTTL, d)
		bad(vrrp.ReasonOtherVRID, good(peer, f.group(), 52))
		bad(vrrp.ReasonSource, good(stranger, f.group(), 51))
		bad(vrrp.ReasonDestination, good(peer, own, 51))
		d = good(peer, f.group(), 51)
		d.payload[7] ^= 0x80
		bad(vrrp.ReasonChecksum, d)
		d = good(peer, f.group(), 51)
		d.payload = append(d.payload, make([]byte, 28)...)
		bad(vrrp.ReasonLength, d)
		d.payload = d.payload[:9]
		bad(vrrp.ReasonTruncated, d)
		d.payload = nil
		bad(vrrp.ReasonTruncated, d)
		d = good(peer, f.group(), 51)
		d.payload[0] = 0x32
		bad(vrrp.ReasonType, d)
		d.payload[0] = 0x41
		bad(vrrp.ReasonVersion, d)
		if f == IPv4 {
			d.payload = message(t, advert(vrrp.V2, 51, 200, time.Second, address), peer, f.group(), 0)
			bad(vrrp.ReasonOtherVersion, d)
		}

		// A faultless packet of the same making is accepted, so it was not the
		// making. A packet may overtake another on its way: hence the wait.
		n.inject(t, good(peer, f.group(), 51))
		want.Accepted++
		if p := next(t, received); p.Source != peer || p.Advertisement.Priority != 200 || p.Advertisement.VRID != 51 {
			t.Errorf("received %+v", p)
		}
		eventually(t, "all packets counted", func() bool {
			got := c.Counters()
			return got.DroppedTotal() >= want.DroppedTotal()
		})
		if got := c.Counters(); got != want {
			t.Errorf("counters\n%+v, want\n%+v", got, want)
		}
	}
}

// testNoLoop has two virtual routers' sockets on one host, as a sniffer beside
// a router would be: packets reach the other host only.
func testNoLoop(t *testing.T, n network) {
	for _, f := range []Family{IPv4, IPv6} {
		address := "10.9.0.100"
		if f == IPv6 {
			address = "fe80::100"
		}
		cfg := Config{Family: f, VRID: 51, Version: vrrp.V3}
		sender, other := n.listen(t, 0, cfg), n.listen(t, 1, cfg)
		own, theirs := packets(t, sender), packets(t, other)
		if err := sender.Send(advert(vrrp.V3, 51, 1, time.Second, address)); err != nil {
			t.Fatal(err)
		}
		next(t, theirs)
		if err := other.Send(advert(vrrp.V3, 51, 2, time.Second, address)); err != nil {
			t.Fatal(err)
		}
		if p := next(t, own); p.Advertisement.Priority != 2 {
			t.Errorf("received %+v, which this Conn sent", p)
		}
		if got := sender.Counters(); got != (Counters{Sent: 1, Accepted: 1}) {
			t.Errorf("counters %+v", got)
		}
	}
}

func testClose(t *testing.T, n network) {
	c := n.listen(t, 0, Config{Family: IPv4, VRID: 51, Version: vrrp.V3})
	result := make(chan error)
	go func() { result <- c.Receive(new(Packet)) }()
	time.Sleep(10 * time.Millisecond) // most likely it waits by now
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-result:
		if err != net.ErrClosed {
			t.Errorf("waiting Receive: %v", err)
		}
	case <-time.After(patience):
		t.Fatal("Receive still waits")
	}
	if err := c.Receive(new(Packet)); err != net.ErrClosed {
		t.Errorf("Receive: %v", err)
	}
	if err := c.Send(advert(vrrp.V3, 51, 1, time.Second, "10.9.0.100")); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Send: %v", err)
	}
	if err := c.Rejoin(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Rejoin: %v", err)
	}
	if err := c.Close(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("second Close: %v", err)
	}
}

func testRefused(t *testing.T, n network) {
	c := n.listen(t, 0, Config{Family: IPv4, VRID: 51, Version: vrrp.V3})
	if err := c.Send(advert(vrrp.V3, 51, 1, time.Millisecond, "10.9.0.100")); err == nil {
		t.Error("sent with an interval of 1 ms")
	}
	if got := c.Counters(); got != (Counters{SendFailed: 1}) {
		t.Errorf("counters %+v", got)
	}
}

// testSeveralPeers has a peer that does not exist: the other one gets its
// advertisement all the same.
func testSeveralPeers(t *testing.T, n network) {
	a, b := n.address(0, IPv4), n.address(1, IPv4)
	sender := n.listen(t, 0, Config{Family: IPv4, VRID: 51, Version: vrrp.V3, Peers: []netip.Addr{netip.MustParseAddr("10.9.0.77"), b}})
	received := packets(t, n.listen(t, 1, Config{Family: IPv4, VRID: 51, Version: vrrp.V3, Peers: []netip.Addr{a}}))
	if err := sender.Send(advert(vrrp.V3, 51, 1, time.Second, "10.9.0.100")); err != nil {
		t.Fatal(err)
	}
	if p := next(t, received); p.Source != a || p.Destination != b {
		t.Errorf("received %+v", p)
	}
	if got := sender.Counters(); got.Sent != 2 {
		t.Errorf("counters %+v", got)
	}
}

// testUnicastHearsNoGroup has a unicast router on a host where another socket
// has joined the group. What is sent to the group is dropped; over IPv4 it does
// not even reach the router, whereas over IPv6 the kernel passes it to every
// raw socket.
func testUnicastHearsNoGroup(t *testing.T, n network) {
	for _, f := range []Family{IPv4, IPv6} {
		address := "10.9.0.100"
		if f == IPv6 {
			address = "fe80::100"
		}
		a, b := n.address(0, f), n.address(1, f)
		multicast := Config{Family: f, VRID: 51, Version: vrrp.V3}
		unicast := func(peer netip.Addr) Config {
			return Config{Family: f, VRID: 51, Version: vrrp.V3, Peers: []netip.Addr{peer}}
		}
		member, router := n.listen(t, 0, multicast), n.listen(t, 0, unicast(b))
		atMember, atRouter := packets(t, member), packets(t, router)
		if err := n.listen(t, 1, multicast).Send(advert(vrrp.V3, 51, 1, time.Second, address)); err != nil {
			t.Fatal(err)
		}
		next(t, atMember)
		if err := n.listen(t, 1, unicast(a)).Send(advert(vrrp.V3, 51, 2, time.Second, address)); err != nil {
			t.Fatal(err)
		}
		if p := next(t, atRouter); p.Advertisement.Priority != 2 {
			t.Errorf("received %+v", p)
		}
		got := router.Counters()
		if f == IPv6 {
			got.Dropped[vrrp.ReasonDestination] = 0
		}
		if got != (Counters{Accepted: 1}) {
			t.Errorf("counters %+v", got)
		}
	}
}
