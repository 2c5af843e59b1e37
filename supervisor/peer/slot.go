// SPDX-License-Identifier: Apache-2.0

package peer

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"
)

// slot holds at most one idle connection.
type slot struct {
	mu   sync.Mutex
	idle *conn
	done bool
}

func (s *slot) take() *conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.idle
	s.idle = nil
	return c
}

func (s *slot) put(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case c.closed:
	case s.done || s.idle != nil:
		c.close()
	default:
		s.idle = c
	}
}

// close closes the idle connection, and every other as it comes back.
func (s *slot) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.done = true
	if s.idle != nil {
		s.idle.close()
		s.idle = nil
	}
}

// backoff waits longer after each failure, with jitter so that two nodes do not meet in step.
type backoff struct{ next time.Duration }

func (b *backoff) reset() { b.next = 0 }

// draw is how long to wait this time.
func (b *backoff) draw() time.Duration {
	b.next = min(max(b.next*2, backoffMin), backoffMax)
	return b.next/2 + rand.N(b.next/2)
}

// wait returns false when ctx ended first.
func (b *backoff) wait(ctx context.Context) bool {
	t := time.NewTimer(b.draw())
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
