// SPDX-License-Identifier: Apache-2.0

package vip

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

var (
	both    = []string{vip4, vip6}
	nothing = []string{}

	errFault = errors.New("injected fault")
)

func checkHas(t *testing.T, k *fakeKernel, want []string) {
	t.Helper()
	if diff := cmp.Diff(want, k.has()); diff != "" {
		t.Errorf("addresses (-want +got):\n%s", diff)
	}
}

func mustClaim(t *testing.T, m *Manager, lease time.Duration) {
	t.Helper()
	if err := m.Claim(t.Context(), lease); err != nil {
		t.Fatal(err)
	}
}

func TestLease(t *testing.T) {
	m, k := newFakeManager(t)
	ctx := t.Context()

	if err := m.Renew(ctx, 3*time.Second); !errors.Is(err, ErrLost) {
		t.Errorf("Renew before Claim: %v, want ErrLost", err)
	}
	checkHas(t, k, nothing)

	mustClaim(t, m, 3*time.Second)
	checkHas(t, k, both)
	for range 5 {
		k.advance(2 * time.Second)
		if err := m.Renew(ctx, 3*time.Second); err != nil {
			t.Fatal(err)
		}
	}
	checkHas(t, k, both)
	mustClaim(t, m, 3*time.Second)

	k.connect("10.77.0.100:3306")
	k.connect("[fd77::100]:3306")
	k.connect("10.77.0.1:3306")
	for range 2 {
		if err := m.Release(ctx); err != nil {
			t.Fatal(err)
		}
		checkHas(t, k, nothing)
	}
	if len(k.socks) != 1 || k.socks[0].local.Addr() != netip.MustParseAddr("10.77.0.1") {
		t.Errorf("sockets left: %v, want only the one that is not bound to a virtual address", k.socks)
	}
	if k.resets != 2 {
		t.Errorf("%d sockets destroyed while their address was there to send a reset, want 2", k.resets)
	}
	if err := m.Renew(ctx, 3*time.Second); !errors.Is(err, ErrLost) {
		t.Errorf("Renew after Release: %v, want ErrLost", err)
	}
	checkHas(t, k, nothing)
}

func TestLeaseIsWholeSecondsRoundedDown(t *testing.T) {
	m, k := newFakeManager(t)
	for _, tt := range []struct {
		lease time.Duration
		want  uint32 // 0: an error
	}{
		{time.Second, 1},
		{2900 * time.Millisecond, 2},
		{time.Hour, 3600},
		{999 * time.Millisecond, 0},
		{time.Hour + 1, 0},
		{-time.Second, 0},
	} {
		err := m.Claim(t.Context(), tt.lease)
		if (err == nil) != (tt.want > 0) {
			t.Errorf("Claim(%s): %v", tt.lease, err)
		}
		if tt.want == 0 {
			continue
		}
		list, err := k.addresses()
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range list {
			if a.valid != tt.want || a.preferred != 0 {
				t.Errorf("lease %s: %s valid %d preferred %d, want %d and 0", tt.lease, a.prefix, a.valid, a.preferred, tt.want)
			}
		}
	}
}

// Whichever operation fails, and at whichever of its calls, a Claim that returns
// an error leaves nothing behind, and one that returns none is complete.
func TestClaimFaults(t *testing.T) {
	for _, point := range faultPoints(t, func(m *Manager) error { return m.Claim(context.Background(), 3*time.Second) }) {
		t.Run(point.String(), func(t *testing.T) {
			m, k := newFakeManager(t)
			k.before = point.fail
			err := m.Claim(t.Context(), 3*time.Second)
			if !errors.Is(err, errFault) {
				t.Fatalf("Claim: %v, want the injected fault", err)
			}
			k.before = nil
			checkHas(t, k, nothing)
			if err := m.Renew(t.Context(), 3*time.Second); !errors.Is(err, ErrLost) {
				t.Errorf("Renew after a failed Claim: %v, want ErrLost", err)
			}
			checkHas(t, k, nothing)
		})
	}
}

