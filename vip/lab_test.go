// SPDX-License-Identifier: Apache-2.0

package vip

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// childEnv makes the test binary play a part in a process of its own.
const childEnv = "HIGHWATER_VIP_CHILD"

func TestMain(m *testing.M) {
	var err error
	switch part := os.Getenv(childEnv); part {
	case "":
		os.Exit(m.Run())
	case "claim":
		err = childClaim(FenceAuto)
	case "claim-unfenced":
		err = childClaim(FenceNone)
	case "burn":
		fmt.Println("ready")
		go func() {
			_, _ = io.Copy(io.Discard, os.Stdin)
			os.Exit(0)
		}()
		for n := uint64(0); ; n++ {
			burned.Store(n)
		}
	case "fence-rights":
		err = childFenceRights()
	case "serve":
		err = childServe(":3306")
	case "serve-vip":
		err = childServe("10.77.0.100:3306")
	default:
		err = fmt.Errorf("no such part: %s", part)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// burned is what the part "burn" computes.
var burned atomic.Uint64

// childNetns is the namespace that the parent has handed down.
const childNetns = "/proc/self/fd/3"

// childLease is the lease of childClaim. The kernel is told two seconds where there
// is a fence, so that the address is there when that ends.
const childLease = 1500 * time.Millisecond

// childClaim holds the addresses until its standard input ends, then exits
// without a Release.
func childClaim(fence SessionFence) error {
	m, err := New(Config{Interface: "eth0", Addresses: prefixes(vip4, vip6), Netns: childNetns, SessionFence: fence})
	if err != nil {
		return err
	}
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	ctx := context.Background()
	if err := m.Claim(ctx, childLease); err != nil {
		return err
	}
	fmt.Println("ready")
	for {
		time.Sleep(300 * time.Millisecond)
		if err := m.Renew(ctx, childLease); err != nil {
			return err
		}
	}
}

// childFenceRights says what becomes of the fence without rights.
func childFenceRights() error {
	cfg := Config{Interface: "eth0", Addresses: prefixes(vip4, vip6)}
	m, err := New(cfg)
	if err != nil {
		return err
	}
	s := m.Fence()
	fmt.Printf("auto: %t %v\n", s.Active, s.Err)
	if err := m.Close(); err != nil {
		return err
	}
	cfg.SessionFence = FenceNFT
	_, err = New(cfg)
	fmt.Printf("nft: %v\n", err)
	return nil
}

// childServe echoes what it is sent, and greets, until its standard input ends.
func childServe(address string) error {
	runtime.LockOSThread()
	ns, err := netns.GetFromPath(childNetns)
	if err != nil {
		return err
	}
	if err := netns.Set(ns); err != nil {
		return err
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				_, _ = io.WriteString(c, "hello\n")
				_, _ = io.Copy(c, c)
			}()
		}
	}()
	fmt.Println("ready")
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

// startChild starts the part in the namespace and waits until it is ready. The
// process ends with the test at the latest.
func startChild(t testing.TB, part string, h *host) *os.Process {
	t.Helper()
	fd, err := unix.Dup(int(h.ns.handle))
	if err != nil {
		t.Fatal(err)
	}
	file := os.NewFile(uintptr(fd), "netns")
	defer file.Close()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+part)
	cmd.ExtraFiles = []*os.File{file}
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stdin.Close()
		_ = cmd.Process.Kill() // it may be stopped, or killed already
		_ = cmd.Wait()
	})
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil || strings.TrimSpace(line) != "ready" {
		t.Fatalf("child said %q, %v", line, err)
	}
	return cmd.Process
}

// requireLab skips the test unless network namespaces can be made.
func requireLab(t testing.TB) {
	t.Helper()
	if os.Geteuid() == 0 {
		return
	}
	const reason = "network namespaces need root"
	if os.Getenv("HIGHWATER_REQUIRE_LAB") == "1" {
		t.Fatal(reason)
	}
	t.Skip(reason)
}

// A host is a network namespace of the test, without a name: it is gone when
// the test process is.
type host struct {
	ns    namespace
	links *netlink.Handle
}

func newHost(t testing.TB) *host {
	t.Helper()
	h := &host{}
	errc := make(chan error, 1)
	go func() {
		// The thread ends with this goroutine, since it stays locked.
		runtime.LockOSThread()
		var err error
		h.ns.handle, err = netns.New()
		for _, sysctl := range []string{"all/accept_dad", "default/accept_dad", "default/accept_ra"} {
			err = errors.Join(err, os.WriteFile("/proc/sys/net/ipv6/conf/"+sysctl, []byte("0"), 0))
		}
		errc <- err
	}()
	if err := <-errc; err != nil {
		t.Fatal(err)
	}
	var err error
	if h.links, err = netlink.NewHandleAt(h.ns.handle, unix.NETLINK_ROUTE); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		h.links.Close()
		if err := h.ns.close(); err != nil {
			t.Error(err)
		}
	})
	h.up(t, "lo")
	return h
}

