// SPDX-License-Identifier: Apache-2.0

package vrrp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// Protocol is the IP protocol number, or IPv6 next header, of VRRP (RFC 9568
// §5.1.1.4, §5.1.2.4).
const Protocol = 112

// GroupIPv4 returns 224.0.0.18, the destination of advertisements over IPv4
// (RFC 9568 §5.1.1.2).
func GroupIPv4() netip.Addr { return netip.AddrFrom4([4]byte{224, 0, 0, 18}) }

// GroupIPv6 returns ff02::12, the destination of advertisements over IPv6 (RFC
// 9568 §5.1.2.2).
func GroupIPv6() netip.Addr { return netip.AddrFrom16([16]byte{0: 0xff, 1: 0x02, 15: 0x12}) }

// Version is the version of the protocol, 2 or 3.
type Version uint8

// The versions in use.
const (
	V2 Version = 2 // RFC 3768, IPv4 only
	V3 Version = 3 // RFC 9568, IPv4 and IPv6
)

// unit returns the unit of the interval on the wire.
func (v Version) unit() time.Duration {
	if v == V2 {
		return time.Second
	}
	return 10 * time.Millisecond
}

// maxInterval returns the longest interval: an 8-bit field in version 2 (RFC
// 3768 §5.3.7), a 12-bit field in version 3 (RFC 9568 §5.2.7).
func (v Version) maxInterval() time.Duration {
	if v == V2 {
		return 255 * time.Second
	}
	return 4095 * 10 * time.Millisecond
}

// CheckInterval returns an error unless an advertisement of version v can
// carry the interval d exactly: whole seconds from 1 s to 255 s in version 2,
// whole centiseconds from 10 ms to 40.95 s in version 3.
func (v Version) CheckInterval(d time.Duration) error {
	if v != V2 && v != V3 {
		return fmt.Errorf("version %d is neither 2 nor 3", v)
	}
	if d < v.unit() || d > v.maxInterval() || d%v.unit() != 0 {
		return fmt.Errorf("interval %v is not a multiple of %v from %v to %v", d, v.unit(), v.unit(), v.maxInterval())
	}
	return nil
}

// AuthType is the kind of authentication of version 2.
type AuthType uint8

// The kinds that can be sent and parsed. Type 2, the IP authentication header,
// wraps the message in another protocol and is not supported.
const (
	AuthNone   AuthType = 0
	AuthSimple AuthType = 1 // a password in clear text (RFC 2338 §5.3.6)
)

// An Advertisement is the content of one VRRP packet (RFC 9568 §5.2, RFC 3768
// §5.3).
//
// A copy of an Advertisement shares its list of addresses with the original,
// which SetAddresses and Parse overwrite in place: whoever keeps a copy while
// the original is reused makes it with Clone.
type Advertisement struct {
	Version Version
	// VRID is the virtual router identifier, 1 to 255.
	VRID uint8
	// Priority: 255 for the owner of the addresses, 1 to 254 for a backup, 0
	// when the active router gives up its role.
	Priority uint8
	// Interval is the Max Advertise Interval of version 3 and the Advertisement
	// Interval of version 2, within the bounds of CheckInterval.
	Interval time.Duration
	// AuthType and AuthData are of version 2 only, zero in version 3. AuthData
	// is a password padded with zeros, and all zero for AuthNone.
	AuthType AuthType
	AuthData [8]byte

	addresses []netip.Addr
}

const (
	headerLen    = 8   // both versions, up to and including the checksum
	authLen      = 8   // authentication data behind the addresses in version 2
	typeAdvert   = 1   // RFC 9568 §5.2.2
	maxAddresses = 255 // the count is one octet
)

// NumAddresses returns the number of addresses, 0 to 255.
func (a *Advertisement) NumAddresses() int { return len(a.addresses) }

// Address returns the i-th address in the order of the packet. It panics
// unless 0 <= i < NumAddresses.
func (a *Advertisement) Address(i int) netip.Addr { return a.addresses[i] }

