// SPDX-License-Identifier: Apache-2.0

package journal

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// ErrDamaged is wrapped by the error of [LoadState] for a file that is there and is not what [SaveState] wrote.
var ErrDamaged = errors.New("damaged")

const stateFile = "state.json"

// stateDocument carries a checksum, CRC-32C of State as it is written here, because half of a JSON document can be one.
type stateDocument struct {
	Format   int             `json:"format"`
	Checksum uint32          `json:"crc32c"`
	State    json.RawMessage `json:"state"`
}

const stateFormat = 1

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// LoadState reads into v what [SaveState] wrote in dir. It returns an error that wraps [os.ErrNotExist] when nothing was ever saved, and one
// that wraps [ErrDamaged] when the file cannot be trusted: a guessed term could be an old one.
func LoadState(dir string, v any) error {
	path := filepath.Join(dir, stateFile)
	text, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("load state: %w", err)
	}
	damaged := func(why string) error {
		return fmt.Errorf("load state: %s is %w: %s", path, ErrDamaged, why)
	}
	var d stateDocument
	if err := json.Unmarshal(text, &d); err != nil {
		return damaged(err.Error())
	}
	if d.Format != stateFormat {
		return damaged(fmt.Sprintf("format %d, expected %d", d.Format, stateFormat))
	}
	if crc32.Checksum(d.State, castagnoli) != d.Checksum {
		return damaged("checksum differs")
	}
	decoder := json.NewDecoder(bytes.NewReader(d.State))
	decoder.DisallowUnknownFields() // of a later release: what it says may matter
	if err := decoder.Decode(v); err != nil {
		return damaged(err.Error())
	}
	return nil
}

// SaveState replaces the state in dir by v. When it returns nil, the new state survives a power cut; when it returns an error, the old or the
// new one does.
func SaveState(dir string, v any) error {
	state, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("save state: %w", err)
	}
	text, err := json.Marshal(stateDocument{Format: stateFormat, Checksum: crc32.Checksum(state, castagnoli), State: state})
	if err != nil {
		return fmt.Errorf("save state: %w", err)
	}
	if err := replaceFile(filepath.Join(dir, stateFile), append(text, '\n')); err != nil {
		return fmt.Errorf("save state: %w", err)
	}
	return nil
}

// replaceFile writes a new file beside the old one, syncs it, and puts it in the old one's place. There is one writer at a time.
func replaceFile(path string, content []byte) error {
	next := path + ".new"
	f, err := os.OpenFile(next, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o640)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := os.Rename(next, path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// BootID names this boot of the host, by /proc/sys/kernel/random/boot_id (random(4)).
func BootID() (string, error) {
	text, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("read boot id: %w", err)
	}
	return strings.TrimSpace(string(text)), nil
}

// boottime reads CLOCK_BOOTTIME (clock_gettime(2)).
func boottime() time.Duration {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts) // cannot fail since Linux 2.6.39
	return time.Duration(ts.Nano())
}
