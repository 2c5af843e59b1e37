// SPDX-License-Identifier: Apache-2.0

package vrrpnet

import (
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"highwater/election/vrrp"
)

// simulated is a LAN with the address plan of the real network.
type simulated struct{ lan *LAN }

func newSimulated(*testing.T) network { return &simulated{NewLAN(nil)} }

func (s *simulated) address(host int, f Family) netip.Addr {
	if f == IPv4 {
		return ips("10.9.0.1", "10.9.0.2")[host]
	}
	return ips("fe80::1", "fe80::2")[host]
}

func (s *simulated) listen(t *testing.T, host int, c Config) Conn {
	t.Helper()
	conn, err := s.lan.Join(s.address(host, c.Family), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

func (s *simulated) inject(_ *testing.T, d datagram) {
	d.ifIndex = lanIndex
	d.payload = append([]byte(nil), d.payload...)
	s.lan.deliver(d, nil)
}

func TestLANRefuses(t *testing.T) {
	if _, err := NewLAN(nil).Join(netip.MustParseAddr("fe80::1"), Config{Family: IPv4, VRID: 1, Version: vrrp.V3}); err == nil {
		t.Error("an IPv6 source was accepted for IPv4")
	}
}

// TestLANLoss cuts one direction only.
func TestLANLoss(t *testing.T) {
	s := &simulated{NewLAN(nil)}
	cfg := Config{Family: IPv4, VRID: 51, Version: vrrp.V3}
	a, b := s.listen(t, 0, cfg), s.listen(t, 1, cfg)
	atA, atB := packets(t, a), packets(t, b)
	s.lan.SetLoss(func(from, to netip.Addr) bool { return from == a.Source() && to == b.Source() })
	for _, c := range []Conn{a, b} {
		if err := c.Send(advert(vrrp.V3, 51, 1, time.Second, "10.9.0.100")); err != nil {
			t.Fatal(err)
		}
	}
	next(t, atA)
	s.lan.SetLoss(nil)
	if err := a.Send(advert(vrrp.V3, 51, 2, time.Second, "10.9.0.100")); err != nil {
		t.Fatal(err)
	}
	if p := next(t, atB); p.Advertisement.Priority != 2 {
		t.Errorf("received %+v through the cut", p)
	}
	if got := b.Counters(); got.Accepted != 1 || got.DroppedTotal() != 0 {
		t.Errorf("counters %+v", got)
	}
}

// TestLANOverflow fills the queue of a Conn that does not receive.
func TestLANOverflow(t *testing.T) {
	s := &simulated{NewLAN(nil)}
	cfg := Config{Family: IPv4, VRID: 51, Version: vrrp.V3}
	a, b := s.listen(t, 0, cfg), s.listen(t, 1, cfg)
	for range lanQueue + 10 {
		if err := a.Send(advert(vrrp.V3, 51, 1, time.Second, "10.9.0.100")); err != nil {
			t.Fatal(err)
		}
	}
	received := packets(t, b)
	for range lanQueue {
		next(t, received)
	}
	if got := b.Counters().Accepted; got != lanQueue {
		t.Errorf("accepted %d, want %d", got, lanQueue)
	}
}

// TestLANClock runs a LAN in a bubble of fake time with a clock of its own: an
// hour passes in no time, and the stamps are those of the clock.
func TestLANClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		s := &simulated{NewLAN(func() time.Duration { return time.Since(start) })}
		cfg := Config{Family: IPv4, VRID: 51, Version: vrrp.V3}
		a, b := s.listen(t, 0, cfg), s.listen(t, 1, cfg)
		go func() {
			time.Sleep(time.Hour)
			if err := a.Send(advert(vrrp.V3, 51, 1, time.Second, "10.9.0.100")); err != nil {
				t.Error(err)
			}
		}()
		var p Packet
		if err := b.Receive(&p); err != nil || p.Received != time.Hour {
			t.Errorf("received at %v, error %v", p.Received, err)
		}
	})
}
