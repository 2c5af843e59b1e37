// SPDX-License-Identifier: Apache-2.0

package vip

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/mdlayher/packet"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// ifaProto is IFA_PROTO of linux/if_addr.h, since Linux 5.18.
const ifaProto = 11

const (
	// netlinkTimeout bounds the wait for an answer of the kernel. It only matters
	// when the kernel misbehaves: callers are bounded by their contexts.
	netlinkTimeout = 5 * time.Second
	// sendTimeout bounds the wait for room in a device's queue.
	sendTimeout = 20 * time.Millisecond
	// dumpAttempts bounds how often a listing is repeated that changed while the
	// kernel wrote it.
	dumpAttempts = 8
)

// A linux is the kernel of one network namespace.
type linux struct {
	ns    namespace
	links *netlink.Handle
	route *nl.SocketHandle // addresses; own messages, since netlink has no IFA_PROTO and no time stamps
	diag  *nl.SocketHandle // sockets

	mu    sync.Mutex
	conns map[int]*packet.Conn // by interface index
}

// openLinux opens the kernel of the network namespace at the path, or that of
// the calling thread if the path is empty.
func openLinux(path string) (*linux, error) {
	ns, err := openNamespace(path)
	if err != nil {
		return nil, err
	}
	k := &linux{ns: ns, conns: make(map[int]*packet.Conn)}
	err = ns.do(func() (err error) {
		if k.links, err = netlink.NewHandle(unix.NETLINK_ROUTE); err != nil {
			return fmt.Errorf("open netlink socket: %w", err)
		}
		if err := k.links.SetSocketTimeout(netlinkTimeout); err != nil {
			return fmt.Errorf("set timeout of netlink socket: %w", err)
		}
		if k.route, err = openNetlink(unix.NETLINK_ROUTE); err != nil {
			return err
		}
		k.diag, err = openNetlink(unix.NETLINK_SOCK_DIAG)
		return err
	})
	if err != nil {
		return nil, errors.Join(err, k.close())
	}
	return k, nil
}

// openNetlink opens a socket in the namespace of the calling thread.
func openNetlink(protocol int) (*nl.SocketHandle, error) {
	s, err := nl.Subscribe(protocol)
	if err != nil {
		return nil, fmt.Errorf("open netlink socket of protocol %d: %w", protocol, err)
	}
	timeout := unix.NsecToTimeval(netlinkTimeout.Nanoseconds())
	if err := errors.Join(s.SetSendTimeout(&timeout), s.SetReceiveTimeout(&timeout)); err != nil {
		s.Close()
		return nil, fmt.Errorf("set timeout of netlink socket: %w", err)
	}
	return &nl.SocketHandle{Socket: s}, nil
}

