// SPDX-License-Identifier: Apache-2.0

package supervisor

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"highwater/election"
)

// eventQueue bounds the events that wait for the loop. Producers never wait longer than the
// loop's own step; a full queue means that the loop is dead, and the lease ends with it.
const eventQueue = 1024

// stepper is the part of election.Machine that the loop drives.
type stepper interface {
	Step(election.Instant, election.Event) []election.Action
	Deadline() (election.Instant, bool)
	Status() election.Status
	PrimaryHeard(election.Instant) time.Duration
}

// decision is what one step asks for.
type decision struct {
	at      election.Instant
	actions []election.Action
}

// loop owns the Machine.
type loop struct {
	machine stepper
	events  chan election.Event
	actions chan decision
	journal func(at election.Instant, ev json.RawMessage, actions []json.RawMessage)
	onStep  func(at election.Instant)
	log     *slog.Logger
	done    chan struct{} // closed when run has returned: later events are void

	view     atomic.Pointer[view] // as of the last step
	lateness atomic.Int64         // of the last wake-up, ns
	worst    atomic.Int64         // the greatest lateness so far, ns
	stalls   atomic.Uint64
}

// view is what other goroutines may know of the Machine.
type view struct {
	election.Status
	at           election.Instant
	primaryHeard time.Duration // age at at, -1 never
}

func newLoop(m stepper, log *slog.Logger) *loop {
	l := &loop{
		machine: m,
		events:  make(chan election.Event, eventQueue),
		actions: make(chan decision, eventQueue),
		log:     log,
		done:    make(chan struct{}),
	}
	l.view.Store(&view{Status: m.Status(), at: now(), primaryHeard: -1})
	return l
}

// post hands an event to the loop.
func (l *loop) post(ctx context.Context, ev election.Event) {
	select {
	case l.events <- ev:
	case <-l.done:
	case <-ctx.Done():
	}
}

// run steps the Machine until it has stopped or ctx ends. What was waiting when a timer fired
// is taken before it: after a stall the news counts, not the clock. What comes later is not,
// so that a flood of events delays no timer. The error is [errAbandoned] or nil.
func (l *loop) run(ctx context.Context, stallBudget time.Duration) error {
	defer close(l.done)
	defer close(l.actions)
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		deadline, timed := l.machine.Deadline()
		if timed {
			timer.Reset(max(0, deadline.Sub(now())))
		} else {
			timer.Stop()
			deadline = 0
		}
		var waiting []election.Event
		select {
		case <-ctx.Done():
			return nil
		case ev := <-l.events:
			waiting = append(waiting, ev)
		case <-timer.C:
		}
		if late := l.late(now(), deadline); late > stallBudget {
			l.stalls.Add(1)
			waiting = append([]election.Event{election.Stalled{Gap: late}}, waiting...)
		}
		if timed && now() >= deadline {
			for range len(l.events) {
				waiting = append(waiting, <-l.events)
			}
			waiting = append(waiting, election.Tick{})
		}
		for _, ev := range waiting {
			if stopped, err := l.step(now(), ev); stopped || err != nil {
				return err
			}
		}
	}
}

// late returns by how much the wake-up missed the deadline.
func (l *loop) late(at, deadline election.Instant) time.Duration {
	if deadline == 0 || at <= deadline {
		l.lateness.Store(0)
		return 0
	}
	late := at.Sub(deadline)
	l.lateness.Store(int64(late))
	if int64(late) > l.worst.Load() {
		l.worst.Store(int64(late))
	}
	return late
}

// errAbandoned ends a loop whose decisions nobody carries out: the lease ends with it.
var errAbandoned = errors.New("what the loop decides is not carried out")

// step reports whether the Machine has stopped.
func (l *loop) step(at election.Instant, ev election.Event) (stopped bool, err error) {
	actions := l.machine.Step(at, ev)
	l.view.Store(&view{Status: l.machine.Status(), at: at, primaryHeard: l.machine.PrimaryHeard(at)})
	l.write(at, ev, actions)
	for _, a := range actions {
		if _, ok := a.(election.Stopped); ok {
			stopped = true
		}
	}
	if len(actions) > 0 {
		select {
		case l.actions <- decision{at, actions}:
		default:
			return true, errAbandoned
		}
	}
	if l.onStep != nil {
		l.onStep(at)
	}
	return stopped, nil
}

func (l *loop) write(at election.Instant, ev election.Event, actions []election.Action) {
	if l.journal == nil {
		return
	}
	e, err := election.MarshalEvent(ev)
	if err == nil {
		var a []json.RawMessage
		if a, err = election.MarshalActions(actions); err == nil {
			l.journal(at, e, a)
			return
		}
	}
	l.log.Error("journal.encode", "error", err)
}