// newHosts returns two hosts, whose interfaces eth0 are joined: 10.77.0.1 and
// fd77::1, 10.77.0.2 and fd77::2.
func newHosts(t testing.TB) (a, b *host) {
	t.Helper()
	requireLab(t)
	a, b = newHost(t), newHost(t)
	err := a.links.LinkAdd(&netlink.Veth{
		LinkAttrs:     netlink.LinkAttrs{Name: "eth0"},
		PeerName:      "eth0",
		PeerNamespace: netlink.NsFd(b.ns.handle),
	})
	if err != nil {
		t.Fatal(err)
	}
	for i, h := range []*host{a, b} {
		h.up(t, "eth0")
		h.add(t, fmt.Sprintf("10.77.0.%d/24", i+1), 0)
		h.add(t, fmt.Sprintf("fd77::%d/64", i+1), 0)
	}
	return a, b
}

func (h *host) eth0(t testing.TB) netlink.Link {
	t.Helper()
	l, err := h.links.LinkByName("eth0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func (h *host) up(t testing.TB, name string) {
	t.Helper()
	l, err := h.links.LinkByName(name)
	if err == nil {
		err = h.links.LinkSetUp(l)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// add adds an address with a valid lifetime in seconds; 0: for ever.
func (h *host) add(t testing.TB, prefix string, valid int) {
	t.Helper()
	n, err := netlink.ParseIPNet(prefix)
	if err == nil {
		err = h.links.AddrReplace(h.eth0(t), &netlink.Addr{IPNet: n, ValidLft: valid, PreferedLft: valid, Flags: unix.IFA_F_NODAD})
	}
	if err != nil {
		t.Fatalf("add %s: %v", prefix, err)
	}
}

func (h *host) del(t testing.TB, prefix string) {
	t.Helper()
	n, err := netlink.ParseIPNet(prefix)
	if err == nil {
		err = h.links.AddrDel(h.eth0(t), &netlink.Addr{IPNet: n})
	}
	if err != nil {
		t.Fatalf("delete %s: %v", prefix, err)
	}
}

// has reports whether the host has the address of the prefix.
func (h *host) has(t testing.TB, prefix string) bool {
	t.Helper()
	list, err := h.links.AddrList(nil, netlink.FAMILY_ALL)
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range list {
		if ip, _ := netip.AddrFromSlice(a.IP); ip.Unmap() == netip.MustParsePrefix(prefix).Addr() {
			return true
		}
	}
	return false
}

// dial connects to the address from the host.
func (h *host) dial(t testing.TB, address string) net.Conn {
	t.Helper()
	var c net.Conn
	err := h.ns.do(func() (err error) {
		c, err = net.DialTimeout("tcp", address, 5*time.Second)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// session connects from the host and waits for the greeting of childServe.
func (h *host) session(t testing.TB, address string) net.Conn {
	t.Helper()
	c := h.dial(t, address)
	if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(c, make([]byte, len("hello\n"))); err != nil {
		t.Fatal(err)
	}
	return c
}

// manager returns a Manager on the host.
func (h *host) manager(t testing.TB, addresses ...string) *Manager {
	t.Helper()
	return h.fenced(t, FenceAuto, "", addresses...)
}

// fenced returns a Manager on the host with a session fence or none.
func (h *host) fenced(t testing.TB, fence SessionFence, instance string, addresses ...string) *Manager {
	t.Helper()
	m := h.open(t, fence, instance, addresses...)
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	return m
}

// open returns a Manager that the test closes.
func (h *host) open(t testing.TB, fence SessionFence, instance string, addresses ...string) *Manager {
	t.Helper()
	m, err := New(Config{
		Interface:    "eth0",
		Addresses:    prefixes(addresses...),
		Netns:        fmt.Sprintf("/proc/self/fd/%d", int(h.ns.handle)),
		SessionFence: fence,
		Instance:     instance,
	})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// until waits until the condition holds and returns how long that took. It gives
// up after a time that no test takes unless something is wrong.
func until(t testing.TB, what string, condition func() bool) time.Duration {
	t.Helper()
	start := time.Now()
	for !condition() {
		if time.Since(start) > 20*time.Second {
			t.Fatalf("%s: not within %s", what, time.Since(start))
		}
		time.Sleep(2 * time.Millisecond)
	}
	return time.Since(start)
}
