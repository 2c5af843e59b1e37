// SPDX-License-Identifier: Apache-2.0

package vip

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// minLease and maxLease bound a lease. The kernel counts in seconds; nobody needs a
// dead-man's switch of more than an hour.
const (
	minLease = time.Second
	maxLease = time.Hour
)

// A grant is the length of one lease.
type grant struct {
	length  time.Duration // what we count with
	seconds uint32        // what the kernel is told for an address
}

// Claim adds all addresses with the lease (1s to 1h), reads them back and announces
// them; the first frame of each has left when it returns. All or nothing: after an
// error none of the addresses is there, or the error says which.
//
// Where the session fence is active, it opens before the first address is there,
// and ends with the lease; that of the addresses is rounded up to whole seconds.
// Without a fence the lease is rounded down.
//
// An address that is there already is taken over: it gets the lease and keeps its
// sessions, so a Claim may be repeated. Only the configured prefix on the
// configured interface counts; the same address elsewhere on this host is removed,
// because no lease of ours would end it.
//
// It returns ErrSuperseded if a Release came in between. A write that the kernel
// finished only after ctx had ended is taken back.
func (m *Manager) Claim(ctx context.Context, lease time.Duration) error {
	g, err := m.grant(lease)
	if err == nil {
		err = m.claim(ctx, g)
	}
	if err != nil {
		return fmt.Errorf("claim %s on %s: %w", m.names(), m.cfg.Interface, err)
	}
	return nil
}

func (m *Manager) claim(ctx context.Context, g grant) error {
	turn := m.begin()
	var on link
	err := m.write(ctx, func() error {
		err := m.current(turn)
		if err != nil {
			return err
		}
		if on, err = m.add(ctx, turn, g); err != nil {
			m.lose()
			return errors.Join(err, m.removeAll())
		}
		return nil
	})
	if err != nil {
		if ctx.Err() == nil {
			return err
		}
		// The write goes on alone, and may have succeeded by now.
		if next, ok := m.beginAfter(turn); ok {
			err = errors.Join(err, m.release(ctx, next))
		}
		return err
	}
	// Not part of the write: a Release must not wait for a device's queue.
	m.mu.Lock()
	if m.turn != turn {
		m.mu.Unlock()
		return ErrSuperseded
	}
	a := m.newAnnouncement()
	m.mu.Unlock()
	if err := a.first(on); err != nil {
		return errors.Join(err, m.release(ctx, turn))
	}
	return nil
}

// add adds all addresses, reads them back and takes them as held.
func (m *Manager) add(ctx context.Context, turn uint64, g grant) (link, error) {
	start := m.cfg.Now()
	m.mu.Lock()
	m.wanted, m.held = true, false
	m.quiet()
	m.mu.Unlock()
	on, err := m.kernel.link(m.cfg.Interface)
	if err != nil {
		return link{}, err
	}
	found, err := m.present()
	if err != nil {
		return link{}, err
	}
	for _, a := range found {
		if p, _ := m.configured(a.prefix.Addr()); a.index == on.index && a.prefix == p {
			continue
		}
		if err := m.kernel.remove(a); err != nil {
			return link{}, err
		}
	}
	if err := errors.Join(ctx.Err(), m.current(turn)); err != nil {
		return link{}, err
	}
	// Before the addresses: nobody who finds them is refused.
	if m.fence != nil {
		if err := m.fence.extend(start + g.length); err != nil {
			return link{}, err
		}
	}
	for _, p := range m.cfg.Addresses {
		if err := errors.Join(ctx.Err(), m.current(turn)); err != nil {
			return link{}, err
		}
		if err := m.kernel.put(m.leased(on, p, g.seconds)); err != nil {
			return link{}, err
		}
	}
	created, err := m.readBack(on, g.seconds)
	if err != nil {
		return link{}, err
	}
	if err := m.tookEffectInTime(ctx, start, g); err != nil {
		return link{}, err
	}

	m.mu.Lock()
	defer m.mu.Unlock()
	if m.turn != turn {
		return link{}, ErrSuperseded
	}
	m.held = true
	m.until = start + g.length
	m.created = created
	return on, nil
}

// leased returns the address to be put for the prefix.
func (m *Manager) leased(on link, p netip.Prefix, seconds uint32) address {
	a := address{
		index:    on.index,
		prefix:   p,
		protocol: addressProtocol,
		valid:    seconds,
		// Not a source address: see the package comment.
		preferred: 0,
	}
	if p.Addr().Is6() {
		a.flags = unix.IFA_F_NODAD
		if p.IsSingleIP() {
			a.flags |= unix.IFA_F_NOPREFIXROUTE
		}
		return a
	}
	a.label = m.cfg.Label
	a.scope = scopeOf(m.cfg.Scope, p)
	return a
}

func scopeOf(s Scope, p netip.Prefix) uint8 {
	switch s {
	case ScopeGlobal:
		return unix.RT_SCOPE_UNIVERSE
	case ScopeLink:
		return unix.RT_SCOPE_LINK
	case ScopeHost:
		return unix.RT_SCOPE_HOST
	default:
		if p.IsSingleIP() {
			return unix.RT_SCOPE_HOST
		}
		return unix.RT_SCOPE_UNIVERSE
	}
}

