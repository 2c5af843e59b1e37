// SPDX-License-Identifier: Apache-2.0

package vip

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"
)

// A watchTest reads the events of a Watch on a kernel in memory, in a bubble.
type watchTest struct {
	*testing.T
	m      *Manager
	k      *fakeKernel
	events <-chan Event
}

func startWatch(t *testing.T) *watchTest {
	t.Helper()
	m, k := newFakeManager(t)
	ctx, cancel := context.WithCancel(t.Context())
	events, err := m.Watch(ctx)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		for range events { // until it is closed
		}
	})
	return &watchTest{t, m, k, events}
}

// tell has the kernel report the change.
func (w *watchTest) tell(notices ...notice) {
	w.Helper()
	w.k.subscription().batches <- batch{notices: notices}
}

// expect checks the events that there are by now.
func (w *watchTest) expect(want ...string) {
	w.Helper()
	var got []string
	for {
		synctest.Wait()
		select {
		case e := <-w.events:
			got = append(got, describe(e))
			continue
		default:
		}
		break
	}
	if strings.Join(got, "; ") != strings.Join(want, "; ") {
		w.Errorf("events\n got %q\nwant %q", got, want)
	}
}

func describe(e Event) string {
	s := e.Kind.String()
	if e.Initial {
		s += " initial"
	}
	if e.Unexpected {
		s += " unexpected"
	}
	if e.Kind == PrimaryChanged {
		s += fmt.Sprintf(" %s ->", e.Previous)
	}
	if e.Address.IsValid() {
		s += " " + e.Address.String()
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// own adds an address of the host's own.
func (k *fakeKernel) own(a address) notice {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.stamp++
	a.created = k.stamp
	k.addrs = append(k.addrs, fakeAddress{address: a})
	return notice{address: &a}
}

var (
	host4     = address{index: 2, prefix: netip.MustParsePrefix("10.77.0.1/24"), valid: forever}
	host6     = address{index: 2, prefix: netip.MustParsePrefix("fe80::1/64"), valid: forever}
	initially = []string{"link_up initial", "address_vanished initial " + vip4, "address_vanished initial " + vip6}
)

// there returns the notice that the kernel gives when the address is put.
func (k *fakeKernel) there(ip string) notice {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, a := range k.addrs {
		if a.prefix.Addr() == netip.MustParseAddr(ip) {
			return notice{address: &a.address}
		}
	}
	panic("no address " + ip)
}

func gone(n notice) notice {
	n.gone = true
	return n
}

func TestWatchAddresses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := startWatch(t)
		w.expect(initially...)

		mustClaim(t, w.m, time.Hour)
		n4, n6 := w.k.there("10.77.0.100"), w.k.there("fd77::100")
		w.tell(n4)
		w.tell(n6)
		w.expect("address_appeared "+vip4, "address_appeared "+vip6)

		// Renewals are no news.
		if err := w.m.Renew(t.Context(), time.Hour); err != nil {
			t.Fatal(err)
		}
		w.tell(n4, n6)
		w.expect()

		// A foreign removal, and somebody puts it back.
		w.k.vanish("10.77.0.100")
		w.tell(gone(n4))
		w.expect("address_vanished unexpected " + vip4)
		mustClaim(t, w.m, time.Hour)
		again := w.k.there("10.77.0.100")
		w.tell(again)
		w.expect("address_appeared " + vip4)
		w.tell(gone(n4)) // old news
		w.expect()

		// Gone and back before anybody looked.
		w.k.vanish("10.77.0.100")
		if err := w.k.put(*again.address); err != nil {
			t.Fatal(err)
		}
		w.tell(gone(again), w.k.there("10.77.0.100"))
		w.expect("address_vanished unexpected "+vip4, "address_appeared "+vip4)
		// Even if only the second half is reported.
		w.k.vanish("10.77.0.100")
		if err := w.k.put(*again.address); err != nil {
			t.Fatal(err)
		}
		w.tell(w.k.there("10.77.0.100"))
		w.expect("address_vanished unexpected "+vip4, "address_appeared "+vip4)

		last4 := w.k.there("10.77.0.100")
		if err := w.m.Release(t.Context()); err != nil {
			t.Fatal(err)
		}
		w.tell(gone(last4), gone(n6))
		w.expect("address_vanished "+vip4, "address_vanished "+vip6)

		w.tell(w.k.own(address{index: 3, prefix: netip.MustParsePrefix(vip4), valid: forever}))
		w.expect("address_appeared unexpected " + vip4)
	})
}

func TestWatchPrimary(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := startWatch(t)
		w.expect(initially...)

		n4 := w.k.own(host4)
		tentative := host6
		tentative.flags = unix.IFA_F_TENTATIVE
		w.tell(n4, w.k.own(tentative))
		w.expect("primary_changed invalid Prefix -> 10.77.0.1/24")
		w.k.vanish("fe80::1")
		w.tell(w.k.own(host6))
		w.expect("primary_changed invalid Prefix -> fe80::1/64")

		// Neither of another scope, nor secondary, nor elsewhere, nor virtual.
		for _, a := range []address{
			{index: 2, prefix: netip.MustParsePrefix("10.77.0.2/24"), scope: unix.RT_SCOPE_LINK},
			{index: 2, prefix: netip.MustParsePrefix("10.77.0.3/24"), flags: unix.IFA_F_SECONDARY},
			{index: 3, prefix: netip.MustParsePrefix("10.77.0.4/24")},
			{index: 2, prefix: netip.MustParsePrefix("fd77::1/64")},
			{index: 2, prefix: netip.MustParsePrefix("10.77.0.5/24")},
		} {
			w.tell(w.k.own(a))
		}
		w.expect()
		w.k.vanish("10.77.0.1")
		w.tell(gone(n4))
		w.expect("primary_changed 10.77.0.1/24 -> 10.77.0.5/24")
		w.k.vanish("10.77.0.5")
		w.tell(gone(notice{address: &address{index: 2, prefix: netip.MustParsePrefix("10.77.0.5/24")}}))
		w.expect("primary_changed 10.77.0.5/24 ->")
	})
}

