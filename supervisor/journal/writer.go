// SPDX-License-Identifier: Apache-2.0

package journal

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// Config says where and how much to keep. Zero values take the defaults given.
type Config struct {
	Dir         string
	BootID      string
	Incarnation string
	MaxSize     int64            // bytes of one file; 64 MiB
	MaxFiles    int              // files in all; 8
	Queue       int              // records waiting for the disk; 4096
	SyncEvery   time.Duration    // longest time until a record is on disk; 1 s
	Wall        func() time.Time // time.Now
	// Now reads CLOCK_BOOTTIME for the record that marks a torn end; the default is clock_gettime(2).
	Now func() time.Duration
}

// Stats are counters since the start.
type Stats struct {
	Written   uint64 // records
	Dropped   uint64 // records, because the queue was full, a write failed or the record was too long
	Queued    int    // records waiting now
	Errors    uint64 // failed writes, syncs and rotations
	LastError string
}

// maxBatch is about how much one write system call carries, in bytes.
const maxBatch = 1 << 20

// Writer appends to the journal. Append, Sync and Stats may be called from any goroutine.
type Writer struct {
	cfg   Config
	queue chan Record
	syncs chan chan error
	stop  chan struct{}
	ended chan struct{}
	once  sync.Once

	// Append is serial in seq order even if the loop is not its only caller.
	mu     sync.Mutex
	seq    uint64
	closed bool

	dropped atomic.Uint64
	written atomic.Uint64

	// Of the writing goroutine only.
	file   *file
	cause  error // of the records missing since file.last, nil if the queue was full
	unsaid error // the latest since the last Sync

	errMu sync.Mutex
	errs  uint64
	last  error
}

// Open continues the journal in dir, which must exist. An unfinished last record, left by a crash, is cut off and marked by a gap record.
func Open(cfg Config) (*Writer, error) {
	if cfg.MaxSize <= 0 {
		cfg.MaxSize = 64 << 20
	}
	if cfg.MaxFiles <= 0 {
		cfg.MaxFiles = 8
	}
	if cfg.Queue <= 0 {
		cfg.Queue = 4096
	}
	if cfg.SyncEvery <= 0 {
		cfg.SyncEvery = time.Second
	}
	if cfg.Wall == nil {
		cfg.Wall = time.Now
	}
	if cfg.Now == nil {
		cfg.Now = boottime
	}
	f, torn, err := openFile(cfg.Dir)
	if err != nil {
		return nil, fmt.Errorf("open journal: %w", err)
	}
	w := &Writer{
		cfg: cfg, seq: f.last, file: f,
		queue: make(chan Record, cfg.Queue), syncs: make(chan chan error), stop: make(chan struct{}), ended: make(chan struct{}),
	}
	if torn > 0 {
		w.seq++
		w.queue <- w.record(w.seq, cfg.Now(), gapEvent(Gap{Torn: torn}), nil)
	}
	go w.run()
	return w, nil
}

// Append queues a record and returns its number. It never waits for the disk: ok is false if the record was dropped. At is CLOCK_BOOTTIME.
// The journal keeps event and actions; the caller must not change them afterwards.
func (w *Writer) Append(at time.Duration, event json.RawMessage, actions []json.RawMessage) (seq uint64, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.seq++
	if w.closed {
		w.dropped.Add(1)
		return w.seq, false
	}
	select {
	case w.queue <- w.record(w.seq, at, event, actions):
		return w.seq, true
	default:
		w.dropped.Add(1)
		return w.seq, false
	}
}

// Sync returns when all that was appended before is on disk, or with the latest error since the Sync before. What did not fit into the queue
// is no error here.
func (w *Writer) Sync(ctx context.Context) error {
	answer := make(chan error, 1)
	select {
	case w.syncs <- answer:
	case <-w.ended:
		return errors.New("sync journal: closed")
	case <-ctx.Done():
		return fmt.Errorf("sync journal: %w", ctx.Err())
	}
	select {
	case err := <-answer:
		return err
	case <-ctx.Done():
		return fmt.Errorf("sync journal: %w", ctx.Err())
	}
}

