// SPDX-License-Identifier: Apache-2.0

package mysqlcheck

import (
	"fmt"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Storage is the file system of the data directory, seen from this host.
type Storage struct {
	Known      bool
	FreeBytes  uint64 // to the server, which is not root
	TotalBytes uint64
	ReadOnly   bool
	// Unavailable says why it is not known.
	Unavailable string
}

// disk looks at a file system beside the caller: statfs(2) waits for ever on a
// dead network file system, and is then left to wait alone.
type disk struct {
	mu     sync.Mutex
	busy   bool
	looked time.Time
	last   Storage
}

// diskInterval is how often the file system is asked.
const diskInterval = time.Second

// look returns what the last look found, and begins a new one when it is time.
func (d *disk) look(dataDir string, process Process, local bool) Storage {
	if dataDir == "" || !local {
		return Storage{Unavailable: "the data directory is not known to be on this host"}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.busy && time.Since(d.looked) >= diskInterval {
		d.busy = true
		go func() {
			found := statfs(dataDir, process)
			d.mu.Lock()
			defer d.mu.Unlock()
			d.busy, d.looked, d.last = false, time.Now(), found
		}()
	}
	return d.last
}

// statfs asks about the data directory as the server sees it: in its own mount
// namespace where we may look there, else in ours.
func statfs(dataDir string, process Process) Storage {
	var st unix.Statfs_t
	var err error = unix.ESRCH
	if process.Alive && process.Pid != 0 {
		err = unix.Statfs(filepath.Join("/proc", strconv.Itoa(process.Pid), "root", dataDir), &st)
	}
	if err != nil {
		err = unix.Statfs(dataDir, &st)
	}
	if err != nil {
		return Storage{Unavailable: fmt.Sprintf("statfs %s: %v", dataDir, err)}
	}
	return Storage{
		Known:      true,
		FreeBytes:  st.Bavail * uint64(st.Bsize),
		TotalBytes: st.Blocks * uint64(st.Bsize),
		ReadOnly:   st.Flags&unix.ST_RDONLY != 0,
	}
}
