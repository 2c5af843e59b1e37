// SPDX-License-Identifier: Apache-2.0

package voter

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"highwater/supervisor/raftlog"
)

// endName is a file in state_dir that says of which log nothing more is to be made.
const endName = "raft.ended"

// end says that the part in a cluster is over which a log was kept for. Without it a node that was taken out, and comes back where
// it hears nobody who knows, would vote again with others of its kind.
type end struct {
	Log    string `json:"log"`
	Reason Reason `json:"reason"`
	By     string `json:"by"` // who said so
}

// readEnd is the zero value where there is none.
func readEnd(dir string) (end, error) {
	path := filepath.Join(dir, endName)
	var e end
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return e, nil
	}
	if err == nil {
		err = json.Unmarshal(text, &e)
	}
	if err == nil && (e.Log == "" || e.Reason == "") {
		err = errors.New("it does not say whose end it is")
	}
	if err != nil {
		return e, fmt.Errorf("read %s: %w; remove it only if this node is a member", path, err)
	}
	return e, nil
}

// writeEnd returns after it is on the disk.
func writeEnd(dir string, e end) error {
	text, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("encode: %w", err)
	}
	return raftlog.WriteFile(filepath.Join(dir, endName), append(text, '\n'))
}
