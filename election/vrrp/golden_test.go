// SPDX-License-Identifier: Apache-2.0

package vrrp

import (
	"bytes"
	"encoding/hex"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/ipv4"
)

// unhex decodes hexadecimal text in which blanks have no meaning.
func unhex(tb testing.TB, s string) []byte {
	tb.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

func addrs(list ...string) []netip.Addr {
	var out []netip.Addr
	for _, s := range list {
		out = append(out, netip.MustParseAddr(s))
	}
	return out
}

// with returns a with its addresses set.
func with(a Advertisement, list ...string) Advertisement {
	a.SetAddresses(addrs(list...))
	return a
}

// golden are messages that keepalived 2.2.7 put on the wire, and, where said,
// the same with the checksum of RFC 9568.
var golden = []struct {
	name     string
	src, dst string
	wire     string
	dialect  Checksum
	adv      Advertisement
}{
	{
		name: "v2 multicast", src: "10.77.0.1", dst: "224.0.0.18",
		wire: "21339601 00013e19 0a4d0064 0000000000000000",
		adv:  with(Advertisement{Version: V2, VRID: 51, Priority: 150, Interval: time.Second}, "10.77.0.100"),
	},
	{
		name: "v2 multicast, priority 0", src: "10.77.0.1", dst: "224.0.0.18",
		wire: "21330001 0001d419 0a4d0064 0000000000000000",
		adv:  with(Advertisement{Version: V2, VRID: 51, Interval: time.Second}, "10.77.0.100"),
	},
	{
		name: "v2 unicast", src: "10.77.0.1", dst: "10.77.0.2",
		wire: "21339601 00013e19 0a4d0064 0000000000000000",
		adv:  with(Advertisement{Version: V2, VRID: 51, Priority: 150, Interval: time.Second}, "10.77.0.100"),
	},
	{
		name: "v2 password", src: "10.77.0.1", dst: "224.0.0.18",
		wire: "21339601 010100ff 0a4d0064 7333637265740000",
		adv: with(Advertisement{
			Version: V2, VRID: 51, Priority: 150, Interval: time.Second,
			AuthType: AuthSimple, AuthData: [8]byte{'s', '3', 'c', 'r', 'e', 't'},
		}, "10.77.0.100"),
	},
	{
		name: "v2 password, priority 0", src: "10.77.0.1", dst: "224.0.0.18",
		wire: "21330001 010196ff 0a4d0064 7333637265740000",
		adv: with(Advertisement{
			Version: V2, VRID: 51, Interval: time.Second,
			AuthType: AuthSimple, AuthData: [8]byte{'s', '3', 'c', 'r', 'e', 't'},
		}, "10.77.0.100"),
	},
	{
		name: "v3 multicast", src: "10.77.0.1", dst: "224.0.0.18",
		wire: "31339601 00194324 0a4d0064",
		adv:  with(Advertisement{Version: V3, VRID: 51, Priority: 150, Interval: 250 * time.Millisecond}, "10.77.0.100"),
	},
	{
		name: "v3 multicast, priority 0", src: "10.77.0.1", dst: "224.0.0.18",
		wire: "31330001 0019d924 0a4d0064",
		adv:  with(Advertisement{Version: V3, VRID: 51, Interval: 250 * time.Millisecond}, "10.77.0.100"),
	},
	{
		name: "v3 multicast, checksum of RFC 9568", src: "10.77.0.1", dst: "224.0.0.18",
		wire: "31339601 00192e01 0a4d0064", dialect: ChecksumRFC9568,
		adv: with(Advertisement{Version: V3, VRID: 51, Priority: 150, Interval: 250 * time.Millisecond}, "10.77.0.100"),
	},
	{
		name: "v3 unicast", src: "10.77.0.1", dst: "10.77.0.2",
		wire: "31339601 001918e8 0a4d0064",
		adv:  with(Advertisement{Version: V3, VRID: 51, Priority: 150, Interval: 250 * time.Millisecond}, "10.77.0.100"),
	},
	{
		name: "v3 unicast, priority 0", src: "10.77.0.1", dst: "10.77.0.2",
		wire: "31330001 0019aee8 0a4d0064",
		adv:  with(Advertisement{Version: V3, VRID: 51, Interval: 250 * time.Millisecond}, "10.77.0.100"),
	},
	{
		name: "v3 IPv6 multicast", src: "fe80::ff:fe00:1", dst: "ff02::12",
		wire: "31339602 00193d89 fe800000000000000000000000000100 fd770000000000000000000000000100",
		adv:  with(Advertisement{Version: V3, VRID: 51, Priority: 150, Interval: 250 * time.Millisecond}, "fe80::100", "fd77::100"),
	},
	{
		name: "v3 IPv6 multicast, priority 0", src: "fe80::ff:fe00:1", dst: "ff02::12",
		wire: "31330002 0019d389 fe800000000000000000000000000100 fd770000000000000000000000000100",
		adv:  with(Advertisement{Version: V3, VRID: 51, Interval: 250 * time.Millisecond}, "fe80::100", "fd77::100"),
	},
	{
		name: "v3 IPv6 unicast", src: "fd77::1", dst: "fd77::2",
		wire: "31339601 00193ebf fd770000000000000000000000000100",
		adv:  with(Advertisement{Version: V3, VRID: 51, Priority: 150, Interval: 250 * time.Millisecond}, "fd77::100"),
	},
	{
		name: "v3 IPv6 unicast, priority 0", src: "fd77::1", dst: "fd77::2",
		wire: "31330001 0019d4bf fd770000000000000000000000000100",
		adv:  with(Advertisement{Version: V3, VRID: 51, Interval: 250 * time.Millisecond}, "fd77::100"),
	},
}

func TestGolden(t *testing.T) {
	for _, tt := range golden {
		t.Run(tt.name, func(t *testing.T) {
			src, dst, wire := netip.MustParseAddr(tt.src), netip.MustParseAddr(tt.dst), unhex(t, tt.wire)

			b, err := tt.adv.AppendTo([]byte("before"), src, dst, tt.dialect)
			if err != nil {
				t.Fatal(err)
			}
			if want := append([]byte("before"), wire...); !bytes.Equal(b, want) {
				t.Errorf("encoded\n  %x\nwant\n  %x", b, want)
			}

			var got Advertisement
			dialect, err := got.Parse(wire, src, dst)
			if err != nil {
				t.Fatal(err)
			}
			if dialect != tt.dialect || !got.Equal(&tt.adv) {
				t.Errorf("parsed %v %+v\nwant %v %+v", dialect, got, tt.dialect, tt.adv)
			}
		})
	}
}

// TestGoldenPacket takes the addresses from the IP header that keepalived
// sent, as a receiver does.
func TestGoldenPacket(t *testing.T) {
	for _, packet := range []string{
		"45c00028 00010000 ff70d044 0a4d0001 e0000012 2133960100013e19 0a4d0064 0000000000000000",
		"45c00020 00010000 ff70d04c 0a4d0001 e0000012 3133960100194324 0a4d0064",
	} {
		b := unhex(t, packet)
		h, err := ipv4.ParseHeader(b)
		if err != nil {
			t.Fatal(err)
		}
		if h.Protocol != Protocol || h.TotalLen != len(b) {
			t.Fatalf("header %v is not that of a VRRP packet of %d octets", h, len(b))
		}
		src, _ := netip.AddrFromSlice(h.Src)
		dst, _ := netip.AddrFromSlice(h.Dst)
		if dst.Unmap() != GroupIPv4() {
			t.Fatalf("destination %v, want %v", dst, GroupIPv4())
		}
		var a Advertisement
		if _, err := a.Parse(b[h.Len:], src.Unmap(), dst.Unmap()); err != nil {
			t.Errorf("parse %x: %v", b, err)
		}
		if a.Priority != 150 || a.NumAddresses() != 1 || a.Address(0) != netip.MustParseAddr("10.77.0.100") {
			t.Errorf("parsed %+v", a)
		}
	}
}

func TestGroups(t *testing.T) {
	if got := GroupIPv4().String(); got != "224.0.0.18" {
		t.Errorf("IPv4 group %s", got)
	}
	if got := GroupIPv6().String(); got != "ff02::12" {
		t.Errorf("IPv6 group %s", got)
	}
}