// Also when it is the roll-back that has one chance less.
func TestClaimFaultsTwice(t *testing.T) {
	for _, second := range []string{opAddresses, opRemove} {
		t.Run(second, func(t *testing.T) {
			m, k := newFakeManager(t)
			failed := false
			k.before = func(op string, n int) error {
				if op == opPut && n == 2 {
					failed = true
					return errFault
				}
				if op == second && failed {
					failed = false
					return errFault
				}
				return nil
			}
			if err := m.Claim(t.Context(), 3*time.Second); !errors.Is(err, errFault) {
				t.Fatalf("Claim: %v, want the injected fault", err)
			}
			checkHas(t, k, nothing)
		})
	}
}

func TestRenewFaults(t *testing.T) {
	prepare := func(m *Manager) error { return m.Claim(context.Background(), 3*time.Second) }
	for _, point := range faultPoints(t, prepare, func(m *Manager) error { return m.Renew(context.Background(), 3*time.Second) }) {
		t.Run(point.String(), func(t *testing.T) {
			m, k := newFakeManager(t)
			if err := prepare(m); err != nil {
				t.Fatal(err)
			}
			k.before = point.fail
			if err := m.Renew(t.Context(), 3*time.Second); !errors.Is(err, errFault) {
				t.Fatalf("Renew: %v, want the injected fault", err)
			}
			k.before = nil
			// Held or not, it ends with the lease that the last call may have given.
			k.advance(3 * time.Second)
			checkHas(t, k, nothing)
		})
	}
}

// A Release tries everything, repeats what failed, and tells.
func TestReleaseFaults(t *testing.T) {
	prepare := func(m *Manager) error {
		k := m.kernel.(*fakeKernel)
		k.connect("10.77.0.100:3306")
		k.connect("[fd77::100]:3306")
		return m.Claim(context.Background(), 3*time.Second)
	}
	for _, point := range faultPoints(t, prepare, func(m *Manager) error { return m.Release(context.Background()) }) {
		t.Run(point.String(), func(t *testing.T) {
			m, k := newFakeManager(t)
			if err := prepare(m); err != nil {
				t.Fatal(err)
			}
			k.before = point.fail
			err := m.Release(t.Context())
			k.before = nil
			checkHas(t, k, nothing)
			if err != nil && !errors.Is(err, errFault) {
				t.Errorf("Release: %v", err)
			}
			if err == nil && len(k.socks) != 0 {
				t.Errorf("sockets left without an error: %v", k.socks)
			}
		})
	}
}

func TestReleaseReportsWhatStays(t *testing.T) {
	m, k := newFakeManager(t)
	mustClaim(t, m, 3*time.Second)
	k.before = func(op string, _ int) error {
		if op == opRemove {
			return errFault
		}
		return nil
	}
	err := m.Release(t.Context())
	if !errors.Is(err, errFault) || !strings.Contains(err.Error(), vip4) || !strings.Contains(err.Error(), vip6) {
		t.Errorf("Release: %v, want the fault and both addresses", err)
	}
	if n := strings.Count(err.Error(), "was not seen gone"); n != 2 {
		t.Errorf("Release: %v, want both addresses as not seen gone", err)
	}
	if got := k.called(opRemove); got != 2*removeAttempts {
		t.Errorf("%d attempts to remove, want %d", got, 2*removeAttempts)
	}
}

// A faultPoint is one call of one operation.
type faultPoint struct {
	op string
	n  int
}

func (p faultPoint) String() string { return fmt.Sprintf("%s %d", p.op, p.n) }

func (p faultPoint) fail(op string, n int) error {
	if op == p.op && n == p.n {
		return errFault
	}
	return nil
}

// faultPoints runs the steps and returns the operations that the last one calls.
func faultPoints(t *testing.T, steps ...func(*Manager) error) []faultPoint {
	t.Helper()
	m, k := newFakeManager(t)
	var points []faultPoint
	for _, step := range steps {
		points = nil
		k.before = func(op string, n int) error {
			points = append(points, faultPoint{op, n})
			return nil
		}
		if err := step(m); err != nil {
			t.Fatal(err)
		}
		k.before = nil
	}
	if len(points) < 4 {
		t.Fatalf("only %v", points)
	}
	return points
}

