// SPDX-License-Identifier: Apache-2.0

package vrrpnet

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"highwater/election/vrrp"
)

// lanIndex is the interface index of every Conn on a LAN.
const lanIndex = 1

// lanQueue is how many packets wait for a Receive before further ones are
// lost, as in a socket buffer.
const lanQueue = 256

// A LAN is a link in memory. It delivers at once, in order, and without loss
// unless told otherwise.
type LAN struct {
	now func() time.Duration

	mu    sync.Mutex
	conns []*lanConn
	lose  func(from, to netip.Addr) bool
}

// NewLAN returns a LAN without anybody on it. now stamps the packets received;
// nil reads CLOCK_BOOTTIME.
func NewLAN(now func() time.Duration) *LAN {
	if now == nil {
		now = boottime
	}
	return &LAN{now: now}
}

// Join connects a virtual router to the LAN. addr is its source address in
// place of c.Source; c.Interface may be empty.
func (l *LAN) Join(addr netip.Addr, c Config) (Conn, error) {
	c.Source = addr
	if c.Interface == "" {
		c.Interface = "lan"
	}
	if err := checkSource(&c, addr); err != nil {
		return nil, fmt.Errorf("join LAN: %w", err)
	}
	conn := &lanConn{
		endpoint: endpoint{cfg: c.clone(), ifIndex: lanIndex},
		lan:      l,
		queue:    make(chan datagram, lanQueue),
		done:     make(chan struct{}),
	}
	conn.source.Store(&addr)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.conns = append(l.conns, conn)
	return conn, nil
}

// SetLoss makes the LAN lose every packet for which lose returns true; nil
// loses none. from is the source of the packet and to the address of a
// receiver, so that one-way loss and partitions can be told apart.
func (l *LAN) SetLoss(lose func(from, to netip.Addr) bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lose = lose
}

// deliver hands d to every Conn but the sender that its destination reaches.
func (l *LAN) deliver(d datagram, sender *lanConn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range l.conns {
		to := c.Source()
		switch {
		case c == sender:
		case d.destination.IsMulticast() && c.cfg.unicast(): // has not joined the group
		case !d.destination.IsMulticast() && d.destination != to:
		case l.lose != nil && l.lose(d.source, to):
		default:
			select {
			case c.queue <- d:
			default:
			}
		}
	}
}

func (l *LAN) leave(c *lanConn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.conns = slices.DeleteFunc(l.conns, func(other *lanConn) bool { return other == c })
}

// lanConn is a Conn on a LAN.
type lanConn struct {
	endpoint
	lan   *LAN
	queue chan datagram
	close sync.Once
	done  chan struct{} // closed by Close
}

func (c *lanConn) Send(a *vrrp.Advertisement) error {
	var errs []error
	for _, dst := range c.destinations() {
		err := c.sendTo(a, dst)
		c.counters.countSend(err)
		if err != nil {
			errs = append(errs, fmt.Errorf("send to %v: %w", dst, err))
		}
	}
	return errors.Join(errs...)
}

func (c *lanConn) sendTo(a *vrrp.Advertisement, dst netip.Addr) error {
	if c.closed() {
		return net.ErrClosed
	}
	payload, err := c.encode(nil, a, c.Source(), dst)
	if err != nil {
		return err
	}
	c.lan.deliver(datagram{payload: payload, source: c.Source(), destination: dst, ttl: ttl, ifIndex: lanIndex}, c)
	return nil
}

func (c *lanConn) Receive(p *Packet) error {
	for !c.closed() {
		select {
		case d := <-c.queue:
			if c.accept(d, c.lan.now(), p) {
				return nil
			}
		case <-c.done:
		}
	}
	return net.ErrClosed
}

// Rejoin has nothing to do: a LAN forgets nobody.
func (c *lanConn) Rejoin() error {
	if c.closed() {
		return net.ErrClosed
	}
	return nil
}

func (c *lanConn) Close() error {
	err := net.ErrClosed
	c.close.Do(func() {
		c.lan.leave(c)
		close(c.done)
		err = nil
	})
	return err
}

func (c *lanConn) closed() bool {
	select {
	case <-c.done:
		return true
	default:
		return false
	}
}
