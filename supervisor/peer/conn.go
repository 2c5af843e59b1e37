// SPDX-License-Identifier: Apache-2.0

package peer

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// maxReplyHeader is what a reply may have beside its body, in bytes.
const maxReplyHeader = 16 << 10

// conn is one connection to a peer; one exchange at a time. It is net/http's codec without net/http's Transport, because the difference
// between "the connection was dead" and "the peer is slow" decides whether a request is sent again.
type conn struct {
	tls    *tls.Conn
	limit  io.LimitedReader // bounds one reply
	read   *bufio.Reader
	closed bool
}

// exchangeError tells what became of a request that got no reply.
type exchangeError struct {
	// unseen: there was no sign that the peer has read the request.
	unseen bool
	err    error
}

func (e *exchangeError) Error() string { return e.err.Error() }
func (e *exchangeError) Unwrap() error { return e.err }

// dial connects and shakes hands, bounded by ctx.
func dial(ctx context.Context, d *net.Dialer, address string, config *tls.Config) (*conn, error) {
	tcp, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	t := tls.Client(tcp, config)
	if err := t.HandshakeContext(ctx); err != nil {
		tcp.Close()
		return nil, fmt.Errorf("shake hands with %s: %w", address, err)
	}
	c := &conn{tls: t}
	c.limit.R = t
	c.read = bufio.NewReader(&c.limit)
	return c, nil
}

// close does not take leave: TLS would wait for a peer whose window is full.
func (c *conn) close() {
	c.closed = true
	c.tls.NetConn().Close()
}

// response is a reply before its body is decoded.
type response struct {
	status   int
	protocol int
	body     []byte
}

// exchange sends a request and reads its reply within ctx. A positive ackWithin is how long to wait for any answer at all. After an error
// the connection is closed.
func (c *conn) exchange(ctx context.Context, path string, header http.Header, body []byte, ackWithin time.Duration) (r response, err error) {
	unseen := true
	// A deadline in the past interrupts the read or write in progress. It is set by one goroutine, this one, and by the watcher after ctx
	// ended; once the watcher has run nothing may set it back, hence the check after each setting.
	stop := context.AfterFunc(ctx, func() { _ = c.tls.SetDeadline(time.Unix(1, 0)) })
	defer func() {
		if !stop() || err != nil { // the deadline may fire during the next exchange, or the stream is out of step
			c.close()
		}
		if err != nil {
			if ctx.Err() != nil {
				err = ctx.Err()
			}
			err = &exchangeError{unseen: unseen, err: err}
		}
	}()
	deadline, _ := ctx.Deadline() // zero: none
	first := deadline
	if ack := time.Now().Add(ackWithin); ackWithin > 0 && (deadline.IsZero() || ack.Before(deadline)) {
		first = ack
	}
	if err := c.deadline(ctx, first); err != nil {
		return response{}, err
	}
	request := &http.Request{
		Method: http.MethodPost, URL: &url.URL{Path: path}, Host: "highwater", Header: header,
		ContentLength: int64(len(body)), Body: io.NopCloser(bytes.NewReader(body)),
	}
	var message bytes.Buffer // whole, so that a short message is one segment
	if err := request.Write(&message); err != nil {
		return response{}, fmt.Errorf("encode %s: %w", path, err)
	}
	if _, err := c.tls.Write(message.Bytes()); err != nil {
		return response{}, fmt.Errorf("send %s: %w", path, err)
	}
	c.limit.N = MaxBody + maxReplyHeader
	for {
		reply, err := http.ReadResponse(c.read, request)
		if err != nil {
			return response{}, fmt.Errorf("read reply to %s: %w", path, err)
		}
		unseen = false
		if reply.StatusCode < http.StatusOK && reply.StatusCode != http.StatusSwitchingProtocols {
			if err := c.deadline(ctx, deadline); err != nil {
				return response{}, err
			}
			continue
		}
		r.status = reply.StatusCode
		r.body, err = io.ReadAll(reply.Body)
		reply.Body.Close()
		if err != nil {
			return response{}, fmt.Errorf("read reply to %s: %w", path, err)
		}
		if reply.Close {
			c.close()
		}
		r.protocol, err = strconv.Atoi(reply.Header.Get(headerProtocol))
		if err != nil {
			return response{}, refuse(ReasonBadMessage, "reply to %s: protocol %q", path, reply.Header.Get(headerProtocol))
		}
		return r, nil
	}
}

// deadline sets the deadline, unless ctx has ended.
func (c *conn) deadline(ctx context.Context, t time.Time) error {
	if err := c.tls.SetDeadline(t); err != nil {
		return err
	}
	return ctx.Err()
}
