// SPDX-License-Identifier: Apache-2.0

package raftlog

import (
	"encoding/json"
	"errors"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
)

const (
	logName    = "raft.db"
	markerName = "raft.id"
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
	return at(path, WriteFile(path, append(text, '\n')))
}
