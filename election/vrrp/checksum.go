// SPDX-License-Identifier: Apache-2.0

package vrrp

import (
	"encoding/binary"
	"fmt"
	"net/netip"
)

// Checksum is the dialect of the checksum of version 3 over IPv4. RFC 5798
// §5.2.8 can be read both ways, and routers in the field differ. Version 2
// never covers a pseudo-header and IPv6 always does, so there the dialect has
// no meaning.
type Checksum uint8

const (
	// ChecksumPseudoHeader covers the message and an IPv4 pseudo-header.
	// keepalived sends it and, unless told otherwise, accepts nothing else; FRR
	// does the same by default. It is the zero value.
	ChecksumPseudoHeader Checksum = iota
	// ChecksumRFC9568 covers the message only (RFC 9568 §5.2.8), as routers of
	// Cisco and Juniper do, and keepalived with v3_checksum_as_v2.
	ChecksumRFC9568
)

// String returns "pseudo_header" or "rfc9568".
func (c Checksum) String() string {
	switch c {
	case ChecksumPseudoHeader:
		return "pseudo_header"
	case ChecksumRFC9568:
		return "rfc9568"
	default:
		return fmt.Sprintf("checksum(%d)", uint8(c))
	}
}

// sum adds the 16-bit big-endian words of b to acc, an odd octet at the end
// padded with zero. The longest message has 2 044 words, far from overflow.
func sum(acc uint32, b []byte) uint32 {
	for len(b) >= 2 {
		acc += uint32(binary.BigEndian.Uint16(b))
		b = b[2:]
	}
	if len(b) == 1 {
		acc += uint32(b[0]) << 8
	}
	return acc
}

// fold returns the one's complement sum of the words added up in acc.
func fold(acc uint32) uint16 {
	for acc > 0xffff {
		acc = acc>>16 + acc&0xffff
	}
	return uint16(acc)
}

// pseudoHeader adds up the pseudo-header of RFC 8200 §8.1 or, between IPv4
// addresses, that of RFC 9293 §3.1, for a message of n octets.
func pseudoHeader(src, dst netip.Addr, n int) uint32 {
	acc := uint32(Protocol) + uint32(n)
	if src.Is4() {
		s, d := src.As4(), dst.As4()
		return sum(sum(acc, s[:]), d[:])
	}
	s, d := src.As16(), dst.As16()
	return sum(sum(acc, s[:]), d[:])
}

// checksum returns the value of the checksum field for b, a whole message
// whose checksum field is zero.
func checksum(b []byte, v Version, src, dst netip.Addr, dialect Checksum) uint16 {
	acc := sum(0, b)
	if v == V3 && (!src.Is4() || dialect == ChecksumPseudoHeader) {
		acc += pseudoHeader(src, dst, len(b))
	}
	return ^fold(acc)
}

// verify reports whether the checksum field of b, a whole message, is right in
// some dialect, and in which. Should both fit, the pseudo-header is meant.
func verify(b []byte, v Version, src, dst netip.Addr) (Checksum, bool) {
	const good = 0xffff // the sum of a message that includes its own checksum
	acc := sum(0, b)
	if v == V2 {
		return ChecksumPseudoHeader, fold(acc) == good
	}
	if fold(acc+pseudoHeader(src, dst, len(b))) == good {
		return ChecksumPseudoHeader, true
	}
	if src.Is4() && fold(acc) == good {
		return ChecksumRFC9568, true
	}
	return ChecksumPseudoHeader, false
}
