// SPDX-License-Identifier: Apache-2.0

package interop

import (
	"errors"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"highwater/election"
	"highwater/election/vrrp"
	"highwater/election/vrrpnet"
	"highwater/election/vrrpnet/netnstest"
)

// router is our side: an election.Router on a vrrpnet.Conn, stepped in real time.
type router struct {
	conn vrrpnet.Conn
	vips []netip.Addr

	mu       sync.Mutex
	machine  election.Router
	wake     chan struct{} // the deadline may have changed
	received []vrrpnet.Packet
	changed  election.Instant // when the state changed last
	interval time.Duration
	failed   error

	done sync.WaitGroup
	stop chan struct{}
}

// startRouter starts a router on a host, which ends with the test, silently.
func startRouter(t *testing.T, h *netnstest.Host, network vrrpnet.Config, cfg election.RouterConfig, vips []netip.Addr) *router {
	t.Helper()
	network.Interface, network.Exclude = cable, vips
	r := &router{vips: vips, wake: make(chan struct{}, 1), stop: make(chan struct{}), interval: cfg.AdvertInterval}
	h.MustDo(t, func() error {
		var err error
		r.conn, err = vrrpnet.Listen(t.Context(), network)
		return err
	})
	cfg.Version, cfg.Address = uint8(network.Version), r.conn.Source()
	r.machine = election.NewRouter(cfg)
	r.step(func(now election.Instant) election.Output { return r.machine.Startup(now) })
	r.done.Go(r.receive)
	r.done.Go(r.timer)
	t.Cleanup(func() {
		close(r.stop)
		r.conn.Close()
		r.done.Wait()
		if r.failed != nil {
			t.Errorf("router: %v", r.failed)
		}
	})
	return r
}

// step runs one step of the state machine and sends what it asks for.
func (r *router) step(f func(now election.Instant) election.Output) {
	r.mu.Lock()
	defer r.mu.Unlock()
	at := now()
	out := f(at)
	if out.Changed() {
		r.changed = at
	}
	if out.Send {
		a := vrrp.Advertisement{Priority: out.Priority, Interval: r.interval}
		a.SetAddresses(r.vips)
		if err := r.conn.Send(&a); err != nil {
			r.failed = errors.Join(r.failed, err)
		}
	}
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

func (r *router) receive() {
	for {
		var p vrrpnet.Packet
		if err := r.conn.Receive(&p); err != nil {
			if !errors.Is(err, net.ErrClosed) {
				r.step(func(election.Instant) election.Output {
					r.failed = errors.Join(r.failed, err)
					return election.Output{}
				})
			}
			return
		}
		r.step(func(now election.Instant) election.Output {
			r.received = append(r.received, p)
			return r.machine.Receive(now, election.Advert{Source: p.Source, Priority: p.Advertisement.Priority, Interval: p.Advertisement.Interval})
		})
	}
}

func (r *router) timer() {
	for {
		r.mu.Lock()
		deadline := r.machine.Deadline()
		r.mu.Unlock()
		wait := time.Hour
		if deadline != 0 {
			wait = time.Duration(deadline - now())
		}
		select {
		case <-r.stop:
			return
		case <-r.wake:
		case <-time.After(wait):
			r.step(func(now election.Instant) election.Output { return r.machine.Timer(now, true) })
		}
	}
}

// becomes waits until the router is in a state.
func (r *router) becomes(t *testing.T, state election.RouterState) {
	t.Helper()
	eventually(t, "our router in state "+state.String(), func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return r.machine.State() == state
	})
}

// sends waits until n more advertisements were sent.
func (r *router) sends(t *testing.T, n uint64) {
	t.Helper()
	sent := r.conn.Counters().Sent
	eventually(t, "more advertisements of ours", func() bool { return r.conn.Counters().Sent >= sent+n })
}

func (r *router) stand() {
	r.step(func(now election.Instant) election.Output { return r.machine.Stand(now) })
}

// shutdown says farewell.
func (r *router) shutdown() {
	r.step(func(election.Instant) election.Output { return r.machine.Shutdown() })
}

// downInterval returns the silence that the router would bear now.
func (r *router) downInterval() time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.machine.DownInterval()
}

// silence returns how long the last advertisement lay back when the state
// changed last.
func (r *router) silence() time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	return time.Duration(r.changed) - r.received[len(r.received)-1].Received
}

// adverts returns what was received so far.
func (r *router) adverts() []vrrpnet.Packet {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.received[:len(r.received):len(r.received)]
}

// now reads CLOCK_BOOTTIME.
func now() election.Instant {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &t); err != nil {
		panic(err)
	}
	return election.Instant(t.Nano())
}
