// SPDX-License-Identifier: Apache-2.0

package vrrp

import (
	"encoding/binary"
	"net/netip"
	"strings"
	"testing"
	"time"
)

var (
	src4 = netip.MustParseAddr("10.77.0.1")
	dst4 = netip.MustParseAddr("224.0.0.18")
	src6 = netip.MustParseAddr("fe80::ff:fe00:1")
	dst6 = netip.MustParseAddr("ff02::12")
)

// seal sets the checksum of message b, whatever else is wrong with it.
func seal(b []byte, src, dst netip.Addr) []byte {
	b[6], b[7] = 0, 0
	binary.BigEndian.PutUint16(b[6:], checksum(b, Version(b[0]>>4), src, dst, ChecksumPseudoHeader))
	return b
}

func TestParseReasons(t *testing.T) {
	const (
		v2   = "21339601 00010000 0a4d0064 0000000000000000"
		v3   = "31339601 00190000 0a4d0064"
		v3in = "31339601 00190000 fd770000000000000000000000000100"
	)
	tests := []struct {
		name     string
		wire     string // sealed before use unless damaged
		damaged  bool
		src, dst netip.Addr
		want     Reason
	}{
		{name: "empty", damaged: true, want: ReasonTruncated},
		{name: "seven octets", wire: "31339601 001900", damaged: true, want: ReasonTruncated},
		{name: "version 1", wire: strings.Replace(v3, "31", "11", 1), want: ReasonVersion},
		{name: "version 4", wire: strings.Replace(v3, "31", "41", 1), want: ReasonVersion},
		{name: "version 2 over IPv6", wire: "21339601 00010000 fd770000000000000000000000000100 0000000000000000", src: src6, dst: dst6, want: ReasonVersion},
		{name: "type 0", wire: strings.Replace(v3, "31", "30", 1), want: ReasonType},
		{name: "type 2", wire: strings.Replace(v3, "31", "32", 1), want: ReasonType},
		{name: "count beyond the data", wire: "31339602 00190000 0a4d0064", want: ReasonTruncated},
		{name: "v2 without authentication data", wire: "21339601 00010000 0a4d0064", want: ReasonTruncated},
		{name: "IPv4 address over IPv6", wire: v3, src: src6, dst: dst6, want: ReasonTruncated},
		{name: "IPv6 address over IPv4", wire: v3in, want: ReasonLength},
		{name: "two octets too many", wire: v3 + "0000", want: ReasonLength},
		{name: "fourteen octets too many", wire: v3 + strings.Repeat("00", 14), want: ReasonLength},
		{name: "auth_hmac trailer of keepalived", wire: v3 + strings.Repeat("00", 28), want: ReasonLength},
		{name: "count below the data", wire: "31339600 00190000 0a4d0064", want: ReasonLength},
		{name: "no checksum", wire: v3, damaged: true, want: ReasonChecksum},
		{name: "no checksum over IPv6", wire: v3in, src: src6, dst: dst6, damaged: true, want: ReasonChecksum},
		{name: "v2 checksum without authentication data", wire: "21339601 01013d19 0a4d0064 7333637265740000", damaged: true, want: ReasonChecksum},
		{name: "v2 checksum with pseudo-header", wire: "21339601 00015334 0a4d0064 0000000000000000", damaged: true, want: ReasonChecksum},
		{name: "VRID 0", wire: "31009601 00190000 0a4d0064", want: ReasonVRID},
		{name: "v3 interval 0", wire: "31339601 00000000 0a4d0064", want: ReasonIntervalZero},
		{name: "v3 interval 0, reserved bits set", wire: "31339601 f0000000 0a4d0064", want: ReasonIntervalZero},
		{name: "v2 interval 0", wire: "21339601 00000000 0a4d0064 0000000000000000", want: ReasonIntervalZero},
		{name: "v3 without addresses", wire: "31339600 00190000", want: ReasonNoAddresses},
		{name: "v3 IPv6 without addresses", wire: "31339600 00190000", src: src6, dst: dst6, want: ReasonNoAddresses},
		{name: "IP authentication header", wire: strings.Replace(v2, "0001", "0201", 1), want: ReasonAuthType},
		{name: "unknown authentication", wire: strings.Replace(v2, "0001", "ff01", 1), want: ReasonAuthType},
		{name: "two families", wire: v3, damaged: true, dst: dst6, want: ReasonAddressFamily},
		{name: "IPv4 mapped", wire: v3, damaged: true, src: netip.MustParseAddr("::ffff:10.77.0.1"), want: ReasonAddressFamily},
	}
	seen := make(map[Reason]bool)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if !tt.src.IsValid() {
				tt.src = src4
			}
			if !tt.dst.IsValid() {
				tt.dst = dst4
			}
			b := unhex(t, tt.wire)
			if !tt.damaged {
				seal(b, tt.src, tt.dst)
			}
			before := with(Advertisement{Version: V3, VRID: 7, Priority: 1, Interval: time.Second}, "192.0.2.1", "192.0.2.2")
			a := before.Clone()
			if _, err := a.Parse(b, tt.src, tt.dst); err != tt.want {
				t.Errorf("got %v, want %v", err, tt.want)
			}
			if !a.Equal(&before) {
				t.Errorf("a refused message changed the advertisement to %+v", a)
			}
		})
		seen[tt.want] = true
	}
	for r := ReasonAddressFamily; r <= ReasonAuthType; r++ {
		if !seen[r] {
			t.Errorf("no case for %v", r)
		}
	}
}

