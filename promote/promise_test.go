// SPDX-License-Identifier: Apache-2.0

package promote

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestPromiseFile(t *testing.T) {
	dir := t.TempDir()
	s, err := NewServer(Config{StateDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if got := s.Promise(); got != (Promise{}) {
		t.Errorf("promise without a file: %+v", got)
	}
	want := Promise{Promised: 1 << 63, Term: 41, Primary: "db2"}
	if err := s.keepPromise(want.Promised, func(p *Promise) { *p = want }); err != nil {
		t.Fatal(err)
	}
	again, err := NewServer(Config{StateDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if got := again.Promise(); got != want {
		t.Errorf("promise after a restart: %+v, want %+v", got, want)
	}
	var refused ErrPromised
	err = again.keepPromise(41, func(p *Promise) { p.Promised = 41 })
	if !errors.As(err, &refused) || refused != (ErrPromised{Promised: 1 << 63, Term: 41}) {
		t.Errorf("lower term: %v", err)
	}
	if got := again.Promised(); got != 1<<63 {
		t.Errorf("promised %d after a lower term", got)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 || entries[0].Name() != promiseFile {
		t.Errorf("files %v, %v", entries, err)
	}
}

// An edit that changes nothing writes nothing.
func TestPromiseKeptWithoutWriting(t *testing.T) {
	s, err := NewServer(Config{StateDir: filepath.Join(t.TempDir(), "absent")})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.keepPromise(0, func(*Promise) {}); err != nil {
		t.Error(err)
	}
	if err := s.keepPromise(1, func(p *Promise) { p.Promised = 1 }); err == nil {
		t.Error("promise kept without a directory to keep it in")
	}
	if got := s.Promised(); got != 0 {
		t.Errorf("promised %d, and it is on no disk", got)
	}
}

func TestPromiseDamaged(t *testing.T) {
	for _, text := range []string{"", "{}", `{"promised":`, `{"promised":-1}`, `{"term":3}`, "null", "7"} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, promiseFile), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := NewServer(Config{StateDir: dir})
		if err == nil || !strings.Contains(err.Error(), filepath.Join(dir, promiseFile)) {
			t.Errorf("promise %q: error %v, want one that names the file", text, err)
		}
	}
}

func TestWriteFileReplaces(t *testing.T) {
	dir := t.TempDir()
	for _, text := range []string{"one", "two, longer", "3"} {
		if err := writeFile(dir, "f", []byte(text)); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(filepath.Join(dir, "f"))
		if err != nil || string(got) != text {
			t.Errorf("read %q, %v, want %q", got, err, text)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "d"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := writeFile(dir, "d", nil); err == nil {
		t.Error("no error for a name that is a directory")
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 2 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
}
