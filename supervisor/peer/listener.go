// SPDX-License-Identifier: Apache-2.0

package peer

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"
)

const (
	// handshakeTimeout bounds a stranger's stay in seconds, and is ample for a peer across a continent.
	handshakeTimeout = 3 * time.Second
	// maxPerRemote bounds the connections of one address. A peer holds three or four; one that is cut off and comes back
	// again and again leaves dead ones behind until keep-alive finds them.
	maxPerRemote = 16
	// maxStrangers bounds the connections of all addresses that are no peer's, so that a flood of them cannot keep a peer out.
	maxStrangers = 64
)

// listener hands out connections only after a good handshake, so that net/http never sees a stranger.
type listener struct {
	tcp    net.Listener
	config *tls.Config
	known  map[netip.Addr]bool // addresses of the peers
	counts counters
	log    *slog.Logger

	ready  chan *tls.Conn
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu        sync.Mutex
	remotes   map[netip.Addr]int
	strangers int
}

func newListener(tcp net.Listener, config *tls.Config, known map[netip.Addr]bool, counts counters, log *slog.Logger) *listener {
	ctx, cancel := context.WithCancel(context.Background())
	l := &listener{
		tcp: tcp, config: config, known: known, counts: counts, log: log,
		ready: make(chan *tls.Conn), ctx: ctx, cancel: cancel, remotes: map[netip.Addr]int{},
	}
	l.wg.Go(l.run)
	return l
}

// run accepts until the listener is closed. An error of accept, out of descriptors for example, must not end it.
func (l *listener) run() {
	for {
		c, err := l.tcp.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			l.log.Warn("accept peer connection", "error", err)
			select {
			case <-time.After(100 * time.Millisecond):
				continue
			case <-l.ctx.Done():
				return
			}
		}
		conn, ok := l.admit(c)
		if !ok {
			c.Close()
			l.counts.add(ReasonTooManyConnections, ReasonHandshake)
			continue
		}
		l.wg.Go(func() { l.handshake(conn) })
	}
}

func (l *listener) handshake(c *countedConn) {
	t := tls.Server(c, l.config)
	ctx, cancel := context.WithTimeout(l.ctx, handshakeTimeout)
	defer cancel()
	if err := t.HandshakeContext(ctx); err != nil {
		if l.ctx.Err() == nil {
			l.counts.add(ReasonOf(err), ReasonHandshake)
			l.log.Debug("peer connection refused", "remote", c.RemoteAddr().String(), "reason", ReasonOf(err), "error", err)
		}
		c.linger()
		return
	}
	select {
	case l.ready <- t:
	case <-l.ctx.Done():
		c.Close()
	}
}

func (l *listener) admit(c net.Conn) (*countedConn, bool) {
	var addr netip.Addr
	if ap, err := netip.ParseAddrPort(c.RemoteAddr().String()); err == nil {
		addr = ap.Addr().Unmap().WithZone("")
	}
	stranger := !l.known[addr]
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.remotes[addr] >= maxPerRemote || stranger && l.strangers >= maxStrangers {
		return nil, false
	}
	l.remotes[addr]++
	if stranger {
		l.strangers++
	}
	return &countedConn{Conn: c, release: sync.OnceFunc(func() { l.release(addr, stranger) })}, true
}

func (l *listener) release(addr netip.Addr, stranger bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.remotes[addr]--; l.remotes[addr] == 0 {
		delete(l.remotes, addr)
	}
	if stranger {
		l.strangers--
	}
}

// Accept implements net.Listener.
func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.ready:
		return c, nil
	case <-l.ctx.Done():
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener. It returns when no handshake is left.
func (l *listener) Close() error {
	l.cancel()
	err := l.tcp.Close()
	l.wg.Wait()
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// Addr implements net.Listener.
func (l *listener) Addr() net.Addr { return l.tcp.Addr() }

// countedConn gives its place back when it is closed.
type countedConn struct {
	net.Conn
	release func()
}

func (c *countedConn) Close() error {
	defer c.release()
	return c.Conn.Close()
}

// linger closes in two steps: the client of TLS 1.3 is already sending its first request when it is refused, and closing over unread
// data would destroy the alert that tells it why.
func (c *countedConn) linger() {
	defer c.Close()
	if tcp, ok := c.Conn.(*net.TCPConn); ok && tcp.CloseWrite() == nil {
		_ = tcp.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
		_, _ = io.CopyN(io.Discard, tcp, 64<<10)
	}
}
