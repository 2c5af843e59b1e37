// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"container/heap"
	"time"
)

// instant is the true time in nanoseconds, which no host knows.
type instant int64

func (t instant) add(d time.Duration) instant { return t + instant(d) }

func (t instant) sub(u instant) time.Duration { return time.Duration(t - u) }

// call is a function that is due. Those of one instant run in the order of their numbers.
type call struct {
	at  instant
	seq uint64
	run func()
}

// agenda is a heap of calls.
type agenda []call

func (a agenda) Len() int { return len(a) }

func (a agenda) Less(i, j int) bool {
	return a[i].at < a[j].at || (a[i].at == a[j].at && a[i].seq < a[j].seq)
}

func (a agenda) Swap(i, j int) { a[i], a[j] = a[j], a[i] }

func (a *agenda) Push(x any) { *a = append(*a, x.(call)) }

func (a *agenda) Pop() any {
	old := *a
	last := len(old) - 1
	c := old[last]
	old[last] = call{}
	*a = old[:last]
	return c
}

// after schedules f in d.
func (w *World) after(d time.Duration, f func()) {
	w.seq++
	heap.Push(&w.agenda, call{at: w.now.add(max(0, d)), seq: w.seq, run: f})
}

// Run lets d pass. It returns early once an invariant is broken.
func (w *World) Run(d time.Duration) {
	end := w.now.add(d)
	for len(w.agenda) > 0 && w.agenda[0].at <= end && w.broken == nil {
		c := heap.Pop(&w.agenda).(call)
		w.now = c.at
		c.run()
	}
	if w.broken == nil {
		w.now = end
	}
}

// between returns a duration of [low, high).
func (w *World) between(low, high time.Duration) time.Duration {
	if high <= low {
		return low
	}
	return low + time.Duration(w.rng.Int64N(int64(high-low)))
}

// chance reports true with probability p.
func (w *World) chance(p float64) bool { return p > 0 && w.rng.Float64() < p }
