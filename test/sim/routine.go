// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"context"
	"errors"
	"iter"
	"time"

	"highwater/election"
)

// routine runs code that waits, as a goroutine of a supervisor's process would, on the world's clock: while it waits,
// the world goes on. Nothing runs beside it, so that a seed decides everything here too.
type routine struct {
	s     *supervisor
	next  func() (struct{}, bool)
	stop  func()
	yield func(struct{}) bool
	waits uint64 // numbers its waits
	over  bool
}

// errEnded unwinds a routine whose process has ended.
var errEnded = errors.New("the process has ended")

// start runs f from now on.
func (s *supervisor) start(f func()) {
	r := &routine{s: s}
	r.next, r.stop = iter.Pull(func(yield func(struct{}) bool) {
		r.yield = yield
		defer func() {
			r.over = true
			if e := recover(); e != nil && e != any(errEnded) {
				panic(e)
			}
		}()
		f()
	})
	live := s.routines[:0]
	for _, other := range s.routines {
		if !other.over {
			live = append(live, other)
		}
	}
	s.routines = append(live, r)
	r.resume()
}

func (r *routine) resume() {
	if r.over || r.s.ended {
		return
	}
	before := r.s.w.running
	r.s.w.running = r
	r.next()
	r.s.w.running = before
}

// sleep lets d pass, or less if somebody calls wake.
func (r *routine) sleep(d time.Duration) {
	r.waits++
	wait := r.waits
	r.s.after(d+time.Microsecond, func() { // rounded up: a deadline has passed then
		if r.waits == wait {
			r.resume()
		}
	})
	if r.s.ended || !r.yield(struct{}{}) {
		panic(errEnded)
	}
}

// wake ends the wait of a routine that sleeps.
func (r *routine) wake() {
	r.waits++
	wait := r.waits
	r.s.after(0, func() {
		if r.waits == wait {
			r.resume()
		}
	})
}

// endRoutines unwinds what a process was doing when it ended.
func (s *supervisor) endRoutines() {
	for _, r := range s.routines {
		if r != s.w.running {
			r.stop()
		}
	}
	s.routines = nil
}

// Close ends what still runs. The world must not be used afterwards.
func (w *World) Close() {
	for _, h := range w.hosts {
		if s := h.supervisor; s != nil {
			s.ended = true
			s.endRoutines()
		}
	}
}

// span is a context by a host's clock: it ends with the process, at a deadline, or when its effect is cancelled.
// Nothing is told when that happens: whoever runs asks Err.
type span struct {
	context.Context
	s     *supervisor
	until election.Instant // 0: no deadline
	token election.Token   // 0: nobody can cancel it
}

func (s *supervisor) background() *span { return &span{Context: context.Background(), s: s} }

// within is context.WithTimeout.
func (s *supervisor) within(ctx context.Context, d time.Duration) context.Context {
	return &span{Context: ctx, s: s, until: s.host.clock().Add(d)}
}

// Err says why it has ended, if it has.
func (c *span) Err() error {
	switch {
	case c.s.ended, c.token != 0 && c.s.cancelled[c.token]:
		return context.Canceled
	case c.until != 0 && c.s.host.clock() >= c.until:
		return context.DeadlineExceeded
	}
	return c.Context.Err()
}