func (k *linux) close() error {
	if k.links != nil {
		k.links.Close()
	}
	for _, s := range []*nl.SocketHandle{k.route, k.diag} {
		if s != nil {
			s.Close()
		}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	var errs []error
	for index, c := range k.conns {
		errs = append(errs, c.Close())
		delete(k.conns, index)
	}
	return errors.Join(append(errs, k.ns.close())...)
}

// request returns a message to be sent over the socket of the protocol.
func request(protocol int, s *nl.SocketHandle, messageType uint16, flags uint16) *nl.NetlinkRequest {
	return &nl.NetlinkRequest{
		NlMsghdr: unix.NlMsghdr{Len: unix.SizeofNlMsghdr, Type: messageType, Flags: unix.NLM_F_REQUEST | flags},
		Sockets:  map[int]*nl.SocketHandle{protocol: s},
	}
}

func (k *linux) link(name string) (link, error) {
	l, err := k.links.LinkByName(name)
	if errors.As(err, new(netlink.LinkNotFoundError)) {
		err = errNoLink
	}
	if err != nil {
		return link{}, fmt.Errorf("%s %s: %w", opLink, name, err)
	}
	return newLink(l.Attrs()), nil
}

func (k *linux) linkName(index int) (string, error) {
	l, err := k.links.LinkByIndex(index)
	if err != nil {
		return "", fmt.Errorf("%s of index %d: %w", opLinkName, index, err)
	}
	return l.Attrs().Name, nil
}

func newLink(a *netlink.LinkAttrs) link {
	operational := a.OperState == netlink.OperUp || a.OperState == netlink.OperUnknown
	return link{
		index: a.Index,
		name:  a.Name,
		mac:   a.HardwareAddr,
		up:    a.RawFlags&unix.IFF_UP != 0 && a.RawFlags&unix.IFF_LOWER_UP != 0 && operational,
		noARP: a.RawFlags&(unix.IFF_NOARP|unix.IFF_LOOPBACK) != 0,
	}
}

func (k *linux) forwards(name string) (bool, error) {
	var value []byte
	err := k.ns.do(func() (err error) {
		// /proc/sys/net is that of the thread that opens the file.
		value, err = os.ReadFile(filepath.Join("/proc/sys/net/ipv6/conf", name, "forwarding"))
		return err
	})
	if err != nil {
		return false, fmt.Errorf("%s of %s: %w", opForwards, name, err)
	}
	return strings.TrimSpace(string(value)) != "0", nil
}

func (k *linux) addresses() ([]address, error) {
	var list []address
	err := dump(func() error {
		req := request(unix.NETLINK_ROUTE, k.route, unix.RTM_GETADDR, unix.NLM_F_DUMP)
		req.AddData(nl.NewIfAddrmsg(unix.AF_UNSPEC))
		messages, err := req.Execute(unix.NETLINK_ROUTE, unix.RTM_NEWADDR)
		list = make([]address, 0, len(messages))
		for _, m := range messages {
			a, perr := parseAddress(m)
			if perr != nil {
				return perr
			}
			list = append(list, a)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", opAddresses, err)
	}
	return list, nil
}

// dump calls list again while the kernel says that what it lists has changed
// under way.
func dump(list func() error) error {
	var err error
	for range dumpAttempts {
		if err = list(); !errors.Is(err, nl.ErrDumpInterrupted) {
			return err
		}
	}
	return err
}

func (k *linux) put(a address) error {
	req := request(unix.NETLINK_ROUTE, k.route, unix.RTM_NEWADDR, unix.NLM_F_CREATE|unix.NLM_F_REPLACE|unix.NLM_F_ACK)
	addAddress(req, a)
	req.AddData(nl.NewRtAttr(unix.IFA_FLAGS, binary.NativeEndian.AppendUint32(nil, a.flags)))
	if a.label != "" {
		req.AddData(nl.NewRtAttr(unix.IFA_LABEL, nl.ZeroTerminated(a.label)))
	}
	info := nl.IfaCacheInfo{IfaCacheinfo: unix.IfaCacheinfo{Valid: a.valid, Prefered: a.preferred}}
	req.AddData(nl.NewRtAttr(unix.IFA_CACHEINFO, info.Serialize()))
	// Kernels before 5.18 do not know this attribute, and ignore it.
	req.AddData(nl.NewRtAttr(ifaProto, []byte{a.protocol}))
	if _, err := req.Execute(unix.NETLINK_ROUTE, 0); err != nil {
		return fmt.Errorf("%s %s: %w", opPut, a.prefix, err)
	}
	return nil
}

func (k *linux) remove(a address) error {
	req := request(unix.NETLINK_ROUTE, k.route, unix.RTM_DELADDR, unix.NLM_F_ACK)
	addAddress(req, a)
	_, err := req.Execute(unix.NETLINK_ROUTE, 0)
	if err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("%s %s: %w", opRemove, a.prefix, err)
	}
	return nil
}

// addAddress adds what names an address in rtnetlink(7) to the request.
func addAddress(req *nl.NetlinkRequest, a address) {
	family := unix.AF_INET
	if a.prefix.Addr().Is6() {
		family = unix.AF_INET6
	}
	msg := nl.NewIfAddrmsg(family)
	msg.Prefixlen = uint8(a.prefix.Bits())
	msg.Scope = a.scope
	msg.Index = uint32(a.index)
	req.AddData(msg)
	ip := a.prefix.Addr().AsSlice()
	req.AddData(nl.NewRtAttr(unix.IFA_LOCAL, ip))
	req.AddData(nl.NewRtAttr(unix.IFA_ADDRESS, ip))
}

// parseAddress parses the body of an RTM_NEWADDR or RTM_DELADDR message.
func parseAddress(b []byte) (address, error) {
	if len(b) < unix.SizeofIfAddrmsg {
		return address{}, fmt.Errorf("parse address message of %d bytes: too short", len(b))
	}
	msg := nl.DeserializeIfAddrmsg(b)
	attrs, err := nl.ParseRouteAttr(b[unix.SizeofIfAddrmsg:])
	if err != nil {
		return address{}, fmt.Errorf("parse address message: %w", err)
	}
	a := address{
		index: int(msg.Index),
		scope: msg.Scope,
		flags: uint32(msg.Flags),
		// What the kernel says by leaving the lifetimes out.
		valid:     forever,
		preferred: forever,
	}
	var ip netip.Addr
	for _, attr := range attrs {
		v := attr.Value
		switch {
		case attr.Attr.Type == unix.IFA_LOCAL:
			ip, _ = netip.AddrFromSlice(v)
		case attr.Attr.Type == unix.IFA_ADDRESS && !ip.IsValid():
			// IPv6 has no IFA_LOCAL unless the link is point to point.
			ip, _ = netip.AddrFromSlice(v)
		case attr.Attr.Type == unix.IFA_LABEL:
			a.label = unix.ByteSliceToString(v)
		case attr.Attr.Type == unix.IFA_FLAGS && len(v) >= 4:
			a.flags = binary.NativeEndian.Uint32(v)
		case attr.Attr.Type == unix.IFA_CACHEINFO && len(v) >= unix.SizeofIfaCacheinfo:
			info := nl.DeserializeIfaCacheInfo(v)
			a.valid, a.preferred, a.created = info.Valid, info.Prefered, info.Cstamp
		case attr.Attr.Type == ifaProto && len(v) >= 1:
			a.protocol = v[0]
		}
	}
	a.prefix = netip.PrefixFrom(ip, int(msg.Prefixlen))
	if !a.prefix.IsValid() {
		return address{}, fmt.Errorf("parse address message: no valid address of family %d", msg.Family)
	}
	return a, nil
}

func (k *linux) send(ifindex int, dst net.HardwareAddr, frame []byte) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	c, err := k.conn(ifindex)
	if err != nil {
		return fmt.Errorf("%s: %w", opSend, err)
	}
	if err := c.SetWriteDeadline(time.Now().Add(sendTimeout)); err != nil {
		return fmt.Errorf("%s: %w", opSend, err)
	}
	if _, err := c.WriteTo(frame, &packet.Addr{HardwareAddr: dst}); err != nil {
		return fmt.Errorf("%s: %w", opSend, err)
	}
	return nil
}

// conn returns the packet socket of the interface. It has protocol 0, so that it
// receives nothing. Sockets of interfaces that are no more are few and kept.
func (k *linux) conn(ifindex int) (*packet.Conn, error) {
	if c, ok := k.conns[ifindex]; ok {
		return c, nil
	}
	var c *packet.Conn
	err := k.ns.do(func() (err error) {
		c, err = packet.Listen(&net.Interface{Index: ifindex}, packet.Raw, 0, nil)
		return err
	})
	if err != nil {
		return nil, err
	}
	k.conns[ifindex] = c
	return c, nil
}
