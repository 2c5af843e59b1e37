// SPDX-License-Identifier: Apache-2.0

package configs

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var rewrite = flag.Bool("rewrite", false, "write the .err and .warn files anew; look at the diff before you commit it")

// canary stands in the bad files wherever a password may end up by mistake.
const canary = "hunter"

// TestBadFiles: testdata/bad has one file per rule that a file can break, and
// beside it what is said about it.
func TestBadFiles(t *testing.T) {
	for _, file := range corpus(t, "bad") {
		t.Run(file.name, func(t *testing.T) {
			_, err := Parse(filepath.Base(file.path), file.data)
			var errs Errors
			if !errors.As(err, &errs) || len(errs) == 0 {
				t.Fatalf("Parse returned %v, want Errors", err)
			}
			checkErrors(t, file.data, errs)
			if strings.Contains(err.Error(), canary) {
				t.Errorf("the error shows what may be a password: %v", err)
			}
			golden(t, strings.TrimSuffix(file.path, ".yaml")+".err", err.Error()+"\n")
		})
	}
}

// TestGoodFiles: what testdata/good has must be accepted; a .warn file beside it
// holds its warnings.
func TestGoodFiles(t *testing.T) {
	for _, file := range corpus(t, "good") {
		t.Run(file.name, func(t *testing.T) {
			c, err := Parse(filepath.Base(file.path), file.data)
			if err != nil {
				t.Fatal(err)
			}
			checkErrors(t, file.data, c.Warnings)
			warnings := ""
			if len(c.Warnings) > 0 {
				warnings = Errors(c.Warnings).Error() + "\n"
			}
			golden(t, strings.TrimSuffix(file.path, ".yaml")+".warn", warnings)
		})
	}
}

type corpusFile struct {
	name, path string
	data       []byte
}

func corpus(t testing.TB, dir string) []corpusFile {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join("testdata", dir, "*.yaml"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("no files in testdata/%s: %v", dir, err)
	}
	var files []corpusFile
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, corpusFile{strings.TrimSuffix(filepath.Base(path), ".yaml"), path, data})
	}
	return files
}

// golden compares got with the file at path; no file means "".
func golden(t *testing.T, path, got string) {
	t.Helper()
	if *rewrite {
		err := os.Remove(path)
		if got != "" {
			err = os.WriteFile(path, []byte(got), 0o644)
		}
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got; -rewrite writes it anew):\n%s", path, diff)
	}
}

// checkErrors holds every error to its form: a place in the file, and text.
func checkErrors(t *testing.T, data []byte, errs Errors) {
	t.Helper()
	lines := strings.Split(string(data), "\n")
	last := position{}
	for _, e := range errs {
		if e.Line < 1 || e.Line > len(lines) || e.Column < 1 || e.Column > len(lines[e.Line-1])+1 {
			t.Errorf("there is no place %d:%d in the file: %v", e.Line, e.Column, e)
		}
		if e.What == "" || e.Instead == "" || e.File == "" {
			t.Errorf("an error lacks its file, what or instead: %#v", e)
		}
		if p := (position{e.Line, e.Column}); p.line < last.line || p.line == last.line && p.column < last.column {
			t.Errorf("errors are not sorted by position: %v", errs)
		} else {
			last = p
		}
	}
}
