// SPDX-License-Identifier: Apache-2.0

package vip

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// fencedServer serves on the host until the test ends: what a connection to
// port 3306 sends comes back; on port 3307 the time comes every millisecond, and on
// port 3308 more than a segment at once.
func fencedServer(t *testing.T, h *host) {
	t.Helper()
	for port, serve := range map[int]func(net.Conn){
		3306: func(c net.Conn) { _, _ = io.Copy(c, c) },
		3307: func(c net.Conn) {
			for {
				if err := binary.Write(c, binary.BigEndian, bootTime()); err != nil {
					return
				}
				time.Sleep(time.Millisecond)
			}
		},
		3308: func(c net.Conn) {
			block := make([]byte, 256<<10)
			for {
				if _, err := c.Write(block); err != nil {
					return
				}
				time.Sleep(5 * time.Millisecond)
			}
		},
	} {
		var l net.Listener
		err := h.ns.do(func() (err error) {
			l, err = net.Listen("tcp", fmt.Sprintf(":%d", port))
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		var sessions sync.WaitGroup
		var mu sync.Mutex
		var open []net.Conn
		sessions.Go(func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				mu.Lock()
				open = append(open, c)
				mu.Unlock()
				sessions.Go(func() {
					defer c.Close()
					serve(c)
				})
			}
		})
		t.Cleanup(func() {
			l.Close()
			mu.Lock()
			for _, c := range open {
				c.Close()
			}
			mu.Unlock()
			sessions.Wait()
		})
	}
}

// An ending is how a session, or a row of connects, ended.
type ending struct {
	name string
	// last is when the last step that succeeded was begun, by whoever began it.
	last time.Duration
	at   time.Duration
	err  error
}

// sessions are what fencedSessions has begun.
type sessions struct {
	cancel  context.CancelFunc
	endings chan ending
	n       int
	// stalls is the longest that this process, or the machine, stood still.
	stalls atomic.Int64
}

// fencedSessions keeps every kind of session with the virtual addresses busy from
// the two hosts, and connects again and again, until each fails, or is ended by ctx,
// and then delivers how.
func fencedSessions(ctx context.Context, t *testing.T, a, b *host) *sessions {
	t.Helper()
	s := &sessions{endings: make(chan ending, 100)}
	localRoute(t, a)
	ctx, s.cancel = context.WithCancel(ctx)
	t.Cleanup(s.cancel)
	session := func(h *host, address string) net.Conn {
		c := h.dial(t, address)
		context.AfterFunc(ctx, func() { c.Close() })
		return c
	}
	watch := func(name string, step func() (time.Duration, error)) {
		s.n++
		go func() {
			e := ending{name: name}
			for e.err == nil {
				var last time.Duration
				last, e.err = step()
				e.last = max(e.last, last)
			}
			e.at = bootTime()
			s.endings <- e
		}()
	}
	for from, h := range map[string]*host{"remote": b, "local": a} {
		for _, ip := range []string{"10.77.0.100", "fd77::100"} {
			asking, buf := session(h, net.JoinHostPort(ip, "3306")), make([]byte, 1)
			watch(from+" "+ip+" asking", func() (time.Duration, error) {
				time.Sleep(time.Millisecond)
				begun := bootTime()
				if _, err := asking.Write([]byte{'x'}); err != nil {
					return 0, err
				}
				if _, err := asking.Read(buf); err != nil {
					return 0, err
				}
				return begun, nil
			})
			waiting := session(h, net.JoinHostPort(ip, "3307"))
			watch(from+" "+ip+" waiting", func() (said time.Duration, err error) {
				err = binary.Read(waiting, binary.BigEndian, &said)
				return said, err
			})
			taking, rest := session(h, net.JoinHostPort(ip, "3308")), make([]byte, 64<<10)
			watch(from+" "+ip+" taking in", func() (time.Duration, error) {
				_, err := taking.Read(rest)
				return 0, err
			})
			watch(from+" "+ip+" connecting", func() (begun time.Duration, err error) {
				// In the namespace from the first connect to the last.
				var last time.Duration
				err = h.ns.do(func() error {
					dialer := net.Dialer{Timeout: 10 * time.Second}
					for {
						begun := bootTime()
						c, err := dialer.DialContext(ctx, "tcp", net.JoinHostPort(ip, "3306"))
						if err != nil {
							return err
						}
						last = begun
						c.Close()
						time.Sleep(2 * time.Millisecond)
					}
				})
				return last, err
			})
		}
	}
	go func() {
		for begun := bootTime(); ctx.Err() == nil; begun = bootTime() {
			time.Sleep(time.Millisecond)
			s.stalls.Store(max(s.stalls.Load(), int64(bootTime()-begun)))
		}
	}()
	return s
}

