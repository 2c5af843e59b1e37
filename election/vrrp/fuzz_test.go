// SPDX-License-Identifier: Apache-2.0

package vrrp

import (
	"bytes"
	"net/netip"
	"testing"
	"time"
)

// FuzzParse feeds arbitrary messages: Parse must not panic, and what it
// accepts must be a fixed point of encoding and parsing, of the same length.
func FuzzParse(f *testing.F) {
	for _, tt := range golden {
		src, dst := netip.MustParseAddr(tt.src), netip.MustParseAddr(tt.dst)
		f.Add(unhex(f, tt.wire), src.AsSlice(), dst.AsSlice(), false)
	}
	f.Add(unhex(f, "31339601 f0190000 0a4d0064"), src4.AsSlice(), dst4.AsSlice(), true)
	f.Add(unhex(f, "21339600 00010000 6a756e6b6a756e6b"), src4.AsSlice(), dst4.AsSlice(), true)
	f.Fuzz(func(t *testing.T, b, srcOctets, dstOctets []byte, sealed bool) {
		src, _ := netip.AddrFromSlice(srcOctets)
		dst, _ := netip.AddrFromSlice(dstOctets)
		// Without this, hardly any changed message would pass the checksum.
		if _, ok := family(src, dst); ok && sealed && len(b) >= headerLen {
			b = seal(bytes.Clone(b), src, dst)
		}
		var a Advertisement
		dialect, err := a.Parse(b, src, dst)
		if err != nil {
			if r, ok := err.(Reason); !ok || r == 0 || r > ReasonAuthType {
				t.Fatalf("error %v is not a reason of Parse", err)
			}
			return
		}
		again, err := a.AppendTo(nil, src, dst, dialect)
		if err != nil {
			t.Fatalf("encode what was parsed: %v", err)
		}
		if len(again) != len(b) {
			t.Fatalf("%d octets became %d", len(b), len(again))
		}
		var c Advertisement
		// Should both dialects fit, the other one may be reported now.
		if _, err := c.Parse(again, src, dst); err != nil || !c.Equal(&a) {
			t.Fatalf("error %v, parsed again %+v, first %+v", err, c, a)
		}
	})
}

// FuzzRoundTrip encodes arbitrary advertisements: what is not refused must
// come back equal, in its dialect.
func FuzzRoundTrip(f *testing.F) {
	f.Add(uint8(3), uint8(51), uint8(150), int64(25), uint8(0), []byte(nil), []byte{10, 77, 0, 100}, false, false)
	f.Add(uint8(3), uint8(51), uint8(150), int64(25), uint8(0), []byte(nil), make([]byte, 32), true, true)
	f.Add(uint8(2), uint8(1), uint8(0), int64(100), uint8(1), []byte("s3cret"), []byte{10, 77, 0, 100}, false, false)
	f.Fuzz(func(t *testing.T, version, vrid, priority uint8, centiseconds int64, authType uint8, authData, list []byte, v6, rfc9568 bool) {
		src, dst, size, dialect := src4, dst4, 4, ChecksumPseudoHeader
		if v6 {
			src, dst, size = src6, dst6, 16
		}
		if rfc9568 {
			dialect = ChecksumRFC9568
		}
		a := Advertisement{
			Version: Version(version), VRID: vrid, Priority: priority,
			Interval: time.Duration(centiseconds) * 10 * time.Millisecond, AuthType: AuthType(authType),
		}
		copy(a.AuthData[:], authData)
		var ips []netip.Addr
		for ; len(list) >= size; list = list[size:] {
			ip, _ := netip.AddrFromSlice(list[:size])
			ips = append(ips, ip)
		}
		a.SetAddresses(ips)

		b, err := a.AppendTo(nil, src, dst, dialect)
		if err != nil {
			return
		}
		var c Advertisement
		got, err := c.Parse(b, src, dst)
		if err != nil || !c.Equal(&a) {
			t.Fatalf("error %v, parsed %+v, encoded %+v", err, c, a)
		}
		// The pseudo-header of 10.77.0.1 does not add up to nothing, so the two
		// dialects cannot be confused here.
		if a.Version == V3 && !v6 && got != dialect {
			t.Fatalf("dialect %v, want %v", got, dialect)
		}
	})
}