// Close writes and syncs what is queued. When ctx ends first it returns, and the goroutine ends once the disk lets it.
func (w *Writer) Close(ctx context.Context) error {
	w.mu.Lock()
	w.closed = true
	w.mu.Unlock()
	w.once.Do(func() { close(w.stop) })
	select {
	case <-w.ended:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("close journal: %w", ctx.Err())
	}
}

// Stats reads the counters.
func (w *Writer) Stats() Stats {
	w.errMu.Lock()
	defer w.errMu.Unlock()
	s := Stats{Written: w.written.Load(), Dropped: w.dropped.Load(), Queued: len(w.queue), Errors: w.errs}
	if w.last != nil {
		s.LastError = w.last.Error()
	}
	return s
}

func (w *Writer) record(seq uint64, at time.Duration, event json.RawMessage, actions []json.RawMessage) Record {
	return Record{
		Seq: seq, At: at, Wall: w.cfg.Wall(), BootID: w.cfg.BootID, Incarnation: w.cfg.Incarnation, Event: event, Actions: actions,
	}
}

func gapEvent(g Gap) json.RawMessage {
	g.Type = GapType
	event, _ := json.Marshal(g) // a struct of two numbers and two strings
	return event
}

func (w *Writer) run() {
	defer close(w.ended)
	ticker := time.NewTicker(w.cfg.SyncEvery)
	defer ticker.Stop()
	for {
		select {
		case r := <-w.queue:
			w.write(r)
		case answer := <-w.syncs:
			w.drain()
			w.sync()
			answer <- w.unsaid
			w.unsaid = nil
		case <-ticker.C:
			w.sync()
		case <-w.stop:
			w.drain()
			w.mu.Lock()
			last := w.seq
			w.mu.Unlock()
			if last > w.file.last { // nothing will follow to show the gap
				gap, _ := encode(w.record(last, w.cfg.Now(), w.gap(last-w.file.last), nil))
				w.report(w.file.append(gap, last))
			}
			w.sync()
			w.report(w.file.close())
			return
		}
	}
}

// drain writes what is queued now, however fast more comes.
func (w *Writer) drain() {
	for range len(w.queue) {
		select {
		case r := <-w.queue:
			w.write(r)
		default:
			return
		}
	}
}

// write puts r, and what else is queued already, into the file with one system call.
func (w *Writer) write(r Record) {
	if w.file.size >= w.cfg.MaxSize {
		w.report(w.file.rotate(w.cfg.MaxFiles))
	}
	var batch []byte
	var records uint64
	last := w.file.last
	for more := true; more; {
		line, err := encode(r)
		if err != nil {
			w.lose(err, 1)
		} else {
			if missing := r.Seq - last - 1; missing > 0 {
				// The gap takes the number of the last record that is missing.
				gap, _ := encode(w.record(r.Seq-1, r.At, w.gap(missing), nil))
				batch = append(batch, gap...)
			}
			batch = append(batch, line...)
			last = r.Seq
			records++
		}
		more = false
		if len(batch) < maxBatch {
			select {
			case r = <-w.queue:
				more = true
			default:
			}
		}
	}
	if err := w.file.append(batch, last); err != nil {
		w.lose(err, records)
		return
	}
	w.written.Add(records)
	if records > 0 {
		w.cause = nil
	}
}

func (w *Writer) lose(err error, records uint64) {
	w.cause = err
	w.dropped.Add(records)
	w.report(fmt.Errorf("write journal: %w", err))
}

// gap is the event that stands for missing records.
func (w *Writer) gap(missing uint64) json.RawMessage {
	g := Gap{Dropped: missing}
	if w.cause != nil {
		g.Error = w.cause.Error()
	}
	return gapEvent(g)
}

// encode returns the line of r.
func encode(r Record) ([]byte, error) {
	text, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("encode record %d: %w", r.Seq, err)
	}
	if len(text) > MaxRecord {
		return nil, fmt.Errorf("encode record %d: %w", r.Seq, errLong)
	}
	return append(text, '\n'), nil
}

func (w *Writer) sync() { w.report(w.file.sync()) }

// report is for the writing goroutine.
func (w *Writer) report(err error) {
	if err == nil {
		return
	}
	w.unsaid = err
	w.errMu.Lock()
	defer w.errMu.Unlock()
	w.errs++
	w.last = err
}