func TestClaimReadBack(t *testing.T) {
	for _, tt := range []struct {
		name string
		// spoil changes what the kernel made of a write.
		spoil func(k *fakeKernel)
		want  string
	}{
		{"not there", func(k *fakeKernel) { k.addrs = k.addrs[:1] }, "read back fd77::100/128: virtual address lost"},
		{"no lifetime", func(k *fakeKernel) { k.addrs[0].expires, k.addrs[0].valid = 0, forever }, "valid for ever"},
		{"longer lifetime", func(k *fakeKernel) { k.addrs[0].expires += 10 * time.Second }, "valid for 13 s"},
		{"other prefix", func(k *fakeKernel) { k.addrs[0].prefix = netip.MustParsePrefix("10.77.0.100/24") }, "as 10.77.0.100/24"},
		{"other interface", func(k *fakeKernel) { k.addrs[1].index = 3 }, "interface index 3"},
		{"duplicate", func(k *fakeKernel) { k.addrs[1].flags |= unix.IFA_F_DADFAILED }, "not usable"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m, k := newFakeManager(t)
			lists := 0
			k.before = func(op string, _ int) error {
				if op == opAddresses {
					if lists++; lists == 2 {
						k.mu.Lock()
						defer k.mu.Unlock()
						tt.spoil(k)
					}
				}
				return nil
			}
			err := m.Claim(t.Context(), 3*time.Second)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Claim: %v, want %q", err, tt.want)
			}
			checkHas(t, k, nothing)
		})
	}
}

func TestClaimRemovesStrays(t *testing.T) {
	m, k := newFakeManager(t)
	for _, a := range []address{
		{index: 2, prefix: netip.MustParsePrefix("10.77.0.100/24"), valid: forever},
		{index: 3, prefix: netip.MustParsePrefix(vip6), valid: 60},
		{index: 2, prefix: netip.MustParsePrefix("10.77.0.1/24"), valid: forever},
	} {
		if err := k.put(a); err != nil {
			t.Fatal(err)
		}
	}
	mustClaim(t, m, 3*time.Second)
	checkHas(t, k, []string{"10.77.0.1/24", vip4, vip6})
	for _, a := range k.addrs {
		if a.index != 2 {
			t.Errorf("%s is on interface %d", a.prefix, a.index)
		}
	}
	// Release, too, takes them off wherever they are, and nothing else.
	if err := k.put(address{index: 3, prefix: netip.MustParsePrefix(vip4), valid: forever}); err != nil {
		t.Fatal(err)
	}
	if err := m.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	checkHas(t, k, []string{"10.77.0.1/24"})
}

// A claim takes over what is there without removing it: sessions go on.
func TestClaimAdopts(t *testing.T) {
	m, k := newFakeManager(t)
	if err := k.put(address{index: 2, prefix: netip.MustParsePrefix(vip4), valid: forever}); err != nil {
		t.Fatal(err)
	}
	mustClaim(t, m, 3*time.Second)
	if n := k.called(opRemove); n != 0 {
		t.Errorf("%d addresses removed", n)
	}
	k.advance(3 * time.Second)
	checkHas(t, k, nothing)
}

