// SPDX-License-Identifier: Apache-2.0

package promote

import (
	"context"
	"fmt"
	"strings"
	"time"

	"highwater/mysqlcheck"
)

const (
	// stopPatience is how long a receiver's stop is simply waited for. One that
	// reads stops in 2 ms; one that waits for a dead host in connect(2) takes 2 s
	// (MySQL 9.7.4).
	stopPatience = 5 * time.Millisecond
	// stopConfirm is how long a stop must have been under way, on the server's
	// own word, before it is believed to be irrevocable.
	stopConfirm = 5 * time.Millisecond
	// stopLimit ends the wait for a stop that nobody waits for any more. Its
	// statement then counts as given up.
	stopLimit = time.Minute
)

// Seal stops the receiver, so that no source gets an acknowledgement from here
// any more, and says what this server holds. Before it answers, and before it
// stops anything, the promise to start no receiver for a lower term is on disk.
//
// It may be repeated. A term below the promise is refused with [ErrPromised].
func (s *Server) Seal(ctx context.Context, term uint64) (Position, error) {
	ctx, end, err := s.begin(ctx, "seal", rankPromote)
	if err != nil {
		return Position{}, err
	}
	defer end()
	err = s.keepPromise(term, func(p *Promise) { p.Promised = term })
	if err != nil {
		return Position{}, fmt.Errorf("seal: %w", err)
	}
	c, err := s.connect(ctx)
	if err != nil {
		return Position{}, fmt.Errorf("seal: %w", err)
	}
	defer c.close()
	if err := c.reap(ctx); err != nil {
		return Position{}, fmt.Errorf("seal: %w", err)
	}
	if err := c.stopReceiver(ctx); err != nil {
		return Position{}, fmt.Errorf("seal: %w", err)
	}
	if err := c.knowsReceived(ctx); err != nil {
		return Position{}, fmt.Errorf("seal: %w", err)
	}
	p, _, err := c.position(ctx)
	if err != nil {
		return Position{}, fmt.Errorf("seal: %w", err)
	}
	return p, nil
}

// receiverStop is one STOP REPLICA IO_THREAD, on a connection of its own.
type receiverStop struct {
	id   uint64        // of that connection
	done chan struct{} // closed when it has ended
	err  error         // then
}

// stopReceiver returns when the receiver is stopped, or when it is certain that
// it will not get to its source any more: it is connecting, and the server is
// about to end it. In the latter case the stop goes on by itself.
func (c *session) stopReceiver(ctx context.Context) error {
	if err := c.keepRelayLog(ctx); err != nil {
		return fmt.Errorf("stop receiver: %w", err)
	}
	stop, err := c.server.beginStop(ctx)
	if err != nil {
		return err
	}
	patience := time.NewTimer(stopPatience)
	defer patience.Stop()
	var killing time.Duration // since when
	for {
		select {
		case <-stop.done:
			return stop.err
		case <-ctx.Done():
			return fmt.Errorf("stop receiver: %w", context.Cause(ctx))
		case <-patience.C:
		}
		ending, err := c.receiverEnds(ctx, stop.id)
		switch now := mysqlcheck.Boottime(); {
		case err != nil:
			return fmt.Errorf("stop receiver: %w", err)
		case !ending:
			killing = 0
		case killing == 0:
			killing = now
		case now-killing >= stopConfirm:
			return nil
		}
		patience.Reset(stopPatience)
	}
}

// keepRelayLog starts the applier of a MariaDB server before its receiver stops:
// with a GTID position, starting the one while both are stopped throws away
// what was received and not applied (10.11.19).
func (c *session) keepRelayLog(ctx context.Context) error {
	if c.version.Flavor != mysqlcheck.MariaDB {
		return nil
	}
	ch, err := c.channel(ctx)
	if err != nil || ch == nil || ch.applierRunning || ch.receiver == ReceiverStopped {
		return err
	}
	return c.exec(ctx, mysqlcheck.StmtStartApplier)
}

// beginStop runs the statement unless it is running already.
func (s *Server) beginStop(ctx context.Context) (*receiverStop, error) {
	s.mu.Lock()
	stop := s.stopping
	s.mu.Unlock()
	if stop != nil {
		select {
		case <-stop.done:
		default:
			return stop, nil
		}
	}
	c, err := s.connect(ctx)
	if err != nil {
		return nil, fmt.Errorf("stop receiver: %w", err)
	}
	stop = &receiverStop{id: c.id, done: make(chan struct{})}
	s.mu.Lock()
	s.stopping = stop
	s.mu.Unlock()
	go func() {
		// It must complete even if nobody waits for it.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopLimit)
		defer cancel()
		if c.version.Flavor == mysqlcheck.MariaDB {
			stop.err = c.exec(ctx, mysqlcheck.StmtBoundStop)
		}
		if stop.err == nil {
			stop.err = c.exec(ctx, mysqlcheck.StmtStopReceiver)
		}
		if errorNumber(stop.err) == erNotReplica {
			stop.err = nil
		}
		c.close()
		close(stop.done)
	}()
	return stop, nil
}

// receiverEnds reports whether the receiver is connecting while the session id
// is ending it.
func (c *session) receiverEnds(ctx context.Context, id uint64) (bool, error) {
	state, _, err := c.stateOf(ctx, id)
	if err != nil {
		return false, err
	}
	// "Killing replica"; "Killing slave" before 8.4 and on MariaDB.
	if !strings.HasPrefix(state, "Killing") {
		return false, nil
	}
	ch, err := c.channel(ctx)
	if err != nil {
		return false, err
	}
	return ch != nil && ch.receiver == ReceiverConnecting, nil
}

// receiverSealed reports whether the receiver cannot get anything from a source:
// it is stopped, or is being ended while it was connecting.
func (c *session) receiverSealed(ctx context.Context, ch *channel) (bool, error) {
	if ch == nil || ch.receiver == ReceiverStopped {
		return true, nil
	}
	c.server.mu.Lock()
	stop := c.server.stopping
	c.server.mu.Unlock()
	if stop == nil || ch.receiver != ReceiverConnecting {
		return false, nil
	}
	select {
	case <-stop.done:
		// It ended between the two reads.
		ch, err := c.channel(ctx)
		return err == nil && (ch == nil || ch.receiver == ReceiverStopped), err
	default:
		return c.receiverEnds(ctx, stop.id)
	}
}

// awaitStop waits for a stop of the receiver that goes on by itself.
func (s *Server) awaitStop(ctx context.Context) error {
	s.mu.Lock()
	stop := s.stopping
	s.mu.Unlock()
	if stop == nil {
		return nil
	}
	select {
	case <-stop.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for the receiver to stop: %w", context.Cause(ctx))
	}
}
