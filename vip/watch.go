// SPDX-License-Identifier: Apache-2.0

package vip

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// An EventKind says what an Event reports.
type EventKind int

// Possible values of an EventKind.
const (
	// LinkUp: the interface is enabled, has a carrier and is operational (or does
	// not say).
	LinkUp EventKind = iota + 1
	// LinkDown: it is not, or does not exist.
	LinkDown
	// AddressAppeared: Event.Address, a virtual address, is on this host.
	AddressAppeared
	// AddressVanished: it is not, or not any more.
	AddressVanished
	// PrimaryChanged: Event.Address is now the first address of its own on the
	// interface: for IPv4 the first with global scope that is neither virtual nor
	// secondary, for IPv6 the first link-local one, which are the source addresses
	// of VRRP (RFC 9568 section 5.1). If it is invalid, there is none any more,
	// and Event.Previous was it.
	PrimaryChanged
	// Resynced: notices were lost or the subscription was not to be had, for the
	// reason in Event.Err. The changes that were missed follow.
	Resynced
)

// String returns the name of the kind in lower case with underscores.
func (k EventKind) String() string {
	switch k {
	case LinkUp:
		return "link_up"
	case LinkDown:
		return "link_down"
	case AddressAppeared:
		return "address_appeared"
	case AddressVanished:
		return "address_vanished"
	case PrimaryChanged:
		return "primary_changed"
	case Resynced:
		return "resynced"
	default:
		return fmt.Sprintf("EventKind(%d)", int(k))
	}
}

// An Event is a change of the interface or of an address.
type Event struct {
	Kind EventKind
	// At is when the change was seen, as a reading of Config.Now.
	At time.Duration
	// Initial marks the state at the beginning of a Watch, or after events had to
	// be dropped, which is not news.
	Initial bool
	// Address is what AddressAppeared, AddressVanished and PrimaryChanged are
	// about.
	Address netip.Prefix
	// Previous is the primary address until a PrimaryChanged; invalid: none.
	Previous netip.Prefix
	// Unexpected marks a virtual address that vanished while the Manager held it
	// or appeared while it did not.
	Unexpected bool
	// Err is the reason of Resynced.
	Err error
}

const (
	// resyncInterval is how often a Watch looks for itself, whatever it was told.
	resyncInterval = 10 * time.Second
	// resubscribeDelay is the pause after a subscription that failed.
	resubscribeDelay = 100 * time.Millisecond
	// maxPending is how many events may wait for a consumer that is slow. Beyond
	// that they are replaced by what the state is by then.
	maxPending = 256
)

// errSlowConsumer is the reason of a Resynced after more than maxPending events.
var errSlowConsumer = errors.New("events were not taken in time")

// Watch reports changes of the interface and of the addresses until ctx ends, and
// then closes the channel. The first events, marked Initial, are the state as it
// is: the link, then every virtual address, then the primary addresses that there
// are. After that a change is reported even if it was undone at once, unless
// notices were lost: then only its outcome is.
//
// The error is that of the first subscription or listing; later ones are repeated
// until they succeed. A slow consumer loses details, never the latest state.
func (m *Manager) Watch(ctx context.Context) (<-chan Event, error) {
	w := &watch{m: m, events: make(chan Event)}
	sub, err := m.kernel.subscribe()
	if err != nil {
		return nil, fmt.Errorf("watch %s: %w", m.cfg.Interface, err)
	}
	// The subscription comes before the listing, so that nothing falls between.
	if err := w.load(true); err != nil {
		sub.close()
		return nil, fmt.Errorf("watch %s: %w", m.cfg.Interface, err)
	}
	go w.run(ctx, sub)
	return w.events, nil
}

// A watch is what one Watch knows. Only its run uses it.
type watch struct {
	m       *Manager
	events  chan Event
	pending []Event
	state   watchState
}

// A watchState is what events are the differences of.
type watchState struct {
	link link
	// vips has the virtual addresses that this host has.
	vips map[netip.Addr]incarnation
	// primary4 and primary6 are as PrimaryChanged says.
	primary4, primary6 netip.Prefix
}

// An incarnation tells an address from the same one after it was removed.
type incarnation struct {
	index   int
	created uint32
}

// A batch is what one receive returned.
type batch struct {
	notices []notice
	err     error
}

