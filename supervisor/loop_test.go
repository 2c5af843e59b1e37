// SPDX-License-Identifier: Apache-2.0

package supervisor

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"highwater/election"
)

// recordingMachine keeps what it was stepped with; its deadline comes period after the
// last Tick.
type recordingMachine struct {
	period   time.Duration
	deadline election.Instant
	steps    []election.Event
	onStep   func(election.Event)
	actions  func(election.Event) []election.Action
}

func (m *recordingMachine) Step(at election.Instant, ev election.Event) []election.Action {
	m.steps = append(m.steps, ev)
	if _, ok := ev.(election.Tick); ok || m.deadline == 0 {
		m.deadline = at.Add(m.period)
	}
	if m.onStep != nil {
		m.onStep(ev)
	}
	if m.actions != nil {
		return m.actions(ev)
	}
	return nil
}

func (m *recordingMachine) Deadline() (election.Instant, bool)          { return m.deadline, m.deadline != 0 }
func (m *recordingMachine) Status() election.Status                     { return election.Status{} }
func (m *recordingMachine) PrimaryHeard(election.Instant) time.Duration { return -1 }

func ticks(steps []election.Event) (n int) {
	for _, ev := range steps {
		if _, ok := ev.(election.Tick); ok {
			n++
		}
	}
	return n
}

// A flood of events, such as 10 000 forged adverts a second, delays no timer for long: each
// time that one is due, only what was queued by then comes before it.
func TestLoopFloodDelaysNoTimer(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	m := &recordingMachine{period: time.Millisecond}
	l := newLoop(m, slog.New(slog.DiscardHandler))
	m.onStep = func(ev election.Event) {
		if _, ok := ev.(election.AdvertReceived); ok { // each event begets another
			select {
			case l.events <- election.AdvertReceived{}:
			default:
			}
		}
		if ticks(m.steps) >= 20 || len(m.steps) > 5_000_000 {
			cancel()
		}
	}
	for range 100 {
		l.events <- election.AdvertReceived{}
	}
	if err := l.run(ctx, time.Hour); err != nil {
		t.Fatal(err)
	}
	if n := ticks(m.steps); n < 20 {
		t.Errorf("%d ticks in %d steps: the flood keeps the timer away", n, len(m.steps))
	}
}

// What waited when the process was frozen comes after Stalled and before the overdue timer.
func TestLoopStallComesFirst(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	m := &recordingMachine{deadline: now().Add(-time.Second), period: time.Hour}
	l := newLoop(m, slog.New(slog.DiscardHandler))
	m.onStep = func(ev election.Event) {
		if _, ok := ev.(election.Tick); ok {
			cancel()
		}
	}
	l.events <- election.AddressLost{}
	l.events <- election.AdvertReceived{}
	if err := l.run(ctx, 100*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	if len(m.steps) != 4 {
		t.Fatalf("steps %#v", m.steps)
	}
	if s, ok := m.steps[0].(election.Stalled); !ok || s.Gap < time.Second {
		t.Errorf("first step %#v, want Stalled of a second", m.steps[0])
	}
	if _, ok := m.steps[3].(election.Tick); !ok {
		t.Errorf("last step %#v, want Tick", m.steps[3])
	}
}

// The loop ends with Stopped and hands out what was decided before.
func TestLoopEndsWhenStopped(t *testing.T) {
	m := &recordingMachine{actions: func(election.Event) []election.Action {
		return []election.Action{election.Publish{}, election.Stopped{}}
	}}
	l := newLoop(m, slog.New(slog.DiscardHandler))
	l.events <- election.Start{}
	l.events <- election.Tick{} // void: the loop has ended
	if err := l.run(t.Context(), time.Hour); err != nil {
		t.Fatal(err)
	}
	var got []election.Action
	for d := range l.actions {
		got = append(got, d.actions...)
	}
	if len(got) != 2 || len(m.steps) != 1 {
		t.Errorf("actions %v after steps %v", got, m.steps)
	}
	l.events = make(chan election.Event) // nobody reads
	l.post(t.Context(), election.Tick{}) // must not hang
}

// An executor that is stuck ends the loop rather than have it decide into the void.
func TestLoopEndsWhenNobodyActs(t *testing.T) {
	m := &recordingMachine{actions: func(election.Event) []election.Action {
		return []election.Action{election.Publish{}}
	}}
	l := newLoop(m, slog.New(slog.DiscardHandler))
	go func() {
		for range 2 * eventQueue {
			l.post(t.Context(), election.AdvertReceived{})
		}
	}()
	if err := l.run(t.Context(), time.Hour); !errors.Is(err, errAbandoned) {
		t.Errorf("ended with %v", err)
	}
}