// TestParseAccepts holds what must not be dropped.
func TestParseAccepts(t *testing.T) {
	tests := []struct {
		name     string
		wire     string
		src, dst netip.Addr
		want     Advertisement
	}{
		{
			name: "reserved bits of v3", wire: "31339601 f0190000 0a4d0064", src: src4, dst: dst4,
			want: with(Advertisement{Version: V3, VRID: 51, Priority: 150, Interval: 250 * time.Millisecond}, "10.77.0.100"),
		},
		{
			name: "longest interval of v3", wire: "31339601 0fff0000 0a4d0064", src: src4, dst: dst4,
			want: with(Advertisement{Version: V3, VRID: 51, Priority: 150, Interval: 40950 * time.Millisecond}, "10.77.0.100"),
		},
		{
			name: "longest interval of v2", wire: "21339601 00ff0000 0a4d0064 0000000000000000", src: src4, dst: dst4,
			want: with(Advertisement{Version: V2, VRID: 51, Priority: 150, Interval: 255 * time.Second}, "10.77.0.100"),
		},
		{
			name: "authentication data without authentication is ignored", wire: "21339601 00010000 0a4d0064 6a756e6b6a756e6b", src: src4, dst: dst4,
			want: with(Advertisement{Version: V2, VRID: 51, Priority: 150, Interval: time.Second}, "10.77.0.100"),
		},
		{
			name: "v2 without addresses", wire: "21339600 00010000 0000000000000000", src: src4, dst: dst4,
			want: with(Advertisement{Version: V2, VRID: 51, Priority: 150, Interval: time.Second}),
		},
		{
			name: "global address first over IPv6", wire: "31ffff01 00640000 fd770000000000000000000000000100", src: src6, dst: dst6,
			want: with(Advertisement{Version: V3, VRID: 255, Priority: 255, Interval: time.Second}, "fd77::100"),
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var a Advertisement
			if _, err := a.Parse(seal(unhex(t, tt.wire), tt.src, tt.dst), tt.src, tt.dst); err != nil {
				t.Fatal(err)
			}
			if !a.Equal(&tt.want) {
				t.Errorf("got %+v, want %+v", a, tt.want)
			}
		})
	}
}

func TestLinkLocalFirst(t *testing.T) {
	for list, want := range map[string]bool{"": false, "fe80::1": true, "fe80::1 fd77::1": true, "fd77::1 fe80::1": false} {
		a := with(Advertisement{}, strings.Fields(list)...)
		if got := a.LinkLocalFirst(); got != want {
			t.Errorf("%q: %v", list, got)
		}
	}
}

// TestEveryBitCounts flips each bit of each golden message: the checksum must
// notice, or an earlier check.
func TestEveryBitCounts(t *testing.T) {
	for _, tt := range golden {
		src, dst, wire := netip.MustParseAddr(tt.src), netip.MustParseAddr(tt.dst), unhex(t, tt.wire)
		for i := range len(wire) * 8 {
			wire[i/8] ^= 1 << (i % 8)
			var a Advertisement
			if _, err := a.Parse(wire, src, dst); err == nil {
				t.Errorf("%s: accepted with bit %d of octet %d flipped", tt.name, i%8, i/8)
			}
			wire[i/8] ^= 1 << (i % 8)
		}
	}
}

func TestParseKeepsNoReference(t *testing.T) {
	b := unhex(t, golden[0].wire)
	var a Advertisement
	if _, err := a.Parse(b, src4, dst4); err != nil {
		t.Fatal(err)
	}
	clear(b)
	if !a.Equal(&golden[0].adv) {
		t.Errorf("changed with its input: %+v", a)
	}
}

func TestParseDoesNotAllocate(t *testing.T) {
	for _, tt := range golden {
		src, dst, wire := netip.MustParseAddr(tt.src), netip.MustParseAddr(tt.dst), unhex(t, tt.wire)
		bad := append([]byte(nil), wire...)
		bad[6] ^= 1
		var a Advertisement
		a.SetAddresses(make([]netip.Addr, 2))
		if n := testing.AllocsPerRun(100, func() {
			if _, err := a.Parse(wire, src, dst); err != nil {
				t.Fatal(err)
			}
			if _, err := a.Parse(bad, src, dst); err != ReasonChecksum {
				t.Fatal(err)
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations", tt.name, n)
		}
	}
}

func BenchmarkParse(b *testing.B) {
	for _, tt := range golden {
		if strings.Contains(tt.name, "priority 0") {
			continue
		}
		b.Run(strings.ReplaceAll(tt.name, " ", "_"), func(b *testing.B) {
			src, dst, wire := netip.MustParseAddr(tt.src), netip.MustParseAddr(tt.dst), unhex(b, tt.wire)
			var a Advertisement
			b.ReportAllocs()
			b.SetBytes(int64(len(wire)))
			for b.Loop() {
				if _, err := a.Parse(wire, src, dst); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkAppendTo(b *testing.B) {
	a, buf := golden[5].adv, make([]byte, 0, 64)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := a.AppendTo(buf, src4, dst4, ChecksumPseudoHeader); err != nil {
			b.Fatal(err)
		}
	}
}
