// SPDX-License-Identifier: Apache-2.0

package vrrpnet

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"strconv"
	"syscall"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"

	"highwater/election/vrrp"
)

const (
	// trafficClass is DSCP CS6, internetwork control, which keepalived sends too.
	trafficClass = 0xc0
	// socketPriority is TC_PRIO_INTERACTIVE, the highest that needs no
	// CAP_NET_ADMIN (socket(7)): it selects the first band of pfifo_fast.
	socketPriority = 6
)

// errNoControl says that the kernel delivered a packet without the control
// messages that were asked for: its TTL and interface cannot be checked.
var errNoControl = errors.New("packet without control messages")

// An option is one integer socket option.
type option struct {
	level, name, value int
	what               string
}

// listenRaw opens a protocol-112 socket bound to an interface, so that nothing
// reaches it that came in elsewhere.
//
// IP_RECVERR stays off, although without it the kernel does not tell the
// sender that the queue of the interface was full: with it, anybody who forges
// an ICMP error could make our next Send fail and fill our receive buffer.
func listenRaw(ctx context.Context, network, address, ifName string, options []option) (net.PacketConn, error) {
	lc := net.ListenConfig{Control: func(_, _ string, rc syscall.RawConn) error {
		return control(rc, func(fd int) error {
			if err := unix.BindToDevice(fd, ifName); err != nil {
				return os.NewSyscallError("setsockopt SO_BINDTODEVICE", err)
			}
			return set(fd, options)
		})
	}}
	return lc.ListenPacket(ctx, network+":"+strconv.Itoa(vrrp.Protocol), address)
}

func control(rc syscall.RawConn, f func(fd int) error) error {
	var inner error
	if err := rc.Control(func(fd uintptr) { inner = f(int(fd)) }); err != nil {
		return err
	}
	return inner
}

func set(fd int, options []option) error {
	for _, o := range options {
		if err := unix.SetsockoptInt(fd, o.level, o.name, o.value); err != nil {
			return os.NewSyscallError("setsockopt "+o.what, err)
		}
	}
	return nil
}

// prioritise sets the queueing priority. It comes after the traffic class,
// which resets it (ip(7), IP_TOS).
func prioritise(pc net.PacketConn) error {
	rc, err := pc.(syscall.Conn).SyscallConn()
	if err != nil {
		return err
	}
	return control(rc, func(fd int) error {
		return set(fd, []option{{unix.SOL_SOCKET, unix.SO_PRIORITY, socketPriority, "SO_PRIORITY"}})
	})
}

type conn4 struct {
	p *ipv4.PacketConn
	net.PacketConn
	ifi *net.Interface
}

func listen4(ctx context.Context, ifName string, ifIndex int) (rawConn, error) {
	pc, err := listenRaw(ctx, "ip4", "0.0.0.0", ifName, []option{
		// The default would deliver what other sockets' memberships bring in.
		{unix.IPPROTO_IP, unix.IP_MULTICAST_ALL, 0, "IP_MULTICAST_ALL"},
		{unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_DONT, "IP_MTU_DISCOVER"},
	})
	if err != nil {
		return nil, err
	}
	p, ifi := ipv4.NewPacketConn(pc), &net.Interface{Index: ifIndex}
	err = firstError(
		func() error { return p.SetControlMessage(ipv4.FlagTTL|ipv4.FlagDst|ipv4.FlagInterface, true) },
		func() error { return p.SetMulticastInterface(ifi) },
		func() error { return p.SetMulticastTTL(ttl) },
		func() error { return p.SetMulticastLoopback(false) },
		func() error { return p.SetTTL(ttl) },
		func() error { return p.SetTOS(trafficClass) },
		func() error { return prioritise(pc) },
	)
	if err != nil {
		pc.Close()
		return nil, err
	}
	return &conn4{p: p, PacketConn: pc, ifi: ifi}, nil
}

func (c *conn4) readFrom(b []byte) (datagram, error) {
	n, cm, src, err := c.p.ReadFrom(b)
	if err != nil {
		return datagram{}, err
	}
	if cm == nil {
		return datagram{}, errNoControl
	}
	return datagram{payload: b[:n], source: plain(src.(*net.IPAddr).IP), destination: plain(cm.Dst), ttl: cm.TTL, ifIndex: cm.IfIndex}, nil
}

func (c *conn4) writeTo(b []byte, src, dst netip.Addr) error {
	_, err := c.p.WriteTo(b, &ipv4.ControlMessage{Src: src.AsSlice(), IfIndex: c.ifi.Index}, &net.IPAddr{IP: dst.AsSlice()})
	return err
}

func (c *conn4) join() error  { return c.p.JoinGroup(c.ifi, group(IPv4)) }
func (c *conn4) leave() error { return c.p.LeaveGroup(c.ifi, group(IPv4)) }

type conn6 struct {
	p *ipv6.PacketConn
	net.PacketConn
	ifi *net.Interface
}

// listen6 leaves IPV6_CHECKSUM off: package vrrp computes and verifies the
// checksum, and so a bad one is counted like every other reason. There is no
// IPV6_MULTICAST_ALL to clear either: the kernel does not ask it about raw
// sockets, and what is for other groups is dropped by its destination.
func listen6(ctx context.Context, ifName string, ifIndex int) (rawConn, error) {
	pc, err := listenRaw(ctx, "ip6", "::", ifName, nil)
	if err != nil {
		return nil, err
	}
	p, ifi := ipv6.NewPacketConn(pc), &net.Interface{Index: ifIndex}
	err = firstError(
		func() error { return p.SetControlMessage(ipv6.FlagHopLimit|ipv6.FlagDst|ipv6.FlagInterface, true) },
		func() error { return p.SetMulticastInterface(ifi) },
		func() error { return p.SetMulticastHopLimit(ttl) },
		func() error { return p.SetMulticastLoopback(false) },
		func() error { return p.SetHopLimit(ttl) },
		func() error { return p.SetTrafficClass(trafficClass) },
		func() error { return prioritise(pc) },
	)
	if err != nil {
		pc.Close()
		return nil, err
	}
	return &conn6{p: p, PacketConn: pc, ifi: ifi}, nil
}

func (c *conn6) readFrom(b []byte) (datagram, error) {
	n, cm, src, err := c.p.ReadFrom(b)
	if err != nil {
		return datagram{}, err
	}
	if cm == nil {
		return datagram{}, errNoControl
	}
	return datagram{payload: b[:n], source: plain(src.(*net.IPAddr).IP), destination: plain(cm.Dst), ttl: cm.HopLimit, ifIndex: cm.IfIndex}, nil
}

func (c *conn6) writeTo(b []byte, src, dst netip.Addr) error {
	_, err := c.p.WriteTo(b, &ipv6.ControlMessage{Src: src.AsSlice(), IfIndex: c.ifi.Index}, &net.IPAddr{IP: dst.AsSlice()})
	return err
}

func (c *conn6) join() error  { return c.p.JoinGroup(c.ifi, group(IPv6)) }
func (c *conn6) leave() error { return c.p.LeaveGroup(c.ifi, group(IPv6)) }

func group(f Family) net.Addr { return &net.IPAddr{IP: f.group().AsSlice()} }

// plain converts an address of package net, whatever its length.
func plain(ip net.IP) netip.Addr {
	addr, _ := netip.AddrFromSlice(ip)
	return addr.Unmap()
}

// firstError calls each function until one fails.
func firstError(steps ...func() error) error {
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}
