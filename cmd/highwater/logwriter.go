// SPDX-License-Identifier: Apache-2.0

package main

import (
	"io"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// logBacklog is how many bytes of log wait for a reader that is slow: many times what a
	// failover writes.
	logBacklog = 256 << 10
	// flushTimeout bounds what the end of the process spends on lines not written yet.
	flushTimeout = time.Second
)

// logWriter passes lines on to a writer that may hang, such as the pipe to a log daemon that
// is stopped, and holds up nobody who logs: neither loop nor executor may wait for the log.
// What does not fit into the backlog, or fails to be written, is dropped and counted; the next
// line that is written after a gap says how many are missing. It is safe for concurrent use.
// Each Write is one line, and is written as a whole.
type logWriter struct {
	out    io.Writer
	limit  int                       // bytes in queue
	notice func(lines uint64) []byte // stands for lines that were dropped

	dropped atomic.Uint64 // lines, since the start

	mu     sync.Mutex
	queue  []logLine
	queued int    // bytes in queue
	gap    uint64 // dropped since the last notice
	full   bool   // until half of the queue is free: else a slow reader got as many notices as lines
	closed bool

	wake  chan struct{}
	ended chan struct{}
}

// logLine is a line, or the notice of those that are missing in its place.
type logLine struct {
	text    []byte
	missing uint64
}

// newLogWriter starts the goroutine that writes; [logWriter.close] ends it.
func newLogWriter(out io.Writer, limit int, notice func(lines uint64) []byte) *logWriter {
	w := &logWriter{out: out, limit: limit, notice: notice, wake: make(chan struct{}, 1), ended: make(chan struct{})}
	go w.run()
	return w
}

// Write takes a line in, or drops it. It waits for no reader, and never fails: there is nobody
// to tell.
func (w *logWriter) Write(line []byte) (int, error) {
	w.mu.Lock()
	if w.queued <= w.limit/2 {
		w.full = false
	}
	if w.full || w.closed || w.queued+len(line) > w.limit {
		w.full = true
		w.gap++
		w.dropped.Add(1)
	} else {
		w.explain()
		w.push(logLine{text: append([]byte(nil), line...)}) // the handler uses its buffer again
	}
	w.mu.Unlock()
	w.nudge()
	return len(line), nil
}

// explain queues the notice of a gap; w.mu is held.
func (w *logWriter) explain() {
	if w.gap > 0 {
		w.push(logLine{missing: w.gap})
		w.gap = 0
	}
}

// push queues; w.mu is held.
func (w *logWriter) push(l logLine) {
	w.queue = append(w.queue, l)
	w.queued += len(l.text)
}

func (w *logWriter) nudge() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// run writes line by line until the writer is closed and nothing is left.
func (w *logWriter) run() {
	defer close(w.ended)
	for range w.wake {
		for l, ok := w.next(); ok; l, ok = w.next() {
			text := l.text
			if l.missing > 0 {
				text = w.notice(l.missing)
			}
			_, err := w.out.Write(text)
			w.wrote(l, err)
		}
		if w.done() {
			return
		}
	}
}

// next returns what is to be written. It stays in the queue, where it counts, until it is out.
func (w *logWriter) next() (logLine, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.queue) == 0 && w.full { // there is room, and perhaps nobody logs any more
		w.full = false
		w.explain()
	}
	if len(w.queue) == 0 {
		return logLine{}, false
	}
	return w.queue[0], true
}

// wrote takes out of the queue what next returned. What could not be written is missing.
func (w *logWriter) wrote(l logLine, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.queue[0] = logLine{}
	w.queue = w.queue[1:]
	w.queued -= len(l.text)
	switch {
	case err == nil:
	case l.missing > 0:
		w.gap += l.missing // counted before
	default:
		w.gap++
		w.dropped.Add(1)
	}
}

func (w *logWriter) done() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.closed && len(w.queue) == 0
}

// close writes what is left and ends, or gives up after the timeout: a reader that hangs does
// not keep the process. What is logged later is dropped.
func (w *logWriter) close(timeout time.Duration) {
	w.mu.Lock()
	w.closed = true
	w.mu.Unlock()
	w.nudge()
	t := time.NewTimer(timeout)
	defer t.Stop()
	select {
	case <-w.ended:
	case <-t.C:
	}
}
