// SPDX-License-Identifier: Apache-2.0

package promote

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// relaxedFile holds a [Relaxed], in Config.StateDir.
const relaxedFile = "relaxed.json"

// Relaxed is the last run of the server process in which it was primary with settings that a
// crash does not spare ([DurabilityRelaxed]). Once that run has ended, what it wrote in its terms
// may be gone, whatever the settings are by then.
type Relaxed struct {
	Start string `json:"start"` // as [Position.StartID]
	Term  uint64 `json:"term"`  // 0: there was none
}

// NoteRelaxed remembers r before it returns.
func (s *Server) NoteRelaxed(r Relaxed) error {
	s.saving.Lock()
	defer s.saving.Unlock()
	if err := writeJSON(s.cfg.StateDir, relaxedFile, r); err != nil {
		return fmt.Errorf("note relaxed settings: %w", err)
	}
	return nil
}

// Relaxed returns what was noted last.
func (s *Server) Relaxed() (Relaxed, error) {
	var r Relaxed
	text, err := os.ReadFile(filepath.Join(s.cfg.StateDir, relaxedFile))
	if errors.Is(err, fs.ErrNotExist) {
		return r, nil
	}
	if err == nil {
		err = json.Unmarshal(text, &r)
	}
	if err != nil {
		return r, fmt.Errorf("read %s: %w", relaxedFile, err)
	}
	return r, nil
}
