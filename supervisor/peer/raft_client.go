// SPDX-License-Identifier: Apache-2.0

package peer

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"
)

const (
	// raftUserTimeout is how long what was sent may stay unacknowledged by the peer's kernel. TCP's own patience doubles with each loss: after
	// a cut of two seconds it would be silent for up to two more, where a fresh connection is there as soon as the network is.
	raftUserTimeout = 500 * time.Millisecond
	// raftDialTimeout bounds connect, handshake and upgrade, three round trips, and with them the silence after a cut.
	raftDialTimeout = 500 * time.Millisecond
	// raftWriteTimeout is how long a frame may take to find room in the socket. It ends the stream to a peer that reads a little now and then;
	// the longest message gets through at 8 Mbit/s.
	raftWriteTimeout = time.Second
	// raftUrgentPause is the least time between two tries to connect when there is something urgent; raftBusyPause bounds it when anything
	// waits. Otherwise backoffMax does.
	raftUrgentPause = 5 * time.Millisecond
	raftBusyPause   = 250 * time.Millisecond
	// raftSendBuffer bounds what the kernel takes for a peer that does not read, in bytes: what lies there can no longer be dropped.
	raftSendBuffer = 256 << 10
)

// raftSender is the stream to one peer.
type raftSender struct {
	queue   *raftMessages
	up      atomic.Bool
	streams atomic.Uint64
	errors  counters
}

// RaftClientStats says how the raft stream to one peer is.
type RaftClientStats struct {
	Up      bool              // the stream stands, as far as TCP knows
	Streams uint64            // opened so far; all but the first are reconnections
	Queued  int               // messages that wait
	Sent    uint64            // messages given to the kernel
	Dropped map[Reason]uint64 // messages that were not, or only in part
	Errors  map[Reason]uint64 // tries to connect that failed, and streams that ended
}

func newRaftSender() raftSender {
	return raftSender{queue: newRaftMessages(), errors: newCounters(clientReasons)}
}

func (s *raftSender) stats() RaftClientStats {
	return RaftClientStats{
		Up: s.up.Load(), Streams: s.streams.Load(), Queued: s.queue.length(), Sent: s.queue.sent.Load(),
		Dropped: s.queue.dropped.read(), Errors: s.errors.read(),
	}
}

// SendRaft queues raft messages for the peer, in this order, and never blocks. They travel on a connection of their own, which is opened
// with the first of them and kept: one that finds the queue empty is sent at once, those that meet there travel together. Nothing is sent
// twice. What is too long ([MaxRaftMessage]), empty, too much for the queue, or could not be sent within a second is dropped and counted,
// the oldest first.
//
// Where the connection is down, messages wait for the next try; an urgent one brings it about, unless there was one a few milliseconds ago.
// The messages must not be changed afterwards.
func (c *Client) SendRaft(messages [][]byte, urgent bool) {
	if len(messages) > 0 {
		c.raft.queue.add(messages, urgent)
	}
}

// runRaft keeps the stream from the first message on, also while nothing is to be said: a vote cannot wait for a handshake.
func (c *Client) runRaft(ctx context.Context) {
	select {
	case <-ctx.Done():
		return
	case <-c.raft.queue.waits:
	}
	var b backoff
	for {
		tried := boottime()
		stream, err := c.openRaft(ctx)
		if err == nil {
			opened := boottime()
			c.raft.streams.Add(1)
			c.raft.up.Store(true)
			c.log.Debug("raft stream opened")
			err = c.pumpRaft(ctx, stream)
			c.raft.up.Store(false)
			if boottime()-opened > backoffMax { // not one that is refused again and again
				b.reset()
			}
		}
		if ctx.Err() != nil {
			return
		}
		c.raft.errors.add(ReasonOf(err), ReasonOther)
		c.log.Debug("raft stream closed", "reason", ReasonOf(err), "error", err)
		if !c.raft.pause(ctx, tried, b.draw()) {
			return
		}
	}
}

// pause waits until delay after the last try, or less where somebody waits for the next one. It returns false when ctx ended first.
func (s *raftSender) pause(ctx context.Context, tried, delay time.Duration) bool {
	for {
		if s.queue.length() > 0 {
			delay = min(delay, raftBusyPause)
		}
		t := time.NewTimer(tried + delay - boottime())
		select {
		case <-ctx.Done():
			t.Stop()
			return false
		case <-t.C:
			return true
		case <-s.queue.urgent:
			delay = min(delay, raftUrgentPause)
		case <-s.queue.waits:
		}
		t.Stop()
	}
}

// raftHello opens a stream.
type raftHello struct {
	Stamp
}

func (c *Client) openRaft(ctx context.Context) (*conn, error) {
	ctx, cancel := context.WithTimeout(ctx, raftDialTimeout)
	defer cancel()
	var hello raftHello
	c.stamp(&hello.Stamp)
	body, err := json.Marshal(hello)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", kindRaft, err)
	}
	dialer := c.dialer
	dialer.Control = control(raftUserTimeout)
	stream, err := dial(ctx, &dialer, c.cfg.Address, c.tls)
	if err != nil {
		return nil, err
	}
	header := c.header(ctx)
	header.Set("Connection", "Upgrade")
	header.Set("Upgrade", raftProtocol)
	r, err := stream.exchange(ctx, "/v1/"+kindRaft, header, body, 0)
	if err != nil {
		return nil, err
	}
	if r.status != http.StatusSwitchingProtocols {
		stream.close()
		return nil, decodeReply(r, &struct{}{})
	}
	if err := stream.tls.SetDeadline(time.Time{}); err != nil {
		stream.close()
		return nil, err
	}
	if tcp, ok := stream.tls.NetConn().(interface{ SetWriteBuffer(int) error }); ok {
		if err := tcp.SetWriteBuffer(raftSendBuffer); err != nil {
			c.log.Debug("set send buffer", "error", err)
		}
	}
	return stream, nil
}

// pumpRaft sends until the stream ends. The server says nothing on it, so reading tells when it is gone.
func (c *Client) pumpRaft(ctx context.Context, stream *conn) error {
	gone := make(chan error, 1)
	go func() {
		_, err := stream.read.ReadByte()
		if err == nil {
			err = refuse(ReasonBadMessage, "%s answers on a raft stream", c.cfg.Peer)
		}
		gone <- err
	}()
	stop := context.AfterFunc(ctx, func() { stream.tls.NetConn().Close() })
	defer func() {
		stop()
		stream.close()
		<-gone
	}()
	var frame []byte
	for {
		for {
			messages := c.raft.queue.take()
			if len(messages) == 0 {
				break
			}
			frame = appendRaftFrame(frame[:0], messages)
			err := stream.tls.SetWriteDeadline(time.Now().Add(raftWriteTimeout))
			if err == nil {
				_, err = stream.tls.Write(frame)
			}
			if err != nil {
				for range messages {
					c.raft.queue.dropped.add(ReasonOf(err), ReasonOther)
				}
				return err
			}
			c.raft.queue.sent.Add(uint64(len(messages)))
		}
		if cap(frame) > raftSendBuffer {
			frame = nil // a snapshot is rare
		}
		select {
		case <-c.raft.queue.waits:
		case err := <-gone:
			gone <- err
			return err
		}
	}
}