func TestRenewNeverAddsAgain(t *testing.T) {
	t.Run("vanished before", func(t *testing.T) {
		m, k := newFakeManager(t)
		mustClaim(t, m, 3*time.Second)
		k.vanish("10.77.0.100")
		puts := k.called(opPut)
		err := m.Renew(t.Context(), 3*time.Second)
		if !errors.Is(err, ErrLost) || !strings.Contains(err.Error(), vip4+" vanished") {
			t.Errorf("Renew: %v, want ErrLost and the address", err)
		}
		if k.called(opPut) != puts {
			t.Error("Renew wrote although an address had vanished")
		}
		checkHas(t, k, []string{vip6})
		if err := m.Renew(t.Context(), 3*time.Second); !errors.Is(err, ErrLost) {
			t.Errorf("second Renew: %v, want ErrLost", err)
		}
		mustClaim(t, m, 3*time.Second)
		checkHas(t, k, both)
	})
	t.Run("vanished and came back", func(t *testing.T) {
		m, k := newFakeManager(t)
		mustClaim(t, m, 3*time.Second)
		k.vanish("10.77.0.100")
		if err := k.put(address{index: 2, prefix: netip.MustParsePrefix(vip4), valid: 3}); err != nil {
			t.Fatal(err)
		}
		if err := m.Renew(t.Context(), 3*time.Second); !errors.Is(err, ErrLost) {
			t.Errorf("Renew: %v, want ErrLost", err)
		}
	})
	t.Run("vanished between look and write", func(t *testing.T) {
		m, k := newFakeManager(t)
		mustClaim(t, m, 3*time.Second)
		k.before = func(op string, n int) error {
			if op == opPut && n == 3 { // 1 and 2 were of the Claim
				k.vanish("10.77.0.100")
			}
			return nil
		}
		if err := m.Renew(t.Context(), 3*time.Second); !errors.Is(err, ErrLost) {
			t.Errorf("Renew: %v, want ErrLost", err)
		}
		checkHas(t, k, nothing)
	})
	t.Run("lease over by the boot clock", func(t *testing.T) {
		// A suspended machine: the kernel's ticks stood still, CLOCK_BOOTTIME did not.
		m, k := newFakeManager(t)
		mustClaim(t, m, 3*time.Second)
		for i := range k.addrs {
			k.addrs[i].expires += time.Hour
		}
		k.advance(3 * time.Second)
		if err := m.Renew(t.Context(), 3*time.Second); !errors.Is(err, ErrLost) {
			t.Errorf("Renew: %v, want ErrLost", err)
		}
		checkHas(t, k, nothing)
	})
	t.Run("write took longer than the lease", func(t *testing.T) {
		m, k := newFakeManager(t)
		mustClaim(t, m, 3*time.Second)
		k.before = func(op string, _ int) error {
			if op == opPut {
				// Frozen inside the call; the first renewal is the last thing before.
				k.mu.Lock()
				for i := range k.addrs {
					k.addrs[i].expires += 4 * time.Second
				}
				k.clock += 4 * time.Second
				k.mu.Unlock()
			}
			return nil
		}
		if err := m.Renew(t.Context(), 3*time.Second); !errors.Is(err, ErrLost) {
			t.Errorf("Renew: %v, want ErrLost", err)
		}
		checkHas(t, k, nothing)
	})
}

// A write that outlives its caller's deadline is taken back when it is done.
func TestWritesAfterTheDeadline(t *testing.T) {
	for name, call := range map[string]func(*Manager, context.Context) error{
		"claim": func(m *Manager, ctx context.Context) error { return m.Claim(ctx, 3*time.Second) },
		"renew": func(m *Manager, ctx context.Context) error { return m.Renew(ctx, 3*time.Second) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m, k := newFakeManager(t)
				if name == "renew" {
					mustClaim(t, m, 3*time.Second)
				}
				puts := k.called(opPut)
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				blocked := make(chan struct{})
				k.before = func(op string, n int) error {
					if op == opPut && n == puts+2 {
						<-blocked
					}
					return nil
				}
				if err := call(m, ctx); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("%v, want the deadline", err)
				}
				close(blocked)
				synctest.Wait()
				checkHas(t, k, nothing)
			})
		})
	}
}

// Whenever the caller of a Claim stops waiting, nothing is left in the end.
func TestCanceledClaim(t *testing.T) {
	for _, point := range faultPoints(t, func(m *Manager) error { return m.Claim(context.Background(), 3*time.Second) }) {
		t.Run(point.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m, k := newFakeManager(t)
				ctx, cancel := context.WithCancel(t.Context())
				k.before = func(op string, n int) error {
					if op == point.op && n == point.n {
						cancel()
						time.Sleep(time.Second) // Claim returns meanwhile
					}
					return nil
				}
				err := m.Claim(ctx, 3*time.Second)
				time.Sleep(2 * time.Second)
				synctest.Wait()
				if err == nil {
					// It was done but for a frame, for which it does not look at ctx.
					checkHas(t, k, both)
					return
				}
				if !errors.Is(err, context.Canceled) {
					t.Errorf("Claim: %v, want that it was canceled", err)
				}
				checkHas(t, k, nothing)
				if err := m.Renew(t.Context(), 3*time.Second); !errors.Is(err, ErrLost) {
					t.Errorf("Renew: %v, want ErrLost", err)
				}
			})
		})
	}
}

