// SPDX-License-Identifier: Apache-2.0

package journal

import (
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
)

// file is the current file. It never leaves half a record before a whole one.
type file struct {
	dir   string
	f     *os.File
	size  int64  // bytes of whole records
	last  uint64 // Seq of the last record in this file or those before, 0 if there is none
	dirty bool   // written since the last sync
}

// openFile opens or creates the current file, cuts off an unfinished record and finds the last number used.
func openFile(dir string) (f *file, torn int, err error) {
	osFile, err := os.OpenFile(filepath.Join(dir, current), os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o640)
	if err != nil {
		return nil, 0, err
	}
	f = &file{dir: dir, f: osFile}
	defer func() {
		if err != nil {
			osFile.Close()
		}
	}()
	if torn, err = f.cut(); err != nil {
		return nil, 0, err
	}
	if err := syncDir(dir); err != nil {
		return nil, 0, err
	}
	// The end of the newest file nearly always tells. A damaged or just rotated one does not, and then all are read.
	tail := max(0, f.size-tailSize)
	if f.last, err = lastSeq(Records(io.NewSectionReader(osFile, tail, f.size-tail), osFile.Name())); err != nil {
		return nil, 0, err
	}
	if f.last == 0 {
		f.last, err = lastSeq(ReadDir(dir))
	}
	return f, torn, err
}

// tailSize is how much of a file is read to find its last record, in bytes.
const tailSize = 1 << 20

// lastSeq is the highest number among the records, 0 if there is none. Damaged lines are passed over: one is sure to begin a tail.
func lastSeq(records iter.Seq2[Record, error]) (last uint64, err error) {
	for r, err := range records {
		var damage *DamageError
		if err != nil && !errors.As(err, &damage) {
			return 0, err
		}
		last = max(last, r.Seq)
	}
	return last, nil
}

// cut truncates the file after its last line feed and returns how many bytes were behind it.
func (f *file) cut() (torn int, err error) {
	info, err := f.f.Stat()
	if err != nil {
		return 0, err
	}
	end := info.Size()
	buf := make([]byte, 64<<10)
	for end > 0 {
		n := min(end, int64(len(buf)))
		if _, err := f.f.ReadAt(buf[:n], end-n); err != nil {
			return 0, err
		}
		for n > 0 && buf[n-1] != '\n' {
			n--
			end--
		}
		if n > 0 {
			break
		}
	}
	f.size = end
	if end == info.Size() {
		return 0, nil
	}
	f.dirty = true
	return int(info.Size() - end), f.f.Truncate(end)
}

// append writes whole lines. After a failure the file is cut back to what was whole before.
func (f *file) append(lines []byte, last uint64) error {
	if len(lines) == 0 {
		return nil
	}
	if _, err := f.f.Write(lines); err != nil {
		return errors.Join(err, f.f.Truncate(f.size))
	}
	f.last = last
	f.size += int64(len(lines))
	f.dirty = true
	return nil
}

func (f *file) sync() error {
	if !f.dirty {
		return nil
	}
	if err := f.f.Sync(); err != nil {
		return fmt.Errorf("sync journal: %w", err)
	}
	f.dirty = false
	return nil
}

// rotate puts the current file into the archive, starts a new one, and removes the oldest beyond keep.
func (f *file) rotate(keep int) error {
	if err := f.sync(); err != nil {
		return err
	}
	path := filepath.Join(f.dir, current)
	if err := os.Rename(path, filepath.Join(f.dir, archiveName(f.last))); err != nil {
		return fmt.Errorf("rotate journal: %w", err)
	}
	next, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o640)
	if err != nil {
		// Go on in the renamed file; the next record tries again.
		return fmt.Errorf("rotate journal: %w", errors.Join(err, os.Rename(filepath.Join(f.dir, archiveName(f.last)), path)))
	}
	closed := f.f.Close()
	f.f, f.size = next, 0
	names, err := files(f.dir)
	for err == nil && len(names) > keep {
		err = os.Remove(filepath.Join(f.dir, names[0]))
		names = names[1:]
	}
	if err := errors.Join(closed, err, syncDir(f.dir)); err != nil {
		return fmt.Errorf("rotate journal: %w", err)
	}
	return nil
}

func (f *file) close() error { return f.f.Close() }

// syncDir makes names in dir durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
