// SPDX-License-Identifier: Apache-2.0

package configs

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// peerAddress is an IP address with an optional port.
type peerAddress struct{ into *netip.AddrPort }

func (k peerAddress) decode(d *decoder, n *yaml.Node, path string) {
	if n.Kind == yaml.SequenceNode { // [fd00::1]:7475 without quotes
		d.refuseValue(n, path, "wants a single value, not a list", `put an IPv6 address with a port in quotes: "[fd00::1]:7475"`)
		return
	}
	instead := "write 10.0.0.11, or 10.0.0.11:7475 for another port"
	s, ok := d.str(n, path, instead)
	if !ok {
		return
	}
	if ip, err := netip.ParseAddr(s); err == nil {
		*k.into = netip.AddrPortFrom(ip, DefaultPeerPort)
	} else if host, port, err := splitHostPort(s); err == nil {
		ip, err := netip.ParseAddr(host)
		if err != nil {
			d.refuseValue(n, path, shown(host)+" is not an IP address", "write the address: a name needs a resolver when least can be trusted")
			return
		}
		*k.into = netip.AddrPortFrom(ip, port)
	} else {
		d.refuseValue(n, path, shown(s)+" is not an IP address with an optional port", instead)
		return
	}
	if why := unusable(k.into.Addr()); why != "" {
		d.refuseValue(n, path, shown(s)+" is "+why, "write the address by which the other nodes reach this one")
	}
}

func (peerAddress) spec() string {
	return fmt.Sprintf("an IP address, with :port unless it is %d", DefaultPeerPort)
}

// ipAddress is an address without a port.
type ipAddress struct{ into *netip.Addr }

func (k ipAddress) decode(d *decoder, n *yaml.Node, path string) {
	instead := "write one such as 10.0.0.11 or fe80::1"
	s, ok := d.str(n, path, instead)
	if !ok {
		return
	}
	ip, err := netip.ParseAddr(s)
	if err != nil {
		d.refuseValue(n, path, shown(s)+" is not an IP address", instead)
		return
	}
	if why := unusable(ip); why != "" {
		d.refuseValue(n, path, shown(s)+" is "+why, instead)
		return
	}
	*k.into = ip
}

func (ipAddress) spec() string { return "an IP address" }

// vipAddress is an address with the length of its prefix.
type vipAddress struct{ into *netip.Prefix }

func (k vipAddress) decode(d *decoder, n *yaml.Node, path string) {
	instead := "write one such as 10.0.0.100/32 or fd00::100/128"
	s, ok := d.str(n, path, instead)
	if !ok {
		return
	}
	if ip, err := netip.ParseAddr(s); err == nil && ip.Zone() == "" {
		d.refuseValue(n, path, shown(s)+" has no prefix length", "write "+hostPrefix(ip).String())
		return
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		d.refuseValue(n, path, shown(s)+" is not an address with a prefix length", instead)
		return
	}
	if why := unusable(p.Addr()); why != "" {
		d.refuseValue(n, path, shown(s)+" is "+why, instead)
		return
	}
	if p.Addr().BitLen()-p.Bits() > 1 && p.Masked().Addr() == p.Addr() {
		d.refuseValue(n, path, shown(s)+" is a network, not an address in it", "write "+hostPrefix(p.Addr().Next()).String()+", for example")
		return
	}
	*k.into = p
}

func (vipAddress) spec() string { return "an IP address with /32 (IPv4) or /128 (IPv6)" }

func hostPrefix(ip netip.Addr) netip.Prefix { return netip.PrefixFrom(ip, ip.BitLen()) }

// unusable says why no host can be reached at ip, or "".
func unusable(ip netip.Addr) string {
	switch {
	case ip.IsUnspecified():
		return "the unspecified address"
	case ip.IsMulticast():
		return "a multicast address"
	case ip.Is4In6():
		return "an IPv4 address written as IPv6"
	case ip.Zone() != "":
		return "bound to an interface by its zone"
	case ip == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return "the broadcast address"
	}
	return ""
}

// serverAddress is host:port, or with socket the path of a unix socket.
type serverAddress struct {
	into   *string
	socket bool
}

func (k serverAddress) decode(d *decoder, n *yaml.Node, path string) {
	instead := "write " + k.spec()
	s, ok := d.str(n, path, instead)
	if !ok {
		return
	}
	if !k.socket || !strings.HasPrefix(s, "/") {
		if _, _, err := splitHostPort(s); err != nil {
			d.refuseValue(n, path, shown(s)+" is not host:port: "+err.Error(), instead)
			return
		}
	} else if len(s) > 107 { // sun_path, unix(7)
		d.refuseValue(n, path, "the path of a unix socket is longer than 107 bytes", "have the server listen at a shorter one")
		return
	}
	*k.into = s
}

func (k serverAddress) spec() string {
	if k.socket {
		return "the absolute path of a unix socket, or host:port"
	}
	return "host:port"
}

// listenAddress is host:port with the host optional, or "none".
type listenAddress struct{ into *string }

const listenNone = "none"

func (k listenAddress) decode(d *decoder, n *yaml.Node, path string) {
	instead := "write " + k.spec()
	if _, ok := parsePort(n.Value); ok {
		d.refuseValue(n, path, "a port alone is not an address to listen at", `write ":`+n.Value+`"`)
		return
	}
	s, ok := d.str(n, path, instead)
	if !ok {
		return
	}
	if s == listenNone {
		*k.into = ""
		return
	}
	full := s
	if strings.HasPrefix(s, ":") {
		full = "0.0.0.0" + s
	}
	host, _, err := splitHostPort(full)
	if err != nil {
		d.refuseValue(n, path, shown(s)+" is not an address to listen at: "+err.Error(), instead)
		return
	}
	if _, err := netip.ParseAddr(host); err != nil {
		d.refuseValue(n, path, shown(host)+" is not an IP address", instead)
		return
	}
	*k.into = s
}

func (listenAddress) spec() string { return `":port", "address:port" or none` }

var (
	hostText = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._-]{0,252})$`)
	portText = regexp.MustCompile(`^[1-9][0-9]{0,4}$`)
)

// splitHostPort splits host:port or [address]:port, both present and valid.
func splitHostPort(s string) (host string, port uint16, err error) {
	host, p, err := net.SplitHostPort(s)
	if err != nil {
		return "", 0, errors.New("it lacks a host or a port")
	}
	if _, err := netip.ParseAddr(host); err != nil && !hostText.MatchString(host) {
		return "", 0, fmt.Errorf("%s is neither a host name nor an address", shown(host))
	}
	port, ok := parsePort(p)
	if !ok {
		return "", 0, fmt.Errorf("port %s is not a number from 1 to 65535", shown(p))
	}
	return host, port, nil
}

// parsePort reads a decimal number from 1 to 65535 without leading zeros.
func parsePort(s string) (uint16, bool) {
	if !portText.MatchString(s) {
		return 0, false
	}
	port, err := strconv.ParseUint(s, 10, 16)
	return uint16(port), err == nil
}
