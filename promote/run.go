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
	// Led is the term whose primary it is, or was when it was seen last; 0 if none.
	Led uint64 `json:"led"`
	// Before is the run that was seen before it in the same boot, "" if none was, and
	// BeforeLed its Led.
	Before    string `json:"before,omitempty"`
	BeforeLed uint64 `json:"before_led,omitempty"`
}

// next is r once the run start is seen in boot, as primary of the term led or not.
func (r serverRun) next(boot, start string, led uint64) serverRun {
	switch {
	case r.Boot != boot:
		return serverRun{Boot: boot, Start: start, Led: led}
	case r.Start != start:
		return serverRun{Boot: boot, Start: start, Led: led, Before: r.Start, BeforeLed: r.Led}
	default:
		r.Led = led
		return r
	}
}

// NoteRun remembers that the server process start runs as primary of the term led,
// or with 0 as no primary. It belongs at every change of the two, before much has
// happened.
func (s *Server) NoteRun(start string, led uint64) error {
	if _, err := s.noteRun(start, func(serverRun) uint64 { return led }); err != nil {
		return fmt.Errorf("note the run of the server: %w", err)
	}
	return nil
}

// LedBefore returns the term whose primary the run of the server before start was
// when it was seen last; 0 if it was none, or is not known.
func (s *Server) LedBefore(start string) (uint64, error) {
	run, err := s.noteRun(start, func(r serverRun) uint64 {
		if r.Start != start {
			return 0
		}
		return r.Led
	})
	if err != nil {
		return 0, fmt.Errorf("read the run of the server: %w", err)
	}
	return run.BeforeLed, nil
}

func (s *Server) noteRun(start string, led func(serverRun) uint64) (serverRun, error) {
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
	run := before.next(boot, start, led(before))
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