// A caller who only leaves, as one that restarts does, loses nothing.
func TestCanceledRenewStands(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, k := newFakeManager(t)
		mustClaim(t, m, 3*time.Second)
		ctx, cancel := context.WithCancel(t.Context())
		blocked := make(chan struct{})
		k.before = func(op string, n int) error {
			if op == opPut && n == 4 { // the last one of the Renew
				cancel()
				<-blocked
			}
			return nil
		}
		if err := m.Renew(ctx, 3*time.Second); !errors.Is(err, context.Canceled) {
			t.Errorf("Renew: %v, want that it was canceled", err)
		}
		close(blocked)
		synctest.Wait()
		checkHas(t, k, both)
	})
}

// settle waits until no write is under way.
func (m *Manager) settle() {
	m.writes <- struct{}{}
	<-m.writes
}

func TestReleaseOvertakes(t *testing.T) {
	for _, op := range []string{opLink, opPut, opAddresses} {
		t.Run(op, func(t *testing.T) {
			m, k := newFakeManager(t)
			reached, blocked := make(chan struct{}), make(chan struct{})
			k.before = func(o string, n int) error {
				if o == op && n == 1 {
					close(reached)
					<-blocked
				}
				return nil
			}
			claimed := make(chan error, 1)
			go func() { claimed <- m.Claim(t.Context(), 3*time.Second) }()
			<-reached
			released := make(chan error, 1)
			go func() { released <- m.Release(t.Context()) }()
			for m.current(1) == nil {
				time.Sleep(time.Millisecond)
			}
			close(blocked)
			if err := <-claimed; !errors.Is(err, ErrSuperseded) {
				t.Errorf("Claim: %v, want ErrSuperseded", err)
			}
			if err := <-released; err != nil {
				t.Errorf("Release: %v", err)
			}
			checkHas(t, k, nothing)
			if frames := k.sent(); len(frames) != 0 {
				t.Errorf("%d frames were sent", len(frames))
			}
		})
	}
}

// A Release whose caller has no time left happens all the same.
func TestReleaseGoesOnAlone(t *testing.T) {
	m, k := newFakeManager(t)
	mustClaim(t, m, 3*time.Second)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := m.Release(ctx); err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("Release: %v", err)
	}
	for k.called(opRemove) == 0 {
		time.Sleep(time.Millisecond)
	}
	m.settle()
	checkHas(t, k, nothing)
}

// But not when the addresses have been claimed again meanwhile.
func TestClaimAfterAbandonedRelease(t *testing.T) {
	m, k := newFakeManager(t)
	mustClaim(t, m, 3*time.Second)
	m.writes <- struct{}{} // a write is under way
	released, claimed := make(chan error, 1), make(chan error, 1)
	go func() { released <- m.Release(t.Context()) }()
	for m.current(1) == nil {
		time.Sleep(time.Millisecond)
	}
	go func() { claimed <- m.Claim(t.Context(), 3*time.Second) }()
	for m.current(2) == nil {
		time.Sleep(time.Millisecond)
	}
	<-m.writes
	if err := <-released; !errors.Is(err, ErrSuperseded) {
		t.Errorf("Release: %v, want ErrSuperseded", err)
	}
	if err := <-claimed; err != nil {
		t.Errorf("Claim: %v", err)
	}
	checkHas(t, k, both)
}