// run delivers events until ctx ends. sub is open.
func (w *watch) run(ctx context.Context, sub subscription) {
	defer close(w.events)
	batches, stop := read(sub)
	defer func() { stop() }()
	resync := time.NewTicker(resyncInterval)
	defer resync.Stop()

	var retry <-chan time.Time
	var cause error
	fail := func(err error) {
		stop()
		batches, stop = nil, func() {}
		cause = err
		retry = time.After(resubscribeDelay)
		w.m.cfg.Log.Warn("watch interface", "interface", w.m.cfg.Interface, "error", err)
	}
	for {
		var out chan<- Event
		var next Event
		if len(w.pending) > 0 {
			out, next = w.events, w.pending[0]
		}
		select {
		case <-ctx.Done():
			return
		case out <- next:
			w.pending = w.pending[1:]
		case b := <-batches:
			err := b.err
			if err == nil {
				err = w.apply(b.notices)
			}
			if err != nil {
				fail(err)
			}
		case <-resync.C:
			if batches == nil {
				continue // a retry is due
			}
			if err := w.load(false); err != nil {
				fail(err)
			}
		case <-retry:
			retry = nil
			sub, err := w.m.kernel.subscribe()
			if err != nil {
				fail(err)
				continue
			}
			batches, stop = read(sub)
			w.emit(Event{Kind: Resynced, Err: cause})
			if err := w.load(false); err != nil {
				fail(err)
			}
		}
	}
}

// read receives from the subscription until that fails or stop is called, which
// closes it.
func read(sub subscription) (batches <-chan batch, stop func()) {
	c := make(chan batch)
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		for {
			notices, err := sub.receive()
			select {
			case c <- batch{notices, err}:
			case <-ctx.Done():
				return
			}
			if err != nil {
				return
			}
		}
	}()
	return c, func() {
		cancel()
		sub.close()
	}
}

// apply takes in what the kernel reported.
func (w *watch) apply(notices []notice) error {
	reload := false
	for _, n := range notices {
		next := w.state
		switch {
		case n.link != nil:
			named := n.link.name == w.m.cfg.Interface
			if !named && n.link.index != w.state.link.index {
				continue
			}
			next.link = *n.link
			if n.gone || !named {
				next.link = link{}
			}
			reload = true
		case n.address != nil:
			ip := n.address.prefix.Addr()
			if _, ok := w.m.configured(ip); !ok {
				reload = reload || n.address.index == w.state.link.index
				continue
			}
			this := incarnation{n.address.index, n.address.created}
			next.vips = maps.Clone(w.state.vips)
			switch {
			case !n.gone:
				next.vips[ip] = this
			case next.vips[ip] == this:
				delete(next.vips, ip)
				reload = true // another interface may have it too
			default:
				continue // old news
			}
		}
		w.change(next, false)
	}
	if reload {
		return w.load(false)
	}
	return nil
}

// load looks at what is there.
func (w *watch) load(initial bool) error {
	next := watchState{vips: make(map[netip.Addr]incarnation)}
	var err error
	if next.link, err = w.m.kernel.link(w.m.cfg.Interface); err != nil && !errors.Is(err, errNoLink) {
		return err
	}
	list, err := w.m.kernel.addresses()
	if err != nil {
		return err
	}
	for _, a := range list {
		ip := a.prefix.Addr()
		if _, ok := w.m.configured(ip); ok {
			if was, ok := next.vips[ip]; !ok || was.index != next.link.index {
				next.vips[ip] = incarnation{a.index, a.created}
			}
			continue
		}
		if a.index != next.link.index {
			continue
		}
		switch {
		case ip.Is4() && !next.primary4.IsValid() && a.scope == unix.RT_SCOPE_UNIVERSE && a.flags&unix.IFA_F_SECONDARY == 0:
			next.primary4 = a.prefix
		case ip.Is6() && !next.primary6.IsValid() && ip.IsLinkLocalUnicast() && a.flags&(unix.IFA_F_TENTATIVE|unix.IFA_F_DADFAILED) == 0:
			next.primary6 = a.prefix
		}
	}
	w.change(next, initial)
	return nil
}

// change emits what differs between the state and the next one, which it takes.
// With initial, it emits the next state as a whole.
func (w *watch) change(next watchState, initial bool) {
	last := w.state
	w.state = next
	if initial {
		last = watchState{}
	}
	if initial || next.link.up != last.link.up {
		kind := LinkDown
		if next.link.up {
			kind = LinkUp
		}
		w.emit(Event{Kind: kind, Initial: initial})
	}
	wanted := w.m.wants()
	for _, p := range w.m.cfg.Addresses {
		was, before := last.vips[p.Addr()]
		is, now := next.vips[p.Addr()]
		if initial && !now || before && (!now || was != is) {
			w.emit(Event{Kind: AddressVanished, Address: p, Initial: initial, Unexpected: wanted && !initial})
		}
		if now && (!before || was != is) {
			w.emit(Event{Kind: AddressAppeared, Address: p, Initial: initial, Unexpected: !wanted && !initial})
		}
	}
	for _, c := range [][2]netip.Prefix{{last.primary4, next.primary4}, {last.primary6, next.primary6}} {
		if c[0] != c[1] {
			w.emit(Event{Kind: PrimaryChanged, Previous: c[0], Address: c[1], Initial: initial})
		}
	}
}

// emit queues the event for delivery.
func (w *watch) emit(e Event) {
	e.At = w.m.cfg.Now()
	w.pending = append(w.pending, e)
	if len(w.pending) > maxPending {
		w.pending = nil
		w.emit(Event{Kind: Resynced, Err: errSlowConsumer})
		w.change(w.state, true)
	}
}
