// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"highwater/test/lab"
)

// now is a reading of CLOCK_BOOTTIME, the lab's clock.
func now() time.Duration {
	var ts unix.Timespec
	// Cannot fail: the clock is there on every supported kernel.
	_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts)
	return time.Duration(ts.Nano())
}

// hostState is what a watcher knows of a host.
type hostState struct{ carries, writable bool }

// sight is the state of all hosts from an instant on.
type sight struct {
	at    time.Duration
	hosts map[string]hostState
}

// carriers are how many hosts carry the VIP, writers how many of them in front of a writable server.
func (s sight) carriers() (carriers, writers int) {
	for _, h := range s.hosts {
		if h.carries {
			carriers++
			if h.writable {
				writers++
			}
		}
	}
	return carriers, writers
}

// A watcher writes down who carries the VIP, as the kernels say it, and whose server is writable, asked every
// pollInterval. A server that does not answer is not writable: while it hangs it acknowledges nothing.
type watcher struct {
	cancel context.CancelFunc
	done   chan struct{} // ends the kernels' messages
	tasks  sync.WaitGroup

	mu     sync.Mutex
	now    map[string]hostState
	sights []sight
}

const (
	pollInterval = 20 * time.Millisecond
	pollTimeout  = 200 * time.Millisecond
)

func watch(hosts []*lab.Host) (*watcher, error) {
	ctx, cancel := context.WithCancel(context.Background())
	w := &watcher{cancel: cancel, done: make(chan struct{}), now: map[string]hostState{}}
	for _, h := range hosts {
		updates := make(chan netlink.AddrUpdate, 16)
		err := h.Inside(func() error {
			return netlink.AddrSubscribeWithOptions(updates, w.done, netlink.AddrSubscribeOptions{ListExisting: true})
		})
		if err != nil {
			w.stop()
			return nil, fmt.Errorf("watch the addresses of %s: %w", h.Name(), err)
		}
		w.tasks.Go(func() { w.addresses(h.Name(), updates) })
		w.tasks.Go(func() { w.server(ctx, h) })
	}
	return w, nil
}

// stop ends watching and returns what was seen, in the order of time.
func (w *watcher) stop() []sight {
	w.cancel()
	close(w.done)
	w.tasks.Wait()
	return w.sights
}

func (w *watcher) change(host string, change func(*hostState)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	before := w.now[host]
	after := before
	change(&after)
	if after == before {
		return
	}
	w.now[host] = after
	w.sights = append(w.sights, sight{now(), maps.Clone(w.now)})
}

// addresses follows the kernel's messages until it ends them.
func (w *watcher) addresses(host string, updates <-chan netlink.AddrUpdate) {
	for u := range updates {
		if u.LinkAddress.IP.Equal(lab.VIP.AsSlice()) {
			w.change(host, func(s *hostState) { s.carries = u.NewAddr })
		}
	}
}

// server asks a server whether it is writable.
func (w *watcher) server(ctx context.Context, h *lab.Host) {
	for ctx.Err() == nil {
		readOnly, err := askReadOnly(ctx, h)
		w.change(h.Name(), func(s *hostState) { s.writable = err == nil && readOnly == "0" })
		select {
		case <-ctx.Done():
		case <-time.After(pollInterval):
		}
	}
}

func askReadOnly(ctx context.Context, h *lab.Host) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, pollTimeout)
	defer cancel()
	return h.Server.QueryString(ctx, "SELECT @@global.read_only")
}

// seen is what matters of the sights after a fault.
type seen struct {
	// twoCarriers is how long two hosts or more carried the VIP, twoWriters how long in front of writable servers.
	twoCarriers, twoWriters time.Duration
	// settled is when, after the fault, the VIP was at one host for good, and not at the one with the fault; negative
	// if it never was.
	settled time.Duration
}

// look evaluates sights from the fault on the victim until the end of watching.
func look(sights []sight, victim string, fault, end time.Duration) seen {
	result := seen{settled: -1}
	for i, s := range sights {
		until := end
		if i+1 < len(sights) {
			until = sights[i+1].at
		}
		if until <= fault {
			continue
		}
		from := max(s.at, fault)
		carriers, writers := s.carriers()
		if carriers > 1 {
			result.twoCarriers += until - from
		}
		if writers > 1 {
			result.twoWriters += until - from
		}
		switch {
		case carriers != 1 || s.hosts[victim].carries:
			result.settled = -1
		case result.settled < 0:
			result.settled = from - fault
		}
	}
	return result
}