func TestHeld(t *testing.T) {
	m, k := newFakeManager(t)
	v4, v6 := netip.MustParsePrefix(vip4), netip.MustParsePrefix(vip6)
	label := m.cfg.Label
	for _, tt := range []struct {
		name string
		a    address
		want Held
	}{
		{"ours", address{index: 2, prefix: v4, label: label, protocol: addressProtocol, valid: 3}, Held{v4, "eth0", label, 3 * time.Second, true}},
		{"ours on an old kernel", address{index: 2, prefix: v4, label: label, valid: 2}, Held{v4, "eth0", label, 2 * time.Second, true}},
		{"ours, IPv6", address{index: 2, prefix: v6, protocol: addressProtocol, valid: 1}, Held{v6, "eth0", "", time.Second, true}},
		{"ours, IPv6 on an old kernel", address{index: 2, prefix: v6, flags: unix.IFA_F_NODAD | unix.IFA_F_DEPRECATED, valid: 1}, Held{v6, "eth0", "", time.Second, true}},
		{"no lifetime", address{index: 2, prefix: v4, label: label, protocol: addressProtocol, valid: forever}, Held{v4, "eth0", label, 0, false}},
		{"other label", address{index: 2, prefix: v4, label: "eth0", valid: 3}, Held{v4, "eth0", "eth0", 3 * time.Second, false}},
		{"other protocol", address{index: 2, prefix: v4, label: label, protocol: 2, valid: 3}, Held{v4, "eth0", label, 3 * time.Second, false}},
		{"other interface", address{index: 3, prefix: v4, label: label, protocol: addressProtocol, valid: 3}, Held{v4, "eth1", label, 3 * time.Second, false}},
		{"other prefix", address{index: 2, prefix: netip.MustParsePrefix("10.77.0.100/24"), label: label, protocol: addressProtocol, valid: 3}, Held{netip.MustParsePrefix("10.77.0.100/24"), "eth0", label, 3 * time.Second, false}},
		{"IPv6 from a router", address{index: 2, prefix: v6, protocol: 2, flags: unix.IFA_F_NODAD, valid: 9}, Held{v6, "eth0", "", 9 * time.Second, false}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			k.addrs = nil
			if err := k.put(tt.a); err != nil {
				t.Fatal(err)
			}
			got, err := m.Held(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([]Held{tt.want}, got, cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	for _, op := range []string{opAddresses, opLinkName} {
		k.before = func(o string, _ int) error {
			if o == op {
				return errFault
			}
			return nil
		}
		if _, err := m.Held(t.Context()); !errors.Is(err, errFault) {
			t.Errorf("Held with %s failing: %v", op, err)
		}
	}
}

func TestDestroyServerSockets(t *testing.T) {
	m, k := newFakeManager(t)
	for _, local := range []string{"10.77.0.100:3306", "10.77.0.1:3306", "127.0.0.1:3306", "[::1]:3306", "10.77.0.1:22"} {
		k.connect(local)
	}
	n, err := m.DestroyServerSockets(t.Context(), 3306)
	if n != 4 || err != nil {
		t.Errorf("DestroyServerSockets: %d, %v, want 4", n, err)
	}
	if len(k.socks) != 1 || k.socks[0].local.Port() != 22 {
		t.Errorf("left: %v", k.socks)
	}
	if _, err := m.DestroyServerSockets(t.Context(), 0); err == nil {
		t.Error("port 0 was accepted")
	}
	// Connections that keep coming do not keep it busy for ever.
	k.connect("10.77.0.1:3306")
	k.before = func(op string, _ int) error {
		if op == opDestroy {
			k.connect("10.77.0.1:3306")
		}
		return nil
	}
	if n, err := m.DestroyServerSockets(t.Context(), 3306); n != destroyPasses || err != nil {
		t.Errorf("DestroyServerSockets: %d, %v, want %d", n, err, destroyPasses)
	}
	k.before = faultPoint{opDestroy, k.called(opDestroy) + 1}.fail
	if _, err := m.DestroyServerSockets(t.Context(), 3306); !errors.Is(err, errFault) {
		t.Errorf("DestroyServerSockets: %v, want the fault", err)
	}
}

// Sessions that cannot be reset quickly do not hold up the removal.
func TestReleaseDoesNotWaitForSockets(t *testing.T) {
	m, k := newFakeManager(t)
	mustClaim(t, m, 3*time.Second)
	k.connect("10.77.0.100:3306")
	blocked := make(chan struct{})
	k.before = func(op string, _ int) error {
		if op == opSockets {
			<-blocked
		}
		return nil
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- m.Release(ctx) }()
	for !slices.Equal(k.has(), nothing) {
		time.Sleep(time.Millisecond)
	}
	select {
	case err := <-done:
		t.Errorf("Release returned %v before the sockets were destroyed", err)
	default:
	}
	close(blocked)
	if err := <-done; err != nil {
		t.Error(err)
	}
	if len(k.socks) != 0 {
		t.Errorf("sockets left: %v", k.socks)
	}
}
