// SPDX-License-Identifier: Apache-2.0

package vip

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// cutBudget is how long Release waits for the fence before it goes on with the
// addresses.
const cutBudget = 50 * time.Millisecond

// removeAttempts bounds how often Release removes an address that somebody keeps
// adding.
const removeAttempts = 3

// Release closes the session fence, takes all addresses off this host, whoever added
// them and on whichever interface they are, destroys the TCP sockets that are bound
// to them and reads back. It may be repeated. It overtakes whatever else is under way, tries
// everything and returns all errors joined; if ctx ends first, it goes on in the
// background. When it returns without error, no address, no session and no
// announcement is left.
func (m *Manager) Release(ctx context.Context) error {
	turn := m.begin()
	if err := m.release(ctx, turn); err != nil {
		return fmt.Errorf("release %s: %w", m.names(), err)
	}
	return nil
}

func (m *Manager) release(ctx context.Context, turn uint64) error {
	last := m.lose()
	// Not m.write: a release is not called off because its caller has no time.
	done := make(chan error, 1)
	go func() {
		m.writes <- struct{}{}
		defer func() { <-m.writes }()
		if err := m.current(turn); err != nil {
			done <- err
			return
		}
		done <- m.removeAll()
	}()
	select {
	case err := <-done:
		return errors.Join(err, silence(ctx, last))
	case <-ctx.Done():
		return ctx.Err()
	}
}

// removeAll takes every configured address off this host, and the sessions with
// them, in the order that the package comment explains.
func (m *Manager) removeAll() error {
	cut := m.cutSessions()
	found, err := m.present()
	if err != nil {
		// What cannot be listed is removed unseen.
		err = errors.Join(err, m.removeUnseen())
	}
	m.resetSessions(found)
	for range removeAttempts {
		if len(found) == 0 {
			break
		}
		var errs []error
		for _, a := range found {
			errs = append(errs, m.kernel.remove(a))
		}
		left, lerr := m.present()
		if lerr == nil {
			found = left
		}
		err = errors.Join(append(errs, lerr)...)
	}
	for _, a := range found {
		err = errors.Join(err, fmt.Errorf("%s was not seen gone", a.prefix))
	}
	_, serr := m.destroyBound(context.Background())
	return errors.Join(<-cut, err, serr)
}

// cutSessions closes the fence and delivers the error. It waits for that, but not
// for long: while somebody else writes a large ruleset, nobody else can.
func (m *Manager) cutSessions() <-chan error {
	result := make(chan error, 1)
	if m.fence == nil {
		result <- nil
		return result
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		result <- m.fence.cut()
	}()
	timer := time.NewTimer(cutBudget)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
	}
	return result
}

// removeUnseen removes the addresses from where they should be.
func (m *Manager) removeUnseen() error {
	on, err := m.kernel.link(m.cfg.Interface)
	if err != nil {
		return err
	}
	var errs []error
	for _, p := range m.cfg.Addresses {
		errs = append(errs, m.kernel.remove(m.leased(on, p, 0)))
	}
	return errors.Join(errs...)
}
