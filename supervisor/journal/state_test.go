// SPDX-License-Identifier: Apache-2.0

package journal

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// state stands for what a supervisor saves.
type state struct {
	Term    uint64 `json:"term"`
	Primary string `json:"primary"`
	Claimed bool   `json:"claimed"`
}

func TestState(t *testing.T) {
	dir := t.TempDir()
	if err := LoadState(dir, new(state)); !errors.Is(err, os.ErrNotExist) || errors.Is(err, ErrDamaged) {
		t.Errorf("absent: %v", err)
	}
	for _, want := range []state{
		{Term: 7, Primary: "db1", Claimed: true},
		{},
		{Term: 1<<64 - 1, Primary: strings.Repeat("x", 100)},
	} {
		if err := SaveState(dir, want); err != nil {
			t.Fatal(err)
		}
		var got state
		if err := LoadState(dir, &got); err != nil || got != want {
			t.Errorf("got %+v, %v", got, err)
		}
	}
	names, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(names) != 1 {
		t.Errorf("left behind: %v, %v", names, err)
	}
}

// Whatever happens to a single byte, or to the end of the file, is noticed.
func TestStateDamage(t *testing.T) {
	dir := t.TempDir()
	saved := state{Term: 7, Primary: "db1", Claimed: true}
	if err := SaveState(dir, saved); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, stateFile)
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	try := func(name string, text []byte) {
		t.Helper()
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		var got state
		if err := LoadState(dir, &got); !errors.Is(err, ErrDamaged) && (err != nil || got != saved) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	for i := range good {
		for _, c := range []byte{0, 'x', '1', '9', ' ', '"'} {
			changed := append([]byte(nil), good...)
			changed[i] = c
			try("changed to "+string(changed), changed)
		}
		try("cut to "+string(good[:i]), good[:i])
	}
	for name, text := range map[string]string{
		"empty":         "",
		"other format":  strings.Replace(string(good), `"format":1`, `"format":2`, 1),
		"term changed":  strings.Replace(string(good), `"term":7`, `"term":8`, 1),
		"not an object": "7\n",
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := LoadState(dir, new(state)); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestBootID(t *testing.T) {
	id, err := BootID()
	if err != nil || len(id) != 36 {
		t.Errorf("boot id = %q, %v", id, err)
	}
}
