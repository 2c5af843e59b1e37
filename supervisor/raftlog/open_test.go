// SPDX-License-Identifier: Apache-2.0

package raftlog

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.etcd.io/raft/v3/raftpb"
)

// voted makes a log that holds a vote and returns its directory, and what it holds.
func voted(t testing.TB) (dir string, want Restored) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "raft")
	l, r := mustOpen(t, dir)
	want = Restored{HardState: hard(3, 2, 1), Entries: []*raftpb.Entry{entry(1, 3, "x")}, ID: r.ID}
	mustAppend(t, l, want.HardState, want.Entries, nil)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return dir, want
}

func copyFile(t testing.TB, to, from string) {
	t.Helper()
	text, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(to, text, 0o640)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func mustRemove(t testing.TB, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}

func TestLostLog(t *testing.T) {
	dir, _ := voted(t)
	mustRemove(t, filepath.Join(dir, logName))
	for range 2 { // a refused start must not make the next one possible
		_, _, err := Open(dir, db1)
		wantReason(t, err, ReasonLost)
		if !strings.Contains(err.Error(), "add it again") {
			t.Errorf("error %q does not say what to do", err)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, logName)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a log was made: %v", err)
	}
}

func TestLostMarker(t *testing.T) {
	dir, _ := voted(t)
	mustRemove(t, filepath.Join(dir, markerName))
	for range 2 {
		_, _, err := Open(dir, db1)
		wantReason(t, err, ReasonLost)
	}
}

func TestLogOfAnotherLife(t *testing.T) {
	dir, _ := voted(t)
	other, _ := voted(t)
	copyFile(t, filepath.Join(dir, logName), filepath.Join(other, logName))
	_, _, err := Open(dir, db1)
	wantReason(t, err, ReasonLost)
	// Nor does an empty one do.
	fresh := filepath.Join(t.TempDir(), "raft")
	l, _ := mustOpen(t, fresh)
	l.Close()
	copyFile(t, filepath.Join(dir, logName), filepath.Join(fresh, logName))
	_, _, err = Open(dir, db1)
	wantReason(t, err, ReasonLost)
}

func TestEmptyFileIsNotANewLog(t *testing.T) {
	dir, _ := voted(t)
	if err := os.Truncate(filepath.Join(dir, logName), 0); err != nil {
		t.Fatal(err)
	}
	_, _, err := Open(dir, db1)
	wantReason(t, err, ReasonCorrupt)
}

func TestForeignLog(t *testing.T) {
	dir, _ := voted(t)
	for _, id := range []Identity{{"orders", "db2"}, {"billing", "db1"}} {
		_, _, err := Open(dir, id)
		wantReason(t, err, ReasonForeign)
	}
	// The log alone, carried to another host.
	other := t.TempDir()
	copyFile(t, filepath.Join(other, logName), filepath.Join(dir, logName))
	_, _, err := Open(other, Identity{"orders", "db2"})
	wantReason(t, err, ReasonForeign)
	// The marker alone says whose the lost log was.
	markerOnly := t.TempDir()
	copyFile(t, filepath.Join(markerOnly, markerName), filepath.Join(dir, markerName))
	_, _, err = Open(markerOnly, Identity{"orders", "db2"})
	wantReason(t, err, ReasonForeign)
	// A log that belongs to another node behind a marker of ours.
	mine, _ := voted(t)
	foreignDir := filepath.Join(t.TempDir(), "raft")
	l, _, err := Open(foreignDir, Identity{"orders", "db2"})
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	copyFile(t, filepath.Join(mine, logName), filepath.Join(foreignDir, logName))
	_, _, err = Open(mine, db1)
	wantReason(t, err, ReasonForeign)
	_, _, err = Open(t.TempDir(), Identity{Cluster: "orders"})
	wantReason(t, err, ReasonInvalid)
}

func TestDamagedMarker(t *testing.T) {
	dir, _ := voted(t)
	path := filepath.Join(dir, markerName)
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		text   []byte
		reason Reason
	}{
		"empty":        {nil, ReasonCorrupt},
		"half":         {good[:len(good)/2], ReasonCorrupt},
		"changed":      {bytes.Replace(good, []byte("db1"), []byte("db7"), 1), ReasonCorrupt},
		"later format": {bytes.Replace(good, []byte(`"format":1`), []byte(`"format":2`), 1), ReasonVersion},
	} {
		if err := os.WriteFile(path, c.text, 0o640); err != nil {
			t.Fatal(err)
		}
		if _, _, err := Open(dir, db1); ReasonOf(err) != c.reason {
			t.Errorf("%s: %v", name, err)
		}
	}
	for i := range good {
		text := bytes.Clone(good)
		text[i] ^= 0x04
		if err := os.WriteFile(path, text, 0o640); err != nil {
			t.Fatal(err)
		}
		if l, _, err := Open(dir, db1); err == nil {
			if l.Close(); i < len(good)-1 { // the line feed at the end says nothing
				t.Errorf("byte %d of %q changed and nobody noticed", i, good)
			}
		}
	}
}

func TestLocked(t *testing.T) {
	dir, want := voted(t)
	l, _ := mustOpen(t, dir)
	_, _, err := Open(dir, db1)
	wantReason(t, err, ReasonLocked)
	l, r := reopened(t, dir, l)
	if diff := same(r, want); diff != "" {
		t.Error(diff)
	}
	l.Close()
	// A tool that has only the file open.
	f, err := os.Open(filepath.Join(dir, logName))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := flock(f); err != nil {
		t.Fatal(err)
	}
	_, _, err = Open(dir, db1)
	wantReason(t, err, ReasonLocked)
}

// A crash of the very first start leaves one of these, and nothing was voted.
func TestFirstStartCutShort(t *testing.T) {
	for name, leave := range map[string]func(dir string){
		"half a log": func(dir string) {
			mustRename(t, dir, logName, logName+newSuffix)
			mustRemove(t, filepath.Join(dir, markerName))
		},
		"log, no marker":  func(dir string) { mustRemove(t, filepath.Join(dir, markerName)) },
		"half the marker": func(dir string) { mustRename(t, dir, markerName, markerName+newSuffix) },
	} {
		dir := t.TempDir()
		l, _ := mustOpen(t, dir)
		l.Close()
		leave(dir)
		l, r := mustOpen(t, dir)
		if !r.Fresh {
			t.Errorf("%s: restored %+v", name, r)
		}
		mustAppend(t, l, hard(1, 1, 0), nil, nil)
		if _, r = reopened(t, dir, l); r.HardState.GetVote() != 1 {
			t.Errorf("%s: restored %+v", name, r)
		}
	}
}

func mustRename(t *testing.T, dir, from, to string) {
	t.Helper()
	if err := os.Rename(filepath.Join(dir, from), filepath.Join(dir, to)); err != nil {
		t.Fatal(err)
	}
}

func TestNoDirectory(t *testing.T) {
	_, _, err := Open(filepath.Join(t.TempDir(), "a", "b"), db1)
	wantReason(t, err, ReasonIO)
}
