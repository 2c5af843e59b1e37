// SPDX-License-Identifier: Apache-2.0

package raftlog

import (
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"sync"

	"go.etcd.io/bbolt"
	"go.etcd.io/raft/v3/raftpb"
	"golang.org/x/sys/unix"
)

// Log is an open log. Its methods may be called from any goroutine.
type Log struct {
	path string
	lock *os.File // the directory, locked

	mu     sync.Mutex
	file   *os.File // the same that db has
	db     *bbolt.DB
	state  state // as on the disk
	failed error // of the first Append that failed
	// broken: bbolt panicked and may hold its own locks.
	broken bool
	closed bool
}

// errFault is a page that could not be read where it is mapped, or a panic of bbolt over what it read there.
var errFault = errors.New("fault in the mapped file")

// guard turns a panic, and a fault of mapped memory, into an error.
func (l *Log) guard(f func() error) (err error) {
	before := debug.SetPanicOnFault(true)
	defer func() {
		debug.SetPanicOnFault(before)
		if p := recover(); p != nil {
			l.broken = true
			err = fmt.Errorf("%w: %v", errFault, p)
		}
	}()
	return f()
}

// Append writes what a raft.Ready asks to be stored, in one transaction, and returns after that is on the disk. Each part may be nil.
//
// Entries replace those of the same index and all that follow them. A snapshot drops the entries up to its index; those behind it stay if
// the log held an entry of its index and term, else all go (the Raft paper, §7). It comes first, then the entries, then hs.
//
// An Append of nothing but a commit index may be left out: raft learns that again.
//
// After an error nothing more can be appended; see the package's documentation.
func (l *Log) Append(hs *raftpb.HardState, entries []*raftpb.Entry, snap *raftpb.Snapshot) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return refuse(ReasonInvalid, l.path, "append after close")
	}
	if l.failed != nil {
		return l.failed
	}
	if isEmpty(hs) && len(entries) == 0 && !hasContent(snap) {
		return nil
	}
	var next state
	err := l.guard(func() error {
		return l.db.Update(func(tx *bbolt.Tx) error {
			next = l.state
			w := writer{path: l.path, state: &next, base: tx.Bucket([]byte(bucketBase)), log: tx.Bucket([]byte(bucketLog))}
			next.Txid = uint64(tx.ID())
			return w.write(hs, entries, snap)
		})
	})
	if err != nil {
		l.failed = at(l.path, fmt.Errorf("append: %w", err))
		return l.failed
	}
	l.state = next
	return nil
}

// Close gives the log back. Nothing waits to be written.
func (l *Log) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil
	}
	l.closed = true
	return l.release()
}

// release closes what is open. A bbolt that panicked might wait for itself for ever; its mapping stays until the process ends, and keeps the
// file and with it the lock, unless that is given back by name.
func (l *Log) release() error {
	var err error
	switch {
	case l.db != nil && !l.broken:
		err = l.guard(l.db.Close)
	case l.file != nil:
		err = errors.Join(unix.Flock(int(l.file.Fd()), unix.LOCK_UN), l.file.Close())
	}
	if err = errors.Join(err, l.lock.Close()); err != nil {
		return at(l.path, fmt.Errorf("close: %w", err))
	}
	return nil
}
