// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// What would take the process over is asked first, and whatever is wrong with it is said.
func TestUpgradeLooksFirst(t *testing.T) {
	dir := t.TempDir()
	script := func(version, check string) string {
		return "#!/bin/sh\ncase $1 in\nversion) " + version + ";;\ncheck) " + check + ";;\nesac\n"
	}
	for name, tt := range map[string]struct {
		file string
		mode os.FileMode
		want string // in the error; "" for none
	}{
		"good":               {script("echo highwater 9.1", `[ "$*" = "check --config-only --config /a/b" ]`), 0o755, ""},
		"absent":             {"", 0, "no such file"},
		"not executable":     {script("echo highwater 9.1", "true"), 0o644, "permission denied"},
		"garbage":            {"\x7fELF and no more", 0o755, "exec format error"},
		"truncated":          {"", 0o755, "exec format error"},
		"another program":    {script("echo GNU nonsense 1", "true"), 0o755, `it says "GNU nonsense 1"`},
		"ends":               {script("echo missing symbol >&2; exit 127", "true"), 0o755, "missing symbol"},
		"old configuration":  {script("echo highwater 9.1", "echo line 7: no such key >&2; exit 2"), 0o755, "highwater 9.1 accept the configuration: run"},
		"why":                {script("echo highwater 9.1", "echo line 7: no such key >&2; exit 2"), 0o755, "line 7: no such key"},
		"hangs":              {script("exec sleep 60", "true"), 0o755, "deadline exceeded"},
		"hangs with a child": {script("sleep 5; true", "true"), 0o755, "deadline exceeded"},
		"talks":              {script("head -c 1000000 /dev/zero >&2; exit 1", "true"), 0o755, "exit status 1"},
	} {
		t.Run(name, func(t *testing.T) {
			p := program{path: filepath.Join(dir, strings.ReplaceAll(name, " ", "-"))}
			if tt.mode != 0 {
				if err := os.WriteFile(p.path, []byte(tt.file), tt.mode); err != nil {
					t.Fatal(err)
				}
			}
			limit := 30 * time.Second
			if strings.HasPrefix(name, "hangs") {
				limit = 200 * time.Millisecond
			}
			ctx, cancel := context.WithTimeout(t.Context(), limit)
			defer cancel()
			version, err := p.accepts(ctx, "/a/b")
			switch {
			case tt.want == "" && (err != nil || version != "9.1"):
				t.Errorf("%q, %v", version, err)
			case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
				t.Errorf("%q, %v; want %q", version, err, tt.want)
			case err != nil && len(err.Error()) > 2*acceptOutput:
				t.Errorf("the error is %d bytes long", len(err.Error()))
			}
		})
	}
}

// This program is found by the name that it was called by, through a link and all.
func TestThisProgram(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(t.TempDir(), "current")
	if err := os.Symlink(exe, link); err != nil {
		t.Fatal(err)
	}
	called := os.Args[0]
	defer func() { os.Args[0] = called }()
	for name, want := range map[string]string{link: link, "no-such-program": exe, "/bin/sh": exe} {
		os.Args[0] = name
		if p, err := thisProgram(); err != nil || p.path != want {
			t.Errorf("called %s: %s, %v; want %s", name, p.path, err, want)
		}
	}
}

// check --config-only says what `run` would say of the configuration, and looks at nothing else:
// this one has neither server nor peers.
func TestCheckConfigOnly(t *testing.T) {
	for _, tt := range []struct {
		name   string
		more   string
		spoil  func(path string) error
		code   int
		wanted string
	}{
		{"good", "", nil, exitDone, "accepts"},
		{"unknown key", "no_such_key: 1", nil, exitUsage, "no_such_key"},
		{"not supported yet", "web: {listen: ':1', config_file: /a}", nil, exitUsage, "web.config_file"},
		{"no secret", "", func(path string) error {
			return os.Remove(filepath.Join(filepath.Dir(path), "mysql"))
		}, exitUsage, "mysql"},
	} {
		path, _ := configure(t, tt.more)
		if tt.spoil != nil {
			if err := tt.spoil(path); err != nil {
				t.Fatal(err)
			}
		}
		code, stdout, stderr := invoke(t, "", "check", "--config-only", "--config", path)
		if code != tt.code || !strings.Contains(stdout+stderr, tt.wanted) {
			t.Errorf("%s: exit code %d, want %d; %q%q, want %q in it", tt.name, code, tt.code, stdout, stderr, tt.wanted)
		}
	}
}
