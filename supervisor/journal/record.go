// SPDX-License-Identifier: Apache-2.0

package journal

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Record is one line of the journal.
type Record struct {
	// Seq rises by one from record to record, across restarts. A jump says that records were dropped there.
	Seq uint64 `json:"seq"`
	// At is CLOCK_BOOTTIME in ns; comparable between records of one BootID.
	At time.Duration `json:"at"`
	// Wall is for people; the clock may have been wrong or stepped.
	Wall        time.Time         `json:"wall"`
	BootID      string            `json:"boot_id"`     // /proc/sys/kernel/random/boot_id
	Incarnation string            `json:"incarnation"` // of the supervisor's process
	Event       json.RawMessage   `json:"event"`       // an object with a member "type"
	Actions     []json.RawMessage `json:"actions,omitempty"`
}

// Gap is the event of a record that the journal itself writes where records are missing. Its type is "journal_gap".
type Gap struct {
	Type    string `json:"type"`
	Dropped uint64 `json:"dropped,omitempty"` // records that did not reach the file
	Torn    int    `json:"torn,omitempty"`    // bytes of an unfinished record cut off when the file was opened
	Error   string `json:"error,omitempty"`   // why, if writing failed
}

// GapType is the type of a [Gap].
const GapType = "journal_gap"

// MaxRecord bounds a record in bytes. Longer ones are dropped by the writer and are damage to the reader.
const MaxRecord = 8 << 20

// DamageError is a line that is no record. The lines after it can still be read.
type DamageError struct {
	File string
	Line int // from 1
	Err  error
}

func (e *DamageError) Error() string { return fmt.Sprintf("%s:%d: %v", e.File, e.Line, e.Err) }
func (e *DamageError) Unwrap() error { return e.Err }

// parse reads one line.
func parse(line []byte) (Record, error) {
	var r Record
	if err := json.Unmarshal(line, &r); err != nil {
		return Record{}, fmt.Errorf("parse record: %w", err)
	}
	if r.Seq == 0 || r.Event == nil {
		return Record{}, errors.New("parse record: seq or event is missing")
	}
	return r, nil
}

// Records reads the records of one file, oldest first. A damaged line yields a [*DamageError] and reading goes on; any other error ends
// it. A last line without its line feed is still being written, or never was to the end, and is passed over.
func Records(r io.Reader, name string) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		lines := bufio.NewReaderSize(r, 64<<10)
		for n := 1; ; n++ {
			line, err := readLine(lines)
			switch {
			case errors.Is(err, io.EOF):
				return
			case errors.Is(err, errLong):
				if !yield(Record{}, &DamageError{name, n, err}) {
					return
				}
				continue
			case err != nil:
				yield(Record{}, fmt.Errorf("read journal %s: %w", name, err))
				return
			}
			record, err := parse(line)
			if err != nil {
				err = &DamageError{name, n, err}
			}
			if !yield(record, err) {
				return
			}
		}
	}
}

var errLong = fmt.Errorf("line exceeds %d bytes", MaxRecord)

// readLine returns a line without its line feed; io.EOF also for an unfinished one.
func readLine(r *bufio.Reader) ([]byte, error) {
	var line []byte
	long := false
	for {
		part, err := r.ReadSlice('\n')
		if long = long || len(line)+len(part) > MaxRecord+1; !long {
			line = append(line, part...)
		}
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
		case err != nil:
			return nil, err
		case long:
			return nil, errLong
		default:
			return bytes.TrimSuffix(line, []byte("\n")), nil
		}
	}
}

// ReadDir reads all files of the journal in dir, oldest record first. A file that rotation removed meanwhile is passed over.
func ReadDir(dir string) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		names, err := files(dir)
		if err != nil {
			yield(Record{}, fmt.Errorf("read journal: %w", err))
			return
		}
		for _, name := range names {
			f, err := os.Open(filepath.Join(dir, name))
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				yield(Record{}, fmt.Errorf("read journal: %w", err))
				return
			}
			for r, err := range Records(f, f.Name()) {
				if !yield(r, err) {
					f.Close()
					return
				}
			}
			f.Close()
		}
	}
}

// current is the file being written. Full ones are renamed after their last record.
const current = "journal.jsonl"

func archiveName(last uint64) string { return fmt.Sprintf("journal-%020d.jsonl", last) }

// files lists the journal's files in dir, oldest first; current is last.
func files(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var names []string
	present := false
	for _, e := range entries {
		name := e.Name()
		present = present || name == current
		if strings.HasPrefix(name, "journal-") && strings.HasSuffix(name, ".jsonl") && len(name) == len(archiveName(0)) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	if present {
		names = append(names, current)
	}
	return names, nil
}