// localRoute waits until the host is able to connect to its own IPv6 address. The
// kernel makes it local some time after it is there; who connects before that waits
// for three seconds for nothing.
func localRoute(t *testing.T, h *host) {
	t.Helper()
	filter := netlink.Route{Table: unix.RT_TABLE_LOCAL, Dst: &net.IPNet{IP: net.ParseIP("fd77::100"), Mask: net.CIDRMask(128, 128)}}
	until(t, "local route", func() bool {
		list, err := h.links.RouteListFiltered(netlink.FAMILY_V6, &filter, netlink.RT_FILTER_TABLE|netlink.RT_FILTER_DST)
		return err == nil && len(list) > 0
	})
}

// undisturbed fails the test if one of the sessions ends within the time.
func (s *sessions) undisturbed(t *testing.T, d time.Duration) {
	t.Helper()
	select {
	case e := <-s.endings:
		t.Fatalf("%s: %v", e.name, e.err)
	case <-time.After(d):
	}
}

// cut waits for all endings and returns what is wrong with them: each has to be
// told, by the deadline, and nothing may succeed after it.
func (s *sessions) cut(t *testing.T, deadline time.Duration) []string {
	t.Helper()
	var wrong []string
	var at, last time.Duration
	defer time.AfterFunc(deadline-bootTime()+10*time.Second, s.cancel).Stop()
	for range s.n {
		e := <-s.endings
		stalls := 2 * time.Duration(s.stalls.Load())
		switch {
		case !told(e.err):
			wrong = append(wrong, fmt.Sprintf("%s: ended with %v, want a reset or a refusal", e.name, e.err))
		case e.last > deadline:
			wrong = append(wrong, fmt.Sprintf("%s: was served %s late", e.name, e.last-deadline))
		case e.at > deadline+stalls:
			wrong = append(wrong, fmt.Sprintf("%s: was told %s late, and this process never stood still for %s", e.name, e.at-deadline, stalls))
		}
		at, last = max(at, e.at), max(last, e.last)
	}
	t.Logf("%s before the deadline the last was served, %s before it the last was told; the longest stall was %s",
		(deadline - last).Round(time.Millisecond), (deadline - at).Round(time.Millisecond), time.Duration(s.stalls.Load()).Round(time.Millisecond))
	return wrong
}

// told reports whether the error is what a host says, and not what its silence is.
func told(err error) bool {
	for _, errno := range []unix.Errno{
		unix.ECONNRESET, unix.ECONNREFUSED,
		unix.EPIPE,        // the reset came before the last write
		unix.ECONNABORTED, // a client on this host, destroyed by Release
	} {
		if errors.Is(err, errno) {
			return true
		}
	}
	return false
}

// alive returns a function that checks that sessions with the host's own addresses
// go on.
func alive(t *testing.T, b *host) func() {
	t.Helper()
	conns := []net.Conn{b.dial(t, "10.77.0.1:3306"), b.dial(t, "[fd77::1]:3306")}
	return func() {
		t.Helper()
		for _, c := range conns {
			_ = c.SetDeadline(time.Now().Add(5 * time.Second))
			if _, err := c.Write([]byte("x")); err != nil {
				t.Errorf("session with %s: %v", c.RemoteAddr(), err)
			}
			if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
				t.Errorf("session with %s: %v", c.RemoteAddr(), err)
			}
		}
	}
}

// The supervisor is gone, the server is not: at the end of the lease every client
// is told, those that ask, those that wait for an answer and those that connect,
// from other hosts and from this one.
func TestKernelFenceCutsForAProcess(t *testing.T) {
	for _, signal := range []os.Signal{unix.SIGKILL, unix.SIGSTOP} {
		t.Run(signal.String(), func(t *testing.T) {
			a, b := newHosts(t)
			fencedServer(t, a)
			others := alive(t, b)
			p := startChild(t, "claim", a)
			s := fencedSessions(t.Context(), t, a, b)
			s.undisturbed(t, childLease+500*time.Millisecond) // it renews
			if err := p.Signal(signal); err != nil {
				t.Fatal(err)
			}
			for _, wrong := range s.cut(t, bootTime()+childLease+FenceGrain) {
				t.Error(wrong)
			}
			others()
		})
	}
}

