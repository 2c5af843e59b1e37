// SPDX-License-Identifier: Apache-2.0

package promote

import (
	"os"
	"path/filepath"
	"testing"
)

func TestRelaxed(t *testing.T) {
	dir := t.TempDir()
	open := func() *Server {
		s, err := NewServer(Config{StateDir: dir})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	if r, err := open().Relaxed(); err != nil || r != (Relaxed{}) {
		t.Errorf("nothing was noted: %+v, %v", r, err)
	}
	want := Relaxed{Start: "a@1", Term: 3}
	if err := open().NoteRelaxed(want); err != nil {
		t.Fatal(err)
	}
	if r, err := open().Relaxed(); err != nil || r != want {
		t.Errorf("%+v, %v, want %+v", r, err, want)
	}
	if err := os.WriteFile(filepath.Join(dir, relaxedFile), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := open().Relaxed(); err == nil {
		t.Error("a damaged file says nothing, and was believed")
	}
}