// readBack checks that every address is there, once, with a lease of at most the
// seconds, and returns their creation stamps.
func (m *Manager) readBack(on link, seconds uint32) (map[netip.Addr]uint32, error) {
	found, err := m.present()
	if err != nil {
		return nil, err
	}
	created := make(map[netip.Addr]uint32, len(m.cfg.Addresses))
	for _, a := range found {
		ip := a.prefix.Addr()
		p, _ := m.configured(ip)
		switch {
		case a.index != on.index || a.prefix != p:
			return nil, fmt.Errorf("read back %s: is also on interface index %d as %s", p, a.index, a.prefix)
		case a.valid == 0 || a.valid > seconds:
			return nil, fmt.Errorf("read back %s: valid for %s, want at most %d s", p, lifetime(a.valid), seconds)
		case a.flags&(unix.IFA_F_TENTATIVE|unix.IFA_F_DADFAILED) != 0:
			return nil, fmt.Errorf("read back %s: not usable, flags %#x", p, a.flags)
		}
		created[ip] = a.created
	}
	for _, p := range m.cfg.Addresses {
		if _, ok := created[p.Addr()]; !ok {
			return nil, fmt.Errorf("read back %s: %w", p, ErrLost)
		}
	}
	return created, nil
}

func lifetime(seconds uint32) string {
	if seconds == forever {
		return "ever"
	}
	return fmt.Sprintf("%d s", seconds)
}

// tookEffectInTime returns an error if a write begun at start was finished so late
// that the lease it gave is longer than the caller can know of: ctx has run out,
// or a whole lease has gone by.
func (m *Manager) tookEffectInTime(ctx context.Context, start time.Duration, g grant) error {
	if took := m.cfg.Now() - start; took >= g.length {
		return fmt.Errorf("write took %s, longer than the lease: %w", took, ErrLost)
	}
	// A context that was merely canceled is that of a caller who leaves: the lease
	// was given in time and may stand.
	if err := ctx.Err(); errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return nil
}

// Renew extends the lease of the held addresses (rounding and range as in Claim).
// It returns ErrLost, and the Manager holds nothing from then on, if they are not
// claimed, if the lease has run out, or if one of them has vanished since the last
// Claim or Renew; it never adds one again. Only Claim does, and whoever calls that
// has asked for the right. ErrSuperseded and late writes are as in Claim.
//
// The session fence is extended first. After an error that is not ErrLost, of the
// fence or of a write, the lease ends as if Renew had not been called, or had
// succeeded.
func (m *Manager) Renew(ctx context.Context, lease time.Duration) error {
	m.mu.Lock()
	turn := m.turn
	m.mu.Unlock()
	g, err := m.grant(lease)
	if err == nil {
		err = m.write(ctx, func() error { return m.renew(ctx, turn, g) })
	}
	if err != nil {
		return fmt.Errorf("renew %s on %s: %w", m.names(), m.cfg.Interface, err)
	}
	return nil
}

func (m *Manager) renew(ctx context.Context, turn uint64, g grant) error {
	m.mu.Lock()
	held, until, created := m.held, m.until, m.created
	m.mu.Unlock()
	start := m.cfg.Now()
	if err := errors.Join(ctx.Err(), m.current(turn)); err != nil {
		return err
	}
	if !held {
		return fmt.Errorf("not claimed: %w", ErrLost)
	}
	if start >= until {
		m.lose()
		return errors.Join(fmt.Errorf("lease ended %s ago: %w", start-until, ErrLost), m.removeAll())
	}
	on, err := m.kernel.link(m.cfg.Interface)
	if err != nil {
		return err
	}
	found, err := m.present()
	if err != nil {
		return err
	}
	// Nothing is written unless everything is there.
	if missing := m.missing(on, found, created); len(missing) > 0 {
		m.lose()
		return fmt.Errorf("%s vanished: %w", join(missing), ErrLost)
	}
	if m.fence != nil {
		if err := errors.Join(ctx.Err(), m.current(turn)); err != nil {
			return err
		}
		if err := m.fence.extend(start + g.length); err != nil {
			return err
		}
	}
	for _, p := range m.cfg.Addresses {
		if err := errors.Join(ctx.Err(), m.current(turn)); err != nil {
			return err
		}
		if err := m.kernel.put(m.leased(on, p, g.seconds)); err != nil {
			return err
		}
	}
	after, err := m.readBack(on, g.seconds)
	if err == nil {
		for ip, stamp := range after {
			if stamp != created[ip] {
				// It went away between look and write, and the write brought it
				// back: the kernel has no "only if it exists" for addresses.
				err = errors.Join(err, fmt.Errorf("%s had just vanished: %w", ip, ErrLost))
			}
		}
	}
	if err == nil {
		err = m.tookEffectInTime(ctx, start, g)
	}
	if err != nil {
		m.lose()
		return errors.Join(err, m.removeAll())
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.turn == turn {
		m.until = start + g.length
	}
	return nil
}

// missing returns the configured addresses of which found does not hold the very
// one that was created when we say.
func (m *Manager) missing(on link, found []address, created map[netip.Addr]uint32) []netip.Prefix {
	there := make(map[netip.Prefix]bool, len(found))
	for _, a := range found {
		if a.index == on.index && a.created == created[a.prefix.Addr()] {
			there[a.prefix] = true
		}
	}
	var missing []netip.Prefix
	for _, p := range m.cfg.Addresses {
		if !there[p] {
			missing = append(missing, p)
		}
	}
	return missing
}

// grant returns what a lease is worth. The promise is that the addresses are not
// served when it is over: a fence keeps it, and without one the kernel has to be
// told a lower number of seconds rather than a higher.
func (m *Manager) grant(lease time.Duration) (grant, error) {
	if lease < minLease || lease > maxLease {
		return grant{}, fmt.Errorf("lease of %s is not within %s and %s", lease, minLease, maxLease)
	}
	if m.fence != nil {
		return grant{lease, uint32((lease + time.Second - 1) / time.Second)}, nil
	}
	seconds := lease.Truncate(time.Second)
	return grant{seconds, uint32(seconds / time.Second)}, nil
}
