// SPDX-License-Identifier: Apache-2.0

package vip

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"
)

const (
	// resetBudget is how long Release lets sessions be reset before it removes
	// the address, whether or not all of them were.
	resetBudget = 50 * time.Millisecond

	// destroyPasses bounds how often sockets are listed and destroyed until there
	// are none: new ones may come while a listening socket can be reached.
	destroyPasses = 3
)

// DestroyServerSockets destroys the TCP connections whose local port is the port,
// on every local address and loopback too, and returns how many there were. It
// isolates a server from all its clients, those that do not come through a
// virtual address included, and does not need the server to be able to run. Each
// client is sent a reset. Listening sockets stay, so clients may come back: what
// keeps them out is the caller's concern.
func (m *Manager) DestroyServerSockets(ctx context.Context, port uint16) (int, error) {
	if port == 0 {
		return 0, errors.New("destroy server sockets: port 0")
	}
	var n int
	err := bounded(ctx, func() (err error) {
		n, err = m.destroySockets(ctx, port, func(netip.Addr) bool { return true })
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("destroy sockets of port %d: %w", port, err)
	}
	return n, nil
}

// resetSessions destroys the sockets that are bound to the addresses found, while
// these are still there to send the resets. It is only a courtesy to clients, and
// bounded: its errors show up again in the pass after the removal.
func (m *Manager) resetSessions(found []address) {
	// IPv6 resets are sent after the removal as well.
	needed := false
	for _, a := range found {
		needed = needed || a.prefix.Addr().Is4()
	}
	if !needed {
		return
	}
	done := make(chan struct{})
	ctx, cancel := context.WithTimeout(context.Background(), resetBudget)
	go func() {
		defer cancel()
		defer close(done)
		_, _ = m.destroyBound(ctx)
	}()
	select {
	case <-done:
	case <-ctx.Done():
	}
}

// destroyBound destroys all sockets that are bound to a virtual address and
// returns how many there were.
func (m *Manager) destroyBound(ctx context.Context) (int, error) {
	return m.destroySockets(ctx, 0, func(a netip.Addr) bool {
		_, ok := m.configured(a)
		return ok
	})
}

// destroySockets destroys the sockets with the local port, or any if that is 0,
// and a local address that matches, and returns how many there were.
func (m *Manager) destroySockets(ctx context.Context, port uint16, match func(netip.Addr) bool) (int, error) {
	n := 0
	for range destroyPasses {
		list, err := m.kernel.sockets(port)
		if err != nil {
			return n, err
		}
		var errs []error
		before := n
		for _, s := range list {
			if !match(s.local.Addr()) {
				continue
			}
			if err := ctx.Err(); err != nil {
				return n, errors.Join(append(errs, err)...)
			}
			n++
			errs = append(errs, m.kernel.destroy(s))
		}
		if err := errors.Join(errs...); err != nil || n == before {
			return n, err
		}
	}
	return n, nil
}