func TestWatchLink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := startWatch(t)
		w.expect(initially...)
		set := func(l link) notice {
			w.k.mu.Lock()
			defer w.k.mu.Unlock()
			w.k.links["eth0"] = l
			return notice{link: &l}
		}
		up, down := w.k.links["eth0"], w.k.links["eth0"]
		down.up = false
		w.tell(set(down))
		w.expect("link_down")
		w.tell(set(down))
		w.expect()
		w.tell(set(up))
		w.expect("link_up")
		// A flap that was over before anybody looked.
		w.tell(notice{link: &down}, notice{link: &up})
		w.expect("link_down", "link_up")
		// Other interfaces do not matter.
		w.tell(notice{link: &link{index: 7, name: "eth7"}})
		w.expect()
		// Deleted, and made again with another index.
		w.k.mu.Lock()
		delete(w.k.links, "eth0")
		w.k.mu.Unlock()
		w.tell(notice{link: &up, gone: true})
		w.expect("link_down")
		up.index = 9
		w.tell(set(up))
		w.expect("link_up")
		// Renamed.
		w.k.mu.Lock()
		delete(w.k.links, "eth0")
		w.k.mu.Unlock()
		renamed := up
		renamed.name = "lan0"
		w.tell(notice{link: &renamed})
		w.expect("link_down")
	})
}

// Notices that were lost are made up for by looking, and the subscription is
// opened anew, however long that takes.
func TestWatchResync(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := startWatch(t)
		w.expect(initially...)
		mustClaim(t, w.m, time.Hour)

		failures := 0
		w.k.mu.Lock()
		w.k.before = func(op string, _ int) error {
			// Three times no subscription, then one whose first listing fails.
			if op == opSubscribe && failures < 3 || op == opAddresses && failures == 3 {
				failures++
				return errFault
			}
			return nil
		}
		w.k.mu.Unlock()
		first := w.k.subscription()
		first.batches <- batch{err: unix.ENOBUFS}
		w.expect()
		select {
		case <-first.closed:
		default:
			t.Error("the subscription that failed was not closed")
		}
		time.Sleep(10 * resubscribeDelay)
		w.expect(
			"resynced: "+opSubscribe+": "+errFault.Error(),
			"resynced: "+opAddresses+": "+errFault.Error(),
			"address_appeared "+vip4, "address_appeared "+vip6,
		)
		if w.k.subscription() == first {
			t.Error("no new subscription")
		}
		// And the new one is listened to.
		n := w.k.there("10.77.0.100")
		w.k.vanish("10.77.0.100")
		w.tell(gone(n))
		w.expect("address_vanished unexpected " + vip4)

		// What nobody reports is found all the same.
		w.k.vanish("fd77::100")
		time.Sleep(resyncInterval)
		w.expect("address_vanished unexpected " + vip6)
	})
}

func TestWatchSlowConsumer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := startWatch(t)
		up := w.k.links["eth0"]
		down := up
		down.up = false
		for range maxPending {
			w.tell(notice{link: &down}, notice{link: &up})
		}
		synctest.Wait()
		var got []string
		for {
			synctest.Wait()
			select {
			case e := <-w.events:
				got = append(got, describe(e))
				continue
			default:
			}
			break
		}
		if len(got) > maxPending+1 {
			t.Errorf("%d events were kept", len(got))
		}
		if got[0] != "resynced: "+errSlowConsumer.Error() && got[1] != "resynced: "+errSlowConsumer.Error() {
			t.Errorf("first events %q, want resynced", got[:2])
		}
		if last := got[len(got)-1]; last != "link_up" {
			t.Errorf("last event %q, want link_up", last)
		}
	})
}

func TestWatchErrors(t *testing.T) {
	for _, op := range []string{opSubscribe, opLink, opAddresses} {
		m, k := newFakeManager(t)
		k.before = faultPoint{op, 1}.fail
		if _, err := m.Watch(t.Context()); !errors.Is(err, errFault) {
			t.Errorf("%s: %v, want the fault", op, err)
		}
	}
	// But an interface that is not there yet is not an error.
	synctest.Test(t, func(t *testing.T) {
		m, k := newFakeManager(t)
		delete(k.links, "eth0")
		ctx, cancel := context.WithCancel(t.Context())
		events, err := m.Watch(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if e := <-events; e.Kind != LinkDown || !e.Initial {
			t.Errorf("first event %s, want link_down", describe(e))
		}
		cancel()
		n := 0
		for range events {
			n++
		}
		if n > 2 {
			t.Errorf("%d events after the end", n)
		}
	})
}

func TestEventKindString(t *testing.T) {
	if got := LinkUp.String() + " " + EventKind(99).String(); got != "link_up EventKind(99)" {
		t.Error(got)
	}
}
