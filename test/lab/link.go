// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"fmt"
	"net"
	"net/netip"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// mac is the hardware address of the host's interface, which is the same after every boot: others may have it in
// their caches.
func (h *Host) mac() net.HardwareAddr { return net.HardwareAddr{2, 0x77, 0, 0, 0, byte(h.number)} }

// plugIn gives the host its interface and addresses.
func (h *Host) plugIn() error {
	settings := func() error {
		// Duplicate address detection would keep IPv6 unusable for a second or two.
		for _, which := range []string{"all", "default"} {
			if err := os.WriteFile("/proc/sys/net/ipv6/conf/"+which+"/accept_dad", []byte("0"), 0o644); err != nil {
				return fmt.Errorf("turn duplicate address detection off: %w", err)
			}
		}
		return nil
	}
	if err := inside(h.place.namespaces, settings); err != nil {
		return err
	}
	if err := h.lab.sw.plugIn(h.name, h.mac(), int(h.place.namespaces.file(unix.CLONE_NEWNET).Fd())); err != nil {
		return err
	}
	return inside(h.place.namespaces, func() error {
		loopback, err := netlink.LinkByName("lo")
		if err != nil {
			return fmt.Errorf("find lo: %w", err)
		}
		if err := netlink.LinkSetUp(loopback); err != nil {
			return fmt.Errorf("set lo up: %w", err)
		}
		link, err := netlink.LinkByName(Interface)
		if err != nil {
			return fmt.Errorf("find %s: %w", Interface, err)
		}
		if err := netlink.LinkSetUp(link); err != nil {
			return fmt.Errorf("set %s up: %w", Interface, err)
		}
		for _, prefix := range []netip.Prefix{
			netip.PrefixFrom(h.address, Subnet.Bits()),
			netip.PrefixFrom(h.Address6(), Subnet6.Bits()),
		} {
			if err := addAddress(link, prefix); err != nil {
				return err
			}
		}
		return nil
	})
}

func addAddress(link netlink.Link, prefix netip.Prefix) error {
	mask := net.CIDRMask(prefix.Bits(), prefix.Addr().BitLen())
	address := &netlink.Addr{IPNet: &net.IPNet{IP: prefix.Addr().AsSlice(), Mask: mask}}
	if err := netlink.AddrReplace(link, address); err != nil {
		return fmt.Errorf("add %s: %w", prefix, err)
	}
	return nil
}

// AddAddress puts an address on the host's interface, without a word to others.
func (h *Host) AddAddress(prefix netip.Prefix) error {
	return h.onLink(func(link netlink.Link) error { return addAddress(link, prefix) })
}

// RemoveAddress takes an address from the host's interface.
func (h *Host) RemoveAddress(prefix netip.Prefix) error {
	return h.onLink(func(link netlink.Link) error {
		mask := net.CIDRMask(prefix.Bits(), prefix.Addr().BitLen())
		if err := netlink.AddrDel(link, &netlink.Addr{IPNet: &net.IPNet{IP: prefix.Addr().AsSlice(), Mask: mask}}); err != nil {
			return fmt.Errorf("remove %s: %w", prefix, err)
		}
		return nil
	})
}

// Carries reports whether the host has the address on any of its interfaces; a host that is off carries nothing.
func (h *Host) Carries(address netip.Addr) (bool, error) {
	h.mu.Lock() // so that it is not switched off under a look
	defer h.mu.Unlock()
	if h.init == nil {
		return false, nil
	}
	found := false
	err := inside(h.place.namespaces, func() error {
		addresses, err := netlink.AddrList(nil, netlink.FAMILY_ALL)
		if err != nil {
			return fmt.Errorf("list the addresses of %s: %w", h.name, err)
		}
		for _, a := range addresses {
			if ip, ok := netip.AddrFromSlice(a.IP); ok && ip.Unmap() == address {
				found = true
			}
		}
		return nil
	})
	return found, err
}

// LinkDown takes the host's own interface down, as an administrator would. The kernel then forgets its IPv6
// addresses; IPv4 ones stay.
func (h *Host) LinkDown() error { return h.onLink(netlink.LinkSetDown) }

// LinkUp undoes LinkDown and gives the host its own IPv6 address back.
func (h *Host) LinkUp() error {
	return h.onLink(func(link netlink.Link) error {
		if err := netlink.LinkSetUp(link); err != nil {
			return fmt.Errorf("set %s up: %w", Interface, err)
		}
		return addAddress(link, netip.PrefixFrom(h.Address6(), Subnet6.Bits()))
	})
}

// Unplug pulls the host's cable: its interface loses the carrier. Plug undoes it.
func (h *Host) Unplug() error { return h.lab.sw.setPort(h.name, false) }

// Plug undoes Unplug.
func (h *Host) Plug() error { return h.lab.sw.setPort(h.name, true) }

func (h *Host) onLink(fn func(netlink.Link) error) error {
	return h.Inside(func() error {
		link, err := netlink.LinkByName(Interface)
		if err != nil {
			return fmt.Errorf("find %s on %s: %w", Interface, h.name, err)
		}
		return fn(link)
	})
}
