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

// promiseFile holds a [Promise], in Config.StateDir.
const promiseFile = "promise.json"

// Promise is what a server has promised about terms. It survives restarts of
// the supervisor and of the host.
type Promise struct {
	// Promised is the highest term the server was sealed for: it starts no
	// receiver toward a primary of a lower one.
	Promised uint64 `json:"promised"`
	// Term and Primary are the last term that this server took part in, as
	// primary or as a replica, and the node that was its primary.
	Term    uint64 `json:"term"`
	Primary string `json:"primary,omitempty"`
}

// loadPromise reads the promise in dir; without a file nothing was promised. A
// file that cannot be read is an error and never a guess: a forgotten promise
// could acknowledge commits of a deposed primary.
func loadPromise(dir string) (Promise, error) {
	path := filepath.Join(dir, promiseFile)
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return Promise{}, nil
	}
	if err != nil {
		return Promise{}, fmt.Errorf("read promise: %w", err)
	}
	// A pointer tells an absent number from 0: "{}" or an empty file is damage.
	var file struct {
		Promise
		Promised *uint64 `json:"promised"`
	}
	if err := json.Unmarshal(text, &file); err != nil {
		return Promise{}, fmt.Errorf("read promise %s: %w (once it is known which term this node was last sealed for, write it there; see docs/design.md §5)", path, err)
	}
	if file.Promised == nil {
		return Promise{}, fmt.Errorf("read promise %s: no term in it (once it is known which term this node was last sealed for, write it there; see docs/design.md §5)", path)
	}
	file.Promise.Promised = *file.Promised
	return file.Promise, nil
}

// save makes p durable in dir before it returns.
func (p Promise) save(dir string) error {
	if err := writeJSON(dir, promiseFile, p); err != nil {
		return fmt.Errorf("save promise: %w", err)
	}
	return nil
}

// writeJSON puts v into the named file of dir as [writeFile] does.
func writeJSON(dir, name string, v any) error {
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	return writeFile(dir, name, append(text, '\n'))
}

// writeFile replaces the named file of dir so that after a crash, whenever it
// comes, either the old or the new text is there in full; when it returns nil
// the new one is on disk.
func writeFile(dir, name string, text []byte) error {
	f, err := os.CreateTemp(dir, "."+name+".*")
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), filepath.Join(dir, name))
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return syncDir(dir)
}

// syncDir makes the names in dir durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