// SetAddresses replaces the addresses by a copy of list, whose order is that
// of the packet. Zones are dropped.
func (a *Advertisement) SetAddresses(list []netip.Addr) {
	a.addresses = a.addresses[:0]
	for _, ip := range list {
		a.addresses = append(a.addresses, ip.WithZone(""))
	}
}

// Clone returns a copy of a that shares no memory with it.
func (a *Advertisement) Clone() Advertisement {
	c := *a
	c.addresses = slices.Clone(a.addresses)
	return c
}

// Equal reports whether a and b have the same content, the order of the
// addresses included.
func (a *Advertisement) Equal(b *Advertisement) bool {
	return a.Version == b.Version && a.VRID == b.VRID && a.Priority == b.Priority && a.Interval == b.Interval &&
		a.AuthType == b.AuthType && a.AuthData == b.AuthData && slices.Equal(a.addresses, b.addresses)
}

// LinkLocalFirst reports whether the first address is a link-local one, as RFC
// 9568 §5.2.9 demands of an advertisement over IPv6.
func (a *Advertisement) LinkLocalFirst() bool {
	return len(a.addresses) > 0 && a.addresses[0].IsLinkLocalUnicast()
}

// AppendTo appends the message, from the version to the last address or the
// authentication data, to b and returns the longer slice. The checksum covers
// src and dst, where its dialect says so, and both decide the address family.
// An Advertisement that the wire cannot carry exactly is refused, and b is
// then returned as it was.
func (a *Advertisement) AppendTo(b []byte, src, dst netip.Addr, dialect Checksum) ([]byte, error) {
	if err := a.check(src, dst); err != nil {
		return b, fmt.Errorf("encode advertisement: %w", err)
	}
	start := len(b)
	b = append(b, byte(a.Version)<<4|typeAdvert, a.VRID, a.Priority, byte(len(a.addresses)))
	interval := uint16(a.Interval / a.Version.unit())
	if a.Version == V2 {
		b = append(b, byte(a.AuthType), byte(interval))
	} else {
		b = binary.BigEndian.AppendUint16(b, interval)
	}
	b = append(b, 0, 0)
	for _, ip := range a.addresses {
		if src.Is4() {
			octets := ip.As4()
			b = append(b, octets[:]...)
		} else {
			octets := ip.As16()
			b = append(b, octets[:]...)
		}
	}
	if a.Version == V2 {
		b = append(b, a.AuthData[:]...)
	}
	message := b[start:]
	binary.BigEndian.PutUint16(message[6:], checksum(message, a.Version, src, dst, dialect))
	return b, nil
}

func (a *Advertisement) check(src, dst netip.Addr) error {
	if err := a.Version.CheckInterval(a.Interval); err != nil {
		return err
	}
	v6, ok := family(src, dst)
	if !ok {
		return fmt.Errorf("from %v to %v: %w", src, dst, ReasonAddressFamily)
	}
	if v6 && a.Version == V2 {
		return errors.New("version 2 over IPv6")
	}
	if a.VRID == 0 {
		return errors.New("virtual router identifier 0")
	}
	if len(a.addresses) > maxAddresses {
		return fmt.Errorf("%d addresses, at most %d fit", len(a.addresses), maxAddresses)
	}
	if len(a.addresses) == 0 && a.Version == V3 {
		return ReasonNoAddresses
	}
	for _, ip := range a.addresses {
		if !ip.IsValid() || ip.Is4() == v6 {
			return fmt.Errorf("address %v from %v: %w", ip, src, ReasonAddressFamily)
		}
	}
	switch {
	case a.Version == V3 && a.AuthType != AuthNone, a.AuthType > AuthSimple:
		return fmt.Errorf("authentication type %d in version %d", a.AuthType, a.Version)
	case a.AuthType == AuthNone && a.AuthData != [8]byte{}:
		return errors.New("authentication data without authentication")
	}
	return nil
}

// family reports whether src and dst are IPv6 addresses. ok is false if they
// are not of one family.
func family(src, dst netip.Addr) (v6, ok bool) {
	switch {
	case src.Is4() && dst.Is4():
		return false, true
	case src.Is6() && dst.Is6():
		return true, true
	default:
		return false, false
	}
}
