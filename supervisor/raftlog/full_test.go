// SPDX-License-Identifier: Apache-2.0

package raftlog

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"go.etcd.io/raft/v3/raftpb"
	"golang.org/x/sys/unix"
)

// needRoot skips where nothing can be mounted.
func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() == 0 {
		return
	}
	if os.Getenv("HIGHWATER_REQUIRE_LAB") == "1" {
		t.Fatal("needs root to mount a small file system")
	}
	t.Skip("needs root to mount a small file system")
}

// mountSmall mounts a file system of a few MiB and returns its directory.
func mountSmall(t *testing.T, kind string) string {
	t.Helper()
	needRoot(t)
	dir := t.TempDir()
	mount := []string{"-t", "tmpfs", "-o", "size=4m", "tmpfs", dir}
	if kind == "ext4" {
		image := filepath.Join(t.TempDir(), "image")
		run(t, "truncate", "-s", "8M", image)
		run(t, "mkfs.ext4", "-q", "-m", "0", image)
		mount = []string{"-o", "loop", image, dir}
	}
	run(t, "mount", mount...)
	t.Cleanup(func() { run(t, "umount", "-l", dir) }) // also where a test has failed and left a log open
	return dir
}

func run(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %s: %v: %s", name, strings.Join(args, " "), err, out)
	}
}

// fill leaves about so many bytes free.
func fill(t *testing.T, dir string, free int64) (undo func()) {
	t.Helper()
	path := filepath.Join(dir, "filler")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	block := make([]byte, 4096)
	for {
		var s unix.Statfs_t
		if err := unix.Statfs(dir, &s); err != nil {
			t.Fatal(err)
		}
		if int64(s.Bavail)*s.Bsize <= free {
			break
		}
		if _, err := f.Write(block); errors.Is(err, unix.ENOSPC) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Sync(); err != nil && !errors.Is(err, unix.ENOSPC) {
		t.Fatal(err)
	}
	return func() { mustRemove(t, path) }
}

func TestFullDisk(t *testing.T) {
	for _, kind := range []string{"ext4", "tmpfs"} {
		t.Run(kind, func(t *testing.T) {
			root := mountSmall(t, kind)
			for free := int64(0); free <= 64<<10; free += 16 << 10 {
				dir := filepath.Join(root, "raft")
				l, _ := mustOpen(t, dir)
				undo := fill(t, root, free)
				data := strings.Repeat("x", 30000)
				var last uint64
				var err error
				for i := uint64(1); err == nil; i++ {
					if err = l.Append(hard(i, 1, i-1), []*raftpb.Entry{entry(i, 1, data)}, nil); err == nil {
						last = i
					}
				}
				wantReason(t, err, ReasonFull)
				if last < preallocated/30000/2 {
					t.Errorf("full after %d entries: what was preallocated was not used", last)
				}
				// It stays refused, also when there is space again: what the disk holds is known after the next start.
				undo()
				if again := l.Append(hard(1000, 1, last), nil, nil); again != err {
					t.Errorf("the log goes on: %v", again)
				}
				l, r := reopened(t, dir, l)
				if got := uint64(len(r.Entries)); got != last || r.HardState.GetTerm() != last {
					t.Errorf("confirmed %d, restored %d and %v", last, got, r.HardState)
				}
				mustAppend(t, l, hard(last+1, 1, last), []*raftpb.Entry{entry(last+1, 1, data)}, nil)
				if err := l.Close(); err != nil {
					t.Fatal(err)
				}
				if err := os.RemoveAll(dir); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// Any other write error: the file may not grow beyond its meta pages, so that every page is refused (setrlimit(2)).
func TestWriteError(t *testing.T) {
	dir, want := voted(t)
	l, _ := mustOpen(t, dir)
	var before unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_FSIZE, &before); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: 2 * pageSize, Max: before.Max}); err != nil {
		t.Fatal(err)
	}
	err := l.Append(hard(4, 1, 1), []*raftpb.Entry{entry(2, 4, "y")}, nil)
	if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &before); err != nil {
		t.Fatal(err)
	}
	wantReason(t, err, ReasonIO)
	if !errors.Is(err, unix.EFBIG) {
		t.Errorf("error = %v", err)
	}
	if again := l.Append(hard(4, 1, 1), nil, nil); again != err {
		t.Errorf("the log goes on: %v", again)
	}
	_, r := reopened(t, dir, l)
	if diff := same(r, want); diff != "" {
		t.Error(diff)
	}
}

// A full disk does not end a voter whose log has room in what it holds.
func TestFullDiskOfOthers(t *testing.T) {
	root := mountSmall(t, "ext4")
	l, _ := mustOpen(t, filepath.Join(root, "raft"))
	fill(t, root, 0)
	for i := uint64(1); i <= 500; i++ {
		var snap *raftpb.Snapshot
		if i%50 == 0 {
			snap = snapshot(i-1, 1, strings.Repeat("s", 2000))
		}
		mustAppend(t, l, hard(i, 1, i-1), []*raftpb.Entry{entry(i, 1, "a vote, a term, a record")}, snap)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

// The first start on a full disk leaves nothing that a later one could mistake for a log.
func TestFullDiskAtFirstStart(t *testing.T) {
	root := mountSmall(t, "ext4")
	for free := int64(0); free < 256<<10; free += 32 << 10 {
		undo := fill(t, root, free)
		dir := filepath.Join(root, "raft")
		_, _, err := Open(dir, db1)
		wantReason(t, err, ReasonFull)
		undo()
		l, r := mustOpen(t, dir)
		if !r.Fresh {
			t.Errorf("restored %+v", r)
		}
		l.Close()
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
	}
}
