// SPDX-License-Identifier: Apache-2.0

package vip

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

var (
	// ErrLost says that an address that should have been held was not there, or
	// that its lease had run out. The Manager holds nothing then; addresses that
	// are still there lapse with their lease.
	ErrLost = errors.New("virtual address lost")
	// ErrSuperseded says that a later Claim or Release took the place of the
	// call.
	ErrSuperseded = errors.New("superseded by a later call")
)

// addressProtocol is the IFA_PROTO of our addresses. The kernel uses 1 to 3 and
// leaves the rest to whom it may concern.
const addressProtocol = 'h'

// A Manager carries the virtual addresses of one interface. It is safe for
// concurrent use.
type Manager struct {
	cfg    Config
	kernel kernel
	// fence is nil if there is none; fenceErr is why, unless there was to be none.
	fence    *fence
	fenceErr error

	// writes has room for one: who has put something in may write addresses.
	writes chan struct{}

	mu sync.Mutex
	// turn counts calls of Claim and Release. Work done for an earlier turn must
	// not begin another write, except to take back its own.
	turn uint64
	// wanted says that the addresses are to be here, held that they are, with a
	// lease that is not over yet as far as we know.
	wanted, held bool
	// announcement is the latest one; nil: there was none yet.
	announcement *announcement
	// until is the instant, as a reading of Config.Now, at which the lease is
	// over at the latest.
	until time.Duration
	// created has the creation stamps of the held addresses as the kernel gave
	// them: an address that vanished and came back is not the one we held.
	created map[netip.Addr]uint32
}

// New returns a Manager. It changes no address yet, and the interface need not
// exist yet. It tries the session fence on addresses of nobody; with FenceNFT it
// returns an error if that fails. Close gives up what the Manager keeps open.
func New(cfg Config) (*Manager, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("configure virtual addresses: %w", err)
	}
	k, err := openLinux(cfg.Netns)
	if err != nil {
		return nil, fmt.Errorf("configure virtual addresses: %w", err)
	}
	m := newManager(cfg, k)
	if err := m.openFence(); err != nil {
		return nil, fmt.Errorf("configure virtual addresses: %w", errors.Join(err, k.close()))
	}
	return m, nil
}

// newManager returns a Manager for a configuration with all defaults set.
func newManager(cfg Config, k kernel) *Manager {
	return &Manager{
		cfg:    cfg,
		kernel: k,
		writes: make(chan struct{}, 1),
	}
}

// Close ends announcements and closes all sockets but those of a Watch. It does
// not touch the addresses: they stay until their lease ends, so that a supervisor
// that restarts within it finds them in place. The session fence stays with them,
// and is removed if none of them is here.
func (m *Manager) Close() error {
	m.mu.Lock()
	m.quiet()
	last := m.announcement
	m.mu.Unlock()
	err := errors.Join(silence(context.Background(), last), m.closeFence(), m.kernel.close())
	if err != nil {
		return fmt.Errorf("close virtual addresses: %w", err)
	}
	return nil
}

// A Held is a configured address that this host has now.
type Held struct {
	// Address is as the kernel has it; the prefix length may be another than the
	// configured one if somebody else added it.
	Address netip.Prefix
	// Interface is the name of the interface that has the address.
	Interface string
	// Label is the label of an IPv4 address.
	Label string
	// Remaining is the time until the kernel removes the address by itself, in
	// whole seconds rounded up, or 0 if it never does.
	Remaining time.Duration
	// Ours says that the address is what a Manager of this configuration would
	// have added: right interface and prefix, our mark, a limited lifetime.
	Ours bool
}

