// SPDX-License-Identifier: Apache-2.0

package vip

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func prefixes(list ...string) []netip.Prefix {
	var p []netip.Prefix
	for _, s := range list {
		p = append(p, netip.MustParsePrefix(s))
	}
	return p
}

func TestConfig(t *testing.T) {
	many := make([]netip.Prefix, maxAddresses+1)
	for i := range many {
		many[i] = netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 77, 1, byte(i)}), 32)
	}
	for _, tt := range []struct {
		name string
		cfg  Config
		want string // part of the error; empty: none
	}{
		{"good", Config{Interface: "eth0", Addresses: prefixes(vip4, vip6, "10.77.0.101/24")}, ""},
		{"no interface", Config{Addresses: prefixes(vip4)}, `interface name ""`},
		{"path as interface", Config{Interface: "../x", Addresses: prefixes(vip4)}, `interface name "../x"`},
		{"no address", Config{Interface: "eth0"}, "no virtual address"},
		{"zero prefix", Config{Interface: "eth0", Addresses: make([]netip.Prefix, 1)}, "not a valid prefix"},
		{"twice", Config{Interface: "eth0", Addresses: prefixes(vip4, "10.77.0.100/24")}, "10.77.0.100 is given twice"},
		{"multicast", Config{Interface: "eth0", Addresses: prefixes("224.0.0.18/32")}, "224.0.0.18/32 cannot be"},
		{"loopback", Config{Interface: "eth0", Addresses: prefixes("::1/128")}, "::1/128 cannot be"},
		{"unspecified", Config{Interface: "eth0", Addresses: prefixes("0.0.0.0/0")}, "0.0.0.0/0 cannot be"},
		{"mapped", Config{Interface: "eth0", Addresses: prefixes("::ffff:10.77.0.100/128")}, "cannot be"},
		{"too many", Config{Interface: "eth0", Addresses: many}, "65 virtual addresses"},
		{"long label", Config{Interface: "eth0", Addresses: prefixes(vip4), Label: "sixteen-bytes:hw"}, "longer than 15"},
		{"scope", Config{Interface: "eth0", Addresses: prefixes(vip4), Scope: 9}, "scope 9"},
		{"burst", Config{Interface: "eth0", Addresses: prefixes(vip4), Announce: AnnounceConfig{Burst: -1}}, "negative"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := tt.cfg.withDefaults()
			switch {
			case tt.want == "" && err != nil:
				t.Error(err)
			case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
				t.Errorf("error %v, want %q", err, tt.want)
			}
			if tt.want == "" {
				return
			}
			if _, err := New(tt.cfg); err == nil {
				t.Error("New accepts it")
			}
		})
	}
}

func TestDefaultLabel(t *testing.T) {
	for ifname, want := range map[string]string{
		"eth0":            "eth0:hw",
		"bond0.1024":      "bond0.1024:hw",
		"enp0s31f6np0":    "enp0s31f6np0:hw",
		"enp0s31f6np0.12": "enp0s31f6np0:hw",
	} {
		if got := defaultLabel(ifname); got != want || len(got) > maxLabel {
			t.Errorf("defaultLabel(%q) = %q, want %q", ifname, got, want)
		}
	}
}

func TestScope(t *testing.T) {
	for _, tt := range []struct {
		scope  Scope
		prefix string
		want   uint8
	}{
		{ScopeAuto, "10.77.0.100/32", unix.RT_SCOPE_HOST},
		{ScopeAuto, "10.77.0.100/24", unix.RT_SCOPE_UNIVERSE},
		{ScopeGlobal, "10.77.0.100/32", unix.RT_SCOPE_UNIVERSE},
		{ScopeLink, "10.77.0.100/32", unix.RT_SCOPE_LINK},
		{ScopeHost, "10.77.0.100/24", unix.RT_SCOPE_HOST},
	} {
		if got := scopeOf(tt.scope, netip.MustParsePrefix(tt.prefix)); got != tt.want {
			t.Errorf("scopeOf(%d, %s) = %d, want %d", tt.scope, tt.prefix, got, tt.want)
		}
	}
}

func TestAnnounceSchedule(t *testing.T) {
	const ms = time.Millisecond
	for _, tt := range []struct {
		name string
		cfg  AnnounceConfig
		want []time.Duration
		ends bool
	}{
		{
			"default",
			AnnounceConfig{},
			[]time.Duration{
				0, 100 * ms, 1200 * ms, 2300 * ms, 3400 * ms,
				5000 * ms, 5100 * ms, 6200 * ms, 7300 * ms, 8400 * ms,
				68400 * ms, 128400 * ms,
			},
			false,
		},
		{
			"second burst put off",
			AnnounceConfig{Burst: 2, Interval: time.Second, Spacing: 2 * time.Second, SecondBurst: time.Second, Refresh: -1},
			[]time.Duration{0, 1000 * ms, 3000 * ms, 4000 * ms},
			true,
		},
		{
			"one burst and refresh",
			AnnounceConfig{Burst: 1, SecondBurst: -1, Refresh: time.Second},
			[]time.Duration{0, 1000 * ms, 2000 * ms},
			false,
		},
		{
			"one frame",
			AnnounceConfig{Burst: 1, SecondBurst: -1, Refresh: -1},
			[]time.Duration{0},
			true,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg := tt.cfg.withDefaults()
			for n, want := range tt.want {
				if got, ok := cfg.at(n); got != want || !ok {
					t.Errorf("frame %d at %s, %t, want %s", n, got, ok, want)
				}
			}
			if _, ok := cfg.at(len(tt.want)); ok == tt.ends {
				t.Errorf("frame %d: %t", len(tt.want), ok)
			}
		})
	}
}

func TestBootTime(t *testing.T) {
	before := bootTime()
	time.Sleep(time.Millisecond)
	if d := bootTime() - before; before <= 0 || d < time.Millisecond || d > time.Minute {
		t.Errorf("read %s, then %s more", before, d)
	}
}
