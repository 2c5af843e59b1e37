// SPDX-License-Identifier: Apache-2.0

package vip

import (
	"bytes"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const testFence = "highwater_eth0_51"

// newFencedManager returns a Manager with an active fence on a kernel in memory.
func newFencedManager(t testing.TB) (*Manager, *fakeKernel, *fakeFence) {
	t.Helper()
	m, k := newFakeManager(t)
	m.cfg.Instance = "51"
	if err := m.openFence(); err != nil {
		t.Fatal(err)
	}
	if s := m.Fence(); !s.Active || s.Grain != FenceGrain || s.Err != nil || s.Table != testFence {
		t.Fatalf("Fence: %+v", s)
	}
	return m, k, k.fences[testFence]
}

// A fence ends with the lease, to the millisecond; the address does not end before.
func TestFenceLease(t *testing.T) {
	m, k, f := newFencedManager(t)
	if f.rules != 0 || k.fences[testFence+"_trial"].rules != 0 {
		t.Error("New left a table")
	}
	start := k.now()
	mustClaim(t, m, 1500*time.Millisecond)
	if got := f.end() - start; got != 1500*time.Millisecond {
		t.Errorf("fence ends after %s", got)
	}
	list, err := k.addresses()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range list {
		if a.valid != 2 {
			t.Errorf("%s is valid for %d s, want the lease rounded up", a.prefix, a.valid)
		}
	}
	for range 5 {
		k.advance(time.Second)
		start = k.now()
		if err := m.Renew(t.Context(), 1500*time.Millisecond); err != nil {
			t.Fatal(err)
		}
		if got := f.end() - start; got != 1500*time.Millisecond {
			t.Errorf("fence ends after %s", got)
		}
	}
	// The end of the lease is that of the fence, although the address is there.
	k.advance(1500 * time.Millisecond)
	checkHas(t, k, both)
	if err := m.Renew(t.Context(), time.Second); !errors.Is(err, ErrLost) {
		t.Errorf("Renew: %v, want ErrLost", err)
	}
	checkHas(t, k, nothing)
}

// Each renewal leaves alone what keeps the fence open, unless that lasts too long.
func TestFenceSlots(t *testing.T) {
	m, k, f := newFencedManager(t)
	mustClaim(t, m, 3*time.Second)
	for range 4 {
		before := f.ends
		k.advance(time.Second)
		if err := m.Renew(t.Context(), 3*time.Second); err != nil {
			t.Fatal(err)
		}
		if kept := slices.Max(before[:]); !slices.Contains(f.ends[:], kept) {
			t.Errorf("slots ended at %v and now end at %v: the open one was touched", before, f.ends)
		}
	}
	if err := m.Renew(t.Context(), time.Second); err != nil {
		t.Fatal(err)
	}
	if got := f.end() - k.now(); got != time.Second {
		t.Errorf("fence ends after %s: an earlier, longer lease goes on", got)
	}
}

// Nobody finds the address before the fence is open, nor after it is closed.
func TestFenceOrder(t *testing.T) {
	m, k, _ := newFencedManager(t)
	first := func(op string) int { return slices.Index(k.ops, op) }
	k.ops = nil
	mustClaim(t, m, 3*time.Second)
	if fence, put := first(opFence+" replace"), first(opPut); fence < 0 || fence > put {
		t.Errorf("Claim: %v, want the fence before the addresses", k.ops)
	}
	k.ops = nil
	if err := m.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	if fence := first(opFence + " cut"); fence < 0 || fence > first(opDestroy+"") && first(opDestroy) >= 0 || fence > first(opRemove) {
		t.Errorf("Release: %v, want the fence before all else", k.ops)
	}
	k.ops = nil
	mustClaim(t, m, 3*time.Second)
	if first(opFence+" replace") >= 0 || first(opFence+" open") < 0 {
		t.Errorf("second Claim: %v, want the fence opened", k.ops)
	}
}

// A write that takes effect late is made again, so that the fence ends in time.
func TestFenceLateWrites(t *testing.T) {
	for _, tt := range []struct {
		stall []time.Duration
		ok    bool
	}{
		{[]time.Duration{5 * time.Millisecond}, true},
		{[]time.Duration{700 * time.Millisecond}, true},
		{[]time.Duration{700 * time.Millisecond, 700 * time.Millisecond}, true},
		{[]time.Duration{100 * time.Millisecond, 400 * time.Millisecond, 800 * time.Millisecond}, false},
		{[]time.Duration{3 * time.Second}, false},
	} {
		m, k, f := newFencedManager(t)
		mustClaim(t, m, 3*time.Second)
		start := k.now()
		f.stall = tt.stall
		err := m.Renew(t.Context(), 3*time.Second)
		if (err == nil) != tt.ok {
			t.Errorf("stall %v: %v", tt.stall, err)
		}
		if late := f.end() - start - 3*time.Second; err == nil && late > fenceSlack {
			t.Errorf("stall %v: fence ends %s after the lease", tt.stall, late)
		}
	}
}

// What somebody else took away is put back by the next renewal, and counted.
func TestFencePutBack(t *testing.T) {
	for name, take := range map[string]func(f *fakeFence){
		"table": func(f *fakeFence) { f.rules, f.ends = 0, [2]time.Duration{} },
		"rules": func(f *fakeFence) { f.rules = -1 },
	} {
		t.Run(name, func(t *testing.T) {
			m, k, f := newFencedManager(t)
			var log bytes.Buffer
			m.fence.log = slog.New(slog.NewTextHandler(&log, nil))
			mustClaim(t, m, 3*time.Second)
			for n := range uint64(2) {
				take(f)
				start := k.now()
				if err := m.Renew(t.Context(), 3*time.Second); err != nil {
					t.Fatal(err)
				}
				if f.rules != f.ours || f.end()-start != 3*time.Second {
					t.Errorf("fence is not back: %+v", f)
				}
				if got := m.Fence().Restored; got != n+1 {
					t.Errorf("restored %d times, want %d", got, n+1)
				}
			}
			if n := strings.Count(log.String(), "put back"); n != 2 {
				t.Errorf("logged %d times:\n%s", n, &log)
			}
		})
	}
	// Elements alone: the read-back finds out, and the rules were never away.
	m, k, f := newFencedManager(t)
	mustClaim(t, m, 3*time.Second)
	k.before = func(op string, n int) error {
		if op == opFence+" left" && n == k.calls[op] {
			k.before = nil
			f.ends = [2]time.Duration{}
		}
		return nil
	}
	if err := m.Renew(t.Context(), 3*time.Second); err != nil || f.end() == 0 {
		t.Errorf("Renew: %v, fence ends %s", err, f.end())
	}
}

// Without a fence nothing is claimed, and a failing renewal leaves the lease as it is.
func TestFenceFailures(t *testing.T) {
	fail := func(k *fakeKernel, op string) {
		k.before = func(o string, _ int) error {
			if o == opFence+" "+op {
				return errFault
			}
			return nil
		}
	}
	for _, op := range []string{"replace", "left"} {
		m, k, f := newFencedManager(t)
		fail(k, op)
		if err := m.Claim(t.Context(), 3*time.Second); !errors.Is(err, errFault) {
			t.Errorf("%s: Claim: %v", op, err)
		}
		checkHas(t, k, nothing)
		if f.end() != 0 {
			t.Errorf("%s: the fence is open after a Claim that failed", op)
		}
	}
	for _, op := range []string{"open", "whole", "left"} {
		m, k, _ := newFencedManager(t)
		mustClaim(t, m, 3*time.Second)
		fail(k, op)
		if err := m.Renew(t.Context(), 3*time.Second); !errors.Is(err, errFault) || errors.Is(err, ErrLost) {
			t.Errorf("%s: Renew: %v", op, err)
		}
		k.before = nil
		if err := m.Renew(t.Context(), 3*time.Second); err != nil {
			t.Errorf("%s: Renew afterwards: %v", op, err)
		}
	}
	m, k, _ := newFencedManager(t)
	mustClaim(t, m, 3*time.Second)
	fail(k, "cut")
	if err := m.Release(t.Context()); !errors.Is(err, errFault) {
		t.Errorf("Release: %v", err)
	}
	checkHas(t, k, nothing)
}

// A fence that cannot be written for a while does not keep the addresses.
func TestFenceStuck(t *testing.T) {
	m, k, f := newFencedManager(t)
	mustClaim(t, m, 3*time.Second)
	blocked, goOn := make(chan struct{}), make(chan struct{})
	k.before = func(op string, _ int) error {
		if op == opFence+" cut" {
			close(blocked)
			<-goOn
		}
		return nil
	}
	done := make(chan error, 1)
	go func() { done <- m.Release(t.Context()) }()
	select {
	case <-blocked:
	case err := <-done:
		t.Fatalf("Release returned %v and never closed the fence", err)
	}
	for len(k.has()) > 0 {
		time.Sleep(time.Millisecond)
	}
	select {
	case err := <-done:
		t.Errorf("Release returned %v before the fence was closed", err)
	default:
	}
	close(goOn)
	if err := <-done; err != nil || f.end() != 0 {
		t.Errorf("Release: %v, fence ends at %s", err, f.end())
	}
}

// Close leaves the fence with the addresses, and takes it away after them.
func TestFenceClose(t *testing.T) {
	m, k, f := newFencedManager(t)
	mustClaim(t, m, 3*time.Second)
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	if f.end() == 0 || !f.closed {
		t.Errorf("after Close: %+v", f)
	}
	// The next process leaves it until it claims, and only then replaces it.
	cfg := m.cfg
	next := newManager(cfg, k)
	if err := next.openFence(); err != nil {
		t.Fatal(err)
	}
	if f.end() == 0 {
		t.Error("the fence was touched at start")
	}
	mustClaim(t, next, 3*time.Second)
	if next.Fence().Restored != 0 || f.ours != 2 {
		t.Errorf("after Claim: %+v", f)
	}
	if err := next.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	if f.rules == 0 {
		t.Error("Release removed the fence")
	}
	if err := next.Close(); err != nil {
		t.Fatal(err)
	}
	if f.rules != 0 {
		t.Error("Close left the fence without addresses")
	}
}

// Where there are no nftables, auto goes without and says why, and nft fails.
// What an earlier process left must not stay: nobody would open it again.
func TestFenceModes(t *testing.T) {
	for _, tt := range []struct {
		mode           SessionFence
		fault          error
		active, ok     bool
		removed, warns bool
	}{
		{FenceAuto, nil, true, true, false, false},
		{FenceNFT, nil, true, true, false, false},
		{FenceNone, nil, false, true, true, false},
		{FenceAuto, errFault, false, true, true, true},
		{FenceAuto, unix.EPERM, false, true, true, true},
		{FenceNFT, errFault, false, false, false, false},
	} {
		m, k := newFakeManager(t)
		var log bytes.Buffer
		m.cfg.Log = slog.New(slog.NewTextHandler(&log, nil))
		m.cfg.SessionFence = tt.mode
		k.fences = map[string]*fakeFence{"highwater_eth0": {rules: 1}}
		k.before = func(op string, _ int) error {
			if op == opFence+" open" {
				return tt.fault
			}
			return nil
		}
		err := m.openFence()
		if (err == nil) != tt.ok || !tt.ok && !errors.Is(err, tt.fault) {
			t.Errorf("%+v: %v", tt, err)
		}
		s := m.Fence()
		if s.Active != tt.active || (s.Grain != 0) != tt.active || !errors.Is(s.Err, tt.fault) {
			t.Errorf("%+v: Fence: %+v", tt, s)
		}
		if removed := k.fences["highwater_eth0"].rules == 0; removed != tt.removed {
			t.Errorf("%+v: earlier fence removed: %t", tt, removed)
		}
		if warns := log.Len() > 0; warns != tt.warns {
			t.Errorf("%+v: logged %q", tt, &log)
		}
		if k.fences["highwater_eth0_trial"] != nil && k.fences["highwater_eth0_trial"].rules != 0 {
			t.Errorf("%+v: trial left", tt)
		}
		k.before = nil
		// Rounded down, as ever.
		if !tt.active && tt.ok {
			mustClaim(t, m, 2900*time.Millisecond)
			list, err := k.addresses()
			if err != nil || list[0].valid != 2 {
				t.Errorf("addresses %v, %v", list, err)
			}
		}
	}
}

func TestFenceTableName(t *testing.T) {
	for _, tt := range []struct{ ifname, instance, want string }{
		{"eth0", "", "highwater_eth0"},
		{"eth0.100", "51", "highwater_eth0.100_51"},
		{"br-a@b", "x y", "highwater_br_a_b_x_y"},
	} {
		if got := fenceTableName(Config{Interface: tt.ifname, Instance: tt.instance}); got != tt.want {
			t.Errorf("%s %s: %s, want %s", tt.ifname, tt.instance, got, tt.want)
		}
	}
}
