// SPDX-License-Identifier: Apache-2.0

package vrrpnet

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// A link is a network interface by name and index. It keeps its own netlink
// socket, which stays in the network namespace in which it was opened,
// whatever thread asks later.
type link struct {
	name  string
	index int

	mu     sync.Mutex // Close may come while another goroutine asks
	handle *netlink.Handle
	closed bool
}

func openLink(name string) (*link, error) {
	handle, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open netlink socket: %w", err)
	}
	l := &link{name: name, handle: handle}
	if l.index, err = l.lookup(); err != nil {
		handle.Close()
		return nil, err
	}
	return l, nil
}

func (l *link) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	l.handle.Close()
}

// lookup returns the index that the name has now.
func (l *link) lookup() (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return 0, net.ErrClosed
	}
	found, err := l.handle.LinkByName(l.name)
	if _, missing := errors.AsType[netlink.LinkNotFoundError](err); missing {
		return 0, fmt.Errorf("find %s: %w", l.name, ErrInterfaceGone)
	}
	if err != nil {
		return 0, fmt.Errorf("find %s: %w", l.name, err)
	}
	return found.Attrs().Index, nil
}

// check returns ErrInterfaceGone unless the name still means the interface
// that was opened.
func (l *link) check() error {
	index, err := l.lookup()
	if err != nil {
		return err
	}
	if index != l.index {
		return fmt.Errorf("find %s: %w, another has its name", l.name, ErrInterfaceGone)
	}
	return nil
}

// source returns the address to send from: the primary IPv4 address or the
// link-local IPv6 address, but none of exclude. The kernel lists primary
// addresses before secondary ones.
func (l *link) source(f Family, exclude []netip.Addr) (netip.Addr, error) {
	list, err := l.addresses(f)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("list addresses of %s: %w", l.name, err)
	}
	var fallback netip.Addr
	for _, a := range list {
		ip, ok := netip.AddrFromSlice(a.IP)
		ip = ip.Unmap()
		if !ok || slices.Contains(exclude, ip) || a.Flags&unix.IFA_F_DADFAILED != 0 || f == IPv6 && !ip.IsLinkLocalUnicast() {
			continue
		}
		// A tentative address is better than none: it will be usable once duplicate
		// address detection ends.
		if a.Flags&unix.IFA_F_TENTATIVE == 0 {
			return ip, nil
		}
		if !fallback.IsValid() {
			fallback = ip
		}
	}
	if !fallback.IsValid() {
		return netip.Addr{}, fmt.Errorf("choose source on %s: %w", l.name, ErrNoSource)
	}
	return fallback, nil
}

// addresses lists the addresses of the link. The kernel interrupts a dump
// during which an address changed; then it is asked again, a few times.
func (l *link) addresses(f Family) ([]netlink.Addr, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, net.ErrClosed
	}
	family := unix.AF_INET
	if f == IPv6 {
		family = unix.AF_INET6
	}
	self := &netlink.Dummy{LinkAttrs: netlink.LinkAttrs{Name: l.name, Index: l.index}}
	for tries := 1; ; tries++ {
		list, err := l.handle.AddrList(self, family)
		if !errors.Is(err, netlink.ErrDumpInterrupted) || tries == 5 {
			return list, err
		}
	}
}
