// SPDX-License-Identifier: Apache-2.0

// Package netnstest gives tests network namespaces of their own. Nothing is
// pinned in the file system: a namespace ends with the test, or with the test
// process, whatever ended that.
package netnstest

import (
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// A Host is a network namespace and an operating system thread that stays in
// it. Sockets opened by Do belong to the namespace for good. So do processes
// started by Do, and since the thread lives as long as the Host, a parent-death
// signal set for them fires when the Host ends, not before.
type Host struct {
	ns    netns.NsHandle
	calls chan func()
}

// NewHost makes a Host that ends with the test. It has a loopback interface, and
// no duplicate address detection. Without root the test is skipped; with
// HIGHWATER_REQUIRE_LAB=1 it fails instead.
func NewHost(t testing.TB) *Host {
	t.Helper()
	if os.Geteuid() != 0 {
		if os.Getenv("HIGHWATER_REQUIRE_LAB") == "1" {
			t.Fatal("network namespaces need root")
		}
		t.Skip("network namespaces need root")
	}
	h := &Host{calls: make(chan func())}
	made := make(chan error)
	go h.run(made)
	if err := <-made; err != nil {
		t.Fatalf("make network namespace: %v", err)
	}
	t.Cleanup(func() { close(h.calls) })
	h.MustDo(t, func() error {
		// /proc/sys/net shows the namespace of the thread that opens it.
		if err := os.WriteFile("/proc/sys/net/ipv6/conf/default/accept_dad", []byte("0"), 0o644); err != nil {
			return err
		}
		return netlink.LinkSetUp(&netlink.Device{LinkAttrs: netlink.LinkAttrs{Name: "lo", Index: 1}})
	})
	return h
}

func (h *Host) run(made chan<- error) {
	// Never unlocked: the runtime ends the thread with this goroutine.
	runtime.LockOSThread()
	if unix.Gettid() == unix.Getpid() {
		// The main thread cannot end, and /proc/self would describe its new
		// namespace as that of the process. While it is locked here, another
		// goroutine gets another thread.
		defer runtime.UnlockOSThread()
		done := make(chan struct{})
		go func() { defer close(done); h.run(made) }()
		<-done
		return
	}
	var err error
	h.ns, err = netns.New()
	made <- err
	if err != nil {
		return
	}
	defer h.ns.Close()
	for call := range h.calls {
		call()
	}
}

// Do runs f on the Host's thread, one call at a time, and returns its error.
func (h *Host) Do(f func() error) error {
	result := make(chan error, 1)
	h.calls <- func() { result <- f() }
	return <-result
}

// MustDo is Do for what has to succeed.
func (h *Host) MustDo(t testing.TB, f func() error) {
	t.Helper()
	if err := h.Do(f); err != nil {
		t.Fatal(err)
	}
}

// Connect joins two Hosts by a virtual cable between interfaces of the given
// names, and sets both up.
func Connect(t testing.TB, a *Host, aName string, b *Host, bName string) {
	t.Helper()
	a.MustDo(t, func() error {
		err := netlink.LinkAdd(&netlink.Veth{
			LinkAttrs: netlink.LinkAttrs{Name: aName}, PeerName: bName, PeerNamespace: netlink.NsFd(int(b.ns)),
		})
		if err != nil {
			return fmt.Errorf("add veth %s: %w", aName, err)
		}
		return nil
	})
	a.SetUp(t, aName, true)
	b.SetUp(t, bName, true)
}

// SetUp sets an interface up or down.
func (h *Host) SetUp(t testing.TB, name string, up bool) {
	t.Helper()
	h.OnLink(t, name, func(l netlink.Link) error {
		if up {
			return netlink.LinkSetUp(l)
		}
		return netlink.LinkSetDown(l)
	})
}

// AddAddress adds an address with its prefix, such as "10.0.0.1/24". It is
// usable at once.
func (h *Host) AddAddress(t testing.TB, name, prefix string) {
	t.Helper()
	addr := parse(t, prefix)
	addr.Flags = unix.IFA_F_NODAD
	h.OnLink(t, name, func(l netlink.Link) error { return netlink.AddrAdd(l, addr) })
}

// DeleteAddress removes an address that AddAddress added.
func (h *Host) DeleteAddress(t testing.TB, name, prefix string) {
	t.Helper()
	addr := parse(t, prefix)
	h.OnLink(t, name, func(l netlink.Link) error { return netlink.AddrDel(l, addr) })
}

// Addresses returns the addresses of an interface in the kernel's order, but
// not the tentative ones, which are not usable yet.
func (h *Host) Addresses(t testing.TB, name string) []netip.Addr {
	t.Helper()
	var out []netip.Addr
	h.OnLink(t, name, func(l netlink.Link) error {
		list, err := netlink.AddrList(l, netlink.FAMILY_ALL)
		for _, a := range list {
			if a.Flags&unix.IFA_F_TENTATIVE == 0 {
				ip, _ := netip.AddrFromSlice(a.IP)
				out = append(out, ip.Unmap())
			}
		}
		return err
	})
	return out
}

// OnLink runs f on the Host's thread with one of its interfaces.
func (h *Host) OnLink(t testing.TB, name string, f func(netlink.Link) error) {
	t.Helper()
	h.MustDo(t, func() error {
		l, err := netlink.LinkByName(name)
		if err != nil {
			return fmt.Errorf("find %s: %w", name, err)
		}
		if err := f(l); err != nil {
			return fmt.Errorf("change %s: %w", name, err)
		}
		return nil
	})
}

func parse(t testing.TB, prefix string) *netlink.Addr {
	t.Helper()
	addr, err := netlink.ParseAddr(prefix)
	if err != nil {
		t.Fatal(err)
	}
	return addr
}