// Held lists which of the configured addresses this host has now, on any
// interface, and whose they are. At start this is what the supervisor decides on.
func (m *Manager) Held(ctx context.Context) ([]Held, error) {
	var list []Held
	err := bounded(ctx, func() error {
		found, err := m.present()
		if err != nil {
			return err
		}
		for _, a := range found {
			h := Held{Address: a.prefix, Label: a.label}
			if h.Interface, err = m.kernel.linkName(a.index); err != nil {
				return err
			}
			if a.valid != forever {
				h.Remaining = time.Duration(a.valid) * time.Second
			}
			h.Ours = h.Interface == m.cfg.Interface && m.marked(a)
			list = append(list, h)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list virtual addresses: %w", err)
	}
	return list, nil
}

// marked reports whether the address, if it is on our interface, looks like one
// that we added.
func (m *Manager) marked(a address) bool {
	configured, ok := m.configured(a.prefix.Addr())
	switch {
	case !ok || configured != a.prefix || a.valid == forever:
		return false
	case a.protocol != 0:
		return a.protocol == addressProtocol
	case a.prefix.Addr().Is4():
		return a.label == m.cfg.Label
	default:
		// A kernel before 5.18 cannot say whose an IPv6 address is. Nobody else
		// turns off duplicate address detection for a deprecated address.
		return a.flags&unix.IFA_F_NODAD != 0 && a.preferred == 0
	}
}

// configured returns the configured prefix of a virtual address.
func (m *Manager) configured(a netip.Addr) (netip.Prefix, bool) {
	for _, p := range m.cfg.Addresses {
		if p.Addr() == a {
			return p, true
		}
	}
	return netip.Prefix{}, false
}

// present lists the configured addresses that this host has, on any interface
// and with any prefix length.
func (m *Manager) present() ([]address, error) {
	all, err := m.kernel.addresses()
	if err != nil {
		return nil, err
	}
	var found []address
	for _, a := range all {
		if _, ok := m.configured(a.prefix.Addr()); ok {
			found = append(found, a)
		}
	}
	return found, nil
}

// Announce begins the announcements of held addresses anew and does not wait for
// them. It is for the moment a conflict has healed; Claim announces by itself.
// While nothing is held it does nothing.
func (m *Manager) Announce() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.held {
		go m.newAnnouncement().run(0)
	}
}

// newAnnouncement replaces the announcement under way, if any. m.mu is held.
func (m *Manager) newAnnouncement() *announcement {
	m.quiet()
	m.announcement = newAnnouncement(m.cfg, m.kernel, m.announcement)
	return m.announcement
}

// quiet ends announcements, but for a frame that is being sent. m.mu is held.
func (m *Manager) quiet() {
	if m.announcement != nil {
		m.announcement.cancel()
	}
}

// silence waits until no frame of the announcement, or of an earlier one, can
// follow. It is canceled already; nil: there was none.
func silence(ctx context.Context, a *announcement) error {
	if a == nil {
		return nil
	}
	select {
	case <-a.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// begin starts a new turn.
func (m *Manager) begin() uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.turn++
	return m.turn
}

// beginAfter starts a new turn, unless the turn is not the last one any more.
func (m *Manager) beginAfter(turn uint64) (next uint64, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.turn != turn {
		return 0, false
	}
	m.turn++
	return m.turn, true
}

// current returns an error unless the turn is still the last one.
func (m *Manager) current(turn uint64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.turn != turn {
		return ErrSuperseded
	}
	return nil
}

// wants reports whether the addresses are to be here.
func (m *Manager) wants() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.wanted
}

// lose notes that the addresses are not to be here any more, and returns the
// announcement that this ends, if any.
func (m *Manager) lose() *announcement {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.wanted, m.held = false, false
	m.quiet()
	return m.announcement
}

// write calls f when no other write is under way, and waits for it as long as ctx
// lets it. f itself is not interrupted, since no system call could be: it goes on
// alone and has to look at ctx before it begins anything new.
func (m *Manager) write(ctx context.Context, f func() error) error {
	return bounded(ctx, func() error {
		m.writes <- struct{}{}
		defer func() { <-m.writes }()
		return f()
	})
}

// bounded calls f and waits for it as long as ctx lets it.
func bounded(ctx context.Context, f func() error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	done := make(chan error, 1)
	go func() { done <- f() }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// names returns the configured addresses for an error message.
func (m *Manager) names() string { return join(m.cfg.Addresses) }

func join(list []netip.Prefix) string {
	names := make([]string, len(list))
	for i, p := range list {
		names[i] = p.String()
	}
	return strings.Join(names, ", ")
}