// The same without the fence: most of them hear nothing. It shows that the test
// above is one of the fence.
func TestKernelWithoutFence(t *testing.T) {
	a, b := newHosts(t)
	fencedServer(t, a)
	p := startChild(t, "claim-unfenced", a)
	s := fencedSessions(t.Context(), t, a, b)
	if err := p.Signal(unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	deadline := bootTime() + childLease + FenceGrain
	defer time.AfterFunc(childLease+FenceGrain, s.cancel).Stop()
	wrong := s.cut(t, deadline)
	if len(wrong) < s.n/2 {
		t.Errorf("only %d of %d were not told in time", len(wrong), s.n)
	}
}

// A lease need not be whole seconds: when it ends, the address is still there, and
// nothing that the server says after that is heard.
func TestKernelFenceEndsToTheMillisecond(t *testing.T) {
	a, b := newHosts(t)
	fencedServer(t, a)
	m := a.fenced(t, FenceNFT, "", vip4, vip6)
	mustClaim(t, m, 30*time.Second)
	s := fencedSessions(t.Context(), t, a, b)
	start := bootTime()
	if err := m.Renew(t.Context(), childLease); err != nil {
		t.Fatal(err)
	}
	for _, wrong := range s.cut(t, start+childLease+FenceGrain) {
		t.Error(wrong)
	}
	if !a.has(t, vip4) || !a.has(t, vip6) {
		t.Error("the addresses are gone: nothing was to be seen of the fence")
	}
	time.Sleep(start + childLease - bootTime()) // it ends up to a tick early
	if err := m.Renew(t.Context(), childLease); !errors.Is(err, ErrLost) {
		t.Errorf("Renew: %v, want ErrLost", err)
	}
}

// No renewal disturbs a session, however many come; and Release ends all of them.
func TestKernelFenceRenewals(t *testing.T) {
	a, b := newHosts(t)
	fencedServer(t, a)
	others := alive(t, b)
	m := a.fenced(t, FenceNFT, "", vip4, vip6)
	mustClaim(t, m, time.Second)
	s := fencedSessions(t.Context(), t, a, b)
	renewals := 0
	for end := time.Now().Add(4 * time.Second); time.Now().Before(end); renewals++ {
		select {
		case e := <-s.endings:
			t.Fatalf("%s: %v after %d renewals", e.name, e.err, renewals)
		default:
		}
		if err := m.Renew(t.Context(), time.Second); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d renewals", renewals)
	start := bootTime()
	if err := m.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Logf("released in %s", bootTime()-start)
	for range s.n {
		if e := <-s.endings; strings.HasSuffix(e.name, "connecting") {
			continue // perhaps into the void, now that the address is gone
		} else if !told(e.err) || e.last > start+FenceGrain {
			t.Errorf("%s: %v, was served until %s after Release began", e.name, e.err, e.last-start)
		}
	}
	others()
	if f := m.Fence(); f.Restored != 0 {
		t.Errorf("Fence: %+v, and nobody touched it", f)
	}
}

// A stuckKernel removes no address and destroys no socket.
type stuckKernel struct{ kernel }

func (stuckKernel) remove(address) error { return errFault }
func (stuckKernel) destroy(socket) error { return errFault }

// Release cuts before all else: even if nothing else succeeds, everybody is told.
// After that the host can claim again.
func TestKernelFenceReleaseCutsFirst(t *testing.T) {
	a, b := newHosts(t)
	fencedServer(t, a)
	m := a.fenced(t, FenceNFT, "", vip4, vip6)
	real := m.kernel
	for range 2 {
		m.kernel = real
		mustClaim(t, m, 30*time.Second)
		s := fencedSessions(t.Context(), t, a, b)
		m.kernel = stuckKernel{real}
		deadline := bootTime() + FenceGrain
		if err := m.Release(t.Context()); !errors.Is(err, errFault) {
			t.Errorf("Release: %v", err)
		}
		for _, wrong := range s.cut(t, deadline) {
			t.Error(wrong)
		}
		if !a.has(t, vip4) || !a.has(t, vip6) {
			t.Error("the addresses are gone: nothing was to be seen of the fence")
		}
	}
	m.kernel = real
}

// changeNFT changes the nftables of the host as somebody else would.
func (h *host) changeNFT(change func(c *nftables.Conn) error) error {
	return h.ns.do(func() error {
		c, err := nftables.New()
		if err != nil {
			return err
		}
		return errors.Join(change(c), c.Flush())
	})
}

func (h *host) nft(t *testing.T, change func(c *nftables.Conn) error) {
	t.Helper()
	if err := h.changeNFT(change); err != nil {
		t.Fatal(err)
	}
}

// fenceTables returns the names of the tables on the host.
func (h *host) fenceTables(t *testing.T) string {
	t.Helper()
	var names []string
	h.nft(t, func(c *nftables.Conn) error {
		list, err := c.ListTables()
		for _, table := range list {
			names = append(names, table.Name)
		}
		return err
	})
	return strings.Join(names, " ")
}

// Whatever somebody else takes away, no session suffers, and the next renewal puts
// it back: the fence then ends as ever.
func TestKernelFencePutBack(t *testing.T) {
	for name, change := range map[string]func(c *nftables.Conn, ours *nftables.Table) error{
		"flush ruleset": func(c *nftables.Conn, _ *nftables.Table) error { c.FlushRuleset(); return nil },
		"delete table":  func(c *nftables.Conn, ours *nftables.Table) error { c.DelTable(ours); return nil },
		"flush table":   func(c *nftables.Conn, ours *nftables.Table) error { c.FlushTable(ours); return nil },
		"flush chain": func(c *nftables.Conn, ours *nftables.Table) error {
			c.FlushChain(&nftables.Chain{Table: ours, Name: "leaving"})
			return nil
		},
		"delete one rule": func(c *nftables.Conn, ours *nftables.Table) error {
			rules, err := c.GetRules(ours, &nftables.Chain{Name: "input"})
			if err != nil {
				return err
			}
			return c.DelRule(&nftables.Rule{Table: ours, Chain: &nftables.Chain{Name: "input"}, Handle: rules[0].Handle})
		},
		"same name, other content": func(c *nftables.Conn, ours *nftables.Table) error {
			c.FlushRuleset()
			c.AddTable(ours)
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a, b := newHosts(t)
			fencedServer(t, a)
			m := a.fenced(t, FenceNFT, "", vip4, vip6)
			mustClaim(t, m, 30*time.Second)
			s := fencedSessions(t.Context(), t, a, b)
			for i := range uint64(2) {
				a.nft(t, func(c *nftables.Conn) error {
					return change(c, &nftables.Table{Name: m.Fence().Table, Family: nftables.TableFamilyINet})
				})
				time.Sleep(30 * time.Millisecond) // packets pass
				if err := m.Renew(t.Context(), 30*time.Second); err != nil {
					t.Fatal(err)
				}
				if got := m.Fence().Restored; got != i+1 {
					t.Errorf("restored %d times, want %d", got, i+1)
				}
			}
			// The renewal after that finds it whole.
			start := bootTime()
			if err := m.Renew(t.Context(), childLease); err != nil {
				t.Fatal(err)
			}
			if got := m.Fence().Restored; got != 2 {
				t.Errorf("restored %d times, want 2", got)
			}
			for _, wrong := range s.cut(t, start+childLease+FenceGrain) {
				t.Error(wrong)
			}
		})
	}
	t.Run("flush sets", func(t *testing.T) {
		// That does cut, at once, and until the next renewal.
		a, b := newHosts(t)
		fencedServer(t, a)
		m := a.fenced(t, FenceNFT, "", vip4)
		mustClaim(t, m, 30*time.Second)
		ours := &nftables.Table{Name: m.Fence().Table, Family: nftables.TableFamilyINet}
		a.nft(t, func(c *nftables.Conn) error {
			c.FlushSet(&nftables.Set{Table: ours, Name: "ipv4_a"})
			c.FlushSet(&nftables.Set{Table: ours, Name: "ipv4_b"})
			return nil
		})
		if err := m.Renew(t.Context(), 30*time.Second); err != nil {
			t.Fatal(err)
		}
		b.dial(t, "10.77.0.100:3306")
	})
}

// Others write large rulesets all the time, and only one can write at a time.
func TestKernelFenceBesideLargeRulesets(t *testing.T) {
	a, b := newHosts(t)
	fencedServer(t, a)
	m := a.fenced(t, FenceNFT, "", vip4, vip6)
	mustClaim(t, m, childLease)
	s := fencedSessions(t.Context(), t, a, b)
	var elements []nftables.SetElement
	for i := range uint32(5000) {
		elements = append(elements, nftables.SetElement{Key: binary.BigEndian.AppendUint32(nil, 0xac100000+i)})
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*childLease)
	defer cancel()
	written := make(chan int, 1)
	go func() {
		n := 0
		for ; ctx.Err() == nil; n++ {
			err := a.changeNFT(func(c *nftables.Conn) error {
				table := &nftables.Table{Name: "others", Family: nftables.TableFamilyINet}
				c.AddTable(table)
				c.DelTable(table)
				c.AddTable(table)
				set := &nftables.Set{Table: table, Name: "block", ID: 1, KeyType: nftables.TypeIPAddr}
				// Attributes of a message are no longer than 64 KiB.
				if err := c.AddSet(set, elements[:1000]); err != nil {
					return err
				}
				for i := 1000; i < len(elements); i += 1000 {
					if err := c.SetAddElements(set, elements[i:i+1000]); err != nil {
						return err
					}
				}
				return nil
			})
			if err != nil {
				t.Error(err)
				break
			}
		}
		written <- n
	}()
	var longest time.Duration
	for ctx.Err() == nil {
		begun := bootTime()
		if err := m.Renew(t.Context(), childLease); err != nil {
			t.Fatal(err)
		}
		longest = max(longest, bootTime()-begun)
		s.undisturbed(t, 20*time.Millisecond)
	}
	n := <-written
	t.Logf("the longest renewal took %s beside %d rulesets", longest, n)
	if n < 10 {
		t.Errorf("only %d rulesets were written", n)
	}
	if f := m.Fence(); f.Restored != 0 {
		t.Errorf("Fence: %+v, and nobody touched it", f)
	}
}

// Two instances on one interface keep out of each other's way.
func TestKernelFenceInstances(t *testing.T) {
	a, b := newHosts(t)
	fencedServer(t, a)
	one := a.fenced(t, FenceNFT, "51", vip4, vip6)
	two := a.open(t, FenceNFT, "52", "10.77.0.101/32", "fd77::101/128")
	mustClaim(t, one, 30*time.Second)
	mustClaim(t, two, 30*time.Second)
	s := fencedSessions(t.Context(), t, a, b)
	if err := two.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := two.Close(); err != nil {
		t.Fatal(err)
	}
	if got := a.fenceTables(t); got != "highwater_eth0_51" {
		t.Errorf("tables %q, want that of the instance that holds addresses", got)
	}
	s.undisturbed(t, 100*time.Millisecond)
	start := bootTime()
	if err := one.Renew(t.Context(), childLease); err != nil {
		t.Fatal(err)
	}
	for _, wrong := range s.cut(t, start+childLease+FenceGrain) {
		t.Error(wrong)
	}
}

// A process that comes back within the lease breaks nothing: what the dead one left
// stays until the claim, which replaces it under the sessions.
func TestKernelFenceRestart(t *testing.T) {
	a, b := newHosts(t)
	fencedServer(t, a)
	p := startChild(t, "claim", a)
	s := fencedSessions(t.Context(), t, a, b)
	if err := p.Signal(unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	m := a.open(t, FenceNFT, "", vip4, vip6)
	time.Sleep(childLease / 4)
	mustClaim(t, m, 30*time.Second)
	s.undisturbed(t, childLease)
	// A planned restart is the same, and the lease is the limit.
	start := bootTime()
	if err := m.Renew(t.Context(), childLease); err != nil {
		t.Fatal(err)
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	for _, wrong := range s.cut(t, start+childLease+FenceGrain) {
		t.Error(wrong)
	}
}

// What a dead process left refuses until the claim of the next one, and is gone
// after its orderly end.
func TestKernelFenceOfADeadProcess(t *testing.T) {
	a, b := newHosts(t)
	fencedServer(t, a)
	p := startChild(t, "claim", a)
	if err := p.Signal(unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	until(t, "removal", func() bool { return !a.has(t, vip4) && !a.has(t, vip6) })
	refused := func() {
		t.Helper()
		// By hand, or by the configuration of a host that once had it for good.
		a.add(t, vip4, 0)
		a.add(t, vip6, 0)
		localRoute(t, a)
		for from, h := range map[string]*host{"remote": b, "local": a} {
			// Port 33060 is none that tells a server from a client.
			for _, address := range []string{"10.77.0.100:3306", "[fd77::100]:3306", "10.77.0.100:33060", "[fd77::100]:33060"} {
				err := h.ns.do(func() error {
					c, err := net.DialTimeout("tcp", address, 5*time.Second)
					if err == nil {
						c.Close()
					}
					return err
				})
				if !errors.Is(err, unix.ECONNREFUSED) {
					t.Errorf("%s connect to %s: %v, want ECONNREFUSED", from, address, err)
				}
			}
		}
		a.del(t, vip4)
		a.del(t, vip6)
	}
	refused()
	m := a.open(t, FenceNFT, "", vip4, vip6)
	refused()
	mustClaim(t, m, 30*time.Second)
	b.dial(t, "10.77.0.100:3306")
	b.dial(t, "[fd77::100]:3306")
	if err := m.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	refused()
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	if got := a.fenceTables(t); got != "" {
		t.Errorf("tables %q after the end", got)
	}
}

// The fence is about packets of this host with a virtual address of its own.
// Those of a virtual address that another host has are nobody's business here, and
// what is not TCP is cut too.
func TestKernelFenceTouchesNothingElse(t *testing.T) {
	a, b := newHosts(t)
	fencedServer(t, a)
	fencedServer(t, b)
	closed := a.fenced(t, FenceNFT, "", vip4, vip6)
	mustClaim(t, closed, 30*time.Second)

	udp := func(address string) error {
		var reply error
		err := a.ns.do(func() error {
			l, err := net.ListenPacket("udp", ":3309")
			if err != nil {
				return err
			}
			t.Cleanup(func() { l.Close() })
			go func() {
				buf := make([]byte, 10)
				for {
					n, from, err := l.ReadFrom(buf)
					if err != nil {
						return
					}
					_, _ = l.WriteTo(buf[:n], from)
				}
			}()
			reply = b.ns.do(func() error {
				c, err := net.Dial("udp", address)
				if err != nil {
					return err
				}
				defer c.Close()
				_ = c.SetDeadline(time.Now().Add(5 * time.Second))
				if _, err := c.Write([]byte("x")); err != nil {
					return err
				}
				_, err = c.Read(make([]byte, 1))
				return err
			})
			return l.Close()
		})
		return errors.Join(err, reply)
	}
	if err := udp("10.77.0.1:3309"); err != nil {
		t.Errorf("UDP: %v", err)
	}
	if err := closed.fence.cut(); err != nil {
		t.Fatal(err)
	}
	if err := udp("10.77.0.100:3309"); !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("UDP to a closed address: %v, want ECONNREFUSED", err)
	}
	if err := udp("[fd77::100]:3309"); !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("UDP to a closed address: %v, want ECONNREFUSED", err)
	}
	if err := udp("[fd77::1]:3309"); err != nil {
		t.Errorf("UDP: %v", err)
	}

	if err := closed.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	open := b.fenced(t, FenceNFT, "", vip4, vip6)
	mustClaim(t, open, 30*time.Second)
	for _, address := range []string{"10.77.0.100:3306", "[fd77::100]:3306"} {
		c := a.dial(t, address)
		_ = c.SetDeadline(time.Now().Add(5 * time.Second))
		if _, err := c.Write([]byte("x")); err != nil {
			t.Error(err)
		}
		if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
			t.Errorf("a host whose fence is closed is not served by the one that has %s: %v", address, err)
		}
	}
}

// Without the right to change nftables, auto goes without and nft fails.
func TestKernelFenceWithoutRights(t *testing.T) {
	a, _ := newHosts(t)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"=fence-rights")
	// Root in a user namespace of its own has no rights in the network of another.
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: 0, Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: 0, Size: 1}},
	}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := a.ns.do(cmd.Run); err != nil {
		t.Fatalf("%v: %s", err, &out)
	}
	lines := strings.Split(out.String(), "\n")
	if len(lines) < 2 || !strings.HasPrefix(lines[0], "auto: false set up session fence: ") || !strings.Contains(lines[0], unix.EPERM.Error()) {
		t.Errorf("said %q", lines)
	}
	if len(lines) < 2 || !strings.HasPrefix(lines[1], "nft: configure virtual addresses: set up session fence: ") {
		t.Errorf("said %q", lines)
	}
}
