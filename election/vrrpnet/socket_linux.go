// SPDX-License-Identifier: Apache-2.0

package vrrpnet

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"highwater/election/vrrp"
)

const (
	// sendTimeout bounds the wait for buffer space. A raw socket waits only
	// when its whole send buffer is stuck in the queue of the interface.
	sendTimeout = 20 * time.Millisecond
	// linkInterval is how often a silent Receive looks whether the interface is
	// still there: the kernel does not tell a raw socket.
	linkInterval = time.Second
	// maxMessage holds the longest message, 255 IPv6 addresses, and one octet
	// more, by which a longer one is recognised.
	maxMessage = 8 + 255*16 + 1
)

// A rawConn is a protocol-112 socket of one address family.
type rawConn interface {
	// readFrom reads one packet; its payload is a part of b.
	readFrom(b []byte) (datagram, error)
	writeTo(b []byte, src, dst netip.Addr) error
	join() error
	leave() error
	net.PacketConn // deadlines and Close
}

// socketConn is a Conn on a network interface.
type socketConn struct {
	endpoint
	link *link
	raw  rawConn
	in   []byte // of the one Receive

	mu  sync.Mutex // guards out, and the group against two Rejoins
	out []byte
}

// Listen opens a Conn on the interface c.Interface. ctx bounds the opening
// only. Errors wrap ErrInterfaceGone, ErrNoSource, os.ErrPermission without
// CAP_NET_RAW, or describe what is wrong with c.
func Listen(ctx context.Context, c Config) (Conn, error) {
	if err := c.Validate(); err != nil {
		return nil, fmt.Errorf("configure virtual router %d: %w", c.VRID, err)
	}
	l, err := openLink(c.Interface)
	if err != nil {
		return nil, err
	}
	conn := &socketConn{
		endpoint: endpoint{cfg: c.clone(), ifIndex: l.index},
		link:     l,
		in:       make([]byte, maxMessage),
	}
	if err := conn.chooseSource(); err != nil {
		l.close()
		return nil, err
	}
	if c.Family == IPv4 {
		conn.raw, err = listen4(ctx, l.name, l.index)
	} else {
		conn.raw, err = listen6(ctx, l.name, l.index)
	}
	if err != nil {
		l.close()
		return nil, fmt.Errorf("open VRRP socket on %s: %w", c.Interface, err)
	}
	if !c.unicast() {
		if err := conn.raw.join(); err != nil {
			conn.raw.Close()
			l.close()
			return nil, fmt.Errorf("join %v on %s: %w", c.Family.group(), c.Interface, err)
		}
	}
	return conn, nil
}

// chooseSource stores the source address.
func (c *socketConn) chooseSource() error {
	source := c.cfg.Source
	if !source.IsValid() {
		var err error
		if source, err = c.link.source(c.cfg.Family, c.cfg.Exclude); err != nil {
			return err
		}
	}
	if err := checkSource(&c.cfg, source); err != nil {
		return err
	}
	c.source.Store(&source)
	return nil
}

func (c *socketConn) Send(a *vrrp.Advertisement) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	var errs []error
	for _, dst := range c.destinations() {
		err := c.sendTo(a, dst)
		c.counters.countSend(err)
		if err != nil {
			errs = append(errs, fmt.Errorf("send to %v on %s: %w", dst, c.link.name, err))
		}
	}
	return errors.Join(errs...)
}

func (c *socketConn) sendTo(a *vrrp.Advertisement, dst netip.Addr) error {
	src := c.Source()
	message, err := c.encode(c.out[:0], a, src, dst)
	if err != nil {
		return err
	}
	c.out = message
	if err := c.raw.SetWriteDeadline(time.Now().Add(sendTimeout)); err != nil {
		return err
	}
	err = c.raw.writeTo(message, src, dst)
	if errors.Is(err, unix.ENETUNREACH) || errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ENXIO) {
		// The kernel says the same of a link that is down and of one that is gone.
		return errors.Join(err, c.link.check())
	}
	return err
}

func (c *socketConn) Receive(p *Packet) error {
	for {
		if err := c.raw.SetReadDeadline(time.Now().Add(linkInterval)); err != nil {
			return c.receiveError(err)
		}
		d, err := c.raw.readFrom(c.in)
		now := boottime()
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			if err := c.link.check(); err != nil {
				return c.receiveError(err)
			}
		case err != nil:
			return c.receiveError(err)
		case c.accept(d, now, p):
			return nil
		}
	}
}

func (c *socketConn) receiveError(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return net.ErrClosed
	}
	return fmt.Errorf("receive on %s: %w", c.link.name, err)
}

func (c *socketConn) Rejoin() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.link.check(); err != nil {
		return err
	}
	if err := c.chooseSource(); err != nil {
		return err
	}
	if c.cfg.unicast() {
		return nil
	}
	group := c.cfg.Family.group()
	// EADDRNOTAVAIL: the membership was lost, which is why we are here.
	if err := c.raw.leave(); err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
		return fmt.Errorf("leave %v on %s: %w", group, c.link.name, err)
	}
	if err := c.raw.join(); err != nil {
		return fmt.Errorf("join %v on %s: %w", group, c.link.name, err)
	}
	return nil
}

func (c *socketConn) Close() error {
	err := c.raw.Close()
	if err == nil {
		c.link.close()
	}
	return err
}
