// SPDX-License-Identifier: Apache-2.0

package peer

import (
	"sync"
	"sync/atomic"
	"time"
)

const (
	// raftQueue bounds the messages that wait for one peer, and raftQueueBytes their bytes: a snapshot or two beside the small ones.
	raftQueue      = 1024
	raftQueueBytes = 4 << 20
	// raftMaxAge is how old a message may be when it is sent. Later it does more harm than good: raft has asked again meanwhile, and an old
	// hand-over that still arrives deposes a leader.
	raftMaxAge = time.Second
)

// raftMessages waits to be sent, oldest first. What does not fit drives out the oldest: raft takes loss better than age.
type raftMessages struct {
	mu      sync.Mutex
	waiting []raftMessage
	bytes   int

	waits   chan struct{} // capacity 1: something waits
	urgent  chan struct{} // capacity 1: something urgent came since the last try to connect
	dropped counters
	sent    atomic.Uint64
}

type raftMessage struct {
	at   time.Duration // CLOCK_BOOTTIME when it was queued
	data []byte
}

func newRaftMessages() *raftMessages {
	return &raftMessages{waits: make(chan struct{}, 1), urgent: make(chan struct{}, 1), dropped: newCounters(raftDropReasons)}
}

func (q *raftMessages) add(messages [][]byte, urgent bool) {
	now := boottime()
	q.mu.Lock()
	for _, m := range messages {
		switch {
		case len(m) == 0:
			q.dropped.add(ReasonBadMessage, ReasonOther)
			continue
		case len(m) > MaxRaftMessage:
			q.dropped.add(ReasonTooLarge, ReasonOther)
			continue
		}
		for len(q.waiting) >= raftQueue || q.bytes+len(m) > raftQueueBytes {
			q.dropped.add(ReasonQueueFull, ReasonOther)
			q.bytes -= len(q.waiting[0].data)
			q.waiting = q.waiting[1:]
		}
		q.waiting = append(q.waiting, raftMessage{at: now, data: m})
		q.bytes += len(m)
	}
	q.mu.Unlock()
	signal(q.waits)
	if urgent {
		signal(q.urgent)
	}
}

// take removes what fits in one frame.
func (q *raftMessages) take() (messages [][]byte) {
	now := boottime()
	q.mu.Lock()
	defer q.mu.Unlock()
	size := 0
	for len(q.waiting) > 0 && len(messages) < maxRaftBatch {
		m := q.waiting[0]
		late := now-m.at > raftMaxAge
		if !late && size+raftSize(m.data) > maxRaftFrame {
			break
		}
		q.waiting[0] = raftMessage{}
		q.waiting = q.waiting[1:]
		q.bytes -= len(m.data)
		if late {
			q.dropped.add(ReasonLate, ReasonOther)
			continue
		}
		size += raftSize(m.data)
		messages = append(messages, m.data)
	}
	if len(q.waiting) == 0 {
		q.waiting = nil // give the memory of a backlog back
	}
	return messages
}

func (q *raftMessages) length() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.waiting)
}

// signal sets a channel of capacity 1.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
