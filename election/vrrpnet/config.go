// SPDX-License-Identifier: Apache-2.0

package vrrpnet

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"highwater/election/vrrp"
)

// Family is the address family that carries the advertisements.
type Family uint8

// The two families.
const (
	IPv4 Family = 4
	IPv6 Family = 6
)

// group returns the multicast destination.
func (f Family) group() netip.Addr {
	if f == IPv4 {
		return vrrp.GroupIPv4()
	}
	return vrrp.GroupIPv6()
}

// ttl is sent, and demanded of what is received (RFC 9568 §5.1.1.3, §5.1.2.3).
const ttl = 255

// Config describes one virtual router on one interface in one address family.
// Addresses are plain: IPv4 not mapped into IPv6, IPv6 without a zone.
type Config struct {
	Interface string
	Family    Family
	// VRID is the virtual router identifier, 1 to 255.
	VRID uint8
	// Version is sent, and demanded of what is received. Version 2 exists over
	// IPv4 only.
	Version vrrp.Version
	// Checksum is the dialect sent. Both are accepted.
	Checksum vrrp.Checksum

	// Source is the source address of what is sent. By default it is the
	// primary IPv4 address or the link-local IPv6 address of the interface. Peers
	// compare it to decide between equal priorities.
	Source netip.Addr
	// Exclude are addresses never taken as the default source: the virtual
	// addresses, which come and go.
	Exclude []netip.Addr

	// Peers, if any, make the virtual router a unicast one: each
	// advertisement goes to every peer, and only those of peers are accepted.
	Peers []netip.Addr
	// AcceptFrom limits the sources accepted from the multicast group. Empty
	// accepts everybody on the link, as VRRP does.
	AcceptFrom []netip.Addr
	// MinTTL is the lowest TTL or hop limit accepted from a peer. 0 means 255,
	// and a lower one is possible between unicast peers only: they may be routers
	// apart, and keepalived sends IPv6 unicast with the kernel's default of 64.
	MinTTL uint8

	// AuthType and AuthData, a password padded with zeros, are sent with
	// version 2 and demanded of what is received (RFC 3768 §7.1).
	AuthType vrrp.AuthType
	AuthData [8]byte
	// Interval, unless 0, is demanded of advertisements of version 2 (RFC 3768
	// §7.1). Version 3 learns the interval of the active router instead.
	Interval time.Duration
}

// unicast reports whether advertisements go to peers instead of the group.
func (c *Config) unicast() bool { return len(c.Peers) > 0 }

// unicastAddress reports whether ip can be the source of an advertisement in
// the family of c.
func (c *Config) unicastAddress(ip netip.Addr) bool {
	if ip.IsMulticast() || ip.IsUnspecified() || ip.Zone() != "" {
		return false
	}
	return c.Family == IPv4 && ip.Is4() || c.Family == IPv6 && ip.Is6() && !ip.Is4In6()
}

// minTTL returns the lowest TTL accepted.
func (c *Config) minTTL() int {
	if c.MinTTL == 0 {
		return ttl
	}
	return int(c.MinTTL)
}

// clone returns a copy that the caller of Listen cannot change any more.
func (c Config) clone() Config {
	c.Exclude, c.Peers, c.AcceptFrom = slices.Clone(c.Exclude), slices.Clone(c.Peers), slices.Clone(c.AcceptFrom)
	return c
}

// Validate returns an error that names everything impossible in c, or nil.
// Listen calls it first.
func (c *Config) Validate() error {
	var errs []error
	refuse := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if c.Interface == "" {
		refuse("no interface")
	}
	if c.Family != IPv4 && c.Family != IPv6 {
		refuse("address family %d is neither 4 nor 6", c.Family)
	}
	if c.VRID == 0 {
		refuse("virtual router identifier 0")
	}
	switch {
	case c.Version != vrrp.V2 && c.Version != vrrp.V3:
		refuse("version %d is neither 2 nor 3", c.Version)
	case c.Version == vrrp.V2 && c.Family == IPv6:
		refuse("version 2 over IPv6")
	case c.Version == vrrp.V3 && c.AuthType != vrrp.AuthNone:
		refuse("authentication in version 3")
	case c.Interval != 0:
		if err := c.Version.CheckInterval(c.Interval); err != nil {
			errs = append(errs, err)
		}
	}
	if c.Checksum > vrrp.ChecksumRFC9568 {
		refuse("unknown %v", c.Checksum)
	}
	if c.AuthType > vrrp.AuthSimple {
		refuse("authentication type %d", c.AuthType)
	}
	if c.AuthType == vrrp.AuthNone && c.AuthData != [8]byte{} {
		refuse("authentication data without authentication")
	}
	if c.Source.IsValid() && !c.unicastAddress(c.Source) {
		refuse("source %v is not a plain unicast address of the family", c.Source)
	}
	for _, ip := range slices.Concat(c.Peers, c.AcceptFrom) {
		if !c.unicastAddress(ip) {
			refuse("peer %v is not a plain unicast address of the family", ip)
		}
	}
	if c.unicast() && len(c.AcceptFrom) > 0 {
		refuse("accepted sources beside unicast peers, who are the only accepted ones")
	}
	if !c.unicast() && c.minTTL() != ttl {
		refuse("minimum TTL %d without unicast peers", c.MinTTL)
	}
	return errors.Join(errs...)
}

// checkSource returns an error unless c is valid and source, the one chosen
// for it, can send to its peers.
func checkSource(c *Config, source netip.Addr) error {
	if err := c.Validate(); err != nil {
		return err
	}
	if slices.Contains(c.Peers, source) {
		return fmt.Errorf("unicast peer %v is this host's own source address", source)
	}
	return nil
}
