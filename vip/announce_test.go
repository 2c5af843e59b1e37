// SPDX-License-Identifier: Apache-2.0

package vip

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"
)

// Both families follow the schedule, ARP opcodes take turns, and Release ends it.
func TestAnnouncements(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, k := newAnnouncingManager(t, AnnounceConfig{})
		start := time.Now()
		mustClaim(t, m, time.Hour)
		// The first frames are there without any goroutine having run.
		if n := len(k.sent()); n != 2 {
			t.Fatalf("%d frames when Claim returned, want 2", n)
		}
		time.Sleep(130 * time.Second)
		synctest.Wait()

		ip4, ip6 := netip.MustParsePrefix(vip4).Addr(), netip.MustParsePrefix(vip6).Addr()
		frames := k.sent()
		if len(frames) != 2*12 {
			t.Fatalf("%d frames in 130 s, want 24", len(frames))
		}
		for i, f := range frames {
			n := i / 2
			due, _ := m.cfg.Announce.at(n)
			if at := f.at.Sub(start); at != due {
				t.Errorf("frame %d at %s, want %s", i, at, due)
			}
			want := appendNA(nil, testMAC, ip6, false)
			if i%2 == 0 {
				want = appendARP(nil, uint16(arpRequest+n%2), testMAC, ip4)
			}
			if !bytes.Equal(f.data, want) {
				t.Errorf("frame %d\n got %x\nwant %x", i, f.data, want)
			}
		}
		if err := m.Release(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		if n := len(k.sent()); n != 24 {
			t.Errorf("%d frames after Release", n-24)
		}
	})
}

func TestAnnounceAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, k := newAnnouncingManager(t, AnnounceConfig{})
		m.Announce()
		synctest.Wait()
		if n := len(k.sent()); n != 0 {
			t.Errorf("%d frames before Claim", n)
		}
		mustClaim(t, m, time.Hour)
		time.Sleep(30 * time.Second)
		before := len(k.sent())
		// The interface got another address meanwhile, and forwards now.
		k.mu.Lock()
		k.router = true
		l := k.links["eth0"]
		l.mac = []byte{2, 0, 0, 0, 0, 9}
		k.links["eth0"] = l
		k.mu.Unlock()
		m.Announce()
		m.Announce()
		time.Sleep(200 * time.Millisecond)
		frames := k.sent()[before:]
		if len(frames) < 4 || len(frames) > 6 { // the first of the two may have begun
			t.Fatalf("%d frames in 200 ms after Announce, want 4", len(frames))
		}
		if want := appendNA(nil, l.mac, netip.MustParsePrefix(vip6).Addr(), true); !bytes.Equal(frames[1].data, want) {
			t.Errorf("got  %x\nwant %x", frames[1].data, want)
		}
		if err := m.Release(t.Context()); err != nil {
			t.Fatal(err)
		}
		before = len(k.sent())
		m.Announce()
		time.Sleep(time.Hour)
		if n := len(k.sent()); n != before {
			t.Errorf("%d frames after Release", n-before)
		}
	})
}

// A full queue does not undo a Claim, anything else does; later failures are
// logged once and the schedule goes on.
func TestAnnounceFailures(t *testing.T) {
	for _, transient := range []error{unix.ENOBUFS, unix.EAGAIN, os.ErrDeadlineExceeded} {
		t.Run(fmt.Sprint(transient), func(t *testing.T) {
			m, k := newAnnouncingManager(t, AnnounceConfig{})
			k.before = func(op string, n int) error {
				if op == opSend && n == 1 {
					return transient
				}
				return nil
			}
			mustClaim(t, m, time.Hour)
		})
	}
	t.Run("link down", func(t *testing.T) {
		m, k := newAnnouncingManager(t, AnnounceConfig{})
		k.before = func(op string, _ int) error {
			if op == opSend {
				return unix.ENETDOWN
			}
			return nil
		}
		if err := m.Claim(t.Context(), time.Hour); !errors.Is(err, unix.ENETDOWN) {
			t.Errorf("Claim: %v, want ENETDOWN", err)
		}
		checkHas(t, k, nothing)
	})
	t.Run("later", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			m, k := newAnnouncingManager(t, AnnounceConfig{})
			var log bytes.Buffer
			m.cfg.Log = slog.New(slog.NewTextHandler(&log, nil))
			mustClaim(t, m, time.Hour)
			k.mu.Lock()
			k.before = func(op string, _ int) error {
				if op == opSend {
					return unix.ENETDOWN
				}
				return nil
			}
			k.mu.Unlock()
			time.Sleep(4 * time.Second)
			k.mu.Lock()
			k.before = nil
			k.mu.Unlock()
			time.Sleep(10 * time.Second)
			if n := len(k.sent()); n != 2+10 {
				t.Errorf("%d frames, want those of the first instant and of the second burst", n)
			}
			if n := bytes.Count(log.Bytes(), []byte("announce virtual addresses")); n != 1 {
				t.Errorf("logged %d times, want once:\n%s", n, &log)
			}
			if err := m.Release(t.Context()); err != nil {
				t.Fatal(err)
			}
		})
	})
}

// Links without neighbors carry an address, and are told nothing.
func TestNoAnnouncementsWithoutARP(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, k := newAnnouncingManager(t, AnnounceConfig{})
		k.links["eth0"] = link{index: 2, name: "eth0", up: true, noARP: true, mac: testMAC}
		mustClaim(t, m, time.Hour)
		time.Sleep(time.Minute)
		checkHas(t, k, both)
		if n := len(k.sent()); n != 0 {
			t.Errorf("%d frames", n)
		}
		if err := m.Release(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
}

// When Release has returned, no frame follows, even if one was being sent.
func TestReleaseSilences(t *testing.T) {
	m, k := newAnnouncingManager(t, AnnounceConfig{})
	sending, blocked := make(chan struct{}), make(chan struct{})
	k.before = func(op string, n int) error {
		if op == opSend && n == 3 {
			close(sending)
			<-blocked
		}
		return nil
	}
	mustClaim(t, m, time.Hour)
	m.Announce()
	<-sending
	done := make(chan error, 1)
	go func() { done <- m.Release(t.Context()) }()
	for k.called(opRemove) < 2 {
		time.Sleep(time.Millisecond) // the addresses go although the frame is stuck
	}
	select {
	case err := <-done:
		t.Errorf("Release returned %v while a frame was being sent", err)
	case <-time.After(20 * time.Millisecond):
	}
	close(blocked)
	if err := <-done; err != nil {
		t.Error(err)
	}
	n := len(k.sent())
	time.Sleep(150 * time.Millisecond)
	if got := len(k.sent()); got != n {
		t.Errorf("%d frames after Release", got-n)
	}
}
