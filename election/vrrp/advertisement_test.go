// SPDX-License-Identifier: Apache-2.0

package vrrp

import (
	"bytes"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"
)

func TestAppendToRefuses(t *testing.T) {
	valid4 := with(Advertisement{Version: V3, VRID: 1, Priority: 100, Interval: time.Second}, "192.0.2.1")
	tests := []struct {
		name     string
		change   func(a *Advertisement)
		src, dst netip.Addr
		want     string
	}{
		{name: "version 0", change: func(a *Advertisement) { a.Version = 0 }, want: "version 0"},
		{name: "version 4", change: func(a *Advertisement) { a.Version = 4 }, want: "version 4"},
		{name: "v2 over IPv6", change: func(a *Advertisement) { a.Version = V2; a.SetAddresses(addrs("fe80::1")) }, src: src6, dst: dst6, want: "version 2 over IPv6"},
		{name: "VRID 0", change: func(a *Advertisement) { a.VRID = 0 }, want: "identifier 0"},
		{name: "v3 interval 0", change: func(a *Advertisement) { a.Interval = 0 }, want: "interval 0s"},
		{name: "v3 negative interval", change: func(a *Advertisement) { a.Interval = -10 * time.Millisecond }, want: "interval -10ms"},
		{name: "v3 below 10 ms", change: func(a *Advertisement) { a.Interval = 9 * time.Millisecond }, want: "interval 9ms"},
		{name: "v3 beyond 40.95 s", change: func(a *Advertisement) { a.Interval = 40960 * time.Millisecond }, want: "interval 40.96s"},
		{name: "v3 fraction of a centisecond", change: func(a *Advertisement) { a.Interval = 15 * time.Millisecond }, want: "multiple of 10ms"},
		{name: "v2 fraction of a second", change: func(a *Advertisement) { a.Version, a.Interval = V2, 400*time.Millisecond }, want: "interval 400ms"},
		{name: "v2 not whole seconds", change: func(a *Advertisement) { a.Version, a.Interval = V2, 1500*time.Millisecond }, want: "multiple of 1s"},
		{name: "v2 beyond 255 s", change: func(a *Advertisement) { a.Version, a.Interval = V2, 256*time.Second }, want: "interval 4m16s"},
		{name: "v3 without addresses", change: func(a *Advertisement) { a.SetAddresses(nil) }, want: "no_addresses"},
		{name: "256 addresses", change: func(a *Advertisement) { a.SetAddresses(make([]netip.Addr, 256)) }, want: "256 addresses"},
		{name: "invalid address", change: func(a *Advertisement) { a.SetAddresses(make([]netip.Addr, 1)) }, want: "address_family"},
		{name: "IPv6 address over IPv4", change: func(a *Advertisement) { a.SetAddresses(addrs("192.0.2.1", "fe80::1")) }, want: "address_family"},
		{name: "IPv4 mapped address over IPv4", change: func(a *Advertisement) { a.SetAddresses(addrs("::ffff:192.0.2.1")) }, want: "address_family"},
		{name: "IPv4 address over IPv6", change: func(*Advertisement) {}, src: src6, dst: dst6, want: "address_family"},
		{name: "two families", change: func(*Advertisement) {}, dst: dst6, want: "address_family"},
		{name: "no source", change: func(*Advertisement) {}, src: netip.Addr{}, want: "address_family"},
		{name: "authentication in v3", change: func(a *Advertisement) { a.AuthType = AuthSimple }, want: "authentication type 1 in version 3"},
		{name: "unknown authentication", change: func(a *Advertisement) { a.Version, a.AuthType = V2, 2 }, want: "authentication type 2"},
		{name: "data without authentication", change: func(a *Advertisement) { a.Version, a.AuthData = V2, [8]byte{1} }, want: "without authentication"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			src, dst := tt.src, tt.dst
			if tt.name != "no source" && !src.IsValid() {
				src = src4
			}
			if !dst.IsValid() {
				dst = dst4
			}
			a := valid4.Clone()
			tt.change(&a)
			b, err := a.AppendTo([]byte("x"), src, dst, ChecksumPseudoHeader)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want one with %q", err, tt.want)
			}
			if !bytes.Equal(b, []byte("x")) {
				t.Errorf("a refused advertisement left %x", b)
			}
		})
	}
}

func TestCheckIntervalBounds(t *testing.T) {
	for _, tt := range []struct {
		v Version
		d time.Duration
	}{{V2, time.Second}, {V2, 255 * time.Second}, {V3, 10 * time.Millisecond}, {V3, 40950 * time.Millisecond}} {
		if err := tt.v.CheckInterval(tt.d); err != nil {
			t.Errorf("version %d: %v", tt.v, err)
		}
	}
}

// TestMostAddresses fills the count, of one octet, to its end.
func TestMostAddresses(t *testing.T) {
	for _, tt := range []struct {
		first, src, dst netip.Addr
		size            int
	}{
		{netip.MustParseAddr("192.0.2.1"), src4, dst4, 8 + 255*4},
		{netip.MustParseAddr("fe80::1"), src6, dst6, 8 + 255*16},
	} {
		list := make([]netip.Addr, 255)
		for i, ip := 0, tt.first; i < len(list); i, ip = i+1, ip.Next() {
			list[i] = ip
		}
		a := Advertisement{Version: V3, VRID: 1, Priority: 1, Interval: 10 * time.Millisecond}
		a.SetAddresses(list)
		b, err := a.AppendTo(nil, tt.src, tt.dst, ChecksumPseudoHeader)
		if err != nil || len(b) != tt.size {
			t.Fatalf("%d octets, error %v; want %d", len(b), err, tt.size)
		}
		var got Advertisement
		if _, err := got.Parse(b, tt.src, tt.dst); err != nil || !got.Equal(&a) {
			t.Errorf("parsed %d addresses, error %v", got.NumAddresses(), err)
		}
	}
}

func TestCloneSharesNothing(t *testing.T) {
	a := with(Advertisement{}, "192.0.2.1")
	c := a.Clone()
	a.SetAddresses(addrs("192.0.2.9"))
	if got := c.Address(0).String(); got != "192.0.2.1" {
		t.Errorf("the clone has %s", got)
	}
}

func TestSetAddressesDropsZones(t *testing.T) {
	a := with(Advertisement{}, "fe80::1%eth0")
	if got := a.Address(0).String(); got != "fe80::1" {
		t.Errorf("got %s", got)
	}
}

func TestReasonWords(t *testing.T) {
	seen := make(map[string]Reason)
	for r := Reason(1); r < NumReasons; r++ {
		word := r.String()
		if other, ok := seen[word]; ok || word == "unknown" || strings.Trim(word, "abcdefghijklmnopqrstuvwxyz0123456789_") != "" {
			t.Errorf("reason %d has the word %q, which is taken by %d or no label", r, word, other)
		}
		seen[word] = r
		if r.Error() != word {
			t.Errorf("error text %q, word %q", r.Error(), word)
		}
	}
	var r Reason
	if _, err := new(Advertisement).Parse(nil, src4, dst4); !errors.As(err, &r) || r != ReasonTruncated {
		t.Errorf("got %v", err)
	}
}
