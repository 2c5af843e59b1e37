// SPDX-License-Identifier: Apache-2.0

package promote

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// runFile holds a [serverRun], in Config.StateDir.
const runFile = "server_run.json"

// serverRun is which run of the server process was seen last, and in which boot
// of the host: what a log says of the run before it can be relied on only if the
// host has not lost its page cache since.
type serverRun struct {
	Boot  string `json:"boot"`
	Start string `json:"start"` // as [Position.StartID]
	// Before is the run that was seen before it in the same boot; "" if none was.
	Before string `json:"before,omitempty"`
}

// next is r once the run start is seen in boot.
func (r serverRun) next(boot, start string) serverRun {
	switch {
	case r.Boot != boot:
		return serverRun{Boot: boot, Start: start}
	case r.Start != start:
		return serverRun{Boot: boot, Start: start, Before: r.Start}
	default:
		return r
	}
}

// NoteRun remembers that the server process start ran, and survives restarts of
// the supervisor. It belongs at every new process, soon after it started.
func (s *Server) NoteRun(start string) error {
	if _, err := s.noteRun(start); err != nil {
		return fmt.Errorf("note the run of the server: %w", err)
	}
	return nil
}

func (s *Server) noteRun(start string) (serverRun, error) {
	boot, err := bootID()
	if err != nil {
		return serverRun{}, err
	}
	s.saving.Lock()
	defer s.saving.Unlock()
	before, err := loadRun(s.cfg.StateDir)
	if err != nil {
		return serverRun{}, err
	}
	run := before.next(boot, start)
	if run == before {
		return run, nil
	}
	return run, writeJSON(s.cfg.StateDir, runFile, run)
}

// loadRun reads what [Server.NoteRun] wrote. A file that cannot be read proves
// nothing, like none.
func loadRun(dir string) (serverRun, error) {
	text, err := os.ReadFile(filepath.Join(dir, runFile))
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
		return serverRun{}, err
	}
	var run serverRun
	if json.Unmarshal(text, &run) != nil {
		return serverRun{}, nil
	}
	return run, nil
}

// bootID names this boot of the host (random(4)).
func bootID() (string, error) {
	text, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", err
	}
	return strings.TrimSpace(string(text)), nil
}
