// SPDX-License-Identifier: Apache-2.0

package peer

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	kindRaft = "raft"
	// raftProtocol is what the connection is upgraded to (RFC 9110 §7.8). Frames have a version of their own.
	raftProtocol = "highwater-raft"
	// raftFrameTimeout is how long a frame that has begun may take to arrive.
	raftFrameTimeout = 10 * time.Second
)

// raftReceivers are the streams of all peers, at most one of each.
type raftReceivers struct {
	mu       sync.Mutex
	streams  map[string]*raftReceiver
	closed   bool
	received map[string]*atomic.Uint64
	opened   map[string]*atomic.Uint64
}

// raftReceiver is one stream. Done is closed when no message of it will be handled any more.
type raftReceiver struct {
	conn   net.Conn
	cancel context.CancelFunc
	done   chan struct{}
}

func (r *raftReceiver) close() {
	r.cancel()
	r.conn.Close()
}

func newRaftReceivers() raftReceivers {
	return raftReceivers{streams: map[string]*raftReceiver{}, received: map[string]*atomic.Uint64{}, opened: map[string]*atomic.Uint64{}}
}

// enter makes a stream the sender's only one. It returns after the last message of the one before was handled, so that messages of one
// sender keep their order over a reconnection too.
func (rs *raftReceivers) enter(from string, stream *raftReceiver) bool {
	rs.mu.Lock()
	before := rs.streams[from]
	closed := rs.closed
	if !closed {
		rs.streams[from] = stream
	}
	rs.mu.Unlock()
	if closed {
		return false
	}
	if before != nil {
		before.close()
		<-before.done
	}
	rs.opened[from].Add(1)
	return true
}

func (rs *raftReceivers) leave(from string, stream *raftReceiver) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	if rs.streams[from] == stream {
		delete(rs.streams, from)
	}
	close(stream.done)
}

// close ends all streams, and waits for their handlers until ctx is done.
func (rs *raftReceivers) close(ctx context.Context) {
	rs.mu.Lock()
	rs.closed = true
	var open []*raftReceiver
	for _, stream := range rs.streams {
		open = append(open, stream)
	}
	rs.mu.Unlock()
	for _, stream := range open {
		stream.close()
	}
	for _, stream := range open {
		select {
		case <-stream.done:
		case <-ctx.Done():
			return
		}
	}
}

// serveRaft turns a request into a stream of raft messages.
func (s *Server) serveRaft(w http.ResponseWriter, r *http.Request) {
	from, protocol, err := s.sender(r)
	var hello raftHello
	if err == nil {
		if err = decode(r.Body, protocol, &hello); err != nil {
			err = &Error{Reason: ReasonBadMessage, Err: err}
		}
	}
	switch {
	case err != nil:
	case s.cfg.Raft == nil:
		err = refuse(ReasonNotFound, "this node takes no raft messages")
	case !strings.EqualFold(r.Header.Get("Upgrade"), raftProtocol):
		err = refuse(ReasonBadMessage, "no upgrade to %s", raftProtocol)
	default:
		err = s.speaks(kindRaft, from, from, hello.Stamp, 0)
	}
	if err != nil {
		s.refuse(w, r, err)
		return
	}
	c, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		s.refuse(w, r, err)
		return
	}
	if t, ok := c.(*tls.Conn); ok {
		c = quickCloser{Conn: t}
	}
	defer c.Close()
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	stream := &raftReceiver{conn: c, cancel: cancel, done: make(chan struct{})}
	if !s.raft.enter(from, stream) {
		return
	}
	defer s.raft.leave(from, stream)
	if err := answerRaft(c); err != nil {
		s.cfg.Log.Debug("raft stream refused", "peer", from, "error", err)
		return
	}
	s.cfg.Log.Debug("raft stream opened", "peer", from)
	err = s.receiveRaft(ctx, from, c, buffered.Reader)
	var own *Error
	if errors.As(err, &own) {
		s.refused.add(own.Reason, ReasonBadMessage)
		s.cfg.Log.Warn("raft stream refused", "peer", from, "reason", own.Reason, "error", own.Err)
		return
	}
	s.cfg.Log.Debug("raft stream closed", "peer", from, "error", err)
}

func answerRaft(c net.Conn) error {
	if err := c.SetDeadline(time.Now().Add(dialTimeout)); err != nil {
		return err
	}
	_, err := fmt.Fprintf(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: %s\r\n%s: %d\r\n\r\n",
		raftProtocol, headerProtocol, Protocol)
	if err != nil {
		return err
	}
	return c.SetDeadline(time.Time{})
}

// receiveRaft hands frames over until the stream ends. Between two frames it waits for ever: keep-alive finds a dead peer.
func (s *Server) receiveRaft(ctx context.Context, from string, c net.Conn, r *bufio.Reader) error {
	for {
		if _, err := r.Peek(1); err != nil {
			return err
		}
		if err := c.SetReadDeadline(time.Now().Add(raftFrameTimeout)); err != nil {
			return err
		}
		messages, err := readRaftFrame(r)
		if err != nil {
			return err
		}
		if err := c.SetReadDeadline(time.Time{}); err != nil {
			return err
		}
		if ctx.Err() != nil { // replaced by a newer stream, or the end
			return ctx.Err()
		}
		s.cfg.Raft(ctx, from, messages)
		s.messages[kindRaft].Add(uint64(len(messages)))
		s.raft.received[from].Add(uint64(len(messages)))
	}
}

// quickCloser closes without the leave that TLS would take, which waits for a peer whose window is full.
type quickCloser struct{ *tls.Conn }

func (c quickCloser) Close() error { return c.NetConn().Close() }
