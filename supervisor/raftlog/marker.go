// SPDX-License-Identifier: Apache-2.0

package raftlog

import (
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
)

const (
	logName    = "raft.db"
	markerName = "raft.id"
	newSuffix  = ".new" // what a crash may leave half written
)

// markerDocument is the content of the marker. The checksum is CRC-32C of Log as it is written here.
type markerDocument struct {
	Format   int             `json:"format"`
	Checksum uint32          `json:"crc32c"`
	Log      json.RawMessage `json:"log"`
}

// readMarker returns nil where there is none.
func readMarker(dir string) (*named, error) {
	path := filepath.Join(dir, markerName)
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, at(path, err)
	}
	var d markerDocument
	if err := json.Unmarshal(text, &d); err != nil {
		return nil, refuse(ReasonCorrupt, path, "%w", err)
	}
	if d.Format != Format {
		return nil, refuse(ReasonVersion, path, "%w: %d", errVersion, d.Format)
	}
	if crc32.Checksum(d.Log, castagnoli) != d.Checksum {
		return nil, refuse(ReasonCorrupt, path, "checksum differs")
	}
	id := new(named)
	if err := decodeStrictly(d.Log, id); err != nil {
		return nil, refuse(ReasonCorrupt, path, "%w", err)
	}
	return id, nil
}

// writeMarker returns after the marker is on the disk under its name.
func writeMarker(dir string, id named) error {
	path := filepath.Join(dir, markerName)
	log, err := json.Marshal(id)
	if err != nil {
		return at(path, err)
	}
	text, err := json.Marshal(markerDocument{Format: Format, Checksum: crc32.Checksum(log, castagnoli), Log: log})
	if err != nil {
		return at(path, err)
	}
	f, err := os.OpenFile(path+newSuffix, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o640)
	if err != nil {
		return at(path, err)
	}
	_, err = f.Write(append(text, '\n'))
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = publish(path)
	}
	return at(path, err)
}

// publish gives a file that is on the disk its name there.
func publish(path string) error {
	if err := os.Rename(path+newSuffix, path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// syncDir makes names in dir durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.Sync(); err != nil {
		return fmt.Errorf("sync %s: %w", dir, err)
	}
	return nil
}
