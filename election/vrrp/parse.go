// SPDX-License-Identifier: Apache-2.0

package vrrp

import (
	"encoding/binary"
	"net/netip"
	"time"
)

// Parse decodes b, the payload of one IP packet from src to dst, into a. The
// checksum is verified with src and dst, so dst is the destination of the
// packet itself: the group, or the unicast address it was sent to.
//
// A message that fails a check leaves a as it was; the error is then the
// [Reason] of the first check that failed, in this order: address family,
// length of the header, version, type, length, checksum, VRID, interval,
// number of addresses, kind of authentication. The checksum comes before the
// content, so that a packet damaged on its way counts as just that.
//
// The dialect is that of the checksum; it has a meaning for version 3 over
// IPv4 only. Parse reuses the memory of a's addresses and allocates only if
// there are more of them than ever before in a.
func (a *Advertisement) Parse(b []byte, src, dst netip.Addr) (dialect Checksum, err error) {
	v6, ok := family(src, dst)
	if !ok {
		return 0, ReasonAddressFamily
	}
	if len(b) < headerLen {
		return 0, ReasonTruncated
	}
	version, count := Version(b[0]>>4), int(b[3])
	if version != V3 && (version != V2 || v6) {
		return 0, ReasonVersion
	}
	if b[0]&0xf != typeAdvert {
		return 0, ReasonType
	}
	addrLen, trailer := 4, 0
	if v6 {
		addrLen = 16
	}
	if version == V2 {
		trailer = authLen
	}
	switch end := headerLen + count*addrLen + trailer; {
	case len(b) < end:
		return 0, ReasonTruncated
	case len(b) > end:
		return 0, ReasonLength
	}
	dialect, ok = verify(b, version, src, dst)
	if !ok {
		return 0, ReasonChecksum
	}
	if b[1] == 0 {
		return 0, ReasonVRID
	}
	units := time.Duration(b[5])
	if version == V3 {
		units = time.Duration(binary.BigEndian.Uint16(b[4:]) & 0xfff)
	}
	if units == 0 {
		return 0, ReasonIntervalZero
	}
	if count == 0 && version == V3 {
		return 0, ReasonNoAddresses
	}
	authType, authData := AuthNone, [authLen]byte{}
	if version == V2 {
		authType = AuthType(b[4])
		switch authType {
		case AuthNone:
		case AuthSimple:
			copy(authData[:], b[len(b)-authLen:])
		default:
			return 0, ReasonAuthType
		}
	}

	*a = Advertisement{
		Version:   version,
		VRID:      b[1],
		Priority:  b[2],
		Interval:  units * version.unit(),
		AuthType:  authType,
		AuthData:  authData,
		addresses: a.addresses[:0],
	}
	for list := b[headerLen : len(b)-trailer]; len(list) > 0; list = list[addrLen:] {
		ip := netip.Addr{}
		if v6 {
			ip = netip.AddrFrom16([16]byte(list))
		} else {
			ip = netip.AddrFrom4([4]byte(list))
		}
		a.addresses = append(a.addresses, ip)
	}
	return dialect, nil
}
